/*
 * LPC bridge: interrupt routing, PMBASE, RCBA, ports 61H, 80H, 92H, F0H, CF9H.
 *
 * ICH9 datasheet, "PIRQ[n]_ROUT", "ACPI_CNTL", "DnnIR", "NMI_SC", "PORT92", "RST_CNT". A PIRQ always drives its I/O
 * APIC pin 16 + n and, when routed, an ISA interrupt as well. The I/O APIC and the HPET are always decoded at their
 * default places: OIC.AEN and HPTC.AE read 1 and cannot be changed. Not modelled: GPIO, LPC decode ranges (what is on
 * the board answers), ISA DMA, SERR# and IOCHK# (nothing raises them), the sound of the speaker.
 */
#include "chipset/lpc.h"
#include "base/bits.h"

#include <stdlib.h>

enum { PMBASE = 0x40, ACPI_CNTL = 0x44, PIRQA_ROUT = 0x60, PIRQE_ROUT = 0x68, GEN_PMCON_1 = 0xa0, RCBA = 0xf0 };

#define PIRQ_DISABLED BIT(7)
#define SMI_LOCK      BIT(4)

/* Chipset configuration registers: what is kept starts here. */
#define RCRB_SIZE  0x4000
#define RCRB_FIRST 0x3140
#define RCRB_LAST  0x3413
enum {
	D31IR = 0x3140,
	D29IR = 0x3144,
	D28IR = 0x3146,
	D27IR = 0x3148,
	D26IR = 0x314c,
	D25IR = 0x3150,
	OIC = 0x31ff,
	HPTC = 0x3404,
	GCS = 0x3410
};
#define GCS_NO_REBOOT BIT(5)

#define REFRESH_NS 15085 /* port 61H bit 4 toggles with each refresh */

#define NMI_GATE2   BIT(0)
#define NMI_SPEAKER BIT(1)
#define CF9_SYS_RST BIT(1)
#define CF9_RST_CPU BIT(2)

struct lpc {
	struct pci_function function; /* first: found from the function's callbacks */
	struct bus *bus;
	struct clock *clock;
	const struct log *log;
	struct lpc_hooks hooks;
	struct lpc_parts parts;
	struct region *rcrb_region;
	uint8_t rcrb[RCRB_LAST + 1 - RCRB_FIRST];

	/* Who asks for an interrupt: bit n is line n. */
	uint16_t isa, isa_gsi; /* devices; test devices */
	uint32_t pin_gsi;      /* test devices, pins 16 to 23 */
	uint32_t hpet_pins;
	uint8_t hpet_legacy; /* timers 0 and 1 */
	bool hpet_routed;
	bool sci;
	uint8_t intx[32]; /* per slot, bit per pin */
	/* What the controllers were told last. */
	uint16_t to_pic;
	uint32_t to_ioapic;

	uint8_t port61, port80, port92, cf9;
	bool keyboard_a20, a20;
};

static uint8_t pirq_rout(const struct lpc *lpc, unsigned pirq)
{
	return pci_config_byte(&lpc->function, (pirq < 4 ? PIRQA_ROUT : PIRQE_ROUT) + pirq % 4);
}

/* Which PIRQ, A to H as 0 to 7, a device's pin is wired to. */
static unsigned pirq_of(const struct lpc *lpc, unsigned slot, unsigned pin)
{
	static const uint16_t route[32] = {
		[25] = D25IR, [26] = D26IR, [27] = D27IR, [28] = D28IR, [29] = D29IR, [31] = D31IR};

	if (route[slot])
		return load_le(&lpc->rcrb[route[slot] - RCRB_FIRST], 2) >> 4 * pin & 7;
	return slot == 30 ? 4 + pin : (slot + pin) % 4 + 4;
}

static uint8_t pirqs(const struct lpc *lpc)
{
	uint8_t levels = 0;

	for (unsigned slot = 0; slot < 32; slot++)
		for (unsigned pin = 0; lpc->intx[slot] >> pin; pin++)
			if (lpc->intx[slot] >> pin & 1)
				levels |= (uint8_t)(1u << pirq_of(lpc, slot, pin));
	return levels;
}

/* SCI_IRQ_SEL. */
static unsigned sci_pin(const struct lpc *lpc)
{
	static const uint8_t pin[8] = {9, 10, 11, 9, 20, 21, 20, 21};

	return pin[pci_config_byte(&lpc->function, ACPI_CNTL) & 7];
}

/* All levels at the two controllers, as a function of who asks. */
static void update(struct lpc *lpc)
{
	uint8_t pirq = pirqs(lpc);
	uint32_t pins = (uint32_t)pirq << 16 | lpc->pin_gsi | lpc->hpet_pins, changed;
	uint16_t isa = lpc->isa;

	if (!lpc->parts.pic)
		return;
	if (lpc->hpet_routed) /* in place of the 8254 and the RTC */
		isa = (uint16_t)((isa & ~(1u << 0 | 1u << 8)) | (lpc->hpet_legacy & 1) |
				 (lpc->hpet_legacy >> 1 & 1) << 8);
	isa |= lpc->isa_gsi;
	for (unsigned n = 0; n < 8; n++)
		if ((pirq >> n & 1) && !(pirq_rout(lpc, n) & PIRQ_DISABLED))
			isa |= (uint16_t)(1u << (pirq_rout(lpc, n) & 15));
	if (lpc->sci && sci_pin(lpc) < 16)
		isa |= (uint16_t)(1u << sci_pin(lpc));
	else if (lpc->sci)
		pins |= 1u << sci_pin(lpc);
	pins |= (isa & ~1u) | (isa & 1u) << 2;
	changed = isa ^ lpc->to_pic;
	lpc->to_pic = isa;
	for (; changed; changed &= changed - 1)
		pic_set(lpc->parts.pic, (unsigned)__builtin_ctz(changed), isa >> __builtin_ctz(changed) & 1);
	changed = pins ^ lpc->to_ioapic;
	lpc->to_ioapic = pins;
	for (; changed; changed &= changed - 1)
		ioapic_set(lpc->parts.ioapic, (unsigned)__builtin_ctz(changed), pins >> __builtin_ctz(changed) & 1);
}

void lpc_set_isa(void *owner, unsigned line, bool level)
{
	struct lpc *lpc = owner;

	lpc->isa = (uint16_t)bits_set(lpc->isa, line & 15, line & 15, level);
	update(lpc);
}

void lpc_set_ferr(void *owner)
{
	lpc_set_isa(owner, 13, true);
}

void lpc_set_gsi(void *owner, unsigned gsi, bool level)
{
	struct lpc *lpc = owner;

	if (gsi < 16)
		lpc->isa_gsi = (uint16_t)bits_set(lpc->isa_gsi, gsi, gsi, level);
	else if (gsi < IOAPIC_PINS)
		lpc->pin_gsi = (uint32_t)bits_set(lpc->pin_gsi, gsi, gsi, level);
	update(lpc);
}

void lpc_set_sci(void *owner, unsigned line, bool level)
{
	struct lpc *lpc = owner;

	lpc->sci = level;
	update(lpc);
}

void lpc_set_hpet_pin(void *owner, unsigned pin, bool level)
{
	struct lpc *lpc = owner;

	lpc->hpet_pins = (uint32_t)bits_set(lpc->hpet_pins, pin & 31, pin & 31, level);
	update(lpc);
}

void lpc_set_hpet_legacy(void *owner, unsigned timer, bool level)
{
	struct lpc *lpc = owner;

	lpc->hpet_legacy = (uint8_t)bits_set(lpc->hpet_legacy, timer & 1, timer & 1, level);
	update(lpc);
}

void lpc_route_hpet(void *owner, bool legacy)
{
	struct lpc *lpc = owner;

	lpc->hpet_routed = legacy;
	update(lpc);
}

static void set_intx(void *owner, unsigned slot, unsigned pin, bool level)
{
	struct lpc *lpc = owner;

	lpc->intx[slot & 31] = (uint8_t)bits_set(lpc->intx[slot & 31], pin & 3, pin & 3, level);
	update(lpc);
}

static void update_a20(struct lpc *lpc)
{
	bool a20 = lpc->keyboard_a20 || (lpc->port92 & 2);

	if (a20 == lpc->a20)
		return;
	lpc->a20 = a20;
	if (lpc->hooks.a20)
		lpc->hooks.a20(lpc->hooks.a20_ctx, a20);
}

void lpc_set_keyboard_a20(void *owner, bool enabled)
{
	struct lpc *lpc = owner;

	lpc->keyboard_a20 = enabled;
	update_a20(lpc);
}

static void request(struct lpc *lpc, enum machine_request what)
{
	if (lpc->hooks.hook.request)
		lpc->hooks.hook.request(lpc->hooks.hook.ctx, what);
}

/* Chipset configuration registers ("RCRB"). */

static uint8_t rcrb_writable(unsigned offset)
{
	switch (offset) {
	case D31IR ... D31IR + 1:
	case D29IR ... D29IR + 1:
	case D28IR ... D28IR + 1:
	case D27IR ... D27IR + 1:
	case D26IR ... D26IR + 1:
	case D25IR ... D25IR + 1: return 0x77;
	case GCS: return GCS_NO_REBOOT;
	case GCS + 1: return 0x0c; /* BBS, boot straps */
	default: return 0;
	}
}

static uint64_t rcrb_read(void *device, uint64_t offset, unsigned size)
{
	struct lpc *lpc = device;

	return offset >= RCRB_FIRST && offset <= RCRB_LAST ? lpc->rcrb[offset - RCRB_FIRST] : 0;
}

static void rcrb_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct lpc *lpc = device;
	uint8_t writable = rcrb_writable((unsigned)offset);

	if (!writable)
		return;
	lpc->rcrb[offset - RCRB_FIRST] = (uint8_t)value & writable;
	if (offset == GCS && lpc->parts.pm)
		pm_set_no_reboot(lpc->parts.pm, value & GCS_NO_REBOOT);
	update(lpc);
}

static void rcrb_reset(struct lpc *lpc)
{
	static const uint16_t routes[] = {D31IR, D29IR, D28IR, D27IR, D26IR, D25IR};

	memset(lpc->rcrb, 0, sizeof(lpc->rcrb));
	for (unsigned i = 0; i < ARRAY_SIZE(routes); i++)
		store_le(&lpc->rcrb[routes[i] - RCRB_FIRST], 2, 0x3210);
	lpc->rcrb[OIC - RCRB_FIRST] = 1;
	lpc->rcrb[HPTC - RCRB_FIRST] = 0x80;
}

/* What the configuration registers decide. */
static void apply_config(struct lpc *lpc)
{
	struct pci_function *function = &lpc->function;
	uint32_t rcba = pci_config_dword(function, RCBA);

	region_move(lpc->rcrb_region, rcba & 0xffffc000);
	region_enable(lpc->rcrb_region, rcba & 1);
	if (lpc->parts.pm) {
		pm_set_base(lpc->parts.pm, pci_config_byte(function, ACPI_CNTL) & 0x80,
			    pci_config_word(function, PMBASE) & 0xff80);
		pm_set_smi_lock(lpc->parts.pm, pci_config_byte(function, GEN_PMCON_1) & SMI_LOCK);
		pm_set_no_reboot(lpc->parts.pm, lpc->rcrb[GCS - RCRB_FIRST] & GCS_NO_REBOOT);
	}
	/* SMI_LOCK stays until reset. */
	if (pci_config_byte(function, GEN_PMCON_1) & SMI_LOCK)
		function->writable[GEN_PMCON_1] = 0;
	update(lpc);
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	apply_config(CONTAINER_OF(function, struct lpc, function));
}

/* Ports. */

static uint64_t port61_read(void *device, uint64_t offset, unsigned size)
{
	struct lpc *lpc = device;
	bool refresh = clock_now(lpc->clock) / REFRESH_NS & 1, out2 = lpc->parts.pit && pit_out2(lpc->parts.pit);

	return lpc->port61 | refresh << 4 | out2 << 5;
}

static void port61_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct lpc *lpc = device;

	lpc->port61 = value & 0xf;
	if (lpc->parts.pit)
		pit_set_gate2(lpc->parts.pit, value & NMI_GATE2);
}

static uint64_t port80_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct lpc *)device)->port80;
}

static void port80_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	((struct lpc *)device)->port80 = (uint8_t)value;
}

static uint64_t port_f0_read(void *device, uint64_t offset, unsigned size)
{
	return 0xff; /* COPROC_ERR is write-only */
}

static void port_f0_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	lpc_set_isa(device, 13, false);
}

static uint64_t port92_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct lpc *)device)->port92;
}

static void port92_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct lpc *lpc = device;
	bool init = (value & 1) && !(lpc->port92 & 1);

	lpc->port92 = value & 3;
	update_a20(lpc);
	if (init)
		request(lpc, REQUEST_INIT);
}

/* offset is from CF8H. */
static uint64_t cf9_read(void *device, uint64_t offset, unsigned size)
{
	return offset == 1 && size == 1 ? ((struct lpc *)device)->cf9 : UINT64_MAX;
}

static void cf9_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct lpc *lpc = device;
	bool reset = (value & CF9_RST_CPU) && !(lpc->cf9 & CF9_RST_CPU);

	if (offset != 1 || size != 1)
		return;
	lpc->cf9 = value & 0xe;
	if (reset)
		request(lpc, value & CF9_SYS_RST ? REQUEST_RESET : REQUEST_INIT);
	lpc->cf9 &= ~CF9_RST_CPU; /* the reset is over before anybody can look */
}

static const struct device_ops rcrb_ops = {rcrb_read, rcrb_write, 1, 1};
static const struct device_ops port61_ops = {port61_read, port61_write, 1, 1};
static const struct device_ops port80_ops = {port80_read, port80_write, 1, 1};
static const struct device_ops port92_ops = {port92_read, port92_write, 1, 1};
static const struct device_ops port_f0_ops = {port_f0_read, port_f0_write, 1, 1};
static const struct device_ops cf9_ops = {cf9_read, cf9_write, 1, 1};

static void reset(struct pci_function *function)
{
	struct lpc *lpc = CONTAINER_OF(function, struct lpc, function);

	function->writable[GEN_PMCON_1] = SMI_LOCK;
	rcrb_reset(lpc);
	apply_config(lpc);
	port61_write(lpc, 0, 1, 0);
	lpc->port80 = lpc->port92 = lpc->cf9 = 0;
	lpc->keyboard_a20 = true;
	update_a20(lpc);
	lpc_set_isa(lpc, 13, false);
}

static void function_state(struct pci_function *function, struct state *state)
{
	struct lpc *lpc = CONTAINER_OF(function, struct lpc, function);

	state_var(state, lpc->rcrb);
	state_var(state, lpc->isa);
	state_var(state, lpc->isa_gsi);
	state_var(state, lpc->pin_gsi);
	state_var(state, lpc->hpet_pins);
	state_var(state, lpc->hpet_legacy);
	state_bool(state, &lpc->hpet_routed);
	state_bool(state, &lpc->sci);
	state_var(state, lpc->intx);
	state_var(state, lpc->to_pic);
	state_var(state, lpc->to_ioapic);
	state_var(state, lpc->port61);
	state_var(state, lpc->port80);
	state_var(state, lpc->port92);
	state_var(state, lpc->cf9);
	state_bool(state, &lpc->keyboard_a20);
	if (!state_restoring(state))
		return;
	for (unsigned slot = 0; slot < 32; slot++)
		lpc->intx[slot] &= 15;
	lpc->pin_gsi &= 0xff0000;
	lpc->hpet_pins &= 0xffffff;
	lpc->to_ioapic &= 0xffffff;
	function->writable[GEN_PMCON_1] = SMI_LOCK;
	apply_config(lpc);
	update_a20(lpc);
}

static const struct pci_function_ops function_ops = {
	.config_written = config_written, .reset = reset, .state = function_state};

struct pci_function *lpc_function(struct lpc *lpc)
{
	return &lpc->function;
}

struct lpc *lpc_create(struct bus *bus, struct pci_root *root, struct clock *clock, const struct lpc_hooks *hooks,
		       const struct log *log)
{
	struct lpc *lpc = xcalloc(1, sizeof(*lpc));
	struct pci_function *function = &lpc->function;
	struct error error;

	lpc->bus = bus;
	lpc->clock = clock;
	lpc->hooks = *hooks;
	lpc->log = log;
	lpc->a20 = lpc->keyboard_a20 = true;
	lpc->rcrb_region = bus_add_device(bus, "rcrb", 0, RCRB_SIZE, &rcrb_ops, lpc, 10);
	region_enable(lpc->rcrb_region, false);
	bus_add_ports(bus, "port-61", 0x61, 1, &port61_ops, lpc);
	bus_add_ports(bus, "port-80", 0x80, 1, &port80_ops, lpc);
	bus_add_ports(bus, "port-f0", 0xf0, 1, &port_f0_ops, lpc);
	bus_add_ports(bus, "port-92", 0x92, 1, &port92_ops, lpc);

	function->name = "ICH9-LPC";
	function->ops = &function_ops;
	pci_identity(function, 0x8086, 0x2918, 0x060100, 2, 0, 0);
	store_le(function->config + 0x04, 2, 7); /* I/O, memory and bus master are always on */
	store_le(function->writable + 0x04, 2, 0x0140);
	function->config[0x0e] = 0x80; /* device 31 has several functions */
	function->config[PMBASE] = 1;
	store_le(function->writable + PMBASE, 2, 0xff80);
	function->writable[ACPI_CNTL] = 0x87;
	for (unsigned i = 0; i < 4; i++) {
		function->config[PIRQA_ROUT + i] = function->config[PIRQE_ROUT + i] = PIRQ_DISABLED;
		function->writable[PIRQA_ROUT + i] = function->writable[PIRQE_ROUT + i] = 0x8f;
	}
	function->writable[GEN_PMCON_1] = SMI_LOCK;
	store_le(function->writable + RCBA, 4, 0xffffc001);
	if (!pci_add(root, function, 31, 0, &error))
		abort(); /* the board comes before -device */
	pci_root_connect_intx(root, &(struct pci_intx_ops){set_intx, lpc});
	pci_root_connect_cf9(root, &cf9_ops, lpc);
	rcrb_reset(lpc);
	return lpc;
}

void lpc_connect(struct lpc *lpc, const struct lpc_parts *parts)
{
	lpc->parts = *parts;
	apply_config(lpc);
}

void lpc_destroy(struct lpc *lpc)
{
	free(lpc);
}

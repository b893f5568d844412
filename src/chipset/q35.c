/*
 * Q35 host bridge.
 *
 * Intel 3 Series datasheet, "PAM0 ... PAM6", "SMRAM", "ESMRAMC", "PCIEXBAR", "System Memory Ranges". The extended TSEG
 * size at 50H is not Intel's: firmware for virtual Q35 boards asks for it there. Not modelled: graphics stolen memory,
 * memory remapping registers (the map is fixed), D_CLS, E_SMERR.
 */
#include "chipset/q35.h"
#include "base/bits.h"

#include <stdlib.h>

enum {
	EXT_TSEG = 0x50,
	PCIEXBAR = 0x60,
	PAM0 = 0x90,
	SMRAM = 0x9d,
	ESMRAMC = 0x9e,
	GBSM = 0xa4,
	BGSM = 0xa8,
	TSEGMB = 0xac,
	TOLUD = 0xb0
};

#define SMRAM_D_OPEN	 BIT(6)
#define SMRAM_D_CLS	 BIT(5)
#define SMRAM_D_LCK	 BIT(4)
#define SMRAM_G_SMRAME	 BIT(3)
#define SMRAM_FIXED	 0x02 /* C_BASE_SEG */
#define ESMRAMC_H_SMRAME BIT(7)
#define ESMRAMC_T_EN	 BIT(0)
#define ESMRAMC_FIXED	 0x38 /* SM_CACHE, SM_L1, SM_L2 */

#define LOW_LIMIT   UINT64_C(0xb0000000)
#define LOW_SPLIT   UINT64_C(0x80000000)
#define HIGH_BASE   (UINT64_C(1) << 32)
#define EXT_TSEG_MB 16

#define OVERLAY	 20
#define SEGMENTS 13 /* F0000H-FFFFFH, then 16 KiB each from C0000H */

struct q35 {
	struct pci_function function;
	struct bus *bus;
	struct pci_root *root;
	const struct log *log;
	uint64_t low_end, high_end;
	struct region *segment[SEGMENTS];
	struct region *smram, *high_smram; /* NULL with too little RAM */
	struct region *tseg[4];		   /* the hole that covers TSEG outside of SMM, by TSEG_SZ */
};

static uint64_t hole_read(void *device, uint64_t offset, unsigned size)
{
	return UINT64_MAX;
}

static void hole_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct device_ops hole_ops = {hole_read, hole_write, 0, 0};

static uint8_t get(const struct q35 *q35, unsigned offset)
{
	return pci_config_byte(&q35->function, offset);
}

/* Segment 0 is PAM0's upper half; then PAM1 lower, PAM1 upper, ... Bit 0: reads from RAM, bit 1: writes to RAM. */
static void apply_pam(struct q35 *q35)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		unsigned mode = get(q35, PAM0 + (i + 1) / 2) >> ((i + 1) % 2 ? 4 : 0) & 3;

		if (!q35->segment[i])
			continue;
		if (mode) {
			region_set_readable(q35->segment[i], mode & 1);
			region_set_writable(q35->segment[i], mode & 2);
		}
		region_enable(q35->segment[i], mode);
	}
}

static uint64_t tseg_size(unsigned code)
{
	static const uint8_t megabytes[4] = {1, 2, 8, EXT_TSEG_MB};

	return (uint64_t)megabytes[code] << 20;
}

static void apply_smram(struct q35 *q35)
{
	uint8_t smram = get(q35, SMRAM), esmramc = get(q35, ESMRAMC);
	bool enabled = smram & SMRAM_G_SMRAME, open = smram & SMRAM_D_OPEN, high = esmramc & ESMRAMC_H_SMRAME;

	if (q35->smram) {
		region_set_view(q35->smram, open ? VIEW_BOTH : VIEW_SMM);
		region_enable(q35->smram, enabled && !high);
		region_set_view(q35->high_smram, open ? VIEW_BOTH : VIEW_SMM);
		region_enable(q35->high_smram, enabled && high);
	}
	for (unsigned i = 0; i < 4; i++)
		if (q35->tseg[i])
			region_enable(q35->tseg[i],
				      enabled && !open && (esmramc & ESMRAMC_T_EN) && (esmramc >> 1 & 3) == i);
}

static void apply_pciexbar(struct q35 *q35)
{
	static const uint16_t megabytes[4] = {256, 128, 64, 0}; /* LENGTH; 3 is reserved */
	uint64_t value = load_le(q35->function.config + PCIEXBAR, 8),
		 size = (uint64_t)megabytes[bits_get(value, 2, 1)] << 20;

	pci_root_set_ecam(q35->root, (value & 1) && size, size ? value & BITS(35, 26) & ~(size - 1) : 0, size);
}

/* D_LCK: D_OPEN is cleared, and these registers cannot be changed until reset. */
static void apply_lock(struct q35 *q35)
{
	struct pci_function *function = &q35->function;
	bool locked = get(q35, SMRAM) & SMRAM_D_LCK;

	if (locked)
		function->config[SMRAM] &= ~SMRAM_D_OPEN;
	function->writable[SMRAM] = locked ? 0 : SMRAM_D_OPEN | SMRAM_D_CLS | SMRAM_D_LCK | SMRAM_G_SMRAME;
	function->writable[ESMRAMC] = locked ? 0 : ESMRAMC_H_SMRAME | BITS(2, 1) | ESMRAMC_T_EN;
}

static void apply(struct q35 *q35)
{
	apply_lock(q35);
	apply_pam(q35);
	apply_smram(q35);
	apply_pciexbar(q35);
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct q35 *q35 = CONTAINER_OF(function, struct q35, function);

	/* Writing FFFFH asks how many MiB the fourth TSEG size has. */
	if (pci_config_word(function, EXT_TSEG) == 0xffff)
		store_le(function->config + EXT_TSEG, 2, EXT_TSEG_MB);
	apply(q35);
}

static void reset(struct pci_function *function)
{
	apply(CONTAINER_OF(function, struct q35, function));
}

static void function_state(struct pci_function *function, struct state *state)
{
	if (state_restoring(state))
		apply(CONTAINER_OF(function, struct q35, function));
}

static const struct pci_function_ops function_ops = {
	.config_written = config_written, .reset = reset, .state = function_state};

static void map_ram(struct q35 *q35)
{
	struct bus *bus = q35->bus;
	uint64_t size = bus_ram_size(bus);

	q35->low_end = size < LOW_LIMIT ? size : LOW_SPLIT;
	q35->high_end = HIGH_BASE + (size - q35->low_end);
	bus_add_ram(bus, 0, min_u64(size, 0xa0000), 0, 0);
	if (size > 0x100000)
		bus_add_ram(bus, 0x100000, q35->low_end - 0x100000, 0x100000, 0);
	if (size > q35->low_end)
		bus_add_ram(bus, HIGH_BASE, size - q35->low_end, q35->low_end, 0);
	if (size < 0x100000)
		return; /* no RAM behind the holes of the first megabyte */
	for (unsigned i = 0; i < SEGMENTS; i++) {
		uint64_t base = i ? 0xc0000 + (i - 1) * 0x4000 : 0xf0000;

		q35->segment[i] = bus_add_ram(bus, base, i ? 0x4000 : 0x10000, base, OVERLAY);
		region_enable(q35->segment[i], false);
	}
	q35->smram = bus_add_ram(bus, 0xa0000, 0x20000, 0xa0000, OVERLAY);
	q35->high_smram = bus_add_ram(bus, 0xfeda0000, 0x20000, 0xa0000, OVERLAY);
	region_enable(q35->smram, false);
	region_enable(q35->high_smram, false);
	for (unsigned i = 0; i < 4; i++) {
		if (q35->low_end < tseg_size(i) + 0x100000)
			continue;
		q35->tseg[i] =
			bus_add_device(bus, "tseg", q35->low_end - tseg_size(i), tseg_size(i), &hole_ops, q35, OVERLAY);
		region_set_view(q35->tseg[i], VIEW_NORMAL);
		region_enable(q35->tseg[i], false);
	}
}

struct q35 *q35_create(struct bus *bus, struct pci_root *root, const struct log *log)
{
	struct q35 *q35 = xcalloc(1, sizeof(*q35));
	struct pci_function *function = &q35->function;
	struct error error;

	q35->bus = bus;
	q35->root = root;
	q35->log = log;
	map_ram(q35);
	function->name = "mch";
	function->ops = &function_ops;
	pci_identity(function, 0x8086, 0x29c0, 0x060000, 2, 0, 0);
	store_le(function->config + 0x04, 2, 6); /* memory and bus master are always on */
	store_le(function->writable + 0x04, 2, 0x0140);
	store_le(function->writable + EXT_TSEG, 2, 0xffff);
	store_le(function->writable + PCIEXBAR, 8, BITS(35, 26) | 7);
	function->writable[PAM0] = 0x30;
	for (unsigned i = 1; i < 7; i++)
		function->writable[PAM0 + i] = 0x33;
	function->config[SMRAM] = SMRAM_FIXED;
	function->config[ESMRAMC] = ESMRAMC_FIXED;
	/* Firmware's notes: nothing here depends on them. */
	store_le(function->writable + GBSM, 4, 0xfff00000);
	store_le(function->writable + BGSM, 4, 0xfff00000);
	store_le(function->writable + TSEGMB, 4, 0xfff00000);
	store_le(function->writable + TOLUD, 2, 0xfff0);
	if (!pci_add(root, function, 0, 0, &error))
		abort(); /* the board comes before -device */
	apply(q35);
	return q35;
}

void q35_destroy(struct q35 *q35)
{
	free(q35);
}

struct pci_function *q35_function(struct q35 *q35)
{
	return &q35->function;
}

uint64_t q35_low_end(const struct q35 *q35)
{
	return q35->low_end;
}

uint64_t q35_high_end(const struct q35 *q35)
{
	return q35->high_end;
}

/* LPC bridge: routing of interrupts, ports, resets, against the ICH9 datasheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/bits.h"
#include "chipset/lpc.h"

#define BDF (31 << 3)

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct pci_root *root;
	struct msi_sink sink;
	struct lpc *lpc;
	struct lpc_parts parts;
	struct hpet *hpet;
	struct pci_function device;
	unsigned messages;
	uint32_t last_data;
	bool intr, a20;
	unsigned a20_calls, requests;
	enum machine_request last;
};

static void sent(void *ctx, const struct msi *msi)
{
	struct fixture *f = ctx;

	f->messages++;
	f->last_data = msi->data;
}

static void intr(void *listener, unsigned line, bool level)
{
	((struct fixture *)listener)->intr = level;
}

static void a20(void *ctx, bool enabled)
{
	struct fixture *f = ctx;

	f->a20 = enabled;
	f->a20_calls++;
}

static void request(void *ctx, enum machine_request what)
{
	struct fixture *f = ctx;

	f->requests++;
	f->last = what;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct lpc_hooks hooks = {a20, f, {request, f}};
	struct error error;

	f->a20 = true;
	f->bus = bus_create(&quiet);
	f->clock = clock_create();
	f->sink = (struct msi_sink){sent, f};
	f->root = pci_root_create(f->bus, &f->sink, &quiet);
	f->lpc = lpc_create(f->bus, f->root, f->clock, &hooks, &quiet);
	f->parts.pic = pic_create(f->bus, &quiet, &(struct irq){intr, f, 0});
	f->parts.ioapic = ioapic_create(f->bus, &f->sink, 0xf0f8, &quiet);
	f->parts.pit = pit_create(f->bus, f->clock, &(struct irq){lpc_set_isa, f->lpc, 0}, &quiet);
	f->parts.pm = pm_create(f->bus, f->clock, &(struct pm_wires){.sci = {lpc_set_sci, f->lpc, 0}}, &quiet);
	f->parts.rtc = rtc_create(f->bus, f->clock, &(struct irq){lpc_set_isa, f->lpc, 8}, 0, &quiet);
	lpc_connect(f->lpc, &f->parts);
	f->hpet = hpet_create(f->bus, f->clock,
			      &(struct hpet_wires){lpc_set_hpet_pin, lpc_set_hpet_legacy, lpc_route_hpet, f->lpc},
			      &quiet);
	f->device.name = "device";
	pci_identity(&f->device, 1, 2, 0, 0, 0, 0);
	pci_set_pin(&f->device, 1);
	assert_true(pci_add(f->root, &f->device, 2, 0, &error));
	pci_reset(f->root);
	/* 8259s: vectors 20H and 28H, all unmasked. */
	for (unsigned i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		bus_out(f->bus, port, 1, 0x11);
		bus_out(f->bus, port + 1, 1, i ? 0x28 : 0x20);
		bus_out(f->bus, port + 1, 1, i ? 2 : 4);
		bus_out(f->bus, port + 1, 1, 1);
		bus_out(f->bus, port + 1, 1, 0);
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hpet_destroy(f->hpet);
	rtc_destroy(f->parts.rtc);
	pm_destroy(f->parts.pm);
	pit_destroy(f->parts.pit);
	ioapic_destroy(f->parts.ioapic);
	pic_destroy(f->parts.pic);
	pci_root_destroy(f->root);
	lpc_destroy(f->lpc);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static uint32_t cfg(struct fixture *f, unsigned offset, unsigned size)
{
	return pci_config_access_read(f->root, BDF, offset, size);
}

static void set_cfg(struct fixture *f, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_access_write(f->root, BDF, offset, size, value);
}

/* Unmask an I/O APIC pin with vector 30H + pin. */
static void open_pin(struct fixture *f, unsigned pin)
{
	bus_write(f->bus, 0xfec00000, 4, 0x10 + 2 * pin, false);
	bus_write(f->bus, 0xfec00010, 4, 0x30 + pin, false);
}

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg(f, 0, 4), 0x29188086);
	assert_int_equal(cfg(f, 8, 4), 0x06010002);
	assert_int_equal(cfg(f, 0xe, 1), 0x80);
	set_cfg(f, 4, 2, 0);
	assert_int_equal(cfg(f, 4, 2), 7);
	assert_int_equal(cfg(f, 0x60, 4), 0x80808080);
	assert_int_equal(cfg(f, 0x68, 4), 0x80808080);
	set_cfg(f, 0x60, 4, 0xffffffff);
	assert_int_equal(cfg(f, 0x60, 4), 0x8f8f8f8f);
	set_cfg(f, 0x40, 4, 0xffffffff);
	assert_int_equal(cfg(f, 0x40, 4), 0xff81);
}

static void isa_interrupts(void **state)
{
	struct fixture *f = *state;

	for (unsigned line = 0; line < 16; line++) {
		unsigned pin = line ? line : 2;

		if (line == 2 || line == 8 || line == 0)
			continue; /* the cascade; driven by the 8254 and the RTC below */
		f->messages = 0;
		open_pin(f, pin);
		lpc_set_isa(f->lpc, line, true);
		assert_true(f->intr);
		assert_int_equal(pic_acknowledge(f->parts.pic), 0x20 + line);
		assert_int_equal(f->messages, 1);
		assert_int_equal(f->last_data, 0x30 + pin);
		lpc_set_isa(f->lpc, line, false);
		bus_out(f->bus, 0xa0, 1, 0x20);
		bus_out(f->bus, 0x20, 1, 0x20);
	}
}

static void pirq_routing(void **state)
{
	struct fixture *f = *state;

	/* Slot 2, INTA: (2 + 0) % 4 + 4 = PIRQG, I/O APIC pin 22. */
	open_pin(f, 22);
	open_pin(f, 11);
	pci_set_intx(&f->device, true);
	assert_int_equal(f->messages, 1);
	assert_int_equal(f->last_data, 0x30 + 22);
	assert_false(f->intr);
	set_cfg(f, 0x6a, 1, 11);
	assert_true(f->intr);
	assert_int_equal(f->messages, 2);
	assert_int_equal(f->last_data, 0x30 + 11);
	/* Shared with an ISA device: high while one is. */
	lpc_set_isa(f->lpc, 11, true);
	pci_set_intx(&f->device, false);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x2b);
	lpc_set_isa(f->lpc, 11, false);
	set_cfg(f, 0x6a, 1, 0x8b);
	pci_set_intx(&f->device, true);
	assert_false(f->intr);
}

static void device_31_routes(void **state)
{
	struct fixture *f = *state;
	static struct pci_function sata;
	struct error error;

	sata = (struct pci_function){.name = "sata"};
	pci_identity(&sata, 1, 2, 0, 0, 0, 0);
	pci_set_pin(&sata, 2);
	assert_true(pci_add(f->root, &sata, 31, 2, &error));
	set_cfg(f, 0xf0, 4, 0xfed1c001);
	assert_int_equal(bus_read(f->bus, 0xfed1f140, 2, false), 0x3210);
	assert_int_equal(bus_read(f->bus, 0xfed1f1ff, 1, false), 1);
	open_pin(f, 17);
	open_pin(f, 20);
	pci_set_intx(&sata, true); /* INTB: PIRQB */
	assert_int_equal(f->last_data, 0x30 + 17);
	bus_write(f->bus, 0xfed1f140, 2, 0x3240, false); /* INTB to PIRQE */
	assert_int_equal(f->last_data, 0x30 + 20);
	bus_write(f->bus, 0xfed1f140, 2, 0xffff, false);
	assert_int_equal(bus_read(f->bus, 0xfed1f140, 2, false), 0x7777);
	set_cfg(f, 0xf0, 4, 0);
	assert_int_equal(bus_read(f->bus, 0xfed1f140, 2, false), 0xffff);
}

static void sci_routing(void **state)
{
	static const uint8_t pins[] = {9, 10, 11, 0, 20, 21};
	struct fixture *f = *state;

	for (unsigned select = 0; select < 6; select++) {
		if (select == 3)
			continue;
		set_cfg(f, 0x44, 1, 0x80 | select);
		open_pin(f, pins[select]);
		f->messages = 0;
		lpc_set_sci(f->lpc, 0, true);
		assert_int_equal(f->messages, 1);
		assert_int_equal(f->last_data, 0x30 + pins[select]);
		assert_int_equal(f->intr, pins[select] < 16);
		lpc_set_sci(f->lpc, 0, false);
		assert_false(f->intr);
	}
}

static void pm_base(void **state)
{
	struct fixture *f = *state;

	set_cfg(f, 0x40, 4, 0x601);
	assert_int_equal(bus_in(f->bus, 0x604, 2), 0xffff);
	set_cfg(f, 0x44, 1, 0x80);
	assert_int_equal(bus_in(f->bus, 0x604, 2), 0);
	bus_out(f->bus, 0x630, 4, 1);
	set_cfg(f, 0xa0, 1, 0x10); /* SMI_LOCK, until reset */
	set_cfg(f, 0xa0, 1, 0);
	assert_int_equal(cfg(f, 0xa0, 1), 0x10);
	bus_out(f->bus, 0x630, 4, 0);
	assert_int_equal(bus_in(f->bus, 0x630, 4), 1);
	pci_reset(f->root);
	assert_int_equal(cfg(f, 0xa0, 1), 0);
	assert_int_equal(bus_in(f->bus, 0x604, 2), 0xffff);
	set_cfg(f, 0xa0, 1, 0x10);
	assert_int_equal(cfg(f, 0xa0, 1), 0x10);
}

static void a20_gates(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->a20_calls, 0);
	assert_int_equal(bus_in(f->bus, 0x92, 1), 0);
	lpc_set_keyboard_a20(f->lpc, false);
	assert_false(f->a20);
	bus_out(f->bus, 0x92, 1, 2);
	assert_true(f->a20);
	lpc_set_keyboard_a20(f->lpc, true);
	bus_out(f->bus, 0x92, 1, 0);
	assert_true(f->a20);
	lpc_set_keyboard_a20(f->lpc, false);
	assert_false(f->a20);
	pci_reset(f->root);
	assert_true(f->a20);
}

static void resets(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, 0x92, 1, 1);
	assert_int_equal(f->last, REQUEST_INIT);
	bus_out(f->bus, 0x92, 1, 1); /* only the change counts */
	assert_int_equal(f->requests, 1);
	bus_out(f->bus, 0xcf9, 1, 2);
	assert_int_equal(f->requests, 1);
	assert_int_equal(bus_in(f->bus, 0xcf9, 1), 2);
	bus_out(f->bus, 0xcf9, 1, 6);
	assert_int_equal(f->requests, 2);
	assert_int_equal(f->last, REQUEST_RESET);
	bus_out(f->bus, 0xcf9, 1, 0);
	bus_out(f->bus, 0xcf9, 1, 4);
	assert_int_equal(f->last, REQUEST_INIT);
	bus_out(f->bus, 0xcf9, 1, 0xf);
	assert_int_equal(f->last, REQUEST_RESET);
	bus_out(f->bus, 0xcf8, 4, 0x80000600); /* not for the reset register */
	assert_int_equal(f->requests, 4);
}

static void port_61(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0x2f, 0);
	bus_out(f->bus, 0x61, 1, 0xff);
	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0xcf, 0x0f);
	bus_out(f->bus, 0x43, 1, 0xb0);
	bus_out(f->bus, 0x42, 1, 10);
	bus_out(f->bus, 0x42, 1, 0);
	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0x20, 0);
	clock_advance_to(f->clock, 10000);
	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0x20, 0x20);
	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0x10, 0);
	clock_advance_to(f->clock, 16000);
	assert_int_equal(bus_in(f->bus, 0x61, 1) & 0x10, 0x10);
	bus_out(f->bus, 0x80, 1, 0x5a);
	assert_int_equal(bus_in(f->bus, 0x80, 1), 0x5a);
}

static void hpet_replaces_timer_and_rtc(void **state)
{
	struct fixture *f = *state;

	open_pin(f, 2);
	lpc_set_isa(f->lpc, 0, true);
	assert_int_equal(f->last_data, 0x32);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x20);
	bus_out(f->bus, 0x20, 1, 0x20);
	lpc_set_isa(f->lpc, 0, false);
	f->messages = 0;
	bus_write(f->bus, 0xfed00010, 8, 2, false); /* LEG_RT_CNF */
	lpc_set_isa(f->lpc, 0, true);
	lpc_set_isa(f->lpc, 8, true);
	assert_int_equal(f->messages, 0);
	assert_false(f->intr);
	lpc_set_hpet_legacy(f->lpc, 0, true);
	assert_int_equal(f->messages, 1);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x20);
	bus_out(f->bus, 0x20, 1, 0x20);
	lpc_set_hpet_legacy(f->lpc, 1, true);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x28);
	open_pin(f, 20);
	lpc_set_hpet_pin(f->lpc, 20, true);
	assert_int_equal(f->last_data, 0x30 + 20);
}

static void coprocessor_error(void **state)
{
	struct fixture *f = *state;

	lpc_set_ferr(f->lpc);
	assert_true(f->intr);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x2d);
	bus_out(f->bus, 0xa0, 1, 0x20);
	bus_out(f->bus, 0x20, 1, 0x20);
	bus_out(f->bus, 0xf0, 1, 0);
	lpc_set_ferr(f->lpc);
	assert_true(f->intr);
	bus_out(f->bus, 0xf0, 1, 0);
	assert_false(f->intr);
}

static void global_interrupts(void **state)
{
	struct fixture *f = *state;

	open_pin(f, 14);
	open_pin(f, 19);
	lpc_set_gsi(f->lpc, 14, true);
	assert_int_equal(f->last_data, 0x30 + 14);
	lpc_set_gsi(f->lpc, 19, true);
	assert_int_equal(f->last_data, 0x30 + 19);
	lpc_set_gsi(f->lpc, 24, true);
	assert_int_equal(f->messages, 2);
}

/* A guest that writes anything anywhere: nothing crashes, hangs or leaves its range (the sanitizers look). */
static void nonsense(void **state)
{
	static const uint16_t ports[] = {0x20, 0x21,  0xa0,  0xa1,  0x4d0, 0x4d1, 0x40, 0x41, 0x42,
					 0x43, 0x61,  0x70,  0x71,  0x72,  0x73,  0x92, 0xb2, 0xb3,
					 0xf0, 0xcf8, 0xcf9, 0xcfc, 0xcfd, 0xcfe, 0x80};
	static const uint32_t windows[] = {0xfec00000, 0xfed00000, 0xfed00100, 0xfed1f100, 0xfed1f3f0};
	struct fixture *f = *state;
	uint64_t seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		unsigned size, what;
		uint32_t value;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		value = (uint32_t)(seed >> 16) >> (seed >> 58 & 31);
		what = seed >> 52 & 63;
		size = 1u << (seed >> 50 & 3);
		if (what < 40) {
			uint16_t port =
				what < ARRAY_SIZE(ports) ? ports[what] : (uint16_t)(0x600 + (seed >> 40 & 0x7f));

			if (what == 19 && size == 4) /* mostly the functions that exist */
				value = 0x80000000 | (value & (seed & 1 ? 0xf8fc : 0x10fc));
			bus_out(f->bus, port, size > 4 ? 4 : size, value);
			bus_in(f->bus, port, size > 4 ? 4 : size);
		} else {
			uint32_t at = windows[what % ARRAY_SIZE(windows)] + (seed >> 40 & 0xff);

			bus_write(f->bus, at, size, seed >> (seed >> 59), false);
			bus_read(f->bus, at, size, false);
		}
		if (i % 64 == 0) {
			pci_set_intx(&f->device, seed >> 63);
			if (f->intr)
				assert_in_range(pic_acknowledge(f->parts.pic), 0, 255);
		}
		if (i % 4096 == 0) {
			set_cfg(f, 0x40, 4, 0x601);
			set_cfg(f, 0x44, 1, 0x80);
			set_cfg(f, 0xf0, 4, 0xfed1c001);
		}
		clock_advance_to(f->clock, clock_now(f->clock) + (seed >> 30 & 0xfff));
		clock_fire_due(f->clock);
	}
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	set_cfg(f, 0x40, 4, 0x601);
	set_cfg(f, 0x44, 1, 0x80);
	set_cfg(f, 0x6a, 1, 11);
	pci_set_intx(&f->device, true);
	pci_state(f->root, save);
	data = state_data(save, &size);
	pci_reset(f->root);
	restore = state_restore(data, size);
	pci_state(f->root, restore);
	assert_false(state_failed(restore));
	assert_int_equal(bus_in(f->bus, 0x604, 2), 0);
	pci_set_intx(&f->device, false);
	pci_set_intx(&f->device, true);
	assert_int_equal(pic_acknowledge(f->parts.pic), 0x2b);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(identity),		 TEST(isa_interrupts),
		TEST(pirq_routing),	 TEST(device_31_routes),
		TEST(sci_routing),	 TEST(pm_base),
		TEST(a20_gates),	 TEST(resets),
		TEST(port_61),		 TEST(hpet_replaces_timer_and_rtc),
		TEST(coprocessor_error), TEST(global_interrupts),
		TEST(nonsense),		 TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

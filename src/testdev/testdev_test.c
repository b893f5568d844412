/*
 * The test devices, as their documents say.
 */
#include "testdev/testdev.h"

#include "base/bits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SLOT = 4, BDF = SLOT << 3, BAR = 0xc00000, PORTS = 0xc100, RAM = 1 << 20 };

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct pci_root *root;
	struct msi_sink sink;
	struct error error;
	uint32_t lines, status, message;
	bool intx;
};

static void set_line(void *listener, unsigned line, bool level)
{
	struct rig *r = listener;

	r->lines = (r->lines & ~(1u << line)) | (uint32_t)level << line;
}

static void set_intx(void *ctx, unsigned slot, unsigned pin, bool level)
{
	((struct rig *)ctx)->intx = level;
}

static void message(void *ctx, const struct msi *msi)
{
	((struct rig *)ctx)->message = msi->data;
}

static void ended(void *ctx, unsigned status)
{
	((struct rig *)ctx)->status = status;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct pci_intx_ops intx = {set_intx, r};

	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	if (!bus_create_ram(r->bus, RAM, &r->error))
		return -1;
	bus_add_ram(r->bus, 0, RAM, 0, 0);
	r->sink = (struct msi_sink){message, r};
	r->root = pci_root_create(r->bus, &r->sink, &r->log);
	pci_root_connect_intx(r->root, &intx);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	pci_root_destroy(r->root);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	free(r);
	return 0;
}

static void enable(struct rig *r)
{
	pci_config_access_write(r->root, BDF, 0x10, 4, BAR);
	pci_config_access_write(r->root, BDF, 0x14, 4, PORTS);
	pci_config_access_write(r->root, BDF, 4, 2, 7);
}

/* PCI devices are freed after their root, which holds them until then. */
static void renew_root(struct rig *r)
{
	pci_root_destroy(r->root);
	r->root = pci_root_create(r->bus, &r->sink, &r->log);
}

static uint64_t get(struct rig *r, unsigned offset, unsigned size)
{
	return bus_read(r->bus, BAR + offset, size, false);
}

static void set(struct rig *r, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(r->bus, BAR + offset, size, value, false);
}

static void pass(struct rig *r)
{
	clock_advance_to(r->clock, clock_now(r->clock) + 1000000);
	clock_fire_due(r->clock);
}

static void exit_status(void **state)
{
	struct rig *r = *state;
	struct debug_exit *device = debug_exit_create(r->bus, 0xf4, 4, ended, r);

	bus_out(r->bus, 0xf4, 4, 0x26);
	assert_int_equal(r->status, 77);
	bus_out(r->bus, 0xf4, 1, 0);
	assert_int_equal(r->status, 1);
	bus_out(r->bus, 0xf4, 1, 0x10);
	assert_int_equal(r->status, 33);
	debug_exit_destroy(device);
}

static void pc(void **state)
{
	struct rig *r = *state;
	struct irq irq[24];
	struct pc_testdev *device;

	for (unsigned i = 0; i < 24; i++)
		irq[i] = (struct irq){set_line, r, i};
	device = pc_testdev_create(r->bus, irq);
	bus_out(r->bus, 0xe0, 4, 0x11223344);
	assert_int_equal(bus_in(r->bus, 0xe0, 4), 0x11223344);
	assert_int_equal(bus_in(r->bus, 0xe2, 1), 0x22);
	assert_int_equal(bus_in(r->bus, 0xe8, 4), 0x11223344);
	bus_out(r->bus, 0xe9, 1, 0x99);
	assert_int_equal(bus_in(r->bus, 0xe0, 4), 0x11229944);
	bus_out(r->bus, 0xe4, 4, 0x1000);
	for (unsigned line = 0; line < 24; line++) {
		bus_out(r->bus, (uint16_t)(0x2000 + line), 1, 1);
		assert_int_equal(r->lines, 1u << line);
		bus_out(r->bus, (uint16_t)(0x2000 + line), 4, 0);
		assert_int_equal(r->lines, 0);
	}
	bus_write(r->bus, 0xff000008, 8, UINT64_C(0x1122334455667788), false);
	assert_int_equal(bus_read(r->bus, 0xff00000a, 2, false), 0x5566);
	pc_testdev_destroy(device);
}

/* What kvm-unit-tests' driver does: try tests until there are no more, write where told, look at the count. */
static unsigned scan(struct rig *r, bool ports)
{
	unsigned tests = 0;

	for (;; tests++) {
		uint32_t offset, value;

		if (ports)
			bus_out(r->bus, PORTS, 1, tests);
		else
			set(r, 0, 1, tests);
		if (!(ports ? bus_in(r->bus, PORTS + 16, 1) : get(r, 16, 1)))
			return tests;
		assert_int_equal(ports ? bus_in(r->bus, PORTS, 1) : get(r, 0, 1), tests);
		assert_int_equal(ports ? bus_in(r->bus, PORTS + 1, 1) : get(r, 1, 1), 1);
		assert_int_equal(ports ? bus_in(r->bus, PORTS + 12, 4) : get(r, 12, 4), 0);
		offset = ports ? bus_in(r->bus, PORTS + 4, 4) : (uint32_t)get(r, 4, 4);
		value = ports ? bus_in(r->bus, PORTS + 8, 1) : (uint32_t)get(r, 8, 1);
		for (unsigned i = 0; i < 10; i++) {
			if (ports)
				bus_out(r->bus, (uint16_t)(PORTS + offset), 1, value);
			else
				set(r, offset, 1, value);
		}
		assert_int_equal(ports ? bus_in(r->bus, PORTS + 12, 4) : get(r, 12, 4), 10);
	}
}

static void pci(void **state)
{
	struct rig *r = *state;
	struct pci_testdev *device = pci_testdev_create(r->root, SLOT, &r->error);

	assert_non_null(device);
	enable(r);
	assert_int_equal(pci_config_access_read(r->root, BDF, 0, 4), 0x00051b36);
	assert_int_equal(get(r, 12, 4), 0); /* no test is chosen */
	assert_int_equal(scan(r, false), 3);
	assert_int_equal(scan(r, true), 3);
	set(r, 0, 1, 2); /* only the right datum counts */
	set(r, (unsigned)get(r, 4, 4), 1, 0x12);
	assert_int_equal(get(r, 12, 4), 0);
	renew_root(r);
	pci_testdev_destroy(device);
}

static void education(void **state)
{
	struct rig *r = *state;
	struct edu *device = edu_create(r->root, r->clock, SLOT, 0, &r->error);
	uint8_t *ram = bus_ram(r->bus);

	assert_non_null(device);
	enable(r);
	assert_int_equal(pci_config_access_read(r->root, BDF, 0, 4), 0x11e81234);
	assert_int_equal(get(r, 0, 4), 0x010000ed);
	set(r, 4, 4, 0x12345678);
	assert_int_equal(get(r, 4, 4), 0xedcba987);
	set(r, 0x20, 4, 0x80);
	set(r, 8, 4, 10);
	assert_int_equal(get(r, 0x20, 4), 0x81);
	set(r, 8, 4, 3); /* busy */
	pass(r);
	assert_int_equal(get(r, 0x20, 4), 0x80);
	assert_int_equal(get(r, 8, 4), 3628800);
	assert_true(r->intx);
	assert_int_equal(get(r, 0x24, 4), 1);
	set(r, 0x64, 4, 1);
	assert_false(r->intx);
	set(r, 0x60, 4, 0x12);
	assert_int_equal(get(r, 0x24, 4), 0x12);
	assert_true(r->intx);
	set(r, 0x64, 4, 0x12);

	memcpy(ram + 0x1000, "education", 10);
	set(r, 0x80, 8, 0x1000);
	set(r, 0x88, 8, 0x40010);
	set(r, 0x90, 8, 10);
	set(r, 0x98, 8, 1);
	assert_int_equal(get(r, 0x98, 8) & 1, 1);
	pass(r);
	assert_int_equal(get(r, 0x98, 8) & 1, 0);
	assert_false(r->intx);
	set(r, 0x80, 8, 0x40010);
	set(r, 0x88, 8, UINT64_C(0xf0000000) + 0x2000); /* 28 bits of address */
	set(r, 0x98, 8, 7);
	pass(r);
	assert_string_equal((char *)ram + 0x2000, "education");
	assert_int_equal(get(r, 0x24, 4), 0x100);
	set(r, 0x64, 4, 0x100);
	/* Outside of the buffer nothing moves, and the command completes. */
	for (unsigned i = 0; i < 2; i++) {
		memset(ram + 0x3000, 0x55, 64);
		set(r, 0x80, 8, i ? 0x40fff : 0x3ffff);
		set(r, 0x88, 8, 0x3000);
		set(r, 0x90, 8, i ? UINT64_MAX : 2);
		set(r, 0x98, 8, 3);
		pass(r);
		assert_int_equal(get(r, 0x98, 8) & 1, 0);
		assert_int_equal(load_le(ram + 0x3000, 8), 0x5555555555555555);
	}
	/* MSI in place of the pin. */
	pci_config_access_write(r->root, BDF, 0x44, 4, 0xfee00000);
	pci_config_access_write(r->root, BDF, 0x4c, 2, 0x33);
	pci_config_access_write(r->root, BDF, 0x42, 2, 1);
	set(r, 0x60, 4, 1);
	assert_int_equal(r->message, 0x33);
	assert_false(r->intx);
	renew_root(r);
	edu_destroy(device);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(exit_status), TEST(pc), TEST(pci), TEST(education)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

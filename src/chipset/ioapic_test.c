/* I/O APIC against the 82093AA data sheet and the ICH9's additions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "chipset/ioapic.h"

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct ioapic *ioapic;
	struct msi_sink sink;
	struct msi sent[8];
	unsigned count;
};

static void sent(void *ctx, const struct msi *msi)
{
	struct fixture *f = ctx;

	f->sent[f->count++ % 8] = *msi;
}

static uint32_t get(struct fixture *f, unsigned index)
{
	bus_write(f->bus, 0xfec00000, 4, index, false);
	return (uint32_t)bus_read(f->bus, 0xfec00010, 4, false);
}

static void put(struct fixture *f, unsigned index, uint32_t value)
{
	bus_write(f->bus, 0xfec00000, 4, index, false);
	bus_write(f->bus, 0xfec00010, 4, value, false);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->bus = bus_create(&quiet);
	f->sink = (struct msi_sink){sent, f};
	f->ioapic = ioapic_create(f->bus, &f->sink, 0xf0f8, &quiet);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ioapic_destroy(f->ioapic);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static void registers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0), 0);
	assert_int_equal(get(f, 1), 0x00170020);
	put(f, 0, 0xffffffff);
	assert_int_equal(get(f, 0), 0x0f000000);
	put(f, 1, 0);
	assert_int_equal(get(f, 1), 0x00170020);
	for (unsigned pin = 0; pin < 24; pin++) {
		assert_int_equal(get(f, 0x10 + 2 * pin), 0x10000);
		assert_int_equal(get(f, 0x11 + 2 * pin), 0);
		put(f, 0x10 + 2 * pin, 0xffffffff);
		put(f, 0x11 + 2 * pin, 0xffffffff);
		assert_int_equal(get(f, 0x10 + 2 * pin), 0x1afff); /* status and remote IRR are read-only */
		assert_int_equal(get(f, 0x11 + 2 * pin), 0xffff0000);
	}
	assert_int_equal(get(f, 0x40), 0);
	put(f, 0xff, 1);
	/* The selector may be written as a byte. */
	bus_write(f->bus, 0xfec00000, 1, 1, false);
	assert_int_equal(bus_read(f->bus, 0xfec00010, 4, false), 0x00170020);
	assert_int_equal(bus_read(f->bus, 0xfec00000, 4, false), 1);
}

static void edge(void **state)
{
	struct fixture *f = *state;

	ioapic_set(f->ioapic, 4, true);
	ioapic_set(f->ioapic, 4, false);
	put(f, 0x11 + 8, 0x05000000);
	put(f, 0x10 + 8, 0x0831);      /* logical, fixed, 31H */
	assert_int_equal(f->count, 0); /* the edge at the masked pin is lost */
	ioapic_set(f->ioapic, 4, true);
	ioapic_set(f->ioapic, 4, true);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].address, 0xfee05004);
	assert_int_equal(f->sent[0].data, 0x31);
	assert_int_equal(f->sent[0].requester, 0xf0f8);
	ioapic_set(f->ioapic, 4, false);
	ioapic_set(f->ioapic, 4, true);
	assert_int_equal(f->count, 2);
	assert_int_equal(get(f, 0x18), 0x0831);
	ioapic_set(f->ioapic, 24, true); /* no such pin */
}

static void level(void **state)
{
	struct fixture *f = *state;

	ioapic_set(f->ioapic, 9, true);
	put(f, 0x23, 0x01000000);
	put(f, 0x22, 0x8141); /* lowest priority, level: asserted already */
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].address, 0xfee01000);
	assert_int_equal(f->sent[0].data, 0xc141);
	assert_int_equal(get(f, 0x22), 0xc141); /* remote IRR */
	ioapic_set(f->ioapic, 9, false);
	ioapic_set(f->ioapic, 9, true);
	assert_int_equal(f->count, 1);
	ioapic_eoi(f->ioapic, 0x40); /* another vector */
	assert_int_equal(f->count, 1);
	ioapic_eoi(f->ioapic, 0x41);
	assert_int_equal(f->count, 2); /* still asserted */
	ioapic_set(f->ioapic, 9, false);
	bus_write(f->bus, 0xfec00040, 4, 0x41, false); /* directed EOI */
	assert_int_equal(f->count, 2);
	assert_int_equal(get(f, 0x22), 0x8141);
	/* Masked while asserted; unmasked it asks. */
	put(f, 0x22, 0x18141);
	ioapic_set(f->ioapic, 9, true);
	assert_int_equal(f->count, 2);
	put(f, 0x22, 0x8141);
	assert_int_equal(f->count, 3);
	/* Switching to edge and back ends the interrupt without an EOI. */
	put(f, 0x22, 0x10141);
	assert_int_equal(get(f, 0x22), 0x10141);
	put(f, 0x22, 0x8141);
	assert_int_equal(f->count, 4);
}

static void other_deliveries_are_edges(void **state)
{
	struct fixture *f = *state;

	put(f, 0x10, 0x8400); /* NMI with the level bit */
	ioapic_set(f->ioapic, 0, true);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].data & 0x4700, 0x0400);
	assert_int_equal(get(f, 0x10) & 0x4000, 0);
	put(f, 0x12, 0x0700); /* ExtINT */
	ioapic_set(f->ioapic, 1, true);
	assert_int_equal(f->sent[1].data, 0x0700);
}

/* VT-d, "Interrupt Requests in Remappable Format": index 14:0 in 63:49, format in 48, index 15 in 11. */
static void remappable(void **state)
{
	struct fixture *f = *state;
	unsigned index = 0x9234;

	put(f, 0x15, (index & 0x7fff) << 17 | 1 << 16);
	put(f, 0x14, (index >> 15) << 11 | 0x55);
	ioapic_set(f->ioapic, 2, true);
	assert_int_equal(f->sent[0].address, 0xfee00000 | (index & 0x7fff) << 5 | 1 << 4 | (index >> 15) << 2);
	assert_int_equal(f->sent[0].data, 0x55);
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	put(f, 0x22, 0x8141);
	ioapic_set(f->ioapic, 9, true);
	ioapic_state(f->ioapic, save);
	data = state_data(save, &size);
	ioapic_reset(f->ioapic);
	assert_int_equal(get(f, 0x22), 0x10000);
	restore = state_restore(data, size);
	ioapic_state(f->ioapic, restore);
	assert_false(state_failed(restore));
	assert_int_equal(ioapic_entry(f->ioapic, 9), 0xc141);
	ioapic_eoi(f->ioapic, 0x41);
	assert_int_equal(f->count, 2);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(registers),	  TEST(edge), TEST(level), TEST(other_deliveries_are_edges), TEST(remappable),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

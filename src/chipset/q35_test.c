/* Host bridge: the memory map, PAM, SMRAM, TSEG, PCIEXBAR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "chipset/q35.h"

#define MB (UINT64_C(1) << 20)

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct pci_root *root;
	struct msi_sink sink;
	struct q35 *q35;
	uint8_t *rom;
};

static void make(struct fixture *f, uint64_t size)
{
	struct error error;

	f->bus = bus_create(&quiet);
	assert_true(bus_create_ram(f->bus, size, &error));
	f->root = pci_root_create(f->bus, &f->sink, &quiet);
	f->q35 = q35_create(f->bus, f->root, &quiet);
	f->rom = malloc(0x40000);
	memset(f->rom, 0x11, 0x40000);
	bus_add_rom(f->bus, 0xc0000, 0x40000, f->rom, 10);
}

static void unmake(struct fixture *f)
{
	pci_root_destroy(f->root);
	q35_destroy(f->q35);
	bus_destroy(f->bus);
	free(f->rom);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	make(f, 64 * MB);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	unmake(*state);
	free(*state);
	return 0;
}

static uint32_t cfg(struct fixture *f, unsigned offset, unsigned size)
{
	return pci_config_access_read(f->root, 0, offset, size);
}

static void set_cfg(struct fixture *f, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_access_write(f->root, 0, offset, size, value);
}

static uint8_t rd(struct fixture *f, uint64_t pa, bool smm)
{
	return (uint8_t)bus_read(f->bus, pa, 1, smm);
}

static void wr(struct fixture *f, uint64_t pa, uint8_t value, bool smm)
{
	bus_write(f->bus, pa, 1, value, smm);
}

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(cfg(f, 0, 4), 0x29c08086);
	assert_int_equal(cfg(f, 8, 4), 0x06000002);
	assert_int_equal(cfg(f, 0x9d, 1), 0x02);
	assert_int_equal(cfg(f, 0x9e, 1), 0x38);
	assert_int_equal(cfg(f, 0x60, 4), 0);
	for (unsigned i = 0x90; i < 0x97; i++)
		assert_int_equal(cfg(f, i, 1), 0);
}

static void where_ram_is(void **state)
{
	static const struct {
		uint64_t size, low, high;
	} table[] = {
		{1 * MB, 1 * MB, 4096 * MB},
		{64 * MB, 64 * MB, 4096 * MB},
		{2815 * MB, 2815 * MB, 4096 * MB},
		{2816 * MB, 2048 * MB, 4096 * MB + 768 * MB},
		{8192 * MB, 2048 * MB, 4096 * MB + 6144 * MB},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		struct fixture f = {0};

		make(&f, table[i].size);
		assert_true(q35_low_end(f.q35) == table[i].low);
		assert_true(q35_high_end(f.q35) == table[i].high);
		wr(&f, table[i].low - 1, 0x42, false);
		assert_int_equal(rd(&f, table[i].low - 1, false), table[i].low == MB ? 0x11 : 0x42);
		assert_int_equal(rd(&f, table[i].low, false), 0xff);
		wr(&f, table[i].high - 1, 0x43, false);
		assert_int_equal(rd(&f, table[i].high - 1, false), table[i].high == 4096 * MB ? 0xff : 0x43);
		wr(&f, 0x9ffff, 0x44, false);
		assert_int_equal(rd(&f, 0x9ffff, false), 0x44);
		assert_int_equal(rd(&f, 0xa0000, false), 0xff);
		unmake(&f);
	}
}

/* "PAM": register, half, and the addresses of each segment. */
static void pam(void **state)
{
	static const struct {
		uint8_t reg, shift;
		uint32_t base, size;
	} table[] = {
		{0x90, 4, 0xf0000, 0x10000}, {0x91, 0, 0xc0000, 0x4000}, {0x91, 4, 0xc4000, 0x4000},
		{0x92, 0, 0xc8000, 0x4000},  {0x92, 4, 0xcc000, 0x4000}, {0x93, 0, 0xd0000, 0x4000},
		{0x93, 4, 0xd4000, 0x4000},  {0x94, 0, 0xd8000, 0x4000}, {0x94, 4, 0xdc000, 0x4000},
		{0x95, 0, 0xe0000, 0x4000},  {0x95, 4, 0xe4000, 0x4000}, {0x96, 0, 0xe8000, 0x4000},
		{0x96, 4, 0xec000, 0x4000},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		uint32_t first = table[i].base, last = first + table[i].size - 1;

		assert_int_equal(rd(f, first, false), 0x11);
		set_cfg(f, table[i].reg, 1, 2u << table[i].shift); /* write only: shadowing */
		wr(f, first, 0x22, false);
		wr(f, last, 0x33, false);
		assert_int_equal(rd(f, first, false), 0x11);
		set_cfg(f, table[i].reg, 1, 1u << table[i].shift); /* read only */
		assert_int_equal(rd(f, first, false), 0x22);
		assert_int_equal(rd(f, last, false), 0x33);
		wr(f, first, 0x44, false);
		assert_int_equal(rd(f, first, false), 0x22);
		/* Neighbours are as they were. */
		assert_int_equal(rd(f, first == 0xc0000 ? 0xf0000 : first - 1, false), 0x11);
		set_cfg(f, table[i].reg, 1, 3u << table[i].shift);
		wr(f, first, 0x55, false);
		assert_int_equal(rd(f, first, false), 0x55);
		set_cfg(f, table[i].reg, 1, 0);
		assert_int_equal(rd(f, first, false), 0x11);
	}
	set_cfg(f, 0x90, 1, 0xff);
	assert_int_equal(cfg(f, 0x90, 1), 0x30);
}

static void smram(void **state)
{
	struct fixture *f = *state;

	set_cfg(f, 0x9e, 1, 0x80);
	assert_int_equal(rd(f, 0xfeda8000, true), 0xff); /* G_SMRAME is 0 */
	set_cfg(f, 0x9e, 1, 0);
	set_cfg(f, 0x9d, 1, 0x4a); /* enabled and open */
	wr(f, 0xa8000, 0x77, false);
	set_cfg(f, 0x9d, 1, 0x0a); /* closed */
	assert_int_equal(rd(f, 0xa8000, false), 0xff);
	assert_int_equal(rd(f, 0xa8000, true), 0x77);
	set_cfg(f, 0x9e, 1, 0x80); /* high SMRAM in its place */
	assert_int_equal(rd(f, 0xa8000, true), 0xff);
	assert_int_equal(rd(f, 0xfeda8000, true), 0x77);
	assert_int_equal(rd(f, 0xfeda8000, false), 0xff);
	set_cfg(f, 0x9e, 1, 0);
	/* Locked. */
	set_cfg(f, 0x9d, 1, 0x5a);
	assert_int_equal(cfg(f, 0x9d, 1), 0x1a);
	set_cfg(f, 0x9d, 1, 0x42);
	set_cfg(f, 0x9e, 1, 0xff);
	assert_int_equal(cfg(f, 0x9d, 1), 0x1a);
	assert_int_equal(cfg(f, 0x9e, 1), 0x38);
	assert_int_equal(rd(f, 0xa8000, false), 0xff);
	pci_reset(f->root);
	assert_int_equal(cfg(f, 0x9d, 1), 0x02);
	assert_int_equal(rd(f, 0xa8000, true), 0xff);
	set_cfg(f, 0x9d, 1, 0x4a);
	assert_int_equal(rd(f, 0xa8000, false), 0x77);
}

static void tseg(void **state)
{
	static const unsigned sizes[] = {1, 2, 8, 16};
	struct fixture *f = *state;

	set_cfg(f, 0x50, 2, 0xffff);
	assert_int_equal(cfg(f, 0x50, 2), 16);
	set_cfg(f, 0x9d, 1, 0x0a);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t base = (64 - sizes[i]) * MB;

		set_cfg(f, 0x9e, 1, 0);
		wr(f, base, 0x66, false);
		wr(f, base - 1, 0x65, false);
		set_cfg(f, 0x9e, 1, i << 1 | 1);
		assert_int_equal(rd(f, base, false), 0xff);
		wr(f, base, 0, false);
		assert_int_equal(rd(f, base, true), 0x66);
		assert_int_equal(rd(f, base - 1, false), 0x65);
		assert_int_equal(rd(f, 64 * MB - 1, false), 0xff);
	}
	/* DMA does not see it either. */
	assert_true(bus_write_bytes(f->bus, 63 * MB, "x", 1));
	assert_int_equal(rd(f, 63 * MB, true), 0x66);
}

static void pciexbar(void **state)
{
	struct fixture *f = *state;

	set_cfg(f, 0x64, 4, 0);
	set_cfg(f, 0x60, 4, 0xb0000001);
	assert_int_equal(bus_read(f->bus, 0xb0000000, 4, false), 0x29c08086);
	set_cfg(f, 0x60, 4, 0xe8000003); /* 128 MiB */
	assert_int_equal(bus_read(f->bus, 0xb0000000, 4, false), 0xffffffff);
	assert_int_equal(bus_read(f->bus, 0xe8000000, 4, false), 0x29c08086);
	set_cfg(f, 0x64, 4, 8); /* above 32 GiB */
	assert_int_equal(bus_read(f->bus, UINT64_C(0x8e8000000), 4, false), 0x29c08086);
	set_cfg(f, 0x60, 4, 0xb0000007); /* reserved length */
	assert_int_equal(bus_read(f->bus, UINT64_C(0x8b0000000), 4, false), 0xffffffff);
	set_cfg(f, 0x60, 4, 0xb0000001);
	pci_reset(f->root);
	assert_int_equal(bus_read(f->bus, UINT64_C(0x8b0000000), 4, false), 0xffffffff);
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	set_cfg(f, 0x91, 1, 0x33);
	set_cfg(f, 0x9d, 1, 0x1a);
	wr(f, 0xc0000, 0x99, false);
	pci_state(f->root, save);
	data = state_data(save, &size);
	pci_reset(f->root);
	assert_int_equal(rd(f, 0xc0000, false), 0x11);
	restore = state_restore(data, size);
	pci_state(f->root, restore);
	assert_false(state_failed(restore));
	assert_int_equal(rd(f, 0xc0000, false), 0x99);
	set_cfg(f, 0x9d, 1, 0x4a);
	assert_int_equal(cfg(f, 0x9d, 1), 0x1a); /* still locked */
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(identity), TEST(where_ram_is),	  TEST(pam), TEST(smram), TEST(tseg),
		TEST(pciexbar), TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

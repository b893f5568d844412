/*
 * virtio-blk by a driver made of a few lines: modern and legacy, by direct and indirect descriptors; then rings that
 * lie.
 */
#include "storage/virtio_blk.h"

#include "base/bits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SLOT = 3, BDF = SLOT << 3, LEGACY = 0xc000, MSIX = 0x600000, MODERN = 0x700000, RAM = 0x400000 };
enum {
	DESC = 0x10000,
	AVAIL = 0x11000,
	USED = 0x12000,
	HEADER = 0x20000,
	DATA = 0x30000,
	STATUS = 0x21000,
	INDIRECT = 0x22000
};
enum { DISK_SECTORS = 2048, QUEUE = 256 };
enum { NEXT = 1, WRITE = 2, IS_INDIRECT = 4 };

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct pci_root *root;
	struct msi_sink sink;
	struct virtio_blk *blk;
	struct block *block;
	uint8_t *ram;
	bool intx;
	uint32_t last_msi;
	unsigned messages;
	uint16_t avail;
	char path[64];
};

static void set_intx(void *ctx, unsigned slot, unsigned pin, bool level)
{
	((struct rig *)ctx)->intx = level;
}

static void message(void *ctx, const struct msi *msi)
{
	((struct rig *)ctx)->last_msi = msi->data;
	((struct rig *)ctx)->messages++;
}

static void common(struct rig *r, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(r->bus, MODERN + offset, size, value, false);
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct pci_intx_ops intx = {set_intx, r};
	struct error error = {""};
	char name[128];
	FILE *file;

	strcpy(r->path, "/tmp/softvt-virtio-XXXXXX");
	if (!mkdtemp(r->path))
		return -1;
	snprintf(name, sizeof(name), "%s/disk", r->path);
	file = fopen(name, "wb");
	for (unsigned i = 0; i < DISK_SECTORS; i++) {
		uint8_t sector[512];

		memset(sector, (int)(i * 5), 512);
		fwrite(sector, 512, 1, file);
	}
	fclose(file);
	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	r->sink = (struct msi_sink){message, r};
	if (!bus_create_ram(r->bus, RAM, &error))
		return -1;
	bus_add_ram(r->bus, 0, RAM, 0, 0);
	r->ram = bus_ram(r->bus);
	r->root = pci_root_create(r->bus, &r->sink, &r->log);
	pci_root_connect_intx(r->root, &intx);
	r->block = block_open(name, BLOCK_RAW, false, false, &error);
	r->blk = virtio_blk_create(r->root, r->clock, SLOT, r->block, "VIRTIO1", &error);
	pci_config_access_write(r->root, BDF, 0x10, 4, LEGACY);
	pci_config_access_write(r->root, BDF, 0x14, 4, MSIX);
	pci_config_access_write(r->root, BDF, 0x20, 4, MODERN);
	pci_config_access_write(r->root, BDF, 4, 2, 7);
	*state = r;
	return r->blk ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	char command[128];

	pci_root_destroy(r->root);
	virtio_blk_destroy(r->blk);
	block_close(r->block);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	snprintf(command, sizeof(command), "rm -rf %s", r->path);
	free(r);
	return system(command);
}

static void start(struct rig *r)
{
	common(r, 0x14, 1, 0);
	common(r, 0x14, 1, 3);
	common(r, 0x08, 4, 1);
	common(r, 0x0c, 4, 1); /* VERSION_1 */
	common(r, 0x08, 4, 0);
	common(r, 0x0c, 4, 1 << 28 | 1 << 9);
	common(r, 0x14, 1, 11);
	assert_int_equal(bus_read(r->bus, MODERN + 0x14, 1, false), 11);
	common(r, 0x16, 2, 0);
	assert_int_equal(bus_read(r->bus, MODERN + 0x18, 2, false), QUEUE);
	common(r, 0x20, 4, DESC);
	common(r, 0x28, 4, AVAIL);
	common(r, 0x30, 8, USED);
	common(r, 0x1c, 2, 1);
	common(r, 0x14, 1, 15);
	r->avail = 0;
	memset(r->ram + AVAIL, 0, 0x2000);
}

static void desc(struct rig *r, uint64_t table, unsigned index, uint64_t address, uint32_t size, unsigned flags,
		 unsigned next)
{
	store_le(r->ram + table + 16 * index, 8, address);
	store_le(r->ram + table + 16 * index + 8, 4, size);
	store_le(r->ram + table + 16 * index + 12, 2, flags);
	store_le(r->ram + table + 16 * index + 14, 2, next);
}

/* Make descriptor 0's chain available, ring the bell, wait. */
static void submit(struct rig *r, unsigned used_area)
{
	store_le(r->ram + AVAIL + 4 + 2 * (r->avail % QUEUE), 2, 0);
	store_le(r->ram + AVAIL + 2, 2, ++r->avail);
	bus_write(r->bus, MODERN + 0x3000, 2, 0, false);
	assert_int_not_equal(load_le(r->ram + used_area + 2, 2), r->avail); /* not before the write returned */
	clock_advance_to(r->clock, clock_now(r->clock) + 100000);
	clock_fire_due(r->clock);
}

/* A request with one data segment; returns its status byte. */
static unsigned request(struct rig *r, uint32_t type, uint64_t sector, uint32_t size, bool indirect)
{
	uint64_t table = indirect ? INDIRECT : DESC;
	bool in = type == 0 || type == 8;

	store_le(r->ram + HEADER, 8, type);
	store_le(r->ram + HEADER + 8, 8, sector);
	r->ram[STATUS] = 0xff;
	desc(r, table, 0, HEADER, 16, NEXT, 1);
	desc(r, table, 1, DATA, size, NEXT | (in ? WRITE : 0), 2);
	desc(r, table, 2, STATUS, 1, WRITE, 0);
	if (indirect)
		desc(r, DESC, 0, INDIRECT, 48, IS_INDIRECT, 0);
	submit(r, USED);
	return r->ram[STATUS];
}

static void reads_and_writes(void **state)
{
	struct rig *r = *state;

	assert_int_equal(pci_config_access_read(r->root, BDF, 0, 4), 0x10011af4);
	start(r);
	assert_int_equal(bus_read(r->bus, MODERN + 0x2000, 8, false), DISK_SECTORS);
	for (unsigned indirect = 0; indirect < 2; indirect++) {
		memset(r->ram + DATA, 0, 2048);
		assert_int_equal(request(r, 0, 7, 2048, indirect), 0);
		for (unsigned i = 0; i < 2048; i++)
			assert_int_equal(r->ram[DATA + i], (uint8_t)((7 + i / 512) * 5));
		assert_int_equal(load_le(r->ram + USED + 2, 2), r->avail);
		assert_int_equal(load_le(r->ram + USED + 4 + 8 * (r->avail - 1) + 4, 4), 2049);
	}
	memset(r->ram + DATA, 0x77, 512);
	assert_int_equal(request(r, 1, 100, 512, false), 0);
	assert_int_equal(request(r, 4, 0, 0, false), 0);
	memset(r->ram + DATA, 0, 512);
	assert_int_equal(request(r, 0, 100, 512, false), 0);
	assert_int_equal(r->ram[DATA + 511], 0x77);
	assert_int_equal(request(r, 8, 0, 20, false), 0);
	assert_string_equal((char *)r->ram + DATA, "VIRTIO1");
	assert_int_equal(request(r, 0, DISK_SECTORS, 512, false), 1);
	assert_int_equal(request(r, 0, UINT64_MAX, 512, false), 1);
	assert_int_equal(request(r, 0, 0, 100, false), 1);
	assert_int_equal(request(r, 99, 0, 512, false), 2);
}

static void interrupts(void **state)
{
	struct rig *r = *state;
	unsigned cap = pci_config_access_read(r->root, BDF, 0x34, 1);

	start(r);
	request(r, 0, 0, 512, false);
	assert_true(r->intx);
	assert_int_equal(bus_read(r->bus, MODERN + 0x1000, 1, false), 1);
	assert_false(r->intx);		/* reading ISR acknowledges */
	store_le(r->ram + AVAIL, 2, 1); /* the driver wants none */
	request(r, 0, 0, 512, false);
	assert_false(r->intx);
	store_le(r->ram + AVAIL, 2, 0);
	while (pci_config_access_read(r->root, BDF, cap, 1) != 0x11)
		cap = pci_config_access_read(r->root, BDF, cap + 1, 1);
	pci_config_access_write(r->root, BDF, cap + 2, 2, 0x8000);
	bus_write(r->bus, MSIX + 16, 8, 0xfee00000, false);
	bus_write(r->bus, MSIX + 24, 4, 0x41, false);
	bus_write(r->bus, MSIX + 28, 4, 0, false);
	common(r, 0x1a, 2, 1);
	assert_int_equal(bus_read(r->bus, MODERN + 0x1a, 2, false), 1);
	request(r, 0, 0, 512, false);
	assert_int_equal(r->messages, 1);
	assert_int_equal(r->last_msi, 0x41);
	common(r, 0x1a, 2, 9); /* there is no such vector */
	assert_int_equal(bus_read(r->bus, MODERN + 0x1a, 2, false), 0xffff);
}

static void legacy_driver(void **state)
{
	struct rig *r = *state;
	unsigned used = 0x13000; /* DESC is a page; the ring after it ends within the next one but one */

	bus_out(r->bus, LEGACY + 0x12, 1, 3);
	assert_int_equal(bus_in(r->bus, LEGACY + 0x14, 4), DISK_SECTORS);
	assert_int_equal(bus_in(r->bus, LEGACY, 4) & 1 << 9, 1 << 9);
	bus_out(r->bus, LEGACY + 4, 4, 0);
	bus_out(r->bus, LEGACY + 0x0e, 2, 0);
	assert_int_equal(bus_in(r->bus, LEGACY + 0x0c, 2), QUEUE);
	bus_out(r->bus, LEGACY + 8, 4, DESC >> 12);
	bus_out(r->bus, LEGACY + 0x12, 1, 7);
	used = (DESC + 16 * QUEUE + 4 + 2 * QUEUE + 2 + 4095) & ~4095;
	assert_int_equal(used, USED);
	memset(r->ram + AVAIL, 0, 0x2000);
	assert_int_equal(request(r, 0, 3, 512, false), 0);
	assert_int_equal(r->ram[DATA], 15);
	assert_true(r->intx);
	assert_int_equal(bus_in(r->bus, LEGACY + 0x13, 1), 1);
	assert_false(r->intx);
}

static void features_that_were_not_offered(void **state)
{
	struct rig *r = *state;

	common(r, 0x14, 1, 3);
	common(r, 0x08, 4, 1);
	common(r, 0x0c, 4, 0x11); /* bit 36 is not ours */
	common(r, 0x14, 1, 11);
	assert_int_equal(bus_read(r->bus, MODERN + 0x14, 1, false), 3);
}

static void window_in_configuration_space(void **state)
{
	struct rig *r = *state;
	unsigned cap = pci_config_access_read(r->root, BDF, 0x34, 1);

	while (pci_config_access_read(r->root, BDF, cap, 1) != 9 ||
	       pci_config_access_read(r->root, BDF, cap + 3, 1) != 5)
		cap = pci_config_access_read(r->root, BDF, cap + 1, 1);
	pci_config_access_write(r->root, BDF, cap + 4, 1, 4);
	pci_config_access_write(r->root, BDF, cap + 8, 4, 0x12);
	pci_config_access_write(r->root, BDF, cap + 12, 4, 2);
	assert_int_equal(pci_config_access_read(r->root, BDF, cap + 16, 2), 1); /* num_queues */
	pci_config_access_write(r->root, BDF, cap + 8, 4, 0x14);
	pci_config_access_write(r->root, BDF, cap + 12, 4, 1);
	pci_config_access_write(r->root, BDF, cap + 16, 1, 3);
	assert_int_equal(bus_read(r->bus, MODERN + 0x14, 1, false), 3);
	pci_config_access_write(r->root, BDF, cap + 8, 4, 0xfffffffc); /* outside */
	pci_config_access_read(r->root, BDF, cap + 16, 4);
}

/* After each lie the device wants a reset, does nothing more, and works again after one. */
static void broken_rings(void **state)
{
	struct rig *r = *state;

	for (unsigned lie = 0; lie < 8; lie++) {
		start(r);
		assert_int_equal(request(r, 0, 1, 512, false), 0);
		switch (lie) {
		case 0: desc(r, DESC, 0, HEADER, 16, NEXT, 0); break;	       /* a loop */
		case 1: desc(r, DESC, 0, HEADER, 16, NEXT, QUEUE); break;      /* out of the table */
		case 2: desc(r, DESC, 0, INDIRECT, 17, IS_INDIRECT, 0); break; /* not whole descriptors */
		case 3:							       /* a table in a table */
			desc(r, DESC, 0, INDIRECT, 16, IS_INDIRECT, 0);
			desc(r, INDIRECT, 0, INDIRECT, 16, IS_INDIRECT, 0);
			break;
		case 4: /* to be read after to be written */
			desc(r, DESC, 0, STATUS, 1, WRITE | NEXT, 1);
			desc(r, DESC, 1, HEADER, 16, 0, 0);
			break;
		case 5: r->avail = (uint16_t)(r->avail + QUEUE + 7); break;	     /* more than the ring holds */
		case 6: desc(r, DESC, 0, UINT64_MAX - 4, 16, IS_INDIRECT, 0); break; /* nowhere */
		default:
			desc(r, DESC, 0, INDIRECT, 0xfffffff0, IS_INDIRECT, 0); /* a table of 2^28 loops */
			for (unsigned i = 0; i < 2000; i++)
				desc(r, INDIRECT, i, HEADER, 16, NEXT, i + 1);
		}
		submit(r, USED);
		assert_int_equal(bus_read(r->bus, MODERN + 0x14, 1, false) & 64, 64);
	}
	start(r);
	assert_int_equal(request(r, 0, 1, 512, false), 0);
	/* No room for a status, no header: given back or refused, and on it goes. */
	desc(r, DESC, 0, HEADER, 16, 0, 0);
	submit(r, USED);
	desc(r, DESC, 0, STATUS, 1, WRITE, 0);
	submit(r, USED);
	assert_int_equal(r->ram[STATUS], 1);
	assert_int_equal(request(r, 0, 1, 512, true), 0);
}

static void random_driver(void **state)
{
	struct rig *r = *state;
	uint32_t seed = 3;

	for (unsigned round = 0; round < 3000; round++) {
		start(r);
		for (unsigned i = 0; i < 12; i++) {
			seed = seed * 1664525 + 1013904223;
			desc(r, DESC, i, (seed >> 8) % 3 ? (seed >> 12) % RAM : seed * UINT64_C(0x9e3779b97f4a7c15),
			     seed >> 20, seed >> 5 & 7, i + 1);
			store_le(r->ram + AVAIL + 4 + 2 * i, 2, seed >> 9 & 15);
		}
		store_le(r->ram + AVAIL + 2, 2, seed & 15);
		bus_write(r->bus, MODERN + 0x3000, 2, 0, false);
		bus_write(r->bus, MODERN + (seed >> 7) % 0x4000, 1u << (seed & 3), seed, false);
		clock_advance_to(r->clock, clock_now(r->clock) + 100000);
		clock_fire_due(r->clock);
		bus_read(r->bus, MODERN + (seed >> 3) % 0x4000, 1u << (seed & 3), false);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reads_and_writes),
		TEST(interrupts),
		TEST(legacy_driver),
		TEST(features_that_were_not_offered),
		TEST(window_in_configuration_space),
		TEST(broken_rings),
		TEST(random_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

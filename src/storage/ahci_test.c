/*
 * The AHCI controller as a driver programs it: commands in memory, disks and a CD on ports, errors, and guests with ill
 * will.
 */
#include "storage/ahci.h"

#include "base/bits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ABAR = 0xc0000, PORT = 0x100, LIST = 0x1000, FIS = 0x2000, TABLE = 0x3000, DATA = 0x10000, DISK_SECTORS = 4096 };
enum {
	CLB = 0,
	FB = 8,
	IS = 0x10,
	IE = 0x14,
	CMD = 0x18,
	TFD = 0x20,
	SIG = 0x24,
	SSTS = 0x28,
	SCTL = 0x2c,
	SACT = 0x34,
	CI = 0x38
};

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct pci_root *root;
	struct ahci *ahci;
	struct block *disk, *cd;
	uint8_t *ram;
	bool intx;
	char path[64];
};

static void set_intx(void *ctx, unsigned slot, unsigned pin, bool level)
{
	assert_int_equal(slot, 31);
	((struct rig *)ctx)->intx = level;
}

static void no_message(void *ctx, const struct msi *msi)
{
}

static uint32_t get(struct rig *r, unsigned offset)
{
	return (uint32_t)bus_read(r->bus, ABAR + offset, 4, false);
}

static void set(struct rig *r, unsigned offset, uint32_t value)
{
	bus_write(r->bus, ABAR + offset, 4, value, false);
}

static unsigned reg(unsigned port, unsigned offset)
{
	return PORT + 0x80 * port + offset;
}

static int set_up(void **state)
{
	static struct msi_sink sink = {no_message, NULL};
	struct rig *r = calloc(1, sizeof(*r));
	struct pci_intx_ops intx = {set_intx, r};
	struct error error = {""};
	char name[128];
	FILE *file;

	strcpy(r->path, "/tmp/softvt-ahci-XXXXXX");
	if (!mkdtemp(r->path))
		return -1;
	snprintf(name, sizeof(name), "%s/disk", r->path);
	file = fopen(name, "wb");
	for (unsigned i = 0; i < DISK_SECTORS; i++) {
		uint8_t sector[512];

		memset(sector, (int)(i * 7), 512);
		fwrite(sector, 512, 1, file);
	}
	fclose(file);
	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	if (!bus_create_ram(r->bus, 0xc0000, &error))
		return -1;
	bus_add_ram(r->bus, 0, 0xc0000, 0, 0);
	r->ram = bus_ram(r->bus);
	r->root = pci_root_create(r->bus, &sink, &r->log);
	pci_root_connect_intx(r->root, &intx);
	r->ahci = ahci_create(r->root, r->clock, 31, 2, &error);
	r->disk = block_open(name, BLOCK_RAW, false, false, &error);
	r->cd = block_open(name, BLOCK_RAW, true, false, &error);
	ahci_attach(r->ahci, 0, r->disk, false, "SERIAL1");
	ahci_attach(r->ahci, 1, r->cd, true, "SERIAL2");
	ahci_attach(r->ahci, 2, NULL, true, "SERIAL3");
	pci_config_access_write(r->root, 31 << 3 | 2, 0x24, 4, ABAR);
	pci_config_access_write(r->root, 31 << 3 | 2, 4, 2, 7);
	for (unsigned port = 0; port < 4; port++) {
		set(r, reg(port, CLB), LIST);
		set(r, reg(port, FB), FIS);
		set(r, reg(port, IE), 0xffffffff);
		set(r, reg(port, CMD), 0x10);
		set(r, reg(port, CMD), 0x11);
		set(r, reg(port, 0x30), 0xffffffff);
		set(r, reg(port, IS), 0xffffffff);
	}
	set(r, 8, 0xffffffff);
	set(r, 4, 2);
	*state = r;
	return r->ahci && r->disk && r->cd ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	char command[128];

	pci_root_destroy(r->root); /* before its functions */
	ahci_destroy(r->ahci);
	block_close(r->disk);
	block_close(r->cd);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	snprintf(command, sizeof(command), "rm -rf %s", r->path);
	free(r);
	return system(command);
}

/* Fill a slot: one FIS, data in pieces of `piece` bytes at DATA. */
static uint8_t *prepare(struct rig *r, unsigned slot, uint8_t command, uint64_t lba, uint16_t count, size_t size,
			size_t piece)
{
	uint8_t *header = r->ram + LIST + 32 * slot, *table = r->ram + TABLE + 0x1000 * slot;
	unsigned entries = 0;

	memset(table, 0, 0x1000);
	table[0] = 0x27;
	table[1] = 0x80;
	table[2] = command;
	store_le(table + 4, 3, lba);
	table[7] = 0x40;
	store_le(table + 8, 3, lba >> 24);
	store_le(table + 12, 2, count);
	for (size_t done = 0; done < size; done += piece, entries++) {
		store_le(table + 0x80 + 16 * entries, 8, DATA + done);
		store_le(table + 0x80 + 16 * entries + 12, 4, (size - done < piece ? size - done : piece) - 1);
	}
	memset(header, 0, 32);
	store_le(header, 2, 5);
	store_le(header + 2, 2, entries);
	store_le(header + 8, 8, TABLE + 0x1000 * slot);
	return table;
}

static void pass(struct rig *r)
{
	clock_advance_to(r->clock, clock_now(r->clock) + 100000);
	clock_fire_due(r->clock);
}

/* Issue and finish; the status byte. */
static unsigned issue(struct rig *r, unsigned port, uint32_t slots)
{
	set(r, reg(port, CI), slots);
	assert_int_equal(get(r, reg(port, CI)) & slots, slots); /* a register write returns before the command runs */
	pass(r);
	return get(r, reg(port, TFD)) & 0xff;
}

static void what_is_plugged_in(void **state)
{
	static const uint32_t signature[4] = {0x00000101, 0xeb140101, 0xeb140101, 0xffffffff};
	struct rig *r = *state;

	assert_int_equal(get(r, 0) & 31, 5);
	assert_int_equal(get(r, 0x0c), 0x3f);
	assert_int_equal(get(r, 0x10), 0x10300);
	for (unsigned port = 0; port < 4; port++) {
		set(r, reg(port, SCTL), 0x301);
		assert_int_equal(get(r, reg(port, SSTS)), 0);
		set(r, reg(port, SCTL), 0x300);
		assert_int_equal(get(r, reg(port, SSTS)) & 15, port < 3 ? 3 : 0);
		assert_int_equal(get(r, reg(port, SIG)), signature[port]);
		assert_int_equal(get(r, reg(port, TFD)) & 0x88, port < 3 ? 0 : 0x08);
	}
}

static void identify(void **state)
{
	struct rig *r = *state;
	uint8_t *page = r->ram + DATA, sum = 0;

	prepare(r, 0, 0xec, 0, 0, 512, 512);
	assert_int_equal(issue(r, 0, 1), 0x50);
	assert_int_equal(load_le(page + 120, 4), DISK_SECTORS);
	assert_int_equal(load_le(page + 200, 8), DISK_SECTORS);
	assert_memory_equal(page + 20, "ESIRLA 1", 8); /* bytes of each word swapped */
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + page[i]);
	assert_int_equal(sum, 0);
	/* PIO: a PIO Setup FIS and no other. */
	assert_int_equal(r->ram[FIS + 0x20], 0x5f);
	assert_int_equal(get(r, reg(0, IS)), 2);
	assert_int_equal(get(r, 8), 1);
	assert_true(r->intx);
	set(r, reg(0, IS), 2);
	set(r, 8, 1);
	assert_false(r->intx);
	assert_int_equal(load_le(r->ram + LIST + 4, 4), 512);
	/* A drive says what it is by refusing. */
	prepare(r, 0, 0xec, 0, 0, 512, 512);
	assert_int_equal(issue(r, 1, 1) & 1, 1);
	assert_int_equal(load_le(r->ram + FIS + 0x44, 3), 0xeb1401);
}

static void dma_in_odd_pieces(void **state)
{
	struct rig *r = *state;

	prepare(r, 0, 0x25, 100, 8, 8 * 512, 700);
	assert_int_equal(issue(r, 0, 1), 0x50);
	for (unsigned i = 0; i < 8 * 512; i++)
		assert_int_equal(r->ram[DATA + i], (uint8_t)((100 + i / 512) * 7));
	memset(r->ram + DATA, 0xa5, 1024);
	prepare(r, 3, 0x35, 200, 2, 1024, 6);
	assert_int_equal(issue(r, 0, 8), 0x50);
	memset(r->ram + DATA, 0, 2048);
	prepare(r, 0, 0x25, 199, 4, 2048, 2048);
	assert_int_equal(issue(r, 0, 1), 0x50);
	assert_int_equal(r->ram[DATA], (uint8_t)(199 * 7));
	assert_int_equal(r->ram[DATA + 512], 0xa5);
	assert_int_equal(r->ram[DATA + 1535], 0xa5);
	assert_int_equal(r->ram[DATA + 1536], (uint8_t)(202 * 7));
	assert_int_equal(get(r, reg(0, IS)) & 1, 1);
	assert_int_equal(r->ram[FIS + 0x40], 0x34);
}

static void queued(struct rig *r, unsigned slot, bool write, uint64_t lba, uint16_t sectors)
{
	uint8_t *table = prepare(r, slot, write ? 0x61 : 0x60, lba, (uint16_t)(slot << 3), sectors * 512u, 4096);

	table[3] = (uint8_t)sectors;
	table[11] = (uint8_t)(sectors >> 8);
}

static void native_queue(void **state)
{
	struct rig *r = *state;

	queued(r, 1, false, 10, 2);
	queued(r, 5, false, 20, 2);
	set(r, reg(0, SACT), 0x22);
	set(r, reg(0, CI), 0x22);
	pass(r);
	assert_int_equal(get(r, reg(0, SACT)), 0);
	assert_int_equal(get(r, reg(0, CI)), 0);
	assert_int_equal(get(r, reg(0, IS)), 8);
	assert_int_equal(r->ram[FIS + 0x58], 0xa1);
	/* One that fails keeps its SACT bit, stops the port, and is told of in the log. */
	set(r, reg(0, IS), 0xffffffff);
	queued(r, 4, false, DISK_SECTORS - 1, 2);
	set(r, reg(0, SACT), 0x10);
	set(r, reg(0, CI), 0x10);
	pass(r);
	assert_int_equal(get(r, reg(0, SACT)), 0x10);
	assert_int_equal(get(r, reg(0, IS)) >> 30 & 1, 1);
	assert_int_equal(get(r, reg(0, TFD)) & 1, 1);
	set(r, reg(0, CMD), 0x10);
	set(r, reg(0, CMD), 0x11);
	prepare(r, 0, 0x2f, 0x10, 1, 512, 512);
	assert_int_equal(issue(r, 0, 1), 0x50);
	assert_int_equal(r->ram[DATA], 4);
	assert_int_equal(r->ram[DATA + 3], 0x10);
}

static void errors_stop_the_port(void **state)
{
	struct rig *r = *state;

	prepare(r, 0, 0x25, DISK_SECTORS, 1, 512, 512);
	assert_int_equal(issue(r, 0, 1), 0x51);
	assert_int_equal(get(r, reg(0, TFD)) >> 8, 0x10);
	assert_int_equal(get(r, reg(0, CI)), 1);
	prepare(r, 1, 0xec, 0, 0, 512, 512);
	set(r, reg(0, CI), 2);
	pass(r);
	assert_int_equal(get(r, reg(0, CI)), 3); /* halted */
	set(r, reg(0, CMD), 0x10);
	assert_int_equal(get(r, reg(0, CI)), 0);
	set(r, reg(0, CMD), 0x11);
	assert_int_equal(issue(r, 0, 2), 0x50);
	prepare(r, 0, 0xb0, 0xc24f00, 0, 0, 512); /* SMART is not there */
	assert_int_equal(issue(r, 0, 1), 0x51);
	set(r, reg(0, CMD), 0x10);
	set(r, reg(0, CMD), 0x11);
	prepare(r, 0, 0x25, 0, 8, 100, 512); /* the buffer is too short */
	assert_int_equal(issue(r, 0, 1) & 1, 1);
}

/* A packet command on a port; the status byte. */
static unsigned packet(struct rig *r, unsigned port, size_t size, const uint8_t *bytes)
{
	uint8_t *table = prepare(r, 0, 0xa0, 0, 0, size, 2048);

	memcpy(table + 0x40, bytes, 12);
	table[3] = 1;
	memset(r->ram + DATA, 0xee, size);
	set(r, reg(port, CMD), 0x10);
	set(r, reg(port, CMD), 0x11);
	return issue(r, port, 1);
}
#define PACKET(r, port, size, ...) packet(r, port, size, (const uint8_t[12]){__VA_ARGS__})

static void cdrom(void **state)
{
	struct rig *r = *state;
	uint8_t *data = r->ram + DATA;

	assert_int_equal(PACKET(r, 1, 36, 0x12, 0, 0, 0, 36), 0x50);
	assert_int_equal(data[0], 5);
	assert_memory_equal(data + 8, "SoftVT  CD-ROM ", 15);
	assert_int_equal(PACKET(r, 1, 8, 0x25), 0x50);
	assert_memory_equal(data, "\0\0\x03\xff\0\0\x08\0", 8);
	assert_int_equal(PACKET(r, 1, 4096, 0x28, 0, 0, 0, 0, 5, 0, 0, 2), 0x50);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(data[i], (uint8_t)((20 + i / 512) * 7));
	assert_int_equal(PACKET(r, 1, 20, 0x43, 2, 0, 0, 0, 0, 0, 0, 20), 0x50);
	assert_memory_equal(data, "\0\x12\x01\x01\0\x14\x01\0\0\0\x02\0\0\x14\xaa\0\0\0\x0f\x31", 20);
	assert_int_equal(PACKET(r, 1, 0, 0x00), 0x50);
	assert_int_equal(PACKET(r, 1, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), 0x50);
	assert_int_equal(data[4], 2);
	assert_int_equal(data[5], 2);
	/* Beyond the end, and then why. */
	assert_int_equal(PACKET(r, 1, 2048, 0x28, 0, 0, 0, 0x04, 0, 0, 0, 1), 0x51);
	assert_int_equal(get(r, reg(1, TFD)) >> 12, 5);
	assert_int_equal(PACKET(r, 1, 18, 0x03, 0, 0, 0, 18), 0x50);
	assert_int_equal(data[2], 5);
	assert_int_equal(data[12], 0x21);
	assert_int_equal(PACKET(r, 1, 2048, 0x2a), 0x51); /* no writing */
	/* A drive without a disc. */
	assert_int_equal(PACKET(r, 2, 0, 0x00), 0x51);
	assert_int_equal(PACKET(r, 2, 18, 0x03, 0, 0, 0, 18), 0x50);
	assert_int_equal(data[2], 2);
	assert_int_equal(data[12], 0x3a);
}

static void software_reset(void **state)
{
	struct rig *r = *state;
	uint8_t *table = prepare(r, 0, 0, 0, 0, 0, 512);

	table[1] = 0;
	table[15] = 4;
	set(r, reg(0, CI), 1);
	pass(r);
	assert_int_equal(get(r, reg(0, TFD)) & 0x80, 0x80);
	table[15] = 0;
	set(r, reg(0, CI), 1);
	pass(r);
	assert_int_equal(get(r, reg(0, TFD)), 0x150);
	assert_int_equal(r->ram[FIS + 0x40], 0x34);
	set(r, 4, 1); /* HBA reset */
	assert_int_equal(get(r, 4), 0x80000000);
	assert_int_equal(get(r, reg(0, CMD)) & 1, 0);
}

/* Random registers, lists and tables: the controller stays within bounds and comes to an end. */
static void hostile_guest(void **state)
{
	struct rig *r = *state;
	uint32_t seed = 77;

	for (unsigned round = 0; round < 3000; round++) {
		unsigned port = round % 3;

		for (unsigned i = LIST; i < TABLE + 0x1000; i++) {
			seed = seed * 1664525 + 1013904223;
			r->ram[i] = (uint8_t)(seed >> 24);
		}
		if (round % 2) { /* closer to the truth */
			static const uint8_t commands[] = {0x25, 0x35, 0x60, 0x61, 0xa0, 0xec, 0x2f, 0xef, 0xc8, 0x20};

			prepare(r, 0, commands[round / 2 % sizeof(commands)], seed % (2 * DISK_SECTORS),
				(uint16_t)(seed >> 8), 4096, 2 + seed % 600);
			r->ram[TABLE + 0x80 + seed % 64] = (uint8_t)(seed >> 16);
			r->ram[TABLE + 0x40] = (uint8_t)(seed >> 24);
		}
		for (unsigned i = 0; i < 8; i++) {
			seed = seed * 1664525 + 1013904223;
			bus_write(r->bus, ABAR + (seed >> 8) % 0x400, 1u << (seed & 3), seed * 0x9e3779b97f4a7c15,
				  false);
		}
		set(r, reg(port, CLB), round % 4 == 3 ? seed : LIST);
		set(r, reg(port, FB), round % 8 == 7 ? seed : FIS);
		set(r, reg(port, CMD), 0x10);
		set(r, reg(port, CMD), 0x11);
		set(r, reg(port, CI), 1 | seed);
		pass(r);
		get(r, (seed >> 4) % 0x400);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_plugged_in),   TEST(identify), TEST(dma_in_odd_pieces), TEST(native_queue),
		TEST(errors_stop_the_port), TEST(cdrom),    TEST(software_reset),    TEST(hostile_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

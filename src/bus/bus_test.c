/* The map: precedence, views, splitting, moves in mid-access, DMA that must not come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "bus/bus.h"

#define RAM_SIZE 0x100000

/* A device that notes each access and answers with its offset in every byte. */
struct probe {
	struct bus *bus;
	struct region *region;
	unsigned reads, writes;
	uint64_t offset[16], value[16];
	unsigned size[16];
	uint64_t move_to; /* where a write moves the region, when not 0 */
	uint64_t dma_to;  /* where a write makes DMA, when not 0 */
	bool dma_answered;
};

static uint64_t probe_read(void *device, uint64_t offset, unsigned size)
{
	struct probe *probe = device;
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)(uint8_t)(offset + i) << 8 * i;
	probe->offset[probe->reads % 16] = offset;
	probe->size[probe->reads++ % 16] = size;
	return value;
}

static void probe_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct probe *probe = device;

	probe->offset[probe->writes % 16] = offset;
	probe->value[probe->writes % 16] = value;
	probe->size[probe->writes++ % 16] = size;
	if (probe->move_to)
		region_move(probe->region, probe->move_to);
	if (probe->dma_to)
		probe->dma_answered = bus_write_bytes(probe->bus, probe->dma_to, "abcd", 4);
}

static const struct device_ops any_size = {probe_read, probe_write, 0, 0};
static const struct device_ops dwords = {probe_read, probe_write, 4, 4};
static const struct device_ops bytes_only = {probe_read, probe_write, 1, 1};

static const struct log quiet;

static struct bus *make(void)
{
	struct bus *bus = bus_create(&quiet);
	struct error error;

	assert_true(bus_create_ram(bus, RAM_SIZE, &error));
	bus_add_ram(bus, 0, RAM_SIZE, 0, 0);
	return bus;
}

static void ram_and_holes(void **unused)
{
	struct bus *bus = make();
	uint8_t buffer[16];
	struct bus_span span;

	bus_write(bus, 0x1003, 8, UINT64_C(0x1122334455667788), false);
	assert_true(bus_read(bus, 0x1003, 8, false) == UINT64_C(0x1122334455667788));
	assert_int_equal(bus_read(bus, 0x1003, 2, false), 0x7788);
	assert_int_equal(bus_ram(bus)[0x1003], 0x88);
	assert_int_equal(bus_read(bus, 0x5000000, 4, false), 0xffffffff);
	/* Across the end of RAM: the part beyond is all ones. */
	bus_write(bus, RAM_SIZE - 2, 4, 0x44332211, false);
	assert_int_equal(bus_read(bus, RAM_SIZE - 2, 4, false), 0xffff2211);
	assert_false(bus_read_bytes(bus, RAM_SIZE - 8, buffer, 16));
	assert_int_equal(buffer[6], 0x11);
	assert_int_equal(buffer[8], 0xff);
	assert_true(bus_read_bytes(bus, RAM_SIZE - 16, buffer, 16));
	/* Around the end of the address space. */
	assert_true(bus_read(bus, UINT64_MAX - 3, 8, false) >> 32 == (bus_read(bus, 0, 4, false)));
	bus_lookup(bus, 0x2345, false, &span);
	assert_int_equal(span.base, 0);
	assert_int_equal(span.end, RAM_SIZE);
	assert_ptr_equal(span.host, bus_ram(bus));
	assert_true(span.writable);
	bus_lookup(bus, RAM_SIZE, false, &span);
	assert_null(span.host);
	assert_null(span.region);
	assert_int_equal(span.base, RAM_SIZE);
	assert_int_equal(span.end, 0);
	bus_destroy(bus);
}

static void overlays(void **unused)
{
	struct bus *bus = make();
	static uint8_t rom_bytes[0x2000];
	struct region *rom = bus_add_rom(bus, 0x2000, 0x2000, rom_bytes, 20), *shadow;
	struct bus_span span;
	uint64_t generation = bus_generation(bus);

	rom_bytes[0] = 0x55;
	bus_write(bus, 0x2000, 1, 0xaa, false);
	assert_int_equal(bus_read(bus, 0x2000, 1, false), 0x55);
	assert_int_equal(bus_ram(bus)[0x2000], 0);
	region_enable(rom, false);
	assert_int_equal(bus_generation(bus), generation + 1);
	region_enable(rom, false);
	assert_int_equal(bus_generation(bus), generation + 1);
	assert_int_equal(bus_read(bus, 0x2000, 1, false), 0);
	region_enable(rom, true);

	/* PAM: RAM over the ROM in its four modes. */
	shadow = bus_add_ram(bus, 0x3000, 0x1000, 0x3000, 30);
	rom_bytes[0x1000] = 0x66;
	bus_write(bus, 0x3000, 1, 0x77, false);
	assert_int_equal(bus_read(bus, 0x3000, 1, false), 0x77);
	region_set_writable(shadow, false);
	bus_write(bus, 0x3000, 1, 0x88, false);
	assert_int_equal(bus_read(bus, 0x3000, 1, false), 0x77);
	region_set_writable(shadow, true);
	region_set_readable(shadow, false);
	bus_write(bus, 0x3000, 1, 0x99, false);
	assert_int_equal(bus_read(bus, 0x3000, 1, false), 0x66);
	assert_int_equal(bus_ram(bus)[0x3000], 0x99);
	bus_lookup(bus, 0x3000, false, &span);
	assert_ptr_equal(span.host, rom_bytes + 0x1000);
	assert_false(span.writable);
	bus_destroy(bus);
}

static void smm_view(void **unused)
{
	struct bus *bus = make();
	struct probe vga = {0};
	struct region *smram;

	bus_add_device(bus, "vga", 0xa0000, 0x20000, &any_size, &vga, 10);
	smram = bus_add_ram(bus, 0xa0000, 0x20000, 0xa0000, 20);
	region_set_view(smram, VIEW_SMM);
	bus_write(bus, 0xa0004, 4, 0x12345678, true);
	assert_int_equal(vga.writes, 0);
	assert_int_equal(bus_read(bus, 0xa0004, 4, true), 0x12345678);
	assert_int_equal(bus_read(bus, 0xa0004, 4, false), 0x07060504);
	assert_int_equal(vga.reads, 1);
	/* DMA sees what CPUs see outside of SMM. */
	assert_true(bus_write_bytes(bus, 0xa0000, "x", 1));
	assert_int_equal(vga.writes, 1);
	bus_destroy(bus);
}

static void splitting(void **unused)
{
	struct bus *bus = make();
	struct probe any = {0}, four = {0}, one = {0};

	bus_add_device(bus, "any", 0x200000, 0x20, &any_size, &any, 10);
	bus_add_device(bus, "four", 0x200020, 0x20, &dwords, &four, 10);
	bus_add_device(bus, "one", 0x200040, 0x20, &bytes_only, &one, 10);

	assert_true(bus_read(bus, 0x200008, 8, false) == UINT64_C(0x0f0e0d0c0b0a0908));
	assert_int_equal(any.reads, 1);
	assert_int_equal(any.size[0], 8);
	/* Misaligned: naturally aligned pieces, low address first. */
	assert_int_equal(bus_read(bus, 0x200003, 4, false), 0x06050403);
	assert_int_equal(any.reads, 4);
	assert_int_equal(any.offset[1], 3);
	assert_int_equal(any.size[1], 1);
	assert_int_equal(any.offset[2], 4);
	assert_int_equal(any.size[2], 2);
	/* Over the border of two devices. */
	bus_write(bus, 0x20001e, 4, 0x44332211, false);
	assert_int_equal(any.writes, 1);
	assert_int_equal(any.value[0], 0x2211);
	assert_int_equal(four.writes, 0); /* takes no 2 bytes */
	/* A device of dwords: small reads are widened, large accesses are split. */
	assert_int_equal(bus_read(bus, 0x200021, 1, false), 1);
	assert_int_equal(four.offset[0], 0);
	assert_int_equal(four.size[0], 4);
	bus_write(bus, 0x200028, 8, UINT64_C(0x8877665544332211), false);
	assert_int_equal(four.writes, 2);
	assert_int_equal(four.value[0], 0x44332211);
	assert_int_equal(four.offset[1], 12);
	assert_int_equal(four.value[1], 0x88776655);
	assert_int_equal(bus_read(bus, 0x200040, 4, false), 0x03020100);
	assert_int_equal(one.reads, 4);
	bus_destroy(bus);
}

static void ports(void **unused)
{
	struct bus *bus = make();
	struct probe any = {0}, one = {0}, late = {0};
	struct region *moving;

	bus_add_ports(bus, "any", 0x3f8, 8, &any_size, &any);
	bus_add_ports(bus, "one", 0xfffe, 2, &bytes_only, &one);
	moving = bus_add_ports(bus, "late", 0x3f0, 0x10, &any_size, &late);
	assert_int_equal(bus_in(bus, 0x80, 1), 0xff);
	assert_int_equal(bus_in(bus, 0x80, 4), 0xffffffff);
	assert_int_equal(bus_in(bus, 0x3f9, 2), 0x0201); /* as the CPU made it, by whoever was first */
	assert_int_equal(any.reads, 1);
	assert_int_equal(late.reads, 0);
	bus_out(bus, 0x3ff, 2, 0xbbaa);
	assert_int_equal(any.value[0], 0xaa);
	assert_int_equal(any.size[0], 1);
	/* Over the last port: nothing is there. */
	assert_int_equal(bus_in(bus, 0xfffe, 4), 0xffff0100);
	region_move(moving, 0x1000);
	assert_int_equal(bus_in(bus, 0x3f0, 1), 0xff);
	assert_int_equal(bus_in(bus, 0x100f, 1), 0x0f);
	bus_destroy(bus);
}

static void moving_in_mid_access(void **unused)
{
	struct bus *bus = make();
	struct probe probe = {0};

	probe.region = bus_add_device(bus, "moving", 0x200000, 0x1000, &dwords, &probe, 10);
	probe.move_to = 0x300000;
	bus_write(bus, 0x200000, 8, 1, false); /* the second half no longer finds it */
	assert_int_equal(probe.writes, 1);
	assert_int_equal(bus_read(bus, 0x200000, 4, false), 0xffffffff);
	assert_int_equal(bus_read(bus, 0x300000, 4, false), 0x03020100);
	/* Somewhere it does not fit. */
	region_move(probe.region, UINT64_MAX - 0xf);
	assert_int_equal(bus_read(bus, UINT64_MAX - 3, 4, false), 0x0f0e0d0c);
	bus_destroy(bus);
}

static void dma_does_not_come_back(void **unused)
{
	struct bus *bus = make();
	struct probe a = {.bus = bus, .dma_to = 0x201000}, b = {.bus = bus, .dma_to = 0x200000};

	bus_add_device(bus, "a", 0x200000, 0x1000, &any_size, &a, 10);
	bus_add_device(bus, "b", 0x201000, 0x1000, &any_size, &b, 10);
	bus_write(bus, 0x200000, 4, 1, false);
	assert_int_equal(a.writes, 1);
	assert_int_equal(b.writes, 1);
	assert_true(a.dma_answered);
	assert_false(b.dma_answered);
	/* To memory it goes, and afterwards all is as before. */
	a.dma_to = 0x100;
	bus_write(bus, 0x200000, 4, 1, false);
	assert_true(a.dma_answered);
	assert_memory_equal(bus_ram(bus) + 0x100, "abcd", 4);
	bus_destroy(bus);
}

/* Devices that write to one another in a row: the row has an end. */
static void dma_chains_end(void **state)
{
	struct bus *bus = make();
	struct probe chain[12] = {0};
	unsigned reached = 0;

	for (unsigned i = 0; i < 12; i++) {
		chain[i].bus = bus;
		chain[i].dma_to = 0x200000 + 0x1000 * (i + 1);
		bus_add_device(bus, "chain", 0x200000 + 0x1000 * i, 0x1000, &any_size, &chain[i], 10);
	}
	bus_write(bus, 0x200000, 4, 1, false);
	for (unsigned i = 0; i < 12; i++)
		reached += chain[i].writes;
	assert_int_equal(reached, 8);
	bus_destroy(bus);
}

struct heard {
	unsigned changes, writes;
	const uint8_t *host;
	size_t size;
};

static void changed(void *ctx)
{
	((struct heard *)ctx)->changes++;
}

static void written(void *ctx, const uint8_t *host, size_t size)
{
	struct heard *heard = ctx;

	heard->writes++;
	heard->host = host;
	heard->size = size;
}

static void listeners(void **unused)
{
	struct bus *bus = make();
	struct heard heard = {0};
	struct region *region;

	bus_on_change(bus, changed, &heard);
	bus_on_ram_write(bus, written, &heard);
	region = bus_add_ram(bus, 0x400000, 0x1000, 0, 0);
	assert_int_equal(heard.changes, 1);
	region_move(region, 0x400000);
	assert_int_equal(heard.changes, 1);
	region_enable(region, false);
	region_move(region, 0x500000); /* unseen */
	assert_int_equal(heard.changes, 2);
	bus_write_bytes(bus, 0x1234, "hello", 5);
	assert_int_equal(heard.writes, 1);
	assert_ptr_equal(heard.host, bus_ram(bus) + 0x1234);
	assert_int_equal(heard.size, 5);
	bus_destroy(bus);
}

/* Random maps against a plain model: the highest priority, then the first registered. */
static void random_maps(void **unused)
{
	enum { COUNT = 24, SPACE = 0x400 };
	uint64_t seed = 1;

	for (unsigned round = 0; round < 200; round++) {
		struct bus *bus = bus_create(&quiet);
		struct probe probes[COUNT] = {0};
		struct region *regions[COUNT];
		unsigned base[COUNT], size[COUNT], on[COUNT];
		int priority[COUNT];

		for (unsigned i = 0; i < COUNT; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			base[i] = seed >> 33 & 0x3ff;
			size[i] = (seed >> 43 & 0x7f) + 1;
			priority[i] = seed >> 50 & 3;
			on[i] = seed >> 52 & 1;
			regions[i] = bus_add_device(bus, "probe", 0, size[i], &any_size, &probes[i], priority[i]);
			region_move(regions[i], base[i]);
			region_enable(regions[i], on[i]);
		}
		for (unsigned at = 0; at < SPACE; at++) {
			int best = -1;

			for (int i = 0; i < COUNT; i++)
				if (on[i] && at >= base[i] && at < base[i] + size[i] &&
				    (best < 0 || priority[i] > priority[best]))
					best = i;
			for (unsigned i = 0; i < COUNT; i++)
				probes[i].reads = 0;
			assert_int_equal(bus_read(bus, at, 1, round & 1), best < 0 ? 0xff : (uint8_t)(at - base[best]));
			if (best >= 0)
				assert_int_equal(probes[best].reads, 1);
		}
		bus_destroy(bus);
	}
}

static void state_of_ram(void **unused)
{
	struct bus *bus = make();
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	bus_write(bus, 0x1234, 4, 0xcafe, false);
	bus_state(bus, save);
	data = state_data(save, &size);
	bus_write(bus, 0x1234, 4, 0, false);
	bus_write(bus, 0x8000, 4, 1, false);
	restore = state_restore(data, size);
	bus_state(bus, restore);
	assert_false(state_failed(restore));
	assert_int_equal(bus_read(bus, 0x1234, 4, false), 0xcafe);
	assert_int_equal(bus_read(bus, 0x8000, 4, false), 0);
	state_free(restore);
	state_free(save);
	bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ram_and_holes),
		cmocka_unit_test(overlays),
		cmocka_unit_test(smm_view),
		cmocka_unit_test(splitting),
		cmocka_unit_test(ports),
		cmocka_unit_test(moving_in_mid_access),
		cmocka_unit_test(dma_does_not_come_back),
		cmocka_unit_test(dma_chains_end),
		cmocka_unit_test(listeners),
		cmocka_unit_test(random_maps),
		cmocka_unit_test(state_of_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

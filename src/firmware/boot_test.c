/*
 * Boot protocols: kernels made here are loaded, and memory and registers must be what the protocol promises. Then
 * broken ones.
 */
#include "firmware/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM (UINT64_C(64) << 20)

struct rig {
	struct log log;
	struct bus *bus;
	struct memory_layout layout;
	struct cpu cpu;
	struct boot boot;
	struct error error;
	uint8_t image[0x10000];
	struct file file;
	char directory[64];
};

static int set_up(void **state)
{
	struct rig *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);

	memset(r, 0, sizeof(*r));
	r->bus = bus_create(&r->log);
	if (!bus_create_ram(r->bus, RAM, &r->error))
		return -1;
	bus_add_ram(r->bus, 0, RAM, 0, 0);
	memory_layout(RAM, 40, &r->layout);
	r->boot = (struct boot){
		.bus = r->bus, .cpu = &r->cpu, .layout = &r->layout, .kernel = "kernel", .append = "one two=3"};
	r->file = (struct file){.name = "kernel", .bytes = r->image, .size = sizeof(r->image)};
	strcpy(r->directory, "/tmp/softvt-boot-XXXXXX");
	*state = r;
	return mkdtemp(r->directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", r->directory);
	bus_destroy(r->bus);
	free(r);
	return system(command);
}

static void put(struct rig *r, size_t at, unsigned size, uint64_t value)
{
	store_le(r->image + at, size, value);
}

static uint64_t memory(struct rig *r, pa_t at, unsigned size)
{
	uint8_t bytes[8];

	assert_true(bus_read_bytes(r->bus, at, bytes, size));
	return load_le(bytes, size);
}

static const char *text(struct rig *r, pa_t at)
{
	static char bytes[256];

	assert_true(bus_read_bytes(r->bus, at, bytes, sizeof(bytes)));
	bytes[255] = 0;
	return bytes;
}

/* A file in the test's directory; what it is called. */
static char *make_file(struct rig *r, const char *name, const char *content)
{
	char *path = xasprintf("%s/%s", r->directory, name);
	FILE *file = fopen(path, "wb");

	assert_non_null(file);
	fputs(content, file);
	fclose(file);
	return path;
}

/* ---- Linux ---- */

enum { SETUP = 0x400, LOAD = 0x1000000 };

static void make_linux(struct rig *r, unsigned version)
{
	memset(r->image, 0, sizeof(r->image));
	r->file.size = sizeof(r->image);
	put(r, 0x1f1, 1, 1); /* one sector of setup after the boot sector */
	memcpy(r->image + 0x202, "HdrS", 4);
	put(r, 0x201, 1, 0x6a);
	put(r, 0x206, 2, version);
	put(r, 0x211, 1, 1);
	put(r, 0x22c, 4, 0x7fffffff);
	put(r, 0x230, 4, 0x200000);
	put(r, 0x234, 1, 1);
	put(r, 0x235, 1, 21);
	put(r, 0x236, 2, 1);
	put(r, 0x238, 4, 2047);
	put(r, 0x258, 8, LOAD);
	put(r, 0x260, 4, 0x200000);
	for (unsigned i = SETUP; i < sizeof(r->image); i += 4)
		put(r, i, 4, i);
}

static void linux_64bit(void **state)
{
	struct rig *r = *state;
	uint64_t params, pml4;
	char *initrd = make_file(r, "initrd", "0123456789");
	unsigned entries;

	make_linux(r, 0x20f);
	r->boot.initrd = initrd;
	assert_true(is_linux(&r->file));
	assert_true(load_linux(&r->boot, &r->file, 0xe0000, &r->error));
	free(initrd);
	assert_int_equal(r->cpu.rip, LOAD + 0x200);
	assert_int_equal(memory(r, LOAD, 4), SETUP);
	assert_int_equal(memory(r, LOAD + sizeof(r->image) - SETUP - 4, 4), sizeof(r->image) - 4);
	assert_int_equal(r->cpu.seg[CS].selector, 0x10);
	assert_int_equal(r->cpu.seg[DS].selector, 0x18);
	assert_true(r->cpu.seg[CS].ar & AR_L);
	assert_int_equal(r->cpu.rflags & RFLAGS_IF, 0);
	assert_int_equal(r->cpu.efer, EFER_LME | EFER_LMA);
	assert_true(r->cpu.cr0 & CR0_PG && r->cpu.cr4 & CR4_PAE);
	/* Four gibibytes, one to one. */
	pml4 = memory(r, r->cpu.cr3, 8);
	for (uint64_t la = 0; la < UINT64_C(4) << 30; la += UINT64_C(511) << 21) {
		uint64_t pdpte = memory(r, (pml4 & BITS(51, 12)) + 8 * (la >> 30), 8);

		assert_int_equal(memory(r, (pdpte & BITS(51, 12)) + 8 * (la >> 21 & 511), 8),
				 (la & ~BITS(20, 0)) | 0x83);
	}
	params = r->cpu.r[RSI];
	assert_string_equal(text(r, memory(r, params + 0x228, 4)), "one two=3");
	assert_int_equal(memory(r, params + 0x210, 1), 0xff);
	assert_int_equal(memory(r, params + 0x70, 8), 0xe0000);
	assert_int_equal(memory(r, params + 0x206, 2), 0x20f);
	assert_int_equal(memory(r, params + 0x21c, 4), 10);
	assert_memory_equal(text(r, memory(r, params + 0x218, 4)), "0123456789", 10);
	assert_int_equal(memory(r, params + 0x218, 4) % 4096, 0);
	entries = (unsigned)memory(r, params + 0x1e8, 1);
	assert_int_equal(entries, r->layout.entries);
	for (unsigned i = 0; i < entries; i++) {
		assert_int_equal(memory(r, params + 0x2d0 + 20 * i, 8), r->layout.map[i].base);
		assert_int_equal(memory(r, params + 0x2d8 + 20 * i, 8), r->layout.map[i].size);
		assert_int_equal(memory(r, params + 0x2e0 + 20 * i, 4), r->layout.map[i].type);
	}
}

static void linux_32bit_entry_for_old_kernels(void **state)
{
	struct rig *r = *state;

	make_linux(r, 0x204);
	assert_true(load_linux(&r->boot, &r->file, 0xe0000, &r->error));
	assert_int_equal(r->cpu.rip, 0x100000); /* not relocatable */
	assert_int_equal(memory(r, 0x100000, 4), SETUP);
	assert_int_equal(r->cpu.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(r->cpu.seg[CS].ar & (AR_L | AR_DB), AR_DB);
	assert_int_equal(r->cpu.r[RBX] | r->cpu.r[RBP] | r->cpu.r[RDI], 0);
	assert_string_equal(text(r, memory(r, r->cpu.r[RSI] + 0x228, 4)), "one two=3");
}

static void linux_moves_when_its_place_is_taken(void **state)
{
	struct rig *r = *state;

	make_linux(r, 0x20f);
	put(r, 0x258, 8, 60 << 20); /* 2 MiB from there fit, 8 MiB do not */
	put(r, 0x260, 4, 8 << 20);
	assert_true(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_int_equal(r->cpu.rip, 0x200000 + 0x200);
	assert_int_equal(memory(r, 0x200000, 4), SETUP);
}

static void linux_refused(void **state)
{
	struct rig *r = *state;
	char *long_line = malloc(3000);

	make_linux(r, 0x201);
	assert_false(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_non_null(strstr(r->error.text, "too old"));
	make_linux(r, 0x20f);
	put(r, 0x260, 4, 0xf0000000);
	assert_false(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_non_null(strstr(r->error.text, "free RAM"));
	make_linux(r, 0x20f);
	r->file.size = SETUP + 0x100;
	assert_false(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_non_null(strstr(r->error.text, "cut short"));
	make_linux(r, 0x20f);
	memset(long_line, 'x', 2999);
	long_line[2999] = 0;
	r->boot.append = long_line;
	assert_false(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_non_null(strstr(r->error.text, "command line"));
	free(long_line);
	make_linux(r, 0x20f);
	r->boot.append = "";
	r->boot.initrd = "/nonexistent/initrd";
	assert_false(load_linux(&r->boot, &r->file, 0, &r->error));
	assert_string_equal(r->error.text, "could not open initrd file '/nonexistent/initrd'");
}

/* ---- ELF kernels ---- */

enum { PHYSICAL = 0x400000, VIRTUAL = 0x80400000, CODE = 0x1000, CODE_SIZE = 0x800, BSS = 0x3000, NOTE = 0x900 };

static void make_elf(struct rig *r, bool is64)
{
	size_t ph = is64 ? 64 : 52;

	memset(r->image, 0, sizeof(r->image));
	r->file.size = 0x2000;
	memcpy(r->image, "\177ELF", 4);
	put(r, 4, 1, is64 ? 2 : 1);
	put(r, 5, 1, 1);
	put(r, 16, 2, 2);
	put(r, 18, 2, is64 ? 62 : 3);
	if (is64) {
		put(r, 24, 8, VIRTUAL + 0x10);
		put(r, 32, 8, ph);
		put(r, 54, 2, 56);
		put(r, 56, 2, 2);
		put(r, ph, 4, 1);
		put(r, ph + 8, 8, CODE);
		put(r, ph + 16, 8, VIRTUAL);
		put(r, ph + 24, 8, PHYSICAL);
		put(r, ph + 32, 8, CODE_SIZE);
		put(r, ph + 40, 8, BSS);
		put(r, ph + 56, 4, 4); /* PT_NOTE */
		put(r, ph + 56 + 8, 8, NOTE);
		put(r, ph + 56 + 32, 8, 32);
	} else {
		put(r, 24, 4, VIRTUAL + 0x10);
		put(r, 28, 4, ph);
		put(r, 42, 2, 32);
		put(r, 44, 2, 2);
		put(r, ph, 4, 1);
		put(r, ph + 4, 4, CODE);
		put(r, ph + 8, 4, VIRTUAL);
		put(r, ph + 12, 4, PHYSICAL);
		put(r, ph + 16, 4, CODE_SIZE);
		put(r, ph + 20, 4, BSS);
		put(r, ph + 32, 4, 4);
		put(r, ph + 32 + 4, 4, NOTE);
		put(r, ph + 32 + 16, 4, 32);
	}
	for (unsigned i = CODE; i < CODE + CODE_SIZE; i += 4)
		put(r, i, 4, i);
}

static void loaded(struct rig *r)
{
	assert_int_equal(memory(r, PHYSICAL, 4), CODE);
	assert_int_equal(memory(r, PHYSICAL + CODE_SIZE - 4, 4), CODE + CODE_SIZE - 4);
	for (unsigned i = CODE_SIZE; i < BSS; i += 8)
		assert_int_equal(memory(r, PHYSICAL + i, 8), 0);
	assert_int_equal(r->cpu.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	assert_int_equal(r->cpu.seg[CS].limit, UINT32_MAX);
	assert_int_equal(r->cpu.efer, 0);
}

static void multiboot_header(struct rig *r, uint32_t flags)
{
	put(r, 0x800, 4, 0x1badb002);
	put(r, 0x804, 4, flags);
	put(r, 0x808, 4, (uint32_t) - (0x1badb002 + flags));
}

static void multiboot(struct rig *r, bool is64)
{
	char *a = make_file(r, "a", "first"), *b = make_file(r, "b", "second,");
	char *list = xasprintf("%s x=1,,2 y,%s", a, b), *first = xasprintf("%s x=1,2 y", a);
	uint64_t info, mods;

	make_elf(r, is64);
	multiboot_header(r, 3);
	r->boot.initrd = list;
	memset(bus_ram(r->bus) + PHYSICAL, 0xff, BSS); /* the bss must be cleared, whatever was there */
	assert_true(is_multiboot(&r->file));
	assert_true(load_multiboot(&r->boot, &r->file, &r->error));
	loaded(r);
	assert_int_equal(r->cpu.rip, PHYSICAL + 0x10);
	assert_int_equal(r->cpu.r[RAX], 0x2badb002);
	assert_int_equal(r->cpu.idtr.base, 0); /* the interrupt table of real mode */
	assert_int_equal(r->cpu.idtr.limit, 0x3ff);
	info = r->cpu.r[RBX];
	assert_int_equal(memory(r, info, 4), 1 | 4 | 8 | 64 | 512);
	assert_int_equal(memory(r, info + 4, 4), 639);
	assert_int_equal(memory(r, info + 8, 4), (RAM >> 10) - 1024);
	assert_string_equal(text(r, memory(r, info + 16, 4)), "kernel one two=3");
	assert_int_equal(memory(r, info + 20, 4), 2);
	mods = memory(r, info + 24, 4);
	assert_memory_equal(text(r, memory(r, mods, 4)), "first", 5);
	assert_int_equal(memory(r, mods + 4, 4) - memory(r, mods, 4), 5);
	assert_string_equal(text(r, memory(r, mods + 8, 4)), first);
	assert_memory_equal(text(r, memory(r, mods + 16, 4)), "second,", 7);
	assert_true(memory(r, mods, 4) >= PHYSICAL + BSS && memory(r, mods, 4) % 4096 == 0);
	/* Memory map: entries with their size in front. */
	assert_int_equal(memory(r, info + 44, 4), r->layout.entries * 24);
	for (unsigned i = 0; i < r->layout.entries; i++) {
		uint64_t at = memory(r, info + 48, 4) + 24 * i;

		assert_int_equal(memory(r, at, 4), 20);
		assert_int_equal(memory(r, at + 4, 8), r->layout.map[i].base);
		assert_int_equal(memory(r, at + 12, 8), r->layout.map[i].size);
		assert_int_equal(memory(r, at + 20, 4), r->layout.map[i].type);
	}
	free(first);
	free(list);
	free(a);
	free(b);
}

static void multiboot_elf32(void **state)
{
	multiboot(*state, false);
}

static void multiboot_elf64(void **state)
{
	multiboot(*state, true);
}

static void multiboot_with_addresses(void **state)
{
	struct rig *r = *state;

	memset(r->image, 0x5a, sizeof(r->image));
	r->file.size = 0x2000;
	multiboot_header(r, 1 << 16);
	put(r, 0x80c, 4, 0x200800 - 0x100); /* header, load, load end, bss end, entry */
	put(r, 0x810, 4, 0x200600);
	put(r, 0x814, 4, 0x201000);
	put(r, 0x818, 4, 0x203000);
	put(r, 0x81c, 4, 0x200777);
	memset(bus_ram(r->bus) + 0x200000, 0xff, 0x4000);
	assert_true(load_multiboot(&r->boot, &r->file, &r->error));
	assert_int_equal(memory(r, 0x200700, 4), 0x1badb002);
	assert_int_equal(memory(r, 0x200ffc, 4), 0x5a5a5a5a);
	assert_int_equal(memory(r, 0x2005fc, 4), 0xffffffff);
	assert_int_equal(memory(r, 0x201000, 8), 0);
	assert_int_equal(memory(r, 0x203000, 8), UINT64_MAX);
	assert_int_equal(r->cpu.rip, 0x200777);
}

static void multiboot_refused(void **state)
{
	struct rig *r = *state;

	make_elf(r, false);
	multiboot_header(r, 0x100);
	assert_false(load_multiboot(&r->boot, &r->file, &r->error));
	assert_non_null(strstr(r->error.text, "unknown features"));
	make_elf(r, false);
	multiboot_header(r, 0);
	put(r, 52 + 16, 4, 0x7000); /* more in the file than in memory and than there is */
	assert_false(load_multiboot(&r->boot, &r->file, &r->error));
	make_elf(r, false);
	multiboot_header(r, 0);
	put(r, 52 + 12, 4, 0xe0000); /* the BIOS area */
	assert_false(load_multiboot(&r->boot, &r->file, &r->error));
	assert_non_null(strstr(r->error.text, "no free RAM"));
}

static size_t tag(struct rig *r, size_t at, unsigned type, unsigned flags, unsigned words, const uint32_t *values)
{
	put(r, at, 2, type);
	put(r, at + 2, 2, flags);
	put(r, at + 4, 4, 8 + 4 * words);
	for (unsigned i = 0; i < words; i++)
		put(r, at + 8 + 4 * i, 4, values[i]);
	return (at + 8 + 4 * words + 7) & ~(size_t)7;
}

static void multiboot2_header(struct rig *r, size_t end)
{
	put(r, 0x600, 4, 0xe85250d6);
	put(r, 0x608, 4, end - 0x600);
	put(r, 0x60c, 4, (uint32_t) - (0xe85250d6 + (uint32_t)(end - 0x600)));
}

/* The information tag of a type, or 0. */
static uint64_t find_tag(struct rig *r, unsigned type)
{
	uint64_t at = r->cpu.r[RBX], end = at + memory(r, at, 4);

	for (at += 8; at < end; at = (at + memory(r, at + 4, 4) + 7) & ~UINT64_C(7)) {
		if (memory(r, at, 4) == type)
			return at;
	}
	return 0;
}

static void multiboot2_relocated(void **state)
{
	static const uint32_t wanted[] = {1, 3, 6, 21}, place[] = {0x1000000, 0x2ffffff, 0x100000, 1};
	struct rig *r = *state;
	char *a = make_file(r, "a", "first"), *list = xasprintf("%s args", a);
	uint64_t module;
	size_t end;

	make_elf(r, true);
	end = tag(r, 0x610, 1, 0, 4, wanted);
	end = tag(r, end, 5, 1, 3, wanted); /* an optional frame buffer */
	end = tag(r, end, 10, 0, 4, place);
	end = tag(r, end, 0, 0, 0, NULL);
	multiboot2_header(r, end);
	r->boot.initrd = list;
	assert_true(is_multiboot2(&r->file));
	assert_true(load_multiboot2(&r->boot, &r->file, 0xe0000, &r->error));
	assert_int_equal(r->cpu.r[RAX], 0x36d76289);
	assert_int_equal(r->cpu.r[RBX] % 8, 0);
	assert_int_equal(r->cpu.rip, 0x1000010);
	assert_int_equal(memory(r, 0x1000000, 4), CODE);
	assert_int_equal(memory(r, find_tag(r, 21) + 8, 4), 0x1000000);
	assert_string_equal(text(r, find_tag(r, 1) + 8), "one two=3");
	module = find_tag(r, 3);
	assert_memory_equal(text(r, memory(r, module + 8, 4)), "first", 5);
	assert_string_equal(text(r, module + 16), list);
	assert_int_equal(memory(r, find_tag(r, 6) + 8, 4), 24);
	assert_true(find_tag(r, 4) && find_tag(r, 14) && find_tag(r, 15) && find_tag(r, 0) && !find_tag(r, 8));
	free(list);
	free(a);
}

static void multiboot2_refused(void **state)
{
	static const uint32_t vbe[] = {7}, frame[] = {800, 600, 32};
	struct rig *r = *state;

	make_elf(r, true);
	multiboot2_header(r, tag(r, 0x610, 1, 0, 1, vbe));
	assert_false(load_multiboot2(&r->boot, &r->file, 0, &r->error));
	make_elf(r, true);
	multiboot2_header(r, tag(r, 0x610, 5, 0, 3, frame));
	assert_false(load_multiboot2(&r->boot, &r->file, 0, &r->error));
	make_elf(r, true);
	multiboot2_header(r, tag(r, 0x610, 99, 0, 0, NULL));
	assert_false(load_multiboot2(&r->boot, &r->file, 0, &r->error));
	assert_non_null(strstr(r->error.text, "unknown tag"));
}

static void pvh(void **state)
{
	struct rig *r = *state;
	char *a = make_file(r, "a", "first"), *list = xasprintf("%s root=x", a);
	uint64_t info;

	for (unsigned is64 = 0; is64 < 2; is64++) {
		make_elf(r, is64);
		put(r, NOTE, 4, 4);
		put(r, NOTE + 4, 4, is64 ? 8 : 4);
		put(r, NOTE + 8, 4, 18);
		memcpy(r->image + NOTE + 12, "Xen", 4);
		put(r, NOTE + 16, 4, PHYSICAL + 0x20);
		r->boot.initrd = list;
		assert_true(is_pvh(&r->file));
		assert_true(load_pvh(&r->boot, &r->file, 0xe0000, &r->error));
		loaded(r);
		assert_int_equal(r->cpu.rip, PHYSICAL + 0x20);
		info = r->cpu.r[RBX];
		assert_int_equal(memory(r, info, 4), 0x336ec578);
		assert_int_equal(memory(r, info + 4, 4), 1);
		assert_int_equal(memory(r, info + 12, 4), 1);
		assert_memory_equal(text(r, memory(r, memory(r, info + 16, 8), 8)), "first", 5);
		assert_int_equal(memory(r, memory(r, info + 16, 8) + 8, 8), 5);
		assert_string_equal(text(r, memory(r, memory(r, info + 16, 8) + 16, 8)), "root=x");
		assert_string_equal(text(r, memory(r, info + 24, 8)), "one two=3");
		assert_int_equal(memory(r, info + 32, 8), 0xe0000);
		assert_int_equal(memory(r, info + 48, 4), r->layout.entries);
		assert_int_equal(memory(r, memory(r, info + 40, 8) + 8, 8), r->layout.map[0].size);
	}
	free(list);
	free(a);
}

/* Bytes changed at random in each kind of kernel: loaded or refused with a sentence, under the sanitizers. */
static void hostile_kernels(void **state)
{
	struct rig *r = *state;
	uint32_t seed = 5;

	r->boot.initrd = NULL;
	for (unsigned round = 0; round < 4000; round++) {
		bool ok;

		switch (round % 4) {
		case 0: make_linux(r, 0x20f); break;
		case 1:
			make_elf(r, round & 8);
			multiboot_header(r, round & 16 ? 1 << 16 : 0);
			break;
		case 2:
			make_elf(r, round & 8);
			multiboot2_header(r,
					  tag(r, 0x610, 10, 0, 4, (const uint32_t[]){0, UINT32_MAX, 4096, round & 3}));
			break;
		default:
			make_elf(r, round & 8);
			put(r, NOTE, 4, 4);
			put(r, NOTE + 4, 4, 4);
			put(r, NOTE + 8, 4, 18);
			memcpy(r->image + NOTE + 12, "Xen", 4);
		}
		for (unsigned i = 0; i < 1 + round % 6; i++) {
			size_t at;

			seed = seed * 1664525 + 1013904223;
			at = (seed >> 8) % (round % 4 ? 0x120 : 0x290);
			if (round % 4 && i % 2)
				at += round % 4 == 1 ? 0x800 : round % 4 == 2 ? 0x608 : NOTE;
			r->image[at] = (uint8_t)(seed >> 24);
		}
		r->error.text[0] = 0;
		ok = is_linux(&r->file)	       ? load_linux(&r->boot, &r->file, 0, &r->error)
		     : is_multiboot(&r->file)  ? load_multiboot(&r->boot, &r->file, &r->error)
		     : is_multiboot2(&r->file) ? load_multiboot2(&r->boot, &r->file, 0, &r->error)
					       : !is_pvh(&r->file) || load_pvh(&r->boot, &r->file, 0, &r->error);
		assert_true(ok || strlen(r->error.text) > 10);
	}
}

static void layouts(void **state)
{
	struct memory_layout layout;

	memory_layout(UINT64_C(1) << 30, 40, &layout);
	assert_int_equal(layout.low_ram, 1 << 30);
	assert_int_equal(layout.high_ram, 0);
	assert_int_equal(layout.pci64_base, UINT64_C(4) << 30);
	memory_layout(UINT64_C(4) << 30, 40, &layout);
	assert_int_equal(layout.low_ram, UINT64_C(2) << 30);
	assert_int_equal(layout.high_ram, UINT64_C(2) << 30);
	assert_int_equal(layout.pci64_base, UINT64_C(6) << 30);
	assert_true(layout.pci64_end <= UINT64_C(1) << 40);
	/* Sorted, without overlap, and all of RAM but the hole of the first mebibyte. */
	for (unsigned i = 1; i < layout.entries; i++)
		assert_true(layout.map[i].base >= layout.map[i - 1].base + layout.map[i - 1].size);
	memory_layout(UINT64_C(60) << 30, 36, &layout);
	assert_true(layout.pci64_end <= UINT64_C(1) << 36);
}

static void kernel_file_messages(void **state)
{
	struct rig *r = *state;

	r->boot.kernel = "_NO_FILE_4Uhere_";
	assert_false(boot_direct(&r->boot, &r->error));
	assert_string_equal(r->error.text, "could not open kernel file '_NO_FILE_4Uhere_'");
	r->boot.kernel = "/tmp"; /* a directory */
	assert_false(boot_direct(&r->boot, &r->error));
	assert_string_equal(r->error.text, "could not open kernel file '/tmp'");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(linux_64bit),
		TEST(linux_32bit_entry_for_old_kernels),
		TEST(linux_moves_when_its_place_is_taken),
		TEST(linux_refused),
		TEST(multiboot_elf32),
		TEST(multiboot_elf64),
		TEST(multiboot_with_addresses),
		TEST(multiboot_refused),
		TEST(multiboot2_relocated),
		TEST(multiboot2_refused),
		TEST(pvh),
		TEST(hostile_kernels),
		TEST(layouts),
		TEST(kernel_file_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Files, places in memory, and the CPU states in which boot protocols start a kernel.
 */
#include "firmware/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool file_read(struct file *file, const char *what, const char *name, struct error *error)
{
	FILE *stream = fopen(name, "rb");
	struct stat status;
	size_t room = 1 << 20;

	*file = (struct file){.name = name};
	if (!stream || fstat(fileno(stream), &status) || S_ISDIR(status.st_mode)) {
		if (stream)
			fclose(stream);
		return error_set(error, "could not open %s file '%s'", what, name);
	}
	if (S_ISREG(status.st_mode))
		room = (size_t)status.st_size + 1;
	for (;;) {
		file->bytes = xrealloc(file->bytes, room);
		file->size += fread(file->bytes + file->size, 1, room - file->size, stream);
		if (file->size < room)
			break;
		room *= 2;
	}
	if (ferror(stream)) {
		error_set(error, "could not read %s file '%s': %s", what, name, strerror(errno));
		fclose(stream);
		file_free(file);
		return false;
	}
	fclose(stream);
	return true;
}

void file_free(struct file *file)
{
	free(file->bytes);
	*file = (struct file){0};
}

void space_init(struct space *space, const struct boot *boot)
{
	memset(space, 0, sizeof(*space));
	space->bus = boot->bus;
	space->layout = boot->layout;
}

/* The end of the first piece in use that overlaps [base, end), or 0. */
static pa_t conflict(const struct space *space, pa_t base, pa_t end, pa_t *conflict_base)
{
	for (unsigned i = 0; i < space->count; i++) {
		if (base < space->used[i].end && space->used[i].base < end) {
			*conflict_base = space->used[i].base;
			return space->used[i].end;
		}
	}
	return 0;
}

static bool record(struct space *space, pa_t base, uint64_t size)
{
	if (space->count == ARRAY_SIZE(space->used))
		return false;
	space->used[space->count].base = base;
	space->used[space->count++].end = base + size;
	return true;
}

bool space_take(struct space *space, pa_t base, uint64_t size)
{
	pa_t ignored;

	if (size == 0)
		return true;
	if (base < 4096 || base + size < base || conflict(space, base, base + size, &ignored))
		return false;
	for (unsigned i = 0; i < space->layout->entries; i++) {
		const struct e820_entry *ram = &space->layout->map[i];

		if (ram->type == E820_RAM && base >= ram->base && base + size <= ram->base + ram->size)
			return record(space, base, size);
	}
	return false;
}

static pa_t find_lowest(const struct space *space, uint64_t size, uint64_t alignment, pa_t min, pa_t max)
{
	pa_t at = (min + alignment - 1) & ~(alignment - 1), end, ignored;

	while (at >= min && at < max && size <= max - at) {
		end = conflict(space, at, at + size, &ignored);
		if (!end)
			return at;
		at = (end + alignment - 1) & ~(alignment - 1);
	}
	return 0;
}

static pa_t find_highest(const struct space *space, uint64_t size, uint64_t alignment, pa_t min, pa_t max)
{
	pa_t base;

	while (max > min && max - min >= size) {
		pa_t at = (max - size) & ~(alignment - 1);

		if (at < min)
			return 0;
		if (!conflict(space, at, at + size, &base))
			return at;
		max = base;
	}
	return 0;
}

pa_t space_find(struct space *space, uint64_t size, uint64_t alignment, pa_t min, pa_t max, bool highest)
{
	pa_t found = 0;

	if (size == 0)
		size = 1;
	for (unsigned i = 0; i < space->layout->entries; i++) {
		const struct e820_entry *ram = &space->layout->map[i];
		pa_t from = max_u64(max_u64(ram->base, min), 4096), to = min_u64(ram->base + ram->size, max), at;

		if (ram->type != E820_RAM || from >= to)
			continue;
		at = highest ? find_highest(space, size, alignment, from, to)
			     : find_lowest(space, size, alignment, from, to);
		if (at && (!found || highest == (at > found)))
			found = at;
	}
	if (!found || !record(space, found, size))
		return 0;
	return found;
}

static void zero(struct bus *bus, pa_t base, uint64_t size)
{
	static const uint8_t zeros[65536];

	while (size) {
		uint64_t part = min_u64(size, sizeof(zeros));

		bus_write_bytes(bus, base, zeros, part);
		base += part;
		size -= part;
	}
}

bool space_load(struct space *space, pa_t base, const void *bytes, uint64_t size, uint64_t memory_size)
{
	if (!space_take(space, base, memory_size))
		return false;
	bus_write_bytes(space->bus, base, bytes, size);
	zero(space->bus, base + size, memory_size - size);
	return true;
}

pa_t space_string(struct space *space, const char *text, pa_t min)
{
	size_t size = strlen(text) + 1;
	pa_t at = space_find(space, size, 16, min, UINT64_C(1) << 32, false);

	if (at)
		bus_write_bytes(space->bus, at, text, size);
	return at;
}

/* Null, 64-bit code at 08H is not used by any protocol; 10H code and 18H data are what Linux asks for, and fit all. */
static void set_segments(const struct boot *boot, bool is64)
{
	const uint64_t gdt[4] = {0, 0, is64 ? UINT64_C(0x00af9b000000ffff) : UINT64_C(0x00cf9b000000ffff),
				 UINT64_C(0x00cf93000000ffff)};
	struct cpu *cpu = boot->cpu;
	const struct segment code = {
		0, UINT32_MAX,
		(uint32_t)(AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED | AR_G | (is64 ? AR_L : AR_DB)), 0x10};
	const struct segment data = {0, UINT32_MAX, (uint32_t)(AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | AR_G | AR_DB),
				     0x18};

	bus_write_bytes(boot->bus, BOOT_GDT, gdt, sizeof(gdt));
	cpu->gdtr = (struct table_register){BOOT_GDT, sizeof(gdt) - 1};
	/* As a BIOS leaves it, for kernels that go to real mode and call through the table of preset_bios_data(). */
	cpu->idtr = (struct table_register){0, is64 ? 0 : 0x3ff};
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = i == CS ? code : data;
	cpu->cpl = 0;
	cpu->rflags = RFLAGS_1;
	for (unsigned i = 0; i < R_ZERO; i++)
		cpu->r[i] = 0;
	cpu->activity = ACTIVITY_ACTIVE;
}

void enter_protected(const struct boot *boot, uint32_t entry)
{
	set_segments(boot, false);
	boot->cpu->cr0 = CR0_PE | CR0_ET;
	boot->cpu->cr3 = boot->cpu->cr4 = boot->cpu->efer = 0;
	boot->cpu->rip = entry;
}

void enter_long(const struct boot *boot, uint64_t entry, pa_t tables)
{
	enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
	struct cpu *cpu = boot->cpu;
	uint64_t table[512] = {0};

	table[0] = (tables + 4096) | PRESENT | WRITABLE;
	bus_write_bytes(boot->bus, tables, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		table[i] = (tables + 8192 + i * UINT64_C(4096)) | PRESENT | WRITABLE;
	bus_write_bytes(boot->bus, tables + 4096, table, sizeof(table));
	for (unsigned page = 0; page < 2048; page++) {
		table[page % 512] = (uint64_t)page << 21 | PRESENT | WRITABLE | LARGE;
		if (page % 512 == 511)
			bus_write_bytes(boot->bus, tables + 8192 + page / 512 * UINT64_C(4096), table, sizeof(table));
	}
	set_segments(boot, true);
	cpu->cr0 = CR0_PE | CR0_ET | CR0_PG;
	cpu->cr3 = tables;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_LME | EFER_LMA;
	cpu->rip = entry;
}

bool next_module(const char **list, char **name, char **command_line)
{
	const char *from = *list;
	char *text, *to;

	if (!from || !*from)
		return false;
	text = to = xcalloc(1, strlen(from) + 1);
	while (*from) {
		if (*from == ',') {
			if (from[1] != ',')
				break;
			from++;
		}
		*to++ = *from++;
	}
	*list = *from ? from + 1 : from;
	*command_line = text;
	*name = xstrdup(text);
	(*name)[strcspn(*name, " ")] = 0;
	return true;
}

bool modules_load(struct space *space, const char *list, pa_t min, struct module *modules, unsigned *count,
		  struct error *error)
{
	char *name, *command_line;
	struct file file;

	*count = 0;
	while (next_module(&list, &name, &command_line)) {
		struct module *module = &modules[*count];
		bool ok = false;

		if (*count == MAX_MODULES) {
			error_set(error, "more than %d modules", MAX_MODULES);
		} else if (file_read(&file, "initrd", name, error)) {
			module->base = space_find(space, file.size, 4096, min, UINT64_C(1) << 32, false);
			ok = module->base != 0;
			if (ok)
				bus_write_bytes(space->bus, module->base, file.bytes, file.size);
			else
				error_set(error, "'%s' does not fit in memory", name);
			module->end = module->base + file.size;
			file_free(&file);
		}
		free(name);
		if (!ok) {
			free(command_line);
			modules_free(modules, *count);
			return false;
		}
		modules[(*count)++].command_line = command_line;
	}
	return true;
}

void modules_free(struct module *modules, unsigned count)
{
	while (count)
		free(modules[--count].command_line);
}

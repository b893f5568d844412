/*
 * Multiboot 1: "Multiboot Specification version 0.6.96". ELF of 32 and 64 bits, and images that carry their addresses
 * in the header (the a.out kludge).
 *
 * Not given to the kernel, and not flagged as given: boot device, symbols, drives, BIOS configuration table, APM, VBE,
 * frame buffer.
 */
#include "firmware/image.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_MAGIC UINT32_C(0x1badb002)
#define LOADER_MAGIC UINT32_C(0x2badb002)

enum { SEARCH = 8192, HEADER_SIZE = 12, ADDRESSES_END = 32 };
enum { FLAG_MUST_MASK = 0xffff, FLAG_PAGE_ALIGN = 1, FLAG_MEMORY = 2, FLAG_VIDEO = 4, FLAG_ADDRESSES = 1 << 16 };
enum { INFO_MEMORY = 1 << 0, INFO_CMDLINE = 1 << 2, INFO_MODS = 1 << 3, INFO_MMAP = 1 << 6, INFO_LOADER = 1 << 9 };

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length,
		mmap_addr;
	uint32_t drives_length, drives_addr, config_table, boot_loader_name, apm_table, vbe[4];
};

struct module_entry {
	uint32_t start, end, string, reserved;
};

struct mmap_entry {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

/* Offset of the header, or false: "The layout of Multiboot header". */
static bool find_header(const struct file *file, uint64_t *at)
{
	for (uint64_t offset = 0; offset < SEARCH && file_has(file, offset, HEADER_SIZE); offset += 4) {
		if (file_le(file, offset, 4) == HEADER_MAGIC &&
		    (uint32_t)(HEADER_MAGIC + file_le(file, offset + 4, 4) + file_le(file, offset + 8, 4)) == 0) {
			*at = offset;
			return true;
		}
	}
	return false;
}

bool is_multiboot(const struct file *file)
{
	uint64_t at;

	return find_header(file, &at);
}

/* "The address fields of Multiboot header". */
static bool load_addresses(const struct file *file, uint64_t at, struct space *space, uint32_t *entry, pa_t *end,
			   struct error *error)
{
	uint64_t header, load, load_end, bss_end, offset, size;

	if (!file_has(file, at, ADDRESSES_END))
		return error_set(error, "the Multiboot header of '%s' is cut short", file->name);
	header = file_le(file, at + 12, 4);
	load = file_le(file, at + 16, 4);
	load_end = file_le(file, at + 20, 4);
	bss_end = file_le(file, at + 24, 4);
	*entry = (uint32_t)file_le(file, at + 28, 4);
	if (load > header || header - load > at)
		return error_set(error, "the load address in the Multiboot header of '%s' is wrong", file->name);
	offset = at - (header - load);
	size = load_end ? load_end - load : file->size - offset;
	if (load_end && load_end < load)
		return error_set(error, "the load end address in the Multiboot header of '%s' is wrong", file->name);
	size = min_u64(size, file->size - offset);
	*end = max_u64(load + size, bss_end);
	if (!space_load(space, load, file->bytes + offset, size, *end - load))
		return error_set(error, "'%s' wants to be loaded at %#llx, where there is no free RAM", file->name,
				 (unsigned long long)load);
	return true;
}

static pa_t put_modules(struct space *space, const struct module *modules, unsigned count, pa_t min)
{
	struct module_entry entry[MAX_MODULES];
	pa_t at;

	for (unsigned i = 0; i < count; i++)
		entry[i] = (struct module_entry){(uint32_t)modules[i].base, (uint32_t)modules[i].end,
						 (uint32_t)space_string(space, modules[i].command_line, min), 0};
	at = space_find(space, sizeof(entry), 16, min, UINT64_C(1) << 32, false);
	if (at)
		bus_write_bytes(space->bus, at, entry, count * sizeof(entry[0]));
	return at;
}

static bool put_info(const struct boot *boot, struct space *space, const struct module *modules, unsigned count,
		     pa_t *at, struct error *error)
{
	enum { MIN = 0x8000 };
	struct mmap_entry map[ARRAY_SIZE(boot->layout->map)];
	char *command_line = xasprintf("%s %s", boot->kernel, boot->append ? boot->append : "");
	struct info info = {.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER};
	unsigned entries = boot->layout->entries;
	pa_t map_at;

	for (unsigned i = 0; i < entries; i++)
		map[i] = (struct mmap_entry){sizeof(map[i]) - 4, boot->layout->map[i].base, boot->layout->map[i].size,
					     boot->layout->map[i].type};
	info.mem_lower = EBDA_BASE >> 10;
	info.mem_upper = (uint32_t)((boot->layout->low_ram - (1 << 20)) >> 10);
	info.cmdline = (uint32_t)space_string(space, command_line, MIN);
	free(command_line);
	if (count) {
		info.flags |= INFO_MODS;
		info.mods_count = count;
		info.mods_addr = (uint32_t)put_modules(space, modules, count, MIN);
	}
	map_at = space_find(space, entries * sizeof(map[0]), 16, MIN, UINT64_C(1) << 32, false);
	bus_write_bytes(boot->bus, map_at, map, entries * sizeof(map[0]));
	info.mmap_addr = (uint32_t)map_at;
	info.mmap_length = (uint32_t)(entries * sizeof(map[0]));
	info.boot_loader_name = (uint32_t)space_string(space, "softvt", MIN);
	*at = space_find(space, sizeof(info), 16, MIN, UINT64_C(1) << 32, false);
	if (!*at || !map_at || !info.cmdline || !info.boot_loader_name || (count && !info.mods_addr))
		return error_set(error, "there is no room in memory for the boot information of '%s'", boot->kernel);
	bus_write_bytes(boot->bus, *at, &info, sizeof(info));
	return true;
}

bool load_multiboot(const struct boot *boot, const struct file *file, struct error *error)
{
	struct module modules[MAX_MODULES];
	struct space space;
	struct elf elf;
	uint64_t header = 0;
	uint32_t flags, entry = 0;
	unsigned count;
	pa_t end = 0, info;
	bool ok;

	find_header(file, &header);
	flags = (uint32_t)file_le(file, header + 4, 4);
	/* A video mode is a wish; every other unknown bit of the low half is a must. */
	if (flags & FLAG_MUST_MASK & ~(FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO))
		return error_set(error, "the Multiboot kernel '%s' asks for unknown features %#x", file->name,
				 flags & FLAG_MUST_MASK);
	space_init(&space, boot);
	if (flags & FLAG_ADDRESSES) {
		if (!load_addresses(file, header, &space, &entry, &end, error))
			return false;
	} else {
		if (!elf_open(&elf, file, error) || !elf_load(&elf, file, &space, 0, error))
			return false;
		entry = (uint32_t)elf.physical_entry;
		end = elf.end;
	}
	if (!modules_load(&space, boot->initrd, max_u64(end, 1 << 20), modules, &count, error))
		return false;
	ok = put_info(boot, &space, modules, count, &info, error);
	modules_free(modules, count);
	if (!ok)
		return false;
	enter_protected(boot, entry);
	boot->cpu->r[RAX] = LOADER_MAGIC;
	boot->cpu->r[RBX] = info;
	return true;
}

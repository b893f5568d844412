/*
 * PVH: "x86/HVM direct boot ABI" of Xen, as Linux (PVH entry), FreeBSD and Xen itself have it: an ELF note names a
 * 32-bit entry.
 */
#include "firmware/image.h"

#include <string.h>

#define START_MAGIC UINT32_C(0x336ec578)

enum { PT_NOTE = 4, XEN_ELFNOTE_PHYS32_ENTRY = 18 };

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct modlist_entry {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

/* Walk the notes of one segment: System V ABI, "Note Section". */
static bool find_note(const struct file *file, const struct segment_header *h, uint32_t *entry)
{
	uint64_t at = h->offset, end;

	if (!file_has(file, h->offset, h->file_size))
		return false;
	end = at + h->file_size;
	while (end - at >= 12) {
		uint64_t name_size = file_le(file, at, 4), size = file_le(file, at + 4, 4),
			 type = file_le(file, at + 8, 4);
		uint64_t name = at + 12, value = name + ((name_size + 3) & ~UINT64_C(3));

		if (value > end || size > end - value)
			return false;
		if (type == XEN_ELFNOTE_PHYS32_ENTRY && name_size == 4 && !memcmp(file->bytes + name, "Xen", 4) &&
		    size >= 4) {
			*entry = (uint32_t)file_le(file, value, 4);
			return true;
		}
		at = value + ((size + 3) & ~UINT64_C(3));
		if (at > end)
			return false;
	}
	return false;
}

static bool find_entry(const struct file *file, uint32_t *entry)
{
	struct segment_header h;
	struct elf elf;

	if (!elf_open(&elf, file, NULL))
		return false;
	for (unsigned i = 0; i < elf.ph_count; i++) {
		elf_segment(&elf, file, i, &h);
		if (h.type == PT_NOTE && find_note(file, &h, entry))
			return true;
	}
	return false;
}

bool is_pvh(const struct file *file)
{
	uint32_t entry;

	return find_entry(file, &entry);
}

static pa_t put(struct space *space, const void *bytes, size_t size)
{
	pa_t at = space_find(space, size, 16, 0x8000, UINT64_C(1) << 32, false);

	if (at)
		bus_write_bytes(space->bus, at, bytes, size);
	return at;
}

bool load_pvh(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error)
{
	struct start_info info = {.magic = START_MAGIC, .version = 1, .rsdp_paddr = rsdp};
	struct memmap_entry map[ARRAY_SIZE(boot->layout->map)] = {0};
	struct modlist_entry list[MAX_MODULES] = {0};
	struct module modules[MAX_MODULES];
	struct space space;
	struct elf elf;
	uint32_t entry = 0;
	pa_t at;

	find_entry(file, &entry);
	space_init(&space, boot);
	if (!elf_open(&elf, file, error) || !elf_load(&elf, file, &space, 0, error) ||
	    !modules_load(&space, boot->initrd, max_u64(elf.end, 1 << 20), modules, &info.nr_modules, error))
		return false;
	for (unsigned i = 0; i < info.nr_modules; i++) {
		const char *arguments = strchr(modules[i].command_line, ' ');

		list[i].paddr = modules[i].base;
		list[i].size = modules[i].end - modules[i].base;
		list[i].cmdline_paddr = arguments ? space_string(&space, arguments + 1, 0x8000) : 0;
	}
	modules_free(modules, info.nr_modules);
	for (unsigned i = 0; i < boot->layout->entries; i++)
		map[i] = (struct memmap_entry){boot->layout->map[i].base, boot->layout->map[i].size,
					       boot->layout->map[i].type, 0};
	info.memmap_entries = boot->layout->entries;
	info.memmap_paddr = put(&space, map, info.memmap_entries * sizeof(map[0]));
	info.modlist_paddr = info.nr_modules ? put(&space, list, info.nr_modules * sizeof(list[0])) : 0;
	info.cmdline_paddr = space_string(&space, boot->append ? boot->append : "", 0x8000);
	at = put(&space, &info, sizeof(info));
	if (!at || !info.memmap_paddr || !info.cmdline_paddr || (info.nr_modules && !info.modlist_paddr))
		return error_set(error, "there is no room in memory for the boot information of '%s'", file->name);
	enter_protected(boot, entry);
	boot->cpu->r[RBX] = at;
	return true;
}

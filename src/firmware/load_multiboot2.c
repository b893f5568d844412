/*
 * Multiboot 2: "Multiboot2 Specification version 2.0". Tags of the header are walked once, then the image is loaded and
 * the information tags are written.
 *
 * Not given: boot device, VBE, frame buffer (the display is not set up without firmware), APM, EFI, SMBIOS, network. A
 * kernel that insists on one of them is refused.
 */
#include "firmware/image.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_MAGIC UINT32_C(0xe85250d6)
#define LOADER_MAGIC UINT32_C(0x36d76289)

enum { SEARCH = 32768, HEADER_SIZE = 16, OPTIONAL = 1 };
enum {
	TAG_END,
	TAG_REQUEST,
	TAG_ADDRESS,
	TAG_ENTRY,
	TAG_CONSOLE,
	TAG_FRAMEBUFFER,
	TAG_ALIGN,
	TAG_EFI_BS,
	TAG_EFI32,
	TAG_EFI64,
	TAG_RELOCATABLE
};
enum {
	INFO_END,
	INFO_CMDLINE,
	INFO_LOADER,
	INFO_MODULE,
	INFO_MEMORY,
	INFO_MMAP = 6,
	INFO_ELF = 9,
	INFO_RSDP_OLD = 14,
	INFO_RSDP_NEW = 15,
	INFO_LOAD_BASE = 21
};

struct header {
	bool has_address, has_entry, relocatable;
	uint32_t header_addr, load_addr, load_end, bss_end, entry;
	uint32_t min, max, align, preference;
};

/* The information structure while it grows. */
struct info {
	uint8_t *bytes;
	size_t size;
};

static bool find_header(const struct file *file, uint64_t *at)
{
	for (uint64_t offset = 0; offset < SEARCH && file_has(file, offset, HEADER_SIZE); offset += 8) {
		uint32_t sum = 0;

		for (unsigned i = 0; i < 4; i++)
			sum += (uint32_t)file_le(file, offset + 4 * i, 4);
		if (file_le(file, offset, 4) == HEADER_MAGIC && file_le(file, offset + 4, 4) == 0 && sum == 0 &&
		    file_has(file, offset, file_le(file, offset + 8, 4)) &&
		    offset + file_le(file, offset + 8, 4) <= SEARCH) {
			*at = offset;
			return true;
		}
	}
	return false;
}

bool is_multiboot2(const struct file *file)
{
	uint64_t at;

	return find_header(file, &at);
}

static bool can_give(uint32_t type)
{
	return type == INFO_CMDLINE || type == INFO_LOADER || type == INFO_MODULE || type == INFO_MEMORY ||
	       type == INFO_MMAP || type == INFO_ELF || type == INFO_RSDP_OLD || type == INFO_RSDP_NEW ||
	       type == INFO_LOAD_BASE;
}

/* "Multiboot2 header tags". Sizes were checked against the file by find_header(). */
static bool read_tags(const struct file *file, uint64_t at, struct header *h, struct error *error)
{
	static const uint8_t least[] = {8, 8, 24, 12, 12, 20, 8, 8, 12, 12, 24};
	uint64_t end = at + file_le(file, at + 8, 4);

	memset(h, 0, sizeof(*h));
	at += HEADER_SIZE;
	while (at + 8 <= end) {
		unsigned type = (unsigned)file_le(file, at, 2);
		bool optional = file_le(file, at + 2, 2) & OPTIONAL;
		uint64_t size = file_le(file, at + 4, 4), tag = at + 8;

		if (type == TAG_END)
			break;
		if (size < (type < sizeof(least) ? least[type] : 8) || size > end - at)
			return error_set(error, "the Multiboot2 header of '%s' has a tag of type %u with a wrong size",
					 file->name, type);
		switch (type) {
		case TAG_REQUEST:
			for (uint64_t i = tag; i + 4 <= at + size && !optional; i += 4) {
				if (!can_give((uint32_t)file_le(file, i, 4)))
					return error_set(
						error,
						"the kernel '%s' needs Multiboot2 information %u, which is not there",
						file->name, (unsigned)file_le(file, i, 4));
			}
			break;
		case TAG_ADDRESS:
			h->has_address = true;
			h->header_addr = (uint32_t)file_le(file, tag, 4);
			h->load_addr = (uint32_t)file_le(file, tag + 4, 4);
			h->load_end = (uint32_t)file_le(file, tag + 8, 4);
			h->bss_end = (uint32_t)file_le(file, tag + 12, 4);
			break;
		case TAG_ENTRY:
			h->has_entry = true;
			h->entry = (uint32_t)file_le(file, tag, 4);
			break;
		case TAG_RELOCATABLE:
			h->relocatable = true;
			h->min = (uint32_t)file_le(file, tag, 4);
			h->max = (uint32_t)file_le(file, tag + 4, 4);
			h->align = (uint32_t)file_le(file, tag + 8, 4);
			h->preference = (uint32_t)file_le(file, tag + 12, 4);
			break;
		case TAG_FRAMEBUFFER:
			if (!optional)
				return error_set(
					error,
					"the kernel '%s' insists on a frame buffer, which needs firmware (-bios)",
					file->name);
			break;
		case TAG_CONSOLE:
		case TAG_ALIGN: /* modules always are */
		case TAG_EFI_BS:
		case TAG_EFI32:
		case TAG_EFI64: break;
		default:
			if (!optional)
				return error_set(error, "the Multiboot2 header of '%s' has an unknown tag %u",
						 file->name, type);
		}
		at = (at + size + 7) & ~UINT64_C(7);
	}
	return true;
}

static bool load_addresses(const struct file *file, uint64_t at, const struct header *h, struct space *space, pa_t *end,
			   struct error *error)
{
	uint64_t load = h->load_addr, offset, size;

	/* All ones: the file from its beginning, so that the header falls on header_addr. */
	if (h->load_addr == UINT32_MAX)
		load = h->header_addr - at;
	if (load > h->header_addr || h->header_addr - load > at)
		return error_set(error, "the load address in the Multiboot2 header of '%s' is wrong", file->name);
	offset = at - (h->header_addr - load);
	size = file->size - offset;
	if (h->load_end) {
		if (h->load_end < load)
			return error_set(error, "the load end address in the Multiboot2 header of '%s' is wrong",
					 file->name);
		size = min_u64(size, h->load_end - load);
	}
	*end = max_u64(load + size, h->bss_end);
	if (!space_load(space, load, file->bytes + offset, size, *end - load))
		return error_set(error, "'%s' wants to be loaded at %#llx, where there is no free RAM", file->name,
				 (unsigned long long)load);
	return true;
}

/* "Relocatable header tag": how far from its linked addresses the image goes. */
static bool choose_delta(const struct header *h, const struct elf *elf, const struct file *file,
			 const struct boot *boot, uint64_t *delta)
{
	uint64_t base = UINT64_MAX, end = 0, align = h->align ? h->align : 1;
	struct space space;
	pa_t at;

	*delta = 0;
	for (unsigned i = 0; i < elf->ph_count; i++) {
		struct segment_header s;

		elf_segment(elf, file, i, &s);
		if (s.type != 1 || !s.memory_size)
			continue;
		base = min_u64(base, s.paddr);
		end = max_u64(end, s.paddr + s.memory_size);
	}
	if (base >= end || align & (align - 1))
		return false;
	space_init(&space, boot);
	/* Preference: 1 the lowest place, 2 the highest; else where it was linked, if that is free. */
	if (h->preference == 0 && base >= h->min && end - 1 <= h->max && space_take(&space, base, end - base))
		return true;
	at = space_find(&space, end - base, align, h->min, (uint64_t)h->max + 1, h->preference == 2);
	*delta = at - base;
	return at != 0;
}

static void *append(struct info *info, unsigned type, size_t size)
{
	size_t room = (size + 7) & ~(size_t)7;
	uint8_t *tag;

	info->bytes = xrealloc(info->bytes, info->size + room);
	tag = info->bytes + info->size;
	memset(tag, 0, room);
	store_le(tag, 4, type);
	store_le(tag + 4, 4, size);
	info->size += room;
	return tag + 8;
}

static void append_text(struct info *info, unsigned type, const char *text)
{
	strcpy(append(info, type, 8 + strlen(text) + 1), text);
}

static void append_mmap(struct info *info, const struct memory_layout *layout)
{
	uint8_t *tag = append(info, INFO_MMAP, 16 + 24 * layout->entries);

	store_le(tag, 4, 24);
	for (unsigned i = 0; i < layout->entries; i++) {
		store_le(tag + 8 + 24 * i, 8, layout->map[i].base);
		store_le(tag + 16 + 24 * i, 8, layout->map[i].size);
		store_le(tag + 24 + 24 * i, 4, layout->map[i].type);
	}
}

/*
 * "ELF-Symbols": the section headers, with the addresses of those that were not loaded (symbols, names) where they are
 * now put.
 */
static void append_sections(struct info *info, const struct elf *elf, const struct file *file, struct space *space)
{
	uint32_t total = elf->sh_count * elf->sh_size;
	uint8_t *tag;

	if (!total)
		return;
	tag = append(info, INFO_ELF, 20 + total);
	store_le(tag, 4, elf->sh_count);
	store_le(tag + 4, 4, elf->sh_size);
	store_le(tag + 8, 4, elf->sh_names);
	memcpy(tag + 12, file->bytes + elf->sh, total);
	for (unsigned i = 0; i < elf->sh_count; i++) {
		uint8_t *header = tag + 12 + (size_t)i * elf->sh_size;
		struct section_header s;
		pa_t at;

		elf_section(elf, file, i, &s);
		/* Symbol tables and string tables without an address. */
		if (s.address || (s.type != 2 && s.type != 3) || !s.size || !file_has(file, s.offset, s.size))
			continue;
		at = space_find(space, s.size, 16, max_u64(elf->end, 1 << 20), UINT64_C(1) << 32, false);
		if (!at)
			continue;
		bus_write_bytes(space->bus, at, file->bytes + s.offset, s.size);
		store_le(header + (elf->is64 ? 16 : 12), elf->is64 ? 8 : 4, at);
	}
}

static void append_rsdp(struct info *info, struct bus *bus, pa_t rsdp)
{
	bus_read_bytes(bus, rsdp, append(info, INFO_RSDP_OLD, 8 + 20), 20);
	bus_read_bytes(bus, rsdp, append(info, INFO_RSDP_NEW, 8 + 36), 36);
}

static pa_t put_info(const struct boot *boot, const struct header *h, const struct file *file, const struct elf *elf,
		     const struct module *modules, unsigned count, pa_t rsdp, struct space *space)
{
	struct info info = {xcalloc(1, 8), 8};
	uint8_t *tag;
	pa_t at;

	append_text(&info, INFO_CMDLINE, boot->append ? boot->append : "");
	append_text(&info, INFO_LOADER, "softvt");
	for (unsigned i = 0; i < count; i++) {
		tag = append(&info, INFO_MODULE, 16 + strlen(modules[i].command_line) + 1);
		store_le(tag, 4, modules[i].base);
		store_le(tag + 4, 4, modules[i].end);
		strcpy((char *)tag + 8, modules[i].command_line);
	}
	tag = append(&info, INFO_MEMORY, 16);
	store_le(tag, 4, EBDA_BASE >> 10);
	store_le(tag + 4, 4, (boot->layout->low_ram - (1 << 20)) >> 10);
	append_mmap(&info, boot->layout);
	if (!h->has_address)
		append_sections(&info, elf, file, space);
	append_rsdp(&info, boot->bus, rsdp);
	if (h->relocatable)
		store_le(append(&info, INFO_LOAD_BASE, 12), 4, elf->base);
	append(&info, INFO_END, 8);
	store_le(info.bytes, 4, info.size);
	at = space_find(space, info.size, 8, 0x8000, UINT64_C(1) << 32, false);
	if (at)
		bus_write_bytes(boot->bus, at, info.bytes, info.size);
	free(info.bytes);
	return at;
}

bool load_multiboot2(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error)
{
	struct module modules[MAX_MODULES];
	struct space space;
	struct elf elf = {0};
	struct header h;
	uint64_t at = 0, delta = 0;
	unsigned count;
	pa_t end = 0, info;

	find_header(file, &at);
	if (!read_tags(file, at, &h, error))
		return false;
	space_init(&space, boot);
	if (h.has_address) {
		if (!h.has_entry)
			return error_set(error, "the Multiboot2 header of '%s' has addresses but no entry", file->name);
		if (!load_addresses(file, at, &h, &space, &end, error))
			return false;
	} else {
		if (!elf_open(&elf, file, error))
			return false;
		if (h.relocatable && !choose_delta(&h, &elf, file, boot, &delta))
			return error_set(error, "there is no place in memory where '%s' may be loaded", file->name);
		if (!elf_load(&elf, file, &space, delta, error))
			return false;
		end = elf.end;
	}
	if (!modules_load(&space, boot->initrd, max_u64(end, 1 << 20), modules, &count, error))
		return false;
	info = put_info(boot, &h, file, &elf, modules, count, rsdp, &space);
	modules_free(modules, count);
	if (!info)
		return error_set(error, "there is no room in memory for the boot information of '%s'", file->name);
	enter_protected(boot, h.has_entry ? (uint32_t)(h.entry + delta) : (uint32_t)elf.physical_entry);
	boot->cpu->r[RAX] = LOADER_MAGIC;
	boot->cpu->r[RBX] = info;
	return true;
}

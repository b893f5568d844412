/*
 * What the boot loader left: Multiboot Specification 0.6.96, "Boot information format"; Multiboot2 Specification 2.0, the
 * section of the same title. Everything but the modules is copied, so that the loader's own memory is free after this.
 */
#include "boot/boot.h"

#include "boot/options.h"
#include "boot/paging.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "lib/string.h"

enum { MULTIBOOT_LOADER = 0x2badb002, MULTIBOOT2_LOADER = 0x36d76289 };

/* Multiboot 1. */
enum { INFO_MEMORY = 1 << 0, INFO_COMMAND_LINE = 1 << 2, INFO_MODULES = 1 << 3, INFO_MEMORY_MAP = 1 << 6 };

struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
};

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct multiboot_memory {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} PACKED;

/* Multiboot 2. */
enum { TAG_END = 0, TAG_COMMAND_LINE = 1, TAG_MODULE = 3, TAG_MEMORY_MAP = 6, TAG_OLD_RSDP = 14, TAG_NEW_RSDP = 15 };

struct multiboot2_tag {
	uint32_t type, size; /* the next starts at a multiple of 8 */
};

struct multiboot2_module {
	struct multiboot2_tag tag;
	uint32_t start, end;
	char string[];
};

struct multiboot2_memory_map {
	struct multiboot2_tag tag;
	uint32_t entry_size, entry_version;
};

struct multiboot2_memory {
	uint64_t base, length;
	uint32_t type, reserved;
};

enum { MEMORY_FREE = 1, MEMORY_ACPI = 3, MEMORY_ACPI_NVS = 4 }; /* in both */
enum { LOW_END = 1 << 20, LINE_MAX = 256 };
#define FOUR_GIB BIT(32)

struct range {
	pa_t first, end;
	uint32_t type;
};

struct boot_info boot_info;

static struct range memory[MEMORY_RANGES_MAX];
static unsigned memory_count;
static char module_lines[MODULES_MAX][LINE_MAX];
static uint8_t rsdp[64];

extern char image_start[], image_end[]; /* boot/vmm.ld */

static void add_memory(uint64_t base, uint64_t length, uint32_t type)
{
	if (!length || base + length < base)
		return;
	if (memory_count == MEMORY_RANGES_MAX) {
		print("vmm: the memory map has more than %d ranges: %lu KiB at %lx are not used\n", MEMORY_RANGES_MAX, length >> 10, base);
		return;
	}
	memory[memory_count++] = (struct range){base, base + length, type};
}

static void add_module(pa_t start, pa_t end, const char *line)
{
	struct module *module = &boot_info.modules[boot_info.modules_count];
	char *copy = module_lines[boot_info.modules_count];
	const char *name;
	size_t length = 0;

	if (boot_info.modules_count == MODULES_MAX) {
		print("vmm: there are more than %d modules: \"%s\" is not used\n", MODULES_MAX, line);
		return;
	}
	boot_info.modules_count++;
	string_copy(copy, LINE_MAX, line);
	for (name = copy; copy[length] && copy[length] != ' '; length++) {
		if (copy[length] == '/')
			name = copy + length + 1;
	}
	length -= (size_t)(name - copy);
	*module = (struct module){.start = start, .size = end - start, .line = copy};
	memcpy(module->name, name, min_u64(length, sizeof(module->name) - 1));
}

static void read_multiboot(const struct multiboot_info *info)
{
	const struct multiboot_module *modules = at_pa(info->mods_addr);

	if (info->flags & INFO_COMMAND_LINE)
		options_set(at_pa(info->cmdline));
	for (unsigned i = 0; info->flags & INFO_MODULES && i < info->mods_count; i++)
		add_module(modules[i].start, modules[i].end, modules[i].string ? at_pa(modules[i].string) : "");
	if (info->flags & INFO_MEMORY_MAP) {
		for (pa_t at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
			const struct multiboot_memory *entry = at_pa(at);

			add_memory(entry->base, entry->length, entry->type);
			at += entry->size + sizeof(entry->size);
		}
	} else if (info->flags & INFO_MEMORY) { /* in KiB */
		add_memory(0, info->mem_lower * UINT64_C(1024), MEMORY_FREE);
		add_memory(LOW_END, info->mem_upper * UINT64_C(1024), MEMORY_FREE);
	}
}

static void read_memory_map(const struct multiboot2_memory_map *map)
{
	for (pa_t at = pa_of(map + 1); at < pa_of(map) + map->tag.size; at += map->entry_size) {
		const struct multiboot2_memory *entry = at_pa(at);

		add_memory(entry->base, entry->length, entry->type);
	}
}

static void read_multiboot2(pa_t info)
{
	const struct multiboot2_tag *tag = at_pa(info + 8);

	for (; tag->type != TAG_END; tag = at_pa(pa_of(tag) + ALIGN_UP(tag->size, 8))) {
		const struct multiboot2_module *module = (const void *)tag;

		switch (tag->type) {
		case TAG_COMMAND_LINE:
			options_set((const char *)(tag + 1));
			break;
		case TAG_MODULE:
			add_module(module->start, module->end, module->string);
			break;
		case TAG_MEMORY_MAP:
			read_memory_map((const void *)tag);
			break;
		case TAG_OLD_RSDP:
		case TAG_NEW_RSDP: /* the new one counts, if there are both; it comes later */
			memcpy(rsdp, tag + 1, min_u64(tag->size - sizeof(*tag), sizeof(rsdp)));
			boot_info.rsdp = rsdp;
			break;
		}
	}
}

/* Gives [first, end) to the pool, without what the image and the modules from number module on take of it. */
static void add_free(pa_t first, pa_t end, unsigned module)
{
	for (; module <= boot_info.modules_count; module++) {
		const struct module *it = &boot_info.modules[module];
		bool image = module == boot_info.modules_count;
		pa_t taken = image ? pa_of(image_start) : it->start & ~(PAGE - 1);
		pa_t taken_end = image ? pa_of(image_end) : it->size ? ALIGN_UP(it->start + it->size, PAGE) : taken;

		if (taken >= end || taken_end <= first)
			continue;
		if (first < taken)
			add_free(first, taken, module + 1);
		first = max_u64(taken_end, first);
		if (first >= end)
			return;
	}
	pool_add(first, end - first);
}

/* The part of range between from and to, in whole pages. */
static void add_free_between(const struct range *range, pa_t from, pa_t to)
{
	pa_t first = ALIGN_UP(max_u64(range->first, from), PAGE), end = min_u64(range->end, to) & ~(PAGE - 1);

	if (range->type == MEMORY_FREE && first < end)
		add_free(first, end, 0);
}

void boot_read(uint32_t magic, pa_t info)
{
	if (magic == MULTIBOOT_LOADER)
		read_multiboot(at_pa(info));
	else if (magic == MULTIBOOT2_LOADER)
		read_multiboot2(info);
	else
		panic("the boot loader knows neither Multiboot 1 nor 2");

	/* Below 4 GiB everything is mapped since boot/start.S. What lies beyond needs tables, which are taken from there. Page 0
	   stays out: it is unmapped. */
	for (unsigned i = 0; i < memory_count; i++) {
		add_free_between(&memory[i], PAGE, 0xa0000);
		add_free_between(&memory[i], LOW_END, FOUR_GIB);
	}
	for (unsigned i = 0; i < memory_count; i++) {
		pa_t end = min_u64(memory[i].end, PAGING_END);

		if (end <= FOUR_GIB || (memory[i].type != MEMORY_FREE && memory[i].type != MEMORY_ACPI && memory[i].type != MEMORY_ACPI_NVS))
			continue;
		if (paging_add(max_u64(memory[i].first, FOUR_GIB), end))
			add_free_between(&memory[i], FOUR_GIB, end);
	}
}

const struct module *boot_module(const char *name)
{
	for (unsigned i = 0; i < boot_info.modules_count; i++) {
		if (!strcmp(boot_info.modules[i].name, name))
			return &boot_info.modules[i];
	}
	return NULL;
}

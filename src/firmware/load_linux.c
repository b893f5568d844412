/*
 * Linux bzImage. "The Linux/x86 Boot Protocol" (Documentation/arch/x86/boot.rst): field names are its own.
 *
 * Kernels with the 64-bit entry point start there, older ones at the 32-bit one. Not here: zImage and protocols
 * before 2.02, which need a real-mode start; the EFI handover.
 */
#include "firmware/image.h"

#include <stdlib.h>
#include <string.h>

enum {
	SETUP_SECTS = 0x1f1,
	HEADER_END = 0x201, /* the header ends at 202H plus this byte */
	SIGNATURE = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	CODE32_START = 0x214,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE_KERNEL = 0x234,
	MIN_ALIGNMENT = 0x235,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_MAX = 0x290,
};

/* Zero page: struct boot_params. */
enum {
	ORIG_VIDEO_MODE = 0x06,
	ORIG_VIDEO_COLS = 0x07,
	ORIG_VIDEO_LINES = 0x0e,
	ORIG_VIDEO_ISVGA = 0x0f,
	ORIG_VIDEO_POINTS = 0x10,
	ACPI_RSDP_ADDR = 0x70,
	E820_ENTRIES = 0x1e8,
	E820_TABLE = 0x2d0,
	PARAMS_SIZE = 4096,
};

enum { LOADED_HIGH = 1, XLF_KERNEL_64 = 1, ENTRY64 = 0x200, LOADER_UNKNOWN = 0xff, SECTOR = 512, HIGH_LOAD = 0x100000 };

#define FOUR_GIB (UINT64_C(1) << 32)

struct kernel {
	unsigned version;
	uint64_t setup_size;
	uint64_t image_size;  /* of the protected-mode part in the file */
	uint64_t memory_size; /* what it uses before it reads the memory map */
	bool is64;
	pa_t base;
};

bool is_linux(const struct file *file)
{
	return file_has(file, 0, HEADER_MAX) && !memcmp(file->bytes + SIGNATURE, "HdrS", 4);
}

static bool place(struct kernel *k, const struct file *file, struct space *space)
{
	uint64_t preferred = HIGH_LOAD, alignment, least;

	if (k->version < 0x205 || !file->bytes[RELOCATABLE_KERNEL]) {
		k->base = k->version >= 0x20a ? file_le(file, PREF_ADDRESS, 8) : HIGH_LOAD;
		return k->base < FOUR_GIB && space_take(space, k->base, k->memory_size);
	}
	if (k->version >= 0x20a)
		preferred = file_le(file, PREF_ADDRESS, 8);
	alignment = file_le(file, KERNEL_ALIGNMENT, 4);
	if (!alignment || alignment & (alignment - 1))
		alignment = 2 << 20;
	least = k->version >= 0x20a ? UINT64_C(1) << (file->bytes[MIN_ALIGNMENT] & 31) : alignment;
	k->base = preferred;
	if (preferred < FOUR_GIB && space_take(space, preferred, k->memory_size))
		return true;
	k->base = space_find(space, k->memory_size, alignment, HIGH_LOAD, FOUR_GIB, false);
	if (!k->base && least < alignment)
		k->base = space_find(space, k->memory_size, least, HIGH_LOAD, FOUR_GIB, false);
	return k->base != 0;
}

static bool load_image(struct kernel *k, const struct boot *boot, const struct file *file, struct space *space,
		       struct error *error)
{
	k->version = (unsigned)file_le(file, VERSION, 2);
	k->setup_size = (file->bytes[SETUP_SECTS] ? file->bytes[SETUP_SECTS] + 1u : 5u) * SECTOR;
	if (k->version < 0x202 || !(file->bytes[LOADFLAGS] & LOADED_HIGH))
		return error_set(error, "'%s' is too old a Linux kernel: boot protocol %u.%02u", file->name,
				 k->version >> 8, k->version & 0xff);
	if (!file_has(file, k->setup_size, ENTRY64 + 1))
		return error_set(error, "the Linux kernel '%s' is cut short", file->name);
	k->image_size = file->size - k->setup_size;
	k->memory_size = k->version >= 0x20a ? file_le(file, INIT_SIZE, 4) : 2 * k->image_size;
	if (k->memory_size < k->image_size)
		k->memory_size = k->image_size;
	k->is64 = k->version >= 0x20c && (file_le(file, XLOADFLAGS, 2) & XLF_KERNEL_64);
	if (!place(k, file, space))
		return error_set(error, "the Linux kernel '%s' needs %llu MiB of free RAM to start", file->name,
				 (unsigned long long)(k->memory_size >> 20) + 1);
	bus_write_bytes(boot->bus, k->base, file->bytes + k->setup_size, k->image_size);
	return true;
}

static bool load_initrd(const struct kernel *k, const struct boot *boot, const struct file *kernel, uint8_t *params,
			struct space *space, struct error *error)
{
	struct file initrd;
	uint64_t max = k->version >= 0x203 ? file_le(kernel, INITRD_ADDR_MAX, 4) : 0x37ffffff;
	pa_t at;

	if (!boot->initrd)
		return true;
	if (!file_read(&initrd, "initrd", boot->initrd, error))
		return false;
	/* As high as it may be, so that the kernel need not move it. */
	at = space_find(space, initrd.size, 4096, HIGH_LOAD, max + 1, true);
	if (at && initrd.size) {
		bus_write_bytes(boot->bus, at, initrd.bytes, initrd.size);
		store_le(params + RAMDISK_IMAGE, 4, at);
		store_le(params + RAMDISK_SIZE, 4, initrd.size);
	}
	file_free(&initrd);
	return at || error_set(error, "the initrd '%s' does not fit in memory", boot->initrd);
}

static void describe_memory(uint8_t *params, const struct memory_layout *layout)
{
	params[E820_ENTRIES] = (uint8_t)layout->entries;
	memcpy(params + E820_TABLE, layout->map, layout->entries * sizeof(layout->map[0]));
}

bool load_linux(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error)
{
	uint8_t params[PARAMS_SIZE] = {0};
	const char *append = boot->append ? boot->append : "";
	struct space space;
	struct kernel k = {0};
	uint64_t header_end, longest;
	pa_t command_line, zero_page, tables;

	space_init(&space, boot);
	zero_page = space_find(&space, PARAMS_SIZE, 4096, 0x8000, 0x90000, false);
	tables = space_find(&space, LONG_TABLES_SIZE, 4096, 0x9000, 0x90000, false);
	command_line = space_string(&space, append, 0x20000);
	if (!zero_page || !tables || !command_line)
		return error_set(error, "there is no room for the kernel's command line");
	if (!load_image(&k, boot, file, &space, error))
		return false;
	longest = k.version >= 0x206 ? file_le(file, CMDLINE_SIZE, 4) : 255;
	if (strlen(append) > longest)
		return error_set(error, "the command line is longer than the %llu characters that '%s' takes",
				 (unsigned long long)longest, file->name);

	header_end = min_u64(SIGNATURE + file->bytes[HEADER_END], HEADER_MAX);
	memcpy(params + SETUP_SECTS, file->bytes + SETUP_SECTS, header_end - SETUP_SECTS);
	if (!load_initrd(&k, boot, file, params, &space, error))
		return false;
	/* The text mode that a PC's display is in; without a display the kernel's own probe says so. */
	params[ORIG_VIDEO_MODE] = 3;
	params[ORIG_VIDEO_COLS] = 80;
	params[ORIG_VIDEO_LINES] = 25;
	params[ORIG_VIDEO_ISVGA] = 1;
	params[ORIG_VIDEO_POINTS] = 16;
	params[TYPE_OF_LOADER] = LOADER_UNKNOWN;
	store_le(params + CODE32_START, 4, k.base);
	store_le(params + CMD_LINE_PTR, 4, command_line);
	store_le(params + ACPI_RSDP_ADDR, 8, rsdp);
	describe_memory(params, boot->layout);
	bus_write_bytes(boot->bus, zero_page, params, sizeof(params));

	if (k.is64)
		enter_long(boot, k.base + ENTRY64, tables);
	else
		enter_protected(boot, (uint32_t)k.base);
	boot->cpu->r[RSI] = zero_page;
	return true;
}

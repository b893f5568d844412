/*
 * Private to firmware/, but for files: those as bytes, where they go in memory, and the state in which a boot protocol
 * wants the CPU.
 */
#pragma once

#include "firmware/firmware.h"

struct file {
	const char *name;
	uint8_t *bytes;
	size_t size;
};

/* what: "kernel", "initrd", for the sentence. */
MUST_CHECK bool file_read(struct file *file, const char *what, const char *name, struct error *error);
void file_free(struct file *file);

/* Do [offset, offset + size) lie in the file? */
static inline bool file_has(const struct file *file, uint64_t offset, uint64_t size)
{
	return offset <= file->size && size <= file->size - offset;
}

/* A little-endian number in the file; the caller has checked file_has(). */
static inline uint64_t file_le(const struct file *file, uint64_t offset, unsigned size)
{
	return load_le(file->bytes + offset, size);
}

/* What of memory is taken. */
struct space {
	struct bus *bus;
	const struct memory_layout *layout;
	struct {
		pa_t base, end;
	} used[160];
	unsigned count;
};

void space_init(struct space *space, const struct boot *boot);
/* Take [base, base + size) if it is RAM, at 4 KiB or above and free. False: it is not, or there are too many pieces. */
MUST_CHECK bool space_take(struct space *space, pa_t base, uint64_t size);
/* Take `size` bytes: the lowest or highest place in [min, max) with the alignment, a power of two. 0: none is free. */
pa_t space_find(struct space *space, uint64_t size, uint64_t alignment, pa_t min, pa_t max, bool highest);

/* Take memory and copy bytes there; what lies beyond them up to memory_size is zeroed. */
MUST_CHECK bool space_load(struct space *space, pa_t base, const void *bytes, uint64_t size, uint64_t memory_size);
/* A string with its zero byte, anywhere below 4 GiB and above `min`. 0: no room. */
pa_t space_string(struct space *space, const char *text, pa_t min);

/* Protected mode, paging off, flat segments (CS 10H, data 18H), interrupts off: what 32-bit boot protocols share. */
void enter_protected(const struct boot *boot, uint32_t entry);
/* 64-bit mode with the first 4 GiB mapped one to one by 2-MiB pages at `tables` (6 free pages). */
void enter_long(const struct boot *boot, uint64_t entry, pa_t tables);
enum { LONG_TABLES_SIZE = 6 * 4096 };

/* An ELF file, 32 or 64 bits, in memory. */
struct elf {
	bool is64;
	uint64_t entry;		 /* e_entry */
	uint64_t physical_entry; /* with the segment's physical address in place of its virtual one */
	uint64_t ph, sh;
	unsigned ph_count, ph_size, sh_count, sh_size, sh_names;
	pa_t base, end; /* what elf_load() filled */
};

struct segment_header {
	uint32_t type;
	uint64_t offset, vaddr, paddr, file_size, memory_size, alignment;
};

struct section_header {
	uint32_t name, type;
	uint64_t flags, address, offset, size;
	uint32_t link, info;
	uint64_t alignment, entry_size;
};

/* False, with a sentence unless error is NULL: not an x86 ELF file, or a broken one. */
MUST_CHECK bool elf_open(struct elf *elf, const struct file *file, struct error *error);
void elf_segment(const struct elf *elf, const struct file *file, unsigned index, struct segment_header *header);
void elf_section(const struct elf *elf, const struct file *file, unsigned index, struct section_header *header);
/* Copy all loadable segments to their physical addresses plus `delta`. */
MUST_CHECK bool elf_load(struct elf *elf, const struct file *file, struct space *space, uint64_t delta,
			 struct error *error);

/* "file args,file args", a comma doubled inside. Fills the next module; false at the end. Both strings are the caller's
 * to free. */
bool next_module(const char **list, char **name, char **command_line);

/* Modules and what a protocol tells the kernel about them. */
struct module {
	pa_t base, end;
	char *command_line; /* name and arguments */
};
enum { MAX_MODULES = 64 };
MUST_CHECK bool modules_load(struct space *space, const char *list, pa_t min, struct module *modules, unsigned *count,
			     struct error *error);
void modules_free(struct module *modules, unsigned count);

/* Does the file have the protocol's header? Then load it. */
bool is_linux(const struct file *file);
bool is_multiboot(const struct file *file);
bool is_multiboot2(const struct file *file);
bool is_pvh(const struct file *file);
MUST_CHECK bool load_linux(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error);
MUST_CHECK bool load_multiboot(const struct boot *boot, const struct file *file, struct error *error);
MUST_CHECK bool load_multiboot2(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error);
MUST_CHECK bool load_pvh(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error);
/* Whichever the file has; the chipset and the tables are in place. */
MUST_CHECK bool load_kernel(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error);

/* Pages of the BIOS area, which no kernel is loaded into. */
#define BOOT_GDT  UINT64_C(0xff000)
#define ACPI_BASE UINT64_C(0xe0000)

/*
 * ELF files as kernels are: System V ABI, "Object Files". 32 and 64 bits, little-endian, x86.
 */
#include "firmware/image.h"

#include <stdlib.h>
#include <string.h>

enum { ELFCLASS32 = 1, ELFCLASS64 = 2, ELFDATA2LSB = 1, EM_386 = 3, EM_X86_64 = 62, PT_LOAD = 1 };

/* All program headers and section headers lie in the file, so elf_segment() and elf_section() cannot fail. */
bool elf_open(struct elf *elf, const struct file *file, struct error *error)
{
	unsigned machine, ph_least, sh_least;
	struct error unused;

	memset(elf, 0, sizeof(*elf));
	if (!error)
		error = &unused;
	if (!file_has(file, 0, 64) || memcmp(file->bytes, "\177ELF", 4))
		return error_set(error, "'%s' is not an ELF file", file->name);
	elf->is64 = file->bytes[4] == ELFCLASS64;
	machine = (unsigned)file_le(file, 18, 2);
	if ((!elf->is64 && file->bytes[4] != ELFCLASS32) || file->bytes[5] != ELFDATA2LSB ||
	    (machine != EM_386 && machine != EM_X86_64))
		return error_set(error, "'%s' is an ELF file for another kind of machine", file->name);
	if (elf->is64) {
		elf->entry = file_le(file, 24, 8);
		elf->ph = file_le(file, 32, 8);
		elf->sh = file_le(file, 40, 8);
	} else {
		elf->entry = file_le(file, 24, 4);
		elf->ph = file_le(file, 28, 4);
		elf->sh = file_le(file, 32, 4);
	}
	elf->ph_size = (unsigned)file_le(file, elf->is64 ? 54 : 42, 2);
	elf->ph_count = (unsigned)file_le(file, elf->is64 ? 56 : 44, 2);
	elf->sh_size = (unsigned)file_le(file, elf->is64 ? 58 : 46, 2);
	elf->sh_count = (unsigned)file_le(file, elf->is64 ? 60 : 48, 2);
	elf->sh_names = (unsigned)file_le(file, elf->is64 ? 62 : 50, 2);
	ph_least = elf->is64 ? 56 : 32;
	sh_least = elf->is64 ? 64 : 40;
	if (elf->ph_count &&
	    (elf->ph_size < ph_least || !file_has(file, elf->ph, (uint64_t)elf->ph_count * elf->ph_size)))
		return error_set(error, "the program headers of '%s' lie outside of the file", file->name);
	/* Sections matter only to debuggers: broken ones are as good as none. */
	if (elf->sh_count &&
	    (elf->sh_size < sh_least || !file_has(file, elf->sh, (uint64_t)elf->sh_count * elf->sh_size)))
		elf->sh_count = 0;
	return true;
}

void elf_segment(const struct elf *elf, const struct file *file, unsigned index, struct segment_header *h)
{
	uint64_t at = elf->ph + (uint64_t)index * elf->ph_size;

	h->type = (uint32_t)file_le(file, at, 4);
	if (elf->is64) {
		h->offset = file_le(file, at + 8, 8);
		h->vaddr = file_le(file, at + 16, 8);
		h->paddr = file_le(file, at + 24, 8);
		h->file_size = file_le(file, at + 32, 8);
		h->memory_size = file_le(file, at + 40, 8);
		h->alignment = file_le(file, at + 48, 8);
	} else {
		h->offset = file_le(file, at + 4, 4);
		h->vaddr = file_le(file, at + 8, 4);
		h->paddr = file_le(file, at + 12, 4);
		h->file_size = file_le(file, at + 16, 4);
		h->memory_size = file_le(file, at + 20, 4);
		h->alignment = file_le(file, at + 28, 4);
	}
}

void elf_section(const struct elf *elf, const struct file *file, unsigned index, struct section_header *h)
{
	uint64_t at = elf->sh + (uint64_t)index * elf->sh_size;

	h->name = (uint32_t)file_le(file, at, 4);
	h->type = (uint32_t)file_le(file, at + 4, 4);
	if (elf->is64) {
		h->flags = file_le(file, at + 8, 8);
		h->address = file_le(file, at + 16, 8);
		h->offset = file_le(file, at + 24, 8);
		h->size = file_le(file, at + 32, 8);
		h->link = (uint32_t)file_le(file, at + 40, 4);
		h->info = (uint32_t)file_le(file, at + 44, 4);
		h->alignment = file_le(file, at + 48, 8);
		h->entry_size = file_le(file, at + 56, 8);
	} else {
		h->flags = file_le(file, at + 8, 4);
		h->address = file_le(file, at + 12, 4);
		h->offset = file_le(file, at + 16, 4);
		h->size = file_le(file, at + 20, 4);
		h->link = (uint32_t)file_le(file, at + 24, 4);
		h->info = (uint32_t)file_le(file, at + 28, 4);
		h->alignment = file_le(file, at + 32, 4);
		h->entry_size = file_le(file, at + 36, 4);
	}
}

bool elf_load(struct elf *elf, const struct file *file, struct space *space, uint64_t delta, struct error *error)
{
	bool any = false;

	elf->physical_entry = elf->entry + delta;
	elf->base = UINT64_MAX;
	elf->end = 0;
	for (unsigned i = 0; i < elf->ph_count; i++) {
		struct segment_header h;
		pa_t at;

		elf_segment(elf, file, i, &h);
		if (h.type != PT_LOAD || h.memory_size == 0)
			continue;
		at = h.paddr + delta;
		if (h.file_size > h.memory_size || !file_has(file, h.offset, h.file_size))
			return error_set(error, "segment %u of '%s' lies outside of the file", i, file->name);
		if (!space_load(space, at, file->bytes + h.offset, h.file_size, h.memory_size))
			return error_set(error,
					 "segment %u of '%s' wants %llu bytes at %#llx, where there is no free RAM", i,
					 file->name, (unsigned long long)h.memory_size, (unsigned long long)at);
		if (elf->entry >= h.vaddr && elf->entry - h.vaddr < h.memory_size)
			elf->physical_entry = elf->entry - h.vaddr + at;
		elf->base = min_u64(elf->base, at);
		elf->end = max_u64(elf->end, at + h.memory_size);
		any = true;
	}
	if (!any)
		return error_set(error, "'%s' has nothing to load", file->name);
	return true;
}

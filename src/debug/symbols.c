/*
 * Symbol tables of ELF files. System V ABI, "Symbol Table", "Sections".
 *
 * Of several names for one address, a sized function wins over a label. Not read: debugging information, compressed
 * sections, and symbols that are not in a section of code.
 */
#include "debug/symbols.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "firmware/image.h"

enum { SHT_SYMTAB = 2, SHT_STRTAB = 3, SHF_EXECINSTR = 4, PT_LOAD = 1, STT_NOTYPE = 0, STT_FUNC = 2 };

/* Bounds on a hostile file's loops; kernels have some hundred sections and some hundred thousand symbols. */
enum { MOST_SECTIONS = 4096, MOST_SEGMENTS = 64, MOST_SYMBOLS = 1 << 22 };

struct symbol {
	uint64_t address, size; /* size 0: up to the next one */
	uint64_t end;		/* of its section */
	uint64_t physical;
	const char *name;
	bool function;
};

struct symbols {
	struct symbol *symbol; /* by address; the best of several at one address last */
	unsigned count, room;
	char **names; /* one string table for each table of symbols */
	unsigned tables;
};

struct symbols *symbols_create(void)
{
	return xcalloc(1, sizeof(struct symbols));
}

void symbols_destroy(struct symbols *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->tables; i++)
		free(s->names[i]);
	free(s->names);
	free(s->symbol);
	free(s);
}

static int compare(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->function != b->function)
		return a->function ? 1 : -1;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return -strcmp(a->name, b->name);
}

/* What to add to a section's addresses for physical ones: by the segment that it is loaded with. */
static bool load_offset(const struct elf *elf, const struct file *file, uint64_t address, uint64_t *offset)
{
	for (unsigned i = 0; i < elf->ph_count && i < MOST_SEGMENTS; i++) {
		struct segment_header h;

		elf_segment(elf, file, i, &h);
		if (h.type == PT_LOAD && address >= h.vaddr && address - h.vaddr < h.memory_size) {
			*offset = h.paddr - h.vaddr;
			return true;
		}
	}
	return false;
}

struct code_section {
	bool loaded;
	uint64_t address, size, offset;
};

static void add_symbol(struct symbols *s, const struct symbol *symbol)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 256;
		s->symbol = xrealloc(s->symbol, s->room * sizeof(*s->symbol));
	}
	s->symbol[s->count++] = *symbol;
}

static void add_table(struct symbols *s, const struct elf *elf, const struct file *file,
		      const struct section_header *table, const struct code_section *code)
{
	struct section_header strings = {0};
	uint64_t entry = elf->is64 ? 24 : 16;
	char *names;

	if (table->link < elf->sh_count)
		elf_section(elf, file, table->link, &strings);
	if (strings.type != SHT_STRTAB || !file_has(file, strings.offset, strings.size) || !strings.size ||
	    table->entry_size != entry || !file_has(file, table->offset, table->size))
		return;
	names = xcalloc(strings.size + 1, 1);
	memcpy(names, file->bytes + strings.offset, strings.size);
	s->names = xrealloc(s->names, (s->tables + 1) * sizeof(*s->names));
	s->names[s->tables++] = names;
	for (uint64_t i = 0; i < table->size / entry && s->count < MOST_SYMBOLS; i++) {
		uint64_t at = table->offset + i * entry, name = file_le(file, at, 4);
		uint64_t value = elf->is64 ? file_le(file, at + 8, 8) : file_le(file, at + 4, 4);
		uint64_t size = elf->is64 ? file_le(file, at + 16, 8) : file_le(file, at + 8, 4);
		unsigned type = (unsigned)file_le(file, at + (elf->is64 ? 4 : 12), 1) & 15;
		unsigned section = (unsigned)file_le(file, at + (elf->is64 ? 6 : 14), 2);
		const struct code_section *in = section < MOST_SECTIONS ? &code[section] : NULL;

		if ((type != STT_FUNC && type != STT_NOTYPE) || name >= strings.size || !names[name] ||
		    names[name] == '.' || !in || !in->loaded || value < in->address || value - in->address >= in->size)
			continue;
		add_symbol(s, &(struct symbol){.address = value,
					       .size = size,
					       .end = in->address + in->size,
					       .physical = value + in->offset,
					       .name = names + name,
					       .function = type == STT_FUNC});
	}
}

unsigned symbols_add(struct symbols *s, const uint8_t *bytes, size_t size)
{
	const struct file file = {.name = "", .bytes = (uint8_t *)bytes, .size = size};
	struct code_section *code;
	unsigned before = s->count;
	struct elf elf;

	if (!elf_open(&elf, &file, NULL) || elf.sh_count > MOST_SECTIONS)
		return 0;
	code = xcalloc(MOST_SECTIONS, sizeof(*code));
	for (unsigned i = 0; i < elf.sh_count; i++) {
		struct section_header h;

		elf_section(&elf, &file, i, &h);
		code[i] = (struct code_section){.address = h.address, .size = h.size};
		code[i].loaded = (h.flags & SHF_EXECINSTR) && h.address + h.size >= h.address &&
				 load_offset(&elf, &file, h.address, &code[i].offset);
	}
	for (unsigned i = 0; i < elf.sh_count; i++) {
		struct section_header h;

		elf_section(&elf, &file, i, &h);
		if (h.type == SHT_SYMTAB)
			add_table(s, &elf, &file, &h, code);
	}
	free(code);
	if (s->count)
		qsort(s->symbol, s->count, sizeof(*s->symbol), compare);
	return s->count - before;
}

/* A pipe would give its bytes to one reader only. */
static bool read_regular(struct file *file, const char *name)
{
	struct stat status;
	struct error error;

	return !stat(name, &status) && S_ISREG(status.st_mode) && file_read(file, "kernel", name, &error);
}

void symbols_add_kernel(struct symbols *s, const char *kernel, const char *modules)
{
	struct file file = {0};
	char *name, *command_line;
	bool multiboot;

	if (!read_regular(&file, kernel))
		return;
	symbols_add(s, file.bytes, file.size);
	multiboot = is_multiboot(&file) || is_multiboot2(&file);
	file_free(&file);
	while (multiboot && modules && next_module(&modules, &name, &command_line)) {
		struct file module = {0};

		if (read_regular(&module, name))
			symbols_add(s, module.bytes, module.size);
		file_free(&module);
		free(name);
		free(command_line);
	}
}

bool symbols_find(const struct symbols *s, la_t address, pa_t physical, const char **name, uint64_t *offset)
{
	unsigned low = 0, high = s->count;

	/* The first symbol beyond the address; then back, a few in case one lies inside of another. */
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (s->symbol[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (unsigned i = low; i > 0 && low - i < 16; i--) {
		const struct symbol *symbol = &s->symbol[i - 1];

		*offset = address - symbol->address;
		if (symbol->size ? *offset >= symbol->size : address >= symbol->end)
			continue;
		if (physical != ~UINT64_C(0) && physical != symbol->physical + *offset)
			continue;
		*name = symbol->name;
		return true;
	}
	return false;
}

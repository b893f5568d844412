/* For unit tests: an ELF file with one section of code at TINY_CODE, loaded at a physical address, and the symbols
 * given. */
#pragma once

#include "base/bits.h"

#define TINY_CODE UINT64_C(0x401000)
#define TINY_SIZE 0x1000

struct tiny_symbol {
	const char *name;
	uint64_t address, size;
	uint8_t type;	  /* 0 label, 1 data, 2 function */
	uint16_t section; /* 1 is the code */
};

/* Returns the size; bytes has room for 4096. */
static inline size_t tiny_elf(uint8_t *bytes, bool wide, pa_t loaded, const struct tiny_symbol *symbols, unsigned count)
{
	const unsigned header = wide ? 64 : 52, ph = wide ? 56 : 32, sh = wide ? 64 : 40, entry = wide ? 24 : 16,
		       word = wide ? 8 : 4;
	size_t sections = header + ph, table = sections + 4 * sh, names = table + (count + 1) * entry, name = names + 1;

	memset(bytes, 0, 4096);
	memcpy(bytes, "\177ELF", 4);
	bytes[4] = wide ? 2 : 1;
	bytes[5] = bytes[6] = 1;
	store_le(bytes + 16, 2, 2);
	store_le(bytes + 18, 2, wide ? 62 : 3);
	store_le(bytes + 24, word, TINY_CODE);
	store_le(bytes + 24 + word, word, header);
	store_le(bytes + 24 + 2 * word, word, sections);
	store_le(bytes + header - 12, 2, header);
	store_le(bytes + header - 10, 2, ph);
	store_le(bytes + header - 8, 2, 1);
	store_le(bytes + header - 6, 2, sh);
	store_le(bytes + header - 4, 2, 4);

	store_le(bytes + header, 4, 1); /* PT_LOAD */
	store_le(bytes + header + (wide ? 16 : 8), word, TINY_CODE);
	store_le(bytes + header + (wide ? 24 : 12), word, loaded);
	store_le(bytes + header + (wide ? 40 : 20), word, TINY_SIZE);

	for (unsigned i = 1; i < 4; i++) {
		static const uint8_t types[] = {0, 1, 2, 3}; /* code, symbols, strings */
		uint8_t *section = bytes + sections + i * sh;
		size_t offset = i == 2 ? table : i == 3 ? names : 0, end = i == 2 ? names : 4096;

		store_le(section + 4, 4, types[i]);
		store_le(section + 8, word, i == 1 ? 6 : 0);
		store_le(section + 8 + word, word, i == 1 ? TINY_CODE : 0);
		store_le(section + 8 + 2 * word, word, offset);
		store_le(section + 8 + 3 * word, word, i == 1 ? TINY_SIZE : end - offset);
		store_le(section + 8 + 4 * word, 4, i == 2 ? 3 : 0);
		store_le(section + sh - word, word, i == 2 ? entry : 0);
	}
	for (unsigned i = 0; i < count; i++) {
		uint8_t *symbol = bytes + table + (i + 1) * entry;

		store_le(symbol, 4, name - names);
		store_le(symbol + (wide ? 4 : 12), 1, symbols[i].type);
		store_le(symbol + (wide ? 6 : 14), 2, symbols[i].section);
		store_le(symbol + (wide ? 8 : 4), word, symbols[i].address);
		store_le(symbol + (wide ? 16 : 8), word, symbols[i].size);
		memcpy(bytes + name, symbols[i].name, strlen(symbols[i].name));
		name += strlen(symbols[i].name) + 1;
	}
	return 4096;
}

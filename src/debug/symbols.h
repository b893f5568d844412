/*
 * Names of a guest's functions: the symbol tables of the ELF files that were loaded with -kernel. System V ABI, "Symbol
 * Table". Any bytes will do as a file.
 */
#pragma once

#include "base/error.h"

struct symbols;

struct symbols *symbols_create(void);
void symbols_destroy(struct symbols *symbols);

/* Add what an ELF file of 32 or 64 bits says of its code; other files have nothing to add. Returns how many symbols. */
unsigned symbols_add(struct symbols *symbols, const uint8_t *bytes, size_t size);

/* A file that -kernel was given, and for Multiboot its modules ("FILE ARGS,FILE ARGS"; NULL: none). Whoever loads them
 * complains of those that cannot be read. */
void symbols_add_kernel(struct symbols *symbols, const char *kernel, const char *modules);

/*
 * The function that a linear address lies in. physical: what it means now, or ~0 when it means nothing; a symbol counts
 * only where its file was loaded, so code that was moved, or another program's at the same address, has no name.
 */
bool symbols_find(const struct symbols *symbols, la_t address, pa_t physical, const char **name, uint64_t *offset);

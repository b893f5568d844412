/*
 * What the boot loader left, in one shape: Multiboot Specification 0.6.96, "Boot information format", and Multiboot2
 * Specification 2.0, "Boot information format".
 */
#ifndef VMM_BOOT_BOOT_H
#define VMM_BOOT_BOOT_H

#include "lib/types.h"

enum { MODULES_MAX = 16, MEMORY_RANGES_MAX = 128, COMMAND_LINE_MAX = 4096 };

struct module {
	pa_t start;
	uint64_t size;
	char name[64]; /* the last part of the path that its line begins with, without the directory */
	const char *line; /* the whole line; may be empty */
};

struct boot_info {
	char command_line[COMMAND_LINE_MAX];
	unsigned modules_count;
	struct module modules[MODULES_MAX];
	const void *rsdp; /* NULL: not told */
};

extern struct boot_info boot_info;

/* Reads the loader's structures into boot_info, and gives free memory above 1 MiB that nothing of it lies in to the pool. */
void boot_read(uint32_t magic, pa_t info);

const struct module *boot_module(const char *name); /* NULL: none of that name. With several of one name, the first. */

/* The value of "name=value" or of the bare word "name" ("") in the command line, copied to buffer and cut at size. NULL: it is not
   there. */
const char *boot_option(const char *name, char *buffer, size_t size);

#endif

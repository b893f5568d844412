/*
 * Kernel files from strangers, for all loaders: bzImage, Multiboot 1 and 2, PVH, with the same bytes as initrd. What
 * was loaded runs a few instructions. Its symbols are
 * read too.
 */
#include "debug/symbols.h"
#include "firmware/image.h"
#include "machine/board.h"
#include "whole.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Its symbols, for explanations. */
static void read_symbols(const struct file *file)
{
	struct symbols *symbols = symbols_create();
	const char *name;
	uint64_t offset;

	symbols_add(symbols, file->bytes, file->size);
	if (symbols_find(symbols, 0x100000, ~UINT64_C(0), &name, &offset) && strlen(name) > file->size)
		abort();
	symbols_destroy(symbols);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory_file initrd;
	static char modules[80];
	struct machine *m;
	struct boot boot;
	struct error error;
	struct file file = {.name = "kernel", .size = size};

	if (size > 65536)
		return 0;
	if (!modules[0]) {
		memory_file_create(&initrd);
		snprintf(modules, sizeof(modules), "%s a,,b,%s", initrd.name, initrd.name);
	}
	memory_file_set(&initrd, data, size);
	m = whole_machine();
	boot = (struct boot){.bus = m->bus,
			     .pci = m->pci,
			     .cpu = m->cpu,
			     .layout = &m->board->layout,
			     .acpi = m->board->acpi,
			     .kernel = file.name,
			     .initrd = size % 2 ? modules : NULL,
			     .append = "console=ttyS0 vga=1 mem=1M"};
	/* Of exactly its size, so that a sanitizer sees a read beyond the end. */
	file.bytes = malloc(size);
	memcpy(file.bytes, data, size);
	read_symbols(&file);
	if (load_kernel(&boot, &file, ACPI_BASE, &error)) {
		whole_settle(m);
		machine_run(m, 1000);
	}
	file_free(&file);
	return 0;
}

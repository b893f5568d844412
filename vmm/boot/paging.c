/*
 * Page tables of the VMM: SDM vol. 3, "4-Level Paging and 5-Level Paging". boot/start.S has mapped the first 4 GiB; all
 * other processors use the same tables.
 */
#include "boot/paging.h"

#include "cpu/x86.h"
#include "lib/pool.h"

enum { PRESENT = 1, WRITABLE = 2, LARGE = 1 << 7 };
enum { ENTRIES = 512 };
#define SIZE_2M BIT(21)
#define SIZE_1G BIT(30)

extern uint64_t page_pointers[], page_directories[]; /* boot/start.S */

static bool has_1g_pages(void)
{
	return cpuid(0x80000001, 0).edx & 1 << 26;
}

bool paging_add(pa_t first, pa_t end)
{
	for (pa_t at = first & ~(SIZE_1G - 1); at < end; at += SIZE_1G) {
		uint64_t *entry = &page_pointers[at / SIZE_1G], *directory;

		if (*entry)
			continue;
		if (has_1g_pages()) {
			*entry = at | LARGE | WRITABLE | PRESENT;
			continue;
		}
		directory = pool_take(PAGE, PAGE);
		if (!directory)
			return false;
		for (unsigned i = 0; i < ENTRIES; i++)
			directory[i] = (at + i * SIZE_2M) | LARGE | WRITABLE | PRESENT;
		*entry = pa_of(directory) | WRITABLE | PRESENT;
	}
	return true;
}

void paging_guard_null(void)
{
	static uint64_t table[ENTRIES] ALIGNED(4096);

	for (unsigned i = 1; i < ENTRIES; i++)
		table[i] = i * PAGE | WRITABLE | PRESENT;
	page_directories[0] = pa_of(table) | WRITABLE | PRESENT;
	write_cr3(read_cr3());
}

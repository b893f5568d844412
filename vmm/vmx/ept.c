/*
 * Building EPT paging structures: SDM vol. 3, "EPT Translation Mechanism" and "Extended-Page-Table Pointer (EPTP)".
 *
 * Entries that point to tables allow everything; what a guest may is in the entry that maps the page.
 */
#include "lib/pool.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/ept.h"

enum { LEVELS = 4, ENTRIES = 512 };
enum { TYPE_SHIFT = 3, IGNORE_PAT = 1 << 6, LARGE = 1 << 7 };
enum { EPTP_WALK_4 = 3 << 3, EPTP_ACCESSED_DIRTY = 1 << 6 };
#define ADDRESS BITS(51, 12)

/* Level 1 is the EPT page table, level 4 the EPT PML4 table. */
static uint64_t page_size(unsigned level) { return BIT(12 + 9 * (level - 1)); }
static unsigned entry_of(gpa_t gpa, unsigned level) { return gpa >> (12 + 9 * (level - 1)) & (ENTRIES - 1); }
static bool is_present(uint64_t entry) { return entry & EPT_ALL; }
static bool is_leaf(uint64_t entry, unsigned level) { return level == 1 || (entry & LARGE); }

static bool may_map(unsigned level)
{
	return level == 1 || (level == 2 && HAS(EPT_VPID_CAP, PAGES_2M)) || (level == 3 && HAS(EPT_VPID_CAP, PAGES_1G));
}

void ept_create(struct ept *ept, unsigned tables)
{
	ept->pages = pool_take(tables * PAGE, PAGE);
	ept->pages_count = ept->pages ? tables : 0;
	ept->pages_used = 1;
	ept->root = (uint64_t *)ept->pages;
	ept->eptp = pa_of(ept->root) | EPTP_WALK_4 | (HAS(EPT_VPID_CAP, WB) ? MEMORY_WB : MEMORY_UC) |
		    (HAS(EPT_VPID_CAP, ACCESSED_DIRTY) ? EPTP_ACCESSED_DIRTY : 0);
}

static uint64_t *new_table(struct ept *ept)
{
	uint64_t *table;

	if (ept->pages_used == ept->pages_count)
		return NULL;
	table = (uint64_t *)(ept->pages + PAGE * ept->pages_used++);
	memset(table, 0, PAGE);
	return table;
}

/* The table that entry points to; made where there is none, and where entry maps a large page split into one with the same
   pages. */
static uint64_t *table_below(struct ept *ept, uint64_t *entry, unsigned level)
{
	uint64_t *table;

	if (is_present(*entry) && !is_leaf(*entry, level))
		return at_pa(*entry & ADDRESS);
	table = new_table(ept);
	if (!table)
		return NULL;
	if (is_present(*entry))
		for (unsigned i = 0; i < ENTRIES; i++)
			table[i] = (*entry & ~(level == 2 ? (uint64_t)LARGE : 0)) + i * page_size(level - 1);
	*entry = pa_of(table) | EPT_ALL;
	return table;
}

/* flags: the low bits of the entries that map, or 0 to unmap. */
static bool set(struct ept *ept, gpa_t gpa, pa_t pa, uint64_t size, uint64_t flags)
{
	while (size) {
		uint64_t *entry = &ept->root[entry_of(gpa, LEVELS)];
		unsigned level = LEVELS;

		while (!may_map(level) || ((gpa | pa) & (page_size(level) - 1)) || size < page_size(level)) {
			uint64_t *table = table_below(ept, entry, level);

			if (!table)
				return false;
			entry = &table[entry_of(gpa, --level)];
		}
		*entry = flags ? pa | flags | (level > 1 ? LARGE : 0) : 0;
		gpa += page_size(level);
		pa += flags ? page_size(level) : 0;
		size -= page_size(level);
	}
	return true;
}

/* "Ignore PAT": a guest's own memory types cannot make its RAM anything else than what the rest of the machine takes it for. */
bool ept_map(struct ept *ept, gpa_t gpa, pa_t pa, uint64_t size, unsigned access, unsigned type)
{
	return set(ept, gpa, pa, size, access | type << TYPE_SHIFT | IGNORE_PAT);
}

bool ept_unmap(struct ept *ept, gpa_t gpa, uint64_t size) { return set(ept, gpa, 0, size, 0); }

uint64_t *ept_entry(struct ept *ept, gpa_t gpa, uint64_t *size)
{
	uint64_t *table = ept->root;

	for (unsigned level = LEVELS;; level--) {
		uint64_t *entry = &table[entry_of(gpa, level)];

		if (!is_present(*entry))
			return NULL;
		if (is_leaf(*entry, level)) {
			*size = page_size(level);
			return entry;
		}
		table = at_pa(*entry & ADDRESS);
	}
}

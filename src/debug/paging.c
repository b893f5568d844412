/*
 * Walks all page tables without side effects: 32-bit, PAE, 4 and 5 levels. Not checked: reserved bits.
 */
#include "debug/paging.h"

#include "bus/bus.h"

struct walk {
	const struct cpu *cpu;
	unsigned entry_size, index_bits, levels;
	bool (*each)(void *ctx, const struct mapping *mapping);
	void *ctx;
	unsigned *left; /* entries to look at before giving up: tables may contain themselves */
};

#define ENTRIES_MAX (8u << 20)

static uint64_t read_entry(const struct walk *w, pa_t pa)
{
	uint64_t entry = 0;

	/* Tables in device memory are not followed: reading there may have effects. */
	struct bus_span span;

	bus_lookup(w->cpu->bus, pa, w->cpu->in_smm, &span);
	if (span.host)
		memcpy(&entry, span.host + (pa - span.base), w->entry_size);
	return entry;
}

static bool walk_table(const struct walk *w, unsigned level, pa_t table, struct mapping above)
{
	unsigned shift = 12 + w->index_bits * (level - 1);
	unsigned entries = w->levels == 3 && level == 3 ? 4 : 1u << w->index_bits;

	for (unsigned i = 0; i < entries; i++) {
		uint64_t entry =
			w->levels == 3 && level == 3 ? w->cpu->pdpte[i] : read_entry(w, table + i * w->entry_size);
		struct mapping m = above;
		bool large = level > 1 && entry & BIT(7) && (w->levels > 2 || w->cpu->cr4 & CR4_PSE) &&
			     !(w->levels == 3 && level == 3);

		if (--*w->left == 0)
			return false;
		if (!(entry & BIT(0)))
			continue;
		m.la = above.la | (uint64_t)i << shift;
		if (level == w->levels && level >= 4)
			m.la = (uint64_t)sign_extend(m.la, shift + w->index_bits);
		m.entry = entry;
		if (!(w->levels == 3 && level == 3)) {
			m.writable &= entry >> 1 & 1;
			m.user &= entry >> 2 & 1;
			m.no_execute |= w->entry_size == 8 && w->cpu->efer & EFER_NXE && entry >> 63;
		}
		if (level > 1 && !large) {
			if (!walk_table(w, level - 1, entry & BITS(51, 12), m))
				return false;
			continue;
		}
		m.size = BIT(shift);
		m.pa = w->entry_size == 4 && large ? (entry & BITS(31, 22)) | bits_get(entry, 20, 13) << 32
						   : entry & BITS(51, 0) & ~(m.size - 1);
		if (!w->each(w->ctx, &m))
			return false;
	}
	return true;
}

bool paging_list(const struct cpu *cpu, bool (*each)(void *ctx, const struct mapping *mapping), void *ctx)
{
	unsigned left = ENTRIES_MAX;
	struct walk w = {.cpu = cpu, .entry_size = 8, .index_bits = 9, .each = each, .ctx = ctx, .left = &left};
	struct mapping all = {.writable = true, .user = true};
	pa_t root = cpu->cr3 & BITS(51, 12);

	if (!(cpu->cr0 & CR0_PG))
		return false;
	if (cpu_long_mode(cpu)) {
		w.levels = cpu->cr4 & CR4_LA57 ? 5 : 4;
	} else if (cpu->cr4 & CR4_PAE) {
		w.levels = 3;
	} else {
		w.levels = 2;
		w.entry_size = 4;
		w.index_bits = 10;
		root &= BITS(31, 12);
	}
	walk_table(&w, w.levels, root, all);
	return true;
}

/*
 * Memory that is taken and never given back: a list of free ranges, cut smaller with every piece.
 */
#include "lib/pool.h"

#include "lib/print.h"
#include "lib/string.h"

enum { RANGES_MAX = 256, LOW_END = 1 << 20, LEAST = 16 /* so that small pieces do not scatter the rest */ };

static struct range {
	pa_t first, end;
} ranges[RANGES_MAX];
static unsigned ranges_count;
static bool sealed;

void pool_add(pa_t first, uint64_t size)
{
	if (!size || ranges_count == RANGES_MAX) /* then a gap that alignment leaves is lost */
		return;
	ranges[ranges_count++] = (struct range){first, first + size};
}

/* Where a piece would start in range, as high as it can: so what alignment leaves over stays in one piece with the rest. */
static bool fits(const struct range *range, uint64_t size, uint64_t align, pa_t *first)
{
	if (range->end - range->first < size)
		return false;
	*first = (range->end - size) & ~(align - 1);
	return *first >= range->first;
}

/* From the smallest range that has room, so that large ones stay for guests' memory. */
static void *take(uint64_t size, uint64_t align, bool low)
{
	struct range *best = NULL;
	pa_t first, best_first = 0, end;

	if (sealed)
		panic("memory is asked for after the start");
	size = ALIGN_UP(size, LEAST);
	align = max_u64(align, LEAST);
	for (struct range *range = ranges; range < ranges + ranges_count; range++) {
		if ((range->end <= LOW_END) == low && fits(range, size, align, &first) &&
		    (!best || range->end - range->first < best->end - best->first)) {
			best = range;
			best_first = first;
		}
	}
	if (!best)
		return NULL;
	end = best->end;
	best->end = best_first;
	if (best->first == best->end)
		*best = ranges[--ranges_count];
	pool_add(best_first + size, end - (best_first + size));
	return memset(at_pa(best_first), 0, size);
}

void *pool_take(uint64_t size, uint64_t align)
{
	return take(size, align, false);
}

void *pool_take_low(uint64_t size)
{
	return take(size, PAGE, true);
}

uint64_t pool_left(void)
{
	uint64_t left = 0;

	for (unsigned i = 0; i < ranges_count; i++)
		left += ranges[i].end - ranges[i].first;
	return left;
}

void pool_seal(void)
{
	sealed = true;
}

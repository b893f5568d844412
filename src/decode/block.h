/*
 * A block: straight-line code in one page, decoded once, the unit of caching, chaining, counting and invalidation for both engines.
 *
 * Cached under the physical address and mode. Dropped blocks keep their memory, with MODE_DEAD in mode, until the whole arena is emptied between
 * turns, so that a block that drops itself can finish its instruction.
 */
#pragma once

#include "decode/insn.h"

struct block {
	pa_t pa;
	uint32_t mode;		/* MODE_DEAD once dropped */
	uint16_t count;		/* instructions; insn[count] is the engine's end-of-block entry */
	uint16_t bytes;		/* of guest code; pa to pa + bytes lies in one page unless `straddles` */
	bool straddles;		/* one instruction over a page boundary: never chained, second page in pa2 */
	pa_t pa2;
	struct block *next[2];	/* chained successors in the same page: [0] taken or only, [1] fall-through */
	struct block *hash_next;/* block cache */
	struct block *page_next;/* all blocks that have bytes in a page */
	uint64_t runs;		/* for promotion and statistics */
	const void *engine;	/* engine 2's code */
	struct insn insn[];
};

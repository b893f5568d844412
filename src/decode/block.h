/*
 * A block: straight-line code in one page, decoded once, the unit of caching, chaining, counting and invalidation for both engines.
 *
 * Cached under the host address of its bytes, which stands for the physical one, and the mode. Dropped blocks keep their memory, with MODE_DEAD in mode, until the whole arena is emptied between
 * turns, so that a block that drops itself can finish its instruction.
 */
#pragma once

#include "decode/insn.h"

struct block {
	const uint8_t *host;	/* of the first byte */
	uint32_t mode;		/* MODE_DEAD once dropped */
	uint16_t count;		/* instructions; insn[count] is the engine's end-of-block entry */
	uint16_t bytes;		/* of guest code; they lie in one page unless `straddles` */
	bool straddles;		/* a single instruction over a page boundary: never chained; its second part is at host2 */
	const uint8_t *host2;
	struct block *next[2];	/* chained successors in the same page: [0] taken or only, [1] fall-through */
	struct block *hash_next;/* block cache */
	struct block *page_next;/* blocks of one page */
	uint64_t runs;		/* for promotion and statistics */
	const void *engine;	/* engine 2's code */
	struct insn insn[];
};

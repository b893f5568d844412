/*
 * A block: straight-line code in one page, decoded once, the unit of caching, chaining, counting and invalidation for
 * both engines.
 *
 * Cached under the host address of its bytes, which stands for the physical one, and the mode. Dropped blocks keep
 * their memory, with MODE_DEAD in mode, until the whole arena is emptied between turns, so that a block that drops
 * itself can finish its instruction.
 */
#pragma once

#include "decode/insn.h"

struct block {
	const uint8_t *host;  /* of the first byte */
	uint32_t mode;	      /* MODE_DEAD once dropped */
	uint16_t count;	      /* instructions; behind the last stands the engine's end-of-block entry */
	uint16_t bytes;	      /* of guest code at host */
	uint16_t accesses;    /* memory operands and stack accesses of its instructions */
	bool apart;	      /* not in the cache: part of a block, or code that may not be cached; never chained */
	const uint8_t *host2; /* a single instruction over a page boundary: its second part, or NULL */
	uint16_t bytes2;
	struct block *next[2];	  /* chained successors in the same page: [0] taken or only, [1] fall-through */
	struct block *hash_next;  /* block cache */
	struct block *page_next;  /* blocks of the page of host */
	struct block *page2_next; /* blocks of the page of host2 */
	uint64_t runs;		  /* for promotion and statistics */
	const void *engine;	  /* engine 2's code */
	struct insn insn[];
};

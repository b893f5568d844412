/*
 * The block cache: building blocks, finding them by the bytes they came from, dropping them when those bytes are
 * written.
 */
#pragma once

#include "base/log.h"
#include "decode/block.h"
#include "cpu/mode.h"
#include "interp/interp.h"
#include "mem/mem.h"
#include "mem/tlb.h"

#define BLOCK_INSNS 64
#define MAX_VCPUS   64

struct interp {
	const struct log *log;
	struct decoder *decoder;
	struct cpu *cpu[MAX_VCPUS];
	unsigned cpus;
	/* cache.c */
	uint8_t *arena; /* blocks, filled from the start and emptied as a whole */
	size_t arena_used, arena_size;
	struct block **hash;
	uint8_t *ram;
	uint64_t ram_pages;
	uint8_t *code_pages;	     /* flag per RAM page: has blocks. mem/ reads it */
	struct block **page_blocks;  /* blocks per RAM page, by the page they begin in */
	struct block **page2_blocks; /* and those that end in it */
	uint64_t *granules;    /* per RAM page: which 64-byte pieces blocks were built from; never less than that */
	struct block *scratch; /* part of a block, straddlers and code that may not be cached */
	struct interp_stats stats;
	/* run.c */
	la_t breakpoint[32];
	unsigned breakpoints;
	bool resumed; /* leave from a breakpoint */
};

void cache_create(struct interp *interp);
void cache_destroy(struct interp *interp);
/* RAM is known only once a vCPU is added. */
void cache_set_ram(struct interp *interp, uint8_t *ram, uint64_t size);

/*
 * The block that starts at RIP in the vCPU's current mode; built when it is new. NULL: fetching faulted, cpu->fault is
 * set. *cached: false for one in scratch, which the next call overwrites.
 */
struct block *cache_find(struct interp *interp, struct cpu *cpu, uint64_t rip, bool *cached);
/* The first `count` instructions of a block, as a block in scratch. */
struct block *cache_part(struct interp *interp, const struct block *block, unsigned count);
/* Drop blocks with bytes in [host, host + size); ATTEND_CODE for a writer that runs one of them. */
void cache_written(void *interp, struct cpu *writer, const uint8_t *host, size_t size);
/* Forget all; only between blocks. */
void cache_empty(struct interp *interp);

/* bind.c: choose each instruction's handler. `previous` is the instruction before it in the block or NULL. */
void interp_bind(struct cpu *cpu, struct block *block, struct insn *insn, const struct insn *previous);
/* bind.c: undo what ties an instruction to the one behind it. */
void interp_unfuse(struct insn *insn);
/* bind.c: the entry behind the last instruction. */
void interp_terminate(struct block *block);
/* bind.c: let a block of one instruction check its second page before it runs: the instruction moves to insn[1]. */
void interp_guard_second_page(struct block *block);

/* Linear address of code. */
static inline la_t code_linear(const struct cpu *cpu, uint64_t rip)
{
	return (cpu->mode & MODE_CODE) == MODE_CODE64 ? rip : (uint32_t)(cpu->seg[CS].base + rip);
}

/* Where an address goes in a bank's jump table. */
static inline unsigned jump_slot(la_t la)
{
	return (unsigned)(la ^ la >> 11) % JUMP_ENTRIES;
}

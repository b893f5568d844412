/*
 * Going from block to block: chained successors in the same page, the jump table for the rest. SDM vol. 2, "JMP",
 * "Jcc".
 *
 * insn->imm of a direct branch was made relative to the block's first byte by bind.c; imm2 says which successors lie in
 * the block's own page (and may be chained): CHAIN_TAKEN, CHAIN_NEXT.
 */
#pragma once

#include "interp/condition.h"

enum { CHAIN_TAKEN = 1, CHAIN_NEXT = 2 };

static inline bool op_canonical(const struct cpu *cpu, uint64_t rip)
{
	return likely((uint64_t)((int64_t)(rip << 16) >> 16) == rip) ||
	       ((cpu->cr4 & CR4_LA57) && (uint64_t)((int64_t)(rip << 7) >> 7) == rip);
}

/* run.c: the successor is not chained (yet). */
const struct insn *op_successor_unchained(struct cpu *cpu, const struct insn *insn, unsigned slot, uint64_t rip);

/* The successor `slot` at RIP, which is chained or looked up. */
static inline __attribute__((always_inline)) const struct insn *op_successor(struct cpu *cpu, const struct insn *insn,
									     unsigned slot, uint64_t rip)
{
	struct block *next = cpu->block->next[slot];

	if (likely(next && next->mode == cpu->mode))
		return op_enter(cpu, insn, next, rip);
	return op_successor_unchained(cpu, insn, slot, rip);
}

/* Targets are cut to the operand size: 8 bytes in 64-bit mode. */
static inline __attribute__((always_inline)) const struct insn *op_taken(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->imm;

	if (unlikely(insn->size != 8))
		rip &= bytes_mask(insn->size);
	return op_successor(cpu, insn, 0, rip);
}

static inline __attribute__((always_inline)) const struct insn *op_not_taken(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->off + insn->len;

	if (unlikely(insn->size != 8))
		rip = (uint32_t)rip;
	return op_successor(cpu, insn, 1, rip);
}

/*
 * What handlers are made of: going on to the next instruction, leaving the block, faulting, operands, addresses.
 *
 * A handler runs its instruction and returns the next one to run. Optimised builds make that return a jump to the next
 * handler; others return to the loop in run.c, which does the same: so nothing here may hold state on the stack. NULL
 * leaves the instruction stream with cpu->rip exact.
 */
#pragma once

#include "cpu/flags.h"
#include "exec/operand.h"
#include "interp/cache.h"

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__clang__) /* GCC does it wherever it can */
#define RUN(cpu, insn) return (insn)->fn(cpu, insn)
#else
#define RUN(cpu, insn) return (insn)
#endif
#define NEXT(cpu, insn) RUN(cpu, (insn) + 1)

#define HANDLER(name) static const struct insn *name(struct cpu *cpu, const struct insn *insn)

/* run.c: cold ends of a handler. */
const struct insn *op_fault(struct cpu *cpu, const struct insn *insn) COLD; /* cpu->fault is set: deliver it */
const struct insn *op_leave_after(struct cpu *cpu,
				  const struct insn *insn) COLD; /* done; look up attention, then go on behind it */
const struct insn *op_leave_to(struct cpu *cpu, const struct insn *insn, uint64_t rip); /* done; go on at RIP */
const struct insn *op_exec(struct cpu *cpu, const struct insn *insn); /* the meaning is insn->form->exec */

/* Where we are, for helpers and slow paths. */
static inline void op_sync(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->off, next = rip + insn->len;

	if ((cpu->mode & MODE_CODE) != MODE_CODE64)
		next = cpu->mode & MODE_CODE ? (uint32_t)next : next & 0xffffffff;
	cpu->insn = insn;
	cpu->insn_rip = rip;
	cpu->rip = next;
}

/* Enter a block at RIP, when the turn has instructions enough for all of it. */
static inline const struct insn *op_enter(struct cpu *cpu, const struct insn *insn, struct block *block, uint64_t rip)
{
	if (unlikely(cpu->budget < block->count))
		return op_leave_to(cpu, insn, rip);
	cpu->budget -= block->count;
	cpu->accesses += block->accesses;
	cpu->block = block;
	cpu->r[R_BLOCK] = rip;
	RUN(cpu, block->insn);
}

/* To any address, by the bank's jump table. In 64-bit mode RIP is canonical: others are in no table, but the caller has
 * checked for the fault's sake. */
static inline const struct insn *op_jump(struct cpu *cpu, const struct insn *insn, uint64_t rip)
{
	struct bank *bank = cpu->bank;
	const struct tlb_entry *entry = tlb_slot(bank, rip);
	const struct jump_entry *jump = &bank->jump[jump_slot(rip)];

	if (likely(jump->la == rip && entry->exec == (rip & PAGE_MASK) && entry->delta == jump->delta &&
		   jump->block->mode == cpu->mode))
		return op_enter(cpu, insn, jump->block, rip);
	return op_leave_to(cpu, insn, rip);
}

/*
 * Memory, the quick way only. Whatever is not plain RAM behind a TLB hit, at a plain address, is left to the
 * instruction's meaning in exec/: the handler returns op_exec() before it has changed anything. That also fills the TLB
 * for the next time.
 */

/* The linear address of the memory operand; may return from the handler. */
#define ADDRESS(la)                                                                                          \
	la_t la = cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp; \
	if (unlikely(insn->ea != EA_PLAIN)) {                                                                \
		if (likely(insn->ea == EA_PLAIN32))                                                          \
			la = insn->addr_size == 2 ? (uint16_t)la : (uint32_t)la;                             \
		else if (insn->ea == EA_FSGS && insn->addr_size == 8)                                        \
			la += cpu->seg[insn->seg].base;                                                      \
		else                                                                                         \
			return op_exec(cpu, insn);                                                           \
	}

#define TLB_HIT(tag, la, size) likely((tag) == (((la) + (size)-1) & PAGE_MASK))
/* The host address behind an entry that hit. */
#define HOST(entry, la) ((void *)(uintptr_t)((la) + (entry)->delta))

/* Load into `value` of type T; may return from the handler. */
#define LOAD(T, value, la)                                                \
	T value;                                                          \
	{                                                                 \
		const struct tlb_entry *entry_ = tlb_slot(cpu->bank, la); \
		if (!TLB_HIT(entry_->read, la, sizeof(T)))                \
			return op_exec(cpu, insn);                        \
		memcpy(&value, HOST(entry_, la), sizeof(T));              \
	}

/* Store; may return from the handler, so nothing may have changed before. */
#define STORE(T, la, value)                                               \
	{                                                                 \
		const struct tlb_entry *entry_ = tlb_slot(cpu->bank, la); \
		T stored_ = (T)(value);                                   \
		if (!TLB_HIT(entry_->write, la, sizeof(T)))               \
			return op_exec(cpu, insn);                        \
		memcpy(HOST(entry_, la), &stored_, sizeof(T));            \
	}

/* Registers as typed values. Byte registers are numbered by their offset. */
#define GET_u8(n)     (((const uint8_t *)cpu->r)[n])
#define GET_u16(n)    ((uint16_t)cpu->r[n])
#define GET_u32(n)    ((uint32_t)cpu->r[n])
#define GET_u64(n)    (cpu->r[n])
#define SET_u8(n, v)  (((uint8_t *)cpu->r)[n] = (uint8_t)(v))
#define SET_u16(n, v) (*(uint16_t *)&cpu->r[n] = (uint16_t)(v))
#define SET_u32(n, v) (cpu->r[n] = (uint32_t)(v))
#define SET_u64(n, v) (cpu->r[n] = (uint64_t)(v))

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define LOG2_u8	 0
#define LOG2_u16 1
#define LOG2_u32 2
#define LOG2_u64 3

#define FLAGS(kind, T, result, second)           \
	do {                                     \
		cpu->cc.op = CC(kind, LOG2_##T); \
		cpu->cc.dst = (result);          \
		cpu->cc.src = (second);          \
	} while (0)

/* Tables of handlers by log2 of the operand size. */
#define BY_SIZE(prefix, suffix)                                                                   \
	{                                                                                         \
		prefix##u8##suffix, prefix##u16##suffix, prefix##u32##suffix, prefix##u64##suffix \
	}

/* What each ops_*.c offers to bind.c: the handler for a form of one of its operations, or NULL. May adjust the
 * instruction. */
insn_fn *alu_handler(const struct insn *insn);
insn_fn *move_handler(const struct insn *insn);
insn_fn *stack_handler(const struct insn *insn, uint32_t mode);
insn_fn *branch_handler(struct block *block, struct insn *insn, const struct insn *previous);
/* ops_fused.c: CMP or TEST with the Jcc behind it. */
insn_fn *fused_handler(const struct insn *compare, const struct insn *jump);

static inline unsigned size_log2(unsigned size)
{
	return (unsigned)__builtin_ctz(size);
}

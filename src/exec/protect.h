/*
 * What transfers of control between segments, rings and tasks share: descriptors, stacks that are not SS:RSP yet, loads
 * of RFLAGS.
 *
 * SDM vol. 3, "Protection", "Interrupt and Exception Handling", "Task Management". Functions return STEP_NEXT (0) when
 * all is well, so that callers can write `if ((step = ...)) return step;`.
 */
#pragma once

#include "cpu/control.h"
#include "cpu/flags.h"
#include "exec/operand.h"

/* Types of system descriptors: SDM vol. 3, "System Descriptor Types". A set bit 3 means 32 bits, or 64 in long mode. */
enum system_type {
	TYPE_TSS16 = 1,
	TYPE_LDT = 2,
	TYPE_TSS16_BUSY = 3,
	TYPE_CALL16 = 4,
	TYPE_TASK_GATE = 5,
	TYPE_INTERRUPT16 = 6,
	TYPE_TRAP16 = 7,
	TYPE_TSS = 9,
	TYPE_TSS_BUSY = 11,
	TYPE_CALL = 12,
	TYPE_INTERRUPT = 14,
	TYPE_TRAP = 15,
};
#define TYPE_32	 8 /* in any of them */
#define TSS_BUSY 2

static inline uint32_t descriptor_ar(const struct descriptor *d)
{
	return (uint32_t)(d->low >> 40) & 0xf0ff;
}

static inline unsigned ar_dpl(uint32_t ar)
{
	return ar >> 5 & 3;
}

static inline bool ar_is_code(uint32_t ar)
{
	return (ar & AR_S) && (ar & AR_CODE);
}

static inline bool ar_is_conforming(uint32_t ar)
{
	return ar & AR_DOWN;
}

static inline bool ar_is_writable_data(uint32_t ar)
{
	return (ar & (AR_S | AR_CODE | AR_WRITABLE)) == (AR_S | AR_WRITABLE);
}

/* The type of a system descriptor, or -1 for code and data. */
static inline int ar_system_type(uint32_t ar)
{
	return ar & AR_S ? -1 : (int)(ar & AR_TYPE);
}

static inline bool selector_is_null(uint16_t selector)
{
	return (selector & 0xfffc) == 0;
}

static inline unsigned selector_rpl(uint16_t selector)
{
	return selector & 3;
}

/* segment.c */

/*
 * The descriptor of a selector that must not be null: #vector(0 | ext) when it is, #vector(selector | ext) outside the
 * table, or the memory fault. wide: 16 bytes when it turns out to be a system descriptor of long mode.
 */
enum step descriptor_get(struct cpu *cpu, uint16_t selector, enum vector vector, unsigned ext, struct descriptor *d);
/* Set the accessed bit of a code or data descriptor in memory (and in *d). */
enum step descriptor_accessed(struct cpu *cpu, struct descriptor *d);
/* The second half of a system descriptor in long mode. */
enum step descriptor_widen(struct cpu *cpu, uint16_t selector, enum vector vector, unsigned ext, struct descriptor *d);
/* Set or clear the busy bit of a TSS descriptor. */
enum step descriptor_set_busy(struct cpu *cpu, const struct descriptor *d, bool busy);

/* Is [offset, offset + size) inside the segment, by limit and direction? For segments outside 64-bit mode. */
bool segment_contains(const struct segment *segment, uint64_t offset, unsigned size);
/* SS as long mode has it after a transfer to an inner ring: null, with the ring in RPL and DPL. */
struct segment segment_null(unsigned rpl);
/* All checks for SS at a new privilege level; the fault is `vector` (#TS or #GP) or #SS for not present. */
enum step segment_check_stack(struct cpu *cpu, uint16_t selector, unsigned rpl, enum vector vector, unsigned ext,
			      struct segment *ss);
/* Returning outwards: null ES, FS, GS and DS that the outer ring may not have. */
void segments_drop(struct cpu *cpu);
/* V86: selector, base = selector * 16, limit FFFFH, DPL 3. */
void segment_set_v86(struct segment *segment, uint16_t selector);

/* stack.c: a stack that may become the current one. Nothing of the CPU changes until the caller commits. */
struct stack {
	struct segment ss; /* not looked at when wide */
	uint64_t sp;
	uint8_t cpl; /* whose right the pushes use */
	bool wide;   /* 64-bit: RSP without a segment */
};
struct stack stack_current(const struct cpu *cpu);
/* #SS(error) when `count` items of `size` bytes do not fit. */
enum step stack_room(struct cpu *cpu, const struct stack *stack, unsigned size, unsigned count, uint32_t error);
/* Push value[0] first. stack->sp moves when all were written; a fault leaves everything as it was. */
enum step stack_push_frame(struct cpu *cpu, struct stack *stack, unsigned size, const uint64_t *value, unsigned count,
			   uint32_t error);
/* Read `count` items above the current top of stack, `skip` bytes from it, without popping. #SS(0). */
enum step stack_peek(struct cpu *cpu, unsigned skip, unsigned size, uint64_t *value, unsigned count);
/* The stack for ring `cpl` from the TSS: selector (legacy modes; SS left to check) and pointer. #TS. */
enum step stack_from_tss(struct cpu *cpu, unsigned cpl, unsigned ext, uint16_t *ss, uint64_t *sp);
/* Long mode: RSP0-2 of ring cpl, or IST ist when not 0. #TS, or #SS when it is not canonical. */
enum step stack_from_tss64(struct cpu *cpu, unsigned cpl, unsigned ist, unsigned ext, uint64_t *sp);

/* Every flag that exists; other bits of RFLAGS are fixed. */
#define RFLAGS_DEFINED                                                                                        \
	(RFLAGS_ARITH | RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM | \
	 RFLAGS_AC | RFLAGS_VIF | RFLAGS_VIP | RFLAGS_ID)

/* flags_insn.c: what POPF and IRET of this size may change at CPL and IOPL, outside V86. */
uint64_t rflags_loadable(const struct cpu *cpu, unsigned size);
/* RFLAGS = (RFLAGS & ~mask) | (value & mask), and all that hangs on it: TF, RF, AC, IF, VIF. Does not change VM. */
void rflags_load(struct cpu *cpu, uint64_t value, uint64_t mask);
/* After any change of RFLAGS, NMI blocking or pins' masks: look up if something may now be delivered. */
void exec_recheck_events(struct cpu *cpu);
static inline void exec_set_zf(struct cpu *cpu, bool zf)
{
	uint32_t flags = cc_flags(&cpu->cc);

	cc_set_exact(cpu, zf ? flags | RFLAGS_ZF : flags & ~RFLAGS_ZF);
}

/* far.c: the new CS after all checks, and its commit. */
enum step code_segment_commit(struct cpu *cpu, struct descriptor *d, uint16_t selector, uint64_t rip);
/* Does rip lie in the code segment, or is it canonical when that is 64-bit code? #GP(ext) otherwise. */
enum step code_check_rip(struct cpu *cpu, uint32_t ar, uint32_t limit, uint64_t rip, unsigned ext);
/* RET and IRET: all checks of a CS popped from the stack. #GP, #NP. */
enum step code_check_return(struct cpu *cpu, uint16_t selector, struct descriptor *d);
/* RET and IRET to an outer ring (or of 64-bit mode): all checks of the popped SS, null where that is allowed. */
enum step stack_check_return(struct cpu *cpu, uint16_t selector, unsigned cs_rpl, bool to_64bit, struct segment *ss);
uint32_t descriptor_limit(const struct descriptor *d);

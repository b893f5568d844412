/*
 * How instructions are counted, and what an engine and the machine agree on. One instruction is one tick of virtual
 * time: a nanosecond, or 2^cpu->tick_shift of them.
 *
 * The machine gives a vCPU a turn: cpu->budget = cpu->turn = n instructions. The engine subtracts a block's count when
 * it enters the block, and never enters one that exceeds the budget: it then runs just the first `budget` instructions
 * of it. So a turn ends at an exact instruction, whatever the engine and its blocks, and a deadline falls on the same
 * instruction in every run.
 *
 * After each instruction that went through a helper or a slow memory path, the engine tests cpu->attention and leaves
 * the block when it is set, or when idle ticks (run_idle()) have used what the rest of the block was to have.
 */
#pragma once

#include "decode/block.h"

/* Instructions (and idle ticks) of this turn before the one being executed: exact inside helpers and slow paths. */
static inline uint64_t run_elapsed(const struct cpu *cpu)
{
	int64_t unexecuted = cpu->insn ? cpu->block->count - cpu->insn->index_in_block : 0;

	return (uint64_t)(cpu->turn - (cpu->budget + unexecuted));
}

/* Instructions that this vCPU has retired since power-on, before the one being executed. */
static inline uint64_t run_retired(const struct cpu *cpu)
{
	return cpu->retired + run_elapsed(cpu) - cpu->idle;
}

/* Ticks of this turn that are left after the instruction being executed; not above 0 when the turn is used up. */
static inline int64_t run_left(const struct cpu *cpu)
{
	return cpu->turn - (int64_t)run_elapsed(cpu) - 1;
}

/* Let virtual time pass without retiring instructions: what RDTSC and PAUSE cost, so that delay loops end. */
static inline void run_idle(struct cpu *cpu, unsigned ticks)
{
	cpu->budget -= ticks;
	cpu->idle += ticks;
}

/*
 * Between instructions: act on cpu->attention. Delivers what is pending and allowed, in the order of SDM vol. 3,
 * "Priority Among Concurrent Events": RESET/INIT/SMI, traps, NMI, interrupts; handles the one-instruction shadows.
 * Clears the bits it dealt with. After it the engine looks up mode and bank again.
 *
 * Call it at an instruction boundary when attention is set and the turn is not over, once per boundary: it counts on an
 * instruction being executed after it. When ATTEND_TRAP or ATTEND_SHADOW is still (or again) set afterwards, run
 * exactly one instruction, then call it again: TF, code breakpoints and blocking by STI and MOV SS work that way. With
 * ATTEND_PINS alone, call it when the instruction stream is next left. cpu->block stays that instruction's block until
 * then (NULL if it is gone). A vCPU that is not active is called too when a pin is asserted; it may become active.
 */
void exec_attend(struct cpu *cpu);

/* Deliver cpu->fault through the IDT (or as double or triple fault), with cpu->rip at the faulting instruction. */
void exec_fault(struct cpu *cpu);

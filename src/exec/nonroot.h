/*
 * Where the meaning of an instruction asks whether it exits: SDM vol. 3, "VMX Non-Root Operation". What exits, and what
 * the exit records, is vmx/'s; the place of the question among the instruction's own checks is enum vmx_when's.
 */
#pragma once

#include "exec/exec.h"

/* cpu->vmx->exit is filled: the instruction does not happen, and exec_fault() performs the exit. */
enum step nonroot_exit(struct cpu *cpu);
/* operand: of LMSW, else 0. STEP_NEXT: go on. STEP_FAULT: a VM exit, or #UD for want of an enabling control. */
enum step nonroot_intercept(struct cpu *cpu, const struct insn *insn, uint64_t operand) COLD;
/* Is it #UD for want of an enabling control? Before all other checks of such an instruction. */
bool nonroot_disabled(const struct cpu *cpu, const struct insn *insn) COLD;

/* Is an interrupt window or an NMI window open, so that a VM exit comes before the next instruction? */
bool nonroot_window(const struct cpu *cpu);

static inline enum step intercept(struct cpu *cpu, const struct insn *insn)
{
	return likely(!cpu->nonroot) ? STEP_NEXT : nonroot_intercept(cpu, insn, 0);
}

static inline bool is_disabled(const struct cpu *cpu, const struct insn *insn)
{
	return unlikely(cpu->nonroot) && nonroot_disabled(cpu, insn);
}

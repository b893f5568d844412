/*
 * Debug registers: SDM vol. 3, "Debug, Branch Profile, TSC, and Intel Resource Director Technology Features". Data
 * breakpoints are mem/'s, which reports hits in cpu->pending_debug.
 */
#pragma once

#include "exec/exec.h"

/* DR6 bits of the code breakpoints at la; 0 when none is enabled there. */
uint64_t debug_code_breakpoint(const struct cpu *cpu, la_t la);
/* Does DR7 enable any code breakpoint? Then exec_attend() is asked at every instruction. */
bool debug_has_code_breakpoints(const struct cpu *cpu);
/* The instruction that just ended began with TF set: does that trap, or does DEBUGCTL.BTF want a taken branch? */
bool debug_step_traps(const struct cpu *cpu);
/* A #DB is delivered: DR6 says why, and DR7.GD and DEBUGCTL's bits are cleared. */
void debug_reported(struct cpu *cpu, uint64_t dr6);

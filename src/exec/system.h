/* What system instructions share with VMX, which loads MSRs from lists, and with the machine, which ends waits. */
#pragma once

#include "exec/exec.h"

/* WRMSR without the privilege check: msr_write() and what follows from it for translation. False: #GP(0). The engine
 * must look up mode and bank. */
MUST_CHECK bool exec_write_msr(struct cpu *cpu, uint32_t index, uint64_t value);

/*
 * A vCPU in ACTIVITY_MWAIT: was the monitored line written? Then it is active again. The machine asks before each turn
 * of such a vCPU; an event that is taken wakes it too (exec_attend()).
 */
bool exec_mwait_ended(struct cpu *cpu);

/* What system instructions share with the machine, which ends waits. */
#pragma once

#include "exec/exec.h"

/*
 * A vCPU in ACTIVITY_MWAIT: was the monitored line written? Then it is active again. The machine asks before each turn
 * of such a vCPU; an event that is taken wakes it too (exec_attend()).
 */
bool exec_mwait_ended(struct cpu *cpu);

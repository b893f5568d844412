/*
 * System-management mode: SMI delivery, the state save area, RSM. SDM vol. 3, "System Management Mode".
 *
 * 64-bit save-state layout at SMBASE + FC00H for models with Intel 64. The dual-monitor treatment is vmx/'s.
 */
#pragma once

#include "mem/mem.h"

/* Save state at SMBASE + 8000H.., set the state of SMM entry. cpu->rip is of the next instruction. False: shutdown (the save area is not memory). */
bool smm_enter(struct cpu *cpu);
/* RSM: restore. False: the saved state is invalid, the CPU shuts down. */
bool smm_leave(struct cpu *cpu);

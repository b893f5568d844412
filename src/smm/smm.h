/*
 * System-management mode: SMI delivery, the state save area, RSM. SDM vol. 3, "System Management Mode".
 *
 * What VMX operation changes in it, and the dual-monitor treatment, are vmx/'s.
 */
#pragma once

#include "mem/mem.h"

/* Save state at SMBASE + 8000H.., set the state of SMM entry. cpu->rip is of the next instruction. False: shutdown (the
 * save area is not memory). */
bool smm_enter(struct cpu *cpu);
/* Called after IN and OUT: when it raised an SMI, the save map will tell of it, and RSM can execute it again. Strings
 * are not told of. */
void smm_io_raised(struct cpu *cpu, bool in, uint16_t port, unsigned size);
static inline void smm_note_io(struct cpu *cpu, bool in, uint16_t port, unsigned size)
{
	if (unlikely(cpu->pins & BIT(PIN_SMI)))
		smm_io_raised(cpu, in, port, size);
}

/* RSM: restore. False: the saved state is invalid, the CPU shuts down. */
bool smm_leave(struct cpu *cpu);

/*
 * Which values control registers accept: pure questions, shared by MOV CR, LMSW, RSM, task switches and VMX. SDM vol.
 * 3, "Control Registers".
 */
#pragma once

#include "cpu/cpu.h"

/* CR4 bits that the model has; setting any other one is #GP(0). */
uint64_t cpu_cr4_allowed(const struct cpu_model *model);
/* EFER bits that the model has. */
uint64_t cpu_efer_allowed(const struct cpu_model *model);
uint64_t cpu_perf_global_ctrl_allowed(const struct cpu_model *model);
uint64_t cpu_debugctl_allowed(const struct cpu_model *model); /* branch traces are absent */

/* SDM vol. 3, "Last Branch Records": where there are no model-specific ones, LBR may be written, but is always 0. */
static inline uint64_t cpu_debugctl_kept(uint64_t value)
{
	return value & ~DEBUGCTL_LBR;
}

/* May CR0 hold this value at all? Rules that need other registers are the caller's. */
bool cpu_cr0_valid(uint64_t value);
/* CR3 with the given CR4 and EFER: reserved bits above MAXPHYADDR. Bit 63 (no flush) is to be removed before. */
bool cpu_cr3_valid(const struct cpu_model *model, uint64_t value, bool long_mode);

/* Is la canonical for the paging that is on? That is asked of accesses, and of what RIP and stack pointers get. SDM
 * vol. 1, "Canonical Addressing". */
static inline bool cpu_canonical(const struct cpu *cpu, la_t la)
{
	return (uint64_t)sign_extend(la, cpu->cr4 & CR4_LA57 ? 57 : 48) == la;
}

/*
 * Is la canonical for this CPU's number of linear-address bits, whatever CR4.LA57 says? Registers that hold an address
 * for later take it: MSRs, bases of segments and descriptor tables; so do INVPCID and INVVPID, and VM entry. An access
 * with such an address faults then.
 */
static inline bool cpu_fits_linear_width(const struct cpu *cpu, la_t la)
{
	return (uint64_t)sign_extend(la, cpu->model->linear_bits) == la;
}

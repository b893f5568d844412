/*
 * What instructions do in VMX non-root operation when they do not exit. SDM vol. 3, "Changes to Instruction Behavior in
 * VMX Non-Root Operation".
 */
#include "vmx/intercept.h"

static bool primary(const struct cpu *cpu, uint64_t control)
{
	return vmcs_get(&cpu->vmx->vmcs, VM_PROCBASED_CTLS) & control;
}

/* a, with bits of b where the mask is 1. */
static uint64_t merge(uint64_t a, uint64_t b, uint64_t mask)
{
	return (a & ~mask) | (b & mask);
}

uint64_t vmx_read_cr0(const struct cpu *cpu)
{
	return merge(cpu->cr0, vmcs_get(&cpu->vmx->vmcs, CR0_READ_SHADOW), vmcs_get(&cpu->vmx->vmcs, CR0_MASK));
}

uint64_t vmx_read_cr4(const struct cpu *cpu)
{
	return merge(cpu->cr4, vmcs_get(&cpu->vmx->vmcs, CR4_READ_SHADOW), vmcs_get(&cpu->vmx->vmcs, CR4_MASK));
}

uint64_t vmx_merge_cr0(const struct cpu *cpu, uint64_t value)
{
	return merge(value, cpu->cr0, vmcs_get(&cpu->vmx->vmcs, CR0_MASK));
}

uint64_t vmx_merge_cr4(const struct cpu *cpu, uint64_t value)
{
	return merge(value, cpu->cr4, vmcs_get(&cpu->vmx->vmcs, CR4_MASK));
}

/* The multiplier has 48 bits of fraction; it counts only with the offset. */
uint64_t vmx_tsc(const struct cpu *cpu, uint64_t tsc)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	if (!primary(cpu, PROCBASED_CTLS_USE_TSC_OFFSETTING))
		return tsc;
	if (vmx_secondary(cpu, PROCBASED_CTLS2_USE_TSC_SCALING))
		tsc = (uint64_t)((unsigned __int128)tsc * vmcs_get(v, TSC_MULTIPLIER) >> 48);
	return tsc + vmcs_get(v, TSC_OFFSET);
}

/* A multiplier of 0, which VM entry refuses, would stop the guest's time. */
uint64_t vmx_delay(const struct cpu *cpu, uint64_t ticks)
{
	uint64_t multiplier = vmcs_get(&cpu->vmx->vmcs, TSC_MULTIPLIER);
	unsigned __int128 delay;

	if (!primary(cpu, PROCBASED_CTLS_USE_TSC_OFFSETTING) || !vmx_secondary(cpu, PROCBASED_CTLS2_USE_TSC_SCALING) ||
	    !multiplier)
		return ticks;
	delay = ((unsigned __int128)ticks << 48) / multiplier;
	return delay > UINT64_MAX ? UINT64_MAX : (uint64_t)delay;
}

bool vmx_mwait_falls_through(const struct cpu *cpu, bool virtual_interrupt)
{
	return (cpu->r[RCX] & 1) && !(cpu->rflags & RFLAGS_IF) &&
	       (virtual_interrupt || primary(cpu, PROCBASED_CTLS_INTERRUPT_WINDOW_EXITING));
}

/*
 * The local APIC's MSRs: IA32_APIC_BASE with its modes, IA32_TSC_DEADLINE, and the registers in x2APIC mode.
 *
 * SDM vol. 3, "Detecting and Enabling x2APIC Mode", "x2APIC State Transitions", "x2APIC Register Availability", "MSR
 * Access in x2APIC Mode".
 */
#include "apic/local.h"
#include "cpu/msr.h"

#define IA32_APIC_BASE	  0x1b
#define IA32_TSC_DEADLINE 0x6e0
#define X2APIC_FIRST	  0x800
#define X2APIC_LAST	  0x8ff

static bool base_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->apic_base;
	return cpu->apic;
}

static bool base_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	struct apic *apic = cpu->apic;
	uint64_t allowed = BITS(cpu->model->physical_bits - 1, 12) | APIC_BASE_EN | APIC_BASE_BSP;
	const uint64_t modes = APIC_BASE_EN | APIC_BASE_EXTD;
	uint64_t old = cpu->apic_base & modes, new = value &modes;

	if (model_has(cpu->model, FEATURE_X2APIC))
		allowed |= APIC_BASE_EXTD;
	/* Never EXTD alone, never from x2APIC to xAPIC, never from disabled straight to x2APIC. */
	if (!apic || value & ~allowed || new == APIC_BASE_EXTD || (old == modes && new == APIC_BASE_EN) ||
	    (!old && new == modes))
		return false;
	cpu->apic_base = value;
	if (old && !new) {
		/* "equivalent to an IA-32 processor without an on-chip APIC"; enabled again it is as after power-up. */
		apic_reset(apic, true);
		apic->id = (uint8_t)apic->initial_id;
	} else if (old == APIC_BASE_EN && new == modes) {
		apic->icr &= UINT32_MAX; /* "the upper 32-bits of ICR are cleared": the destination has a new format */
	}
	apic_update(apic);
	return true;
}

static bool deadline_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	if (!cpu->apic || !model_has(cpu->model, FEATURE_TSC_DEADLINE))
		return false;
	*value = cpu->apic->tsc_deadline;
	return true;
}

static bool deadline_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if (!cpu->apic || !model_has(cpu->model, FEATURE_TSC_DEADLINE))
		return false;
	apic_timer_set_deadline(cpu->apic, value);
	return true;
}

static bool x2apic_read(struct cpu *cpu, uint32_t msr, uint64_t *value)
{
	unsigned index = msr - X2APIC_FIRST;

	if (!cpu->apic || apic_mode(cpu->apic) != APIC_X2APIC || !(apic_access(index).x2apic & R))
		return false;
	*value = index == APIC_ICR ? cpu->apic->icr : apic_get(cpu->apic, index);
	return true;
}

static bool x2apic_write(struct cpu *cpu, uint32_t msr, uint64_t value)
{
	unsigned index = msr - X2APIC_FIRST;
	struct apic_access access = apic_access(index);
	uint64_t allowed = access.settable | access.tolerated;
	struct apic *apic = cpu->apic;

	if (index == APIC_ICR)
		allowed |= BITS(63, 32);
	if (!apic || apic_mode(apic) != APIC_X2APIC || !(access.x2apic & W) || value & ~allowed)
		return false;
	if (index == APIC_ICR)
		apic->icr = bits_set(apic->icr, 63, 32, value >> 32);
	if (index == APIC_SELF_IPI)
		apic_send_ipi(apic, 1 << 18 | value); /* fixed, shorthand self */
	else
		apic_set(apic, index, (uint32_t)value);
	return true;
}

void apic_claim_msrs(struct msr_table *table)
{
	static const struct msr_ops base = {base_read, base_write};
	static const struct msr_ops deadline = {deadline_read, deadline_write};
	static const struct msr_ops x2apic = {x2apic_read, x2apic_write};

	msr_claim(table, IA32_APIC_BASE, IA32_APIC_BASE, &base);
	msr_claim(table, IA32_TSC_DEADLINE, IA32_TSC_DEADLINE, &deadline);
	msr_claim(table, X2APIC_FIRST, X2APIC_LAST, &x2apic);
}

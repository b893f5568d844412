/*
 * The local APIC's timer: SDM vol. 3, "APIC Timer", "TSC-Deadline Mode".
 *
 * Only the end of the count is kept, as a time; counts are computed when they are read.
 */
#include "devices/lapic_timer.h"

#include "cpu/time.h"
#include "cpu/x86.h"
#include "guest/vm.h"

enum { MODE = 3 << 17, PERIODIC = 1 << 17, TSC_DEADLINE = 2 << 17 };

/* A shorter period would leave a guest no time between its interrupts. */
enum { PERIOD_MIN = 20000 /* ns */ };

#define TSC_FAR BIT(60) /* years away: not worth an overflow */

static uint32_t get(const struct vcpu *vcpu, enum apic_register index) { return vcpu->apic.page[4 * index]; }

/* Mode 3 is reserved: as one-shot. */
static uint32_t mode(uint32_t lvt) { return (lvt & MODE) == MODE ? 0 : lvt & MODE; }

/* "Divide Configuration Register": bits 3, 1 and 0. */
static uint64_t tick(const struct vcpu *vcpu)
{
	unsigned code = (get(vcpu, APIC_DCR) & 3) | (get(vcpu, APIC_DCR) >> 1 & 4);

	return (1000000000 / APIC_TIMER_HZ) << ((code + 1) & 7);
}

static uint64_t period(const struct vcpu *vcpu)
{
	return max_u64(get(vcpu, APIC_INITIAL_COUNT) * vcpu->apic.timer_tick, PERIOD_MIN);
}

static void disarm(struct vcpu *vcpu)
{
	vcpu->apic.timer_deadline = NEVER;
	vcpu->apic.tsc_deadline = 0;
}

void lapic_timer_reset(struct vcpu *vcpu)
{
	disarm(vcpu);
	vcpu->apic.timer_lvt = get(vcpu, APIC_LVT_TIMER);
	vcpu->apic.timer_tick = tick(vcpu);
}

/* Several periods that have passed are one interrupt. */
void lapic_tick(struct vcpu *vcpu, uint64_t now)
{
	struct lapic *apic = &vcpu->apic;

	if (now < apic->timer_deadline)
		return;
	if (mode(apic->timer_lvt) == PERIODIC && get(vcpu, APIC_INITIAL_COUNT))
		apic->timer_deadline += ((now - apic->timer_deadline) / period(vcpu) + 1) * period(vcpu);
	else
		disarm(vcpu);
	lapic_fire(vcpu, APIC_LVT_TIMER);
}

uint64_t lapic_deadline(const struct vcpu *vcpu)
{
	return get(vcpu, APIC_LVT_TIMER) & LVT_MASKED ? NEVER : vcpu->apic.timer_deadline;
}

/* What was due before the write happened under the old value. A change between TSC-deadline mode and the others disarms. */
void lapic_timer_set_lvt(struct vcpu *vcpu)
{
	uint32_t old = vcpu->apic.timer_lvt, new = get(vcpu, APIC_LVT_TIMER);

	vcpu->apic.page[4 * APIC_LVT_TIMER] = old;
	lapic_tick(vcpu, vm_time(vcpu->vm));
	vcpu->apic.page[4 * APIC_LVT_TIMER] = vcpu->apic.timer_lvt = new;
	if ((mode(new) == TSC_DEADLINE) != (mode(old) == TSC_DEADLINE))
		disarm(vcpu);
}

void lapic_timer_start(struct vcpu *vcpu)
{
	uint32_t count = get(vcpu, APIC_INITIAL_COUNT);

	if (mode(vcpu->apic.timer_lvt) == TSC_DEADLINE) /* ignored */
		vcpu->apic.page[4 * APIC_INITIAL_COUNT] = 0;
	else
		vcpu->apic.timer_deadline = count ? vm_time(vcpu->vm) + count * vcpu->apic.timer_tick : NEVER;
}

uint32_t lapic_timer_current(struct vcpu *vcpu)
{
	struct lapic *apic = &vcpu->apic;
	uint64_t now = vm_time(vcpu->vm);

	lapic_tick(vcpu, now);
	if (mode(apic->timer_lvt) == TSC_DEADLINE || apic->timer_deadline == NEVER)
		return 0;
	return (uint32_t)min_u64((apic->timer_deadline - now + apic->timer_tick - 1) / apic->timer_tick,
				 get(vcpu, APIC_INITIAL_COUNT));
}

/* The count goes on from where it is, at the new rate. */
void lapic_timer_divide(struct vcpu *vcpu)
{
	uint32_t left = lapic_timer_current(vcpu);

	vcpu->apic.timer_tick = tick(vcpu);
	if (left)
		vcpu->apic.timer_deadline = vm_time(vcpu->vm) + left * vcpu->apic.timer_tick;
}

/* Rounded up: the guest's TSC must have reached it. */
void lapic_timer_set_tsc_deadline(struct vcpu *vcpu, uint64_t value)
{
	uint64_t tsc = rdtsc() + vcpu->vm->tsc_offset + vcpu->tsc_adjust, left = value > tsc ? value - tsc : 0;

	if (mode(vcpu->apic.timer_lvt) != TSC_DEADLINE)
		return;
	vcpu->apic.tsc_deadline = value;
	vcpu->apic.timer_deadline = value && left < TSC_FAR ? vm_time(vcpu->vm) + ns_of_tsc(left) + 1 : NEVER;
}

void lapic_tsc_changed(struct vcpu *vcpu)
{
	lapic_timer_set_tsc_deadline(vcpu, vcpu->apic.tsc_deadline);
}

uint64_t lapic_timer_tsc_deadline(struct vcpu *vcpu)
{
	lapic_tick(vcpu, vm_time(vcpu->vm));
	return vcpu->apic.tsc_deadline;
}

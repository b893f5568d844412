/*
 * The local APIC's timer: one-shot, periodic, TSC deadline.
 *
 * SDM vol. 3, "APIC Timer", "TSC-Deadline Mode". The counter is computed from virtual time when it is read. A deadline
 * is armed only while an interrupt could come of it, so a masked timer costs nothing.
 */
#include "apic/local.h"

static vtime_t now(const struct apic *apic)
{
	return clock_now(apic->bus->clock);
}

/* Nanoseconds per count: "Divide Configuration Register", bits 3, 1 and 0. */
static uint64_t period(const struct apic *apic)
{
	unsigned code = (apic->dcr & 3) | (apic->dcr >> 1 & 4);

	return (code == 7 ? 1 : 2u << code) * (NS_PER_SECOND / APIC_TIMER_HZ);
}

static uint32_t mode(const struct apic *apic)
{
	return apic->lvt[LVT_TIMER] & LVT_TIMER_MODE;
}

/* Bring start and count up to now: periods that passed are gone, a one-shot that ended stands at 0. */
static void catch_up(struct apic *apic)
{
	uint64_t counts = (now(apic) - apic->start) / period(apic);

	if (!apic->count || counts < apic->count)
		return;
	if (mode(apic) != TIMER_PERIODIC || !apic->initial_count) {
		apic->count = 0;
		return;
	}
	counts -= apic->count;
	apic->start += (apic->count + counts / apic->initial_count * apic->initial_count) * period(apic);
	apic->count = apic->initial_count;
}

static uint64_t tsc(const struct apic *apic)
{
	return now(apic) + apic->cpu->tsc_offset;
}

static void arm(struct apic *apic)
{
	struct clock *clock = apic->bus->clock;
	vtime_t at = VTIME_NEVER;

	if (mode(apic) == TIMER_TSC_DEADLINE) {
		uint64_t left = tsc(apic) < apic->tsc_deadline ? apic->tsc_deadline - tsc(apic) : 0;

		if (apic->tsc_deadline && left < VTIME_NEVER - now(apic))
			at = now(apic) + left;
	} else if (!(apic->lvt[LVT_TIMER] & LVT_MASKED)) {
		catch_up(apic);
		if (apic->count)
			at = apic->start + apic->count * period(apic);
	}
	clock_arm(clock, &apic->deadline, at);
}

void apic_timer_fire(void *owner)
{
	struct apic *apic = owner;

	if (mode(apic) == TIMER_TSC_DEADLINE) {
		if (tsc(apic) < apic->tsc_deadline) { /* the TSC was set back meanwhile */
			arm(apic);
			return;
		}
		apic->tsc_deadline = 0;
	}
	apic_fire_lvt(apic, LVT_TIMER);
	arm(apic);
}

/* Before anything about the timer changes: what is due now happened before. */
static void settle(struct apic *apic)
{
	if (apic->deadline.at <= now(apic)) {
		clock_cancel(apic->bus->clock, &apic->deadline);
		apic_timer_fire(apic);
	}
	catch_up(apic);
}

void apic_timer_reset(struct apic *apic)
{
	clock_cancel(apic->bus->clock, &apic->deadline);
	apic->initial_count = apic->count = 0;
	apic->start = 0;
	apic->dcr = 0;
	apic->tsc_deadline = 0;
}

uint32_t apic_timer_current(struct apic *apic)
{
	if (mode(apic) == TIMER_TSC_DEADLINE)
		return 0;
	catch_up(apic);
	return apic->count ? apic->count - (uint32_t)((now(apic) - apic->start) / period(apic)) : 0;
}

void apic_timer_set_lvt(struct apic *apic, uint32_t value)
{
	uint32_t old = mode(apic);

	settle(apic);
	/* TSC-deadline mode is reserved when CPUID does not offer it, and so is mode 3: they behave as one-shot. */
	if ((value & LVT_TIMER_MODE) == LVT_TIMER_MODE ||
	    ((value & TIMER_TSC_DEADLINE) && !model_has(apic->cpu->model, FEATURE_TSC_DEADLINE)))
		value &= ~(uint32_t)LVT_TIMER_MODE;
	apic->lvt[LVT_TIMER] = value;
	if ((old ^ value) & TIMER_TSC_DEADLINE) { /* a change between the two families disarms */
		apic->count = apic->initial_count = 0;
		apic->tsc_deadline = 0;
	}
	arm(apic);
}

void apic_timer_set_initial(struct apic *apic, uint32_t value)
{
	if (mode(apic) == TIMER_TSC_DEADLINE)
		return;
	settle(apic);
	apic->initial_count = apic->count = value;
	apic->start = now(apic);
	arm(apic);
}

void apic_timer_set_divide(struct apic *apic, uint32_t value)
{
	settle(apic);
	apic->count = apic_timer_current(apic);
	apic->start = now(apic);
	apic->dcr = value;
	arm(apic);
}

void apic_timer_set_deadline(struct apic *apic, uint64_t value)
{
	if (mode(apic) != TIMER_TSC_DEADLINE)
		return;
	settle(apic);
	apic->tsc_deadline = value;
	arm(apic);
}

void apic_tsc_changed(struct apic *apic)
{
	if (mode(apic) == TIMER_TSC_DEADLINE)
		arm(apic);
}

void apic_timer_state(struct apic *apic, struct state *state)
{
	state_var(state, apic->initial_count);
	state_var(state, apic->count);
	state_var(state, apic->start);
	state_var(state, apic->dcr);
	state_var(state, apic->tsc_deadline);
	clock_deadline_state(apic->bus->clock, &apic->deadline, state);
}

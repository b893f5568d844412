/*
 * One local APIC: what it has accepted, what it asks of its CPU, its pins and its life cycle.
 *
 * SDM vol. 3, "Handling Interrupts", "Task Priority in IA-32e Mode", "Local Vector Table", "Error Handling", "Local
 * APIC State". The registers as software sees them are in registers.c, the timer in timer.c, messages in ipi.c. Not
 * modelled: focus processors (P6 family only).
 */
#include "apic/local.h"

#include <stdlib.h>

static int highest(const uint32_t bits[8])
{
	for (int word = 7; word >= 0; word--)
		if (bits[word])
			return 32 * word + 31 - __builtin_clz(bits[word]);
	return -1;
}

static bool get_bit(const uint32_t bits[8], uint8_t vector)
{
	return bits[vector / 32] >> vector % 32 & 1;
}

static void set_bit(uint32_t bits[8], uint8_t vector, bool value)
{
	bits[vector / 32] = (uint32_t)bits_set(bits[vector / 32], vector % 32, vector % 32, value);
}

uint8_t apic_ppr(const struct apic *apic)
{
	int in_service = highest(apic->isr);

	/* With equal classes the low bits are the model's choice; ours are TPR's. */
	if (in_service < 0 || apic->tpr >> 4 >= in_service >> 4)
		return apic->tpr;
	return (uint8_t)(in_service & 0xf0);
}

static bool extint_pending(const struct apic *apic)
{
	uint32_t lvt = apic->lvt[LVT_LINT0];

	return apic->extint_message || (apic->lint[0] && !(lvt & LVT_MASKED) && bits_get(lvt, 10, 8) == APIC_EXTINT);
}

static int deliverable(const struct apic *apic)
{
	int vector = highest(apic->irr);

	return vector >= 0 && vector >> 4 > apic_ppr(apic) >> 4 ? vector : -1;
}

/*
 * PIN_INTR is a function of the state, so that nothing can be lost or left over; everyone who changes the state calls
 * this.
 */
void apic_update(struct apic *apic)
{
	/* With the APIC disabled its LINT0 pin is the CPU's INTR pin. */
	if (apic_mode(apic) == APIC_DISABLED)
		cpu_set_pin(apic->cpu, PIN_INTR, apic->lint[0]);
	else
		cpu_set_pin(apic->cpu, PIN_INTR, extint_pending(apic) || deliverable(apic) >= 0);
}

int apic_acknowledge(struct cpu *cpu)
{
	struct apic *apic = cpu->apic;
	const struct extint_ops *extint = &apic->bus->extint;
	int vector;

	if (apic_mode(apic) == APIC_DISABLED || extint_pending(apic)) {
		apic->extint_message = false;
		vector = extint->acknowledge ? extint->acknowledge(extint->ctx) : -1;
		apic_update(apic);
		return vector;
	}
	vector = deliverable(apic);
	if (vector >= 0) {
		set_bit(apic->irr, (uint8_t)vector, false);
		set_bit(apic->isr, (uint8_t)vector, true);
	}
	apic_update(apic);
	return vector;
}

void apic_error(struct apic *apic, uint32_t bit)
{
	/* Writing the ESR rearms the interrupt: until then further errors are only noted. */
	bool armed = !apic->errors;

	apic->errors |= bit;
	if (armed)
		apic_fire_lvt(apic, LVT_ERROR);
}

void apic_accept(struct apic *apic, uint8_t vector, bool level)
{
	if (vector < 16) {
		apic_error(apic, ESR_RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	set_bit(apic->irr, vector, true);
	set_bit(apic->tmr, vector, level);
	apic_update(apic);
}

void apic_fire_lvt(struct apic *apic, enum lvt which)
{
	uint32_t lvt = apic->lvt[which];

	if (lvt & LVT_MASKED)
		return;
	switch (which == LVT_TIMER || which == LVT_ERROR ? APIC_FIXED : bits_get(lvt, 10, 8)) {
	case APIC_FIXED: apic_accept(apic, (uint8_t)lvt, false); break;
	case APIC_SMI: cpu_set_pin(apic->cpu, PIN_SMI, true); break;
	case APIC_NMI: cpu_set_pin(apic->cpu, PIN_NMI, true); break;
	case APIC_INIT: cpu_set_pin(apic->cpu, PIN_INIT, true); break;
	default: break; /* ExtINT is a level and part of apic_update(); the others are reserved */
	}
}

/* SDM vol. 3, "Generating an Interrupt on Overflow": software has to clear the mask each time. */
void apic_performance_interrupt(struct apic *apic)
{
	apic_fire_lvt(apic, LVT_PMC);
	apic->lvt[LVT_PMC] |= LVT_MASKED;
}

/*
 * SDM vol. 3, "Local Vector Table", trigger mode: only Fixed mode uses it, and LINT1 has no level-sensitive interrupts.
 * `rising`: the pin has just become active.
 */
static void evaluate_pin(struct apic *apic, unsigned pin, bool rising)
{
	uint32_t *lvt = &apic->lvt[LVT_LINT0 + pin];

	if (apic_mode(apic) == APIC_DISABLED) {
		if (pin == 1 && rising)
			cpu_set_pin(apic->cpu, PIN_NMI, true);
	} else if (pin == 0 && (*lvt & LVT_LEVEL) && bits_get(*lvt, 10, 8) == APIC_FIXED) {
		if (apic->lint[0] && !(*lvt & (LVT_REMOTE_IRR | LVT_MASKED))) {
			*lvt |= LVT_REMOTE_IRR;
			apic_accept(apic, (uint8_t)*lvt, true);
		}
	} else if (rising) {
		apic_fire_lvt(apic, LVT_LINT0 + pin);
	}
	apic_update(apic);
}

static void set_pin(struct apic *apic, unsigned pin, bool level)
{
	bool rising = level && !apic->lint[pin];

	apic->lint[pin] = level;
	evaluate_pin(apic, pin, rising);
}

void apic_set_lint0(void *apic_bus, unsigned line, bool level)
{
	struct apic_bus *bus = apic_bus;

	for (unsigned i = 0; i < bus->count; i++)
		set_pin(bus->apics[i], 0, level);
}

void apic_set_nmi(void *apic_bus, unsigned line, bool level)
{
	struct apic_bus *bus = apic_bus;

	for (unsigned i = 0; i < bus->count; i++)
		set_pin(bus->apics[i], 1, level);
}

void apic_set_lint_lvt(struct apic *apic, unsigned pin, uint32_t value)
{
	uint32_t *lvt = &apic->lvt[LVT_LINT0 + pin];
	bool level_fixed = (value & LVT_LEVEL) && bits_get(value, 10, 8) == APIC_FIXED;

	*lvt = value | (level_fixed ? *lvt & LVT_REMOTE_IRR : 0);
	evaluate_pin(apic, pin, false);
}

void apic_eoi(struct apic *apic)
{
	int vector = highest(apic->isr);
	uint32_t *lint0 = &apic->lvt[LVT_LINT0];

	if (vector < 0)
		return;
	set_bit(apic->isr, (uint8_t)vector, false);
	if (get_bit(apic->tmr, (uint8_t)vector)) {
		if ((*lint0 & LVT_REMOTE_IRR) && (uint8_t)*lint0 == vector)
			*lint0 &= ~(uint32_t)LVT_REMOTE_IRR;
		if (apic->bus->eoi && !(apic->svr & SVR_SUPPRESS_EOI))
			apic->bus->eoi(apic->bus->eoi_ctx, (uint8_t)vector);
	}
	evaluate_pin(apic, 0, false);
}

uint8_t apic_get_tpr(const struct apic *apic)
{
	return apic->tpr;
}

void apic_set_tpr(struct apic *apic, uint8_t tpr)
{
	apic->tpr = tpr;
	apic_update(apic);
}

/* SDM vol. 3, "Local APIC State After Power-Up or Reset" and "... After It Receives an INIT-Deassert IPI". */
void apic_reset(struct apic *apic, bool init)
{
	if (!init) {
		apic->cpu->apic_base = UINT64_C(0xfee00000) | APIC_BASE_EN | (apic->cpu->number ? 0 : APIC_BASE_BSP);
		apic->id = (uint8_t)apic->initial_id;
	}
	apic->tpr = 0;
	apic->ldr = 0;
	apic->dfr = UINT32_MAX;
	apic->svr = 0xff;
	apic->esr = apic->errors = 0;
	apic->icr = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		apic->lvt[i] = LVT_MASKED;
	memset(apic->isr, 0, sizeof(apic->isr));
	memset(apic->tmr, 0, sizeof(apic->tmr));
	memset(apic->irr, 0, sizeof(apic->irr));
	apic->extint_message = false;
	apic_timer_reset(apic);
	apic_update(apic);
}

struct apic_bus *apic_bus_create(struct clock *clock, const struct log *log)
{
	struct apic_bus *bus = xcalloc(1, sizeof(*bus));

	bus->clock = clock;
	bus->log = log;
	return bus;
}

void apic_bus_destroy(struct apic_bus *bus)
{
	free(bus->apics);
	free(bus);
}

void apic_bus_connect_extint(struct apic_bus *bus, const struct extint_ops *ops)
{
	bus->extint = *ops;
}

void apic_bus_on_eoi(struct apic_bus *bus, void (*eoi)(void *ctx, uint8_t vector), void *ctx)
{
	bus->eoi = eoi;
	bus->eoi_ctx = ctx;
}

struct apic *apic_create(struct apic_bus *bus, struct cpu *cpu, uint32_t apic_id)
{
	struct apic *apic = xcalloc(1, sizeof(*apic));

	apic->bus = bus;
	apic->cpu = cpu;
	apic->initial_id = apic_id;
	cpu->apic = apic;
	deadline_init(&apic->deadline, apic_timer_fire, apic);
	bus->apics = xrealloc(bus->apics, (bus->count + 1) * sizeof(*bus->apics));
	bus->apics[bus->count++] = apic;
	apic_reset(apic, false);
	return apic;
}

void apic_destroy(struct apic *apic)
{
	struct apic_bus *bus = apic->bus;
	unsigned kept = 0;

	clock_cancel(bus->clock, &apic->deadline);
	for (unsigned i = 0; i < bus->count; i++)
		if (bus->apics[i] != apic)
			bus->apics[kept++] = bus->apics[i];
	bus->count = kept;
	apic->cpu->apic = NULL;
	free(apic);
}

void apic_state(struct apic *apic, struct state *state)
{
	state_section(state, "apic");
	state_var(state, apic->id);
	state_var(state, apic->tpr);
	state_var(state, apic->ldr);
	state_var(state, apic->dfr);
	state_var(state, apic->svr);
	state_var(state, apic->esr);
	state_var(state, apic->errors);
	state_var(state, apic->icr);
	state_var(state, apic->lvt);
	state_var(state, apic->isr);
	state_var(state, apic->tmr);
	state_var(state, apic->irr);
	state_bool(state, &apic->lint[0]);
	state_bool(state, &apic->lint[1]);
	state_bool(state, &apic->extint_message);
	apic_timer_state(apic, state);
	if (state_restoring(state))
		apic_update(apic);
}

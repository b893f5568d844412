/* Inside apic/: the state of one local APIC, and what its files ask of each other. */
#pragma once

#include "apic/apic.h"

#define APIC_BASE_BSP  BIT(8)
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_EN   BIT(11)

#define SVR_ENABLE	 BIT(8)
#define SVR_SUPPRESS_EOI BIT(12)

#define LVT_MASKED	   BIT(16)
#define LVT_REMOTE_IRR	   BIT(14)
#define LVT_LEVEL	   BIT(15)
#define LVT_TIMER_MODE	   BITS(18, 17)
#define TIMER_PERIODIC	   BIT(17)
#define TIMER_TSC_DEADLINE BIT(18)

/* SDM vol. 3, "Error Status Register (ESR)". */
#define ESR_SEND_ILLEGAL_VECTOR	   BIT(5)
#define ESR_RECEIVE_ILLEGAL_VECTOR BIT(6)
#define ESR_ILLEGAL_REGISTER	   BIT(7)

enum apic_register {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) APIC_##name = index,
#include "apic_registers.def"
#undef APIC_REGISTER
	APIC_ISR = 0x10, /* and the next 7; also TMR and IRR */
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct apic {
	struct apic_bus *bus;
	struct cpu *cpu;
	uint32_t initial_id; /* x2APIC ID; its low 8 bits are the xAPIC ID after reset */
	uint8_t id;	     /* xAPIC ID, which software may change */
	uint8_t tpr;
	uint32_t ldr, dfr, svr, dcr;
	uint32_t esr, errors; /* as read; detected since the last write */
	uint64_t icr;
	uint32_t lvt[LVT_COUNT];
	uint32_t isr[8], tmr[8], irr[8];
	bool lint[2];	     /* levels of the two input pins */
	bool extint_message; /* an ExtINT message waits for its acknowledge */

	/* Timer: at `start` the current count was `count`. */
	uint32_t initial_count, count;
	vtime_t start;
	uint64_t tsc_deadline;
	struct deadline deadline;
};

struct apic_bus {
	struct clock *clock;
	const struct log *log;
	struct apic **apics;
	unsigned count;
	struct extint_ops extint;
	void (*eoi)(void *ctx, uint8_t vector);
	void *eoi_ctx;
};

enum apic_mode { APIC_DISABLED, APIC_XAPIC, APIC_X2APIC };

static inline enum apic_mode apic_mode(const struct apic *apic)
{
	if (!(apic->cpu->apic_base & APIC_BASE_EN))
		return APIC_DISABLED;
	return apic->cpu->apic_base & APIC_BASE_EXTD ? APIC_X2APIC : APIC_XAPIC;
}

/* local.c */
void apic_update(struct apic *apic);				 /* PIN_INTR from the state */
void apic_accept(struct apic *apic, uint8_t vector, bool level); /* a fixed interrupt arrives */
void apic_error(struct apic *apic, uint32_t bit);
void apic_fire_lvt(struct apic *apic, enum lvt which);
uint8_t apic_ppr(const struct apic *apic);
void apic_set_lint_lvt(struct apic *apic, unsigned pin, uint32_t value);

/* registers.c: access by index; the caller applied the mode's access rules, a row of apic_registers.def. */
struct apic_access {
	uint8_t xapic, x2apic; /* enum apic_may */
	uint32_t settable, tolerated;
};
enum apic_may { NONE = 0, R = 1, W = 2, RW = 3 };
struct apic_access apic_access(unsigned index);
uint32_t apic_logical_id(const struct apic *apic); /* LDR as read */
uint32_t apic_get(struct apic *apic, unsigned index);
void apic_set(struct apic *apic, unsigned index, uint32_t value);

/* timer.c */
void apic_timer_fire(void *apic);
void apic_timer_reset(struct apic *apic);
void apic_timer_set_lvt(struct apic *apic, uint32_t value);
void apic_timer_set_initial(struct apic *apic, uint32_t value);
void apic_timer_set_divide(struct apic *apic, uint32_t value);
void apic_timer_set_deadline(struct apic *apic, uint64_t value);
uint32_t apic_timer_current(struct apic *apic);
void apic_timer_state(struct apic *apic, struct state *state);

/* ipi.c: the ICR was written. */
void apic_send_ipi(struct apic *apic, uint64_t icr);

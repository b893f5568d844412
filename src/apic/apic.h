/*
 * Local APICs and the messages between them. SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)".
 *
 * One struct apic per vCPU, all on one apic_bus. An APIC asserts its vCPU's pins (cpu/pins.h); the CPU asks for the
 * vector when it takes the interrupt. xAPIC registers are reached by memory writes at the APIC base of the accessing
 * CPU, x2APIC ones by MSR.
 */
#pragma once

#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "clock/clock.h"
#include "cpu/cpu.h"

struct apic;
struct apic_bus;

/* Delivery modes of the ICR, LVT, MSI and I/O APIC: SDM vol. 3, "Interrupt Command Register (ICR)". */
enum apic_delivery { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_STARTUP, APIC_EXTINT };

/* One interrupt, after any remapping. */
struct interrupt {
	uint32_t destination; /* APIC ID or logical destination, as wide as the sender can say */
	uint8_t vector;
	enum apic_delivery delivery;
	bool logical;
	bool narrow; /* the destination is 8 bits, as an xAPIC, I/O APIC or MSI says it: physical FFH is everybody */
	bool level;  /* trigger mode */
	bool assert; /* level of an INIT or level-triggered message */
};

struct apic_bus *apic_bus_create(struct clock *clock, const struct log *log);
void apic_bus_destroy(struct apic_bus *bus);
struct apic *apic_create(struct apic_bus *bus, struct cpu *cpu, uint32_t apic_id);
void apic_destroy(struct apic *apic);

/*
 * Deliver to whoever the destination names. False: nobody accepted. Lowest priority: the lowest PPR, then the lowest
 * APIC number.
 */
bool apic_deliver(struct apic_bus *bus, const struct interrupt *interrupt);
/* Decode a compatibility-format message (no remapping) and deliver it. */
void apic_send_msi(void *apic_bus, const struct msi *msi);

/*
 * The 8259's INTR wire enters at LINT0 of every APIC (or straight to the pin with the APIC disabled); acknowledge() is
 * INTA. NMI at LINT1.
 */
struct extint_ops {
	int (*acknowledge)(void *ctx); /* vector */
	void *ctx;
};
void apic_bus_connect_extint(struct apic_bus *bus, const struct extint_ops *ops);
void apic_set_lint0(void *apic_bus, unsigned line, bool level);
void apic_set_nmi(void *apic_bus, unsigned line, bool level);

/* Who hears of EOIs of level-triggered vectors: the I/O APICs. */
void apic_bus_on_eoi(struct apic_bus *bus, void (*eoi)(void *ctx, uint8_t vector), void *ctx);

/*
 * The page at IA32_APIC_BASE, as this vCPU sees it. mem/ sends accesses here when the page is enabled and xAPIC mode is
 * on: device is the struct apic. offset is 0 to FFFH.
 */
uint32_t apic_read(struct apic *apic, unsigned offset);
void apic_write(struct apic *apic, unsigned offset, uint32_t value);
/* The register at this offset for a debugger: in every mode, without side effects; 0 where there is none. */
uint32_t apic_peek(struct apic *apic, unsigned offset);
extern const struct device_ops apic_page_ops;

/*
 * IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC MSRs 800H-8FFH, of cpu->apic. After a write of IA32_APIC_BASE call
 * mem_context_changed().
 */
void apic_claim_msrs(struct msr_table *table);

/*
 * cpu->acknowledge: the vector the CPU takes now, which moves from IRR to ISR or comes from the 8259; -1 when nothing
 * is pending after all.
 */
int apic_acknowledge(struct cpu *cpu);

/* EOI of the interrupt in service, as a write to the register. For posted interrupts, as is the other: a fixed
 * interrupt to a physical destination, in the format of the posted-interrupt descriptor's NDST. */
void apic_eoi(struct apic *apic);
void apic_notify(struct apic *apic, uint32_t destination, uint8_t vector);

/* TPR, 8 bits; CR8 is its bits 7:4. */
uint8_t apic_get_tpr(const struct apic *apic);
void apic_set_tpr(struct apic *apic, uint8_t tpr);

/* A performance counter overflowed: the LVT performance-monitoring entry says what comes of it, and is masked then. */
void apic_performance_interrupt(struct apic *apic);

/* After cpu->tsc_offset changed: the TSC deadline is nearer or further. */
void apic_tsc_changed(struct apic *apic);

/*
 * The timer counts at this rate divided by the divide configuration register: CPUID leaf 15H reports it as the
 * crystal's.
 */
#define APIC_TIMER_HZ UINT64_C(1000000000)

/*
 * INIT and reset of the vCPU's APIC: SDM vol. 3, "Local APIC State After Power-Up or Reset", "... After It Receives an
 * INIT-Deassert IPI".
 */
void apic_reset(struct apic *apic, bool init);
void apic_state(struct apic *apic, struct state *state);

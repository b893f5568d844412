/*
 * A vCPU's local APIC: SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". Its registers are kept in the virtual-APIC page whether
 * or not the CPU knows what that is, so that APIC virtualization and emulation share them: SDM vol. 3, "APIC Virtualization and Virtual Interrupts".
 */
#ifndef VMM_DEVICES_LAPIC_H
#define VMM_DEVICES_LAPIC_H

#include "lib/types.h"

struct vm;
struct vcpu;

/* SDM vol. 3, "Posted-Interrupt Processing". */
struct posted_interrupts {
	uint64_t requests[4];
	uint32_t outstanding; /* bit 0: ON */
	uint32_t reserved[7];
} ALIGNED(64);

struct lapic {
	uint32_t *page; /* 4 KiB: register at offset N is page[N / 4] */
	struct posted_interrupts *posted;
	uint64_t base; /* IA32_APIC_BASE */
	uint64_t timer_start, timer_deadline; /* TSC-deadline or count, in ns of vm_time(); NEVER */
	uint64_t tsc_deadline;		      /* IA32_TSC_DEADLINE as the guest wrote it */
	uint8_t level[32];		      /* bit for each vector whose TMR bit is set, as EOI-exit bitmap */
};

void lapic_reset(struct vcpu *vcpu, bool init); /* init: INIT signal keeps the ID and IA32_APIC_BASE */

/* Registers by their offset in the page (MSR index - 800H, times 16, in x2APIC mode). */
uint32_t lapic_read(struct vcpu *vcpu, unsigned offset);
void lapic_write(struct vcpu *vcpu, unsigned offset, uint32_t value);

MUST_CHECK bool lapic_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value); /* IA32_APIC_BASE, IA32_TSC_DEADLINE, x2APIC's; false: #GP */
MUST_CHECK bool lapic_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);

/* A fixed interrupt arrives; may be called for a vCPU that runs elsewhere. */
void lapic_accept(struct vcpu *vcpu, unsigned vector, bool level);

/* An interrupt message to whoever it addresses, from an I/O APIC or an ICR (from: the sender of an IPI, for shorthands; NULL). SDM vol. 3,
   "Determining IPI Destination". mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 start-up, 7 ExtINT. */
struct apic_message {
	uint8_t vector, mode, shorthand;
	bool logical, level, asserted;
	uint32_t destination;
};
void lapic_send(struct vm *vm, struct vcpu *from, const struct apic_message *message);

/* Highest requested vector that the processor priority lets through, or -1. Takes posted interrupts in first. */
int lapic_pending(struct vcpu *vcpu);
void lapic_acknowledge(struct vcpu *vcpu, unsigned vector); /* IRR to ISR */
bool lapic_takes_extint(const struct vcpu *vcpu); /* LINT0 passes the 8259's requests, or the APIC is off */

uint64_t lapic_deadline(const struct vcpu *vcpu); /* ns of vm_time(), or NEVER */
void lapic_tick(struct vcpu *vcpu, uint64_t now);

#endif

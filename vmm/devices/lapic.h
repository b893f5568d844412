/*
 * A vCPU's local APIC: SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". Its registers are kept in the
 * virtual-APIC page whether or not the CPU knows what that is, so that APIC virtualization and emulation share them: SDM vol.
 * 3, "APIC Virtualization and Virtual Interrupts".
 *
 * x2APIC mode is not offered to guests. vm->lock is held wherever these functions are called.
 */
#ifndef VMM_DEVICES_LAPIC_H
#define VMM_DEVICES_LAPIC_H

#include "lib/types.h"

struct vm;
struct vcpu;

enum { APIC_ADDRESS = 0xfee00000 };
enum { APIC_TIMER_HZ = 25000000 }; /* before division; CPUID leaf 15H calls it the core crystal clock */

/* Indices of the registers: a register's offset in the page is 16 times that. */
enum apic_register {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) APIC_##name = index,
#include "apic_registers.def"
#undef APIC_REGISTER
	APIC_ISR = 0x10, /* and the next 7; also TMR and IRR */
	APIC_TMR = 0x18,
	APIC_IRR = 0x20
};

/* IA32_APIC_BASE */
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_EN BIT(11)

/* SDM vol. 3, "Posted-Interrupt Processing". For vCPUs without that: a letter box for other CPUs. */
struct posted_interrupts {
	uint32_t requests[8];
	uint32_t outstanding; /* bit 0: ON */
	uint32_t reserved[7];
} ALIGNED(64);

struct lapic {
	uint32_t *page; /* 4 KiB: register N is page[4 * N] */
	struct posted_interrupts *posted;
	uint64_t base;	 /* IA32_APIC_BASE */
	uint32_t errors; /* detected since ESR was written */
	uint32_t timer_lvt; /* LVT_TIMER until the write that is being handled */
	uint64_t timer_tick;	 /* ns per count */
	uint64_t timer_deadline; /* when the count ends or IA32_TSC_DEADLINE is reached, in ns of vm_time(); NEVER */
	uint64_t tsc_deadline;	 /* IA32_TSC_DEADLINE; 0: not armed */
	bool init;		 /* an INIT was received, and is not yet obeyed */
	bool startup;		 /* the same of a start-up IPI, with its vector */
	uint8_t startup_vector;
	bool changed; /* IRR, ISR or TMR, and not by the CPU: RVI, SVI and the EOI-exit bitmap no longer say the same */
};

/* As after RESET. firmware: and what firmware has then done to it; otherwise IA32_APIC_BASE stays as it is. */
void lapic_reset(struct vcpu *vcpu, bool firmware);

/* Where its registers are in guest-physical memory; false: it is switched off by IA32_APIC_BASE. */
bool lapic_is_at(const struct vcpu *vcpu, gpa_t gpa);

/* Registers by their offset in the page, 0 to 0FFFH. */
uint32_t lapic_read(struct vcpu *vcpu, unsigned offset);
void lapic_write(struct vcpu *vcpu, unsigned offset, uint32_t value);

/* IA32_APIC_BASE, IA32_TSC_DEADLINE; false, as for all others: #GP. */
MUST_CHECK bool lapic_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
MUST_CHECK bool lapic_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);

/* A fixed interrupt arrives; may be called for a vCPU that runs elsewhere. */
void lapic_accept(struct vcpu *vcpu, unsigned vector, bool level);

/* An interrupt message to whoever it addresses, from an I/O APIC or an ICR (from: the sender of an IPI, for shorthands;
   NULL). SDM vol. 3, "Determining IPI Destination". mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 6 start-up, 7
   ExtINT. */
struct apic_message {
	uint8_t vector, mode, shorthand;
	bool logical, level, asserted;
	uint32_t destination;
};
void lapic_send(struct vm *vm, struct vcpu *from, const struct apic_message *message);

/* Highest requested vector that the processor priority lets through, or -1. Takes posted interrupts in first. On the vCPU's
   CPU, outside the guest; so are the next two. */
int lapic_pending(struct vcpu *vcpu);
void lapic_acknowledge(struct vcpu *vcpu, unsigned vector); /* IRR to ISR */
void lapic_take_posted(struct vcpu *vcpu);

int lapic_highest(const struct vcpu *vcpu, enum apic_register vectors); /* of APIC_IRR, APIC_ISR; -1: none */
bool lapic_takes_extint(const struct vcpu *vcpu); /* LINT0 passes the 8259's requests, or the APIC is off */

uint64_t lapic_deadline(const struct vcpu *vcpu); /* ns of vm_time(), or NEVER */
void lapic_tick(struct vcpu *vcpu, uint64_t now);
void lapic_tsc_changed(struct vcpu *vcpu); /* the guest has changed its vCPU's TSC: vcpu->tsc_adjust */

#endif

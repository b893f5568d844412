/*
 * APIC virtualization: what the processor does by itself with the virtual-APIC page and the guest interrupt status. SDM
 * vol. 3, "APIC Virtualization and Virtual Interrupts".
 *
 * Which accesses to the APIC-access page are virtualized is mem/'s (mem/apic_access.c); here is what they cause. A
 * virtualized write (also by MOV to CR8 and WRMSR) is noted in cpu->vapic_write with ATTEND_TRAP, and exec/event.c
 * calls vmx_emulate_apic_write() when its instruction is done. A pending virtual interrupt that is recognized is
 * PIN_VIRTUAL.
 *
 * Not modelled: APIC-timer virtualization, user interrupts (SENDUIPI).
 */
#pragma once

#include "vmx/vmx.h"

/* virtual_apic.c */

/* VM entry has loaded the guest: "Updating Non-Register State", "VM Exits Induced by the TPR Threshold". */
void vmx_vapic_enter(struct cpu *cpu);
/* "Virtualizing CR8-Based TPR Accesses". value: 0 to 15. */
bool vmx_cr8_is_virtual(const struct cpu *cpu);
uint64_t vmx_read_cr8(const struct cpu *cpu);
void vmx_write_cr8(struct cpu *cpu, uint64_t value);
/* "TPR Virtualization", "EOI Virtualization": true is a VM exit in cpu->vmx->exit. */
MUST_CHECK bool vmx_virtualize_tpr(struct cpu *cpu);
MUST_CHECK bool vmx_virtualize_eoi(struct cpu *cpu);
/* "Self-IPI Virtualization" */
void vmx_virtualize_self_ipi(struct cpu *cpu, uint8_t vector);
/* "Virtual-Interrupt Delivery": the vector that is delivered now. Asked when PIN_VIRTUAL is open. */
uint8_t vmx_take_virtual_interrupt(struct cpu *cpu);
/* Requests of 8 words become pending: vectors in VIRR, RVI, evaluation. For posted.c. */
void vmx_request_virtual_interrupts(struct cpu *cpu, const uint32_t requests[8]);

/* apic_write.c: "APIC-Write Emulation". True: VM exit in cpu->vmx->exit. */
MUST_CHECK bool vmx_emulate_apic_write(struct cpu *cpu);
/* The write of 4 bytes (8 by WRMSR) at an offset is done but for its effects. 0 bytes: a VM entry found VTPR below the
 * threshold. */
void vmx_apic_written(struct cpu *cpu, unsigned offset, unsigned size);

/* x2apic.c: "Virtualizing MSR-Based APIC Accesses", of MSRs 800H to 8FFH when RDMSR or WRMSR does not exit. */
enum vmx_x2apic {
	VMX_X2APIC_NORMAL, /* as if not virtualized */
	VMX_X2APIC_DONE,
	VMX_X2APIC_GP,
};
enum vmx_x2apic vmx_x2apic_read(const struct cpu *cpu, uint32_t index, uint64_t *value);
enum vmx_x2apic vmx_x2apic_write(struct cpu *cpu, uint32_t index, uint64_t value);

/* posted.c */

/* "Posted-Interrupt Processing": is the acknowledged external interrupt the notification? Else it exits. */
bool vmx_is_notification(const struct cpu *cpu, int vector);
void vmx_process_posted_interrupts(struct cpu *cpu);
/* "IPI Virtualization". False: an APIC-write VM exit instead. */
MUST_CHECK bool vmx_virtualize_ipi(struct cpu *cpu, uint8_t vector, uint32_t apic_id);

/* The virtual-APIC page. */
enum vapic_register {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) VAPIC_##name = (index) << 4,
#include "apic_registers.def"
#undef APIC_REGISTER
	VAPIC_ISR = 0x100, /* 8 words, 16 bytes apart; VIRR too */
	VAPIC_IRR = 0x200,
};
uint64_t vmx_vapic_get(const struct cpu *cpu, unsigned offset, unsigned size);
void vmx_vapic_set(struct cpu *cpu, unsigned offset, unsigned size, uint64_t value);

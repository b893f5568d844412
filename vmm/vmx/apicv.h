/*
 * What the CPU does of a local APIC's work for the VMM: SDM vol. 3, "APIC Virtualization and Virtual Interrupts".
 */
#ifndef VMM_VMX_APICV_H
#define VMM_VMX_APICV_H

#include "guest/vm.h"

/* Maps the APIC-access page in vm->ept, if the CPU knows what that is. False if the EPT's tables are used up. */
MUST_CHECK bool apicv_map(struct vm *vm);

/* The current vCPU's fields and controls, as after RESET. From vcpu_reset(), after lapic_reset(). */
void apicv_reset(struct vcpu *vcpu);

/* IA32_APIC_BASE of the current vCPU has changed: turns on what the CPU can do, or all off where that would be wrong. */
void apicv_update(struct vcpu *vcpu);

/* Before a VM entry. vector: lapic_pending()'s answer where virtual-interrupt delivery is off. */
void apicv_set_status(struct vcpu *vcpu);
void apicv_set_threshold(struct vcpu *vcpu, int vector);

#endif

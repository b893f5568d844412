/*
 * IA32_EFER and IA32_PAT of the guest and of the host, wherever this CPU switches them at VM entries and VM exits.
 */
#ifndef VMM_VMX_MSR_AREA_H
#define VMM_VMX_MSR_AREA_H

#include "vmx/vcpu.h"

/* Writes the fields of the current vCPU that switch the two, for values that follow by the functions below. */
void msr_area_init(struct vcpu *vcpu);

void msr_area_set_efer(struct vcpu *vcpu, uint64_t efer);
void msr_area_set_pat(struct vcpu *vcpu, uint64_t pat);

#endif

/*
 * The MSRs of a vCPU: which are passed through, which follow it, which are kept for it.
 */
#ifndef VMM_VMX_MSR_H
#define VMM_VMX_MSR_H

#include "vmx/vcpu.h"

void msr_make_bitmap(uint8_t *bitmap); /* 4 KiB, all ones: lets through what a guest may read or write itself */
MUST_CHECK bool msr_create(struct vcpu *vcpu); /* false: no memory */
void msr_reset(struct vcpu *vcpu); /* while it is put away */

/* The MSRs that follow the vCPU, for vcpu_switch(). */
void msr_save(struct vcpu *vcpu);
void msr_load(struct vcpu *vcpu);

#endif

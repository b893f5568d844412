/*
 * x87, SSE and what XSAVE adds: it follows the vCPU. The VMM itself uses none of it.
 */
#ifndef VMM_VMX_FPU_H
#define VMM_VMX_FPU_H

#include "vmx/vcpu.h"

MUST_CHECK bool fpu_create(struct vcpu *vcpu); /* false: no memory */
void fpu_reset(struct vcpu *vcpu); /* while it is put away */
void fpu_save(struct vcpu *vcpu);
void fpu_load(struct vcpu *vcpu);

#endif

/*
 * The choice of a vCPU's VM-execution, VM-exit and VM-entry controls.
 */
#ifndef VMM_VMX_CONTROLS_H
#define VMM_VMX_CONTROLS_H

#include "vmx/vcpu.h"

/* Fills vcpu->controls. NULL, or the title of a control that is required and that the CPU has not. */
MUST_CHECK const char *controls_choose(struct vcpu *vcpu);

/* The VMCS field that holds a word of controls. */
enum vmcs_field controls_field(enum vmx_word word);

#endif

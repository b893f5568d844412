/*
 * INS and OUTS, also repeated.
 */
#ifndef VMM_VMX_STRING_IO_H
#define VMM_VMX_STRING_IO_H

#include "vmx/vcpu.h"

/* Does the instruction that exited, or part of its repetitions; the rest exits again, so that interrupts come through. */
void string_io(struct vcpu *vcpu, uint16_t port, unsigned size, bool in);

#endif

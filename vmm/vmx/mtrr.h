/*
 * MTRRs as MSRs: the readers and writers of exit_msr.c's table. False: #GP(0).
 */
#ifndef VMM_VMX_MTRR_H
#define VMM_VMX_MTRR_H

#include "guest/vm.h"

enum { MTRR_VARIABLE = 8 };

MUST_CHECK bool mtrr_read_cap(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
MUST_CHECK bool mtrr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
MUST_CHECK bool mtrr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);

/* Each of the eight bytes is a memory type: UC, WC, WT, WP, WB; uc_minus: or UC-, which only the PAT knows. */
MUST_CHECK bool mtrr_are_types(uint64_t types, bool uc_minus);

#endif

/*
 * Where an instruction of the guest's reads or writes memory, for those that the VMM does in its place.
 */
#ifndef VMM_GUEST_ACCESS_H
#define VMM_GUEST_ACCESS_H

#include "guest/vm.h"

enum { ES, CS, SS, DS, FS, GS }; /* as in instructions, and in the VMCS's order */

/* For the current vCPU: checks its segments and page tables as the processor does, but not alignment, and sets accessed and
   dirty flags. gpas: of each of the size bytes, at most 8. False: an exception was raised. */
MUST_CHECK bool vcpu_access(struct vcpu *vcpu, unsigned segment, uint64_t offset, unsigned size, bool write, gpa_t *gpas);

#endif

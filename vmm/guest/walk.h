/*
 * A walk of the guest's page tables on its behalf.
 */
#ifndef VMM_GUEST_WALK_H
#define VMM_GUEST_WALK_H

#include "guest/vm.h"

/* What is done there: bits of a page fault's error code. WALK_MARK: sets accessed and dirty flags, as an access of the
   guest's does. */
enum { WALK_WRITE = 1 << 1, WALK_USER = 1 << 2, WALK_MARK = 1 << 8 };

/* False: #PF, with *error its error code. For the current vCPU. */
MUST_CHECK bool vcpu_walk(struct vcpu *vcpu, gva_t la, unsigned access, gpa_t *gpa, uint32_t *error);

#endif

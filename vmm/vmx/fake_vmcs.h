/*
 * For tests on the host: a current VMCS that is an array. Included before everything else of the VMM, it stands in the place of
 * vmx/vmcs.h.
 */
#ifndef VMM_VMX_FAKE_VMCS_H
#define VMM_VMX_FAKE_VMCS_H
#define VMM_VMX_VMCS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmx/spec.h"

static uint64_t fields[0x8000]; /* by encoding */

static inline uint64_t vmread(enum vmcs_field field) { return fields[field]; }
static inline void vmwrite(enum vmcs_field field, uint64_t value) { fields[field] = value; }
static inline void vmcs_set(enum vmcs_field field, uint64_t bits) { fields[field] |= bits; }
static inline void vmcs_clear(enum vmcs_field field, uint64_t bits) { fields[field] &= ~bits; }

#endif

/*
 * VMCS access: SDM vol. 3, "VMREAD, VMWRITE, and Encodings of VMCS Fields", with the three outcomes of a VMX instruction.
 */
#ifndef VMM_VMX_VMCS_H
#define VMM_VMX_VMCS_H

#include "vmx/spec.h"

/* The current VMCS, or the field's group, is wrong: that is an error of ours. */
_Noreturn void vmcs_failed(const char *instruction, unsigned field);

static inline uint64_t vmread(enum vmcs_field field)
{
	uint64_t value;
	bool failed;

	__asm__ volatile("vmread %2, %0" : "=rm"(value), "=@ccbe"(failed) : "r"((uint64_t)field) : "memory");
	if (__builtin_expect(failed, 0))
		vmcs_failed("VMREAD", field);
	return value;
}

static inline void vmwrite(enum vmcs_field field, uint64_t value)
{
	bool failed;

	__asm__ volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"((uint64_t)field), "rm"(value) : "memory");
	if (__builtin_expect(failed, 0))
		vmcs_failed("VMWRITE", field);
}

bool vmcs_field_exists(unsigned field); /* on this CPU */

static inline void vmcs_set(enum vmcs_field field, uint64_t bits) { vmwrite(field, vmread(field) | bits); }
static inline void vmcs_clear(enum vmcs_field field, uint64_t bits) { vmwrite(field, vmread(field) & ~bits); }

void vmclear(void *region);
void vmptrld(void *region);

/* Types: SDM vol. 3, "Operations that Invalidate Cached Mappings". */
void invept_all(void);
void invept_single(uint64_t eptp); /* all contexts where the single-context type is not supported; nothing where INVEPT is not */
void invvpid_single(uint16_t vpid);
void invvpid_all(void); /* nothing where INVVPID is not */

#endif

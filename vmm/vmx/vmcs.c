/*
 * The VMX instructions that manage VMCSs and cached translations: SDM vol. 3, "VMX Instruction Reference" and "Operations
 * that Invalidate Cached Mappings". Their failures are errors of ours.
 */
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

/* A field is there if one of the two controls that its condition names may be 1. */
bool vmcs_field_exists(unsigned field)
{
	enum condition {
		ALWAYS,
#define NEED(condition, word_a, bit_a, word_b, bit_b) condition,
#include "vmcs_fields.def"
	};
	enum condition condition;

	switch (field) {
#define F(encoding, name, needs, checks)                                                                               \
	case encoding:                                                                                                 \
		condition = needs;                                                                                     \
		break;
#include "vmcs_fields.def"
	default:
		return false;
	}
	switch (condition) {
	case ALWAYS:
		return true;
#define NEED(needs, word_a, bit_a, word_b, bit_b)                                                                      \
	case needs:                                                                                                    \
		return HAS(word_a, bit_a) || HAS(word_b, bit_b);
#include "vmcs_fields.def"
	}
	return false;
}

void vmcs_failed(const char *instruction, unsigned field)
{
	uint64_t error;
	bool failed;

	/* Without a current VMCS (VMfailInvalid) there is no error field to read either. */
	__asm__ volatile("vmread %2, %0"
			 : "=r"(error), "=@ccbe"(failed)
			 : "r"((uint64_t)VMCS_VM_INSTRUCTION_ERROR)
			 : "memory");
	if (failed)
		panic("%s %s (%x): there is no current VMCS", instruction, vmcs_field_name(field), field);
	panic("%s %s (%x): %s", instruction, vmcs_field_name(field), field, vmx_error_title(error));
}

void vmclear(void *region)
{
	pa_t pa = pa_of(region);
	bool failed;

	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(pa) : "memory");
	if (failed)
		panic("VMCLEAR of the region at %lx failed", pa);
}

void vmptrld(void *region)
{
	pa_t pa = pa_of(region);
	bool failed;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(pa) : "memory");
	if (failed)
		panic("VMPTRLD of the region at %lx failed", pa);
}

enum { SINGLE_CONTEXT = 1, ALL_CONTEXTS = 2 }; /* types of both instructions */

static void invept(uint64_t type, uint64_t eptp)
{
	struct {
		uint64_t eptp, reserved;
	} descriptor = {eptp, 0};
	bool failed;

	__asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"(type) : "memory");
	if (failed)
		panic("INVEPT type %lu with EPTP %lx failed", type, eptp);
}

void invept_all(void)
{
	if (HAS(EPT_VPID_CAP, INVEPT) && HAS(EPT_VPID_CAP, INVEPT_ALL))
		invept(ALL_CONTEXTS, 0);
}

void invept_single(uint64_t eptp)
{
	if (HAS(EPT_VPID_CAP, INVEPT) && HAS(EPT_VPID_CAP, INVEPT_SINGLE))
		invept(SINGLE_CONTEXT, eptp);
	else
		invept_all();
}

static void invvpid(uint64_t type, uint16_t vpid)
{
	struct {
		uint64_t vpid, address;
	} descriptor = {vpid, 0};
	bool failed;

	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"(type) : "memory");
	if (failed)
		panic("INVVPID type %lu of VPID %u failed", type, vpid);
}

void invvpid_all(void)
{
	if (HAS(EPT_VPID_CAP, INVVPID) && HAS(EPT_VPID_CAP, INVVPID_ALL))
		invvpid(ALL_CONTEXTS, 0);
}

void invvpid_single(uint16_t vpid)
{
	if (HAS(EPT_VPID_CAP, INVVPID) && HAS(EPT_VPID_CAP, INVVPID_SINGLE))
		invvpid(SINGLE_CONTEXT, vpid);
	else
		invvpid_all();
}

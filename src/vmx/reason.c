/*
 * The texts of instruction errors and exit reasons, from spec/, and of VMX aborts.
 */
#include "vmx/vmcs.h"

const char *vmx_error_text(unsigned number)
{
	static const char *const text[] = {
#define X(number, name, text) [number] = text,
#include "vmx_errors.def"
	};

	return number < ARRAY_SIZE(text) ? text[number] : NULL;
}

const char *vmx_exit_text(unsigned basic_reason)
{
	static const char *const text[] = {
#define X(number, name, title) [number] = title,
#include "vmx_exit_reasons.def"
	};

	return basic_reason < ARRAY_SIZE(text) ? text[basic_reason] : NULL;
}

const char *vmx_abort_text(unsigned indicator)
{
	static const char *const text[] = {
		[VMX_ABORT_SAVE_MSR] = "an MSR of the guest could not be saved",
		[VMX_ABORT_HOST_PDPTE] = "the host's page-directory-pointer-table entries are not valid",
		[VMX_ABORT_CORRUPTED] = "the current VMCS has been corrupted",
		[VMX_ABORT_LOAD_MSR] = "an MSR of the host could not be loaded",
		[VMX_ABORT_MACHINE_CHECK] = "a machine-check event came during the VM exit",
		[VMX_ABORT_ADDRESS_SIZE] =
			"the processor was in IA-32e mode before the VM exit, and is not to be in it after",
	};

	return indicator < ARRAY_SIZE(text) ? text[indicator] : NULL;
}

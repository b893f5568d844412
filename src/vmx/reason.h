/*
 * Why an instruction of VMX failed, a VM exit happened, or VMX was aborted. SDM vol. 3, "VM Instruction Error Numbers",
 * appendix "VMX Basic Exit Reasons", and "VMX Aborts".
 */
#pragma once

#include "base/types.h"

/* What the VM-instruction error field then says. */
enum vmx_error {
	VMX_OK = 0,
#define X(number, name, text) VMX_ERROR_##name = number,
#include "vmx_errors.def"
};

enum vmx_exit {
#define X(number, name, title) VMX_EXIT_##name = number,
#include "vmx_exit_reasons.def"
};

/* A sentence without its period, or NULL when the manual does not use the number. */
const char *vmx_error_text(unsigned number);
/* The basic exit reason's title, or NULL when it is reserved. */
const char *vmx_exit_text(unsigned basic_reason);
/* What a VMX-abort indicator (enum vmx_abort) says, or NULL. */
const char *vmx_abort_text(unsigned indicator);

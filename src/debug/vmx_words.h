/*
 * Exceptions, VM exits and what they record, in words. SDM vol. 3, "Basic VM-Exit Information", "Information for VM
 * Exits Due to Vectored Events".
 */
#pragma once

#include <stdio.h>

#include "vmx/vmx.h"

/* "#PF"; vectors that are no exceptions: "vector 0x30". text has room for `size` bytes, which it is returned in. */
const char *vector_words(unsigned vector, char *text, size_t size);
/* An exception with its error code: "#GP(0x10)", "#UD". */
void exception_words(unsigned vector, bool has_error, uint32_t error, FILE *to);
/* What the bits of a page fault's error code say: "write to a page that is not present, user". */
void page_fault_words(uint32_t error, FILE *to);

/* VM-entry or VM-exit interruption information, or IDT-vectoring information, that is valid: "external interrupt 0x30".
 */
void interruption_words(uint32_t information, uint32_t error, FILE *to);

/* The qualification of an exit: "CR0 = RAX", "out 1 byte to port 0x3f8". False, and nothing: it says nothing. */
bool qualification_words(const struct vmx_exit_record *exit, FILE *to);

/* "RDX" and so on, as exit qualifications and ModRM number them. */
const char *register_words(unsigned number);

/* "VMPTRLD", of an enum ZydisMnemonic_. */
const char *vmx_mnemonic(uint16_t operation, char *text, size_t size);

/* The control that must be offered for a VMCS field to exist, or NULL: every processor with VMX has the field. */
const struct vmx_bit_info *vmx_field_needs(enum vmcs_field field);

/* The name of an MSR without its IA32_, or NULL. */
const char *msr_words(uint32_t index);

/*
 * The manual's numbers, from the tables in spec/: VMCS fields, controls, exit reasons, errors.
 */
#ifndef VMM_VMX_SPEC_H
#define VMM_VMX_SPEC_H

#include "lib/types.h"

/* VMCS_GUEST_RIP and so on: the encodings. */
enum vmcs_field {
#define F(encoding, name, condition, checks) VMCS_##name = encoding,
#include "vmcs_fields.def"
#undef F
#undef NEED
};

enum exit_reason {
#define X(number, name, title) EXIT_##name = number,
#include "vmx_exit_reasons.def"
#undef X
	EXIT_REASONS = 80
};

/* Capability words, in the table's order: WORD_PINBASED_CTLS ... */
enum vmx_word {
#define WORD(word, msr, true_msr, default1) WORD_##word,
#include "vmx_controls.def"
#undef WORD
#undef C
#undef GENERATION
	WORDS
};

/* PINBASED_CTLS_NMI_EXITING ...: the masks, 64-bit constants. */
#define PLAIN 0
enum {
#define C(word, bit, name, since, feature, option, title) SHIFT_##word##_##name = bit,
#include "vmx_controls.def"
#undef C
#undef WORD
#undef GENERATION
};
#undef PLAIN
#define CTL(word, name) BIT(SHIFT_##word##_##name)

const char *exit_reason_title(unsigned reason);	      /* "EPT violation"; "?" for numbers that the table has not */
const char *vmx_error_title(unsigned number);	      /* of the VM-instruction error field */
const char *vmcs_field_name(unsigned encoding);	      /* "GUEST_RIP" */
const char *vmx_control_title(enum vmx_word, unsigned bit); /* NULL: the table has no such bit */

#endif

/*
 * What this machine's VMX can: SDM vol. 3, appendix "VMX Capability Reporting Facility". Read once, by CPU 0; the others must
 * agree.
 */
#ifndef VMM_VMX_CAPS_H
#define VMM_VMX_CAPS_H

#include "vmx/spec.h"

struct vmx_caps {
	/* For the words of controls: bits that must be 1, and bits that may be. Of the TRUE MSRs where there are. For the
	   others: must is 0, may is the MSR. */
	uint64_t must[WORDS], may[WORDS];
	uint32_t revision;
	uint64_t cr0_must, cr0_may, cr4_must, cr4_may; /* fixed bits in VMX operation */
};

extern struct vmx_caps vmx_caps;

static inline bool vmx_may(enum vmx_word word, uint64_t bits) { return (vmx_caps.may[word] & bits) == bits; }
#define HAS(word, name) vmx_may(WORD_##word, CTL(word, name))

/* NULL: VT-x is there and may be used on this CPU. Otherwise the reason why not, a sentence without a full stop. Enables it in
   IA32_FEATURE_CONTROL if that is not locked. */
MUST_CHECK const char *vmx_available(void);
void vmx_caps_read(void);
MUST_CHECK bool vmx_caps_agree(void); /* this CPU has the same */
void vmx_caps_report(void); /* prints every capability MSR in words */

/* Prints the titles of bits, with commas and line breaks. column: what the call before returned, for one list of several
   words; at 0 it begins with the heading. The caller ends the line unless 0 is returned: then there was no title. */
unsigned vmx_print_titles(unsigned column, const char *heading, enum vmx_word word, uint64_t bits);

/* The title of a control that every vCPU of ours requires and this CPU lacks; NULL: it lacks none. vmx/controls.c. */
const char *vmx_lacks(void);

void vmx_on(void);  /* CR0, CR4, VMXON with a region of this CPU's own; panics with the reason if that fails */
void vmx_off(void); /* VMCLEARs nothing: vCPUs have been put away before */

#endif

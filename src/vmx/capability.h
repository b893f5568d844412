/*
 * What a processor offers of VMX: SDM vol. 3, appendix "VMX Capability Reporting Facility". Computed once from the CPU
 * model and the user's wishes; the capability MSRs, the checks of VM entry and the existence of VMCS fields all follow
 * from it.
 */
#pragma once

#include "base/error.h"
#include "cpu/cpuid.h"
#include "vmx/field.h"

/* VMX_PINBASED_CTLS and so on. */
enum vmx_word {
#define WORD(word, msr, true_msr, default1) VMX_##word,
#include "vmx_controls.def"
	VMX_WORD_COUNT
};

/* PINBASED_CTLS_NMI_EXITING and so on: masks. */
enum vmx_bits {
#define C(word, bit, name, since, feature, option, title) word##_##name = BIT(bit),
#include "vmx_controls.def"
};

struct vmx_word_info {
	const char *name;
	uint32_t msr, true_msr; /* true_msr 0: there is none */
	uint32_t default1;	/* bits that MSR reports as fixed to 1 */
	bool plain;		/* one bit of the MSR for each bit of the word */
};
extern const struct vmx_word_info vmx_word_info[VMX_WORD_COUNT];

/* One row for each named bit, in the order of words and bits. */
struct vmx_bit_info {
	enum vmx_word word;
	uint8_t bit;
	const char *option; /* "vmx-ept": its name for -cpu */
	const char *title;  /* the manual's */
};
extern const struct vmx_bit_info vmx_bit_info[];
extern const unsigned vmx_bit_count;

#define VMX_REVISION	0x53565401 /* changes with the layout of a VMCS region */
#define VMX_REGION_SIZE 4096
#define VMX_CR3_TARGETS 4
#define VMX_HLAT_PREFIX_SIZE UINT64_C(1) /* the largest */
#define VMX_MSEG_REVISION UINT64_C(0) /* of the MSEG header */
#define VMX_TIMER_RATE	     2		 /* the VMX-preemption timer counts down when bit 2 of the TSC changes */

struct vmx_capability {
	uint64_t offers[VMX_WORD_COUNT]; /* named bits that may be 1; in the default1 class: that may be 0 */
	uint64_t fields[(VMCS_FIELD_COUNT + 63) / 64];
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint64_t efer_allowed;		     /* bits of IA32_EFER that the model has */
	uint64_t debugctl_allowed;	     /* of IA32_DEBUGCTL */
	uint64_t perf_global_ctrl_allowed;   /* of IA32_PERF_GLOBAL_CTRL */
	unsigned physical_bits, linear_bits; /* of addresses that VM entry checks */
};

/* May this bit of a control be 1? (Of the default1 class: be 0.) vmx_may(caps, PROCBASED_CTLS2, ENABLE_EPT) */
#define vmx_may(caps, word, bit) (((caps)->offers[VMX_##word] & word##_##bit) != 0)

/* What the user asked for by name. Zeros: nothing. */
struct vmx_options {
	uint64_t on[VMX_WORD_COUNT], off[VMX_WORD_COUNT];
};

/*
 * Take the "+vmx-x", "-vmx-x" and "vmx-x=on|off" out of a -cpu argument: the rest, for cpu_model_parse(), goes to rest,
 * which has room for strlen(spec) + 1. False: *error says what is unknown.
 */
MUST_CHECK bool vmx_options_take(const char *spec, struct vmx_options *options, char *rest, struct error *error);

/*
 * options may be NULL. Bits that cannot be without one that is off go too; *warning (else empty) names those among them
 * that the user asked for. Does not look at the model's CPUID.1:ECX.VMX.
 */
void vmx_capability_init(struct vmx_capability *caps, const struct cpu_model *model, const struct vmx_options *options,
			 struct error *warning);

/* Fill caps->fields: the VMCS fields that follow from caps->offers. vmx_capability_init() has done it. */
void vmx_find_fields(struct vmx_capability *caps);

/* Bits of a control that must be 1, and those that may be 1: what VM entry holds the field against. */
uint64_t vmx_allowed0(const struct vmx_capability *caps, enum vmx_word word);
uint64_t vmx_allowed1(const struct vmx_capability *caps, enum vmx_word word);

static inline bool vmx_has_field(const struct vmx_capability *caps, enum vmcs_field field)
{
	return caps->fields[field / 64] >> (field % 64) & 1;
}

#define VMX_FIRST_MSR 0x480
#define VMX_LAST_MSR  0x493

/* IA32_VMX_BASIC to IA32_VMX_EXIT_CTLS2. False: this processor does not have that MSR, RDMSR is #GP(0). */
MUST_CHECK bool vmx_capability_msr(const struct vmx_capability *caps, uint32_t index, uint64_t *value);

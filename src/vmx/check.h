/*
 * May this VMCS be entered? SDM vol. 3, "VM Entries": the checks on controls, host state and guest state, and those on
 * entries of the MSR-load area.
 *
 * Pure functions over a VMCS, the VMX capabilities and what else the processor knows at that moment. VMLAUNCH and
 * VMRESUME want the first broken rule, an explanation and the checker of dumps want all of them; both come from the
 * same run over the same rules. Rules are rows of spec/vmx_checks.def.
 */
#pragma once

#include "vmx/capability.h"
#include "vmx/vmcs.h"

enum vmx_check {
	VMX_CHECK_OK, /* no rule is broken */
#define CHECK(name, id, section, outcome, text) VMX_CHECK_##name,
#include "vmx_checks.def"
#undef CHECK
	VMX_CHECK_COUNT
};

enum vmx_check_section {
#define CHECK_SECTION(name, group, title) VMX_SECTION_##name,
#include "vmx_checks.def"
#undef CHECK_SECTION
	VMX_SECTION_COUNT
};

enum vmx_check_group { VMX_GROUP_CONTROL, VMX_GROUP_HOST, VMX_GROUP_GUEST, VMX_GROUP_MSR };

struct vmx_check_section_info {
	enum vmx_check_group group;
	const char *title; /* of the section of the SDM, vol. 3 */
};
extern const struct vmx_check_section_info vmx_check_section_info[VMX_SECTION_COUNT];

/* A broken rule's consequence: VMfailValid(error) if error is not 0, else a VM-entry failure with this exit reason and
 * qualification. */
struct vmx_check_info {
	const char *id;
	enum vmx_check_section section;
	uint8_t error;
	uint8_t exit_reason;
	uint8_t qualification; /* of a broken MSR_LOAD rule: the caller's, the number of the entry from 1 */
	const char *text;      /* what must hold */
};
extern const struct vmx_check_info vmx_check_info[VMX_CHECK_COUNT]; /* [VMX_CHECK_OK] is empty */

/* What a processor knows at VM entry and a dump does not. */
struct vmx_check_cpu {
	bool lma;	     /* IA32_EFER.LMA now */
	bool smm;	     /* in SMM, so that the entry may return from it */
	pa_t current, vmxon; /* current-VMCS and VMXON pointers */
	const struct vmcs
		*executive; /* in SMM: the VMCS at the executive-VMCS pointer, or NULL if that cannot be one */
	bool executive_launched;
	bool pdptes_unchanged; /* PAE paging with this CR3 is in use already, so that PDPTEs are not read from memory */
	/* Read physical memory, without side effects. False: no memory there, which reads as all ones. */
	bool (*read)(void *ctx, pa_t at, void *to, unsigned bytes);
	void *ctx;
};

struct vmx_check_input {
	const struct vmcs *vmcs;
	const uint64_t *present; /* bit n: the dump shows field n (enum vmcs_field); NULL: every field is known */
	const struct vmx_capability *caps; /* NULL: not known */
	const struct vmx_check_cpu *cpu;   /* NULL: not known */
};

#define VMX_CHECK_WORDS ((VMX_CHECK_COUNT + 63) / 64)
#define VMX_FIELD_WORDS ((VMCS_FIELD_COUNT + 63) / 64)

/* What is known of the rules after a run. Bit n of a set is rule n. */
struct vmx_check_result {
	enum vmx_check first; /* the first that is broken, or VMX_CHECK_OK */
	uint64_t broken[VMX_CHECK_WORDS];
	uint64_t unjudged[VMX_CHECK_WORDS]; /* a field or other fact that decides is not known */
};

static inline bool vmx_check_in(const uint64_t *set, unsigned n)
{
	return set[n / 64] >> (n % 64) & 1;
}

/*
 * Run the rules of one section, or of the sections of one group in the manual's order, and add to *result what they
 * say. The processor runs CONTROL and HOST before it acts, and GUEST if they hold. *result is zeroed by the caller.
 *
 * A section that held holds until a field it reads is written (enum vmcs_checks), but for ADDRESS_SPACE, which asks for
 * the mode, EXECUTION with a TPR threshold, GUEST_NONREGISTER with a link pointer, and GUEST_PDPTES, which read memory,
 * and all of them in SMM. In an entry that returns from SMM the rules of EXECUTION are asked of the executive VMCS, and
 * a broken one is VMfailValid(25). The rules of MSR_LOAD are not of a VMCS: see vmx_check_msr_load().
 */
void vmx_check_section(const struct vmx_check_input *input, enum vmx_check_section section,
		       struct vmx_check_result *result);
void vmx_check_group(const struct vmx_check_input *input, enum vmx_check_group group, struct vmx_check_result *result);

/* The fields that a rule read to come to its verdict, in this VMCS; a set of enum vmcs_field. */
void vmx_check_fields(const struct vmx_check_input *input, enum vmx_check rule, uint64_t fields[VMX_FIELD_WORDS]);

/* One entry of a VM-entry MSR-load area: bits 63:0 (index and reserved bits) as in memory. smm: the entry is made in
 * SMM. */
enum vmx_check vmx_check_msr_load(uint64_t entry, bool smm);

/*
 * How a rule is written: rule(c, NAME, what must hold), where everything is read through c, so that what a verdict
 * rests on is known. For check_*.c only.
 */
#pragma once

#include "base/bits.h"
#include "cpu/regs.h"
#include "vmx/check.h"
#include "vmx/interruption.h"

struct check {
	const struct vmx_check_input *input;
	struct vmx_check_result *result;
	bool tracks;			/* somebody asks which fields a verdict rests on */
	uint64_t read[VMX_FIELD_WORDS]; /* ... those read since the last verdict */
	bool unknown;			/* ... and whether anything else is missing */
	enum vmx_check wanted;		/* of vmx_check_fields() */
	uint64_t *fields;
};

/* A verdict, made of what was read since the one before. On the processor nearly every rule holds, and nobody asks why.
 */
COLD void check_verdict(struct check *c, enum vmx_check rule, bool holds);

static inline void check_rule(struct check *c, enum vmx_check rule, bool holds)
{
	if (unlikely(!holds || c->tracks || c->unknown))
		check_verdict(c, rule, holds);
}
#define rule(c, NAME, holds) check_rule(c, VMX_CHECK_##NAME, holds)

static inline void note(struct check *c, enum vmcs_field field)
{
	if (unlikely(c->tracks))
		c->read[field / 64] |= BIT(field % 64);
}

static inline uint64_t check_get(struct check *c, enum vmcs_field field)
{
	note(c, field);
	return c->input->vmcs->field[field];
}
#define get(c, NAME) check_get(c, VMCS_##NAME)

/*
 * The entry is one that returns from SMM: the VM-execution controls are then those of the executive VMCS, and all 0 if
 * it returns to VMX root operation. SDM vol. 3, "VM Entries That Return from SMM".
 */
bool check_returns_from_smm(struct check *c);
bool check_returns_to_root(struct check *c);
uint64_t check_get_execution(struct check *c, enum vmcs_field field);
#define get_execution(c, NAME) check_get_execution(c, VMCS_##NAME)

/* Is a control 1? Controls of a word that is not activated are 0. */
#define PIN(c, NAME)  (!!(get_execution(c, VM_PINBASED_CTLS) & PINBASED_CTLS_##NAME))
#define PROC(c, NAME) (!!(get_execution(c, VM_PROCBASED_CTLS) & PROCBASED_CTLS_##NAME))
#define PROC2(c, NAME) \
	(PROC(c, ACTIVATE_SECONDARY_CONTROLS) && (get_execution(c, VM_PROCBASED_CTLS2) & PROCBASED_CTLS2_##NAME))
#define PROC3(c, NAME) \
	(PROC(c, ACTIVATE_TERTIARY_CONTROLS) && (get_execution(c, VM_PROCBASED_CTLS3) & PROCBASED_CTLS3_##NAME))
#define ON_EXIT(c, NAME)  (!!(get(c, VM_EXIT_CTLS) & EXIT_CTLS_##NAME))
#define ON_ENTRY(c, NAME) (!!(get(c, VM_ENTRY_CTLS) & ENTRY_CTLS_##NAME))

/* A capability; where none are known, the rule cannot be judged. */
bool check_caps_known(struct check *c);
#define CAPABLE(c, WORD, NAME) (check_caps_known(c) && vmx_may((c)->input->caps, WORD, NAME))

/* Without capabilities these say what is so on every processor, and do not judge the rest. */
bool check_canonical(struct check *c, uint64_t address);
bool check_same_beyond_linear_width(struct check *c,
				    uint64_t address); /* bits 63:N are equal, N the linear-address width */
bool check_in_width(
	struct check *c,
	uint64_t address); /* no bit beyond the physical-address width, or beyond 32 if VMX is limited to that */

/* CR0 and CR4 against IA32_VMX_CR0_FIXED0/1 and CR4_FIXED0/1; bits in `free` are not looked at. */
bool check_cr0_fixed(struct check *c, uint64_t cr0, uint64_t free);
bool check_cr4_fixed(struct check *c, uint64_t cr4);

/* MSR values as WRMSR would take them. */
bool check_pat(uint64_t value);
bool check_efer(struct check *c, uint64_t value);
bool check_perf_global_ctrl(struct check *c, uint64_t value);
bool check_debugctl(struct check *c, uint64_t value);

#define S_CET_RESERVED BITS(9, 6)
#define S_CET_SUPPRESS BIT(10)
#define S_CET_TRACKER  BIT(11)

void check_execution(struct check *c);
void check_exit_controls(struct check *c);
void check_entry_controls(struct check *c);
void check_executive(struct check *c);
void check_host_registers(struct check *c);
void check_host_segments(struct check *c);
void check_address_space(struct check *c);
void check_guest_registers(struct check *c);
void check_guest_segments(struct check *c);
void check_guest_tables(struct check *c);
void check_guest_rip(struct check *c);
void check_guest_nonregister(struct check *c);
void check_guest_pdptes(struct check *c);

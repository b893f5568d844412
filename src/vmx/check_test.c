/*
 * VM entry's checks: every row of spec/vmx_checks.def holds in valid states and is broken by one that breaks nothing
 * else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/regs.h"
#include "vmx/check_test.h"

static struct vmx_check_input input_of(const struct scene *s)
{
	return (struct vmx_check_input){.vmcs = &s->vmcs, .caps = &s->caps, .cpu = &s->cpu};
}

static struct vmx_check_result run(const struct vmx_check_input *input)
{
	struct vmx_check_result result = {0};

	vmx_check_group(input, VMX_GROUP_CONTROL, &result);
	vmx_check_group(input, VMX_GROUP_HOST, &result);
	vmx_check_group(input, VMX_GROUP_GUEST, &result);
	return result;
}

static bool of_msr_list(unsigned rule)
{
	return vmx_check_info[rule].section == VMX_SECTION_MSR_LOAD;
}

/* Fails with the ids when a set is not what it should be. */
static void expect_set(const char *what, const uint64_t *set, const uint64_t *expected)
{
	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++)
		if (vmx_check_in(set, rule) != vmx_check_in(expected, rule))
			fail_msg("%s: %s is %s", what, vmx_check_info[rule].id,
				 vmx_check_in(set, rule) ? "in the set" : "missing");
}

static void valid_states_break_nothing(void **state)
{
	static const uint64_t none[VMX_CHECK_WORDS];
	static struct scene s;

	for (unsigned guest = 0; guest < GUEST_COUNT; guest++) {
		struct vmx_check_input input = input_of(&s);
		struct vmx_check_result result;

		scene_start(&s, (enum guest)guest);
		result = run(&input);
		expect_set("valid state", result.broken, none);
		expect_set("valid state, unjudged", result.unjudged, none);
		assert_int_equal(result.first, VMX_CHECK_OK);
	}
	for (unsigned index = 0; index < 4; index++)
		assert_int_equal(vmx_check_msr_load(0x174 + index, false), VMX_CHECK_OK);
	assert_int_equal(vmx_check_msr_load(0x9b, true), VMX_CHECK_OK);
}

/* A row without a case in break_rule() changes nothing and so fails here. */
static void each_rule_is_broken_alone(void **state)
{
	static struct scene s;

	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
		struct vmx_check_input input = input_of(&s);
		struct vmx_check_result result;
		uint64_t expected[VMX_CHECK_WORDS] = {0};

		break_rule(&s, (enum vmx_check)rule);
		if (of_msr_list(rule)) {
			assert_int_equal(vmx_check_msr_load(s.msr, s.cpu.smm), rule);
			continue;
		}
		result = run(&input);
		expected[rule / 64] |= BIT(rule % 64);
		if (s.unavoidable)
			expected[s.unavoidable / 64] |= BIT(s.unavoidable % 64);
		expect_set(vmx_check_info[rule].id, result.broken, expected);
		if (!s.unavoidable)
			assert_int_equal(result.first, rule);
	}
}

/* What the architecture makes of a broken rule, by group, and that ids are unique. */
static void rows_agree_with_their_group(void **state)
{
	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
		const struct vmx_check_info *info = &vmx_check_info[rule];

		switch (vmx_check_section_info[info->section].group) {
		case VMX_GROUP_CONTROL:
			assert_true(info->error == 7 || (info->error >= 16 && info->error <= 18));
			break;
		case VMX_GROUP_HOST: assert_int_equal(info->error, 8); break;
		case VMX_GROUP_GUEST: assert_int_equal(info->exit_reason, 33); break;
		default: assert_int_equal(info->exit_reason, 34); break;
		}
		assert_true((info->error != 0) != (info->exit_reason != 0));
		for (unsigned other = 1; other < rule; other++)
			assert_string_not_equal(info->id, vmx_check_info[other].id);
	}
	assert_int_equal(vmx_check_info[VMX_CHECK_GUEST_INTR_NMI_STI].qualification, 3);
	assert_int_equal(vmx_check_info[VMX_CHECK_GUEST_LINK_ALIGN].qualification, 4);
	assert_int_equal(vmx_check_info[VMX_CHECK_GUEST_PDPTE_MEMORY].qualification, 2);
}

/* What exits of the guest need is asked of the executive VMCS, and the SMM-transfer VMCS may save any timer. */
static void returns_from_smm_read_two_vmcss(void **state)
{
	static struct scene s;
	struct vmx_check_input input = input_of(&s);
	const uint64_t timer = EXIT_CTLS_SAVE_PREEMPTION_TIMER, acknowledge = EXIT_CTLS_ACKNOWLEDGE_INTERRUPT;

	break_rule(&s, VMX_CHECK_CTL_POSTED_ACK);
	assert_int_equal(run(&input).first, VMX_CHECK_CTL_POSTED_ACK);
	break_rule(&s, VMX_CHECK_SMM_EXEC_PTR_LAUNCHED);
	s.cpu.executive_launched = true;
	vmcs_set(&s.vmcs, VM_EXIT_CTLS, (vmcs_get(&s.vmcs, VM_EXIT_CTLS) | timer) & ~acknowledge);
	assert_int_equal(run(&input).first, VMX_CHECK_OK);
	vmcs_clear_bit(&s.executive, VM, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT);
	vmcs_set_bit(&s.executive, VM, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS);
	vmcs_set_bit(&s.executive, VM, PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS);
	assert_true(vmx_check_in(run(&input).broken, VMX_CHECK_CTL_POSTED_ACK));
	vmcs_set_bit(&s.executive, VM, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT);
	assert_false(vmx_check_in(run(&input).broken, VMX_CHECK_CTL_POSTED_ACK));
}

static void five_broken_rules_are_five_ids(void **state)
{
	static const enum vmx_check rules[] = {VMX_CHECK_CTL_VPID_NONZERO, VMX_CHECK_HOST_TR_BASE,
					       VMX_CHECK_ADDR_HOST64_PAE, VMX_CHECK_GUEST_DS_AR_P,
					       VMX_CHECK_GUEST_RFLAGS_BIT1};
	static struct scene s;
	struct vmx_check_input input = input_of(&s);
	uint64_t expected[VMX_CHECK_WORDS] = {0};
	struct vmx_check_result result;

	scene_start(&s, GUEST_64);
	vmcs_set(&s.vmcs, VPID, 0);
	vmcs_set(&s.vmcs, HOST_TR_BASE, BIT(62));
	vmcs_clear_bit(&s.vmcs, HOST, CR4, PAE);
	vmcs_clear_bit(&s.vmcs, GUEST_DS, AR, P);
	vmcs_set(&s.vmcs, GUEST_RFLAGS, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		expected[rules[i] / 64] |= BIT(rules[i] % 64);
	result = run(&input);
	expect_set("five", result.broken, expected);
	assert_int_equal(result.first, VMX_CHECK_CTL_VPID_NONZERO);
}

static unsigned group_of(enum vmx_check_section section)
{
	switch (section) {
	case VMX_SECTION_EXECUTION: return IN_EXECUTION;
	case VMX_SECTION_EXIT_CONTROLS: return IN_EXIT;
	case VMX_SECTION_ENTRY_CONTROLS: return IN_ENTRY;
	case VMX_SECTION_HOST_REGISTERS:
	case VMX_SECTION_HOST_SEGMENTS:
	case VMX_SECTION_ADDRESS_SPACE: return IN_HOST;
	case VMX_SECTION_GUEST_REGISTERS: return IN_REGISTERS;
	case VMX_SECTION_GUEST_SEGMENTS: return IN_SEGMENTS;
	case VMX_SECTION_GUEST_TABLES: return IN_TABLES;
	case VMX_SECTION_GUEST_RIP: return IN_RIP;
	case VMX_SECTION_GUEST_NONREGISTER: return IN_NONREGISTER;
	default: return IN_PDPTE;
	}
}

/* The rows of spec/vmcs_fields.def say which groups read a field: what a check reads must be among them, or a VMWRITE
 * would not run it again. */
static void fields_name_the_groups_that_read_them(void **state)
{
	static struct scene s;

	for (unsigned broken = 1; broken < VMX_CHECK_COUNT; broken++) {
		struct vmx_check_input input = input_of(&s);

		break_rule(&s, (enum vmx_check)broken);
		/* Returns from SMM are rare, and run all checks. */
		if (s.cpu.smm)
			continue;
		for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
			enum vmx_check_section section = vmx_check_info[rule].section;
			uint64_t fields[VMX_FIELD_WORDS];

			if (section == VMX_SECTION_EXECUTIVE || section == VMX_SECTION_MSR_LOAD)
				continue;
			if (section != vmx_check_info[broken].section && broken > 1)
				continue;
			vmx_check_fields(&input, (enum vmx_check)rule, fields);
			for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++)
				if (vmx_check_in(fields, field) && !(vmcs_field_info[field].checks & group_of(section)))
					fail_msg("%s reads %s", vmx_check_info[rule].id, vmcs_field_info[field].name);
		}
	}
}

/* Without capabilities and processor nothing that holds or not by them is judged, and nothing is judged otherwise than
 * with them. */
static void what_is_unknown_is_not_judged(void **state)
{
	static struct scene s;

	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
		struct vmx_check_input known = input_of(&s), unknown = {.vmcs = &s.vmcs};
		struct vmx_check_result with, without;

		break_rule(&s, (enum vmx_check)rule);
		/* Which checks an entry from SMM makes is not known of a dump either: it is taken for one outside SMM.
		 */
		if (of_msr_list(rule) || s.cpu.smm)
			continue;
		with = run(&known);
		without = run(&unknown);
		for (unsigned i = 0; i < VMX_CHECK_WORDS; i++)
			assert_int_equal(without.broken[i], with.broken[i] & ~without.unjudged[i]);
	}
	scene_start(&s, GUEST_64);
	{
		struct vmx_check_input unknown = {.vmcs = &s.vmcs};
		struct vmx_check_result result = run(&unknown);

		assert_true(vmx_check_in(result.unjudged, VMX_CHECK_CTL_PIN_RESERVED));
		assert_true(vmx_check_in(result.unjudged, VMX_CHECK_ADDR_LMA0_GUEST));
		assert_false(vmx_check_in(result.unjudged, VMX_CHECK_HOST_CR0_FIXED));
		assert_false(vmx_check_in(result.unjudged, VMX_CHECK_GUEST_FS_BASE_CANONICAL));
	}
}

static void missing_fields_are_not_judged(void **state)
{
	static struct scene s;
	uint64_t present[VMX_FIELD_WORDS];
	struct vmx_check_input input = input_of(&s);
	struct vmx_check_result result;

	scene_start(&s, GUEST_64);
	vmcs_set(&s.vmcs, GUEST_RFLAGS, 0);
	memset(present, 0xff, sizeof(present));
	present[VMCS_GUEST_RFLAGS / 64] &= ~BIT(VMCS_GUEST_RFLAGS % 64);
	input.present = present;
	result = run(&input);
	assert_true(vmx_check_in(result.unjudged, VMX_CHECK_GUEST_RFLAGS_BIT1));
	assert_false(vmx_check_in(result.broken, VMX_CHECK_GUEST_RFLAGS_BIT1));
	assert_int_equal(result.first, VMX_CHECK_OK);
	/* A tertiary control is not looked at if they are not activated. */
	memset(present, 0xff, sizeof(present));
	present[VMCS_VM_PROCBASED_CTLS3 / 64] &= ~BIT(VMCS_VM_PROCBASED_CTLS3 % 64);
	result = run(&input);
	for (unsigned i = 0; i < VMX_CHECK_WORDS; i++)
		assert_int_equal(result.unjudged[i], 0);
}

static void reading_physical_memory(void **state)
{
	static struct scene s;
	struct vmx_check_input input = input_of(&s);

	/* PAE paging is in use with the same CR3: PDPTEs stay as they are. */
	break_rule(&s, VMX_CHECK_GUEST_PDPTE_MEMORY);
	s.cpu.pdptes_unchanged = true;
	assert_int_equal(run(&input).first, VMX_CHECK_OK);
	/* Where no memory is, reads are all ones. */
	break_rule(&s, VMX_CHECK_GUEST_PDPTE_MEMORY);
	vmcs_set(&s.vmcs, GUEST_CR3, 0x100000);
	assert_int_equal(run(&input).first, VMX_CHECK_GUEST_PDPTE_MEMORY);
	scene_start(&s, GUEST_64);
	vmcs_set(&s.vmcs, VMCS_LINK_POINTER, 0x100000);
	assert_int_equal(run(&input).first, VMX_CHECK_GUEST_LINK_REVISION);
}

static void entries_that_return_from_smm(void **state)
{
	static struct scene s;
	struct vmx_check_input input = input_of(&s);

	/* The executive VMCS has the VM-execution controls, and the current one's do not count. */
	break_rule(&s, VMX_CHECK_SMM_EXEC_PTR_LAUNCHED);
	s.cpu.executive_launched = true;
	vmcs_set(&s.vmcs, VM_PINBASED_CTLS, 0);
	assert_int_equal(run(&input).first, VMX_CHECK_OK);
	vmcs_set(&s.executive, VM_PINBASED_CTLS, 0);
	assert_int_equal(run(&input).first, VMX_CHECK_CTL_PIN_RESERVED);
	/* To root operation: no guest is unrestricted, whatever the controls say. */
	break_rule(&s, VMX_CHECK_SMM_ACTIVITY_ROOT);
	vmcs_set(&s.vmcs, GUEST_ACTIVITY_STATE, 0);
	assert_int_equal(run(&input).first, VMX_CHECK_OK);
	vmcs_set_bit(&s.vmcs, VM, PROCBASED_CTLS2, UNRESTRICTED_GUEST);
	vmcs_clear_bit(&s.vmcs, GUEST, CR0, PE);
	assert_int_equal(run(&input).first, VMX_CHECK_GUEST_CR0_FIXED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_states_break_nothing),
		cmocka_unit_test(each_rule_is_broken_alone),
		cmocka_unit_test(rows_agree_with_their_group),
		cmocka_unit_test(returns_from_smm_read_two_vmcss),
		cmocka_unit_test(five_broken_rules_are_five_ids),
		cmocka_unit_test(fields_name_the_groups_that_read_them),
		cmocka_unit_test(what_is_unknown_is_not_judged),
		cmocka_unit_test(missing_fields_are_not_judged),
		cmocka_unit_test(reading_physical_memory),
		cmocka_unit_test(entries_that_return_from_smm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

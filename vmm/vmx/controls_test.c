/* Which controls a vCPU gets, from what the CPU allows. SDM vol. 3, "Algorithms for Determining VMX Capabilities". */
#include "vmx/fake_vmcs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmx/controls.c"
#include "vmx/spec.c"

struct vmx_caps vmx_caps;

void print(const char *format, ...) {}
unsigned vmx_print_titles(unsigned column, const char *heading, enum vmx_word word, uint64_t bits) { return 0; }
void panic(const char *format, ...) { abort(); }

static struct vm_config config;
static struct vm vm = {.config = &config};
static struct vcpu vcpu = {.vm = &vm};

/* A CPU that allows everything and fixes nothing. */
static int setup(void **state)
{
	memset(&vmx_caps, 0, sizeof(vmx_caps));
	for (enum vmx_word word = 0; word < WORDS; word++)
		vmx_caps.may[word] = ~UINT64_C(0);
	config.cpus = 2;
	return 0;
}

#define WITHOUT(word, name) (vmx_caps.may[WORD_##word] &= ~CTL(word, name))
#define GETS(word, name) VCPU_HAS(&vcpu, word, name)

static void all_that_is_wanted_is_taken(void **state)
{
	assert_null(controls_choose(&vcpu));
	for (enum vmx_word word = 0; word < WORDS; word++)
		assert_int_equal(vcpu.controls[word] & (required[word] | wanted[word]), required[word] | wanted[word]);
}

static void what_must_be_1_is_1(void **state)
{
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++)
		vmx_caps.must[word] = BIT(1) | BIT(8);
	assert_null(controls_choose(&vcpu));
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++)
		assert_int_equal(vcpu.controls[word] & (BIT(1) | BIT(8)), BIT(1) | BIT(8));
}

/* Each required control by its title, and nothing else is chosen than what is allowed, whichever wanted control is missing. */
static void every_required_control_is_named_when_it_is_missing(void **state)
{
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			const char *missing;

			setup(NULL);
			vmx_caps.may[word] &= ~BIT(bit);
			missing = controls_choose(&vcpu);
			if (required[word] & BIT(bit))
				assert_string_equal(missing, vmx_control_title(word, bit));
			else
				assert_null(missing);
			if (!missing)
				assert_int_equal(vcpu.controls[word] & ~vmx_caps.may[word], 0);
		}
	}
}

static void ept_needs_four_levels(void **state)
{
	WITHOUT(EPT_VPID_CAP, PAGE_WALK_4);
	assert_string_equal(controls_choose(&vcpu), "EPT page-walk length 4");
}

/* SDM vol. 3, "VM-Execution Control Fields" (checks): a control is 0 where one that it needs is. */
static void prerequisites_are_kept_for_every_missing_control(void **state)
{
	for (enum vmx_word word = WORD_PINBASED_CTLS; word <= WORD_ENTRY_CTLS; word++) {
		for (unsigned bit = 0; bit < 64; bit++) {
			setup(NULL);
			vmx_caps.may[word] &= ~BIT(bit);
			if (controls_choose(&vcpu))
				continue;
			for (unsigned i = 0; i < ARRAY_SIZE(prerequisites); i++)
				if (vcpu_has(&vcpu, prerequisites[i].word, prerequisites[i].bits))
					assert_true(vcpu_has(&vcpu, prerequisites[i].needs, prerequisites[i].needed));
		}
	}
}

static void without_a_tpr_shadow_cr8_exits_and_apic_virtualization_is_off(void **state)
{
	WITHOUT(PROCBASED_CTLS, USE_TPR_SHADOW);
	assert_null(controls_choose(&vcpu));
	assert_true(GETS(PROCBASED_CTLS, CR8_LOAD_EXITING) && GETS(PROCBASED_CTLS, CR8_STORE_EXITING));
	assert_false(GETS(PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES) || GETS(PROCBASED_CTLS2, APIC_REGISTER_VIRTUALIZATION));
	assert_false(GETS(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY) || GETS(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS));
}

static void efer_and_pat_are_switched_both_ways_or_not_at_all(void **state)
{
	WITHOUT(EXIT_CTLS, SAVE_EFER);
	WITHOUT(ENTRY_CTLS, LOAD_PAT);
	assert_null(controls_choose(&vcpu));
	assert_false(GETS(ENTRY_CTLS, LOAD_EFER) || GETS(EXIT_CTLS, LOAD_EFER) || GETS(EXIT_CTLS, LOAD_PAT));
}

static void a_vpid_must_be_invalidable(void **state)
{
	WITHOUT(EPT_VPID_CAP, INVVPID_SINGLE);
	assert_null(controls_choose(&vcpu));
	assert_true(GETS(PROCBASED_CTLS2, ENABLE_VPID));
	WITHOUT(EPT_VPID_CAP, INVVPID_ALL);
	assert_null(controls_choose(&vcpu));
	assert_false(GETS(PROCBASED_CTLS2, ENABLE_VPID));
}

static void a_vcpu_without_others_may_spin(void **state)
{
	config.cpus = 1;
	assert_null(controls_choose(&vcpu));
	assert_false(GETS(PROCBASED_CTLS2, PAUSE_LOOP_EXITING));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_that_is_wanted_is_taken),
		TEST(what_must_be_1_is_1),
		TEST(every_required_control_is_named_when_it_is_missing),
		TEST(ept_needs_four_levels),
		TEST(prerequisites_are_kept_for_every_missing_control),
		TEST(without_a_tpr_shadow_cr8_exits_and_apic_virtualization_is_off),
		TEST(efer_and_pat_are_switched_both_ways_or_not_at_all),
		TEST(a_vpid_must_be_invalidable),
		TEST(a_vcpu_without_others_may_spin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

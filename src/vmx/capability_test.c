/*
 * VMX capabilities: each model against the manual's rules and against what real processors say, and every bit by its
 * name.
 */
#include "vmx/capability.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/regs.h"

static struct error warning, error;

static bool has_all(enum feature feature)
{
	return true;
}

static struct vmx_capability capabilities(const char *spec)
{
	struct vmx_capability caps;
	struct vmx_options options;
	struct cpu_model model;
	char *rest = xstrdup(spec);

	if (!vmx_options_take(spec, &options, rest, &error) ||
	    !cpu_model_parse(rest, has_all, &model, &warning, &error))
		fail_msg("%s: %s", spec, error.text);
	free(rest);
	vmx_capability_init(&caps, &model, &options, &warning);
	return caps;
}

static uint64_t msr(const struct vmx_capability *caps, uint32_t index)
{
	uint64_t value;

	if (!vmx_capability_msr(caps, index, &value))
		fail_msg("there is no MSR %x", index);
	return value;
}

static bool has_msr(const struct vmx_capability *caps, uint32_t index)
{
	uint64_t value;

	return vmx_capability_msr(caps, index, &value);
}

static const char *const models[] = {
#define MODEL(name, parent, family, model, stepping, max_leaf, physical_bits, features) name,
#include "cpu_models.def"
#undef MODEL
	"host",
	"Skylake-Server-v4",
	"Haswell-noTSX",
};

/* a implies b: without b, no VM entry could use a. */
#define IMPLIES(a, b) assert_true(!(a) || (b))

static void check_needs(const struct vmx_capability *c, uint64_t basic, uint64_t misc, uint64_t proc, uint64_t proc2,
			uint64_t ept)
{
	uint64_t pin = msr(c, 0x481) >> 32, leave = msr(c, 0x483) >> 32, entry = msr(c, 0x484) >> 32;
	uint64_t proc3 = has_msr(c, 0x492) ? msr(c, 0x492) : 0, function = has_msr(c, 0x491) ? msr(c, 0x491) : 0;

	IMPLIES(pin & BIT(5), pin & BIT(3));
	IMPLIES(proc & BIT(22), pin & BIT(5));
	IMPLIES(leave & BIT(22), pin & BIT(6));
	IMPLIES(proc2 & BIT(17), ept & BIT(21));
	IMPLIES(proc2 & BIT(25), proc & BIT(3));
	IMPLIES(proc3 & BITS(3, 1), proc2 & BIT(1));
	IMPLIES(proc3 & BIT(4), proc & BIT(21));
	IMPLIES(entry & BIT(9), leave & BIT(9));
	IMPLIES(entry & BITS(11, 10), basic & BIT(49));
	IMPLIES(misc & (BIT(15) | BIT(28)), basic & BIT(49));
	IMPLIES(function & BIT(0), (proc2 & BIT(13)) && (proc2 & BIT(1)));
	IMPLIES(vmx_has_field(c, VMCS_EPTP_LIST),
		vmx_has_field(c, VMCS_VM_FUNCTION_CTLS) && vmx_has_field(c, VMCS_EPTP));
	IMPLIES(proc2 & BIT(1), ept & BIT(14));
	IMPLIES(ept & BIT(17), ept & BIT(16));
	IMPLIES(ept & BITS(26, 25), ept & BIT(20));
	IMPLIES(ept & BITS(43, 40), ept & BIT(32));
	if (basic & BIT(55))
		return;
	for (unsigned word = 0; word < VMX_WORD_COUNT; word++)
		assert_int_equal(vmx_allowed0(c, (enum vmx_word)word), vmx_word_info[word].default1);
}

/* What the manual says of any processor, without our tables. */
static void check_rules(const struct vmx_capability *c)
{
	uint64_t basic = msr(c, 0x480), misc = msr(c, 0x485),
		 pair[4][2] = {{0x481, 0x48d}, {0x482, 0x48e}, {0x483, 0x48f}, {0x484, 0x490}};
	static const uint32_t default1[] = {0x16, 0x0401e172, 0x36dff, 0x11ff};
	uint64_t proc = msr(c, 0x482) >> 32, proc2 = 0, ept = 0;

	assert_int_equal(basic >> 31 & 1, 0);
	assert_true(bits_get(basic, 44, 32) > 0 && bits_get(basic, 44, 32) <= 4096);
	assert_int_equal(bits_get(basic, 53, 50), 6);
	assert_int_equal(basic & (BITS(47, 45) | BIT(48) | BIT(57) | BITS(63, 59)), 0);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t value = msr(c, (uint32_t)pair[i][0]);

		assert_int_equal((uint32_t)value, default1[i]);
		assert_int_equal(value & ~(value >> 32) & BITS(31, 0), 0); /* what must be 1 may be 1 */
		assert_int_equal(has_msr(c, (uint32_t)pair[i][1]), basic >> 55 & 1);
		if (basic & BIT(55)) {
			uint64_t fine = msr(c, (uint32_t)pair[i][1]);

			assert_int_equal(fine >> 32, value >> 32);
			assert_int_equal(fine & ~value, 0);
			assert_true((value & ~fine & BITS(31, 0) & ~(uint64_t)(BITS(16, 15) | BIT(2))) == 0);
		}
	}
	assert_int_equal(has_msr(c, 0x48b), proc >> 31 & 1);
	assert_int_equal(has_msr(c, 0x492), proc >> 17 & 1);
	assert_int_equal(has_msr(c, 0x493), msr(c, 0x483) >> 63);
	if (proc >> 31 & 1) {
		assert_int_equal((uint32_t)msr(c, 0x48b), 0);
		proc2 = msr(c, 0x48b) >> 32;
	}
	assert_int_equal(has_msr(c, 0x48c), (proc2 & (BIT(1) | BIT(5))) != 0);
	assert_int_equal(has_msr(c, 0x491), proc2 >> 13 & 1);
	if (has_msr(c, 0x48c))
		ept = msr(c, 0x48c);
	assert_int_equal(ept & (BITS(5, 1) | BITS(13, 9) | BIT(15) | BITS(19, 18) | BIT(24) | BITS(31, 27) |
				BITS(39, 33) | BITS(47, 44) | BITS(63, 54)),
			 0);
	if (proc2 & BIT(1)) {
		assert_true(ept & BIT(6));
		assert_true(ept & (BIT(8) | BIT(14)));
	} else {
		assert_int_equal(ept & BITS(26, 0), 0);
		assert_int_equal(proc2 & (BIT(7) | BIT(17) | BIT(18) | BIT(22) | BIT(23)), 0);
	}
	if (!(proc2 & BIT(5)))
		assert_int_equal(ept & BITS(43, 32), 0);
	if (proc2 & BIT(7))
		assert_true(misc & BIT(5));
	if (!(proc & BIT(21)))
		assert_int_equal(proc2 & (BIT(4) | BIT(8) | BIT(9)), 0);
	if (proc2 & BIT(9))
		assert_true(msr(c, 0x481) >> 32 & BIT(0));
	if (msr(c, 0x481) >> 32 & BIT(7))
		assert_true((proc2 & BIT(9)) && (msr(c, 0x483) >> 32 & BIT(15)));
	check_needs(c, basic, misc, proc, proc2, ept);
	assert_int_equal(misc & (BITS(13, 9) | BIT(31)), 0);
	assert_int_equal(bits_get(misc, 24, 16), 4);
	assert_int_equal(msr(c, 0x486) & ~msr(c, 0x487), 0);
	assert_int_equal(msr(c, 0x488) & ~msr(c, 0x489), 0);
	assert_int_equal(msr(c, 0x48a) & (BIT(0) | BITS(63, 10)), 0);
	for (unsigned f = 0; f < VMCS_FIELD_COUNT; f++)
		if (vmx_has_field(c, (enum vmcs_field)f))
			assert_true((vmcs_field_info[f].encoding & BITS(9, 1)) <= msr(c, 0x48a));
	for (unsigned word = 0; word < VMX_WORD_COUNT; word++)
		assert_int_equal(vmx_allowed0(c, (enum vmx_word)word) & ~vmx_allowed1(c, (enum vmx_word)word), 0);
	assert_false(has_msr(c, 0x47f));
	assert_false(has_msr(c, 0x494));
}

static void every_model_obeys_the_manual(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		struct vmx_capability caps = capabilities(models[i]);

		check_rules(&caps);
		assert_string_equal(warning.text, "");
	}
}

/* Without one bit the rest still obeys the manual; with it, it is back. */
static void every_bit_can_be_switched_off_by_name(void **state)
{
	struct vmx_capability max = capabilities("max");

	for (unsigned i = 0; i < vmx_bit_count; i++) {
		const struct vmx_bit_info *info = &vmx_bit_info[i];
		struct vmx_capability caps;
		char spec[100];

		snprintf(spec, sizeof(spec), "max,-%s", info->option);
		caps = capabilities(spec);
		assert_false(caps.offers[info->word] & BIT(info->bit));
		assert_string_equal(warning.text, "");
		check_rules(&caps);
		for (unsigned word = 0; word < VMX_WORD_COUNT; word++)
			assert_int_equal(caps.offers[word] & ~max.offers[word], 0);
		snprintf(spec, sizeof(spec), "max,%s=off,%s=on", info->option, info->option);
		caps = capabilities(spec);
		assert_memory_equal(caps.offers, max.offers, sizeof(max.offers));
		/* What cannot be had is named. */
		assert_int_equal(warning.text[0] != 0, !(max.offers[info->word] & BIT(info->bit)));
		if (warning.text[0])
			assert_non_null(strstr(warning.text, info->option));
	}
}

static void bits_need_others(void **state)
{
	struct vmx_capability caps = capabilities("max,-vmx-ept");

	assert_false(vmx_may(&caps, PROCBASED_CTLS2, UNRESTRICTED_GUEST));
	assert_false(vmx_may(&caps, PROCBASED_CTLS2, ENABLE_PML));
	assert_false(vmx_may(&caps, PROCBASED_CTLS3, ENABLE_HLAT));
	assert_false(vmx_may(&caps, FUNCTION_CTLS, EPTP_SWITCHING));
	assert_true(vmx_may(&caps, EPT_VPID_CAP, INVVPID));
	assert_false(vmx_has_field(&caps, VMCS_EPTP));

	caps = capabilities("Westmere,-vmx-secondary-ctls,+vmx-vpid");
	assert_int_equal(caps.offers[VMX_PROCBASED_CTLS2], 0);
	assert_string_equal(warning.text, "VMX capability 'vmx-vpid' needs vmx-secondary-ctls");
	assert_false(vmx_has_field(&caps, VMCS_VPID));

	caps = capabilities("max,-vmx-true-ctls");
	assert_int_equal(vmx_allowed0(&caps, VMX_PROCBASED_CTLS), 0x0401e172);
	assert_int_equal(vmx_allowed0(&caps, VMX_EXIT_CTLS), 0x36dff);
	caps = capabilities("max,-vmx-cr3-load-noexit");
	assert_int_equal(vmx_allowed0(&caps, VMX_PROCBASED_CTLS), 0x0400e172);
	assert_int_equal(msr(&caps, 0x48e) & BITS(31, 0), 0x0400e172);

	/* A CPUID feature that is off takes its control along. */
	caps = capabilities("max,-invpcid,-la57");
	assert_false(vmx_may(&caps, PROCBASED_CTLS2, ENABLE_INVPCID));
	assert_false(vmx_may(&caps, EPT_VPID_CAP, PAGE_WALK_5));
	capabilities("max,-rdrand,+vmx-rdrand-exit,+vmx-encls-exit");
	assert_string_equal(warning.text, "VMX capability 'vmx-rdrand-exit' needs CPU feature rdrand; "
					  "VMX capability 'vmx-encls-exit' needs CPU feature sgx");
	capabilities("max,+vmx-pconfig");
	assert_string_equal(warning.text, "VMX capability 'vmx-pconfig' is not modelled");
}

static void options_are_taken_out(void **state)
{
	struct vmx_options options;
	char rest[100];

	assert_true(vmx_options_take("Haswell,+avx2,+vmx-ept,vmx_vpid=off,-vmx_pml,phys-bits=40,vmx-mtf", &options,
				     rest, &error));
	assert_string_equal(rest, "Haswell,+avx2,phys-bits=40");
	assert_int_equal(options.on[VMX_PROCBASED_CTLS2], PROCBASED_CTLS2_ENABLE_EPT);
	assert_int_equal(options.off[VMX_PROCBASED_CTLS2], PROCBASED_CTLS2_ENABLE_VPID | PROCBASED_CTLS2_ENABLE_PML);
	assert_int_equal(options.on[VMX_PROCBASED_CTLS], PROCBASED_CTLS_MONITOR_TRAP_FLAG);
	assert_true(vmx_options_take("max", &options, rest, &error));
	assert_string_equal(rest, "max");
	assert_true(vmx_options_take("max,,+vmx", &options, rest, &error));
	assert_string_equal(rest, "max,,+vmx");
	assert_true(vmx_options_take("", &options, rest, &error));
	assert_string_equal(rest, "");
	assert_true(vmx_options_take("max,-vmx-flexpriority,+vmx-tpr-shadow", &options, rest, &error));
	assert_int_equal(options.on[VMX_PROCBASED_CTLS], PROCBASED_CTLS_USE_TPR_SHADOW);
	assert_int_equal(options.off[VMX_PROCBASED_CTLS], 0);

	assert_false(vmx_options_take("max,+vmx-epd", &options, rest, &error));
	assert_string_equal(error.text, "VMX capability 'vmx-epd' is unknown; 'softvt caps' lists them");
	assert_false(vmx_options_take("max,vmx-ept=maybe", &options, rest, &error));
	assert_false(vmx_options_take("max,+vmx-ept=on", &options, rest, &error));
	assert_false(vmx_options_take("max,+vmx-", &options, rest, &error));
	assert_false(vmx_options_take("max,vmx-0123456789012345678901234567890123456789012345678901234567890", &options,
				      rest, &error));
}

/* Older models have less than newer ones, but for what their CPUID lacks. */
static void generations_grow(void **state)
{
	static const char *const order[] = {
		"Conroe",	  "Penryn",	    "Nehalem",	 "Westmere",	   "SandyBridge",
		"IvyBridge",	  "Haswell",	    "Broadwell", "Skylake-Client", "Skylake-Server",
		"Icelake-Server", "SapphireRapids", "max"};
	struct vmx_capability before = capabilities(order[0]);

	for (unsigned i = 1; i < ARRAY_SIZE(order); i++) {
		struct vmx_capability caps = capabilities(order[i]);

		for (unsigned word = 0; word < VMX_WORD_COUNT; word++)
			assert_int_equal(before.offers[word] & ~caps.offers[word], 0);
		assert_memory_not_equal(before.offers, caps.offers, sizeof(caps.offers));
		before = caps;
	}
}

static void models_have_what_their_processors_brought(void **state)
{
	struct vmx_capability c = capabilities("Conroe");

	assert_false(vmx_may(&c, PROCBASED_CTLS2, ENABLE_EPT));
	assert_false(vmx_may(&c, BASIC, TRUE_CTLS));
	assert_true(vmx_may(&c, PROCBASED_CTLS, USE_TPR_SHADOW));
	c = capabilities("Nehalem");
	assert_true(vmx_may(&c, PROCBASED_CTLS2, ENABLE_EPT));
	assert_true(vmx_may(&c, PROCBASED_CTLS2, ENABLE_VPID));
	assert_false(vmx_may(&c, PROCBASED_CTLS2, UNRESTRICTED_GUEST));
	c = capabilities("Westmere");
	assert_true(vmx_may(&c, PROCBASED_CTLS2, UNRESTRICTED_GUEST));
	assert_false(vmx_may(&c, PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY));
	c = capabilities("Haswell");
	assert_true(vmx_may(&c, PROCBASED_CTLS2, VMCS_SHADOWING));
	assert_true(vmx_may(&c, FUNCTION_CTLS, EPTP_SWITCHING));
	assert_true(vmx_may(&c, PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS));
	assert_true(vmx_may(&c, EPT_VPID_CAP, ACCESSED_DIRTY));
	assert_false(vmx_may(&c, PROCBASED_CTLS2, ENABLE_PML));
	c = capabilities("Broadwell");
	assert_true(vmx_may(&c, PROCBASED_CTLS2, ENABLE_PML));
	assert_false(vmx_may(&c, PROCBASED_CTLS2, ENABLE_XSAVES));
	c = capabilities("Skylake-Server");
	assert_true(vmx_may(&c, PROCBASED_CTLS2, USE_TSC_SCALING));
	assert_true(vmx_may(&c, PROCBASED_CTLS2, MODE_BASED_EXECUTE));
	assert_false(vmx_may(&c, EPT_VPID_CAP, PAGE_WALK_5));
	c = capabilities("Icelake-Server");
	assert_true(vmx_may(&c, EPT_VPID_CAP, PAGE_WALK_5));
	assert_false(has_msr(&c, 0x492));
	c = capabilities("SapphireRapids");
	assert_true(vmx_may(&c, PROCBASED_CTLS3, IPI_VIRTUALIZATION));
	assert_true(vmx_may(&c, PROCBASED_CTLS2, ENABLE_USER_WAIT_AND_PAUSE));
	assert_int_equal(msr(&c, 0x492), BIT(4));
}

/* All that is modelled, by the bit: the words a processor with these parts and no other would report. */
static void max_words(void **state)
{
	struct vmx_capability max = capabilities("max");

	assert_int_equal(msr(&max, 0x480), 0x01da100000000000 | VMX_REVISION);
	assert_int_equal(msr(&max, 0x481), 0x000000ff00000016);
	assert_int_equal(msr(&max, 0x482), 0xfffbfffe0401e172);
	assert_int_equal(msr(&max, 0x483), 0x407fffff00036dff);
	assert_int_equal(msr(&max, 0x484), 0x0000ffff000011ff);
	assert_int_equal(msr(&max, 0x485), 0x700481e2);
	assert_int_equal(msr(&max, 0x486), 0x80000021);
	assert_int_equal(msr(&max, 0x487), 0xffffffff);
	assert_int_equal(msr(&max, 0x488), 0x2000);
	assert_int_equal(msr(&max, 0x489), 0x00773fff);
	assert_int_equal(msr(&max, 0x48b), 0x06d77fff00000000);
	assert_int_equal(msr(&max, 0x48c), 0x00010f01067341c1);
	assert_int_equal(msr(&max, 0x48d), 0x000000ff00000016);
	assert_int_equal(msr(&max, 0x48e), 0xfffbfffe04006172);
	assert_int_equal(msr(&max, 0x48f), 0x407fffff00036dfb);
	assert_int_equal(msr(&max, 0x490), 0x0000ffff000011fb);
	assert_int_equal(msr(&max, 0x491), 1);
	assert_int_equal(msr(&max, 0x492), 0x1e);
	assert_false(has_msr(&max, 0x493));
	/* PID-pointer table address, index 33. */
	assert_int_equal(msr(&max, 0x48a), 0x42);
}

/* What processors of three generations report, but for what our model of them is known to do otherwise. */
static void models_agree_with_processors(void **state)
{
	const uint64_t server = BIT(32 + 8) | BIT(32 + 9), posted = BIT(32 + 7), ple = BIT(32 + 10);
	const uint64_t timer = BITS(4, 0); /* the timer has not their rate */
	const struct {
		const char *model;
		uint32_t msr;
		uint64_t value, except;
	} rows[] = {
		/* A second-generation Core of 06_2AH. Servers have PAUSE-loop exiting. */
		{"SandyBridge", 0x484, 0x0000ffff000011ff, 0},
		{"SandyBridge", 0x48b, 0x000000ff00000000, ple},
		/* A third-generation Core of 06_3AH. Servers have APIC virtualization and 1-GByte pages. SMX is not
		   modelled. */
		{"IvyBridge", 0x480, 0x00da040000000010, BITS(44, 0)},
		{"IvyBridge", 0x481, 0x0000007f00000016, posted},
		{"IvyBridge", 0x482, 0xfff9fffe0401e172, 0},
		{"IvyBridge", 0x483, 0x007fffff00036dff, 0},
		{"IvyBridge", 0x484, 0x0000ffff000011ff, 0},
		{"IvyBridge", 0x485, 0x00000000100401e5, timer},
		{"IvyBridge", 0x486, 0x0000000080000021, 0},
		{"IvyBridge", 0x487, 0x00000000ffffffff, 0},
		{"IvyBridge", 0x488, 0x0000000000002000, 0},
		{"IvyBridge", 0x489, 0x00000000001767ff, CR4_SMXE},
		{"IvyBridge", 0x48b, 0x000008ff00000000, server | ple},
		{"IvyBridge", 0x48c, 0x00000f0106114141, BIT(17)},
		{"IvyBridge", 0x48d, 0x0000007f00000016, posted},
		{"IvyBridge", 0x48e, 0xfff9fffe04006172, 0},
		{"IvyBridge", 0x48f, 0x007fffff00036dfb, 0},
		{"IvyBridge", 0x490, 0x0000ffff000011fb, 0},
		/* A fourth-generation Core of 06_3CH. */
		{"Haswell", 0x485, 0x00000000300481e5, timer},
		{"Haswell", 0x489, 0x00000000001727ff, 0},
		{"Haswell", 0x491, 1, 0},
		/* An eighth-generation Core of 06_9EH: two generations after the model, with mode-based execute
		 * control. SGX, MPX and Intel PT are not modelled; servers have VMCS shadowing. */
		{"Skylake-Client", 0x481, 0x0000007f00000016, posted},
		{"Skylake-Client", 0x482, 0xfff9fffe0401e172, 0},
		{"Skylake-Client", 0x483, 0x01ffffff00036dff, BIT(32 + 23) | BIT(32 + 24)},
		{"Skylake-Client", 0x484, 0x0003ffff000011ff, BIT(32 + 16) | BIT(32 + 17)},
		{"Skylake-Client", 0x485, 0x000000007004c1e7, timer | BIT(14)},
		{"Skylake-Client", 0x489, 0x00000000003727ff, 0},
		{"Skylake-Client", 0x48b, 0x005fbcff00000000,
		 server | BIT(32 + 14) | BIT(32 + 15) | BIT(32 + 19) | BIT(32 + 22)},
		{"Skylake-Client", 0x48c, 0x00000f0106734141, 0},
		{"Skylake-Client", 0x491, 1, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vmx_capability caps = capabilities(rows[i].model);
		uint64_t value = msr(&caps, rows[i].msr);

		if ((value ^ rows[i].value) & ~rows[i].except)
			fail_msg("%s, MSR %x: %lx, not %lx", rows[i].model, rows[i].msr, value, rows[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_model_obeys_the_manual),
		cmocka_unit_test(every_bit_can_be_switched_off_by_name),
		cmocka_unit_test(bits_need_others),
		cmocka_unit_test(options_are_taken_out),
		cmocka_unit_test(generations_grow),
		cmocka_unit_test(models_have_what_their_processors_brought),
		cmocka_unit_test(max_words),
		cmocka_unit_test(models_agree_with_processors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

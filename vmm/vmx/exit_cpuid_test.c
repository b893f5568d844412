/* What a guest is told about its processor, here the one that runs the test. SDM vol. 2, "CPUID". */
#include "vmx/fake_vmcs.h"

#include <string.h>

#include "vmx/exit_cpuid.c"

struct vmx_caps vmx_caps;
uint64_t tsc_hz = 2893000000;

static struct vm vm = {.vcpus_count = 2};
static struct vcpu vcpu = {.vm = &vm, .index = 1};
static uint64_t cr4, set_xcr0;
static unsigned skipped, faults;

uint64_t vcpu_cr4(const struct vcpu *of) { return cr4; }
void vcpu_skip(struct vcpu *of) { skipped++; }
void vcpu_raise(struct vcpu *of, unsigned vector, bool has_error, uint32_t error) { faults += vector == 13; }

bool xsetbv_safe(uint32_t index, uint64_t value)
{
	set_xcr0 = value;
	return value & 1; /* the processor's own checks */
}

static int setup(void **state)
{
	memset(&vmx_caps, 0xff, sizeof(vmx_caps));
	vcpu.xcr0 = 1;
	vcpu.xcr0_offered = cpuid(1, 0).ecx & BIT(26) ? cpuid(0xd, 0).eax & 0xe7 : 0;
	vcpu.apic.base = 0xfee00800;
	cr4 = skipped = faults = 0;
	return 0;
}

static struct cpuid ask(uint32_t leaf, uint32_t subleaf)
{
	vcpu.registers[RAX] = leaf;
	vcpu.registers[RCX] = subleaf;
	exit_cpuid(&vcpu);
	return (struct cpuid){vcpu.registers[RAX], vcpu.registers[RBX], vcpu.registers[RCX], vcpu.registers[RDX]};
}

/* By the table, each feature of it: never one that the machine has not, but those that the VMM brings; never a hidden or an
   absent one. */
static void a_feature_is_offered_if_the_machine_has_it_and_nobody_hides_it(void **state)
{
	enum { ABSENT, ENGINE, HOST, STATE };

#define FEATURE(id, name, leaf, subleaf, reg, bit, by)                                                                   \
	{                                                                                                                \
		struct cpuid has = cpuid(leaf, subleaf), told = ask(leaf, subleaf);                                      \
		bool brought = FEATURE_##id == FEATURE_HYPERVISOR || FEATURE_##id == FEATURE_TSC_DEADLINE ||             \
			       FEATURE_##id == FEATURE_HTT || FEATURE_##id == FEATURE_ARAT ||                            \
			       FEATURE_##id == FEATURE_INVTSC;                                                           \
                                                                                                                         \
		if (((uint32_t *)&told)[reg] >> bit & 1)                                                                 \
			assert_true(brought ||                                                                           \
				    ((((uint32_t *)&has)[reg] >> bit & 1) && by != ABSENT && !is_hidden(FEATURE_##id))); \
		else if (by != ABSENT && by != STATE && leaf != 0xa && !is_hidden(FEATURE_##id))                         \
			assert_false(((uint32_t *)&has)[reg] >> bit & 1);                                                \
	}
#include "cpuid_features.def"
#undef FEATURE
}

static void bits_that_no_table_names_are_not_offered(void **state)
{
	struct cpuid leaf = ask(7, 0);

	assert_int_equal(leaf.ebx & (BIT(12) | BIT(15)), 0); /* RDT */
	assert_int_equal(leaf.ecx & (BIT(13) | BIT(23) | BIT(29)), 0); /* TME, KL, ENQCMD */
	assert_int_equal(leaf.edx & (BIT(5) | BIT(13)), 0); /* UINTR, TSX_FORCE_ABORT */
}

static void what_a_secondary_control_must_enable_is_hidden_without_it(void **state)
{
	vmx_caps.may[WORD_PROCBASED_CTLS2] = 0;
	assert_int_equal(ask(0x80000001, 0).edx & BIT(27), 0); /* RDTSCP */
	assert_int_equal(ask(7, 0).ebx & BIT(10), 0); /* INVPCID */
	assert_int_equal(ask(7, 0).ecx & BIT(22), 0); /* RDPID */
	assert_int_equal(ask(0xd, 1).eax & BIT(3), 0); /* XSAVES */
}

static void bits_that_follow_state_follow_the_guests(void **state)
{
	assert_int_equal(ask(1, 0).ecx & BIT(27), 0);
	assert_int_not_equal(ask(1, 0).edx & BIT(9), 0);
	cr4 = CR4_OSXSAVE;
	vcpu.apic.base = 0;
	assert_int_not_equal(ask(1, 0).ecx & BIT(27), 0);
	assert_int_equal(ask(1, 0).edx & BIT(9), 0);
}

static void ids_are_the_vcpus(void **state)
{
	assert_int_equal(ask(1, 0).ebx >> 16, 1 << 8 | 2);
	assert_int_equal(ask(0xb, 0).edx, 1);
	assert_int_equal(ask(0xb, 1).eax, 1);
	assert_int_equal(ask(0xb, 1).ebx, 2);
	assert_int_equal(ask(0xb, 2).ecx, 2);
}

/* The same product as Linux forms, in 32 bits. */
static void the_tsc_frequency_can_be_computed(void **state)
{
	struct cpuid r = ask(0x15, 0);
	uint64_t khz = (uint64_t)(r.ecx / 1000) * r.ebx;

	assert_true(khz <= UINT32_MAX);
	assert_in_range(khz / r.eax, 2892950, 2893000);
	assert_int_equal(ask(0x16, 0).eax, 2893);
}

static void xsave_sizes_are_those_of_the_machine(void **state)
{
	struct cpuid r = ask(0xd, 0);

	if (!vcpu.xcr0_offered)
		return;
	assert_int_equal(r.eax, vcpu.xcr0_offered);
	assert_int_equal(r.ebx, 576);
	assert_in_range(r.ecx, 576, cpuid(0xd, 0).ecx);
	assert_int_equal(ask(0xd, 1).ebx, 576);
	vcpu.xcr0 = vcpu.xcr0_offered;
	assert_int_equal(ask(0xd, 0).ebx, ask(0xd, 0).ecx);
	for (unsigned i = 2; i < 40; i++)
		assert_int_equal(ask(0xd, i).eax != 0, i < 32 && (vcpu.xcr0_offered & BIT(i)));
}

static void the_signature_is_ours(void **state)
{
	struct cpuid r = ask(0x40000000, 0);

	assert_memory_equal(&r.ebx, "SoftVT VMM  ", 12);
}

static void other_leaves_are_0(void **state)
{
	static const uint32_t leaves[] = {3, 5, 9, 0xa, 0xf, 0x10, 0x12, 0x14, 0x17, 0x1f, 0x40000001, 0x80000009, 0xffffffff};

	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct cpuid r = ask(leaves[i], 0);

		assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
}

static void xsetbv_sets_what_is_offered_and_the_processor_takes(void **state)
{
	vcpu.xcr0_offered = 7;
	vcpu.registers[RCX] = BIT(32);
	vcpu.registers[RAX] = BIT(32) | 3;
	vcpu.registers[RDX] = 0;
	exit_xsetbv(&vcpu);
	assert_int_equal(set_xcr0, 3);
	assert_int_equal(vcpu.xcr0, 3);
	vcpu.registers[RAX] = 2; /* without x87 */
	exit_xsetbv(&vcpu);
	vcpu.registers[RAX] = 0xf;
	exit_xsetbv(&vcpu);
	vcpu.registers[RAX] = 3;
	vcpu.registers[RCX] = 1;
	exit_xsetbv(&vcpu);
	assert_int_equal(vcpu.xcr0, 3);
	assert_int_equal(faults, 3);
	assert_int_equal(skipped, 1);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_feature_is_offered_if_the_machine_has_it_and_nobody_hides_it),
		TEST(bits_that_no_table_names_are_not_offered),
		TEST(what_a_secondary_control_must_enable_is_hidden_without_it),
		TEST(bits_that_follow_state_follow_the_guests),
		TEST(ids_are_the_vcpus),
		TEST(the_tsc_frequency_can_be_computed),
		TEST(xsave_sizes_are_those_of_the_machine),
		TEST(the_signature_is_ours),
		TEST(other_leaves_are_0),
		TEST(xsetbv_sets_what_is_offered_and_the_processor_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What RDMSR and WRMSR do, and which of them exit. SDM vol. 3, "MSR-Bitmap Address"; vol. 4, "Architectural MSRs". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

#include "vmx/exit_msr.c"
#include "vmx/msr.c"
#include "vmx/mtrr.c"

static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static uint64_t cr0, efer, pat_loaded;
static unsigned faults, skipped;

uint64_t vcpu_cr0(const struct vcpu *of) { return cr0; }
uint64_t vcpu_cr3(const struct vcpu *of) { return 0; }
uint64_t vcpu_cr4(const struct vcpu *of) { return 0; }
uint64_t vcpu_efer(const struct vcpu *of) { return efer; }
void vcpu_set_mode(struct vcpu *of, uint64_t new_cr0, uint64_t cr3, uint64_t cr4, uint64_t new_efer) { efer = new_efer; }
void msr_area_set_pat(struct vcpu *of, uint64_t pat) { pat_loaded = pat; }
void lapic_tsc_changed(struct vcpu *of) {}
bool lapic_read_msr(struct vcpu *of, uint32_t msr, uint64_t *value) { return false; }
bool lapic_write_msr(struct vcpu *of, uint32_t msr, uint64_t value) { return false; }
bool rdmsr_safe(uint32_t msr, uint64_t *value) { return false; }
void *pool_take(uint64_t size, uint64_t align) { return calloc(1, size); }
void vcpu_raise(struct vcpu *of, unsigned vector, bool has_error, uint32_t error) { faults += vector == 13; }
void vcpu_skip(struct vcpu *of) { skipped++; }

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	free(vcpu.msrs);
	assert_true(msr_create(&vcpu));
	msr_reset(&vcpu);
	cr0 = efer = pat_loaded = 0;
	return 0;
}

static bool writes(uint32_t msr, uint64_t value)
{
	faults = skipped = 0;
	vcpu.registers[RCX] = msr;
	vcpu.registers[RAX] = (uint32_t)value | BIT(40); /* the upper half is ignored */
	vcpu.registers[RDX] = value >> 32;
	exit_wrmsr(&vcpu);
	assert_int_equal(faults + skipped, 1);
	return skipped;
}

static bool reads(uint32_t msr, uint64_t *value)
{
	faults = skipped = 0;
	vcpu.registers[RCX] = msr;
	exit_rdmsr(&vcpu);
	assert_int_equal(faults + skipped, 1);
	if (skipped)
		assert_int_equal(vcpu.registers[RAX] >> 32 | vcpu.registers[RDX] >> 32, 0);
	*value = vcpu.registers[RAX] | vcpu.registers[RDX] << 32;
	return skipped;
}

static uint64_t read_back(uint32_t msr)
{
	uint64_t value;

	assert_true(reads(msr, &value));
	return value;
}

/* Every MSR number that the bitmaps cover, and some that they do not: none may do anything but be answered or #GP. */
static void unknown_msrs_are_gp(void **state)
{
	uint64_t value;

	for (uint32_t msr = 0; msr < 0x2000; msr++) {
		if (!rule_of(msr))
			assert_false(reads(msr, &value) || writes(msr, 0));
		assert_int_equal(reads(msr | 0xc0000000, &value), (msr | 0xc0000000) == IA32_EFER);
	}
	assert_false(reads(0x40000000, &value) || writes(0x40000000, 0) || reads(0x480, &value) || writes(IA32_FEATURE_CONTROL, 1));
}

static void feature_control_is_locked_without_vmx(void **state) { assert_int_equal(read_back(IA32_FEATURE_CONTROL), 1); }

static void mtrrs_are_kept_apart(void **state)
{
	static const uint32_t msrs[] = {0x200, 0x201, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268, 0x26f, 0x2ff};

	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		assert_true(writes(msrs[i], msrs[i] == 0x2ff   ? 0xc06
					    : msrs[i] >= 0x250 ? 0x0606060606060600 + (i & 1)
							       : 0x10000 * (i + 1)));
	for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++)
		assert_int_equal(read_back(msrs[i]), msrs[i] == 0x2ff	? 0xc06
						     : msrs[i] >= 0x250 ? 0x0606060606060600 + (i & 1)
									: 0x10000 * (i + 1));
}

static void memory_types_are_checked(void **state)
{
	for (unsigned type = 0; type < 16; type++) {
		bool valid = type == 0 || type == 1 || (type >= 4 && type <= 6);

		assert_int_equal(writes(IA32_MTRR_PHYSBASE0, type), valid);
		assert_int_equal(writes(IA32_MTRR_FIX64K_00000, (uint64_t)type << 56), valid);
		assert_int_equal(writes(IA32_MTRR_DEF_TYPE, type), valid);
		assert_int_equal(writes(IA32_PAT, (uint64_t)type << 56), valid || type == 7);
	}
	assert_false(writes(IA32_MTRR_DEF_TYPE, BIT(12)) || writes(IA32_MTRR_PHYSBASE0 + 1, 1));
}

static void pat_goes_where_the_processor_loads_it(void **state)
{
	assert_int_equal(read_back(IA32_PAT), 0x0007040600070406);
	assert_true(writes(IA32_PAT, 0x0606060606060606));
	assert_int_equal(pat_loaded, 0x0606060606060606);
}

static void efer_changes_lme_only_without_paging(void **state)
{
	assert_true(writes(IA32_EFER, EFER_LME | EFER_SCE));
	assert_int_equal(efer, EFER_LME | EFER_SCE);
	cr0 = CR0_PE | CR0_PG;
	assert_false(writes(IA32_EFER, EFER_SCE) || writes(IA32_EFER, EFER_LME | BIT(2)));
	assert_true(writes(IA32_EFER, EFER_LME));
}

/* SDM vol. 3, "Time-Stamp Counter Adjustment". */
static void a_written_tsc_moves_tsc_adjust(void **state)
{
	uint64_t before = rdtsc() + vm.tsc_offset, moved;

	assert_true(writes(IA32_TIME_STAMP_COUNTER, before + BIT(50)));
	moved = read_back(IA32_TSC_ADJUST);
	assert_in_range(BIT(50) - moved, 0, BIT(40));
	assert_true(writes(IA32_TSC_ADJUST, 0));
	assert_in_range(read_back(IA32_TIME_STAMP_COUNTER) - before, 0, BIT(40));
}

static bool exits(const uint8_t *bitmap, uint32_t msr, bool write)
{
	unsigned bit = (msr & 0x1fff) + (msr >> 31 ? 0x2000 : 0) + (write ? 0x4000 : 0);

	return bitmap[bit / 8] >> bit % 8 & 1;
}

/* What is let through is in the VMCS, follows the vCPU, or is the TSC with its offset; and what follows is let through. */
static void only_the_guests_own_msrs_do_not_exit(void **state)
{
	static uint8_t bitmap[4096];

	memset(bitmap, 0xff, sizeof(bitmap));
	msr_make_bitmap(bitmap);
	for (uint32_t n = 0; n < 0x4000; n++) {
		uint32_t msr = n < 0x2000 ? n : n - 0x2000 + 0xc0000000;
		bool own = (msr >= IA32_SYSENTER_CS && msr <= IA32_SYSENTER_EIP) || msr == IA32_FS_BASE || msr == IA32_GS_BASE;

		for (unsigned i = 0; i < ARRAY_SIZE(following); i++)
			own = own || (msr == following[i] && (vcpu.follows & BIT(i)));
		assert_int_equal(exits(bitmap, msr, false), !own && msr != IA32_TIME_STAMP_COUNTER);
		assert_int_equal(exits(bitmap, msr, true), !own && !(msr == IA32_PRED_CMD && is_there(IA32_SPEC_CTRL)));
	}
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unknown_msrs_are_gp),
		TEST(feature_control_is_locked_without_vmx),
		TEST(mtrrs_are_kept_apart),
		TEST(memory_types_are_checked),
		TEST(pat_goes_where_the_processor_loads_it),
		TEST(efer_changes_lme_only_without_paging),
		TEST(a_written_tsc_moves_tsc_adjust),
		TEST(only_the_guests_own_msrs_do_not_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

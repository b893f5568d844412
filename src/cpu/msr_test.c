/*
 * MSRs: every row of spec/msrs.def by its reserved bits, and the rules that rows cannot say. SDM vol. 4.
 */
#include "cpu/control.h"
#include "cpu/msr.h"
#include "clock/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static bool has_all(enum feature feature)
{
	return true;
}

struct fixture {
	struct cpu_model model;
	struct cpu cpu;
};

static struct cpu *cpu_create(const char *spec)
{
	struct fixture *f = aligned_alloc(64, (sizeof(*f) + 63) / 64 * 64);
	struct error warning, error;

	memset(f, 0, sizeof(*f));
	assert_true(cpu_model_parse(spec, has_all, &f->model, &warning, &error));
	f->cpu.model = &f->model;
	f->cpu.cpus = 1;
	f->cpu.clock = clock_create();
	f->cpu.msr = msr_table_create();
	msr_claim_cpu(f->cpu.msr);
	cpu_reset(&f->cpu, false);
	return &f->cpu;
}

static void cpu_destroy(struct cpu *cpu)
{
	clock_destroy(cpu->clock);
	msr_table_destroy(cpu->msr);
	free(CONTAINER_OF(cpu, struct fixture, cpu));
}

static bool never(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = 0x1234;
	return true;
}

static bool refuse(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return false;
}

static void later_claims_win(void **state)
{
	static const struct msr_ops ops = {never, refuse};
	struct cpu *cpu = cpu_create("max");
	uint64_t value;

	assert_false(msr_read(cpu, 0x1b, &value)); /* the local APIC's, and there is none */
	assert_false(msr_read(cpu, 0x40000000, &value));
	msr_claim(cpu->msr, 0x174, 0x174, &ops);
	assert_true(msr_read(cpu, 0x174, &value));
	assert_int_equal(value, 0x1234);
	assert_false(msr_write(cpu, 0x174, 0));
	assert_true(msr_write(cpu, 0x175, 0));
	cpu_destroy(cpu);
}

/* A stored MSR takes each of its bits and refuses each other one; rows about memory types have a test of their own. */
static void stored_row(struct cpu *cpu, uint32_t index, uint64_t bits, const char *check)
{
	uint64_t old, value, now;

	assert_true(msr_read(cpu, index, &old));
	for (unsigned bit = 0; bit < 64; bit++) {
		bool good = (bits & BIT(bit)) && (strcmp(check, "any") == 0 || bit < cpu->model->linear_bits - 1);

		value = BIT(bit);
		if ((bits & value) && strcmp(check, "any") != 0 && strcmp(check, "canonical") != 0)
			continue;
		if (msr_write(cpu, index, value) != good)
			fail_msg("MSR %#x, bit %u: %s", index, bit, good ? "refused" : "taken");
		assert_true(msr_read(cpu, index, &now));
		assert_int_equal(now, good ? value : old);
		old = now;
	}
}

static void stored_rows_refuse_reserved_bits(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value;

#define STORED(index, name, feature, member, bits, check) stored_row(cpu, index, bits, #check);
#define FIXED(index, name, feature, constant)      \
	assert_true(msr_read(cpu, index, &value)); \
	assert_false(msr_write(cpu, index, value));
#define ACTIVE(first, last, name, feature, accessor)
#define OTHER(index, name)
#include "msrs.def"
	cpu_destroy(cpu);
}

#define FEATURE_ALWAYS FEATURE_COUNT

/* An MSR whose feature the model lacks is not there. */
static void gated(struct cpu *cpu, uint32_t index, unsigned feature)
{
	uint64_t value;

	if (feature == FEATURE_ALWAYS || model_has(cpu->model, (enum feature)feature))
		return;
	assert_false(msr_read(cpu, index, &value));
	assert_false(msr_write(cpu, index, 0));
}

static void features_gate(void **state)
{
	struct cpu *cpu = cpu_create("qemu64");
	uint64_t value;

#define STORED(index, name, feature, member, bits, check) gated(cpu, index, FEATURE_##feature);
#define FIXED(index, name, feature, constant)		  gated(cpu, index, FEATURE_##feature);
#define ACTIVE(first, last, name, feature, accessor)	  gated(cpu, first, FEATURE_##feature);
#define OTHER(index, name)
#define MTRR_VARIABLE 8
#include "msrs.def"
	assert_false(msr_read(cpu, MSR_TSC_AUX, &value));
	assert_false(msr_read(cpu, MSR_ARCH_CAPABILITIES, &value));
	cpu_destroy(cpu);
}

static void memory_types(void **state)
{
	struct cpu *cpu = cpu_create("max,phys-bits=40");

	for (unsigned type = 0; type < 256; type++) {
		bool valid = type == 0 || type == 1 || (type >= 4 && type <= 6);

		assert_int_equal(msr_write(cpu, MSR_MTRR_DEF_TYPE, type), valid);
		assert_int_equal(msr_write(cpu, MSR_MTRR_PHYSBASE0, type), valid);
		assert_int_equal(msr_write(cpu, MSR_MTRR_FIX4K_F8000, (uint64_t)type << 56), valid);
		assert_int_equal(msr_write(cpu, MSR_PAT, (uint64_t)type << 24), valid || type == 7);
	}
	assert_true(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 14, BITS(39, 12) | 6));
	assert_false(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 14, BIT(40)));
	assert_false(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 14, BIT(8)));
	assert_true(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 15, BITS(39, 11)));
	assert_false(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 15, BIT(40)));
	assert_false(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 15, BIT(10)));
	assert_false(msr_write(cpu, MSR_MTRR_PHYSBASE0 + 20, 0));
	cpu_destroy(cpu);
}

/* SDM vol. 3, "Time-Stamp Counter Adjustment". */
static void tsc_and_its_adjustment(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value;

	clock_advance_to(cpu->clock, 1000);
	cpu->tsc_offset = cpu->tsc_adjust = 0;
	assert_true(msr_read(cpu, MSR_TIME_STAMP_COUNTER, &value));
	assert_int_equal(value, 1000);
	assert_true(msr_write(cpu, MSR_TIME_STAMP_COUNTER, 5000));
	assert_true(msr_read(cpu, MSR_TSC_ADJUST, &value));
	assert_int_equal(value, 4000);
	assert_true(msr_write(cpu, MSR_TSC_ADJUST, 1));
	assert_true(msr_read(cpu, MSR_TIME_STAMP_COUNTER, &value));
	assert_int_equal(value, 1001);
	cpu_destroy(cpu);
}

static void efer(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value, bits = EFER_SCE | EFER_LME | EFER_NXE;

	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(msr_write(cpu, MSR_EFER, BIT(bit)), (BIT(bit) & (bits | EFER_LMA)) != 0);
	assert_true(msr_write(cpu, MSR_EFER, bits | EFER_LMA));
	assert_true(msr_read(cpu, MSR_EFER, &value));
	assert_int_equal(value, bits); /* LMA is read-only */
	cpu->cr0 |= CR0_PG;
	assert_false(msr_write(cpu, MSR_EFER, bits & ~EFER_LME));
	assert_true(msr_write(cpu, MSR_EFER, EFER_LME));
	cpu_destroy(cpu);
	cpu = cpu_create("max,-nx");
	assert_false(msr_write(cpu, MSR_EFER, EFER_NXE));
	cpu_destroy(cpu);
}

static void speculation_control(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value;

	assert_true(msr_write(cpu, MSR_SPEC_CTRL, BIT(10) | 7));
	assert_false(msr_write(cpu, MSR_SPEC_CTRL, 8));
	assert_false(msr_read(cpu, MSR_PRED_CMD, &value));
	assert_true(msr_write(cpu, MSR_PRED_CMD, 1));
	assert_false(msr_write(cpu, MSR_PRED_CMD, 2));
	cpu_destroy(cpu);
	cpu = cpu_create("max,-ssbd,-stibp,-bhi-ctrl");
	assert_true(msr_write(cpu, MSR_SPEC_CTRL, 1));
	assert_false(msr_write(cpu, MSR_SPEC_CTRL, 2));
	assert_false(msr_write(cpu, MSR_SPEC_CTRL, 4));
	assert_false(msr_write(cpu, MSR_SPEC_CTRL, BIT(10)));
	cpu_destroy(cpu);
}

static void misc_enable(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value;
	uint32_t out[4];

	assert_true(msr_read(cpu, MSR_MISC_ENABLE, &value));
	assert_int_equal(value, BIT(0) | BIT(7) | BIT(11) | BIT(12) | BIT(18));
	assert_true(msr_write(cpu, MSR_MISC_ENABLE, 0));
	assert_true(msr_read(cpu, MSR_MISC_ENABLE, &value));
	assert_int_equal(value, BIT(7) | BIT(11) | BIT(12)); /* what is available or not is read-only */
	assert_true(msr_write(cpu, MSR_MISC_ENABLE, BIT(3) | BIT(16) | BIT(23)));
	assert_false(msr_write(cpu, MSR_MISC_ENABLE, BIT(17)));
	assert_true(msr_write(cpu, MSR_EFER, EFER_NXE));
	assert_true(msr_write(cpu, MSR_EFER, 0));
	assert_true(msr_write(cpu, MSR_MISC_ENABLE, BIT(34)));
	assert_false(msr_write(cpu, MSR_EFER, EFER_NXE));
	cpuid_get(cpu, 0x80000001, 0, out);
	assert_false(out[CPUID_EDX] & BIT(20));
	cpu_destroy(cpu);
}

static void debugctl(void **state)
{
	struct cpu *cpu = cpu_create("max");
	uint64_t value;

	assert_true(msr_write(cpu, MSR_DEBUGCTL, BIT(0) | BIT(1)));
	assert_true(msr_read(cpu, MSR_DEBUGCTL, &value));
	assert_int_equal(value, BIT(1)); /* no branch records: LBR is never 1 */
	assert_false(msr_write(cpu, MSR_DEBUGCTL, BIT(3)));
	assert_true(msr_write(cpu, MSR_DEBUGCTL, BIT(12)));
	cpu_destroy(cpu);
	cpu = cpu_create("Conroe");
	assert_true(msr_write(cpu, MSR_DEBUGCTL, 0));
	assert_int_equal(msr_write(cpu, MSR_DEBUGCTL, BIT(12)), model_has(cpu->model, FEATURE_PERFMON));
	cpu_destroy(cpu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(later_claims_win),
		cmocka_unit_test(stored_rows_refuse_reserved_bits),
		cmocka_unit_test(features_gate),
		cmocka_unit_test(memory_types),
		cmocka_unit_test(tsc_and_its_adjustment),
		cmocka_unit_test(efer),
		cmocka_unit_test(speculation_control),
		cmocka_unit_test(misc_enable),
		cmocka_unit_test(debugctl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

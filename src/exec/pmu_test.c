/*
 * Performance monitoring: registers, what counts when, overflow and its interrupt, RDPMC, and the controls of VM entry
 * and VM exit. Turns are the test's own: run() is what the machine does.
 */
#include "exec/pmu.h"
#include "exec/vmx_fixture.h"

#define ALL_GENERAL BITS(PMU_COUNTERS - 1, 0)
#define ALL_FIXED   BITS(34, 32)
#define USR	    BIT(16)
#define OS	    BIT(17)
#define EDGE	    BIT(18)
#define INT	    BIT(20)
#define EN	    BIT(22)
#define INV	    BIT(23)
#define CMASK(n)    ((uint64_t)(n) << 24)
#define LVT_PMC	    0x340

static int create_pmu(void **state)
{
	struct fixture *f;

	create(state);
	f = *state;
	pmu_claim_msrs(f->cpu->msr);
	apic_write(f->cpu->apic, 0xf0, 0x1ff);
	return 0;
}

static uint64_t rd(struct fixture *f, uint32_t index)
{
	uint64_t value = 0;

	assert_true(msr_read(f->cpu, index, &value));
	return value;
}

static void wr(struct fixture *f, uint32_t index, uint64_t value)
{
	assert_true(msr_write(f->cpu, index, value));
}

/* A part of a turn. */
static void run(struct fixture *f, unsigned instructions, unsigned idle)
{
	f->cpu->retired += instructions;
	f->cpu->cycles += instructions + idle;
	if (f->cpu->pmu.active)
		pmu_settle(f->cpu);
}

static void test_cpuid(void **state)
{
	struct fixture *f = *state;
	uint32_t out[4];

	cpuid_get(f->cpu, 0xa, 0, out);
	assert_int_equal(out[CPUID_EAX], 2 | 4 << 8 | 48 << 16 | 7 << 24);
	assert_int_equal(out[CPUID_EBX], 0x78);
	assert_int_equal(out[CPUID_ECX], 0);
	assert_int_equal(out[CPUID_EDX], 3 | 48 << 5);
	assert_true(rd(f, MSR_MISC_ENABLE) & MISC_ENABLE_PERFMON);
	f->model.features[FEATURE_PERFMON / 64] &= ~BIT(FEATURE_PERFMON % 64);
	cpuid_get(f->cpu, 0xa, 0, out);
	assert_int_equal(out[CPUID_EAX] | out[CPUID_EBX] | out[CPUID_EDX], 0);
	for (uint32_t index = 0x38d; index <= 0x390; index++) {
		assert_false(msr_read(f->cpu, index, &(uint64_t){0}));
		assert_false(msr_write(f->cpu, index, 0));
	}
	RUN_AT(f, 0x0f, 0x33); /* RDPMC */
	f->cpu->r[RCX] = 0;
	assert_fault(f, VECTOR_GP, 0);
}

static void test_registers(void **state)
{
	static const struct {
		uint32_t index;
		unsigned count;
		uint64_t valid;
	} rows[] = {
		{MSR_PERFEVTSEL0, 4, 0xffdfffff}, /* not AnyThread */
		{MSR_FIXED_CTR0, 3, BITS(47, 0)},
		{MSR_FIXED_CTR_CTRL, 1, 0xbbb},
		{MSR_PERF_GLOBAL_CTRL, 1, UINT64_C(0x70000000f)},
	};
	struct fixture *f = *state;

	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), 0xf);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned k = 0; k <= rows[i].count; k++) {
			uint32_t index = rows[i].index + k;

			if (k == rows[i].count && rows[i].count > 1) {
				assert_false(msr_write(f->cpu, index, 0));
				continue;
			}
			if (k == rows[i].count)
				continue;
			for (unsigned bit = 0; bit < 64; bit++)
				if (rows[i].valid & BIT(bit)) {
					wr(f, index, BIT(bit));
					assert_int_equal(rd(f, index), BIT(bit));
					wr(f, index, 0);
				} else {
					assert_false(msr_write(f->cpu, index, BIT(bit)));
				}
		}
	/* writes of general-purpose counters extend bit 31 and ignore what is above */
	wr(f, MSR_PMC0 + 3, UINT64_C(0xabcd80000001));
	assert_int_equal(rd(f, MSR_PMC0 + 3), UINT64_C(0xffff80000001));
	wr(f, MSR_PMC0 + 3, UINT64_C(0xffffffff7fffffff));
	assert_int_equal(rd(f, MSR_PMC0 + 3), 0x7fffffff);
	assert_false(msr_write(f->cpu, MSR_PERF_GLOBAL_STATUS, 0)); /* read-only */
	assert_false(msr_write(f->cpu, MSR_PERF_GLOBAL_OVF_CTRL, BIT(4)));
	wr(f, MSR_PERF_GLOBAL_OVF_CTRL, ALL_GENERAL | ALL_FIXED | BITS(63, 62));
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_OVF_CTRL), 0);
}

static void test_events(void **state)
{
	static const struct {
		uint64_t select;
		unsigned counted; /* of 70 instructions in 100 cycles */
	} cases[] = {
		{0x00c0, 70},
		{0x003c, 100},
		{0x013c, 100},
		/* not available, and others */
		{0x4f2e, 0},
		{0x412e, 0},
		{0x00c4, 0},
		{0x00c5, 0},
		{0x01c0, 0},
		{0, 0},
		{0x00c0 | CMASK(1), 70},
		{0x00c0 | CMASK(2), 0},
		{0x00c0 | CMASK(1) | INV, 30},
		{0x00c0 | CMASK(2) | INV, 100},
		{0x00c0 | INV, 70},
		{0x003c | CMASK(1) | INV, 0},
		{0x003c | EDGE, 0},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		for (unsigned k = 0; k < PMU_COUNTERS; k++) {
			wr(f, MSR_PERFEVTSEL0 + k, cases[i].select | EN | OS | USR);
			wr(f, MSR_PMC0 + k, 5);
			run(f, 70, 30);
			assert_int_equal(rd(f, MSR_PMC0 + k), 5 + cases[i].counted);
			wr(f, MSR_PERFEVTSEL0 + k, cases[i].select | OS | USR); /* not EN */
			run(f, 70, 30);
			assert_int_equal(rd(f, MSR_PMC0 + k), 5 + cases[i].counted);
		}
	wr(f, MSR_PERF_GLOBAL_CTRL, ALL_FIXED);
	wr(f, MSR_FIXED_CTR_CTRL, 0x333);
	run(f, 70, 30);
	assert_int_equal(rd(f, MSR_FIXED_CTR0), 70);
	assert_int_equal(rd(f, MSR_FIXED_CTR0 + 1), 100);
	assert_int_equal(rd(f, MSR_FIXED_CTR0 + 2), 100);
	wr(f, MSR_PERF_GLOBAL_CTRL, BIT(33));
	run(f, 1, 1);
	assert_int_equal(rd(f, MSR_FIXED_CTR0), 70);
	assert_int_equal(rd(f, MSR_FIXED_CTR0 + 1), 102);
}

/* Each way to count by privilege, at both; and the instruction stream is left where it changes, if that matters. */
static void test_rings(void **state)
{
	struct fixture *f = *state;

	wr(f, MSR_PERF_GLOBAL_CTRL, ALL_GENERAL | ALL_FIXED);
	for (unsigned how = 0; how < 4; how++)
		for (unsigned cpl = 0; cpl < 4; cpl++) {
			bool counts = how & (cpl ? 2 : 1);

			wr(f, MSR_PERFEVTSEL0, 0xc0 | EN | (how & 1 ? OS : 0) | (how & 2 ? USR : 0));
			wr(f, MSR_FIXED_CTR_CTRL, how << 8);
			wr(f, MSR_PMC0, 0);
			wr(f, MSR_FIXED_CTR0 + 2, 0);
			f->cpu->attention = 0;
			f->cpu->cpl = (uint8_t)cpl;
			exec_privilege_changed(f->cpu);
			assert_int_equal((f->cpu->attention & ATTEND_DEADLINE) != 0, cpl && (how == 1 || how == 2));
			run(f, 0, 0);
			run(f, 10, 1);
			assert_int_equal(rd(f, MSR_PMC0), counts ? 10 : 0);
			assert_int_equal(rd(f, MSR_FIXED_CTR0 + 2), counts ? 11 : 0);
			f->cpu->cpl = 0;
			exec_privilege_changed(f->cpu);
			run(f, 0, 0);
		}
}

static void test_overflow(void **state)
{
	struct fixture *f = *state;

	apic_write(f->cpu->apic, LVT_PMC, 0x400); /* NMI */
	wr(f, MSR_PERF_GLOBAL_CTRL, ALL_GENERAL | ALL_FIXED);
	wr(f, MSR_PERFEVTSEL0 + 2, 0x3c | EN | OS);
	wr(f, MSR_PMC0 + 2, UINT32_MAX - 9);
	assert_int_equal(pmu_ticks_left(f->cpu), UINT64_MAX); /* it does not interrupt */
	run(f, 9, 0);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_STATUS), 0);
	run(f, 3, 0);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_STATUS), BIT(2));
	assert_int_equal(rd(f, MSR_PMC0 + 2), 2);
	assert_false(f->cpu->pins & BIT(PIN_NMI));
	wr(f, MSR_PERF_GLOBAL_OVF_CTRL, BIT(1));
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_STATUS), BIT(2));
	wr(f, MSR_PERF_GLOBAL_OVF_CTRL, BIT(2));
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_STATUS), 0);

	f->cpu->attention = 0;
	wr(f, MSR_FIXED_CTR_CTRL, 0x0b0);
	assert_true(f->cpu->attention & ATTEND_DEADLINE); /* so that the machine asks anew */
	wr(f, MSR_FIXED_CTR0 + 1, BITS(47, 0) - 99);
	assert_int_equal(pmu_ticks_left(f->cpu), 100);
	run(f, 50, 10);
	assert_int_equal(pmu_ticks_left(f->cpu), 40);
	assert_false(f->cpu->pins & BIT(PIN_NMI));
	run(f, 40, 0);
	assert_true(f->cpu->pins & BIT(PIN_NMI));
	assert_int_equal(rd(f, MSR_FIXED_CTR0 + 1), 0);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_STATUS), BIT(33));
	assert_int_equal(apic_read(f->cpu->apic, LVT_PMC), 0x10400); /* masked until software says otherwise */
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), ALL_GENERAL | ALL_FIXED);
	cpu_set_pin(f->cpu, PIN_NMI, false);
	wr(f, MSR_FIXED_CTR0 + 1, BITS(47, 0));
	run(f, 1, 0);
	assert_false(f->cpu->pins & BIT(PIN_NMI));

	/* what cannot happen now sets no limit: in another ring, or no event at all */
	wr(f, MSR_FIXED_CTR_CTRL, 0x0a0);
	assert_int_equal(pmu_ticks_left(f->cpu), UINT64_MAX);
	wr(f, MSR_PERFEVTSEL0 + 2, 0x2c | EN | OS | INT);
	assert_int_equal(pmu_ticks_left(f->cpu), UINT64_MAX);

	/* freezing */
	wr(f, MSR_DEBUGCTL, BIT(12));
	wr(f, MSR_FIXED_CTR_CTRL, 0x0b0);
	wr(f, MSR_FIXED_CTR0 + 1, BITS(47, 0));
	run(f, 1, 0);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), 0);
	assert_false(f->cpu->pmu.active);
}

/* An instruction of 4 ns is 4 cycles: an overflow in the middle of one comes with its end. */
static void test_slow_instructions(void **state)
{
	struct fixture *f = *state;

	f->cpu->tick_shift = 2;
	apic_write(f->cpu->apic, LVT_PMC, 0x400);
	wr(f, MSR_PERF_GLOBAL_CTRL, ALL_FIXED);
	wr(f, MSR_FIXED_CTR_CTRL, 0x0b3);
	wr(f, MSR_FIXED_CTR0 + 1, BITS(47, 0) - 40);
	assert_int_equal(pmu_ticks_left(f->cpu), 11);
	run(f, 10, 0);
	assert_false(f->cpu->pins & BIT(PIN_NMI));
	assert_int_equal(pmu_ticks_left(f->cpu), 1);
	run(f, 1, 0);
	assert_true(f->cpu->pins & BIT(PIN_NMI));
	assert_int_equal(rd(f, MSR_FIXED_CTR0), 11);
	assert_int_equal(rd(f, MSR_FIXED_CTR0 + 1), 3);
}

static void test_rdpmc(void **state)
{
	struct fixture *f = *state;
	static const uint32_t bad[] = {4, 5, BIT(30) | 3, BIT(31), BIT(29)};

	wr(f, MSR_PMC0 + 1, 0x80000000);
	wr(f, MSR_FIXED_CTR0 + 2, UINT64_C(0x123456789abc));
	RUN_AT(f, 0x0f, 0x33);
	f->cpu->r[RCX] = 1;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(f->cpu->r[RAX], 0x80000000);
	assert_int_equal(f->cpu->r[RDX], 0xffff);
	f->cpu->r[RCX] = BIT(30) | 2;
	f->cpu->rip = CODE_AT;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(f->cpu->r[RAX], 0x56789abc);
	assert_int_equal(f->cpu->r[RDX], 0x1234);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		f->cpu->r[RCX] = bad[i];
		f->cpu->rip = CODE_AT;
		assert_fault(f, VECTOR_GP, 0);
	}
	enter_ring(f, 3);
	f->cpu->r[RCX] = 0;
	assert_fault(f, VECTOR_GP, 0);
	f->cpu->cr4 |= CR4_PCE;
	f->cpu->rip = CODE_AT;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
}

/* An instruction counts once it is done, and the counters are exact inside of it. */
static void test_within_a_turn(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	wr(f, MSR_PERFEVTSEL0, 0xc0 | EN | OS);
	RUN_AT(f, 0x0f, 0x33);
	f->cpu->r[RCX] = 0;
	fixture_step(f);
	before = f->cpu->r[RAX];
	f->cpu->retired += 1; /* of the RDPMC, as the machine does it */
	f->cpu->cycles += 1;
	f->cpu->turn = f->cpu->budget = 0;
	f->cpu->rip = CODE_AT;
	fixture_step(f);
	assert_int_equal(f->cpu->r[RAX], before + 1);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	wr(f, MSR_PERFEVTSEL0, 0xc0 | EN | OS);
	wr(f, MSR_PMC0, 77);
	cpu_reset(f->cpu, true);
	assert_int_equal(rd(f, MSR_PMC0), 77); /* INIT leaves it */
	cpu_reset(f->cpu, false);
	run(f, 10, 0);
	assert_int_equal(rd(f, MSR_PMC0), 0);
	assert_int_equal(rd(f, MSR_PERFEVTSEL0), 0);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), 0xf);
}

/* "Load IA32_PERF_GLOBAL_CTRL" at VM entry and VM exit, and "save" at VM exit. */
static void test_vmx(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	assert_true(vmx_may(&caps, EXIT_CTLS, LOAD_PERF_GLOBAL_CTRL));
	assert_true(vmx_may(&caps, EXIT_CTLS, SAVE_PERF_GLOBAL_CTRL));
	PUT(VM_ENTRY_CTLS, vmcs_get(&f->cpu->vmx->vmcs, VM_ENTRY_CTLS) | ENTRY_CTLS_LOAD_PERF_GLOBAL_CTRL);
	PUT(VM_EXIT_CTLS, vmcs_get(&f->cpu->vmx->vmcs, VM_EXIT_CTLS) | EXIT_CTLS_LOAD_PERF_GLOBAL_CTRL |
				  EXIT_CTLS_SAVE_PERF_GLOBAL_CTRL);
	PUT(GUEST_PERF_GLOBAL_CTRL, BIT(34) | 3);
	PUT(HOST_PERF_GLOBAL_CTRL, BIT(33) | 5);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	ENTER(f, VMLAUNCH);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), BIT(34) | 3);
	wr(f, MSR_PERF_GLOBAL_CTRL, BIT(32));
	fixture_run(f);
	assert_int_equal(rd(f, MSR_PERF_GLOBAL_CTRL), BIT(33) | 5);
	assert_field(GUEST_PERF_GLOBAL_CTRL, BIT(32));
	PUT(HOST_PERF_GLOBAL_CTRL, BIT(4));
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_HOST_STATE);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, create_pmu, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cpuid), TEST(test_registers),	    TEST(test_events), TEST(test_rings), TEST(test_overflow),
		TEST(test_rdpmc), TEST(test_slow_instructions), TEST(test_within_a_turn), TEST(test_reset),  TEST(test_vmx),
	};

	return cmocka_run_group_tests_name("exec/pmu", tests, NULL, NULL);
}

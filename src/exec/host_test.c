/* What decides whether SIMD and x87 instructions run, and the exceptions they raise. Results are compared with the host
 * by tests/engines. */
#include "exec/fixture.h"
#include "exec/host_code.h"
#include "exec/host.h"

#define SIMD_CR4 (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE)

static struct host_simd *simd;

/* Inside the test, because cmocka takes SIGFPE just before it. */
static void start(void)
{
	struct error error;

	simd = host_simd_create(&error);
	assert_non_null(simd);
}

static int stop(void **state)
{
	host_simd_destroy(simd);
	simd = NULL;
	return fixture_destroy(state);
}

/* 64-bit mode with everything enabled. */
static void ready(struct fixture *f)
{
	start();
	fixture_long(f, 0);
	assert_false(exec_write_cr4(f->cpu, SIMD_CR4));
	f->cpu->fpu.xcr0 = f->model.xcr0_allowed & 0xe7;
	x87_init(&f->cpu->fpu);
}

/* Run the same bytes under changed control registers: the vector, or -1. */
static int outcome(struct fixture *f, const uint8_t *code, uint64_t cr0, uint64_t cr4, uint64_t xcr0)
{
	memcpy(f->ram + CODE_AT, code, 8);
	f->cpu->rip = CODE_AT;
	f->cpu->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | cr0;
	f->cpu->cr4 = cr4;
	f->cpu->fpu.xcr0 = xcr0;
	return fixture_step(f) == STEP_FAULT ? f->cpu->fault.vector : -1;
}

static void gates(void **state)
{
	static const uint8_t sse[8] = {0x66, 0x0f, 0xfe, 0xc1}, move[8] = {0x0f, 0x28, 0xc1},
			     mmx[8] = {0x0f, 0xfe, 0xc1}, x87[8] = {0xd9, 0xe8}, wait[8] = {0x9b},
			     avx[8] = {0xc5, 0xf1, 0xfe, 0xc2}, evex[8] = {0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2},
			     kmov[8] = {0xc5, 0xf8, 0x90, 0xc1}, zero[8] = {0xc5, 0xf8, 0x77};
	struct fixture *f = *state;

	ready(f);
	for (unsigned round = 0; round < 2; round++) { /* the first run of a form takes another way */
		assert_int_equal(outcome(f, sse, 0, SIMD_CR4, 7), -1);
		assert_int_equal(outcome(f, sse, CR0_TS, SIMD_CR4, 7), VECTOR_NM);
		assert_int_equal(outcome(f, sse, CR0_EM, SIMD_CR4, 7), VECTOR_UD);
		assert_int_equal(outcome(f, sse, CR0_EM | CR0_TS, SIMD_CR4, 7), VECTOR_UD);
		assert_int_equal(outcome(f, sse, 0, SIMD_CR4 & ~CR4_OSFXSR, 7), VECTOR_UD);
		assert_int_equal(outcome(f, move, CR0_TS, SIMD_CR4, 7), VECTOR_NM);
		assert_int_equal(outcome(f, move, 0, SIMD_CR4 & ~CR4_OSFXSR, 7), VECTOR_UD);
		assert_int_equal(outcome(f, mmx, 0, 0, 1), -1);
		assert_int_equal(outcome(f, mmx, CR0_TS, 0, 1), VECTOR_NM);
		assert_int_equal(outcome(f, mmx, CR0_EM, 0, 1), VECTOR_UD);
		assert_int_equal(outcome(f, x87, 0, 0, 1), -1);
		assert_int_equal(outcome(f, x87, CR0_TS, 0, 1), VECTOR_NM);
		assert_int_equal(outcome(f, x87, CR0_EM, 0, 1), VECTOR_NM);
		assert_int_equal(outcome(f, wait, CR0_TS, 0, 1), -1);
		assert_int_equal(outcome(f, wait, CR0_MP, 0, 1), -1);
		assert_int_equal(outcome(f, wait, CR0_MP | CR0_TS, 0, 1), VECTOR_NM);
		if (model_has(&f->model, FEATURE_AVX)) {
			assert_int_equal(outcome(f, avx, 0, SIMD_CR4, 7), -1);
			assert_int_equal(outcome(f, avx, CR0_EM, SIMD_CR4 & ~CR4_OSFXSR, 7), -1);
			assert_int_equal(outcome(f, avx, CR0_TS, SIMD_CR4, 7), VECTOR_NM);
			assert_int_equal(outcome(f, avx, CR0_TS, SIMD_CR4, 3), VECTOR_UD);
			assert_int_equal(outcome(f, avx, 0, SIMD_CR4 & ~CR4_OSXSAVE, 7), VECTOR_UD);
			assert_int_equal(outcome(f, zero, 0, SIMD_CR4, 3), VECTOR_UD);
		}
		if (model_has(&f->model, FEATURE_AVX512F)) {
			assert_int_equal(outcome(f, evex, 0, SIMD_CR4, 0xe7), -1);
			assert_int_equal(outcome(f, evex, 0, SIMD_CR4, 0x67), VECTOR_UD);
			assert_int_equal(outcome(f, kmov, 0, SIMD_CR4, 0xe7), -1);
			assert_int_equal(outcome(f, kmov, 0, SIMD_CR4, 0x07), VECTOR_UD);
		}
	}
}

static void simd_exceptions(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	fpu->v[0].q[0] = 0x3ff0000000000000; /* 1.0 / 0.0 */
	fpu->v[1].q[0] = 0;
	fpu->mxcsr = 0x1f80 & ~0x200; /* divide-by-zero unmasked */
	RUN_AT(f, 0xf2, 0x0f, 0x5e, 0xc1);
	assert_fault(f, VECTOR_XM, 0);
	host_mxcsr_sync(f->cpu);
	assert_int_equal(fpu->mxcsr, (0x1f80 & ~0x200) | 4);
	assert_int_equal(fpu->v[0].q[0], 0x3ff0000000000000);
	f->cpu->cr4 &= ~CR4_OSXMMEXCPT;
	assert_fault(f, VECTOR_UD, 0);
	host_mxcsr_sync(f->cpu);
	fpu->mxcsr = 0x1f80;
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(fpu->v[0].q[0], 0x7ff0000000000000);
	host_mxcsr_sync(f->cpu);
	assert_int_equal(fpu->mxcsr, 0x1f84);
	/* An inactive exception stays sticky and does no harm. */
	f->cpu->rip = CODE_AT;
	assert_int_equal(fixture_step(f), STEP_NEXT);
	host_mxcsr_sync(f->cpu);
	assert_int_equal(fpu->mxcsr, 0x1f84);
}

static void alignment(void **state)
{
	struct fixture *f = *state;

	ready(f);
	f->cpu->r[RSI] = 0x50008;
	RUN_AT(f, 0x66, 0x0f, 0x6f, 0x06); /* MOVDQA */
	assert_fault(f, VECTOR_GP, 0);
	RUN_AT(f, 0x66, 0x0f, 0xfe, 0x06); /* PADDD */
	assert_fault(f, VECTOR_GP, 0);
	assert_fault(f, VECTOR_GP, 0);
	RUN_AT(f, 0xf3, 0x0f, 0x6f, 0x06); /* MOVDQU */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	RUN_AT(f, 0x66, 0x0f, 0x3a, 0x63, 0x06, 0x00); /* PCMPISTRI */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	RUN_AT(f, 0x0f, 0x2b, 0x06); /* MOVNTPS */
	assert_fault(f, VECTOR_GP, 0);
	if (model_has(&f->model, FEATURE_AVX)) {
		RUN_AT(f, 0xc5, 0xf9, 0xfe, 0x06); /* VPADDD */
		assert_int_equal(fixture_step(f), STEP_NEXT);
		RUN_AT(f, 0xc5, 0xfd, 0x6f, 0x06); /* VMOVDQA */
		assert_fault(f, VECTOR_GP, 0);
	}
}

/* Over a page boundary into a page that is not there: nothing is loaded, nothing is stored. */
static void page_faults(void **state)
{
	struct fixture *f = *state;

	ready(f);
	f->cpu->r[RSI] = 0x1ffff8; /* 2 MiB are mapped */
	f->cpu->fpu.v[0].q[0] = 0x1234;
	RUN_AT(f, 0xf3, 0x0f, 0x6f, 0x06);
	assert_fault(f, VECTOR_PF, 0);
	assert_int_equal(f->cpu->fpu.v[0].q[0], 0x1234);
	poke(f, 0x1ffff8, 8, 0x77);
	RUN_AT(f, 0xf3, 0x0f, 0x7f, 0x06);
	assert_fault(f, VECTOR_PF, PF_W);
	assert_int_equal(peek(f, 0x1ffff8, 8), 0x77);
	RUN_AT(f, 0xdd, 0x36); /* FNSAVE */
	assert_fault(f, VECTOR_PF, PF_W);
	assert_int_equal(peek(f, 0x1ffff8, 8), 0x77);
}

static void x87_exceptions(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	x87_set(fpu, X87_FCW, 0x37f & ~4);			   /* divide-by-zero unmasked */
	RUN_AT(f, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xe8); /* FLD1; FLDZ; FDIVP; FLD1 */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_true(x87_get(fpu, X87_FSW) & FSW_ES);
	assert_int_equal(load_le(fpu->x87 + X87_FIP, 8), CODE_AT + 4);
	assert_int_equal(x87_get(fpu, X87_FOP), 0x6f9);
	assert_fault(f, VECTOR_MF, 0);
	RUN_AT(f, 0x9b);
	assert_fault(f, VECTOR_MF, 0);
	RUN_AT(f, 0x0f, 0x77); /* EMMS waits, FNSTSW does not */
	assert_fault(f, VECTOR_MF, 0);
	RUN_AT(f, 0xdf, 0xe0);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_true(f->cpu->r[RAX] & FSW_ES);
	f->cpu->cr0 &= ~CR0_NE;
	RUN_AT(f, 0xd9, 0xe8);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(f->events[CPU_FERR], 1);
	RUN_AT(f, 0xdb, 0xe2); /* FNCLEX */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_false(x87_get(fpu, X87_FSW) & FSW_ES);
}

static void mmx_state(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	f->cpu->r[RAX] = 0x1122334455667788;
	RUN_AT(f, 0xd9, 0xe8, 0x48, 0x0f, 0x6e, 0xd8, 0x0f, 0x77); /* FLD1; MOVQ MM3, RAX; EMMS */
	fixture_step(f);
	assert_int_equal(bits_get(x87_get(fpu, X87_FSW), 13, 11), 7);
	fixture_step(f);
	assert_int_equal(bits_get(x87_get(fpu, X87_FSW), 13, 11), 0);
	assert_int_equal(fpu->x87[X87_FTW], 0xff);
	assert_int_equal(load_le(fpu->x87 + X87_ST + 16 * 3, 8), 0x1122334455667788);
	assert_int_equal(load_le(fpu->x87 + X87_ST + 16 * 3 + 8, 2), 0xffff);
	assert_int_equal(load_le(fpu->x87 + X87_ST + 16 * 7 + 8, 2), 0x3fff); /* the 1 of FLD1 is in R7 */
	fixture_step(f);
	assert_int_equal(fpu->x87[X87_FTW], 0);
}

/* SDM vol. 1, the four figures of the x87 environment. */
static void environment_formats(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	struct fpu *fpu = &cpu->fpu;

	start();
	fixture_protected(f, 0);
	f->model.features[FEATURE_ZERO_FCS_FDS / 64] &= ~BIT(FEATURE_ZERO_FCS_FDS % 64);
	f->model.features[FEATURE_FDP_EXCPTN_ONLY / 64] &= ~BIT(FEATURE_FDP_EXCPTN_ONLY % 64);
	x87_init(fpu);
	cpu->r[RSI] = 0x50000;
	RUN_AT(f, 0xd9, 0x06, 0xd9, 0x76, 0x40, 0x66, 0xd9, 0xb6, 0x80, 0, 0,
	       0); /* FLD [ESI]; FNSTENV [ESI+40h]; the 16-bit one */
	poke(f, 0x50000, 4, 0x3f800000);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, 0x50040, 4), 0xffff037f);
	assert_int_equal(peek(f, 0x50044, 4), 0xffff3800);
	assert_int_equal(peek(f, 0x50048, 4), 0xffff3fff);
	assert_int_equal(peek(f, 0x5004c, 4), CODE_AT);
	assert_int_equal(peek(f, 0x50050, 4), CODE0 | 0x106 << 16);
	assert_int_equal(peek(f, 0x50054, 4), 0x50000);
	assert_int_equal(peek(f, 0x50058, 4), 0xffff0000 | DATA3);
	assert_int_equal(peek(f, 0x50080, 2), 0x37f);
	assert_int_equal(peek(f, 0x50086, 2), CODE_AT & 0xffff);
	assert_int_equal(peek(f, 0x50088, 2), CODE0);
	assert_int_equal(peek(f, 0x5008c, 2), DATA3);
	/* Real mode: linear addresses. */
	cpu->cr0 &= ~CR0_PE;
	segment_load_real(cpu, CS, CODE_AT >> 4);
	segment_load_real(cpu, DS, 0x5000);
	cpu->seg[CS].ar &= ~AR_DB;
	exec_context_changed(cpu);
	cpu->r[RSI] = 0x10;
	cpu->rip = 0;
	CODE_BYTES(f, CODE_AT, 0xd9, 0x04, 0xd9, 0x74, 0x20, 0x66, 0xd9, 0x74, 0x40);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, 0x50036, 2), CODE_AT & 0xffff);
	assert_int_equal(peek(f, 0x50038, 2), (CODE_AT >> 16) << 12 | 0x104);
	assert_int_equal(peek(f, 0x5003a, 2), 0x0010);
	assert_int_equal(peek(f, 0x5003c, 2), 5 << 12);
	assert_int_equal(peek(f, 0x5005c, 4), CODE_AT & 0xffff);
	assert_int_equal(peek(f, 0x50060, 4), (CODE_AT >> 16) << 12 | 0x104);
	assert_int_equal(peek(f, 0x50068, 4), 5 << 12);
	/* And back. */
	x87_init(fpu);
	CODE_BYTES(f, CODE_AT, 0xd9, 0x64, 0x20);
	cpu->rip = 0;
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(load_le(fpu->x87 + X87_FIP, 8), CODE_AT);
	assert_int_equal(load_le(fpu->x87 + X87_FDP, 8), 0x50010);
	assert_int_equal(bits_get(x87_get(fpu, X87_FSW), 13, 11), 6);
	assert_int_equal(fpu->x87[X87_FTW], 0xc0);
}

/* A mask keeps the elements that it leaves out from faulting, and from being written. */
static void fault_suppression(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	if (!model_has(&f->model, FEATURE_AVX512F))
		skip();
	f->cpu->r[RSI] = 0x1fffe0; /* half of 64 bytes is mapped */
	memset(fpu->v[1].b, 0xaa, 64);
	memset(f->ram + 0x1fffe0, 0x55, 32);
	fpu->k[1] = 0x0003;
	RUN_AT(f, 0x62, 0xf1, 0x7e, 0x49, 0x7f, 0x0e); /* VMOVDQU32 [RSI]{K1}, ZMM1 */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, 0x1fffe0, 8), 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(peek(f, 0x1fffe8, 8), 0x5555555555555555);
	fpu->k[1] = 0x0101;
	f->cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_PF, PF_W);
	assert_int_equal(f->cpu->fault.address, 0x200000);
	/* A gather keeps what it has done. */
	fpu->k[1] = 3;
	memset(fpu->v[2].b, 0, 64);
	fpu->v[2].d[1] = 0x20;
	memset(fpu->v[1].b, 0, 64);
	RUN_AT(f, 0x62, 0xf2, 0x7d, 0x49, 0x90, 0x0c, 0x16); /* VPGATHERDD ZMM1{K1}, [RSI+ZMM2] */
	assert_fault(f, VECTOR_PF, 0);
	assert_int_equal(fpu->k[1], 2);
	assert_int_equal(fpu->v[1].d[0], 0xaaaaaaaa);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_create, stop)
	const struct CMUnitTest tests[] = {
		TEST(gates),	      TEST(simd_exceptions), TEST(alignment),		TEST(page_faults),
		TEST(x87_exceptions), TEST(mmx_state),	     TEST(environment_formats), TEST(fault_suppression),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

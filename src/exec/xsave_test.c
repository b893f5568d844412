/* FXSAVE and the XSAVE family: layouts, headers, initial configuration, #GP rules. SDM vol. 1, "Managing State Using
 * the XSAVE Feature Set". */
#include "exec/fixture.h"

#define AREA	  0x50000
#define HEADER	  (AREA + 512)
#define COMPACTED BIT(63)

static void ready(struct fixture *f)
{
	struct fpu *fpu = &f->cpu->fpu;

	fixture_long(f, 0);
	assert_false(exec_write_cr4(f->cpu, CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE));
	memset(fpu, 0, sizeof(*fpu));
	x87_init(fpu);
	fpu->mxcsr = 0x1f80;
	fpu->xcr0 = f->model.xcr0_allowed & 7;
	f->cpu->r[RSI] = AREA;
	f->cpu->r[RAX] = f->cpu->r[RDX] = ~UINT64_C(0);
	memset(f->ram + AREA, 0xcc, 4096);
}

#define STEP(f, ...)                                          \
	do {                                                  \
		RUN_AT(f, __VA_ARGS__);                       \
		assert_int_equal(fixture_step(f), STEP_NEXT); \
	} while (0)
#define XSAVE(f)  STEP(f, 0x48, 0x0f, 0xae, 0x26)
#define XSAVEC(f) STEP(f, 0x48, 0x0f, 0xc7, 0x26)
#define XRSTOR(f) STEP(f, 0x48, 0x0f, 0xae, 0x2e)
#define XRSTOR_GP(f)                               \
	do {                                       \
		RUN_AT(f, 0x48, 0x0f, 0xae, 0x2e); \
		assert_fault(f, VECTOR_GP, 0);     \
	} while (0)

static void fxsave_layout(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	fpu->v[15].q[1] = 0x1234;
	store_le(fpu->x87 + X87_ST, 8, 0x5678);
	STEP(f, 0x48, 0x0f, 0xae, 0x06);
	assert_int_equal(peek(f, AREA, 2), 0x37f);
	assert_int_equal(peek(f, AREA + 24, 4), 0x1f80);
	assert_int_equal(peek(f, AREA + 28, 4), 0xffff);
	assert_int_equal(peek(f, AREA + 32, 8), 0x5678);
	assert_int_equal(peek(f, AREA + 160 + 15 * 16 + 8, 8), 0x1234);
	assert_int_equal(peek(f, AREA + 416, 1), 0xcc); /* software's */
	memset(fpu->v, 0, sizeof(fpu->v));
	STEP(f, 0x48, 0x0f, 0xae, 0x0e);
	assert_int_equal(fpu->v[15].q[1], 0x1234);
	poke(f, AREA + 24, 4, 0x10000);
	RUN_AT(f, 0x48, 0x0f, 0xae, 0x0e);
	assert_fault(f, VECTOR_GP, 0);
	f->cpu->r[RSI] = AREA + 8;
	assert_fault(f, VECTOR_GP, 0);
}

static void standard_format(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	if (!(fpu->xcr0 & 4))
		skip();
	poke(f, HEADER, 8, BIT(9)); /* of a component not asked for: stays */
	fpu->v[3].q[2] = 0xabcd;    /* upper half of YMM3 */
	XSAVE(f);
	assert_int_equal(peek(f, HEADER, 8), BIT(9) | BIT(2));
	assert_int_equal(peek(f, AREA + xstate_offset(2) + 16 * 3, 8), 0xabcd);
	assert_int_equal(peek(f, AREA + 160, 8), 0); /* XSAVE writes initial components too */
	memset(f->ram + AREA + 160, 0xcc, 16);
	STEP(f, 0x48, 0x0f, 0xae, 0x36); /* XSAVEOPT does not */
	assert_int_equal(peek(f, AREA + 160, 1), 0xcc);
	/* What XSTATE_BV leaves out becomes initial; MXCSR is loaded all the same. */
	poke(f, HEADER, 8, BIT(2));
	memset(f->ram + HEADER + 8, 0, 56);
	poke(f, AREA + 24, 4, 0x1fa0);
	fpu->v[3].q[2] = 0;
	fpu->v[0].q[0] = 1;
	x87_set(fpu, X87_FCW, 0x40);
	XRSTOR(f);
	assert_int_equal(fpu->v[3].q[2], 0xabcd);
	assert_int_equal(fpu->v[0].q[0], 0);
	assert_int_equal(x87_get(fpu, X87_FCW), 0x37f);
	assert_int_equal(fpu->mxcsr, 0x1fa0);
	/* Components outside RFBM keep what they hold. */
	f->cpu->r[RAX] = 1;
	fpu->v[0].q[0] = 7;
	XRSTOR(f);
	assert_int_equal(fpu->v[0].q[0], 7);
}

static void header_rules(void **state)
{
	struct fixture *f = *state;

	ready(f);
	memset(f->ram + HEADER, 0, 64);
	poke(f, AREA + 24, 4, 0x1f80);
	XRSTOR(f);
	poke(f, HEADER, 8, BIT(62));
	XRSTOR_GP(f);
	poke(f, HEADER, 8, 0);
	poke(f, HEADER + 8, 8, 1); /* XCOMP_BV without its bit 63 */
	XRSTOR_GP(f);
	poke(f, HEADER + 8, 8, 0);
	poke(f, HEADER + 16, 1, 1);
	XRSTOR_GP(f);
	poke(f, HEADER + 16, 1, 0);
	poke(f, AREA + 24, 4, 0x10000);
	XRSTOR_GP(f);
	poke(f, AREA + 24, 4, 0x1f80);
	poke(f, HEADER + 8, 8, COMPACTED | 1);
	poke(f, HEADER, 8, 2); /* not in XCOMP_BV */
	XRSTOR_GP(f);
	poke(f, HEADER, 8, 1);
	XRSTOR(f);
	poke(f, HEADER + 63, 1, 1);
	XRSTOR_GP(f);
	f->cpu->r[RSI] = AREA + 32;
	XRSTOR_GP(f);
}

static void compacted_format(void **state)
{
	struct fixture *f = *state;
	struct fpu *fpu = &f->cpu->fpu;

	ready(f);
	if (!model_has(&f->model, FEATURE_XSAVEC) || !(f->model.xcr0_allowed & BIT(5)))
		skip();
	fpu->xcr0 = 0xe7;
	fpu->k[2] = 0x55aa;
	fpu->v[20].q[7] = 0x99;
	XSAVEC(f);
	assert_int_equal(peek(f, HEADER, 8), BIT(5) | BIT(7));
	assert_int_equal(peek(f, HEADER + 8, 8), COMPACTED | 0xe7);
	assert_int_equal(peek(f, HEADER + 16, 1), 0xcc);
	assert_int_equal(peek(f, AREA, 1), 0xcc); /* initial x87: not written */
	assert_int_equal(peek(f, AREA + 576 + xstate_size(2) + 2 * 8, 8), 0x55aa);
	assert_int_equal(peek(f, AREA + 576 + xstate_size(2) + 64 + 512 + 4 * 64 + 56, 8), 0x99);
	memset(fpu->k, 0, sizeof(fpu->k));
	memset(fpu->v, 0, sizeof(fpu->v));
	memset(f->ram + HEADER + 16, 0, 48);
	fpu->mxcsr = 0x1fa0;
	XRSTOR(f);
	assert_int_equal(fpu->k[2], 0x55aa);
	assert_int_equal(fpu->v[20].q[7], 0x99);
	assert_int_equal(fpu->mxcsr, 0x1f80); /* part of SSE here, which is initial */
	/* MXCSR alone makes SSE in use. */
	fpu->mxcsr = 0x1fa0;
	XSAVEC(f);
	assert_int_equal(peek(f, HEADER, 8), BIT(1) | BIT(5) | BIT(7));
}

static int xsetbv(struct fixture *f, uint64_t value)
{
	f->cpu->r[RAX] = value;
	f->cpu->r[RDX] = value >> 32;
	RUN_AT(f, 0x0f, 0x01, 0xd1);
	return fixture_step(f) == STEP_FAULT ? f->cpu->fault.vector : -1;
}

static void xcr0_rules(void **state)
{
	struct fixture *f = *state;

	ready(f);
	f->model.xcr0_allowed = 0xe7;
	f->cpu->r[RCX] = 0;
	assert_int_equal(xsetbv(f, 1), -1);
	assert_int_equal(xsetbv(f, 7), -1);
	assert_int_equal(xsetbv(f, 0xe7), -1);
	for (unsigned value = 0; value < 256; value++) {
		bool good = (value & 1) && !(value & 0x18) && (!(value & 4) || (value & 2)) &&
			    (!(value & 0xe0) || (value & 0xe4) == 0xe4);

		assert_int_equal(xsetbv(f, value), good ? -1 : VECTOR_GP);
	}
	assert_int_equal(xsetbv(f, BIT(63) | 1), VECTOR_GP);
	f->cpu->r[RCX] = 1;
	assert_int_equal(xsetbv(f, 1), VECTOR_GP);
	f->cpu->r[RCX] = 0;
	f->cpu->cr4 &= ~CR4_OSXSAVE;
	assert_int_equal(xsetbv(f, 1), VECTOR_UD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(fxsave_layout),	FIXTURE_TEST(standard_format), FIXTURE_TEST(header_rules),
		FIXTURE_TEST(compacted_format), FIXTURE_TEST(xcr0_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

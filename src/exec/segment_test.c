/* Segment loads, address checks, questions about descriptors, system tables. */
#include "exec/fixture.h"

static enum step mov_ds(struct fixture *f, uint16_t selector)
{
	f->cpu->r[RAX] = selector;
	RUN_AT(f, 0x8e, 0xd8);
	return fixture_step(f);
}

static void expect_load_fault(struct fixture *f, uint16_t selector, unsigned vector)
{
	assert_int_equal(mov_ds(f, selector), STEP_FAULT);
	assert_int_equal(f->cpu->fault.vector, vector);
	assert_int_equal(f->cpu->fault.error, selector & 0xfffc);
}

/* MOV DS: every descriptor type, DPL and RPL at CPL 0 and 3, against the manual's condition. */
static void data_load_types_and_privilege(void **state)
{
	struct fixture *f = *state;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		fixture_protected(f, cpl);
		for (unsigned type = 0; type < 32; type++)
			for (unsigned dpl = 0; dpl < 4; dpl++)
				for (unsigned rpl = 0; rpl < 4; rpl++) {
					uint16_t selector = (uint16_t)(FREE_SEL | rpl);
					bool segment = type & 16, code = type & 8, conforming = code && (type & 4);
					bool readable = segment && (!code || (type & 2));
					bool allowed = readable && (conforming || (rpl <= dpl && cpl <= dpl));

					put_descriptor(f, FREE_SEL, 0x1000, 0xfff, type | dpl << 5 | AR_P);
					if (!allowed) {
						expect_load_fault(f, selector, VECTOR_GP);
						continue;
					}
					assert_int_not_equal(mov_ds(f, selector), STEP_FAULT);
					assert_int_equal(f->cpu->seg[DS].selector, selector);
					assert_int_equal(f->cpu->seg[DS].base, 0x1000);
					assert_int_equal(f->cpu->seg[DS].limit, 0xfff);
					assert_int_equal(f->cpu->seg[DS].ar, type | dpl << 5 | AR_P | 1);
					assert_true(f->ram[GDT_AT + FREE_SEL + 5] & 1);
				}
	}
}

static void load_edges(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	put_descriptor(f, FREE_SEL, 0x12345678, 0xabcde, AR_DATA0 | AR_32);
	mov_ds(f, FREE_SEL);
	assert_int_equal(f->cpu->seg[DS].base, 0x12345678);
	assert_int_equal(f->cpu->seg[DS].limit, 0xabcdefff);
	put_descriptor(f, FREE_SEL, 0, 0, AR_DATA0 & ~AR_P);
	expect_load_fault(f, FREE_SEL, VECTOR_NP);
	expect_load_fault(f, 0x80, VECTOR_GP);		/* beyond the limit of 7FH */
	expect_load_fault(f, 0x0c, VECTOR_GP);		/* no LDT */
	assert_int_not_equal(mov_ds(f, 3), STEP_FAULT); /* null */
	assert_true(f->cpu->seg[DS].ar & AR_UNUSABLE);
	RUN_AT(f, 0x0f, 0x01, 0x10); /* LGDT [EAX] through the null DS */
	assert_fault(f, VECTOR_GP, 0);
}

static void stack_load(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	RUN_AT(f, 0x8e, 0xd0); /* MOV SS, AX */
	cpu->r[RAX] = 0;
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RAX] = DATA0 | 1; /* RPL */
	assert_fault(f, VECTOR_GP, DATA0);
	cpu->r[RAX] = DATA3 & ~3; /* DPL */
	assert_fault(f, VECTOR_GP, DATA3 & ~3);
	cpu->r[RAX] = CODE0;
	assert_fault(f, VECTOR_GP, CODE0);
	put_descriptor(f, FREE_SEL, 0, 0xffff, AR_DATA0 & ~AR_P);
	cpu->r[RAX] = FREE_SEL;
	assert_fault(f, VECTOR_SS, FREE_SEL);
	put_descriptor(f, FREE_SEL, 0, 0xffff, AR_DATA0);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->shadow, SHADOW_MOV_SS << SHADOW_NEXT);
	assert_false(cpu->mode & MODE_STACK32);

	/* 64-bit mode: null SS with RPL = CPL < 3. */
	fixture_long(f, 0);
	RUN_AT(f, 0x8e, 0xd0);
	cpu->r[RAX] = 0;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	cpu->rip = CODE_AT;
	cpu->r[RAX] = 1;
	assert_fault(f, VECTOR_GP, 0);
}

/* Expand-down and ordinary limits, by the last byte that is and the first that is not inside. */
static void limits(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	la_t la;

	fixture_protected(f, 0);
	cpu->seg[DS] = (struct segment){.base = 0x100, .limit = 0xfff, .ar = AR_DATA0};
	assert_false(segment_linear(cpu, DS, 0xffc, 4, ACCESS_WRITE, &la));
	assert_int_equal(la, 0x10fc);
	assert_true(segment_linear(cpu, DS, 0xffd, 4, ACCESS_READ, &la));
	assert_int_equal(cpu->fault.vector, VECTOR_GP);
	assert_true(segment_linear(cpu, DS, 0xfffffffe, 4, ACCESS_READ, &la));
	cpu->seg[SS] = (struct segment){.limit = 0xfff, .ar = AR_DATA0 | AR_DOWN};
	assert_true(segment_linear(cpu, SS, 0xfff, 1, ACCESS_READ, &la));
	assert_int_equal(cpu->fault.vector, VECTOR_SS);
	assert_false(segment_linear(cpu, SS, 0x1000, 1, ACCESS_READ, &la));
	assert_false(segment_linear(cpu, SS, 0xfffe, 2, ACCESS_READ, &la));
	assert_true(segment_linear(cpu, SS, 0xffff, 2, ACCESS_READ, &la));
	cpu->seg[SS].ar |= AR_DB;
	assert_false(segment_linear(cpu, SS, 0xfffffffc, 4, ACCESS_READ, &la));
	cpu->seg[ES] = (struct segment){.limit = 0xfff, .ar = AR_P | AR_S}; /* read-only */
	assert_false(segment_linear(cpu, ES, 0, 4, ACCESS_READ, &la));
	assert_true(segment_linear(cpu, ES, 0, 4, ACCESS_WRITE, &la));
	cpu->seg[ES].ar = AR_P | AR_S | AR_CODE; /* execute-only */
	assert_true(segment_linear(cpu, ES, 0, 4, ACCESS_READ, &la));
	cpu->seg[ES].ar |= AR_WRITABLE; /* readable */
	assert_false(segment_linear(cpu, ES, 0, 4, ACCESS_READ, &la));
	assert_true(segment_linear(cpu, ES, 0, 4, ACCESS_READ | ACCESS_WRITE, &la));

	fixture_long(f, 0);
	cpu->seg[FS].base = 0x7ffffffff000;
	assert_false(segment_linear(cpu, FS, 0xff8, 8, ACCESS_READ, &la));
	assert_true(segment_linear(cpu, FS, 0xff9, 8, ACCESS_READ, &la));
	assert_int_equal(cpu->fault.vector, VECTOR_GP);
	assert_true(segment_linear(cpu, SS, UINT64_C(1) << 47, 1, ACCESS_READ, &la));
	assert_int_equal(cpu->fault.vector, VECTOR_SS);
}

static bool zf(struct fixture *f)
{
	assert_int_equal(fixture_step(f), STEP_NEXT);
	f->cpu->rip = CODE_AT;
	return cpu_rflags(f->cpu) & RFLAGS_ZF;
}

static void lar_lsl_by_type(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	/* SDM vol. 2, "LAR" and "LSL", tables of valid types; index: system type. */
	const uint16_t lar[2] = {0x1a3e, 0x1a04}, lsl[2] = {0x0a0e, 0x0a04};

	for (unsigned in_long_mode = 0; in_long_mode < 2; in_long_mode++) {
		if (in_long_mode)
			fixture_long(f, 0);
		else
			fixture_protected(f, 0);
		for (unsigned type = 0; type < 16; type++) {
			put_descriptor(f, FREE_SEL, 0, 0x12345, type | AR_P | AR_G);
			cpu->r[RBX] = FREE_SEL;
			cpu->r[RAX] = 0;
			RUN_AT(f, 0x0f, 0x02, 0xc3); /* LAR EAX, EBX */
			assert_int_equal(zf(f), lar[in_long_mode] >> type & 1);
			assert_int_equal(cpu->r[RAX], zf(f) ? (uint64_t)(0x8000 | type << 8 | 0x810000) : 0);
			RUN_AT(f, 0x0f, 0x03, 0xc3);
			cpu->r[RAX] = 0;
			assert_int_equal(zf(f), lsl[in_long_mode] >> type & 1);
			assert_int_equal(cpu->r[RAX], zf(f) ? 0x12345fff : 0);
		}
	}
	fixture_protected(f, 3);
	RUN_AT(f, 0x0f, 0x02, 0xc3);
	cpu->r[RBX] = DATA0;
	assert_false(zf(f)); /* DPL below CPL */
	cpu->r[RBX] = DATA3;
	assert_true(zf(f));
	cpu->r[RBX] = 0;
	assert_false(zf(f));
	cpu->r[RBX] = 0x88;
	assert_false(zf(f));
}

static void verr_verw(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	for (unsigned type = 0; type < 32; type++)
		for (unsigned dpl = 0; dpl < 4; dpl++) {
			bool segment = type & 16, code = type & 8, conforming = code && (type & 4);

			put_descriptor(f, FREE_SEL, 0, 0, type | dpl << 5); /* presence does not matter */
			cpu->r[RAX] = FREE_SEL;
			RUN_AT(f, 0x0f, 0x00, 0xe0);
			assert_int_equal(zf(f), segment && (!code || (type & 2)) && (conforming || dpl == 3));
			RUN_AT(f, 0x0f, 0x00, 0xe8);
			assert_int_equal(zf(f), segment && !code && (type & 2) && dpl == 3);
		}
}

static void arpl(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	RUN_AT(f, 0x63, 0xd8); /* ARPL AX, BX */
	cpu->r[RAX] = 0x1238;
	cpu->r[RBX] = 0xff03;
	assert_true(zf(f));
	assert_int_equal(cpu->r[RAX], 0x123b);
	cpu->r[RBX] = 2;
	assert_false(zf(f));
	assert_int_equal(cpu->r[RAX], 0x123b);
}

static void system_tables(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	cpu->r[RAX] = 0x20000;
	poke(f, 0x20000, 8, 0xdeadbeef1234);
	RUN_AT(f, 0x0f, 0x01, 0x10);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->gdtr.limit, 0x1234);
	assert_int_equal(cpu->gdtr.base, 0xdeadbeef);
	RUN_AT(f, 0x66, 0x0f, 0x01, 0x18); /* LIDT with a 16-bit operand: 24 bits of base */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->idtr.base, 0xadbeef);
	RUN_AT(f, 0x0f, 0x01, 0x00); /* SGDT */
	poke(f, 0x20000, 8, 0xffff000000000000);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, 0x20000, 8), 0xffffdeadbeef1234);
	enter_ring(f, 0);
	fixture_protected(f, 3);
	RUN_AT(f, 0x0f, 0x01, 0x10);
	assert_fault(f, VECTOR_GP, 0);
	RUN_AT(f, 0x0f, 0x01, 0x00);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_false(exec_write_cr4(cpu, CR4_UMIP));
	cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_GP, 0);

	fixture_long(f, 0);
	cpu->r[RAX] = 0x20000;
	poke(f, 0x20002, 8, UINT64_C(1) << 60);
	RUN_AT(f, 0x0f, 0x01, 0x18);
	assert_fault(f, VECTOR_GP, 0); /* base not canonical */
}

static void ltr_and_lldt(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	RUN_AT(f, 0x0f, 0x00, 0xd8); /* LTR AX */
	cpu->r[RAX] = 0;
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RAX] = TSS_SEL;
	assert_fault(f, VECTOR_GP, TSS_SEL); /* busy */
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, TYPE_TSS);
	cpu->r[RAX] = TSS2_SEL;
	assert_fault(f, VECTOR_NP, TSS2_SEL);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->seg[TR].base, TSS2_AT);
	assert_int_equal(cpu->seg[TR].ar, AR_P | TYPE_TSS_BUSY);
	assert_int_equal(f->ram[GDT_AT + TSS2_SEL + 5], AR_P | TYPE_TSS_BUSY);

	put_descriptor(f, FREE_SEL, LDT_AT, 0xf, AR_P | TYPE_LDT);
	RUN_AT(f, 0x0f, 0x00, 0xd0); /* LLDT AX */
	assert_fault(f, VECTOR_GP, TSS2_SEL);
	cpu->r[RAX] = FREE_SEL;
	assert_int_equal(fixture_step(f), STEP_NEXT);
	put_descriptor(f, 0x0c, 0x4000, 0xff, AR_DATA0);
	assert_int_not_equal(mov_ds(f, 0x0c), STEP_FAULT);
	assert_int_equal(cpu->seg[DS].base, 0x4000);
	expect_load_fault(f, 0x14, VECTOR_GP); /* beyond the LDT */

	fixture_long(f, 0);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS);
	poke(f, GDT_AT + TSS2_SEL + 8, 8, 0xffff8000);
	cpu->r[RAX] = TSS2_SEL;
	RUN_AT(f, 0x0f, 0x00, 0xd8);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->seg[TR].base, 0xffff800000000000 | TSS2_AT);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS);
	poke(f, GDT_AT + TSS2_SEL + 8, 8, BIT(40)); /* upper type not 0 */
	cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_GP, TSS2_SEL);
}

static void real_mode_keeps_limits(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	assert_false(exec_write_cr0(cpu, CR0_ET));
	assert_int_not_equal(mov_ds(f, 0x1234), STEP_FAULT);
	assert_int_equal(cpu->seg[DS].base, 0x12340);
	assert_int_equal(cpu->seg[DS].limit, UINT32_MAX);
	RUN_AT(f, 0x0f, 0x00, 0xd8); /* LTR */
	assert_fault(f, VECTOR_UD, 0);
}

static void far_pointer_loads(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	cpu->r[RAX] = 0x20000;
	cpu->r[RBX] = 0x55;
	poke(f, 0x20000, 8, (uint64_t)(DATA3 & ~3) << 32 | 0x89abcdef);
	RUN_AT(f, 0x0f, 0xb2, 0x18); /* LSS EBX, [EAX]: wrong DPL */
	assert_fault(f, VECTOR_GP, DATA3 & ~3);
	assert_int_equal(cpu->r[RBX], 0x55);
	poke(f, 0x20004, 2, DATA0);
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(cpu->r[RBX], 0x89abcdef);
	assert_int_equal(cpu->shadow, 0); /* only MOV and POP block */
	RUN_AT(f, 0xc4, 0x18);		  /* LES */
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(cpu->seg[ES].selector, DATA0);
}

static void push_and_pop(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	poke(f, STACK0_TOP - 4, 4, 0xaaaaaaaa);
	RUN_AT(f, 0x0e, 0x07); /* PUSH CS; POP ES: the upper half of the slot stays */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 4);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), 0xaaaa0000 | CODE0);
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(cpu->seg[ES].selector, CODE0);
	assert_int_equal(cpu->r[RSP], STACK0_TOP);
	RUN_AT(f, 0x07);
	cpu->r[RSP] = STACK0_TOP - 4;
	poke(f, STACK0_TOP - 4, 4, 0x88);
	assert_fault(f, VECTOR_GP, 0x88);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 4);

	fixture_long(f, 0);
	RUN_AT(f, 0x0f, 0xa0); /* PUSH FS */
	poke(f, STACK0_TOP - 8, 8, UINT64_MAX);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, STACK0_TOP - 8, 8), DATA3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(data_load_types_and_privilege),
		FIXTURE_TEST(load_edges),
		FIXTURE_TEST(stack_load),
		FIXTURE_TEST(limits),
		FIXTURE_TEST(lar_lsl_by_type),
		FIXTURE_TEST(verr_verw),
		FIXTURE_TEST(arpl),
		FIXTURE_TEST(system_tables),
		FIXTURE_TEST(ltr_and_lldt),
		FIXTURE_TEST(real_mode_keeps_limits),
		FIXTURE_TEST(far_pointer_loads),
		FIXTURE_TEST(push_and_pop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

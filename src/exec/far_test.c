/* Far JMP, CALL and RET, call gates of 16, 32 and 64 bits, near-branch limits, fast system calls. */
#include "exec/fixture.h"

/* JMP or CALL ptr16:32 at CODE_AT. */
static void far_code(struct fixture *f, bool call, uint16_t selector, uint32_t offset)
{
	f->ram[CODE_AT] = call ? 0x9a : 0xea;
	poke(f, CODE_AT + 1, 4, offset);
	poke(f, CODE_AT + 5, 2, selector);
	f->cpu->rip = CODE_AT;
}

/* JMP FAR to code of every kind of DPL, RPL and conformity. */
static void direct_privilege(void **state)
{
	struct fixture *f = *state;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned conforming = 0; conforming < 2; conforming++)
			for (unsigned dpl = 0; dpl < 4; dpl++)
				for (unsigned rpl = 0; rpl < 4; rpl++) {
					bool allowed = conforming ? dpl <= cpl : rpl <= cpl && dpl == cpl;

					fixture_protected(f, cpl);
					put_descriptor(f, FREE_SEL, 0, 0xfffff,
						       AR_CODE0 | AR_32 | dpl << 5 | (conforming ? AR_DOWN : 0));
					far_code(f, false, (uint16_t)(FREE_SEL | rpl), 0x15000);
					if (!allowed) {
						assert_fault(f, VECTOR_GP, FREE_SEL);
						continue;
					}
					assert_int_equal(fixture_step(f), STEP_LEAVE);
					assert_int_equal(f->cpu->seg[CS].selector, FREE_SEL | cpl);
					assert_int_equal(f->cpu->rip, 0x15000);
					assert_int_equal(f->cpu->cpl, cpl);
				}
}

static void direct_edges(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	far_code(f, false, 0, 0);
	assert_fault(f, VECTOR_GP, 0);
	far_code(f, false, DATA0, 0);
	assert_fault(f, VECTOR_GP, DATA0);
	put_descriptor(f, FREE_SEL, 0, 0xff, (AR_CODE0 | AR_DB) & ~AR_P);
	far_code(f, false, FREE_SEL, 0x100);
	assert_fault(f, VECTOR_NP, FREE_SEL);
	put_descriptor(f, FREE_SEL, 0, 0xff, AR_CODE0 | AR_DB);
	assert_fault(f, VECTOR_GP, 0);
	far_code(f, true, FREE_SEL, 0xff);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), CODE0);
	assert_int_equal(peek(f, STACK0_TOP - 8, 4), CODE_AT + 7);
	assert_int_equal(f->cpu->r[RSP], STACK0_TOP - 8);
}

static void put_call_gate(struct fixture *f, unsigned type, unsigned dpl, uint16_t selector, uint64_t offset,
			  unsigned parameters)
{
	put_gate(f, GDT_AT + FREE_SEL, selector, offset, type, dpl, parameters);
}

static void gate_to_inner_ring_and_back(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	put_call_gate(f, TYPE_CALL, 3, CODE0, 0x15000, 3);
	for (unsigned i = 0; i < 3; i++)
		poke(f, STACK3_TOP - 12 + 4 * i, 4, 0x111 * (i + 1));
	cpu->r[RSP] = STACK3_TOP - 12;
	far_code(f, true, FREE_SEL | 3, 0xdeadbeef);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->seg[CS].selector, CODE0);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 28);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), DATA3);
	assert_int_equal(peek(f, STACK0_TOP - 8, 4), STACK3_TOP - 12);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), 0x333);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), 0x222);
	assert_int_equal(peek(f, STACK0_TOP - 20, 4), 0x111);
	assert_int_equal(peek(f, STACK0_TOP - 24, 4), CODE3);
	assert_int_equal(peek(f, STACK0_TOP - 28, 4), CODE_AT + 7);

	/* RETF 12: parameters go from both stacks; ring-0 data segments become null. */
	load_segment(f, FS, DATA0);
	CODE_BYTES(f, 0x15000, 0xca, 0x0c, 0x00);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);
	assert_int_equal(cpu->rip, CODE_AT + 7);
	assert_true(cpu->seg[FS].ar & AR_UNUSABLE);
	assert_int_equal(cpu->seg[DS].selector, DATA3);
}

static void gate_of_16_bits(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 3);
	put_call_gate(f, TYPE_CALL16, 3, CODE0, 0x77775000, 1);
	poke(f, STACK3_TOP, 2, 0x4242);
	far_code(f, true, FREE_SEL | 3, 0);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(f->cpu->rip, 0x5000);
	assert_int_equal(f->cpu->r[RSP], STACK0_TOP - 10);
	assert_int_equal(peek(f, STACK0_TOP - 6, 2), 0x4242);
	assert_int_equal(peek(f, STACK0_TOP - 8, 2), CODE3);
}

static void gate_checks(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 3);
	put_call_gate(f, TYPE_CALL, 0, CODE0, 0x15000, 0);
	far_code(f, true, FREE_SEL, 0);
	assert_fault(f, VECTOR_GP, FREE_SEL); /* DPL below CPL */
	put_call_gate(f, TYPE_CALL, 3, 0, 0x15000, 0);
	assert_fault(f, VECTOR_GP, 0);
	put_call_gate(f, TYPE_CALL, 3, DATA0, 0x15000, 0);
	assert_fault(f, VECTOR_GP, DATA0);
	put_call_gate(f, TYPE_CALL, 3, CODE0, 0x15000, 0);
	far_code(f, false, FREE_SEL, 0);
	assert_fault(f, VECTOR_GP, CODE0); /* JMP does not go inwards */
	f->ram[GDT_AT + FREE_SEL + 5] &= 0x7f;
	assert_fault(f, VECTOR_NP, FREE_SEL);
}

static void gate_of_64_bits(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 3);
	put_call_gate(f, TYPE_CALL, 3, CODE0, 0x15000, 0);
	poke(f, GDT_AT + FREE_SEL + 8, 8, 0);
	poke(f, 0x18000, 8, (uint64_t)(FREE_SEL | 3) << 32);
	cpu->r[RAX] = 0x18000;
	RUN_AT(f, 0xff, 0x18); /* CALL FAR [RAX] */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 32);
	assert_int_equal(peek(f, STACK0_TOP - 8, 8), DATA3);
	assert_int_equal(peek(f, STACK0_TOP - 16, 8), STACK3_TOP);
	assert_int_equal(peek(f, STACK0_TOP - 24, 8), CODE3);
	assert_int_equal(peek(f, STACK0_TOP - 32, 8), CODE_AT + 2);
	assert_int_equal(cpu->seg[SS].selector, 0);
	CODE_BYTES(f, 0x15000, 0x48, 0xcb); /* RETF, 64-bit operands */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);

	poke(f, GDT_AT + FREE_SEL + 8, 8, BIT(40));
	cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_GP, FREE_SEL);
	poke(f, GDT_AT + FREE_SEL + 8, 8, 0x8000); /* target not canonical */
	assert_fault(f, VECTOR_GP, 0);
	/* Task gates and TSSs are nothing here. */
	poke(f, 0x18004, 2, TSS_SEL);
	assert_fault(f, VECTOR_GP, TSS_SEL);
}

static void return_checks(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	RUN_AT(f, 0xcb);
	poke(f, STACK3_TOP, 4, 0x15000);
	poke(f, STACK3_TOP + 4, 4, CODE0);
	assert_fault(f, VECTOR_GP, CODE0); /* inwards */
	poke(f, STACK3_TOP + 4, 4, 0);
	assert_fault(f, VECTOR_GP, 0);
	poke(f, STACK3_TOP + 4, 4, DATA3);
	assert_fault(f, VECTOR_GP, DATA3 & ~3);
	fixture_protected(f, 0);
	RUN_AT(f, 0xcb);
	cpu->r[RSP] = STACK0_TOP - 16;
	poke(f, STACK0_TOP - 16, 4, 0x15000);
	poke(f, STACK0_TOP - 12, 4, CODE3);
	poke(f, STACK0_TOP - 8, 4, STACK3_TOP);
	poke(f, STACK0_TOP - 4, 4, DATA0);
	assert_fault(f, VECTOR_GP, DATA0); /* RPL of SS */
	poke(f, STACK0_TOP - 4, 4, 0);
	assert_fault(f, VECTOR_GP, 0);
	put_descriptor(f, DATA3, 0, 0xfffff, (AR_DATA0 | AR_32 | AR_DPL3) & ~AR_P);
	poke(f, STACK0_TOP - 4, 4, DATA3);
	assert_fault(f, VECTOR_SS, DATA3 & ~3);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 16);
	assert_int_equal(cpu->cpl, 0);
}

static void near_targets(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	f->cpu->seg[CS].limit = 0x1ffff;
	assert_int_equal(branch_to(f->cpu, 0x1ffff), STEP_LEAVE);
	assert_int_equal(f->cpu->rip, 0x1ffff);
	assert_int_equal(branch_to(f->cpu, 0x20000), STEP_FAULT);
	assert_int_equal(f->cpu->rip, 0x1ffff);
	fixture_long(f, 0);
	assert_int_equal(branch_to(f->cpu, 0x7fffffffffff), STEP_LEAVE);
	assert_int_equal(branch_to(f->cpu, 0x800000000000), STEP_FAULT);
	assert_int_equal(f->cpu->fault.vector, VECTOR_GP);
}

static void real_mode(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	cpu->seg[CS] = (struct segment){.selector = 0x1000, .base = 0x10000, .limit = 0xffff, .ar = 0x9b};
	cpu->seg[SS].base = 0x20000;
	cpu->r[RSP] = 0x100;
	CODE_BYTES(f, 0x10000, 0x9a, 0x34, 0x12, 0x00, 0x18); /* CALL 1800:1234 */
	cpu->rip = 0;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->seg[CS].base, 0x18000);
	assert_int_equal(cpu->rip, 0x1234);
	assert_int_equal(peek(f, 0x200fc, 4), 0x10000005);
	CODE_BYTES(f, 0x19234, 0xca, 0x02, 0x00); /* RETF 2 */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->seg[CS].base, 0x10000);
	assert_int_equal(cpu->rip, 5);
	assert_int_equal(cpu->r[RSP], 0x102);
}

static void syscall_and_sysret(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 3);
	cpu->star = (uint64_t)0x1b << 48 | (uint64_t)0x0b << 32;
	cpu->lstar = 0x15000;
	cpu->fmask = RFLAGS_IF | RFLAGS_ZF;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_ZF | RFLAGS_CF);
	RUN_AT(f, 0x0f, 0x05);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->r[RCX], CODE_AT + 2);
	assert_int_equal(cpu->r[R11], RFLAGS_IF | RFLAGS_ZF | RFLAGS_CF | 2);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_CF | 2);
	assert_int_equal(cpu->seg[CS].selector, 0x08);
	assert_int_equal(cpu->seg[SS].selector, 0x10);
	assert_int_equal(cpu->cpl, 0);
	assert_true(cpu_64bit(cpu));

	CODE_BYTES(f, 0x15000, 0x48, 0x0f, 0x07);
	cpu->r[RCX] = 0x800000000000;
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RCX] = CODE_AT;
	cpu->r[R11] = ~UINT64_C(0);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[CS].selector, 0x2b);
	assert_int_equal(cpu->seg[SS].selector, 0x23);
	assert_int_equal(cpu_rflags(cpu), 0x3c7fd7);
	assert_int_equal(cpu->rip, CODE_AT);
	CODE_BYTES(f, CODE_AT, 0x48, 0x0f, 0x07);
	assert_fault(f, VECTOR_GP, 0); /* CPL 3 */
	cpu->efer &= ~EFER_SCE;
	assert_fault(f, VECTOR_UD, 0);
}

static void sysenter_and_sysexit(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	RUN_AT(f, 0x0f, 0x34);
	assert_fault(f, VECTOR_GP, 0); /* no CS */
	cpu->sysenter_cs = 0x08;
	cpu->sysenter_esp = STACK0_TOP;
	cpu->sysenter_eip = 0x15000;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_SF);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_SF | 2);
	assert_int_equal(cpu->r[RSP], STACK0_TOP);
	assert_int_equal(cpu->seg[SS].selector, 0x10);
	CODE_BYTES(f, 0x15000, 0x0f, 0x35);
	cpu->r[RCX] = STACK3_TOP;
	cpu->r[RDX] = CODE_AT;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->seg[CS].selector, 0x1b);
	assert_int_equal(cpu->seg[SS].selector, 0x23);
	assert_int_equal(cpu->rip, CODE_AT);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);
}

static void swapgs(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	cpu->seg[GS].base = 1;
	cpu->fs_kernel_gs = 2;
	RUN_AT(f, 0x0f, 0x01, 0xf8);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->seg[GS].base, 2);
	assert_int_equal(cpu->fs_kernel_gs, 1);
	enter_ring(f, 3);
	assert_fault(f, VECTOR_GP, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(direct_privilege),
		FIXTURE_TEST(direct_edges),
		FIXTURE_TEST(gate_to_inner_ring_and_back),
		FIXTURE_TEST(gate_of_16_bits),
		FIXTURE_TEST(gate_checks),
		FIXTURE_TEST(gate_of_64_bits),
		FIXTURE_TEST(return_checks),
		FIXTURE_TEST(near_targets),
		FIXTURE_TEST(real_mode),
		FIXTURE_TEST(syscall_and_sysret),
		FIXTURE_TEST(sysenter_and_sysexit),
		FIXTURE_TEST(swapgs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

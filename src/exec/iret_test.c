/* IRET, PUSHF and POPF: which flags change where, and returns between rings and modes. PUSHA POPA ENTER LEAVE. */
#include "exec/fixture.h"

#define ALL (RFLAGS_DEFINED | 2)

static void put_frame(struct fixture *f, uint64_t at, unsigned size, const uint64_t *value, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		poke(f, at + i * size, size, value[i]);
	f->cpu->r[RSP] = at;
}

/* SDM vol. 2, "POPF", its table: flags that 32-bit POPF may set from 0, by CPL and IOPL. */
static void popf_by_privilege(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	uint64_t always = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned iopl = 0; iopl < 4; iopl++)
			for (unsigned size = 2; size <= 4; size += 2) {
				uint64_t old = RFLAGS_RF | iopl << 12 | 2, may = always, all = ALL;

				fixture_protected(f, cpl);
				cpu_set_rflags(cpu, old);
				put_frame(f, STACK3_TOP, size, &all, 1);
				if (size == 2)
					RUN_AT(f, 0x66, 0x9d);
				else
					RUN_AT(f, 0x9d);
				if (cpl <= iopl)
					may |= RFLAGS_IF;
				if (cpl == 0)
					may |= RFLAGS_IOPL;
				if (size == 4) {
					may |= RFLAGS_AC | RFLAGS_ID;
					old &= ~RFLAGS_RF;
				}
				assert_int_equal(fixture_step(f), STEP_LEAVE);
				assert_int_equal(cpu_rflags(cpu), old | may);
				assert_int_equal(cpu->r[RSP], STACK3_TOP + size);
			}
}

static void pushf_hides_vm_and_rf(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	cpu_set_rflags(f->cpu, ALL & ~RFLAGS_VM);
	RUN_AT(f, 0x9c);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), ALL & ~(RFLAGS_VM | RFLAGS_RF));
}

static void v86(struct fixture *f, unsigned iopl)
{
	fixture_protected(f, 3);
	f->cpu->rflags = RFLAGS_VM | iopl << 12 | 2;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segment_set_v86(&f->cpu->seg[i], i == SS ? 0x2000 : 0x1000);
	f->cpu->r[RSP] = 0x100;
	f->cpu->rip = 0;
	exec_context_changed(f->cpu);
}

static void flags_in_v86(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	v86(f, 0);
	CODE_BYTES(f, CODE_AT, 0x9c);
	assert_fault(f, VECTOR_GP, 0); /* IOPL-sensitive without VME */
	CODE_BYTES(f, CODE_AT, 0x9d);
	assert_fault(f, VECTOR_GP, 0);
	CODE_BYTES(f, CODE_AT, 0xcf);
	assert_fault(f, VECTOR_GP, 0);

	assert_false(exec_write_cr4(cpu, CR4_VME));
	cpu->rflags |= RFLAGS_VIF;
	CODE_BYTES(f, CODE_AT, 0x9c);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(peek(f, 0x200fe, 2), RFLAGS_IF | RFLAGS_IOPL | 2);
	CODE_BYTES(f, CODE_AT, 0x66, 0x9c);
	cpu->rip = 0;
	assert_fault(f, VECTOR_GP, 0); /* VME is for 16 bits only */

	/* POPF: IF goes to VIF; IF and IOPL stay. */
	poke(f, 0x200fe, 2, RFLAGS_IOPL | RFLAGS_CF);
	CODE_BYTES(f, CODE_AT, 0x9d);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VM | RFLAGS_CF | 2);
	cpu->r[RSP] = 0xfe;
	poke(f, 0x200fe, 2, RFLAGS_IF);
	cpu->rip = 0;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VM | RFLAGS_VIF | 2);
	cpu->r[RSP] = 0xfe;
	cpu->rflags |= RFLAGS_VIP;
	cpu->rip = 0;
	assert_fault(f, VECTOR_GP, 0);
	poke(f, 0x200fe, 2, RFLAGS_TF);
	assert_fault(f, VECTOR_GP, 0);

	/* IRET likewise. */
	cpu->rflags &= ~(RFLAGS_VIP | RFLAGS_VIF);
	put_frame(f, 0x200f0, 2, (uint64_t[]){0x1234, 0x1800, RFLAGS_IF | RFLAGS_ZF}, 3);
	cpu->r[RSP] = 0xf0;
	CODE_BYTES(f, CODE_AT, 0xcf);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x1234);
	assert_int_equal(cpu->seg[CS].base, 0x18000);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_VM | RFLAGS_VIF | RFLAGS_ZF | 2);
	assert_int_equal(cpu->r[RSP], 0xf6);
}

static void iret_same_ring(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	cpu->nmi_blocked = true;
	put_frame(f, STACK3_TOP, 4, (uint64_t[]){0x15000, CODE3, ALL & ~RFLAGS_NT}, 3);
	RUN_AT(f, 0xcf);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->r[RSP], STACK3_TOP + 12);
	/* CPL 3, IOPL 0: no IF, IOPL, VM, VIF, VIP. */
	assert_int_equal(cpu_rflags(cpu),
			 (RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID) | 2);
	assert_false(cpu->nmi_blocked);
	assert_int_equal(cpu->shadow, SHADOW_RF << SHADOW_NEXT);
	assert_true(cpu->attention & ATTEND_TRAP);
}

static void iret_outer_ring(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	load_segment(f, ES, DATA0);
	put_frame(f, STACK0_TOP - 20, 4, (uint64_t[]){0x15000, CODE3, RFLAGS_IF | RFLAGS_IOPL, 0x22000, DATA3}, 5);
	RUN_AT(f, 0xcf);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->r[RSP], 0x22000);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_IOPL | 2); /* by the privilege that IRET began with */
	assert_true(cpu->seg[ES].ar & AR_UNUSABLE);
	assert_int_equal(cpu->seg[DS].selector, DATA3);
}

static void iret_in_64_bit_mode(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	/* Same ring: RSP and SS are popped all the same, and null is good. */
	put_frame(f, STACK0_TOP - 40, 8, (uint64_t[]){0x15000, CODE0, RFLAGS_IF, 0x20008, 0}, 5);
	RUN_AT(f, 0x48, 0xcf);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->r[RSP], 0x20008);
	assert_int_equal(cpu->seg[SS].selector, 0);
	assert_int_equal(cpu->rip, 0x15000);

	enter_ring(f, 0);
	put_frame(f, STACK0_TOP - 40, 8, (uint64_t[]){0x15000, CODE3, RFLAGS_IF, 0x22000, 3}, 5);
	assert_fault(f, VECTOR_GP, 0); /* null SS at CPL 3 */
	put_frame(f, STACK0_TOP - 40, 8, (uint64_t[]){UINT64_C(1) << 47, CODE3, RFLAGS_IF, 0x22000, DATA3}, 5);
	assert_fault(f, VECTOR_GP, 0);
	cpu->seg[FS] = (struct segment){.base = 0x1234, .ar = AR_UNUSABLE};
	put_frame(f, STACK0_TOP - 40, 8, (uint64_t[]){0x15000, CODE3, RFLAGS_IF, 0x22000, DATA3}, 5);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[FS].base, 0x1234); /* of a null selector: stays */
	assert_int_equal(cpu->r[RSP], 0x22000);

	/* To compatibility mode: a 32-bit segment. */
	enter_ring(f, 0);
	put_descriptor(f, FREE_SEL, 0, 0xfffff, AR_CODE0 | AR_32 | AR_DPL3);
	put_frame(f, STACK0_TOP - 40, 8, (uint64_t[]){0x15000, FREE_SEL | 3, RFLAGS_IF, 0x22000, DATA3}, 5);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_false(cpu_64bit(cpu));
	assert_int_equal(cpu->mode & MODE_CODE, MODE_CODE32);

	/* NT has no meaning but #GP(0). */
	enter_ring(f, 0);
	cpu->rflags |= RFLAGS_NT;
	assert_fault(f, VECTOR_GP, 0);
}

static void iret_page_fault_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	cpu->nmi_blocked = true;
	cpu->r[RSP] = 0x1ffff0; /* the frame runs into what is not mapped */
	poke(f, 0x1ffff0, 8, 0x15000);
	poke(f, 0x1ffff8, 8, CODE0);
	RUN_AT(f, 0x48, 0xcf);
	assert_fault(f, VECTOR_PF, 0);
	assert_int_equal(cpu->fault.address, 0x200000);
	assert_int_equal(cpu->r[RSP], 0x1ffff0);
	assert_false(cpu->nmi_blocked); /* NMIs are unblocked nevertheless */
}

static void pusha_popa(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	for (unsigned i = 0; i < 8; i++)
		if (i != RSP)
			cpu->r[i] = 0x11110000 + i;
	RUN_AT(f, 0x60, 0x61);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 32);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), 0x11110000);
	assert_int_equal(peek(f, STACK0_TOP - 20, 4), STACK0_TOP);
	assert_int_equal(peek(f, STACK0_TOP - 32, 4), 0x11110007);
	poke(f, STACK0_TOP - 20, 4, 0x666);
	poke(f, STACK0_TOP - 4, 4, 0x777);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RSP], STACK0_TOP);
	assert_int_equal(cpu->r[RAX], 0x777);
	assert_int_equal(cpu->r[RDI], 0x11110007);
}

static void frames_are_alignment_checked(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	assert_false(exec_write_cr0(cpu, cpu->cr0 | CR0_AM));
	cpu->rflags |= RFLAGS_AC;
	exec_context_changed(cpu);
	cpu->r[RSP] = STACK3_TOP - 2;
	RUN_AT(f, 0x60, 0x61);
	assert_fault(f, VECTOR_AC, 0);
	assert_int_equal(cpu->r[RSP], STACK3_TOP - 2);
	cpu->rip++;
	assert_fault(f, VECTOR_AC, 0);
	cpu->r[RSP] = STACK3_TOP;
	cpu->rip--;
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	cpu->r[RSP] = STACK3_TOP - 2; /* words do not mind */
	RUN_AT(f, 0x66, 0x60);
	assert_int_equal(fixture_step(f), STEP_NEXT);
}

static void enter_levels(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	cpu->r[RBP] = STACK0_TOP + 0x100;
	poke(f, STACK0_TOP + 0xfc, 4, 0xaaa1);
	poke(f, STACK0_TOP + 0xf8, 4, 0xaaa2);
	RUN_AT(f, 0xc8, 0x10, 0x00, 0x03); /* ENTER 16, 3 */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RBP], STACK0_TOP - 4);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 16 - 16);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), STACK0_TOP + 0x100);
	assert_int_equal(peek(f, STACK0_TOP - 8, 4), 0xaaa1);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), 0xaaa2);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), STACK0_TOP - 4);
	RUN_AT(f, 0xc9);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RSP], STACK0_TOP);
	assert_int_equal(cpu->r[RBP], STACK0_TOP + 0x100);

	/* The frame's end lies outside: nothing changes. */
	cpu->seg[SS] = (struct segment){.limit = 0xffff, .ar = AR_DATA0 | AR_DB};
	cpu->r[RSP] = 0x100;
	RUN_AT(f, 0xc8, 0x00, 0x02, 0x00);
	assert_fault(f, VECTOR_SS, 0);
	assert_int_equal(cpu->r[RSP], 0x100);
	assert_int_equal(cpu->r[RBP], STACK0_TOP + 0x100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(popf_by_privilege),
		FIXTURE_TEST(pushf_hides_vm_and_rf),
		FIXTURE_TEST(flags_in_v86),
		FIXTURE_TEST(iret_same_ring),
		FIXTURE_TEST(iret_outer_ring),
		FIXTURE_TEST(iret_in_64_bit_mode),
		FIXTURE_TEST(iret_page_fault_changes_nothing),
		FIXTURE_TEST(pusha_popa),
		FIXTURE_TEST(frames_are_alignment_checked),
		FIXTURE_TEST(enter_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

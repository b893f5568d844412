/* Task switches: state saved and loaded, links and busy bits, checks before and after the point of no return. */
#include "exec/fixture.h"

#define LDT_SEL 0x60

/* A 32-bit TSS at TSS2_AT that is ready to run ring 0 code at 15000H. */
static void put_task(struct fixture *f)
{
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS | AR_DPL3);
	memset(f->ram + TSS2_AT, 0, 0x68);
	poke(f, TSS2_AT + 0x20, 4, 0x15000);
	poke(f, TSS2_AT + 0x24, 4, RFLAGS_CF | 2);
	for (unsigned i = 0; i < 8; i++)
		poke(f, TSS2_AT + 0x28 + 4 * i, 4, i == RSP ? 0x24000 : 0x2220000 + i);
	for (unsigned i = 0; i < 6; i++)
		poke(f, TSS2_AT + 0x48 + 4 * i, 4, i == CS ? CODE0 : i == SS ? DATA0 : DATA3);
}

static void far_to_task(struct fixture *f, bool call)
{
	f->ram[CODE_AT] = call ? 0x9a : 0xea;
	poke(f, CODE_AT + 1, 4, 0);
	poke(f, CODE_AT + 5, 2, TSS2_SEL);
	f->cpu->rip = CODE_AT;
}

static unsigned tss_type(struct fixture *f, uint16_t selector)
{
	return f->ram[GDT_AT + selector + 5] & 15;
}

static void call_and_return(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	put_task(f);
	for (unsigned i = 0; i < 8; i++)
		cpu->r[i] = 0x11110000 + i;
	cpu->dr7 = DR7_1 | 0x3ff;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_ZF);
	far_to_task(f, true);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_NT | RFLAGS_CF | 2);
	assert_int_equal(cpu->r[RDI], 0x2220007);
	assert_int_equal(cpu->r[RSP], 0x24000);
	assert_int_equal(cpu->seg[TR].selector, TSS2_SEL);
	assert_int_equal(cpu->seg[TR].ar & 15, TYPE_TSS_BUSY);
	assert_int_equal(peek(f, TSS2_AT, 2), TSS_SEL);
	assert_int_equal(tss_type(f, TSS_SEL), TYPE_TSS_BUSY);
	assert_int_equal(tss_type(f, TSS2_SEL), TYPE_TSS_BUSY);
	assert_true(cpu->cr0 & CR0_TS);
	assert_int_equal(cpu->dr7, DR7_1 | 0x2aa); /* local enables are the old task's */
	assert_int_equal(peek(f, TSS_AT + 0x20, 4), CODE_AT + 7);
	assert_int_equal(peek(f, TSS_AT + 0x24, 4), RFLAGS_IF | RFLAGS_ZF | 2);
	assert_int_equal(peek(f, TSS_AT + 0x44, 4), 0x11110007);
	assert_int_equal(peek(f, TSS_AT + 0x4c, 2), CODE3);
	assert_int_equal(peek(f, TSS_AT + 4, 4), STACK0_TOP); /* the static part stays */

	CODE_BYTES(f, 0x15000, 0xcf); /* IRET with NT */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, CODE_AT + 7);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_ZF | 2);
	assert_int_equal(cpu->r[RAX], 0x11110000);
	assert_int_equal(tss_type(f, TSS2_SEL), TYPE_TSS);
	assert_int_equal(tss_type(f, TSS_SEL), TYPE_TSS_BUSY);
	assert_int_equal(peek(f, TSS2_AT + 0x24, 4) & RFLAGS_NT, 0);
	assert_int_equal(peek(f, TSS2_AT + 0x20, 4), 0x15001);
}

static void jump_moves_the_busy_bit(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	put_task(f);
	far_to_task(f, false);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(tss_type(f, TSS_SEL), TYPE_TSS);
	assert_int_equal(tss_type(f, TSS2_SEL), TYPE_TSS_BUSY);
	assert_int_equal(f->cpu->rflags & RFLAGS_NT, 0);
	assert_int_equal(peek(f, TSS2_AT, 2), 0);
}

static void refused_before_the_switch(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	put_task(f);
	far_to_task(f, false);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x66, AR_P | TYPE_TSS);
	assert_fault(f, VECTOR_TS, TSS2_SEL);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, TYPE_TSS);
	assert_fault(f, VECTOR_NP, TSS2_SEL);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS_BUSY);
	assert_fault(f, VECTOR_GP, TSS2_SEL);
	assert_int_equal(f->cpu->seg[TR].selector, TSS_SEL);
	assert_int_equal(f->cpu->rip, CODE_AT);
	f->cpu->rflags |= RFLAGS_NT;
	poke(f, TSS_AT, 2, TSS2_SEL);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x67, AR_P | TYPE_TSS);
	CODE_BYTES(f, CODE_AT, 0xcf);
	assert_fault(f, VECTOR_TS, TSS2_SEL); /* IRET wants a busy one */
	poke(f, TSS_AT, 2, TSS2_SEL | 4);
	assert_fault(f, VECTOR_TS, TSS2_SEL | 4);
}

/* Each broken selector of the new task, with the fault that the manual's table gives. */
static void refused_in_the_new_task(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	const struct {
		unsigned at;
		uint16_t selector;
		uint8_t vector;
	} row[] = {
		{0x60, DATA0, VECTOR_TS},	 /* LDT: not one */
		{0x60, 0x0c, VECTOR_TS},	 /* LDT: not in the GDT */
		{0x4c, 0, VECTOR_TS},		 /* CS null */
		{0x4c, DATA0, VECTOR_TS},	 /* CS: data */
		{0x4c, CODE0 | 3, VECTOR_TS},	 /* CS: RPL is not DPL */
		{0x4c, FREE_SEL, VECTOR_NP},	 /* CS: not present */
		{0x50, 0, VECTOR_TS},		 /* SS null */
		{0x50, DATA3, VECTOR_TS},	 /* SS: not of this ring */
		{0x50, FREE_SEL + 8, VECTOR_SS}, /* SS: not present */
		{0x54, 0x80, VECTOR_TS},	 /* DS: outside */
		{0x54, TSS_SEL, VECTOR_TS},	 /* DS: system */
		{0x58, FREE_SEL + 8, VECTOR_NP}, /* FS: not present */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		fixture_protected(f, 0);
		put_task(f);
		put_descriptor(f, FREE_SEL, 0, 0xfffff, (AR_CODE0 | AR_32) & ~AR_P);
		put_descriptor(f, FREE_SEL + 8, 0, 0xfffff, (AR_DATA0 | AR_32) & ~AR_P);
		poke(f, TSS2_AT + row[i].at, 2, row[i].selector);
		far_to_task(f, false);
		assert_fault(f, row[i].vector, row[i].selector & 0xfffc);
		assert_int_equal(cpu->seg[TR].selector, TSS2_SEL); /* it happens there */
		assert_int_equal(cpu->rip, 0x15000);
	}
	fixture_protected(f, 0);
	put_task(f);
	put_descriptor(f, FREE_SEL, 0, 0x14fff, AR_CODE0 | AR_DB);
	poke(f, TSS2_AT + 0x4c, 2, FREE_SEL);
	far_to_task(f, false);
	assert_fault(f, VECTOR_GP, 0); /* EIP beyond the limit */
}

static void interrupt_through_task_gate(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	put_task(f);
	put_gate(f, IDT_AT + VECTOR_GP * 8, TSS2_SEL, 0, TYPE_TASK_GATE, 0, 0);
	RUN_AT(f, 0xf4); /* HLT at CPL 3 */
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->r[RSP], 0x24000 - 4);
	assert_int_equal(peek(f, 0x24000 - 4, 4), 0); /* the error code */
	assert_int_equal(peek(f, TSS_AT + 0x20, 4), CODE_AT);
	assert_true(peek(f, TSS_AT + 0x24, 4) & RFLAGS_RF);
	assert_true(cpu->rflags & RFLAGS_NT);

	/* A broken task: the fault has EXT set; both are contributory, so it becomes a double fault. */
	fixture_protected(f, 3);
	put_task(f);
	poke(f, TSS2_AT + 0x54, 2, 0x80);
	put_gate(f, IDT_AT + VECTOR_DF * 8, CODE0, 0x16000, TYPE_INTERRUPT, 0, 0);
	RUN_AT(f, 0xf4);
	assert_int_equal(fixture_step(f), STEP_FAULT);
	event_deliver(cpu, &(struct event){.type = EVENT_EXCEPTION, .vector = VECTOR_GP, .has_error = true});
	assert_int_equal(cpu->fault.vector, VECTOR_TS);
	assert_int_equal(cpu->fault.error, 0x81);
}

static void debug_trap_flag(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	put_task(f);
	poke(f, TSS2_AT + 0x64, 2, 1);
	put_gate(f, IDT_AT + VECTOR_DB * 8, CODE0, 0x16000, TYPE_INTERRUPT, 0, 0);
	far_to_task(f, false);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x16000);
	assert_int_equal(cpu->dr6, DR6_FIXED | DR6_BT);
	assert_int_equal(peek(f, cpu->r[RSP], 4), 0x15000);

	/* The switch that an exception makes traps as well. */
	fixture_protected(f, 3);
	cpu->dr6 = DR6_FIXED;
	put_task(f);
	poke(f, TSS2_AT + 0x64, 2, 1);
	put_gate(f, IDT_AT + VECTOR_GP * 8, TSS2_SEL, 0, TYPE_TASK_GATE, 0, 0);
	put_gate(f, IDT_AT + VECTOR_DB * 8, CODE0, 0x16000, TYPE_INTERRUPT, 0, 0);
	RUN_AT(f, 0xf4); /* HLT at CPL 3 */
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x16000);
	assert_int_equal(cpu->dr6, DR6_FIXED | DR6_BT);
}

static void to_v86_and_16_bit_tasks(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	put_task(f);
	poke(f, TSS2_AT + 0x24, 4, RFLAGS_VM | RFLAGS_IOPL | 2);
	poke(f, TSS2_AT + 0x20, 4, 0x10);
	for (unsigned i = 0; i < 6; i++)
		poke(f, TSS2_AT + 0x48 + 4 * i, 4, 0x1000 + i);
	far_to_task(f, false);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[CS].base, 0x10010);
	assert_int_equal(cpu->seg[GS].ar, 0xf3);

	fixture_protected(f, 0);
	put_descriptor(f, TSS2_SEL, TSS2_AT, 0x2b, AR_P | TYPE_TSS16);
	memset(f->ram + TSS2_AT, 0, 0x2c);
	poke(f, TSS2_AT + 0x0e, 2, 0x5000);
	poke(f, TSS2_AT + 0x10, 2, RFLAGS_SF | 2);
	poke(f, TSS2_AT + 0x12, 2, 0xaaaa);
	poke(f, TSS2_AT + 0x22, 2, DATA3);
	poke(f, TSS2_AT + 0x24, 2, CODE0);
	poke(f, TSS2_AT + 0x26, 2, DATA0);
	far_to_task(f, true);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x5000);
	assert_int_equal((uint16_t)cpu->r[RAX], 0xaaaa);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_NT | RFLAGS_SF | 2);
	assert_int_equal(peek(f, TSS2_AT, 2), TSS_SEL);
	assert_int_equal(tss_type(f, TSS2_SEL), TYPE_TSS16_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(call_and_return),
		FIXTURE_TEST(jump_moves_the_busy_bit),
		FIXTURE_TEST(refused_before_the_switch),
		FIXTURE_TEST(refused_in_the_new_task),
		FIXTURE_TEST(interrupt_through_task_gate),
		FIXTURE_TEST(debug_trap_flag),
		FIXTURE_TEST(to_v86_and_16_bit_tasks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

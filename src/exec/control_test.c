/* Control and debug registers, CLI and STI, INT forms, BOUND. */
#include "exec/debug.h"
#include "exec/fixture.h"

static void cr0_rules(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	assert_true(exec_write_cr0(cpu, CR0_PG));
	assert_true(exec_write_cr0(cpu, CR0_NW));
	assert_true(exec_write_cr0(cpu, BIT(32)));
	assert_false(exec_write_cr0(cpu, CR0_PE | BIT(6) |
						 BIT(20))); /* reserved bits of the low half are ignored, ET is 1 */
	assert_int_equal(cpu->cr0, CR0_PE | CR0_ET);

	/* Into IA-32e mode: PAE is needed, CS.L must be clear, TR must not be a 16-bit TSS. */
	cpu->efer = EFER_LME;
	assert_true(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	assert_false(exec_write_cr4(cpu, CR4_PAE));
	cpu->seg[CS].ar |= AR_L;
	assert_true(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	cpu->seg[CS].ar &= ~AR_L;
	cpu->seg[TR].ar = AR_P | TYPE_TSS16_BUSY;
	assert_true(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	cpu->seg[TR].ar = AR_P | TYPE_TSS_BUSY;
	assert_false(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	assert_true(cpu->efer & EFER_LMA);
	assert_true(exec_write_cr4(cpu, 0)); /* PAE cannot go */
	if (model_has(&f->model, FEATURE_LA57))
		assert_true(exec_write_cr4(cpu, CR4_PAE | CR4_LA57));
	assert_false(exec_write_cr0(cpu, CR0_PE));
	assert_false(cpu->efer & EFER_LMA);
}

static void cr3_and_pdptes(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	for (unsigned i = 0; i < 4; i++)
		poke(f, PAGES_AT + 8 * i, 8, i ? 0 : (PAGES_AT + 0x1000) | 1);
	assert_false(exec_write_cr4(cpu, CR4_PAE));
	assert_false(exec_write_cr3(cpu, PAGES_AT));
	poke(f, PAGES_AT + 8, 8, 0x6003); /* bit 1 is reserved in a PDPTE */
	assert_true(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	poke(f, PAGES_AT + 8, 8, 0x6001);
	assert_false(exec_write_cr0(cpu, CR0_PE | CR0_PG));
	assert_int_equal(cpu->pdpte[1], 0x6001);
	poke(f, PAGES_AT + 8, 8, 0x7001);
	assert_false(exec_write_cr4(cpu, CR4_PAE)); /* nothing changed: not loaded again */
	assert_int_equal(cpu->pdpte[1], 0x6001);
	assert_false(exec_write_cr4(cpu, CR4_PAE | CR4_PGE));
	assert_int_equal(cpu->pdpte[1], 0x7001);
}

static void cr4_pcid_rules(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	assert_true(exec_write_cr4(cpu, BIT(63)));
	assert_true(exec_write_cr4(cpu, CR4_SMXE));
	assert_true(exec_write_cr4(cpu, CR4_PCIDE)); /* outside IA-32e mode */
	fixture_long(f, 0);
	assert_false(exec_write_cr3(cpu, PAGES_AT | 8));
	assert_true(exec_write_cr4(cpu, CR4_PAE | CR4_PCIDE));
	assert_false(exec_write_cr3(cpu, PAGES_AT));
	assert_true(exec_write_cr3(cpu, PAGES_AT | CR3_NOFLUSH)); /* reserved without PCIDE */
	assert_false(exec_write_cr4(cpu, CR4_PAE | CR4_PCIDE));
	assert_false(exec_write_cr3(cpu, PAGES_AT | 5 | CR3_NOFLUSH));
	assert_int_equal(cpu->cr3, PAGES_AT | 5);
	assert_true(exec_write_cr3(cpu, PAGES_AT | BIT(f->model.physical_bits)));
	assert_true(exec_write_cr0(cpu, cpu->cr0 & ~CR0_PG));
}

static void mov_cr(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	cpu->r[RAX] = 5;
	RUN_AT(f, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3); /* MOV CR8, RAX; MOV RBX, CR8 */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(apic_get_tpr(cpu->apic), 0x50);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RBX], 5);
	cpu->r[RAX] = 16;
	cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RAX] = 0xfedcba9876543210;
	RUN_AT(f, 0x0f, 0x22, 0xd0, 0x0f, 0x20, 0xd3);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RBX], 0xfedcba9876543210);
	enter_ring(f, 3);
	assert_fault(f, VECTOR_GP, 0);
}

static void machine_status_word(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	cpu->r[RAX] = CR0_TS | CR0_EM;
	RUN_AT(f, 0x0f, 0x01, 0xf0, 0x0f, 0x06, 0x0f, 0x01, 0xe3); /* LMSW AX; CLTS; SMSW EBX */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_TS | CR0_EM | CR0_ET | CR0_NE); /* PE stays */
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RBX], CR0_PE | CR0_EM | CR0_ET | CR0_NE);
}

static void debug_registers(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	cpu->r[RAX] = BIT(32);
	RUN_AT(f, 0x0f, 0x23, 0xf8);
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RAX] = 0xffffffff;
	RUN_AT(f, 0x0f, 0x23, 0xf0, 0x0f, 0x23, 0xe8, 0x0f, 0x21, 0xe3); /* DR6, DR5 = DR7, read DR4 = DR6 */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->dr6, DR6_FIXED | 0xe00f);
	cpu->r[RAX] = 0xffffffff & ~DR7_GD;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->dr7, 0xffff07ff);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(cpu->r[RBX], DR6_FIXED | 0xe00f);
	assert_false(exec_write_cr4(cpu, CR4_PAE | CR4_DE));
	cpu->rip = CODE_AT + 3;
	assert_fault(f, VECTOR_UD, 0);
}

static void io_breakpoints(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	assert_false(exec_write_cr4(cpu, CR4_DE));
	cpu->dr[1] = 0x84;
	cpu->dr7 = DR7_1 | BIT(2) | 2 << 20 | 1 << 22; /* I/O, two bytes */
	debug_io(cpu, 0x83, 1);
	debug_io(cpu, 0x86, 4);
	assert_int_equal(cpu->pending_debug, 0);
	debug_io(cpu, 0x80, 4);
	assert_int_equal(cpu->pending_debug, 0);
	debug_io(cpu, 0x82, 4);
	assert_int_equal(cpu->pending_debug, BIT(1));
	cpu->pending_debug = 0;
	debug_io(cpu, 0x85, 1);
	assert_int_equal(cpu->pending_debug, BIT(1));
}

static void data_breakpoint_is_a_trap(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	put_gate(f, IDT_AT + VECTOR_DB * 8, CODE0, 0x15000, TYPE_INTERRUPT, 0, 0);
	cpu->dr[0] = STACK0_TOP - 4;
	cpu->dr7 = DR7_1 | BIT(0) | 1 << 16 | 3 << 18;
	mem_context_changed(cpu);
	RUN_AT(f, 0x9c); /* PUSHFD */
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), CODE_AT + 1);
	assert_int_equal(cpu->dr6 & 0xf, 1);
}

static void cli_and_sti(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	for (unsigned iopl = 0; iopl < 4; iopl++) {
		fixture_protected(f, 3);
		cpu->rflags = iopl << 12 | 2;
		RUN_AT(f, 0xfb, 0xfa);
		if (iopl < 3) {
			assert_fault(f, VECTOR_GP, 0);
			assert_false(exec_write_cr4(cpu, CR4_PVI));
			assert_int_equal(fixture_step(f), STEP_NEXT);
			assert_int_equal(cpu->rflags, iopl << 12 | RFLAGS_VIF | 2);
			assert_int_equal(fixture_step(f), STEP_NEXT);
			assert_int_equal(cpu->rflags, iopl << 12 | 2);
			cpu->rip = CODE_AT;
			cpu->rflags |= RFLAGS_VIP;
			assert_fault(f, VECTOR_GP, 0);
		} else {
			assert_int_equal(fixture_step(f), STEP_LEAVE);
			assert_int_equal(cpu->rflags, RFLAGS_IOPL | RFLAGS_IF | 2);
			assert_int_equal(fixture_step(f), STEP_NEXT);
			assert_int_equal(cpu->rflags, RFLAGS_IOPL | 2);
		}
	}
}

static void into_and_bound(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	put_gate(f, IDT_AT + VECTOR_OF * 8, CODE0, 0x15000, TYPE_INTERRUPT, 0, 0);
	RUN_AT(f, 0xce);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	cpu->rip = CODE_AT;
	cc_set_exact(cpu, RFLAGS_OF);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x15000);

	poke(f, 0x20000, 8, UINT64_C(10) << 32 | (uint32_t)-5);
	RUN_AT(f, 0x62, 0x03); /* BOUND EAX, [EBX] */
	cpu->r[RBX] = 0x20000;
	for (int index = -7; index < 13; index++) {
		cpu->r[RAX] = (uint32_t)index;
		cpu->rip = CODE_AT;
		if (index >= -5 && index <= 10)
			assert_int_equal(fixture_step(f), STEP_NEXT);
		else
			assert_fault(f, VECTOR_BR, 0);
	}
}

static void clac_and_stac(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	uint64_t value;

	fixture_long(f, 0);
	assert_false(exec_write_cr4(cpu, CR4_PAE | CR4_SMAP));
	assert_true(mem_read64(cpu, 0x20000, &value)); /* all pages are user pages */
	RUN_AT(f, 0x0f, 0x01, 0xcb, 0x0f, 0x01, 0xca);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_false(mem_read64(cpu, 0x20000, &value));
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_true(mem_read64(cpu, 0x20000, &value));
	enter_ring(f, 3);
	assert_fault(f, VECTOR_UD, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(cr0_rules),	   FIXTURE_TEST(cr3_and_pdptes),
		FIXTURE_TEST(cr4_pcid_rules),	   FIXTURE_TEST(mov_cr),
		FIXTURE_TEST(machine_status_word), FIXTURE_TEST(debug_registers),
		FIXTURE_TEST(io_breakpoints),	   FIXTURE_TEST(data_breakpoint_is_a_trap),
		FIXTURE_TEST(cli_and_sti),	   FIXTURE_TEST(into_and_bound),
		FIXTURE_TEST(clac_and_stac),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

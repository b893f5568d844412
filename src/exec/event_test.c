/* Events through the IDT, double and triple faults, and what happens between instructions. */
#include "exec/fixture.h"
#include "vmx/report.h"

static void gate32(struct fixture *f, unsigned vector, uint32_t offset, unsigned type, unsigned dpl)
{
	put_gate(f, IDT_AT + vector * 8, CODE0, offset, type, dpl, 0);
}

static void gate64(struct fixture *f, unsigned vector, uint64_t offset, unsigned type, unsigned dpl, unsigned ist)
{
	put_gate(f, IDT_AT + vector * 16, CODE0, offset, type, dpl, ist);
	poke(f, IDT_AT + vector * 16 + 8, 8, offset >> 32);
}

static void real_mode_int(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	cpu->seg[CS] = (struct segment){.selector = 0x1000, .base = 0x10000, .limit = 0xffff, .ar = 0x9b};
	cpu->idtr = (struct table_register){.limit = 0x3ff};
	cpu->r[RSP] = 0x12340002; /* wraps between the pushes */
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_TF | RFLAGS_CF);
	poke(f, 0x21 * 4, 4, 0x55551111);
	CODE_BYTES(f, 0x10020, 0xcd, 0x21);
	cpu->rip = 0x20;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->seg[CS].selector, 0x5555);
	assert_int_equal(cpu->seg[CS].base, 0x55550);
	assert_int_equal(cpu->rip, 0x1111);
	assert_int_equal(cpu->r[RSP], 0x1234fffc);
	assert_int_equal(peek(f, 0, 2), RFLAGS_IF | RFLAGS_TF | RFLAGS_CF | 2);
	assert_int_equal(peek(f, 0xfffe, 2), 0x1000);
	assert_int_equal(peek(f, 0xfffc, 2), 0x22);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_CF | 2);
}

static void inner_ring_frame_32(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_NT | RFLAGS_ZF);
	gate32(f, 0x80, 0x12345, TYPE_INTERRUPT, 3);
	RUN_AT(f, 0xcd, 0x80);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->rip, 0x12345);
	assert_int_equal(cpu->seg[CS].selector, CODE0);
	assert_int_equal(cpu->seg[SS].selector, DATA0);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 20);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), DATA3);
	assert_int_equal(peek(f, STACK0_TOP - 8, 4), STACK3_TOP);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), RFLAGS_IF | RFLAGS_NT | RFLAGS_ZF | 2);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), CODE3);
	assert_int_equal(peek(f, STACK0_TOP - 20, 4), CODE_AT + 2);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_ZF | 2);
	assert_true(peek(f, GDT_AT + CODE0 + 5, 1) & 1); /* accessed */
}

static void gate_checks_in_order(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 3);
	RUN_AT(f, 0xcd, 0x80);
	assert_fault(f, VECTOR_GP, 0x80 * 8 + 2); /* not a gate */
	gate32(f, 0x80, 0x12345, TYPE_TRAP, 0);
	f->ram[IDT_AT + 0x80 * 8 + 5] &= 0x7f;
	assert_fault(f, VECTOR_GP, 0x80 * 8 + 2); /* DPL before P */
	gate32(f, 0x80, 0x12345, TYPE_TRAP, 3);
	f->ram[IDT_AT + 0x80 * 8 + 5] &= 0x7f;
	assert_fault(f, VECTOR_NP, 0x80 * 8 + 2);
	put_gate(f, IDT_AT + 0x80 * 8, 0, 0x12345, TYPE_TRAP, 3, 0);
	assert_fault(f, VECTOR_GP, 0); /* null selector */
	put_gate(f, IDT_AT + 0x80 * 8, 0x80, 0x12345, TYPE_TRAP, 3, 0);
	assert_fault(f, VECTOR_GP, 0x80); /* outside the GDT */
	put_gate(f, IDT_AT + 0x80 * 8, DATA0, 0x12345, TYPE_TRAP, 3, 0);
	assert_fault(f, VECTOR_GP, DATA0);
	gate32(f, 0x80, 0x12345, TYPE_TRAP, 3);
	put_descriptor(f, CODE0, 0, 0xfffff, (AR_CODE0 | AR_32) & ~AR_P);
	assert_fault(f, VECTOR_NP, CODE0);
	put_descriptor(f, CODE0, 0, 0xfffff, AR_CODE0 | AR_32);
	poke(f, TSS_AT + 8, 4, 0);
	assert_fault(f, VECTOR_TS, 0);
	poke(f, TSS_AT + 8, 4, DATA3);
	assert_fault(f, VECTOR_TS, DATA3 & ~3);
	poke(f, TSS_AT + 8, 4, DATA0);
	put_descriptor(f, DATA0, 0, 0xfffff, (AR_DATA0 | AR_32) & ~AR_P);
	assert_fault(f, VECTOR_SS, DATA0);
	put_descriptor(f, DATA0, 0, STACK0_TOP - 5, AR_DATA0 | AR_DB);
	assert_fault(f, VECTOR_SS, DATA0); /* no room */
	put_descriptor(f, DATA0, 0, 0xfffff, AR_DATA0 | AR_32);
	put_descriptor(f, CODE0, 0, 0x12344, AR_CODE0 | AR_DB);
	assert_fault(f, VECTOR_GP, 0); /* EIP beyond the limit */
	cpu->seg[TR].limit = 8;
	assert_fault(f, VECTOR_TS, TSS_SEL);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);
}

/* EXT is set in error codes of faults while delivering what software did not ask for. */
static void external_bit(void **state)
{
	struct fixture *f = *state;
	struct event event = {.type = EVENT_EXTERNAL, .vector = 0x30};

	fixture_protected(f, 0);
	assert_int_equal(event_deliver(f->cpu, &event), STEP_FAULT);
	assert_int_equal(f->cpu->fault.error, 0x30 * 8 + 3);
	event.type = EVENT_INT3;
	assert_int_equal(event_deliver(f->cpu, &event), STEP_FAULT);
	assert_int_equal(f->cpu->fault.error, 0x30 * 8 + 2);
	event.type = EVENT_INT1;
	assert_int_equal(event_deliver(f->cpu, &event), STEP_FAULT);
	assert_int_equal(f->cpu->fault.error, 0x30 * 8 + 3);
}

static void faults_push_error_and_rf(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_GP, 0x15000, TYPE_TRAP, 0);
	cpu_set_rflags(cpu, RFLAGS_IF);
	RUN_AT(f, 0x0f, 0x22, 0xc0); /* MOV CR0, EAX with PG but not PE */
	cpu->r[RAX] = CR0_PG;
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 16);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), 0);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), RFLAGS_IF | RFLAGS_RF | 2);
	assert_int_equal(cpu->rflags, RFLAGS_IF | 2); /* a trap gate keeps IF */
}

static void tell_triple_fault(void *ctx, struct cpu *cpu, const struct fault_chain *chain)
{
	*(struct fault_chain *)ctx = *chain;
}

static void double_and_triple_fault(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	struct fault_chain chain = {0};
	const struct vmx_reporter reporter = {.ctx = &chain, .triple_fault = tell_triple_fault};

	cpu->reporter = &reporter;

	fixture_protected(f, 0);
	gate32(f, VECTOR_DF, 0x16000, TYPE_INTERRUPT, 0);
	RUN_AT(f, 0xcd, 0x80);
	fixture_run(f); /* #GP, whose own gate is missing: contributory twice */
	assert_int_equal(cpu->rip, 0x16000);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), 0);
	assert_int_equal(f->events[CPU_SHUTDOWN], 0);
	assert_int_equal(chain.count, 0);

	fixture_protected(f, 0);
	poke(f, IDT_AT + VECTOR_DF * 8, 8, 0);
	RUN_AT(f, 0xcd, 0x80);
	fixture_run(f);
	assert_int_equal(f->events[CPU_SHUTDOWN], 1);
	assert_int_equal(cpu->activity, ACTIVITY_SHUTDOWN);
	/* #GP for the INT's gate, #GP for that one's, #DF, #GP for its gate. */
	assert_int_equal(chain.count, 4);
	assert_int_equal(chain.link[0].vector, VECTOR_GP);
	assert_int_equal(chain.link[0].error, 0x80 * 8 + 2);
	assert_int_equal(chain.link[1].error, VECTOR_GP * 8 + 3);
	assert_int_equal(chain.link[2].vector, VECTOR_DF);
	assert_int_equal(chain.link[3].error, VECTOR_DF * 8 + 3);
	cpu->reporter = NULL;
}

/* A benign first event is followed by the second on its own: #UD without a gate gives #GP. */
static void benign_then_contributory(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	gate32(f, VECTOR_GP, 0x15000, TYPE_INTERRUPT, 0);
	RUN_AT(f, 0x0f, 0x0b); /* UD2 */
	fixture_run(f);
	assert_int_equal(f->cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), VECTOR_UD * 8 + 3);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT);
}

static void long_mode_aligns_and_switches(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 0);
	cpu->r[RSP] = STACK0_TOP - 3;
	gate64(f, 0x40, 0x15000, TYPE_INTERRUPT, 0, 0);
	RUN_AT(f, 0xcd, 0x40);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 16 - 40);
	assert_int_equal(peek(f, STACK0_TOP - 24, 8), DATA0);
	assert_int_equal(peek(f, STACK0_TOP - 32, 8), STACK0_TOP - 3);
	assert_int_equal(cpu->seg[SS].selector, DATA0); /* same ring: SS stays */

	enter_ring(f, 3);
	gate64(f, 0x40, 0x15000, TYPE_INTERRUPT, 3, 1);
	cpu->rip = CODE_AT;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->r[RSP], IST_TOP - 40);
	assert_int_equal(cpu->seg[SS].selector, 0);
	assert_true(cpu->seg[SS].ar & AR_UNUSABLE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(peek(f, IST_TOP - 8, 8), DATA3);
	assert_int_equal(peek(f, IST_TOP - 32, 8), CODE3);
	assert_int_equal(peek(f, IST_TOP - 40, 8), CODE_AT + 2);

	enter_ring(f, 3);
	poke(f, TSS_AT + 0x24, 8, 0x800000000000); /* not canonical */
	cpu->rip = CODE_AT;
	assert_fault(f, VECTOR_SS, 0);
	put_descriptor(f, CODE0, 0, 0xfffff, AR_CODE0 | AR_32);
	assert_fault(f, VECTOR_GP, CODE0); /* not 64-bit code */
}

/* A page fault while pushing on the inner stack is a supervisor's, and leaves the user's state alone. */
static void page_fault_on_inner_stack(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_long(f, 3);
	poke(f, TSS_AT + 4, 8, 0x400000); /* not mapped */
	gate64(f, 0x40, 0x15000, TYPE_INTERRUPT, 3, 0);
	RUN_AT(f, 0xcd, 0x40);
	assert_fault(f, VECTOR_PF, PF_W);
	assert_int_equal(cpu->fault.address, 0x400000 - 8);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);

	/* As an exception it is then a double fault: #PF while delivering #PF. */
	gate64(f, VECTOR_PF, 0x15000, TYPE_INTERRUPT, 0, 0);
	gate64(f, VECTOR_DF, 0x16000, TYPE_INTERRUPT, 0, 1);
	exec_fault(cpu);
	assert_int_equal(cpu->rip, 0x16000);
	assert_int_equal(cpu->cr2, 0x400000 - 8); /* the first push */
}

static void interrupts_wait_for_sti_shadow(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, 0x30, 0x15000, TYPE_INTERRUPT, 0);
	f->vector = 0x30;
	cpu_set_pin(cpu, PIN_INTR, true);
	exec_attend(cpu);
	assert_int_equal(cpu->rip, CODE_AT); /* IF is clear */
	assert_int_equal(cpu->attention, 0);
	RUN_AT(f, 0xfb, 0xfc, 0xfc); /* STI; CLD; CLD */
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT + 1);
	assert_true(cpu->attention & ATTEND_SHADOW);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 2);
	assert_int_equal(cpu->attention, 0);
}

/* The manual allows it, and processors do it. */
static void nmi_waits_for_sti_shadow(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_NMI, 0x15000, TYPE_INTERRUPT, 0);
	RUN_AT(f, 0xfb, 0xfc, 0xfc); /* STI; CLD; CLD */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	cpu_set_pin(cpu, PIN_NMI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->rip, CODE_AT + 1);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 2);
}

/* What MOV SS held, when the next instruction calls the IDT. */
static void held_traps_and_software_events(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_DB, 0x15000, TYPE_INTERRUPT, 0);
	gate32(f, 0x30, 0x16000, TYPE_INTERRUPT, 0);
	cpu->dr6 = DR6_FIXED | BIT(1);
	cpu->pending_debug = BIT(0) | DR6_BS;
	RUN_AT(f, 0xf1);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->dr6, DR6_FIXED | BIT(0));
	assert_int_equal(cpu->pending_debug, 0);

	fixture_protected(f, 0);
	cpu->pending_debug = BIT(0) | DR6_BS;
	RUN_AT(f, 0xcd, 0x30);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->rip, 0x16000);
	assert_int_equal(cpu->pending_debug, BIT(0));
	cpu->pending_debug = 0;
}

static void mov_ss_blocks_traps_and_nmi(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_NMI, 0x15000, TYPE_INTERRUPT, 0);
	RUN_AT(f, 0x8e, 0xd0, 0xfc, 0xfc); /* MOV SS, AX; CLD; CLD */
	cpu->r[RAX] = DATA0;
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	cpu_set_pin(cpu, PIN_NMI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->rip, CODE_AT + 2);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 3);
	assert_true(cpu->nmi_blocked);

	/* A second NMI waits for IRET. */
	cpu_set_pin(cpu, PIN_NMI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->rip, 0x15000);
	CODE_BYTES(f, 0x15000, 0xcf);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->pins, 0);
}

static void single_step(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_DB, 0x15000, TYPE_TRAP, 0);
	RUN_AT(f, 0x9d, 0xfc, 0xfc); /* POPFD; CLD; CLD: the trap comes after the instruction that follows POPFD */
	cpu->r[RSP] -= 4;
	poke(f, STACK0_TOP - 4, 4, RFLAGS_TF | 2);
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT + 1);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 2);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), RFLAGS_TF | 2); /* a trap: RF is not set */
	assert_int_equal(cpu->dr6, DR6_FIXED | DR6_BS);
	assert_int_equal(cpu->rflags & RFLAGS_TF, 0);
	fixture_run(f); /* the handler is not stepped */
	assert_int_equal(cpu->rip, 0x15000 + 2);
}

static void code_breakpoint_and_rf(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_DB, 0x15000, TYPE_INTERRUPT, 0);
	CODE_BYTES(f, 0x15000, 0xcf);
	RUN_AT(f, 0x0f, 0x23, 0xf8, 0xfc, 0xfc); /* MOV DR7, EAX; CLD (breakpoint); CLD */
	cpu->dr[2] = CODE_AT + 3;
	cpu->r[RAX] = BIT(5);
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 3);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4) & RFLAGS_RF, 0);
	assert_int_equal(cpu->dr6, DR6_FIXED | BIT(2));
	poke(f, STACK0_TOP - 4, 4, RFLAGS_RF | 2); /* the handler lets it run */
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT + 3);
	assert_true(cpu->rflags & RFLAGS_RF);
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT + 4);
	assert_int_equal(cpu->rflags & RFLAGS_RF, 0);
}

static void general_detect(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, VECTOR_DB, 0x15000, TYPE_INTERRUPT, 0);
	cpu->dr7 |= DR7_GD;
	RUN_AT(f, 0x0f, 0x21, 0xc0); /* MOV EAX, DR0 */
	fixture_run(f);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(cpu->dr6, DR6_FIXED | DR6_BD);
	assert_int_equal(cpu->dr7 & DR7_GD, 0);
	assert_true(peek(f, STACK0_TOP - 4, 4) & RFLAGS_RF); /* a fault */
}

static void hlt_wakes(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	gate32(f, 0x30, 0x15000, TYPE_INTERRUPT, 0);
	f->vector = 0x30;
	RUN_AT(f, 0xf4);
	fixture_run(f);
	assert_int_equal(cpu->activity, ACTIVITY_HLT);
	cpu_set_pin(cpu, PIN_INTR, true);
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_HLT);
	cpu->rflags |= RFLAGS_IF;
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	assert_int_equal(cpu->rip, 0x15000);
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), CODE_AT + 1);
}

static void init_and_sipi(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	cpu->apic_base &= ~BIT(8); /* not the bootstrap processor */
	fixture_protected(f, 0);
	cpu_set_pin(cpu, PIN_INIT, true);
	exec_attend(cpu);
	assert_int_equal(f->events[CPU_INIT], 1);
	assert_int_equal(cpu->activity, ACTIVITY_WAIT_SIPI);
	assert_int_equal(cpu->attention, 0);
	assert_int_equal(cpu->cr0 & CR0_PE, 0);
	cpu_set_pin(cpu, PIN_NMI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_WAIT_SIPI);
	cpu_set_pin(cpu, PIN_NMI, false);
	cpu->sipi_vector = 0x9a;
	cpu_set_pin(cpu, PIN_SIPI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	assert_int_equal(cpu->seg[CS].selector, 0x9a00);
	assert_int_equal(cpu->seg[CS].base, 0x9a000);
	assert_int_equal(cpu->rip, 0);

	/* Both sent before the vCPU could look: first the one, then the other. */
	cpu_set_pin(cpu, PIN_INIT, true);
	cpu_set_pin(cpu, PIN_SIPI, true);
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_WAIT_SIPI);
	assert_true(cpu->attention & ATTEND_PINS);
	exec_attend(cpu);
	assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
	assert_int_equal(cpu->seg[CS].base, 0x9a000);
}

/* RF is gone when an instruction that calls the IDT saves RFLAGS; a fault of the same instruction has it. */
static void software_interrupts_push_rf_clear(void **state)
{
	struct fixture *f = *state;

	fixture_protected(f, 0);
	gate32(f, 0x40, 0x15000, TYPE_INTERRUPT, 0);
	f->cpu->rflags |= RFLAGS_RF;
	RUN_AT(f, 0xcd, 0x40);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), 2);
}

static void enter_v86(struct fixture *f, unsigned iopl)
{
	fixture_protected(f, 3);
	f->cpu->rflags = RFLAGS_VM | iopl << 12 | 2;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		segment_set_v86(&f->cpu->seg[i], (uint16_t)(0x1000 + i));
	segment_set_v86(&f->cpu->seg[CS], 0x1000);
	segment_set_v86(&f->cpu->seg[SS], 0x2000);
	f->cpu->r[RSP] = 0x800;
	f->cpu->rip = 0;
	exec_context_changed(f->cpu);
}

static void v86_to_ring_0(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	enter_v86(f, 3);
	gate32(f, 0x21, 0x15000, TYPE_INTERRUPT, 3);
	CODE_BYTES(f, CODE_AT, 0xcd, 0x21);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->rflags & RFLAGS_VM, 0);
	assert_int_equal(cpu->r[RSP], STACK0_TOP - 36);
	assert_int_equal(peek(f, STACK0_TOP - 4, 4), 0x1005);  /* GS */
	assert_int_equal(peek(f, STACK0_TOP - 8, 4), 0x1004);  /* FS */
	assert_int_equal(peek(f, STACK0_TOP - 12, 4), 0x1003); /* DS */
	assert_int_equal(peek(f, STACK0_TOP - 16, 4), 0x1000); /* ES */
	assert_int_equal(peek(f, STACK0_TOP - 20, 4), 0x2000);
	assert_int_equal(peek(f, STACK0_TOP - 24, 4), 0x800);
	assert_int_equal(peek(f, STACK0_TOP - 28, 4), RFLAGS_VM | RFLAGS_IOPL | 2);
	assert_true(cpu->seg[DS].ar & AR_UNUSABLE);

	/* And back. */
	CODE_BYTES(f, 0x15000, 0xcf);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[GS].base, 0x10050);
	assert_int_equal(cpu->seg[SS].base, 0x20000);
	assert_int_equal(cpu->r[RSP], 0x800);
	assert_int_equal(cpu->rip, 2);
}

static void v86_int_needs_iopl(void **state)
{
	struct fixture *f = *state;

	enter_v86(f, 0);
	gate32(f, 0x21, 0x15000, TYPE_INTERRUPT, 3);
	CODE_BYTES(f, CODE_AT, 0xcd, 0x21);
	assert_fault(f, VECTOR_GP, 0);
}

static void vme_redirects_with_virtual_if(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	enter_v86(f, 0);
	assert_false(exec_write_cr4(cpu, CR4_VME));
	cpu->rflags |= RFLAGS_VIF;
	poke(f, TSS_AT + 0x66, 2, 0x100);
	memset(f->ram + TSS_AT + 0xe0, 0, 32); /* all go to the 8086 program */
	poke(f, 0x21 * 4, 4, 0x13370042);
	CODE_BYTES(f, CODE_AT, 0xcd, 0x21);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->seg[CS].selector, 0x1337);
	assert_int_equal(cpu->rip, 0x42);
	assert_int_equal(cpu->r[RSP], 0x7fa);
	assert_int_equal(peek(f, 0x207fe, 2), RFLAGS_IF | RFLAGS_IOPL | 2);
	assert_int_equal(cpu->rflags & RFLAGS_VIF, 0);

	/* The bit set: #GP(0) because IOPL is not 3. */
	f->ram[TSS_AT + 0xe0 + 0x21 / 8] |= 1 << 0x21 % 8;
	segment_set_v86(&cpu->seg[CS], 0x1000);
	cpu->rip = 0;
	assert_fault(f, VECTOR_GP, 0);

	/* STI with VIP pending is refused; both at the start of an instruction are, too. */
	CODE_BYTES(f, CODE_AT, 0xfb);
	cpu->rflags |= RFLAGS_VIP;
	assert_fault(f, VECTOR_GP, 0);
	gate32(f, VECTOR_GP, 0x15000, TYPE_INTERRUPT, 0);
	cpu->rflags |= RFLAGS_VIF;
	exec_attend(cpu);
	assert_int_equal(cpu->rip, 0x15000);
}

static void smi_and_rsm(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	struct segment ss;
	uint64_t cr3;

	fixture_long(f, 3);
	ss = cpu->seg[SS];
	cr3 = cpu->cr3;
	cpu->r[R15] = 0x1122334455667788;
	cpu->smbase = 0x30000;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_CF);
	cpu_set_pin(cpu, PIN_SMI, true);
	exec_attend(cpu);
	assert_true(cpu->in_smm);
	assert_int_equal(f->events[CPU_SMI_ENTERED], 1);
	assert_int_equal(cpu->rip, 0x8000);
	assert_int_equal(cpu->seg[CS].base, 0x30000);
	assert_int_equal(cpu->seg[CS].selector, 0x3000);
	assert_int_equal(cpu->cr0 & (CR0_PE | CR0_PG), 0);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(peek(f, 0x3ff50, 8), cr3);
	assert_int_equal(peek(f, 0x3ff80, 8), 0x1122334455667788);
	assert_int_equal(peek(f, 0x3fe10, 2), CODE3);
	assert_int_equal(peek(f, 0x3ff78, 8), CODE_AT);
	poke(f, 0x3ff00, 4, 0x40000); /* SMBASE relocation */
	CODE_BYTES(f, 0x38000, 0x0f, 0xaa);
	cpu->r[R15] = 0;
	cpu_set_pin(cpu, PIN_SMI, true); /* waits until after RSM */
	exec_attend(cpu);
	assert_int_equal(cpu->rip, 0x8000);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_false(cpu->in_smm);
	assert_int_equal(cpu->smbase, 0x40000);
	assert_int_equal(cpu->cpl, 3);
	assert_true(cpu_64bit(cpu));
	assert_int_equal(cpu->rip, CODE_AT);
	assert_int_equal(cpu->r[R15], 0x1122334455667788);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_CF | 2);
	assert_memory_equal(&cpu->seg[SS], &ss, sizeof(ss));
	assert_int_equal(f->events[CPU_SMI_LEFT], 1);
	assert_true(cpu->attention & ATTEND_PINS);
	RUN_AT(f, 0x0f, 0xaa);
	assert_fault(f, VECTOR_UD, 0);
}

static uint64_t no_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void raise_smi(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	cpu_set_pin(device, PIN_SMI, true);
}

static void io_restart(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	static const struct device_ops ops = {.read = no_read, .write = raise_smi};

	bus_add_ports(f->bus, "apm", 0xb2, 1, &ops, cpu);
	fixture_protected(f, 0);
	RUN_AT(f, 0xe6, 0xb2); /* OUT B2H, AL */
	fixture_run(f);
	assert_true(cpu->in_smm);
	assert_int_equal(peek(f, 0x3fec0, 4), 0xb20012); /* port B2H, one byte, valid, OUT */
	assert_int_equal(peek(f, 0x3fea0, 8), CODE_AT);
	assert_int_equal(peek(f, 0x3ff78, 8), CODE_AT + 2);
	assert_int_equal(peek(f, 0x3fefc, 4), 0x20064);
	CODE_BYTES(f, 0x38000, 0x0f, 0xaa);
	poke(f, 0x3fec8, 1, 0xff);
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT);
	fixture_run(f); /* and without: after it */
	fixture_run(f);
	assert_int_equal(cpu->rip, CODE_AT + 2);
	cpu_set_pin(cpu, PIN_SMI, true); /* from elsewhere */
	exec_attend(cpu);
	assert_int_equal(peek(f, 0x3fec0, 4), 0);
}

static void smi_wakes_and_halts_again(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	CODE_BYTES(f, 0x38000, 0x0f, 0xaa);
	for (unsigned again = 0; again < 2; again++) {
		RUN_AT(f, 0xf4);
		fixture_run(f);
		cpu_set_pin(cpu, PIN_SMI, true);
		exec_attend(cpu);
		assert_int_equal(cpu->activity, ACTIVITY_ACTIVE);
		assert_int_equal(peek(f, 0x3fec9, 1), 1);
		poke(f, 0x3fec9, 1, again);
		fixture_run(f);
		assert_int_equal(cpu->activity, again ? ACTIVITY_HLT : ACTIVITY_ACTIVE);
		assert_int_equal(cpu->rip, CODE_AT + 1);
	}
}

static void rsm_refuses_bad_state(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	fixture_protected(f, 0);
	cpu_set_pin(cpu, PIN_SMI, true);
	exec_attend(cpu);
	poke(f, 0x3ff58, 8, CR0_PG);
	CODE_BYTES(f, 0x38000, 0x0f, 0xaa);
	fixture_step(f);
	assert_int_equal(cpu->activity, ACTIVITY_SHUTDOWN);
	assert_int_equal(f->events[CPU_SHUTDOWN], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(real_mode_int),
		FIXTURE_TEST(inner_ring_frame_32),
		FIXTURE_TEST(gate_checks_in_order),
		FIXTURE_TEST(external_bit),
		FIXTURE_TEST(faults_push_error_and_rf),
		FIXTURE_TEST(double_and_triple_fault),
		FIXTURE_TEST(benign_then_contributory),
		FIXTURE_TEST(long_mode_aligns_and_switches),
		FIXTURE_TEST(page_fault_on_inner_stack),
		FIXTURE_TEST(interrupts_wait_for_sti_shadow),
		FIXTURE_TEST(nmi_waits_for_sti_shadow),
		FIXTURE_TEST(held_traps_and_software_events),
		FIXTURE_TEST(mov_ss_blocks_traps_and_nmi),
		FIXTURE_TEST(single_step),
		FIXTURE_TEST(code_breakpoint_and_rf),
		FIXTURE_TEST(general_detect),
		FIXTURE_TEST(hlt_wakes),
		FIXTURE_TEST(init_and_sipi),
		FIXTURE_TEST(software_interrupts_push_rf_clear),
		FIXTURE_TEST(v86_to_ring_0),
		FIXTURE_TEST(v86_int_needs_iopl),
		FIXTURE_TEST(vme_redirects_with_virtual_if),
		FIXTURE_TEST(smi_and_rsm),
		FIXTURE_TEST(io_restart),
		FIXTURE_TEST(smi_wakes_and_halts_again),
		FIXTURE_TEST(rsm_refuses_bad_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

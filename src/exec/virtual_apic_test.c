/*
 * The virtual APIC in a running guest: what happens at instruction boundaries, in which order, and what VM exits save.
 * The operations themselves are tested in vmx/virtual_apic_test.c.
 */
#include "apic/apic.h"
#include "exec/vmx_fixture.h"
#include "vmx/virtual_apic.h"

#define VIRTUAL_AT    0x50000
#define ACCESS_AT     0x51000
#define DESCRIPTOR_AT 0x52000
#define BITMAP_AT     0x53000
#define HANDLER_AT    0x60000
#define NOTIFY	      0xf2

#define PRI(name) PROCBASED_CTLS_##name
#define SEC(name) PROCBASED_CTLS2_##name

#define MOV_CR8_RAX 0x44, 0x0f, 0x22, 0xc0
#define MOV_RAX_CR8 0x44, 0x0f, 0x20, 0xc0
#define WRMSR	    0x0f, 0x30
#define RDMSR	    0x0f, 0x32
#define NOP	    0x90
#define HLT	    0xf4
#define STI	    0xfb
#define CLI	    0xfa
/* MOV [ACCESS_AT + offset], EAX and back */
#define STORE(offset) 0x89, 0x04, 0x25, (offset)&0xff, 0x10 + ((offset) >> 8), 0x05, 0x00
#define LOAD(offset)  0x8b, 0x04, 0x25, (offset)&0xff, 0x10 + ((offset) >> 8), 0x05, 0x00

/* A VMCS with these controls, and every vector's gate. */
static void prepare(struct fixture *f, uint64_t primary, uint64_t secondary)
{
	start(f);
	fill(f);
	PUT(VM_PINBASED_CTLS, vmx_allowed0(&caps, VMX_PINBASED_CTLS) | PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING |
				      PINBASED_CTLS_NMI_EXITING);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PRI(USE_TPR_SHADOW) | PRI(USE_MSR_BITMAPS) |
				       PRI(ACTIVATE_SECONDARY_CONTROLS) | primary);
	PUT(VM_PROCBASED_CTLS2, secondary);
	PUT(VIRTUAL_APIC_ADDRESS, VIRTUAL_AT);
	PUT(APIC_ACCESS_ADDRESS, ACCESS_AT);
	PUT(MSR_BITMAP, BITMAP_AT);
	PUT(GUEST_RFLAGS, RFLAGS_1);
	for (unsigned vector = 0; vector < 256; vector++)
		put_gate(f, IDT_AT + 16 * vector, CODE0, HANDLER_AT + vector, TYPE_INTERRUPT, 0, 0);
}

static void status(struct fixture *f, uint8_t rvi, uint8_t svi)
{
	PUT(GUEST_INTERRUPT_STATUS, rvi | svi << 8);
	poke(f, VIRTUAL_AT + 0x200 + rvi / 32 * 16, 4, BIT(rvi % 32));
}

#define GUEST(f, ...)                                 \
	do {                                          \
		CODE_BYTES(f, GUEST_AT, __VA_ARGS__); \
		(f)->cpu->rip = GUEST_AT;             \
	} while (0)

/* The guest has exited, with RIP saved at so many bytes of its code. */
static void expect_exit(struct fixture *f, uint32_t reason, uint64_t qualification, unsigned at)
{
	assert_false(f->cpu->nonroot);
	assert_int_equal(f->cpu->rip, HOST_AT);
	assert_field(EXIT_REASON, reason);
	assert_field(EXIT_QUALIFICATION, qualification);
	assert_field(GUEST_RIP, GUEST_AT + at);
}

static void cr8_and_the_threshold(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, 0);
	poke(f, VIRTUAL_AT + 0x80, 4, 0x70);
	PUT(TPR_THRESHOLD, 5);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, MOV_RAX_CR8, MOV_CR8_RAX);
	fixture_run(f);
	assert_int_equal(f->cpu->r[RAX], 7);
	f->cpu->r[RAX] = 5;
	fixture_run(f);
	assert_true(f->cpu->nonroot);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x80, 4), 0x50);
	assert_int_equal(apic_get_tpr(f->cpu->apic), 0); /* not the processor's own */
	GUEST(f, MOV_CR8_RAX);
	f->cpu->r[RAX] = 0x10;
	assert_fault(f, VECTOR_GP, 0);
	f->cpu->r[RAX] = 4;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 4);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x80, 4), 0x40);
	assert_int_equal(f->cpu->vapic_write, 0);
}

/* SDM vol. 3, "Saving Non-Register State": it is trap-like, and a single step stays pending. */
static void a_step_stays_pending(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, 0);
	poke(f, VIRTUAL_AT + 0x80, 4, 0x70);
	PUT(TPR_THRESHOLD, 5);
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_TF);
	PUT(GUEST_DEBUGCTL, 0);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, MOV_CR8_RAX);
	f->cpu->r[RAX] = 0;
	cpu_set_pin(f->cpu, PIN_NMI, true); /* and the exit comes before an NMI */
	fixture_run(f);
	expect_exit(f, VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 4);
	assert_field(GUEST_PENDING_DEBUG, DR6_BS);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	assert_true(f->cpu->pins & BIT(PIN_NMI));
}

static void the_threshold_at_entry(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUALIZE_APIC_ACCESSES));
	poke(f, VIRTUAL_AT + 0x80, 4, 0x30);
	PUT(TPR_THRESHOLD, 4);
	PUT(GUEST_ACTIVITY_STATE, 1);
	ENTER(f, VMLAUNCH);
	assert_true(f->cpu->nonroot);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 0);
	assert_field(GUEST_ACTIVITY_STATE, 1);
	/* not in the shutdown state */
	PUT(GUEST_ACTIVITY_STATE, 2);
	ENTER(f, VMRESUME);
	exec_attend(f->cpu);
	assert_true(f->cpu->nonroot);
	cpu_set_pin(f->cpu, PIN_NMI, true);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_EXCEPTION_NMI, 0, 0);
}

static void apic_accesses(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUALIZE_APIC_ACCESSES));
	poke(f, VIRTUAL_AT + 0x80, 4, 0x60);
	PUT(TPR_THRESHOLD, 5);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, LOAD(0x80), STORE(0x80), LOAD(0x20));
	fixture_run(f);
	assert_int_equal(f->cpu->r[RAX], 0x60);
	fixture_run(f);
	assert_true(f->cpu->nonroot);
	fixture_run(f);
	expect_exit(f, VMX_EXIT_APIC_ACCESS, 0x20, 14);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 7);
	assert_field(IDT_VECTORING_INFO, 0);
	assert_field(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_RF);
	/* lower than the threshold, by memory */
	ENTER(f, VMRESUME);
	exec_attend(f->cpu);
	GUEST(f, STORE(0x80));
	f->cpu->r[RAX] = 0xffffff4f;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 7);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x80, 4), 0x4f);
	/* and no translation of the guest's is left for the host */
	f->cpu->rip = CODE_AT;
	RUN_AT(f, STORE(0x80));
	f->cpu->r[RAX] = 0x1234;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(peek(f, ACCESS_AT + 0x80, 4), 0x1234);
}

static void apic_access_during_event_delivery(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUALIZE_APIC_ACCESSES));
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, 0xcd, 0x31); /* INT 31H */
	f->cpu->r[RSP] = ACCESS_AT + 0x100;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_APIC_ACCESS, 3 << 12 | 0x0f8, 0);
	assert_field(IDT_VECTORING_INFO, INTERRUPTION_VALID | INTERRUPTION_SOFTWARE << 8 | 0x31);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 2);
	/* of an event that no instruction makes */
	ENTER(f, VMRESUME);
	exec_attend(f->cpu);
	GUEST(f, 0x0f, 0x0b);
	f->cpu->r[RSP] = ACCESS_AT + 0x100;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_APIC_ACCESS, 3 << 12 | 0x0f8, 0);
	assert_field(IDT_VECTORING_INFO, INTERRUPTION_VALID | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_UD);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 0);
}

static void trap_like_exits(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0,
		SEC(VIRTUALIZE_APIC_ACCESSES) | SEC(APIC_REGISTER_VIRTUALIZATION) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
	status(f, 0, 0x41);
	poke(f, VIRTUAL_AT + 0x100 + 0x20, 4, BIT(1));
	PUT(EOI_EXIT_BITMAP1, BIT(1));
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, STORE(0xb0));
	fixture_run(f);
	expect_exit(f, VMX_EXIT_VIRTUALIZED_EOI, 0x41, 7);
	assert_field(GUEST_INTERRUPT_STATUS, 0);
	assert_field(GUEST_RFLAGS, RFLAGS_1);
	ENTER(f, VMRESUME);
	exec_attend(f->cpu);
	GUEST(f, STORE(0x370));
	f->cpu->r[RAX] = 0xfe;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_APIC_WRITE, 0x370, 7);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x370, 4), 0xfe);
}

/* The guest is in the handler of a vector, with what is in service. */
static void expect_handler(struct fixture *f, uint8_t vector)
{
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->rip, HANDLER_AT + vector);
	assert_int_equal(f->cpu->activity, ACTIVITY_ACTIVE);
	assert_int_equal(f->cpu->vmx->vmcs.field[VMCS_GUEST_INTERRUPT_STATUS] >> 8, vector);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x100 + vector / 32 * 16, 4) >> vector % 32 & 1, 1);
}

static void virtual_interrupts(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUAL_INTERRUPT_DELIVERY));
	/* IF is 0: it waits for STI and the instruction after it */
	status(f, 0x61, 0);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, NOP, STI, NOP, NOP);
	fixture_run(f);
	fixture_run(f);
	assert_int_equal(f->cpu->rip, GUEST_AT + 2);
	fixture_run(f);
	expect_handler(f, 0x61);
	assert_int_equal(peek(f, f->cpu->r[RSP], 8), GUEST_AT + 3);
	assert_false(f->cpu->rflags & RFLAGS_IF);
	assert_int_equal(f->cpu->pins, 0);
}

static void virtual_interrupts_end_hlt(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUAL_INTERRUPT_DELIVERY));
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	PUT(GUEST_ACTIVITY_STATE, 1);
	status(f, 0x61, 0x60); /* the one in service is of the same class */
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	assert_int_equal(f->cpu->activity, ACTIVITY_HLT);
	f->cpu->attention = 0;
	f->cpu->vapic_write = 0xb0; /* no instruction runs, so as if one had */
	exec_attend(f->cpu);
	expect_handler(f, 0x61);
}

static void the_interrupt_window_comes_first(void **state)
{
	struct fixture *f = *state;

	prepare(f, PRI(INTERRUPT_WINDOW_EXITING), SEC(VIRTUAL_INTERRUPT_DELIVERY));
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	status(f, 0x61, 0);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_INTERRUPT_WINDOW, 0, 0);
	assert_field(GUEST_INTERRUPT_STATUS, 0x61);
	assert_int_equal(f->cpu->pins, 0);
}

/* NMIs before virtual interrupts, and those before external ones. */
static void priority(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUAL_INTERRUPT_DELIVERY));
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	status(f, 0x61, 0);
	ENTER(f, VMLAUNCH);
	cpu_set_pin(f->cpu, PIN_NMI, true);
	cpu_set_pin(f->cpu, PIN_INTR, true);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_EXCEPTION_NMI, 0, 0);
	cpu_set_pin(f->cpu, PIN_INTR, false);
	f->cpu->nmi_blocked = false;
	ENTER(f, VMRESUME);
	cpu_set_pin(f->cpu, PIN_INTR, true);
	exec_attend(f->cpu);
	expect_handler(f, 0x61);
	assert_true(f->cpu->pins & BIT(PIN_INTR));
}

static void faults_of_the_delivery(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, SEC(VIRTUAL_INTERRUPT_DELIVERY));
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	PUT(EXCEPTION_BITMAP, BIT(VECTOR_GP));
	status(f, 0x61, 0);
	poke(f, IDT_AT + 16 * 0x61 + 2, 2, 0x1000); /* a selector beyond the table */
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_EXCEPTION_NMI, 0, 0);
	assert_field(IDT_VECTORING_INFO, INTERRUPTION_VALID | 0x61);
	assert_field(GUEST_INTERRUPT_STATUS, 0x6100);
}

static void prepare_posted(struct fixture *f)
{
	prepare(f, 0, SEC(VIRTUAL_INTERRUPT_DELIVERY));
	PUT(VM_PINBASED_CTLS, vmx_allowed0(&caps, VMX_PINBASED_CTLS) | PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING |
				      PINBASED_CTLS_PROCESS_POSTED_INTERRUPTS);
	PUT(VM_EXIT_CTLS, get(f, VMCS_VM_EXIT_CTLS) | EXIT_CTLS_ACKNOWLEDGE_INTERRUPT);
	PUT(POSTED_INTERRUPT_VECTOR, NOTIFY);
	PUT(POSTED_INTERRUPT_DESCRIPTOR, DESCRIPTOR_AT);
	poke(f, DESCRIPTOR_AT + 32, 8, 1);
	poke(f, DESCRIPTOR_AT + 0x50 / 8, 1, 1 << 0x50 % 8);
}

static void interrupt(struct fixture *f, int vector)
{
	f->vector = vector;
	cpu_set_pin(f->cpu, PIN_INTR, true);
	exec_attend(f->cpu);
}

static void posted_interrupts(void **state)
{
	struct fixture *f = *state;

	prepare_posted(f);
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	interrupt(f, NOTIFY);
	expect_handler(f, 0x50);
	assert_int_equal(peek(f, DESCRIPTOR_AT + 32, 8), 0);
	assert_int_equal(f->cpu->vmx->exits[VMX_EXIT_EXTERNAL_INTERRUPT], 0);
	/* with IF 0 it is taken out of the descriptor all the same */
	poke(f, DESCRIPTOR_AT + 0x71 / 8, 1, 1 << 0x71 % 8);
	interrupt(f, NOTIFY);
	assert_int_equal(f->cpu->rip, HANDLER_AT + 0x50);
	assert_int_equal(peek(f, DESCRIPTOR_AT + 0x71 / 8, 1), 0);
	assert_true(f->cpu->pins & BIT(PIN_VIRTUAL));
	/* any other vector exits */
	interrupt(f, NOTIFY - 1);
	assert_int_equal(f->cpu->rip, HOST_AT);
	assert_field(EXIT_REASON, VMX_EXIT_EXTERNAL_INTERRUPT);
	assert_field(VM_EXIT_INTERRUPTION_INFO, INTERRUPTION_VALID | (NOTIFY - 1));
	assert_field(GUEST_INTERRUPT_STATUS, 0x5071);
}

static void posted_interrupts_in_hlt(void **state)
{
	struct fixture *f = *state;

	prepare_posted(f);
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF);
	PUT(GUEST_ACTIVITY_STATE, 1);
	poke(f, VIRTUAL_AT + 0x80, 4, 0x50); /* masks it */
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	interrupt(f, NOTIFY);
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->activity, ACTIVITY_HLT);
	poke(f, DESCRIPTOR_AT + 0x60 / 8, 1, 1 << 0x60 % 8);
	interrupt(f, NOTIFY);
	expect_handler(f, 0x60);
}

/* In root operation the vector is like any other. */
static void notifications_in_root_operation(void **state)
{
	struct fixture *f = *state;

	prepare_posted(f);
	f->cpu->rflags |= RFLAGS_IF;
	f->cpu->rip = CODE_AT;
	interrupt(f, NOTIFY);
	assert_int_equal(f->cpu->rip, HANDLER_AT + NOTIFY);
	assert_int_equal(peek(f, DESCRIPTOR_AT + 32, 8), 1);
}

static void x2apic_msrs(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0,
		SEC(VIRTUALIZE_X2APIC_MODE) | SEC(APIC_REGISTER_VIRTUALIZATION) | SEC(VIRTUAL_INTERRUPT_DELIVERY));
	poke(f, VIRTUAL_AT + 0x30, 8, UINT64_C(0x1122334455667788));
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, RDMSR, WRMSR);
	f->cpu->r[RCX] = 0x803;
	fixture_run(f);
	assert_int_equal(f->cpu->r[RAX], 0x55667788);
	assert_int_equal(f->cpu->r[RDX], 0x11223344);
	f->cpu->r[RCX] = 0x808;
	f->cpu->r[RAX] = 0x20;
	f->cpu->r[RDX] = 0;
	fixture_run(f);
	assert_int_equal(peek(f, VIRTUAL_AT + 0x80, 8), 0x20);
	assert_int_equal(peek(f, VIRTUAL_AT + 0xa0, 4), 0x20);
	GUEST(f, WRMSR);
	f->cpu->r[RAX] = 0x120;
	assert_fault(f, VECTOR_GP, 0);
	f->cpu->rip = GUEST_AT;
	f->cpu->r[RCX] = 0x83f; /* to itself */
	f->cpu->r[RAX] = 0x99;
	f->cpu->rflags |= RFLAGS_IF;
	fixture_run(f);
	expect_handler(f, 0x99);
	GUEST(f, WRMSR);
	f->cpu->r[RAX] = 0x03;
	fixture_run(f);
	expect_exit(f, VMX_EXIT_APIC_WRITE, 0x3f0, 2);
}

/* Between the write and what it causes, and with a virtual interrupt recognized. */
static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *saved = state_save(), *restored;
	const void *data;
	size_t size;

	prepare(f, 0, SEC(VIRTUALIZE_APIC_ACCESSES));
	poke(f, VIRTUAL_AT + 0x80, 4, 0x70);
	PUT(TPR_THRESHOLD, 5);
	ENTER(f, VMLAUNCH);
	exec_attend(f->cpu);
	GUEST(f, STORE(0x80));
	f->cpu->r[RAX] = 0;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	vmx_state(f->cpu, saved);
	data = state_data(saved, &size);
	vmx_reset(f->cpu);
	assert_int_equal(f->cpu->vapic_controls, 0);
	restored = state_restore(data, size);
	vmx_state(f->cpu, restored);
	assert_false(state_failed(restored));
	state_free(restored);
	state_free(saved);
	assert_int_equal(f->cpu->vapic_controls, VAPIC_ACCESSES | VAPIC_TPR_SHADOW);
	exec_attend(f->cpu);
	expect_exit(f, VMX_EXIT_TPR_BELOW_THRESHOLD, 0, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cr8_and_the_threshold),
		TEST(a_step_stays_pending),
		TEST(the_threshold_at_entry),
		TEST(apic_accesses),
		TEST(apic_access_during_event_delivery),
		TEST(trap_like_exits),
		TEST(virtual_interrupts),
		TEST(virtual_interrupts_end_hlt),
		TEST(the_interrupt_window_comes_first),
		TEST(priority),
		TEST(faults_of_the_delivery),
		TEST(posted_interrupts),
		TEST(posted_interrupts_in_hlt),
		TEST(notifications_in_root_operation),
		TEST(x2apic_msrs),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests_name("exec/virtual_apic", tests, NULL, NULL);
}

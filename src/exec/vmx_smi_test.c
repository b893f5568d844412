/* The default treatment of SMIs and SMM: an SMI in VMX root and non-root operation, SMM, and RSM. */
#include "exec/vmx_fixture.h"

#define SMBASE_AT  0x30000 /* as after reset; the fixture's VMXON region and VMCS lie below the handler and the map */
#define HANDLER_AT (SMBASE_AT + 0x8000)
#define EPTP_VALUE (0x48000 | 3 << 3 | 6)

/* Places in the save map. */
#define MAP_EPTP (SMBASE_AT + 0xfed8)
#define MAP_EPT	 (SMBASE_AT + 0xfee0)
#define MAP_NMI	 (SMBASE_AT + 0xfeca)
#define MAP_CS	 (SMBASE_AT + 0xfe10)
#define MAP_SS	 (SMBASE_AT + 0xfe20)
#define MAP_CPL	 (SMBASE_AT + 0xfecb)
#define MAP_CR4	 (SMBASE_AT + 0xff48)
#define MAP_CR0	 (SMBASE_AT + 0xff58)
#define MAP_RIP	 (SMBASE_AT + 0xff78)

#define AT(f, at, ...)                          \
	do {                                    \
		CODE_BYTES(f, at, __VA_ARGS__); \
		(f)->cpu->rip = (at)-SMBASE_AT; \
	} while (0)

static void assert_guest(struct fixture *f)
{
	assert_true(f->cpu->vmx->on);
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->rip, GUEST_AT);
	assert_int_equal(f->cpu->r[RSP], STACK3_TOP);
	assert_int_equal(f->cpu->cr4, CR4_PAE | CR4_VMXE | CR4_TSD);
	assert_int_equal(f->cpu->seg[GS].base, 0xdef0);
}

static void smi(struct fixture *f)
{
	cpu_set_pin(f->cpu, PIN_SMI, true);
	exec_attend(f->cpu);
	assert_true(f->cpu->in_smm);
	assert_false(f->cpu->vmx->on);
	assert_false(f->cpu->nonroot);
	assert_int_equal(f->cpu->cr4, 0);
}

static void rsm(struct fixture *f)
{
	AT(f, HANDLER_AT, 0x0f, 0xaa);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	assert_false(f->cpu->in_smm);
}

/* A guest with EPT and a VPID, and the bits of the secondary controls that a test wants. */
static void enter_guest(struct fixture *f, uint64_t secondary)
{
	start(f);
	fill(f);
	poke(f, 0x48000, 8, 0x49000 | 7);
	poke(f, 0x49000, 8, 0x4a000 | 7);
	poke(f, 0x4a000, 8, 6 << 3 | BIT(7) | 7);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_VPID | secondary);
	PUT(EPTP, EPTP_VALUE);
	PUT(VPID, 7);
	ENTER(f, VMLAUNCH);
	assert_guest(f);
}

static void root_operation(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	start(f);
	poke(f, MAP_EPT, 4, 0xffffffff);
	smi(f);
	assert_int_equal(peek(f, MAP_EPT, 4), 0);
	assert_int_equal(peek(f, MAP_CR4, 8), CR4_PAE);

	/* Not in VMX operation, and no way to enter it. */
	AT(f, HANDLER_AT, 0x0f, 0x01, 0xc1); /* VMCALL */
	assert_fault(f, VECTOR_UD, 0);
	AT(f, HANDLER_AT, 0x0f, 0x22, 0xe0); /* MOV CR4, EAX */
	cpu->r[RAX] = CR4_PAE | CR4_VMXE;
	assert_fault(f, VECTOR_GP, 0);
	cpu->r[RAX] = CR4_PAE;
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	assert_true(vmx_cr0_allowed(cpu, 0)); /* nothing is fixed */

	cpu_set_pin(cpu, PIN_INIT, true);
	rsm(f);
	assert_true(cpu->vmx->on);
	assert_false(cpu->nonroot);
	assert_int_equal(cpu->cr4, CR4_PAE | CR4_VMXE);
	assert_int_equal(cpu->vmx->current, VMCS_AT);
	exec_attend(cpu);
	assert_int_equal(f->events[CPU_INIT], 0); /* blocked in root operation */
	PUT(GUEST_RIP, 0x1234);
	assert_field(GUEST_RIP, 0x1234);
}

static void nonroot_operation(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	enter_guest(f, 0);
	cpu->r[RBP] = 0x5555;
	cpu->vmx->mtf_pending = true;
	cpu->vapic_controls = VAPIC_ACCESSES;
	smi(f);
	assert_int_equal(cpu->vapic_controls, 0);
	assert_int_equal(cpu->eptp, 0);
	assert_int_equal(cpu->vpid, 0);
	assert_int_equal(peek(f, MAP_EPT, 4), 1);
	assert_int_equal(peek(f, MAP_EPTP, 8), EPTP_VALUE);
	assert_int_equal(peek(f, MAP_RIP, 8), GUEST_AT);
	AT(f, HANDLER_AT, 0x0f, 0xa2); /* CPUID would exit */
	assert_int_not_equal(fixture_step(f), STEP_FAULT);
	cpu->r[RBP] = 0;
	rsm(f);
	assert_guest(f);
	assert_int_equal(cpu->rip, GUEST_AT);
	assert_int_equal(cpu->r[RBP], 0x5555);
	assert_int_equal(cpu->eptp, EPTP_VALUE);
	assert_int_equal(cpu->vpid, 7);
	assert_int_equal(cpu->vapic_controls, VAPIC_ACCESSES);
	assert_true(cpu->vmx->mtf_pending);
	cpu->vmx->mtf_pending = false;
	CODE_BYTES(f, GUEST_AT, VMCALL);
	fixture_run(f);
	assert_int_equal(cpu->rip, HOST_AT);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL);
}

/* VMXE is kept by the processor, and in the save map it is reserved. */
static void vmxe(void **state)
{
	struct fixture *f = *state;

	smi(f); /* outside VMX operation */
	rsm(f);
	assert_int_equal(f->cpu->cr4, CR4_PAE | CR4_VMXE);
	assert_false(f->cpu->vmx->on);
	f->cpu->cr4 &= ~CR4_VMXE;
	smi(f);
	rsm(f);
	assert_int_equal(f->cpu->cr4, CR4_PAE);
	smi(f);
	poke(f, MAP_CR4, 8, CR4_PAE | CR4_VMXE);
	AT(f, HANDLER_AT, 0x0f, 0xaa);
	fixture_step(f);
	assert_int_equal(f->cpu->activity, ACTIVITY_SHUTDOWN);
}

static void fixed_bits(void **state)
{
	struct fixture *f = *state;

	start(f);
	smi(f);
	poke(f, MAP_CR0, 8, peek(f, MAP_CR0, 8) & ~CR0_NE);
	rsm(f);
	assert_true(f->cpu->cr0 & CR0_NE);
	smi(f);
	poke(f, MAP_CR0, 8, CR0_ET); /* PE and PG are set, but long mode has ended: an invalid combination with LME */
	poke(f, SMBASE_AT + 0xfed0, 8, EFER_LME);
	AT(f, HANDLER_AT, 0x0f, 0xaa);
	fixture_step(f);
	assert_int_equal(f->cpu->activity, ACTIVITY_SHUTDOWN);
}

/* PE and PG are free for an unrestricted guest, and selectors are as they are. */
static void unrestricted_guest(void **state)
{
	struct fixture *f = *state;

	enter_guest(f, PROCBASED_CTLS2_UNRESTRICTED_GUEST);
	smi(f);
	poke(f, MAP_CR0, 8, CR0_ET);
	poke(f, SMBASE_AT + 0xfed0, 8, 0);
	poke(f, MAP_CS, 2, 0x1233);
	rsm(f);
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->cr0, CR0_ET | CR0_NE);
	assert_int_equal(f->cpu->seg[CS].selector, 0x1233);
}

static void privilege(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	start(f);
	smi(f);
	poke(f, MAP_CPL, 1, 3);
	poke(f, MAP_CS, 2, CODE3);
	poke(f, MAP_SS, 2, DATA3);
	poke(f, MAP_SS + 2, 2, peek(f, MAP_SS + 2, 2) | 3 << 5);
	rsm(f);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(bits_get(cpu->seg[SS].ar, 6, 5), 0);
	assert_int_equal(cpu->seg[CS].selector, CODE3 & ~3);
	assert_int_equal(cpu->seg[SS].selector, DATA3 & ~3);
}

static void nmi_blocking(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	start(f);
	smi(f);
	poke(f, MAP_NMI, 1, 1);
	rsm(f);
	assert_true(cpu->nmi_blocked);
	cpu->nmi_blocked = false;
	fill(f);
	PUT(VM_PINBASED_CTLS,
	    vmx_allowed0(&caps, VMX_PINBASED_CTLS) | PINBASED_CTLS_NMI_EXITING | PINBASED_CTLS_VIRTUAL_NMIS);
	PUT(GUEST_INTERRUPTIBILITY, BIT(3));
	ENTER(f, VMLAUNCH);
	smi(f);
	assert_true(cpu->nmi_blocked);
	poke(f, MAP_NMI, 1, 1);
	rsm(f);
	assert_false(cpu->nmi_blocked);
	assert_true(cpu->vmx->virtual_nmi_blocked);
}

static void activity(void **state)
{
	static const enum activity kept[] = {ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN};
	struct fixture *f = *state;

	start(f);
	for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
		f->cpu->activity = kept[i];
		smi(f);
		assert_int_equal(f->cpu->activity, ACTIVITY_ACTIVE);
		rsm(f);
		assert_int_equal(f->cpu->activity, kept[i]);
	}
}

static void a20m(void **state)
{
	struct fixture *f = *state;

	mem_set_a20m(f->cpu, true);
	poke(f, POINTER_AT, 8, VMXON_AT);
	RUN_AT(f, VMXON);
	assert_fault(f, VECTOR_GP, 0);
	mem_set_a20m(f->cpu, false);
	start(f);
	mem_set_a20m(f->cpu, true);
	assert_false(f->cpu->a20m);
	smi(f);
	assert_true(f->cpu->a20m);
	rsm(f);
	assert_false(f->cpu->a20m);
	RUN(f, SUCCEED, VMXOFF);
	assert_true(f->cpu->a20m);
}

/* Saved in SMM, restored, and back in the guest. */
static void saved_in_smm(void **state)
{
	struct fixture *f = *state;
	struct state *saved = state_save(), *restored;
	const void *data;
	size_t size;

	enter_guest(f, 0);
	smi(f);
	vmx_state(f->cpu, saved);
	data = state_data(saved, &size);
	vmx_reset(f->cpu);
	restored = state_restore(data, size);
	vmx_state(f->cpu, restored);
	assert_false(state_failed(restored));
	state_free(restored);
	state_free(saved);
	rsm(f);
	assert_guest(f);
	assert_int_equal(f->cpu->eptp, EPTP_VALUE);
	assert_int_equal(f->cpu->vpid, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(root_operation), TEST(nonroot_operation),	TEST(vmxe),
		TEST(fixed_bits),     TEST(unrestricted_guest), TEST(privilege),
		TEST(nmi_blocking),   TEST(activity),		TEST(a20m),
		TEST(saved_in_smm),
	};

	return cmocka_run_group_tests_name("exec/vmx_smi", tests, NULL, NULL);
}

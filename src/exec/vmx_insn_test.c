/* VMX instructions, VM entry and VM exit, in 64-bit mode: root operation, VMLAUNCH, a VM exit, VMRESUME. */
#include "exec/vmx_fixture.h"
#include "vmx/report.h"

static void test_pointers(void **state)
{
	struct fixture *f = *state;

	RUN_AT(f, VMPTRST);
	assert_fault(f, VECTOR_UD, 0); /* not in VMX operation */
	f->cpu->feature_control = 4;
	RUN_AT(f, VMXON);
	assert_fault(f, VECTOR_GP, 0);
	f->cpu->feature_control = 5;
	POINT(f, VMXON_AT + 8, FAIL_INVALID, VMXON);
	POINT(f, BIT(60), FAIL_INVALID, VMXON);
	POINT(f, LIST_AT, FAIL_INVALID, VMXON); /* no revision identifier */
	POINT(f, VMXON_AT, SUCCEED, VMXON);
	POINT(f, VMXON_AT, FAIL_INVALID, VMXON); /* VMfail without a current VMCS */
	RUN(f, SUCCEED, VMPTRST);
	assert_int_equal(peek(f, POINTER_AT, 8), ~UINT64_C(0));

	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
	POINT(f, VMXON_AT, FAIL_VALID, VMXON);
	assert_error(VMX_ERROR_VMXON_IN_ROOT);
	POINT(f, VMCS_AT + 1, FAIL_VALID, VMPTRLD);
	assert_error(VMX_ERROR_VMPTRLD_ADDRESS);
	POINT(f, VMXON_AT, FAIL_VALID, VMPTRLD);
	assert_error(VMX_ERROR_VMPTRLD_VMXON_POINTER);
	POINT(f, LIST_AT, FAIL_VALID, VMPTRLD);
	assert_error(VMX_ERROR_VMPTRLD_REVISION);
	POINT(f, VMCS_AT + 1, FAIL_VALID, VMCLEAR);
	assert_error(VMX_ERROR_VMCLEAR_ADDRESS);
	POINT(f, VMXON_AT, FAIL_VALID, VMCLEAR);
	assert_error(VMX_ERROR_VMCLEAR_VMXON_POINTER);

	/* Two VMCSs keep their own fields, in memory too. */
	PUT(GUEST_RIP, 0x1111);
	POINT(f, VMCS2_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS2_AT, SUCCEED, VMPTRLD);
	assert_field(GUEST_RIP, 0);
	PUT(GUEST_RIP, 0x2222);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
	assert_field(GUEST_RIP, 0x1111);
	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	RUN(f, FAIL_INVALID, VMREAD);
	RUN(f, FAIL_INVALID, VMLAUNCH);
	RUN(f, SUCCEED, VMXOFF);
	RUN_AT(f, VMXOFF);
	assert_fault(f, VECTOR_UD, 0);
}

static void test_fields(void **state)
{
	struct fixture *f = *state;

	start(f);
	f->cpu->r[RAX] = 0x7ffe;
	RUN(f, FAIL_VALID, VMREAD);
	assert_error(VMX_ERROR_UNSUPPORTED_COMPONENT);
	f->cpu->r[RAX] = 0x7ffe;
	RUN(f, FAIL_VALID, VMWRITE);
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_IN_ROOT);
	PUT(GUEST_CS_SELECTOR, 0x12345);
	assert_field(GUEST_CS_SELECTOR, 0x2345);
	assert_int_equal(f->cpu->vmx->vmcs.writer[VMCS_GUEST_CS_SELECTOR].rip, CODE_AT);
	enter_ring(f, 3);
	RUN_AT(f, VMREAD);
	assert_fault(f, VECTOR_GP, 0);
}

static void test_operation(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	assert_true(msr_read(f->cpu, 0x480, &value));
	assert_int_equal(value & BITS(30, 0), VMX_REVISION);
	assert_false(msr_write(f->cpu, 0x480, value));
	start(f);
	assert_true(exec_write_cr4(f->cpu, CR4_PAE)); /* VMXE is fixed */
	assert_true(exec_write_cr0(f->cpu, f->cpu->cr0 & ~CR0_NE));
	assert_false(exec_write_cr0(f->cpu, f->cpu->cr0 | CR0_TS));
	cpu_set_pin(f->cpu, PIN_INIT, true);
	exec_attend(f->cpu);
	assert_int_equal(f->events[CPU_INIT], 0); /* blocked in VMX root operation */
	RUN(f, SUCCEED, VMXOFF);
	assert_false(exec_write_cr4(f->cpu, CR4_PAE));
	exec_attend(f->cpu);
	assert_int_equal(f->events[CPU_INIT], 1);
}

static void test_invalidate(void **state)
{
	struct fixture *f = *state;

	start(f);
	poke(f, POINTER_AT, 8, PAGES_AT | 3 << 3 | 6);
	poke(f, POINTER_AT + 8, 8, 0);
	f->cpu->r[RAX] = 2;
	RUN(f, SUCCEED, INVEPT);
	f->cpu->r[RAX] = 1;
	RUN(f, SUCCEED, INVEPT);
	poke(f, POINTER_AT, 8, PAGES_AT | 3 << 3 | 1); /* memory type */
	f->cpu->r[RAX] = 1;
	RUN(f, FAIL_VALID, INVEPT);
	assert_error(VMX_ERROR_INVEPT_INVVPID_OPERAND);
	f->cpu->r[RAX] = 3;
	RUN(f, FAIL_VALID, INVEPT);
	f->cpu->r[RAX] = 1;
	poke(f, POINTER_AT, 8, 0);
	RUN(f, FAIL_VALID, INVVPID); /* VPID 0 */
	poke(f, POINTER_AT, 8, 1);
	RUN(f, SUCCEED, INVVPID);
	f->cpu->r[RAX] = 4;
	RUN(f, FAIL_VALID, INVVPID);
}

static void assert_guest(struct fixture *f)
{
	struct cpu *cpu = f->cpu;

	assert_true(cpu->nonroot);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	assert_int_equal(cpu->cr4, CR4_PAE | CR4_VMXE | CR4_TSD);
	assert_int_equal(cpu->efer, EFER_LME | EFER_LMA | EFER_NXE);
	assert_int_equal(cpu->pat, PAT ^ 6);
	assert_int_equal(cpu->dr7, DR7_1 | BIT(8));
	assert_int_equal(cpu->debugctl, 2);
	assert_int_equal(cpu->r[RSP], STACK3_TOP);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_1 | RFLAGS_CF | RFLAGS_AC);
	assert_int_equal(cpu->sysenter_cs, 0x44);
	assert_int_equal(cpu->sysenter_esp, 0x55);
	assert_int_equal(cpu->sysenter_eip, 0x66);
	assert_int_equal(cpu->gdtr.limit, 0x5f);
	assert_int_equal(cpu->seg[FS].base, 0x9abc);
	assert_int_equal(cpu->seg[GS].base, 0xdef0);
	assert_int_equal(cpu->seg[TR].limit, 0x3ff);
	assert_true(cpu->seg[DS].ar & AR_UNUSABLE);
	assert_int_equal(cpu->mode & MODE_CODE, MODE_CODE64);
}

static void assert_host(struct fixture *f)
{
	struct cpu *cpu = f->cpu;

	assert_false(cpu->nonroot);
	assert_int_equal(cpu->rip, HOST_AT);
	assert_int_equal(cpu->r[RSP], STACK0_TOP);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_1);
	assert_int_equal(cpu->cr0, CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	assert_int_equal(cpu->cr4, CR4_PAE | CR4_VMXE | CR4_PGE);
	assert_int_equal(cpu->efer, EFER_LME | EFER_LMA | EFER_SCE);
	assert_int_equal(cpu->pat, PAT);
	assert_int_equal(cpu->dr7, DR7_1);
	assert_int_equal(cpu->debugctl, 0);
	assert_int_equal(cpu->sysenter_cs, 0x11);
	assert_int_equal(cpu->sysenter_esp, 0x22);
	assert_int_equal(cpu->sysenter_eip, 0x33);
	assert_int_equal(cpu->gdtr.limit, 0xffff);
	assert_int_equal(cpu->idtr.limit, 0xffff);
	assert_int_equal(cpu->seg[CS].ar, 0xa09b);
	assert_int_equal(cpu->seg[SS].ar, 0xc093);
	assert_true(cpu->seg[DS].ar & AR_UNUSABLE);
	assert_int_equal(cpu->seg[FS].base, 0x1234);
	assert_int_equal(cpu->seg[GS].base, 0x5678);
	assert_int_equal(cpu->seg[TR].limit, 0x67);
	assert_true(cpu->seg[LDTR].ar & AR_UNUSABLE);
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_VMRESUME_NOT_LAUNCHED);
	ENTER(f, VMLAUNCH);
	assert_guest(f);
	assert_int_equal(f->cpu->rip, GUEST_AT);
	assert_true(f->cpu->vmx->vmcs.launched);

	CODE_BYTES(f, GUEST_AT, VMCALL);
	f->cpu->cr3 = PAGES_AT | 8;
	f->cpu->r[RSP] -= 8;
	assert_int_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(f->cpu->fault.kind, FAULT_VM_EXIT);
	exec_fault(f->cpu);
	assert_host(f);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL);
	assert_field(EXIT_QUALIFICATION, 0);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 3);
	assert_field(VM_EXIT_INTERRUPTION_INFO, 0);
	assert_field(IDT_VECTORING_INFO, 0);
	assert_field(GUEST_RIP, GUEST_AT);
	assert_field(GUEST_RSP, STACK3_TOP - 8);
	assert_field(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_CF | RFLAGS_AC);
	assert_field(GUEST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	assert_field(GUEST_CR3, PAGES_AT | 8);
	assert_field(GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_TSD);
	assert_field(GUEST_EFER, EFER_LME | EFER_LMA | EFER_NXE);
	assert_field(GUEST_PAT, PAT ^ 6);
	assert_field(GUEST_DR7, DR7_1 | BIT(8));
	assert_field(GUEST_DEBUGCTL, 2);
	assert_field(GUEST_SYSENTER_CS, 0x44);
	assert_field(GUEST_SYSENTER_ESP, 0x55);
	assert_field(GUEST_SYSENTER_EIP, 0x66);
	assert_field(GUEST_CS_AR, 0xa09b);
	assert_field(GUEST_SS_AR, 0xc093);
	assert_field(GUEST_FS_BASE, 0x9abc);
	assert_field(GUEST_GS_BASE, 0xdef0);
	assert_field(GUEST_TR_LIMIT, 0x3ff);
	assert_field(GUEST_GDTR_LIMIT, 0x5f);
	assert_field(GUEST_ACTIVITY_STATE, 0);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	assert_int_equal(f->cpu->vmx->exits[VMX_EXIT_VMCALL], 1);

	RUN(f, FAIL_VALID, VMLAUNCH);
	assert_error(VMX_ERROR_VMLAUNCH_NOT_CLEAR);
	PUT(GUEST_RIP, GUEST_AT + 3);
	PUT(GUEST_CR3, PAGES_AT);
	PUT(GUEST_RSP, STACK3_TOP);
	PUT(GUEST_INTERRUPTIBILITY, BIT(3));
	ENTER(f, VMRESUME);
	assert_guest(f);
	assert_int_equal(f->cpu->rip, GUEST_AT + 3);
	assert_true(f->cpu->nmi_blocked);

	/* Its memory operand is for the exit qualification, and its layout for the instruction information. */
	CODE_BYTES(f, GUEST_AT + 3, VMPTRLD);
	fixture_run(f);
	assert_host(f);
	assert_field(EXIT_REASON, VMX_EXIT_VMPTRLD);
	assert_field(EXIT_QUALIFICATION, POINTER_AT);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 8);
	assert_field(VM_EXIT_INSTRUCTION_INFO, BIT(22) | BIT(27) | 2 << 7 | DS << 15);
	assert_field(GUEST_INTERRUPTIBILITY, BIT(3));
	assert_true(f->cpu->nmi_blocked);
}

static void test_failures(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	PUT(CR3_TARGET_COUNT, 5);
	RUN(f, FAIL_VALID, VMLAUNCH);
	assert_error(VMX_ERROR_CONTROL_FIELDS);
	PUT(CR3_TARGET_COUNT, 0);
	PUT(HOST_CS_SELECTOR, 0);
	RUN(f, FAIL_VALID, VMLAUNCH);
	assert_error(VMX_ERROR_HOST_STATE);
	PUT(HOST_CS_SELECTOR, CODE0);
	f->cpu->shadow = SHADOW_MOV_SS;
	RUN(f, FAIL_VALID, VMLAUNCH);
	f->cpu->shadow = 0;
	assert_error(VMX_ERROR_BLOCKED_BY_MOV_SS);

	PUT(GUEST_RFLAGS, 0);
	ENTER(f, VMLAUNCH);
	assert_host(f);
	assert_field(EXIT_REASON, VMX_EXIT_INVALID_GUEST_STATE | BIT(31));
	assert_false(f->cpu->vmx->vmcs.launched);
	PUT(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_CF | RFLAGS_AC);

	/* The second entry of the list is bad; the first is loaded. */
	poke(f, LIST_AT, 8, MSR_LSTAR);
	poke(f, LIST_AT + 8, 8, 0x7777);
	poke(f, LIST_AT + 16, 8, 0xc0000100);
	PUT(VM_ENTRY_MSR_LOAD_ADDRESS, LIST_AT);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 2);
	ENTER(f, VMLAUNCH);
	assert_host(f);
	assert_field(EXIT_REASON, VMX_EXIT_MSR_LOADING | BIT(31));
	assert_field(EXIT_QUALIFICATION, 2);
	assert_int_equal(f->cpu->lstar, 0x7777);
	/* Longer than any list need work: the first entry too many fails. */
	for (unsigned i = 0; i < 520; i++) {
		poke(f, LIST_AT + 0x2000 + 16 * i, 8, MSR_LSTAR);
		poke(f, LIST_AT + 0x2008 + 16 * i, 8, i);
	}
	PUT(VM_ENTRY_MSR_LOAD_ADDRESS, LIST_AT + 0x2000);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 0xfffffff);
	ENTER(f, VMLAUNCH);
	assert_host(f);
	assert_field(EXIT_QUALIFICATION, 513);
	assert_int_equal(f->cpu->lstar, 511);
	PUT(VM_ENTRY_MSR_LOAD_ADDRESS, LIST_AT);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 1);
	ENTER(f, VMLAUNCH);
	assert_guest(f);
}

static void test_exit_lists(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	poke(f, LIST_AT, 8, MSR_STAR);
	PUT(VM_EXIT_MSR_STORE_ADDRESS, LIST_AT);
	PUT(VM_EXIT_MSR_STORE_COUNT, 1);
	poke(f, LIST_AT + 16, 8, MSR_STAR);
	poke(f, LIST_AT + 24, 8, 0x8888);
	PUT(VM_EXIT_MSR_LOAD_ADDRESS, LIST_AT + 16);
	PUT(VM_EXIT_MSR_LOAD_COUNT, 1);
	f->cpu->star = 0x9999;
	ENTER(f, VMLAUNCH);
	fixture_run(f);
	assert_host(f);
	assert_int_equal(peek(f, LIST_AT + 8, 8), 0x9999);
	assert_int_equal(f->cpu->star, 0x8888);

	poke(f, LIST_AT + 16, 8, 0x800);
	ENTER(f, VMRESUME);
	fixture_run(f);
	assert_int_equal(f->cpu->activity, ACTIVITY_SHUTDOWN);
	assert_int_equal(peek(f, VMCS_AT + VMCS_REGION_ABORT, 4), VMX_ABORT_LOAD_MSR);
	assert_true(f->cpu->vmx->aborted);
	cpu_set_pin(f->cpu, PIN_NMI, true);
	exec_attend(f->cpu);
	assert_int_equal(f->cpu->activity, ACTIVITY_SHUTDOWN);
}

static void test_injection(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	put_gate(f, IDT_AT + 16 * 13, CODE0, GUEST_AT + 0x40, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * 13 + 8, 8, 0);
	put_gate(f, IDT_AT + 16 * 3, CODE0, GUEST_AT + 0x60, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * 3 + 8, 8, 0);
	PUT(VM_ENTRY_INTERRUPTION_INFO,
	    INTERRUPTION_VALID | INTERRUPTION_ERROR_CODE | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_GP);
	PUT(VM_ENTRY_ERROR_CODE, 0x1234);
	ENTER(f, VMLAUNCH);
	assert_int_equal(f->cpu->rip, GUEST_AT + 0x40);
	assert_int_equal(peek(f, STACK3_TOP - 48, 8), 0x1234);
	assert_int_equal(peek(f, STACK3_TOP - 40, 8), GUEST_AT);
	assert_int_equal(peek(f, STACK3_TOP - 24, 8), RFLAGS_1 | RFLAGS_CF | RFLAGS_AC); /* RF is not forced */

	CODE_BYTES(f, GUEST_AT + 0x40, VMCALL);
	fixture_run(f);
	assert_field(VM_ENTRY_INTERRUPTION_INFO,
		     INTERRUPTION_ERROR_CODE | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_GP);
	PUT(GUEST_RSP, STACK3_TOP);
	PUT(GUEST_RIP, GUEST_AT);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_SOFTWARE_EXCEPTION << 8 | VECTOR_BP);
	PUT(VM_ENTRY_INSTRUCTION_LENGTH, 1);
	ENTER(f, VMRESUME);
	assert_int_equal(f->cpu->rip, GUEST_AT + 0x60);
	assert_int_equal(peek(f, STACK3_TOP - 40, 8), GUEST_AT + 1);
}

/* An injected NMI blocks further ones where IRET ends that: not with "NMI exiting" alone. */
static void test_injected_nmi(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	put_gate(f, IDT_AT + 16 * 2, CODE0, GUEST_AT + 0x40, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * 2 + 8, 8, 0);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_NMI << 8 | VECTOR_NMI);
	PUT(VM_PINBASED_CTLS, get(f, VMCS_VM_PINBASED_CTLS) | PINBASED_CTLS_NMI_EXITING);
	ENTER(f, VMLAUNCH);
	assert_int_equal(f->cpu->rip, GUEST_AT + 0x40);
	assert_false(f->cpu->nmi_blocked);
	assert_false(f->cpu->vmx->virtual_nmi_blocked);

	CODE_BYTES(f, GUEST_AT + 0x40, VMCALL);
	fixture_run(f);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	PUT(GUEST_RIP, GUEST_AT);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_NMI << 8 | VECTOR_NMI);
	PUT(VM_PINBASED_CTLS, get(f, VMCS_VM_PINBASED_CTLS) | PINBASED_CTLS_VIRTUAL_NMIS);
	ENTER(f, VMRESUME);
	assert_false(f->cpu->nmi_blocked);
	assert_true(f->cpu->vmx->virtual_nmi_blocked);
	fixture_run(f);
	assert_field(GUEST_INTERRUPTIBILITY, BIT(3));
	PUT(GUEST_RIP, GUEST_AT);
	PUT(GUEST_INTERRUPTIBILITY, 0);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_NMI << 8 | VECTOR_NMI);
	PUT(VM_PINBASED_CTLS,
	    get(f, VMCS_VM_PINBASED_CTLS) & ~(PINBASED_CTLS_VIRTUAL_NMIS | PINBASED_CTLS_NMI_EXITING));
	ENTER(f, VMRESUME);
	assert_true(f->cpu->nmi_blocked);
}

/* VMCS shadowing: VMREAD and VMWRITE of a guest reach the VMCS at the link pointer, unless a bitmap says otherwise. */
static void test_shadow(void **state)
{
	struct fixture *f = *state;
	uint64_t encoding = vmcs_field_info[VMCS_GUEST_RIP].encoding;

	poke(f, VMCS2_AT, 4, VMX_REVISION | VMCS_SHADOW);
	start(f);
	fill(f);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_VMCS_SHADOWING);
	PUT(VMREAD_BITMAP, 0x36000);
	PUT(VMWRITE_BITMAP, 0x37000);
	PUT(VMCS_LINK_POINTER, VMCS2_AT);
	ENTER(f, VMLAUNCH);
	f->cpu->r[RAX] = encoding;
	f->cpu->r[RBX] = 0x5555;
	RUN(f, SUCCEED, VMWRITE);
	f->cpu->r[RBX] = 0;
	RUN(f, SUCCEED, VMREAD);
	assert_int_equal(f->cpu->r[RBX], 0x5555);
	assert_int_not_equal(vmcs_get(&f->cpu->vmx->vmcs, GUEST_RIP), 0x5555);
	poke(f, 0x37000 + encoding / 8, 1, BIT(encoding % 8));
	RUN(f, SUCCEED, VMREAD);
	RUN_AT(f, VMWRITE);
	fixture_run(f);
	assert_false(f->cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_VMWRITE);
	assert_field(VM_EXIT_INSTRUCTION_INFO, BIT(10) | RBX << 3 | RAX << 28);

	/* A shadow VMCS may be current, but not be entered. */
	POINT(f, VMCS2_AT, SUCCEED, VMPTRLD);
	assert_field(GUEST_RIP, 0x5555);
	RUN(f, FAIL_INVALID, VMLAUNCH);
}

/* A guest under EPT with a VPID: it runs from there, and a write that EPT forbids is a VM exit. */
static void test_ept(void **state)
{
	struct fixture *f = *state;

	start(f);
	fill(f);
	poke(f, 0x38000, 8, 0x39000 | 7);
	poke(f, 0x39000, 8, 0x3a000 | 7);
	poke(f, 0x3a000, 8, 6 << 3 | BIT(7) | 5); /* 2 MiB, not writable */
	/* Guest page tables need no write: accessed and dirty flags are set. */
	poke(f, PAGES_AT, 8, peek(f, PAGES_AT, 8) | 0x20);
	poke(f, PAGES_AT + 0x1000, 8, peek(f, PAGES_AT + 0x1000, 8) | 0x20);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_VPID);
	PUT(EPTP, 0x38000 | 3 << 3 | 6);
	PUT(VPID, 7);
	ENTER(f, VMLAUNCH);
	assert_guest(f);
	assert_int_equal(f->cpu->eptp, 0x38000 | 3 << 3 | 6);
	assert_int_equal(f->cpu->vpid, 7);
	CODE_BYTES(f, GUEST_AT, 0x90, 0x50); /* NOP; PUSH RAX */
	fixture_run(f);
	assert_int_equal(f->cpu->rip, GUEST_AT + 1);
	fixture_run(f);
	assert_host(f);
	assert_int_equal(f->cpu->eptp, 0);
	assert_int_equal(f->cpu->vpid, 0);
	assert_field(EXIT_REASON, VMX_EXIT_EPT_VIOLATION);
	assert_int_equal(get(f, VMCS_EXIT_QUALIFICATION) & 7, 2);
	assert_field(GUEST_PHYSICAL_ADDRESS, STACK3_TOP - 8);
	assert_field(GUEST_LINEAR_ADDRESS, STACK3_TOP - 8);
	assert_field(GUEST_RIP, GUEST_AT + 1);
	assert_field(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_CF | RFLAGS_AC | RFLAGS_RF);
	poke(f, 0x3a000, 8, 6 << 3 | BIT(7) | 7);
	f->cpu->r[RAX] = 1;
	poke(f, POINTER_AT, 8, 0x38000 | 3 << 3 | 6);
	poke(f, POINTER_AT + 8, 8, 0);
	RUN(f, SUCCEED, INVEPT);
	ENTER(f, VMRESUME);
	f->cpu->r[RAX] = 0x4321;
	fixture_run(f);
	assert_int_equal(peek(f, STACK3_TOP - 8, 8), 0x4321);
}

/* What was told, in words: each test looks at it and begins anew. */
static char told[512];

#define TELL(...) snprintf(told + strlen(told), sizeof(told) - strlen(told), __VA_ARGS__)
#define assert_told(text)                        \
	do {                                     \
		assert_string_equal(told, text); \
		told[0] = 0;                     \
	} while (0)

static void tell_instruction(void *ctx, struct cpu *cpu, const struct vmx_instruction *what)
{
	TELL("%s %u%s %llx;", ZydisMnemonicGetString((ZydisMnemonic)what->operation), what->error,
	     what->invalid ? " invalid" : "", (unsigned long long)what->operand);
}

/* The state is still what the entry found: the error number is that of before. */
static void tell_entry_failed(void *ctx, struct cpu *cpu, const struct vmx_failed_entry *what)
{
	TELL("%s %s %u %u after %u;", what->launch ? "launch" : "resume",
	     what->rule ? vmx_check_info[what->rule].id : "MSR", what->error, what->msr_entry,
	     (unsigned)vmcs_get(&cpu->vmx->vmcs, VM_INSTRUCTION_ERROR));
}

static void tell_entered(void *ctx, struct cpu *cpu, bool launch)
{
	TELL("%s %llx;", launch ? "launched" : "resumed", (unsigned long long)cpu->rip);
}

static void tell_exits(void *ctx, struct cpu *cpu)
{
	TELL("exit %u %llx;", cpu->vmx->exit.reason, (unsigned long long)cpu->rip);
}

static void tell_aborts(void *ctx, struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
	TELL("abort %u %u;", why, entry);
}

static void tell_vmcs_leaves(void *ctx, struct cpu *cpu)
{
	if (cpu->reporter->transitions)
		TELL("leaves %llx;", (unsigned long long)cpu->vmx->current);
}

static void test_reports(void **state)
{
	static struct vmx_reporter reporter = {.instruction = tell_instruction,
					       .entry_failed = tell_entry_failed,
					       .entered = tell_entered,
					       .exits = tell_exits,
					       .aborts = tell_aborts,
					       .vmcs_leaves = tell_vmcs_leaves};
	struct fixture *f = *state;

	told[0] = 0;
	reporter.transitions = false;
	f->cpu->reporter = &reporter;
	start(f);
	fill(f);
	assert_told("");
	POINT(f, VMXON_AT, FAIL_VALID, VMPTRLD);
	f->cpu->r[RAX] = 0x7e;
	RUN(f, FAIL_VALID, VMREAD);
	RUN(f, FAIL_VALID, VMRESUME);
	RUN(f, FAIL_VALID, VMCALL);
	assert_told("vmptrld 10 30000;vmread 12 7e;vmresume 5 0;vmcall 1 0;");

	PUT(CR3_TARGET_COUNT, 5);
	PUT(HOST_CS_SELECTOR, 0);
	RUN(f, FAIL_VALID, VMLAUNCH);
	PUT(CR3_TARGET_COUNT, 0);
	RUN(f, FAIL_VALID, VMLAUNCH);
	PUT(HOST_CS_SELECTOR, CODE0);
	PUT(GUEST_RFLAGS, 0);
	ENTER(f, VMLAUNCH);
	PUT(GUEST_RFLAGS, RFLAGS_1);
	poke(f, LIST_AT, 8, 0xc0000100);
	PUT(VM_ENTRY_MSR_LOAD_ADDRESS, LIST_AT);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 1);
	ENTER(f, VMLAUNCH);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 0);
	assert_told("launch ctl.cr3_target.count 7 0 after 1;launch host.cs.nonnull 8 0 after 7;"
		    "launch guest.rflags.bit1 0 0 after 8;launch MSR 0 1 after 8;");

	reporter.transitions = true;
	POINT(f, VMCS2_AT, SUCCEED, VMPTRLD);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
	ENTER(f, VMLAUNCH);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	fixture_run(f);
	assert_told("leaves 31000;vmptrld 0 32000;leaves 32000;vmptrld 0 31000;launched 10100;exit 18 10100;");
	PUT(VM_EXIT_MSR_STORE_ADDRESS, LIST_AT);
	PUT(VM_EXIT_MSR_STORE_COUNT, 1);
	poke(f, LIST_AT, 8, 0x800);
	ENTER(f, VMRESUME);
	fixture_run(f);
	assert_told("resumed 10100;exit 18 10100;abort 1 1;");
}

static void test_state(void **state)
{
	struct fixture *f = *state;
	struct state *saved = state_save(), *restored;
	const void *data;
	size_t size;

	start(f);
	fill(f);
	ENTER(f, VMLAUNCH);
	vmx_state(f->cpu, saved);
	data = state_data(saved, &size);
	vmx_reset(f->cpu);
	assert_false(f->cpu->nonroot);
	restored = state_restore(data, size);
	vmx_state(f->cpu, restored);
	assert_false(state_failed(restored));
	state_free(restored);
	state_free(saved);
	assert_guest(f);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	fixture_run(f);
	assert_host(f);
	assert_field(GUEST_RIP, GUEST_AT);
	ENTER(f, VMRESUME);
	assert_guest(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pointers),	 TEST(test_fields),   TEST(test_operation),  TEST(test_invalidate),
		TEST(test_round_trip),	 TEST(test_failures), TEST(test_exit_lists), TEST(test_injection),
		TEST(test_injected_nmi), TEST(test_shadow),   TEST(test_state),	     TEST(test_ept),
		TEST(test_reports),
	};

	return cmocka_run_group_tests_name("exec/vmx_insn", tests, NULL, NULL);
}

/*
 * The dual-monitor treatment of SMIs and SMM: activation, SMM VM exits, VM entries that return from SMM, deactivation.
 *
 * MSEG and the monitor's own VMCS lie in SMRAM: in SMM there is other memory at their addresses than outside.
 */
#include "exec/vmx_fixture.h"

#define SMRAM_AT     0x60000
#define SMRAM_SIZE   0x20000
#define SMRAM_RAM    0x160000 /* where it is in RAM */
#define IN_SMRAM(at) ((at)-SMRAM_AT + SMRAM_RAM)

#define MSEG_AT	     SMRAM_AT
#define MSEG_PAGES   (MSEG_AT + 0x1000)
#define MSEG_GDT     (MSEG_AT + 0x3f00)
#define MSEG_CODE    (MSEG_AT + 0x4000)
#define MSEG_STACK   (MSEG_AT + 0x6000)
#define MSEG_CODE2   (MSEG_AT + 0x7000) /* HOST_RIP */
#define MONITOR_VMCS 0x70000
#define MONITOR_LIST 0x72000 /* MSRs */

#define FROM_ROOT BIT(29)
#define RSM	  0x0f, 0xaa

static int create_with_smram(void **state)
{
	struct fixture *f;
	struct region *smram;

	create(state);
	f = *state;
	smram = bus_add_ram(f->bus, SMRAM_AT, SMRAM_SIZE, SMRAM_RAM, 20);
	region_set_view(smram, VIEW_SMM);
	mem_flush_all(f->cpu);

	poke(f, IN_SMRAM(MSEG_AT), 4, 0);
	poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 1);
	poke(f, IN_SMRAM(MSEG_AT) + 8, 4, 0xffff0027);
	poke(f, IN_SMRAM(MSEG_AT) + 12, 4, MSEG_GDT - MSEG_AT);
	poke(f, IN_SMRAM(MSEG_AT) + 16, 4, 0x1234000b);
	poke(f, IN_SMRAM(MSEG_AT) + 20, 4, MSEG_CODE - MSEG_AT);
	poke(f, IN_SMRAM(MSEG_AT) + 24, 4, MSEG_STACK - MSEG_AT);
	poke(f, IN_SMRAM(MSEG_AT) + 28, 4, (MSEG_PAGES - MSEG_AT) | 0xfff);
	poke(f, IN_SMRAM(MSEG_PAGES), 8, (MSEG_PAGES + 0x1000) | 7);
	poke(f, IN_SMRAM(MSEG_PAGES) + 0x1000, 8, (MSEG_PAGES + 0x2000) | 7);
	poke(f, IN_SMRAM(MSEG_PAGES) + 0x2000, 8, 0xe7);
	poke(f, IN_SMRAM(MONITOR_VMCS), 4, VMX_REVISION);
	f->cpu->smbase = 0xfee1000;
	return 0;
}
#define SMM_TEST(name) cmocka_unit_test_setup_teardown(name, create_with_smram, destroy)

static bool set_monitor_ctl(struct fixture *f, uint64_t value)
{
	bool taken;

	f->cpu->in_smm = true;
	taken = msr_write(f->cpu, MSR_SMM_MONITOR_CTL, value);
	f->cpu->in_smm = false;
	return taken;
}

/* VMX operation, VMCS_AT current and clear, MSEG valid. */
static void prepare(struct fixture *f)
{
	start(f);
	PUT(VM_EXIT_CTLS, vmx_allowed0(&caps, VMX_EXIT_CTLS) | EXIT_CTLS_SAVE_EFER);
	assert_true(set_monitor_ctl(f, MSEG_AT | 1));
}

/* To the exit that VMCALL is. */
static void call(struct fixture *f)
{
	RUN_AT(f, VMCALL);
	assert_int_equal(fixture_step(f), STEP_FAULT);
	assert_int_equal(f->cpu->fault.kind, FAULT_VM_EXIT);
	exec_fault(f->cpu);
	assert_true(f->cpu->in_smm);
	assert_false(f->cpu->nonroot);
}

/* What the monitor wants to be when it is called the next time. */
static void put_monitor(struct fixture *f)
{
	PUT(VM_EXIT_CTLS, vmx_allowed0(&caps, VMX_EXIT_CTLS) | EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE | EXIT_CTLS_SAVE_EFER |
				  EXIT_CTLS_SAVE_PAT | EXIT_CTLS_SAVE_DEBUG_CONTROLS);
	PUT(VM_ENTRY_CTLS, vmx_allowed0(&caps, VMX_ENTRY_CTLS) | ENTRY_CTLS_IA32E_MODE_GUEST | ENTRY_CTLS_LOAD_EFER);
	PUT(HOST_CR0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	PUT(HOST_CR3, MSEG_PAGES);
	PUT(HOST_CR4, CR4_PAE | CR4_VMXE);
	PUT(HOST_CS_SELECTOR, 8);
	PUT(HOST_SS_SELECTOR, 0x10);
	PUT(HOST_TR_SELECTOR, 0x18);
	PUT(HOST_FS_BASE, 0x7f5);
	PUT(HOST_GS_BASE, 0);
	PUT(HOST_TR_BASE, 0);
	PUT(HOST_GDTR_BASE, MSEG_GDT);
	PUT(HOST_IDTR_BASE, 0);
	PUT(HOST_RSP, MSEG_STACK);
	PUT(HOST_RIP, MSEG_CODE2);
}

/* Activated, and the monitor moves to a VMCS in SMRAM and returns: root operation, at CODE_AT + 3. */
static void activate(struct fixture *f)
{
	prepare(f);
	call(f);
	put_monitor(f);
	PUT(GUEST_RIP, CODE_AT + 3);
	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	memcpy(f->ram + IN_SMRAM(MONITOR_VMCS), f->ram + VMCS_AT, 4096);
	POINT(f, MONITOR_VMCS, SUCCEED, VMPTRLD);
	ENTER(f, VMLAUNCH);
	assert_false(f->cpu->in_smm);
	assert_false(f->cpu->nonroot);
	assert_int_equal(f->cpu->vmx->current, VMCS_AT);
	assert_int_equal(f->cpu->vmx->transfer, MONITOR_VMCS);
}

static void smi(struct fixture *f)
{
	cpu_set_pin(f->cpu, PIN_SMI, true);
	exec_attend(f->cpu);
}

static void assert_monitor(struct fixture *f)
{
	struct cpu *cpu = f->cpu;

	assert_true(cpu->in_smm);
	assert_true(cpu->vmx->on);
	assert_false(cpu->nonroot);
	assert_true(cpu->nmi_blocked);
	assert_int_equal(cpu->rip, MSEG_CODE2);
	assert_int_equal(cpu->r[RSP], MSEG_STACK);
	assert_int_equal(cpu->cr3, MSEG_PAGES);
	assert_int_equal(cpu->seg[FS].base, 0x7f5);
	assert_int_equal(cpu->vmx->current, MONITOR_VMCS);
}

/* A guest of the executive monitor, in VMCS_AT, which must be current in root operation. */
static void enter_guest(struct fixture *f)
{
	poke(f, 0x48000, 8, 0x49000 | 7);
	poke(f, 0x49000, 8, 0x4a000 | 7);
	poke(f, 0x4a000, 8, 6 << 3 | BIT(7) | 7);
	fill(f);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_VPID);
	PUT(EPTP, 0x48000 | 3 << 3 | 6);
	PUT(VPID, 9);
	PUT(GUEST_FS_SELECTOR, 0); /* activation saved another */
	ENTER(f, VMLAUNCH);
	assert_true(f->cpu->nonroot);
}

static void monitor_ctl(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	uint64_t value;

	assert_false(msr_write(cpu, MSR_SMM_MONITOR_CTL, 0)); /* outside SMM */
	assert_true(set_monitor_ctl(f, 0xfffff005));
	assert_true(msr_read(cpu, MSR_SMM_MONITOR_CTL, &value));
	assert_int_equal(value, 0xfffff005);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(set_monitor_ctl(f, BIT(bit)), bit == 0 || bit == 2 || (bit >= 12 && bit <= 31));
	assert_false(msr_read(cpu, MSR_SMBASE, &value));
	cpu->in_smm = true;
	assert_true(msr_read(cpu, MSR_SMBASE, &value));
	assert_int_equal(value, 0xfee1000);
	assert_false(msr_write(cpu, MSR_SMBASE, value));

	caps.offers[VMX_MISC] &= ~(uint64_t)(MISC_VMXOFF_SMI | MISC_READ_SMBASE);
	assert_false(msr_read(cpu, MSR_SMBASE, &value));
	assert_false(set_monitor_ctl(f, 4));
	assert_true(set_monitor_ctl(f, 1));
	caps.offers[VMX_BASIC] &= ~(uint64_t)BASIC_DUAL_MONITOR;
	assert_false(set_monitor_ctl(f, 0));
	assert_false(msr_read(cpu, MSR_SMM_MONITOR_CTL, &value));
}

/* "Initial Checks", in their order. */
static void checks_of_activation(void **state)
{
	struct fixture *f = *state;

	POINT(f, VMXON_AT, SUCCEED, VMXON);
	RUN(f, FAIL_INVALID, VMCALL); /* VMfail(1), without a VMCS that could say so */
	assert_true(set_monitor_ctl(f, MSEG_AT | 1));
	RUN(f, FAIL_INVALID, VMCALL);
	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
	assert_true(set_monitor_ctl(f, MSEG_AT));
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_IN_ROOT);
	assert_true(set_monitor_ctl(f, MSEG_AT | 1));

	/* All is wrong; what is mended lets the next one show. */
	poke(f, IN_SMRAM(MSEG_AT), 4, 1);
	poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 3);
	f->cpu->vmx->vmcs.launched = true;
	PUT(VM_EXIT_CTLS, 0);
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_NOT_CLEAR);
	f->cpu->vmx->vmcs.launched = false;
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_EXIT_CONTROLS);
	PUT(VM_EXIT_CTLS, vmx_allowed0(&caps, VMX_EXIT_CTLS));
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_MSEG_REVISION);
	poke(f, IN_SMRAM(MSEG_AT), 4, 0);
	for (unsigned bit = 0; bit < 32; bit++) {
		poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 1 | (bit ? BIT(bit) : 0));
		if (!bit)
			poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 0); /* VMCALL in 64-bit mode */
		RUN(f, FAIL_VALID, VMCALL);
		assert_error(VMX_ERROR_VMCALL_MONITOR_FEATURES);
	}
	poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 1);
	f->model.features[FEATURE_LM / 64] &= ~BIT(FEATURE_LM % 64);
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_MONITOR_FEATURES);
	f->model.features[FEATURE_LM / 64] |= BIT(FEATURE_LM % 64);
	caps.offers[VMX_BASIC] &= ~(uint64_t)BASIC_DUAL_MONITOR;
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_IN_ROOT);
	assert_false(f->cpu->vmx->dual_monitor);
	assert_false(f->cpu->in_smm);
}

static void activation(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	uint64_t cr3 = cpu->cr3, rsp = cpu->r[RSP];

	prepare(f);
	poke(f, LIST_AT, 8, 0x800); /* lists that would be VMX aborts, were they used */
	PUT(VM_EXIT_MSR_STORE_ADDRESS, LIST_AT);
	PUT(VM_EXIT_MSR_STORE_COUNT, 1);
	PUT(VM_EXIT_MSR_LOAD_ADDRESS, LIST_AT);
	PUT(VM_EXIT_MSR_LOAD_COUNT, 1);
	assert_false(exec_write_cr4(cpu, CR4_PAE | CR4_VMXE | CR4_MCE | CR4_PGE | CR4_OSFXSR));
	cpu->dr7 = DR7_1 | 1;
	cpu->debugctl = 2;
	cpu_set_rflags(cpu, RFLAGS_1 | RFLAGS_IF | RFLAGS_CF);
	call(f);

	assert_true(cpu->vmx->dual_monitor);
	assert_true(cpu->vmx->on);
	assert_int_equal(cpu->cr0, CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
	assert_int_equal(cpu->cr3, MSEG_PAGES | 0x18);
	assert_int_equal(cpu->cr4, CR4_PAE | CR4_VMXE | CR4_OSFXSR);
	assert_int_equal(cpu->efer, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
	assert_int_equal(cpu->dr7, DR7_1);
	assert_int_equal(cpu->debugctl, 0);
	assert_int_equal(cpu->seg[CS].selector, 8);
	assert_int_equal(cpu->seg[CS].ar, 0xa09b);
	assert_int_equal(cpu->seg[SS].selector, 0x10);
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		assert_int_equal(cpu->seg[i].base, 0);
		assert_int_equal(cpu->seg[i].limit, UINT32_MAX);
		if (i != CS)
			assert_int_equal(cpu->seg[i].ar, 0xc093);
	}
	assert_true(cpu->seg[LDTR].ar & AR_UNUSABLE);
	assert_int_equal(cpu->seg[LDTR].selector, 0);
	assert_int_equal(cpu->gdtr.base, MSEG_GDT);
	assert_int_equal(cpu->gdtr.limit, 0x27);
	assert_int_equal(cpu->idtr.base, IDT_AT);
	assert_int_equal(cpu->idtr.limit, 0);
	assert_int_equal(cpu->rip, MSEG_CODE);
	assert_int_equal(cpu->r[RSP], MSEG_STACK);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_1);
	assert_true(cpu->nmi_blocked);
	assert_int_equal(f->events[CPU_SMI_ENTERED], 1);

	assert_int_equal(cpu->vmx->current, VMCS_AT);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL | FROM_ROOT);
	assert_field(EXIT_QUALIFICATION, 0);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 3);
	assert_field(EXECUTIVE_VMCS_POINTER, VMXON_AT);
	assert_field(VMCS_LINK_POINTER, VMCS_AT);
	assert_field(GUEST_SMBASE, 0xfee1000);
	assert_field(GUEST_RIP, CODE_AT);
	assert_field(GUEST_RSP, rsp);
	assert_field(GUEST_CR3, cr3);
	assert_field(GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_MCE | CR4_PGE | CR4_OSFXSR);
	assert_field(GUEST_RFLAGS, RFLAGS_1 | RFLAGS_IF | RFLAGS_CF);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	assert_field(GUEST_ACTIVITY_STATE, 0);
}

/* Selectors at their limits, and a monitor in 32-bit mode. */
static void activation_32(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	poke(f, IN_SMRAM(MSEG_AT) + 4, 4, 0);
	poke(f, IN_SMRAM(MSEG_AT) + 16, 4, 7);
	prepare(f);
	cpu->seg[CS].ar = (cpu->seg[CS].ar & ~(uint32_t)AR_L) | AR_DB; /* as from a 32-bit executive monitor */
	cpu->cr0 &= ~CR0_PG;
	cpu->efer = 0;
	exec_context_changed(cpu);
	cpu->cr0 |= CR0_CD;
	call(f);
	assert_int_equal(cpu->cr0, CR0_PG | CR0_CD | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
	assert_int_equal(cpu->cr4, CR4_PSE | CR4_VMXE);
	assert_int_equal(cpu->efer, 0);
	assert_int_equal(cpu->seg[CS].selector, 8);
	assert_int_equal(cpu->seg[CS].ar, 0xc09b);
	assert_int_equal(cpu->seg[DS].selector, 0x10);
}

static void activation_with_the_last_selector(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	poke(f, IN_SMRAM(MSEG_AT) + 16, 4, 0xffff);
	prepare(f);
	call(f);
	assert_int_equal(cpu->seg[CS].selector, 0xfff8);
	assert_int_equal(cpu->seg[SS].selector, 8);
}

static void return_to_root(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;
	uint64_t cr3 = cpu->cr3, rsp = cpu->r[RSP];

	prepare(f);
	call(f);
	put_monitor(f);
	PUT(GUEST_RIP, CODE_AT + 3);
	PUT(GUEST_SMBASE, 0xabcd000);
	cpu->shadow = 0;
	ENTER(f, VMLAUNCH);
	assert_false(cpu->in_smm);
	assert_false(cpu->nonroot);
	assert_true(cpu->vmx->on);
	assert_true(cpu->vmx->dual_monitor);
	assert_false(cpu->vmx->smi_blocked);
	assert_false(cpu->nmi_blocked);
	assert_int_equal(cpu->rip, CODE_AT + 3);
	assert_int_equal(cpu->r[RSP], rsp);
	assert_int_equal(cpu->cr3, cr3);
	assert_int_equal(cpu->smbase, 0xabcd000);
	assert_int_equal(cpu->vmx->current, VMCS_AT);
	assert_int_equal(cpu->vmx->transfer, VMCS_AT);
	assert_int_equal(f->events[CPU_SMI_LEFT], 1);
	assert_true(cpu->vmx->vmcs.launched);
	RUN(f, FAIL_VALID, VMXOFF);
	assert_error(VMX_ERROR_VMXOFF_DUAL_MONITOR);
}

static void smi_in_root_operation(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	POINT(f, VMCS2_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS2_AT, SUCCEED, VMPTRLD);
	PUT(GUEST_RIP, 0x2222);
	cpu->rip = CODE_AT + 0x40;
	cpu->activity = ACTIVITY_HLT;
	smi(f);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_OTHER_SMI | FROM_ROOT);
	assert_field(EXIT_QUALIFICATION, 0);
	assert_field(EXECUTIVE_VMCS_POINTER, VMXON_AT);
	assert_field(VMCS_LINK_POINTER, VMCS2_AT);
	assert_field(GUEST_RIP, CODE_AT + 0x40);
	assert_field(GUEST_ACTIVITY_STATE, 1);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	assert_int_equal(peek(f, 0xfee1000 & 0xfffff, 8), 0); /* nothing is saved to SMRAM */
	RUN(f, FAIL_VALID, VMCALL);
	assert_error(VMX_ERROR_VMCALL_IN_ROOT);
	RUN(f, FAIL_VALID, VMXOFF);
	assert_error(VMX_ERROR_VMXOFF_DUAL_MONITOR);
	poke(f, POINTER_AT, 8, VMXON_AT);
	RUN(f, FAIL_VALID, VMXON);
	assert_error(VMX_ERROR_VMXON_IN_ROOT);
	RUN_AT(f, RSM);
	assert_fault(f, VECTOR_UD, 0);
	ENTER(f, VMRESUME);
	assert_int_equal(cpu->rip, CODE_AT + 0x40);
	assert_int_equal(cpu->activity, ACTIVITY_HLT);
	assert_int_equal(cpu->vmx->current, VMCS2_AT);
	assert_field(GUEST_RIP, 0x2222);

	/* VMCALL once more calls the monitor, without a current VMCS too. */
	POINT(f, VMCS2_AT, SUCCEED, VMCLEAR);
	call(f);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL | FROM_ROOT);
	assert_field(VMCS_LINK_POINTER, ~UINT64_C(0));
	ENTER(f, VMRESUME);
	assert_int_equal(cpu->vmx->current, ~UINT64_C(0));
	assert_int_equal(cpu->rip, CODE_AT);
}

static void smi_in_a_guest(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	enter_guest(f);
	cpu->vmx->mtf_pending = true;
	cpu->vmx->vmcs.field[VMCS_GUEST_INTERRUPT_STATUS] = 0x3040; /* the processor's while its guest runs */
	smi(f);
	assert_monitor(f);
	assert_field(GUEST_INTERRUPT_STATUS, 0x3040);
	assert_int_equal(cpu->eptp, 0);
	assert_int_equal(cpu->vpid, 0);
	assert_field(EXIT_REASON, VMX_EXIT_OTHER_SMI | BIT(28));
	assert_field(EXECUTIVE_VMCS_POINTER, VMCS_AT);
	assert_field(VMCS_LINK_POINTER, ~UINT64_C(0));
	assert_field(GUEST_RIP, GUEST_AT);
	assert_field(GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_TSD);
	assert_field(VM_PROCBASED_CTLS, 0); /* the monitor's VMCS keeps its own */
	assert_field(EPTP, 0);
	PUT(GUEST_RIP, GUEST_AT + 0x10);
	PUT(GUEST_INTERRUPT_STATUS, 0x5060);
	ENTER(f, VMRESUME);
	assert_int_equal(cpu->vmx->vmcs.field[VMCS_GUEST_INTERRUPT_STATUS], 0x5060);
	assert_false(cpu->in_smm);
	assert_true(cpu->nonroot);
	assert_false(cpu->nmi_blocked);
	assert_int_equal(cpu->rip, GUEST_AT + 0x10);
	assert_int_equal(cpu->eptp, 0x48000 | 3 << 3 | 6);
	assert_int_equal(cpu->vpid, 9);
	assert_int_equal(cpu->vmx->current, VMCS_AT);

	/* Its exits are the executive monitor's. */
	CODE_BYTES(f, GUEST_AT + 0x10, VMCALL);
	fixture_run(f);
	assert_false(cpu->in_smm);
	assert_int_equal(cpu->rip, HOST_AT);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL);
	assert_field(GUEST_RIP, GUEST_AT + 0x10);
	assert_field(GUEST_INTERRUPTIBILITY, 0);
	assert_field(VPID, 9);
}

/* What memory kept is not trusted: the monitor's VMCS, and the executive VMCS after a return to its guest. */
static void corrupted(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	poke(f, IN_SMRAM(MONITOR_VMCS) + VMCS_REGION_FIELDS + 8 * VMCS_HOST_CR4, 8, 0);
	smi(f);
	assert_true(cpu->vmx->aborted);
	assert_int_equal(cpu->activity, ACTIVITY_SHUTDOWN);
	assert_int_equal(peek(f, IN_SMRAM(MONITOR_VMCS) + VMCS_REGION_ABORT, 4), VMX_ABORT_CORRUPTED);
}

static void corrupted_executive(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	enter_guest(f);
	smi(f);
	poke(f, VMCS_AT + VMCS_REGION_FIELDS + 8 * VMCS_HOST_RIP, 8, BIT(60));
	ENTER(f, VMRESUME);
	assert_true(cpu->nonroot);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	fixture_run(f);
	assert_true(cpu->vmx->aborted);
	assert_int_equal(peek(f, VMCS_AT + VMCS_REGION_ABORT, 4), VMX_ABORT_CORRUPTED);
}

static uint64_t no_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void raise_smi(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	cpu_set_pin(device, PIN_SMI, true);
}

static void smi_after_io(void **state)
{
	static const struct device_ops ops = {.read = no_read, .write = raise_smi};
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	bus_add_ports(f->bus, "apm", 0xb2, 4, &ops, cpu);
	mem_flush_all(cpu);
	RUN_AT(f, 0xe6, 0xb2); /* OUT B2H, AL */
	cpu->r[RCX] = 0xcc;
	cpu->r[RSI] = 0x51;
	cpu->r[RDI] = 0xd1;
	fixture_run(f);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_IO_SMI | FROM_ROOT);
	assert_field(EXIT_QUALIFICATION, 0xb20040);
	assert_field(IO_RCX, 0xcc);
	assert_field(IO_RSI, 0x51);
	assert_field(IO_RDI, 0xd1);
	assert_field(IO_RIP, CODE_AT);
	assert_field(GUEST_RIP, CODE_AT + 2);
	ENTER(f, VMRESUME);

	/* REP OUTSW from a guest: one element. */
	enter_guest(f);
	CODE_BYTES(f, GUEST_AT, 0xf3, 0x66, 0x6f);
	cpu->r[RCX] = 1;
	cpu->r[RSI] = CODE_AT;
	cpu->r[RDX] = 0xb2;
	fixture_run(f);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_IO_SMI);
	assert_field(EXIT_QUALIFICATION, 0xb20031);
	assert_field(GUEST_LINEAR_ADDRESS, CODE_AT);
	assert_field(IO_RCX, 1);
	assert_field(IO_RSI, CODE_AT);
	assert_field(IO_RIP, GUEST_AT);
	assert_field(GUEST_RIP, GUEST_AT + 3);
	ENTER(f, VMRESUME);
	smi(f); /* from elsewhere */
	assert_field(EXIT_REASON, VMX_EXIT_OTHER_SMI);
}

/* "SMI Blocking". */
static void return_with_smis_blocked(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	call(f);
	PUT(GUEST_INTERRUPTIBILITY, BIT(2) | BIT(3));
	PUT(GUEST_RIP, CODE_AT + 3);
	ENTER(f, VMRESUME);
	assert_true(cpu->nmi_blocked);
	CODE_BYTES(f, CODE_AT + 3, 0x90, 0x90);
	smi(f);
	assert_false(cpu->in_smm);
	assert_int_equal(cpu->rip, CODE_AT + 3);
	call(f);
	assert_field(GUEST_INTERRUPTIBILITY, BIT(2) | BIT(3));
	PUT(GUEST_INTERRUPTIBILITY, 0);
	PUT(GUEST_RIP, CODE_AT + 3);
	ENTER(f, VMRESUME);
	exec_attend(cpu);
	assert_monitor(f); /* the SMI that waited */
	assert_field(EXIT_REASON, VMX_EXIT_OTHER_SMI | FROM_ROOT);
}

/* "Checks on the Executive-VMCS Pointer Field" and those on controls; late failures stay in SMM. */
static void checks_of_return(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	enter_guest(f);
	smi(f);
	PUT(EXECUTIVE_VMCS_POINTER, VMCS_AT + 8);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_POINTER);
	PUT(EXECUTIVE_VMCS_POINTER, BIT(60));
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_POINTER);
	PUT(EXECUTIVE_VMCS_POINTER, LIST_AT);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_POINTER);
	PUT(EXECUTIVE_VMCS_POINTER, VMCS2_AT);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_CONTROL_FIELDS); /* before the launch state, which is not launched */
	PUT(EXECUTIVE_VMCS_POINTER, VMCS_AT);
	poke(f, VMCS_AT + VMCS_REGION_STATE, 4, 0);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_NOT_LAUNCHED);
	poke(f, VMCS_AT + VMCS_REGION_STATE, 4, 1);
	PUT(VM_ENTRY_CTLS, get(f, VMCS_VM_ENTRY_CTLS) | ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_NOT_VMXON_POINTER);
	PUT(VM_ENTRY_CTLS, get(f, VMCS_VM_ENTRY_CTLS) | ENTRY_CTLS_ENTRY_TO_SMM);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_CONTROL_FIELDS);
	PUT(VM_ENTRY_CTLS,
	    get(f, VMCS_VM_ENTRY_CTLS) & ~(uint64_t)(ENTRY_CTLS_ENTRY_TO_SMM | ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR));
	poke(f, VMCS_AT + VMCS_REGION_FIELDS + 8 * VMCS_VPID, 8, 0);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_EXECUTIVE_CONTROL_FIELDS);
	poke(f, VMCS_AT + VMCS_REGION_FIELDS + 8 * VMCS_VPID, 8, 9);
	PUT(HOST_CS_SELECTOR, 0);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_HOST_STATE);
	PUT(HOST_CS_SELECTOR, 8);

	PUT(GUEST_RFLAGS, 0);
	ENTER(f, VMRESUME);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_INVALID_GUEST_STATE | BIT(31));
	PUT(GUEST_RFLAGS, RFLAGS_1);
	poke(f, IN_SMRAM(MONITOR_LIST), 8, MSR_SMM_MONITOR_CTL); /* may be loaded: the entry begins in SMM */
	poke(f, IN_SMRAM(MONITOR_LIST) + 8, 8, MSEG_AT | 5);
	poke(f, IN_SMRAM(MONITOR_LIST) + 16, 8, MSR_SMBASE);
	PUT(VM_ENTRY_MSR_LOAD_ADDRESS, MONITOR_LIST);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 2);
	ENTER(f, VMRESUME);
	assert_monitor(f);
	assert_field(EXIT_REASON, VMX_EXIT_MSR_LOADING | BIT(31));
	assert_field(EXIT_QUALIFICATION, 2);
	assert_int_equal(cpu->vmx->smm_monitor_ctl, MSEG_AT | 5);
	assert_field(VM_PROCBASED_CTLS, 0);
	PUT(VM_ENTRY_MSR_LOAD_COUNT, 1);
	/* Exits that end in SMM may store SMBASE. */
	poke(f, IN_SMRAM(MONITOR_LIST) + 32, 8, MSR_SMBASE);
	PUT(VM_EXIT_MSR_STORE_ADDRESS, MONITOR_LIST + 32);
	PUT(VM_EXIT_MSR_STORE_COUNT, 1);
	ENTER(f, VMRESUME);
	assert_true(cpu->nonroot);
	smi(f);
	assert_monitor(f);
	assert_int_equal(peek(f, IN_SMRAM(MONITOR_LIST) + 40, 8), 0xfee1000);
}

/* Events are injected by the fields of the SMM-transfer VMCS, into root operation too. */
static void injection(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	put_gate(f, IDT_AT + 16 * 13, CODE0, CODE_AT + 0x80, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * 13 + 8, 8, 0);
	call(f);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_OTHER << 8);
	RUN(f, FAIL_VALID, VMRESUME);
	assert_error(VMX_ERROR_CONTROL_FIELDS);
	PUT(VM_ENTRY_INTERRUPTION_INFO,
	    INTERRUPTION_VALID | INTERRUPTION_ERROR_CODE | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_GP);
	PUT(VM_ENTRY_ERROR_CODE, 0x1234);
	ENTER(f, VMRESUME);
	assert_false(cpu->in_smm);
	assert_false(cpu->nonroot);
	assert_int_equal(cpu->rip, CODE_AT + 0x80);
	assert_int_equal(peek(f, cpu->r[RSP], 8), 0x1234);
	assert_int_equal(peek(f, cpu->r[RSP] + 8, 8), CODE_AT);
}

/* A guest of the monitor's own, which stays in SMM. */
static void guest_in_smm(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	smi(f);
	poke(f, IN_SMRAM(MONITOR_VMCS) + 0x1000, 4, VMX_REVISION);
	POINT(f, MONITOR_VMCS + 0x1000, SUCCEED, VMCLEAR);
	POINT(f, MONITOR_VMCS + 0x1000, SUCCEED, VMPTRLD);
	fill(f);
	put_monitor(f);
	PUT(VM_ENTRY_CTLS, vmx_allowed0(&caps, VMX_ENTRY_CTLS) | ENTRY_CTLS_IA32E_MODE_GUEST | ENTRY_CTLS_ENTRY_TO_SMM);
	ENTER(f, VMLAUNCH);
	assert_false(cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_INVALID_GUEST_STATE | BIT(31)); /* not blocked by SMI */
	PUT(GUEST_INTERRUPTIBILITY, BIT(2));
	ENTER(f, VMLAUNCH);
	assert_true(cpu->nonroot);
	assert_true(cpu->in_smm);
	assert_int_equal(cpu->rip, GUEST_AT);
	smi(f);
	assert_true(cpu->nonroot); /* blocked */
	CODE_BYTES(f, GUEST_AT, RSM);
	fixture_run(f);
	assert_false(cpu->nonroot);
	assert_true(cpu->in_smm);
	assert_field(EXIT_REASON, VMX_EXIT_RSM);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 2);
	assert_field(GUEST_INTERRUPTIBILITY, BIT(2));
	/* The SMM-transfer VMCS becomes that of the entry which returns. */
	POINT(f, MONITOR_VMCS, SUCCEED, VMPTRLD);
	ENTER(f, VMRESUME);
	assert_false(cpu->in_smm);
	assert_int_equal(cpu->vmx->transfer, MONITOR_VMCS);
	exec_attend(cpu);
	assert_monitor(f);
}

static void deactivation(void **state)
{
	struct fixture *f = *state;
	struct cpu *cpu = f->cpu;

	activate(f);
	call(f);
	PUT(GUEST_RIP, CODE_AT + 3);
	PUT(GUEST_INTERRUPTIBILITY, BIT(2));
	PUT(VM_ENTRY_CTLS, get(f, VMCS_VM_ENTRY_CTLS) | ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR);
	ENTER(f, VMRESUME);
	assert_false(cpu->in_smm);
	assert_false(cpu->vmx->dual_monitor);
	assert_false(cpu->vmx->smi_blocked); /* whatever the field says */
	assert_int_equal(cpu->rip, CODE_AT + 3);
	cpu->smbase = 0x50000;
	cpu->rip = CODE_AT;
	smi(f);
	assert_true(cpu->in_smm);
	assert_false(cpu->vmx->on); /* the default treatment */
	assert_int_equal(cpu->rip, 0x8000);
	assert_int_equal(peek(f, 0x5ff78, 8), CODE_AT);
	CODE_BYTES(f, 0x58000, RSM);
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	/* And again, with a VMCS that is clear. */
	POINT(f, VMCS_AT, SUCCEED, VMCLEAR);
	POINT(f, VMCS_AT, SUCCEED, VMPTRLD);
	call(f);
	assert_true(cpu->vmx->dual_monitor);
}

static void preemption_timer(void **state)
{
	struct fixture *f = *state;

	activate(f);
	smi(f);
	PUT(VM_EXIT_CTLS, get(f, VMCS_VM_EXIT_CTLS) | EXIT_CTLS_SAVE_PREEMPTION_TIMER);
	ENTER(f, VMRESUME);
	fill(f);
	PUT(GUEST_FS_SELECTOR, 0);
	PUT(VM_PINBASED_CTLS, vmx_allowed0(&caps, VMX_PINBASED_CTLS) | PINBASED_CTLS_PREEMPTION_TIMER);
	PUT(PREEMPTION_TIMER, 1000);
	ENTER(f, VMLAUNCH);
	clock_advance_to(f->clock, clock_now(f->clock) + (100 << VMX_TIMER_RATE));
	smi(f);
	assert_monitor(f);
	assert_field(PREEMPTION_TIMER, 900);
	PUT(PREEMPTION_TIMER, 500);
	ENTER(f, VMRESUME);
	clock_advance_to(f->clock, clock_now(f->clock) + (100 << VMX_TIMER_RATE));
	smi(f);
	assert_field(PREEMPTION_TIMER, 400);
}

static void saved(void **state)
{
	struct fixture *f = *state;
	struct state *saved = state_save(), *restored;
	const void *data;
	size_t size;

	activate(f);
	call(f);
	PUT(GUEST_INTERRUPTIBILITY, BIT(2));
	ENTER(f, VMRESUME);
	vmx_state(f->cpu, saved);
	data = state_data(saved, &size);
	vmx_reset(f->cpu);
	assert_false(f->cpu->vmx->dual_monitor);
	restored = state_restore(data, size);
	vmx_state(f->cpu, restored);
	assert_false(state_failed(restored));
	state_free(restored);
	state_free(saved);
	smi(f);
	assert_false(f->cpu->in_smm);
	call(f);
	assert_monitor(f);
	assert_int_equal(f->cpu->vmx->smm_monitor_ctl, MSEG_AT | 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SMM_TEST(monitor_ctl),
		SMM_TEST(checks_of_activation),
		SMM_TEST(activation),
		SMM_TEST(activation_32),
		SMM_TEST(activation_with_the_last_selector),
		SMM_TEST(return_to_root),
		SMM_TEST(smi_in_root_operation),
		SMM_TEST(smi_in_a_guest),
		SMM_TEST(smi_after_io),
		SMM_TEST(corrupted),
		SMM_TEST(corrupted_executive),
		SMM_TEST(return_with_smis_blocked),
		SMM_TEST(checks_of_return),
		SMM_TEST(injection),
		SMM_TEST(guest_in_smm),
		SMM_TEST(deactivation),
		SMM_TEST(preemption_timer),
		SMM_TEST(saved),
	};

	return cmocka_run_group_tests_name("exec/vmx_dual_monitor", tests, NULL, NULL);
}

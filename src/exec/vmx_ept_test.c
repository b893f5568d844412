/* What VMX guests see of EPT: VM functions, virtualization exceptions. */
#include "exec/vmx_fixture.h"

#define VMFUNC	      0x0f, 0x01, 0xd4
#define LIST	      0x3b000
#define AREA	      0x3c000
#define EPTP_OF(pml4) ((pml4) | 3u << 3 | 6u)

/* EPT of 2 MiB one to one at three pages from pml4: PML4, PDPT, PD. */
static uint64_t make_ept(struct fixture *f, pa_t pml4, uint64_t bits)
{
	poke(f, pml4, 8, (pml4 + 0x1000) | 7);
	poke(f, pml4 + 0x1000, 8, (pml4 + 0x2000) | 7);
	poke(f, pml4 + 0x2000, 8, 6 << 3 | BIT(7) | bits);
	return EPTP_OF(pml4);
}

/* A guest under EPT with these secondary controls more, not yet entered. */
static void fill_ept(struct fixture *f, uint64_t controls)
{
	start(f);
	fill(f);
	PUT(VM_PROCBASED_CTLS, vmx_allowed0(&caps, VMX_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | controls);
	PUT(EPTP, make_ept(f, 0x50000, 7));
	PUT(EPTP_LIST, LIST);
	PUT(VE_INFORMATION, AREA);
	if (controls & PROCBASED_CTLS2_ENABLE_VPID)
		PUT(VPID, 7);
	CODE_BYTES(f, GUEST_AT, VMFUNC);
}

static void vmfunc(struct fixture *f, uint64_t function, uint64_t argument)
{
	f->cpu->r[RAX] = function;
	f->cpu->r[RCX] = argument;
	f->cpu->rip = GUEST_AT;
	fixture_run(f);
}

static void assert_vmfunc_exits(struct fixture *f, uint64_t function, uint64_t argument)
{
	uint64_t eptp = f->cpu->eptp;

	vmfunc(f, function, argument);
	assert_false(f->cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_VMFUNC);
	assert_field(EXIT_QUALIFICATION, 0);
	assert_field(VM_EXIT_INSTRUCTION_LENGTH, 3);
	assert_field(GUEST_RIP, GUEST_AT);
	assert_field(EPTP, eptp);
	assert_field(EPTP_INDEX, 0);
	ENTER(f, VMRESUME);
}

/* SDM vol. 3, "VM Functions": which VMFUNC is #UD, and which exits. */
static void test_vmfunc(void **state)
{
	struct fixture *f = *state;

	start(f);
	RUN_AT(f, VMFUNC);
	assert_fault(f, VECTOR_UD, 0); /* VMX root operation */
	RUN(f, SUCCEED, VMXOFF);
	RUN_AT(f, VMFUNC);
	assert_fault(f, VECTOR_UD, 0);

	fill_ept(f, 0);
	PUT(VM_FUNCTION_CTLS, FUNCTION_CTLS_EPTP_SWITCHING);
	ENTER(f, VMLAUNCH);
	f->cpu->r[RAX] = 0;
	assert_fault(f, VECTOR_UD, 0); /* not enabled */
	f->cpu->rip = GUEST_AT;
	CODE_BYTES(f, GUEST_AT, VMCALL);
	fixture_run(f);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_ENABLE_VM_FUNCTIONS);
	PUT(VM_FUNCTION_CTLS, 0);
	CODE_BYTES(f, GUEST_AT, VMFUNC);
	ENTER(f, VMRESUME);
	for (unsigned function = 0; function < 64; function += 9)
		assert_vmfunc_exits(f, BIT(40) | function, 0); /* EAX alone counts */
	f->cpu->r[RAX] = 64;
	assert_fault(f, VECTOR_UD, 0);
}

static void test_eptp_switching(void **state)
{
	static const uint64_t bad[] = {
		0x53000 | 3 << 3 | 5,	       /* memory type */
		0x53000 | 2 << 3 | 6,	       /* page-walk length */
		0x53000 | 3 << 3 | 6 | 1 << 8, /* reserved */
		0x53000 | 3 << 3 | 6 | BIT(60),
	};
	struct fixture *f = *state;
	uint64_t other = make_ept(f, 0x53000, 7), flags;

	fill_ept(f, PROCBASED_CTLS2_ENABLE_VM_FUNCTIONS);
	PUT(VM_FUNCTION_CTLS, FUNCTION_CTLS_EPTP_SWITCHING);
	poke(f, 0x55000, 8, 0x200000 | 6 << 3 | BIT(7) | 7); /* elsewhere: is it in use? */
	ENTER(f, VMLAUNCH);
	assert_vmfunc_exits(f, 1, 0);
	assert_vmfunc_exits(f, 0, 512);
	assert_vmfunc_exits(f, 0, UINT32_MAX);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		poke(f, LIST + 8 * i, 8, bad[i]);
		assert_vmfunc_exits(f, 0, i);
	}
	if (vmx_may(&caps, EPT_VPID_CAP, PAGE_WALK_5)) { /* valid, but of another length than the one in use */
		poke(f, LIST, 8, 0x53000 | 4 << 3 | 6);
		assert_vmfunc_exits(f, 0, 0);
	}
	/* the same EPT pointer, then another, in the last entry; at CPL 3; bits 63:32 of RCX do not count */
	poke(f, LIST + 8, 8, EPTP_OF(0x50000));
	vmfunc(f, 0, 1);
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->rip, GUEST_AT + 3);
	poke(f, LIST + 8 * 511, 8, other);
	poke(f, 0x55000, 8, 6 << 3 | BIT(7) | 5);
	f->cpu->cpl = 3;
	mem_privilege_changed(f->cpu);
	flags = cpu_rflags(f->cpu);
	vmfunc(f, 0, BIT(32) | 511);
	assert_int_equal(f->cpu->rip, GUEST_AT + 3);
	assert_int_equal(f->cpu->eptp, other);
	assert_int_equal(cpu_rflags(f->cpu), flags);
	f->cpu->cpl = 0;
	mem_privilege_changed(f->cpu);
	CODE_BYTES(f, GUEST_AT + 3, 0x50); /* PUSH RAX */
	fixture_run(f);
	assert_field(EXIT_REASON, VMX_EXIT_EPT_VIOLATION);
	assert_field(EPTP, other);
	assert_field(EPTP_INDEX, 511);
}

/* With a VPID each EPT pointer keeps its translations; without one, switching leaves none. */
static void test_eptp_switching_and_translations(void **state)
{
	for (unsigned vpid = 0; vpid < 2; vpid++) {
		struct fixture *f;
		uint64_t misses;

		if (vpid) {
			destroy(state);
			create(state);
		}
		f = *state;
		fill_ept(f, PROCBASED_CTLS2_ENABLE_VM_FUNCTIONS | (vpid ? PROCBASED_CTLS2_ENABLE_VPID : 0));
		PUT(VM_FUNCTION_CTLS, FUNCTION_CTLS_EPTP_SWITCHING);
		poke(f, LIST, 8, EPTP_OF(0x50000));
		poke(f, LIST + 8, 8, make_ept(f, 0x53000, 7));
		ENTER(f, VMLAUNCH);
		vmfunc(f, 0, 1);
		vmfunc(f, 0, 0);
		misses = f->cpu->tlb_misses;
		vmfunc(f, 0, 1);
		vmfunc(f, 0, 0);
		assert_int_equal(f->cpu->tlb_misses - misses, vpid ? 0 : 2);
	}
}

/* What the host flushes of its own is not the guest's, which has a VPID; and the other way round. */
static void test_flushes_end_at_a_vpid(void **state)
{
	struct fixture *f = *state;
	uint64_t misses;

	fill_ept(f, PROCBASED_CTLS2_ENABLE_VPID | PROCBASED_CTLS2_ENABLE_INVPCID);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	ENTER(f, VMLAUNCH);
	fixture_run(f);
	assert_field(EXIT_REASON, VMX_EXIT_VMCALL);
	f->cpu->r[RCX] = MSR_EFER;
	f->cpu->r[RAX] = EFER_LME | EFER_LMA | EFER_SCE;
	f->cpu->r[RDX] = 0;
	RUN_AT(f, 0x0f, 0x30); /* WRMSR */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	f->cpu->r[RAX] = 2;
	poke(f, POINTER_AT, 8, 0);
	poke(f, POINTER_AT + 8, 8, 0);
	RUN_AT(f, 0x66, 0x0f, 0x38, 0x82, MEMORY(0x04)); /* INVPCID, all contexts */
	assert_int_equal(fixture_step(f), STEP_LEAVE);
	ENTER(f, VMRESUME);
	misses = f->cpu->tlb_misses;
	assert_int_equal(fixture_step(f), STEP_FAULT); /* VMCALL */
	assert_int_equal(f->cpu->tlb_misses, misses);

	f->cpu->rip = GUEST_AT;
	mem_flush_vpid(f->cpu, f->cpu->vpid, false);
	exec_fault(f->cpu);
	misses = f->cpu->tlb_misses;
	RUN_AT(f, 0x90);
	assert_int_equal(fixture_step(f), STEP_NEXT);
	assert_int_equal(f->cpu->tlb_misses, misses);
}

/* What mem/ walks by: each control of the VMCS reaches its bit, and without them none is set. */
static void test_controls_of_walks(void **state)
{
	struct fixture *f = *state;
	unsigned wanted = EPT_SUBPAGE | EPT_HLAT | EPT_PAGING_WRITE | EPT_VERIFY_PAGING;

	fill_ept(f, PROCBASED_CTLS2_SUBPAGE_WRITE_PERMISSIONS);
	PUT(VM_PROCBASED_CTLS,
	    vmcs_get(&f->cpu->vmx->vmcs, VM_PROCBASED_CTLS) | PROCBASED_CTLS_ACTIVATE_TERTIARY_CONTROLS);
	PUT(VM_PROCBASED_CTLS3, PROCBASED_CTLS3_ENABLE_HLAT | PROCBASED_CTLS3_EPT_PAGING_WRITE_CONTROL |
					PROCBASED_CTLS3_GUEST_PAGING_VERIFICATION);
	PUT(SPPTP, 0x70000);
	PUT(HLATP, PAGES_AT | 0x18);
	PUT(HLAT_PREFIX_SIZE, 1);
	CODE_BYTES(f, GUEST_AT, VMCALL);
	ENTER(f, VMLAUNCH);
	assert_int_equal(f->cpu->ept_controls & wanted, wanted);
	assert_int_equal(f->cpu->spptp, 0x70000);
	assert_int_equal(f->cpu->hlatp, PAGES_AT | 0x18);
	assert_int_equal(f->cpu->hlat_prefix_size, 1);
	fixture_run(f);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT);
	PUT(VM_PROCBASED_CTLS3, 0);
	ENTER(f, VMRESUME);
	assert_int_equal(f->cpu->ept_controls & wanted, 0);
}

static void launch_to_write(struct fixture *f, uint64_t bits)
{
	poke(f, 0x52000, 8, 6 << 3 | BIT(7) | bits);
	mem_flush_epts(f->cpu);
	poke(f, PAGES_AT, 8, peek(f, PAGES_AT, 8) | 0x20);
	poke(f, PAGES_AT + 0x1000, 8, peek(f, PAGES_AT + 0x1000, 8) | 0x20);
	CODE_BYTES(f, GUEST_AT, 0x90, 0x50); /* NOP; PUSH RAX */
	ENTER(f, VMLAUNCH);
	fixture_run(f);
}

static void assert_violation(struct fixture *f)
{
	fixture_run(f);
	assert_false(f->cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_EPT_VIOLATION);
}

/* SDM vol. 3, "Virtualization Exceptions". The guest's stack is not writable, so delivery ends in an exit that tells of
 * #VE. */
static void test_virtualization_exception(void **state)
{
	struct fixture *f = *state;

	fill_ept(f, PROCBASED_CTLS2_EPT_VIOLATION_VE);
	PUT(EPTP_INDEX, 0x123);
	put_gate(f, IDT_AT + 16 * VECTOR_VE, CODE0, GUEST_AT + 0x80, TYPE_INTERRUPT, 0, 1);
	poke(f, IDT_AT + 16 * VECTOR_VE + 8, 8, 0);
	launch_to_write(f, 5);
	/* the handler's stack is on a page of its own that can be written: split the large page */
	for (unsigned i = 0; i < 512; i++)
		poke(f, 0x56000 + 8 * i, 8, i * 4096 | 6 << 3 | (i == STACK3_TOP / 4096 - 1 ? 5 : 7));
	poke(f, 0x52000, 8, 0x56000 | 7);
	mem_flush_all(f->cpu);
	fixture_run(f);
	assert_true(f->cpu->nonroot);
	assert_int_equal(f->cpu->rip, GUEST_AT + 0x80);
	assert_int_equal(peek(f, IST_TOP - 40, 8), GUEST_AT + 1); /* no error code */
	assert_int_equal(peek(f, IST_TOP - 24, 8) & RFLAGS_RF, RFLAGS_RF);
	assert_int_equal(peek(f, AREA, 8), 48 | UINT64_C(0xffffffff) << 32);
	assert_int_equal(peek(f, AREA + 8, 8) & 0x1ff, 0x1aa);
	assert_int_equal(peek(f, AREA + 16, 8), STACK3_TOP - 8);
	assert_int_equal(peek(f, AREA + 24, 8), STACK3_TOP - 8);
	assert_int_equal(peek(f, AREA + 32, 8), 0x123);

	/* again, while the area is busy */
	f->cpu->rip = GUEST_AT + 1;
	f->cpu->r[RSP] = STACK3_TOP;
	assert_violation(f);
}

/* Bit 20 of the exception bitmap: the information is saved, and then the exception exits. */
static void test_intercepted_virtualization_exception(void **state)
{
	struct fixture *f = *state;

	fill_ept(f, PROCBASED_CTLS2_EPT_VIOLATION_VE);
	PUT(EXCEPTION_BITMAP, BIT(VECTOR_VE));
	launch_to_write(f, 5);
	fixture_run(f);
	assert_false(f->cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_EXCEPTION_NMI);
	assert_field(EXIT_QUALIFICATION, 0);
	assert_field(VM_EXIT_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_VE);
	assert_field(IDT_VECTORING_INFO, 0);
	assert_field(GUEST_RIP, GUEST_AT + 1);
	assert_int_equal(peek(f, AREA, 8), 48 | UINT64_C(0xffffffff) << 32);
	assert_int_equal(peek(f, AREA + 24, 8), STACK3_TOP - 8);
}

/* An EPT violation that the delivery of #VE meets is an exit which tells of it. */
static void test_violation_during_delivery(void **state)
{
	struct fixture *f = *state;

	fill_ept(f, PROCBASED_CTLS2_EPT_VIOLATION_VE);
	put_gate(f, IDT_AT + 16 * VECTOR_VE, CODE0, GUEST_AT + 0x80, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * VECTOR_VE + 8, 8, 0);
	launch_to_write(f, 5);
	poke(f, AREA + 4, 4, 0);
	assert_violation(f);
	assert_field(IDT_VECTORING_INFO, INTERRUPTION_VALID | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_VE);
	assert_int_equal(peek(f, AREA, 4), 48);
}

static void test_violations_that_stay_exits(void **state)
{
	struct fixture *f = *state;

	fill_ept(f, PROCBASED_CTLS2_EPT_VIOLATION_VE);
	launch_to_write(f, 5 | BIT(63)); /* suppressed */
	assert_violation(f);
	poke(f, 0x52000, 8, BIT(63)); /* not present, and suppressed */
	mem_flush_epts(f->cpu);
	PUT(GUEST_RIP, GUEST_AT);
	ENTER(f, VMRESUME);
	assert_violation(f);
	poke(f, 0x52000, 8, 6 << 3 | BIT(7) | 5);
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT);
	PUT(GUEST_RIP, GUEST_AT + 1);
	ENTER(f, VMRESUME);
	assert_violation(f);
	/* the stack of an event cannot be written */
	PUT(VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT | PROCBASED_CTLS2_EPT_VIOLATION_VE);
	put_gate(f, IDT_AT + 16 * VECTOR_BP, CODE0, GUEST_AT + 0x80, TYPE_INTERRUPT, 0, 0);
	poke(f, IDT_AT + 16 * VECTOR_BP + 8, 8, 0);
	PUT(VM_ENTRY_INTERRUPTION_INFO, INTERRUPTION_VALID | INTERRUPTION_SOFTWARE_EXCEPTION << 8 | VECTOR_BP);
	PUT(VM_ENTRY_INSTRUCTION_LENGTH, 1);
	ENTER(f, VMRESUME);
	assert_false(f->cpu->nonroot);
	assert_field(EXIT_REASON, VMX_EXIT_EPT_VIOLATION);
	assert_field(IDT_VECTORING_INFO, INTERRUPTION_VALID | INTERRUPTION_SOFTWARE_EXCEPTION << 8 | VECTOR_BP);
	assert_int_equal(peek(f, AREA + 4, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vmfunc),
		TEST(test_eptp_switching),
		TEST(test_eptp_switching_and_translations),
		TEST(test_flushes_end_at_a_vpid),
		TEST(test_controls_of_walks),
		TEST(test_virtualization_exception),
		TEST(test_violations_that_stay_exits),
		TEST(test_intercepted_virtualization_exception),
		TEST(test_violation_during_delivery),
	};

	return cmocka_run_group_tests_name("exec/vmx_ept", tests, NULL, NULL);
}

/*
 * A guest that is a hypervisor: it enters VMX operation and runs a guest of its own, without EPT and with. KVM then
 * runs both, from one VMCS that it makes of theirs.
 */
#include "guest.h"
#include "kvm.h"

volatile uint64_t l2_rax;

static volatile uint32_t use_ept;

enum {
	VMXON_REGION = VMX_PAGES,
	VMCS = VMX_PAGES + 0x1000,
	EPT_PML4 = VMX_PAGES + 0x2000,
	EPT_PDPT = VMX_PAGES + 0x3000,
	EPT_PD = VMX_PAGES + 0x4000,
	L2_STACK = STACK_TOP + STACK_SIZE,
	NO_FIELD = 0x6fee
};

/* Fields by their encoding, as far as they are used. */
enum {
	PIN_CTLS = 0x4000,
	PROC_CTLS = 0x4002,
	EXCEPTION_BITMAP = 0x4004,
	EXIT_CTLS = 0x400c,
	ENTRY_CTLS = 0x4012,
	ENTRY_INTR_INFO = 0x4016,
	PROC2_CTLS = 0x401e,
	EPTP = 0x201a,
	LINK_POINTER = 0x2800,
	GUEST_PHYSICAL = 0x2400,
	INSTRUCTION_ERROR = 0x4400,
	EXIT_REASON = 0x4402,
	EXIT_INTR_INFO = 0x4404,
	EXIT_LENGTH = 0x440c,
	QUALIFICATION = 0x6400,
	GUEST_RIP = 0x681e
};

static inline bool vmwrite(uint64_t field, uint64_t value)
{
	bool failed;

	__asm__ volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"(field), "r"(value) : "memory");
	return !failed;
}

static inline uint64_t vmread(uint64_t field)
{
	uint64_t value = 0;

	__asm__ volatile("vmread %1, %0" : "+r"(value) : "r"(field) : "memory");
	return value;
}

/* What must be 1, and of the wish what may be. */
static inline void vmwrite_ctls(uint64_t field, uint32_t msr, uint32_t wish)
{
	uint64_t allowed = rdmsr(msr);

	vmwrite(field, (wish | (uint32_t)allowed) & allowed >> 32);
}

static GUEST void host_state(void)
{
	for (uint64_t field = 0xc00; field <= 0xc0a; field += 2) /* ES to GS */
		vmwrite(field, field == 0xc02 ? CODE64 : DATA_SEG);
	vmwrite(0xc0c, TSS_SEG);
	vmwrite(0x6c00, READ_CR(0));
	vmwrite(0x6c02, READ_CR(3));
	vmwrite(0x6c04, READ_CR(4));
	vmwrite(0x6c06, 0); /* FS, GS, TR, GDTR and IDTR bases */
	vmwrite(0x6c08, 0);
	vmwrite(0x6c0a, TSS);
	vmwrite(0x6c0c, GDT);
	vmwrite(0x6c0e, IDT);
}

static GUEST void guest_state(void)
{
	static const uint16_t selectors[8] = {DATA_SEG, CODE64, DATA_SEG, DATA_SEG, DATA_SEG, DATA_SEG, 0, TSS_SEG};

	for (uint64_t n = 0; n < 8; n++) { /* ES CS SS DS FS GS LDTR TR */
		vmwrite(0x800 + 2 * n, selectors[n]);
		vmwrite(0x4800 + 2 * n, n == 7 ? 0x67 : 0xffffffff);
		vmwrite(0x4814 + 2 * n, n == 1 ? 0xa09b : n == 6 ? 0x10000 : n == 7 ? 0x8b : 0xc093);
		vmwrite(0x6806 + 2 * n, n == 7 ? TSS : 0);
	}
	vmwrite(0x4810, 0x7f); /* limits and bases of GDTR and IDTR */
	vmwrite(0x4812, 0xfff);
	vmwrite(0x6816, GDT);
	vmwrite(0x6818, IDT);
	vmwrite(0x6800, READ_CR(0));
	vmwrite(0x6802, READ_CR(3));
	vmwrite(0x6804, READ_CR(4));
	vmwrite(0x681a, 0x400); /* DR7 */
	vmwrite(0x681c, L2_STACK);
	vmwrite(GUEST_RIP, (uintptr_t)l2_64);
	vmwrite(0x6820, 0x202); /* RFLAGS, with IF */
	vmwrite(LINK_POINTER, ~0ull);
}

/* The first GiB but for what is at DIRTY_BASE; write-back. */
static GUEST void ept(void)
{
	*(volatile uint64_t *)(uintptr_t)EPT_PML4 = EPT_PDPT | 7;
	*(volatile uint64_t *)(uintptr_t)EPT_PDPT = EPT_PD | 7;
	for (uint64_t n = 0; n < 512; n++)
		((volatile uint64_t *)(uintptr_t)EPT_PD)[n] = n == DIRTY_BASE >> 21 ? 0 : n << 21 | 0xb7;
	vmwrite(EPTP, EPT_PML4 | 3 << 3 | 6);
}

static GUEST void controls(void)
{
	vmwrite_ctls(PIN_CTLS, 0x481, 0);
	vmwrite_ctls(PROC_CTLS, 0x482, 1u << 7 | 1u << 24 | (use_ept ? 1u << 31 : 0)); /* HLT, I/O */
	if (use_ept)
		vmwrite_ctls(PROC2_CTLS, 0x48b, 2);
	vmwrite_ctls(EXIT_CTLS, 0x483, 1u << 9);
	vmwrite_ctls(ENTRY_CTLS, 0x484, 1u << 9);
	vmwrite(EXCEPTION_BITMAP, 1u << 14);
	vmwrite(0x4006, 0); /* #PF mask and match: every #PF */
	vmwrite(0x4008, 0);
	vmwrite(0x400a, 0);
}

/* Runs the guest's guest to its next exit, tells the program outside the reason, and has it go on after the
 * instruction. */
static GUEST void step(uint64_t resume)
{
	uint64_t failed = vmx_run64(resume);

	if (failed) {
		out(0xbad0000 | (uint32_t)vmread(INSTRUCTION_ERROR));
		return;
	}
	out((uint32_t)vmread(EXIT_REASON));
	out((uint32_t)l2_rax);
	vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 2);
}

static GUEST void guest_nested(void)
{
	uint64_t vmxon = VMXON_REGION, vmcs = VMCS;

	if (!(rdmsr(0x3a) & 1))
		wrmsr(0x3a, 5);
	WRITE_CR(4, READ_CR(4) | 0x2000);
	*(volatile uint32_t *)(uintptr_t)VMXON_REGION = (uint32_t)rdmsr(0x480);
	*(volatile uint32_t *)(uintptr_t)VMCS = (uint32_t)rdmsr(0x480);
	__asm__ volatile("vmxon %0; vmclear %1; vmptrld %1" : : "m"(vmxon), "m"(vmcs) : "memory");
	controls();
	host_state();
	guest_state();
	if (use_ept)
		ept();
	out((uint32_t)vmread(EXCEPTION_BITMAP));
	out(vmwrite(NO_FIELD, 0) ? 0 : (uint32_t)vmread(INSTRUCTION_ERROR));
	step(0); /* CPUID */
	step(1); /* VMCALL, of 3 bytes */
	vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 1);
	vmwrite(ENTRY_INTR_INFO, 0x80000043);
	step(1); /* OUT, after INT 42H in the guest's guest */
	out((uint32_t)(vmread(QUALIFICATION) >> 16));
	step(1); /* #PF */
	out((uint32_t)vmread(EXIT_INTR_INFO));
	out((uint32_t)vmread(QUALIFICATION));
	step(1); /* RDMSR */
	step(1); /* VMCALL */
	vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 1);
	step(1); /* an EPT violation, or HLT */
	if (use_ept) {
		out((uint32_t)vmread(GUEST_PHYSICAL));
		step(1); /* HLT */
	}
	__asm__ volatile("vmxoff" : : : "memory");
	WRITE_CR(4, READ_CR(4) & ~0x2000ull);
	out(99);
}

static void expect_exit(struct vcpu *vcpu, uint32_t reason, const char *what)
{
	uint32_t found = run_to_out(vcpu, 4);

	same(found, reason, what);
	if (found >> 16 == 0xbad)
		give_up("an entry failed");
	run_to_out(vcpu, 4);
}

static void nested(bool with_ept)
{
	struct vm *vm = vm_create(0);
	struct vcpu *vcpu = vcpu_add(vm);

	for (int n = 0; n < 256; n++)
		trap_count[n] = 0;
	use_ept = with_ept;
	vm_slot(vm, -1, DIRTY_BASE, 0x1000, fresh_memory(0x1000), 0);
	vcpu_start(vcpu, LONG, (uintptr_t)guest_nested);
	same(run_to_out(vcpu, 4), 1u << 14, "VMREAD gives what VMWRITE wrote");
	same(run_to_out(vcpu, 4), 12, "VMWRITE of a field that is not there: its error");
	expect_exit(vcpu, 10, "an exit for CPUID");
	same(run_to_out(vcpu, 4), 18, "an exit for VMCALL");
	same(run_to_out(vcpu, 4), 0x1234, "RAX of the guest's guest");
	expect_exit(vcpu, 30, "an exit for OUT");
	same(run_to_out(vcpu, 4), PORT, "its port");
	expect_exit(vcpu, 0, "an exit for #PF");
	same(run_to_out(vcpu, 4), 0x80000b0e, "its information");
	same(run_to_out(vcpu, 4), (uint32_t)HOLE + 0x789, "its address");
	expect_exit(vcpu, 31, "an exit for RDMSR");
	expect_exit(vcpu, 18, "an exit for VMCALL");
	if (with_ept) {
		expect_exit(vcpu, 48, "an exit for an EPT violation");
		same(run_to_out(vcpu, 4), DIRTY_BASE + 0x234, "its address");
	}
	expect_exit(vcpu, 12, "an exit for HLT");
	same(run_to_out(vcpu, 4), 99, "VMXOFF");
	same(trap_count[0x42], 1, "INT n in the guest's guest");
	same(trap_count[0x43], 1, "an interrupt injected into it");
}

void test_nested(void)
{
	struct vcpu *vcpu;
	enum { VMX = 1u << 5, SECONDARY_EPT = 2 };

	if (!(supported_cpuid(1, 2) & VMX)) {
		check(true, "KVM offers no VMX to its guests here");
		return;
	}
	nested(false);
	vcpu = vcpu_add(vm_create(0));
	if (vcpu_msr(vcpu, 0x48b) >> 32 & SECONDARY_EPT)
		nested(true);
}

/*
 * Debugging a guest from outside (single steps, breakpoints in its debug registers and in its code), and a guest that
 * debugs itself.
 */
#include "guest.h"
#include "kvm.h"

enum { DR6_B0 = 1, DR6_BS = 0x4000, DR7_G0 = 2, DR7_GE = 0x200, DR7_WRITE_4 = 0xd0000 };

static void debug(struct vcpu *vcpu, uint32_t control, uint64_t dr0, uint64_t dr7)
{
	struct kvm_guest_debug request = {.control = control ? control | KVM_GUESTDBG_ENABLE : 0};

	request.arch.debugreg[0] = dr0;
	request.arch.debugreg[7] = dr7;
	KVM(vcpu->fd, KVM_SET_GUEST_DEBUG, &request);
}

static void expect_stop(struct vcpu *vcpu, uint64_t pc, uint64_t dr6, const char *what)
{
	run_to(vcpu, KVM_EXIT_DEBUG);
	same(vcpu->run->debug.arch.pc, pc, what);
	if (dr6)
		check((vcpu->run->debug.arch.dr6 & (DR6_BS | 0xf)) == dr6, "... DR6 has %#llx",
		      (unsigned long long)vcpu->run->debug.arch.dr6);
}

static uint64_t real(const char *label)
{
	return (uint64_t)(label - real16) + REAL_CODE;
}

void test_single_step(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)step64);
	debug(vcpu, KVM_GUESTDBG_SINGLESTEP, 0, 0);
	for (const uint64_t *stop = step64_stops; *stop; stop++)
		expect_stop(vcpu, *stop, DR6_BS, "a step in 64-bit mode");
	debug(vcpu, 0, 0, 0);
	run_to(vcpu, KVM_EXIT_HLT);
	vcpu_start(vcpu, REAL, real(real16_step));
	debug(vcpu, KVM_GUESTDBG_SINGLESTEP, 0, 0);
	expect_stop(vcpu, real(real16_step1), DR6_BS, "a step in real mode: NOP");
	expect_stop(vcpu, real(real16_step2), DR6_BS, "a step in real mode: MOV");
	expect_stop(vcpu, real(real16_step3), DR6_BS, "a step in real mode: CPUID");
	debug(vcpu, 0, 0, 0);
	run_to(vcpu, KVM_EXIT_HLT);
}

void test_breakpoints(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)breakpoint64);
	debug(vcpu, KVM_GUESTDBG_USE_HW_BP, (uintptr_t)&watched, DR7_G0 | DR7_GE | DR7_WRITE_4);
	expect_stop(vcpu, (uintptr_t)breakpoint64_watch, DR6_B0, "a write to a watched word");
	same(watched, 5, "which is done");
	debug(vcpu, KVM_GUESTDBG_USE_HW_BP, (uintptr_t)breakpoint64_int3, DR7_G0 | DR7_GE);
	expect_stop(vcpu, (uintptr_t)breakpoint64_int3, DR6_B0, "an instruction's breakpoint");
	debug(vcpu, 0, 0, 0);
	run_to(vcpu, KVM_EXIT_HLT);

	vcpu_start(vcpu, REAL, DATA);
	vcpu->vm->low[DATA] = 0x90;
	vcpu->vm->low[DATA + 1] = 0xcc; /* INT3 */
	debug(vcpu, KVM_GUESTDBG_USE_SW_BP, 0, 0);
	expect_stop(vcpu, DATA + 1, 0, "INT3, before it");
}

static GUEST void guest_own_debug(void)
{
	WRITE_DR(0, (uintptr_t)&watched);
	WRITE_DR(7, DR7_G0 | DR7_GE | DR7_WRITE_4 | 0x400);
	watched = 6;
	out(trap_count[1]);
	out((uint32_t)trap_dr6);
	WRITE_DR(7, 0x400);
	watched = 7;
	out(trap_count[1]);
	/* Steps itself over three instructions, one of which exits; POPF's own end is the first that traps not. */
	__asm__ volatile(
		"pushfq; orl $0x100, (%%rsp); popfq; nop; movl $0, %%eax; cpuid; pushfq; andl $~0x100, (%%rsp); popfq"
		:
		:
		: "rax", "rbx", "rcx", "rdx", "memory");
	out(trap_count[1]);
	out((uint32_t)trap_dr6);
	__asm__ volatile("int3");
	out(trap_count[3]);
	WRITE_DR(0, 0x1234);
	WRITE_DR(3, 0x5678);
	out((uint32_t)(READ_DR(0) + READ_DR(3)));
}

void test_own_debug(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)guest_own_debug);
	same(run_to_out(vcpu, 4), 1, "#DB of a watched word");
	same(run_to_out(vcpu, 4) & (DR6_BS | 0xf), DR6_B0, "its DR6");
	same(run_to_out(vcpu, 4), 1, "not watched any more");
	same(run_to_out(vcpu, 4), 7, "#DB of single steps: NOP, MOV, CPUID, PUSHF, AND, POPF");
	same(run_to_out(vcpu, 4) & (DR6_BS | 0xf), DR6_BS, "its DR6");
	same(run_to_out(vcpu, 4), 1, "#BP");
	same(run_to_out(vcpu, 4), 0x1234 + 0x5678, "debug registers keep what is written");
}

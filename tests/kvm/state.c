/*
 * The vCPU's state from outside: registers, floating point, time; a triple fault; leaving a guest that does not exit.
 */
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "guest.h"
#include "kvm.h"

void test_shutdown(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)fault64);
	run_to(vcpu, KVM_EXIT_SHUTDOWN);
	check(true, "a triple fault");
	same(trap_count[8] + trap_count[6], 0, "handlers that ran");
	vcpu_start(vcpu, LONG, (uintptr_t)step64);
	run_to(vcpu, KVM_EXIT_HLT);
	check(true, "after it the vCPU can be started again");
}

void test_state(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	struct kvm_regs regs, back;
	struct kvm_xsave *xsave = fresh_memory(sizeof(*xsave));
	static const double numbers[2][2] = {{1.5, 2.25}, {10, 20}};
	/* 2.0 as an 80-bit number */
	static const unsigned char two[16] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0x00, 0x40};
	double sum[2];

	vcpu_start(vcpu, LONG, (uintptr_t)fpu64);
	KVM(vcpu->fd, KVM_GET_REGS, &regs);
	for (unsigned n = 0; n < 6; n++)
		(&regs.rax)[n] = 0x1111111111111111 * (n + 1);
	regs.r8 = 0x8888;
	regs.r15 = 0xffff800000000000;
	KVM(vcpu->fd, KVM_SET_REGS, &regs);
	xsave->region[0] = 0x37f;  /* FCW, FSW */
	xsave->region[1] = 1;	   /* the abridged tag word: ST0 is there */
	xsave->region[6] = 0x1f80; /* MXCSR */
	memcpy(&xsave->region[8], two, 16);
	memcpy(&xsave->region[40], numbers, 32);
	xsave->region[128] = 3; /* XSTATE_BV: x87 and SSE */
	KVM(vcpu->fd, KVM_SET_XSAVE, xsave);
	run_to(vcpu, KVM_EXIT_HLT);
	KVM(vcpu->fd, KVM_GET_REGS, &back);
	same(back.rbx, regs.rbx, "RBX");
	same(back.r8, regs.r8, "R8");
	same(back.r15, regs.r15, "R15");
	KVM(vcpu->fd, KVM_GET_XSAVE, xsave);
	memcpy(sum, &xsave->region[40], 16);
	check(sum[0] == 11.5 && sum[1] == 22.25, "XMM0 is a sum: %g and %g", sum[0], sum[1]);
	check(!memcmp(&xsave->region[76], sum, 16), "XMM9 is a copy");
	same(xsave->region[9], 0xc0000000, "ST0's significand after 1 was added");
}

static GUEST void guest_time(void)
{
	uint64_t begin = rdtsc(), before = begin, now;
	uint32_t backward = 0, low, high, aux;

	for (int n = 0; n < 1000; n++) {
		now = rdtsc();
		backward += now < before;
		before = now;
	}
	out(backward);
	out64(begin);
	wrmsr(0xc0000103, 0x4321); /* IA32_TSC_AUX */
	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
	out(aux);
	wrmsr(0x10, 0x700000000000);
	out64(rdtsc());
	wrmsr(0x3b, rdmsr(0x3b) + 0x10000000000); /* IA32_TSC_ADJUST */
	out64(rdtsc());
}

static uint64_t run_to_out64(struct vcpu *vcpu)
{
	uint64_t low = run_to_out(vcpu, 4);

	return low | (uint64_t)run_to_out(vcpu, 4) << 32;
}

void test_time(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	const uint64_t minute = 60ull * 4000000000;
	uint64_t found;

	vcpu_start(vcpu, LONG, (uintptr_t)guest_time);
	vcpu_set_msr(vcpu, 0x10, 0x500000000000);
	same(run_to_out(vcpu, 4), 0, "the TSC goes backward");
	found = run_to_out64(vcpu);
	check(found - 0x500000000000 < minute, "the TSC as set from outside: %#llx", (unsigned long long)found);
	same(run_to_out(vcpu, 4), 0x4321, "RDTSCP's ECX");
	found = run_to_out64(vcpu);
	check(found - 0x700000000000 < minute, "the TSC as the guest set it: %#llx", (unsigned long long)found);
	found = run_to_out64(vcpu);
	check(found - 0x710000000000 < minute, "the TSC as the guest adjusted it: %#llx", (unsigned long long)found);
}

static void nothing(int number)
{
}

void test_kick(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	struct itimerval soon = {.it_value.tv_usec = 20000};
	struct sigaction action = {.sa_handler = nothing};
	struct kvm_regs regs;

	vcpu_start(vcpu, LONG, (uintptr_t)spin64);
	sigaction(SIGALRM, &action, NULL);
	for (int n = 0; n < 3; n++) {
		setitimer(ITIMER_REAL, &soon, NULL);
		run_to(vcpu, KVM_EXIT_INTR);
	}
	check(true, "a signal ends KVM_RUN");
	KVM(vcpu->fd, KVM_GET_REGS, &regs);
	check(regs.rax > 1000, "the guest has looped %llu times", (unsigned long long)regs.rax);
	vcpu->run->immediate_exit = 1;
	run_to(vcpu, KVM_EXIT_INTR);
	check(true, "immediate_exit");
}

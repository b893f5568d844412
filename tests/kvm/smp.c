/*
 * Two vCPUs, each with a thread: sharing memory without APICs, started by SIPI, started by KVM_SET_MP_STATE; interrupts
 * between them.
 */
#include <pthread.h>

#include "guest.h"
#include "kvm.h"

enum { TURNS = 100, ADDS = 20000, PING = 0x70, PONG = 0x71 };

static volatile uint32_t turn, counter, second_done, second_id;

/* Both take turns at one word, and add to another with LOCK. */
static GUEST void share(uint32_t me)
{
	for (uint32_t n = 0; n < TURNS / 10; n++) {
		while ((turn & 1) != me)
			relax();
		turn++;
	}
	for (uint32_t n = 0; n < ADDS; n++)
		__atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST);
}

static GUEST void guest_first_sharing(void)
{
	share(0);
	while (!second_done)
		relax();
	out(turn);
	out(counter);
}

static GUEST void guest_second_sharing(void)
{
	share(1);
	second_done = 1;
	hlt();
}

static void *run_second(void *argument)
{
	struct vcpu *vcpu = argument;

	return (void *)(uintptr_t)run(vcpu);
}

static pthread_t start(struct vcpu *vcpu)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_second, vcpu))
		give_up("no thread");
	return thread;
}

void test_two_vcpus(void)
{
	struct vm *vm = vm_create(0);
	struct vcpu *first = vcpu_add(vm), *second = vcpu_add(vm);
	pthread_t thread;
	void *reason;

	vcpu_start(first, LONG, (uintptr_t)guest_first_sharing);
	vcpu_start(second, LONG, (uintptr_t)guest_second_sharing);
	thread = start(second);
	same(run_to_out(first, 4), TURNS / 10 * 2, "turns at a shared word");
	same(run_to_out(first, 4), 2 * ADDS, "the sum of additions with LOCK");
	pthread_join(thread, &reason);
	same((uintptr_t)reason, KVM_EXIT_HLT, "the second vCPU's exit");
}

static GUEST void guest_ping(void)
{
	trap_eoi = EOI_LAPIC;
	lapic_write(APIC_SVR, 0x1ff);
	for (uint32_t n = 1; n <= TURNS; n++) {
		lapic_write(APIC_ICR_HIGH, 1u << 24);
		lapic_write(APIC_ICR, PING);
		while (trap_count[PONG] < n)
			wait_interrupt();
	}
}

static GUEST void guest_first_sipi(void)
{
	trap_eoi = EOI_LAPIC;
	lapic_write(APIC_SVR, 0x1ff);
	lapic_write(APIC_ICR_HIGH, 1u << 24);
	lapic_write(APIC_ICR, 0xc500);
	lapic_write(APIC_ICR, 0x8500);
	out(1); /* time for the second to see INIT */
	lapic_write(APIC_ICR_HIGH, 1u << 24);
	lapic_write(APIC_ICR, 0x600 | SIPI_CODE >> 12);
	while (!second_done)
		relax();
	out(second_id);
	guest_ping();
	out(trap_count[PING]);
}

static GUEST void guest_first_ready(void)
{
	while (!second_done)
		relax();
	out(second_id);
	guest_ping();
	out(trap_count[PING]);
}

void guest_second(void);

/* Answers each interrupt with one; the code of guest.S calls this after a SIPI. */
GUEST void guest_second(void)
{
	static const uint16_t idtr[5] = {0xfff, IDT & 0xffff, IDT >> 16, 0, 0};

	__asm__ volatile("lidt %0" : : "m"(idtr));
	lapic_write(APIC_SVR, 0x1ff);
	second_id = lapic_read(APIC_ID) >> 24;
	second_done = 1;
	for (uint32_t n = 1;; n++) {
		while (trap_count[PING] < n)
			wait_interrupt();
		lapic_write(APIC_ICR_HIGH, 0);
		lapic_write(APIC_ICR, PONG);
	}
}

void test_sipi(void)
{
	struct vm *vm = vm_create(IRQCHIP);
	struct vcpu *first = vcpu_add(vm), *second = vcpu_add(vm);
	struct kvm_mp_state state;

	KVM(second->fd, KVM_GET_MP_STATE, &state);
	same(state.mp_state, KVM_MP_STATE_UNINITIALIZED, "the second vCPU's state");
	vcpu_start(first, LONG, (uintptr_t)guest_first_sipi);
	start(second);
	same(run_to_out(first, 4), 1, "INIT");
	same(run_to_out(first, 4), 1, "SIPI: the second vCPU goes from real to 64-bit mode and says its ID");
	same(run_to_out(first, 4), TURNS, "interrupts to the second vCPU, each answered");
	same(trap_count[PONG], TURNS, "answers");
}

void test_mp_state(void)
{
	struct vm *vm = vm_create(IRQCHIP);
	struct vcpu *first = vcpu_add(vm), *second = vcpu_add(vm);
	struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};

	vcpu_start(first, LONG, (uintptr_t)guest_first_ready);
	vcpu_start(second, LONG, (uintptr_t)guest_second);
	KVM(second->fd, KVM_SET_MP_STATE, &state);
	start(second);
	same(run_to_out(first, 4), 1, "the second vCPU runs without SIPI");
	same(run_to_out(first, 4), TURNS, "interrupts to the second vCPU, each answered");
}

/*
 * Posted interrupts: SDM vol. 3, "Posted-Interrupt Processing". A guest loops on one CPU and never exits. Another CPU
 * sets a bit for a vector in its posted-interrupt descriptor and sends the notification vector there: the processor,
 * still in the guest, takes the vector into the virtual APIC and delivers it. The guest's EOI is virtualized too.
 */
#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/time.h"
#include "cpu/x86.h"
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { VECTOR = 0x51, POSTS = 3, WAIT_US = 500000 };

/* Words of the guest's log. */
enum { LOOPS, INTERRUPTS, STOP };

GUEST(posted_interrupt_guest,
	sti;
1:	incl 0x8000;
	cmpl $0, 0x8008;
	je 1b;
	cli;
	xor %eax, %eax;
	vmcall;
posted_interrupt_handler:
	incl 0x8004;
	movl $0, 0xfee000b0; /* EOI */
	iret;
);
extern const uint8_t posted_interrupt_handler[];

static unsigned delivered, exits;

static void setup(struct vm *vm)
{
	guest_load(vm, posted_interrupt_guest, posted_interrupt_guest_end);
	guest_gate(vm, VECTOR, posted_interrupt_guest, posted_interrupt_handler);
}

/* Waits until a word of the guest's log is not old any more. False: the time is over. */
static bool changes(struct vm *vm, unsigned word, uint32_t old)
{
	uint64_t limit = rdtsc() + tsc_of_ns(WAIT_US * UINT64_C(1000));

	while (guest_log(vm, word) == old) {
		if (rdtsc() > limit)
			return false;
		cpu_relax();
	}
	return true;
}

static uint64_t entries(const struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->entries, __ATOMIC_ACQUIRE);
}

/* The other CPU's part. */
static void post(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];
	struct posted_interrupts *posted = vcpu->apic.posted;

	for (unsigned n = 0; n < POSTS && changes(vm, LOOPS, guest_log(vm, LOOPS)); n++) { /* it is in its loop */
		uint64_t before = entries(vcpu);

		__atomic_fetch_or(&posted->requests[VECTOR / 32], 1u << VECTOR % 32, __ATOMIC_SEQ_CST);
		if (!(__atomic_fetch_or(&posted->outstanding, 1, __ATOMIC_SEQ_CST) & 1))
			apic_send(vcpu->cpu->apic_id, VECTOR_POSTED);
		if (!changes(vm, INTERRUPTS, n) || !changes(vm, LOOPS, guest_log(vm, LOOPS))) /* taken, and back in the loop */
			break;
		delivered++;
		exits += (unsigned)(entries(vcpu) - before);
	}
	guest_word(vm, GUEST_LOG)[STOP] = 1;
}

static bool passed(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];

	print("  the guest loops on CPU %u; CPU %u posted %u interrupts, vector %xH\n", vcpu->cpu->index, vcpu->cpu->index ? 0 : 1,
	      delivered, VECTOR);
	print("  its handler ran %u times; VM exits meanwhile: %u\n", guest_log(vm, INTERRUPTS), exits);
	return demo_same("the number of interrupts posted and taken", delivered, POSTS) &
	       demo_same("the number that the guest counts", guest_log(vm, INTERRUPTS), POSTS) &
	       demo_same("the number of VM exits meanwhile", exits, 0) &
	       demo_same("vectors left in the descriptor", vcpu->apic.posted->requests[VECTOR / 32], 0) &
	       demo_same("the notification outstanding", vcpu->apic.posted->outstanding & 1, 0);
}

const struct demo demo_posted_interrupt = {
	.name = "posted-interrupt",
	.title = "an interrupt from another CPU reaches a guest without a VM exit",
	.needs = {NEED(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS), NEED(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY),
		  NEED(PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES), NEED(PROCBASED_CTLS, USE_TPR_SHADOW)},
	.slice_us = 1000000,
	.setup = setup,
	.beside = post,
	.passed = passed,
};

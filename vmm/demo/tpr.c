/*
 * TPR shadow and threshold: SDM vol. 3, "TPR Virtualization". The guest's task-priority register is in the virtual-APIC
 * page, and it writes it without a VM exit. While an interrupt waits whose priority is not above it, the VMM sets the
 * TPR threshold: then the write that lets it through exits. Virtual-interrupt delivery does the same without the exit,
 * and is off here.
 */
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { VECTOR = 0x41, REQUEST = 1 /* EAX of VMCALL */ };

GUEST(tpr_guest,
	movl $0x1ff, 0xfee000f0; /* spurious-interrupt vector: the APIC is enabled */
	movl $0x50, 0xfee00080; /* TPR: only priorities from 6 on */
	sti;
	mov $1, %eax;
	vmcall;
	mov $1000, %ecx;
	loop .;
	mov 0x8000, %eax; /* none has come */
	mov %eax, 0x8004;
	movl $0, 0xfee00080;
	nop;
	mov 0x8000, %eax; /* one has */
	mov %eax, 0x8008;
	cli;
	xor %eax, %eax;
	vmcall;
tpr_handler:
	incl 0x8000;
	movl $0, 0xfee000b0; /* EOI */
	iret;
);
extern const uint8_t tpr_handler[];

static uint64_t exits_before;

static void setup(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];

	guest_load(vm, tpr_guest, tpr_guest_end);
	guest_gate(vm, VECTOR, tpr_guest, tpr_handler);
	vcpu_control(vcpu, WORD_PINBASED_CTLS, CTL(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS), false);
	vcpu_control(vcpu, WORD_PROCBASED_CTLS2, CTL(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY), false);
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	if (reason != EXIT_VMCALL || (uint32_t)vcpu->registers[RAX] != REQUEST)
		return false;
	lapic_accept(vcpu, VECTOR, false);
	exits_before = vcpu->exits[EXIT_TPR_BELOW_THRESHOLD].count;
	vcpu_skip(vcpu);
	return true;
}

static bool passed(struct vm *vm)
{
	uint64_t exits = vm->vcpus[0]->exits[EXIT_TPR_BELOW_THRESHOLD].count - exits_before;

	print("  vector %xH is requested: with TPR 50H the guest has taken %u; with TPR 0 %u, after %lu VM exit, \"%s\"\n", VECTOR,
	      guest_log(vm, 1), guest_log(vm, 2), exits, exit_reason_title(EXIT_TPR_BELOW_THRESHOLD));
	return demo_same("interrupts with the high TPR", guest_log(vm, 1), 0) &
	       demo_same("interrupts with the low TPR", guest_log(vm, 2), 1) &
	       demo_same("the number of those VM exits", exits, 1);
}

const struct demo demo_tpr = {
	.name = "tpr",
	.title = "the write to the TPR that lets an interrupt through exits, and no other",
	.needs = {NEED(PROCBASED_CTLS, USE_TPR_SHADOW), NEED(PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

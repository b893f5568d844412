/*
 * VM exits that no instruction asks for: exceptions and NMIs, interrupts, timers and windows; and those with which a vCPU
 * gives its CPU away. SDM vol. 3, "Other Causes of VM Exits", "Information for VM Exits Due to Vectored Events".
 */
#include "cpu/interrupts.h"
#include "cpu/x86.h"
#include "lib/print.h"
#include "vmx/exit.h"

enum {
	INFO_VECTOR = 0xff,
	INFO_TYPE = 7 << 8,
	INFO_TYPE_NMI = 2 << 8,
	INFO_TYPE_INT1 = 5 << 8,
	INFO_ERROR_CODE = 1 << 11,
	INFO_NMI_UNBLOCKING = 1 << 12
};
enum { VECTOR_DB = 1, VECTOR_MC = 18 };
enum { DR7_GD = 1 << 13, DR6_TRAPS = 0xf, DR6_FIXED = 0xffff0ff0 };
enum { BLOCKING_BY_STI = 1 << 0, BLOCKING_BY_MOV_SS = 1 << 1 };

/* The exit comes before the exception's own effects: SDM vol. 3, "Architectural State Before a VM Exit" (debug exceptions). */
static void debug_exception(struct vcpu *vcpu, uint32_t info)
{
	if ((info & INFO_TYPE) == INFO_TYPE_INT1) {
		vcpu->event = (struct event){.info = info & ~(uint32_t)INFO_NMI_UNBLOCKING,
					     .length = vmread(VMCS_VM_EXIT_INSTRUCTION_LENGTH)};
		return;
	}
	write_dr6((read_dr6() & ~(uint64_t)DR6_TRAPS) | DR6_FIXED | vmread(VMCS_EXIT_QUALIFICATION));
	vmcs_clear(VMCS_GUEST_DR7, DR7_GD);
	/* Delivering it ends these, and with TF a VM entry would ask for a second pending single step. */
	vmcs_clear(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
	vcpu_raise(vcpu, VECTOR_DB, false, 0);
}

void exit_exception_nmi(struct vcpu *vcpu)
{
	uint32_t info = vmread(VMCS_VM_EXIT_INTERRUPTION_INFO);

	/* NMIs are the machine's. This one blocks others until an IRET: the handler in our IDT ends with one, and counts. */
	if ((info & INFO_TYPE) == INFO_TYPE_NMI) {
		__asm__ volatile("int $2" : : : "memory");
		return;
	}
	switch (info & INFO_VECTOR) {
	case VECTOR_DB:
		debug_exception(vcpu, info);
		break;
	case VECTOR_MC:
		panic("machine check while vm %s ran", vcpu->vm->config->name);
	default:
		vcpu_raise(vcpu, info & INFO_VECTOR, info & INFO_ERROR_CODE, vmread(VMCS_VM_EXIT_ERROR_CODE));
	}
}

/* Whom it concerns may want the VM's lock. "Acknowledge interrupt on exit" has told the vector and taken it from the local
   APIC. */
void exit_external_interrupt(struct vcpu *vcpu)
{
	unsigned vector = vmread(VMCS_VM_EXIT_INTERRUPTION_INFO) & INFO_VECTOR;

	lock_release(&vcpu->vm->lock);
	interrupt_serve(vector);
	lock_take(&vcpu->vm->lock);
}

void exit_triple_fault(struct vcpu *vcpu) { vm_stop(vcpu->vm, "triple fault: an exception came while #DF was delivered"); }

/* The window is open: vcpu_prepare_events() sees that, and closes it. */
void exit_interrupt_window(struct vcpu *vcpu) {}
void exit_nmi_window(struct vcpu *vcpu) {}

/* Time is looked at before each VM entry. */
void exit_preemption_timer(struct vcpu *vcpu) {}

void exit_hlt(struct vcpu *vcpu)
{
	vcpu_skip(vcpu);
	if (!vcpu_has_work(vcpu))
		vcpu->state = VCPU_HALTED;
}

/* It spins, for a lock that a vCPU may have which does not run: "PAUSE-loop exiting". */
void exit_pause(struct vcpu *vcpu)
{
	vcpu_skip(vcpu);
	vcpu->cpu->turn_over = true;
	vcpu->cpu->attention = true;
}

void exit_task_switch(struct vcpu *vcpu)
{
	static const char *const sources[] = {"CALL", "IRET", "JMP", "a task gate in the IDT"};
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);

	vm_stop(vcpu->vm, "task switch to TSS %x by %s: hardware tasks are not supported", (unsigned)(qualification & 0xffff),
		sources[qualification >> 30 & 3]);
}

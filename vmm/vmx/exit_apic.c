/*
 * VM exits of APIC virtualization: SDM vol. 3, "APIC-Access VM Exits", "APIC-Write Emulation", "TPR Virtualization", "EOI
 * Virtualization". The last three come after the instruction, so nothing is skipped.
 */
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "vmx/exit.h"

/* "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses" */
enum { LINEAR_READ, LINEAR_WRITE };

void exit_apic_access(struct vcpu *vcpu)
{
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	unsigned type = qualification >> 12 & 15;

	/* Code, a stack for events, or a paging structure there: no system does that. */
	if (type > LINEAR_WRITE)
		vm_stop(vcpu->vm, "vCPU %u: access of type %u to the local APIC's page", vcpu->index, type);
	else
		emulate_mmio(vcpu, APIC_ADDRESS + (qualification & 0xfff));
}

void exit_apic_write(struct vcpu *vcpu)
{
	unsigned offset = vmread(VMCS_EXIT_QUALIFICATION) & 0xfff;

	lapic_write(vcpu, offset, vcpu->apic.page[offset / 4]);
}

/* vcpu_prepare_events() finds what the lower TPR lets through. */
void exit_tpr_below(struct vcpu *vcpu) {}

void exit_eoi(struct vcpu *vcpu)
{
	ioapic_eoi(vcpu->vm, vmread(VMCS_EXIT_QUALIFICATION) & 0xff);
}

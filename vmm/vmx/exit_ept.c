/*
 * Guest-physical addresses that EPT does not map: SDM vol. 3, "EPT Violations", "EPT Misconfigurations". All of a guest's RAM
 * is mapped, so a violation is an access to a device, or to nothing.
 */
#include "lib/print.h"
#include "vmx/exit.h"

void exit_ept_violation(struct vcpu *vcpu)
{
	enum { FETCH = 1 << 2, LINEAR_VALID = 1 << 7, LINEAR_ACCESS = 1 << 8 };
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	gpa_t gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);

	if (vm_is_ram(vcpu->vm, gpa, 1))
		vm_stop(vcpu->vm, "it has RAM at %lx, but may not do what it did (qualification %lx)", gpa, qualification);
	else if (qualification & FETCH)
		vcpu_raise_ud(vcpu); /* what nobody answers reads as ones, and FFH FFH is no instruction */
	else if (!(qualification & LINEAR_VALID) || !(qualification & LINEAR_ACCESS))
		vm_stop(vcpu->vm, "its page tables are at %lx, where there is no RAM", gpa);
	else if (vcpu->event.info & BIT(31))
		vm_stop(vcpu->vm, "an event is delivered by way of %lx, where there is no RAM", gpa);
	else
		emulate_mmio(vcpu, gpa);
}

void exit_ept_misconfiguration(struct vcpu *vcpu)
{
	gpa_t gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
	uint64_t size, *entry = ept_entry(&vcpu->vm->ept, gpa, &size);

	vm_stop(vcpu->vm, "EPT misconfiguration at %lx: the entry is %lx", gpa, entry ? *entry : 0);
}

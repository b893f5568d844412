/*
 * APIC virtualization: the controls and VMCS fields of it. SDM vol. 3, "APIC Virtualization and Virtual Interrupts".
 *
 * With a TPR shadow the CPU lowers and raises the TPR by itself and exits when a pending interrupt could be delivered; with
 * APIC-register virtualization it answers reads; with virtual-interrupt delivery it also delivers interrupts and takes EOIs;
 * with posted interrupts another CPU can send one without a VM exit. What is missing is emulated: vmx/exit_apic.c,
 * vmx/inject.c.
 *
 * Not used: IPI virtualization. The notification for a vCPU that does not run would meet another one in its guest, and be lost
 * there.
 *
 * The APIC-access page is one for the whole VM, at the APIC's address after reset. A guest that moves its APIC or switches it
 * off loses the TPR shadow and all that depends on it: then each access to the page exits, and is seen for what it is.
 */
#include "vmx/apicv.h"

#include "cpu/interrupts.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

bool apicv_map(struct vm *vm)
{
	return !HAS(PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES) || !HAS(PROCBASED_CTLS, USE_TPR_SHADOW) ||
	       ept_map(&vm->ept, APIC_ADDRESS, pa_of(vm->apic_access_page), PAGE, EPT_READ | EPT_WRITE, MEMORY_WB);
}

void apicv_update(struct vcpu *vcpu)
{
	bool shadow = lapic_is_at(vcpu, APIC_ADDRESS) && HAS(PROCBASED_CTLS, USE_TPR_SHADOW);
	bool page = shadow && VCPU_HAS(vcpu, PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES);
	bool delivery = page && HAS(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY);

	vcpu_control(vcpu, WORD_PROCBASED_CTLS, CTL(PROCBASED_CTLS, USE_TPR_SHADOW), shadow);
	vcpu_control(vcpu, WORD_PROCBASED_CTLS,
		     CTL(PROCBASED_CTLS, CR8_LOAD_EXITING) | CTL(PROCBASED_CTLS, CR8_STORE_EXITING), !shadow);
	vcpu_control(vcpu, WORD_PROCBASED_CTLS2, CTL(PROCBASED_CTLS2, APIC_REGISTER_VIRTUALIZATION),
		     page && HAS(PROCBASED_CTLS2, APIC_REGISTER_VIRTUALIZATION));
	vcpu_control(vcpu, WORD_PROCBASED_CTLS2, CTL(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY), delivery);
	vcpu_control(vcpu, WORD_PINBASED_CTLS, CTL(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS),
		     delivery && HAS(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS));
	if (shadow)
		vmwrite(VMCS_TPR_THRESHOLD, 0);
	vcpu->apic.changed = true;
}

void apicv_reset(struct vcpu *vcpu)
{
	if (HAS(PROCBASED_CTLS, USE_TPR_SHADOW))
		vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, pa_of(vcpu->apic.page));
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, VIRTUALIZE_APIC_ACCESSES))
		vmwrite(VMCS_APIC_ACCESS_ADDRESS, pa_of(vcpu->vm->apic_access_page));
	if (HAS(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS)) {
		vmwrite(VMCS_POSTED_INTERRUPT_VECTOR, VECTOR_POSTED);
		vmwrite(VMCS_POSTED_INTERRUPT_DESCRIPTOR, pa_of(vcpu->apic.posted));
	}
	if (HAS(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY))
		vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0);
	apicv_update(vcpu);
}

/* "Guest Interrupt Status": RVI and SVI say again what IRR and ISR say, which the VMM may have changed. */
void apicv_set_status(struct vcpu *vcpu)
{
	static const enum vmcs_field bitmaps[] = {VMCS_EOI_EXIT_BITMAP0, VMCS_EOI_EXIT_BITMAP1, VMCS_EOI_EXIT_BITMAP2,
						  VMCS_EOI_EXIT_BITMAP3};
	const uint32_t *TMR = &vcpu->apic.page[4 * APIC_TMR];

	lapic_take_posted(vcpu);
	if (!vcpu->apic.changed)
		return;
	int RVI = lapic_highest(vcpu, APIC_IRR), SVI = lapic_highest(vcpu, APIC_ISR);

	vmwrite(VMCS_GUEST_INTERRUPT_STATUS, (uint64_t)(SVI > 0 ? SVI : 0) << 8 | (uint64_t)(RVI > 0 ? RVI : 0));
	/* The I/O APIC must be told of the EOI of a level-triggered interrupt. */
	for (unsigned i = 0; i < 4; i++)
		vmwrite(bitmaps[i], TMR[8 * i] | (uint64_t)TMR[8 * i + 4] << 32);
	vcpu->apic.changed = false;
}

/*
 * "TPR Threshold" of a vCPU without virtual-interrupt delivery: an interrupt that only the TPR holds back is due when the TPR
 * falls below its class. One that an interrupt in service holds back is due at the EOI, which exits.
 */
void apicv_set_threshold(struct vcpu *vcpu, int vector)
{
	int requested = vector < 0 ? lapic_highest(vcpu, APIC_IRR) : -1;
	uint64_t threshold = requested >= 0 && requested >> 4 > lapic_highest(vcpu, APIC_ISR) >> 4 ? (uint64_t)requested >> 4 : 0;

	if (vmread(VMCS_TPR_THRESHOLD) != threshold)
		vmwrite(VMCS_TPR_THRESHOLD, threshold);
}

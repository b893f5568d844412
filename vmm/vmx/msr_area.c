/*
 * IA32_EFER and IA32_PAT at VM entries and VM exits: by the "load IA32_..." controls, or, on a CPU that lacks them, by the
 * MSR-load areas: SDM vol. 3, "VM-Exit Controls for MSRs", "VM-Entry Controls for MSRs". Nothing is stored into areas: writes
 * to both are intercepted, so we know them. Only EFER.LMA changes by itself, with CR0.PG of an unrestricted guest: "save
 * IA32_EFER" keeps the field right, and loading an MSR ignores the bit.
 */
#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "vmx/msr_area.h"

enum { AREA_EFER, AREA_PAT, AREA_ENTRIES };

struct msr_area {
	struct {
		uint32_t index, reserved;
		uint64_t value;
	} entry_load[AREA_ENTRIES], exit_load[AREA_ENTRIES];
};

_Static_assert(sizeof(struct msr_area) <= PAGE, "it is one page");

/* Both areas have IA32_EFER first, even where only IA32_PAT needs them: it is the same value twice. */
void msr_area_init(struct vcpu *vcpu)
{
	struct msr_area *area = vcpu->msr_area;
	bool efer = VCPU_HAS(vcpu, ENTRY_CTLS, LOAD_EFER), pat = VCPU_HAS(vcpu, ENTRY_CTLS, LOAD_PAT);
	bool has_pat = rdmsr_safe(IA32_PAT, &area->exit_load[AREA_PAT].value);
	unsigned count = has_pat && !pat ? AREA_ENTRIES : !efer ? AREA_PAT : 0;

	area->entry_load[AREA_EFER].index = area->exit_load[AREA_EFER].index = IA32_EFER;
	area->entry_load[AREA_PAT].index = area->exit_load[AREA_PAT].index = IA32_PAT;
	area->exit_load[AREA_EFER].value = rdmsr(IA32_EFER);
	vmwrite(VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, pa_of(area->entry_load));
	vmwrite(VMCS_VM_EXIT_MSR_LOAD_ADDRESS, pa_of(area->exit_load));
	vmwrite(VMCS_VM_ENTRY_MSR_LOAD_COUNT, count);
	vmwrite(VMCS_VM_EXIT_MSR_LOAD_COUNT, count);
	if (efer)
		vmwrite(VMCS_HOST_EFER, rdmsr(IA32_EFER));
	if (pat)
		vmwrite(VMCS_HOST_PAT, rdmsr(IA32_PAT));
}

void msr_area_set_efer(struct vcpu *vcpu, uint64_t efer)
{
	struct msr_area *area = vcpu->msr_area;

	area->entry_load[AREA_EFER].value = efer;
	if (VCPU_HAS(vcpu, ENTRY_CTLS, LOAD_EFER))
		vmwrite(VMCS_GUEST_EFER, efer);
}

void msr_area_set_pat(struct vcpu *vcpu, uint64_t pat)
{
	struct msr_area *area = vcpu->msr_area;

	area->entry_load[AREA_PAT].value = pat;
	if (VCPU_HAS(vcpu, ENTRY_CTLS, LOAD_PAT))
		vmwrite(VMCS_GUEST_PAT, pat);
}

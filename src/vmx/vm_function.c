/*
 * VM functions: EPTP switching. SDM vol. 3, "VM Functions", "EPTP Switching".
 *
 * Which functions are enabled is asked of vmx_intercept(). Function 0 is the only one there is.
 */
#include "bus/bus.h"
#include "mem/mem.h"
#include "vmx/vmx.h"

#define EPTP_LIST_ENTRIES 512

/* The rules of VM entry for this field read nothing else of a VMCS. */
bool vmx_eptp_allowed(const struct vmx_capability *caps, uint64_t eptp)
{
	static const enum vmx_check rules[] = {VMX_CHECK_CTL_EPTP_MEMTYPE,  VMX_CHECK_CTL_EPTP_WALK,
					       VMX_CHECK_CTL_EPTP_AD,	    VMX_CHECK_CTL_EPTP_SSS,
					       VMX_CHECK_CTL_EPTP_RESERVED, VMX_CHECK_CTL_EPTP_WIDTH};
	struct vmx_check_result result = {0};
	struct vmcs v = {0};

	vmcs_set(&v, VM_PROCBASED_CTLS, PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	vmcs_set(&v, VM_PROCBASED_CTLS2, PROCBASED_CTLS2_ENABLE_EPT);
	vmcs_set(&v, EPTP, eptp);
	vmx_check_section(&(struct vmx_check_input){.vmcs = &v, .caps = caps}, VMX_SECTION_EXECUTION, &result);
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (vmx_check_in(result.broken, rules[i]))
			return false;
	return true;
}

bool vmx_switch_eptp(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	uint32_t index = (uint32_t)cpu->r[RCX];
	uint64_t eptp;

	if (index >= EPTP_LIST_ENTRIES)
		return false;
	eptp = bus_read(cpu->bus, vmcs_get(&vmx->vmcs, EPTP_LIST) + 8 * (uint64_t)index, 8, cpu->in_smm);
	/* Newer editions of the manual: the page-walk length may not change. */
	if (!vmx_eptp_allowed(vmx->caps, eptp) || bits_get(eptp ^ cpu->eptp, 5, 3))
		return false;
	vmcs_set(&vmx->vmcs, EPTP, eptp);
	vmx_put(vmx, EPTP_INDEX, index);
	cpu->eptp = eptp;
	/* Mappings are told apart by EPT pointer, but without VPIDs the manual lets none of VPID 0 stay. PDPTEs do. */
	if (!cpu->vpid)
		mem_flush_vpid(cpu, 0, false);
	mem_context_changed(cpu);
	return true;
}

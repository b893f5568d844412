/*
 * The capability MSRs, 480H to 493H, and what VMX operation fixes in CR0 and CR4: SDM vol. 3, appendix "VMX Capability
 * Reporting Facility", and "Restrictions on VMX Operation"; the two MSRs of the dual-monitor treatment: "Enabling the
 * Dual-Monitor Treatment", "Saving Guest State". IA32_FEATURE_CONTROL is among the CPU's own MSRs.
 */
#include "cpu/msr.h"
#include "vmx/vmx.h"

static bool capability_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	return cpu->vmx && vmx_capability_msr(cpu->vmx->caps, index, value);
}

static bool smm_monitor_ctl_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	if (!cpu->vmx || !vmx_may(cpu->vmx->caps, BASIC, DUAL_MONITOR))
		return false;
	*value = cpu->vmx->smm_monitor_ctl;
	return true;
}

/* In SMM alone. */
static bool smm_monitor_ctl_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx || !vmx_may(vmx->caps, BASIC, DUAL_MONITOR) || !cpu->in_smm)
		return false;
	if ((value & ~(SMM_MONITOR_CTL_VALID | SMM_MONITOR_CTL_VMXOFF | SMM_MONITOR_CTL_MSEG)) ||
	    ((value & SMM_MONITOR_CTL_VMXOFF) && !vmx_may(vmx->caps, MISC, VMXOFF_SMI)))
		return false;
	vmx->smm_monitor_ctl = value;
	return true;
}

static bool smbase_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = cpu->smbase;
	return cpu->vmx && vmx_may(cpu->vmx->caps, MISC, READ_SMBASE) && cpu->in_smm;
}

static bool read_only(struct cpu *cpu, uint32_t index, uint64_t value)
{
	return false;
}

void vmx_claim_msrs(struct msr_table *table)
{
	static const struct msr_ops ops = {capability_read, read_only};
	static const struct msr_ops smm_monitor_ctl = {smm_monitor_ctl_read, smm_monitor_ctl_write};
	static const struct msr_ops smbase = {smbase_read, read_only};

	msr_claim(table, VMX_FIRST_MSR, VMX_LAST_MSR, &ops);
	msr_claim(table, MSR_SMM_MONITOR_CTL, MSR_SMM_MONITOR_CTL, &smm_monitor_ctl);
	msr_claim(table, MSR_SMBASE, MSR_SMBASE, &smbase);
}

void vmx_load_perf_global_ctrl(struct cpu *cpu, uint64_t value)
{
	/* Most often it is there already. VM entry has checked the value: where it is refused, a snapshot was edited. */
	if (cpu->pmu.global_ctrl != value && !msr_write(cpu, MSR_PERF_GLOBAL_CTRL, value))
		log_line(cpu->log, LOG_MSR, "cpu %u: IA32_PERF_GLOBAL_CTRL cannot be %#llx", cpu->number,
			 (unsigned long long)value);
}

static bool is_fixed(uint64_t value, uint64_t fixed0, uint64_t fixed1)
{
	return !(~value & fixed0) && !(value & ~fixed1);
}

bool vmx_cr0_allowed(const struct cpu *cpu, uint64_t value)
{
	const struct vmx *vmx = cpu->vmx;
	uint64_t fixed0;

	if (!vmx || !vmx->on)
		return true;
	fixed0 = vmx->caps->cr0_fixed0;
	if (cpu->nonroot && vmx_proc2(vmx, UNRESTRICTED_GUEST))
		fixed0 &= ~(CR0_PE | CR0_PG);
	return is_fixed(value, fixed0, vmx->caps->cr0_fixed1);
}

/* In SMM under the default treatment VMXE is reserved: SDM vol. 3, "Protection of CR4.VMXE in SMM". */
bool vmx_cr4_allowed(const struct cpu *cpu, uint64_t value)
{
	const struct vmx *vmx = cpu->vmx;

	if (!vmx)
		return true;
	if (vmx->on)
		return is_fixed(value, vmx->caps->cr4_fixed0, vmx->caps->cr4_fixed1);
	return !cpu->in_smm || !(value & CR4_VMXE);
}

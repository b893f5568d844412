/*
 * Activation of the dual-monitor treatment: VMCALL in VMX root operation, its checks, and the state in which the
 * SMM-transfer monitor begins. SDM vol. 3, "Activating the Dual-Monitor Treatment"; the MSEG header is in "Enabling the
 * Dual-Monitor Treatment".
 *
 * TR is not mentioned there and stays as it is.
 */
#include "bus/bus.h"
#include "mem/mem.h"
#include "vmx/vmx.h"

/* Offsets in the MSEG header; each has 32 bits. */
enum mseg {
	MSEG_REVISION = 0,
	MSEG_FEATURES = 4,
	MSEG_GDTR_LIMIT = 8,
	MSEG_GDTR_BASE = 12,
	MSEG_CS = 16,
	MSEG_EIP = 20,
	MSEG_ESP = 24,
	MSEG_CR3 = 28,
};
#define FEATURE_IA32E BIT(0)

#define AR_MONITOR_CODE (AR_CODE | AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_G)
#define AR_MONITOR_DATA (AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_DB | AR_G)

static uint32_t base(const struct cpu *cpu)
{
	return (uint32_t)(cpu->vmx->smm_monitor_ctl & SMM_MONITOR_CTL_MSEG);
}

static uint32_t header(struct cpu *cpu, enum mseg offset)
{
	return (uint32_t)bus_read(cpu->bus, base(cpu) + (pa_t)offset, 4, true);
}

static bool features_valid(const struct cpu *cpu, uint32_t features)
{
	if (features & ~(uint32_t)FEATURE_IA32E)
		return false;
	return features & FEATURE_IA32E ? model_has(cpu->model, FEATURE_LM) : !cpu_64bit(cpu);
}

static bool exit_controls_valid(const struct vmx *vmx)
{
	struct vmx_check_result result = {0};
	struct vmx_check_input input = {.vmcs = &vmx->vmcs, .caps = vmx->caps};

	vmx_check_section(&input, VMX_SECTION_EXIT_CONTROLS, &result);
	return !vmx_check_in(result.broken, VMX_CHECK_CTL_EXIT_RESERVED) &&
	       !vmx_check_in(result.broken, VMX_CHECK_CTL_EXIT2_RESERVED);
}

/* "Initial Checks": the VMCS, then MSEG. */
static enum vmx_error check_activation(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;

	if (vmx->vmcs.launched)
		return VMX_ERROR_VMCALL_NOT_CLEAR;
	if (!exit_controls_valid(vmx))
		return VMX_ERROR_VMCALL_EXIT_CONTROLS;
	if (header(cpu, MSEG_REVISION) != VMX_MSEG_REVISION)
		return VMX_ERROR_VMCALL_MSEG_REVISION;
	if (!features_valid(cpu, header(cpu, MSEG_FEATURES)))
		return VMX_ERROR_VMCALL_MONITOR_FEATURES;
	return VMX_OK;
}

enum vmx_vmcall vmx_call_monitor(struct cpu *cpu, enum vmx_error *error)
{
	const struct vmx *vmx = cpu->vmx;

	*error = VMX_ERROR_VMCALL_IN_ROOT;
	if (cpu->in_smm || !vmx_may(vmx->caps, BASIC, DUAL_MONITOR) || !(vmx->smm_monitor_ctl & SMM_MONITOR_CTL_VALID))
		return VMX_VMCALL_FAIL;
	if (vmx->dual_monitor)
		return VMX_VMCALL_EXIT;
	if (!vmx_has_current(vmx))
		return VMX_VMCALL_FAIL_INVALID;
	*error = check_activation(cpu);
	return *error == VMX_OK ? VMX_VMCALL_EXIT : VMX_VMCALL_FAIL;
}

static uint16_t or_8(uint32_t selector)
{
	return (uint16_t)selector ? (uint16_t)selector : 8;
}

/* "Loading Host State" of SMM VM exits that activate the dual-monitor treatment. */
void vmx_start_monitor(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	uint32_t mseg = base(cpu), cr3 = header(cpu, MSEG_CR3);
	bool wide = header(cpu, MSEG_FEATURES) & FEATURE_IA32E;
	struct segment data = {.limit = UINT32_MAX, .ar = AR_MONITOR_DATA};
	uint16_t code = or_8(header(cpu, MSEG_CS) & 0xfff8);

	vmx->dual_monitor = true;
	cpu->cr0 = (cpu->cr0 & (CR0_CD | CR0_NW)) | CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
	cpu->cr3 = ((mseg + cr3) & BITS(31, 12)) | (cr3 & BITS(4, 3));
	cpu->cr4 &= ~(uint64_t)(CR4_MCE | CR4_PGE | CR4_CET | CR4_PCIDE | CR4_LA57 | CR4_PAE | CR4_PSE);
	cpu->cr4 |= wide ? CR4_PAE : model_has(cpu->model, FEATURE_PSE) ? CR4_PSE : 0;
	cpu->efer = (cpu->efer & ~(EFER_LME | EFER_LMA)) | (wide ? EFER_LME | EFER_LMA : 0);
	cpu->dr7 = DR7_1;
	cpu->debugctl = 0;

	data.selector = or_8(code + 8u);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = data;
	cpu->seg[CS] = (struct segment){
		.selector = code,
		.limit = UINT32_MAX,
		.ar = AR_MONITOR_CODE | (uint32_t)(wide ? AR_L : AR_DB),
	};
	cpu->seg[LDTR] = (struct segment){.ar = AR_UNUSABLE};
	cpu->cpl = 0;
	cpu->gdtr.base = mseg + header(cpu, MSEG_GDTR_BASE);
	cpu->gdtr.limit = (uint16_t)header(cpu, MSEG_GDTR_LIMIT);
	cpu->idtr.limit = 0;
	cpu->rip = mseg + header(cpu, MSEG_EIP);
	cpu->r[RSP] = mseg + header(cpu, MSEG_ESP);
	cpu_set_rflags(cpu, RFLAGS_1);
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->shadow = 0;
	cpu->pending_debug = 0;
	cpu->monitor_armed = false;
	mem_flush_all(cpu);
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
	cpu_attend(cpu, ATTEND_PINS);
}

/*
 * VM exit: record, save the guest, load the host; and VMX abort when that cannot be done. SDM vol. 3, "VM Exits", "VMX
 * Aborts".
 *
 * What SMM VM exits do beyond this is in dual_monitor.c.
 */
#include "bus/bus.h"
#include "mem/mem.h"
#include "vmx/interruption.h"
#include "vmx/report.h"

static bool is_software(uint32_t info)
{
	return bits_get(info, 10, 8) >= INTERRUPTION_SOFTWARE &&
	       bits_get(info, 10, 8) <= INTERRUPTION_SOFTWARE_EXCEPTION;
}

static void record(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	const struct vmx_exit_record *exit = &vmx->exit;
	struct vmcs *v = &vmx->vmcs;
	uint32_t length = exit->instruction_length;

	if (!length && (vmx->vectoring & INTERRUPTION_VALID) && is_software(vmx->vectoring))
		length = vmx->vectoring_length;
	vmcs_set(v, EXIT_REASON, exit->reason);
	vmcs_set(v, EXIT_QUALIFICATION, exit->qualification);
	vmcs_set(v, GUEST_LINEAR_ADDRESS, exit->linear);
	vmx_put(vmx, GUEST_PHYSICAL_ADDRESS, exit->physical);
	vmcs_set(v, VM_EXIT_INTERRUPTION_INFO, exit->interruption);
	vmcs_set(v, VM_EXIT_ERROR_CODE, exit->interruption_error);
	vmcs_set(v, IDT_VECTORING_INFO, vmx->vectoring);
	vmcs_set(v, IDT_VECTORING_ERROR_CODE, vmx->vectoring_error);
	vmcs_set(v, VM_EXIT_INSTRUCTION_LENGTH, length);
	vmcs_set(v, VM_EXIT_INSTRUCTION_INFO, exit->instruction_info);
	vmcs_set(v, VM_ENTRY_INTERRUPTION_INFO,
		 vmcs_get(v, VM_ENTRY_INTERRUPTION_INFO) & ~(uint64_t)INTERRUPTION_VALID);
	if (vmx_may(vmx->caps, MISC, STORE_LMA)) {
		if (cpu_long_mode(cpu))
			vmcs_set_bit(v, VM, ENTRY_CTLS, IA32E_MODE_GUEST);
		else
			vmcs_clear_bit(v, VM, ENTRY_CTLS, IA32E_MODE_GUEST);
	}
}

/* The region's data is not written back, and only a reset leaves this shutdown. entry: of a list of MSRs, or 0. */
static bool abort_vmx(struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
	struct vmx *vmx = cpu->vmx;

	if (cpu->reporter)
		cpu->reporter->aborts(cpu->reporter->ctx, cpu, why, entry);
	bus_write(cpu->bus, vmx->current + VMCS_REGION_ABORT, 4, why, cpu->in_smm);
	vmx->aborted = true;
	cpu_shutdown(cpu, "VMX abort");
	return false;
}

bool vmx_leave(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	const struct vmcs *v = &vmx->vmcs;
	uint32_t failed;

	if (!vmx_load_host(cpu))
		return abort_vmx(cpu, VMX_ABORT_HOST_PDPTE, 0);
	failed = vmx_msr_list_load(cpu, vmcs_get(v, VM_EXIT_MSR_LOAD_ADDRESS),
				   (uint32_t)vmcs_get(v, VM_EXIT_MSR_LOAD_COUNT));
	if (failed)
		return abort_vmx(cpu, VMX_ABORT_LOAD_MSR, failed);
	return true;
}

/* In root operation there are no others. */
static bool is_smm_exit(const struct cpu *cpu)
{
	uint32_t reason = cpu->vmx->exit.reason;

	return !cpu->nonroot || reason == VMX_EXIT_IO_SMI || reason == VMX_EXIT_OTHER_SMI;
}

/* SDM vol. 3, "SMM VM Exits": "Updating State". */
static void enter_smm(struct cpu *cpu)
{
	cpu->nmi_blocked = true;
	mem_flush_vpid(cpu, 0, false);
	if (cpu->event)
		cpu->event(cpu, CPU_SMI_ENTERED);
}

/*
 * VM entry has checked what a VM exit loads, while the VMCS stays with the processor. An SMM-transfer VMCS has been in
 * memory since, and so has the VMCS of a guest to which an entry from SMM returned: anybody may have written there. SDM
 * vol. 3, "VMX Aborts": corrupted through writes to the VMCS region.
 */
static bool is_corrupted(const struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	/* The rules about the mode at entry say nothing here; smm: nor that of a timer which another VMCS has. */
	struct vmx_check_cpu about = {.lma = vmx_on_exit(vmx, HOST_ADDRESS_SPACE_SIZE), .smm = true};
	struct vmx_check_input input = {.vmcs = &vmx->vmcs, .caps = vmx->caps, .cpu = &about};
	struct vmx_check_result result = {0};

	if (likely(!(vmx->vmcs.written & (IN_EXIT | IN_HOST))))
		return false;
	vmx_check_section(&input, VMX_SECTION_EXIT_CONTROLS, &result);
	vmx_check_group(&input, VMX_GROUP_HOST, &result);
	return result.first != VMX_CHECK_OK;
}

bool vmx_perform_exit(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	const struct vmcs *v = &vmx->vmcs;
	bool nmi = vmx->exit.reason == VMX_EXIT_EXCEPTION_NMI &&
		   bits_get(vmx->exit.interruption, 10, 8) == INTERRUPTION_NMI;
	uint32_t failed;
	bool lma = cpu_long_mode(cpu), smm_exit = is_smm_exit(cpu), narrows;

	if (vmx->exit.reason < ARRAY_SIZE(vmx->exits))
		vmx->exits[vmx->exit.reason]++;
	if (vmx_reports_transitions(cpu))
		cpu->reporter->exits(cpu->reporter->ctx, cpu);
	if (smm_exit)
		vmx_begin_smm_exit(cpu);
	record(cpu);
	vmx_save_guest(cpu);
	if (smm_exit)
		vmx_end_smm_save(cpu);
	vmx->vectoring = vmx->vectoring_error = vmx->vectoring_length = 0;
	vmx->exit = (struct vmx_exit_record){0};
	vmx->mtf_pending = vmx->mtf_armed = false;
	if (smm_exit) {
		enter_smm(cpu);
		if (!vmx->dual_monitor) {
			vmx_start_monitor(cpu);
			return true;
		}
	}
	narrows = lma && !vmx_on_exit(vmx, HOST_ADDRESS_SPACE_SIZE);
	if (!narrows && is_corrupted(cpu))
		return abort_vmx(cpu, VMX_ABORT_CORRUPTED, 0);
	failed = vmx_msr_list_save(cpu, vmcs_get(v, VM_EXIT_MSR_STORE_ADDRESS),
				   (uint32_t)vmcs_get(v, VM_EXIT_MSR_STORE_COUNT));
	if (failed)
		return abort_vmx(cpu, VMX_ABORT_SAVE_MSR, failed);
	if (narrows)
		return abort_vmx(cpu, VMX_ABORT_ADDRESS_SIZE, 0);
	if (nmi)
		cpu->nmi_blocked = true;
	return vmx_leave(cpu);
}

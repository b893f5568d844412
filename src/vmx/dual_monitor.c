/*
 * SMM VM exits, and VM entries that return from SMM: what they do beyond other VM exits and entries. SDM vol. 3,
 * "Dual-Monitor Treatment of SMIs and SMM". Activation is mseg.c.
 *
 * The guest-state area, exit controls and host state of these are those of one VMCS, the SMM-transfer VMCS, and the
 * VM-execution controls those of another, the executive VMCS, or none in VMX root operation. Meanwhile they stand in
 * the SMM-transfer VMCS, so that saving and loading a guest need not know.
 *
 * The manual says where a return to root operation takes the current-VMCS pointer from, the VMCS link pointer, but not
 * that the SMM VM exit put it there. Monitors that return as they came rely on it, so it does. From non-root operation
 * the field is guest state like any other.
 *
 * Not modelled: SMX. After deactivation SMIs are never blocked.
 */
#include "bus/bus.h"
#include "mem/mem.h"
#include "vmx/intercept.h"

#define NO_VMCS		   (~UINT64_C(0))
#define REASON_MTF_PENDING BIT(28)
#define REASON_FROM_ROOT   BIT(29)
#define BLOCKING_BY_SMI	   BIT(2)

void vmx_note_io_smi(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx->dual_monitor || vmx->smi_blocked)
		return;
	vmx->io_smi = (struct vmx_io_smi){
		.valid = true,
		.qualification = vmx_qualification(cpu, cpu->insn, VMX_EXIT_IO_INSTRUCTION, 0),
		.linear = vmx_exit_linear(cpu, cpu->insn, VMX_EXIT_IO_INSTRUCTION),
		.rcx = cpu->r[RCX],
		.rsi = cpu->r[RSI],
		.rdi = cpu->r[RDI],
		.rip = cpu->insn_rip,
	};
}

void vmx_exit_smi(struct cpu *cpu)
{
	const struct vmx_io_smi *io = &cpu->vmx->io_smi;

	vmx_exit_plain(cpu, io->valid ? VMX_EXIT_IO_SMI : VMX_EXIT_OTHER_SMI);
	if (io->valid) {
		cpu->vmx->exit.qualification = io->qualification;
		cpu->vmx->exit.linear = io->linear;
	}
}

/* The fields of "VM-Execution Control Fields". */
static bool is_execution_control(enum vmcs_field field)
{
	if (vmcs_field_type(field) != VMCS_TYPE_CONTROL)
		return false;
	switch (field) {
	case VMCS_EXECUTIVE_VMCS_POINTER: /* it is one, but of the SMM-transfer VMCS */
	case VMCS_VM_EXIT_CTLS:
	case VMCS_VM_EXIT_CTLS2:
	case VMCS_VM_EXIT_MSR_STORE_COUNT:
	case VMCS_VM_EXIT_MSR_STORE_ADDRESS:
	case VMCS_VM_EXIT_MSR_LOAD_COUNT:
	case VMCS_VM_EXIT_MSR_LOAD_ADDRESS:
	case VMCS_VM_ENTRY_CTLS:
	case VMCS_VM_ENTRY_MSR_LOAD_COUNT:
	case VMCS_VM_ENTRY_MSR_LOAD_ADDRESS:
	case VMCS_VM_ENTRY_INTERRUPTION_INFO:
	case VMCS_VM_ENTRY_ERROR_CODE:
	case VMCS_VM_ENTRY_INSTRUCTION_LENGTH: return false;
	default: return true;
	}
}

static void swap_execution_controls(struct vmx *vmx)
{
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++) {
		uint64_t value = vmx->vmcs.field[i];

		if (!is_execution_control((enum vmcs_field)i))
			continue;
		vmx->vmcs.field[i] = vmx->executive.field[i];
		vmx->executive.field[i] = value;
	}
	vmx->vmcs.written = IN_ALL;
}

/* "Updating the Current-VMCS and Executive-VMCS Pointers". */
void vmx_begin_smm_exit(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	uint64_t executive = vmx->vmxon_pointer, link = vmx->current;
	uint64_t status = vmcs_get(&vmx->vmcs, GUEST_INTERRUPT_STATUS); /* RVI and SVI, which are nowhere else */
	uint32_t reason = REASON_FROM_ROOT;

	vmx->executive = (struct vmcs){0};
	if (cpu->nonroot) {
		executive = vmx->current;
		link = vmcs_get(&vmx->vmcs, VMCS_LINK_POINTER);
		reason = vmx->mtf_pending ? REASON_MTF_PENDING : 0;
		if (vmx_proc2(vmx, ENABLE_PML))
			vmcs_set(&vmx->vmcs, PML_INDEX, cpu->pml_index);
		vmx->executive = vmx->vmcs;
	}
	vmx->exit.reason |= reason;
	if (!vmx->dual_monitor)
		vmx->transfer = vmx->current;
	vmx_flush_current(cpu);
	cpu->in_smm = true;
	vmx_make_current(cpu, vmx->transfer);
	vmcs_set(&vmx->vmcs, EXECUTIVE_VMCS_POINTER, executive);
	vmcs_set(&vmx->vmcs, VMCS_LINK_POINTER, link);
	if (cpu->nonroot)
		vmx_put(vmx, GUEST_INTERRUPT_STATUS, status);
	swap_execution_controls(vmx);
}

/* "Recording VM-Exit Information", "Saving Guest State": what other VM exits have not. */
void vmx_end_smm_save(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	struct vmcs *v = &vmx->vmcs;
	uint64_t blocking = vmcs_get(v, GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKING_BY_SMI;

	swap_execution_controls(vmx);
	vmcs_set(v, GUEST_SMBASE, cpu->smbase);
	vmcs_set(v, GUEST_INTERRUPTIBILITY, blocking | (vmx->smi_blocked ? BLOCKING_BY_SMI : 0));
	if (vmx->io_smi.valid) {
		vmcs_set(v, IO_RCX, vmx->io_smi.rcx);
		vmcs_set(v, IO_RSI, vmx->io_smi.rsi);
		vmcs_set(v, IO_RDI, vmx->io_smi.rdi);
		vmcs_set(v, IO_RIP, vmx->io_smi.rip);
	}
	vmx->io_smi = (struct vmx_io_smi){0};
	vmx->smi_blocked = false; /* by this; SMM blocks them */
}

bool vmx_returns_from_smm(const struct cpu *cpu)
{
	return cpu->in_smm && !vmx_on_entry(cpu->vmx, ENTRY_TO_SMM);
}

bool vmx_returns_to_root(const struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;

	return vmx_returns_from_smm(cpu) && vmcs_get(&vmx->vmcs, EXECUTIVE_VMCS_POINTER) == vmx->vmxon_pointer;
}

bool vmx_read_executive(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	pa_t region = vmcs_get(&vmx->vmcs, EXECUTIVE_VMCS_POINTER);

	vmx->executive = (struct vmcs){0};
	if (vmx_returns_to_root(cpu) || !vmx_is_region(vmx, region) || vmx_region_revision(cpu, region) != VMX_REVISION)
		return false;
	/* It may be the current VMCS itself. */
	vmx_flush_current(cpu);
	vmx_read_region(cpu, region, &vmx->executive);
	return true;
}

void vmx_begin_smm_return(struct cpu *cpu)
{
	swap_execution_controls(cpu->vmx);
}

void vmx_abandon_smm_return(struct cpu *cpu)
{
	swap_execution_controls(cpu->vmx);
}

/* "Updating the Current-VMCS and SMM-Transfer VMCS Pointers", "SMI Blocking", "Deactivating the Dual-Monitor
 * Treatment". */
void vmx_finish_smm_return(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	struct vmcs *v = &vmx->vmcs;
	pa_t executive = vmcs_get(v, EXECUTIVE_VMCS_POINTER), link = vmcs_get(v, VMCS_LINK_POINTER);
	uint64_t status = vmcs_get(v, GUEST_INTERRUPT_STATUS);
	bool to_root = vmx_returns_to_root(cpu);

	swap_execution_controls(vmx);
	cpu->smbase = (uint32_t)vmcs_get(v, GUEST_SMBASE);
	vmx->smi_blocked = vmcs_get(v, GUEST_INTERRUPTIBILITY) & BLOCKING_BY_SMI;
	vmx->transfer = vmx->current;
	if (vmx_on_entry(vmx, DEACTIVATE_DUAL_MONITOR)) {
		vmx->smi_blocked = false;
		vmx->dual_monitor = false;
		vmx->transfer = NO_VMCS;
	}
	vmx_flush_current(cpu);
	cpu->in_smm = false;
	if (to_root) {
		vmx_make_current(cpu, link);
	} else {
		vmx->vmcs = vmx->executive;
		vmx->current = executive;
		vmx_put(vmx, GUEST_INTERRUPT_STATUS, status);
	}
	mem_flush_all(cpu);
	mem_context_changed(cpu);
	if (cpu->event)
		cpu->event(cpu, CPU_SMI_LEFT);
}

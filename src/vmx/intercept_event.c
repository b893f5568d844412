/*
 * Which events exit, and what those exits record. SDM vol. 3, "Other Causes of VM Exits", "Information for VM Exits Due
 * to Vectored Events", "Changes to Event Blocking", "Other Changes in VMX Non-Root Operation".
 *
 * Priority among events at an instruction boundary is exec/event.c's.
 */
#include "vmx/intercept.h"

#define NMI_UNBLOCKING BIT(12) /* of the interruption information: by IRET */

static bool pin(const struct cpu *cpu, uint64_t control)
{
	return vmcs_get(&cpu->vmx->vmcs, VM_PINBASED_CTLS) & control;
}

/* #PF: the error code's masked bits decide whether bit 14 of the bitmap means what it says or the opposite. */
bool vmx_intercepts_exception(const struct cpu *cpu, unsigned vector, uint32_t error)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	bool bit = vmcs_get(v, EXCEPTION_BITMAP) >> (vector & 31) & 1;

	if (vector == VECTOR_PF &&
	    (error & vmcs_get(v, PAGE_FAULT_ERROR_CODE_MASK)) != vmcs_get(v, PAGE_FAULT_ERROR_CODE_MATCH))
		return !bit;
	return bit;
}

void vmx_exit_plain(struct cpu *cpu, enum vmx_exit reason)
{
	cpu->vmx->exit = (struct vmx_exit_record){.reason = reason};
}

void vmx_exit_triple_fault(struct cpu *cpu)
{
	vmx_exit_plain(cpu, VMX_EXIT_TRIPLE_FAULT);
}

void vmx_exit_sipi(struct cpu *cpu, uint8_t vector)
{
	cpu->vmx->exit = (struct vmx_exit_record){.reason = VMX_EXIT_SIPI, .qualification = vector};
}

/* In real mode no error code is delivered, and none is recorded. CR2 and DR6 stay as they are: exit instead of
 * delivery. */
void vmx_exit_exception(struct cpu *cpu, enum interruption_type type, const struct fault *fault, unsigned length,
			bool unblocked)
{
	bool has_error = fault->has_error && cpu_protected(cpu);
	struct vmx_exit_record exit = {
		.reason = VMX_EXIT_EXCEPTION_NMI,
		.interruption = (uint32_t)(fault->vector | (unsigned)type << 8 | INTERRUPTION_VALID),
		.interruption_error = has_error ? fault->error : 0,
		.instruction_length = length,
	};

	if (has_error)
		exit.interruption |= INTERRUPTION_ERROR_CODE;
	if (unblocked)
		exit.interruption |= NMI_UNBLOCKING;
	if (fault->vector == VECTOR_PF)
		exit.qualification = fault->address;
	if (fault->vector == VECTOR_DB && type == INTERRUPTION_HARDWARE_EXCEPTION)
		exit.qualification = vmx_qualify_debug(fault->dr6);
	cpu->vmx->exit = exit;
}

void vmx_exit_nmi(struct cpu *cpu)
{
	vmx_exit_exception(cpu, INTERRUPTION_NMI, &(struct fault){.vector = VECTOR_NMI}, 0, false);
}

bool vmx_intercepts_interrupt(const struct cpu *cpu)
{
	return pin(cpu, PINBASED_CTLS_EXTERNAL_INTERRUPT_EXITING);
}

bool vmx_acknowledges(const struct cpu *cpu)
{
	return vmcs_has(&cpu->vmx->vmcs, VM, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT);
}

void vmx_exit_interrupt(struct cpu *cpu, int vector)
{
	vmx_exit_plain(cpu, VMX_EXIT_EXTERNAL_INTERRUPT);
	if (vector >= 0)
		cpu->vmx->exit.interruption =
			(uint32_t)((uint8_t)vector | INTERRUPTION_EXTERNAL << 8 | INTERRUPTION_VALID);
}

bool vmx_intercepts_nmi(const struct cpu *cpu)
{
	return pin(cpu, PINBASED_CTLS_NMI_EXITING);
}

void vmx_iret(struct cpu *cpu)
{
	if (pin(cpu, PINBASED_CTLS_VIRTUAL_NMIS))
		cpu->vmx->virtual_nmi_blocked = false;
	else if (!pin(cpu, PINBASED_CTLS_NMI_EXITING))
		cpu->nmi_blocked = false;
}

bool vmx_nmi_blocked(const struct cpu *cpu)
{
	return pin(cpu, PINBASED_CTLS_VIRTUAL_NMIS) ? cpu->vmx->virtual_nmi_blocked : cpu->nmi_blocked;
}

void vmx_exit_task_switch(struct cpu *cpu, uint16_t selector, enum vmx_task_source source, unsigned length)
{
	cpu->vmx->exit = (struct vmx_exit_record){
		.reason = VMX_EXIT_TASK_SWITCH,
		.qualification = vmx_qualify_task_switch(selector, source),
		.instruction_length = length,
	};
}

/* Instructions in VMX non-root operation: from vmx/'s verdict to an engine's step. SDM vol. 3, "VMX Non-Root
 * Operation". */
#include "exec/nonroot.h"
#include "vmx/intercept.h"

enum step nonroot_exit(struct cpu *cpu)
{
	cpu->fault = (struct fault){.kind = FAULT_VM_EXIT};
	return STEP_FAULT;
}

enum step nonroot_intercept(struct cpu *cpu, const struct insn *insn, uint64_t operand)
{
	switch (vmx_intercept(cpu, insn, operand)) {
	case VMX_EXITS: return nonroot_exit(cpu);
	case VMX_UNDEFINED: return exec_undefined(cpu, insn);
	default: return STEP_NEXT;
	}
}

bool nonroot_window(const struct cpu *cpu)
{
	return vmx_interrupt_window(cpu) || vmx_nmi_window(cpu);
}

bool nonroot_disabled(const struct cpu *cpu, const struct insn *insn)
{
	return vmx_disabled(cpu, insn->form);
}

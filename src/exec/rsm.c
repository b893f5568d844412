/* RSM: back from system-management mode. SDM vol. 3, "Exiting From SMM". What is restored is smm/'s. */
#include "exec/entries.h"
#include "exec/protect.h"
#include "smm/smm.h"
#include "vmx/intercept.h"

static enum step exec_rsm(struct cpu *cpu, const struct insn *insn)
{
	if (!cpu->in_smm)
		return raise_fault(cpu, VECTOR_UD);
	/* In VMX operation in SMM the dual-monitor treatment is active: SDM vol. 3, "Operation of the SMM-Transfer
	 * Monitor". */
	if (cpu->nonroot && vmx_intercept(cpu, insn, 0) == VMX_EXITS) {
		cpu->fault = (struct fault){.kind = FAULT_VM_EXIT};
		return STEP_FAULT;
	}
	if (cpu->vmx && cpu->vmx->on)
		return raise_fault(cpu, VECTOR_UD);
	if (!smm_leave(cpu)) {
		cpu_shutdown(cpu, "RSM with invalid state");
		return STEP_LEAVE;
	}
	if (cpu->event)
		cpu->event(cpu, CPU_SMI_LEFT);
	exec_recheck_events(cpu);
	return STEP_LEAVE;
}

const struct exec_entry exec_rsm_entries[] = {
	ENTRY(RSM, exec_rsm),
	{0},
};

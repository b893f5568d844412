/* RSM: back from system-management mode. SDM vol. 3, "Exiting From SMM". What is restored is smm/'s. */
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"
#include "smm/smm.h"
#include "vmx/vmx.h"

static enum step exec_rsm(struct cpu *cpu, const struct insn *insn)
{
	enum step step;

	if (!cpu->in_smm)
		return raise_fault(cpu, VECTOR_UD);
	/* In VMX operation in SMM the dual-monitor treatment is active: SDM vol. 3, "Operation of the SMM-Transfer
	 * Monitor". */
	if ((step = intercept(cpu, insn)))
		return step;
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

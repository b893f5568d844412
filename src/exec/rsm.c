/* RSM: back from system-management mode. SDM vol. 3, "Exiting From SMM". What is restored is smm/'s. */
#include "exec/entries.h"
#include "exec/protect.h"
#include "smm/smm.h"

static enum step exec_rsm(struct cpu *cpu, const struct insn *insn)
{
	if (!cpu->in_smm)
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

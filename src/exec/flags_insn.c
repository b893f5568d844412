/*
 * RFLAGS where privilege counts: CLI and STI with virtual interrupts, CLAC, STAC; what POPF and IRET may change; HLT.
 * Arithmetic flags and DF: flagop.c.
 *
 * SDM vol. 3, "Protected-Mode Virtual Interrupts" and "Class 3 Methods" for VME and PVI; vol. 2 for each instruction.
 */
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"

void exec_recheck_events(struct cpu *cpu)
{
	if (cpu->pins || (unlikely(cpu->nonroot) && nonroot_window(cpu)))
		cpu_attend(cpu, ATTEND_PINS);
	if ((cpu->rflags & RFLAGS_TF) || (cpu->rflags & RFLAGS_VIF && cpu->rflags & RFLAGS_VIP))
		cpu_attend(cpu, ATTEND_TRAP);
}

uint64_t rflags_loadable(const struct cpu *cpu, unsigned size)
{
	uint64_t mask = RFLAGS_ARITH | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (cpu->cpl <= cpu_iopl(cpu))
		mask |= RFLAGS_IF;
	if (cpu->cpl == 0)
		mask |= RFLAGS_IOPL;
	if (size > 2)
		mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID | (cpu->cpl == 0 ? RFLAGS_VIF | RFLAGS_VIP : 0);
	return mask;
}

void rflags_load(struct cpu *cpu, uint64_t value, uint64_t mask)
{
	uint64_t old = cpu_rflags(cpu), flags;

	mask &= RFLAGS_DEFINED; /* images have anything in the reserved bits */
	flags = (old & ~mask) | (value & mask);
	cpu_set_rflags(cpu, flags);
	if ((old ^ flags) & RFLAGS_AC)
		mem_privilege_changed(cpu);
	if (flags & mask &
	    RFLAGS_RF) { /* for one instruction: SDM vol. 3, "Instruction-Breakpoint Exception Condition" */
		cpu->shadow |= SHADOW_RF << SHADOW_NEXT;
		cpu_attend(cpu, ATTEND_SHADOW);
	}
	exec_recheck_events(cpu);
}

/* CLI and STI act on IF, on VIF, or fault: SDM vol. 2, "CLI" and "STI", decision tables. */
enum interrupt_flag { FLAG_IF, FLAG_VIF, FLAG_FORBIDDEN };

static enum interrupt_flag which_flag(const struct cpu *cpu)
{
	if (cpu->cpl <= cpu_iopl(cpu)) /* CPL is 0 in real mode and 3 in V86 */
		return FLAG_IF;
	if (cpu_v86(cpu) ? cpu->cr4 & CR4_VME : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI))
		return FLAG_VIF;
	return FLAG_FORBIDDEN;
}

static enum step exec_cli(struct cpu *cpu, const struct insn *insn)
{
	switch (which_flag(cpu)) {
	case FLAG_IF: cpu->rflags &= ~RFLAGS_IF; return STEP_NEXT;
	case FLAG_VIF: cpu->rflags &= ~RFLAGS_VIF; return STEP_NEXT;
	default: return raise_gp0(cpu);
	}
}

static enum step exec_sti(struct cpu *cpu, const struct insn *insn)
{
	switch (which_flag(cpu)) {
	case FLAG_IF:
		if (cpu->rflags & RFLAGS_IF)
			return STEP_NEXT;
		cpu->rflags |= RFLAGS_IF;
		cpu->shadow |= SHADOW_STI << SHADOW_NEXT;
		cpu_attend(cpu, ATTEND_SHADOW);
		return STEP_LEAVE;
	case FLAG_VIF:
		if (cpu->rflags & RFLAGS_VIP)
			return raise_gp0(cpu);
		cpu->rflags |= RFLAGS_VIF;
		return STEP_NEXT;
	default: return raise_gp0(cpu);
	}
}

static enum step exec_clac_stac(struct cpu *cpu, const struct insn *insn)
{
	if (!model_has(cpu->model, FEATURE_SMAP) || cpu->cpl > 0)
		return raise_fault(cpu, VECTOR_UD);
	if (insn->form->operation == ZYDIS_MNEMONIC_STAC)
		cpu->rflags |= RFLAGS_AC;
	else
		cpu->rflags &= ~RFLAGS_AC;
	mem_privilege_changed(cpu);
	return STEP_LEAVE;
}

static enum step exec_hlt(struct cpu *cpu, const struct insn *insn)
{
	enum step step;

	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	cpu->activity = ACTIVITY_HLT;
	exec_recheck_events(cpu);
	return STEP_LEAVE;
}

const struct exec_entry exec_flags_insn_entries[] = {
	ENTRY(CLI, exec_cli),	     ENTRY(STI, exec_sti), ENTRY(CLAC, exec_clac_stac),
	ENTRY(STAC, exec_clac_stac), ENTRY(HLT, exec_hlt), {0},
};

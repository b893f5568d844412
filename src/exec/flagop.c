/*
 * Instructions on single flags: CLC, STC, CMC, CLD, STD, LAHF, SAHF, SALC: SDM vol. 2. IF, AC and whole RFLAGS are
 * elsewhere.
 */
#include "exec/integer.h"

static enum step clc(struct cpu *cpu, const struct insn *insn)
{
	set_some(cpu, RFLAGS_CF, 0);
	return STEP_NEXT;
}

static enum step stc(struct cpu *cpu, const struct insn *insn)
{
	set_some(cpu, RFLAGS_CF, RFLAGS_CF);
	return STEP_NEXT;
}

static enum step cmc(struct cpu *cpu, const struct insn *insn)
{
	cc_set_exact(cpu, cc_flags(&cpu->cc) ^ RFLAGS_CF);
	return STEP_NEXT;
}

static enum step cld(struct cpu *cpu, const struct insn *insn)
{
	cpu->rflags &= ~RFLAGS_DF;
	return STEP_NEXT;
}

static enum step std(struct cpu *cpu, const struct insn *insn)
{
	cpu->rflags |= RFLAGS_DF;
	return STEP_NEXT;
}

static bool offered(const struct cpu *cpu)
{
	return (cpu->mode & MODE_CODE) != MODE_CODE64 || model_has(cpu->model, FEATURE_LAHF_LM);
}

#define LOW_FLAGS (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF)

static enum step lahf(struct cpu *cpu, const struct insn *insn)
{
	if (!offered(cpu))
		return exec_undefined(cpu, insn);
	reg_set(cpu, 8 * RAX + 1, 1, (cc_flags(&cpu->cc) & LOW_FLAGS) | RFLAGS_1);
	return STEP_NEXT;
}

static enum step sahf(struct cpu *cpu, const struct insn *insn)
{
	if (!offered(cpu))
		return exec_undefined(cpu, insn);
	set_some(cpu, LOW_FLAGS, reg_get(cpu, 8 * RAX + 1, 1));
	return STEP_NEXT;
}

/* Not in the manual, but in every processor outside 64-bit mode: AL = CF ? FFH : 0. */
static enum step salc(struct cpu *cpu, const struct insn *insn)
{
	reg_set(cpu, RAX, 1, cc_carry(&cpu->cc) ? 0xff : 0);
	return STEP_NEXT;
}

const struct exec_entry exec_flagop_entries[] = {
	ENTRY(CLC, clc),   ENTRY(STC, stc),   ENTRY(CMC, cmc),
	ENTRY(CLD, cld),   ENTRY(STD, std),   ENTRY(LAHF, lahf),
	ENTRY(SAHF, sahf), ENTRY(SALC, salc), {0},
};

/*
 * Handlers: PUSH and POP of registers and immediates, LEAVE, in 64-bit mode with a 64-bit operand. Other widths and modes go to exec/stack.c. SDM vol. 2.
 */
#include "interp/op.h"

#define PUSH(value)                                                                                                    \
	{                                                                                                              \
		la_t la_ = cpu->r[RSP] - 8;                                                                            \
		STORE(u64, la_, value)                                                                                 \
		cpu->r[RSP] = la_;                                                                                     \
		NEXT(cpu, insn);                                                                                       \
	}

HANDLER(push_r)
{
	PUSH(cpu->r[insn->rm])
}

HANDLER(push_i)
{
	PUSH(insn->imm)
}

HANDLER(push_m)
{
	ADDRESS(la)
	LOAD(u64, pushed, la)
	PUSH(pushed)
}

HANDLER(pop_r)
{
	la_t la = cpu->r[RSP];
	LOAD(u64, value, la)
	cpu->r[RSP] = la + 8;
	cpu->r[insn->rm] = value; /* POP RSP: the value wins */
	NEXT(cpu, insn);
}

HANDLER(leave)
{
	la_t la = cpu->r[RBP];
	LOAD(u64, value, la)
	cpu->r[RSP] = la + 8;
	cpu->r[RBP] = value;
	NEXT(cpu, insn);
}

insn_fn *stack_handler(const struct insn *insn, uint32_t mode)
{
	const struct form_operand *operand = &insn->form->operand[0];
	bool gpr = operand->kind == OPERAND_REG && operand->class == ZYDIS_REGCLASS_GPR64;

	if ((mode & MODE_CODE) != MODE_CODE64 || insn->size != 8)
		return NULL;
	switch (insn->form->operation) {
	case ZYDIS_MNEMONIC_PUSH:
		return gpr ? push_r : operand->kind == OPERAND_IMM ? push_i : operand->kind == OPERAND_MEM ? push_m : NULL;
	case ZYDIS_MNEMONIC_POP: return gpr ? pop_r : NULL;
	case ZYDIS_MNEMONIC_LEAVE: return leave;
	default: return NULL;
	}
}

/*
 * Handlers: PUSH and POP of registers and immediates, LEAVE: with 64-bit operands in 64-bit mode, with 32-bit ones on a
 * flat 32-bit stack. Others go to exec/stack.c. SDM vol. 2.
 */
#include "interp/op.h"

/* What of RSP and RBP counts. */
#define STACK_u64(value) (value)
#define STACK_u32(value) ((uint32_t)(value))

#define PUSH(T, value)                                         \
	{                                                      \
		la_t la_ = STACK_##T(cpu->r[RSP] - sizeof(T)); \
		STORE(T, la_, value)                           \
		cpu->r[RSP] = la_;                             \
		NEXT(cpu, insn);                               \
	}

#define STACK_HANDLERS(T)                                                                                    \
	HANDLER(push_##T##_r){PUSH(T, GET_##T(insn->rm))} HANDLER(push_##T##_i){PUSH(T, insn->imm)} HANDLER( \
		push_##T##_m){ADDRESS(la) LOAD(T, pushed, la) PUSH(T, pushed)} HANDLER(pop_##T##_r)          \
	{                                                                                                    \
		la_t la = STACK_##T(cpu->r[RSP]);                                                            \
		LOAD(T, value, la)                                                                           \
		cpu->r[RSP] = STACK_##T(la + sizeof(T));                                                     \
		SET_##T(insn->rm, value); /* POP RSP: the value wins */                                      \
		NEXT(cpu, insn);                                                                             \
	}                                                                                                    \
	HANDLER(leave_##T)                                                                                   \
	{                                                                                                    \
		la_t la = STACK_##T(cpu->r[RBP]);                                                            \
		LOAD(T, value, la)                                                                           \
		cpu->r[RSP] = STACK_##T(la + sizeof(T));                                                     \
		SET_##T(RBP, value);                                                                         \
		NEXT(cpu, insn);                                                                             \
	}
STACK_HANDLERS(u64)
STACK_HANDLERS(u32)

insn_fn *stack_handler(const struct insn *insn, uint32_t mode)
{
	const struct form_operand *operand = &insn->form->operand[0];
	bool gpr = operand->kind == OPERAND_REG && operand->class >= ZYDIS_REGCLASS_GPR8 &&
		   operand->class <= ZYDIS_REGCLASS_GPR64;
	bool wide = (mode & MODE_STACK64) && insn->size == 8;

	if (!wide && !((mode & MODE_FLAT) && (mode & MODE_STACK32) && insn->size == 4))
		return NULL;
	switch (insn->form->operation) {
	case ZYDIS_MNEMONIC_PUSH:
		if (gpr)
			return wide ? push_u64_r : push_u32_r;
		if (operand->kind == OPERAND_IMM)
			return wide ? push_u64_i : push_u32_i;
		return operand->kind == OPERAND_MEM ? (wide ? push_u64_m : push_u32_m) : NULL;
	case ZYDIS_MNEMONIC_POP: return gpr ? (wide ? pop_u64_r : pop_u32_r) : NULL;
	case ZYDIS_MNEMONIC_LEAVE: return wide ? leave_u64 : leave_u32;
	default: return NULL;
	}
}

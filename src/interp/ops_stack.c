/*
 * Handlers: PUSH and POP of registers and immediates, LEAVE, in 64-bit mode with a 64-bit operand. Other widths and modes go to exec/stack.c. SDM vol. 2.
 */
#include "interp/op.h"

static bool stack_read_slow(struct cpu *cpu, const struct insn *insn, la_t la, uint64_t *value)
{
	op_sync(cpu, insn);
	return mem_read_slow(cpu, la, 8, value, ACCESS_READ | ACCESS_STACK);
}

static bool stack_write_slow(struct cpu *cpu, const struct insn *insn, la_t la, uint64_t value)
{
	op_sync(cpu, insn);
	return mem_write_slow(cpu, la, 8, value, ACCESS_WRITE | ACCESS_STACK);
}

/* RSP moves once the store is done. */
static inline const struct insn *push(struct cpu *cpu, const struct insn *insn, uint64_t value)
{
	la_t la = cpu->r[RSP] - 8;
	void *host = tlb_write(cpu, la, 8);

	if (likely(host)) {
		memcpy(host, &value, 8);
		cpu->r[RSP] = la;
		NEXT(cpu, insn);
	}
	if (stack_write_slow(cpu, insn, la, value))
		return op_fault(cpu, insn);
	cpu->r[RSP] = la;
	if (unlikely(cpu->attention))
		return op_leave_after(cpu, insn);
	NEXT(cpu, insn);
}

HANDLER(push_r)
{
	return push(cpu, insn, cpu->r[insn->rm]);
}

HANDLER(push_i)
{
	return push(cpu, insn, insn->imm);
}

HANDLER(push_m)
{
	ADDRESS(la, 8, ACCESS_READ)
	LOAD(u64, value, la)
	return push(cpu, insn, value);
}

HANDLER(pop_r)
{
	la_t la = cpu->r[RSP];
	const void *host = tlb_read(cpu, la, 8);
	uint64_t value;

	if (likely(host))
		memcpy(&value, host, 8);
	else if (stack_read_slow(cpu, insn, la, &value))
		return op_fault(cpu, insn);
	cpu->r[RSP] = la + 8;
	cpu->r[insn->rm] = value; /* POP RSP: the value wins */
	NEXT(cpu, insn);
}

HANDLER(leave)
{
	la_t la = cpu->r[RBP];
	const void *host = tlb_read(cpu, la, 8);
	uint64_t value;

	if (likely(host))
		memcpy(&value, host, 8);
	else if (stack_read_slow(cpu, insn, la, &value))
		return op_fault(cpu, insn);
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

/*
 * Exchanges: XCHG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B: SDM vol. 2. All write their memory operand whatever the
 * comparison says, so a page that is not writable always faults.
 */
#include "exec/integer.h"

static enum step xchg(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, number = operand_register(insn, 1);
	struct target target;
	uint64_t value;

	/* Either operand may be the one in memory in the form's order. */
	if (insn->form->operand[1].kind == OPERAND_MEM) {
		struct operand_rmw rmw;

		if (operand_rmw_begin(cpu, insn, size, &rmw, &value))
			return STEP_FAULT;
		number = operand_register(insn, 0);
		operand_rmw_end(cpu, insn, size, &rmw, reg_get(cpu, number, size));
		reg_set(cpu, number, size, value);
		return STEP_NEXT;
	}
	if (target_begin(cpu, insn, size, &target, &value))
		return STEP_FAULT;
	target_end(cpu, size, &target, reg_get(cpu, number, size));
	reg_set(cpu, number, size, value);
	return STEP_NEXT;
}

static enum step xadd(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	uint64_t value, added = reg_get(cpu, insn->reg, size);
	struct operand_rmw rmw;

	if (operand_rmw_begin(cpu, insn, size, &rmw, &value))
		return STEP_FAULT;
	set_lazy(cpu, CC_ADD, size, value + added, added);
	reg_set(cpu, insn->reg, size, value);
	operand_rmw_end(cpu, insn, size, &rmw, value + added); /* last: it wins when both are one register */
	return STEP_NEXT;
}

static enum step cmpxchg(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	uint64_t value, accumulator = reg_get(cpu, RAX, size);
	struct operand_rmw rmw;
	bool equal;

	if (operand_rmw_begin(cpu, insn, size, &rmw, &value))
		return STEP_FAULT;
	equal = value == accumulator;
	set_lazy(cpu, CC_SUB, size, accumulator - value, value);
	/* Memory is written in any case. A register is not, so the upper half of a 32-bit one stays when the comparison
	 * fails. */
	if (equal || insn->ea != EA_NONE)
		operand_rmw_end(cpu, insn, size, &rmw, equal ? reg_get(cpu, insn->reg, size) : value);
	if (!equal)
		reg_set(cpu, RAX, size, value);
	return STEP_NEXT;
}

/* EDX:EAX or RDX:RAX with memory, ECX:EBX or RCX:RBX to memory. ZF alone changes. */
static inline enum step cmpxchg_pair(struct cpu *cpu, const struct insn *insn, unsigned half)
{
	uint64_t low, high = 0, new_low, new_high;
	struct mem_rmw first, second;
	bool equal;
	la_t la;

	if (operand_linear(cpu, insn, 2 * half, ACCESS_READ | ACCESS_WRITE, &la))
		return STEP_FAULT;
	if (half == 8 && !is_aligned(la, 16))
		return raise_gp0(cpu);
	/* CMPXCHG8B is one access of 8 bytes, as alignment checks notice. */
	if (mem_rmw_begin(cpu, &first, la, 8, &low) || (half == 8 && mem_rmw_begin(cpu, &second, la + 8, 8, &high)))
		return STEP_FAULT;
	if (half == 4) {
		high = low >> 32;
		low = (uint32_t)low;
	}
	equal = low == reg_get(cpu, RAX, half) && high == reg_get(cpu, RDX, half);
	new_low = equal ? reg_get(cpu, RBX, half) : low;
	new_high = equal ? reg_get(cpu, RCX, half) : high;
	mem_rmw_end(cpu, &first, half == 4 ? new_low | new_high << 32 : new_low);
	if (half == 8)
		mem_rmw_end(cpu, &second, new_high);
	set_some(cpu, RFLAGS_ZF, flag_if(equal, RFLAGS_ZF));
	if (!equal) {
		reg_set(cpu, RAX, half, low);
		reg_set(cpu, RDX, half, high);
	}
	return STEP_NEXT;
}

static enum step cmpxchg8b(struct cpu *cpu, const struct insn *insn)
{
	return cmpxchg_pair(cpu, insn, 4);
}

static enum step cmpxchg16b(struct cpu *cpu, const struct insn *insn)
{
	return cmpxchg_pair(cpu, insn, 8);
}

const struct exec_entry exec_exchange_entries[] = {
	ENTRY(XCHG, xchg),
	ENTRY(XADD, xadd),
	ENTRY(CMPXCHG, cmpxchg),
	ENTRY(CMPXCHG8B, cmpxchg8b),
	ENTRY(CMPXCHG16B, cmpxchg16b),
	{0},
};

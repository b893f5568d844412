/*
 * Addition, subtraction, comparison, logic, and conversion of width: SDM vol. 2, "ADD" to "XOR", one function per
 * operation, any form and width.
 *
 * The engines have their own handlers for the usual forms; these serve the others. CMPXCHG and XADD are in exchange.c.
 */
#include "exec/integer.h"

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST };

static inline enum step alu(struct cpu *cpu, const struct insn *insn, enum alu operation)
{
	unsigned size = insn->size;
	struct target target;
	uint64_t a, b, result;
	bool carry;

	if (value_read(cpu, insn, 1, size, &b))
		return STEP_FAULT;
	if (operation == ALU_CMP || operation == ALU_TEST ? value_read(cpu, insn, 0, size, &a)
							  : target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;

	switch (operation) {
	case ALU_ADD:
		result = a + b;
		set_lazy(cpu, CC_ADD, size, result, b);
		break;
	case ALU_ADC:
		carry = cc_carry(&cpu->cc);
		result = a + b + carry;
		set_lazy(cpu, carry ? CC_ADC : CC_ADD, size, result, b);
		break;
	case ALU_SUB:
	case ALU_CMP:
		result = a - b;
		set_lazy(cpu, CC_SUB, size, result, b);
		break;
	case ALU_SBB:
		carry = cc_carry(&cpu->cc);
		result = a - b - carry;
		set_lazy(cpu, carry ? CC_SBB : CC_SUB, size, result, b);
		break;
	default:
		result = operation == ALU_OR ? a | b : operation == ALU_XOR ? a ^ b : a & b;
		set_lazy(cpu, CC_LOGIC, size, result, 0);
	}
	if (operation != ALU_CMP && operation != ALU_TEST)
		target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

#define ALU(name, operation)                                            \
	static enum step name(struct cpu *cpu, const struct insn *insn) \
	{                                                               \
		return alu(cpu, insn, operation);                       \
	}
ALU(add, ALU_ADD)
ALU(or, ALU_OR)
ALU(adc, ALU_ADC)
ALU(sbb, ALU_SBB)
ALU(and, ALU_AND)
ALU(sub, ALU_SUB)
ALU(xor, ALU_XOR)
ALU(cmp, ALU_CMP)
ALU(test, ALU_TEST)

enum unary { UNARY_INC, UNARY_DEC, UNARY_NEG, UNARY_NOT };

static inline enum step unary(struct cpu *cpu, const struct insn *insn, enum unary operation)
{
	unsigned size = insn->size;
	struct target target;
	uint64_t a, result;
	bool carry;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	switch (operation) {
	case UNARY_INC:
	case UNARY_DEC:
		carry = cc_carry(&cpu->cc);
		result = operation == UNARY_INC ? a + 1 : a - 1;
		set_lazy(cpu, operation == UNARY_INC ? CC_INC : CC_DEC, size, result, carry);
		break;
	case UNARY_NEG:
		result = -a;
		set_lazy(cpu, CC_SUB, size, result, a);
		break;
	default: result = ~a;
	}
	target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

static enum step inc(struct cpu *cpu, const struct insn *insn)
{
	return unary(cpu, insn, UNARY_INC);
}

static enum step dec(struct cpu *cpu, const struct insn *insn)
{
	return unary(cpu, insn, UNARY_DEC);
}

static enum step neg(struct cpu *cpu, const struct insn *insn)
{
	return unary(cpu, insn, UNARY_NEG);
}

static enum step not(struct cpu * cpu, const struct insn *insn) { return unary(cpu, insn, UNARY_NOT); }

/* ADCX and ADOX: an addition whose carry comes from and goes to one flag alone. */
static inline enum step add_through(struct cpu *cpu, const struct insn *insn, uint64_t flag)
{
	unsigned size = insn->size;
	uint64_t a = reg_get(cpu, insn->reg, size), b;
	unsigned __int128 sum;

	if (operand_read(cpu, insn, size, &b))
		return STEP_FAULT;
	sum = (unsigned __int128)a + b + ((cc_flags(&cpu->cc) & flag) != 0);
	set_some(cpu, flag, flag_if(sum >> 8 * size, flag));
	reg_set(cpu, insn->reg, size, (uint64_t)sum);
	return STEP_NEXT;
}

static enum step adcx(struct cpu *cpu, const struct insn *insn)
{
	return add_through(cpu, insn, RFLAGS_CF);
}

static enum step adox(struct cpu *cpu, const struct insn *insn)
{
	return add_through(cpu, insn, RFLAGS_OF);
}

/* CBW, CWDE, CDQE: the lower half of rAX, sign-extended. */
static enum step cbw(struct cpu *cpu, const struct insn *insn)
{
	reg_set(cpu, RAX, insn->size, (uint64_t)sign_extend(cpu->r[RAX], 4 * insn->size));
	return STEP_NEXT;
}

/* CWD, CDQ, CQO: the sign of rAX in all bits of rDX. */
static enum step cwd(struct cpu *cpu, const struct insn *insn)
{
	reg_set(cpu, RDX, insn->size, sign_extend(cpu->r[RAX], 8 * insn->size) < 0 ? ~UINT64_C(0) : 0);
	return STEP_NEXT;
}

const struct exec_entry exec_arith_entries[] = {
	ENTRY(ADD, add),   ENTRY(OR, or),
	ENTRY(ADC, adc),   ENTRY(SBB, sbb),
	ENTRY(AND, and),   ENTRY(SUB, sub),
	ENTRY(XOR, xor),   ENTRY(CMP, cmp),
	ENTRY(TEST, test), ENTRY(INC, inc),
	ENTRY(DEC, dec),   ENTRY(NEG, neg),
	ENTRY(NOT, not ),  ENTRY(ADCX, adcx),
	ENTRY(ADOX, adox), ENTRY(CBW, cbw),
	ENTRY(CWDE, cbw),  ENTRY(CDQE, cbw),
	ENTRY(CWD, cwd),   ENTRY(CDQ, cwd),
	ENTRY(CQO, cwd),   {0},
};

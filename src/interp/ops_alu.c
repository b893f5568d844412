/*
 * Handlers: ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT, shifts and rotates by a count, two-operand IMUL. Each
 * operation is written once, as a macro of the operand type; forms and widths are stamped from it. SDM vol. 2.
 */
#include "interp/op.h"

/* The operation proper: result from a and b, then its flags. */
#define DO_ADD(T)    T result = (T)(a + b)
#define FLAGS_ADD(T) FLAGS(CC_ADD, T, result, b)
#define DO_SUB(T)    T result = (T)(a - b)
#define FLAGS_SUB(T) FLAGS(CC_SUB, T, result, b)
#define DO_CMP	     DO_SUB
#define FLAGS_CMP    FLAGS_SUB
#define DO_AND(T)    T result = (T)(a & b)
#define FLAGS_AND(T) FLAGS(CC_LOGIC, T, result, 0)
#define DO_TEST	     DO_AND
#define FLAGS_TEST   FLAGS_AND
#define DO_OR(T)     T result = (T)(a | b)
#define FLAGS_OR     FLAGS_AND
#define DO_XOR(T)    T result = (T)(a ^ b)
#define FLAGS_XOR    FLAGS_AND
#define DO_ADC(T)                   \
	bool carry = op_carry(cpu); \
	T result = (T)(a + b + carry)
#define FLAGS_ADC(T) FLAGS(carry ? CC_ADC : CC_ADD, T, result, b)
#define DO_SBB(T)                   \
	bool carry = op_carry(cpu); \
	T result = (T)(a - b - carry)
#define FLAGS_SBB(T) FLAGS(carry ? CC_SBB : CC_SUB, T, result, b)

/* The carry flag, with the cases that multi-word arithmetic makes first. */
static inline bool op_carry(const struct cpu *cpu)
{
	switch (cpu->cc.op) {
	case CC(CC_ADD, LOG2_u64): return cpu->cc.dst < cpu->cc.src;
	case CC(CC_ADC, LOG2_u64): return cpu->cc.dst <= cpu->cc.src;
	case CC(CC_SUB, LOG2_u64): return cpu->cc.dst + cpu->cc.src < cpu->cc.src;
	case CC(CC_ADD, LOG2_u32): return (uint32_t)cpu->cc.dst < (uint32_t)cpu->cc.src;
	case CC(CC_EXACT, 0): return cpu->cc.src & RFLAGS_CF;
	default: return cc_carry(&cpu->cc);
	}
}

/* rm and reg are registers; the destination is the first. */
#define ALU_RR(OP, T)                                            \
	HANDLER(OP##_##T##_rr)                                   \
	{                                                        \
		T a = GET_##T(insn->rm), b = GET_##T(insn->reg); \
		DO_##OP(T);                                      \
		SET_##T(insn->rm, result);                       \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_rr_swapped)                           \
	{                                                        \
		T a = GET_##T(insn->reg), b = GET_##T(insn->rm); \
		DO_##OP(T);                                      \
		SET_##T(insn->reg, result);                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_ri)                                   \
	{                                                        \
		T a = GET_##T(insn->rm), b = (T)insn->imm;       \
		DO_##OP(T);                                      \
		SET_##T(insn->rm, result);                       \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_ai)                                   \
	{                                                        \
		T a = GET_##T(RAX), b = (T)insn->imm;            \
		DO_##OP(T);                                      \
		SET_##T(RAX, result);                            \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}

#define ALU_RM(OP, T)                       \
	HANDLER(OP##_##T##_rm)              \
	{                                   \
		ADDRESS(la)                 \
		LOAD(T, b, la)              \
		T a = GET_##T(insn->reg);   \
		DO_##OP(T);                 \
		SET_##T(insn->reg, result); \
		FLAGS_##OP(T);              \
		NEXT(cpu, insn);            \
	}

/* Memory op= operand: read and write under one check. */
#define RMW(T, RESULT, SET_FLAGS)                                        \
	{                                                                \
		ADDRESS(la)                                              \
		const struct tlb_entry *entry = tlb_slot(cpu->bank, la); \
		T a;                                                     \
		if (!TLB_HIT(entry->write, la, sizeof(T)))               \
			return op_exec(cpu, insn);                       \
		memcpy(&a, HOST(entry, la), sizeof(T));                  \
		RESULT;                                                  \
		memcpy(HOST(entry, la), &result, sizeof(T));             \
		SET_FLAGS;                                               \
		NEXT(cpu, insn);                                         \
	}

#define ALU_M(OP, T)                              \
	HANDLER(OP##_##T##_mr)                    \
	{                                         \
		T b = GET_##T(insn->reg);         \
		RMW(T, DO_##OP(T), FLAGS_##OP(T)) \
	}                                         \
	HANDLER(OP##_##T##_mi)                    \
	{                                         \
		T b = (T)insn->imm;               \
		RMW(T, DO_##OP(T), FLAGS_##OP(T)) \
	}

/* CMP and TEST write no operand. */
#define COMPARE(OP, T)                                           \
	HANDLER(OP##_##T##_rr)                                   \
	{                                                        \
		T a = GET_##T(insn->rm), b = GET_##T(insn->reg); \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_rr_swapped)                           \
	{                                                        \
		T a = GET_##T(insn->reg), b = GET_##T(insn->rm); \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_ri)                                   \
	{                                                        \
		T a = GET_##T(insn->rm), b = (T)insn->imm;       \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_ai)                                   \
	{                                                        \
		T a = GET_##T(RAX), b = (T)insn->imm;            \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_rm)                                   \
	{                                                        \
		ADDRESS(la)                                      \
		LOAD(T, b, la)                                   \
		T a = GET_##T(insn->reg);                        \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_mr)                                   \
	{                                                        \
		ADDRESS(la)                                      \
		LOAD(T, a, la)                                   \
		T b = GET_##T(insn->reg);                        \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}                                                        \
	HANDLER(OP##_##T##_mi)                                   \
	{                                                        \
		ADDRESS(la)                                      \
		LOAD(T, a, la)                                   \
		T b = (T)insn->imm;                              \
		DO_##OP(T);                                      \
		FLAGS_##OP(T);                                   \
		NEXT(cpu, insn);                                 \
	}

#define SIZES(STAMP, OP) STAMP(OP, u8) STAMP(OP, u16) STAMP(OP, u32) STAMP(OP, u64)
#define ALU(OP)		 SIZES(ALU_RR, OP) SIZES(ALU_RM, OP) SIZES(ALU_M, OP)

ALU(ADD)
ALU(OR)
ALU(ADC)
ALU(SBB)
ALU(AND)
ALU(SUB)
ALU(XOR)
SIZES(COMPARE, CMP)
SIZES(COMPARE, TEST)

/* One operand. */
#define UNARY(OP, T, RESULT, SET_FLAGS)    \
	HANDLER(OP##_##T##_r)              \
	{                                  \
		T a = GET_##T(insn->rm);   \
		RESULT;                    \
		SET_FLAGS;                 \
		SET_##T(insn->rm, result); \
		NEXT(cpu, insn);           \
	}                                  \
	HANDLER(OP##_##T##_m)              \
	{                                  \
		RMW(T, RESULT, SET_FLAGS)  \
	}
#define UNARIES(T)                                                   \
	UNARY(INC, T, T result = (T)(a + 1), {                       \
		bool carry = op_carry(cpu);                          \
		FLAGS(CC_INC, T, result, carry);                     \
	})                                                           \
	UNARY(DEC, T, T result = (T)(a - 1), {                       \
		bool carry = op_carry(cpu);                          \
		FLAGS(CC_DEC, T, result, carry);                     \
	})                                                           \
	UNARY(NEG, T, T result = (T)-a, FLAGS(CC_SUB, T, result, a)) \
	UNARY(NOT, T, T result = (T)~a, )
UNARIES(u8)
UNARIES(u16)
UNARIES(u32)
UNARIES(u64)

/*
 * Shifts by an immediate, 1 or CL, of a register. The count is masked to 5 bits, 6 for 64-bit operands; 0 changes
 * nothing. Narrow operands and memory go to exec/shift.c.
 */
#define SHIFT(OP, T, S, RESULT, BEFORE, KIND)                                      \
	static inline void OP##_##T(struct cpu *cpu, unsigned reg, unsigned n)     \
	{                                                                          \
		T a = GET_##T(reg);                                                \
		(void)(S)0;                                                        \
		SET_##T(reg, RESULT);                                              \
		FLAGS(KIND, T, (T)(RESULT), BEFORE);                               \
	}                                                                          \
	HANDLER(OP##_##T##_ri)                                                     \
	{                                                                          \
		OP##_##T(cpu, insn->rm, (unsigned)insn->imm &(8 * sizeof(T) - 1)); \
		NEXT(cpu, insn);                                                   \
	}                                                                          \
	HANDLER(OP##_##T##_r1)                                                     \
	{                                                                          \
		OP##_##T(cpu, insn->rm, 1);                                        \
		NEXT(cpu, insn);                                                   \
	}                                                                          \
	HANDLER(OP##_##T##_rc)                                                     \
	{                                                                          \
		unsigned n = (unsigned)cpu->r[RCX] & (8 * sizeof(T) - 1);          \
		if (likely(n))                                                     \
			OP##_##T(cpu, insn->rm, n);                                \
		else                                                               \
			SET_##T(insn->rm, GET_##T(insn->rm));                      \
		NEXT(cpu, insn);                                                   \
	}
#define SHIFTS(T, S)                                             \
	SHIFT(SHL, T, S, (T)(a << n), (T)(a << (n - 1)), CC_SHL) \
	SHIFT(SHR, T, S, (T)(a >> n), (T)(a >> (n - 1)), CC_SHR) \
	SHIFT(SAR, T, S, (T)((S)a >> n), (T)((S)a >> (n - 1)), CC_SAR)
SHIFTS(u32, int32_t)
SHIFTS(u64, int64_t)

/* Rotates by an immediate from 1 up: CF is the bit that came around; OF is defined for 1 only, and follows the formula
 * of 1 as silicon does; others stay. */
#define ROTATE(T, bits)                                                          \
	HANDLER(ROL_##T##_ri)                                                    \
	{                                                                        \
		unsigned n = (unsigned)insn->imm & (bits - 1);                   \
		T a = GET_##T(insn->rm), result = (T)(a << n | a >> (bits - n)); \
		bool carry = result & 1;                                         \
		SET_##T(insn->rm, result);                                       \
		cc_set_rotated(cpu, carry, carry ^ (result >> (bits - 1)));      \
		NEXT(cpu, insn);                                                 \
	}                                                                        \
	HANDLER(ROR_##T##_ri)                                                    \
	{                                                                        \
		unsigned n = (unsigned)insn->imm & (bits - 1);                   \
		T a = GET_##T(insn->rm), result = (T)(a >> n | a << (bits - n)); \
		bool carry = result >> (bits - 1);                               \
		SET_##T(insn->rm, result);                                       \
		cc_set_rotated(cpu, carry, carry ^ (result >> (bits - 2) & 1));  \
		NEXT(cpu, insn);                                                 \
	}
ROTATE(u32, 32)
ROTATE(u64, 64)

/* IMUL r, r/m and IMUL r, r/m, imm: CF = OF = the product does not fit. SF follows the result as silicon does; the rest
 * stays undefined: cleared. */
#define IMUL(T, S, W)                                                                                 \
	static inline void imul_##T(struct cpu *cpu, unsigned reg, T x, T y)                          \
	{                                                                                             \
		S result;                                                                             \
		bool over = __builtin_mul_overflow((S)x, (S)y, &result);                              \
		SET_##T(reg, (T)result);                                                              \
		cc_set_exact(cpu, (over ? RFLAGS_CF | RFLAGS_OF : 0) | (result < 0 ? RFLAGS_SF : 0)); \
	}                                                                                             \
	HANDLER(IMUL_##T##_rr)                                                                        \
	{                                                                                             \
		imul_##T(cpu, insn->reg, GET_##T(insn->reg), GET_##T(insn->rm));                      \
		NEXT(cpu, insn);                                                                      \
	}                                                                                             \
	HANDLER(IMUL_##T##_rm)                                                                        \
	{                                                                                             \
		ADDRESS(la)                                                                           \
		LOAD(T, b, la)                                                                        \
		imul_##T(cpu, insn->reg, GET_##T(insn->reg), b);                                      \
		NEXT(cpu, insn);                                                                      \
	}                                                                                             \
	HANDLER(IMUL_##T##_rri)                                                                       \
	{                                                                                             \
		imul_##T(cpu, insn->reg, GET_##T(insn->rm), (T)insn->imm);                            \
		NEXT(cpu, insn);                                                                      \
	}                                                                                             \
	HANDLER(IMUL_##T##_rmi)                                                                       \
	{                                                                                             \
		ADDRESS(la)                                                                           \
		LOAD(T, b, la)                                                                        \
		imul_##T(cpu, insn->reg, b, (T)insn->imm);                                            \
		NEXT(cpu, insn);                                                                      \
	}
IMUL(u32, int32_t, int64_t)
IMUL(u64, int64_t, __int128)

struct alu {
	uint16_t operation;
	insn_fn *rr[4], *rr_swapped[4], *ri[4], *ai[4], *rm[4], *mr[4], *mi[4];
};

#define ROW(OP)                                                                                             \
	{                                                                                                   \
		ZYDIS_MNEMONIC_##OP, BY_SIZE(OP##_, _rr), BY_SIZE(OP##_, _rr_swapped), BY_SIZE(OP##_, _ri), \
			BY_SIZE(OP##_, _ai), BY_SIZE(OP##_, _rm), BY_SIZE(OP##_, _mr), BY_SIZE(OP##_, _mi)  \
	}
static const struct alu two_operands[] = {ROW(ADD), ROW(OR),  ROW(ADC), ROW(SBB), ROW(AND),
					  ROW(SUB), ROW(XOR), ROW(CMP), ROW(TEST)};

static insn_fn *two_operand_handler(const struct alu *alu, const struct insn *insn)
{
	const struct form_operand *to = &insn->form->operand[0], *from = &insn->form->operand[1];
	unsigned size = size_log2(insn->size);

	if (to->kind == OPERAND_MEM)
		return from->kind == OPERAND_IMM ? alu->mi[size] : alu->mr[size];
	if (from->kind == OPERAND_MEM)
		return alu->rm[size];
	if (from->kind == OPERAND_IMM)
		return to->kind == OPERAND_FIXED ? alu->ai[size] : alu->ri[size];
	return to->where == FIELD_RM ? alu->rr[size] : alu->rr_swapped[size];
}

struct unary {
	uint16_t operation;
	insn_fn *r[4], *m[4];
};
#define UROW(OP)                                                            \
	{                                                                   \
		ZYDIS_MNEMONIC_##OP, BY_SIZE(OP##_, _r), BY_SIZE(OP##_, _m) \
	}
static const struct unary one_operand[] = {UROW(INC), UROW(DEC), UROW(NEG), UROW(NOT)};

struct shift {
	uint16_t operation;
	insn_fn *ri[2], *rc[2], *r1[2]; /* 32 and 64 bits; count in the code, in CL, 1 */
};
#define SROW(OP)                                                                             \
	{                                                                                    \
		ZYDIS_MNEMONIC_##OP, {OP##_u32_ri, OP##_u64_ri}, {OP##_u32_rc, OP##_u64_rc}, \
		{                                                                            \
			OP##_u32_r1, OP##_u64_r1                                             \
		}                                                                            \
	}
static const struct shift shifts[] = {
	SROW(SHL),
	SROW(SHR),
	SROW(SAR),
	{ZYDIS_MNEMONIC_ROL, {ROL_u32_ri, ROL_u64_ri}, {NULL}, {NULL}},
	{ZYDIS_MNEMONIC_ROR, {ROR_u32_ri, ROR_u64_ri}, {NULL}, {NULL}},
};

static insn_fn *shift_handler(const struct shift *shift, const struct insn *insn)
{
	const struct form_operand *count = &insn->form->operand[1];
	bool wide = insn->size == 8;

	if (insn->size < 4 || insn->ea != EA_NONE)
		return NULL;
	if (count->kind == OPERAND_FIXED && count->class == ZYDIS_REGCLASS_GPR8)
		return shift->rc[wide];
	if (count->where == FIELD_FIXED)
		return shift->r1[wide];
	return count->where == FIELD_IMM && (insn->imm & (wide ? 63 : 31)) ? shift->ri[wide] : NULL;
}

static insn_fn *imul_handler(const struct insn *insn)
{
	const struct form *form = insn->form;
	bool wide = insn->size == 8, memory = insn->ea != EA_NONE;

	if (insn->size < 4 || form->operand[0].where != FIELD_REG)
		return NULL;
	if (form->operand[2].kind == OPERAND_IMM)
		return memory ? (wide ? IMUL_u64_rmi : IMUL_u32_rmi) : (wide ? IMUL_u64_rri : IMUL_u32_rri);
	return memory ? (wide ? IMUL_u64_rm : IMUL_u32_rm) : (wide ? IMUL_u64_rr : IMUL_u32_rr);
}

insn_fn *alu_handler(const struct insn *insn)
{
	uint16_t operation = insn->form->operation;

	for (unsigned i = 0; i < ARRAY_SIZE(two_operands); i++)
		if (two_operands[i].operation == operation)
			return two_operand_handler(&two_operands[i], insn);
	for (unsigned i = 0; i < ARRAY_SIZE(one_operand); i++)
		if (one_operand[i].operation == operation)
			return (insn->ea == EA_NONE ? one_operand[i].r : one_operand[i].m)[size_log2(insn->size)];
	for (unsigned i = 0; i < ARRAY_SIZE(shifts); i++)
		if (shifts[i].operation == operation)
			return shift_handler(&shifts[i], insn);
	return operation == ZYDIS_MNEMONIC_IMUL ? imul_handler(insn) : NULL;
}

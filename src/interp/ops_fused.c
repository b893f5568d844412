/*
 * Handlers: CMP or TEST and the conditional branch behind it, as one. The flags are left as the CMP or TEST leaves
 * them; the branch is insn + 1.
 */
#include "interp/branch.h"

#define SIGNED_u8  int8_t
#define SIGNED_u32 int32_t
#define SIGNED_u64 int64_t

#define FUSED(OP, T, FORM, OPERANDS, KIND, RESULT, SECOND, COND, TEST) \
	HANDLER(OP##_##T##_##FORM##_##COND)                            \
	{                                                              \
		OPERANDS;                                              \
		FLAGS(KIND, T, (T)(RESULT), SECOND);                   \
		if (TEST)                                              \
			return op_taken(cpu, insn + 1);                \
		return op_not_taken(cpu, insn + 1);                    \
	}

#define CMP_CONDS(T, FORM, OPERANDS)                                                        \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 2, a < b)                           \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 3, a >= b)                          \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 4, a == b)                          \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 5, a != b)                          \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 6, a <= b)                          \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 7, a > b)                           \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 12, (SIGNED_##T)a < (SIGNED_##T)b)  \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 13, (SIGNED_##T)a >= (SIGNED_##T)b) \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 14, (SIGNED_##T)a <= (SIGNED_##T)b) \
	FUSED(cmp, T, FORM, OPERANDS, CC_SUB, a - b, b, 15, (SIGNED_##T)a > (SIGNED_##T)b)

#define TEST_CONDS(T, FORM, OPERANDS)                                                   \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 4, !(a & b))                  \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 5, a &b)                      \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 8, (SIGNED_##T)(a & b) < 0)   \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 9, (SIGNED_##T)(a & b) >= 0)  \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 14, (SIGNED_##T)(a & b) <= 0) \
	FUSED(test, T, FORM, OPERANDS, CC_LOGIC, a &b, 0, 15, (SIGNED_##T)(a & b) > 0)

#define REG_REG(T)               \
	T a = GET_##T(insn->rm); \
	T b = GET_##T(insn->reg)
#define REG_REG_SWAPPED(T)        \
	T a = GET_##T(insn->reg); \
	T b = GET_##T(insn->rm)
#define REG_IMM(T)               \
	T a = GET_##T(insn->rm); \
	T b = (T)insn->imm
#define ACC_IMM(T)          \
	T a = GET_##T(RAX); \
	T b = (T)insn->imm
#define REG_MEM(T)     \
	ADDRESS(la)    \
	LOAD(T, b, la) \
	T a = GET_##T(insn->reg)
#define MEM_REG(T)     \
	ADDRESS(la)    \
	LOAD(T, a, la) \
	T b = GET_##T(insn->reg)
#define MEM_IMM(T)     \
	ADDRESS(la)    \
	LOAD(T, a, la) \
	T b = (T)insn->imm

#define FORMS(T)                                     \
	CMP_CONDS(T, rr, REG_REG(T))                 \
	CMP_CONDS(T, rr_swapped, REG_REG_SWAPPED(T)) \
	CMP_CONDS(T, ri, REG_IMM(T))                 \
	CMP_CONDS(T, ai, ACC_IMM(T))                 \
	CMP_CONDS(T, rm, REG_MEM(T))                 \
	CMP_CONDS(T, mr, MEM_REG(T))                 \
	CMP_CONDS(T, mi, MEM_IMM(T))                 \
	TEST_CONDS(T, rr, REG_REG(T))                \
	TEST_CONDS(T, ri, REG_IMM(T))                \
	TEST_CONDS(T, ai, ACC_IMM(T))                \
	TEST_CONDS(T, mi, MEM_IMM(T))
FORMS(u8)
FORMS(u32)
FORMS(u64)

enum shape { SHAPE_RR, SHAPE_RR_SWAPPED, SHAPE_RI, SHAPE_AI, SHAPE_RM, SHAPE_MR, SHAPE_MI, SHAPES };

#define CMP_ROW(T, FORM)                                                                                  \
	{                                                                                                 \
		[2] = cmp_##T##_##FORM##_2, [3] = cmp_##T##_##FORM##_3, [4] = cmp_##T##_##FORM##_4,       \
		[5] = cmp_##T##_##FORM##_5, [6] = cmp_##T##_##FORM##_6, [7] = cmp_##T##_##FORM##_7,       \
		[12] = cmp_##T##_##FORM##_12, [13] = cmp_##T##_##FORM##_13, [14] = cmp_##T##_##FORM##_14, \
		[15] = cmp_##T##_##FORM##_15                                                              \
	}
#define CMP_TABLE(T)                                                                                    \
	{                                                                                               \
		CMP_ROW(T, rr), CMP_ROW(T, rr_swapped), CMP_ROW(T, ri), CMP_ROW(T, ai), CMP_ROW(T, rm), \
			CMP_ROW(T, mr), CMP_ROW(T, mi)                                                  \
	}
#define TEST_ROW(T, FORM)                                                                                 \
	{                                                                                                 \
		[4] = test_##T##_##FORM##_4, [5] = test_##T##_##FORM##_5, [8] = test_##T##_##FORM##_8,    \
		[9] = test_##T##_##FORM##_9, [14] = test_##T##_##FORM##_14, [15] = test_##T##_##FORM##_15 \
	}
#define TEST_TABLE(T)                                                                                     \
	{                                                                                                 \
		[SHAPE_RR] = TEST_ROW(T, rr), [SHAPE_RI] = TEST_ROW(T, ri), [SHAPE_AI] = TEST_ROW(T, ai), \
		[SHAPE_MI] = TEST_ROW(T, mi)                                                              \
	}

/* By log2 of the size, shape, condition. */
static insn_fn *const cmp_table[4][SHAPES][16] = {[0] = CMP_TABLE(u8), [2] = CMP_TABLE(u32), [3] = CMP_TABLE(u64)};
static insn_fn *const test_table[4][SHAPES][16] = {[0] = TEST_TABLE(u8), [2] = TEST_TABLE(u32), [3] = TEST_TABLE(u64)};

static enum shape shape_of(const struct form *form)
{
	const struct form_operand *a = &form->operand[0], *b = &form->operand[1];

	if (a->kind == OPERAND_MEM)
		return b->kind == OPERAND_IMM ? SHAPE_MI : SHAPE_MR;
	if (b->kind == OPERAND_MEM)
		return SHAPE_RM;
	if (b->kind == OPERAND_IMM)
		return a->kind == OPERAND_FIXED ? SHAPE_AI : SHAPE_RI;
	return a->where == FIELD_RM ? SHAPE_RR : SHAPE_RR_SWAPPED;
}

insn_fn *fused_handler(const struct insn *compare, const struct insn *jump)
{
	unsigned size = size_log2(compare->size), condition = jump->opcode & 15;

	if (jump->form->map != 1 && (jump->opcode & 0xf0) != 0x70)
		return NULL;
	if (compare->form->operation == ZYDIS_MNEMONIC_CMP)
		return cmp_table[size][shape_of(compare->form)][condition];
	if (compare->form->operation == ZYDIS_MNEMONIC_TEST)
		return test_table[size][shape_of(compare->form)][condition];
	return NULL;
}

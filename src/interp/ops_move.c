/*
 * Handlers: MOV, MOVZX, MOVSX, MOVSXD, LEA, CWDE..CQO, BSWAP, SETcc, CMOVcc, NOP. SDM vol. 2.
 */
#include "interp/condition.h"

#define MOVES(T)                                                                         \
	HANDLER(mov_##T##_rr)                                                            \
	{                                                                                \
		SET_##T(insn->rm, GET_##T(insn->reg));                                   \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_rr_swapped)                                                    \
	{                                                                                \
		SET_##T(insn->reg, GET_##T(insn->rm));                                   \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_ri)                                                            \
	{                                                                                \
		SET_##T(insn->rm, insn->imm);                                            \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_rm)                                                            \
	{                                                                                \
		ADDRESS(la)                                                              \
		LOAD(T, value, la)                                                       \
		SET_##T(insn->reg, value);                                               \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_mr)                                                            \
	{                                                                                \
		ADDRESS(la)                                                              \
		STORE(T, la, GET_##T(insn->reg))                                         \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_mi)                                                            \
	{                                                                                \
		ADDRESS(la)                                                              \
		STORE(T, la, insn->imm)                                                  \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	/* [base + disp] in 64-bit mode, without an index: the shape of most accesses */ \
	HANDLER(mov_##T##_rm_plain)                                                      \
	{                                                                                \
		la_t la = cpu->r[insn->base] + (uint64_t)(int64_t)insn->disp;            \
		LOAD(T, value, la)                                                       \
		SET_##T(insn->reg, value);                                               \
		NEXT(cpu, insn);                                                         \
	}                                                                                \
	HANDLER(mov_##T##_mr_plain)                                                      \
	{                                                                                \
		la_t la = cpu->r[insn->base] + (uint64_t)(int64_t)insn->disp;            \
		STORE(T, la, GET_##T(insn->reg))                                         \
		NEXT(cpu, insn);                                                         \
	}
MOVES(u8)
MOVES(u16)
MOVES(u32)
MOVES(u64)

/* to: destination, from: source, S: the source as it is extended. */
#define EXTEND(name, to, from, S)                                 \
	HANDLER(name##_##to##_##from##_r)                         \
	{                                                         \
		SET_##to(insn->reg, (to)(S)GET_##from(insn->rm)); \
		NEXT(cpu, insn);                                  \
	}                                                         \
	HANDLER(name##_##to##_##from##_m)                         \
	{                                                         \
		ADDRESS(la)                                       \
		LOAD(from, value, la)                             \
		SET_##to(insn->reg, (to)(S)value);                \
		NEXT(cpu, insn);                                  \
	}
EXTEND(movzx, u16, u8, u8)
EXTEND(movzx, u32, u8, u8)
EXTEND(movzx, u64, u8, u8)
EXTEND(movzx, u32, u16, u16)
EXTEND(movzx, u64, u16, u16)
EXTEND(movsx, u16, u8, int8_t)
EXTEND(movsx, u32, u8, int8_t)
EXTEND(movsx, u64, u8, int8_t)
EXTEND(movsx, u32, u16, int16_t)
EXTEND(movsx, u64, u16, int16_t)
EXTEND(movsx, u64, u32, int32_t)

HANDLER(lea_u64)
{
	cpu->r[insn->reg] = cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp;
	NEXT(cpu, insn);
}

HANDLER(lea_u32)
{
	cpu->r[insn->reg] = (uint32_t)operand_offset(cpu, insn);
	NEXT(cpu, insn);
}

HANDLER(lea_any)
{
	reg_set(cpu, insn->reg, insn->size, operand_offset(cpu, insn));
	NEXT(cpu, insn);
}

HANDLER(cdqe)
{
	cpu->r[RAX] = (uint64_t)(int32_t)cpu->r[RAX];
	NEXT(cpu, insn);
}

HANDLER(cwde)
{
	cpu->r[RAX] = (uint32_t)(int16_t)cpu->r[RAX];
	NEXT(cpu, insn);
}

HANDLER(cdq)
{
	cpu->r[RDX] = (uint32_t)((int32_t)cpu->r[RAX] >> 31);
	NEXT(cpu, insn);
}

HANDLER(cqo)
{
	cpu->r[RDX] = (uint64_t)((int64_t)cpu->r[RAX] >> 63);
	NEXT(cpu, insn);
}

HANDLER(bswap_u32)
{
	cpu->r[insn->rm] = __builtin_bswap32((uint32_t)cpu->r[insn->rm]);
	NEXT(cpu, insn);
}

HANDLER(bswap_u64)
{
	cpu->r[insn->rm] = __builtin_bswap64(cpu->r[insn->rm]);
	NEXT(cpu, insn);
}

HANDLER(nop)
{
	NEXT(cpu, insn);
}

HANDLER(setcc_r)
{
	SET_u8(insn->rm, op_condition(cpu, insn->opcode & 15));
	NEXT(cpu, insn);
}

HANDLER(cmovcc_u64_r)
{
	if (op_condition(cpu, insn->opcode & 15))
		cpu->r[insn->reg] = cpu->r[insn->rm];
	NEXT(cpu, insn);
}

HANDLER(cmovcc_u32_r)
{
	cpu->r[insn->reg] = (uint32_t)cpu->r[op_condition(cpu, insn->opcode & 15) ? insn->rm : insn->reg];
	NEXT(cpu, insn);
}

HANDLER(cmovcc_u64_m)
{
	ADDRESS(la)
	LOAD(u64, value, la)
	if (op_condition(cpu, insn->opcode & 15))
		cpu->r[insn->reg] = value;
	NEXT(cpu, insn);
}

HANDLER(cmovcc_u32_m)
{
	ADDRESS(la)
	LOAD(u32, value, la)
	cpu->r[insn->reg] = op_condition(cpu, insn->opcode & 15) ? value : (uint32_t)cpu->r[insn->reg];
	NEXT(cpu, insn);
}

static bool is_gpr(const struct form_operand *operand)
{
	return operand->kind == OPERAND_MEM || operand->kind == OPERAND_IMM ||
	       (operand->class >= ZYDIS_REGCLASS_GPR8 && operand->class <= ZYDIS_REGCLASS_GPR64);
}

static insn_fn *mov_handler(const struct insn *insn)
{
	static insn_fn *const rr[] = BY_SIZE(mov_, _rr), *const rr_swapped[] = BY_SIZE(mov_, _rr_swapped),
			      *const ri[] = BY_SIZE(mov_, _ri), *const rm[] = BY_SIZE(mov_, _rm),
			      *const mr[] = BY_SIZE(mov_, _mr), *const mi[] = BY_SIZE(mov_, _mi),
			      *const rm_plain[] = BY_SIZE(mov_, _rm_plain),
			      *const mr_plain[] = BY_SIZE(mov_, _mr_plain);
	const struct form_operand *to = &insn->form->operand[0], *from = &insn->form->operand[1];
	unsigned size = size_log2(insn->size);
	bool plain = insn->ea == EA_PLAIN && insn->index == R_ZERO;

	if (!is_gpr(to) || !is_gpr(from) || to->where == FIELD_FIXED ||
	    from->where == FIELD_FIXED) /* segments, CRs, DRs, moffs */
		return NULL;
	if (to->kind == OPERAND_MEM)
		return from->kind == OPERAND_IMM ? mi[size] : plain ? mr_plain[size] : mr[size];
	if (from->kind == OPERAND_MEM)
		return plain ? rm_plain[size] : rm[size];
	if (from->kind == OPERAND_IMM)
		return ri[size];
	return to->where == FIELD_RM ? rr[size] : rr_swapped[size];
}

static insn_fn *extend_handler(const struct insn *insn, bool sign)
{
	static insn_fn *const table[2][2][4][2] = {
		/* [sign][from byte, word][to][memory] */
		{{{NULL},
		  {movzx_u16_u8_r, movzx_u16_u8_m},
		  {movzx_u32_u8_r, movzx_u32_u8_m},
		  {movzx_u64_u8_r, movzx_u64_u8_m}},
		 {{NULL}, {NULL}, {movzx_u32_u16_r, movzx_u32_u16_m}, {movzx_u64_u16_r, movzx_u64_u16_m}}},
		{{{NULL},
		  {movsx_u16_u8_r, movsx_u16_u8_m},
		  {movsx_u32_u8_r, movsx_u32_u8_m},
		  {movsx_u64_u8_r, movsx_u64_u8_m}},
		 {{NULL}, {NULL}, {movsx_u32_u16_r, movsx_u32_u16_m}, {movsx_u64_u16_r, movsx_u64_u16_m}}},
	};
	unsigned from = insn->form->operand[1].bytes;

	if (from > 2)
		return NULL;
	return table[sign][from - 1][size_log2(insn->size)][insn->ea != EA_NONE];
}

insn_fn *move_handler(const struct insn *insn)
{
	const struct form *form = insn->form;
	bool memory = insn->ea != EA_NONE;

	switch (form->operation) {
	case ZYDIS_MNEMONIC_MOV: return mov_handler(insn);
	case ZYDIS_MNEMONIC_MOVZX: return extend_handler(insn, false);
	case ZYDIS_MNEMONIC_MOVSX: return extend_handler(insn, true);
	case ZYDIS_MNEMONIC_MOVSXD:
		return insn->size == 8 && form->operand[1].bytes == 4 ? (memory ? movsx_u64_u32_m : movsx_u64_u32_r)
								      : NULL;
	case ZYDIS_MNEMONIC_LEA:
		return insn->size == 8 && insn->addr_size == 8 ? lea_u64 : insn->size == 4 ? lea_u32 : lea_any;
	case ZYDIS_MNEMONIC_CDQE: return cdqe;
	case ZYDIS_MNEMONIC_CWDE: return cwde;
	case ZYDIS_MNEMONIC_CDQ: return cdq;
	case ZYDIS_MNEMONIC_CQO: return cqo;
	case ZYDIS_MNEMONIC_NOP: return nop;
	case ZYDIS_MNEMONIC_BSWAP: return insn->size == 8 ? bswap_u64 : insn->size == 4 ? bswap_u32 : NULL;
	default: break;
	}
	if (form->map != 1)
		return NULL;
	if (form->category == ZYDIS_CATEGORY_SETCC)
		return memory ? NULL : setcc_r;
	if (form->category == ZYDIS_CATEGORY_CMOV && insn->size >= 4)
		return memory ? (insn->size == 8 ? cmovcc_u64_m : cmovcc_u32_m)
			      : (insn->size == 8 ? cmovcc_u64_r : cmovcc_u32_r);
	return NULL;
}

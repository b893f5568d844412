/*
 * Moves that change no flags: MOV, LEA, MOVZX, MOVSX, MOVSXD, CMOVcc, SETcc, MOVBE, BSWAP, MOVNTI, MOVDIRI, MOVDIR64B,
 * XLAT: SDM vol. 2.
 *
 * MOV to and from segment, control and debug registers is elsewhere.
 */
#include "exec/integer.h"

static enum step mov(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	if (value_read(cpu, insn, 1, insn->size, &value) || value_write(cpu, insn, 0, insn->size, value))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step lea(struct cpu *cpu, const struct insn *insn)
{
	reg_set(cpu, insn->reg, insn->size, operand_offset(cpu, insn));
	return STEP_NEXT;
}

static enum step movzx(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	if (operand_read(cpu, insn, insn->form->operand[1].bytes, &value))
		return STEP_FAULT;
	reg_set(cpu, insn->reg, insn->size, value);
	return STEP_NEXT;
}

/* MOVSX and MOVSXD. */
static enum step movsx(struct cpu *cpu, const struct insn *insn)
{
	unsigned bytes = insn->form->operand[1].bytes;
	uint64_t value;

	if (operand_read(cpu, insn, bytes, &value))
		return STEP_FAULT;
	reg_set(cpu, insn->reg, insn->size, (uint64_t)sign_extend(value, 8 * bytes));
	return STEP_NEXT;
}

/* The source is read, and a 32-bit destination zero-extended, whatever the condition. */
static enum step cmovcc(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	if (operand_read(cpu, insn, insn->size, &value))
		return STEP_FAULT;
	if (!cc_condition(&cpu->cc, insn->opcode & 15))
		value = reg_get(cpu, insn->reg, insn->size);
	reg_set(cpu, insn->reg, insn->size, value);
	return STEP_NEXT;
}

static enum step setcc(struct cpu *cpu, const struct insn *insn)
{
	return operand_write(cpu, insn, 1, cc_condition(&cpu->cc, insn->opcode & 15)) ? STEP_FAULT : STEP_NEXT;
}

static uint64_t swapped(uint64_t value, unsigned size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static enum step movbe(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	uint64_t value;

	if (insn->form->operand[0].kind == OPERAND_MEM)
		return operand_write(cpu, insn, size, swapped(reg_get(cpu, insn->reg, size), size)) ? STEP_FAULT
												    : STEP_NEXT;
	if (operand_read(cpu, insn, size, &value))
		return STEP_FAULT;
	reg_set(cpu, insn->reg, size, swapped(value, size));
	return STEP_NEXT;
}

/* The manual leaves a 16-bit BSWAP undefined; processors clear the register's low half. */
static enum step bswap(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;

	reg_set(cpu, insn->rm, size, size == 2 ? 0 : swapped(reg_get(cpu, insn->rm, size), size));
	return STEP_NEXT;
}

/* MOVNTI, MOVDIRI: stores whose memory type and ordering have no visible effect here. */
static enum step store(struct cpu *cpu, const struct insn *insn)
{
	return operand_write(cpu, insn, insn->size, reg_get(cpu, insn->reg, insn->size)) ? STEP_FAULT : STEP_NEXT;
}

/* 64 bytes to ES:reg, which is aligned; both operands' offsets are as wide as addresses. */
static enum step movdir64b(struct cpu *cpu, const struct insn *insn)
{
	uint8_t bytes[64];
	la_t from, to;

	if (offset_linear(cpu, ES, reg_get(cpu, insn->reg, insn->addr_size), 64, ACCESS_WRITE, &to))
		return STEP_FAULT;
	if (!is_aligned(to, 64))
		return raise_gp0(cpu);
	if (operand_linear(cpu, insn, 64, ACCESS_READ, &from) || mem_read_bytes(cpu, from, bytes, 64, ACCESS_READ) ||
	    mem_write_bytes(cpu, to, bytes, 64, ACCESS_WRITE))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step xlat(struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = (cpu->r[RBX] + (uint8_t)cpu->r[RAX]) & bytes_mask(insn->addr_size), value;
	la_t la;

	if (offset_linear(cpu, insn->seg, offset, 1, ACCESS_READ, &la) || mem_read_size(cpu, la, 1, &value))
		return STEP_FAULT;
	reg_set(cpu, RAX, 1, value);
	return STEP_NEXT;
}

#define EACH_CONDITION(X) X(O) X(NO) X(B) X(NB) X(Z) X(NZ) X(BE) X(NBE) X(S) X(NS) X(P) X(NP) X(L) X(NL) X(LE) X(NLE)

const struct exec_entry exec_move_entries[] = {
	ENTRY(MOV, mov),
	ENTRY(LEA, lea),
	ENTRY(MOVZX, movzx),
	ENTRY(MOVSX, movsx),
	ENTRY(MOVSXD, movsx),
	ENTRY(MOVBE, movbe),
	ENTRY(BSWAP, bswap),
	ENTRY(MOVNTI, store),
	ENTRY(MOVDIRI, store),
	ENTRY(MOVDIR64B, movdir64b),
	ENTRY(XLAT, xlat),
#define X(cc) ENTRY(CMOV##cc, cmovcc), ENTRY(SET##cc, setcc),
	EACH_CONDITION(X)
#undef X
		{0},
};

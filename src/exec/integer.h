/*
 * What the integer instructions share: explicit operands by their place in the form, read-modify-write of the first
 * one, and flags.
 *
 * operand.h reaches ModRM operands; here an operand is whatever the form says: register, memory, immediate, an implied
 * register, or the offset that MOV's A0H-A3H carry.
 */
#pragma once

#include "cpu/flags.h"
#include "cpu/mode.h"
#include "exec/entries.h"
#include "exec/operand.h"

/* The number that reg_get() takes for a general register of Zydis: byte registers by offset. */
static inline unsigned register_number(uint16_t fixed)
{
	if (fixed >= ZYDIS_REGISTER_AX && fixed <= ZYDIS_REGISTER_R15)
		return (fixed - ZYDIS_REGISTER_AX) % 16;
	if (fixed >= ZYDIS_REGISTER_AH && fixed <= ZYDIS_REGISTER_BH)
		return (fixed - ZYDIS_REGISTER_AH) * 8 + 1;
	return (fixed - ZYDIS_REGISTER_AL) * 8;
}

static inline unsigned operand_register(const struct insn *insn, unsigned number)
{
	const struct form_operand *operand = &insn->form->operand[number];

	if (operand->kind == OPERAND_FIXED)
		return register_number(operand->fixed);
	switch (operand->where) {
	case FIELD_REG: return insn->reg;
	case FIELD_VVVV: return insn->vvvv;
	default: return insn->rm;
	}
}

/* An offset in a segment -> linear, for operands that no ModRM names: strings, XLAT, MOV's offsets. */
MUST_CHECK static inline bool offset_linear(struct cpu *cpu, enum segment_number segment, uint64_t offset,
					    unsigned size, unsigned access, la_t *la)
{
	if ((cpu->mode & MODE_CODE) == MODE_CODE64) {
		*la = segment == FS || segment == GS ? cpu->seg[segment].base + offset : offset;
		return false;
	}
	if ((cpu->mode & MODE_FLAT) && segment < FS && segment != CS) { /* code is not writable however flat it is */
		*la = offset;
		return false;
	}
	return segment_linear(cpu, segment, offset, size, access, la);
}

/* MOV with an offset instead of ModRM: opcodes A0H to A3H. */
static inline bool is_moffs(const struct insn *insn)
{
	return !insn->form->has_modrm && insn->opcode >= 0xa0 && insn->opcode <= 0xa3;
}

MUST_CHECK static inline bool memory_linear(struct cpu *cpu, const struct insn *insn, unsigned size, unsigned access,
					    la_t *la)
{
	if (unlikely(is_moffs(insn)))
		return offset_linear(cpu, insn->seg, insn->imm & bytes_mask(insn->addr_size), size, access, la);
	return operand_linear(cpu, insn, size, access, la);
}

/* Explicit operand `number`, size bytes. */
MUST_CHECK static inline bool value_read(struct cpu *cpu, const struct insn *insn, unsigned number, unsigned size,
					 uint64_t *value)
{
	la_t la;

	switch (insn->form->operand[number].kind) {
	case OPERAND_MEM:
		return memory_linear(cpu, insn, size, ACCESS_READ, &la) || mem_read_size(cpu, la, size, value);
	case OPERAND_IMM: *value = insn->imm; return false;
	default: *value = reg_get(cpu, operand_register(insn, number), size); return false;
	}
}

MUST_CHECK static inline bool value_write(struct cpu *cpu, const struct insn *insn, unsigned number, unsigned size,
					  uint64_t value)
{
	la_t la;

	if (insn->form->operand[number].kind == OPERAND_MEM)
		return memory_linear(cpu, insn, size, ACCESS_WRITE, &la) || mem_write_size(cpu, la, size, value);
	reg_set(cpu, operand_register(insn, number), size, value);
	return false;
}

/* Read-modify-write of operand 0: begin makes end certain to succeed. */
struct target {
	struct mem_rmw mem;
	bool memory;
	unsigned number;
};

MUST_CHECK static inline bool target_begin(struct cpu *cpu, const struct insn *insn, unsigned size,
					   struct target *target, uint64_t *value)
{
	la_t la;

	target->memory = insn->form->operand[0].kind == OPERAND_MEM;
	if (!target->memory) {
		target->number = operand_register(insn, 0);
		*value = reg_get(cpu, target->number, size);
		return false;
	}
	return operand_linear(cpu, insn, size, ACCESS_READ | ACCESS_WRITE, &la) ||
	       mem_rmw_begin(cpu, &target->mem, la, size, value);
}

static inline void target_end(struct cpu *cpu, unsigned size, const struct target *target, uint64_t value)
{
	if (target->memory)
		mem_rmw_end(cpu, &target->mem, value);
	else
		reg_set(cpu, target->number, size, value);
}

static inline void set_lazy(struct cpu *cpu, enum cc_kind kind, unsigned size, uint64_t dst, uint64_t src)
{
	cpu->cc.dst = dst;
	cpu->cc.src = src;
	cpu->cc.op = CC(kind, (unsigned)__builtin_ctz(size));
}

/* Change some arithmetic flags and keep the others. */
static inline void set_some(struct cpu *cpu, uint64_t which, uint64_t flags)
{
	cc_set_exact(cpu, (cc_flags(&cpu->cc) & ~which) | (flags & which));
}

static inline uint64_t flag_if(bool condition, uint64_t flag)
{
	return condition ? flag : 0;
}

/* ZF, SF and PF of a result. */
static inline uint64_t result_flags(uint64_t result, unsigned size)
{
	return flag_if((result & bytes_mask(size)) == 0, RFLAGS_ZF) | flag_if(result >> (8 * size - 1) & 1, RFLAGS_SF) |
	       flag_if(!__builtin_parity((uint8_t)result), RFLAGS_PF);
}

/*
 * Shifts and rotates: SDM vol. 2, "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR", "SHLD", "SHRD", and the VEX forms that leave
 * the flags alone.
 *
 * What the manual leaves undefined: AF is 0 after a shift; OF follows the last bit moved, whatever the count; SHLD and
 * SHRD of 16 bits with a count over 16 go on into the source operand again.
 */
#include "exec/integer.h"

/* D0H and D1H: by 1. D2H and D3H: by CL. C0H and C1H: by an immediate. */
static unsigned shift_count(const struct cpu *cpu, const struct insn *insn)
{
	unsigned count = (insn->opcode & 0xfe) == 0xd0	 ? 1
			 : (insn->opcode & 0xfe) == 0xd2 ? (uint8_t)cpu->r[RCX]
							 : (uint8_t)insn->imm;

	return count & (insn->size == 8 ? 63 : 31);
}

enum shift { SHIFT_LEFT, SHIFT_RIGHT, SHIFT_ARITHMETIC };

static inline enum step shift(struct cpu *cpu, const struct insn *insn, enum shift kind)
{
	unsigned size = insn->size, count = shift_count(cpu, insn);
	struct target target;
	uint64_t a, result, before;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	result = a;
	if (count) {
		switch (kind) {
		case SHIFT_LEFT:
			before = a << (count - 1);
			result = before << 1;
			set_lazy(cpu, CC_SHL, size, result, before);
			break;
		case SHIFT_RIGHT:
			before = a >> (count - 1);
			result = before >> 1;
			set_lazy(cpu, CC_SHR, size, result, before);
			break;
		case SHIFT_ARITHMETIC:
			before = (uint64_t)(sign_extend(a, 8 * size) >> (count - 1));
			result = (uint64_t)((int64_t)before >> 1);
			set_lazy(cpu, CC_SAR, size, result, before);
			break;
		}
	}
	target_end(cpu, size, &target, result); /* also with a count of 0: a 32-bit register is zero-extended */
	return STEP_NEXT;
}

static enum step shl(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, SHIFT_LEFT);
}

static enum step shr(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, SHIFT_RIGHT);
}

static enum step sar(struct cpu *cpu, const struct insn *insn)
{
	return shift(cpu, insn, SHIFT_ARITHMETIC);
}

static uint64_t rotated_left(uint64_t a, unsigned width, unsigned count)
{
	return count ? a << count | a >> (width - count) : a;
}

static void rotate_flags(struct cpu *cpu, bool carry, bool overflow)
{
	set_some(cpu, RFLAGS_CF | RFLAGS_OF, flag_if(carry, RFLAGS_CF) | flag_if(overflow, RFLAGS_OF));
}

static enum step rol(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = shift_count(cpu, insn);
	struct target target;
	uint64_t a, result;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	result = rotated_left(a, width, count % width);
	if (count)
		rotate_flags(cpu, result & 1, (result >> (width - 1) ^ result) & 1);
	target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

static enum step ror(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = shift_count(cpu, insn);
	struct target target;
	uint64_t a, result;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	result = rotated_left(a, width, -count % width);
	if (count)
		rotate_flags(cpu, result >> (width - 1) & 1, (result >> (width - 1) ^ result >> (width - 2)) & 1);
	target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

/* Rotates through CF have width + 1 positions. */
static enum step rcl(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = shift_count(cpu, insn) % (width + 1);
	uint64_t carry = cc_carry(&cpu->cc), a, result;
	struct target target;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	result = a;
	if (count) {
		result = a << count | carry << (count - 1) | (count > 1 ? a >> (width + 1 - count) : 0);
		carry = a >> (width - count) & 1;
		rotate_flags(cpu, carry, (result >> (width - 1) ^ carry) & 1);
	}
	target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

static enum step rcr(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = shift_count(cpu, insn) % (width + 1);
	uint64_t carry = cc_carry(&cpu->cc), a, result;
	struct target target;

	if (target_begin(cpu, insn, size, &target, &a))
		return STEP_FAULT;
	result = a;
	if (count) {
		result = a >> count | carry << (width - count) | (count > 1 ? a << (width + 1 - count) : 0);
		carry = a >> (count - 1) & 1;
		rotate_flags(cpu, carry, (result >> (width - 1) ^ result >> (width - 2)) & 1);
	}
	target_end(cpu, size, &target, result);
	return STEP_NEXT;
}

static unsigned double_count(const struct cpu *cpu, const struct insn *insn)
{
	return (insn->opcode & 1 ? (uint8_t)cpu->r[RCX] : (uint8_t)insn->imm) & (insn->size == 8 ? 63 : 31);
}

static void double_flags(struct cpu *cpu, unsigned size, uint64_t before, uint64_t result, bool carry)
{
	cc_set_exact(cpu, result_flags(result, size) | flag_if(carry, RFLAGS_CF) |
				  flag_if((before ^ result) >> (8 * size - 1) & 1, RFLAGS_OF));
}

/* One bit before the last is kept in `before`, so that OF and CF are of the last bit moved. */
static enum step shld(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = double_count(cpu, insn);
	uint64_t source = reg_get(cpu, insn->reg, size), a, result, before;
	struct operand_rmw rmw;

	if (operand_rmw_begin(cpu, insn, size, &rmw, &a))
		return STEP_FAULT;
	result = a;
	if (count) {
		unsigned __int128 wide = (unsigned __int128)a << 64 | source << (64 - width);

		if (width == 16)
			wide |= source << 32; /* a:source:source */
		before = (uint64_t)(wide << (count - 1) >> 64);
		result = (uint64_t)(wide << count >> 64);
		double_flags(cpu, size, before, result, before >> (width - 1) & 1);
	}
	operand_rmw_end(cpu, insn, size, &rmw, result);
	return STEP_NEXT;
}

static enum step shrd(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size, count = double_count(cpu, insn);
	uint64_t source = reg_get(cpu, insn->reg, size), a, result, before;
	struct operand_rmw rmw;

	if (operand_rmw_begin(cpu, insn, size, &rmw, &a))
		return STEP_FAULT;
	result = a;
	if (count) {
		unsigned __int128 wide = (unsigned __int128)source << width | a;

		if (width == 16)
			wide |= (unsigned __int128)source << 32; /* source:source:a */
		before = (uint64_t)(wide >> (count - 1));
		result = (uint64_t)(wide >> count);
		double_flags(cpu, size, before, result, before & 1);
	}
	operand_rmw_end(cpu, insn, size, &rmw, result);
	return STEP_NEXT;
}

/* SHLX, SHRX, SARX, RORX: no flags. */
static inline enum step shift_vex(struct cpu *cpu, const struct insn *insn, enum shift kind)
{
	unsigned size = insn->size, count = (unsigned)cpu->r[insn->vvvv] & (8 * size - 1);
	uint64_t a;

	if (operand_read(cpu, insn, size, &a))
		return STEP_FAULT;
	reg_set(cpu, insn->reg, size,
		kind == SHIFT_LEFT    ? a << count
		: kind == SHIFT_RIGHT ? a >> count
				      : (uint64_t)(sign_extend(a, 8 * size) >> count));
	return STEP_NEXT;
}

static enum step shlx(struct cpu *cpu, const struct insn *insn)
{
	return shift_vex(cpu, insn, SHIFT_LEFT);
}

static enum step shrx(struct cpu *cpu, const struct insn *insn)
{
	return shift_vex(cpu, insn, SHIFT_RIGHT);
}

static enum step sarx(struct cpu *cpu, const struct insn *insn)
{
	return shift_vex(cpu, insn, SHIFT_ARITHMETIC);
}

static enum step rorx(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, width = 8 * size;
	uint64_t a;

	if (operand_read(cpu, insn, size, &a))
		return STEP_FAULT;
	reg_set(cpu, insn->reg, size, rotated_left(a, width, -(unsigned)insn->imm % width));
	return STEP_NEXT;
}

const struct exec_entry exec_shift_entries[] = {
	ENTRY(SHL, shl),   ENTRY(SHR, shr),
	ENTRY(SAR, sar),   ENTRY(ROL, rol),
	ENTRY(ROR, ror),   ENTRY(RCL, rcl),
	ENTRY(RCR, rcr),   ENTRY(SHLD, shld),
	ENTRY(SHRD, shrd), ENTRY(SHLX, shlx),
	ENTRY(SHRX, shrx), ENTRY(SARX, sarx),
	ENTRY(RORX, rorx), {0},
};

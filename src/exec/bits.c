/*
 * Single bits, bit scans and counts, BMI1 and BMI2's bit fields, CRC32: SDM vol. 2. MULX and the VEX shifts are in
 * multiply.c and shift.c.
 *
 * What the manual leaves undefined: BT and its kin keep all flags but CF; a scan that finds nothing keeps its
 * destination; the BMI instructions clear AF and set PF and SF by the result.
 */
#include "exec/integer.h"

enum bit_operation { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

/* A bit number in a register moves the memory operand by whole operands, signed: "Bit(BitBase, BitOffset)". An
 * immediate does not. */
static inline enum step bit(struct cpu *cpu, const struct insn *insn, enum bit_operation operation)
{
	unsigned size = insn->size, width = 8 * size;
	bool by_register = insn->opcode != 0xba, in_memory = insn->ea != EA_NONE;
	uint64_t offset = by_register ? reg_get(cpu, insn->reg, size) : insn->imm, value, mask = BIT(offset % width);
	uint64_t away = by_register ? (uint64_t)(sign_extend(offset, width) >> __builtin_ctz(width)) * size : 0;
	unsigned access = operation == BIT_TEST ? ACCESS_READ : ACCESS_READ | ACCESS_WRITE;
	struct mem_rmw rmw;
	la_t la;

	if (!in_memory)
		value = reg_get(cpu, insn->rm, size);
	else if (operand_linear_at(cpu, insn, away, size, access, &la) ||
		 (operation == BIT_TEST ? mem_read_size(cpu, la, size, &value)
					: mem_rmw_begin(cpu, &rmw, la, size, &value)))
		return STEP_FAULT;

	set_some(cpu, RFLAGS_CF, flag_if(value & mask, RFLAGS_CF));
	if (operation == BIT_TEST)
		return STEP_NEXT;
	value = operation == BIT_SET ? value | mask : operation == BIT_RESET ? value & ~mask : value ^ mask;
	if (in_memory)
		mem_rmw_end(cpu, &rmw, value);
	else
		reg_set(cpu, insn->rm, size, value);
	return STEP_NEXT;
}

static enum step bt(struct cpu *cpu, const struct insn *insn)
{
	return bit(cpu, insn, BIT_TEST);
}

static enum step bts(struct cpu *cpu, const struct insn *insn)
{
	return bit(cpu, insn, BIT_SET);
}

static enum step btr(struct cpu *cpu, const struct insn *insn)
{
	return bit(cpu, insn, BIT_RESET);
}

static enum step btc(struct cpu *cpu, const struct insn *insn)
{
	return bit(cpu, insn, BIT_COMPLEMENT);
}

static unsigned highest(uint64_t value)
{
	return 63 - (unsigned)__builtin_clzll(value);
}

static inline enum step scan(struct cpu *cpu, const struct insn *insn, bool up)
{
	unsigned size = insn->size;
	uint64_t source;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	set_some(cpu, RFLAGS_ZF, flag_if(source == 0, RFLAGS_ZF));
	if (source)
		reg_set(cpu, insn->reg, size, up ? (unsigned)__builtin_ctzll(source) : highest(source));
	return STEP_NEXT;
}

static enum step bsf(struct cpu *cpu, const struct insn *insn)
{
	return scan(cpu, insn, true);
}

static enum step bsr(struct cpu *cpu, const struct insn *insn)
{
	return scan(cpu, insn, false);
}

static inline enum step count_zeros(struct cpu *cpu, const struct insn *insn, bool trailing)
{
	unsigned size = insn->size, width = 8 * size, count;
	uint64_t source;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	if (source == 0)
		count = width;
	else
		count = trailing ? (unsigned)__builtin_ctzll(source) : width - 1 - highest(source);
	set_some(cpu, RFLAGS_CF | RFLAGS_ZF, flag_if(source == 0, RFLAGS_CF) | flag_if(count == 0, RFLAGS_ZF));
	reg_set(cpu, insn->reg, size, count);
	return STEP_NEXT;
}

/* Without their feature the REP prefix means nothing: they are BSF and BSR. */
static enum step tzcnt(struct cpu *cpu, const struct insn *insn)
{
	return model_has(cpu->model, FEATURE_BMI1) ? count_zeros(cpu, insn, true) : bsf(cpu, insn);
}

static enum step lzcnt(struct cpu *cpu, const struct insn *insn)
{
	return model_has(cpu->model, FEATURE_LZCNT) ? count_zeros(cpu, insn, false) : bsr(cpu, insn);
}

static enum step popcnt(struct cpu *cpu, const struct insn *insn)
{
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	cc_set_exact(cpu, flag_if(source == 0, RFLAGS_ZF));
	reg_set(cpu, insn->reg, insn->size, (unsigned)__builtin_popcountll(source));
	return STEP_NEXT;
}

/* SF, ZF and PF by the result, CF as told, OF and AF 0. */
static enum step field_result(struct cpu *cpu, unsigned number, unsigned size, uint64_t result, bool carry)
{
	cc_set_exact(cpu, result_flags(result, size) | flag_if(carry, RFLAGS_CF));
	reg_set(cpu, number, size, result);
	return STEP_NEXT;
}

static enum step andn(struct cpu *cpu, const struct insn *insn)
{
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	return field_result(cpu, insn->reg, insn->size, ~cpu->r[insn->vvvv] & source, false);
}

static enum step bextr(struct cpu *cpu, const struct insn *insn)
{
	unsigned start = (uint8_t)cpu->r[insn->vvvv], length = (uint8_t)(cpu->r[insn->vvvv] >> 8);
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	source = start < 64 ? source >> start : 0;
	return field_result(cpu, insn->reg, insn->size, length < 64 ? source & (BIT(length) - 1) : source, false);
}

static enum step bzhi(struct cpu *cpu, const struct insn *insn)
{
	unsigned from = (uint8_t)cpu->r[insn->vvvv];
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	return field_result(cpu, insn->reg, insn->size, from < 64 ? source & (BIT(from) - 1) : source,
			    from > 8 * insn->size - 1u);
}

static enum step blsi(struct cpu *cpu, const struct insn *insn)
{
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	return field_result(cpu, insn->vvvv, insn->size, source & -source, source != 0);
}

static enum step blsmsk(struct cpu *cpu, const struct insn *insn)
{
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	return field_result(cpu, insn->vvvv, insn->size, source ^ (source - 1), source == 0);
}

static enum step blsr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t source;

	if (operand_read(cpu, insn, insn->size, &source))
		return STEP_FAULT;
	return field_result(cpu, insn->vvvv, insn->size, source & (source - 1), source == 0);
}

static enum step pdep(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask, result = 0, source = reg_get(cpu, insn->vvvv, insn->size);

	if (operand_read(cpu, insn, insn->size, &mask))
		return STEP_FAULT;
	for (; mask; mask &= mask - 1, source >>= 1)
		if (source & 1)
			result |= mask & -mask;
	reg_set(cpu, insn->reg, insn->size, result);
	return STEP_NEXT;
}

static enum step pext(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask, result = 0, to = 1, source = reg_get(cpu, insn->vvvv, insn->size);

	if (operand_read(cpu, insn, insn->size, &mask))
		return STEP_FAULT;
	for (; mask; mask &= mask - 1, to <<= 1)
		if (source & mask & -mask)
			result |= to;
	reg_set(cpu, insn->reg, insn->size, result);
	return STEP_NEXT;
}

/* Polynomial 11EDC6F41H, bit-reflected; table[n] is the remainder of the four bits n. */
static uint32_t crc32c(uint32_t crc, uint64_t data, unsigned bytes)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (unsigned nibble = 0; nibble < 2 * bytes; nibble++, data >>= 4)
		crc = crc >> 4 ^ table[(crc ^ data) & 15];
	return crc;
}

static enum step crc32(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->form->operand[1].bytes;
	uint64_t source;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	cpu->r[insn->reg] = crc32c((uint32_t)cpu->r[insn->reg], source, size);
	return STEP_NEXT;
}

const struct exec_entry exec_bits_entries[] = {
	ENTRY(BT, bt),
	ENTRY(BTS, bts),
	ENTRY(BTR, btr),
	ENTRY(BTC, btc),
	ENTRY(BSF, bsf),
	ENTRY(BSR, bsr),
	ENTRY(TZCNT, tzcnt),
	ENTRY(LZCNT, lzcnt),
	ENTRY(POPCNT, popcnt),
	ENTRY(ANDN, andn),
	ENTRY(BEXTR, bextr),
	ENTRY(BZHI, bzhi),
	ENTRY(BLSI, blsi),
	ENTRY(BLSMSK, blsmsk),
	ENTRY(BLSR, blsr),
	ENTRY(PDEP, pdep),
	ENTRY(PEXT, pext),
	ENTRY(CRC32, crc32),
	{0},
};

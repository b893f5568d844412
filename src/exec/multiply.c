/*
 * MUL, IMUL, DIV, IDIV, MULX: SDM vol. 2. A quotient that does not fit is #DE and changes nothing.
 *
 * Flags that the manual leaves undefined after a multiplication: SF and PF follow the low half, ZF and AF are 0. A
 * division leaves all flags.
 */
#include "exec/integer.h"

static void product_flags(struct cpu *cpu, uint64_t low, unsigned size, bool overflow)
{
	cc_set_exact(cpu, (result_flags(low, size) & ~RFLAGS_ZF) | flag_if(overflow, RFLAGS_CF | RFLAGS_OF));
}

/* The double-width result or dividend: AX, or DX:AX, EDX:EAX, RDX:RAX. */
static void pair_set(struct cpu *cpu, unsigned size, uint64_t low, uint64_t high)
{
	if (size == 1) {
		reg_set(cpu, RAX, 2, (low & 0xff) | high << 8);
		return;
	}
	reg_set(cpu, RAX, size, low);
	reg_set(cpu, RDX, size, high);
}

static unsigned __int128 pair_get(const struct cpu *cpu, unsigned size)
{
	if (size == 1)
		return (uint16_t)cpu->r[RAX];
	return (unsigned __int128)reg_get(cpu, RDX, size) << 8 * size | reg_get(cpu, RAX, size);
}

static enum step mul(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	unsigned __int128 product;
	uint64_t source, high;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	product = (unsigned __int128)reg_get(cpu, RAX, size) * source;
	high = (uint64_t)(product >> 8 * size) & bytes_mask(size);
	pair_set(cpu, size, (uint64_t)product, high);
	product_flags(cpu, (uint64_t)product, size, high != 0);
	return STEP_NEXT;
}

/* IMUL with one operand: F6H and F7H /5. */
static enum step imul_pair(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	__int128 product;
	uint64_t source;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	product = (__int128)sign_extend(cpu->r[RAX], 8 * size) * sign_extend(source, 8 * size);
	pair_set(cpu, size, (uint64_t)product, (uint64_t)(product >> 8 * size) & bytes_mask(size));
	product_flags(cpu, (uint64_t)product, size, product != sign_extend((uint64_t)product, 8 * size));
	return STEP_NEXT;
}

/* IMUL reg, r/m and IMUL reg, r/m, imm. */
static enum step imul(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	__int128 product;
	uint64_t source, other;

	if (insn->opcode == 0xf6 || insn->opcode == 0xf7)
		return imul_pair(cpu, insn);
	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	other = insn->opcode == 0xaf ? reg_get(cpu, insn->reg, size) : insn->imm;
	product = (__int128)sign_extend(source, 8 * size) * sign_extend(other, 8 * size);
	reg_set(cpu, insn->reg, size, (uint64_t)product);
	product_flags(cpu, (uint64_t)product, size, product != sign_extend((uint64_t)product, 8 * size));
	return STEP_NEXT;
}

static enum step divide(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	unsigned __int128 dividend = pair_get(cpu, size);
	uint64_t divisor, quotient, remainder;

	if (operand_read(cpu, insn, size, &divisor))
		return STEP_FAULT;
	/* The quotient fits exactly when the upper half is below the divisor; this covers a divisor of 0. */
	if ((uint64_t)(dividend >> 8 * size) >= divisor)
		return raise_fault(cpu, VECTOR_DE);
	if (dividend >> 64) {
		quotient = (uint64_t)(dividend / divisor);
		remainder = (uint64_t)(dividend % divisor);
	} else {
		quotient = (uint64_t)dividend / divisor;
		remainder = (uint64_t)dividend % divisor;
	}
	pair_set(cpu, size, quotient, remainder);
	return STEP_NEXT;
}

static enum step divide_signed(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	unsigned __int128 dividend = pair_get(cpu, size), quotient;
	uint64_t source, divisor, remainder;
	bool negative = dividend >> (16 * size - 1) & 1, negative_quotient;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	/* Magnitudes: the most negative dividend's still fits, as unsigned. */
	if (negative)
		dividend = size == 8 ? -dividend : -dividend & (((unsigned __int128)1 << 16 * size) - 1);
	negative_quotient = negative != (sign_extend(source, 8 * size) < 0);
	divisor = sign_extend(source, 8 * size) < 0 ? -source & bytes_mask(size) : source;
	if (divisor == 0)
		return raise_fault(cpu, VECTOR_DE);
	quotient = dividend / divisor;
	remainder = (uint64_t)(dividend % divisor);
	if (quotient > (bytes_mask(size) >> 1) + negative_quotient)
		return raise_fault(cpu, VECTOR_DE);
	pair_set(cpu, size, negative_quotient ? -(uint64_t)quotient : (uint64_t)quotient,
		 (negative ? -remainder : remainder) & bytes_mask(size));
	return STEP_NEXT;
}

/* No flags; the high half is written last, so it stays when both destinations are one register. */
static enum step mulx(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size;
	unsigned __int128 product;
	uint64_t source;

	if (operand_read(cpu, insn, size, &source))
		return STEP_FAULT;
	product = (unsigned __int128)reg_get(cpu, RDX, size) * source;
	reg_set(cpu, insn->vvvv, size, (uint64_t)product);
	reg_set(cpu, insn->reg, size, (uint64_t)(product >> 8 * size));
	return STEP_NEXT;
}

const struct exec_entry exec_multiply_entries[] = {
	ENTRY(MUL, mul), ENTRY(IMUL, imul), ENTRY(DIV, divide), ENTRY(IDIV, divide_signed), ENTRY(MULX, mulx), {0},
};

/*
 * Operands: registers by number and width, effective addresses, and ModRM operands that are a register or memory.
 *
 * Writing a 32-bit register clears bits 63:32; writing 8 or 16 bits leaves the rest: SDM vol. 1, "General-Purpose
 * Registers in 64-Bit Mode".
 */
#pragma once

#include "exec/exec.h"
#include "mem/access.h"

static inline uint64_t reg_get(const struct cpu *cpu, unsigned number, unsigned size)
{
	switch (size) {
	case 1: return ((const uint8_t *)cpu->r)[number]; /* byte registers are numbered by offset */
	case 2: return (uint16_t)cpu->r[number];
	case 4: return (uint32_t)cpu->r[number];
	default: return cpu->r[number];
	}
}

static inline void reg_set(struct cpu *cpu, unsigned number, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: ((uint8_t *)cpu->r)[number] = (uint8_t)value; break;
	case 2: cpu->r[number] = (cpu->r[number] & ~UINT64_C(0xffff)) | (uint16_t)value; break;
	case 4: cpu->r[number] = (uint32_t)value; break;
	default: cpu->r[number] = value; break;
	}
}

/* The effective address before segmentation, cut to the address size. */
static inline uint64_t operand_offset(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t offset = cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp;

	return insn->addr_size == 8 ? offset : offset & bytes_mask(insn->addr_size);
}

/* The linear address of the memory operand, for an access of `size` bytes; adds `extra` to the offset (bit strings,
 * second words). */
MUST_CHECK static inline bool operand_linear_at(struct cpu *cpu, const struct insn *insn, uint64_t extra, unsigned size,
						unsigned access, la_t *la)
{
	uint64_t offset =
		cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp + extra;

	if (likely(insn->ea == EA_PLAIN)) {
		*la = offset;
		return false;
	}
	if (insn->addr_size != 8)
		offset &= bytes_mask(insn->addr_size);
	if (insn->ea == EA_PLAIN32) {
		*la = offset;
		return false;
	}
	if (insn->ea == EA_FSGS) {
		*la = cpu->seg[insn->seg].base + offset;
		return false;
	}
	return segment_linear(cpu, insn->seg, offset, size, access, la);
}

MUST_CHECK static inline bool operand_linear(struct cpu *cpu, const struct insn *insn, unsigned size, unsigned access,
					     la_t *la)
{
	return operand_linear_at(cpu, insn, 0, size, access, la);
}

MUST_CHECK static inline bool mem_read_size(struct cpu *cpu, la_t la, unsigned size, uint64_t *value)
{
	const void *host = tlb_read(cpu, la, size);

	if (unlikely(!host))
		return mem_read_slow(cpu, la, size, value, ACCESS_READ);
	*value = load_le(host, size);
	return false;
}

MUST_CHECK static inline bool mem_write_size(struct cpu *cpu, la_t la, unsigned size, uint64_t value)
{
	void *host = tlb_write(cpu, la, size);

	if (unlikely(!host))
		return mem_write_slow(cpu, la, size, value, ACCESS_WRITE);
	store_le(host, size, value);
	return false;
}

/* The ModRM r/m operand (or memory offset), `size` bytes (1, 2, 4, 8). */
MUST_CHECK static inline bool operand_read(struct cpu *cpu, const struct insn *insn, unsigned size, uint64_t *value)
{
	la_t la;

	if (insn->ea == EA_NONE) {
		*value = reg_get(cpu, insn->rm, size);
		return false;
	}
	return operand_linear(cpu, insn, size, ACCESS_READ, &la) || mem_read_size(cpu, la, size, value);
}

MUST_CHECK static inline bool operand_write(struct cpu *cpu, const struct insn *insn, unsigned size, uint64_t value)
{
	la_t la;

	if (insn->ea == EA_NONE) {
		reg_set(cpu, insn->rm, size, value);
		return false;
	}
	return operand_linear(cpu, insn, size, ACCESS_WRITE, &la) || mem_write_size(cpu, la, size, value);
}

/* Read-modify-write of the r/m operand: begin reads and makes end certain to succeed. */
struct operand_rmw {
	struct mem_rmw mem;
};

MUST_CHECK static inline bool operand_rmw_begin(struct cpu *cpu, const struct insn *insn, unsigned size,
						struct operand_rmw *rmw, uint64_t *value)
{
	la_t la;

	if (insn->ea == EA_NONE) {
		*value = reg_get(cpu, insn->rm, size);
		return false;
	}
	return operand_linear(cpu, insn, size, ACCESS_READ | ACCESS_WRITE, &la) ||
	       mem_rmw_begin(cpu, &rmw->mem, la, size, value);
}

static inline void operand_rmw_end(struct cpu *cpu, const struct insn *insn, unsigned size,
				   const struct operand_rmw *rmw, uint64_t value)
{
	if (insn->ea == EA_NONE)
		reg_set(cpu, insn->rm, size, value);
	else
		mem_rmw_end(cpu, &rmw->mem, value);
}

/* The stack, with the width of the stack pointer and SS's checks. size 2, 4 or 8. RSP changes only when the access
 * succeeded. */
MUST_CHECK bool stack_push(struct cpu *cpu, unsigned size, uint64_t value);
MUST_CHECK bool stack_pop(struct cpu *cpu, unsigned size, uint64_t *value);
/* Mask of the stack pointer's bits that count: FFFFH, FFFFFFFFH or all. */
static inline uint64_t stack_mask(const struct cpu *cpu)
{
	return cpu_64bit(cpu) ? ~UINT64_C(0) : cpu->seg[SS].ar & AR_DB ? UINT64_C(0xffffffff) : UINT64_C(0xffff);
}
static inline void stack_set(struct cpu *cpu, uint64_t value)
{
	uint64_t mask = stack_mask(cpu);

	cpu->r[RSP] = mask == 0xffffffff ? (uint32_t)value : (cpu->r[RSP] & ~mask) | (value & mask);
}

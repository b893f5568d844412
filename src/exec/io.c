/*
 * IN and OUT, and who may: SDM vol. 1, "Input/Output"; SDM vol. 2, "IN", "OUT". INS and OUTS are in string.c.
 */
#include "exec/io.h"
#include "bus/bus.h"
#include "exec/integer.h"
#include "exec/nonroot.h"
#include "exec/run.h"
#include "smm/smm.h"

#define IO_TICKS \
	100 /* what a port access costs besides its instruction: drivers poll ports and count accesses as delays */

/* The bit map's offset is at 66H of a 32- or 64-bit TSS; two bytes are read, as the manual says, whatever the port. */
static bool denied_by_bitmap(struct cpu *cpu, uint16_t port, unsigned size, bool *faulted)
{
	const struct segment *tr = &cpu->seg[TR];
	uint16_t map, bits;
	uint32_t at;

	*faulted = false;
	if (!(tr->ar & AR_P) || !(tr->ar & 8) || tr->limit < 0x67)
		return true;
	if (mem_sys_read16(cpu, tr->base + 0x66, &map))
		return *faulted = true;
	at = map + port / 8u;
	if (at + 1 > tr->limit)
		return true;
	if (mem_sys_read16(cpu, tr->base + at, &bits))
		return *faulted = true;
	return bits >> port % 8 & ((1u << size) - 1);
}

bool io_check(struct cpu *cpu, uint16_t port, unsigned size)
{
	bool faulted;

	if (!cpu_protected(cpu) || (!cpu_v86(cpu) && cpu->cpl <= cpu_iopl(cpu)))
		return false;
	if (!denied_by_bitmap(cpu, port, size, &faulted))
		return false;
	if (!faulted)
		raise_gp0(cpu);
	return true;
}

uint32_t io_in(struct cpu *cpu, uint16_t port, unsigned size)
{
	uint32_t value = bus_in(cpu->bus, port, size);

	smm_note_io(cpu, true, port, size);
	debug_io(cpu, port, size);
	run_idle(cpu, IO_TICKS);
	return value;
}

void io_out(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value)
{
	bus_out(cpu->bus, port, size, value);
	smm_note_io(cpu, false, port, size);
	debug_io(cpu, port, size);
	run_idle(cpu, IO_TICKS);
}

/* E4H to E7H name the port, ECH to EFH take it from DX. The low opcode bit says a byte or the operand size, of 32 bits
 * at most. */
static uint16_t port_of(const struct cpu *cpu, const struct insn *insn)
{
	return insn->opcode & 8 ? (uint16_t)cpu->r[RDX] : (uint8_t)insn->imm;
}

static unsigned size_of(const struct insn *insn)
{
	return insn->opcode & 1 ? (insn->size == 2 ? 2 : 4) : 1;
}

static enum step in(struct cpu *cpu, const struct insn *insn)
{
	uint16_t port = port_of(cpu, insn);
	unsigned size = size_of(insn);

	if (io_check(cpu, port, size) || intercept(cpu, insn))
		return STEP_FAULT;
	reg_set(cpu, RAX, size, io_in(cpu, port, size));
	return STEP_NEXT;
}

static enum step out(struct cpu *cpu, const struct insn *insn)
{
	uint16_t port = port_of(cpu, insn);
	unsigned size = size_of(insn);

	if (io_check(cpu, port, size) || intercept(cpu, insn))
		return STEP_FAULT;
	io_out(cpu, port, size, (uint32_t)reg_get(cpu, RAX, size));
	return STEP_NEXT;
}

const struct exec_entry exec_io_entries[] = {
	ENTRY(IN, in),
	ENTRY(OUT, out),
	{0},
};

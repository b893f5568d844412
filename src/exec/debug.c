/*
 * Debug registers: MOV DR, code and I/O breakpoints, single step.
 *
 * SDM vol. 3, "Debug Registers" and "Debug Exceptions". Data breakpoints are noticed by mem/. Not modelled: last-branch
 * records, branch trace store, RTM and bus-lock debugging; their bits of DR6, DR7 and DEBUGCTL are fixed.
 */
#include "exec/debug.h"
#include "decode/block.h"
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"


enum breakpoint_type { BREAK_CODE, BREAK_WRITE, BREAK_IO, BREAK_DATA };

static unsigned type_of(const struct cpu *cpu, unsigned i)
{
	return cpu->dr7 >> (16 + 4 * i) & 3;
}

static bool is_enabled(const struct cpu *cpu, unsigned i)
{
	return cpu->dr7 >> (2 * i) & 3;
}

static unsigned length_of(const struct cpu *cpu, unsigned i)
{
	static const uint8_t length[4] = {1, 2, 8, 4};

	return length[cpu->dr7 >> (18 + 4 * i) & 3];
}

uint64_t debug_code_breakpoint(const struct cpu *cpu, la_t la)
{
	uint64_t hits = 0;
	bool reported = false;

	/* B0 to B3 show every condition that is met, provided that an enabled one is. */
	for (unsigned i = 0; i < 4; i++)
		if (type_of(cpu, i) == BREAK_CODE && length_of(cpu, i) == 1 && cpu->dr[i] == la) {
			hits |= BIT(i);
			reported = reported || is_enabled(cpu, i);
		}
	return reported ? hits : 0;
}

bool debug_has_code_breakpoints(const struct cpu *cpu)
{
	for (unsigned i = 0; (cpu->dr7 & 0xff) && i < 4; i++)
		if (is_enabled(cpu, i) && type_of(cpu, i) == BREAK_CODE)
			return true;
	return false;
}

void debug_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	if (likely(!(cpu->dr7 & 0xff)) || !(cpu->cr4 & CR4_DE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		unsigned length = length_of(cpu, i);
		uint64_t start = cpu->dr[i] & ~(uint64_t)(length - 1);

		if (is_enabled(cpu, i) && type_of(cpu, i) == BREAK_IO && port < start + length &&
		    start < (uint64_t)port + size) {
			cpu->pending_debug |= BIT(i);
			cpu_attend(cpu, ATTEND_TRAP);
		}
	}
}

/* With BTF only taken branches trap. The stepped instruction is the first of the block that the engine has just run. */
static bool was_taken_branch(const struct cpu *cpu)
{
	const struct insn *insn;

	if (!cpu->block)
		return true;
	insn = &cpu->block->insn[0];
	switch (insn->form->category) {
	case ZYDIS_CATEGORY_COND_BR: return cpu->rip != cpu->r[R_BLOCK] + insn->len;
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET: return true;
	default: return false;
	}
}

bool debug_step_traps(const struct cpu *cpu)
{
	return !(cpu->debugctl & DEBUGCTL_BTF) || was_taken_branch(cpu);
}

void debug_reported(struct cpu *cpu, uint64_t dr6)
{
	/* B0 to B3 of earlier reports go, which the manual allows; the rest stays until software clears it. */
	cpu->dr6 = (cpu->dr6 & ~UINT64_C(0xf)) | dr6 | DR6_FIXED;
	cpu->dr7 &= ~DR7_GD;
	cpu->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF | DEBUGCTL_TR);
}

/* A VM exit goes before everything. DR4 and DR5 are DR6 and DR7, unless CR4.DE makes them undefined. Privilege before
 * general detect. */
static enum step check_access(struct cpu *cpu, const struct insn *insn, unsigned *number)
{
	enum step step = intercept(cpu, insn);

	if (step)
		return step;
	*number = insn->reg;
	if (*number > 7 || ((*number & 6) == 4 && (cpu->cr4 & CR4_DE)))
		return raise_fault(cpu, VECTOR_UD);
	if ((*number & 6) == 4)
		*number += 2;
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if (cpu->dr7 & DR7_GD) {
		raise_fault(cpu, VECTOR_DB);
		cpu->fault.dr6 = DR6_BD;
		return STEP_FAULT;
	}
	return STEP_NEXT;
}

static enum step mov_from_dr(struct cpu *cpu, const struct insn *insn)
{
	unsigned number;
	uint64_t value;
	enum step step = check_access(cpu, insn, &number);

	if (step)
		return step;
	value = number < 4 ? cpu->dr[number] : number == 6 ? cpu->dr6 : cpu->dr7;
	reg_set(cpu, insn->rm, cpu_64bit(cpu) ? 8 : 4, value);
	return STEP_NEXT;
}

static enum step mov_to_dr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = reg_get(cpu, insn->rm, cpu_64bit(cpu) ? 8 : 4);
	unsigned number;
	enum step step = check_access(cpu, insn, &number);

	if (step)
		return step;
	if (number >= 6 && value >> 32)
		return raise_gp0(cpu);
	if (number < 4)
		cpu->dr[number] = value;
	else if (number == 6)
		cpu->dr6 = (value & (BITS(3, 0) | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED;
	else
		cpu->dr7 = (value & (BITS(31, 16) | DR7_GD | BITS(9, 0))) | DR7_1;
	mem_context_changed(cpu);
	if (debug_has_code_breakpoints(cpu))
		cpu_attend(cpu, ATTEND_TRAP);
	return STEP_LEAVE;
}

static bool is_from_dr(const struct form *form)
{
	return form->operands >= 2 && form->operand[1].class == ZYDIS_REGCLASS_DEBUG;
}

static bool is_to_dr(const struct form *form)
{
	return form->operands >= 2 && form->operand[0].class == ZYDIS_REGCLASS_DEBUG;
}

const struct exec_entry exec_debug_entries[] = {
	ENTRY_IF(MOV, mov_from_dr, is_from_dr),
	ENTRY_IF(MOV, mov_to_dr, is_to_dr),
	{0},
};

/*
 * Exit qualifications and guest-linear addresses of instructions, debug exceptions and task switches. SDM vol. 3,
 * "Basic VM-Exit Information".
 *
 * Undefined bits are 0. EPT violations, APIC accesses and what else has a qualification are made where those happen.
 */
#include "vmx/intercept.h"

/* Bits 5:4 of the qualification of control-register accesses. */
enum cr_access { CR_WRITE, CR_READ, CR_CLTS, CR_LMSW };

#define LMSW_MEMORY  BIT(6)
#define FROM_DR	     BIT(4)
#define IO_IN	     BIT(3)
#define IO_STRING    BIT(4)
#define IO_REP	     BIT(5)
#define IO_IMMEDIATE BIT(6)

/* Base and offset, with no check: a segment's limit and type do not count for any exit. */
static uint64_t linear(const struct cpu *cpu, enum segment_number segment, uint64_t offset, unsigned addr_size)
{
	offset &= bytes_mask(addr_size);
	if (!cpu_64bit(cpu))
		return (uint32_t)(cpu->seg[segment].base + offset);
	return segment == FS || segment == GS ? cpu->seg[segment].base + offset : offset;
}

static uint64_t operand_address(const struct cpu *cpu, const struct insn *insn)
{
	return linear(cpu, insn->seg,
		      cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp,
		      insn->addr_size);
}

static uint64_t displacement(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = (uint64_t)(int64_t)insn->disp;

	if (insn->ea == EA_NONE)
		return 0;
	return insn->base == R_BLOCK ? value + cpu->r[R_BLOCK] + cpu->r[insn->index] : value;
}

static bool is_write(const struct insn *insn)
{
	return insn->opcode & 2; /* MOV: 0F 20 and 21 read CR and DR, 22 and 23 write them */
}

static uint64_t cr_access(const struct insn *insn, uint64_t operand)
{
	switch (insn->form->operation) {
	case ZYDIS_MNEMONIC_CLTS: return CR_CLTS << 4;
	case ZYDIS_MNEMONIC_LMSW:
		return CR_LMSW << 4 | (insn->ea == EA_NONE ? 0 : LMSW_MEMORY) | (uint64_t)(uint16_t)operand << 16;
	default: return insn->reg | (is_write(insn) ? CR_WRITE : CR_READ) << 4 | (uint64_t)insn->rm << 8;
	}
}

/* IN and OUT are E4H to E7H with the port in the instruction, ECH to EFH with DX; INS and OUTS are 6CH to 6FH. Bit 1
 * says output, bit 0 more than a byte. */
static bool is_string(const struct insn *insn)
{
	return insn->opcode < 0x70;
}

static bool is_immediate(const struct insn *insn)
{
	return !is_string(insn) && insn->opcode < 0xe8;
}

uint16_t vmx_port(const struct cpu *cpu, const struct insn *insn)
{
	return is_immediate(insn) ? (uint8_t)insn->imm : (uint16_t)cpu->r[RDX];
}

unsigned vmx_port_size(const struct insn *insn)
{
	return insn->opcode & 1 ? (insn->size == 2 ? 2 : 4) : 1;
}

static uint64_t io(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t q = (vmx_port_size(insn) - 1) | (uint64_t)vmx_port(cpu, insn) << 16;

	if (!(insn->opcode & 2))
		q |= IO_IN;
	if (is_string(insn))
		q |= IO_STRING | (insn->prefixes & (PREFIX_REP | PREFIX_REPNE) ? IO_REP : 0);
	if (is_immediate(insn))
		q |= IO_IMMEDIATE;
	return q;
}

uint64_t vmx_qualification(const struct cpu *cpu, const struct insn *insn, enum vmx_exit reason, uint64_t operand)
{
	switch (reason) {
	case VMX_EXIT_CR_ACCESS: return cr_access(insn, operand);
	case VMX_EXIT_MOV_DR: return (insn->reg & 7) | (is_write(insn) ? 0 : FROM_DR) | (uint64_t)insn->rm << 8;
	case VMX_EXIT_IO_INSTRUCTION: return io(cpu, insn);
	case VMX_EXIT_INVLPG: return operand_address(cpu, insn);
	case VMX_EXIT_MWAIT: return cpu->monitor_armed;
	case VMX_EXIT_WBINVD: return insn->prefixes & PREFIX_REP && model_has(cpu->model, FEATURE_WBNOINVD);
	default: return displacement(cpu, insn);
	}
}

uint64_t vmx_exit_linear(const struct cpu *cpu, const struct insn *insn, enum vmx_exit reason)
{
	bool outs = insn->opcode & 2;

	if (reason == VMX_EXIT_IO_INSTRUCTION && is_string(insn))
		return linear(cpu, outs ? insn->seg : ES, cpu->r[outs ? RSI : RDI], insn->addr_size);
	if (reason == VMX_EXIT_CR_ACCESS && insn->ea != EA_NONE) /* LMSW */
		return operand_address(cpu, insn);
	return 0;
}

/* The bits of DR6 that are conditions, in their places; bit 15 (task switch) is undefined here. */
uint64_t vmx_qualify_debug(uint64_t dr6)
{
	return dr6 & (BITS(3, 0) | DR6_BD | DR6_BS);
}

uint64_t vmx_qualify_task_switch(uint16_t selector, enum vmx_task_source source)
{
	return selector | (uint64_t)source << 30;
}

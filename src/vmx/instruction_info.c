/*
 * The VM-exit instruction-information field. SDM vol. 3, "Information for VM Exits Due to Instruction Execution", one
 * table for each format.
 *
 * Undefined bits are 0. Registers are numbered as in cpu->r; a memory operand's segments as in enum segment_number.
 */
#include "vmx/intercept.h"

#define IS_REGISTER   BIT(10)
#define OPERAND_32    BIT(11)
#define INDEX_INVALID BIT(22)
#define BASE_INVALID  BIT(27)

/* 16, 32, 64 bits: 0, 1, 2. */
static uint64_t size_code(unsigned bytes)
{
	return bytes / 4;
}

/* RIP is no base: the displacement that the exit qualification shows has it. */
static uint64_t memory(const struct insn *insn)
{
	uint64_t info = size_code(insn->addr_size) << 7 | (uint64_t)insn->seg << 15;

	info |= insn->index > R15 ? INDEX_INVALID : insn->scale | (uint64_t)insn->index << 18;
	info |= insn->base > R15 ? BASE_INVALID : (uint64_t)insn->base << 23;
	return info;
}

static uint64_t register_or_memory(const struct insn *insn)
{
	return insn->ea == EA_NONE ? IS_REGISTER | (uint64_t)insn->rm << 3 : memory(insn);
}

/* 0 to 3: which of the four instructions that share a format. */
static uint64_t identity(const struct form *form)
{
	switch (form->operation) {
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_STR: return 1;
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LLDT: return 2;
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_LTR: return 3;
	default: return 0; /* SGDT, SLDT */
	}
}

uint32_t vmx_instruction_info(const struct cpu *cpu, const struct insn *insn, enum vmx_information format)
{
	uint64_t info = 0;
	bool outs;

	switch (format) {
	case VMX_INFORMATION_NONE: break;
	case VMX_INFORMATION_INS_OUTS:
		if (!vmx_may(cpu->vmx->caps, BASIC, INS_OUTS))
			break;
		outs = insn->opcode & 2;
		info = size_code(insn->addr_size) << 7 | (outs ? (uint64_t)insn->seg << 15 : 0);
		break;
	case VMX_INFORMATION_INVALIDATE: info = memory(insn) | (uint64_t)insn->reg << 28; break;
	case VMX_INFORMATION_GDTR_IDTR:
		info = memory(insn) | identity(insn->form) << 28 |
		       (!cpu_64bit(cpu) && insn->size == 4 ? OPERAND_32 : 0);
		break;
	case VMX_INFORMATION_LDTR_TR: info = register_or_memory(insn) | identity(insn->form) << 28; break;
	case VMX_INFORMATION_RANDOM: info = (uint64_t)insn->rm << 3 | size_code(insn->size) << 11; break;
	case VMX_INFORMATION_WAIT: info = (uint64_t)insn->rm << 3; break;
	case VMX_INFORMATION_MEMORY: info = memory(insn); break;
	case VMX_INFORMATION_VMREAD_VMWRITE: info = register_or_memory(insn) | (uint64_t)insn->reg << 28; break;
	}
	return (uint32_t)info;
}

/*
 * Handlers: near branches. SDM vol. 2, "JMP", "Jcc", "CALL", "RET", "LOOP", "JCXZ".
 *
 * The quick ones are for 64-bit mode and flat 32-bit code. Elsewhere the target is checked against the code segment's limit by branch_to(), and nothing is
 * chained.
 */
#include "interp/branch.h"

HANDLER(jcc)
{
	return op_condition(cpu, insn->opcode & 15) ? op_taken(cpu, insn) : op_not_taken(cpu, insn);
}

/* After an instruction of this block that left its result in cc.dst. */
#define RESULT_JCC(T, S)                                                                                               \
	HANDLER(jz_##T)                                                                                                \
	{                                                                                                              \
		return (T)cpu->cc.dst == 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn);                            \
	}                                                                                                              \
	HANDLER(jnz_##T)                                                                                               \
	{                                                                                                              \
		return (T)cpu->cc.dst != 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn);                            \
	}                                                                                                              \
	HANDLER(js_##T)                                                                                                \
	{                                                                                                              \
		return (S)cpu->cc.dst < 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn);                             \
	}                                                                                                              \
	HANDLER(jns_##T)                                                                                               \
	{                                                                                                              \
		return (S)cpu->cc.dst >= 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn);                            \
	}
RESULT_JCC(u8, int8_t)
RESULT_JCC(u16, int16_t)
RESULT_JCC(u32, int32_t)
RESULT_JCC(u64, int64_t)

HANDLER(jmp)
{
	return op_taken(cpu, insn);
}

static inline const struct insn *indirect(struct cpu *cpu, const struct insn *insn, uint64_t rip)
{
	if (unlikely((cpu->mode & MODE_CODE) == MODE_CODE64 && !op_canonical(cpu, rip))) {
		raise_gp0(cpu);
		return op_fault(cpu, insn);
	}
	return op_jump(cpu, insn, rip);
}

HANDLER(jmp_r)
{
	return indirect(cpu, insn, insn->size == 8 ? cpu->r[insn->rm] : (uint32_t)cpu->r[insn->rm]);
}

HANDLER(jmp_m64)
{
	ADDRESS(la, 8, ACCESS_READ)
	LOAD(u64, rip, la)
	return indirect(cpu, insn, rip);
}

HANDLER(jmp_m32)
{
	ADDRESS(la, 4, ACCESS_READ)
	LOAD(u32, rip, la)
	return indirect(cpu, insn, rip);
}

/* Push a return address of `size` bytes, 8 in 64-bit mode. False: faulted. */
static inline bool push_return(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = cpu->r[R_BLOCK] + insn->off + insn->len;

	if (likely(insn->size == 8)) {
		la_t la = cpu->r[RSP] - 8;
		void *host = tlb_write(cpu, la, 8);

		if (likely(host)) {
			memcpy(host, &value, 8);
			cpu->r[RSP] = la;
			return true;
		}
	}
	op_sync(cpu, insn);
	return !stack_push(cpu, insn->size, value);
}

HANDLER(call)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->imm;

	if (insn->size != 8)
		rip &= bytes_mask(insn->size);
	else if (unlikely(!op_canonical(cpu, rip))) {
		raise_gp0(cpu);
		return op_fault(cpu, insn);
	}
	if (unlikely(!push_return(cpu, insn)))
		return op_fault(cpu, insn);
	if (unlikely(cpu->attention))
		return op_leave_to(cpu, insn, rip);
	return op_successor(cpu, insn, 0, rip);
}

static inline const struct insn *call_indirect(struct cpu *cpu, const struct insn *insn, uint64_t rip)
{
	if (unlikely(insn->size == 8 && !op_canonical(cpu, rip))) {
		raise_gp0(cpu);
		return op_fault(cpu, insn);
	}
	if (unlikely(!push_return(cpu, insn)))
		return op_fault(cpu, insn);
	if (unlikely(cpu->attention))
		return op_leave_to(cpu, insn, rip);
	return op_jump(cpu, insn, rip);
}

HANDLER(call_r)
{
	return call_indirect(cpu, insn, insn->size == 8 ? cpu->r[insn->rm] : (uint32_t)cpu->r[insn->rm]);
}

HANDLER(call_m64)
{
	ADDRESS(la, 8, ACCESS_READ)
	LOAD(u64, rip, la)
	return call_indirect(cpu, insn, rip);
}

HANDLER(call_m32)
{
	ADDRESS(la, 4, ACCESS_READ)
	LOAD(u32, rip, la)
	return call_indirect(cpu, insn, rip);
}

/* imm: bytes of parameters to drop. */
HANDLER(ret)
{
	la_t la = cpu->r[RSP];
	const void *host = tlb_read(cpu, la, 8);
	uint64_t rip;

	if (likely(host)) {
		memcpy(&rip, host, 8);
	} else {
		op_sync(cpu, insn);
		if (mem_read_slow(cpu, la, 8, &rip, ACCESS_READ | ACCESS_STACK))
			return op_fault(cpu, insn);
	}
	if (unlikely(!op_canonical(cpu, rip))) {
		raise_gp0(cpu);
		return op_fault(cpu, insn);
	}
	cpu->r[RSP] = la + 8 + (uint16_t)insn->imm;
	return op_jump(cpu, insn, rip);
}

/* RET in flat 32-bit code, and in every mode that is not quick. */
HANDLER(ret_any)
{
	uint64_t rsp = cpu->r[RSP], rip;

	op_sync(cpu, insn);
	if (stack_pop(cpu, insn->size, &rip))
		return op_fault(cpu, insn);
	if (branch_to(cpu, rip) == STEP_FAULT) {
		cpu->r[RSP] = rsp;
		return op_fault(cpu, insn);
	}
	stack_set(cpu, cpu->r[RSP] + (uint16_t)insn->imm);
	return op_leave_to(cpu, insn, cpu->rip);
}

static bool loop_taken(struct cpu *cpu, const struct insn *insn)
{
	uint64_t count;

	switch (insn->form->operation) {
	case ZYDIS_MNEMONIC_JCXZ: return (uint16_t)cpu->r[RCX] == 0;
	case ZYDIS_MNEMONIC_JECXZ: return (uint32_t)cpu->r[RCX] == 0;
	case ZYDIS_MNEMONIC_JRCXZ: return cpu->r[RCX] == 0;
	default: break;
	}
	count = (cpu->r[RCX] - 1) & bytes_mask(insn->addr_size);
	if (insn->form->operation == ZYDIS_MNEMONIC_LOOPE)
		return count && op_condition(cpu, 2 * COND_Z);
	if (insn->form->operation == ZYDIS_MNEMONIC_LOOPNE)
		return count && !op_condition(cpu, 2 * COND_Z);
	return count;
}

static void loop_count(struct cpu *cpu, const struct insn *insn)
{
	if (insn->form->operation == ZYDIS_MNEMONIC_LOOP || insn->form->operation == ZYDIS_MNEMONIC_LOOPE ||
	    insn->form->operation == ZYDIS_MNEMONIC_LOOPNE)
		reg_set(cpu, RCX, insn->addr_size, cpu->r[RCX] - 1);
}

HANDLER(loop)
{
	bool taken = loop_taken(cpu, insn);

	loop_count(cpu, insn);
	return taken ? op_taken(cpu, insn) : op_not_taken(cpu, insn);
}

/* Any near branch where the code segment has a limit that counts. */
HANDLER(branch_any)
{
	uint64_t target = (cpu->r[R_BLOCK] + insn->imm) & bytes_mask(insn->size);
	uint64_t back = cpu->r[R_BLOCK] + insn->off + insn->len, rsp = cpu->r[RSP];
	bool is_loop = insn->form->operation != ZYDIS_MNEMONIC_JMP && insn->form->operation != ZYDIS_MNEMONIC_CALL;

	op_sync(cpu, insn);
	if (is_loop) {
		bool jcc_form = insn->form->map == 1 || (insn->opcode & 0xf0) == 0x70;
		bool taken = jcc_form ? op_condition(cpu, insn->opcode & 15) : loop_taken(cpu, insn);

		if (taken && branch_to(cpu, target) == STEP_FAULT)
			return op_fault(cpu, insn);
		if (!jcc_form)
			loop_count(cpu, insn);
		return op_leave_to(cpu, insn, cpu->rip);
	}
	if (insn->form->operand[0].kind != OPERAND_REL && operand_read(cpu, insn, insn->size, &target))
		return op_fault(cpu, insn);
	if (insn->form->operation == ZYDIS_MNEMONIC_CALL && stack_push(cpu, insn->size, back))
		return op_fault(cpu, insn);
	if (branch_to(cpu, target) == STEP_FAULT) {
		cpu->r[RSP] = rsp;
		return op_fault(cpu, insn);
	}
	return op_leave_to(cpu, insn, cpu->rip);
}

/* Did the instruction before leave its result in cc.dst, whatever it computed? Then ZF and SF are seen there. */
static bool result_is_known(const struct insn *previous)
{
	if (!previous || previous->fn == op_exec)
		return false;
	switch (previous->form->operation) {
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_ADC:
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_SBB:
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_INC:
	case ZYDIS_MNEMONIC_DEC:
	case ZYDIS_MNEMONIC_NEG: return true;
	default: return false;
	}
}

static insn_fn *jcc_handler(const struct insn *insn, const struct insn *previous)
{
	static insn_fn *const jz[] = BY_SIZE(jz_, ), *const jnz[] = BY_SIZE(jnz_, ), *const js[] = BY_SIZE(js_, ), *const jns[] = BY_SIZE(jns_, );
	unsigned size = previous ? size_log2(previous->size) : 0;

	if (result_is_known(previous))
		switch (insn->opcode & 15) {
		case 2 * COND_Z: return jz[size];
		case 2 * COND_Z + 1: return jnz[size];
		case 2 * COND_S: return js[size];
		case 2 * COND_S + 1: return jns[size];
		default: break;
		}
	return jcc;
}

insn_fn *branch_handler(struct block *block, struct insn *insn, const struct insn *previous)
{
	const struct form *form = insn->form;
	bool quick = (block->mode & MODE_FLAT) && (insn->size == 8 || ((block->mode & MODE_CODE) == MODE_CODE32 && insn->size == 4));
	bool direct = form->operand[0].kind == OPERAND_REL, memory = insn->ea != EA_NONE;

	if (direct) {
		uint64_t page = ((uintptr_t)block->host & ~PAGE_MASK);

		insn->imm += insn->off + insn->len;
		insn->imm2 = (page + insn->imm < PAGE_SIZE ? CHAIN_TAKEN : 0) | (page + insn->off + insn->len < PAGE_SIZE ? CHAIN_NEXT : 0);
		if (block->straddles || !quick)
			insn->imm2 = 0;
	}
	if (form->operation == ZYDIS_MNEMONIC_RET)
		return quick && insn->size == 8 ? ret : ret_any;
	if (!quick)
		return branch_any;
	if (form->operation == ZYDIS_MNEMONIC_JMP)
		return direct ? jmp : !memory ? jmp_r : insn->size == 8 ? jmp_m64 : jmp_m32;
	if (form->operation == ZYDIS_MNEMONIC_CALL)
		return direct ? call : !memory ? call_r : insn->size == 8 ? call_m64 : call_m32;
	if (form->map == 1 || (insn->opcode & 0xf0) == 0x70)
		return jcc_handler(insn, previous);
	return loop;
}

/*
 * Handlers: near branches. SDM vol. 2, "JMP", "Jcc", "CALL", "RET", "LOOP", "JCXZ".
 *
 * The quick ones are for 64-bit mode and flat 32-bit code. Elsewhere the target is checked against the code segment's
 * limit by branch_to(), and nothing is chained.
 */
#include "interp/branch.h"

const struct insn *op_successor_unchained(struct cpu *cpu, const struct insn *insn, unsigned slot, uint64_t rip)
{
	if (insn->imm2 >> slot & 1) {
		cpu->link = slot + 1;
		return op_leave_to(cpu, insn, rip);
	}
	if (unlikely((cpu->mode & MODE_CODE) == MODE_CODE64 && !op_canonical(cpu, rip))) {
		raise_gp0(cpu);
		return op_fault(cpu, insn);
	}
	return op_jump(cpu, insn, rip);
}

HANDLER(jcc)
{
	return op_condition(cpu, insn->opcode & 15) ? op_taken(cpu, insn) : op_not_taken(cpu, insn);
}

/* After an instruction of this block that left its result in cc.dst. */
#define RESULT_JCC(T, S)                                                                    \
	HANDLER(jz_##T)                                                                     \
	{                                                                                   \
		return (T)cpu->cc.dst == 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn); \
	}                                                                                   \
	HANDLER(jnz_##T)                                                                    \
	{                                                                                   \
		return (T)cpu->cc.dst != 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn); \
	}                                                                                   \
	HANDLER(js_##T)                                                                     \
	{                                                                                   \
		return (S)cpu->cc.dst < 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn);  \
	}                                                                                   \
	HANDLER(jns_##T)                                                                    \
	{                                                                                   \
		return (S)cpu->cc.dst >= 0 ? op_taken(cpu, insn) : op_not_taken(cpu, insn); \
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

/* Memory and the stack, the quick way; what misses goes to branch_any() or ret_any(). */
#define LOAD_OR(T, value, la, otherwise)                                            \
	T value;                                                                    \
	{                                                                           \
		const struct tlb_entry *entry_ = tlb_slot(cpu->bank, la);           \
		if (insn->ea > EA_PLAIN32 || !TLB_HIT(entry_->read, la, sizeof(T))) \
			return otherwise(cpu, insn);                                \
		memcpy(&value, HOST(entry_, la), sizeof(T));                        \
	}

#define TARGET_ADDRESS()                                                                                     \
	la_t la = cpu->r[insn->base] + (cpu->r[insn->index] << insn->scale) + (uint64_t)(int64_t)insn->disp; \
	if (insn->ea == EA_PLAIN32)                                                                          \
	la = insn->addr_size == 2 ? (uint16_t)la : (uint32_t)la

static const struct insn *branch_any(struct cpu *cpu, const struct insn *insn) COLD;
static const struct insn *ret_any(struct cpu *cpu, const struct insn *insn) COLD;

HANDLER(jmp_m64)
{
	TARGET_ADDRESS();
	LOAD_OR(u64, rip, la, branch_any)
	return indirect(cpu, insn, rip);
}

HANDLER(jmp_m32)
{
	TARGET_ADDRESS();
	LOAD_OR(u32, rip, la, branch_any)
	return indirect(cpu, insn, rip);
}

/* Push the return address and set RSP, or let branch_any() do the whole call. T: its size. */
#define PUSH_RETURN(T)                                                                     \
	{                                                                                  \
		la_t la_ = sizeof(T) == 8 ? cpu->r[RSP] - 8 : (uint32_t)(cpu->r[RSP] - 4); \
		const struct tlb_entry *entry_ = tlb_slot(cpu->bank, la_);                 \
		T back_ = (T)(cpu->r[R_BLOCK] + insn->off + insn->len);                    \
		if (!TLB_HIT(entry_->write, la_, sizeof(T)))                               \
			return branch_any(cpu, insn);                                      \
		memcpy(HOST(entry_, la_), &back_, sizeof(T));                              \
		cpu->r[RSP] = la_;                                                         \
	}

HANDLER(call64)
{
	uint64_t rip = cpu->r[R_BLOCK] + insn->imm;

	if (unlikely(!op_canonical(cpu, rip)))
		return branch_any(cpu, insn);
	PUSH_RETURN(u64)
	return op_successor(cpu, insn, 0, rip);
}

HANDLER(call32)
{
	PUSH_RETURN(u32)
	return op_successor(cpu, insn, 0, (uint32_t)(cpu->r[R_BLOCK] + insn->imm));
}

HANDLER(call_r64)
{
	uint64_t rip = cpu->r[insn->rm];

	if (unlikely(!op_canonical(cpu, rip)))
		return branch_any(cpu, insn);
	PUSH_RETURN(u64)
	return op_jump(cpu, insn, rip);
}

HANDLER(call_r32)
{
	uint64_t rip = (uint32_t)cpu->r[insn->rm];

	PUSH_RETURN(u32)
	return op_jump(cpu, insn, rip);
}

HANDLER(call_m64)
{
	TARGET_ADDRESS();
	LOAD_OR(u64, rip, la, branch_any)
	if (unlikely(!op_canonical(cpu, rip)))
		return branch_any(cpu, insn);
	PUSH_RETURN(u64)
	return op_jump(cpu, insn, rip);
}

HANDLER(call_m32)
{
	TARGET_ADDRESS();
	LOAD_OR(u32, rip, la, branch_any)
	PUSH_RETURN(u32)
	return op_jump(cpu, insn, rip);
}

/* imm: bytes of parameters to drop. */
HANDLER(ret64)
{
	la_t la = cpu->r[RSP];
	LOAD_OR(u64, rip, la, ret_any)
	if (unlikely(!op_canonical(cpu, rip)))
		return ret_any(cpu, insn);
	cpu->r[RSP] = la + 8 + (uint16_t)insn->imm;
	return op_jump(cpu, insn, rip);
}

HANDLER(ret32)
{
	la_t la = (uint32_t)cpu->r[RSP];
	LOAD_OR(u32, rip, la, ret_any)
	cpu->r[RSP] = (uint32_t)(la + 4 + (uint16_t)insn->imm);
	return op_jump(cpu, insn, rip);
}

/* RET in every mode. */
static const struct insn *ret_any(struct cpu *cpu, const struct insn *insn)
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

/* Any near branch but RET: where the code segment has a limit that counts, and when the quick way is closed. */
static const struct insn *branch_any(struct cpu *cpu, const struct insn *insn)
{
	uint64_t target = (cpu->r[R_BLOCK] + insn->imm) & bytes_mask(insn->size);
	uint64_t back = cpu->r[R_BLOCK] + insn->off + insn->len;
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
	/* The target is checked before the return address is written: SDM vol. 2, "CALL". */
	if (branch_to(cpu, target) == STEP_FAULT)
		return op_fault(cpu, insn);
	if (insn->form->operation == ZYDIS_MNEMONIC_CALL && stack_push(cpu, insn->size, back))
		return op_fault(cpu, insn);
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
	static insn_fn *const jz[] = BY_SIZE(jz_, ), *const jnz[] = BY_SIZE(jnz_, ), *const js[] = BY_SIZE(js_, ),
			      *const jns[] = BY_SIZE(jns_, );
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
	bool quick = (block->mode & MODE_FLAT) &&
		     (insn->size == 8 || ((block->mode & MODE_CODE) == MODE_CODE32 && insn->size == 4));
	bool direct = form->operand[0].kind == OPERAND_REL, memory = insn->ea != EA_NONE;
	bool stack = block->mode & (MODE_STACK32 | MODE_STACK64), wide;

	if (direct) {
		uint64_t page = ((uintptr_t)block->host & ~PAGE_MASK);

		insn->imm += insn->off + insn->len;
		insn->imm2 = (page + insn->imm < PAGE_SIZE ? CHAIN_TAKEN : 0) |
			     (page + insn->off + insn->len < PAGE_SIZE ? CHAIN_NEXT : 0);
		if (block->host2 || block->apart || !quick)
			insn->imm2 = 0;
	}
	wide = insn->size == 8;
	/* CALL and RET also use the stack, which is flat in MODE_FLAT, but may be 16 bits wide. */
	if (form->operation == ZYDIS_MNEMONIC_RET)
		return !quick || !stack ? ret_any : wide ? ret64 : ret32;
	if (!quick)
		return branch_any;
	if (form->operation == ZYDIS_MNEMONIC_JMP)
		return direct ? jmp : !memory ? jmp_r : wide ? jmp_m64 : jmp_m32;
	if (form->operation == ZYDIS_MNEMONIC_CALL) {
		if (!stack)
			return branch_any;
		return direct	 ? (wide ? call64 : call32)
		       : !memory ? (wide ? call_r64 : call_r32)
		       : wide	 ? call_m64
				 : call_m32;
	}
	if (form->map == 1 || (insn->opcode & 0xf0) == 0x70)
		return jcc_handler(insn, previous);
	return loop;
}

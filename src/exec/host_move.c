/*
 * Moves of whole vector registers, which are most of what ordinary programs do with them: in C, without a thunk.
 *
 * SDM vol. 2, "MOVUPS", "MOVAPS", "MOVDQU", "VMOVDQA" and their like, without a write-mask.
 */
#include "exec/host_private.h"

/* How a function differs from its neighbours; constants in every instance. */
struct move {
	enum host_gate gate;
	unsigned bytes;
	bool aligned;
};

static inline bool refused(struct cpu *cpu, struct move m)
{
	if (m.gate == GATE_SSE && likely(!(cpu->cr0 & (CR0_EM | CR0_TS)) && (cpu->cr4 & CR4_OSFXSR)))
		return false;
	return host_gate(cpu, m.gate) != STEP_NEXT;
}

/* VEX and EVEX clear what lies above the operand; legacy SSE keeps it. */
static inline void set_vector(struct cpu *cpu, unsigned number, const void *from, struct move m)
{
	union vector_register *v = &cpu->fpu.v[number & 31];

	memmove(v->b, from, m.bytes);
	if (m.gate != GATE_SSE)
		memset(v->b + m.bytes, 0, 64 - m.bytes);
}

static inline enum step load(struct cpu *cpu, const struct insn *insn, struct move m)
{
	uint8_t buffer[64];
	const void *host;
	la_t la;

	if (refused(cpu, m) || operand_linear(cpu, insn, m.bytes, ACCESS_READ, &la))
		return STEP_FAULT;
	if (m.aligned && unlikely(!is_aligned(la, m.bytes)))
		return raise_gp0(cpu);
	host = tlb_read(cpu, la, m.bytes);
	if (unlikely(!host)) {
		if (host_misaligned(cpu, la, m.bytes))
			return host_alignment_fault(cpu, la, m.bytes, ACCESS_READ);
		if (mem_read_bytes(cpu, la, buffer, m.bytes, ACCESS_READ))
			return STEP_FAULT;
		host = buffer;
	}
	set_vector(cpu, insn->reg, host, m);
	return STEP_NEXT;
}

static inline enum step store(struct cpu *cpu, const struct insn *insn, struct move m)
{
	const uint8_t *from = cpu->fpu.v[insn->reg & 31].b;
	void *host;
	la_t la;

	if (refused(cpu, m) || operand_linear(cpu, insn, m.bytes, ACCESS_WRITE, &la))
		return STEP_FAULT;
	if (m.aligned && unlikely(!is_aligned(la, m.bytes)))
		return raise_gp0(cpu);
	host = tlb_write(cpu, la, m.bytes);
	if (likely(host)) {
		memcpy(host, from, m.bytes);
		return STEP_NEXT;
	}
	if (host_misaligned(cpu, la, m.bytes))
		return host_alignment_fault(cpu, la, m.bytes, ACCESS_WRITE);
	return mem_write_bytes(cpu, la, from, m.bytes, ACCESS_WRITE) ? STEP_FAULT : STEP_NEXT;
}

static inline enum step from_rm(struct cpu *cpu, const struct insn *insn, struct move m)
{
	if (refused(cpu, m))
		return STEP_FAULT;
	set_vector(cpu, insn->reg, cpu->fpu.v[insn->rm & 31].b, m);
	return STEP_NEXT;
}

static inline enum step to_rm(struct cpu *cpu, const struct insn *insn, struct move m)
{
	if (refused(cpu, m))
		return STEP_FAULT;
	set_vector(cpu, insn->rm, cpu->fpu.v[insn->reg & 31].b, m);
	return STEP_NEXT;
}

enum kind { LOAD, LOAD_ALIGNED, STORE, STORE_ALIGNED, FROM_RM, TO_RM, KINDS };
enum width { SSE16, VEX16, VEX32, EVEX16, EVEX32, EVEX64, WIDTHS };

#define MOVES(X, width, gate, bytes)                      \
	X(width, LOAD, load, gate, bytes, false)          \
	X(width, LOAD_ALIGNED, load, gate, bytes, true)   \
	X(width, STORE, store, gate, bytes, false)        \
	X(width, STORE_ALIGNED, store, gate, bytes, true) \
	X(width, FROM_RM, from_rm, gate, bytes, false)    \
	X(width, TO_RM, to_rm, gate, bytes, false)
#define ALL_MOVES(X)                      \
	MOVES(X, SSE16, GATE_SSE, 16)     \
	MOVES(X, VEX16, GATE_AVX, 16)     \
	MOVES(X, VEX32, GATE_AVX, 32)     \
	MOVES(X, EVEX16, GATE_AVX512, 16) \
	MOVES(X, EVEX32, GATE_AVX512, 32) \
	MOVES(X, EVEX64, GATE_AVX512, 64)

#define DEFINE(width, kind, function, gate, bytes, aligned)                       \
	static enum step width##_##kind(struct cpu *cpu, const struct insn *insn) \
	{                                                                         \
		return function(cpu, insn, (struct move){gate, bytes, aligned});  \
	}
ALL_MOVES(DEFINE)

static exec_fn *const functions[WIDTHS][KINDS] = {
#define ENTRY(width, kind, function, gate, bytes, aligned) [width][kind] = width##_##kind,
	ALL_MOVES(ENTRY)};

static bool is_move(uint16_t operation, bool *aligned)
{
	*aligned = false;
	switch (operation) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32:
	case ZYDIS_MNEMONIC_VMOVDQA64:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA: *aligned = true; return true;
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_VMOVUPS:
	case ZYDIS_MNEMONIC_VMOVUPD:
	case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VMOVDQU8:
	case ZYDIS_MNEMONIC_VMOVDQU16:
	case ZYDIS_MNEMONIC_VMOVDQU32:
	case ZYDIS_MNEMONIC_VMOVDQU64:
	case ZYDIS_MNEMONIC_VLDDQU: return true;
	default: return false;
	}
}

/* A write-mask is an operand; unmasked EVEX forms name K0. */
static bool is_masked(const struct form *form)
{
	for (unsigned i = 0; i < form->operands; i++)
		if (form->operand[i].where == FIELD_MASK && form->operand[i].fixed != ZYDIS_REGISTER_K0)
			return true;
	return false;
}

exec_fn *host_move_lookup(struct form *form)
{
	const struct form_operand *to = &form->operand[0];
	enum width width;
	enum kind kind;
	bool aligned;

	if (!is_move(form->operation, &aligned) || is_masked(form))
		return NULL;
	if (form->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		width = SSE16;
	else if (form->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		width = form->vector_bytes == 32 ? VEX32 : VEX16;
	else
		width = form->vector_bytes == 64 ? EVEX64 : form->vector_bytes == 32 ? EVEX32 : EVEX16;
	if (to->kind == OPERAND_MEM)
		kind = aligned ? STORE_ALIGNED : STORE;
	else if (form->memory)
		kind = aligned ? LOAD_ALIGNED : LOAD;
	else
		kind = to->where == FIELD_REG ? FROM_RM : TO_RM;
	return functions[width][kind];
}

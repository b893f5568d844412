/*
 * Far JMP, CALL and RET, call gates, and the near branch's check of where it goes.
 *
 * SDM vol. 2, "JMP", "CALL", "RET", whose order of checks is kept; vol. 3, "Call Gates". Task gates and TSSs end in
 * task.c.
 */
#include "exec/entries.h"
#include "exec/protect.h"

enum step code_check_rip(struct cpu *cpu, uint32_t ar, uint32_t limit, uint64_t rip, unsigned ext)
{
	bool inside = cpu_long_mode(cpu) && (ar & AR_L) ? cpu_canonical(cpu, rip) : rip <= limit;

	return inside ? STEP_NEXT : raise_error(cpu, VECTOR_GP, ext);
}

enum step branch_to(struct cpu *cpu, uint64_t rip)
{
	if (code_check_rip(cpu, cpu->seg[CS].ar, cpu->seg[CS].limit, rip, 0))
		return STEP_FAULT;
	cpu->rip = rip;
	return STEP_LEAVE;
}

enum step code_segment_commit(struct cpu *cpu, struct descriptor *d, uint16_t selector, uint64_t rip)
{
	enum step step = descriptor_accessed(cpu, d);

	if (step)
		return step;
	descriptor_to_segment(d, selector, &cpu->seg[CS]);
	cpu->rip = rip;
	return STEP_NEXT;
}

/* Real mode and V86. */
static enum step jump_8086(struct cpu *cpu, uint16_t selector, uint64_t offset)
{
	if (offset > cpu->seg[CS].limit)
		return raise_gp0(cpu);
	segment_load_real(cpu, CS, selector);
	cpu->rip = offset;
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

static bool is_8086(const struct cpu *cpu)
{
	return !cpu_protected(cpu) || cpu_v86(cpu);
}

/* Push what CALL pushes on a stack, first checking that there is room and that the target is inside its segment. */
static enum step push_return(struct cpu *cpu, struct stack *stack, unsigned size, uint32_t stack_error,
			     const struct descriptor *code, uint64_t target, const uint64_t *frame, unsigned count)
{
	enum step step;

	if ((step = stack_room(cpu, stack, size, count, stack_error)) ||
	    (step = code_check_rip(cpu, descriptor_ar(code), descriptor_limit(code), target, 0)))
		return step;
	return stack_push_frame(cpu, stack, size, frame, count, stack_error);
}

/* A code-segment descriptor named directly. */
static enum step transfer_direct(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size, bool call,
				 struct descriptor *d)
{
	uint64_t frame[] = {cpu->seg[CS].selector, cpu->rip};
	struct stack stack = stack_current(cpu);
	uint32_t ar = descriptor_ar(d), error = selector & 0xfffc;
	enum step step;

	if (cpu_long_mode(cpu) && (ar & (AR_L | AR_DB)) == (AR_L | AR_DB))
		return raise_error(cpu, VECTOR_GP, error);
	if (ar_is_conforming(ar) ? ar_dpl(ar) > cpu->cpl : selector_rpl(selector) > cpu->cpl || ar_dpl(ar) != cpu->cpl)
		return raise_error(cpu, VECTOR_GP, error);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, error);
	if ((step = descriptor_accessed(cpu, d)))
		return step;
	if (call) {
		if ((step = push_return(cpu, &stack, size, 0, d, offset, frame, ARRAY_SIZE(frame))))
			return step;
		cpu->r[RSP] = stack.sp;
	} else if ((step = code_check_rip(cpu, ar, descriptor_limit(d), offset, 0))) {
		return step;
	}
	descriptor_to_segment(d, (uint16_t)((selector & ~3u) | cpu->cpl), &cpu->seg[CS]);
	cpu->rip = offset;
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

/* CALL through a gate to an inner ring, in protected mode: new stack from the TSS, parameters copied. */
static enum step call_inner(struct cpu *cpu, uint64_t gate, unsigned size, unsigned new_cpl, uint64_t target,
			    uint16_t selector, struct descriptor *code)
{
	unsigned parameters = (unsigned)bits_get(gate, 36, 32), count = 0;
	struct stack stack = {.cpl = (uint8_t)new_cpl};
	uint64_t frame[2 + 31 + 2];
	uint16_t ss;
	enum step step;

	if ((step = stack_from_tss(cpu, new_cpl, 0, &ss, &stack.sp)) ||
	    (step = segment_check_stack(cpu, ss, new_cpl, VECTOR_TS, 0, &stack.ss)))
		return step;
	frame[count++] = cpu->seg[SS].selector;
	frame[count++] = cpu->r[RSP];
	if ((step = stack_room(cpu, &stack, size, parameters + 4, ss & 0xfffc)) ||
	    (step = code_check_rip(cpu, descriptor_ar(code), descriptor_limit(code), target, 0)) ||
	    (step = stack_peek(cpu, 0, size, frame + count, parameters)))
		return step;
	/* The old stack has the last parameter on top; the new one gets them in the same order. */
	for (unsigned i = 0; i < parameters / 2; i++) {
		uint64_t swap = frame[2 + i];

		frame[2 + i] = frame[1 + parameters - i];
		frame[1 + parameters - i] = swap;
	}
	count += parameters;
	frame[count++] = cpu->seg[CS].selector;
	frame[count++] = cpu->rip;
	if ((step = descriptor_accessed(cpu, code)) ||
	    (step = stack_push_frame(cpu, &stack, size, frame, count, ss & 0xfffc)))
		return step;
	cpu->seg[SS] = stack.ss;
	cpu->r[RSP] = stack.sp;
	cpu->cpl = (uint8_t)new_cpl;
	descriptor_to_segment(code, (uint16_t)((selector & ~3u) | new_cpl), &cpu->seg[CS]);
	cpu->rip = target;
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

/* The same in long mode: 8-byte pushes, SS becomes null, nothing copied. */
static enum step call_inner_long(struct cpu *cpu, unsigned new_cpl, uint64_t target, uint16_t selector,
				 struct descriptor *code)
{
	uint64_t frame[] = {cpu->seg[SS].selector, cpu->r[RSP], cpu->seg[CS].selector, cpu->rip};
	struct stack stack = {.cpl = (uint8_t)new_cpl, .wide = true};
	enum step step;

	if ((step = stack_from_tss64(cpu, new_cpl, 0, 0, &stack.sp)) || (step = descriptor_accessed(cpu, code)) ||
	    (step = push_return(cpu, &stack, 8, 0, code, target, frame, ARRAY_SIZE(frame))))
		return step;
	cpu->seg[SS] = segment_null(new_cpl);
	cpu->r[RSP] = stack.sp;
	cpu->cpl = (uint8_t)new_cpl;
	descriptor_to_segment(code, (uint16_t)((selector & ~3u) | new_cpl), &cpu->seg[CS]);
	cpu->rip = target;
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

static enum step transfer_gate(struct cpu *cpu, uint16_t gate_selector, bool call, struct descriptor *gate)
{
	bool in_long_mode = cpu_long_mode(cpu);
	uint32_t gate_ar = descriptor_ar(gate), gate_error = gate_selector & 0xfffc, ar;
	unsigned size = in_long_mode ? 8 : gate_ar & TYPE_32 ? 4 : 2;
	struct stack stack = stack_current(cpu);
	uint16_t selector;
	uint64_t target;
	struct descriptor code;
	enum step step;

	if (ar_dpl(gate_ar) < cpu->cpl || ar_dpl(gate_ar) < selector_rpl(gate_selector))
		return raise_error(cpu, VECTOR_GP, gate_error);
	if (in_long_mode && (step = descriptor_widen(cpu, gate_selector, VECTOR_GP, 0, gate)))
		return step;
	if (!(gate_ar & AR_P))
		return raise_error(cpu, VECTOR_NP, gate_error);
	selector = (uint16_t)(gate->low >> 16);
	target = bits_get(gate->low, 15, 0) | (size > 2 ? bits_get(gate->low, 63, 48) << 16 : 0) | gate->high << 32;
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, &code)))
		return step;
	ar = descriptor_ar(&code);
	if (!ar_is_code(ar) || ar_dpl(ar) > cpu->cpl || (!call && !ar_is_conforming(ar) && ar_dpl(ar) != cpu->cpl))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (in_long_mode && (ar & (AR_L | AR_DB)) != AR_L)
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	if (call && !ar_is_conforming(ar) && ar_dpl(ar) < cpu->cpl)
		return in_long_mode ? call_inner_long(cpu, ar_dpl(ar), target, selector, &code)
				    : call_inner(cpu, gate->low, size, ar_dpl(ar), target, selector, &code);

	if ((step = descriptor_accessed(cpu, &code)))
		return step;
	if (call) {
		uint64_t frame[] = {cpu->seg[CS].selector, cpu->rip};

		stack.wide = in_long_mode;
		if ((step = push_return(cpu, &stack, size, 0, &code, target, frame, ARRAY_SIZE(frame))))
			return step;
		cpu->r[RSP] = stack.sp;
	} else if ((step = code_check_rip(cpu, ar, descriptor_limit(&code), target, 0))) {
		return step;
	}
	descriptor_to_segment(&code, (uint16_t)((selector & ~3u) | cpu->cpl), &cpu->seg[CS]);
	cpu->rip = target;
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

/* A TSS descriptor, or a task gate that leads to one. */
static enum step transfer_task(struct cpu *cpu, uint16_t selector, bool call, struct descriptor *d)
{
	uint32_t ar = descriptor_ar(d);
	enum step step;
	int type;

	if (cpu_long_mode(cpu) || ar_dpl(ar) < cpu->cpl || ar_dpl(ar) < selector_rpl(selector))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (ar_system_type(ar) == TYPE_TASK_GATE) {
		if (!(ar & AR_P))
			return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
		selector = (uint16_t)(d->low >> 16);
		if (selector & 4)
			return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
		if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, d)))
			return step;
		ar = descriptor_ar(d);
	}
	type = ar_system_type(ar);
	if ((type != TYPE_TSS && type != TYPE_TSS16) || (selector & 4))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	return task_switch(cpu, selector, call ? TASK_CALL : TASK_JMP, 0);
}

static enum step transfer(struct cpu *cpu, uint16_t selector, uint64_t offset, unsigned size, bool call)
{
	struct descriptor d;
	enum step step;

	if (is_8086(cpu)) {
		uint64_t frame[] = {cpu->seg[CS].selector, cpu->rip};
		struct stack stack = stack_current(cpu);

		if (call && (step = stack_room(cpu, &stack, size, ARRAY_SIZE(frame), 0)))
			return step;
		if (offset > cpu->seg[CS].limit)
			return raise_gp0(cpu);
		if (call && (step = stack_push_frame(cpu, &stack, size, frame, ARRAY_SIZE(frame), 0)))
			return step;
		cpu->r[RSP] = stack.sp;
		return jump_8086(cpu, selector, offset);
	}
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	switch (ar_system_type(descriptor_ar(&d))) {
	case -1:
		if (ar_is_code(descriptor_ar(&d)))
			return transfer_direct(cpu, selector, offset, size, call, &d);
		break;
	case TYPE_CALL16:
		if (!cpu_long_mode(cpu))
			return transfer_gate(cpu, selector, call, &d);
		break;
	case TYPE_CALL: return transfer_gate(cpu, selector, call, &d);
	case TYPE_TASK_GATE:
	case TYPE_TSS16:
	case TYPE_TSS: return transfer_task(cpu, selector, call, &d);
	default: break;
	}
	return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
}

static enum step far_branch(struct cpu *cpu, const struct insn *insn)
{
	bool call = insn->form->operation == ZYDIS_MNEMONIC_CALL;
	uint64_t offset = insn->imm & bytes_mask(insn->size);
	uint16_t selector = insn->imm2;
	la_t la;

	if (insn->opcode == 0xff) { /* m16:16, m16:32, m16:64 */
		if (insn->ea == EA_NONE)
			return raise_fault(cpu, VECTOR_UD);
		if (operand_linear(cpu, insn, insn->size + 2u, ACCESS_READ, &la) ||
		    mem_read_size(cpu, la, insn->size, &offset) || mem_read16(cpu, la + insn->size, &selector))
			return STEP_FAULT;
	}
	return transfer(cpu, selector, offset, insn->size, call);
}

/* Returns. */

enum step code_check_return(struct cpu *cpu, uint16_t selector, struct descriptor *d)
{
	uint32_t error = selector & 0xfffc, ar;
	unsigned rpl = selector_rpl(selector);
	enum step step = descriptor_get(cpu, selector, VECTOR_GP, 0, d);

	if (step)
		return step;
	ar = descriptor_ar(d);
	if (!ar_is_code(ar) || rpl < cpu->cpl || (ar_is_conforming(ar) ? ar_dpl(ar) > rpl : ar_dpl(ar) != rpl))
		return raise_error(cpu, VECTOR_GP, error);
	if (cpu_long_mode(cpu) && (ar & (AR_L | AR_DB)) == (AR_L | AR_DB))
		return raise_error(cpu, VECTOR_GP, error);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, error);
	return STEP_NEXT;
}

enum step stack_check_return(struct cpu *cpu, uint16_t selector, unsigned cs_rpl, bool to_64bit, struct segment *ss)
{
	if (selector_is_null(selector)) {
		if (!to_64bit || cs_rpl == 3 || selector_rpl(selector) != cs_rpl)
			return raise_gp0(cpu);
		*ss = segment_null(cs_rpl);
		return STEP_NEXT;
	}
	return segment_check_stack(cpu, selector, cs_rpl, VECTOR_GP, 0, ss);
}

static enum step return_outer(struct cpu *cpu, unsigned size, unsigned release, const uint64_t *popped,
			      struct descriptor *code)
{
	uint16_t selector = (uint16_t)popped[1];
	unsigned rpl = selector_rpl(selector);
	bool to_64bit = cpu_long_mode(cpu) && (descriptor_ar(code) & AR_L);
	struct segment ss = {0};
	uint64_t outer[2]; /* RSP, SS */
	enum step step;

	if ((step = stack_peek(cpu, 2 * size + release, size, outer, 2)) ||
	    (step = stack_check_return(cpu, (uint16_t)outer[1], rpl, to_64bit, &ss)) ||
	    (step = code_check_rip(cpu, descriptor_ar(code), descriptor_limit(code), popped[0], 0)) ||
	    (step = code_segment_commit(cpu, code, selector, popped[0])))
		return step;
	cpu->seg[SS] = ss;
	cpu->cpl = (uint8_t)rpl;
	cpu_mode_changed(cpu); /* the new stack's width counts */
	if (cpu_64bit(cpu))
		cpu->r[RSP] = outer[0] + release;
	else
		stack_set(cpu, (size == 2 ? (uint16_t)outer[0] : outer[0]) + release);
	segments_drop(cpu);
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

static enum step return_far(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->size, release = insn->opcode == 0xca ? insn->imm & 0xffff : 0;
	struct descriptor code;
	uint64_t popped[2]; /* RIP, CS */
	uint64_t rsp;
	enum step step;

	if ((step = stack_peek(cpu, 0, size, popped, 2)))
		return step;
	rsp = cpu->r[RSP] + 2 * size + release;
	if (is_8086(cpu)) {
		if ((step = jump_8086(cpu, (uint16_t)popped[1], popped[0])) == STEP_LEAVE)
			stack_set(cpu, rsp);
		return step;
	}
	if ((step = code_check_return(cpu, (uint16_t)popped[1], &code)))
		return step;
	if (selector_rpl((uint16_t)popped[1]) > cpu->cpl)
		return return_outer(cpu, size, release, popped, &code);
	if ((step = code_check_rip(cpu, descriptor_ar(&code), descriptor_limit(&code), popped[0], 0)) ||
	    (step = descriptor_accessed(cpu, &code)))
		return step;
	stack_set(cpu, rsp);
	step = code_segment_commit(cpu, &code, (uint16_t)popped[1], popped[0]);
	exec_privilege_changed(cpu);
	return step ? step : STEP_LEAVE;
}

/* The engines have near branches of their own. Zydis gives near and far the same operation; a far form's operand, if
 * any, is not relative. */
const struct exec_entry exec_far_entries[] = {
	ENTRY(JMP, far_branch),
	ENTRY(CALL, far_branch),
	ENTRY(RET, return_far),
	{0},
};

/*
 * Stacks: the current one, and those that transfers prepare before they commit. PUSH POP PUSHA POPA PUSHF POPF ENTER
 * LEAVE.
 *
 * SDM vol. 1, "Procedure Calls, Interrupts, and Exceptions"; vol. 2 for each instruction. PUSH and POP of segments are
 * segment.c's.
 */
#include "cpu/mode.h"
#include "exec/entries.h"
#include "exec/protect.h"

bool stack_push(struct cpu *cpu, unsigned size, uint64_t value)
{
	uint64_t sp = (cpu->r[RSP] - size) & stack_mask(cpu);
	la_t la;

	if (segment_linear(cpu, SS, sp, size, ACCESS_WRITE, &la) || mem_write_size(cpu, la, size, value))
		return true;
	stack_set(cpu, sp);
	return false;
}

bool stack_pop(struct cpu *cpu, unsigned size, uint64_t *value)
{
	uint64_t sp = cpu->r[RSP] & stack_mask(cpu);
	la_t la;

	if (segment_linear(cpu, SS, sp, size, ACCESS_READ, &la) || mem_read_size(cpu, la, size, value))
		return true;
	stack_set(cpu, sp + size);
	return false;
}

enum step stack_peek(struct cpu *cpu, unsigned skip, unsigned size, uint64_t *value, unsigned count)
{
	uint64_t mask = stack_mask(cpu);
	const uint8_t *host = NULL;
	la_t la;

	/* Mostly nothing is to be checked, and all of it lies in one page. */
	if ((cpu->mode & MODE_FLAT) && mask != UINT16_MAX)
		host = tlb_read(cpu, (cpu->r[RSP] + skip) & mask, size * count);
	if (likely(host)) {
		for (unsigned i = 0; i < count; i++)
			value[i] = load_le(host + i * size, size);
		return STEP_NEXT;
	}
	for (unsigned i = 0; i < count; i++)
		if (segment_linear(cpu, SS, (cpu->r[RSP] + skip + i * size) & mask, size, ACCESS_READ, &la) ||
		    mem_read_size(cpu, la, size, &value[i]))
			return STEP_FAULT;
	return STEP_NEXT;
}

/* SDM vol. 2, "PUSH": of RSP, its value before; of memory, addressed with RSP before. */
static enum step exec_push(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = insn->imm;

	if (insn->form->operand[0].kind != OPERAND_IMM && operand_read(cpu, insn, insn->size, &value))
		return STEP_FAULT;
	return stack_push(cpu, insn->size, value) ? STEP_FAULT : STEP_NEXT;
}

/* SDM vol. 2, "POP": into RSP, the value wins; into memory, addressed with RSP after. */
static enum step exec_pop(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rsp = cpu->r[RSP], value;

	if (stack_pop(cpu, insn->size, &value))
		return STEP_FAULT;
	if (!operand_write(cpu, insn, insn->size, value))
		return STEP_NEXT;
	cpu->r[RSP] = rsp;
	return STEP_FAULT;
}

/* Stacks in preparation. */

struct stack stack_current(const struct cpu *cpu)
{
	return (struct stack){.ss = cpu->seg[SS], .sp = cpu->r[RSP], .cpl = cpu->cpl, .wide = cpu_64bit(cpu)};
}

static uint64_t sp_mask(const struct stack *stack)
{
	return stack->wide ? ~UINT64_C(0) : stack->ss.ar & AR_DB ? UINT32_MAX : UINT16_MAX;
}

/* The linear address of `size` bytes at sp. False: #SS. */
static bool place(const struct cpu *cpu, const struct stack *stack, uint64_t sp, unsigned size, la_t *la)
{
	if (stack->wide) {
		*la = sp;
		return cpu_canonical(cpu, sp) && cpu_canonical(cpu, sp + size - 1);
	}
	*la = (uint32_t)(stack->ss.base + sp);
	return !(stack->ss.ar & AR_UNUSABLE) && ((stack->ss.ar & AR_WRITABLE) || !cpu_protected(cpu)) &&
	       segment_contains(&stack->ss, sp, size);
}

enum step stack_room(struct cpu *cpu, const struct stack *stack, unsigned size, unsigned count, uint32_t error)
{
	uint64_t sp = stack->sp;
	la_t la;

	for (unsigned i = 0; i < count; i++) {
		sp = (sp - size) & sp_mask(stack);
		if (!place(cpu, stack, sp, size, &la))
			return raise_error(cpu, VECTOR_SS, error);
	}
	return STEP_NEXT;
}

#define FRAME_BYTES 320 /* a call gate's 31 parameters and 4 registers, 8 bytes each at most */

/* All in one piece, unless that faults or the stack pointer wraps inside: then only after each piece was proved
 * writable. */
static bool write_frame(struct cpu *cpu, const struct stack *stack, unsigned size, const uint64_t *value,
			unsigned count)
{
	bool checked = cpu->cpl == 3 && (cpu->cr0 & CR0_AM) && (cpu->rflags & RFLAGS_AC);
	uint8_t bytes[FRAME_BYTES];
	uint64_t sp = stack->sp;
	bool contiguous = true, aligned = true;
	la_t la = 0, before = 0;

	for (unsigned i = 0; i < count; i++) {
		sp = (sp - size) & sp_mask(stack);
		if (!place(cpu, stack, sp, size, &la))
			return true; /* not reached: stack_room() said yes */
		contiguous = contiguous && (i == 0 || la == before - size);
		aligned = aligned && (!checked || is_aligned(la, size));
		before = la;
		store_le(bytes + (count - 1 - i) * size, size, value[i]);
	}
	if (contiguous && aligned && !mem_write_bytes(cpu, la, bytes, count * size, ACCESS_WRITE | ACCESS_STACK))
		return false;
	/* Piece by piece; of several that fault, the first pushed is the one that CR2 tells of. */
	for (unsigned pass = 0; pass < 2; pass++) {
		if (pass && !aligned) {
			raise_error(cpu, VECTOR_AC, 0);
			return true;
		}
		sp = stack->sp;
		for (unsigned i = 0; i < count; i++) {
			sp = (sp - size) & sp_mask(stack);
			if (!place(cpu, stack, sp, size, &la))
				return true;
			if (pass == 0 ? mem_probe(cpu, la, size, ACCESS_WRITE | ACCESS_STACK)
				      : mem_write_bytes(cpu, la, &value[i], size, ACCESS_WRITE | ACCESS_STACK))
				return true;
		}
	}
	return false;
}

enum step stack_push_frame(struct cpu *cpu, struct stack *stack, unsigned size, const uint64_t *value, unsigned count,
			   uint32_t error)
{
	uint8_t cpl = cpu->cpl;
	enum step step = stack_room(cpu, stack, size, count, error);
	bool faulted;

	if (step)
		return step;
	if (stack->cpl != cpl) { /* pages are checked for the ring that the stack belongs to */
		cpu->cpl = stack->cpl;
		mem_privilege_changed(cpu);
	}
	faulted = write_frame(cpu, stack, size, value, count);
	if (stack->cpl != cpl) {
		cpu->cpl = cpl;
		mem_privilege_changed(cpu);
	}
	if (faulted)
		return STEP_FAULT;
	stack->sp = (stack->sp & ~sp_mask(stack)) | ((stack->sp - (uint64_t)size * count) & sp_mask(stack));
	return STEP_NEXT;
}

enum step stack_from_tss(struct cpu *cpu, unsigned cpl, unsigned ext, uint16_t *ss, uint64_t *sp)
{
	const struct segment *tr = &cpu->seg[TR];
	bool wide = tr->ar & TYPE_32;
	unsigned offset = wide ? cpl * 8 + 4 : cpl * 4 + 2;
	unsigned size = wide ? 4 : 2;
	uint32_t esp = 0;
	uint16_t sp16;

	if (offset + size + 1 > tr->limit)
		return raise_error(cpu, VECTOR_TS, (tr->selector & 0xfffc) | ext);
	if (wide ? mem_sys_read32(cpu, (uint32_t)(tr->base + offset), &esp)
		 : mem_sys_read16(cpu, (uint32_t)(tr->base + offset), &sp16))
		return STEP_FAULT;
	*sp = wide ? esp : sp16;
	return mem_sys_read16(cpu, (uint32_t)(tr->base + offset + size), ss) ? STEP_FAULT : STEP_NEXT;
}

enum step stack_from_tss64(struct cpu *cpu, unsigned cpl, unsigned ist, unsigned ext, uint64_t *sp)
{
	const struct segment *tr = &cpu->seg[TR];
	unsigned offset = ist ? 0x24 + (ist - 1) * 8 : 4 + cpl * 8;

	if (offset + 7 > tr->limit)
		return raise_error(cpu, VECTOR_TS, (tr->selector & 0xfffc) | ext);
	if (mem_sys_read64(cpu, tr->base + offset, sp))
		return STEP_FAULT;
	if (!cpu_canonical(cpu, *sp))
		return raise_error(cpu, VECTOR_SS, ext);
	return STEP_NEXT;
}

/* Instructions. */

static enum step exec_pusha(struct cpu *cpu, const struct insn *insn)
{
	struct stack stack = stack_current(cpu);
	enum step step = stack_push_frame(cpu, &stack, insn->size, cpu->r, 8, 0); /* RSP as it was before */

	if (!step)
		stack_set(cpu, stack.sp);
	return step;
}

static enum step exec_popa(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value[8];
	enum step step = stack_peek(cpu, 0, insn->size, value, 8);

	if (step)
		return step;
	for (unsigned i = 0; i < 8; i++)
		if (7 - i != RSP)
			reg_set(cpu, 7 - i, insn->size, value[i]);
	stack_set(cpu, cpu->r[RSP] + 8 * insn->size);
	return STEP_NEXT;
}

/* SDM vol. 2, "PUSHF/PUSHFD/PUSHFQ". VM and RF are pushed as 0. */
static enum step exec_pushf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t flags = cpu_rflags(cpu) & ~(RFLAGS_VM | RFLAGS_RF);

	if (cpu_v86(cpu) && cpu_iopl(cpu) < 3) {
		if (!(cpu->cr4 & CR4_VME) || insn->size != 2)
			return raise_gp0(cpu);
		flags = (flags & ~RFLAGS_IF) | RFLAGS_IOPL | (cpu->rflags & RFLAGS_VIF ? RFLAGS_IF : 0);
	}
	return stack_push(cpu, insn->size, flags) ? STEP_FAULT : STEP_NEXT;
}

/* SDM vol. 2, "POPF/POPFD/POPFQ", with its table of effects. */
static enum step exec_popf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask, flags, iopl_if = RFLAGS_IOPL | RFLAGS_IF;
	bool virtual = false;

	if (!cpu_v86(cpu)) {
		mask = rflags_loadable(cpu, insn->size) & ~(RFLAGS_VIF | RFLAGS_VIP);
	} else if (cpu_iopl(cpu) == 3) {
		mask = (insn->size == 2 ? BITS(15, 0) : BITS(15, 0) | RFLAGS_AC | RFLAGS_ID | RFLAGS_RF) & ~RFLAGS_IOPL;
	} else {
		virtual = (cpu->cr4 & CR4_VME) && insn->size == 2;
		if (!virtual)
			return raise_gp0(cpu);
		mask = BITS(15, 0) & ~iopl_if;
	}
	if (stack_peek(cpu, 0, insn->size, &flags, 1))
		return STEP_FAULT;
	if (virtual) {
		if ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (cpu->rflags & RFLAGS_VIP)))
			return raise_gp0(cpu);
		flags |= flags & RFLAGS_IF ? RFLAGS_VIF : 0; /* bit 19 is not in the 16-bit image */
		mask |= RFLAGS_VIF;
	}
	stack_set(cpu, cpu->r[RSP] + insn->size);
	rflags_load(cpu, flags & ~RFLAGS_RF, mask);
	return STEP_LEAVE;
}

/* SDM vol. 2, "ENTER". All is proved before RSP or RBP changes. */
static enum step exec_enter(struct cpu *cpu, const struct insn *insn)
{
	unsigned level = insn->imm2 & 31, size = insn->size;
	uint64_t frame[33], mask = stack_mask(cpu), bp = cpu->r[RBP], frame_pointer;
	struct stack stack = stack_current(cpu);
	unsigned count = 0;
	enum step step;
	la_t la;

	frame[count++] = bp;
	frame_pointer = (cpu->r[RSP] - size) & mask;
	for (unsigned i = 1; i < level; i++) {
		bp -= size;
		if (segment_linear(cpu, SS, bp & mask, size, ACCESS_READ, &la))
			return STEP_FAULT;
		/* A level's pointer may lie where this ENTER has just pushed. */
		if (((frame_pointer - (bp & mask)) & mask) < (uint64_t)size * count &&
		    ((frame_pointer - (bp & mask)) & mask) % size == 0)
			frame[count] = frame[((frame_pointer - (bp & mask)) & mask) / size];
		else if (mem_read_size(cpu, la, size, &frame[count]))
			return STEP_FAULT;
		count++;
	}
	if (level > 0)
		frame[count++] = frame_pointer;
	if ((step = stack_push_frame(cpu, &stack, size, frame, count, 0)))
		return step;
	/* The new frame's last byte is touched, as the manual asks, so that a guard page is noticed before anything
	 * changed. */
	stack.sp -= insn->imm & 0xffff;
	if (segment_linear(cpu, SS, stack.sp & mask, size, ACCESS_WRITE, &la) ||
	    mem_probe(cpu, la, size, ACCESS_WRITE | ACCESS_STACK))
		return STEP_FAULT;
	reg_set(cpu, RBP, size == 2 ? 2 : mask == UINT16_MAX ? 2 : size, frame_pointer);
	stack_set(cpu, stack.sp);
	return STEP_NEXT;
}

static enum step exec_leave(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask = stack_mask(cpu), value;
	la_t la;

	if (segment_linear(cpu, SS, cpu->r[RBP] & mask, insn->size, ACCESS_READ, &la) ||
	    mem_read_size(cpu, la, insn->size, &value))
		return STEP_FAULT;
	stack_set(cpu, cpu->r[RBP] + insn->size);
	reg_set(cpu, RBP, insn->size, value);
	return STEP_NEXT;
}

const struct exec_entry exec_stack_entries[] = {
	ENTRY(PUSH, exec_push),	   ENTRY(POP, exec_pop),      ENTRY(PUSHA, exec_pusha),
	ENTRY(PUSHAD, exec_pusha), ENTRY(POPA, exec_popa),    ENTRY(POPAD, exec_popa),
	ENTRY(PUSHF, exec_pushf),  ENTRY(PUSHFD, exec_pushf), ENTRY(PUSHFQ, exec_pushf),
	ENTRY(POPF, exec_popf),	   ENTRY(POPFD, exec_popf),   ENTRY(POPFQ, exec_popf),
	ENTRY(ENTER, exec_enter),  ENTRY(LEAVE, exec_leave),  {0},
};

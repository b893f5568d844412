/*
 * Task switches: SDM vol. 3, "Task Management", above all "Task Switching" and its table of checks. The callers have
 * checked the TSS descriptor.
 *
 * All accesses that may fault before the switch is committed are made or proved first; from then on registers are the
 * new task's, and a fault is delivered there. Long mode has no task switches.
 */
#include "exec/nonroot.h"
#include "exec/protect.h"
#include "vmx/intercept.h"

/* Where a TSS of 32 and one of 16 bits keep things. SDM vol. 3, "Task-State Segment (TSS)" and "16-Bit Task-State
 * Segment (TSS)". */
struct layout {
	unsigned word; /* size of registers in it */
	unsigned min_limit;
	unsigned cr3;		  /* 0: none */
	unsigned ip, flags, gpr;  /* EAX ECX EDX EBX ESP EBP ESI EDI follow each other */
	unsigned segments, count; /* ES CS SS DS (FS GS), `word` apart */
	unsigned ldt, trap;	  /* trap 0: none */
};
static const struct layout layouts[2] = {
	{.word = 2,
	 .min_limit = 0x2b,
	 .ip = 0x0e,
	 .flags = 0x10,
	 .gpr = 0x12,
	 .segments = 0x22,
	 .count = 4,
	 .ldt = 0x2a},
	{.word = 4,
	 .min_limit = 0x67,
	 .cr3 = 0x1c,
	 .ip = 0x20,
	 .flags = 0x24,
	 .gpr = 0x28,
	 .segments = 0x48,
	 .count = 6,
	 .ldt = 0x60,
	 .trap = 0x64},
};

static const struct layout *layout_of(uint32_t ar)
{
	return &layouts[ar & TYPE_32 ? 1 : 0];
}

/* The dynamic part of the current TSS, from the instruction pointer to the last segment selector. */
static enum step save_state(struct cpu *cpu, uint64_t flags)
{
	const struct layout *l = layout_of(cpu->seg[TR].ar);
	unsigned size = l->segments + l->count * l->word - l->ip;
	la_t at = (uint32_t)(cpu->seg[TR].base + l->ip);
	uint8_t image[0x68];

	/* Selectors are words: the upper halves of a 32-bit TSS's fields stay. */
	if (mem_read_bytes(cpu, at, image + l->ip, size, ACCESS_READ | ACCESS_SYSTEM))
		return STEP_FAULT;
	store_le(image + l->ip, l->word, cpu->rip);
	store_le(image + l->flags, l->word, flags);
	for (unsigned i = 0; i < 8; i++)
		store_le(image + l->gpr + i * l->word, l->word, cpu->r[i]);
	for (unsigned i = 0; i < l->count; i++)
		store_le(image + l->segments + i * l->word, 2, cpu->seg[i].selector);
	return mem_write_bytes(cpu, at, image + l->ip, size, ACCESS_WRITE | ACCESS_SYSTEM) ? STEP_FAULT : STEP_NEXT;
}

/* Everything that is saved and loaded, checked for page faults in advance. */
static enum step prove_accesses(struct cpu *cpu, const struct descriptor *new, la_t new_base, enum task_switch how)
{
	const struct layout *l = layout_of(cpu->seg[TR].ar);
	la_t old_descriptor = (uint32_t)(cpu->gdtr.base + (cpu->seg[TR].selector & 0xfff8) + 5);
	bool nested = how == TASK_CALL || how == TASK_GATE;

	if (mem_probe(cpu, (uint32_t)(cpu->seg[TR].base + l->ip), l->segments + l->count * l->word - l->ip,
		      ACCESS_READ | ACCESS_WRITE | ACCESS_SYSTEM))
		return STEP_FAULT;
	if (nested && mem_probe(cpu, new_base, 2, ACCESS_WRITE | ACCESS_SYSTEM))
		return STEP_FAULT;
	if (!nested && mem_probe(cpu, old_descriptor, 1, ACCESS_READ | ACCESS_WRITE | ACCESS_SYSTEM))
		return STEP_FAULT;
	if (how != TASK_IRET && mem_probe(cpu, new->at + 5, 1, ACCESS_WRITE | ACCESS_SYSTEM))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step load_ldt(struct cpu *cpu, uint16_t selector, unsigned ext)
{
	struct descriptor d;
	enum step step;

	cpu->seg[LDTR] = (struct segment){.selector = selector, .ar = AR_UNUSABLE};
	if (selector_is_null(selector))
		return STEP_NEXT;
	if (selector & 4)
		return raise_error(cpu, VECTOR_TS, (selector & 0xfffc) | ext);
	if ((step = descriptor_get(cpu, selector, VECTOR_TS, ext, &d)))
		return step;
	if (ar_system_type(descriptor_ar(&d)) != TYPE_LDT || !(descriptor_ar(&d) & AR_P))
		return raise_error(cpu, VECTOR_TS, (selector & 0xfffc) | ext);
	descriptor_to_segment(&d, selector, &cpu->seg[LDTR]);
	return STEP_NEXT;
}

static enum step load_cs(struct cpu *cpu, uint16_t selector, unsigned ext)
{
	uint32_t error = (selector & 0xfffc) | ext, ar;
	unsigned rpl = selector_rpl(selector);
	struct descriptor d;
	enum step step = descriptor_get(cpu, selector, VECTOR_TS, ext, &d);

	if (step)
		return step;
	ar = descriptor_ar(&d);
	if (!ar_is_code(ar) || (ar_is_conforming(ar) ? ar_dpl(ar) > rpl : ar_dpl(ar) != rpl))
		return raise_error(cpu, VECTOR_TS, error);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, error);
	if ((step = descriptor_accessed(cpu, &d)))
		return step;
	descriptor_to_segment(&d, selector, &cpu->seg[CS]);
	return STEP_NEXT;
}

static enum step load_data(struct cpu *cpu, enum segment_number number, uint16_t selector, unsigned ext)
{
	uint32_t error = (selector & 0xfffc) | ext, ar;
	struct descriptor d;
	enum step step;

	if (selector_is_null(selector))
		return STEP_NEXT; /* it is unusable already */
	if ((step = descriptor_get(cpu, selector, VECTOR_TS, ext, &d)))
		return step;
	ar = descriptor_ar(&d);
	if (!(ar & AR_S) || (ar & (AR_CODE | AR_WRITABLE)) == AR_CODE)
		return raise_error(cpu, VECTOR_TS, error);
	if (!(ar_is_code(ar) && ar_is_conforming(ar)) && (ar_dpl(ar) < cpu->cpl || ar_dpl(ar) < selector_rpl(selector)))
		return raise_error(cpu, VECTOR_TS, error);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, error);
	if ((step = descriptor_accessed(cpu, &d)))
		return step;
	descriptor_to_segment(&d, selector, &cpu->seg[number]);
	return STEP_NEXT;
}

/* In the new task: qualify what its TSS names. Selectors are in the segment registers, which are unusable until their
 * turn. */
static enum step load_segments(struct cpu *cpu, uint16_t ldt, unsigned ext)
{
	static const enum segment_number data[] = {ES, DS, FS, GS};
	struct segment ss;
	enum step step;

	if ((step = load_ldt(cpu, ldt, ext)))
		return step;
	if (cpu_v86(cpu)) {
		for (unsigned i = 0; i < SEG_COUNT; i++)
			segment_set_v86(&cpu->seg[i], cpu->seg[i].selector);
		return STEP_NEXT;
	}
	if ((step = load_cs(cpu, cpu->seg[CS].selector, ext)) ||
	    (step = segment_check_stack(cpu, cpu->seg[SS].selector, cpu->cpl, VECTOR_TS, ext, &ss)))
		return step;
	cpu->seg[SS] = ss;
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		if ((step = load_data(cpu, data[i], cpu->seg[data[i]].selector, ext)))
			return step;
	return STEP_NEXT;
}

/* SDM vol. 3, "Treatment of Task Switches": none happens in non-root operation. */
static enum step exit_for(struct cpu *cpu, uint16_t selector, enum task_switch how)
{
	static const enum vmx_task_source source[] = {
		[TASK_JMP] = VMX_TASK_JMP,
		[TASK_CALL] = VMX_TASK_CALL,
		[TASK_IRET] = VMX_TASK_IRET,
		[TASK_GATE] = VMX_TASK_GATE,
	};

	/* Through the IDT, the event's own length counts, and only that of software's. */
	vmx_exit_task_switch(cpu, selector, source[how], how == TASK_GATE ? 0 : cpu->insn->len);
	return nonroot_exit(cpu);
}

enum step task_switch(struct cpu *cpu, uint16_t selector, enum task_switch how, unsigned ext)
{
	bool nested = how == TASK_CALL || how == TASK_GATE;
	uint64_t flags = cpu_rflags(cpu), value;
	uint16_t old_selector = cpu->seg[TR].selector, ldt;
	const struct layout *l;
	struct descriptor new, old;
	struct segment tr;
	uint8_t image[0x68];
	enum step step;

	if ((step = descriptor_get(cpu, selector, VECTOR_TS, ext, &new)))
		return step;
	descriptor_to_segment(&new, selector, &tr);
	l = layout_of(tr.ar);
	if (tr.limit < l->min_limit)
		return raise_error(cpu, VECTOR_TS, (selector & 0xfffc) | ext);
	if (unlikely(cpu->nonroot))
		return exit_for(cpu, selector, how);
	if (cpu->seg[TR].limit < layout_of(cpu->seg[TR].ar)->min_limit)
		return raise_error(cpu, VECTOR_TS, (selector & 0xfffc) | ext);
	if (mem_read_bytes(cpu, tr.base, image, l->min_limit + 1, ACCESS_READ | ACCESS_SYSTEM) ||
	    (step = prove_accesses(cpu, &new, tr.base, how)))
		return STEP_FAULT;

	/* Proved above, so these succeed; should the guest's page tables lie inside a TSS, a fault is still a fault. */
	if (!nested && descriptor_read(cpu, old_selector, false, &old) == DESCRIPTOR_OK &&
	    (step = descriptor_set_busy(cpu, &old, false)))
		return step;
	if (how != TASK_GATE)
		flags &= ~RFLAGS_RF; /* the instruction is done */
	if ((step = save_state(cpu, how == TASK_IRET ? flags & ~RFLAGS_NT : flags)))
		return step;
	if (nested && mem_sys_write16(cpu, tr.base, old_selector))
		return STEP_FAULT;
	if (how != TASK_IRET && (step = descriptor_set_busy(cpu, &new, true)))
		return step;

	/* The point of no return. */
	tr.ar |= TSS_BUSY;
	cpu->seg[TR] = tr;
	cpu->cr0 |= CR0_TS;
	cpu->dr7 &= ~(BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(8)); /* local enables */
	cpu->shadow = 0;
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->rip = cpu->insn_rip = load_le(image + l->ip, l->word);
	for (unsigned i = 0; i < 8; i++)
		cpu->r[i] = load_le(image + l->gpr + i * l->word, l->word) | (l->word == 2 ? 0xffff0000 : 0);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){
			.selector = i < l->count ? (uint16_t)load_le(image + l->segments + i * l->word, 2) : 0,
			.ar = AR_UNUSABLE,
		};
	flags = load_le(image + l->flags, l->word) | (nested ? RFLAGS_NT : 0);
	cpu_set_rflags(cpu, 0);
	cpu->rflags |= flags & RFLAGS_VM;
	cpu->cpl = flags & RFLAGS_VM ? 3 : selector_rpl(cpu->seg[CS].selector);
	rflags_load(cpu, flags, RFLAGS_DEFINED & ~RFLAGS_VM);
	ldt = (uint16_t)load_le(image + l->ldt, 2);
	if (l->trap && (load_le(image + l->trap, 2) & 1)) {
		cpu->pending_debug |= DR6_BT;
		cpu_attend(cpu, ATTEND_TRAP);
	}
	exec_context_changed(cpu);
	value = l->cr3 ? load_le(image + l->cr3, 4) : 0;
	if (l->cr3 && (cpu->cr0 & CR0_PG) && exec_write_cr3(cpu, value))
		return raise_error(cpu, VECTOR_TS, (selector & 0xfffc) | ext);
	step = load_segments(cpu, ldt, ext);
	exec_context_changed(cpu);
	if (step || (step = code_check_rip(cpu, cpu->seg[CS].ar, cpu->seg[CS].limit, cpu->rip, ext)))
		return step;
	return STEP_LEAVE;
}

/*
 * IRET in every form: real mode, V86 with and without VME, to the same and to an outer ring, to V86, to another task,
 * long mode.
 *
 * SDM vol. 2, "IRET/IRETD/IRETQ". NMIs are unblocked even when the instruction faults: SDM vol. 3, "Handling Multiple
 * NMIs".
 */
#include "exec/entries.h"
#include "exec/protect.h"
#include "vmx/intercept.h"

/* Real mode and V86 with IOPL 3 differ in the flags that they may change. */
static enum step iret_8086(struct cpu *cpu, const struct insn *insn)
{
	uint64_t mask = insn->size == 2 ? BITS(15, 0) : BITS(15, 0) | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	uint64_t popped[3], flags, rsp = cpu->r[RSP] + 3 * insn->size;
	bool virtual = false;
	enum step step;

	if (cpu_v86(cpu)) {
		virtual = cpu_iopl(cpu) < 3;
		if (virtual && (!(cpu->cr4 & CR4_VME) || insn->size != 2))
			return raise_gp0(cpu);
		mask &= ~(virtual ? RFLAGS_IOPL | RFLAGS_IF : RFLAGS_IOPL);
	}
	if ((step = stack_peek(cpu, 0, insn->size, popped, 3)))
		return step;
	flags = popped[2];
	if (popped[0] > cpu->seg[CS].limit)
		return raise_gp0(cpu);
	if (virtual) {
		if ((flags & RFLAGS_TF) || ((flags & RFLAGS_IF) && (cpu->rflags & RFLAGS_VIP)))
			return raise_gp0(cpu);
		flags |= flags & RFLAGS_IF ? RFLAGS_VIF : 0;
		mask |= RFLAGS_VIF;
	}
	stack_set(cpu, rsp);
	segment_load_real(cpu, CS, (uint16_t)popped[1]);
	cpu->rip = popped[0];
	rflags_load(cpu, flags, mask);
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

/* image: EIP, CS, EFLAGS as popped. */
static enum step iret_to_v86(struct cpu *cpu, const uint64_t image[3])
{
	static const enum segment_number order[] = {ES, DS, FS, GS};
	uint64_t popped[6]; /* ESP SS ES DS FS GS */
	enum step step;

	if ((step = stack_peek(cpu, 12, 4, popped, 6)))
		return step;
	if (image[0] > 0xffff)
		return raise_gp0(cpu);
	segment_set_v86(&cpu->seg[CS], (uint16_t)image[1]);
	segment_set_v86(&cpu->seg[SS], (uint16_t)popped[1]);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		segment_set_v86(&cpu->seg[order[i]], (uint16_t)popped[2 + i]);
	cpu->r[RSP] = (uint32_t)popped[0];
	cpu->rip = image[0];
	cpu->cpl = 3;
	cpu->rflags |= RFLAGS_VM;
	rflags_load(cpu, image[2], RFLAGS_DEFINED & ~RFLAGS_VM);
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

/* NT: back to the task whose TSS the current one links to. */
static enum step iret_to_task(struct cpu *cpu)
{
	uint16_t selector;
	struct descriptor d;
	enum step step;
	int type;

	if (cpu_long_mode(cpu))
		return raise_gp0(cpu);
	if (mem_sys_read16(cpu, (uint32_t)cpu->seg[TR].base, &selector))
		return STEP_FAULT;
	if (selector & 4)
		return raise_error(cpu, VECTOR_TS, selector & 0xfffc);
	if ((step = descriptor_get(cpu, selector, VECTOR_TS, 0, &d)))
		return step;
	type = ar_system_type(descriptor_ar(&d));
	if (type != TYPE_TSS_BUSY && type != TYPE_TSS16_BUSY)
		return raise_error(cpu, VECTOR_TS, selector & 0xfffc);
	if (!(descriptor_ar(&d) & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	return task_switch(cpu, selector, TASK_IRET, 0);
}

/* Protected and long mode. In 64-bit mode RSP and SS are always popped; elsewhere only for an outer ring. */
static enum step iret_protected(struct cpu *cpu, unsigned size)
{
	bool from_64bit = cpu_64bit(cpu), to_64bit, with_stack;
	uint64_t mask = rflags_loadable(cpu, size), popped[5];
	uint16_t selector;
	struct segment ss = {0};
	struct descriptor code;
	enum step step;
	unsigned rpl;

	if ((step = stack_peek(cpu, 0, size, popped, from_64bit ? 5 : 3)))
		return step;
	if (size == 4 && !cpu_long_mode(cpu) && cpu->cpl == 0 && (popped[2] & RFLAGS_VM))
		return iret_to_v86(cpu, popped);
	selector = (uint16_t)popped[1];
	rpl = selector_rpl(selector);
	if ((step = code_check_return(cpu, selector, &code)))
		return step;
	to_64bit = cpu_long_mode(cpu) && (descriptor_ar(&code) & AR_L);
	with_stack = from_64bit || rpl > cpu->cpl;
	if (with_stack) {
		if (!from_64bit && (step = stack_peek(cpu, 3 * size, size, popped + 3, 2)))
			return step;
		if ((step = stack_check_return(cpu, (uint16_t)popped[4], rpl, to_64bit, &ss)))
			return step;
	}
	if ((step = code_check_rip(cpu, descriptor_ar(&code), descriptor_limit(&code), popped[0], 0)) ||
	    (step = code_segment_commit(cpu, &code, selector, popped[0])))
		return step;

	if (with_stack) {
		bool outer = rpl > cpu->cpl;

		cpu->seg[SS] = ss;
		cpu->cpl = (uint8_t)rpl;
		cpu_mode_changed(cpu);
		stack_set(cpu, popped[3]);
		if (outer)
			segments_drop(cpu);
	} else {
		stack_set(cpu, cpu->r[RSP] + 3 * size);
	}
	rflags_load(cpu, popped[2], mask);
	exec_privilege_changed(cpu);
	return STEP_LEAVE;
}

static enum step iret(struct cpu *cpu, const struct insn *insn)
{
	if (!cpu_protected(cpu) || cpu_v86(cpu))
		return iret_8086(cpu, insn);
	if (cpu->rflags & RFLAGS_NT)
		return iret_to_task(cpu);
	return iret_protected(cpu, insn->size);
}

/* In non-root operation the controls say which blocking ends, and a fault's VM exit tells of it. */
static enum step nonroot_iret(struct cpu *cpu, const struct insn *insn)
{
	bool blocked = vmx_nmi_blocked(cpu);
	enum step step;

	vmx_iret(cpu);
	exec_recheck_events(cpu);
	step = iret(cpu, insn);
	if (step == STEP_FAULT)
		cpu->fault.nmi_unblocked = blocked && !vmx_nmi_blocked(cpu);
	return step;
}

static enum step exec_iret(struct cpu *cpu, const struct insn *insn)
{
	if (unlikely(cpu->nonroot))
		return nonroot_iret(cpu, insn);
	cpu->nmi_blocked = false;
	exec_recheck_events(cpu);
	return iret(cpu, insn);
}

const struct exec_entry exec_iret_entries[] = {
	ENTRY(IRET, exec_iret),
	ENTRY(IRETD, exec_iret),
	ENTRY(IRETQ, exec_iret),
	{0},
};

/*
 * Instructions that call the IDT: INT n, INT3, INTO, INT1, BOUND. SDM vol. 2, "INT n/INTO/INT3/INT1" and "BOUND". UD0
 * to UD2 are exec_undefined().
 */
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"
#include "vmx/intercept.h"

/*
 * SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks": a single-step trap of the MOV or POP to SS before
 * is suppressed. Data breakpoints of that instruction stay pending and come when the handler has been entered.
 */
static enum step software(struct cpu *cpu, const struct insn *insn, enum event_type type, uint8_t vector)
{
	cpu->pending_debug &= ~(uint64_t)DR6_BS;
	return event_deliver(cpu, &(struct event){.type = type, .vector = vector, .length = insn->len});
}

/* INT1, INT3 and INTO are exceptions, so the exception bitmap decides; before the IDT is looked at. */
static enum step exception(struct cpu *cpu, const struct insn *insn, enum event_type type, uint8_t vector)
{
	if (unlikely(cpu->nonroot) && vmx_intercepts_exception(cpu, vector, 0)) {
		vmx_exit_exception(cpu, (enum interruption_type)type, &(struct fault){.vector = vector}, insn->len,
				   false);
		return nonroot_exit(cpu);
	}
	return software(cpu, insn, type, vector);
}

static enum step exec_int(struct cpu *cpu, const struct insn *insn)
{
	return software(cpu, insn, EVENT_INT, (uint8_t)insn->imm);
}

static enum step exec_int3(struct cpu *cpu, const struct insn *insn)
{
	return exception(cpu, insn, EVENT_INT3, VECTOR_BP);
}

static enum step exec_into(struct cpu *cpu, const struct insn *insn)
{
	return cc_flags(&cpu->cc) & RFLAGS_OF ? exception(cpu, insn, EVENT_INT3, VECTOR_OF) : STEP_NEXT;
}

/*
 * INT1 reports no condition of its own in DR6: SDM vol. 3, "Debug Status Register (DR6)". It is a debug exception, so data
 * breakpoints that MOV SS held are reported with it, and not by a second one in its handler.
 */
static enum step exec_int1(struct cpu *cpu, const struct insn *insn)
{
	uint64_t held = cpu->pending_debug & BITS(3, 0);
	enum step step = exception(cpu, insn, EVENT_INT1, VECTOR_DB);

	if (step != STEP_FAULT && held) {
		cpu->pending_debug &= ~held;
		cpu->dr6 = (cpu->dr6 & ~BITS(3, 0)) | held;
	}
	return step;
}

static enum step exec_bound(struct cpu *cpu, const struct insn *insn)
{
	unsigned bits = 8u * insn->size;
	uint64_t lower, upper;
	int64_t index;
	la_t la;

	if (insn->ea == EA_NONE)
		return raise_fault(cpu, VECTOR_UD);
	if (operand_linear(cpu, insn, 2u * insn->size, ACCESS_READ, &la) ||
	    mem_read_size(cpu, la, insn->size, &lower) || mem_read_size(cpu, la + insn->size, insn->size, &upper))
		return STEP_FAULT;
	index = sign_extend(cpu->r[insn->reg], bits);
	if (index < sign_extend(lower, bits) || index > sign_extend(upper, bits))
		return raise_fault(cpu, VECTOR_BR);
	return STEP_NEXT;
}

const struct exec_entry exec_interrupt_entries[] = {
	ENTRY(INT, exec_int),	ENTRY(INT3, exec_int3),	  ENTRY(INTO, exec_into),
	ENTRY(INT1, exec_int1), ENTRY(BOUND, exec_bound), {0},
};

/*
 * What instructions mean. Each exec_* function is the one meaning of an instruction for all engines:
 *
 *	enum step exec_xxx(struct cpu *cpu, const struct insn *insn);
 *
 * Before the call the engine sets cpu->insn = insn, cpu->insn_rip to the instruction's own RIP and cpu->rip to the next
 *one's. STEP_NEXT: go on in the block. STEP_LEAVE: go on at cpu->rip and look everything up again. STEP_FAULT:
 *cpu->fault is set, the engine puts cpu->rip back to insn_rip and calls exec_fault(). No helper keeps state between
 *instructions or unwinds.
 */
#pragma once

#include "decode/insn.h"

/* The function for a form, by its operation and operands; never NULL: unknown operations raise #UD. For
 * decoder_ops.bind(). */
exec_fn *exec_lookup(struct form *form);
/* Does the model have the instruction? When not, an engine binds it to exec_undefined. Depends on nothing that changes.
 */
bool exec_offered(const struct cpu_model *model, const struct form *form);

/* Exceptions as values: fill cpu->fault, return STEP_FAULT. */
enum step raise_fault(struct cpu *cpu, enum vector vector); /* no error code */
enum step raise_error(struct cpu *cpu, enum vector vector, uint32_t error);
enum step exec_undefined(struct cpu *cpu, const struct insn *insn); /* #UD */

static inline enum step raise_gp0(struct cpu *cpu)
{
	return raise_error(cpu, VECTOR_GP, 0);
}

/* event.c: INT n, INT3, INTO, INT1 and everything that goes through the IDT. */
enum event_type {
	EVENT_EXTERNAL = 0,
	EVENT_NMI = 2,
	EVENT_EXCEPTION = 3,
	EVENT_INT = 4,
	EVENT_INT1 = 5,
	EVENT_INT3 = 6
};
struct event {
	enum event_type type; /* numbers of the VMCS interruption-information field */
	uint8_t vector;
	bool has_error;
	uint32_t error;
	bool injected; /* by VM entry: RFLAGS are pushed as they are, and IOPL does not count in virtual-8086 mode */
	uint8_t length; /* of the instruction (INT n, INT1, INT3, INTO), or as VM entry says; for IDT-vectoring */
};
/* Deliver with cpu->rip as the saved RIP. STEP_LEAVE, or STEP_FAULT when delivery itself faulted (cpu->fault; the
 * caller goes through exec_fault()). */
enum step event_deliver(struct cpu *cpu, const struct event *event);
/* VM entry injects an event: cpu->rip is the guest's; a software event's return address is `length` beyond. What
 * delivery meets is dealt with. */
void exec_inject(struct cpu *cpu, const struct event *event, unsigned length);

/* segment.c. SDM vol. 3, "Protection". */

/* Offset -> linear with the limit, type and canonical checks of this mode. True: #GP(0) or #SS(0) is in cpu->fault.
 * size is 1 or more. */
MUST_CHECK bool segment_linear(struct cpu *cpu, enum segment_number segment, uint64_t offset, unsigned size,
			       unsigned access, la_t *la);
/* MOV to, POP, LxS of DS ES FS GS SS: all checks, sets the accessed bit. */
enum step segment_load(struct cpu *cpu, enum segment_number segment, uint16_t selector);
/* Real-mode and V86 load: base = selector * 16. */
void segment_load_real(struct cpu *cpu, enum segment_number segment, uint16_t selector);
/* Read an 8-byte descriptor from GDT or LDT. True: outside the table; no fault set (the caller knows which one).
 * *faulted: memory fault. */
struct descriptor {
	uint64_t low, high; /* high only for 16-byte system descriptors of long mode */
	la_t at;
};
enum descriptor_result { DESCRIPTOR_OK, DESCRIPTOR_OUTSIDE, DESCRIPTOR_FAULT };
enum descriptor_result descriptor_read(struct cpu *cpu, uint16_t selector, bool wide, struct descriptor *descriptor);
void descriptor_to_segment(const struct descriptor *descriptor, uint16_t selector, struct segment *segment);

/* After anything that cpu->mode or the bank depends on changed: both lookups at once. */
void exec_context_changed(struct cpu *cpu);
/* The same for transfers, which change segments, CPL and RFLAGS but nothing of paging. */
void exec_privilege_changed(struct cpu *cpu);

/* far.c. Near branches: #GP(0) unless rip is inside CS, or canonical in 64-bit mode. Else cpu->rip = rip and
 * STEP_LEAVE. */
enum step branch_to(struct cpu *cpu, uint64_t rip);

/* debug.c. IN and OUT, after the access: does an I/O breakpoint cover [port, port + size)? It becomes a trap after the
 * instruction. */
void debug_io(struct cpu *cpu, uint16_t port, unsigned size);

/* task.c. SDM vol. 3, "Task Management". */
enum task_switch { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE };
/*
 * Switch to the task of a TSS descriptor that the caller has checked (type, privilege, present). cpu->rip is saved in
 * the old TSS. ext: bit 0 of error codes. After the point of no return, faults belong to the new task: STEP_FAULT then
 * comes with rip and insn_rip of the new task.
 */
enum step task_switch(struct cpu *cpu, uint16_t selector, enum task_switch how, unsigned ext);

/* Control registers: shared by MOV CR, LMSW, CLTS, RSM, task switch, and VMX. True: nothing
 * changed, and cpu->fault is #GP(0), or the VM exit that loading PDPTEs has met. */
MUST_CHECK bool exec_write_cr0(struct cpu *cpu, uint64_t value);
MUST_CHECK bool exec_write_cr3(struct cpu *cpu, uint64_t value);
MUST_CHECK bool exec_write_cr4(struct cpu *cpu, uint64_t value);

/* smm/ is entered through this pointer, which lives in the machine: see cpu->event. */

/*
 * Everything that goes through the IDT, and what happens between instructions.
 *
 * SDM vol. 3, "Interrupt and Exception Handling", "Interrupt 8 -- Double Fault Exception", "Interrupt and Exception
 * Handling in Virtual-8086 Mode"; vol. 2, "INT n/INTO/INT3/INT1", whose order of checks is kept. In VMX non-root
 * operation "Exceptions and Interrupts" that exit do so here: "Other Causes of VM Exits".
 */
#include "exec/debug.h"
#include "exec/protect.h"
#include "exec/run.h"
#include "smm/smm.h"
#include "vmx/intercept.h"
#include "vmx/virtual_apic.h"
#include "vmx/report.h"

static enum step fault_with(struct cpu *cpu, enum vector vector, bool has_error, uint32_t error)
{
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION,
		.vector = (uint8_t)vector,
		.has_error = has_error,
		.error = error,
	};
	return STEP_FAULT;
}

enum step raise_fault(struct cpu *cpu, enum vector vector)
{
	return fault_with(cpu, vector, false, 0);
}

enum step raise_error(struct cpu *cpu, enum vector vector, uint32_t error)
{
	return fault_with(cpu, vector, true, error);
}

enum step exec_undefined(struct cpu *cpu, const struct insn *insn)
{
	return raise_fault(cpu, VECTOR_UD);
}

/* INT n, INT3 and INTO: the gate's DPL counts, and error codes have EXT clear. INT1 is treated like a hardware event.
 */
static bool is_software(const struct event *event)
{
	return event->type == EVENT_INT || event->type == EVENT_INT3;
}

/*
 * RF as pushed. It is set for faults, but not for traps, interrupts and instruction breakpoints: SDM vol. 3,
 * "Instruction-Breakpoint Exception Condition". An instruction that calls the IDT has cleared it by then. (exec_fault()
 * sets RF itself for #DB of a debug-register access.)
 */
static uint64_t pushed_rf(const struct cpu *cpu, const struct event *event)
{
	if (event->injected)
		return cpu->rflags & RFLAGS_RF;
	if (is_software(event) || event->type == EVENT_INT1)
		return 0;
	if (event->type == EVENT_EXCEPTION && event->vector != VECTOR_DB && event->vector != VECTOR_DF &&
	    event->vector != VECTOR_MC)
		return RFLAGS_RF;
	return cpu->rflags & RFLAGS_RF;
}

static uint64_t pushed_flags(const struct cpu *cpu, const struct event *event)
{
	return (cpu_rflags(cpu) & ~RFLAGS_RF) | pushed_rf(cpu, event);
}

static void handler_begins(struct cpu *cpu, uint64_t rip, uint64_t flags_cleared)
{
	cpu->rip = rip;
	cpu->rflags &= ~(flags_cleared | RFLAGS_TF | RFLAGS_RF);
	cpu->shadow = 0;
	cpu->activity = ACTIVITY_ACTIVE;
	exec_privilege_changed(cpu);
	exec_recheck_events(cpu);
}

/* Real mode; and V86 for INT n that the redirection bit map gives to the 8086 program, whose table is at linear address
 * 0. */
static enum step deliver_8086(struct cpu *cpu, const struct event *event, uint64_t table, uint64_t flags,
			      uint64_t interrupt_flag)
{
	uint64_t frame[] = {flags, cpu->seg[CS].selector, cpu->rip};
	struct stack stack = stack_current(cpu);
	uint32_t entry;
	enum step step;

	if (mem_read32(cpu, (uint32_t)(table + event->vector * 4u), &entry))
		return STEP_FAULT;
	if ((step = stack_push_frame(cpu, &stack, 2, frame, ARRAY_SIZE(frame), 0)))
		return step;
	cpu->r[RSP] = stack.sp;
	segment_load_real(cpu, CS, (uint16_t)(entry >> 16));
	handler_begins(cpu, (uint16_t)entry, interrupt_flag | RFLAGS_AC);
	return STEP_LEAVE;
}

static enum step deliver_real(struct cpu *cpu, const struct event *event, unsigned ext)
{
	if (event->vector * 4u + 3 > cpu->idtr.limit)
		return raise_error(cpu, VECTOR_GP, event->vector * 8u + 2 + ext);
	return deliver_8086(cpu, event, cpu->idtr.base, pushed_flags(cpu, event), RFLAGS_IF);
}

/* INT n in V86 mode: SDM vol. 3, "Class 3 -- Software Interrupt Handling in Virtual-8086 Mode", methods 1 to 6. */
static enum step deliver_v86_int(struct cpu *cpu, const struct event *event, bool *redirected)
{
	const struct segment *tr = &cpu->seg[TR];
	uint64_t flags = cpu_rflags(cpu);
	bool redirect = false;
	uint16_t map;
	uint8_t bits;

	*redirected = false;
	if (cpu->cr4 & CR4_VME) {
		if (!(tr->ar & TYPE_32) || tr->limit < 0x67)
			return raise_gp0(cpu);
		if (mem_sys_read16(cpu, (uint32_t)(tr->base + 0x66), &map))
			return STEP_FAULT;
		/* The 32 bytes of the bit map end where the I/O permission bit map begins. */
		if (map < 32 || map - 32u + event->vector / 8u > tr->limit)
			return raise_gp0(cpu);
		if (mem_sys_read8(cpu, (uint32_t)(tr->base + map - 32 + event->vector / 8u), &bits))
			return STEP_FAULT;
		redirect = !(bits >> event->vector % 8 & 1);
	}
	if (!redirect)
		return cpu_iopl(cpu) < 3 && !event->injected ? raise_gp0(cpu) : STEP_NEXT;
	*redirected = true;
	if (cpu_iopl(cpu) == 3)
		return deliver_8086(cpu, event, 0, flags, RFLAGS_IF);
	flags = (flags & ~RFLAGS_IF) | RFLAGS_IOPL | (flags & RFLAGS_VIF ? RFLAGS_IF : 0);
	return deliver_8086(cpu, event, 0, flags, RFLAGS_VIF);
}

static enum step deliver_to_task(struct cpu *cpu, const struct event *event, uint16_t selector, unsigned ext)
{
	struct descriptor d;
	enum step step;
	int type;

	if (selector & 4)
		return raise_error(cpu, VECTOR_GP, (selector & 0xfffc) | ext);
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, ext, &d)))
		return step;
	type = ar_system_type(descriptor_ar(&d));
	if (type != TYPE_TSS && type != TYPE_TSS16)
		return raise_error(cpu, VECTOR_GP, (selector & 0xfffc) | ext);
	if (!(descriptor_ar(&d) & AR_P))
		return raise_error(cpu, VECTOR_NP, (selector & 0xfffc) | ext);
	cpu->rflags = (cpu->rflags & ~RFLAGS_RF) | pushed_rf(cpu, event); /* saved in the old TSS */
	if ((step = task_switch(cpu, selector, TASK_GATE, ext)) == STEP_FAULT)
		return step;
	if (event->has_error) {
		struct stack stack = stack_current(cpu);
		uint64_t error = event->error;

		if ((step = stack_push_frame(cpu, &stack, type & TYPE_32 ? 4 : 2, &error, 1, ext)))
			return step;
		cpu->r[RSP] = stack.sp;
	}
	return STEP_LEAVE;
}

/* Protected mode without long mode, and V86 mode. */
static enum step deliver_protected(struct cpu *cpu, const struct event *event, unsigned ext)
{
	uint32_t error = event->vector * 8u + 2 + ext, offset, ar, stack_error = ext;
	struct stack stack = stack_current(cpu);
	bool from_v86 = cpu_v86(cpu);
	uint64_t gate, frame[10];
	unsigned count = 0, type, size, new_cpl;
	uint16_t selector;
	struct descriptor d;
	enum step step;

	if (event->vector * 8u + 7 > cpu->idtr.limit)
		return raise_error(cpu, VECTOR_GP, error);
	if (mem_sys_read64(cpu, (uint32_t)(cpu->idtr.base + event->vector * 8u), &gate))
		return STEP_FAULT;
	type = (unsigned)bits_get(gate, 44, 40); /* with the S bit, which must be 0 */
	if (type != TYPE_TASK_GATE && type != TYPE_INTERRUPT16 && type != TYPE_TRAP16 && type != TYPE_INTERRUPT &&
	    type != TYPE_TRAP)
		return raise_error(cpu, VECTOR_GP, error);
	if (is_software(event) && bits_get(gate, 46, 45) < cpu->cpl)
		return raise_error(cpu, VECTOR_GP, error);
	if (!(gate & BIT(47)))
		return raise_error(cpu, VECTOR_NP, error);
	selector = (uint16_t)(gate >> 16);
	if (type == TYPE_TASK_GATE)
		return deliver_to_task(cpu, event, selector, ext);

	size = type & TYPE_32 ? 4 : 2;
	offset = (uint32_t)(bits_get(gate, 15, 0) | (size == 4 ? bits_get(gate, 63, 48) << 16 : 0));
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, ext, &d)))
		return step;
	ar = descriptor_ar(&d);
	if (!ar_is_code(ar) || ar_dpl(ar) > cpu->cpl)
		return raise_error(cpu, VECTOR_GP, (selector & 0xfffc) | ext);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, (selector & 0xfffc) | ext);
	new_cpl = ar_is_conforming(ar) ? cpu->cpl : ar_dpl(ar);
	if (from_v86 && new_cpl != 0)
		return raise_error(cpu, VECTOR_GP, (selector & 0xfffc) | ext);

	if (new_cpl < cpu->cpl) {
		uint16_t ss;

		if ((step = stack_from_tss(cpu, new_cpl, ext, &ss, &stack.sp)) ||
		    (step = segment_check_stack(cpu, ss, new_cpl, VECTOR_TS, ext, &stack.ss)))
			return step;
		stack.cpl = (uint8_t)new_cpl;
		stack_error = (ss & 0xfffc) | ext;
		if (from_v86) {
			frame[count++] = cpu->seg[GS].selector;
			frame[count++] = cpu->seg[FS].selector;
			frame[count++] = cpu->seg[DS].selector;
			frame[count++] = cpu->seg[ES].selector;
		}
		frame[count++] = cpu->seg[SS].selector;
		frame[count++] = cpu->r[RSP];
	}
	frame[count++] = pushed_flags(cpu, event);
	frame[count++] = cpu->seg[CS].selector;
	frame[count++] = cpu->rip;
	if (event->has_error)
		frame[count++] = event->error;
	if ((step = stack_room(cpu, &stack, size, count, stack_error)) ||
	    (step = code_check_rip(cpu, ar, descriptor_limit(&d), offset, ext)) ||
	    (step = descriptor_accessed(cpu, &d)) ||
	    (step = stack_push_frame(cpu, &stack, size, frame, count, stack_error)))
		return step;

	/* Nothing can fault any more. */
	if (from_v86) {
		static const enum segment_number data[] = {ES, DS, FS, GS};

		for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
			cpu->seg[data[i]] = segment_null(0);
	}
	cpu->seg[SS] = stack.ss;
	cpu->r[RSP] = stack.sp;
	cpu->cpl = (uint8_t)new_cpl;
	descriptor_to_segment(&d, (uint16_t)((selector & ~3u) | new_cpl), &cpu->seg[CS]);
	handler_begins(cpu, offset, RFLAGS_NT | RFLAGS_VM | (type & 1 ? 0 : RFLAGS_IF));
	return STEP_LEAVE;
}

/* SDM vol. 3, "Exception and Interrupt Handling in 64-bit Mode". */
static enum step deliver_long(struct cpu *cpu, const struct event *event, unsigned ext)
{
	uint32_t error = event->vector * 8u + 2 + ext, ar;
	struct stack stack = stack_current(cpu);
	uint64_t gate[2], offset, frame[6];
	unsigned count = 0, type, ist, new_cpl;
	uint16_t selector;
	struct descriptor d;
	enum step step;

	if (event->vector * 16u + 15 > cpu->idtr.limit)
		return raise_error(cpu, VECTOR_GP, error);
	if (mem_read_bytes(cpu, cpu->idtr.base + event->vector * 16u, gate, 16, ACCESS_READ | ACCESS_SYSTEM))
		return STEP_FAULT;
	type = (unsigned)bits_get(gate[0], 44, 40);
	if (type != TYPE_INTERRUPT && type != TYPE_TRAP)
		return raise_error(cpu, VECTOR_GP, error);
	if (is_software(event) && bits_get(gate[0], 46, 45) < cpu->cpl)
		return raise_error(cpu, VECTOR_GP, error);
	if (!(gate[0] & BIT(47)))
		return raise_error(cpu, VECTOR_NP, error);
	selector = (uint16_t)(gate[0] >> 16);
	offset = bits_get(gate[0], 15, 0) | bits_get(gate[0], 63, 48) << 16 | gate[1] << 32;
	ist = (unsigned)bits_get(gate[0], 34, 32);
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, ext, &d)))
		return step;
	ar = descriptor_ar(&d);
	if (!ar_is_code(ar) || ar_dpl(ar) > cpu->cpl || (ar & (AR_L | AR_DB)) != AR_L)
		return raise_error(cpu, VECTOR_GP, (selector & 0xfffc) | ext);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, (selector & 0xfffc) | ext);
	new_cpl = ar_is_conforming(ar) ? cpu->cpl : ar_dpl(ar);
	if ((ist || new_cpl < cpu->cpl) && (step = stack_from_tss64(cpu, new_cpl, ist, ext, &stack.sp)))
		return step;
	stack.sp &= ~UINT64_C(15);
	stack.cpl = (uint8_t)new_cpl;
	stack.wide = true;

	frame[count++] = cpu->seg[SS].selector;
	frame[count++] = cpu->r[RSP];
	frame[count++] = pushed_flags(cpu, event);
	frame[count++] = cpu->seg[CS].selector;
	frame[count++] = cpu->rip;
	if (event->has_error)
		frame[count++] = event->error;
	if ((step = stack_room(cpu, &stack, 8, count, ext)) || (step = code_check_rip(cpu, ar, 0, offset, ext)) ||
	    (step = descriptor_accessed(cpu, &d)) || (step = stack_push_frame(cpu, &stack, 8, frame, count, ext)))
		return step;

	if (new_cpl < cpu->cpl)
		cpu->seg[SS] = segment_null(new_cpl);
	cpu->r[RSP] = stack.sp;
	cpu->cpl = (uint8_t)new_cpl;
	descriptor_to_segment(&d, (uint16_t)((selector & ~3u) | new_cpl), &cpu->seg[CS]);
	handler_begins(cpu, offset, RFLAGS_NT | RFLAGS_VM | (type & 1 ? 0 : RFLAGS_IF));
	return STEP_LEAVE;
}

static enum step deliver(struct cpu *cpu, const struct event *event)
{
	unsigned ext = is_software(event) ? 0 : 1;
	bool redirected;
	enum step step;

	if (log_on(cpu->log, LOG_INT))
		log_line(cpu->log, LOG_INT,
			 "cpu %u: vector %02x type %u error %04x at %04x:%016llx rsp %016llx cpl %u cr2 %016llx",
			 cpu->number, event->vector, event->type, event->has_error ? event->error : 0,
			 cpu->seg[CS].selector, (unsigned long long)cpu->rip, (unsigned long long)cpu->r[RSP], cpu->cpl,
			 (unsigned long long)cpu->cr2);
	if (!cpu_protected(cpu))
		return deliver_real(cpu, event, ext);
	if (cpu_long_mode(cpu))
		return deliver_long(cpu, event, ext);
	if (cpu_v86(cpu) && event->type == EVENT_INT) {
		step = deliver_v86_int(cpu, event, &redirected);
		if (step || redirected)
			return step;
	}
	return deliver_protected(cpu, event, ext);
}

/* A VM exit meanwhile tells of the event: SDM vol. 3, "Information for VM Exits That Occur During Event Delivery". */
static void note_vectoring(struct cpu *cpu, const struct event *event)
{
	struct vmx *vmx = cpu->vmx;
	bool has_error = event->has_error && cpu_protected(cpu);

	vmx->vectoring = (uint32_t)(event->vector | (unsigned)event->type << 8 | INTERRUPTION_VALID);
	if (has_error)
		vmx->vectoring |= INTERRUPTION_ERROR_CODE;
	vmx->vectoring_error = has_error ? event->error : 0;
	vmx->vectoring_length = event->length;
	vmx->vectoring_rf = pushed_rf(cpu, event);
}

static void forget_vectoring(struct cpu *cpu)
{
	cpu->vmx->vectoring = cpu->vmx->vectoring_error = cpu->vmx->vectoring_length = 0;
}

enum step event_deliver(struct cpu *cpu, const struct event *event)
{
	enum step step;

	if (likely(!cpu->nonroot))
		return deliver(cpu, event);
	note_vectoring(cpu, event);
	step = deliver(cpu, event);
	if (step != STEP_FAULT) {
		forget_vectoring(cpu);
		cpu->vmx->mtf_pending = vmx_proc(cpu->vmx, MONITOR_TRAP_FLAG);
	}
	return step;
}

/* Faults. */

enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum fault_class class_of(unsigned vector)
{
	switch (vector) {
	case VECTOR_DE:
	case VECTOR_TS:
	case VECTOR_NP:
	case VECTOR_SS:
	case VECTOR_GP:
	case VECTOR_CP: return CONTRIBUTORY;
	case VECTOR_PF:
	case VECTOR_VE: return PAGE_FAULT;
	case VECTOR_DF: return DOUBLE_FAULT;
	default: return BENIGN;
	}
}

static bool is_delivering(const struct cpu *cpu)
{
	return cpu->vmx->vectoring & INTERRUPTION_VALID;
}

static void set_rf(struct cpu *cpu, bool rf)
{
	cpu->rflags = rf ? cpu->rflags | RFLAGS_RF : cpu->rflags & ~RFLAGS_RF;
}

/* SDM vol. 3, "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses": the type
 * of an access during event delivery. */
static uint64_t qualify_delivery(uint64_t qualification)
{
	return bits_set(qualification, 15, 12, bits_get(qualification, 15, 12) == 15 ? 10 : 3);
}

/* A VM exit that mem/ found says all in cpu->fault; others filled the record themselves. */
static void take_exit(struct cpu *cpu)
{
	const struct fault *fault = &cpu->fault;

	/* SDM vol. 3, "Saving RIP, RSP, RFLAGS, and SSP": RF is as the event being delivered, or a fault, would push
	 * it, and 0 after instructions that exit. */
	set_rf(cpu, is_delivering(cpu) ? cpu->vmx->vectoring_rf : fault->reason != 0);
	if (fault->reason)
		cpu->vmx->exit = (struct vmx_exit_record){
			.reason = fault->reason,
			.qualification =
				fault->qualification | (fault->nmi_unblocked && !is_delivering(cpu) ? BIT(12) : 0),
			.linear = fault->linear,
			.physical = fault->physical,
			.instruction_length = is_delivering(cpu) ? 0 : fault->length,
		};
	if (fault->reason == VMX_EXIT_APIC_ACCESS && is_delivering(cpu))
		cpu->vmx->exit.qualification = qualify_delivery(fault->qualification);
	vmx_perform_exit(cpu);
}

/* In non-root operation: does cpu->fault, an exception, exit instead of being delivered? Then it has. */
static bool exception_exits(struct cpu *cpu)
{
	const struct fault *fault = &cpu->fault;
	struct event event = {.type = EVENT_EXCEPTION, .vector = fault->vector};

	if (!vmx_intercepts_exception(cpu, fault->vector, fault->has_error ? fault->error : 0))
		return false;
	set_rf(cpu, pushed_rf(cpu, &event));
	vmx_exit_exception(cpu, INTERRUPTION_HARDWARE_EXCEPTION, fault, 0,
			   fault->nmi_unblocked && !is_delivering(cpu) && fault->vector != VECTOR_DF);
	vmx_perform_exit(cpu);
	return true;
}

static COLD void triple_fault(struct cpu *cpu, const struct fault_chain *chain)
{
	if (cpu->reporter)
		cpu->reporter->triple_fault(cpu->reporter->ctx, cpu, chain);
	if (!cpu->nonroot) {
		cpu_shutdown(cpu, "triple fault");
		return;
	}
	forget_vectoring(cpu);
	vmx_exit_triple_fault(cpu);
	vmx_perform_exit(cpu);
}

/* cpu->fault happened while an event of this class was delivered; BENIGN: or none. */
static void deliver_fault(struct cpu *cpu, enum fault_class delivering)
{
	struct fault_chain chain;

	chain.count = 0;
	for (;;) {
		enum fault_class class;
		struct event event;

		if (cpu->fault.kind == FAULT_VM_EXIT && !vmx_convert_violation(cpu)) {
			take_exit(cpu);
			return;
		}
		if (cpu->fault.vector == VECTOR_DB && (cpu->fault.dr6 & DR6_BD))
			cpu->rflags |= RFLAGS_RF;
		if (unlikely(cpu->nonroot) && exception_exits(cpu))
			return;
		class = class_of(cpu->fault.vector);
		if (cpu->fault.vector == VECTOR_PF)
			cpu->cr2 = cpu->fault.address; /* whatever becomes of it */
		/* "Conditions for Generating a Double Fault": what is not in the table is handled one after the other.
		 */
		fault_chain_add(&chain, &cpu->fault);
		if (delivering == DOUBLE_FAULT && class != BENIGN) {
			triple_fault(cpu, &chain);
			return;
		}
		if ((delivering == CONTRIBUTORY && class == CONTRIBUTORY) ||
		    (delivering == PAGE_FAULT && class != BENIGN)) {
			raise_error(cpu, VECTOR_DF, 0);
			fault_chain_add(&chain, &cpu->fault);
			class = DOUBLE_FAULT;
			if (unlikely(cpu->nonroot)) {
				forget_vectoring(cpu); /* an exit of #DF itself is not "during event delivery" */
				if (exception_exits(cpu))
					return;
			}
		}
		if (cpu->fault.vector == VECTOR_DB)
			debug_reported(cpu, cpu->fault.dr6);
		cpu->exceptions++;
		event = (struct event){
			.type = EVENT_EXCEPTION,
			.vector = cpu->fault.vector,
			.has_error = cpu->fault.has_error,
			.error = cpu->fault.error,
		};
		if (event_deliver(cpu, &event) != STEP_FAULT)
			return;
		delivering = class;
	}
}

void exec_fault(struct cpu *cpu)
{
	run_idle(cpu, 1); /* so that a turn ends even when the handler's first instruction faults, over and over */
	cpu->pending_debug = 0; /* traps of an instruction that did not complete */
	if (likely(!cpu->nonroot)) {
		deliver_fault(cpu, BENIGN);
		return;
	}
	/* Those that MOV SS holds back go, too, when the fault is delivered, but a VM exit saves them. */
	if (cpu->shadow & SHADOW_MOV_SS)
		cpu->pending_debug = cpu->vmx->debug_held;
	deliver_fault(cpu, BENIGN);
	cpu->pending_debug = 0;
}

void exec_inject(struct cpu *cpu, const struct event *event, unsigned length)
{
	uint64_t rip = cpu->rip;

	if (is_software(event) || event->type == EVENT_INT1)
		cpu->rip = cpu_64bit(cpu) ? rip + length : (uint32_t)(rip + length);
	if (event_deliver(cpu, event) != STEP_FAULT)
		return;
	cpu->rip = rip;
	cpu->pending_debug = 0; /* as in exec_fault() */
	deliver_fault(cpu, event->type == EVENT_EXCEPTION ? class_of(event->vector) : BENIGN);
}

/* Between instructions. */

static void deliver_or_fault(struct cpu *cpu, enum event_type type, uint8_t vector)
{
	struct event event = {.type = type, .vector = vector};

	if (event_deliver(cpu, &event) == STEP_FAULT)
		exec_fault(cpu);
}

static COLD void take_init(struct cpu *cpu)
{
	cpu->pins &= ~BIT(PIN_INIT);
	if (unlikely(cpu->nonroot)) {
		vmx_exit_plain(cpu, VMX_EXIT_INIT);
		vmx_perform_exit(cpu);
		return;
	}
	cpu_reset(cpu, true);
	mem_flush_all(cpu);
	mem_context_changed(cpu);
	if (cpu->event)
		cpu->event(cpu, CPU_INIT);
}

static COLD void take_sipi(struct cpu *cpu)
{
	cpu->pins &= ~BIT(PIN_SIPI);
	if (cpu->activity != ACTIVITY_WAIT_SIPI)
		return;
	if (unlikely(cpu->nonroot)) {
		vmx_exit_sipi(cpu, cpu->sipi_vector);
		vmx_perform_exit(cpu);
		return;
	}
	cpu->seg[CS].selector = (uint16_t)(cpu->sipi_vector << 8);
	cpu->seg[CS].base = (uint64_t)cpu->sipi_vector << 12;
	cpu->rip = 0;
	cpu->activity = ACTIVITY_ACTIVE;
	exec_context_changed(cpu);
}

static COLD void take_smi(struct cpu *cpu)
{
	cpu->pins &= ~BIT(PIN_SMI);
	if (unlikely(cpu->vmx && cpu->vmx->dual_monitor)) {
		vmx_exit_smi(cpu);
		vmx_perform_exit(cpu);
		return;
	}
	if (!smm_enter(cpu)) {
		cpu_shutdown(cpu, "SMRAM is not memory");
		return;
	}
	if (cpu->event)
		cpu->event(cpu, CPU_SMI_ENTERED);
}

/* The pins that this vCPU would act on now. */
static unsigned open_pins(const struct cpu *cpu)
{
	bool blocked = cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS);
	unsigned pins = cpu->pins;

	if (likely(!pins))
		return 0;
	if (cpu->in_smm)
		pins &= ~(BIT(PIN_SMI) | BIT(PIN_INIT));
	if (unlikely(cpu->vmx && cpu->vmx->on)) {
		if (cpu->vmx->aborted)
			return 0;
		if (cpu->vmx->smi_blocked)
			pins &= ~BIT(PIN_SMI);
		if (!cpu->nonroot)
			pins &= ~BIT(PIN_INIT); /* SDM vol. 3, "Restrictions on VMX Operation" */
	}
	/*
	 * SDM vol. 2, "STI": NMIs and SMIs may wait for one instruction, too. Then RSM need not restore blocking, and an
	 * NMI handler cannot return between STI and HLT, where an interrupt would come before the HLT that waits for it.
	 */
	if (blocked)
		pins &= ~BIT(PIN_SMI);
	if (cpu->nmi_blocked || blocked)
		pins &= ~BIT(PIN_NMI);
	if (unlikely(cpu->nonroot) && vmx_intercepts_interrupt(cpu)) {
		if (blocked)
			pins &= ~BIT(PIN_INTR);
	} else if (cpu->activity != ACTIVITY_MWAIT && (blocked || !(cpu->rflags & RFLAGS_IF))) {
		pins &= ~BIT(PIN_INTR);
	}
	if (blocked || !(cpu->rflags & RFLAGS_IF) || !cpu->nonroot)
		pins &= ~BIT(PIN_VIRTUAL);
	/* A guest in the wait-for-SIPI state does not exit for INIT: SDM vol. 3, "Other Causes of VM Exits". */
	if (cpu->activity == ACTIVITY_WAIT_SIPI)
		pins &= cpu->nonroot ? BIT(PIN_SIPI) : BIT(PIN_INIT) | BIT(PIN_SIPI);
	if (cpu->activity == ACTIVITY_SHUTDOWN)
		pins &= BIT(PIN_INIT) | BIT(PIN_SMI) | BIT(PIN_NMI);
	return pins;
}

static void take_nmi(struct cpu *cpu)
{
	cpu->pins &= ~BIT(PIN_NMI);
	if (unlikely(cpu->nonroot) && vmx_intercepts_nmi(cpu)) {
		vmx_exit_nmi(cpu);
		vmx_perform_exit(cpu);
		return;
	}
	cpu->nmi_blocked = true;
	deliver_or_fault(cpu, EVENT_NMI, VECTOR_NMI);
}

static void take_virtual_interrupt(struct cpu *cpu)
{
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->interrupts++;
	deliver_or_fault(cpu, EVENT_EXTERNAL, vmx_take_virtual_interrupt(cpu));
}

static void take_interrupt(struct cpu *cpu)
{
	int vector;

	if (unlikely(cpu->nonroot) && vmx_intercepts_interrupt(cpu)) {
		vector = vmx_acknowledges(cpu) ? cpu->acknowledge(cpu) : -1;
		if (vector < 0 && vmx_acknowledges(cpu))
			return; /* there is none after all */
		if (vmx_is_notification(cpu, vector)) {
			vmx_process_posted_interrupts(cpu);
			if (open_pins(cpu) & BIT(PIN_VIRTUAL))
				take_virtual_interrupt(cpu);
			return;
		}
		vmx_exit_interrupt(cpu, vector);
		vmx_perform_exit(cpu);
		return;
	}
	/* MWAIT ends with an interrupt even when IF masks it, which a processor may do for any reason. */
	if (cpu->activity == ACTIVITY_MWAIT)
		cpu->activity = ACTIVITY_ACTIVE;
	if (!(cpu->rflags & RFLAGS_IF) || (cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS)))
		return;
	vector = cpu->acknowledge(cpu);
	if (vector < 0)
		return;
	cpu->interrupts++;
	deliver_or_fault(cpu, EVENT_EXTERNAL, (uint8_t)vector);
}

/*
 * VM exits that non-root operation puts between the other events. SDM vol. 3, "Monitor Trap Flag", "VMX-Preemption
 * Timer", "NMI-Window Exiting", "Interrupt-Window Exiting" say each one's place. Nothing but a SIPI ends the
 * wait-for-SIPI state.
 */
enum place { BEFORE_TRAPS, BEFORE_NMI, BEFORE_INTERRUPT };

/* Can there be one, wherever? Most guests run without. */
static inline bool may_exit(const struct vmx *vmx)
{
	return vmx->mtf_pending || vmx->timer_end != VTIME_NEVER || vmx_proc(vmx, NMI_WINDOW_EXITING) ||
	       vmx_proc(vmx, INTERRUPT_WINDOW_EXITING);
}

static bool nonroot_exits(struct cpu *cpu, enum place place)
{
	struct vmx *vmx = cpu->vmx;
	enum vmx_exit reason;

	if (cpu->activity == ACTIVITY_WAIT_SIPI)
		return false;
	if (place == BEFORE_TRAPS && vmx->mtf_pending)
		reason = VMX_EXIT_MONITOR_TRAP_FLAG;
	else if (place == BEFORE_NMI && vmx_timer_expired(cpu))
		reason = VMX_EXIT_PREEMPTION_TIMER;
	else if (place == BEFORE_NMI && vmx_nmi_window(cpu))
		reason = VMX_EXIT_NMI_WINDOW;
	else if (place == BEFORE_INTERRUPT && vmx_interrupt_window(cpu))
		reason = VMX_EXIT_INTERRUPT_WINDOW;
	else
		return false;
	vmx_exit_plain(cpu, reason);
	vmx_perform_exit(cpu);
	return true;
}

static inline bool exits_at(struct cpu *cpu, enum place place)
{
	return unlikely(cpu->nonroot) && may_exit(cpu->vmx) && nonroot_exits(cpu, place);
}

static void take_trap(struct cpu *cpu)
{
	raise_fault(cpu, VECTOR_DB);
	cpu->fault.dr6 = cpu->pending_debug;
	exec_fault(cpu);
}

/*
 * What a write to the virtual APIC causes after its instruction or event delivery comes before all other events: SDM
 * vol. 3, "APIC-Write Emulation", "VM Exits Induced by the TPR Threshold". It waits in the two states that such exits
 * do not end. True: the guest has exited.
 */
static inline bool apic_write_exits(struct cpu *cpu)
{
	if (likely(!cpu->vapic_write) || cpu->activity == ACTIVITY_SHUTDOWN || cpu->activity == ACTIVITY_WAIT_SIPI ||
	    !vmx_emulate_apic_write(cpu))
		return false;
	vmx_perform_exit(cpu);
	return true;
}

/* One event, the most urgent: SDM vol. 3, "Priority Among Concurrent Events". */
static void deliver_pending(struct cpu *cpu)
{
	unsigned pins = open_pins(cpu);

	if (pins & BIT(PIN_SMI)) {
		take_smi(cpu);
	} else if (pins & BIT(PIN_INIT)) {
		take_init(cpu);
	} else if (pins & BIT(PIN_SIPI)) {
		take_sipi(cpu);
	} else if (exits_at(cpu, BEFORE_TRAPS)) {
		return;
	} else if (cpu->pending_debug && !(cpu->shadow & SHADOW_MOV_SS) && cpu->activity != ACTIVITY_WAIT_SIPI &&
		   cpu->activity != ACTIVITY_SHUTDOWN) {
		take_trap(cpu);
	} else if (exits_at(cpu, BEFORE_NMI)) {
		return;
	} else if (pins & BIT(PIN_NMI)) {
		take_nmi(cpu);
	} else if (exits_at(cpu, BEFORE_INTERRUPT)) {
		return;
	} else if (pins & BIT(PIN_VIRTUAL)) {
		take_virtual_interrupt(cpu);
	} else if (pins & BIT(PIN_INTR)) {
		take_interrupt(cpu);
	}
}

/* Faults of the instruction that is about to be fetched: SDM vol. 3, "Virtual Interrupt Flag ..." and
 * "Instruction-Breakpoint Exception Condition". */
static void check_next_instruction(struct cpu *cpu)
{
	uint64_t virtual = RFLAGS_VIF | RFLAGS_VIP, hits;
	la_t la = cpu_64bit(cpu) ? cpu->rip : (uint32_t)(cpu->seg[CS].base + cpu->rip);

	if ((cpu->rflags & virtual) == virtual &&
	    (cpu_v86(cpu) ? cpu->cr4 & CR4_VME : cpu_protected(cpu) && cpu->cpl == 3 && (cpu->cr4 & CR4_PVI)) &&
	    cpu_iopl(cpu) < 3) {
		raise_gp0(cpu);
		exec_fault(cpu);
		return;
	}
	if ((cpu->rflags & RFLAGS_RF) || (cpu->shadow & SHADOW_MOV_SS) || !(hits = debug_code_breakpoint(cpu, la)))
		return;
	raise_fault(cpu, VECTOR_DB);
	cpu->fault.dr6 = hits;
	exec_fault(cpu);
}

/*
 * An event may just have been delivered. That is a step for the monitor trap flag; and a timer that has expired or a
 * window that is open exits before the handler's first instruction, though the event came before them.
 */
static bool exits_after_delivery(struct cpu *cpu)
{
	return nonroot_exits(cpu, BEFORE_TRAPS) || nonroot_exits(cpu, BEFORE_NMI) ||
	       (!(open_pins(cpu) & BIT(PIN_NMI)) && nonroot_exits(cpu, BEFORE_INTERRUPT));
}

/* What the next boundary must know, when the guest goes on with an instruction. */
static void prepare_nonroot(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;

	if (may_exit(vmx) && exits_after_delivery(cpu))
		return;
	vmx->debug_held = cpu->pending_debug;
	/* In another state no instruction comes: the event that ends it is the step. */
	vmx->mtf_armed = vmx_proc(vmx, MONITOR_TRAP_FLAG) && cpu->activity == ACTIVITY_ACTIVE;
	if (vmx->mtf_armed)
		cpu_attend(cpu, ATTEND_TRAP);
	if (may_exit(vmx) && (vmx_timer_expired(cpu) || vmx_nmi_window(cpu) || vmx_interrupt_window(cpu)))
		cpu_attend(cpu, ATTEND_PINS);
}

void exec_attend(struct cpu *cpu)
{
	unsigned ended = cpu->shadow & ((1 << SHADOW_NEXT) - 1);

	cpu->attention &= ATTEND_STOP | ATTEND_DEADLINE | ATTEND_YIELD;
	cpu->insn = NULL;
	cpu->shadow >>= SHADOW_NEXT;
	if ((ended & SHADOW_RF) && !(cpu->shadow & SHADOW_RF))
		cpu->rflags &= ~RFLAGS_RF;
	if ((ended & SHADOW_STEP) && debug_step_traps(cpu))
		cpu->pending_debug |= DR6_BS;
	if (unlikely(cpu->nonroot) && cpu->vmx->mtf_armed)
		cpu->vmx->mtf_pending = true;

	if (likely(!apic_write_exits(cpu)))
		deliver_pending(cpu);
	if (!apic_write_exits(cpu) && unlikely(cpu->nonroot) && may_exit(cpu->vmx)) /* of the delivery */
		exits_after_delivery(cpu);
	if (cpu->activity == ACTIVITY_ACTIVE)
		check_next_instruction(cpu);

	if (cpu->activity == ACTIVITY_ACTIVE && (cpu->rflags & RFLAGS_TF))
		cpu->shadow |= SHADOW_STEP;
	if (cpu->shadow)
		cpu_attend(cpu, ATTEND_SHADOW);
	if ((cpu->shadow & SHADOW_STEP) || cpu->pending_debug || cpu->vapic_write || debug_has_code_breakpoints(cpu))
		cpu_attend(cpu, ATTEND_TRAP);
	cpu->attention &= ~(unsigned)ATTEND_PINS; /* what a delivery set for masked pins */
	if (unlikely(cpu->nonroot))
		prepare_nonroot(cpu);
	if (open_pins(cpu))
		cpu_attend(cpu, ATTEND_PINS);
}

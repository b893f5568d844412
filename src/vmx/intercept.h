/*
 * VMX non-root operation: what exits, what the exit records, and what instructions do otherwise when they do not exit.
 * SDM vol. 3, "VMX Non-Root Operation".
 *
 * Questions over the current VMCS, the vCPU and a decoded instruction, asked only when cpu->nonroot. Nothing changes
 * but cpu->vmx->exit, which those that say "exit" fill, and the times that PAUSE-loop exiting keeps. Not here: EPT, the
 * virtual APIC (virtual_apic.h), the preemption timer and the monitor trap flag.
 */
#pragma once

#include "decode/insn.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

/*
 * When the hook in an instruction asks: what comes before the VM exit. SDM vol. 3, "Relative Priority of Faults and VM
 * Exits". All other faults come after it, among them #NM, faults of memory operands and #GP for operand values.
 */
enum vmx_when {
	VMX_WHEN_FIRST,	   /* MOV DR: before #GP for CPL, #UD for DR4 and DR5 and #DB for DR7.GD */
	VMX_WHEN_AFTER_UD, /* after #UD (not offered, mode, register form; CPL > 0 for MONITOR and MWAIT; CR4.SMXE for
			      GETSEC; not in SMM for RSM), before CPL */
	VMX_WHEN_AFTER_PRIVILEGE, /* after CPL and CR4's TSD, PCE and UMIP; I/O: after IOPL and the I/O permission bit
				     map, before the segment of INS, OUTS; once for each iteration that would access */
	VMX_WHEN_AFTER_OPERAND,	  /* LMSW: the source was read */
};

enum vmx_verdict {
	VMX_PROCEED,   /* execute it, altered as below */
	VMX_EXITS,     /* cpu->vmx->exit is filled */
	VMX_UNDEFINED, /* #UD: the control that enables it is 0. Goes before all other faults, so hooks of such
			  instructions ask vmx_disabled() first */
};

/* The row of spec/vmx_intercepts.def. False: this instruction never exits, so that its hook needs no question. */
bool vmx_when(const struct form *form, enum vmx_when *when);

/* Is it #UD for want of an enabling control? */
bool vmx_disabled(const struct cpu *cpu, const struct form *form);

/* operand: what LMSW has read; else 0 and not looked at. cpu->r is as the instruction found it. */
MUST_CHECK enum vmx_verdict vmx_intercept(struct cpu *cpu, const struct insn *insn, uint64_t operand);

/* Is a secondary control 1? Without "activate secondary controls" all are 0. */
static inline bool vmx_secondary(const struct cpu *cpu, uint64_t control)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	return vmcs_has(v, VM, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS) &&
	       (vmcs_get(v, VM_PROCBASED_CTLS2) & control);
}

/* intercept_event.c. Also vmx_intercepts_exception() of vmx.h, for INT1, INT3, INTO and BOUND too; INT n never exits by
 * itself. */

/*
 * The exit of an exception or NMI. type: HARDWARE_EXCEPTION, NMI, PRIVILEGED (INT1) or SOFTWARE_EXCEPTION (INT3, INTO).
 * length: of INT1, INT3 and INTO, else 0. unblocked: "NMI unblocking due to IRET".
 */
void vmx_exit_exception(struct cpu *cpu, enum interruption_type type, const struct fault *fault, unsigned length,
			bool unblocked);
void vmx_exit_nmi(struct cpu *cpu);
void vmx_exit_triple_fault(struct cpu *cpu);
/* Exits that record no more than their reason: INIT, the windows, TPR below threshold, and the like. */
void vmx_exit_plain(struct cpu *cpu, enum vmx_exit reason);
void vmx_exit_sipi(struct cpu *cpu, uint8_t vector);

/* External interrupts: with "external-interrupt exiting" RFLAGS.IF does not count. vector: acknowledged, or -1 when
 * vmx_acknowledges() is false. */
bool vmx_intercepts_interrupt(const struct cpu *cpu);
bool vmx_acknowledges(const struct cpu *cpu);
void vmx_exit_interrupt(struct cpu *cpu, int vector);

bool vmx_intercepts_nmi(const struct cpu *cpu);
/* IRET begins: it ends blocking by NMI, or virtual-NMI blocking, even if it faults. With "NMI exiting" alone it ends
 * nothing. */
void vmx_iret(struct cpu *cpu);
/* "Blocking by NMI", which is virtual-NMI blocking with "virtual NMIs". */
bool vmx_nmi_blocked(const struct cpu *cpu);

/* Is the window open and its control 1? Asked at an instruction boundary, also in the HLT and MWAIT states (the NMI
 * window also in shutdown). */
static inline bool vmx_interrupt_window(const struct cpu *cpu)
{
	return vmx_proc(cpu->vmx, INTERRUPT_WINDOW_EXITING) && (cpu->rflags & RFLAGS_IF) &&
	       !(cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS)) && cpu->activity != ACTIVITY_SHUTDOWN &&
	       cpu->activity != ACTIVITY_WAIT_SIPI;
}

/* Its control needs "virtual NMIs". Blocking by STI closes it too, as newer editions of the manual have it. */
static inline bool vmx_nmi_window(const struct cpu *cpu)
{
	return vmx_proc(cpu->vmx, NMI_WINDOW_EXITING) && !cpu->vmx->virtual_nmi_blocked &&
	       !(cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS)) && cpu->activity != ACTIVITY_WAIT_SIPI;
}

/* Task switches always exit, after the checks on gate and TSS descriptor. length: of CALL, JMP, IRET, INT n, INT1,
 * INT3, INTO; else 0. */
enum vmx_task_source { VMX_TASK_CALL, VMX_TASK_IRET, VMX_TASK_JMP, VMX_TASK_GATE /* in the IDT */ };
void vmx_exit_task_switch(struct cpu *cpu, uint16_t selector, enum vmx_task_source source, unsigned length);

/* altered.c: "Changes to Instruction Behavior in VMX Non-Root Operation". */

uint64_t vmx_read_cr0(const struct cpu *cpu); /* MOV from CR0 and SMSW: shadow bits where the mask is 1 */
uint64_t vmx_read_cr4(const struct cpu *cpu);
uint64_t vmx_merge_cr0(const struct cpu *cpu,
		       uint64_t value); /* MOV to CR0, LMSW, CLTS: masked bits keep their values */
uint64_t vmx_merge_cr4(const struct cpu *cpu, uint64_t value);
/* RDTSC, RDTSCP, RDMSR of IA32_TIME_STAMP_COUNTER: the physical counter, scaled and offset. */
uint64_t vmx_tsc(const struct cpu *cpu, uint64_t tsc);
/* TPAUSE, UMWAIT: the physical ticks of a delay in the guest's ticks. */
uint64_t vmx_delay(const struct cpu *cpu, uint64_t ticks);
/* MWAIT goes on at once. virtual_interrupt: one is recognized. */
bool vmx_mwait_falls_through(const struct cpu *cpu, bool virtual_interrupt);

/* qualification.c: "Basic VM-Exit Information". */
uint64_t vmx_qualification(const struct cpu *cpu, const struct insn *insn, enum vmx_exit reason, uint64_t operand);
uint64_t vmx_qualify_debug(uint64_t dr6);
uint64_t vmx_qualify_task_switch(uint16_t selector, enum vmx_task_source source);
/* The guest-linear-address field; 0 where it is undefined. */
uint64_t vmx_exit_linear(const struct cpu *cpu, const struct insn *insn, enum vmx_exit reason);
/* The port and the size (1, 2, 4) of IN, OUT, INS and OUTS. */
uint16_t vmx_port(const struct cpu *cpu, const struct insn *insn);
unsigned vmx_port_size(const struct insn *insn);

/* instruction_info.c: "Information for VM Exits Due to Instruction Execution". Undefined bits are 0. */
enum vmx_information {
	VMX_INFORMATION_NONE,
	VMX_INFORMATION_INS_OUTS,
	VMX_INFORMATION_INVALIDATE, /* INVEPT, INVPCID, INVVPID */
	VMX_INFORMATION_GDTR_IDTR,
	VMX_INFORMATION_LDTR_TR,
	VMX_INFORMATION_RANDOM, /* RDRAND, RDSEED */
	VMX_INFORMATION_WAIT,	/* TPAUSE, UMWAIT */
	VMX_INFORMATION_MEMORY, /* VMCLEAR, VMPTRLD, VMPTRST, VMXON, XRSTORS, XSAVES */
	VMX_INFORMATION_VMREAD_VMWRITE,
};
uint32_t vmx_instruction_info(const struct cpu *cpu, const struct insn *insn, enum vmx_information format);

/*
 * VM exits: SDM vol. 3, "VMX Basic Exit Reasons", reason -> handler. A handler has vm->lock and the current VMCS; it either
 * finishes the instruction's work and calls vcpu_skip(), or raises an exception, or stops the VM.
 */
#ifndef VMM_VMX_EXIT_H
#define VMM_VMX_EXIT_H

#include "vmx/vcpu.h"

typedef void exit_handler(struct vcpu *vcpu);

extern exit_handler *const exit_handlers[EXIT_REASONS]; /* none is NULL */

void exit_dispatch(struct vcpu *vcpu); /* counts, asks the VM's hook, calls the handler */

/* vmx/exit_*.c, one file for each subject. */
exit_handler exit_stop;	 /* no guest of ours should get there: stops the VM and explains */
exit_handler exit_ud;	 /* instructions that this platform has not */
exit_handler exit_gp;
exit_handler exit_exception_nmi, exit_external_interrupt, exit_triple_fault; /* exit_event.c */
exit_handler exit_interrupt_window, exit_nmi_window, exit_preemption_timer, exit_hlt, exit_pause, exit_task_switch;
exit_handler exit_cpuid, exit_xsetbv;					   /* exit_cpuid.c */
exit_handler exit_rdmsr, exit_wrmsr;					   /* exit_msr.c */
exit_handler exit_cr_access;						   /* exit_cr.c */
exit_handler exit_io;							   /* exit_io.c */
exit_handler exit_ept_violation, exit_ept_misconfiguration;		   /* exit_ept.c */
exit_handler exit_apic_access, exit_apic_write, exit_tpr_below, exit_eoi; /* exit_apic.c */
exit_handler exit_entry_failed, exit_wbinvd;

/* The instruction at the current RIP reads or writes memory that is a device: decodes it, does the access, skips it. If it is
   none that is known, stops the VM. guest/emulate.c. */
void emulate_mmio(struct vcpu *vcpu, gpa_t gpa);

#endif

/*
 * A vCPU on its CPU: its VMCS, running it, and putting its state where it belongs.
 */
#ifndef VMM_VMX_VCPU_H
#define VMM_VMX_VCPU_H

#include "guest/vm.h"

/* Region, bitmaps, virtual-APIC page, FPU area... from the pools. NULL, or the name of what is required and missing. */
MUST_CHECK const char *vcpu_create(struct vm *vm, unsigned index, struct cpu *cpu);

/* Writes the whole VMCS as after RESET (real mode, or waiting for SIPI). On its CPU; leaves it current. */
void vcpu_reset(struct vcpu *vcpu);

/* Makes vcpu the current one of this CPU: VMPTRLD, FPU, MSRs that follow it; the one before is put away. NULL: only put away. */
void vcpu_switch(struct vcpu *vcpu);
void vcpu_put_away(struct vcpu *vcpu); /* also VMCLEAR */
void vcpu_load_debug_registers(struct vcpu *vcpu); /* DR0 to DR3 and DR6 of the current vCPU; DR7 is in the VMCS */

/*
 * One VM entry and exit with handling. until: the machine's TSC at which the vCPU must be back here, by the preemption timer
 * or by apic_timer(). False: it must not be run again now (halted, stopped, VM not running).
 */
bool vcpu_run(struct vcpu *vcpu, uint64_t until);

/* Does what is due for a vCPU of this CPU, which need not be current; with vCPU 0 also what is for its VM's devices. Returns
   the TSC at which something is due again. The lock is held; vcpu_run() calls it itself. */
uint64_t vcpu_serve_clocks(struct vcpu *vcpu);

/* Turns a control bit of the current vCPU on or off (word: WORD_...). Allowed settings are the caller's business. */
void vcpu_control(struct vcpu *vcpu, enum vmx_word word, uint64_t bits, bool on);
static inline bool vcpu_has(const struct vcpu *vcpu, enum vmx_word word, uint64_t bits)
{
	return (vcpu->controls[word] & bits) == bits;
}
#define VCPU_HAS(vcpu, word, name) vcpu_has(vcpu, WORD_##word, CTL(word, name))

/* Events for the next VM entry: vmx/inject.c. A fault merges with one that is being delivered into #DF; a triple fault stops
   the VM. */
void vcpu_raise(struct vcpu *vcpu, unsigned vector, bool has_error, uint32_t error);
void vcpu_raise_pf(struct vcpu *vcpu, gva_t address, uint32_t error);
static inline void vcpu_raise_ud(struct vcpu *vcpu) { vcpu_raise(vcpu, 6, false, 0); }
static inline void vcpu_raise_gp(struct vcpu *vcpu) { vcpu_raise(vcpu, 13, true, 0); }
void vcpu_keep_vectoring(struct vcpu *vcpu); /* after a VM exit: what IDT-vectoring information says was cut short comes again */

/* Before a VM entry: event, NMI, interrupt or a window for it; RVI, TPR threshold. Sets in_guest. */
void vcpu_prepare_events(struct vcpu *vcpu);
bool vcpu_has_work(struct vcpu *vcpu); /* an interrupt or NMI would end its HLT, or it was started. On its CPU, current */

/* INIT and start-up IPIs, first of all before a VM entry. False: it must not run now. */
MUST_CHECK bool vcpu_obey_signals(struct vcpu *vcpu);

/* Past the instruction that exited, with its single-step trap and blocking by MOV SS and STI ended. With bytes: where the
   VMCS does not say how long it is. */
void vcpu_skip(struct vcpu *vcpu);
void vcpu_skip_bytes(struct vcpu *vcpu, unsigned length);

/* Shows the current vCPU: registers, or every field of the VMCS in words. */
void vcpu_print_registers(struct vcpu *vcpu);
void vcpu_print_vmcs(struct vcpu *vcpu);
void vcpu_report_controls(struct vcpu *vcpu); /* which of the wanted controls it has, and which it lacks */

/* vmx/entry.S: loads registers, enters, and returns at the exit. False: VMLAUNCH or VMRESUME failed (flags tell; the error is
   in the VMCS). */
MUST_CHECK bool vmx_enter(struct vcpu *vcpu, bool launched);

#endif

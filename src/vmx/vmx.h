/*
 * VT-x of one vCPU: what exec/ may ask of it. SDM vol. 3, "Virtual Machine Extensions".
 *
 * Faults and exits are values here too. A function that causes a VM exit fills vmx->exit and returns; exec/event.c performs it with vmx_perform_exit() when the
 * instruction has been put back (or, for trap-like exits, is done). Translation context is data: entry and exit write cpu->eptp, cpu->vpid and the
 * control registers, then call mem_context_changed(); mem/ never reads a VMCS.
 */
#pragma once

#include "cpu/cpu.h"
#include "vmx/check.h"
#include "vmx/vmcs.h"

/* What a VM exit records: SDM vol. 3, "Recording VM-Exit Information and Updating VM-entry Control Fields". */
struct vmx_exit_record {
	uint32_t reason;	    /* basic exit reason; VMX_EXIT_ENTRY_FAILURE added by entry.c */
	uint64_t qualification;
	uint64_t linear, physical;  /* guest-linear and guest-physical address */
	uint32_t interruption;	    /* interruption information, bit 31 valid */
	uint32_t interruption_error;
	uint32_t instruction_length;/* 0: leave the field undefined (it is set to 0) */
	uint32_t instruction_info;
};

/* PAUSEs at CPL 0, in ticks of the physical TSC. VM entry begins with zeros. */
struct vmx_pause_loop {
	bool began;	      /* there was one since VM entry */
	uint64_t first, last; /* of the loop; the latest */
};

struct vmx {
	const struct vmx_capability *caps;
	bool on;		    /* in VMX operation: after VMXON */
	pa_t vmxon_pointer;
	pa_t current;		    /* current-VMCS pointer, ~0: none */
	struct vmcs vmcs;	    /* the current VMCS, active; flushed to memory when another becomes current */
	struct vmx_exit_record exit;     /* of the VM exit under way */
	/* The event being delivered, for IDT-vectoring information: set and cleared by exec/event.c. Bit 31 valid. */
	uint32_t vectoring;
	uint32_t vectoring_error;
	uint32_t vectoring_length;
	bool virtual_nmi_blocked;   /* nonroot with virtual NMIs: "blocking by NMI" is this, and cpu->nmi_blocked is false */
	struct vmx_pause_loop pause_loop;
	uint64_t entered;	    /* counters: VM entries, VM exits by reason */
	uint64_t exits[80];
};

/* In cpu.h: struct vmx *vmx (NULL: the model has no VT-x), bool nonroot. */

void vmx_create(struct cpu *cpu, const struct vmx_capability *caps);
void vmx_destroy(struct cpu *cpu);
void vmx_reset(struct cpu *cpu); /* leaves VMX operation */
void vmx_state(struct cpu *cpu, struct state *state);

/*
 * entry.c: VMLAUNCH and VMRESUME once the instruction's own checks passed. Runs the checks in order, loads the guest. Returns what the instruction
 * has become.
 */
enum vmx_entry {
	VMX_ENTRY_FAIL, /* VMfailValid with *error: RFLAGS are not yet set */
	VMX_ENTRY_EXIT, /* VM-entry failure during or after loading guest state: the "exit" to the host is done, cpu->rip is the host's */
	VMX_ENTRY_DONE, /* the guest is loaded, nonroot is set; *inject is to be delivered before its first instruction, if valid */
	VMX_ENTRY_ABORT,/* VMX abort: the vCPU shuts down */
};
struct vmx_injection {
	bool valid;
	uint32_t info, error, length; /* as in the VMCS */
};
enum vmx_entry vmx_enter(struct cpu *cpu, bool launch, enum vmx_error *error, struct vmx_injection *inject);

/* exit.c: perform the VM exit described by vmx->exit. False: VMX abort, the vCPU is in shutdown. cpu->rip is the guest RIP to be saved. */
bool vmx_perform_exit(struct cpu *cpu);

/* intercept.c: would this exit? Pure questions over the controls, asked only when cpu->nonroot. */
bool vmx_intercepts_exception(const struct cpu *cpu, unsigned vector, uint32_t error);
bool vmx_intercepts_io(struct cpu *cpu, uint16_t port, unsigned size);
bool vmx_intercepts_msr(struct cpu *cpu, uint32_t index, bool write);

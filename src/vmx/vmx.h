/*
 * VT-x of one vCPU: what exec/ may ask of it. SDM vol. 3, "Virtual Machine Extensions".
 *
 * Faults and exits are values here too. A function that causes a VM exit fills vmx->exit and returns; exec/event.c
 * performs it with vmx_perform_exit() when the instruction has been put back (or, for trap-like exits, is done).
 * Translation context is data: entry and exit write cpu->eptp, cpu->vpid and the control registers, then call
 * mem_context_changed(); mem/ never reads a VMCS.
 */
#pragma once

#include "clock/clock.h"
#include "cpu/cpu.h"
#include "vmx/check.h"
#include "vmx/vmcs.h"

/* What a VM exit records: SDM vol. 3, "Recording VM-Exit Information and Updating VM-entry Control Fields". */
struct vmx_exit_record {
	uint32_t reason; /* basic exit reason; VMX_EXIT_ENTRY_FAILURE added by entry.c */
	uint64_t qualification;
	uint64_t linear, physical; /* guest-linear and guest-physical address */
	uint32_t interruption;	   /* interruption information, bit 31 valid */
	uint32_t interruption_error;
	uint32_t instruction_length; /* 0: leave the field undefined (it is set to 0) */
	uint32_t instruction_info;
};

/* PAUSEs at CPL 0, in ticks of the physical TSC. VM entry begins with zeros. */
struct vmx_pause_loop {
	bool began;	      /* there was one since VM entry */
	uint64_t first, last; /* of the loop; the latest */
};

/* In SMM under the default treatment: what the SMI found. */
struct vmx_smi {
	bool vmxe;	  /* CR4.VMXE */
	bool on, nonroot; /* in VMX operation, and in which */
	bool v86;	  /* RFLAGS.VM */
	uint8_t cpl;	  /* SS.DPL */
	uint16_t vpid;
	uint64_t eptp;
	uint32_t vapic_controls;
	uint64_t pdpte[4]; /* with EPT they need not be what memory has */
};

/* The dual-monitor treatment: the I/O instruction that raised the SMI that is pending, as an SMM VM exit tells of it.
 */
struct vmx_io_smi {
	bool valid;
	uint64_t qualification, linear;
	uint64_t rcx, rsi, rdi, rip; /* before it */
};

struct vmx {
	const struct vmx_capability *caps;
	bool on; /* in VMX operation: after VMXON, and not in SMM under the default treatment */
	pa_t vmxon_pointer;
	pa_t current;		     /* current-VMCS pointer, ~0: none */
	struct vmcs vmcs;	     /* the current VMCS, active; flushed to memory when another becomes current */
	struct vmx_exit_record exit; /* of the VM exit under way */
	/* The event being delivered, for IDT-vectoring information: set and cleared by exec/event.c. Bit 31 valid. */
	uint32_t vectoring;
	uint32_t vectoring_error;
	uint32_t vectoring_length;
	uint64_t vectoring_rf; /* RFLAGS.RF as its delivery would push it */
	bool virtual_nmi_blocked; /* nonroot with virtual NMIs: "blocking by NMI" is this, and cpu->nmi_blocked is false
				   */
	bool mtf_armed;		  /* the monitor trap flag: a step has begun, and an MTF VM exit is pending after it */
	bool mtf_pending;	  /* it happens before the guest's next instruction; VM entry may inject it */
	uint64_t debug_held;	  /* debug exceptions that were pending before the instruction at hand, by MOV SS */
	bool aborted;		  /* shutdown by a VMX abort: only a reset leaves it */
	struct deadline timer; /* of the VMX-preemption timer: armed in nonroot while it counts */
	vtime_t timer_end;     /* nonroot: when it reaches 0, or VTIME_NEVER without it */
	bool host_lma;	    /* what the host-state checks last held for */
	struct vmx_pause_loop pause_loop;
	struct vmx_smi smi;
	bool dual_monitor; /* the dual-monitor treatment of SMIs and SMM is active */
	bool smi_blocked;  /* outside SMM, by a VM entry that returned from it */
	pa_t transfer;	   /* dual_monitor: SMM-transfer VMCS pointer */
	struct vmx_io_smi io_smi;
	uint64_t smm_monitor_ctl; /* IA32_SMM_MONITOR_CTL */
	struct vmcs executive;	  /* of the SMM VM exit or VM entry from SMM that is under way; in between, anything */
	uint64_t entered; /* counters: VM entries, VM exits by reason */
	uint64_t exits[80];
};

/* In cpu.h: struct vmx *vmx (NULL: the model has no VT-x), bool nonroot. */

void vmx_create(struct cpu *cpu, const struct vmx_capability *caps);
void vmx_destroy(struct cpu *cpu);
void vmx_reset(struct cpu *cpu); /* leaves VMX operation */
void vmx_state(struct cpu *cpu, struct state *state);

#define SMM_MONITOR_CTL_VALID  BIT(0)
#define SMM_MONITOR_CTL_VMXOFF BIT(2) /* VMXOFF does not unblock SMIs */
#define SMM_MONITOR_CTL_MSEG   BITS(31, 12)

/* msr.c: IA32_VMX_BASIC and the other capability MSRs; IA32_SMM_MONITOR_CTL and IA32_SMBASE. */
struct msr_table;
void vmx_claim_msrs(struct msr_table *table);

/* msr.c: IA32_PERF_GLOBAL_CTRL changes with a VM entry or a VM exit. */
void vmx_load_perf_global_ctrl(struct cpu *cpu, uint64_t value);

/* msr.c: what VMX operation fixes in CR0 and CR4; true outside it. SDM vol. 3, "Restrictions on VMX Operation". MOV CR
 * is #GP(0) else. */
bool vmx_cr0_allowed(const struct cpu *cpu, uint64_t value);
bool vmx_cr4_allowed(const struct cpu *cpu, uint64_t value);

static inline bool vmx_has_current(const struct vmx *vmx)
{
	return vmx->current != ~UINT64_C(0);
}

/* A control of the current VMCS; those of a word that is not activated are 0. vmx_pin(vmx, VIRTUAL_NMIS) */
#define vmx_pin(vmx, bit)  vmcs_has(&(vmx)->vmcs, VM, PINBASED_CTLS, bit)
#define vmx_proc(vmx, bit) vmcs_has(&(vmx)->vmcs, VM, PROCBASED_CTLS, bit)
#define vmx_proc2(vmx, bit) \
	(vmx_proc(vmx, ACTIVATE_SECONDARY_CONTROLS) && vmcs_has(&(vmx)->vmcs, VM, PROCBASED_CTLS2, bit))
#define vmx_proc3(vmx, bit) \
	(vmx_proc(vmx, ACTIVATE_TERTIARY_CONTROLS) && vmcs_has(&(vmx)->vmcs, VM, PROCBASED_CTLS3, bit))
#define vmx_on_exit(vmx, bit)  vmcs_has(&(vmx)->vmcs, VM, EXIT_CTLS, bit)
#define vmx_on_entry(vmx, bit) vmcs_has(&(vmx)->vmcs, VM, ENTRY_CTLS, bit)

/* The processor writes a field, if it has it. vmx_put(vmx, GUEST_PAT, value) */
#define vmx_put(vmx, name, value) vmx_put_field(vmx, VMCS_##name, value)
static inline void vmx_put_field(struct vmx *vmx, enum vmcs_field field, uint64_t value)
{
	if (vmx_has_field(vmx->caps, field))
		vmcs_put(&vmx->vmcs, field, value);
}

/*
 * insn.c: VMX instructions once their operands were read. VMX_OK, or the error for VMfail; ~0 of *pointer: none.
 * Addresses are physical.
 */
bool vmx_start(struct cpu *cpu, pa_t region);				  /* VMXON's operand. False: VMfailInvalid */
void vmx_stop(struct cpu *cpu);						  /* VMXOFF */
MUST_CHECK enum vmx_error vmx_load_pointer(struct cpu *cpu, pa_t region); /* VMPTRLD */
MUST_CHECK enum vmx_error vmx_clear(struct cpu *cpu, pa_t region);	  /* VMCLEAR */
/* What a VMCS region is: its address, its first 4 bytes, its data. The current VMCS goes back to memory; another
 * becomes current (~0: none). */
bool vmx_is_region(const struct vmx *vmx, pa_t region);
uint32_t vmx_region_revision(struct cpu *cpu, pa_t region);
void vmx_read_region(struct cpu *cpu, pa_t region, struct vmcs *v);
void vmx_flush_current(struct cpu *cpu);
void vmx_make_current(struct cpu *cpu, pa_t region);
/* VMREAD and VMWRITE in non-root operation with VMCS shadowing: of the VMCS at the link pointer. */
MUST_CHECK enum vmx_error vmx_shadow_read(struct cpu *cpu, uint64_t encoding, bool mode64, uint64_t *value);
MUST_CHECK enum vmx_error vmx_shadow_write(struct cpu *cpu, uint64_t encoding, bool mode64, uint64_t value);
/* Does VMREAD (VMWRITE) of this encoding exit? SDM vol. 3, "Instructions That Cause VM Exits Conditionally". */
bool vmx_intercepts_field(struct cpu *cpu, uint64_t encoding, bool write);
/* RFLAGS as SDM vol. 3, "Conventions" has them for VMsucceed, VMfailInvalid and VMfail(error). */
void vmx_succeed(struct cpu *cpu);
void vmx_fail_invalid(struct cpu *cpu);
void vmx_fail(struct cpu *cpu, enum vmx_error error);

/* timer.c: SDM vol. 3, "VMX-Preemption Timer". Entry starts it, exit stops it and says what is left. */
void vmx_timer_create(struct cpu *cpu);
void vmx_timer_start(struct cpu *cpu);
uint32_t vmx_timer_stop(struct cpu *cpu);
static inline bool vmx_timer_expired(const struct cpu *cpu)
{
	return cpu->vmx->timer_end != VTIME_NEVER && clock_now(cpu->clock) >= cpu->vmx->timer_end;
}

/* msr_list.c: SDM vol. 3, "Loading MSRs", "Saving MSRs". 0, or the number of the entry that failed, from 1. */
MUST_CHECK uint32_t vmx_msr_list_load(struct cpu *cpu, pa_t list, uint32_t count);
MUST_CHECK uint32_t vmx_msr_list_save(struct cpu *cpu, pa_t list, uint32_t count);

/* load_guest.c, save_guest.c, load_host.c: between the CPU and the current VMCS. For entry.c and exit.c. */
void vmx_load_guest(struct cpu *cpu, bool vectored);
/* enum ept_controls that the current VMCS asks for and the processor offers. */
uint32_t vmx_ept_controls(const struct vmx *vmx);
void vmx_save_guest(struct cpu *cpu);
/* False: the PDPTEs at the host's CR3 are bad. */
MUST_CHECK bool vmx_load_host(struct cpu *cpu);

/* exit.c: the last part of a VM exit and of a VM-entry failure: host state and MSRs. False: VMX abort. */
bool vmx_leave(struct cpu *cpu);

/*
 * entry.c: VMLAUNCH and VMRESUME once the instruction's own checks passed. Runs the checks in order, loads the guest.
 * Returns what the instruction has become.
 */
enum vmx_entry {
	VMX_ENTRY_FAIL, /* VMfailValid with *error: RFLAGS are not yet set */
	VMX_ENTRY_EXIT, /* VM-entry failure during or after loading guest state: the "exit" to the host is done,
			   cpu->rip is the host's */
	VMX_ENTRY_DONE, /* the guest is loaded, nonroot is set; *inject is to be delivered before its first instruction,
			   if valid */
	VMX_ENTRY_ABORT, /* VMX abort: the vCPU shuts down */
};
struct vmx_injection {
	bool valid;
	uint32_t info, error, length; /* as in the VMCS */
};
/* What the checks of an entry made now look at. *about outlives *input. */
void vmx_entry_input(struct cpu *cpu, struct vmx_check_cpu *about, struct vmx_check_input *input);
enum vmx_entry vmx_enter(struct cpu *cpu, bool launch, enum vmx_error *error, struct vmx_injection *inject);

/* exit.c: perform the VM exit described by vmx->exit. False: VMX abort, the vCPU is in shutdown. cpu->rip and RFLAGS
   (RF too) are as they are to be saved, the low nibble of cpu->shadow says what blocking there is, and
   cpu->pending_debug what is pending. */
bool vmx_perform_exit(struct cpu *cpu);

/* vm_function.c: may VM entry, INVEPT and VMFUNC use this EPT pointer? */
bool vmx_eptp_allowed(const struct vmx_capability *caps, uint64_t eptp);
/* VM function 0, with its argument in ECX. False: nothing has changed, and VMFUNC exits. */
MUST_CHECK bool vmx_switch_eptp(struct cpu *cpu);

/* virtualization_exception.c: cpu->fault is a VM exit. True: it was an EPT violation and has become #VE. */
bool vmx_convert_violation(struct cpu *cpu);

/*
 * mseg.c: VMCALL in VMX root operation. EXIT: it is an SMM VM exit, which activates the dual-monitor treatment if it is
 * not active. FAIL: VMfail(*error).
 */
enum vmx_vmcall { VMX_VMCALL_EXIT, VMX_VMCALL_FAIL, VMX_VMCALL_FAIL_INVALID };
MUST_CHECK enum vmx_vmcall vmx_call_monitor(struct cpu *cpu, enum vmx_error *error);
/* The last part of that exit: the dual-monitor treatment is active, and its monitor's state is loaded. */
void vmx_start_monitor(struct cpu *cpu);

/* dual_monitor.c: an SMM VM exit for an SMI, to be performed. Whether the SMI came right after an I/O instruction is
 * what vmx_note_io_smi() noted, which is called when that instruction raised it. */
void vmx_exit_smi(struct cpu *cpu);
void vmx_note_io_smi(struct cpu *cpu);

/*
 * dual_monitor.c, for exit.c: before VM-exit information is recorded and the guest saved, and after. In between the
 * current VMCS is the SMM-transfer VMCS, with the VM-execution controls in force.
 */
void vmx_begin_smm_exit(struct cpu *cpu);
void vmx_end_smm_save(struct cpu *cpu);

/*
 * dual_monitor.c, for entry.c: is the entry one that returns from SMM, and to VMX root operation? The VMCS at the
 * executive-VMCS pointer is read into vmx->executive; false: none can be there, or none is needed. The guest is loaded
 * between "begin" and "abandon" or "finish", which updates the pointers and leaves SMM.
 */
bool vmx_returns_from_smm(const struct cpu *cpu);
bool vmx_returns_to_root(const struct cpu *cpu);
bool vmx_read_executive(struct cpu *cpu);
void vmx_begin_smm_return(struct cpu *cpu);
void vmx_abandon_smm_return(struct cpu *cpu);
void vmx_finish_smm_return(struct cpu *cpu);

/* smi.c: SMI delivery leaves VMX operation, after the state was saved; RSM returns to it, after the state was restored
 * but for what cpu_mode_changed() and mem_context_changed() do. */
void vmx_smi(struct cpu *cpu);
void vmx_rsm(struct cpu *cpu);

/* intercept.c: would this exit? Pure questions over the controls, asked only when cpu->nonroot. */
bool vmx_intercepts_exception(const struct cpu *cpu, unsigned vector, uint32_t error);
bool vmx_intercepts_io(struct cpu *cpu, uint16_t port, unsigned size);
bool vmx_intercepts_msr(struct cpu *cpu, uint32_t index, bool write);

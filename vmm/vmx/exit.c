/*
 * VM exits: each basic exit reason of SDM vol. 3, appendix "VMX Basic Exit Reasons", with what we do about it.
 */
#include "vmx/exit.h"

#include "lib/print.h"

exit_handler *const exit_handlers[EXIT_REASONS] = {
	[EXIT_EXCEPTION_NMI] = exit_exception_nmi,
	[EXIT_EXTERNAL_INTERRUPT] = exit_external_interrupt,
	[EXIT_TRIPLE_FAULT] = exit_triple_fault,
	[EXIT_INTERRUPT_WINDOW] = exit_interrupt_window,
	[EXIT_NMI_WINDOW] = exit_nmi_window,
	[EXIT_TASK_SWITCH] = exit_task_switch,
	[EXIT_CPUID] = exit_cpuid,
	[EXIT_HLT] = exit_hlt,
	[EXIT_CR_ACCESS] = exit_cr_access,
	[EXIT_IO_INSTRUCTION] = exit_io,
	[EXIT_RDMSR] = exit_rdmsr,
	[EXIT_WRMSR] = exit_wrmsr,
	[EXIT_PAUSE] = exit_pause,
	[EXIT_TPR_BELOW_THRESHOLD] = exit_tpr_below,
	[EXIT_APIC_ACCESS] = exit_apic_access,
	[EXIT_VIRTUALIZED_EOI] = exit_eoi,
	[EXIT_APIC_WRITE] = exit_apic_write,
	[EXIT_EPT_VIOLATION] = exit_ept_violation,
	[EXIT_EPT_MISCONFIGURATION] = exit_ept_misconfiguration,
	[EXIT_PREEMPTION_TIMER] = exit_preemption_timer,
	[EXIT_XSETBV] = exit_xsetbv,
	[EXIT_INVD] = exit_wbinvd,
	[EXIT_WBINVD] = exit_wbinvd,

	/* VM entries that failed late. */
	[EXIT_INVALID_GUEST_STATE] = exit_entry_failed,
	[EXIT_MSR_LOADING] = exit_entry_failed,
	[EXIT_MACHINE_CHECK] = exit_entry_failed,

	/* Instructions of what CPUID does not offer: #UD, as on a processor that lacks them. */
	[EXIT_GETSEC] = exit_ud,
	[EXIT_VMCALL] = exit_ud,
	[EXIT_VMCLEAR] = exit_ud,
	[EXIT_VMLAUNCH] = exit_ud,
	[EXIT_VMPTRLD] = exit_ud,
	[EXIT_VMPTRST] = exit_ud,
	[EXIT_VMREAD] = exit_ud,
	[EXIT_VMRESUME] = exit_ud,
	[EXIT_VMWRITE] = exit_ud,
	[EXIT_VMXOFF] = exit_ud,
	[EXIT_VMXON] = exit_ud,
	[EXIT_INVEPT] = exit_ud,
	[EXIT_INVVPID] = exit_ud,
	[EXIT_VMFUNC] = exit_ud,
	[EXIT_MONITOR] = exit_ud,
	[EXIT_MWAIT] = exit_ud,
	[EXIT_RSM] = exit_ud,
	[EXIT_ENCLS] = exit_ud,
	[EXIT_ENCLV] = exit_ud,

	/* There are no performance counters. */
	[EXIT_RDPMC] = exit_gp,

	/* Controls that are off, except in demonstrations, whose hooks take them. */
	[EXIT_INIT] = exit_stop,
	[EXIT_SIPI] = exit_stop,
	[EXIT_IO_SMI] = exit_stop,
	[EXIT_OTHER_SMI] = exit_stop,
	[EXIT_INVLPG] = exit_stop,
	[EXIT_RDTSC] = exit_stop,
	[EXIT_RDTSCP] = exit_stop,
	[EXIT_MOV_DR] = exit_stop,
	[EXIT_MONITOR_TRAP_FLAG] = exit_stop,
	[EXIT_GDTR_IDTR] = exit_stop,
	[EXIT_LDTR_TR] = exit_stop,
	[EXIT_RDRAND] = exit_stop,
	[EXIT_RDSEED] = exit_stop,
	[EXIT_INVPCID] = exit_stop,
	[EXIT_PML_FULL] = exit_stop,
	[EXIT_XSAVES] = exit_stop,
	[EXIT_XRSTORS] = exit_stop,
	[EXIT_PCONFIG] = exit_stop,
	[EXIT_SPP] = exit_stop,
	[EXIT_UMWAIT] = exit_stop,
	[EXIT_TPAUSE] = exit_stop,
	[EXIT_LOADIWKEY] = exit_stop,
	[EXIT_ENQCMD] = exit_stop,
	[EXIT_ENQCMDS] = exit_stop,
	[EXIT_BUS_LOCK] = exit_stop,
	[EXIT_INSTRUCTION_TIMEOUT] = exit_stop,
	[EXIT_RDMSRLIST] = exit_stop,
	[EXIT_WRMSRLIST] = exit_stop,

	/* Numbers that the manual keeps for later. */
	[35] = exit_stop,
	[38] = exit_stop,
	[42] = exit_stop,
	[71] = exit_stop,
	[76] = exit_stop,
	[77] = exit_stop,
};

void exit_dispatch(struct vcpu *vcpu)
{
	unsigned reason = vmread(VMCS_EXIT_REASON) & 0xffff;

	if (reason >= EXIT_REASONS) {
		exit_stop(vcpu);
		return;
	}
	vcpu->exit_reason = reason;
	vcpu->exits[reason].count++;
	vcpu_keep_vectoring(vcpu);
	if (vcpu->vm->hook && vcpu->vm->hook(vcpu, reason))
		return;
	exit_handlers[reason](vcpu);
}

void exit_stop(struct vcpu *vcpu)
{
	unsigned reason = vmread(VMCS_EXIT_REASON);

	vm_stop(vcpu->vm, "VM exit %u (%s), qualification %lx: nobody expects that", reason & 0xffff,
		exit_reason_title(reason & 0xffff), vmread(VMCS_EXIT_QUALIFICATION));
}

void exit_ud(struct vcpu *vcpu) { vcpu_raise_ud(vcpu); }
void exit_gp(struct vcpu *vcpu) { vcpu_raise_gp(vcpu); }

/* Memory is write-back everywhere: there is nothing that a guest could miss. INVD too must not lose what others wrote. */
void exit_wbinvd(struct vcpu *vcpu) { vcpu_skip(vcpu); }

/* SDM vol. 3, "VM-Entry Failures During or After Loading Guest State". */
void exit_entry_failed(struct vcpu *vcpu)
{
	unsigned reason = vmread(VMCS_EXIT_REASON) & 0xffff;
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	const char *detail = "";

	if (reason == EXIT_INVALID_GUEST_STATE)
		detail = qualification == 2 ? ": a PDPTE is not valid" :
			 qualification == 3 ? ": an NMI is injected while events are blocked" :
			 qualification == 4 ? ": the VMCS link pointer is not valid" : "";
	vm_stop(vcpu->vm, "%s%s (qualification %lx)", exit_reason_title(reason), detail, qualification);
}

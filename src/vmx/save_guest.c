/* VM exit saves the guest: SDM vol. 3, "Saving Guest State". */
#include "cpu/msr.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

static void save_registers(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	struct vmcs *v = &vmx->vmcs;

	vmcs_set(v, GUEST_CR0, cpu->cr0);
	vmcs_set(v, GUEST_CR3, cpu->cr3);
	vmcs_set(v, GUEST_CR4, cpu->cr4);
	vmcs_set(v, GUEST_SYSENTER_CS, cpu->sysenter_cs);
	vmcs_set(v, GUEST_SYSENTER_ESP, cpu->sysenter_esp);
	vmcs_set(v, GUEST_SYSENTER_EIP, cpu->sysenter_eip);
	if (vmx_on_exit(vmx, SAVE_DEBUG_CONTROLS)) {
		vmcs_set(v, GUEST_DR7, cpu->dr7);
		vmcs_set(v, GUEST_DEBUGCTL, cpu->debugctl);
	}
	if (vmx_on_exit(vmx, SAVE_PAT))
		vmcs_set(v, GUEST_PAT, cpu->pat);
	if (vmx_on_exit(vmx, SAVE_EFER))
		vmcs_set(v, GUEST_EFER, cpu->efer);
	if (vmx_on_exit(vmx, SAVE_PERF_GLOBAL_CTRL))
		vmcs_set(v, GUEST_PERF_GLOBAL_CTRL, cpu->pmu.global_ctrl);
	vmcs_set(v, GUEST_RSP, cpu->r[RSP]);
	vmcs_set(v, GUEST_RIP, cpu->rip);
	vmcs_set(v, GUEST_RFLAGS, cpu_rflags(cpu));
}

static void save_segments(struct cpu *cpu)
{
	struct vmcs *v = &cpu->vmx->vmcs;

#define ROW(S)                                                   \
	vmcs_set(v, GUEST_##S##_SELECTOR, cpu->seg[S].selector); \
	vmcs_set(v, GUEST_##S##_BASE, cpu->seg[S].base);         \
	vmcs_set(v, GUEST_##S##_LIMIT, cpu->seg[S].limit);       \
	vmcs_set(v, GUEST_##S##_AR, cpu->seg[S].ar &(0xf0ff | AR_UNUSABLE));
	ROW(ES)
	ROW(CS) ROW(SS) ROW(DS) ROW(FS) ROW(GS) ROW(LDTR) ROW(TR)
#undef ROW
		if (cpu->seg[SS].ar & AR_UNUSABLE)
			vmcs_set(v, GUEST_SS_AR, bits_set(vmcs_get(v, GUEST_SS_AR), 6, 5, cpu->cpl));
	vmcs_set(v, GUEST_GDTR_BASE, cpu->gdtr.base);
	vmcs_set(v, GUEST_GDTR_LIMIT, cpu->gdtr.limit);
	vmcs_set(v, GUEST_IDTR_BASE, cpu->idtr.base);
	vmcs_set(v, GUEST_IDTR_LIMIT, cpu->idtr.limit);
}

/* SDM vol. 3, "Saving Non-Register State": most exits leave no debug exception pending. */
static uint64_t pending_debug(const struct cpu *cpu)
{
	const struct vmx_exit_record *exit = &cpu->vmx->exit;
	uint32_t debug_exception = INTERRUPTION_VALID | INTERRUPTION_HARDWARE_EXCEPTION << 8 | VECTOR_DB;
	uint64_t pending = cpu->pending_debug & (DR6_BS | BITS(3, 0));

	switch (exit->reason & 0xffff) {
	case VMX_EXIT_INIT:
	case VMX_EXIT_IO_SMI:
	case VMX_EXIT_OTHER_SMI:
	case VMX_EXIT_MONITOR_TRAP_FLAG:
	case VMX_EXIT_TPR_BELOW_THRESHOLD:
	case VMX_EXIT_VIRTUALIZED_EOI:
	case VMX_EXIT_APIC_WRITE: break;
	default:
		if (!(cpu->shadow & SHADOW_MOV_SS))
			return 0;
		if (exit->reason == VMX_EXIT_EXCEPTION_NMI &&
		    (exit->interruption & ~(uint32_t)BIT(12)) == debug_exception)
			return 0;
	}
	if (!(cpu->rflags & RFLAGS_TF))
		pending &= ~DR6_BS;
	return pending & BITS(3, 0) ? pending | BIT(12) : pending;
}

static uint32_t activity_state(enum activity activity)
{
	switch (activity) {
	case ACTIVITY_HLT: return 1;
	case ACTIVITY_SHUTDOWN: return 2;
	case ACTIVITY_WAIT_SIPI: return 3;
	default: return 0; /* MWAIT's state is not one of the manual's activity states */
	}
}

static void save_nonregister(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	struct vmcs *v = &vmx->vmcs;
	bool nmi_blocked = vmx_pin(vmx, VIRTUAL_NMIS) ? vmx->virtual_nmi_blocked : cpu->nmi_blocked;
	uint32_t timer = vmx_timer_stop(cpu);

	vmcs_set(v, GUEST_ACTIVITY_STATE, activity_state(cpu->activity));
	/* Blocking by SMI is told of by exits that end in SMM, where they are blocked. */
	vmcs_set(v, GUEST_INTERRUPTIBILITY,
		 (cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS)) | (cpu->in_smm ? BIT(2) : 0) |
			 (nmi_blocked ? BIT(3) : 0));
	vmcs_set(v, GUEST_PENDING_DEBUG, pending_debug(cpu));
	if (vmx_on_exit(vmx, SAVE_PREEMPTION_TIMER))
		vmcs_set(v, PREEMPTION_TIMER, timer);
	if (vmx_proc2(vmx, ENABLE_PML))
		vmcs_set(v, PML_INDEX, cpu->pml_index);
	if (vmx_proc2(vmx, ENABLE_EPT) && (cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !cpu_long_mode(cpu)) {
		vmcs_set(v, GUEST_PDPTE0, cpu->pdpte[0]);
		vmcs_set(v, GUEST_PDPTE1, cpu->pdpte[1]);
		vmcs_set(v, GUEST_PDPTE2, cpu->pdpte[2]);
		vmcs_set(v, GUEST_PDPTE3, cpu->pdpte[3]);
	}
}

void vmx_save_guest(struct cpu *cpu)
{
	save_registers(cpu);
	save_segments(cpu);
	save_nonregister(cpu);
}

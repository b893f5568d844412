/*
 * VM entry loads the guest: SDM vol. 3, "Loading Guest State" and "Event Injection" (what an injection does to
 * blocking, activity and pending debug exceptions). Everything was checked before; here nothing can fail.
 */
#include "cpu/control.h"
#include "cpu/msr.h"
#include "mem/mem.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

/* What VM entries and VM exits leave as it is in CR0. */
#define CR0_KEPT (CR0_ET | BITS(15, 6) | BIT(17) | BITS(28, 19) | CR0_NW | CR0_CD)

static void load_control_registers(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	const struct vmcs *v = &vmx->vmcs;
	bool ia32e = vmx_on_entry(vmx, IA32E_MODE_GUEST);

	cpu->cr0 = (cpu->cr0 & CR0_KEPT) | (vmcs_get(v, GUEST_CR0) & BITS(31, 0) & ~CR0_KEPT);
	cpu->cr3 = vmcs_get(v, GUEST_CR3);
	cpu->cr4 = vmcs_get(v, GUEST_CR4);
	if (vmx_on_entry(vmx, LOAD_DEBUG_CONTROLS)) {
		cpu->dr7 = (vmcs_get(v, GUEST_DR7) & BITS(31, 0) & ~(BIT(12) | BITS(15, 14))) | DR7_1;
		cpu->debugctl = cpu_debugctl_kept(vmcs_get(v, GUEST_DEBUGCTL));
	}
	cpu->sysenter_cs = vmcs_get(v, GUEST_SYSENTER_CS);
	cpu->sysenter_esp = vmcs_get(v, GUEST_SYSENTER_ESP);
	cpu->sysenter_eip = vmcs_get(v, GUEST_SYSENTER_EIP);
	if (vmx_on_entry(vmx, LOAD_PERF_GLOBAL_CTRL))
		vmx_load_perf_global_ctrl(cpu, vmcs_get(v, GUEST_PERF_GLOBAL_CTRL));
	if (vmx_on_entry(vmx, LOAD_PAT))
		cpu->pat = vmcs_get(v, GUEST_PAT);
	if (vmx_on_entry(vmx, LOAD_EFER)) {
		cpu->efer = vmcs_get(v, GUEST_EFER);
	} else {
		uint64_t mode = cpu->cr0 & CR0_PG ? EFER_LMA | EFER_LME : EFER_LMA;

		cpu->efer = (cpu->efer & ~mode) | (ia32e ? mode : 0);
	}
}

static void load_segments(struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

#define ROW(S)                                                                        \
	cpu->seg[S] = (struct segment){                                               \
		.selector = (uint16_t)vmcs_get(v, GUEST_##S##_SELECTOR),              \
		.base = vmcs_get(v, GUEST_##S##_BASE),                                \
		.limit = (uint32_t)vmcs_get(v, GUEST_##S##_LIMIT),                    \
		.ar = (uint32_t)vmcs_get(v, GUEST_##S##_AR) & (0xf0ff | AR_UNUSABLE), \
	};
	ROW(ES)
	ROW(CS) ROW(SS) ROW(DS) ROW(FS) ROW(GS) ROW(LDTR) ROW(TR)
#undef ROW
		if (cpu->seg[SS].ar & AR_UNUSABLE)
	{
		cpu->seg[SS].ar |= AR_DB;
		cpu->seg[SS].base &= BITS(31, 4);
	}
	if (cpu->seg[DS].ar & AR_UNUSABLE)
		cpu->seg[DS].base &= BITS(31, 0);
	if (cpu->seg[ES].ar & AR_UNUSABLE)
		cpu->seg[ES].base &= BITS(31, 0);
	cpu->cpl = (uint8_t)bits_get(cpu->seg[SS].ar, 6, 5);
	cpu->gdtr = (struct table_register){vmcs_get(v, GUEST_GDTR_BASE), (uint16_t)vmcs_get(v, GUEST_GDTR_LIMIT)};
	cpu->idtr = (struct table_register){vmcs_get(v, GUEST_IDTR_BASE), (uint16_t)vmcs_get(v, GUEST_IDTR_LIMIT)};
}

uint32_t vmx_ept_controls(const struct vmx *vmx)
{
	return (vmx_proc2(vmx, MODE_BASED_EXECUTE) ? EPT_MODE_BASED_EXECUTE : 0) |
	       (vmx_proc2(vmx, ENABLE_PML) ? EPT_PML : 0) |
	       (vmx_proc2(vmx, EPT_VIOLATION_VE) ? EPT_VIOLATION_VE : 0) |
	       (vmx_proc2(vmx, SUBPAGE_WRITE_PERMISSIONS) ? EPT_SUBPAGE : 0) |
	       (vmx_proc3(vmx, ENABLE_HLAT) ? EPT_HLAT : 0) |
	       (vmx_proc3(vmx, EPT_PAGING_WRITE_CONTROL) ? EPT_PAGING_WRITE : 0) |
	       (vmx_proc3(vmx, GUEST_PAGING_VERIFICATION) ? EPT_VERIFY_PAGING : 0) |
	       (vmx_may(vmx->caps, EPT_VPID_CAP, EXECUTE_ONLY) ? EPT_EXECUTE_ONLY : 0) |
	       (vmx_may(vmx->caps, EPT_VPID_CAP, PAGES_2M) ? EPT_PAGES_2M : 0) |
	       (vmx_may(vmx->caps, EPT_VPID_CAP, PAGES_1G) ? EPT_PAGES_1G : 0) |
	       (vmx_may(vmx->caps, EPT_VPID_CAP, ADVANCED_EXIT_INFO) ? EPT_ADVANCED_INFO : 0);
}

static uint32_t vapic_controls(const struct vmx *vmx)
{
	return (vmx_proc2(vmx, VIRTUALIZE_APIC_ACCESSES) ? VAPIC_ACCESSES : 0) |
	       (vmx_proc(vmx, USE_TPR_SHADOW) ? VAPIC_TPR_SHADOW : 0) |
	       (vmx_proc2(vmx, APIC_REGISTER_VIRTUALIZATION) ? VAPIC_REGISTERS : 0) |
	       (vmx_proc2(vmx, VIRTUAL_INTERRUPT_DELIVERY) ? VAPIC_INTERRUPTS : 0) |
	       (vmx_proc3(vmx, IPI_VIRTUALIZATION) ? VAPIC_IPIS : 0);
}

static void load_translation(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	const struct vmcs *v = &vmx->vmcs;
	bool pae = (cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !cpu_long_mode(cpu);

	cpu->eptp = vmx_proc2(vmx, ENABLE_EPT) ? vmcs_get(v, EPTP) : 0;
	cpu->vpid = vmx_proc2(vmx, ENABLE_VPID) ? (uint16_t)vmcs_get(v, VPID) : 0;
	cpu->ept_controls = vmx_ept_controls(vmx);
	cpu->spptp = vmx_proc2(vmx, SUBPAGE_WRITE_PERMISSIONS) ? vmcs_get(v, SPPTP) : 0;
	cpu->hlatp = vmx_proc3(vmx, ENABLE_HLAT) ? vmcs_get(v, HLATP) : 0;
	cpu->hlat_prefix_size = vmx_proc3(vmx, ENABLE_HLAT) ? (uint16_t)vmcs_get(v, HLAT_PREFIX_SIZE) : 0;
	cpu->pml_address = vmx_proc2(vmx, ENABLE_PML) ? vmcs_get(v, PML_ADDRESS) : 0;
	cpu->pml_index = vmx_proc2(vmx, ENABLE_PML) ? (uint16_t)vmcs_get(v, PML_INDEX) : 0;
	cpu->vapic_controls = vapic_controls(vmx);
	cpu->apic_access_page = vmcs_get(v, APIC_ACCESS_ADDRESS);
	cpu->virtual_apic_page = vmcs_get(v, VIRTUAL_APIC_ADDRESS);
	if (!cpu->vpid)
		mem_flush_vpid(cpu, 0, false);
	if (pae && cpu->eptp) {
		cpu->pdpte[0] = vmcs_get(v, GUEST_PDPTE0);
		cpu->pdpte[1] = vmcs_get(v, GUEST_PDPTE1);
		cpu->pdpte[2] = vmcs_get(v, GUEST_PDPTE2);
		cpu->pdpte[3] = vmcs_get(v, GUEST_PDPTE3);
	} else if (pae && mem_read_pdptes(cpu, cpu->cr3, cpu->pdpte)) {
		memset(cpu->pdpte, 0,
		       sizeof(cpu->pdpte)); /* another vCPU wrote them after the check: nothing is present */
	}
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
}

/* An injected INT n, INT3 or INTO finds the debug exceptions that MOV SS held back, as the instruction would have,
 * but for a single step; every other event takes their place. */
static bool keeps_pending_debug(const struct vmcs *v, bool vectored)
{
	unsigned type = bits_get(vmcs_get(v, VM_ENTRY_INTERRUPTION_INFO), 10, 8);

	return !vectored || ((vmcs_get(v, GUEST_INTERRUPTIBILITY) & SHADOW_MOV_SS) &&
			     (type == INTERRUPTION_SOFTWARE || type == INTERRUPTION_SOFTWARE_EXCEPTION));
}

/* SDM vol. 3, "Interruptibility State", "Activity State", "Delivery of Pending Debug Exceptions after VM Entry". */
static void load_nonregister(struct cpu *cpu, bool vectored)
{
	static const enum activity activity[] = {ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI};
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint64_t pending = vmcs_get(v, GUEST_PENDING_DEBUG);
	uint64_t blocking = vmcs_get(v, GUEST_INTERRUPTIBILITY) & (SHADOW_STI | SHADOW_MOV_SS);

	cpu->activity = vectored ? ACTIVITY_ACTIVE : activity[vmcs_get(v, GUEST_ACTIVITY_STATE) & 3];
	/* Armed for the guest's first instruction: the boundary before it moves the nibbles. */
	cpu->shadow = vectored ? 0 : (uint8_t)(blocking << SHADOW_NEXT);
	if (!vectored && (cpu->rflags & RFLAGS_RF))
		cpu->shadow |= SHADOW_RF << SHADOW_NEXT;
	cpu->pending_debug = 0;
	if (keeps_pending_debug(v, vectored) && (pending & (DR6_BS | BIT(12))) &&
	    (cpu->activity == ACTIVITY_ACTIVE || cpu->activity == ACTIVITY_HLT))
		cpu->pending_debug = pending & ((vectored ? 0 : DR6_BS) | BITS(3, 0));
}

void vmx_load_guest(struct cpu *cpu, bool vectored)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	load_control_registers(cpu);
	load_segments(cpu);
	cpu->r[RSP] = vmcs_get(v, GUEST_RSP);
	cpu->rip = vmcs_get(v, GUEST_RIP);
	cpu_set_rflags(cpu, vmcs_get(v, GUEST_RFLAGS));
	load_nonregister(cpu, vectored);
	load_translation(cpu);
}

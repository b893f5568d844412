/* VM exit loads the host: SDM vol. 3, "Loading Host State". */
#include "cpu/msr.h"
#include "mem/mem.h"
#include "mem/mem.h"
#include "vmx/vmx.h"

/* What a VM exit leaves as it is in CR0; NE, PE and PG are 1 in both. */
#define CR0_KEPT     (CR0_ET | (BITS(15, 6)) | BIT(17) | BITS(28, 19) | CR0_NW | CR0_CD)
#define AR_HOST_CODE (AR_CODE | AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_G)
#define AR_HOST_DATA (AR_WRITABLE | AR_ACCESSED | AR_S | AR_P | AR_DB | AR_G)
#define AR_HOST_TSS  (11 | AR_P)

static void load_control_registers(struct cpu *cpu, bool wide)
{
	const struct vmx *vmx = cpu->vmx;
	const struct vmcs *v = &vmx->vmcs;

	cpu->cr0 = (cpu->cr0 & CR0_KEPT) | (vmcs_get(v, HOST_CR0) & BITS(31, 0) & ~CR0_KEPT);
	cpu->cr3 = vmcs_get(v, HOST_CR3);
	cpu->cr4 = vmcs_get(v, HOST_CR4);
	if (wide)
		cpu->cr4 |= CR4_PAE;
	else
		cpu->cr4 &= ~CR4_PCIDE;
	cpu->dr7 = DR7_1;
	cpu->debugctl = 0;
	cpu->sysenter_cs = vmcs_get(v, HOST_SYSENTER_CS);
	cpu->sysenter_esp = vmcs_get(v, HOST_SYSENTER_ESP);
	cpu->sysenter_eip = vmcs_get(v, HOST_SYSENTER_EIP);
	if (vmx_on_exit(vmx, LOAD_PERF_GLOBAL_CTRL))
		vmx_load_perf_global_ctrl(cpu, vmcs_get(v, HOST_PERF_GLOBAL_CTRL));
	if (vmx_on_exit(vmx, LOAD_PAT))
		cpu->pat = vmcs_get(v, HOST_PAT);
	if (vmx_on_exit(vmx, LOAD_EFER))
		cpu->efer = vmcs_get(v, HOST_EFER);
	cpu->efer = (cpu->efer & ~(EFER_LMA | EFER_LME)) | (wide ? EFER_LMA | EFER_LME : 0);
}

/* A null selector makes the segment unusable. */
static struct segment data_segment(uint64_t selector, uint64_t base)
{
	uint32_t ar = selector ? AR_HOST_DATA : AR_UNUSABLE | AR_DB;

	return (struct segment){.selector = (uint16_t)selector, .base = base, .limit = UINT32_MAX, .ar = ar};
}

static void load_segments(struct cpu *cpu, bool wide)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	cpu->seg[CS] = (struct segment){
		.selector = (uint16_t)vmcs_get(v, HOST_CS_SELECTOR),
		.limit = UINT32_MAX,
		.ar = AR_HOST_CODE | (uint32_t)(wide ? AR_L : AR_DB),
	};
	cpu->seg[SS] = data_segment(vmcs_get(v, HOST_SS_SELECTOR), 0);
	cpu->seg[DS] = data_segment(vmcs_get(v, HOST_DS_SELECTOR), 0);
	cpu->seg[ES] = data_segment(vmcs_get(v, HOST_ES_SELECTOR), 0);
	cpu->seg[FS] = data_segment(vmcs_get(v, HOST_FS_SELECTOR), vmcs_get(v, HOST_FS_BASE));
	cpu->seg[GS] = data_segment(vmcs_get(v, HOST_GS_SELECTOR), vmcs_get(v, HOST_GS_BASE));
	cpu->seg[TR] = (struct segment){
		.selector = (uint16_t)vmcs_get(v, HOST_TR_SELECTOR),
		.base = vmcs_get(v, HOST_TR_BASE),
		.limit = 0x67,
		.ar = AR_HOST_TSS,
	};
	cpu->seg[LDTR] = (struct segment){.ar = AR_UNUSABLE};
	cpu->gdtr = (struct table_register){vmcs_get(v, HOST_GDTR_BASE), 0xffff};
	cpu->idtr = (struct table_register){vmcs_get(v, HOST_IDTR_BASE), 0xffff};
	cpu->cpl = 0;
}

bool vmx_load_host(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	bool wide = vmx_on_exit(vmx, HOST_ADDRESS_SPACE_SIZE);

	load_control_registers(cpu, wide);
	load_segments(cpu, wide);
	cpu->r[RSP] = vmcs_get(&vmx->vmcs, HOST_RSP);
	cpu->rip = vmcs_get(&vmx->vmcs, HOST_RIP);
	cpu_set_rflags(cpu, RFLAGS_1);
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->shadow = 0;
	cpu->pending_debug = 0;
	cpu->monitor_armed = false;
	cpu->nonroot = false;
	cpu->eptp = 0;
	cpu->vpid = 0;
	cpu->vapic_controls = 0;
	cpu->vapic_write = 0;
	cpu_set_pin(cpu, PIN_VIRTUAL, false);
	if (!vmx_proc2(vmx, ENABLE_VPID))
		mem_flush_vpid(cpu, 0, false);
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
	if (cpu->pins)
		cpu_attend(cpu, ATTEND_PINS);
	return wide || !(cpu->cr4 & CR4_PAE) || !mem_read_pdptes(cpu, cpu->cr3, cpu->pdpte);
}

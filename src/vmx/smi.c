/*
 * SMIs and RSM in VMX operation: SDM vol. 3, "Default Treatment of SMIs and SMM with VMX Operation and SMX Operation".
 * What any SMI saves and sets is smm/'s.
 *
 * In SMM the logical processor is not in VMX operation, so nobody touches the current VMCS, virtual-NMI blocking and a
 * pending MTF VM exit: they wait in struct vmx. So do the VMX-preemption timer, which is a point in time, and
 * a virtual interrupt that is recognized: PIN_VIRTUAL means nothing outside non-root operation. Blocking by STI and MOV
 * SS is not among what is saved, because SMIs wait until it has ended (exec/event.c).
 */
#include "mem/mem.h"
#include "vmx/vmx.h"

void vmx_smi(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;

	vmx->smi = (struct vmx_smi){
		.vmxe = cpu->cr4 & CR4_VMXE,
		.on = vmx->on,
		.nonroot = cpu->nonroot,
		.v86 = cpu_v86(cpu),
		.cpl = cpu->cpl,
		.vpid = cpu->vpid,
		.eptp = cpu->eptp,
		.vapic_controls = cpu->vapic_controls,
	};
	memcpy(vmx->smi.pdpte, cpu->pdpte, sizeof(cpu->pdpte));
	vmx->on = false;
	vmx->mtf_armed = false; /* the step is over, and the exit pending */
	cpu->nonroot = false;
	cpu->eptp = 0;
	cpu->vpid = 0;
	cpu->vapic_controls = 0;
	cpu->cr4 &= ~CR4_VMXE;
	mem_block_a20m(cpu, false);
	mem_flush_vpid(cpu, 0, false);
}

/* CR0.PE and CR0.PG are not fixed for an unrestricted guest. */
static void fix_control_registers(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	uint64_t free = cpu->nonroot && vmx_proc2(vmx, UNRESTRICTED_GUEST) ? CR0_PE | CR0_PG : 0;

	cpu->cr0 = (cpu->cr0 | (vmx->caps->cr0_fixed0 & ~free)) & vmx->caps->cr0_fixed1;
	cpu->cr4 = (cpu->cr4 | vmx->caps->cr4_fixed0) & vmx->caps->cr4_fixed1;
}

/* The VMX-critical state that the save area cannot change. */
static void restore_privilege(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	uint16_t cpl = vmx->smi.cpl;

	cpu->cpl = vmx->smi.cpl;
	cpu->seg[SS].ar = (uint32_t)bits_set(cpu->seg[SS].ar, 6, 5, cpl);
	cpu->rflags = vmx->smi.v86 ? cpu->rflags | RFLAGS_VM : cpu->rflags & ~RFLAGS_VM;
	if (vmx->smi.v86 || (cpu->nonroot && vmx_proc2(vmx, UNRESTRICTED_GUEST)))
		return;
	cpu->seg[CS].selector = (uint16_t)((cpu->seg[CS].selector & ~3u) | cpl);
	cpu->seg[SS].selector = (uint16_t)((cpu->seg[SS].selector & ~3u) | cpl);
}

void vmx_rsm(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	struct vmx_smi saved = vmx->smi;

	mem_flush_all(cpu);
	if (saved.vmxe)
		cpu->cr4 |= CR4_VMXE;
	if (saved.on) {
		vmx->on = true;
		cpu->nonroot = saved.nonroot;
		cpu->eptp = saved.eptp;
		cpu->vpid = saved.vpid;
		cpu->vapic_controls = saved.vapic_controls;
		if (saved.eptp)
			memcpy(cpu->pdpte, saved.pdpte, sizeof(cpu->pdpte));
		fix_control_registers(cpu);
		restore_privilege(cpu);
		if (cpu->nonroot && vmx_pin(vmx, VIRTUAL_NMIS))
			cpu->nmi_blocked = false;
		mem_block_a20m(cpu, true);
	}
	vmx->smi = (struct vmx_smi){0};
}

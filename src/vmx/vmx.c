/*
 * VT-x of one vCPU as a whole: made, reset, saved. SDM vol. 3, "Introduction to Virtual Machine Extensions".
 */
#include "vmx/vmx.h"
#include <stdlib.h>

#define NO_VMCS (~UINT64_C(0))

void vmx_create(struct cpu *cpu, const struct vmx_capability *caps)
{
	cpu->vmx = xcalloc(1, sizeof(*cpu->vmx));
	cpu->vmx->caps = caps;
	vmx_timer_create(cpu);
	vmx_reset(cpu);
}

void vmx_destroy(struct cpu *cpu)
{
	vmx_timer_stop(cpu);
	free(cpu->vmx);
	cpu->vmx = NULL;
}

void vmx_reset(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;

	vmx_timer_stop(cpu);
	*vmx = (struct vmx){.caps = vmx->caps,
			    .current = NO_VMCS,
			    .transfer = NO_VMCS,
			    .timer = vmx->timer,
			    .timer_end = VTIME_NEVER};
	cpu->nonroot = false;
	cpu->eptp = 0;
	cpu->vpid = 0;
	cpu->vapic_controls = 0;
	cpu->vapic_write = 0;
}

static void vmcs_state(struct vmx *vmx, struct state *state)
{
	struct vmcs *v = &vmx->vmcs;

	state_bytes(state, v->field, sizeof(v->field));
	state_bytes(state, v->writer, sizeof(v->writer));
	state_bool(state, &v->launched);
	state_bool(state, &v->shadow);
	if (!state_restoring(state))
		return;
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		v->field[i] = vmx_has_field(vmx->caps, (enum vmcs_field)i)
				      ? v->field[i] & vmcs_field_mask((enum vmcs_field)i)
				      : 0;
	v->written = IN_ALL;
}

static void smi_state(struct vmx_smi *smi, struct state *state)
{
	state_bool(state, &smi->vmxe);
	state_bool(state, &smi->on);
	state_bool(state, &smi->nonroot);
	state_bool(state, &smi->v86);
	state_var(state, smi->cpl);
	state_var(state, smi->vpid);
	state_var(state, smi->eptp);
	state_var(state, smi->vapic_controls);
	state_var(state, smi->pdpte);
	if (state_restoring(state) && smi->cpl > 3)
		state_refuse(state, "a privilege level is out of range");
}

static void dual_monitor_state(struct vmx *vmx, struct state *state)
{
	state_bool(state, &vmx->dual_monitor);
	state_bool(state, &vmx->smi_blocked);
	state_var(state, vmx->transfer);
	state_var(state, vmx->smm_monitor_ctl);
	state_bool(state, &vmx->io_smi.valid);
	state_var(state, vmx->io_smi.qualification);
	state_var(state, vmx->io_smi.linear);
	state_var(state, vmx->io_smi.rcx);
	state_var(state, vmx->io_smi.rsi);
	state_var(state, vmx->io_smi.rdi);
	state_var(state, vmx->io_smi.rip);
	if (state_restoring(state) && vmx->dual_monitor && !vmx->on)
		state_refuse(state, "two SMM monitors outside VMX operation");
}

/* Between instructions: no VM exit and no event delivery is under way. */
void vmx_state(struct cpu *cpu, struct state *state)
{
	struct vmx *vmx = cpu->vmx;

	state_section(state, "vmx");
	state_bool(state, &vmx->on);
	state_var(state, vmx->vmxon_pointer);
	state_var(state, vmx->current);
	state_bool(state, &vmx->virtual_nmi_blocked);
	state_bool(state, &vmx->mtf_armed);
	state_bool(state, &vmx->mtf_pending);
	state_var(state, vmx->debug_held);
	state_bool(state, &vmx->aborted);
	state_var(state, vmx->timer_end);
	clock_deadline_state(cpu->clock, &vmx->timer, state);
	state_bool(state, &vmx->pause_loop.began);
	state_var(state, vmx->pause_loop.first);
	state_var(state, vmx->pause_loop.last);
	state_bool(state, &cpu->nonroot);
	state_var(state, cpu->eptp);
	state_var(state, cpu->vpid);
	state_var(state, cpu->ept_controls);
	state_var(state, cpu->spptp);
	state_var(state, cpu->hlatp);
	state_var(state, cpu->hlat_prefix_size);
	state_var(state, cpu->pml_address);
	state_var(state, cpu->pml_index);
	state_var(state, cpu->vapic_controls);
	state_var(state, cpu->apic_access_page);
	state_var(state, cpu->virtual_apic_page);
	state_var(state, cpu->vapic_write);
	state_var(state, cpu->vapic_write_size);
	smi_state(&vmx->smi, state);
	dual_monitor_state(vmx, state);
	vmcs_state(vmx, state);
	if (state_restoring(state) && ((cpu->nonroot && !vmx->on) || (vmx->smi.nonroot && !vmx->smi.on) ||
				       ((cpu->nonroot || vmx->smi.nonroot) && !vmx_has_current(vmx))))
		state_refuse(state, "a guest without a VMCS");
}

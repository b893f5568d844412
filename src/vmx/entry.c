/*
 * VM entry: checks, loading the guest, and what becomes of it when something is wrong. SDM vol. 3, "VM Entries".
 *
 * Rules are run again only where a field that they read has changed since they held, or where they look at more than
 * the VMCS; in SMM always. What entries that return from SMM do beyond this is in dual_monitor.c.
 */
#include "bus/bus.h"
#include "cpu/msr.h"
#include "mem/mem.h"
#include "vmx/interruption.h"
#include "vmx/virtual_apic.h"
#include "vmx/report.h"

/* Which of enum vmcs_checks a section's rules are. */
static const uint16_t section_checks[VMX_SECTION_COUNT] = {
	[VMX_SECTION_EXECUTION] = IN_EXECUTION,
	[VMX_SECTION_EXIT_CONTROLS] = IN_EXIT,
	[VMX_SECTION_ENTRY_CONTROLS] = IN_ENTRY,
	[VMX_SECTION_HOST_REGISTERS] = IN_HOST,
	[VMX_SECTION_HOST_SEGMENTS] = IN_HOST,
	[VMX_SECTION_ADDRESS_SPACE] = IN_HOST,
	[VMX_SECTION_GUEST_REGISTERS] = IN_REGISTERS,
	[VMX_SECTION_GUEST_SEGMENTS] = IN_SEGMENTS,
	[VMX_SECTION_GUEST_TABLES] = IN_TABLES,
	[VMX_SECTION_GUEST_RIP] = IN_RIP,
	[VMX_SECTION_GUEST_NONREGISTER] = IN_NONREGISTER,
	[VMX_SECTION_GUEST_PDPTES] = IN_PDPTE,
};

static const uint16_t group_checks[] = {
	[VMX_GROUP_CONTROL] = IN_EXECUTION | IN_EXIT | IN_ENTRY,
	[VMX_GROUP_HOST] = IN_HOST,
	[VMX_GROUP_GUEST] = IN_REGISTERS | IN_SEGMENTS | IN_TABLES | IN_RIP | IN_NONREGISTER | IN_PDPTE,
};

static bool read_physical(void *ctx, pa_t at, void *to, unsigned bytes)
{
	struct cpu *cpu = ctx;
	struct bus_span span;

	for (unsigned i = 0; i < bytes; i++) {
		bus_lookup(cpu->bus, at + i, cpu->in_smm, &span);
		if (!span.host)
			return false;
		((uint8_t *)to)[i] = span.host[at + i - span.base];
	}
	return true;
}

/* Sections whose rules look at memory or at the processor too. */
static uint32_t volatile_checks(const struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	uint32_t checks = cpu_long_mode(cpu) != vmx->host_lma ? IN_HOST : 0;

	if (cpu->in_smm)
		return IN_ALL;
	if (vmx_proc(vmx, USE_TPR_SHADOW))
		checks |= IN_EXECUTION;
	if (vmcs_get(&vmx->vmcs, VMCS_LINK_POINTER) != ~UINT64_C(0))
		checks |= IN_NONREGISTER;
	if (!vmx_on_entry(vmx, IA32E_MODE_GUEST) && !vmx_proc2(vmx, ENABLE_EPT))
		checks |= IN_PDPTE;
	return checks;
}

void vmx_entry_input(struct cpu *cpu, struct vmx_check_cpu *about, struct vmx_check_input *input)
{
	struct vmx *vmx = cpu->vmx;

	*about = (struct vmx_check_cpu){
		.lma = cpu_long_mode(cpu),
		.current = vmx->current,
		.vmxon = vmx->vmxon_pointer,
		.smm = cpu->in_smm,
		.read = read_physical,
		.ctx = cpu,
	};
	if (vmx_returns_from_smm(cpu) && vmx_read_executive(cpu)) {
		about->executive = &vmx->executive;
		about->executive_launched = vmx->executive.launched;
	}
	*input = (struct vmx_check_input){.vmcs = &vmx->vmcs, .caps = vmx->caps, .cpu = about};
}

/* The first broken rule of a group, or VMX_CHECK_OK. */
static enum vmx_check run_group(struct cpu *cpu, enum vmx_check_group group)
{
	struct vmx *vmx = cpu->vmx;
	struct vmx_check_cpu about;
	struct vmx_check_input input;
	uint32_t stale = vmx->vmcs.written | volatile_checks(cpu), held = 0;

	if (!(stale & group_checks[group]))
		return VMX_CHECK_OK;
	vmx_entry_input(cpu, &about, &input);
	for (unsigned section = 0; section < VMX_SECTION_COUNT; section++) {
		struct vmx_check_result result;

		if (vmx_check_section_info[section].group != group)
			continue;
		if (!(stale & section_checks[section]) && !(cpu->in_smm && section == VMX_SECTION_EXECUTIVE))
			continue;
		result = (struct vmx_check_result){0};
		vmx_check_section(&input, (enum vmx_check_section)section, &result);
		if (result.first != VMX_CHECK_OK)
			return result.first;
		held |= section_checks[section];
	}
	if (!cpu->in_smm) /* where rules look at other controls */
		vmx->vmcs.written &= ~held;
	if (group == VMX_GROUP_HOST)
		vmx->host_lma = about.lma;
	return VMX_CHECK_OK;
}

/* SDM vol. 3, "VM-Entry Failures During or After Loading Guest State": nothing else of the VM-exit information changes.
 */
static enum vmx_entry fail_late(struct cpu *cpu, uint32_t reason, uint64_t qualification)
{
	struct vmx *vmx = cpu->vmx;

	vmcs_set(&vmx->vmcs, EXIT_REASON, reason | BIT(31));
	vmcs_set(&vmx->vmcs, EXIT_QUALIFICATION, qualification);
	return vmx_leave(cpu) ? VMX_ENTRY_EXIT : VMX_ENTRY_ABORT;
}

/* Can anything come before the guest's first instruction, or just after it? */
static bool may_come_first(const struct cpu *cpu)
{
	const uint64_t asking = PROCBASED_CTLS_INTERRUPT_WINDOW_EXITING | PROCBASED_CTLS_NMI_WINDOW_EXITING |
				PROCBASED_CTLS_MONITOR_TRAP_FLAG;

	return cpu->pins || cpu->shadow || cpu->pending_debug || cpu->activity != ACTIVITY_ACTIVE ||
	       (cpu->rflags & (RFLAGS_TF | RFLAGS_VIP)) || (cpu->dr7 & 0xff) || cpu->vmx->mtf_pending ||
	       cpu->vmx->timer_end != VTIME_NEVER || (vmcs_get(&cpu->vmx->vmcs, VM_PROCBASED_CTLS) & asking);
}

static void attend(struct cpu *cpu)
{
	cpu_attend(cpu, ATTEND_PINS);
	cpu_attend(cpu, ATTEND_SHADOW);
	cpu_attend(cpu, ATTEND_TRAP);
}

/*
 * SDM vol. 3, "Interruptibility State". An injected NMI blocks others as a delivered one does, where IRET will end
 * that: as a virtual NMI, or without "NMI exiting". With "NMI exiting" alone IRET ends nothing, and the field alone
 * decides; KVM relies on that where it has no virtual NMIs. NMI blocking is not touched by an entry that fails.
 */
static void load_blocking(struct cpu *cpu, uint32_t info)
{
	struct vmx *vmx = cpu->vmx;
	bool blocked = vmcs_get(&vmx->vmcs, GUEST_INTERRUPTIBILITY) & BIT(3);
	bool nmi = (info & INTERRUPTION_VALID) && bits_get(info, 10, 8) == INTERRUPTION_NMI;

	vmx->virtual_nmi_blocked = vmx_pin(vmx, VIRTUAL_NMIS) && (blocked || nmi);
	cpu->nmi_blocked = !vmx_pin(vmx, VIRTUAL_NMIS) && (blocked || (nmi && !vmx_pin(vmx, NMI_EXITING)));
}

/* SDM vol. 3, "VM Entries That Return from SMM": a rule of VM-execution controls is broken by the executive VMCS. */
static enum vmx_error error_of(const struct cpu *cpu, enum vmx_check broken)
{
	if (vmx_returns_from_smm(cpu) && vmx_check_info[broken].section == VMX_SECTION_EXECUTION)
		return VMX_ERROR_EXECUTIVE_CONTROL_FIELDS;
	return (enum vmx_error)vmx_check_info[broken].error;
}

static void tell_failure(struct cpu *cpu, bool launch, enum vmx_error error, enum vmx_check rule, uint32_t msr_entry)
{
	const struct vmx_failed_entry what = {.launch = launch, .error = error, .rule = rule, .msr_entry = msr_entry};

	if (cpu->reporter)
		cpu->reporter->entry_failed(cpu->reporter->ctx, cpu, &what);
}

enum vmx_entry vmx_enter(struct cpu *cpu, bool launch, enum vmx_error *error, struct vmx_injection *inject)
{
	struct vmx *vmx = cpu->vmx;
	uint32_t info, failed;
	enum vmx_check broken;
	bool vectored, returns = vmx_returns_from_smm(cpu), to_root = vmx_returns_to_root(cpu);

	if ((broken = run_group(cpu, VMX_GROUP_CONTROL)) || (broken = run_group(cpu, VMX_GROUP_HOST))) {
		*error = error_of(cpu, broken);
		tell_failure(cpu, launch, *error, broken, 0);
		return VMX_ENTRY_FAIL;
	}
	cpu->monitor_armed = false;
	if ((broken = run_group(cpu, VMX_GROUP_GUEST))) {
		tell_failure(cpu, launch, VMX_OK, broken, 0);
		return fail_late(cpu, vmx_check_info[broken].exit_reason, vmx_check_info[broken].qualification);
	}

	info = (uint32_t)vmcs_get(&vmx->vmcs, VM_ENTRY_INTERRUPTION_INFO);
	vectored = (info & INTERRUPTION_VALID) && bits_get(info, 10, 8) != INTERRUPTION_OTHER;
	if (returns)
		vmx_begin_smm_return(cpu);
	vmx_load_guest(cpu, vectored);
	failed = vmx_msr_list_load(cpu, vmcs_get(&vmx->vmcs, VM_ENTRY_MSR_LOAD_ADDRESS),
				   (uint32_t)vmcs_get(&vmx->vmcs, VM_ENTRY_MSR_LOAD_COUNT));
	if (failed) {
		if (returns)
			vmx_abandon_smm_return(cpu);
		tell_failure(cpu, launch, VMX_OK, VMX_CHECK_OK, failed);
		return fail_late(cpu, VMX_EXIT_MSR_LOADING, failed);
	}

	cpu->nonroot = !to_root;
	load_blocking(cpu, info);
	vmx->mtf_pending = (info & INTERRUPTION_VALID) && !vectored;
	vmx->mtf_armed = false;
	vmx->debug_held = 0;
	vmx->pause_loop = (struct vmx_pause_loop){0};
	vmx_timer_start(cpu);
	if (to_root || may_come_first(cpu))
		attend(cpu);
	if (launch)
		vmx->vmcs.launched = true;
	vmx->entered++;
	if (vmx_reports_transitions(cpu))
		cpu->reporter->entered(cpu->reporter->ctx, cpu, launch);
	*inject = (struct vmx_injection){
		.valid = vectored,
		.info = info,
		.error = (uint32_t)vmcs_get(&vmx->vmcs, VM_ENTRY_ERROR_CODE),
		.length = (uint32_t)vmcs_get(&vmx->vmcs, VM_ENTRY_INSTRUCTION_LENGTH),
	};
	if (returns)
		vmx_finish_smm_return(cpu);
	if (cpu->nonroot)
		vmx_vapic_enter(cpu);
	return VMX_ENTRY_DONE;
}

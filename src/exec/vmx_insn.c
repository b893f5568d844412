/*
 * VMX instructions: VMXON VMXOFF VMPTRLD VMPTRST VMCLEAR VMREAD VMWRITE VMLAUNCH VMRESUME VMCALL VMFUNC INVEPT INVVPID.
 * SDM vol. 3, "VMX Instruction Reference".
 *
 * Here are operands, modes, privilege and the order of checks; what pointers and VMCSs are is vmx/'s. A model without
 * VMX has none of them. Not modelled: SMX.
 */
#include "cpu/msr.h"
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"
#include "exec/run.h"
#include "vmx/intercept.h"
#include "vmx/report.h"

#define FEATURE_CONTROL_LOCK	    BIT(0)
#define FEATURE_CONTROL_OUTSIDE_SMX BIT(2)

/* Protected mode, and not compatibility mode. */
static bool mode_ok(const struct cpu *cpu)
{
	return cpu_protected(cpu) && !cpu_v86(cpu) && (!cpu_long_mode(cpu) || cpu_64bit(cpu));
}

static bool in_vmx(const struct cpu *cpu)
{
	return cpu->vmx && cpu->vmx->on;
}

/* The last displacement or address, as exit qualifications have it; RIP-relative: of what it points at. */
static uint64_t displacement(const struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = (uint64_t)(int64_t)insn->disp;

	if (insn->ea == EA_NONE)
		return 0;
	if (insn->base == R_BLOCK)
		value += cpu->r[R_BLOCK] + cpu->r[insn->index];
	return cpu_64bit(cpu) ? value : value & BITS(31, 0);
}

/* SDM vol. 3, "Information for VM Exits Due to Instruction Execution": the formats of this file's instructions have the
 * same layout, reg2 in some. */
static uint32_t instruction_info(const struct insn *insn, bool has_reg2)
{
	uint32_t info = has_reg2 ? (uint32_t)insn->reg << 28 : 0;

	if (insn->ea == EA_NONE)
		return info | BIT(10) | (uint32_t)insn->rm << 3;
	info |= (uint32_t)(insn->addr_size == 2 ? 0 : insn->addr_size == 4 ? 1 : 2) << 7 | (uint32_t)insn->seg << 15;
	info |= insn->index < R_ZERO ? (uint32_t)insn->index << 18 | insn->scale : (uint32_t)BIT(22);
	info |= insn->base < R_ZERO ? (uint32_t)insn->base << 23 : (uint32_t)BIT(27);
	return info;
}

static enum step exit_instruction(struct cpu *cpu, const struct insn *insn, uint32_t reason, uint64_t qualification,
				  uint32_t info)
{
	cpu->vmx->exit = (struct vmx_exit_record){
		.reason = reason,
		.qualification = qualification,
		.instruction_length = insn->len,
		.instruction_info = info,
	};
	return nonroot_exit(cpu);
}

/*
 * What all but VMXON and VMCALL check first. STEP_NEXT: in VMX root operation with CPL 0, so go on. A memory operand's
 * displacement is the exit qualification.
 */
static enum step begin(struct cpu *cpu, const struct insn *insn, uint32_t reason, bool has_reg2)
{
	if (!in_vmx(cpu) || !mode_ok(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->nonroot)
		return exit_instruction(cpu, insn, reason, displacement(cpu, insn),
					insn->form->has_modrm && insn->form->operands ? instruction_info(insn, has_reg2)
										      : 0);
	return cpu->cpl ? raise_gp0(cpu) : STEP_NEXT;
}

COLD static void tell(struct cpu *cpu, const struct insn *insn, bool invalid, enum vmx_error error, uint64_t operand)
{
	const struct vmx_instruction what = {
		.operation = insn->form->operation, .invalid = invalid, .error = error, .operand = operand};

	cpu->reporter->instruction(cpu->reporter->ctx, cpu, &what);
}

/* It is done, and worth a line of a trace. */
static void succeed(struct cpu *cpu, const struct insn *insn, uint64_t operand)
{
	vmx_succeed(cpu);
	if (vmx_reports_transitions(cpu))
		tell(cpu, insn, false, VMX_OK, operand);
}

static void fail_invalid(struct cpu *cpu, const struct insn *insn, uint64_t operand)
{
	if (cpu->reporter)
		tell(cpu, insn, true, VMX_OK, operand);
	vmx_fail_invalid(cpu);
}

/* VMfail: VMfailValid, or VMfailInvalid without a current VMCS. */
static void fail(struct cpu *cpu, const struct insn *insn, enum vmx_error error, uint64_t operand)
{
	if (cpu->reporter)
		tell(cpu, insn, !vmx_has_current(cpu->vmx), error, operand);
	vmx_fail(cpu, error);
}

static void finish(struct cpu *cpu, const struct insn *insn, enum vmx_error error, uint64_t operand)
{
	if (error == VMX_OK)
		succeed(cpu, insn, operand);
	else
		fail(cpu, insn, error, operand);
}

MUST_CHECK static bool read_pointer(struct cpu *cpu, const struct insn *insn, uint64_t *pointer)
{
	la_t la;

	return operand_linear(cpu, insn, 8, ACCESS_READ, &la) || mem_read_size(cpu, la, 8, pointer);
}

static enum step exec_vmxon(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = cpu->vmx;
	uint64_t pointer;

	if (!vmx || !(cpu->cr4 & CR4_VMXE) || !mode_ok(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->nonroot)
		return exit_instruction(cpu, insn, VMX_EXIT_VMXON, displacement(cpu, insn),
					instruction_info(insn, false));
	if (cpu->cpl)
		return raise_gp0(cpu);
	if (vmx->on) {
		fail(cpu, insn, VMX_ERROR_VMXON_IN_ROOT, 0);
		return STEP_NEXT;
	}
	if (cpu->a20m || (~cpu->cr0 & vmx->caps->cr0_fixed0) || (cpu->cr0 & ~vmx->caps->cr0_fixed1) ||
	    (~cpu->cr4 & vmx->caps->cr4_fixed0) || (cpu->cr4 & ~vmx->caps->cr4_fixed1) ||
	    !(cpu->feature_control & FEATURE_CONTROL_LOCK) || !(cpu->feature_control & FEATURE_CONTROL_OUTSIDE_SMX))
		return raise_gp0(cpu);
	if (read_pointer(cpu, insn, &pointer))
		return STEP_FAULT;
	if (vmx_start(cpu, pointer))
		succeed(cpu, insn, pointer);
	else
		fail_invalid(cpu, insn, pointer);
	return STEP_NEXT;
}

static enum step exec_vmxoff(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin(cpu, insn, VMX_EXIT_VMXOFF, false);

	if (step)
		return step;
	if (cpu->vmx->dual_monitor) {
		fail(cpu, insn, VMX_ERROR_VMXOFF_DUAL_MONITOR, 0);
		return STEP_NEXT;
	}
	vmx_stop(cpu);
	succeed(cpu, insn, 0);
	exec_recheck_events(cpu);
	return STEP_LEAVE;
}

static enum step exec_vmptrld(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin(cpu, insn, VMX_EXIT_VMPTRLD, false);
	uint64_t pointer;

	if (step)
		return step;
	if (read_pointer(cpu, insn, &pointer))
		return STEP_FAULT;
	finish(cpu, insn, vmx_load_pointer(cpu, pointer), pointer);
	return STEP_NEXT;
}

static enum step exec_vmptrst(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin(cpu, insn, VMX_EXIT_VMPTRST, false);
	la_t la;

	if (step)
		return step;
	if (operand_linear(cpu, insn, 8, ACCESS_WRITE, &la) || mem_write_size(cpu, la, 8, cpu->vmx->current))
		return STEP_FAULT;
	vmx_succeed(cpu);
	return STEP_NEXT;
}

static enum step exec_vmclear(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin(cpu, insn, VMX_EXIT_VMCLEAR, false);
	uint64_t pointer;

	if (step)
		return step;
	if (read_pointer(cpu, insn, &pointer))
		return STEP_FAULT;
	finish(cpu, insn, vmx_clear(cpu, pointer), pointer);
	return STEP_NEXT;
}

/*
 * VMREAD and VMWRITE: the checks before the operands. STEP_NEXT: *encoding names a field of the current VMCS, or, in
 * non-root operation, of the one at the link pointer. *none: there is no such VMCS.
 */
static enum step begin_field(struct cpu *cpu, const struct insn *insn, bool write, uint64_t *encoding, bool *none)
{
	struct vmx *vmx = cpu->vmx;

	if (!in_vmx(cpu) || !mode_ok(cpu))
		return raise_fault(cpu, VECTOR_UD);
	*encoding = reg_get(cpu, insn->reg, cpu_64bit(cpu) ? 8 : 4);
	if (cpu->nonroot && vmx_intercepts_field(cpu, *encoding, write))
		return exit_instruction(cpu, insn, write ? VMX_EXIT_VMWRITE : VMX_EXIT_VMREAD, displacement(cpu, insn),
					instruction_info(insn, true));
	if (cpu->cpl)
		return raise_gp0(cpu);
	*none = (cpu->nonroot ? vmcs_get(&vmx->vmcs, VMCS_LINK_POINTER) : vmx->current) == ~UINT64_C(0);
	if (*none)
		fail_invalid(cpu, insn, *encoding);
	return STEP_NEXT;
}

static void finish_field(struct cpu *cpu, const struct insn *insn, enum vmx_error error, uint64_t encoding)
{
	if (error == VMX_OK)
		vmx_succeed(cpu);
	else
		fail(cpu, insn, error, encoding);
}

static enum step exec_vmread(struct cpu *cpu, const struct insn *insn)
{
	bool wide = cpu_64bit(cpu), none = false;
	uint64_t encoding = 0, value;
	enum vmx_error error;
	enum step step;

	if ((step = begin_field(cpu, insn, false, &encoding, &none)) || none)
		return step;
	error = cpu->nonroot ? vmx_shadow_read(cpu, encoding, wide, &value)
				: vmcs_read(&cpu->vmx->vmcs, cpu->vmx->caps, encoding, wide, &value);
	if (error == VMX_OK && operand_write(cpu, insn, wide ? 8 : 4, value))
		return STEP_FAULT;
	finish_field(cpu, insn, error, encoding);
	return STEP_NEXT;
}

static enum step exec_vmwrite(struct cpu *cpu, const struct insn *insn)
{
	struct vmcs_writer writer = {.rip = cpu->insn_rip, .count = run_retired(cpu)};
	bool wide = cpu_64bit(cpu), none = false;
	uint64_t encoding = 0, value;
	enum vmx_error error;
	enum step step;

	if ((step = begin_field(cpu, insn, true, &encoding, &none)) || none)
		return step;
	if (operand_read(cpu, insn, wide ? 8 : 4, &value))
		return STEP_FAULT;
	error = cpu->nonroot ? vmx_shadow_write(cpu, encoding, wide, value)
				: vmcs_write(&cpu->vmx->vmcs, cpu->vmx->caps, encoding, wide, value, writer);
	finish_field(cpu, insn, error, encoding);
	return STEP_NEXT;
}

/* The guest's first event: SDM vol. 3, "Event Injection". */
static void inject(struct cpu *cpu, const struct vmx_injection *injection)
{
	struct event event = {
		.type = (enum event_type)bits_get(injection->info, 10, 8), /* the same numbers */
		.vector = (uint8_t)injection->info,
		.has_error = injection->info & INTERRUPTION_ERROR_CODE,
		.error = injection->error,
		.injected = true,
		.length = (uint8_t)injection->length,
	};

	exec_inject(cpu, &event, injection->length);
}

static enum step enter(struct cpu *cpu, const struct insn *insn, bool launch)
{
	struct vmx *vmx = cpu->vmx;
	struct vmx_injection injection;
	enum vmx_error error;
	enum step step = begin(cpu, insn, launch ? VMX_EXIT_VMLAUNCH : VMX_EXIT_VMRESUME, false);

	if (step)
		return step;
	if (!vmx_has_current(vmx) || vmx->vmcs.shadow) {
		fail_invalid(cpu, insn, 0);
		return STEP_NEXT;
	}
	if (cpu->shadow & SHADOW_MOV_SS)
		error = VMX_ERROR_BLOCKED_BY_MOV_SS;
	else if (launch && vmx->vmcs.launched)
		error = VMX_ERROR_VMLAUNCH_NOT_CLEAR;
	else if (!launch && !vmx->vmcs.launched)
		error = VMX_ERROR_VMRESUME_NOT_LAUNCHED;
	else
		switch (vmx_enter(cpu, launch, &error, &injection)) {
		case VMX_ENTRY_FAIL: vmx_fail(cpu, error); return STEP_NEXT; /* entry.c has told */
		case VMX_ENTRY_EXIT:
		case VMX_ENTRY_ABORT: return STEP_LEAVE;
		case VMX_ENTRY_DONE:
			if (injection.valid)
				inject(cpu, &injection);
			return STEP_LEAVE;
		}
	fail(cpu, insn, error, 0);
	return STEP_NEXT;
}

static enum step exec_vmlaunch(struct cpu *cpu, const struct insn *insn)
{
	return enter(cpu, insn, true);
}

static enum step exec_vmresume(struct cpu *cpu, const struct insn *insn)
{
	return enter(cpu, insn, false);
}

/* In non-root operation it exits in every mode and at every CPL. */
static enum step exec_vmcall(struct cpu *cpu, const struct insn *insn)
{
	enum vmx_error error;

	if (!in_vmx(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->nonroot)
		return exit_instruction(cpu, insn, VMX_EXIT_VMCALL, 0, 0);
	if (!mode_ok(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl)
		return raise_gp0(cpu);
	switch (vmx_call_monitor(cpu, &error)) {
	case VMX_VMCALL_EXIT: return exit_instruction(cpu, insn, VMX_EXIT_VMCALL, 0, 0);
	case VMX_VMCALL_FAIL: fail(cpu, insn, error, 0); break;
	case VMX_VMCALL_FAIL_INVALID: fail_invalid(cpu, insn, 0); break;
	}
	return STEP_NEXT;
}

MUST_CHECK static bool read_descriptor(struct cpu *cpu, const struct insn *insn, uint64_t descriptor[2])
{
	la_t la;

	return operand_linear(cpu, insn, 16, ACCESS_READ, &la) || mem_read_bytes(cpu, la, descriptor, 16, ACCESS_READ);
}

static enum step invalidated(struct cpu *cpu)
{
	vmx_succeed(cpu);
	return STEP_LEAVE;
}

static enum step bad_operand(struct cpu *cpu, const struct insn *insn, uint64_t type)
{
	fail(cpu, insn, VMX_ERROR_INVEPT_INVVPID_OPERAND, type);
	return STEP_NEXT;
}

enum invept { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };

static enum step exec_invept(struct cpu *cpu, const struct insn *insn)
{
	uint64_t type = reg_get(cpu, insn->reg, cpu_64bit(cpu) ? 8 : 4), descriptor[2];
	const struct vmx *vmx = cpu->vmx;
	enum step step;

	if (vmx && (!vmx_may(vmx->caps, PROCBASED_CTLS2, ENABLE_EPT) || !vmx_may(vmx->caps, EPT_VPID_CAP, INVEPT)))
		return raise_fault(cpu, VECTOR_UD);
	if ((step = begin(cpu, insn, VMX_EXIT_INVEPT, true)))
		return step;
	if (!(type == INVEPT_SINGLE && vmx_may(vmx->caps, EPT_VPID_CAP, INVEPT_SINGLE)) &&
	    !(type == INVEPT_ALL && vmx_may(vmx->caps, EPT_VPID_CAP, INVEPT_ALL)))
		return bad_operand(cpu, insn, type);
	if (read_descriptor(cpu, insn, descriptor))
		return STEP_FAULT;
	if (type == INVEPT_SINGLE && !vmx_eptp_allowed(vmx->caps, descriptor[0]))
		return bad_operand(cpu, insn, type);
	if (type == INVEPT_SINGLE)
		mem_flush_ept(cpu, descriptor[0]);
	else
		mem_flush_epts(cpu);
	return invalidated(cpu);
}

enum invvpid { INVVPID_ADDRESS, INVVPID_SINGLE, INVVPID_ALL, INVVPID_RETAIN_GLOBALS };

static enum step exec_invvpid(struct cpu *cpu, const struct insn *insn)
{
	uint64_t type = reg_get(cpu, insn->reg, cpu_64bit(cpu) ? 8 : 4), descriptor[2];
	const struct vmx *vmx = cpu->vmx;
	enum step step;

	if (vmx && (!vmx_may(vmx->caps, PROCBASED_CTLS2, ENABLE_VPID) || !vmx_may(vmx->caps, EPT_VPID_CAP, INVVPID)))
		return raise_fault(cpu, VECTOR_UD);
	if ((step = begin(cpu, insn, VMX_EXIT_INVVPID, true)))
		return step;
	if (type > INVVPID_RETAIN_GLOBALS ||
	    !(vmx->caps->offers[VMX_EPT_VPID_CAP] & EPT_VPID_CAP_INVVPID_ADDRESS << type))
		return bad_operand(cpu, insn, type);
	if (read_descriptor(cpu, insn, descriptor))
		return STEP_FAULT;
	if (descriptor[0] >> 16 || (type != INVVPID_ALL && !descriptor[0]) ||
	    (type == INVVPID_ADDRESS && !cpu_fits_linear_width(cpu, descriptor[1])))
		return bad_operand(cpu, insn, type);
	switch ((enum invvpid)type) {
	case INVVPID_ADDRESS: mem_flush_vpid_page(cpu, (uint16_t)descriptor[0], descriptor[1]); break;
	case INVVPID_SINGLE: mem_flush_vpid(cpu, (uint16_t)descriptor[0], false); break;
	case INVVPID_ALL: mem_flush_vpids(cpu); break;
	case INVVPID_RETAIN_GLOBALS: mem_flush_vpid(cpu, (uint16_t)descriptor[0], true); break;
	}
	return invalidated(cpu);
}

/* In non-root operation alone, in every mode and at every CPL. */
static enum step exec_vmfunc(struct cpu *cpu, const struct insn *insn)
{
	if (!cpu->nonroot)
		return raise_fault(cpu, VECTOR_UD);
	switch (vmx_intercept(cpu, insn, 0)) {
	case VMX_UNDEFINED: return raise_fault(cpu, VECTOR_UD);
	case VMX_PROCEED:
		if (vmx_switch_eptp(cpu))
			return STEP_LEAVE;
		break;
	case VMX_EXITS: break;
	}
	return exit_instruction(cpu, insn, VMX_EXIT_VMFUNC, 0, 0);
}

const struct exec_entry exec_vmx_insn_entries[] = {
	ENTRY(VMXON, exec_vmxon),
	ENTRY(VMXOFF, exec_vmxoff),
	ENTRY(VMPTRLD, exec_vmptrld),
	ENTRY(VMPTRST, exec_vmptrst),
	ENTRY(VMCLEAR, exec_vmclear),
	ENTRY(VMREAD, exec_vmread),
	ENTRY(VMWRITE, exec_vmwrite),
	ENTRY(VMLAUNCH, exec_vmlaunch),
	ENTRY(VMRESUME, exec_vmresume),
	ENTRY(VMCALL, exec_vmcall),
	ENTRY(INVEPT, exec_invept),
	ENTRY(INVVPID, exec_invvpid),
	ENTRY(VMFUNC, exec_vmfunc),
	{0},
};

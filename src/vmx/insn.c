/*
 * VMX instructions once their operands were read: pointers, regions and results. SDM vol. 3, "VMX Instruction
 * Reference", "Conventions".
 *
 * A VMCS is active on a vCPU while it is its current VMCS: memory is up to date for every other one.
 */
#include "bus/bus.h"
#include "cpu/flags.h"
#include "mem/mem.h"
#include "vmx/report.h"

void vmx_succeed(struct cpu *cpu)
{
	cc_set_exact(cpu, 0);
}

void vmx_fail_invalid(struct cpu *cpu)
{
	cc_set_exact(cpu, RFLAGS_CF);
}

void vmx_fail(struct cpu *cpu, enum vmx_error error)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx_has_current(vmx)) {
		vmx_fail_invalid(cpu);
		return;
	}
	cc_set_exact(cpu, RFLAGS_ZF);
	vmcs_set(&vmx->vmcs, VM_INSTRUCTION_ERROR, error);
}

uint32_t vmx_region_revision(struct cpu *cpu, pa_t region)
{
	return (uint32_t)bus_read(cpu->bus, region, 4, cpu->in_smm);
}

bool vmx_is_region(const struct vmx *vmx, pa_t region)
{
	unsigned width = vmx_may(vmx->caps, BASIC, ADDRESSES_32) ? 32 : vmx->caps->physical_bits;

	return is_aligned(region, VMX_REGION_SIZE) && !(region >> width);
}

/* Only what the processor keeps there is written. */
void vmx_flush_current(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	uint8_t image[VMCS_IMAGE_SIZE];

	if (!vmx_has_current(vmx))
		return;
	if (cpu->reporter)
		cpu->reporter->vmcs_leaves(cpu->reporter->ctx, cpu);
	vmcs_flush(&vmx->vmcs, image);
	for (unsigned at = VMCS_REGION_STATE; at < VMCS_IMAGE_SIZE; at += 8)
		bus_write(cpu->bus, vmx->current + at, 8, load_le(image + at, 8), cpu->in_smm);
}

void vmx_read_region(struct cpu *cpu, pa_t region, struct vmcs *v)
{
	uint8_t image[VMCS_IMAGE_SIZE];

	for (unsigned at = 0; at < VMCS_IMAGE_SIZE; at += 8)
		store_le(image + at, 8, bus_read(cpu->bus, region + at, 8, cpu->in_smm));
	vmcs_load(v, cpu->vmx->caps, image);
}

void vmx_make_current(struct cpu *cpu, pa_t region)
{
	cpu->vmx->current = region;
	if (vmx_has_current(cpu->vmx))
		vmx_read_region(cpu, region, &cpu->vmx->vmcs);
}

bool vmx_start(struct cpu *cpu, pa_t region)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx_is_region(vmx, region) || vmx_region_revision(cpu, region) != VMX_REVISION)
		return false;
	vmx->on = true;
	vmx->vmxon_pointer = region;
	vmx->current = ~UINT64_C(0);
	cpu->monitor_armed = false;
	mem_block_a20m(cpu, true);
	return true;
}

void vmx_stop(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;

	vmx_flush_current(cpu);
	vmx->on = false;
	vmx->current = ~UINT64_C(0);
	if (!(vmx->smm_monitor_ctl & SMM_MONITOR_CTL_VMXOFF))
		vmx->smi_blocked = false;
	cpu->monitor_armed = false;
	mem_block_a20m(cpu, false);
	cpu_attend(cpu, ATTEND_PINS); /* INIT and SMIs are not blocked any more */
}

enum vmx_error vmx_load_pointer(struct cpu *cpu, pa_t region)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx_is_region(vmx, region))
		return VMX_ERROR_VMPTRLD_ADDRESS;
	if (region == vmx->vmxon_pointer)
		return VMX_ERROR_VMPTRLD_VMXON_POINTER;
	if (!vmcs_revision_valid(vmx->caps, vmx_region_revision(cpu, region)))
		return VMX_ERROR_VMPTRLD_REVISION;
	if (region == vmx->current)
		return VMX_OK;
	vmx_flush_current(cpu);
	vmx_make_current(cpu, region);
	return VMX_OK;
}

enum vmx_error vmx_clear(struct cpu *cpu, pa_t region)
{
	struct vmx *vmx = cpu->vmx;

	if (!vmx_is_region(vmx, region))
		return VMX_ERROR_VMCLEAR_ADDRESS;
	if (region == vmx->vmxon_pointer)
		return VMX_ERROR_VMCLEAR_VMXON_POINTER;
	if (region == vmx->current) {
		vmx_flush_current(cpu);
		vmx->current = ~UINT64_C(0);
	}
	bus_write(cpu->bus, region + VMCS_REGION_STATE, 4, 0, cpu->in_smm);
	return VMX_OK;
}

/* SDM vol. 3, "VMCS Shadowing Bitmap Addresses". */
bool vmx_intercepts_field(struct cpu *cpu, uint64_t encoding, bool write)
{
	const struct vmx *vmx = cpu->vmx;
	pa_t bitmap = write ? vmcs_get(&vmx->vmcs, VMWRITE_BITMAP) : vmcs_get(&vmx->vmcs, VMREAD_BITMAP);

	if (!vmx_proc2(vmx, VMCS_SHADOWING) || encoding >> 15)
		return true;
	return bus_read(cpu->bus, bitmap + (encoding >> 3), 1, cpu->in_smm) >> (encoding & 7) & 1;
}

/* Where a field of the VMCS at the link pointer lies, and a VMCS that holds nothing else. */
static pa_t shadow_field(struct cpu *cpu, uint64_t encoding, struct vmcs *v, enum vmcs_field *field)
{
	const struct vmx *vmx = cpu->vmx;
	bool high;
	pa_t at;

	*field = vmcs_field_find(encoding, &high);
	if (*field == VMCS_FIELD_COUNT)
		return 0;
	at = vmcs_get(&vmx->vmcs, VMCS_LINK_POINTER) + VMCS_REGION_FIELDS + 8 * *field;
	memset(v, 0, sizeof(*v));
	v->field[*field] = bus_read(cpu->bus, at, 8, cpu->in_smm) & vmcs_field_mask(*field);
	return at;
}

enum vmx_error vmx_shadow_read(struct cpu *cpu, uint64_t encoding, bool mode64, uint64_t *value)
{
	enum vmcs_field field;
	struct vmcs v;

	shadow_field(cpu, encoding, &v, &field);
	return field == VMCS_FIELD_COUNT ? VMX_ERROR_UNSUPPORTED_COMPONENT
					 : vmcs_read(&v, cpu->vmx->caps, encoding, mode64, value);
}

enum vmx_error vmx_shadow_write(struct cpu *cpu, uint64_t encoding, bool mode64, uint64_t value)
{
	enum vmcs_field field;
	enum vmx_error error;
	struct vmcs v;
	pa_t at = shadow_field(cpu, encoding, &v, &field);

	if (field == VMCS_FIELD_COUNT)
		return VMX_ERROR_UNSUPPORTED_COMPONENT;
	error = vmcs_write(&v, cpu->vmx->caps, encoding, mode64, value, (struct vmcs_writer){0});
	if (error == VMX_OK)
		bus_write(cpu->bus, at, 8, v.field[field], cpu->in_smm);
	return error;
}

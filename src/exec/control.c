/*
 * Control registers: MOV CR, LMSW, SMSW, CLTS, and the writes that others make too.
 *
 * SDM vol. 2, "MOV -- Move to/from Control Registers"; vol. 3, "Control Registers", "Initializing IA-32e Mode", "PDPTE
 * Registers", "Operations that Invalidate TLBs and Paging-Structure Caches". mem_context_changed() notices which paging
 * bits changed and drops translations for them.
 */
#include "apic/apic.h"
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"
#include "vmx/intercept.h"
#include "vmx/virtual_apic.h"

/* Loading the PDPTEs has left a fault of its own: #GP(0) too, or a VM exit. */
static bool refuse(struct cpu *cpu)
{
	raise_gp0(cpu);
	return true;
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

bool exec_write_cr0(struct cpu *cpu, uint64_t value)
{
	uint64_t defined =
		CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
	uint64_t changed, efer = cpu->efer;
	uint64_t pdpte[4];

	if (!cpu_cr0_valid(value))
		return refuse(cpu);
	value = (value & defined) | CR0_ET;
	if (!vmx_cr0_allowed(cpu, value))
		return refuse(cpu);
	changed = cpu->cr0 ^ value;
	if (changed & CR0_PG) {
		if (!(value & CR0_PG) && (cpu_64bit(cpu) || (cpu->cr4 & CR4_PCIDE)))
			return refuse(cpu);
		if ((value & CR0_PG) && (efer & EFER_LME)) {
			unsigned tss = cpu->seg[TR].ar & AR_TYPE;

			if (!(cpu->cr4 & CR4_PAE) || (cpu->seg[CS].ar & AR_L) || tss == TYPE_TSS16 ||
			    tss == TYPE_TSS16_BUSY)
				return refuse(cpu);
			efer |= EFER_LMA;
		}
		if (!(value & CR0_PG))
			efer &= ~EFER_LMA;
	}
	if (pae_paging(value, cpu->cr4, efer) && (changed & (CR0_PG | CR0_CD | CR0_NW))) {
		if (mem_read_pdptes(cpu, cpu->cr3, pdpte))
			return true;
		memcpy(cpu->pdpte, pdpte, sizeof(pdpte));
	}
	cpu->efer = efer;
	cpu->cr0 = value;
	if (changed & ~(CR0_TS | CR0_MP | CR0_EM | CR0_NE))
		exec_context_changed(cpu);
	return false;
}

bool exec_write_cr3(struct cpu *cpu, uint64_t value)
{
	bool pcids = cpu->cr4 & CR4_PCIDE, keep = pcids && (value & CR3_NOFLUSH);
	uint64_t pdpte[4];

	if (pcids)
		value &= ~CR3_NOFLUSH;
	if (!cpu_cr3_valid(cpu->model, value, cpu_long_mode(cpu)))
		return refuse(cpu);
	if (pae_paging(cpu->cr0, cpu->cr4, cpu->efer)) {
		if (mem_read_pdptes(cpu, value, pdpte))
			return true;
		memcpy(cpu->pdpte, pdpte, sizeof(pdpte));
	}
	cpu->cr3 = value;
	mem_context_changed(cpu);
	if (!keep)
		mem_flush_pcid(cpu, pcids ? value & CR3_PCID : 0);
	return false;
}

bool exec_write_cr4(struct cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr4 ^ value, pdpte[4];

	if (value & ~cpu_cr4_allowed(cpu->model) || !vmx_cr4_allowed(cpu, value))
		return refuse(cpu);
	if (cpu_long_mode(cpu)) {
		if (!(value & CR4_PAE) || (changed & CR4_LA57))
			return refuse(cpu);
	} else if (value & CR4_PCIDE) {
		return refuse(cpu);
	}
	if ((changed & value & CR4_PCIDE) && (cpu->cr3 & CR3_PCID))
		return refuse(cpu);
	if (pae_paging(cpu->cr0, value, cpu->efer) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP))) {
		if (mem_read_pdptes(cpu, cpu->cr3, pdpte))
			return true;
		memcpy(cpu->pdpte, pdpte, sizeof(pdpte));
	}
	cpu->cr4 = value;
	exec_context_changed(cpu);
	return false;
}

static bool is_control_register(unsigned number)
{
	return number <= 8 && (BIT(number) & (BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(8)));
}

static bool cr8_is_virtual(const struct cpu *cpu)
{
	return unlikely(cpu->nonroot) && vmx_cr8_is_virtual(cpu);
}

static uint64_t read_cr8(const struct cpu *cpu)
{
	return cr8_is_virtual(cpu) ? vmx_read_cr8(cpu) : apic_get_tpr(cpu->apic) >> 4;
}

static enum step mov_from_cr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;
	enum step step;

	if (!is_control_register(insn->reg))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	switch (insn->reg) {
	case 0: value = cpu->nonroot ? vmx_read_cr0(cpu) : cpu->cr0; break;
	case 2: value = cpu->cr2; break;
	case 3: value = cpu->cr3; break;
	case 4: value = cpu->nonroot ? vmx_read_cr4(cpu) : cpu->cr4; break;
	default: value = read_cr8(cpu); break;
	}
	reg_set(cpu, insn->rm, cpu_64bit(cpu) ? 8 : 4, value);
	return STEP_NEXT;
}

/* CR8 is bits 7:4 of the local APIC's task-priority register; cpu->cr8 is what was last written here, for who only
 * looks. */
static bool write_cr8(struct cpu *cpu, uint64_t value)
{
	if (value > 15)
		return refuse(cpu);
	if (cr8_is_virtual(cpu)) {
		vmx_write_cr8(cpu, value);
		return false;
	}
	cpu->cr8 = value;
	apic_set_tpr(cpu->apic, (uint8_t)(value << 4));
	return false;
}

static enum step mov_to_cr(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = reg_get(cpu, insn->rm, cpu_64bit(cpu) ? 8 : 4);
	enum step step;
	bool refused;

	if (!is_control_register(insn->reg))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	switch (insn->reg) {
	case 0: refused = exec_write_cr0(cpu, cpu->nonroot ? vmx_merge_cr0(cpu, value) : value); break;
	case 2: cpu->cr2 = value; return STEP_NEXT;
	case 3: refused = exec_write_cr3(cpu, value); break;
	case 4: refused = exec_write_cr4(cpu, cpu->nonroot ? vmx_merge_cr4(cpu, value) : value); break;
	default: refused = write_cr8(cpu, value); break;
	}
	return refused ? STEP_FAULT : STEP_LEAVE;
}

static enum step exec_lmsw(struct cpu *cpu, const struct insn *insn)
{
	uint64_t low = CR0_PE | CR0_MP | CR0_EM | CR0_TS, value;
	enum step step;

	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if (operand_read(cpu, insn, 2, &value))
		return STEP_FAULT;
	if (unlikely(cpu->nonroot) && (step = nonroot_intercept(cpu, insn, value)))
		return step;
	value = (cpu->cr0 & ~(low & ~CR0_PE)) | (value & low); /* PE can be set, not cleared */
	if (cpu->nonroot)
		value = vmx_merge_cr0(cpu, value);
	return exec_write_cr0(cpu, value) ? STEP_FAULT : STEP_LEAVE;
}

static enum step exec_smsw(struct cpu *cpu, const struct insn *insn)
{
	if ((cpu->cr4 & CR4_UMIP) && cpu->cpl > 0)
		return raise_gp0(cpu);
	return operand_write(cpu, insn, insn->ea == EA_NONE ? insn->size : 2,
			     cpu->nonroot ? vmx_read_cr0(cpu) : cpu->cr0)
		       ? STEP_FAULT
		       : STEP_NEXT;
}

static enum step exec_clts(struct cpu *cpu, const struct insn *insn)
{
	enum step step;

	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	cpu->cr0 = cpu->nonroot ? vmx_merge_cr0(cpu, cpu->cr0 & ~CR0_TS) : cpu->cr0 & ~CR0_TS;
	return STEP_NEXT;
}

static bool is_from_cr(const struct form *form)
{
	return form->operands >= 2 && form->operand[1].class == ZYDIS_REGCLASS_CONTROL;
}

static bool is_to_cr(const struct form *form)
{
	return form->operands >= 2 && form->operand[0].class == ZYDIS_REGCLASS_CONTROL;
}

const struct exec_entry exec_control_entries[] = {
	ENTRY_IF(MOV, mov_from_cr, is_from_cr),
	ENTRY_IF(MOV, mov_to_cr, is_to_cr),
	ENTRY(LMSW, exec_lmsw),
	ENTRY(SMSW, exec_smsw),
	ENTRY(CLTS, exec_clts),
	{0},
};

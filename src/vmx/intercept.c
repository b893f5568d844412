/*
 * Does this instruction exit? SDM vol. 3, "Instructions That Cause VM Exits Unconditionally", "Instructions That Cause
 * VM Exits Conditionally".
 *
 * Rows of spec/vmx_intercepts.def say which control decides; what a row cannot say is a test below. Bitmaps are read
 * where they lie, in physical memory, each time: software may change them while its guest runs.
 */
#include "vmx/intercept.h"
#include "bus/bus.h"
#include "cpu/msr.h"

enum test {
	TEST_NEVER,
	TEST_ALWAYS,
	TEST_PRIMARY,
	TEST_SECONDARY,
	TEST_MOV_CR,
	TEST_CLTS,
	TEST_LMSW,
	TEST_IO,
	TEST_RDMSR,
	TEST_WRMSR,
	TEST_XSS,
	TEST_PAUSE,
	TEST_VMREAD,
	TEST_VMWRITE,
	TEST_VMFUNC,
	TEST_SMM,
};

struct row {
	uint8_t when, test, reason, information;
	uint32_t needs, control;
};

enum row_number {
	ROW_NONE,
#define I(name, when, needs, test, control, reason, information) ROW_##name,
#include "vmx_intercepts.def"
	ROW_COUNT
};

static const struct row rows[ROW_COUNT] = {
#define I(name, when, needs, test, control, reason, information)                                                 \
	[ROW_##name] = {VMX_WHEN_##when,   TEST_##test,	       VMX_EXIT_##reason, VMX_INFORMATION_##information, \
			(uint32_t)(needs), (uint32_t)(control)},
#include "vmx_intercepts.def"
};

static const uint8_t row_of[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define I(name, when, needs, test, control, reason, information) [ZYDIS_MNEMONIC_##name] = ROW_##name,
#define M(name, when, needs, test, control, reason, information)
#include "vmx_intercepts.def"
};

static bool has_operand(const struct form *form, unsigned class)
{
	return form->operands >= 2 && (form->operand[0].class == class || form->operand[1].class == class);
}

static const struct row *find(const struct form *form)
{
	if (form->operation == ZYDIS_MNEMONIC_MOV)
		return &rows[has_operand(form, ZYDIS_REGCLASS_CONTROL) ? ROW_MOV_CR
			     : has_operand(form, ZYDIS_REGCLASS_DEBUG) ? ROW_MOV_DR
								       : ROW_NONE];
	return &rows[row_of[form->operation]];
}

bool vmx_when(const struct form *form, enum vmx_when *when)
{
	const struct row *row = find(form);

	*when = (enum vmx_when)row->when;
	return row != &rows[ROW_NONE];
}

bool vmx_disabled(const struct cpu *cpu, const struct form *form)
{
	const struct row *row = find(form);

	return row->needs && !vmx_secondary(cpu, row->needs);
}

static bool primary(const struct cpu *cpu, uint64_t control)
{
	return vmcs_get(&cpu->vmx->vmcs, VM_PROCBASED_CTLS) & control;
}

static bool bit_in_memory(const struct cpu *cpu, pa_t at, unsigned bit)
{
	return bus_read(cpu->bus, at + bit / 8, 1, cpu->in_smm) >> bit % 8 & 1;
}

/* Bitmap A is for ports 0 to 7FFFH, B for the others. An access that wraps around the 16-bit port space exits whatever
 * they say. */
bool vmx_intercepts_io(struct cpu *cpu, uint16_t port, unsigned size)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	if (!primary(cpu, PROCBASED_CTLS_USE_IO_BITMAPS))
		return primary(cpu, PROCBASED_CTLS_UNCONDITIONAL_IO_EXITING);
	if (port + size > 0x10000)
		return true;
	for (unsigned p = port; p < port + size; p++)
		if (bit_in_memory(cpu, p & 0x8000 ? vmcs_get(v, IO_BITMAP_B) : vmcs_get(v, IO_BITMAP_A), p & 0x7fff))
			return true;
	return false;
}

/* Four bitmaps of 1 KiB: read low, read high, write low, write high MSRs. */
bool vmx_intercepts_msr(struct cpu *cpu, uint32_t index, bool write)
{
	pa_t at = vmcs_get(&cpu->vmx->vmcs, MSR_BITMAP) + (write ? 0x800 : 0);
	bool high = index >= 0xc0000000;

	if (!primary(cpu, PROCBASED_CTLS_USE_MSR_BITMAPS) || (index & ~0xc0001fffu) || (index >= 0x2000 && !high))
		return true;
	return bit_in_memory(cpu, at + (high ? 0x400 : 0), index & 0x1fff);
}

/* Bits that the mask gives to the host must stay as the guest believes them to be. */
static bool differs_from_shadow(uint64_t value, uint64_t shadow, uint64_t mask)
{
	return (value ^ shadow) & mask;
}

static bool loads_cr3(const struct cpu *cpu, uint64_t value)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint64_t count = min_u64(vmcs_get(v, CR3_TARGET_COUNT), VMX_CR3_TARGETS);

	if (!primary(cpu, PROCBASED_CTLS_CR3_LOAD_EXITING))
		return false;
	for (unsigned i = 0; i < count; i++)
		if (v->field[VMCS_CR3_TARGET_VALUE0 + i] == value)
			return false;
	return true;
}

static bool mov_cr(const struct cpu *cpu, const struct insn *insn)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	bool write = insn->opcode & 2;
	uint64_t value = cpu_64bit(cpu) ? cpu->r[insn->rm] : (uint32_t)cpu->r[insn->rm];

	switch (insn->reg) {
	case 0: return write && differs_from_shadow(value, vmcs_get(v, CR0_READ_SHADOW), vmcs_get(v, CR0_MASK));
	case 3: return write ? loads_cr3(cpu, value) : primary(cpu, PROCBASED_CTLS_CR3_STORE_EXITING);
	case 4: return write && differs_from_shadow(value, vmcs_get(v, CR4_READ_SHADOW), vmcs_get(v, CR4_MASK));
	case 8: return primary(cpu, write ? PROCBASED_CTLS_CR8_LOAD_EXITING : PROCBASED_CTLS_CR8_STORE_EXITING);
	default: return false;
	}
}

/* CLTS that would clear what the guest sees as 0 does nothing instead. */
static bool clts(const struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	return vmcs_get(v, CR0_MASK) & vmcs_get(v, CR0_READ_SHADOW) & CR0_TS;
}

/* LMSW sets PE but never clears it, so a 0 there asks for nothing. */
static bool lmsw(const struct cpu *cpu, uint64_t value)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint64_t bits = CR0_MP | CR0_EM | CR0_TS | (value & CR0_PE);

	return differs_from_shadow(value, vmcs_get(v, CR0_READ_SHADOW), vmcs_get(v, CR0_MASK) & bits);
}

static bool xss(const struct cpu *cpu)
{
	uint64_t mask = (uint32_t)cpu->r[RAX] | cpu->r[RDX] << 32;

	return mask & cpu->fpu.xss & vmcs_get(&cpu->vmx->vmcs, XSS_EXITING_BITMAP);
}

/*
 * SDM vol. 3, "Instructions That Cause VM Exits Conditionally", PAUSE. A loop is PAUSEs at CPL 0 no more than PLE_Gap
 * apart; one of them more than PLE_Window after the loop's first exits. Times are of the physical TSC.
 */
static bool pause(struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	struct vmx_pause_loop *loop = &cpu->vmx->pause_loop;
	uint64_t now, last;

	if (primary(cpu, PROCBASED_CTLS_PAUSE_EXITING))
		return true;
	if (cpu->cpl || !vmx_secondary(cpu, PROCBASED_CTLS2_PAUSE_LOOP_EXITING))
		return false;
	now = cpu_tsc(cpu);
	last = loop->last;
	loop->last = now;
	if (!loop->began || now - last > vmcs_get(v, PLE_GAP)) {
		loop->began = true;
		loop->first = now;
		return false;
	}
	return now - loop->first > vmcs_get(v, PLE_WINDOW);
}

/* SDM vol. 3, "VMREAD", "VMWRITE": without an exit the VMCS at the link pointer is accessed. */
static bool vmcs_access(const struct cpu *cpu, const struct insn *insn, pa_t bitmap)
{
	uint64_t encoding = cpu_64bit(cpu) ? cpu->r[insn->reg] : (uint32_t)cpu->r[insn->reg];

	if (!vmx_secondary(cpu, PROCBASED_CTLS2_VMCS_SHADOWING) || encoding >> 15)
		return true;
	return bit_in_memory(cpu, bitmap, (unsigned)encoding);
}

static bool exits(struct cpu *cpu, const struct insn *insn, const struct row *row, uint64_t operand)
{
	const struct vmcs *v = &cpu->vmx->vmcs;

	switch ((enum test)row->test) {
	case TEST_NEVER: return false;
	case TEST_ALWAYS: return true;
	case TEST_PRIMARY: return primary(cpu, row->control);
	case TEST_SECONDARY: return vmx_secondary(cpu, row->control);
	case TEST_MOV_CR: return mov_cr(cpu, insn);
	case TEST_CLTS: return clts(cpu);
	case TEST_LMSW: return lmsw(cpu, operand);
	case TEST_IO: return vmx_intercepts_io(cpu, vmx_port(cpu, insn), vmx_port_size(insn));
	case TEST_RDMSR: return vmx_intercepts_msr(cpu, (uint32_t)cpu->r[RCX], false);
	case TEST_WRMSR: return vmx_intercepts_msr(cpu, (uint32_t)cpu->r[RCX], true);
	case TEST_XSS: return xss(cpu);
	case TEST_PAUSE: return pause(cpu);
	case TEST_VMREAD: return vmcs_access(cpu, insn, vmcs_get(v, VMREAD_BITMAP));
	case TEST_VMWRITE: return vmcs_access(cpu, insn, vmcs_get(v, VMWRITE_BITMAP));
	case TEST_VMFUNC: return !(vmcs_get(v, VM_FUNCTION_CTLS) >> (cpu->r[RAX] & 63) & 1);
	case TEST_SMM: return cpu->in_smm;
	}
	return false;
}

enum vmx_verdict vmx_intercept(struct cpu *cpu, const struct insn *insn, uint64_t operand)
{
	const struct row *row = find(insn->form);
	enum vmx_exit reason = (enum vmx_exit)row->reason;

	if (row->needs && !vmx_secondary(cpu, row->needs))
		return VMX_UNDEFINED;
	if (row->test == TEST_VMFUNC && (uint32_t)cpu->r[RAX] > 63) /* no control is for it, so it is #UD and no exit */
		return VMX_UNDEFINED;
	if (!exits(cpu, insn, row, operand))
		return VMX_PROCEED;
	cpu->vmx->exit = (struct vmx_exit_record){
		.reason = reason,
		.qualification = vmx_qualification(cpu, insn, reason, operand),
		.linear = vmx_exit_linear(cpu, insn, reason),
		.instruction_length = insn->len,
		.instruction_info = vmx_instruction_info(cpu, insn, (enum vmx_information)row->information),
	};
	return VMX_EXITS;
}

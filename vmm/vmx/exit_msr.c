/*
 * RDMSR and WRMSR: SDM vol. 4, "Architectural MSRs". An MSR that is in no row of the table is #GP(0), for reading and for
 * writing.
 *
 * Those that a guest has without VM exits are in msr.c.
 */
#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "vmx/exit.h"
#include "vmx/mode.h"
#include "vmx/msr_area.h"
#include "vmx/mtrr.h"

enum { X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff };

/* Readers and writers return false for #GP(0). */
#define READER(name) static bool name(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
#define WRITER(name) static bool name(struct vcpu *vcpu, uint32_t msr, uint64_t value)

READER(read_zero)
{
	*value = 0;
	return true;
}

WRITER(write_ignored) { return true; }

READER(read_tsc)
{
	*value = rdtsc() + vcpu->vm->tsc_offset + vcpu->tsc_adjust;
	return true;
}

/* SDM vol. 3, "Time-Stamp Counter Adjustment": what is added to the one is added to the other. The new offset is in the VMCS
   at the next VM entry. */
WRITER(write_tsc)
{
	vcpu->tsc_adjust = value - (rdtsc() + vcpu->vm->tsc_offset);
	lapic_tsc_changed(vcpu);
	return true;
}

READER(read_tsc_adjust)
{
	*value = vcpu->tsc_adjust;
	return true;
}

WRITER(write_tsc_adjust)
{
	vcpu->tsc_adjust = value;
	lapic_tsc_changed(vcpu);
	return true;
}

READER(read_feature_control)
{
	*value = 1; /* locked, nothing enabled */
	return true;
}

/* A microcode revision is the answer to a CPUID(1) after a write of 0; here always. Not every emulator has the MSR. */
READER(read_bios_sign_id)
{
	if (!rdmsr_safe(msr, value))
		*value = 0;
	return true;
}

/* What the CPU is vulnerable to and what not. Left out are bits that announce other MSRs: TSX_CTRL, MISC_PACKAGE_CTLS,
   ENERGY_FILTERING_CTL, DOITM, FB_CLEAR_CTRL, XAPIC_DISABLE, OVERCLOCKING, GDS_CTRL. */
READER(read_arch_capabilities)
{
	bool is_there = rdmsr_safe(msr, value);

	*value &= BITS(28, 0) & ~(BIT(7) | BITS(12, 10) | BIT(18) | BITS(23, 21) | BIT(25));
	return is_there;
}

enum { MISC_FAST_STRINGS = 1 << 0, MISC_BTS_UNAVAILABLE = 1 << 11, MISC_PEBS_UNAVAILABLE = 1 << 12 };
READER(read_misc_enable)
{
	*value = MISC_FAST_STRINGS | MISC_BTS_UNAVAILABLE | MISC_PEBS_UNAVAILABLE;
	return true;
}

enum { DEBUGCTL_BTF = 1 << 1 };
READER(read_debugctl)
{
	*value = vmread(VMCS_GUEST_DEBUGCTL);
	return true;
}

WRITER(write_debugctl)
{
	if (value & ~(uint64_t)DEBUGCTL_BTF)
		return false;
	vmwrite(VMCS_GUEST_DEBUGCTL, value);
	return true;
}

READER(read_pat)
{
	*value = vcpu->pat;
	return true;
}

WRITER(write_pat)
{
	if (!mtrr_are_types(value, true))
		return false;
	vcpu->pat = value;
	msr_area_set_pat(vcpu, value);
	return true;
}

/* No supervisor state is offered. */
WRITER(write_zero) { return value == 0; }

READER(read_efer)
{
	*value = vcpu_efer(vcpu);
	return true;
}

WRITER(write_efer)
{
	uint64_t cr0 = vcpu_cr0(vcpu), bits = EFER_SCE | EFER_LME | EFER_LMA | (cpuid(0x80000001, 0).edx & BIT(20) ? EFER_NXE : 0);

	if ((value & ~bits) || ((cr0 & CR0_PG) && ((value ^ vcpu_efer(vcpu)) & EFER_LME)))
		return false;
	vcpu_set_mode(vcpu, cr0, vcpu_cr3(vcpu), vcpu_cr4(vcpu), value);
	return true;
}

static const struct rule {
	uint32_t first, last;
	bool (*read)(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
	bool (*write)(struct vcpu *vcpu, uint32_t msr, uint64_t value);
} rules[] = {
	{IA32_TSC_DEADLINE, IA32_TSC_DEADLINE, lapic_read_msr, lapic_write_msr}, /* the most frequent one first */
	{X2APIC_FIRST, X2APIC_LAST, lapic_read_msr, lapic_write_msr},
	{IA32_TIME_STAMP_COUNTER, IA32_TIME_STAMP_COUNTER, read_tsc, write_tsc},
	{IA32_PLATFORM_ID, IA32_PLATFORM_ID, read_zero, NULL},
	{IA32_APIC_BASE, IA32_APIC_BASE, lapic_read_msr, lapic_write_msr},
	{IA32_FEATURE_CONTROL, IA32_FEATURE_CONTROL, read_feature_control, NULL},
	{IA32_TSC_ADJUST, IA32_TSC_ADJUST, read_tsc_adjust, write_tsc_adjust},
	{IA32_BIOS_UPDT_TRIG, IA32_BIOS_UPDT_TRIG, NULL, write_ignored},
	{IA32_BIOS_SIGN_ID, IA32_BIOS_SIGN_ID, read_bios_sign_id, write_ignored},
	{IA32_PLATFORM_INFO, IA32_PLATFORM_INFO, read_zero, NULL},
	{IA32_MTRRCAP, IA32_MTRRCAP, mtrr_read_cap, NULL},
	{IA32_ARCH_CAPABILITIES, IA32_ARCH_CAPABILITIES, read_arch_capabilities, NULL},
	{IA32_MCG_CAP, IA32_MCG_CAP, read_zero, NULL},
	{IA32_MCG_STATUS, IA32_MCG_STATUS, read_zero, write_zero},
	{IA32_MISC_ENABLE, IA32_MISC_ENABLE, read_misc_enable, write_ignored},
	{IA32_DEBUGCTL, IA32_DEBUGCTL, read_debugctl, write_debugctl},
	{IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE - 1, mtrr_read, mtrr_write},
	{IA32_MTRR_FIX64K_00000, IA32_MTRR_FIX64K_00000, mtrr_read, mtrr_write},
	{IA32_MTRR_FIX16K_80000, IA32_MTRR_FIX16K_A0000, mtrr_read, mtrr_write},
	{IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_F8000, mtrr_read, mtrr_write},
	{IA32_MTRR_DEF_TYPE, IA32_MTRR_DEF_TYPE, mtrr_read, mtrr_write},
	{IA32_PAT, IA32_PAT, read_pat, write_pat},
	{IA32_XSS, IA32_XSS, read_zero, write_zero},
	{IA32_EFER, IA32_EFER, read_efer, write_efer},
};

static const struct rule *rule_of(uint32_t msr)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++)
		if (msr >= rules[i].first && msr <= rules[i].last)
			return &rules[i];
	return NULL;
}

void exit_rdmsr(struct vcpu *vcpu)
{
	const struct rule *rule = rule_of(vcpu->registers[RCX]);
	uint64_t value = 0;

	if (!rule || !rule->read || !rule->read(vcpu, vcpu->registers[RCX], &value)) {
		vcpu_raise_gp(vcpu);
		return;
	}
	vcpu->registers[RAX] = value & BITS(31, 0);
	vcpu->registers[RDX] = value >> 32;
	vcpu_skip(vcpu);
}

void exit_wrmsr(struct vcpu *vcpu)
{
	const struct rule *rule = rule_of(vcpu->registers[RCX]);
	uint64_t value = (vcpu->registers[RAX] & BITS(31, 0)) | vcpu->registers[RDX] << 32;

	if (!rule || !rule->write || !rule->write(vcpu, vcpu->registers[RCX], value)) {
		vcpu_raise_gp(vcpu);
		return;
	}
	vcpu_skip(vcpu);
}

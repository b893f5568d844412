/*
 * RDMSR and WRMSR: SDM vol. 4, "Architectural MSRs". An MSR that is in no row of the table is #GP(0), for reading and for writing.
 *
 * FS.base, GS.base and the SYSENTER MSRs are in the VMCS, and others follow the vCPU: the guest has them without VM exits.
 */
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/string.h"
#include "vmx/exit.h"
#include "vmx/mode.h"
#include "vmx/msr.h"
#include "vmx/msr_area.h"

enum {
	IA32_TIME_STAMP_COUNTER = 0x10, IA32_PLATFORM_ID = 0x17, IA32_APIC_BASE = 0x1b, IA32_FEATURE_CONTROL = 0x3a, IA32_TSC_ADJUST = 0x3b,
	IA32_SPEC_CTRL = 0x48, IA32_PRED_CMD = 0x49, IA32_BIOS_UPDT_TRIG = 0x79, IA32_BIOS_SIGN_ID = 0x8b, MSR_PLATFORM_INFO = 0xce, IA32_MTRRCAP = 0xfe,
	IA32_ARCH_CAPABILITIES = 0x10a, IA32_SYSENTER_CS = 0x174, IA32_SYSENTER_EIP = 0x176, IA32_MCG_CAP = 0x179, IA32_MCG_STATUS = 0x17a,
	IA32_MISC_ENABLE = 0x1a0, IA32_DEBUGCTL = 0x1d9, IA32_MTRR_PHYSBASE0 = 0x200, IA32_MTRR_FIX64K_00000 = 0x250, IA32_MTRR_FIX16K_80000 = 0x258,
	IA32_MTRR_FIX16K_A0000 = 0x259, IA32_MTRR_FIX4K_C0000 = 0x268, IA32_MTRR_FIX4K_F8000 = 0x26f, IA32_PAT = 0x277, IA32_MTRR_DEF_TYPE = 0x2ff,
	IA32_TSC_DEADLINE = 0x6e0, X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff, IA32_XSS = 0xda0, IA32_EFER = 0xc0000080, IA32_STAR = 0xc0000081,
	IA32_LSTAR = 0xc0000082, IA32_CSTAR = 0xc0000083, IA32_FMASK = 0xc0000084, IA32_FS_BASE = 0xc0000100, IA32_GS_BASE = 0xc0000101,
	IA32_KERNEL_GS_BASE = 0xc0000102, IA32_TSC_AUX = 0xc0000103
};
enum { MTRR_VARIABLE = 8 };

/* Passed through, and switched by software when another vCPU gets the CPU. The last two are not on every CPU. */
static const uint32_t following[] = {IA32_STAR, IA32_LSTAR, IA32_CSTAR, IA32_FMASK, IA32_KERNEL_GS_BASE, IA32_TSC_AUX, IA32_SPEC_CTRL};

static bool is_there(uint32_t msr)
{
	if (msr == IA32_TSC_AUX)
		return cpuid(0x80000001, 0).edx & BIT(27) /* RDTSCP */;
	if (msr == IA32_SPEC_CTRL)
		return cpuid(7, 0).edx & BIT(26) /* IBRS and IBPB */;
	return true;
}

bool msr_create(struct vcpu *vcpu)
{
	vcpu->msrs = pool_take(sizeof(following) / sizeof(following[0]) * sizeof(*vcpu->msrs), 8);
	return vcpu->msrs;
}

void msr_save(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(following); i++)
		if (vcpu->follows & BIT(i))
			vcpu->msrs[i] = rdmsr(following[i]);
}

void msr_load(struct vcpu *vcpu)
{
	for (unsigned i = 0; i < ARRAY_SIZE(following); i++)
		if (vcpu->follows & BIT(i))
			wrmsr(following[i], vcpu->msrs[i]);
}

void msr_reset(struct vcpu *vcpu)
{
	vcpu->follows = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(following); i++) {
		vcpu->msrs[i] = 0;
		vcpu->follows |= is_there(following[i]) ? BIT(i) : 0;
	}
	memset(vcpu->mtrr, 0, sizeof(vcpu->mtrr));
	vcpu->pat = UINT64_C(0x0007040600070406);
	vcpu->tsc_adjust = 0;
}

enum { READ_BITMAP = 0, WRITE_BITMAP = 2048, HIGH_MSRS = 1024 };

/* SDM vol. 3, "MSR-Bitmap Address". */
static void pass(uint8_t *bitmap, unsigned part, uint32_t msr)
{
	unsigned bit = msr & 0x1fff;

	bitmap[part + (msr >= 0xc0000000 ? HIGH_MSRS : 0) + bit / 8] &= ~(1 << bit % 8);
}

void msr_make_bitmap(uint8_t *bitmap)
{
	static const uint32_t in_vmcs[] = {IA32_SYSENTER_CS, IA32_SYSENTER_CS + 1, IA32_SYSENTER_EIP, IA32_FS_BASE, IA32_GS_BASE};

	for (unsigned i = 0; i < ARRAY_SIZE(in_vmcs); i++) {
		pass(bitmap, READ_BITMAP, in_vmcs[i]);
		pass(bitmap, WRITE_BITMAP, in_vmcs[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(following); i++) {
		if (is_there(following[i])) {
			pass(bitmap, READ_BITMAP, following[i]);
			pass(bitmap, WRITE_BITMAP, following[i]);
		}
	}
	if (is_there(IA32_SPEC_CTRL))
		pass(bitmap, WRITE_BITMAP, IA32_PRED_CMD);
	pass(bitmap, READ_BITMAP, IA32_TIME_STAMP_COUNTER); /* with the TSC offset */
}

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

/* SDM vol. 3, "Time-Stamp Counter Adjustment": what is added to the one is added to the other. The new offset is in the VMCS at the next VM entry. */
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

/* What the CPU is vulnerable to and what not. Left out are bits that announce other MSRs: TSX_CTRL, MISC_PACKAGE_CTLS, ENERGY_FILTERING_CTL, DOITM,
   FB_CLEAR_CTRL, XAPIC_DISABLE, OVERCLOCKING, GDS_CTRL. */
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

READER(read_mtrrcap)
{
	*value = MTRR_VARIABLE | BIT(8) /* fixed ranges */ | BIT(10) /* WC */;
	return true;
}

/* SDM vol. 3, "Memory Type Range Registers (MTRRs)". Only kept. */
static uint64_t *mtrr(struct vcpu *vcpu, uint32_t msr)
{
	enum { VARIABLE = 0, FIXED = 2 * MTRR_VARIABLE, DEF_TYPE = FIXED + 11 };

	if (msr < IA32_MTRR_FIX64K_00000)
		return &vcpu->mtrr[VARIABLE + msr - IA32_MTRR_PHYSBASE0];
	if (msr == IA32_MTRR_DEF_TYPE)
		return &vcpu->mtrr[DEF_TYPE];
	if (msr == IA32_MTRR_FIX64K_00000)
		return &vcpu->mtrr[FIXED];
	if (msr <= IA32_MTRR_FIX16K_A0000)
		return &vcpu->mtrr[FIXED + 1 + msr - IA32_MTRR_FIX16K_80000];
	return &vcpu->mtrr[FIXED + 3 + msr - IA32_MTRR_FIX4K_C0000];
}

/* UC, WC, WT, WP, WB; uc_minus: also UC-, which only the PAT knows. */
static bool is_type(uint8_t type, bool uc_minus) { return type == 0 || type == 1 || (type >= 4 && type <= 6) || (type == 7 && uc_minus); }

static bool are_types(uint64_t types, bool uc_minus)
{
	for (unsigned i = 0; i < 8; i++)
		if (!is_type(types >> (8 * i), uc_minus))
			return false;
	return true;
}

READER(read_mtrr)
{
	*value = *mtrr(vcpu, msr);
	return true;
}

WRITER(write_mtrr)
{
	bool is_fixed = msr >= IA32_MTRR_FIX64K_00000 && msr != IA32_MTRR_DEF_TYPE, is_mask = !is_fixed && msr != IA32_MTRR_DEF_TYPE && (msr & 1);
	uint64_t bits = msr == IA32_MTRR_DEF_TYPE ? BITS(11, 10) | BITS(7, 0) : is_mask ? BITS(51, 11) : BITS(51, 12) | BITS(7, 0);

	if (is_fixed ? !are_types(value, false) : (value & ~bits) || (!is_mask && !is_type(value, false)))
		return false;
	*mtrr(vcpu, msr) = value;
	return true;
}

READER(read_pat)
{
	*value = vcpu->pat;
	return true;
}

WRITER(write_pat)
{
	if (!are_types(value, true))
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
	{MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, read_zero, NULL},
	{IA32_MTRRCAP, IA32_MTRRCAP, read_mtrrcap, NULL},
	{IA32_ARCH_CAPABILITIES, IA32_ARCH_CAPABILITIES, read_arch_capabilities, NULL},
	{IA32_MCG_CAP, IA32_MCG_CAP, read_zero, NULL},
	{IA32_MCG_STATUS, IA32_MCG_STATUS, read_zero, write_zero},
	{IA32_MISC_ENABLE, IA32_MISC_ENABLE, read_misc_enable, write_ignored},
	{IA32_DEBUGCTL, IA32_DEBUGCTL, read_debugctl, write_debugctl},
	{IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSBASE0 + 2 * MTRR_VARIABLE - 1, read_mtrr, write_mtrr},
	{IA32_MTRR_FIX64K_00000, IA32_MTRR_FIX64K_00000, read_mtrr, write_mtrr},
	{IA32_MTRR_FIX16K_80000, IA32_MTRR_FIX16K_A0000, read_mtrr, write_mtrr},
	{IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_F8000, read_mtrr, write_mtrr},
	{IA32_MTRR_DEF_TYPE, IA32_MTRR_DEF_TYPE, read_mtrr, write_mtrr},
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

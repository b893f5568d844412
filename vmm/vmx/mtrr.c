/*
 * The MTRRs of a vCPU: SDM vol. 3, "Memory Type Range Registers (MTRRs)". They are only kept for the guest to read: its RAM
 * is write-back by EPT, and devices are no memory.
 */
#include "vmx/mtrr.h"

#include "cpu/msrs.h"

bool mtrr_read_cap(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	*value = MTRR_VARIABLE | BIT(8) /* fixed ranges */ | BIT(10) /* WC */;
	return true;
}

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
static bool is_type(uint8_t type, bool uc_minus)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6) || (type == 7 && uc_minus);
}

bool mtrr_are_types(uint64_t types, bool uc_minus)
{
	for (unsigned i = 0; i < 8; i++)
		if (!is_type(types >> (8 * i), uc_minus))
			return false;
	return true;
}

bool mtrr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	*value = *mtrr(vcpu, msr);
	return true;
}

bool mtrr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	bool is_fixed = msr >= IA32_MTRR_FIX64K_00000 && msr != IA32_MTRR_DEF_TYPE,
	     is_mask = !is_fixed && msr != IA32_MTRR_DEF_TYPE && (msr & 1);
	uint64_t bits = msr == IA32_MTRR_DEF_TYPE ? BITS(11, 10) | BITS(7, 0) : is_mask ? BITS(51, 11) : BITS(51, 12) | BITS(7, 0);

	if (is_fixed ? !mtrr_are_types(value, false) : (value & ~bits) || (!is_mask && !is_type(value, false)))
		return false;
	*mtrr(vcpu, msr) = value;
	return true;
}

/*
 * MSRs that are the guest's own: SDM vol. 3, "MSR-Bitmap Address". FS.base, GS.base and the SYSENTER MSRs are in the VMCS;
 * others follow the vCPU by software. All the rest exits: exit_msr.c.
 */
#include "vmx/msr.h"

#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/string.h"

/* Passed through, and switched by software when another vCPU gets the CPU. The last two are not on every CPU. */
static const uint32_t following[] = {
	IA32_STAR, IA32_LSTAR, IA32_CSTAR, IA32_FMASK, IA32_KERNEL_GS_BASE, IA32_TSC_AUX, IA32_SPEC_CTRL,
};

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

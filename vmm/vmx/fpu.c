/*
 * Switching the FPU: SDM vol. 1, "Managing State Using the XSAVE Feature Set", or FXSAVE where there is no XSAVE.
 *
 * While a vCPU is current, XCR0 is the guest's, in the VMM too.
 */
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/fpu.h"

enum { LEAF_XSAVE = 0xd, LEAF1_ECX_XSAVE = 1 << 26 };
enum { XCR0_X87 = 1 << 0, XCR0_SSE = 1 << 1, XCR0_AVX = 1 << 2, XCR0_AVX512 = 7 << 5, XCR0_PKRU = 1 << 9 };
enum { FXSAVE_AREA = 512, HEADER_XSTATE_BV = FXSAVE_AREA };

/* AMX and MPX are left out: CPUID does not offer them. 0: no XSAVE. */
static uint64_t xcr0_offered(void)
{
	struct cpuid leaf;

	if (!(cpuid(1, 0).ecx & LEAF1_ECX_XSAVE))
		return 0;
	leaf = cpuid(LEAF_XSAVE, 0);
	return (leaf.eax | (uint64_t)leaf.edx << 32) & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
}

bool fpu_create(struct vcpu *vcpu)
{
	vcpu->xcr0_offered = xcr0_offered();
	vcpu->fpu = pool_take(vcpu->xcr0_offered ? cpuid(LEAF_XSAVE, 0).ecx : FXSAVE_AREA, 64);
	return vcpu->fpu;
}

/* After RESET, FCW is 40H and all of the x87 stack is +0.0, valid. */
void fpu_reset(struct vcpu *vcpu)
{
	uint8_t *area = vcpu->fpu;

	memset(area, 0, vcpu->xcr0_offered ? cpuid(LEAF_XSAVE, 0).ecx : FXSAVE_AREA);
	*(uint16_t *)area = 0x40;
	area[4] = 0xff;
	*(uint32_t *)(area + 24) = 0x1f80; /* MXCSR */
	if (vcpu->xcr0_offered)
		*(uint64_t *)(area + HEADER_XSTATE_BV) = XCR0_X87 | XCR0_SSE;
	vcpu->xcr0 = XCR0_X87;
}

static void set_xcr0(uint64_t value)
{
	if (!xsetbv_safe(0, value))
		panic("XCR0 does not take %lx", value);
}

void fpu_save(struct vcpu *vcpu)
{
	if (vcpu->xcr0_offered) {
		set_xcr0(vcpu->xcr0_offered);
		__asm__ volatile("xsave64 (%0)" : : "r"(vcpu->fpu), "a"(-1), "d"(-1) : "memory");
	} else {
		__asm__ volatile("fxsave64 (%0)" : : "r"(vcpu->fpu) : "memory");
	}
}

void fpu_load(struct vcpu *vcpu)
{
	if (vcpu->xcr0_offered) {
		set_xcr0(vcpu->xcr0_offered);
		__asm__ volatile("xrstor64 (%0)" : : "r"(vcpu->fpu), "a"(-1), "d"(-1) : "memory");
		set_xcr0(vcpu->xcr0);
	} else {
		__asm__ volatile("fxrstor64 (%0)" : : "r"(vcpu->fpu) : "memory");
	}
}

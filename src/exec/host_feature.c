/*
 * What the host CPU can run. SDM vol. 1, "Detection of AVX-512 Foundation Instructions" and its
 * neighbours; vol. 2, "CPUID".
 *
 * Not used: AVX-512 without BW, DQ, VL and CD, because thunks need them; VP2INTERSECT, which writes a pair of opmasks.
 */
#include <cpuid.h>
#include "exec/host.h"

enum { EAX, EBX, ECX, EDX };

#define XCR0_AVX    BITS(2, 1)
#define XCR0_AVX512 (BITS(7, 5) | XCR0_AVX)

static bool host_bit(uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
	uint32_t out[4] = {0};

	if (!__get_cpuid_count(leaf, subleaf, &out[EAX], &out[EBX], &out[ECX], &out[EDX]))
		return false;
	if (leaf == 7 && subleaf) {
		uint32_t most, b, c, d;

		__cpuid_count(7, 0, most, b, c, d);
		if (subleaf > most)
			return false;
	}
	return out[reg] >> bit & 1;
}

static uint64_t host_xcr0(void)
{
	uint32_t low, high;

	if (!host_bit(1, 0, ECX, 27)) /* OSXSAVE */
		return 0;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static bool host_has_bit_of(enum feature feature)
{
	switch (feature) {
#define FEATURE(id, name, leaf, subleaf, reg, bit, ...) \
	case FEATURE_##id:                              \
		return host_bit(leaf, subleaf, reg, bit);
#include "cpuid_features.def"
#undef FEATURE
	default: return false;
	}
}

static bool avx512_usable(void)
{
	return (host_xcr0() & XCR0_AVX512) == XCR0_AVX512 && host_has_bit_of(FEATURE_AVX512F) &&
	       host_has_bit_of(FEATURE_AVX512BW) && host_has_bit_of(FEATURE_AVX512DQ) &&
	       host_has_bit_of(FEATURE_AVX512VL) && host_has_bit_of(FEATURE_AVX512CD);
}

bool host_has_feature(enum feature feature)
{
	switch (feature) {
	case FEATURE_AVX512_VP2INTERSECT: return false;
	case FEATURE_FDP_EXCPTN_ONLY: /* how the environment is saved is up to host_x87.c */
	case FEATURE_ZERO_FCS_FDS: return true;
	case FEATURE_AVX:
	case FEATURE_AVX2:
	case FEATURE_F16C:
	case FEATURE_FMA:
	case FEATURE_VAES:
	case FEATURE_VPCLMULQDQ:
	case FEATURE_AVX_VNNI: return host_has_bit_of(feature) && (host_xcr0() & XCR0_AVX) == XCR0_AVX;
	case FEATURE_AVX512F:
	case FEATURE_AVX512DQ:
	case FEATURE_AVX512BW:
	case FEATURE_AVX512VL:
	case FEATURE_AVX512CD:
	case FEATURE_AVX512_IFMA:
	case FEATURE_AVX512_VBMI:
	case FEATURE_AVX512_VBMI2:
	case FEATURE_AVX512_VNNI:
	case FEATURE_AVX512_BITALG:
	case FEATURE_AVX512_VPOPCNTDQ:
	case FEATURE_AVX512_BF16:
	case FEATURE_AVX512_FP16: return host_has_bit_of(feature) && avx512_usable();
	default: return host_has_bit_of(feature);
	}
}

/*
 * CPUID and XSETBV: what the guest is told about its processor, and what it switches on of that. SDM vol. 2, "CPUID", "XSETBV".
 *
 * Of the features that spec/cpuid_features.def names, a guest has those that the machine has, but the hidden ones; others
 * that a newer processor may have it has not, since nobody here knows what state they bring. Leaves that are in no case below
 * read as 0.
 */
#include "cpu/time.h"
#include "cpu/x86.h"
#include "vmx/caps.h"
#include "vmx/exit.h"
#include "vmx/fpu.h"
#include "vmx/mode.h"

enum { EAX, EBX, ECX, EDX };

enum feature {
#define FEATURE(id, name, leaf, subleaf, reg, bit, by) FEATURE_##id,
#include "cpuid_features.def"
#undef FEATURE
};

/* VMX and SMX are ours; MWAIT would stop the CPU; for the rest the VMM keeps no state. */
static inline __attribute__((always_inline)) bool is_hidden(enum feature feature)
{
	switch (feature) {
	case FEATURE_VMX:
	case FEATURE_MONITOR:
	case FEATURE_X2APIC:
	case FEATURE_PERFMON:
	case FEATURE_LA57:
	case FEATURE_WAITPKG:
	case FEATURE_FLUSH_L1D:
		return true;
	case FEATURE_RDTSCP:
	case FEATURE_RDPID:
		return !HAS(PROCBASED_CTLS2, ENABLE_RDTSCP);
	case FEATURE_INVPCID:
		return !HAS(PROCBASED_CTLS2, ENABLE_INVPCID);
	case FEATURE_XSAVES:
		return !HAS(PROCBASED_CTLS2, ENABLE_XSAVES);
	default:
		return false;
	}
}

/* Bits of one register that a guest may see. Called with constants only, so that it folds into a mask. */
static inline __attribute__((always_inline)) uint32_t offered(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
	enum { ABSENT, ENGINE, HOST, STATE }; /* the last column of the table */
	uint32_t mask = 0;

#define FEATURE(id, name, of_leaf, of_subleaf, of_reg, bit, by)                                                        \
	if (leaf == of_leaf && subleaf == of_subleaf && reg == of_reg && by != ABSENT && !is_hidden(FEATURE_##id))     \
		mask |= UINT32_C(1) << bit;
#include "cpuid_features.def"
#undef FEATURE
	return mask;
}

static void put(uint32_t *value, unsigned bit, bool on) { *value = (*value & ~(UINT32_C(1) << bit)) | (uint32_t)on << bit; }

/* A power of 2, as the masks of APIC IDs need it. */
static unsigned id_bits(const struct vm *vm) { return vm->vcpus_count > 2 ? 2 : vm->vcpus_count - 1; }

static void leaf_1(const struct vcpu *vcpu, struct cpuid *r)
{
	enum {
		EBX_BRAND_AND_CLFLUSH = 0xffff,
		EDX_APIC = 9,
		EDX_HTT = 28,
		ECX_TSC_DEADLINE = 24,
		ECX_OSXSAVE = 27,
		ECX_HYPERVISOR = 31
	};

	r->ebx = (r->ebx & EBX_BRAND_AND_CLFLUSH) | 1u << id_bits(vcpu->vm) << 16 | vcpu->index << 24;
	r->ecx &= offered(1, 0, ECX);
	r->edx &= offered(1, 0, EDX);
	put(&r->ecx, ECX_TSC_DEADLINE, true);
	put(&r->ecx, ECX_OSXSAVE, vcpu_cr4(vcpu) & CR4_OSXSAVE);
	put(&r->ecx, ECX_HYPERVISOR, true);
	put(&r->edx, EDX_APIC, vcpu->apic.base & BIT(11));
	put(&r->edx, EDX_HTT, vcpu->vm->vcpus_count > 1);
}

/* Each vCPU is a core of one package, with caches of its own but the last. */
static void leaf_4(const struct vcpu *vcpu, struct cpuid *r)
{
	enum { EAX_TYPE = 0x1f, EAX_LEVEL_SHIFT = 5, EAX_DESCRIPTION = 0x3ff };
	uint32_t cores = (1u << id_bits(vcpu->vm)) - 1, sharing = (r->eax >> EAX_LEVEL_SHIFT & 7) > 2 ? cores : 0;

	if (r->eax & EAX_TYPE)
		r->eax = (r->eax & EAX_DESCRIPTION) | sharing << 14 | cores << 26;
}

static void leaf_7(const struct vcpu *vcpu, uint32_t subleaf, struct cpuid *r)
{
	enum { ECX_OSPKE = 4 };

	if (subleaf == 0) {
		r->eax = (uint32_t)min_u64(r->eax, 2);
		r->ebx &= offered(7, 0, EBX);
		r->ecx &= offered(7, 0, ECX);
		r->edx &= offered(7, 0, EDX);
		put(&r->ecx, ECX_OSPKE, vcpu_cr4(vcpu) & CR4_PKE);
	} else if (subleaf == 1) {
		*r = (struct cpuid){.eax = r->eax & offered(7, 1, EAX)};
	} else {
		*r = (struct cpuid){.edx = subleaf == 2 ? r->edx & offered(7, 2, EDX) : 0};
	}
}

/* Extended topology: threads (one in each core), then cores. */
static struct cpuid leaf_b(const struct vcpu *vcpu, uint32_t subleaf)
{
	enum { TYPE_SMT = 1 << 8, TYPE_CORE = 2 << 8 };

	if (subleaf == 0)
		return (struct cpuid){0, 1, TYPE_SMT, vcpu->index};
	if (subleaf == 1)
		return (struct cpuid){id_bits(vcpu->vm), vcpu->vm->vcpus_count, TYPE_CORE | 1, vcpu->index};
	return (struct cpuid){.ecx = subleaf & 0xff, .edx = vcpu->index};
}

/* How much memory XSAVE needs for these components; compacted: in the format of XSAVEC. SDM vol. 1, "XSAVE Area". */
static uint32_t xsave_size(uint64_t components, bool compacted)
{
	enum { HEADER_END = 576, ECX_ALIGNED = 1 << 1 };
	uint32_t end = HEADER_END;

	for (unsigned i = 2; i < 32; i++) {
		struct cpuid component;

		if (!(components & BIT(i)))
			continue;
		component = cpuid(0xd, i);
		if (!compacted)
			end = (uint32_t)max_u64(end, component.ebx + component.eax);
		else
			end = (uint32_t)ALIGN_UP(end, component.ecx & ECX_ALIGNED ? 64 : 1) + component.eax;
	}
	return end;
}

/* No supervisor state is offered. */
static void leaf_d(const struct vcpu *vcpu, uint32_t subleaf, struct cpuid *r)
{
	if (!vcpu->xcr0_offered)
		*r = (struct cpuid){0};
	else if (subleaf == 0)
		*r = (struct cpuid){(uint32_t)vcpu->xcr0_offered, xsave_size(vcpu->xcr0, false),
				    xsave_size(vcpu->xcr0_offered, false), 0};
	else if (subleaf == 1)
		*r = (struct cpuid){.eax = r->eax & offered(0xd, 1, EAX), .ebx = xsave_size(vcpu->xcr0, true)};
	else if (subleaf >= 32 || !(vcpu->xcr0_offered & BIT(subleaf)))
		*r = (struct cpuid){0};
}

/* The name that a hypervisor gives itself, in EBX, ECX and EDX. */
static struct cpuid signature(void)
{
	return (struct cpuid){0x40000000, 0x74666f53 /* Soft */, 0x56205456 /* VT V */, 0x20204d4d /* "MM  " */};
}

static struct cpuid answer(const struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
	enum { HIGHEST = 0x16, HIGHEST_EXTENDED = 0x80000008, INVARIANT_TSC = 1 << 8, ARAT = 1 << 2, LINEAR_BITS = 48 };
	/* EBX / EAX times the crystal's frequency is the TSC's. The crystal is also what the local APIC's timer counts. */
	enum { RATIO_BASE = 500 };
	struct cpuid r = cpuid(leaf, subleaf);

	switch (leaf) {
	case 0: r.eax = HIGHEST; return r;
	case 1: leaf_1(vcpu, &r); return r;
	case 2: return r;
	case 4: leaf_4(vcpu, &r); return r;
	case 6: return (struct cpuid){.eax = ARAT};
	case 7: leaf_7(vcpu, subleaf, &r); return r;
	case 0xb: return leaf_b(vcpu, subleaf);
	case 0xd: leaf_d(vcpu, subleaf, &r); return r;
	case 0x15: return (struct cpuid){RATIO_BASE, (uint32_t)(tsc_hz / (APIC_TIMER_HZ / RATIO_BASE)), APIC_TIMER_HZ, 0};
	case 0x16: return (struct cpuid){(uint32_t)(tsc_hz / 1000000), (uint32_t)(tsc_hz / 1000000), 100, 0};
	case 0x40000000: return signature();
	case 0x80000000: return (struct cpuid){.eax = (uint32_t)min_u64(r.eax, HIGHEST_EXTENDED)};
	case 0x80000001:
		return (struct cpuid){.ecx = r.ecx & offered(0x80000001, 0, ECX), .edx = r.edx & offered(0x80000001, 0, EDX)};
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
	case 0x80000005:
	case 0x80000006: return r;
	case 0x80000007: return (struct cpuid){.edx = INVARIANT_TSC};
	case 0x80000008: /* physical bits, and linear ones without LA57 */
		return (struct cpuid){.eax = (r.eax & 0xff) | LINEAR_BITS << 8, .ebx = r.ebx & offered(0x80000008, 0, EBX)};
	default: return (struct cpuid){0};
	}
}

void exit_cpuid(struct vcpu *vcpu)
{
	struct cpuid r = answer(vcpu, (uint32_t)vcpu->registers[RAX], (uint32_t)vcpu->registers[RCX]);

	vcpu->registers[RAX] = r.eax;
	vcpu->registers[RBX] = r.ebx;
	vcpu->registers[RCX] = r.ecx;
	vcpu->registers[RDX] = r.edx;
	vcpu_skip(vcpu);
}

/* Which combinations are allowed: SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features". The processor
   refuses the others. */
void exit_xsetbv(struct vcpu *vcpu)
{
	uint64_t value = (vcpu->registers[RAX] & BITS(31, 0)) | vcpu->registers[RDX] << 32;

	if ((uint32_t)vcpu->registers[RCX] != 0 || (value & ~vcpu->xcr0_offered) || !xsetbv_safe(0, value)) {
		vcpu_raise_gp(vcpu);
		return;
	}
	vcpu->xcr0 = value;
	vcpu_skip(vcpu);
}

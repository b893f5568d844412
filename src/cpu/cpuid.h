/*
 * CPU models: what CPUID says, and which features the machine therefore has. SDM vol. 2, "CPUID"; names as QEMU spells
 * them.
 */
#pragma once

#include "base/error.h"
#include "base/types.h"

struct cpu;

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Every CPUID feature bit the project knows: FEATURE(id, "name", leaf, subleaf, register, bit, by) in
 * spec/cpuid_features.def. */
enum feature {
#define FEATURE(id, name, leaf, subleaf, reg, bit, by) FEATURE_##id,
#include "cpuid_features.def"
#undef FEATURE
	FEATURE_COUNT
};

struct cpu_model {
	char name[64];
	uint64_t features[(FEATURE_COUNT + 63) / 64]; /* offered to the guest */
	unsigned family, model, stepping;
	unsigned physical_bits; /* MAXPHYADDR */
	unsigned linear_bits;	/* 48 or 57 */
	char brand[49];
	uint32_t max_leaf;		    /* CPUID.0H:EAX */
	uint64_t xcr0_allowed, xss_allowed; /* state components that XSETBV and IA32_XSS accept */
};

static inline bool model_has(const struct cpu_model *model, enum feature feature)
{
	return model->features[feature / 64] >> (feature % 64) & 1;
}

/* Where CPUID shows a feature, and by what name. */
struct feature_info {
	const char *name;
	uint32_t leaf, subleaf;
	uint8_t reg; /* enum cpuid_register */
	uint8_t bit;
};
extern const struct feature_info feature_info[FEATURE_COUNT];

/*
 * Parse "-cpu NAME,+feat,-feat,feat=on|off,phys-bits=N". A feature that neither the engine nor the host can give is
 * switched off, and named in *warning (else empty) when it was asked for by name. False: *error names the unknown model
 * or feature and the nearest known one.
 *
 * host_has says which of the features marked HOST the host CPU can run: host_has_feature() of exec/host.h.
 */
MUST_CHECK bool cpu_model_parse(const char *spec, bool (*host_has)(enum feature), struct cpu_model *model,
				struct error *warning, struct error *error);

/* Lines for -cpu help, to a FILE-like sink. */
void cpu_model_list(void (*line)(void *ctx, const char *text), void *ctx);

/* CPUID as the guest sees it now. OSXSAVE, APIC id, XSAVE sizes depend on the vCPU's state; topology leaves on
 * cpu->apic_id and cpu->topology. */
void cpuid_get(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4] /* eax ebx ecx edx */);

/* Family, model and stepping as CPUID.01H:EAX and EDX after reset show them. */
uint32_t cpu_signature(const struct cpu_model *model);

/* IA32_XSTATE layout: size and offset of a component in the standard format; 0 when not offered. */
unsigned xstate_size(unsigned component);
unsigned xstate_offset(unsigned component);

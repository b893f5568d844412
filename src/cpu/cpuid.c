/*
 * What CPUID says: SDM vol. 2, "CPUID". Constants that describe no feature (caches, topology, frequencies) are here;
 * features come from the model.
 *
 * One package, one thread per core. The time stamp counter and the local APIC's timer run at 1 GHz. PT, RDT
 * and SGX leaves are 0: absent. There is no hypervisor leaf.
 */
#include "cpu/cpuid.h"
#include "cpu/msr.h"

const struct feature_info feature_info[FEATURE_COUNT] = {
#define FEATURE(id, text, leaf_number, subleaf_number, register, bit_number, by) \
	[FEATURE_##id] = {.name = text,                                          \
			  .leaf = leaf_number,                                   \
			  .subleaf = subleaf_number,                             \
			  .reg = CPUID_##register,                               \
			  .bit = bit_number},
#include "cpuid_features.def"
#undef FEATURE
};

#define EXTENDED	 0x80000000u
#define EXTENDED_MAX	 0x80000008u
#define XSAVE_HEADER_END 576

/* SDM vol. 1, "Organization of the XSAVE Area": the standard format. */
static const struct {
	uint16_t size, offset;
} xstate[] = {[2] = {256, 576}, [5] = {64, 1088}, [6] = {512, 1152}, [7] = {1024, 1664}, [9] = {8, 2688}};

unsigned xstate_size(unsigned component)
{
	return component < ARRAY_SIZE(xstate) ? xstate[component].size : 0;
}

unsigned xstate_offset(unsigned component)
{
	return component < ARRAY_SIZE(xstate) ? xstate[component].offset : 0;
}

static unsigned standard_size(uint64_t components)
{
	unsigned end = XSAVE_HEADER_END;

	for (unsigned i = 2; i < ARRAY_SIZE(xstate); i++)
		if (components >> i & 1 && xstate[i].offset + xstate[i].size > end)
			end = xstate[i].offset + xstate[i].size;
	return end;
}

static unsigned compacted_size(uint64_t components)
{
	unsigned end = XSAVE_HEADER_END;

	for (unsigned i = 2; i < ARRAY_SIZE(xstate); i++)
		if (components >> i & 1)
			end += xstate[i].size;
	return end;
}

uint32_t cpu_signature(const struct cpu_model *model)
{
	unsigned family = model->family < 15 ? model->family : 15;

	return (model->family - family) << 20 | (model->model >> 4) << 16 | family << 8 | (model->model & 15) << 4 |
	       model->stepping;
}

static void features(const struct cpu_model *model, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (feature_info[i].leaf == leaf && feature_info[i].subleaf == subleaf &&
		    model_has(model, (enum feature)i))
			out[feature_info[i].reg] |= 1u << feature_info[i].bit;
}

/* The highest subleaf of a leaf that shows a feature. */
static uint32_t last_subleaf(const struct cpu_model *model, uint32_t leaf)
{
	uint32_t last = 0;

	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (feature_info[i].leaf == leaf && feature_info[i].subleaf > last && model_has(model, (enum feature)i))
			last = feature_info[i].subleaf;
	return last;
}

static void set(uint32_t out[4], enum feature feature, bool value)
{
	uint32_t bit = 1u << feature_info[feature].bit;

	out[feature_info[feature].reg] =
		value ? out[feature_info[feature].reg] | bit : out[feature_info[feature].reg] & ~bit;
}

/* All of these IDs: the field is for numbers below 2^shift. */
static uint32_t most_id(unsigned shift)
{
	return (1u << shift) - 1;
}

static void leaf_1(const struct cpu *cpu, uint32_t out[4])
{
	const struct cpu_model *model = cpu->model;

	out[CPUID_EAX] = cpu_signature(model);
	out[CPUID_EBX] = (cpu->apic_id & 0xff) << 24 | 64 / 8 << 8;
	if (topology_per_package(&cpu->topology) > 1)
		out[CPUID_EBX] |= (uint32_t)min_u64(most_id(topology_package_shift(&cpu->topology)) + 1, 255) << 16;
	if (!(cpu->apic_base & BIT(11)))
		set(out, FEATURE_APIC, false);
	if (!(cpu->misc_enable & MISC_ENABLE_MONITOR))
		set(out, FEATURE_MONITOR, false);
	set(out, FEATURE_OSXSAVE, cpu->cr4 & CR4_OSXSAVE);
	set(out, FEATURE_HTT, topology_per_package(&cpu->topology) > 1);
}

/* Deterministic cache parameters: a core's threads share its caches, a die's cores the last one. */
static void leaf_4(const struct cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
	static const struct {
		uint8_t type, level;
		uint16_t ways, sets;
	} cache[] = {
		{1, 1, 8, 64},	   /* 32 KiB data */
		{2, 1, 8, 64},	   /* 32 KiB instructions */
		{3, 2, 16, 1024},  /* 1 MiB */
		{3, 3, 16, 16384}, /* 16 MiB, shared */
	};
	const struct cpu_topology *t = &cpu->topology;
	unsigned core = topology_core_shift(t), die = topology_die_shift(t), package = topology_package_shift(t);

	if (subleaf >= ARRAY_SIZE(cache))
		return;
	out[CPUID_EAX] = cache[subleaf].type | cache[subleaf].level << 5 | 1 << 8 /* self-initializing */ |
			 (uint32_t)min_u64(most_id(cache[subleaf].level == 3 ? die : core), 0xfff) << 14 |
			 (uint32_t)min_u64(most_id(package - core), 63) << 26;
	out[CPUID_EBX] = (cache[subleaf].ways - 1u) << 22 | (64 - 1);
	out[CPUID_ECX] = cache[subleaf].sets - 1u;
}

/* Extended topology: threads, cores, and in leaf 1FH dies. Leaf 0BH knows none: its cores are the package's. */
static void leaf_topology(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	enum { INVALID, SMT, CORE, DIE = 5 };
	const struct cpu_topology *t = &cpu->topology;
	bool dies = leaf == 0x1f && t->dies > 1;
	unsigned type = INVALID;

	if (subleaf == 0) {
		type = SMT;
		out[CPUID_EAX] = topology_core_shift(t);
		out[CPUID_EBX] = t->threads;
	} else if (subleaf == 1) {
		type = CORE;
		out[CPUID_EAX] = dies ? topology_die_shift(t) : topology_package_shift(t);
		out[CPUID_EBX] = dies ? topology_per_die(t) : topology_per_package(t);
	} else if (subleaf == 2 && dies) {
		type = DIE;
		out[CPUID_EAX] = topology_package_shift(t);
		out[CPUID_EBX] = topology_per_package(t);
	}
	out[CPUID_ECX] = (subleaf & 0xff) | type << 8;
	out[CPUID_EDX] = cpu->apic_id;
}

/* Architectural performance monitoring: exec/pmu.c. The version is a feature. */
static void leaf_a(const struct cpu_model *model, uint32_t out[4])
{
	const unsigned events = 7;
	const uint32_t absent = BIT(3) | BIT(4) | BIT(5) | BIT(6); /* last-level cache, branches */

	if (!model_has(model, FEATURE_PERFMON))
		return;
	out[CPUID_EAX] |= PMU_COUNTERS << 8 | 48 << 16 | events << 24;
	out[CPUID_EBX] = absent;
	out[CPUID_EDX] = PMU_FIXED | 48 << 5;
}

static void leaf_d(const struct cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
	const struct cpu_model *model = cpu->model;

	if (!model_has(model, FEATURE_XSAVE))
		return;
	if (subleaf == 0) {
		out[CPUID_EAX] = (uint32_t)model->xcr0_allowed;
		out[CPUID_EBX] = standard_size(cpu->fpu.xcr0);
		out[CPUID_ECX] = standard_size(model->xcr0_allowed);
		out[CPUID_EDX] = model->xcr0_allowed >> 32;
	} else if (subleaf == 1) {
		if (model_has(model, FEATURE_XSAVEC) || model_has(model, FEATURE_XSAVES))
			out[CPUID_EBX] = compacted_size(cpu->fpu.xcr0 | cpu->fpu.xss);
		out[CPUID_ECX] = (uint32_t)model->xss_allowed;
		out[CPUID_EDX] = model->xss_allowed >> 32;
	} else if (subleaf < 64 && (model->xcr0_allowed | model->xss_allowed) >> subleaf & 1) {
		out[CPUID_EAX] = xstate_size(subleaf);
		out[CPUID_EBX] = model->xss_allowed >> subleaf & 1 ? 0 : xstate_offset(subleaf);
		out[CPUID_ECX] = model->xss_allowed >> subleaf & 1;
	}
}

static void basic(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct cpu_model *model = cpu->model;

	switch (leaf) {
	case 0:
		out[CPUID_EAX] = cpu->misc_enable & MISC_ENABLE_LIMIT_CPUID ? 2 : model->max_leaf;
		memcpy(&out[CPUID_EBX], "Genu", 4);
		memcpy(&out[CPUID_EDX], "ineI", 4);
		memcpy(&out[CPUID_ECX], "ntel", 4);
		break;
	case 1: leaf_1(cpu, out); break;
	case 2: /* TLBs; FFH: caches are in leaf 4 */
		out[CPUID_EAX] = 0x76036301;
		out[CPUID_EBX] = 0x00f0b5ff;
		out[CPUID_EDX] = 0x00c30000;
		break;
	case 4: leaf_4(cpu, subleaf, out); break;
	case 5: /* MONITOR lines of 64 bytes; no extensions, so MWAIT has C1 alone */
		if (model_has(model, FEATURE_MONITOR))
			out[CPUID_EAX] = out[CPUID_EBX] = 64;
		break;
	case 7:
		if (subleaf == 0) {
			set(out, FEATURE_OSPKE, cpu->cr4 & CR4_PKE);
			out[CPUID_EAX] = last_subleaf(model, 7);
		}
		break;
	case 0xa: leaf_a(model, out); break;
	case 0xb:
	case 0x1f: leaf_topology(cpu, leaf, subleaf, out); break;
	case 0xd: leaf_d(cpu, subleaf, out); break;
	case 0x15: /* TSC = crystal * EBX / EAX; the crystal also drives the local APIC's timer */
		out[CPUID_EAX] = out[CPUID_EBX] = 1;
		out[CPUID_ECX] = 1000000000;
		break;
	case 0x16: /* MHz: base, most, bus */
		out[CPUID_EAX] = out[CPUID_EBX] = 1000;
		out[CPUID_ECX] = 100;
		break;
	}
}

static void extended(const struct cpu *cpu, uint32_t leaf, uint32_t out[4])
{
	const struct cpu_model *model = cpu->model;

	switch (leaf) {
	case EXTENDED: out[CPUID_EAX] = EXTENDED_MAX; break;
	case EXTENDED + 1: /* SYSCALL shows in 64-bit mode alone */
		if (!cpu_64bit(cpu))
			set(out, FEATURE_SYSCALL, false);
		if (cpu->misc_enable & MISC_ENABLE_XD_DISABLE)
			set(out, FEATURE_NX, false);
		break;
	case EXTENDED + 2:
	case EXTENDED + 3:
	case EXTENDED + 4: memcpy(out, model->brand + 16 * (leaf - EXTENDED - 2), 16); break;
	case EXTENDED + 6: /* L2: KiB, 16 ways, 64-byte lines */ out[CPUID_ECX] = 1024 << 16 | 8 << 12 | 64; break;
	case EXTENDED + 8: out[CPUID_EAX] = model->linear_bits << 8 | model->physical_bits; break;
	}
}

void cpuid_get(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(out[0]));
	/* Beyond the last leaf: what the highest basic leaf says. */
	if (leaf >= EXTENDED ? leaf > EXTENDED_MAX : leaf > cpu->model->max_leaf)
		leaf = cpu->model->max_leaf;
	features(cpu->model, leaf, leaf == 7 || leaf == 0xd ? subleaf : 0, out);
	if (leaf >= EXTENDED)
		extended(cpu, leaf, out);
	else
		basic(cpu, leaf, subleaf, out);
}

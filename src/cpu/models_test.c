/*
 * -cpu and CPUID: what models promise, what options change, and that nothing is offered which the engine or the host
 * lacks.
 */
#include "cpu/cpuid.h"
#include "cpu/msr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static bool has_all(enum feature feature)
{
	return true;
}

/* A host without AVX. */
static bool has_sse(enum feature feature)
{
	return feature != FEATURE_AVX && feature != FEATURE_AVX2 && feature != FEATURE_AVX512F;
}

static struct error warning, error;

static struct cpu_model parsed(const char *spec)
{
	struct cpu_model model;

	if (!cpu_model_parse(spec, has_all, &model, &warning, &error))
		fail_msg("%s: %s", spec, error.text);
	return model;
}

static void unknown_names_suggest_the_nearest(void **state)
{
	struct cpu_model model;

	assert_false(cpu_model_parse("Skylake-Servr", has_all, &model, &warning, &error));
	assert_string_equal(error.text, "unknown CPU model 'Skylake-Servr'; the nearest known one is 'Skylake-Server'");
	assert_false(cpu_model_parse("max,+avx2x", has_all, &model, &warning, &error));
	assert_string_equal(error.text, "unknown CPU feature 'avx2x'; the nearest known one is 'avx2'");
	assert_false(cpu_model_parse("", has_all, &model, &warning, &error));
	assert_false(cpu_model_parse("max,avx2=maybe", has_all, &model, &warning, &error));
	assert_false(cpu_model_parse("max,phys-bits=99", has_all, &model, &warning, &error));
}

static void every_model_parses(void **state)
{
	static const char *const names[] = {
#define MODEL(name, parent, family, model, stepping, max_leaf, physical_bits, features) name,
#include "cpu_models.def"
#undef MODEL
		"host",
		"Haswell-noTSX",
		"Haswell-noTSX-IBRS",
		"Skylake-Server-v4",
		"Icelake-Server-noTSX",
		"Cascadelake-Server-v5",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		parsed(names[i]);
		assert_string_equal(warning.text, "");
	}
}

/* The x86-64-v3 level of the psABI, which some userlands are built for. */
static void haswell_is_x86_64_v3(void **state)
{
	static const enum feature needed[] = {
		FEATURE_CX16,  FEATURE_LAHF_LM, FEATURE_POPCNT, FEATURE_SSE3,  FEATURE_SSE41, FEATURE_SSE42,
		FEATURE_SSSE3, FEATURE_AVX,	FEATURE_AVX2,	FEATURE_BMI1,  FEATURE_BMI2,  FEATURE_F16C,
		FEATURE_FMA,   FEATURE_LZCNT,	FEATURE_MOVBE,	FEATURE_XSAVE,
	};
	struct cpu_model haswell = parsed("Haswell"), max = parsed("max");

	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		assert_true(model_has(&haswell, needed[i]));
		assert_true(model_has(&max, needed[i]));
	}
}

static void options_switch_features(void **state)
{
	struct cpu_model model = parsed("Nehalem,+bmi1,-sse4.2,x2apic=off,rdrand=on,hypervisor=off");

	assert_true(model_has(&model, FEATURE_BMI1));
	assert_true(model_has(&model, FEATURE_RDRAND));
	assert_false(model_has(&model, FEATURE_SSE42));
	assert_false(model_has(&model, FEATURE_X2APIC));
	assert_false(model_has(&model, FEATURE_HYPERVISOR));
	assert_string_equal(warning.text, "");
	assert_int_equal(parsed("IvyBridge,phys-bits=36,host-phys-bits=off").physical_bits, 36);
	parsed("max,migratable=no,check,kvm=off,-vmx-mbec,+sse4_1,+sse42,+avx512_vnni,pmu=on,lmce=off");
	assert_string_equal(warning.text, "");
}

static void absent_features_are_named(void **state)
{
	struct cpu_model model = parsed("max,+rtm,+hle");

	assert_false(model_has(&model, FEATURE_RTM));
	assert_string_equal(warning.text, "CPU feature 'hle' is not modelled; CPU feature 'rtm' is not modelled");
	assert_false(cpu_model_parse("max,+rtm,enforce", has_all, &model, &warning, &error));
	assert_non_null(strstr(error.text, "'rtm'"));
	/* max is whatever there is, a named model is a promise. */
	assert_true(cpu_model_parse("max,enforce", has_sse, &model, &warning, &error));
	assert_true(cpu_model_parse("host,enforce", has_sse, &model, &warning, &error));
	assert_false(cpu_model_parse("max,+avx,enforce", has_sse, &model, &warning, &error));
	assert_false(cpu_model_parse("Haswell,enforce", has_sse, &model, &warning, &error));
}

static void features_need_others(void **state)
{
	struct cpu_model model = parsed("max,-xsave");

	assert_false(model_has(&model, FEATURE_AVX));
	assert_false(model_has(&model, FEATURE_AVX512VL));
	assert_false(model_has(&model, FEATURE_PKU));
	assert_int_equal(model.xcr0_allowed, 0);
	assert_true(cpu_model_parse("Haswell,+fma", has_sse, &model, &warning, &error));
	assert_false(model_has(&model, FEATURE_FMA));
	assert_int_equal(model.xcr0_allowed, 3);
	assert_string_equal(warning.text, "CPU feature 'fma' needs avx");
}

struct fixture {
	struct cpu_model model;
	struct cpu cpu;
};

static struct cpu *cpu_of(struct fixture *f, const char *spec, unsigned cpus)
{
	*f = (struct fixture){.model = parsed(spec)};
	f->cpu.model = &f->model;
	f->cpu.cpus = cpus;
	f->cpu.topology = (struct cpu_topology){1, 1, cpus, 1};
	cpu_reset(&f->cpu, false);
	return &f->cpu;
}

/* Every offered feature shows at its place, every other one is 0. */
static void features_show_at_their_places(void **state)
{
	struct fixture f;
	struct cpu *cpu = cpu_of(&f, "max", 1);
	uint32_t out[4];

	cpu->efer = EFER_LMA;
	cpu->seg[CS].ar |= AR_L;
	for (unsigned i = 0; i < FEATURE_COUNT; i++) {
		cpuid_get(cpu, feature_info[i].leaf, feature_info[i].subleaf, out);
		if (((out[feature_info[i].reg] >> feature_info[i].bit & 1) != 0) !=
		    model_has(&f.model, (enum feature)i))
			fail_msg("%s", feature_info[i].name);
	}
}

static void state_shows(void **state)
{
	struct fixture f;
	struct cpu *cpu = cpu_of(&f, "max", 4);
	uint32_t out[4];

	cpu->apic_id = 3;
	cpuid_get(cpu, 1, 0, out);
	assert_int_equal(out[CPUID_EBX], 3 << 24 | 4 << 16 | 8 << 8);
	assert_true(out[CPUID_EDX] & BIT(28));
	assert_false(out[CPUID_ECX] & BIT(27));
	assert_true(out[CPUID_EDX] & BIT(9));
	cpu->cr4 = CR4_OSXSAVE | CR4_PKE;
	cpu->apic_base = 0;
	cpu->misc_enable = 0;
	cpuid_get(cpu, 1, 0, out);
	assert_true(out[CPUID_ECX] & BIT(27));
	assert_false(out[CPUID_ECX] & BIT(3)); /* MONITOR */
	assert_false(out[CPUID_EDX] & BIT(9));
	cpuid_get(cpu, 7, 0, out);
	assert_true(out[CPUID_ECX] & BIT(4)); /* OSPKE */
	cpuid_get(cpu, 0x80000001, 0, out);
	assert_false(out[CPUID_EDX] & BIT(11)); /* SYSCALL outside 64-bit mode */
	cpuid_get(cpu, 0xb, 1, out);
	assert_int_equal(out[CPUID_EAX], 2);
	assert_int_equal(out[CPUID_EBX], 4);
	assert_int_equal(out[CPUID_ECX], 0x201);
	assert_int_equal(out[CPUID_EDX], 3);
}

/* SDM vol. 3, "Hierarchical Mapping of CPUID Extended Topology Leaf" and "... Shared Resources". */
static void topology_shows(void **state)
{
	static const uint32_t ids[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 24};
	struct fixture f;
	struct cpu *cpu = cpu_of(&f, "max", 1);
	uint32_t out[4];

	/* Two sockets of two dies of three cores of two threads. */
	cpu->topology = (struct cpu_topology){2, 2, 3, 2};
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		assert_int_equal(topology_apic_id(&cpu->topology, i), ids[i]);
	assert_int_equal(topology_all(&cpu->topology), 24);
	assert_int_equal(topology_apic_id(&cpu->topology, 23), 29);
	cpu->apic_id = 29;
	cpuid_get(cpu, 1, 0, out);
	assert_int_equal(out[CPUID_EBX] >> 24, 29);
	assert_int_equal(out[CPUID_EBX] >> 16 & 255, 16); /* IDs that the package takes up */
	assert_true(out[CPUID_EDX] & BIT(28));
	cpuid_get(cpu, 4, 2, out); /* the second-level cache is a core's */
	assert_int_equal(out[CPUID_EAX] >> 14 & 0xfff, 1);
	cpuid_get(cpu, 4, 3, out); /* the third-level one a die's; cores of the package */
	assert_int_equal(out[CPUID_EAX] >> 14 & 0xfff, 7);
	assert_int_equal(out[CPUID_EAX] >> 26, 7);
	for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x1f - 0xb) {
		static const uint32_t levels[2][4][3] = {{{1, 2, 0x100}, {4, 12, 0x201}, {0, 0, 2}, {0, 0, 3}},
							 {{1, 2, 0x100}, {3, 6, 0x201}, {4, 12, 0x502}, {0, 0, 3}}};

		for (unsigned subleaf = 0; subleaf < 4; subleaf++) {
			cpuid_get(cpu, leaf, subleaf, out);
			assert_memory_equal(out, levels[leaf == 0x1f][subleaf], 12);
			assert_int_equal(out[CPUID_EDX], 29);
		}
	}
	/* A processor in a socket of its own has no siblings. */
	cpu->topology = (struct cpu_topology){4, 1, 1, 1};
	cpuid_get(cpu, 1, 0, out);
	assert_int_equal(out[CPUID_EBX] >> 16 & 255, 0);
	assert_false(out[CPUID_EDX] & BIT(28));
	assert_int_equal(topology_apic_id(&cpu->topology, 3), 3);
}

/* SDM vol. 1, "XSAVE-Managed State": sizes follow XCR0. */
static void xsave_sizes(void **state)
{
	struct fixture f;
	struct cpu *cpu = cpu_of(&f, "max", 1);
	uint32_t out[4];

	cpuid_get(cpu, 0xd, 0, out);
	assert_int_equal(out[CPUID_EAX], 0x2e7);
	assert_int_equal(out[CPUID_EBX], 576);
	assert_int_equal(out[CPUID_ECX], 2696);
	cpu->fpu.xcr0 = 7;
	cpuid_get(cpu, 0xd, 0, out);
	assert_int_equal(out[CPUID_EBX], 832);
	cpu->fpu.xcr0 = 0x207;
	cpuid_get(cpu, 0xd, 0, out);
	assert_int_equal(out[CPUID_EBX], 2696);
	cpuid_get(cpu, 0xd, 1, out);
	assert_int_equal(out[CPUID_EAX], 15);
	assert_int_equal(out[CPUID_EBX], 576 + 256 + 8);
	cpuid_get(cpu, 0xd, 6, out);
	assert_int_equal(out[CPUID_EAX], 512);
	assert_int_equal(out[CPUID_EBX], 1152);
	cpuid_get(cpu, 0xd, 3, out);
	assert_int_equal(out[CPUID_EAX] | out[CPUID_EBX] | out[CPUID_ECX] | out[CPUID_EDX], 0);
	cpu = cpu_of(&f, "qemu64", 1);
	cpuid_get(cpu, 0xd, 0, out);
	assert_int_equal(out[CPUID_EAX] | out[CPUID_EBX] | out[CPUID_ECX] | out[CPUID_EDX], 0);
}

static void leaves_beyond_the_last(void **state)
{
	struct fixture f;
	struct cpu *cpu = cpu_of(&f, "Nehalem", 2);
	uint32_t last[4], out[4];

	cpuid_get(cpu, 0, 0, out);
	assert_int_equal(out[CPUID_EAX], 11);
	assert_memory_equal(&out[CPUID_EBX], "Genu", 4);
	cpuid_get(cpu, 11, 1, last);
	cpuid_get(cpu, 0x40000000, 1, out);
	assert_memory_equal(out, last, sizeof(out));
	cpuid_get(cpu, 0x80000009, 1, out);
	assert_memory_equal(out, last, sizeof(out));
	cpu->misc_enable |= MISC_ENABLE_LIMIT_CPUID;
	cpuid_get(cpu, 0, 0, out);
	assert_int_equal(out[CPUID_EAX], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_names_suggest_the_nearest),
		cmocka_unit_test(every_model_parses),
		cmocka_unit_test(haswell_is_x86_64_v3),
		cmocka_unit_test(options_switch_features),
		cmocka_unit_test(absent_features_are_named),
		cmocka_unit_test(features_need_others),
		cmocka_unit_test(features_show_at_their_places),
		cmocka_unit_test(state_shows),
		cmocka_unit_test(topology_shows),
		cmocka_unit_test(xsave_sizes),
		cmocka_unit_test(leaves_beyond_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Named CPU models and the -cpu option: which features a machine's processors have.
 *
 * A feature is offered when the model or the user asks for it, the engine or the host has it, and all that it needs is
 * offered too. SDM vol. 1, sections on detection say what needs what.
 */
#include "cpu/cpuid.h"
#include "base/bits.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum source { BY_ENGINE, BY_HOST, BY_STATE, BY_ABSENT };

static const uint8_t feature_source[FEATURE_COUNT] = {
#define FEATURE(id, name, leaf, subleaf, reg, bit, by) [FEATURE_##id] = BY_##by,
#include "cpuid_features.def"
#undef FEATURE
};

struct row {
	const char *name, *parent;
	unsigned family, model, stepping;
	uint32_t max_leaf;
	unsigned physical_bits;
	const char *features;
};

static const struct row rows[] = {
#define MODEL(name, parent, family, model, stepping, max_leaf, physical_bits, features) \
	{name, parent, family, model, stepping, max_leaf, physical_bits, features},
#include "cpu_models.def"
#undef MODEL
};

/* A feature and one that it cannot do without. Chains are followed. */
static const struct {
	uint16_t feature, needs;
} needs[] = {
/* clang-format off */
#define N(feature, needed) {FEATURE_##feature, FEATURE_##needed}
	N(FXSR, FPU), N(MMX, FPU), N(SSE, FXSR), N(SSE2, SSE), N(SSE3, SSE2), N(SSSE3, SSE2), N(SSE41, SSE2), N(SSE42, SSE2),
	N(AES, SSE2), N(PCLMULQDQ, SSE2), N(SHA, SSE2), N(GFNI, SSE2), N(XSAVE, FXSR), N(XSAVEOPT, XSAVE), N(XSAVEC, XSAVE),
	N(XSAVES, XSAVEC), N(XGETBV1, XSAVE), N(PKU, XSAVE), N(PKU, PAE), N(AVX, XSAVE), N(AVX, SSE2), N(F16C, AVX), N(FMA, AVX),
	N(AVX2, AVX), N(VAES, AVX), N(VAES, AES), N(VPCLMULQDQ, AVX), N(VPCLMULQDQ, PCLMULQDQ), N(AVX_VNNI, AVX2), N(AVX512F, AVX2),
	N(AVX512F, FMA), N(AVX512F, F16C), N(AVX512DQ, AVX512F), N(AVX512BW, AVX512F), N(AVX512CD, AVX512F), N(AVX512VL, AVX512F),
	N(AVX512_IFMA, AVX512F), N(AVX512_VBMI, AVX512BW), N(AVX512_VBMI2, AVX512BW), N(AVX512_VNNI, AVX512F),
	N(AVX512_BITALG, AVX512BW), N(AVX512_VPOPCNTDQ, AVX512F), N(AVX512_VP2INTERSECT, AVX512F), N(AVX512_BF16, AVX512BW),
	N(AVX512_FP16, AVX512BW), N(PSE36, PSE), N(PAE, CX8), N(NX, PAE), N(LM, PAE), N(LM, MSR), N(LM, SYSCALL), N(SYSCALL, MSR),
	N(SEP, MSR), N(X2APIC, APIC), N(X2APIC, MSR), N(TSC_DEADLINE, APIC), N(TSC_DEADLINE, TSC), N(TSC_ADJUST, TSC),
	N(TSC_ADJUST, MSR), N(INVTSC, TSC), N(RDTSCP, TSC), N(RDTSCP, MSR), N(MTRR, MSR), N(MCE, MSR), N(MCA, MCE), N(PCID, LM),
	N(PCID, PGE), N(LA57, LM), N(FSGSBASE, LM), N(CX16, LM), N(CX16, CX8), N(LAHF_LM, LM), N(PDPE1GB, LM), N(WAITPKG, TSC),
	N(MONITOR, MSR), N(CLFLUSHOPT, CLFSH), N(CLWB, CLFSH), N(FSRM, ERMS), N(SSBD, SPEC_CTRL), N(STIBP, SPEC_CTRL), N(BHI_CTRL, SPEC_CTRL),
	N(ARCH_CAPABILITIES, MSR), N(SPEC_CTRL, MSR),
/* clang-format on */
#undef N
};

static const char *const aliases[][2] = {
	{"sse3", "pni"},
	{"xd", "nx"},
	{"i64", "lm"},
	{"lzcnt", "abm"},
	{"pclmuldq", "pclmulqdq"},
	{"prefetchw", "3dnowprefetch"},
};

/* Properties of QEMU's that say nothing to us: about migration, KVM, or how CPUID is presented. */
static const char *const tolerated[] = {
	"check",
	"migratable",
	"pmu",
	"l3-cache",
	"legacy-cache",
	"host-cache-info",
	"host-phys-bits",
	"host-phys-bits-limit",
	"tcg-cpuid",
	"fill-mtrr-mask",
	"full-cpuid-auto-level",
	"lmce",
	"level",
	"xlevel",
	"min-level",
	"min-xlevel",
	"cpuid-0xb",
	"start-powered-off",
};

static void put(struct cpu_model *model, unsigned feature, bool on)
{
	uint64_t bit = BIT(feature % 64);

	model->features[feature / 64] = on ? model->features[feature / 64] | bit : model->features[feature / 64] & ~bit;
}

/* People and kernels write sse4.1, sse4_1, sse4-1 and sse41. */
static bool same_name(const char *a, const char *b)
{
	for (;;) {
		while (*a && strchr("-_.", *a))
			a++;
		while (*b && strchr("-_.", *b))
			b++;
		if (*a != *b)
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static int find_feature(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (strcmp(name, aliases[i][0]) == 0)
			name = aliases[i][1];
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (same_name(name, feature_info[i].name))
			return (int)i;
	return -1;
}

static const struct row *find_row(const char *name, size_t length)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].name) == length && strncmp(rows[i].name, name, length) == 0)
			return &rows[i];
	return NULL;
}

/* Levenshtein's distance, for words up to 63 letters. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64], diagonal, length = (unsigned)min_u64(strlen(b), 63);

	for (unsigned j = 0; j <= length; j++)
		row[j] = j;
	for (unsigned i = 1; *a; i++, a++) {
		diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= length; j++) {
			unsigned change = diagonal + (tolower((unsigned char)*a) != tolower((unsigned char)b[j - 1]));

			diagonal = row[j];
			row[j] = (unsigned)min_u64(min_u64(row[j], row[j - 1]) + 1, change);
		}
	}
	return row[length];
}

struct nearest {
	const char *wanted, *name;
	unsigned distance;
};

static void consider(struct nearest *nearest, const char *name)
{
	unsigned d = distance(nearest->wanted, name);

	if (!nearest->name || d < nearest->distance) {
		nearest->name = name;
		nearest->distance = d;
	}
}

static bool unknown_model(const char *name, struct error *error)
{
	struct nearest nearest = {.wanted = name};

	consider(&nearest, "host");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		consider(&nearest, rows[i].name);
	return error_set(error, "unknown CPU model '%s'; the nearest known one is '%s'", name, nearest.name);
}

static bool unknown_feature(const char *name, struct error *error)
{
	struct nearest nearest = {.wanted = name};

	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		consider(&nearest, feature_info[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(tolerated); i++)
		consider(&nearest, tolerated[i]);
	return error_set(error, "unknown CPU feature '%s'; the nearest known one is '%s'", name, nearest.name);
}

/* Length of the model's name without QEMU's suffixes for variants that do not differ here; *ibrs: "-IBRS" asks for
 * spec-ctrl. */
static size_t base_length(const char *name, bool *ibrs)
{
	size_t length = strlen(name), end = length;

	*ibrs = false;
	while (end > 0 && isdigit((unsigned char)name[end - 1]))
		end--;
	if (end < length && end > 2 && name[end - 1] == 'v' && name[end - 2] == '-')
		length = end - 2;
	if (length > 5 && strncmp(name + length - 5, "-IBRS", 5) == 0) {
		*ibrs = true;
		length -= 5;
	}
	if (length > 6 && strncmp(name + length - 6, "-noTSX", 6) == 0)
		length -= 6;
	return length;
}

static void add_features(struct cpu_model *model, const char *names)
{
	char name[32];
	size_t length;

	for (; *names; names += length) {
		names += strspn(names, " ");
		length = strcspn(names, " ");
		if (length == 1 && *names == '*') {
			for (unsigned i = 0; i < FEATURE_COUNT; i++)
				if (feature_source[i] == BY_ENGINE || feature_source[i] == BY_HOST)
					put(model, i, true);
		} else if (length && length < sizeof(name)) {
			memcpy(name, names, length);
			name[length] = 0;
			put(model, (unsigned)find_feature(name), true);
		}
	}
}

static void add_row(struct cpu_model *model, const struct row *row)
{
	if (row->parent)
		add_row(model, find_row(row->parent, strlen(row->parent)));
	add_features(model, row->features);
}

struct parse {
	struct cpu_model *model;
	bool asked[FEATURE_COUNT]; /* switched on by name */
	bool enforce;
	bool what_there_is; /* max and host promise nothing: what is missing was not theirs */
	struct error *warning, *error;
};

static void warn(struct error *warning, const char *format, ...) PRINTF(2, 3);

/* Sentences are joined by "; ". */
static void warn(struct error *warning, const char *format, ...)
{
	size_t used = strlen(warning->text);
	va_list arguments;

	if (used && used + 2 < sizeof(warning->text))
		used += (size_t)snprintf(warning->text + used, sizeof(warning->text) - used, "; ");
	va_start(arguments, format);
	vsnprintf(warning->text + used, sizeof(warning->text) - used, format, arguments);
	va_end(arguments);
}

static bool parse_number(const char *name, const char *value, unsigned least, unsigned most, unsigned *to,
			 struct error *error)
{
	char *end;
	unsigned long number = strtoul(value, &end, 0);

	if (!*value || *end || number < least || number > most)
		return error_set(error, "CPU property '%s' wants a number from %u to %u, not '%s'", name, least, most,
				 value);
	*to = (unsigned)number;
	return true;
}

static bool is_off(const char *value)
{
	return strcmp(value, "off") == 0 || strcmp(value, "no") == 0 || strcmp(value, "false") == 0;
}

static bool is_on(const char *value)
{
	return strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;
}

static bool starts_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Properties that are no feature. 1: taken, 0: not one, -1: error. */
static int parse_property(struct parse *p, const char *name, const char *value)
{
	struct cpu_model *model = p->model;

	if (strcmp(name, "phys-bits") == 0) {
		if (strcmp(value, "0") == 0)
			return 1;
		return parse_number(name, value, 36, 52, &model->physical_bits, p->error) ? 1 : -1;
	}
	if (strcmp(name, "family") == 0)
		return parse_number(name, value, 6, 15 + 255, &model->family, p->error) ? 1 : -1;
	if (strcmp(name, "model") == 0)
		return parse_number(name, value, 0, 255, &model->model, p->error) ? 1 : -1;
	if (strcmp(name, "stepping") == 0)
		return parse_number(name, value, 0, 15, &model->stepping, p->error) ? 1 : -1;
	if (strcmp(name, "model-id") == 0) {
		snprintf(model->brand, sizeof(model->brand), "%s", value);
		return 1;
	}
	if (strcmp(name, "enforce") == 0) {
		p->enforce = !is_off(value);
		return 1;
	}
	if (strcmp(name, "vendor") == 0) {
		if (strcmp(value, "GenuineIntel") != 0)
			warn(p->warning, "the CPU's vendor stays GenuineIntel");
		return 1;
	}
	if (strcmp(name, "tsc-frequency") == 0) {
		if (strcmp(value, "1000000000") != 0)
			warn(p->warning, "the TSC runs at 1000000000 Hz, whatever tsc-frequency says");
		return 1;
	}
	if (starts_with(name, "vmx-") || starts_with(name, "hv-") || starts_with(name, "kvm")) {
		if (is_on(value))
			warn(p->warning, "CPU feature '%s' is not there", name);
		return 1;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(tolerated); i++)
		if (strcmp(name, tolerated[i]) == 0)
			return 1;
	return 0;
}

/* "+name", "-name", "name=value" or "name". */
static bool parse_option(struct parse *p, char *option)
{
	char *name = option, *value = strchr(option, '=');
	int feature, property;
	bool on;

	if (*option == '+' || *option == '-') {
		name++;
		value = *option == '+' ? "on" : "off";
	} else if (value) {
		*value++ = 0;
	} else {
		value = "on";
	}
	for (char *c = name; *c; c++)
		if (*c == '_')
			*c = '-';
	property = parse_property(p, name, value);
	if (property)
		return property > 0;
	feature = find_feature(name);
	if (feature < 0)
		return unknown_feature(name, p->error);
	on = is_on(value);
	if (!on && !is_off(value))
		return error_set(p->error, "CPU feature '%s' is on or off, not '%s'", name, value);
	put(p->model, (unsigned)feature, on);
	p->asked[feature] = on;
	return true;
}

/* Take a feature back; false when the user insists on what the model promises. */
static bool withdraw(struct parse *p, unsigned feature, const char *why, const char *what)
{
	put(p->model, feature, false);
	if (p->enforce && (p->asked[feature] || !p->what_there_is))
		return error_set(p->error, "CPU feature '%s' %s%s, and 'enforce' was given", feature_info[feature].name,
				 why, what);
	if (p->asked[feature])
		warn(p->warning, "CPU feature '%s' %s%s", feature_info[feature].name, why, what);
	return true;
}

static bool withdraw_missing(struct parse *p, bool (*host_has)(enum feature))
{
	for (unsigned i = 0; i < FEATURE_COUNT; i++) {
		if (!model_has(p->model, (enum feature)i))
			continue;
		if (feature_source[i] == BY_STATE)
			put(p->model, i, false); /* cpuid_get() shows it when it is so */
		else if (feature_source[i] == BY_ABSENT && !withdraw(p, i, "is not modelled", ""))
			return false;
		else if (feature_source[i] == BY_HOST && !host_has((enum feature)i) &&
			 !withdraw(p, i, "is not in the host's CPU", ""))
			return false;
	}
	return true;
}

static bool withdraw_dependent(struct parse *p)
{
	bool again = true;

	while (again) {
		again = false;
		for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
			if (!model_has(p->model, (enum feature)needs[i].feature) ||
			    model_has(p->model, (enum feature)needs[i].needs))
				continue;
			if (!withdraw(p, needs[i].feature, "needs ", feature_info[needs[i].needs].name))
				return false;
			again = true;
		}
	}
	return true;
}

/* SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features". No supervisor component is modelled. */
static void set_xstate(struct cpu_model *model)
{
	if (!model_has(model, FEATURE_XSAVE))
		return;
	model->xcr0_allowed = BITS(1, 0);
	if (model_has(model, FEATURE_AVX))
		model->xcr0_allowed |= BIT(2);
	if (model_has(model, FEATURE_AVX512F))
		model->xcr0_allowed |= BITS(7, 5);
	if (model_has(model, FEATURE_PKU))
		model->xcr0_allowed |= BIT(9);
}

static bool parse_spec(struct parse *p, char *spec, bool (*host_has)(enum feature))
{
	struct cpu_model *model = p->model;
	char *next, *option;
	const struct row *row;
	bool ibrs = false;

	next = strchr(spec, ',');
	if (next)
		*next++ = 0;
	row = strcmp(spec, "host") == 0 ? find_row("max", 3) : find_row(spec, base_length(spec, &ibrs));
	if (!row)
		return unknown_model(spec, p->error);

	p->what_there_is = strcmp(row->name, "max") == 0;
	snprintf(model->name, sizeof(model->name), "%s", spec);
	snprintf(model->brand, sizeof(model->brand), "SoftVT virtual CPU (%s)", row->name);
	model->family = row->family;
	model->model = row->model;
	model->stepping = row->stepping;
	model->max_leaf = row->max_leaf;
	model->physical_bits = row->physical_bits;
	add_row(model, row);
	if (ibrs)
		put(model, FEATURE_SPEC_CTRL, true);

	while ((option = next)) {
		next = strchr(option, ',');
		if (next)
			*next++ = 0;
		if (*option && !parse_option(p, option))
			return false;
	}
	if (!withdraw_missing(p, host_has) || !withdraw_dependent(p))
		return false;
	model->linear_bits = model_has(model, FEATURE_LA57) ? 57 : 48;
	set_xstate(model);
	return true;
}

bool cpu_model_parse(const char *spec, bool (*host_has)(enum feature), struct cpu_model *model, struct error *warning,
		     struct error *error)
{
	struct parse parse = {.model = model, .warning = warning, .error = error};
	char *copy = xstrdup(spec);
	bool ok;

	*model = (struct cpu_model){0};
	warning->text[0] = 0;
	ok = parse_spec(&parse, copy, host_has);
	free(copy);
	return ok;
}

void cpu_model_list(void (*line)(void *ctx, const char *text), void *ctx)
{
	char text[128];
	size_t used = 0;

	line(ctx, "Available CPUs:");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(text, sizeof(text), "  %s", rows[i].name);
		line(ctx, text);
	}
	line(ctx, "  host");
	line(ctx, "");
	line(ctx, "Recognized CPUID flags:");
	for (unsigned i = 0; i < FEATURE_COUNT; i++) {
		const char *name = feature_info[i].name;

		if (used && used + strlen(name) + 1 > 78) {
			line(ctx, text);
			used = 0;
		}
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "  ", name);
	}
	if (used)
		line(ctx, text);
}

/*
 * VMX capabilities of a CPU model. SDM vol. 3, appendix "VMX Capability Reporting Facility".
 *
 * A bit is offered when the model's generation or the user brings it, the CPUID feature that it is about is there, and
 * the bits that it needs are offered. The generations are those of the server models, which have APIC virtualization,
 * VMCS shadowing and PAUSE-loop exiting first.
 *
 * Not modelled, so never offered: SGX, Intel PT, MPX, PCONFIG, PASID translation, bus-lock detection, instruction
 * timeout, FRED, user interrupts, key locker, RDMSRLIST. IA32_VMX_BASIC[48] is 0, as on all processors with Intel 64.
 */
#include "vmx/capability.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/control.h"

enum generation {
#define GENERATION(name, model) SINCE_##name,
#include "vmx_controls.def"
	SINCE_SOFTVT, /* "max" */
	SINCE_NEVER
};

#define FEATURE_ALWAYS FEATURE_COUNT
#define PLAIN	       1

const struct vmx_word_info vmx_word_info[VMX_WORD_COUNT] = {
#define WORD(word, msr, true_msr, default1) \
	{#word, msr, (true_msr) == PLAIN ? 0 : (true_msr), default1, (true_msr) == PLAIN},
#include "vmx_controls.def"
};

const struct vmx_bit_info vmx_bit_info[] = {
#define C(word, bit, name, since, feature, option, title) {VMX_##word, bit, option, title},
#include "vmx_controls.def"
};
const unsigned vmx_bit_count = ARRAY_SIZE(vmx_bit_info);

/* Of each row of vmx_bit_info[]. */
static const struct {
	uint8_t since;
	uint16_t feature;
} origin[] = {
#define C(word, bit, name, since, feature, option, title) {SINCE_##since, FEATURE_##feature},
#include "vmx_controls.def"
};

static const uint8_t generation_model[] = {
#define GENERATION(name, model) model,
#include "vmx_controls.def"
};

/* A bit and one that it cannot do without. Chains are followed. */
static const struct {
	uint8_t word;
	uint64_t bit;
	uint8_t needs_word;
	uint64_t needs;
} needs[] = {
/* clang-format off */
#define N(word, bit, needs_word, needs) {VMX_##word, word##_##bit, VMX_##needs_word, needs_word##_##needs}
	N(PINBASED_CTLS, VIRTUAL_NMIS, PINBASED_CTLS, NMI_EXITING),
	N(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS, PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY),
	N(PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS, EXIT_CTLS, ACKNOWLEDGE_INTERRUPT),
	N(PROCBASED_CTLS, NMI_WINDOW_EXITING, PINBASED_CTLS, VIRTUAL_NMIS),
	N(PROCBASED_CTLS, CR3_LOAD_EXITING, BASIC, TRUE_CTLS),
	N(PROCBASED_CTLS, CR3_STORE_EXITING, BASIC, TRUE_CTLS),
	N(EXIT_CTLS, SAVE_DEBUG_CONTROLS, BASIC, TRUE_CTLS),
	N(ENTRY_CTLS, LOAD_DEBUG_CONTROLS, BASIC, TRUE_CTLS),
	N(PROCBASED_CTLS2, UNRESTRICTED_GUEST, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS2, UNRESTRICTED_GUEST, MISC, STORE_LMA),
	N(PROCBASED_CTLS2, VIRTUALIZE_X2APIC_MODE, PROCBASED_CTLS, USE_TPR_SHADOW),
	N(PROCBASED_CTLS2, APIC_REGISTER_VIRTUALIZATION, PROCBASED_CTLS, USE_TPR_SHADOW),
	N(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY, PROCBASED_CTLS, USE_TPR_SHADOW),
	N(PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY, PINBASED_CTLS, EXTERNAL_INTERRUPT_EXITING),
	N(PROCBASED_CTLS2, ENABLE_PML, EPT_VPID_CAP, ACCESSED_DIRTY),
	N(PROCBASED_CTLS2, EPT_VIOLATION_VE, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS2, MODE_BASED_EXECUTE, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS2, SUBPAGE_WRITE_PERMISSIONS, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS2, PT_USES_GUEST_PHYSICAL, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS2, USE_TSC_SCALING, PROCBASED_CTLS, USE_TSC_OFFSETTING),
	N(PROCBASED_CTLS2, ENABLE_EPT, EPT_VPID_CAP, PAGE_WALK_4),
	N(PROCBASED_CTLS2, ENABLE_EPT, EPT_VPID_CAP, WB),
	N(PROCBASED_CTLS3, ENABLE_HLAT, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS3, EPT_PAGING_WRITE_CONTROL, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS3, GUEST_PAGING_VERIFICATION, PROCBASED_CTLS2, ENABLE_EPT),
	N(PROCBASED_CTLS3, IPI_VIRTUALIZATION, PROCBASED_CTLS, USE_TPR_SHADOW),
	N(EXIT_CTLS, SAVE_PREEMPTION_TIMER, PINBASED_CTLS, PREEMPTION_TIMER),
	N(ENTRY_CTLS, IA32E_MODE_GUEST, EXIT_CTLS, HOST_ADDRESS_SPACE_SIZE),
	N(ENTRY_CTLS, ENTRY_TO_SMM, BASIC, DUAL_MONITOR),
	N(ENTRY_CTLS, DEACTIVATE_DUAL_MONITOR, BASIC, DUAL_MONITOR),
	N(FUNCTION_CTLS, EPTP_SWITCHING, PROCBASED_CTLS2, ENABLE_VM_FUNCTIONS),
	N(FUNCTION_CTLS, EPTP_SWITCHING, PROCBASED_CTLS2, ENABLE_EPT),
	N(MISC, READ_SMBASE, BASIC, DUAL_MONITOR),
	N(MISC, VMXOFF_SMI, BASIC, DUAL_MONITOR),
	N(EPT_VPID_CAP, EXECUTE_ONLY, PROCBASED_CTLS2, ENABLE_EPT), N(EPT_VPID_CAP, PAGE_WALK_4, PROCBASED_CTLS2, ENABLE_EPT),
	N(EPT_VPID_CAP, PAGE_WALK_5, PROCBASED_CTLS2, ENABLE_EPT), N(EPT_VPID_CAP, UC, PROCBASED_CTLS2, ENABLE_EPT),
	N(EPT_VPID_CAP, WB, PROCBASED_CTLS2, ENABLE_EPT), N(EPT_VPID_CAP, PAGES_2M, PROCBASED_CTLS2, ENABLE_EPT),
	N(EPT_VPID_CAP, PAGES_1G, EPT_VPID_CAP, PAGES_2M), N(EPT_VPID_CAP, INVEPT, PROCBASED_CTLS2, ENABLE_EPT),
	N(EPT_VPID_CAP, ACCESSED_DIRTY, PROCBASED_CTLS2, ENABLE_EPT), N(EPT_VPID_CAP, ADVANCED_EXIT_INFO, PROCBASED_CTLS2, ENABLE_EPT),
	N(EPT_VPID_CAP, INVEPT_SINGLE, EPT_VPID_CAP, INVEPT), N(EPT_VPID_CAP, INVEPT_ALL, EPT_VPID_CAP, INVEPT),
	N(EPT_VPID_CAP, INVVPID, PROCBASED_CTLS2, ENABLE_VPID), N(EPT_VPID_CAP, INVVPID_ADDRESS, EPT_VPID_CAP, INVVPID),
	N(EPT_VPID_CAP, INVVPID_SINGLE, EPT_VPID_CAP, INVVPID), N(EPT_VPID_CAP, INVVPID_ALL, EPT_VPID_CAP, INVVPID),
	N(EPT_VPID_CAP, INVVPID_RETAIN_GLOBALS, EPT_VPID_CAP, INVVPID),
/* clang-format on */
#undef N
};

/* Names that QEMU has, or had, for the same. */
static const char *const aliases[][2] = {
	{"vmx-invvpid-single-context-noglobals", "vmx-invept-single-context-noglobals"},
	{"vmx-tpr-shadow", "vmx-flexpriority"},
};

static bool by_feature(const struct cpu_model *model, unsigned feature)
{
	return feature == FEATURE_ALWAYS || model_has(model, (enum feature)feature);
}

/* A processor that stands for no generation has what the first ones had. */
static enum generation generation_of(const struct cpu_model *model)
{
	if (!strcmp(model->name, "max") || !strcmp(model->name, "host"))
		return SINCE_SOFTVT;
	for (unsigned i = 0; i < ARRAY_SIZE(generation_model); i++)
		if (model->family == 6 && model->model == generation_model[i])
			return (enum generation)i;
	return SINCE_CORE2;
}

/* ---- Options ---- */

static const struct vmx_bit_info *find_option(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (!strcmp(name, aliases[i][0]))
			name = aliases[i][1];
	for (unsigned i = 0; i < vmx_bit_count; i++)
		if (!strcmp(name, vmx_bit_info[i].option))
			return &vmx_bit_info[i];
	return NULL;
}

static int parse_switch(const char *value)
{
	if (!strcmp(value, "on") || !strcmp(value, "yes") || !strcmp(value, "true"))
		return 1;
	if (!strcmp(value, "off") || !strcmp(value, "no") || !strcmp(value, "false"))
		return 0;
	return -1;
}

/* One item of the list, without its sign: "vmx-x" or "vmx-x=on". */
static bool take(struct vmx_options *options, char sign, const char *item, struct error *error)
{
	const struct vmx_bit_info *info;
	char name[64];
	const char *value = strchr(item, '=');
	size_t length = value ? (size_t)(value - item) : strlen(item);
	int on = sign == '-' ? 0 : 1;

	if (length >= sizeof(name))
		return error_set(error, "VMX capability '%s' is unknown; 'softvt caps' lists them", item);
	for (size_t i = 0; i < length; i++)
		name[i] = (char)(item[i] == '_' ? '-' : item[i]);
	name[length] = 0;
	if (value && !sign)
		on = parse_switch(value + 1);
	if (on < 0 || (value && sign))
		return error_set(error, "VMX capability '%s' is on or off, not '%s'", name, value + 1);
	info = find_option(name);
	if (!info)
		return error_set(error, "VMX capability '%s' is unknown; 'softvt caps' lists them", name);
	options->on[info->word] = bits_set(options->on[info->word], info->bit, info->bit, (uint64_t)on);
	options->off[info->word] = bits_set(options->off[info->word], info->bit, info->bit, (uint64_t)!on);
	return true;
}

bool vmx_options_take(const char *spec, struct vmx_options *options, char *rest, struct error *error)
{
	size_t length;

	*options = (struct vmx_options){0};
	*rest = 0;
	for (bool first = true;; first = false, spec += length + 1) {
		char sign = (*spec == '+' || *spec == '-') ? *spec : 0;
		const char *item = spec + (sign != 0);

		length = strcspn(spec, ",");
		if (!first && (!strncmp(item, "vmx-", 4) || !strncmp(item, "vmx_", 4))) {
			char *one = xasprintf("%.*s", (int)(length - (sign != 0)), item);
			bool good = take(options, sign, one, error);

			free(one);
			if (!good)
				return false;
		} else {
			sprintf(rest + strlen(rest), "%s%.*s", first ? "" : ",", (int)length, spec);
		}
		if (!spec[length])
			return true;
	}
}

/* ---- What is offered ---- */

struct build {
	struct vmx_capability *caps;
	const struct vmx_options *options;
	struct error *warning;
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

static const char *option_of(unsigned word, uint64_t bit)
{
	for (unsigned i = 0; i < vmx_bit_count; i++)
		if (vmx_bit_info[i].word == word && BIT(vmx_bit_info[i].bit) == bit)
			return vmx_bit_info[i].option;
	return vmx_word_info[word].name;
}

static void withdraw(struct build *b, unsigned word, uint64_t bit, const char *why, const char *what)
{
	b->caps->offers[word] &= ~bit;
	if (b->options->on[word] & bit)
		warn(b->warning, "VMX capability '%s' %s%s", option_of(word, bit), why, what);
}

static void offer(struct build *b, const struct cpu_model *model)
{
	enum generation generation = generation_of(model);

	for (unsigned i = 0; i < vmx_bit_count; i++) {
		unsigned word = vmx_bit_info[i].word, feature = origin[i].feature;
		uint64_t bit = BIT(vmx_bit_info[i].bit);

		if ((generation < origin[i].since && !(b->options->on[word] & bit)) || (b->options->off[word] & bit))
			continue;
		b->caps->offers[word] |= bit;
		if (origin[i].since == SINCE_NEVER)
			withdraw(b, word, bit, "is not modelled", "");
		else if (!by_feature(model, feature))
			withdraw(b, word, bit, "needs CPU feature ", feature_info[feature].name);
	}
}

/* Controls that another control activates. */
static void withdraw_inactive(struct build *b, unsigned word, unsigned by_word, uint64_t by)
{
	uint64_t offered = b->caps->offers[word];

	if (b->caps->offers[by_word] & by)
		return;
	for (unsigned bit = 0; bit < 64; bit++)
		if (offered & BIT(bit))
			withdraw(b, word, BIT(bit), "needs ", option_of(by_word, by));
}

static void withdraw_dependent(struct build *b)
{
	bool again = true;

	withdraw_inactive(b, VMX_PROCBASED_CTLS2, VMX_PROCBASED_CTLS, PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	withdraw_inactive(b, VMX_PROCBASED_CTLS3, VMX_PROCBASED_CTLS, PROCBASED_CTLS_ACTIVATE_TERTIARY_CONTROLS);
	withdraw_inactive(b, VMX_EXIT_CTLS2, VMX_EXIT_CTLS, EXIT_CTLS_ACTIVATE_SECONDARY_CONTROLS);
	while (again) {
		again = false;
		for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
			if (!(b->caps->offers[needs[i].word] & needs[i].bit) ||
			    (b->caps->offers[needs[i].needs_word] & needs[i].needs))
				continue;
			withdraw(b, needs[i].word, needs[i].bit, "needs ",
				 option_of(needs[i].needs_word, needs[i].needs));
			again = true;
		}
	}
}

static bool field_exists(const struct vmx_capability *caps, enum vmcs_field field)
{
	enum condition {
		IF_ALWAYS,
#define NEED(condition, word_a, bit_a, word_b, bit_b) IF_##condition,
#include "vmcs_fields.def"
	};
	static const uint8_t condition[VMCS_FIELD_COUNT] = {
#define F(encoding, name, condition, checks) IF_##condition,
#include "vmcs_fields.def"
	};

	switch ((enum condition)condition[field]) {
	case IF_ALWAYS: return true;
#define NEED(condition, word_a, bit_a, word_b, bit_b) \
	case IF_##condition:                          \
		return vmx_may(caps, word_a, bit_a) || vmx_may(caps, word_b, bit_b);
#include "vmcs_fields.def"
	}
	return false;
}

void vmx_find_fields(struct vmx_capability *caps)
{
	memset(caps->fields, 0, sizeof(caps->fields));
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		if (field_exists(caps, (enum vmcs_field)i))
			caps->fields[i / 64] |= BIT(i % 64);
}

void vmx_capability_init(struct vmx_capability *caps, const struct cpu_model *model, const struct vmx_options *options,
			 struct error *warning)
{
	static const struct vmx_options none;
	struct build build = {.caps = caps, .options = options ? options : &none, .warning = warning};

	*caps = (struct vmx_capability){
		/* SDM vol. 3, "Restrictions on VMX Operation": PE, NE and PG, and VMXE. */
		.cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
		.cr0_fixed1 = BITS(31, 0),
		.cr4_fixed0 = CR4_VMXE,
		.cr4_fixed1 = cpu_cr4_allowed(model) | CR4_VMXE,
		.efer_allowed = cpu_efer_allowed(model),
		.debugctl_allowed = cpu_debugctl_allowed(model),
		.perf_global_ctrl_allowed = cpu_perf_global_ctrl_allowed(model),
		.physical_bits = model->physical_bits,
		.linear_bits = model->linear_bits,
	};
	warning->text[0] = 0;
	offer(&build, model);
	withdraw_dependent(&build);
	vmx_find_fields(caps);
}

uint64_t vmx_allowed0(const struct vmx_capability *caps, enum vmx_word word)
{
	return vmx_word_info[word].default1 & ~caps->offers[word];
}

uint64_t vmx_allowed1(const struct vmx_capability *caps, enum vmx_word word)
{
	return vmx_word_info[word].default1 | caps->offers[word];
}

/* ---- The MSRs ---- */

static bool msr_exists(const struct vmx_capability *caps, enum vmx_word word)
{
	switch (word) {
	case VMX_PROCBASED_CTLS2: return vmx_may(caps, PROCBASED_CTLS, ACTIVATE_SECONDARY_CONTROLS);
	case VMX_PROCBASED_CTLS3: return vmx_may(caps, PROCBASED_CTLS, ACTIVATE_TERTIARY_CONTROLS);
	case VMX_EXIT_CTLS2: return vmx_may(caps, EXIT_CTLS, ACTIVATE_SECONDARY_CONTROLS);
	case VMX_EPT_VPID_CAP:
		return vmx_may(caps, PROCBASED_CTLS2, ENABLE_EPT) || vmx_may(caps, PROCBASED_CTLS2, ENABLE_VPID);
	case VMX_FUNCTION_CTLS: return vmx_may(caps, PROCBASED_CTLS2, ENABLE_VM_FUNCTIONS);
	default: return true;
	}
}

/* What no bit of a table says: SDM vol. 3, "Basic VMX Information" and "Miscellaneous Data", and "VPID and EPT
 * Capabilities". */
static uint64_t numbers(const struct vmx_capability *caps, enum vmx_word word)
{
	const uint64_t write_back = 6;

	switch (word) {
	case VMX_BASIC: return VMX_REVISION | (uint64_t)VMX_REGION_SIZE << 32 | write_back << 50;
	case VMX_MISC: return VMX_TIMER_RATE | VMX_CR3_TARGETS << 16 | VMX_MSEG_REVISION << 32;
	case VMX_EPT_VPID_CAP: return vmx_may(caps, PROCBASED_CTLS3, ENABLE_HLAT) ? VMX_HLAT_PREFIX_SIZE << 48 : 0;
	default: return 0;
	}
}

/* SDM vol. 3, "VMCS Enumeration": the highest index of any field, whatever its width and type. */
static uint64_t vmcs_enum(const struct vmx_capability *caps)
{
	uint64_t highest = 0;

	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++)
		if (vmx_has_field(caps, (enum vmcs_field)i))
			highest = max_u64(highest, bits_get(vmcs_field_info[i].encoding, 9, 1));
	return highest << 1;
}

bool vmx_capability_msr(const struct vmx_capability *caps, uint32_t index, uint64_t *value)
{
	switch (index) {
	case 0x486: *value = caps->cr0_fixed0; return true;
	case 0x487: *value = caps->cr0_fixed1; return true;
	case 0x488: *value = caps->cr4_fixed0; return true;
	case 0x489: *value = caps->cr4_fixed1; return true;
	case 0x48a: *value = vmcs_enum(caps); return true;
	}
	for (unsigned i = 0; i < VMX_WORD_COUNT; i++) {
		const struct vmx_word_info *info = &vmx_word_info[i];
		bool is_true = info->true_msr && index == info->true_msr;

		if (index != info->msr && !is_true)
			continue;
		if (!msr_exists(caps, (enum vmx_word)i) || (is_true && !vmx_may(caps, BASIC, TRUE_CTLS)))
			return false;
		if (info->plain)
			*value = caps->offers[i] | numbers(caps, (enum vmx_word)i);
		else
			*value = vmx_allowed1(caps, (enum vmx_word)i) << 32 |
				 (is_true ? vmx_allowed0(caps, (enum vmx_word)i) : info->default1);
		return true;
	}
	return false;
}

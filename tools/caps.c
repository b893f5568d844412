/*
 * softvt caps: what the VMX capability MSRs of a CPU model say, bit by bit in the layout of the Linux kernel's vmxcap
 * script, or as JSON.
 *
 * The last column is the bit's name for -cpu, which vmxcap has not.
 */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec/host.h"
#include "vmx/capability.h"

#define VALUE_COLUMN 54

static const char *const msr_name[] = {
	"IA32_VMX_BASIC",	    "IA32_VMX_PINBASED_CTLS",	   "IA32_VMX_PROCBASED_CTLS",
	"IA32_VMX_EXIT_CTLS",	    "IA32_VMX_ENTRY_CTLS",	   "IA32_VMX_MISC",
	"IA32_VMX_CR0_FIXED0",	    "IA32_VMX_CR0_FIXED1",	   "IA32_VMX_CR4_FIXED0",
	"IA32_VMX_CR4_FIXED1",	    "IA32_VMX_VMCS_ENUM",	   "IA32_VMX_PROCBASED_CTLS2",
	"IA32_VMX_EPT_VPID_CAP",    "IA32_VMX_TRUE_PINBASED_CTLS", "IA32_VMX_TRUE_PROCBASED_CTLS",
	"IA32_VMX_TRUE_EXIT_CTLS",  "IA32_VMX_TRUE_ENTRY_CTLS",	   "IA32_VMX_VMFUNC",
	"IA32_VMX_PROCBASED_CTLS3", "IA32_VMX_EXIT_CTLS2",
};
_Static_assert(ARRAY_SIZE(msr_name) == VMX_LAST_MSR - VMX_FIRST_MSR + 1, "each MSR has a name");

/* vmxcap's headings, in its order. */
static const struct {
	enum vmx_word word;
	const char *heading;
} sections[] = {
	{VMX_BASIC, "Basic VMX Information"},
	{VMX_PINBASED_CTLS, "pin-based controls"},
	{VMX_PROCBASED_CTLS, "primary processor-based controls"},
	{VMX_PROCBASED_CTLS2, "secondary processor-based controls"},
	{VMX_PROCBASED_CTLS3, "tertiary processor-based controls"},
	{VMX_EXIT_CTLS, "VM-Exit controls"},
	{VMX_EXIT_CTLS2, "secondary VM-Exit controls"},
	{VMX_ENTRY_CTLS, "VM-Entry controls"},
	{VMX_MISC, "Miscellaneous data"},
	{VMX_EPT_VPID_CAP, "VPID and EPT capabilities"},
	{VMX_FUNCTION_CTLS, "VM Functions"},
};
_Static_assert(ARRAY_SIZE(sections) == VMX_WORD_COUNT, "each word has a heading");

/* yes or no; of the default1 class: forced to 1, or 1 by default and 0 if the TRUE MSR is asked. */
static const char *setting(const struct vmx_capability *caps, const struct vmx_bit_info *info)
{
	bool offered = caps->offers[info->word] >> info->bit & 1;

	if (vmx_word_info[info->word].default1 >> info->bit & 1)
		return offered ? "default" : "forced";
	return offered ? "yes" : "no";
}

static void print_number(const char *title, uint64_t value)
{
	printf("  %-*s %" PRIu64 "\n", VALUE_COLUMN, title, value);
}

static void print_section(const struct vmx_capability *caps, enum vmx_word word)
{
	const struct vmx_word_info *info = &vmx_word_info[word];
	uint64_t value;

	if (!vmx_capability_msr(caps, info->msr, &value)) {
		printf("  this processor has no %s (MSR %xH)\n", msr_name[info->msr - VMX_FIRST_MSR], info->msr);
		return;
	}
	printf("  Hex: 0x%" PRIx64 "\n", value);
	if (info->true_msr && vmx_capability_msr(caps, info->true_msr, &value))
		printf("  Hex (TRUE): 0x%" PRIx64 "\n", value);
	if (word == VMX_BASIC) {
		print_number("Revision", bits_get(value, 30, 0));
		print_number("VMCS size", bits_get(value, 44, 32));
		print_number("VMCS memory type", bits_get(value, 53, 50));
	}
	if (word == VMX_MISC) {
		print_number("VMX-preemption timer scale (log2)", bits_get(value, 4, 0));
		print_number("CR3-target values", bits_get(value, 24, 16));
		print_number("MSR-load/store list size", 512 * (bits_get(value, 27, 25) + 1));
		print_number("MSEG revision identifier", bits_get(value, 63, 32));
	}
	for (unsigned i = 0; i < vmx_bit_count; i++)
		if (vmx_bit_info[i].word == word)
			printf("  %-*s %-8s %s\n", VALUE_COLUMN, vmx_bit_info[i].title, setting(caps, &vmx_bit_info[i]),
			       vmx_bit_info[i].option);
}

static void print_text(const struct vmx_capability *caps, const struct cpu_model *model)
{
	uint64_t value;

	printf("CPU model %s%s.\n", model->name,
	       model_has(model, FEATURE_VMX)
		       ? ""
		       : ", as it is with +vmx; without, its guests have no VMX and no such MSRs");
	for (unsigned i = 0; i < ARRAY_SIZE(sections); i++) {
		printf("%s\n", sections[i].heading);
		print_section(caps, sections[i].word);
	}
	printf("Fixed bits and VMCS enumeration\n");
	for (uint32_t index = 0x486; index <= 0x48a; index++)
		if (vmx_capability_msr(caps, index, &value))
			printf("  %-*s 0x%" PRIx64 "\n", VALUE_COLUMN, msr_name[index - VMX_FIRST_MSR], value);
}

/* Our own words and model names have nothing that JSON wants escaped. MSRs are strings, since 64 bits do not fit a JSON
 * reader's numbers. */
static void print_json(const struct vmx_capability *caps, const struct cpu_model *model)
{
	uint64_t value;

	printf("{\n  \"model\": \"%s\",\n  \"offered_to_guest\": %s,\n  \"msrs\": {\n", model->name,
	       model_has(model, FEATURE_VMX) ? "true" : "false");
	for (uint32_t index = VMX_FIRST_MSR; index <= VMX_LAST_MSR; index++) {
		printf("    \"%s\": ", msr_name[index - VMX_FIRST_MSR]);
		if (vmx_capability_msr(caps, index, &value))
			printf("\"0x%016" PRIx64 "\"", value);
		else
			printf("null");
		printf("%s\n", index < VMX_LAST_MSR ? "," : "");
	}
	printf("  },\n  \"capabilities\": [\n");
	for (unsigned i = 0; i < vmx_bit_count; i++) {
		const struct vmx_bit_info *info = &vmx_bit_info[i];

		printf("    {\"name\": \"%s\", \"title\": \"%s\", \"msr\": \"%s\", \"bit\": %u, \"setting\": "
		       "\"%s\"}%s\n",
		       info->option, info->title, msr_name[vmx_word_info[info->word].msr - VMX_FIRST_MSR], info->bit,
		       setting(caps, info), i + 1 < vmx_bit_count ? "," : "");
	}
	printf("  ]\n}\n");
}

static void list_line(void *ctx, const char *text)
{
	puts(text);
}

static int finish(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return 0;
	fprintf(stderr, "softvt: caps: could not write to standard output\n");
	return 1;
}

int caps_main(int argc, char **argv)
{
	struct vmx_capability caps;
	const char *cpu = "max";
	struct cpu_model model;
	struct error error;
	bool json = false;

	for (int i = 1; i < argc; i++) {
		const char *option = argv[i] + (argv[i][0] == '-' && argv[i][1] == '-');

		if (!strcmp(option, "-cpu") && i + 1 < argc) {
			cpu = argv[++i];
		} else if (!strcmp(option, "-json")) {
			json = true;
		} else if (!strcmp(option, "-help") || !strcmp(option, "-h")) {
			puts("usage: softvt caps [-cpu MODEL[,+vmx-NAME][,-vmx-NAME]] [-json]\n\n"
			     "What the VMX capability MSRs of a CPU model (by default max) say. The last column names "
			     "each bit for -cpu.");
			return finish();
		} else {
			fprintf(stderr, "softvt: caps: '%s' is not understood; it takes -cpu MODEL and -json\n",
				argv[i]);
			return 1;
		}
	}
	if (!strcmp(cpu, "help") || !strcmp(cpu, "?")) {
		cpu_model_list(list_line, NULL);
		return finish();
	}
	if (!command_cpu(cpu, &model, &caps, &error)) {
		fprintf(stderr, "softvt: -cpu %s: %s\n", cpu, error.text);
		return 1;
	}
	if (json)
		print_json(&caps, &model);
	else
		print_text(&caps, &model);
	return finish();
}

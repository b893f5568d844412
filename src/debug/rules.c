/*
 * Broken rules of VM entry in words. The rules and their sentences are spec/vmx_checks.def's.
 */
#include "debug/rules.h"

#include <inttypes.h>

/* "VMfailValid(7)", "VM-entry failure, exit reason 33, qualification 0". */
static void outcome(const struct rule_finding *finding, char *text, size_t size)
{
	const struct vmx_check_info *info = &vmx_check_info[finding->rule];

	if (info->error)
		snprintf(text, size, "VMfailValid(%u)", info->error);
	else
		snprintf(text, size, "VM-entry failure, exit reason %u, qualification %u", info->exit_reason,
			 finding->entry ? finding->entry : info->qualification);
}

static const char *group_name(enum vmx_check rule)
{
	static const char *const names[] = {"control", "host", "guest", "msr"};

	return names[vmx_check_section_info[vmx_check_info[rule].section].group];
}

static const char *section_title(enum vmx_check rule)
{
	return vmx_check_section_info[vmx_check_info[rule].section].title;
}

/* Each field that the rule read, with its value; with writers, one on a line. */
static void say_fields(const struct rule_words *words, const uint64_t fields[VMX_FIELD_WORDS])
{
	const char *between = "", *next = words->writer ? "\n    " : ", ";

	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
		if (!vmx_check_in(fields, field))
			continue;
		fprintf(words->to, "%s%s = 0x%" PRIx64, between, vmcs_field_info[field].name,
			words->input->vmcs->field[field]);
		if (words->writer)
			words->writer(words->ctx, words, (enum vmcs_field)field);
		between = next;
	}
}

static void say_fields_json(const struct rule_words *words, const uint64_t fields[VMX_FIELD_WORDS])
{
	const char *between = "";

	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
		if (!vmx_check_in(fields, field))
			continue;
		fprintf(words->to, "%s\"%s\": \"0x%" PRIx64 "\"", between, vmcs_field_info[field].name,
			words->input->vmcs->field[field]);
		between = ", ";
	}
}

static void say_writers_json(const struct rule_words *words, const uint64_t fields[VMX_FIELD_WORDS])
{
	const char *between = "";

	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
		if (!vmx_check_in(fields, field))
			continue;
		fprintf(words->to, "%s\"%s\": ", between, vmcs_field_info[field].name);
		words->writer(words->ctx, words, (enum vmcs_field)field);
		between = ", ";
	}
}

void json_string(FILE *to, const char *text)
{
	putc('"', to);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c < ' ')
			fprintf(to, "\\u%04x", *c);
		else
			fprintf(to, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
	}
	putc('"', to);
}

static void say_json(const struct rule_words *words, const struct rule_finding *finding)
{
	const struct vmx_check_info *info = &vmx_check_info[finding->rule];
	uint64_t fields[VMX_FIELD_WORDS];
	char what[96];

	outcome(finding, what, sizeof(what));
	vmx_check_fields(words->input, finding->rule, fields);
	fprintf(words->to,
		"{\"id\": \"%s\", \"group\": \"%s\", \"section\": \"%s\", \"outcome\": \"%s\", \"must_hold\": ",
		info->id, group_name(finding->rule), section_title(finding->rule), what);
	json_string(words->to, info->text);
	fprintf(words->to, ", \"fields\": {");
	if (finding->entry)
		fprintf(words->to, "\"MSR-load entry %u\": \"0x%" PRIx64 "\"", finding->entry, finding->msr);
	else
		say_fields_json(words, fields);
	if (words->writer) {
		fprintf(words->to, "}, \"written\": {");
		say_writers_json(words, fields);
	}
	fprintf(words->to, "}}");
}

void rule_say(const struct rule_words *words, const struct rule_finding *finding)
{
	const struct vmx_check_info *info = &vmx_check_info[finding->rule];
	uint64_t fields[VMX_FIELD_WORDS];
	char what[96];

	if (words->json) {
		say_json(words, finding);
		return;
	}
	outcome(finding, what, sizeof(what));
	fprintf(words->to, "  %s: %s\n    must hold: %s\n    SDM vol. 3, \"%s\"\n    ", info->id, what, info->text,
		section_title(finding->rule));
	vmx_check_fields(words->input, finding->rule, fields);
	if (finding->entry)
		fprintf(words->to, "entry %u of the VM-entry MSR-load area = 0x%" PRIx64, finding->entry, finding->msr);
	else
		say_fields(words, fields);
	putc('\n', words->to);
}

unsigned rules_broken(const struct vmx_check_input *input, struct rule_finding *rules, struct vmx_check_result *result)
{
	unsigned count = 0;

	*result = (struct vmx_check_result){0};
	vmx_check_group(input, VMX_GROUP_CONTROL, result);
	vmx_check_group(input, VMX_GROUP_HOST, result);
	vmx_check_group(input, VMX_GROUP_GUEST, result);
	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++)
		if (vmx_check_in(result->broken, rule))
			rules[count++] = (struct rule_finding){.rule = (enum vmx_check)rule};
	return count;
}

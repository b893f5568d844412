/*
 * softvt check: which rules of VM entry do dumped VMCSs break? SDM vol. 3, "VM Entries".
 *
 * A dump shows some fields and no memory, and nothing of the processor but what -cpu says of it; a rule that needs more
 * cannot be judged, which is said apart from what is violated. The entry is taken for one outside SMM.
 */
#include "command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug/rules.h"
#include "vmx/dump.h"

enum { CLEAN, VIOLATED, UNREADABLE }; /* exit status */

#define LARGEST (UINT64_C(256) << 20) /* bytes of a file that are read */

struct job {
	const char *file;
	const struct vmx_capability *caps; /* NULL: not known */
	bool json;
	unsigned dumps;
	bool violated;
};

static char *read_all(const char *name, size_t *size)
{
	FILE *file = strcmp(name, "-") ? fopen(name, "re") : stdin;
	size_t room = 1 << 16, got;
	char *text = NULL;

	*size = 0;
	if (!file)
		return NULL;
	do {
		text = xrealloc(text, room *= 2);
		got = fread(text + *size, 1, room - *size, file);
		*size += got;
	} while (got && *size < LARGEST);
	if (ferror(file)) {
		free(text);
		text = NULL;
	}
	if (file != stdin)
		fclose(file);
	return text;
}

static unsigned count_bits(const uint64_t *set)
{
	unsigned count = 0;

	for (unsigned i = 0; i < VMX_CHECK_WORDS; i++)
		count += (unsigned)__builtin_popcountll(set[i]);
	return count;
}

static void print_unjudged(const struct job *job, const struct vmx_check_result *result)
{
	const char *between = "";
	unsigned column = 0;

	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++) {
		const char *id = vmx_check_info[rule].id;

		if (!vmx_check_in(result->unjudged, rule))
			continue;
		if (job->json) {
			printf("%s\"%s\"", between, id);
			between = ", ";
			continue;
		}
		if (!column || column + strlen(id) > 110)
			column = (unsigned)printf("%s    ", column ? "\n" : "");
		column += (unsigned)printf("%s ", id);
	}
	if (!job->json && column)
		putchar('\n');
}

static void print_dump(struct job *job, const struct vmx_dump *dump, const struct vmx_check_input *input,
		       const struct vmx_check_result *result, const struct rule_finding *findings, unsigned count)
{
	const struct rule_words words = {.to = stdout, .json = job->json, .input = input};
	static const char *const layouts[] = {
		[VMX_DUMP_KVM] = "KVM", [VMX_DUMP_XEN] = "Xen", [VMX_DUMP_SOFTVT] = "SoftVT"};
	unsigned unjudged = count_bits(result->unjudged);

	if (job->json) {
		printf("%s  {\n    \"file\": ", job->dumps ? ",\n" : "");
		json_string(stdout, job->file);
		printf(", \"line\": %u, \"layout\": \"%s\", \"fields\": %u,\n    \"violated\": [", dump->line,
		       layouts[dump->layout], dump->fields);
	} else {
		printf("%s:%u: VMCS as %s prints it, %u fields: %u rule%s violated, %u cannot be judged\n", job->file,
		       dump->line, layouts[dump->layout], dump->fields, count, count == 1 ? "" : "s", unjudged);
		if (count)
			puts("violated:");
	}
	for (unsigned i = 0; i < count; i++) {
		if (job->json)
			printf("%s\n      ", i ? "," : "");
		rule_say(&words, &findings[i]);
	}
	if (job->json)
		printf("%s],\n    \"cannot_judge\": [", count ? "\n    " : "");
	else if (unjudged)
		printf("cannot judge%s:\n", job->caps ? "" : " (-cpu MODEL tells more)");
	print_unjudged(job, result);
	if (job->json)
		printf("]\n  }");
}

static void check_dump(struct job *job, const struct vmx_dump *dump)
{
	const struct vmx_check_input input = {.vmcs = &dump->vmcs, .present = dump->present, .caps = job->caps};
	struct rule_finding *findings = xcalloc(VMX_CHECK_COUNT + VMX_DUMP_MSRS, sizeof(*findings));
	struct vmx_check_result result;
	unsigned count = rules_broken(&input, findings, &result);

	for (unsigned i = 0; i < dump->msrs; i++) {
		enum vmx_check rule = vmx_check_msr_load(dump->msr[i], false);

		if (rule)
			findings[count++] = (struct rule_finding){.rule = rule, .entry = i + 1, .msr = dump->msr[i]};
	}
	print_dump(job, dump, &input, &result, findings, count);
	job->dumps++;
	job->violated = job->violated || count;
	free(findings);
}

/* UNREADABLE: the reason has been said. */
static int check_file(struct job *job)
{
	struct vmx_dump_reader reader = {.line = 1};
	struct vmx_dump dump;
	char *text = read_all(job->file, &reader.size);

	if (!text) {
		fprintf(stderr, "softvt: check: could not read '%s': %s\n", job->file, strerror(errno));
		return UNREADABLE;
	}
	reader.text = text;
	if (job->json)
		puts("[");
	while (vmx_dump_next(&reader, &dump))
		if (dump.fields)
			check_dump(job, &dump);
	if (job->json)
		puts("\n]");
	free(text);
	if (!job->dumps) {
		fprintf(stderr, "softvt: check: '%s' has no VMCS dump as KVM, Xen or SoftVT print it\n", job->file);
		return UNREADABLE;
	}
	return job->violated ? VIOLATED : CLEAN;
}

static int finish(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "softvt: check: could not write to standard output\n");
	return UNREADABLE;
}

int check_main(int argc, char **argv)
{
	struct vmx_capability caps;
	struct cpu_model model;
	const char *cpu = NULL;
	struct job job = {0};
	struct error error;

	for (int i = 1; i < argc; i++) {
		const char *option = argv[i] + (argv[i][0] == '-' && argv[i][1] == '-');

		if (!strcmp(option, "-cpu") && i + 1 < argc) {
			cpu = argv[++i];
		} else if (!strcmp(option, "-json")) {
			job.json = true;
		} else if (!strcmp(option, "-help") || !strcmp(option, "-h")) {
			puts("usage: softvt check [-cpu MODEL[,+vmx-NAME][,-vmx-NAME]] [-json] FILE\n\n"
			     "Which rules of VM entry do the VMCSs break that FILE (-: standard input) shows as KVM, "
			     "Xen or SoftVT print them? Without -cpu the\n"
			     "processor's capabilities are not known, and rules that depend on them cannot be judged. "
			     "Exit status: 0 no rule is violated, 1 some\n"
			     "rule is, 2 there is nothing to judge.");
			return finish(CLEAN);
		} else if ((argv[i][0] == '-' && argv[i][1]) || job.file) {
			fprintf(stderr,
				"softvt: check: '%s' is not understood; it takes -cpu MODEL, -json and a file\n",
				argv[i]);
			return UNREADABLE;
		} else {
			job.file = argv[i];
		}
	}
	if (!job.file) {
		fprintf(stderr, "softvt: check: a file with VMCS dumps is missing\n");
		return UNREADABLE;
	}
	if (cpu) {
		if (!command_cpu(cpu, &model, &caps, &error)) {
			fprintf(stderr, "softvt: -cpu %s: %s\n", cpu, error.text);
			return UNREADABLE;
		}
		job.caps = &caps;
	}
	return finish(check_file(&job));
}

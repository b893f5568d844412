/*
 * What is said of a broken rule of VM entry, as text and as JSON: the same words in `softvt check` and in explanations
 * of a running machine.
 */
#pragma once

#include <stdio.h>

#include "vmx/check.h"

struct rule_words {
	FILE *to;
	bool json;
	const struct vmx_check_input *input;
	/* Who last wrote a field, if that is known; appended to the field's value. NULL: nobody knows. */
	void (*writer)(void *ctx, const struct rule_words *words, enum vmcs_field field);
	void *ctx;
};

/* A broken rule: of the VMCS, or of an entry of the VM-entry MSR-load area (from 1; 0: of the VMCS). */
struct rule_finding {
	enum vmx_check rule;
	unsigned entry;
	uint64_t msr; /* bits 63:0 of that entry */
};

/* Four lines, or one JSON object. */
void rule_say(const struct rule_words *words, const struct rule_finding *finding);

/* All broken rules of a VMCS, in the manual's order, into rules[VMX_CHECK_COUNT]; how many. *result gets all verdicts.
 */
unsigned rules_broken(const struct vmx_check_input *input, struct rule_finding *rules, struct vmx_check_result *result);

/* A JSON string with its quotes. */
void json_string(FILE *to, const char *text);

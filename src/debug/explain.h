/*
 * Explanations: why a VMX instruction or a VM entry failed, VMX was aborted, or a triple fault came; who wrote what was
 * wrong; as a paragraph or as one JSON object on a line.
 *
 * Each distinct explanation is given once and then counted: a guest that fails in a loop floods nobody.
 */
#pragma once

#include <stdio.h>

#include "debug/symbols.h"
#include "vmx/report.h"

struct explain;

/* Both are borrowed. */
struct explain *explain_create(FILE *to, bool json, const struct symbols *symbols);
void explain_destroy(struct explain *explain);

void explain_instruction(struct explain *explain, struct cpu *cpu, const struct vmx_instruction *what);
void explain_entry(struct explain *explain, struct cpu *cpu, const struct vmx_failed_entry *what);
void explain_abort(struct explain *explain, struct cpu *cpu, enum vmx_abort why, uint32_t entry);
/* The current VMCS goes back to memory: who wrote its fields is remembered. */
void explain_vmcs_leaves(struct explain *explain, struct cpu *cpu);
void explain_triple_fault(struct explain *explain, struct cpu *cpu, const struct fault_chain *chain);

/* The end of the run: what came more than once, and how often. */
void explain_conclude(struct explain *explain);

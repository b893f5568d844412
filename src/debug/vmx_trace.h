/*
 * -d vmx: a line of the log for each VMX transition.
 */
#pragma once

#include "vmx/report.h"

void vmx_trace_instruction(const struct cpu *cpu, const struct vmx_instruction *what);
void vmx_trace_entry_failed(const struct cpu *cpu, const struct vmx_failed_entry *what);
void vmx_trace_entered(const struct cpu *cpu, bool launch);
void vmx_trace_exits(const struct cpu *cpu);
void vmx_trace_aborts(const struct cpu *cpu, enum vmx_abort why);

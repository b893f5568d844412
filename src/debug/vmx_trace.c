/*
 * The trace of VMX transitions. Lines say what the VMCS and the VM exit record say, in words; numbers are in
 * hexadecimal where they begin with 0x.
 */
#include "debug/vmx_trace.h"

#include <inttypes.h>
#include <stdlib.h>

#include "debug/vmx_words.h"
#include "vmx/interruption.h"

/* NULL: no line is wanted. */
static FILE *begin(const struct cpu *cpu)
{
	FILE *to = log_on(cpu->log, LOG_VMX) ? cpu->log->file : NULL;

	if (to)
		fprintf(to, "cpu %u: ", cpu->number);
	return to;
}

void vmx_trace_instruction(const struct cpu *cpu, const struct vmx_instruction *what)
{
	FILE *to = begin(cpu);
	char name[16];

	if (!to)
		return;
	fputs(vmx_mnemonic(what->operation, name, sizeof(name)), to);
	if (what->operand)
		fprintf(to, " 0x%" PRIx64, what->operand);
	fprintf(to, " at 0x%" PRIx64, cpu->insn_rip);
	if (what->invalid)
		fputs(": VMfailInvalid", to);
	else if (what->error)
		fprintf(to, ": VMfailValid(%u), %s", what->error, vmx_error_text(what->error));
	putc('\n', to);
}

static const char *entry_name(bool launch)
{
	return launch ? "VMLAUNCH" : "VMRESUME";
}

void vmx_trace_entry_failed(const struct cpu *cpu, const struct vmx_failed_entry *what)
{
	const struct vmx_check_info *info = &vmx_check_info[what->rule];
	FILE *to = begin(cpu);

	if (!to)
		return;
	fprintf(to, "%s at 0x%" PRIx64 ", VMCS 0x%" PRIx64 ": ", entry_name(what->launch), cpu->insn_rip,
		cpu->vmx->current);
	if (!what->rule)
		fprintf(to, "exit reason %u, %s, entry %u\n", VMX_EXIT_MSR_LOADING, vmx_exit_text(VMX_EXIT_MSR_LOADING),
			what->msr_entry);
	else if (what->error)
		fprintf(to, "VMfailValid(%u), %s\n", what->error, info->id);
	else
		fprintf(to, "exit reason %u, qualification %u, %s\n", info->exit_reason, info->qualification, info->id);
}

void vmx_trace_entered(const struct cpu *cpu, bool launch)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint32_t injected = (uint32_t)vmcs_get(v, VM_ENTRY_INTERRUPTION_INFO);
	FILE *to = begin(cpu);

	if (!to)
		return;
	fprintf(to, "%s, VMCS 0x%" PRIx64 ": guest RIP 0x%" PRIx64, entry_name(launch), cpu->vmx->current, cpu->rip);
	if (injected & INTERRUPTION_VALID) {
		fputs(", injects ", to);
		interruption_words(injected, (uint32_t)vmcs_get(v, VM_ENTRY_ERROR_CODE), to);
	}
	putc('\n', to);
}

/* The registers that say what the instruction wants. */
static void operands(const struct cpu *cpu, uint32_t reason, FILE *to)
{
	const char *name = msr_words((uint32_t)cpu->r[RCX]);

	switch (reason) {
	case VMX_EXIT_CPUID: fprintf(to, ", leaf %#x.%#x", (uint32_t)cpu->r[RAX], (uint32_t)cpu->r[RCX]); break;
	case VMX_EXIT_VMCALL: fprintf(to, ", RAX 0x%" PRIx64, cpu->r[RAX]); break;
	case VMX_EXIT_RDMSR:
	case VMX_EXIT_WRMSR:
		fprintf(to, ", MSR 0x%x", (uint32_t)cpu->r[RCX]);
		if (name)
			fprintf(to, " (IA32_%s)", name);
		if (reason == VMX_EXIT_WRMSR)
			fprintf(to, " = 0x%" PRIx64, cpu->r[RDX] << 32 | (uint32_t)cpu->r[RAX]);
		break;
	default: break;
	}
}

void vmx_trace_exits(const struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	const struct vmx_exit_record *exit = &vmx->exit;
	uint32_t reason = exit->reason & 0xffff;
	const char *title = vmx_exit_text(reason);
	char *text = NULL;
	size_t size;
	FILE *words, *to = begin(cpu);

	if (!to)
		return;
	fprintf(to, "VM exit, VMCS 0x%" PRIx64 ": reason %u, %s", vmx->current, reason, title ? title : "?");
	words = open_memstream(&text, &size);
	if (words) {
		bool says = qualification_words(exit, words);

		fclose(words);
		fprintf(to, "%s%s", says ? ", " : "", text);
		free(text);
	}
	operands(cpu, reason, to);
	fprintf(to, "; RIP 0x%" PRIx64, cpu->rip);
	if (exit->instruction_length)
		fprintf(to, " length %u", exit->instruction_length);
	if (exit->interruption & INTERRUPTION_VALID) {
		fputs("; ", to);
		interruption_words(exit->interruption, exit->interruption_error, to);
	}
	if (vmx->vectoring & INTERRUPTION_VALID) {
		fputs("; while delivering ", to);
		interruption_words(vmx->vectoring, vmx->vectoring_error, to);
	}
	putc('\n', to);
}

void vmx_trace_aborts(const struct cpu *cpu, enum vmx_abort why)
{
	FILE *to = begin(cpu);

	if (to)
		fprintf(to, "VMX abort, VMCS 0x%" PRIx64 ": indicator %u, %s\n", cpu->vmx->current, why,
			vmx_abort_text(why));
}

/*
 * Explanations of anything: VMCSs with random fields, random addresses, error codes, tables and lists of MSRs. Input is
 * {what, how, a number, registers, then pairs of field and value}. Each explanation is whole lines, and each JSON
 * object is one line whose braces match.
 */
#include "debug/explain.h"
#include "whole.h"
#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that explanations look at. */
static void set_up(struct cpu *cpu, struct input *in)
{
	uint8_t how = (uint8_t)input_take(in, 1);
	struct vmx *vmx = cpu->vmx;

	vmx->on = how & 1;
	vmx->current = how & 2 ? input_take(in, 8) : ~UINT64_C(0);
	vmx->vmcs.shadow = how & 4;
	cpu->nonroot = (how & 8) && vmx->on && vmx_has_current(vmx);
	cpu->efer = how & 16 ? EFER_LMA : 0;
	cpu->cr0 = how & 32 ? CR0_PE : 0;
	cpu->idtr = (struct table_register){input_take(in, 4), (uint16_t)input_take(in, 2)};
	cpu->gdtr = (struct table_register){input_take(in, 4), (uint16_t)input_take(in, 2)};
	cpu->rip = cpu->insn_rip = input_take(in, 8);
}

static void set_fields(struct vmcs *v, struct input *in)
{
	memset(v->field, 0, sizeof(v->field));
	memset(v->writer, 0, sizeof(v->writer));
	while (in->at < in->end) {
		enum vmcs_field field = (enum vmcs_field)(input_take(in, 1) % VMCS_FIELD_COUNT);

		vmcs_put(v, field, input_take(in, 8));
		v->writer[field] = (struct vmcs_writer){.rip = v->field[field], .value = input_take(in, 1)};
	}
}

static void explain_one(struct explain *e, struct cpu *cpu, uint8_t what, uint64_t number)
{
	struct fault_chain chain = {.count = 1 + (what >> 3) % FAULT_CHAIN};

	switch (what & 7) {
	case 0:
	case 1:
	case 2:
		explain_instruction(
			e, cpu,
			&(struct vmx_instruction){.operation = what & 1 ? ZYDIS_MNEMONIC_VMXON : ZYDIS_MNEMONIC_VMREAD,
						  .invalid = what & 2,
						  .error = (enum vmx_error)((what >> 3) % 29),
						  .operand = number});
		break;
	case 3:
		if (cpu->vmx->on)
			explain_entry(e, cpu,
				      &(struct vmx_failed_entry){.rule = (enum vmx_check)(number % VMX_CHECK_COUNT),
								 .msr_entry = (uint32_t)(number >> 16) | 1});
		break;
	case 4: explain_abort(e, cpu, (enum vmx_abort)(1 + (what >> 3) % 6), (uint32_t)number | 1); break;
	default:
		for (unsigned i = 0; i < chain.count; i++) {
			chain.link[i] = (struct fault_link){.vector = (uint8_t)number,
							    .has_error = number & BIT(8),
							    .error = (uint32_t)(number >> 9),
							    .address = number};
			number = number << 13 | number >> 51;
		}
		explain_triple_fault(e, cpu, &chain);
		break;
	}
}

/* NUL-terminated, as open_memstream() makes it. */
static void judge(const char *text, size_t size, bool json)
{
	int depth = 0;

	if (strlen(text) != size || (size && text[size - 1] != '\n'))
		abort();
	if (!json || !size)
		return;
	for (const char *c = text; *c; c++)
		depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
	if (depth || strchr(text, '\n') != text + size - 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.at = data, .end = data + size};
	uint8_t what = (uint8_t)input_take(&in, 1);
	uint64_t number = input_take(&in, 8);
	struct cpu *cpu = &whole_machine()->cpu[0];

	set_up(cpu, &in);
	set_fields(&cpu->vmx->vmcs, &in);
	for (unsigned json = 0; json < 2; json++) {
		struct symbols *symbols = symbols_create();
		char *text;
		size_t length;
		FILE *to = open_memstream(&text, &length);
		struct explain *e = explain_create(to, json, symbols);

		explain_one(e, cpu, what, number);
		fclose(to);
		judge(text, length, json);
		explain_destroy(e);
		symbols_destroy(symbols);
		free(text);
	}
	cpu->vmx->on = cpu->nonroot = false;
	cpu->vmx->current = ~UINT64_C(0);
	return 0;
}

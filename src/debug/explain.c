/*
 * Explanations of failures. See explain.h; SDM vol. 3, "VM Entries", "VMX Aborts", "VMX Instruction Reference".
 */
#include "debug/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "bus/bus.h"
#include "debug/fault_words.h"
#include "debug/provenance.h"
#include "debug/rules.h"
#include "debug/vmx_words.h"
#include "exec/run.h"
#include "mem/mem.h"

/* Further ones are only counted. */
enum { MOST_TOLD = 200 };

struct told {
	uint64_t key;
	uint64_t times;
	char *title;
};

struct explain {
	FILE *to;
	bool json;
	const struct symbols *symbols;
	struct provenance *provenance;
	struct told told[MOST_TOLD];
	unsigned count;
	uint64_t untold;
};

struct explain *explain_create(FILE *to, bool json, const struct symbols *symbols)
{
	struct explain *e = xcalloc(1, sizeof(*e));

	e->to = to;
	e->json = json;
	e->symbols = symbols;
	e->provenance = provenance_create();
	return e;
}

void explain_destroy(struct explain *e)
{
	if (!e)
		return;
	for (unsigned i = 0; i < e->count; i++)
		free(e->told[i].title);
	provenance_destroy(e->provenance);
	free(e);
}

/* ---- What has been told ---- */

/* FNV-1a, so that a key names the same failure in every run. */
static uint64_t mix(uint64_t key, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		key = (key ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
	return key;
}

static uint64_t mix_number(uint64_t key, uint64_t number)
{
	return mix(key, &number, sizeof(number));
}

#define KEY UINT64_C(0xcbf29ce484222325)

/* A new one: it is to be explained now, with this number (from 1). 0: it was, or there are too many. */
static unsigned meet(struct explain *e, uint64_t key)
{
	for (unsigned i = 0; i < e->count; i++) {
		if (e->told[i].key == key) {
			e->told[i].times++;
			return 0;
		}
	}
	if (e->count == MOST_TOLD) {
		e->untold++;
		return 0;
	}
	e->told[e->count] = (struct told){.key = key, .times = 1};
	return ++e->count;
}

void explain_conclude(struct explain *e)
{
	for (unsigned i = 0; i < e->count; i++) {
		const struct told *told = &e->told[i];

		if (told->times == 1)
			continue;
		if (e->json)
			fprintf(e->to, "{\"event\": \"repeated\", \"number\": %u, \"times\": %" PRIu64 "}\n", i + 1,
				told->times);
		else
			fprintf(e->to, "softvt: #%u: %s (repeated %" PRIu64 " times)\n", i + 1, told->title,
				told->times - 1);
	}
	if (!e->untold)
		return;
	if (e->json)
		fprintf(e->to, "{\"event\": \"untold\", \"times\": %" PRIu64 "}\n", e->untold);
	else
		fprintf(e->to, "softvt: %" PRIu64 " more failures of other kinds were not explained\n", e->untold);
}

/* ---- One explanation: a head, then what each kind has to say, then the end ---- */

struct telling {
	struct explain *e;
	struct cpu *cpu;
};

/* " <main+0x12>", or in JSON a member of its own. */
static void say_symbol(const struct telling *t, la_t address)
{
	FILE *to = t->e->to;
	const char *name;
	uint64_t offset;
	pa_t physical;

	if (!mem_debug_translate(t->cpu, address, &physical))
		physical = ~UINT64_C(0);
	if (!t->e->symbols || !symbols_find(t->e->symbols, address, physical, &name, &offset))
		return;
	if (!t->e->json) {
		fprintf(to, offset ? " <%s+%#" PRIx64 ">" : " <%s>", name, offset);
		return;
	}
	fputs(", \"symbol\": ", to);
	json_string(to, name);
	fprintf(to, ", \"offset\": \"%#" PRIx64 "\"", offset);
}

static const char *mode_words(const struct cpu *cpu)
{
	if (!cpu->vmx || !cpu->vmx->on)
		return "outside VMX operation";
	return cpu->nonroot ? "VMX non-root operation" : "VMX root operation";
}

/* title: what failed, how, and why. mode and rip: where. */
static void say_head(const struct telling *t, unsigned number, const char *event, const char *title, const char *mode,
		     uint64_t rip)
{
	const struct cpu *cpu = t->cpu;
	bool vmcs = cpu->vmx && cpu->vmx->on && vmx_has_current(cpu->vmx);
	FILE *to = t->e->to;

	t->e->told[number - 1].title = xstrdup(title);
	if (t->e->json) {
		fprintf(to, "{\"event\": \"%s\", \"number\": %u, \"what\": ", event, number);
		json_string(to, title);
		fprintf(to, ", \"cpu\": %u, \"mode\": \"%s\", \"rip\": \"0x%" PRIx64 "\"", cpu->number, mode, rip);
		say_symbol(t, rip);
		fprintf(to, ", \"instructions\": %" PRIu64, run_retired(cpu));
		if (vmcs)
			fprintf(to, ", \"vmcs\": \"0x%" PRIx64 "\"", cpu->vmx->current);
		return;
	}
	fprintf(to, "softvt: #%u: %s\n  CPU %u, %s, at 0x%" PRIx64, number, title, cpu->number, mode, rip);
	say_symbol(t, rip);
	fprintf(to, ", instruction %" PRIu64, run_retired(cpu));
	if (vmcs)
		fprintf(to, ", VMCS 0x%" PRIx64, cpu->vmx->current);
	putc('\n', to);
}

static void say_end(const struct telling *t)
{
	if (t->e->json)
		fputs("}\n", t->e->to);
	fflush(t->e->to);
}

/* A sentence more. */
static PRINTF(2, 3) void say_detail(const struct telling *t, const char *format, ...)
{
	char text[400];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (!t->e->json) {
		fprintf(t->e->to, "  %s\n", text);
		return;
	}
	fputs(", \"detail\": ", t->e->to);
	json_string(t->e->to, text);
}

/* Who wrote a field last: SoftVT notes it at each VMWRITE. */
static void say_writer(void *ctx, const struct rule_words *words, enum vmcs_field field)
{
	const struct telling *t = ctx;
	const struct vmcs *v = words->input->vmcs;
	struct vmcs_writer writer = v->writer[field];
	bool known = vmcs_written(&writer) || provenance_find(t->e->provenance, t->cpu->vmx->current, field, &writer);
	bool changed = known && writer.value != v->field[field];
	FILE *to = words->to;

	if (words->json) {
		if (!known) {
			fputs("null", to);
			return;
		}
		fprintf(to, "{\"rip\": \"0x%" PRIx64 "\"", writer.rip);
		say_symbol(t, writer.rip);
		fprintf(to, ", \"instructions\": %" PRIu64 ", \"value\": \"0x%" PRIx64 "\"}", writer.count,
			writer.value);
		return;
	}
	if (!known) {
		fputs(", which no VMWRITE is known to have written", to);
		return;
	}
	if (changed)
		fprintf(to, ", set by the processor after the VMWRITE of 0x%" PRIx64 " at 0x%" PRIx64, writer.value,
			writer.rip);
	else
		fprintf(to, ", VMWRITE at 0x%" PRIx64, writer.rip);
	say_symbol(t, writer.rip);
	fprintf(to, ", instruction %" PRIu64, writer.count);
}

static void say_rules(struct telling *t, const struct vmx_check_input *input, const struct rule_finding *rules,
		      unsigned count)
{
	const struct rule_words words = {
		.to = t->e->to, .json = t->e->json, .input = input, .writer = say_writer, .ctx = t};

	if (t->e->json)
		fputs(", \"rules\": [", t->e->to);
	else
		fprintf(t->e->to, "  %u rule%s broken%s:\n", count, count == 1 ? " is" : "s are",
			count == 1 ? "" : "; a processor stops at the first");
	for (unsigned i = 0; i < count; i++) {
		if (t->e->json && i)
			fputs(", ", t->e->to);
		rule_say(&words, &rules[i]);
	}
	if (t->e->json)
		putc(']', t->e->to);
}

/* A field by itself. */
static void say_field(struct telling *t, enum vmcs_field field)
{
	const struct vmcs *v = &t->cpu->vmx->vmcs;
	const struct rule_words words = {
		.to = t->e->to, .json = t->e->json, .input = &(struct vmx_check_input){.vmcs = v}};
	FILE *to = t->e->to;

	if (t->e->json)
		fprintf(to, ", \"field\": {\"name\": \"%s\", \"value\": \"0x%" PRIx64 "\", \"written\": ",
			vmcs_field_info[field].name, v->field[field]);
	else
		fprintf(to, "  %s = 0x%" PRIx64, vmcs_field_info[field].name, v->field[field]);
	say_writer(t, &words, field);
	putc(t->e->json ? '}' : '\n', to);
}

/* ---- VMX instructions ---- */

/* Where a VMXON or VMCS region may lie: SDM vol. 3, "VMXON - Enter VMX Operation", "VMPTRLD - ...". */
static void say_region(struct telling *t, pa_t region)
{
	const struct vmx_capability *caps = t->cpu->vmx->caps;
	unsigned width = vmx_may(caps, BASIC, ADDRESSES_32) ? 32 : caps->physical_bits;
	uint32_t first;

	if (region & (VMX_REGION_SIZE - 1))
		say_detail(t, "the region's address 0x%" PRIx64 " must have bits 11:0 clear", region);
	else if (region >> width)
		say_detail(t, "the region's address 0x%" PRIx64 " must not have a bit beyond bit %u", region,
			   width - 1);
	else {
		first = (uint32_t)bus_read(t->cpu->bus, region, 4, t->cpu->in_smm);
		say_detail(t,
			   "the region at 0x%" PRIx64 " must begin with the VMCS revision identifier 0x%x, which "
			   "IA32_VMX_BASIC[30:0] reports; it begins with 0x%x",
			   region, VMX_REVISION, first);
	}
}

static void say_component(struct telling *t, const struct vmx_instruction *what)
{
	bool high;
	enum vmcs_field field = vmcs_field_find(what->operand, &high);
	const struct vmx_bit_info *needs = field == VMCS_FIELD_COUNT ? NULL : vmx_field_needs(field);

	if (field != VMCS_FIELD_COUNT && what->error == VMX_ERROR_READ_ONLY_COMPONENT)
		say_detail(t, "%s is VM-exit information, which can be written where IA32_VMX_MISC[29] is 1",
			   vmcs_field_info[field].name);
	else if (needs)
		say_detail(t,
			   "0x%" PRIx64 " is %s, which this CPU model lacks: it comes with the control \"%s\" (%s of "
			   "-cpu)",
			   what->operand, vmcs_field_info[field].name, needs->title, needs->option);
	else
		say_detail(t, "no VMCS field has the encoding 0x%" PRIx64, what->operand);
}

static void say_why(struct telling *t, const struct vmx_instruction *what)
{
	const struct vmx *vmx = t->cpu->vmx;

	switch (what->error) {
	case VMX_OK:
		if (what->operation == ZYDIS_MNEMONIC_VMXON)
			say_region(t, what->operand);
		else if (vmx_has_current(vmx) && vmx->vmcs.shadow)
			say_detail(t, "the current VMCS is a shadow VMCS (bit 31 of its region is 1)");
		else
			say_detail(t, "there is no current VMCS: VMPTRLD makes one current, VMCLEAR of it ends that");
		break;
	case VMX_ERROR_VMCLEAR_ADDRESS:
	case VMX_ERROR_VMPTRLD_ADDRESS:
	case VMX_ERROR_VMPTRLD_REVISION: say_region(t, what->operand); break;
	case VMX_ERROR_VMCLEAR_VMXON_POINTER:
	case VMX_ERROR_VMPTRLD_VMXON_POINTER:
		say_detail(t, "0x%" PRIx64 " is the region that VMXON was given", what->operand);
		break;
	case VMX_ERROR_VMLAUNCH_NOT_CLEAR:
		say_detail(t, "it was launched: VMRESUME enters it, VMCLEAR makes it clear again");
		break;
	case VMX_ERROR_VMRESUME_NOT_LAUNCHED:
		say_detail(t, "it is clear: VMLAUNCH enters it the first time, and after each VMCLEAR");
		break;
	case VMX_ERROR_UNSUPPORTED_COMPONENT:
	case VMX_ERROR_READ_ONLY_COMPONENT: say_component(t, what); break;
	case VMX_ERROR_BLOCKED_BY_MOV_SS:
		say_detail(t, "the instruction before it was MOV SS, POP SS or LSS; one must stand between");
		break;
	case VMX_ERROR_INVEPT_INVVPID_OPERAND:
		say_detail(
			t,
			"its type is %" PRIu64 "; IA32_VMX_EPT_VPID_CAP says which types there are, and the "
			"descriptor must hold an EPT pointer that VM entry would take, or a VPID that is not 0, with "
			"its reserved bits 0 and, for type 0, a canonical address",
			what->operand);
		break;
	default: break;
	}
}

void explain_instruction(struct explain *e, struct cpu *cpu, const struct vmx_instruction *what)
{
	struct telling t = {.e = e, .cpu = cpu};
	uint64_t key = mix_number(mix_number(KEY, what->operation), cpu->insn_rip);
	char name[16], title[200];
	unsigned number = meet(e, mix_number(key, (uint64_t)what->invalid << 32 | what->error));

	if (!number)
		return;
	vmx_mnemonic(what->operation, name, sizeof(name));
	if (what->invalid)
		snprintf(title, sizeof(title), "%s failed, VMfailInvalid%s%s", name, what->error ? ": " : "",
			 what->error ? vmx_error_text(what->error) : "");
	else
		snprintf(title, sizeof(title), "%s failed, VMfailValid(%u): %s", name, what->error,
			 vmx_error_text(what->error));
	say_head(&t, number, "instruction_failed", title, mode_words(cpu), cpu->insn_rip);
	say_why(&t, what);
	say_end(&t);
}

/* ---- VM entries ---- */

static pa_t msr_entry_at(const struct cpu *cpu, enum vmcs_field list, uint32_t entry)
{
	return cpu->vmx->vmcs.field[list] + (uint64_t)(entry - 1) * 16;
}

/* An entry of a list of MSRs that the processor did not take. */
static void say_msr(struct telling *t, enum vmcs_field list, uint32_t entry, const char *what)
{
	struct cpu *cpu = t->cpu;
	pa_t at = msr_entry_at(cpu, list, entry);
	uint32_t index = (uint32_t)bus_read(cpu->bus, at, 4, cpu->in_smm);
	const char *name = msr_words(index);

	say_detail(t, "entry %u, at 0x%" PRIx64 ": MSR 0x%x%s%s, value 0x%" PRIx64 ": %s", entry, at, index,
		   name ? " IA32_" : "", name ? name : "", bus_read(cpu->bus, at + 8, 8, cpu->in_smm), what);
	say_field(t, list);
}

static void entry_title(const struct vmx_failed_entry *what, char *title, size_t size)
{
	const struct vmx_check_info *info = &vmx_check_info[what->rule];
	const char *name = what->launch ? "VMLAUNCH" : "VMRESUME";
	unsigned reason = what->rule ? info->exit_reason : VMX_EXIT_MSR_LOADING;

	if (what->error)
		snprintf(title, size, "%s failed, VMfailValid(%u): %s", name, what->error, vmx_error_text(what->error));
	else
		snprintf(title, size, "%s failed, exit reason %u, qualification %u: %s", name, reason,
			 what->rule ? info->qualification : what->msr_entry, vmx_exit_text(reason));
}

void explain_entry(struct explain *e, struct cpu *cpu, const struct vmx_failed_entry *what)
{
	struct rule_finding rules[VMX_CHECK_COUNT];
	struct vmx_check_result result;
	struct vmx_check_input input;
	struct vmx_check_cpu about;
	struct telling t = {.e = e, .cpu = cpu};
	char title[200];
	unsigned count, number;
	uint64_t key;

	vmx_entry_input(cpu, &about, &input);
	if (what->rule) {
		count = rules_broken(&input, rules, &result);
	} else {
		uint64_t msr = bus_read(cpu->bus, msr_entry_at(cpu, VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, what->msr_entry), 8,
					cpu->in_smm);
		enum vmx_check rule = vmx_check_msr_load(msr, cpu->in_smm);

		count = rule != VMX_CHECK_OK;
		rules[0] = (struct rule_finding){.rule = rule, .entry = what->msr_entry, .msr = msr};
	}
	key = mix_number(mix_number(KEY, what->launch), cpu->insn_rip);
	for (unsigned i = 0; i < count; i++)
		key = mix_number(key, rules[i].rule);
	number = meet(e, key);
	if (!number)
		return;
	entry_title(what, title, sizeof(title));
	say_head(&t, number, "entry_failed", title, mode_words(cpu), cpu->insn_rip);
	if (what->error == VMX_ERROR_EXECUTIVE_CONTROL_FIELDS)
		say_detail(&t, "the entry returns from SMM, so rules of VM-execution controls are asked of the "
			       "executive VMCS");
	if (!what->rule)
		say_msr(&t, VMCS_VM_ENTRY_MSR_LOAD_ADDRESS, what->msr_entry,
			count ? "no VM entry loads it" : "WRMSR would raise #GP(0)");
	if (count)
		say_rules(&t, &input, rules, count);
	say_end(&t);
}

/* ---- VMX aborts and triple faults ---- */

/* What the VM exit was to load breaks rules that an entry checks, by writes to the VMCS region. */
static void say_corrupted(struct telling *t)
{
	struct cpu *cpu = t->cpu;
	struct rule_finding rules[VMX_CHECK_COUNT];
	struct vmx_check_result result = {0};
	struct vmx_check_input input;
	struct vmx_check_cpu about;
	unsigned count = 0;

	vmx_entry_input(cpu, &about, &input);
	about.lma = vmx_on_exit(cpu->vmx, HOST_ADDRESS_SPACE_SIZE); /* it is not about the mode, as at an entry */
	vmx_check_section(&input, VMX_SECTION_EXIT_CONTROLS, &result);
	vmx_check_group(&input, VMX_GROUP_HOST, &result);
	for (unsigned rule = 1; rule < VMX_CHECK_COUNT; rule++)
		if (vmx_check_in(result.broken, rule))
			rules[count++] = (struct rule_finding){.rule = (enum vmx_check)rule};
	if (count)
		say_rules(t, &input, rules, count);
}

void explain_abort(struct explain *e, struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
	const struct vmx *vmx = cpu->vmx;
	uint64_t rip = vmcs_get(&vmx->vmcs, GUEST_RIP);
	struct telling t = {.e = e, .cpu = cpu};
	unsigned number = meet(e, mix_number(mix_number(KEY, why), rip));
	char title[200];

	if (!number)
		return;
	snprintf(title, sizeof(title), "VMX abort, indicator %u: %s", why, vmx_abort_text(why));
	say_head(&t, number, "abort", title, "VM exit", rip);
	switch (why) {
	case VMX_ABORT_SAVE_MSR:
		say_msr(&t, VMCS_VM_EXIT_MSR_STORE_ADDRESS, entry, "RDMSR would raise #GP(0), or no VM exit stores it");
		break;
	case VMX_ABORT_LOAD_MSR:
		say_msr(&t, VMCS_VM_EXIT_MSR_LOAD_ADDRESS, entry, "WRMSR would raise #GP(0), or no VM exit loads it");
		break;
	case VMX_ABORT_HOST_PDPTE:
		say_detail(&t, "one of the four PDPTEs at the host's CR3 is present and sets a reserved bit");
		say_field(&t, VMCS_HOST_CR3);
		break;
	case VMX_ABORT_ADDRESS_SIZE:
		say_detail(&t, "the guest was in IA-32e mode, so \"host address-space size\" (bit 9) must be 1");
		say_field(&t, VMCS_VM_EXIT_CTLS);
		break;
	case VMX_ABORT_CORRUPTED: say_corrupted(&t); break;
	case VMX_ABORT_MACHINE_CHECK: break;
	}
	say_end(&t);
}

void explain_vmcs_leaves(struct explain *e, struct cpu *cpu)
{
	provenance_keep(e->provenance, cpu->vmx->current, &cpu->vmx->vmcs);
}

void explain_triple_fault(struct explain *e, struct cpu *cpu, const struct fault_chain *chain)
{
	struct telling t = {.e = e, .cpu = cpu};
	uint64_t key = mix_number(mix_number(KEY, cpu->nonroot), cpu->rip);
	unsigned number;
	FILE *to = e->to;

	for (unsigned i = 0; i < chain->count; i++)
		key = mix_number(key, (uint64_t)chain->link[i].error << 8 | chain->link[i].vector);
	number = meet(e, key);
	if (!number)
		return;
	say_head(&t, number, "triple_fault",
		 cpu->nonroot ? "triple fault of a guest, which is a VM exit (reason 2)" : "triple fault",
		 mode_words(cpu), cpu->rip);
	if (e->json)
		fputs(", \"faults\": [", to);
	for (unsigned i = 0; i < chain->count; i++) {
		char *text = NULL;
		size_t size;
		FILE *words = open_memstream(&text, &size);

		if (!words)
			break;
		fault_words(cpu, chain, i, words);
		fclose(words);
		if (e->json) {
			fputs(i ? ", " : "", to);
			json_string(to, text);
		} else {
			fprintf(to, "  %s\n", text);
		}
		free(text);
	}
	if (e->json)
		putc(']', to);
	say_detail(&t,
		   "RSP 0x%" PRIx64 ", CR2 0x%" PRIx64 ", CR3 0x%" PRIx64 ", IDTR 0x%" PRIx64
		   " limit %#x, TR %#x, CS %#x",
		   cpu->r[RSP], cpu->cr2, cpu->cr3, cpu->idtr.base, cpu->idtr.limit, cpu->seg[TR].selector,
		   cpu->seg[CS].selector);
	say_end(&t);
}

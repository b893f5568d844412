/*
 * Exceptions, VM exits and what they record, in words. SDM vol. 3, "Basic VM-Exit Information" (its tables of exit
 * qualifications), "Information for VM Exits Due to Vectored Events"; "Page-Fault Exception (#PF)".
 */
#include "debug/vmx_words.h"

#include <Zydis/Zydis.h>
#include <ctype.h>
#include <inttypes.h>

#include "cpu/msr.h"
#include "vmx/interruption.h"

static const char *const exceptions[32] = {
	[VECTOR_DE] = "#DE", [VECTOR_DB] = "#DB", [VECTOR_NMI] = "NMI", [VECTOR_BP] = "#BP", [VECTOR_OF] = "#OF",
	[VECTOR_BR] = "#BR", [VECTOR_UD] = "#UD", [VECTOR_NM] = "#NM",	[VECTOR_DF] = "#DF", [VECTOR_TS] = "#TS",
	[VECTOR_NP] = "#NP", [VECTOR_SS] = "#SS", [VECTOR_GP] = "#GP",	[VECTOR_PF] = "#PF", [VECTOR_MF] = "#MF",
	[VECTOR_AC] = "#AC", [VECTOR_MC] = "#MC", [VECTOR_XM] = "#XM",	[VECTOR_VE] = "#VE", [VECTOR_CP] = "#CP",
};

const char *vector_words(unsigned vector, char *text, size_t size)
{
	if (vector < ARRAY_SIZE(exceptions) && exceptions[vector])
		snprintf(text, size, "%s", exceptions[vector]);
	else
		snprintf(text, size, "vector 0x%02x", vector);
	return text;
}

void exception_words(unsigned vector, bool has_error, uint32_t error, FILE *to)
{
	char text[16];

	fputs(vector_words(vector, text, sizeof(text)), to);
	if (has_error)
		fprintf(to, "(%#x)", error);
}

/* SDM vol. 3, "Page-Fault Error Code". */
void page_fault_words(uint32_t error, FILE *to)
{
	const char *access = error & BIT(4) ? "fetch from" : error & BIT(1) ? "write to" : "read of";
	const char *page = error & BIT(3)   ? "a page whose entries set a reserved bit"
			   : error & BIT(0) ? "a page that does not allow it"
					    : "a page that is not present";

	fprintf(to, "%s %s, %s", access, page, error & BIT(2) ? "user" : "supervisor");
	if (error & BIT(5))
		fputs(", protection key", to);
}

void interruption_words(uint32_t information, uint32_t error, FILE *to)
{
	static const char *const types[] = {
		[INTERRUPTION_EXTERNAL] = "external interrupt",
		[1] = "reserved type, vector",
		[INTERRUPTION_NMI] = "NMI, vector",
		[INTERRUPTION_HARDWARE_EXCEPTION] = "exception",
		[INTERRUPTION_SOFTWARE] = "INT",
		[INTERRUPTION_PRIVILEGED] = "INT1, exception",
		[INTERRUPTION_SOFTWARE_EXCEPTION] = "software exception",
		[INTERRUPTION_OTHER] = "other event, vector",
	};
	unsigned type = (unsigned)bits_get(information, 10, 8), vector = (uint8_t)information;

	fprintf(to, "%s ", types[type]);
	if (type == INTERRUPTION_HARDWARE_EXCEPTION || type == INTERRUPTION_PRIVILEGED ||
	    type == INTERRUPTION_SOFTWARE_EXCEPTION)
		exception_words(vector, information & INTERRUPTION_ERROR_CODE, error, to);
	else
		fprintf(to, "%#x", vector);
}

const char *register_words(unsigned number)
{
	static const char *const names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					      "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};

	return names[number & 15];
}

static void cr_access_words(uint64_t q, FILE *to)
{
	unsigned number = (unsigned)bits_get(q, 3, 0);

	switch (bits_get(q, 5, 4)) {
	case 0: fprintf(to, "CR%u = %s", number, register_words((unsigned)bits_get(q, 11, 8))); break;
	case 1: fprintf(to, "%s = CR%u", register_words((unsigned)bits_get(q, 11, 8)), number); break;
	case 2: fputs("CLTS", to); break;
	default: fprintf(to, "LMSW %#x%s", (unsigned)bits_get(q, 31, 16), q & BIT(6) ? " from memory" : ""); break;
	}
}

static void dr_access_words(uint64_t q, FILE *to)
{
	const char *name = register_words((unsigned)bits_get(q, 11, 8));
	unsigned number = (unsigned)bits_get(q, 2, 0);

	if (q & BIT(4))
		fprintf(to, "%s = DR%u", name, number);
	else
		fprintf(to, "DR%u = %s", number, name);
}

static void io_words(uint64_t q, FILE *to)
{
	unsigned size = (unsigned)bits_get(q, 2, 0) + 1;

	fprintf(to, "%s%s%s %u byte%s %s port %#x", q & BIT(5) ? "rep " : "", q & BIT(3) ? "in" : "out",
		q & BIT(4) ? "s" : "", size, size == 1 ? "" : "s", q & BIT(3) ? "from" : "to",
		(unsigned)bits_get(q, 31, 16));
}

/* SDM vol. 3, "Exit Qualification for EPT Violations". */
static void ept_violation_words(const struct vmx_exit_record *exit, FILE *to)
{
	uint64_t q = exit->qualification;

	fprintf(to, "%s%s%s of guest-physical 0x%" PRIx64 ", EPT allows %c%c%c", q & BIT(0) ? "read" : "",
		q & BIT(1) ? (q & BIT(0) ? " and write" : "write") : "", q & BIT(2) ? "fetch" : "", exit->physical,
		q & BIT(3) ? 'r' : '-', q & BIT(4) ? 'w' : '-', q & BIT(5) ? 'x' : '-');
	if (q & BIT(7))
		fprintf(to, ", linear 0x%" PRIx64 "%s", exit->linear, q & BIT(8) ? "" : " (of its page tables)");
}

static void apic_access_words(uint64_t q, FILE *to)
{
	static const char *const kinds[16] = {
		[0] = "read",
		[1] = "write",
		[2] = "fetch",
		[3] = "access in event delivery",
		[4] = "monitor",
		[10] = "guest-physical access in event delivery",
		[15] = "guest-physical access",
	};
	const char *kind = kinds[bits_get(q, 15, 12)];

	fprintf(to, "%s at offset %#x", kind ? kind : "access", (unsigned)bits_get(q, 11, 0));
}

static void task_switch_words(uint64_t q, FILE *to)
{
	static const char *const sources[] = {"CALL", "IRET", "JMP", "a task gate in the IDT"};

	fprintf(to, "to selector %#x by %s", (unsigned)bits_get(q, 15, 0), sources[bits_get(q, 31, 30)]);
}

static void debug_words(uint64_t q, FILE *to)
{
	for (unsigned i = 0; i < 4; i++)
		if (q & BIT(i))
			fprintf(to, "breakpoint %u ", i);
	fprintf(to, "%s%s(%#" PRIx64 ")", q & BIT(13) ? "debug-register access " : "",
		q & BIT(14) ? "single step " : "", q);
}

static bool exception_qualification(const struct vmx_exit_record *exit, FILE *to)
{
	if (bits_get(exit->interruption, 10, 8) != INTERRUPTION_HARDWARE_EXCEPTION)
		return false;
	if ((uint8_t)exit->interruption == VECTOR_DB) {
		debug_words(exit->qualification, to);
		return true;
	}
	if ((uint8_t)exit->interruption != VECTOR_PF)
		return false;
	fprintf(to, "at linear 0x%" PRIx64 ": ", exit->qualification);
	page_fault_words(exit->interruption_error, to);
	return true;
}

bool qualification_words(const struct vmx_exit_record *exit, FILE *to)
{
	uint64_t q = exit->qualification;

	switch (exit->reason & 0xffff) {
	case VMX_EXIT_EXCEPTION_NMI: return exception_qualification(exit, to);
	case VMX_EXIT_CR_ACCESS: cr_access_words(q, to); return true;
	case VMX_EXIT_MOV_DR: dr_access_words(q, to); return true;
	case VMX_EXIT_IO_INSTRUCTION: io_words(q, to); return true;
	case VMX_EXIT_EPT_VIOLATION: ept_violation_words(exit, to); return true;
	case VMX_EXIT_EPT_MISCONFIGURATION: fprintf(to, "guest-physical 0x%" PRIx64, exit->physical); return true;
	case VMX_EXIT_APIC_ACCESS: apic_access_words(q, to); return true;
	case VMX_EXIT_TASK_SWITCH: task_switch_words(q, to); return true;
	case VMX_EXIT_INVLPG: fprintf(to, "of linear 0x%" PRIx64, q); return true;
	case VMX_EXIT_SIPI:
	case VMX_EXIT_VIRTUALIZED_EOI: fprintf(to, "vector %#x", (uint8_t)q); return true;
	case VMX_EXIT_APIC_WRITE: fprintf(to, "at offset %#" PRIx64, q & BITS(11, 0)); return true;
	case VMX_EXIT_MSR_LOADING: fprintf(to, "entry %" PRIu64, q); return true;
	case VMX_EXIT_MWAIT: fprintf(to, "monitor %sarmed", q & 1 ? "" : "not "); return true;
	default:
		if (q)
			fprintf(to, "qualification %#" PRIx64, q);
		return q;
	}
}

const char *msr_words(uint32_t index)
{
	static const struct {
		uint32_t index;
		const char *name;
	} rows[] = {
#define STORED(index, name, feature, member, bits, check) {index, #name},
#define FIXED(index, name, feature, value)		  {index, #name},
#define ACTIVE(first, last, name, feature, accessor)	  {first, #name},
#define OTHER(index, name)				  {index, #name},
#include "msrs.def"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].index == index)
			return rows[i].name;
	return NULL;
}

const char *vmx_mnemonic(uint16_t operation, char *text, size_t size)
{
	snprintf(text, size, "%s", ZydisMnemonicGetString((ZydisMnemonic)operation));
	for (char *c = text; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	return text;
}

const struct vmx_bit_info *vmx_field_needs(enum vmcs_field field)
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
	enum vmx_word word;
	uint64_t bit;

	switch ((enum condition)condition[field]) {
	case IF_ALWAYS: return NULL;
#define NEED(condition, word_a, bit_a, word_b, bit_b) \
	case IF_##condition:                          \
		word = VMX_##word_a;                  \
		bit = word_a##_##bit_a;               \
		break;
#include "vmcs_fields.def"
	default: return NULL;
	}
	for (unsigned i = 0; i < vmx_bit_count; i++)
		if (vmx_bit_info[i].word == word && BIT(vmx_bit_info[i].bit) == bit)
			return &vmx_bit_info[i];
	return NULL;
}

/*
 * Reading VMCS dumps.
 *
 * Headings divide a dump into states; in each, a line's head ("CR0:", "VMEntry:") and a key before "=" say which field
 * a number is. Keys are looked for anywhere in the line, so that prefixes of loggers do not matter. A number that ends
 * with its line and has fewer digits than its writer prints was cut off, and is not taken.
 */
#include "vmx/dump.h"

#include <inttypes.h>
#include <string.h>

#define LINE 512 /* longer lines are cut off */

enum part { NOWHERE, GUEST, HOST, CONTROL, SOFTVT };

struct key {
	uint8_t part;
	uint8_t digits;	  /* that the number has at least */
	bool after_colon; /* of two numbers with ":" between them it is the second */
	uint8_t field;
	const char *head; /* "": the line has none */
	const char *name;
};

#define K(part, digits, head, name, field)                    \
	{                                                     \
		part, digits, false, VMCS_##field, head, name \
	}
#define SECOND(part, digits, head, name, field)              \
	{                                                    \
		part, digits, true, VMCS_##field, head, name \
	}

static const struct key keys[] = {
	K(GUEST, 16, "CR0:", "actual", GUEST_CR0),
	K(GUEST, 16, "CR0:", "shadow", CR0_READ_SHADOW),
	K(GUEST, 16, "CR0:", "gh_mask", CR0_MASK),
	K(GUEST, 16, "CR4:", "actual", GUEST_CR4),
	K(GUEST, 16, "CR4:", "shadow", CR4_READ_SHADOW),
	K(GUEST, 16, "CR4:", "gh_mask", CR4_MASK),
	K(GUEST, 16, "", "CR3", GUEST_CR3),
	K(GUEST, 16, "", "PDPTR0", GUEST_PDPTE0),
	K(GUEST, 16, "", "PDPTR1", GUEST_PDPTE1),
	K(GUEST, 16, "", "PDPTR2", GUEST_PDPTE2),
	K(GUEST, 16, "", "PDPTR3", GUEST_PDPTE3),
	K(GUEST, 16, "", "PDPTE0", GUEST_PDPTE0),
	K(GUEST, 16, "", "PDPTE1", GUEST_PDPTE1),
	K(GUEST, 16, "", "PDPTE2", GUEST_PDPTE2),
	K(GUEST, 16, "", "PDPTE3", GUEST_PDPTE3),
	K(GUEST, 16, "", "RSP", GUEST_RSP),
	K(GUEST, 16, "", "RIP", GUEST_RIP),
	K(GUEST, 8, "", "RFLAGS", GUEST_RFLAGS),
	K(GUEST, 16, "", "DR7", GUEST_DR7),
	K(GUEST, 16, "Sysenter", "RSP", GUEST_SYSENTER_ESP),
	K(GUEST, 4, "Sysenter", "CS:RIP", GUEST_SYSENTER_CS),
	SECOND(GUEST, 16, "Sysenter", "CS:RIP", GUEST_SYSENTER_EIP),
	K(GUEST, 16, "", "EFER", GUEST_EFER),
	K(GUEST, 16, "", "EFER(VMCS)", GUEST_EFER),
	K(GUEST, 16, "", "PAT", GUEST_PAT),
	K(GUEST, 8, "", "PreemptionTimer", PREEMPTION_TIMER),
	K(GUEST, 8, "", "SM Base", GUEST_SMBASE),
	K(GUEST, 16, "", "DebugCtl", GUEST_DEBUGCTL),
	K(GUEST, 16, "", "DebugExceptions", GUEST_PENDING_DEBUG),
	K(GUEST, 16, "", "PerfGlobCtl", GUEST_PERF_GLOBAL_CTRL),
	K(GUEST, 16, "", "BndCfgS", GUEST_BNDCFGS),
	K(GUEST, 8, "", "Interruptibility", GUEST_INTERRUPTIBILITY),
	K(GUEST, 8, "", "ActivityState", GUEST_ACTIVITY_STATE),
	K(GUEST, 4, "", "InterruptStatus", GUEST_INTERRUPT_STATUS),
	K(HOST, 16, "", "RIP", HOST_RIP),
	K(HOST, 16, "", "RSP", HOST_RSP),
	K(HOST, 4, "", "CS", HOST_CS_SELECTOR),
	K(HOST, 4, "", "SS", HOST_SS_SELECTOR),
	K(HOST, 4, "", "DS", HOST_DS_SELECTOR),
	K(HOST, 4, "", "ES", HOST_ES_SELECTOR),
	K(HOST, 4, "", "FS", HOST_FS_SELECTOR),
	K(HOST, 4, "", "GS", HOST_GS_SELECTOR),
	K(HOST, 4, "", "TR", HOST_TR_SELECTOR),
	K(HOST, 16, "", "FSBase", HOST_FS_BASE),
	K(HOST, 16, "", "GSBase", HOST_GS_BASE),
	K(HOST, 16, "", "TRBase", HOST_TR_BASE),
	K(HOST, 16, "", "GDTBase", HOST_GDTR_BASE),
	K(HOST, 16, "", "IDTBase", HOST_IDTR_BASE),
	K(HOST, 16, "", "CR0", HOST_CR0),
	K(HOST, 16, "", "CR3", HOST_CR3),
	K(HOST, 16, "", "CR4", HOST_CR4),
	K(HOST, 16, "Sysenter", "RSP", HOST_SYSENTER_ESP),
	K(HOST, 4, "Sysenter", "CS:RIP", HOST_SYSENTER_CS),
	SECOND(HOST, 16, "Sysenter", "CS:RIP", HOST_SYSENTER_EIP),
	K(HOST, 16, "", "EFER", HOST_EFER),
	K(HOST, 16, "", "PAT", HOST_PAT),
	K(HOST, 16, "", "PerfGlobCtl", HOST_PERF_GLOBAL_CTRL),
	K(CONTROL, 8, "", "PinBased", VM_PINBASED_CTLS),
	K(CONTROL, 8, "", "CPUBased", VM_PROCBASED_CTLS),
	K(CONTROL, 8, "", "SecondaryExec", VM_PROCBASED_CTLS2),
	K(CONTROL, 16, "", "TertiaryExec", VM_PROCBASED_CTLS3),
	K(CONTROL, 8, "", "EntryControls", VM_ENTRY_CTLS),
	K(CONTROL, 8, "", "ExitControls", VM_EXIT_CTLS),
	K(CONTROL, 8, "", "ExceptionBitmap", EXCEPTION_BITMAP),
	K(CONTROL, 8, "", "PFECmask", PAGE_FAULT_ERROR_CODE_MASK),
	K(CONTROL, 8, "", "PFECmatch", PAGE_FAULT_ERROR_CODE_MATCH),
	K(CONTROL, 8, "VMEntry:", "intr_info", VM_ENTRY_INTERRUPTION_INFO),
	K(CONTROL, 8, "VMEntry:", "errcode", VM_ENTRY_ERROR_CODE),
	K(CONTROL, 8, "VMEntry:", "ilen", VM_ENTRY_INSTRUCTION_LENGTH),
	K(CONTROL, 8, "VMExit:", "intr_info", VM_EXIT_INTERRUPTION_INFO),
	K(CONTROL, 8, "VMExit:", "errcode", VM_EXIT_ERROR_CODE),
	K(CONTROL, 8, "VMExit:", "ilen", VM_EXIT_INSTRUCTION_LENGTH),
	K(CONTROL, 8, "", "reason", EXIT_REASON),
	K(CONTROL, 16, "", "qualification", EXIT_QUALIFICATION),
	K(CONTROL, 8, "IDTVectoring:", "info", IDT_VECTORING_INFO),
	K(CONTROL, 8, "IDTVectoring:", "errcode", IDT_VECTORING_ERROR_CODE),
	K(CONTROL, 16, "", "TSC Offset", TSC_OFFSET),
	K(CONTROL, 16, "", "TSC Multiplier", TSC_MULTIPLIER),
	K(CONTROL, 2, "", "TPR Threshold", TPR_THRESHOLD),
	K(CONTROL, 16, "", "APIC-access addr", APIC_ACCESS_ADDRESS),
	K(CONTROL, 16, "", "virt-APIC addr", VIRTUAL_APIC_ADDRESS),
	K(CONTROL, 2, "", "PostedIntrVec", POSTED_INTERRUPT_VECTOR),
	K(CONTROL, 16, "", "EPT pointer", EPTP),
	K(CONTROL, 4, "", "EPTP index", EPTP_INDEX),
	K(CONTROL, 8, "", "PLE Gap", PLE_GAP),
	K(CONTROL, 8, "", "Window", PLE_WINDOW),
	K(CONTROL, 4, "", "Virtual processor ID", VPID),
	K(CONTROL, 16, "", "VMfunc controls", VM_FUNCTION_CTLS),
	K(CONTROL, 16, "", "VE info address", VE_INFORMATION),
};

/* Lines of the guest state with selector, access rights, limit and base; GDTR and IDTR have the last two. */
static const struct {
	const char *head;
	uint8_t selector, ar, limit, base;
} segments[] = {
#define SEGMENT(S)                                                                                                    \
	{                                                                                                             \
#S ":", VMCS_GUEST_##S##_SELECTOR, VMCS_GUEST_##S##_AR, VMCS_GUEST_##S##_LIMIT, VMCS_GUEST_##S##_BASE \
	}
#define TABLE(R)                                                                                          \
	{                                                                                                 \
#R ":", VMCS_FIELD_COUNT, VMCS_FIELD_COUNT, VMCS_GUEST_##R##_LIMIT, VMCS_GUEST_##R##_BASE \
	}
	SEGMENT(CS), SEGMENT(DS),   SEGMENT(SS), SEGMENT(ES), SEGMENT(FS),
	SEGMENT(GS), SEGMENT(LDTR), SEGMENT(TR), TABLE(GDTR), TABLE(IDTR),
};

struct parser {
	struct vmx_dump *dump;
	enum part part;
	bool autoload; /* lines of the VM-entry MSR-load area follow */
	char line[LINE];
};

static void put(struct parser *p, unsigned field, uint64_t value)
{
	struct vmx_dump *dump = p->dump;

	if (field >= VMCS_FIELD_COUNT || (dump->present[field / 64] & BIT(field % 64)))
		return;
	vmcs_put(&dump->vmcs, (enum vmcs_field)field, value);
	dump->present[field / 64] |= BIT(field % 64);
	dump->fields++;
}

static bool word_character(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Where the word stands in a line, not as the end of another. NULL: nowhere. */
static const char *find_word(const char *from, const char *word)
{
	for (const char *at = from; (at = strstr(at, word)); at++)
		if (at == from || (!word_character(at[-1]) && at[-1] != ':'))
			return at;
	return NULL;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A hexadecimal number at *at, which moves behind it. A number that ends with the line needs `digits`; none has more
 * than 16. */
static bool number(const char **at, unsigned digits, uint64_t *value)
{
	const char *p = *at;
	unsigned count = 0;

	while (*p == ' ' || *p == '\t')
		p++;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
		p += 2;
	for (*value = 0; digit(*p) >= 0; p++, count++)
		*value = *value << 4 | (unsigned)digit(*p);
	*at = p;
	return count && count <= 16 && !word_character(*p) && (*p || count >= digits);
}

/* The number that `name =` or `name=` introduces, in any place of the line where it does. */
static bool value_of(const char *line, const char *name, unsigned digits, uint64_t *value, const char **behind)
{
	for (const char *at = line; (at = find_word(at, name)); at++) {
		const char *p = at + strlen(name);

		while (*p == ' ' || *p == '\t')
			p++;
		if (*p++ == '=' && number(&p, digits, value)) {
			*behind = p;
			return true;
		}
	}
	return false;
}

static bool has_head(const char *line, const char *head)
{
	static const char *const heads[] = {"Sysenter", "CR0:", "CR4:", "VMEntry:", "VMExit:", "IDTVectoring:"};

	if (*head)
		return find_word(line, head);
	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++)
		if (find_word(line, heads[i]))
			return false;
	return true;
}

static void read_keys(struct parser *p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct key *key = &keys[i];
		const char *behind;
		uint64_t value;

		if (key->part != p->part || !has_head(p->line, key->head) ||
		    !value_of(p->line, key->name, key->after_colon ? 0 : key->digits, &value, &behind))
			continue;
		if (key->after_colon && (*behind++ != ':' || !number(&behind, key->digits, &value)))
			continue;
		/* KVM prints an EFER that is not the field's with a word in parentheses behind it; Xen prints its own
		 * copy of RIP and the like. */
		if (key->field == VMCS_GUEST_EFER && (strstr(behind, "(autoload)") || strstr(behind, "(effective)")))
			continue;
		put(p, key->field, value);
	}
}

/* KVM names the parts, Xen has a table. False: no such line. */
static bool read_segment(struct parser *p)
{
	for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
		const char *at = find_word(p->line, segments[i].head), *behind;
		bool whole = segments[i].selector != VMCS_FIELD_COUNT;
		uint64_t value;

		/* Not "CS:RIP". */
		if (!at || at[strlen(segments[i].head)] != ' ')
			continue;
		at += strlen(segments[i].head);
		if (strchr(at, '=')) {
			if (whole && value_of(at, "sel", 4, &value, &behind))
				put(p, segments[i].selector, value);
			if (whole && value_of(at, "attr", 5, &value, &behind))
				put(p, segments[i].ar, value);
			if (value_of(at, "limit", 8, &value, &behind))
				put(p, segments[i].limit, value);
			if (value_of(at, "base", 16, &value, &behind))
				put(p, segments[i].base, value);
			return true;
		}
		if (whole) {
			if (!number(&at, 4, &value))
				return true;
			put(p, segments[i].selector, value);
			if (!number(&at, 5, &value))
				return true;
			put(p, segments[i].ar, value);
		}
		if (!number(&at, 8, &value))
			return true;
		put(p, segments[i].limit, value);
		if (number(&at, 16, &value))
			put(p, segments[i].base, value);
		return true;
	}
	return false;
}

/* KVM's lists of MSRs, one "index: msr=... value=..." a line. False: another line. */
static bool read_msr(struct parser *p)
{
	const char *behind;
	uint64_t index, value;

	if (strstr(p->line, "autoload:") || strstr(p->line, "autostore:")) {
		p->autoload = p->part == GUEST && strstr(p->line, "autoload:");
		return true;
	}
	if (!value_of(p->line, "msr", 8, &index, &behind) || !value_of(behind, "value", 16, &value, &behind))
		return false;
	if (p->autoload && p->dump->msrs < VMX_DUMP_MSRS)
		p->dump->msr[p->dump->msrs++] = (uint32_t)index;
	return true;
}

/* "GUEST_CR4 6804 = 0x0000000000002020" */
static void read_softvt(struct parser *p)
{
	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++) {
		const char *at = find_word(p->line, vmcs_field_info[field].name);
		uint64_t encoding, value;

		if (!at)
			continue;
		at += strlen(vmcs_field_info[field].name);
		if (*at == ' ' && number(&at, 4, &encoding) && encoding == vmcs_field_info[field].encoding &&
		    !strncmp(at, " = ", 3)) {
			at += 3;
			if (number(&at, 16, &value))
				put(p, field, value);
			return;
		}
	}
}

static enum part heading(const char *line)
{
	static const char *const headings[] = {
		[GUEST] = "*** Guest State ***",
		[HOST] = "*** Host State ***",
		[CONTROL] = "*** Control State ***",
		[SOFTVT] = "*** SoftVT VMCS ***",
	};

	for (unsigned part = GUEST; part < ARRAY_SIZE(headings); part++)
		if (strstr(line, headings[part]))
			return (enum part)part;
	return NOWHERE;
}

/* Copies a line for the parser and says how long it is with its end. */
static size_t take_line(const struct vmx_dump_reader *reader, char line[LINE])
{
	const char *end = memchr(reader->text, '\n', reader->size);
	size_t length = end ? (size_t)(end - reader->text) : reader->size;
	size_t kept = min_u64(length, LINE - 1);

	for (size_t i = 0; i < kept; i++)
		line[i] = reader->text[i] && reader->text[i] != '\r' ? reader->text[i] : ' ';
	while (kept && line[kept - 1] == ' ')
		kept--;
	line[kept] = 0;
	return length + (end != NULL);
}

static void read_line(struct parser *p)
{
	if (p->part == SOFTVT) {
		read_softvt(p);
		return;
	}
	if (strstr(p->line, "(XEN)"))
		p->dump->layout = VMX_DUMP_XEN;
	if (read_msr(p) || (p->part == GUEST && read_segment(p)))
		return;
	read_keys(p);
}

bool vmx_dump_next(struct vmx_dump_reader *reader, struct vmx_dump *dump)
{
	struct parser p = {.dump = dump};

	*dump = (struct vmx_dump){0};
	while (reader->size) {
		size_t length = take_line(reader, p.line);
		enum part next = heading(p.line);

		/* A state that comes again, or one that should have come before, is the next dump's. */
		if (next && p.part && (next <= p.part || next == SOFTVT))
			return true;
		if (next) {
			if (!p.part)
				dump->line = reader->line;
			p.part = next;
			p.autoload = false;
			if (next == SOFTVT)
				dump->layout = VMX_DUMP_SOFTVT;
			else if (strstr(p.line, "(XEN)"))
				dump->layout = VMX_DUMP_XEN;
		} else if (p.part) {
			read_line(&p);
		}
		reader->text += length;
		reader->size -= length;
		reader->line++;
	}
	return p.part != NOWHERE;
}

void vmx_dump_print(const struct vmcs *v, const struct vmx_capability *caps, FILE *file)
{
	fprintf(file, "*** SoftVT VMCS ***\n");
	for (unsigned field = 0; field < VMCS_FIELD_COUNT; field++)
		if (vmx_has_field(caps, (enum vmcs_field)field))
			fprintf(file, "%-28s %04x = 0x%016" PRIx64 "\n", vmcs_field_info[field].name,
				vmcs_field_info[field].encoding, v->field[field]);
}

/*
 * Faults on the way to a triple fault, in words. SDM vol. 3, "Interrupt Descriptor Table (IDT)", "Error Code", "64-Bit
 * Mode IDT".
 */
#include "debug/fault_words.h"

#include <inttypes.h>

#include "debug/vmx_words.h"
#include "mem/mem.h"

#define ERROR_IDT BIT(1)
#define ERROR_TI  BIT(2)

/* The code segment that a gate names. */
static void target_words(struct cpu *cpu, uint16_t selector, FILE *to)
{
	const struct table_register *gdt = &cpu->gdtr;
	uint64_t descriptor;
	unsigned at = selector & ~7u;

	if (!at) {
		fputs(", whose selector is null", to);
		return;
	}
	if (selector & 4)
		return;
	if (at + 7 > gdt->limit)
		fprintf(to, ", whose selector lies beyond the GDT's limit (base 0x%" PRIx64 ", limit %#x)", gdt->base,
			gdt->limit);
	else if (mem_debug_read(cpu, gdt->base + at, &descriptor, 8) != 8)
		fprintf(to, ", whose descriptor at 0x%" PRIx64 " is not mapped", gdt->base + at);
	else if (!(descriptor & BIT(47)))
		fputs(", whose code segment is not present", to);
	else if (bits_get(descriptor, 44, 43) != 3)
		fprintf(to, ", whose segment (descriptor 0x%016" PRIx64 ") is not code", descriptor);
	else if (cpu_long_mode(cpu) && !(descriptor & BIT(53)))
		fputs(", whose code segment is not 64-bit", to);
}

static void gate_words(struct cpu *cpu, unsigned vector, FILE *to)
{
	static const uint32_t gates = BIT(5) | BIT(6) | BIT(7) | BIT(14) | BIT(15);
	const struct table_register *idt = &cpu->idtr;
	bool wide = cpu_long_mode(cpu);
	unsigned size = wide ? 16 : cpu_protected(cpu) ? 8 : 4, type;
	la_t at = idt->base + vector * size;
	uint64_t gate[2] = {0};
	uint16_t selector;

	fprintf(to, "IDT entry %u ", vector);
	if (vector * size + size - 1 > idt->limit) {
		fprintf(to, "lies beyond IDTR's limit (base 0x%" PRIx64 ", limit %#x)", idt->base, idt->limit);
		return;
	}
	if (mem_debug_read(cpu, at, gate, size) != size) {
		fprintf(to, "at 0x%" PRIx64 " is not mapped", at);
		return;
	}
	if (size == 4) {
		fprintf(to, "is %04x:%04x", (unsigned)bits_get(gate[0], 31, 16), (unsigned)bits_get(gate[0], 15, 0));
		return;
	}
	fprintf(to, "at 0x%" PRIx64 " (0x%016" PRIx64, at, gate[0]);
	if (wide)
		fprintf(to, " 0x%016" PRIx64, gate[1]);
	type = (unsigned)bits_get(gate[0], 44, 40);
	selector = (uint16_t)bits_get(gate[0], 31, 16);
	if (type > 15 || !((wide ? BIT(14) | BIT(15) : gates) >> type & 1))
		fputs(") is not a gate", to);
	else if (!(gate[0] & BIT(47)))
		fputs(") is not present", to);
	else {
		fprintf(to, ") leads to %#x:0x%" PRIx64, selector,
			bits_get(gate[0], 15, 0) | (type == 14 || type == 15 ? bits_get(gate[0], 63, 48) << 16 : 0) |
				(wide ? gate[1] << 32 : 0));
		if (type != 5)
			target_words(cpu, selector, to);
	}
}

/* What the fault itself says: an address, a selector, an entry of the IDT. */
static bool subject_words(struct cpu *cpu, const struct fault_link *fault, FILE *to)
{
	bool selects = fault->vector == VECTOR_GP || fault->vector == VECTOR_NP || fault->vector == VECTOR_SS ||
		       fault->vector == VECTOR_TS;

	if (fault->vector == VECTOR_PF) {
		fprintf(to, ": linear 0x%" PRIx64 ", ", fault->address);
		page_fault_words(fault->error, to);
		return true;
	}
	if (!selects || !fault->has_error || !(fault->error & 0xfffa))
		return false;
	fputs(": ", to);
	if (fault->error & ERROR_IDT)
		gate_words(cpu, (uint8_t)(fault->error >> 3), to);
	else
		fprintf(to, "selector %#x of the %s", fault->error & 0xfff8, fault->error & ERROR_TI ? "LDT" : "GDT");
	return true;
}

void fault_words(struct cpu *cpu, const struct fault_chain *chain, unsigned index, FILE *to)
{
	const struct fault_link *fault = &chain->link[index], *before = index ? fault - 1 : NULL;
	char text[16];
	bool about_gate;

	exception_words(fault->vector, fault->has_error, fault->error, to);
	if (before && fault->vector != VECTOR_DF)
		fprintf(to, " when %s was to be delivered", vector_words(before->vector, text, sizeof(text)));
	about_gate = subject_words(cpu, fault, to) && (fault->error & ERROR_IDT) && fault->vector != VECTOR_PF;
	if (!about_gate && before && fault->vector != VECTOR_DF) {
		fputs("; ", to);
		gate_words(cpu, before->vector, to);
	}
}

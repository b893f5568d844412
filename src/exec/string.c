/*
 * String instructions and their repetition: SDM vol. 2, "MOVS", "CMPS", "STOS", "LODS", "SCAS", "INS", "OUTS",
 * "REP/REPE/REPZ/REPNE/REPNZ".
 *
 * Going up, whole stretches within a page are done at once where that gives what element after element would. A fault
 * or an event in the middle leaves RCX, RSI and RDI as of the last whole element, and the instruction starts again from
 * there. A comparison that faults leaves the flags as they were before the instruction.
 *
 * Sixteen elements of a stretch cost one tick; elements done singly one each.
 */
#include "exec/integer.h"
#include "exec/io.h"
#include "exec/nonroot.h"
#include "exec/run.h"

enum string { STRING_MOVS, STRING_CMPS, STRING_STOS, STRING_LODS, STRING_SCAS, STRING_INS, STRING_OUTS };

#define ELEMENTS_PER_TICK 16
#define CONDITION_Z	  4

static void advance(struct cpu *cpu, const struct insn *insn, unsigned pointer, unsigned size, uint64_t elements)
{
	uint64_t bytes = elements * size;

	reg_set(cpu, pointer, insn->addr_size,
		cpu->rflags & RFLAGS_DF ? cpu->r[pointer] - bytes : cpu->r[pointer] + bytes);
}

/*
 * Where the element at a pointer is, and how many (at most *count, at least 1) from it upwards lie in one page, in the
 * segment, and below the wrap of the address size. True: the first one faults.
 */
MUST_CHECK static bool stretch(struct cpu *cpu, const struct insn *insn, enum segment_number segment, unsigned pointer,
			       unsigned size, unsigned access, uint64_t *count, la_t *la)
{
	uint64_t offset = reg_get(cpu, pointer, insn->addr_size), bytes;
	la_t again;

	if (offset_linear(cpu, segment, offset, size, access, la))
		return true;
	if (*count == 1)
		return false;
	bytes = PAGE_SIZE - *la % PAGE_SIZE;
	if (insn->addr_size != 8)
		bytes = min_u64(bytes, bytes_mask(insn->addr_size) - offset + 1);
	*count = max_u64(1, min_u64(*count, bytes / size));
	if (*count > 1 && offset_linear(cpu, segment, offset, (unsigned)*count * size, access, &again))
		*count = 1;
	return false;
}

static inline uint64_t element(const uint8_t *at, unsigned size)
{
	switch (size) {
	case 1: return *at;
	case 2: return load_le(at, 2);
	case 4: return load_le(at, 4);
	default: return load_le(at, 8);
	}
}

static inline void set_element(uint8_t *at, unsigned size, uint64_t value)
{
	switch (size) {
	case 1: *at = (uint8_t)value; break;
	case 2: store_le(at, 2, value); break;
	case 4: store_le(at, 4, value); break;
	default: store_le(at, 8, value); break;
	}
}

/* Upwards, element after element, as the processor would: bytes written early are read again when the areas overlap. */
static void copy(uint8_t *to, const uint8_t *from, uint64_t count, unsigned size)
{
	if ((uintptr_t)to - (uintptr_t)from >= count * size) {
		memmove(to, from, count * size);
		return;
	}
	for (uint64_t i = 0; i < count; i++)
		set_element(to + i * size, size, element(from + i * size, size));
}

static void fill(uint8_t *to, uint64_t count, unsigned size, uint64_t value)
{
	uint64_t repeated = size == 1	? value * UINT64_C(0x0101010101010101)
			    : size == 2 ? value * UINT64_C(0x0001000100010001)
			    : size == 4 ? value * UINT64_C(0x0000000100000001)
					: value;

	if (repeated == (uint8_t)repeated * UINT64_C(0x0101010101010101))
		memset(to, (uint8_t)repeated, count * size);
	else
		for (uint64_t i = 0; i < count; i++)
			set_element(to + i * size, size, value);
}

/* Each of these does up to `count` elements and says how many; 0 is a fault. Pointers move, RCX does not. */

static uint64_t movs(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
	unsigned size = insn->size;
	const uint8_t *from;
	uint64_t value;
	uint8_t *to;
	la_t source, destination;

	if (stretch(cpu, insn, insn->seg, RSI, size, ACCESS_READ, &count, &source) ||
	    stretch(cpu, insn, ES, RDI, size, ACCESS_WRITE, &count, &destination))
		return 0;
	from = tlb_read(cpu, source, (unsigned)count * size);
	to = tlb_write(cpu, destination, (unsigned)count * size);
	if (from && to) {
		copy(to, from, count, size);
	} else {
		count = 1;
		if (mem_read_size(cpu, source, size, &value) || mem_write_size(cpu, destination, size, value))
			return 0;
	}
	advance(cpu, insn, RSI, size, count);
	advance(cpu, insn, RDI, size, count);
	return count;
}

static uint64_t stos(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
	unsigned size = insn->size;
	uint64_t value = reg_get(cpu, RAX, size);
	uint8_t *to;
	la_t destination;

	if (stretch(cpu, insn, ES, RDI, size, ACCESS_WRITE, &count, &destination))
		return 0;
	to = tlb_write(cpu, destination, (unsigned)count * size);
	if (to) {
		fill(to, count, size, value);
	} else {
		count = 1;
		if (mem_write_size(cpu, destination, size, value))
			return 0;
	}
	advance(cpu, insn, RDI, size, count);
	return count;
}

static uint64_t lods(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value, count = 1;
	la_t source;

	if (stretch(cpu, insn, insn->seg, RSI, insn->size, ACCESS_READ, &count, &source) ||
	    mem_read_size(cpu, source, insn->size, &value))
		return 0;
	reg_set(cpu, RAX, insn->size, value);
	advance(cpu, insn, RSI, insn->size, 1);
	return 1;
}

/*
 * Compare until one pair decides or all are done. a NULL: every first operand is `value` (SCAS). Returns how many pairs
 * were compared; flags are of the last one.
 */
static inline uint64_t compare(struct cpu *cpu, const uint8_t *a, const uint8_t *b, uint64_t value, uint64_t count,
			       unsigned size, bool while_equal)
{
	uint64_t first = value, second = 0, i = 0;

	do {
		first = a ? element(a + i * size, size) : value;
		second = element(b + i * size, size);
		i++;
	} while (i < count && (first == second) == while_equal);
	set_lazy(cpu, CC_SUB, size, first - second, second);
	return i;
}

static uint64_t compare_size(struct cpu *cpu, const uint8_t *a, const uint8_t *b, uint64_t value, uint64_t count,
			     unsigned size, bool while_equal)
{
	switch (size) {
	case 1: return compare(cpu, a, b, value, count, 1, while_equal);
	case 2: return compare(cpu, a, b, value, count, 2, while_equal);
	case 4: return compare(cpu, a, b, value, count, 4, while_equal);
	default: return compare(cpu, a, b, value, count, 8, while_equal);
	}
}

/* DS:RSI against ES:RDI. When both fault, processors report ES:RDI. */
static uint64_t cmps(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
	bool while_equal = !(insn->prefixes & PREFIX_REPNE);
	unsigned size = insn->size;
	const uint8_t *a, *b;
	uint64_t first, second;
	la_t source, destination;

	if (stretch(cpu, insn, ES, RDI, size, ACCESS_READ, &count, &destination) ||
	    stretch(cpu, insn, insn->seg, RSI, size, ACCESS_READ, &count, &source))
		return 0;
	a = tlb_read(cpu, source, (unsigned)count * size);
	b = tlb_read(cpu, destination, (unsigned)count * size);
	if (a && b) {
		count = compare_size(cpu, a, b, 0, count, size, while_equal);
	} else {
		count = 1;
		if (mem_read_size(cpu, destination, size, &second) || mem_read_size(cpu, source, size, &first))
			return 0;
		set_lazy(cpu, CC_SUB, size, first - second, second);
	}
	advance(cpu, insn, RSI, size, count);
	advance(cpu, insn, RDI, size, count);
	return count;
}

/* rAX against ES:RDI. */
static uint64_t scas(struct cpu *cpu, const struct insn *insn, uint64_t count)
{
	bool while_equal = !(insn->prefixes & PREFIX_REPNE);
	unsigned size = insn->size;
	uint64_t first = reg_get(cpu, RAX, size), second;
	const uint8_t *b;
	la_t destination;

	if (stretch(cpu, insn, ES, RDI, size, ACCESS_READ, &count, &destination))
		return 0;
	b = tlb_read(cpu, destination, (unsigned)count * size);
	if (b) {
		count = compare_size(cpu, NULL, b, first, count, size, while_equal);
	} else {
		count = 1;
		if (mem_read_size(cpu, destination, size, &second))
			return 0;
		set_lazy(cpu, CC_SUB, size, first - second, second);
	}
	advance(cpu, insn, RDI, size, count);
	return count;
}

static unsigned port_size(const struct insn *insn)
{
	return insn->size == 8 ? 4 : insn->size;
}

/* The memory must be known to accept the value before the port gives it up. */
static uint64_t ins(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = port_size(insn);
	uint16_t port = (uint16_t)cpu->r[RDX];
	uint64_t count = 1;
	la_t destination;

	if (io_check(cpu, port, size) || intercept(cpu, insn) || stretch(cpu, insn, ES, RDI, size, ACCESS_WRITE, &count, &destination) ||
	    mem_probe(cpu, destination, size, ACCESS_WRITE) ||
	    mem_write_size(cpu, destination, size, io_in(cpu, port, size)))
		return 0;
	advance(cpu, insn, RDI, size, 1);
	return 1;
}

static uint64_t outs(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = port_size(insn);
	uint16_t port = (uint16_t)cpu->r[RDX];
	uint64_t value, count = 1;
	la_t source;

	if (io_check(cpu, port, size) || intercept(cpu, insn) || stretch(cpu, insn, insn->seg, RSI, size, ACCESS_READ, &count, &source) ||
	    mem_read_size(cpu, source, size, &value))
		return 0;
	io_out(cpu, port, size, (uint32_t)value);
	advance(cpu, insn, RSI, size, 1);
	return 1;
}

static inline uint64_t elements(struct cpu *cpu, const struct insn *insn, enum string operation, uint64_t count)
{
	switch (operation) {
	case STRING_MOVS: return movs(cpu, insn, count);
	case STRING_CMPS: return cmps(cpu, insn, count);
	case STRING_STOS: return stos(cpu, insn, count);
	case STRING_LODS: return lods(cpu, insn);
	case STRING_SCAS: return scas(cpu, insn, count);
	case STRING_INS: return ins(cpu, insn);
	default: return outs(cpu, insn);
	}
}

/* Must somebody look up after this element? RF, which suspended() arms, is no reason. */
static bool interrupted(const struct cpu *cpu)
{
	return (cpu->attention & ~ATTEND_SHADOW) || (cpu->shadow & (SHADOW_STI | SHADOW_MOV_SS | SHADOW_STEP)) ||
	       run_left(cpu) <= 0;
}

/* What that many elements take. */
static uint64_t ticks_of(uint64_t count)
{
	return count / ELEMENTS_PER_TICK + (count % ELEMENTS_PER_TICK != 0);
}

/* How many elements may be done at once. */
static uint64_t limit(const struct cpu *cpu, uint64_t count)
{
	if ((cpu->rflags & RFLAGS_DF) || interrupted(cpu))
		return 1;
	return min_u64(count, (uint64_t)run_left(cpu) * ELEMENTS_PER_TICK);
}

/*
 * Not finished: come back to the same instruction. The engine has counted it already; this time it was an idle tick.
 * What is delivered now saves RF as 1: SDM vol. 3, "Instruction-Breakpoint Exception Condition".
 */
static enum step suspended(struct cpu *cpu)
{
	cpu->rip = cpu->insn_rip;
	cpu->idle++;
	cpu->rflags |= RFLAGS_RF;
	cpu->shadow |= SHADOW_RF << SHADOW_NEXT;
	cpu_attend(cpu, ATTEND_SHADOW);
	return STEP_LEAVE;
}

static inline enum step repeated(struct cpu *cpu, const struct insn *insn, enum string operation)
{
	bool compares = operation == STRING_CMPS || operation == STRING_SCAS;
	struct lazy_flags flags = cpu->cc;
	uint64_t count = reg_get(cpu, RCX, insn->addr_size), done;
	unsigned accesses = insn_accesses(insn);

	cpu->accesses -= accesses; /* the engine counted one element */
	while (count) {
		done = elements(cpu, insn, operation, limit(cpu, count));
		if (!done) {
			cpu->cc = flags;
			return STEP_FAULT;
		}
		count -= done;
		cpu->accesses += done * accesses;
		reg_set(cpu, RCX, insn->addr_size, count);
		/* By place in the count and not by piece: how many go at once depends on what the TLB holds, and time
		 * must not. */
		run_idle(cpu, (unsigned)(ticks_of(count + done) - ticks_of(count)));
		if (compares && cc_condition(&cpu->cc, CONDITION_Z) == !!(insn->prefixes & PREFIX_REPNE))
			break;
		if (count && interrupted(cpu))
			return suspended(cpu);
	}
	return STEP_NEXT;
}

static inline enum step string(struct cpu *cpu, const struct insn *insn, enum string operation)
{
	if (insn->prefixes & (PREFIX_REP | PREFIX_REPNE))
		return repeated(cpu, insn, operation);
	return elements(cpu, insn, operation, 1) ? STEP_NEXT : STEP_FAULT;
}

#define STRING(name, operation)                                                  \
	static enum step string_##name(struct cpu *cpu, const struct insn *insn) \
	{                                                                        \
		return string(cpu, insn, operation);                             \
	}
STRING(movs, STRING_MOVS)
STRING(cmps, STRING_CMPS)
STRING(stos, STRING_STOS)
STRING(lods, STRING_LODS)
STRING(scas, STRING_SCAS)
STRING(ins, STRING_INS)
STRING(outs, STRING_OUTS)

/* MOVSD and CMPSD are SSE2 instructions too. */
static bool is_string(const struct form *form)
{
	return form->class == CLASS_STRING;
}

const struct exec_entry exec_string_entries[] = {
	ENTRY(MOVSB, string_movs),
	ENTRY(MOVSW, string_movs),
	ENTRY_IF(MOVSD, string_movs, is_string),
	ENTRY(MOVSQ, string_movs),
	ENTRY(CMPSB, string_cmps),
	ENTRY(CMPSW, string_cmps),
	ENTRY_IF(CMPSD, string_cmps, is_string),
	ENTRY(CMPSQ, string_cmps),
	ENTRY(STOSB, string_stos),
	ENTRY(STOSW, string_stos),
	ENTRY(STOSD, string_stos),
	ENTRY(STOSQ, string_stos),
	ENTRY(LODSB, string_lods),
	ENTRY(LODSW, string_lods),
	ENTRY(LODSD, string_lods),
	ENTRY(LODSQ, string_lods),
	ENTRY(SCASB, string_scas),
	ENTRY(SCASW, string_scas),
	ENTRY(SCASD, string_scas),
	ENTRY(SCASQ, string_scas),
	ENTRY(INSB, string_ins),
	ENTRY(INSW, string_ins),
	ENTRY(INSD, string_ins),
	ENTRY(OUTSB, string_outs),
	ENTRY(OUTSW, string_outs),
	ENTRY(OUTSD, string_outs),
	{0},
};

/*
 * Segment registers and descriptor tables: address checks, loads, LAR LSL VERR VERW ARPL, LGDT LIDT LLDT LTR and what
 * stores them.
 *
 * SDM vol. 3, "Protected-Mode Memory Management" and "Protection"; vol. 2 for each instruction. Far branches are in
 * far.c.
 */
#include "exec/entries.h"
#include "exec/nonroot.h"
#include "exec/protect.h"

void exec_context_changed(struct cpu *cpu)
{
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
}

void exec_privilege_changed(struct cpu *cpu)
{
	cpu_mode_changed(cpu);
	mem_privilege_changed(cpu);
}

bool segment_contains(const struct segment *segment, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;

	if ((segment->ar & (AR_CODE | AR_DOWN)) == AR_DOWN && (segment->ar & AR_S))
		return offset > segment->limit && last <= (segment->ar & AR_DB ? UINT32_MAX : UINT16_MAX);
	/* A 4-GiB segment wraps: "the behavior is implementation-specific"; so it agrees with flat code, which checks
	 * nothing. */
	return last <= segment->limit || segment->limit == UINT32_MAX;
}

bool segment_linear(struct cpu *cpu, enum segment_number number, uint64_t offset, unsigned size, unsigned access,
		    la_t *la)
{
	const struct segment *segment = &cpu->seg[number];
	bool allowed;

	if (cpu_64bit(cpu)) {
		*la = number == FS || number == GS ? segment->base + offset : offset;
		allowed = cpu_canonical(cpu, *la) && cpu_canonical(cpu, *la + size - 1);
	} else {
		*la = (uint32_t)(segment->base + offset);
		allowed = !(segment->ar & AR_UNUSABLE) && segment_contains(segment, offset, size);
		if (cpu_protected(cpu) && !cpu_v86(cpu)) {
			if (segment->ar & AR_CODE)
				allowed = allowed && !(access & ACCESS_WRITE) &&
					  (segment->ar & AR_WRITABLE || access == ACCESS_EXEC);
			else if (access & ACCESS_WRITE)
				allowed = allowed && segment->ar & AR_WRITABLE;
		}
	}
	if (likely(allowed))
		return false;
	raise_error(cpu, number == SS ? VECTOR_SS : VECTOR_GP, 0);
	return true;
}

/* Descriptors. */

enum descriptor_result descriptor_read(struct cpu *cpu, uint16_t selector, bool wide, struct descriptor *d)
{
	uint64_t offset = selector & 0xfff8, base = cpu->gdtr.base, limit = cpu->gdtr.limit;
	unsigned size = wide ? 16 : 8;

	if (selector & 4) {
		base = cpu->seg[LDTR].base;
		limit = cpu->seg[LDTR].limit;
		if (cpu->seg[LDTR].ar & AR_UNUSABLE)
			return DESCRIPTOR_OUTSIDE;
	}
	if (offset + size - 1 > limit)
		return DESCRIPTOR_OUTSIDE;
	d->at = base + offset;
	if (!cpu_long_mode(cpu))
		d->at = (uint32_t)d->at;
	d->high = 0;
	if (mem_sys_read64(cpu, d->at, &d->low) || (wide && mem_sys_read64(cpu, d->at + 8, &d->high)))
		return DESCRIPTOR_FAULT;
	return DESCRIPTOR_OK;
}

enum step descriptor_get(struct cpu *cpu, uint16_t selector, enum vector vector, unsigned ext, struct descriptor *d)
{
	if (selector_is_null(selector))
		return raise_error(cpu, vector, ext);
	switch (descriptor_read(cpu, selector, false, d)) {
	case DESCRIPTOR_OK: return STEP_NEXT;
	case DESCRIPTOR_OUTSIDE: return raise_error(cpu, vector, (selector & 0xfffc) | ext);
	default: return STEP_FAULT;
	}
}

enum step descriptor_widen(struct cpu *cpu, uint16_t selector, enum vector vector, unsigned ext, struct descriptor *d)
{
	switch (descriptor_read(cpu, selector, true, d)) {
	case DESCRIPTOR_OK: break;
	case DESCRIPTOR_OUTSIDE: return raise_error(cpu, vector, (selector & 0xfffc) | ext);
	default: return STEP_FAULT;
	}
	/* The upper half's type must be 0, so that it is not taken for a descriptor of its own. */
	if (d->high & BITS(44, 40))
		return raise_error(cpu, vector, (selector & 0xfffc) | ext);
	return STEP_NEXT;
}

enum step descriptor_accessed(struct cpu *cpu, struct descriptor *d)
{
	uint64_t accessed = d->low | BIT(40);

	if (accessed != d->low && mem_sys_write8(cpu, d->at + 5, (uint8_t)(accessed >> 40)))
		return STEP_FAULT;
	d->low = accessed;
	return STEP_NEXT;
}

enum step descriptor_set_busy(struct cpu *cpu, const struct descriptor *d, bool busy)
{
	uint8_t byte = (uint8_t)(d->low >> 40);

	byte = busy ? byte | TSS_BUSY : byte & ~TSS_BUSY;
	return mem_sys_write8(cpu, d->at + 5, byte) ? STEP_FAULT : STEP_NEXT;
}

uint32_t descriptor_limit(const struct descriptor *d)
{
	uint32_t limit = (uint32_t)(bits_get(d->low, 51, 48) << 16 | bits_get(d->low, 15, 0));

	return descriptor_ar(d) & AR_G ? limit << 12 | 0xfff : limit;
}

void descriptor_to_segment(const struct descriptor *d, uint16_t selector, struct segment *segment)
{
	segment->base = bits_get(d->low, 39, 16) | bits_get(d->low, 63, 56) << 24 | d->high << 32;
	segment->limit = descriptor_limit(d);
	segment->ar = descriptor_ar(d);
	segment->selector = selector;
}

/* Segment registers. */

struct segment segment_null(unsigned rpl)
{
	return (struct segment){.selector = (uint16_t)rpl, .ar = AR_UNUSABLE | rpl << 5};
}

void segment_set_v86(struct segment *segment, uint16_t selector)
{
	*segment = (struct segment){
		.selector = selector,
		.base = (uint64_t)selector << 4,
		.limit = 0xffff,
		.ar = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | 3 << 5,
	};
}

void segment_load_real(struct cpu *cpu, enum segment_number number, uint16_t selector)
{
	struct segment *segment = &cpu->seg[number];

	if (cpu_v86(cpu)) {
		segment_set_v86(segment, selector);
		return;
	}
	/* Limit and attributes stay as they are, which is what "unreal mode" lives on. */
	segment->selector = selector;
	segment->base = (uint64_t)selector << 4;
	segment->ar = (segment->ar & ~AR_UNUSABLE) | AR_P | AR_S;
}

enum step segment_check_stack(struct cpu *cpu, uint16_t selector, unsigned rpl, enum vector vector, unsigned ext,
			      struct segment *ss)
{
	uint32_t error = (selector & 0xfffc) | ext, ar;
	struct descriptor d;
	enum step step = descriptor_get(cpu, selector, vector, ext, &d);

	if (step)
		return step;
	ar = descriptor_ar(&d);
	if (selector_rpl(selector) != rpl || !ar_is_writable_data(ar) || ar_dpl(ar) != rpl)
		return raise_error(cpu, vector, error);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_SS, error);
	if ((step = descriptor_accessed(cpu, &d)))
		return step;
	descriptor_to_segment(&d, selector, ss);
	return STEP_NEXT;
}

void segments_drop(struct cpu *cpu)
{
	static const enum segment_number data[] = {ES, FS, GS, DS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		struct segment *segment = &cpu->seg[data[i]];

		if ((segment->ar & AR_UNUSABLE) || (ar_is_code(segment->ar) && ar_is_conforming(segment->ar)))
			continue; /* a null selector's FS or GS base, written by MSR, stays */
		if (ar_dpl(segment->ar) < cpu->cpl)
			*segment = (struct segment){.ar = AR_UNUSABLE};
	}
}

static enum step load_data(struct cpu *cpu, enum segment_number number, uint16_t selector)
{
	struct descriptor d;
	unsigned dpl;
	uint32_t ar;
	enum step step;

	if (selector_is_null(selector)) {
		cpu->seg[number] = (struct segment){.selector = selector, .ar = AR_UNUSABLE};
		return STEP_NEXT;
	}
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	ar = descriptor_ar(&d);
	dpl = ar_dpl(ar);
	if (!(ar & AR_S) || (ar & (AR_CODE | AR_WRITABLE)) == AR_CODE)
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (!(ar_is_code(ar) && ar_is_conforming(ar)) && (selector_rpl(selector) > dpl || cpu->cpl > dpl))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (!(ar & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	if ((step = descriptor_accessed(cpu, &d)))
		return step;
	descriptor_to_segment(&d, selector, &cpu->seg[number]);
	return STEP_NEXT;
}

enum step segment_load(struct cpu *cpu, enum segment_number number, uint16_t selector)
{
	uint32_t mode = cpu->mode;
	enum step step = STEP_NEXT;

	if (!cpu_protected(cpu) || cpu_v86(cpu))
		segment_load_real(cpu, number, selector);
	else if (number != SS)
		step = load_data(cpu, number, selector);
	else if (cpu_64bit(cpu) && selector_is_null(selector) && cpu->cpl != 3 && selector_rpl(selector) == cpu->cpl)
		cpu->seg[SS] = segment_null(cpu->cpl);
	else
		step = segment_check_stack(cpu, selector, cpu->cpl, VECTOR_GP, 0, &cpu->seg[SS]);
	if (step)
		return step;
	cpu_mode_changed(cpu);
	return cpu->mode != mode ? STEP_LEAVE : STEP_NEXT;
}

/* MOV SS and POP SS: SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks". Of two in a row only the
 * first has the effect. */
static enum step after_load(struct cpu *cpu, enum segment_number number, enum step step)
{
	if (number != SS || step == STEP_FAULT || (cpu->shadow & SHADOW_MOV_SS))
		return step;
	cpu->shadow |= SHADOW_MOV_SS << SHADOW_NEXT;
	cpu_attend(cpu, ATTEND_SHADOW);
	return STEP_LEAVE;
}

/* MOV r/m, Sreg (8CH) and MOV Sreg, r/m16 (8EH). */
static enum step mov_segment(struct cpu *cpu, const struct insn *insn)
{
	unsigned number = insn->reg & 7;
	uint64_t selector;

	if (number >= SEG_COUNT)
		return raise_fault(cpu, VECTOR_UD);
	if (insn->opcode == 0x8c)
		return operand_write(cpu, insn, insn->ea == EA_NONE ? insn->size : 2, cpu->seg[number].selector)
			       ? STEP_FAULT
			       : STEP_NEXT;
	if (number == CS)
		return raise_fault(cpu, VECTOR_UD);
	if (operand_read(cpu, insn, 2, &selector))
		return STEP_FAULT;
	return after_load(cpu, number, segment_load(cpu, number, (uint16_t)selector));
}

static bool is_mov_segment(const struct form *form)
{
	for (unsigned i = 0; i < form->operands; i++)
		if (form->operand[i].class == ZYDIS_REGCLASS_SEGMENT)
			return true;
	return false;
}

/* PUSH and POP name the segment by their opcodes. */
static enum segment_number opcode_segment(const struct insn *insn)
{
	switch (insn->opcode) {
	case 0x06:
	case 0x07: return ES;
	case 0x0e: return CS;
	case 0x16:
	case 0x17: return SS;
	case 0x1e:
	case 0x1f: return DS;
	case 0xa0:
	case 0xa1: return FS;
	default: return GS;
	}
}

static enum step push_segment(struct cpu *cpu, const struct insn *insn)
{
	uint16_t selector = cpu->seg[opcode_segment(insn)].selector;
	uint64_t sp;
	la_t la;

	if (insn->size != 4)
		return stack_push(cpu, insn->size, selector) ? STEP_FAULT : STEP_NEXT;
	/* PUSH: with a 32-bit operand "all recent Intel Core and Intel Atom processors perform a 16-bit move". */
	sp = (cpu->r[RSP] - 4) & stack_mask(cpu);
	if (segment_linear(cpu, SS, sp, 2, ACCESS_WRITE, &la) || mem_write16(cpu, la, selector))
		return STEP_FAULT;
	stack_set(cpu, sp);
	return STEP_NEXT;
}

static enum step pop_segment(struct cpu *cpu, const struct insn *insn)
{
	enum segment_number number = opcode_segment(insn);
	uint64_t selector, rsp = cpu->r[RSP];
	enum step step;

	if (stack_peek(cpu, 0, insn->size, &selector, 1))
		return STEP_FAULT;
	/* The old SS decides how wide the stack pointer is; a fault of the load leaves it alone. */
	stack_set(cpu, rsp + insn->size);
	step = segment_load(cpu, number, (uint16_t)selector);
	if (step == STEP_FAULT)
		cpu->r[RSP] = rsp;
	return after_load(cpu, number, step);
}

/* LDS LES LFS LGS LSS. */
static enum step load_far_pointer(struct cpu *cpu, const struct insn *insn)
{
	enum segment_number number;
	uint64_t offset;
	uint16_t selector;
	enum step step;
	la_t la;

	if (insn->ea == EA_NONE)
		return raise_fault(cpu, VECTOR_UD);
	switch (insn->form->operation) {
	case ZYDIS_MNEMONIC_LDS: number = DS; break;
	case ZYDIS_MNEMONIC_LES: number = ES; break;
	case ZYDIS_MNEMONIC_LFS: number = FS; break;
	case ZYDIS_MNEMONIC_LGS: number = GS; break;
	default: number = SS; break;
	}
	if (operand_linear(cpu, insn, insn->size + 2u, ACCESS_READ, &la) ||
	    mem_read_size(cpu, la, insn->size, &offset) || mem_read16(cpu, la + insn->size, &selector))
		return STEP_FAULT;
	step = segment_load(cpu, number, selector);
	if (step != STEP_FAULT)
		reg_set(cpu, insn->reg, insn->size, offset);
	return step;
}

/* Questions about descriptors: they set ZF and fault only by paging. */

static bool is_protected(const struct cpu *cpu)
{
	return cpu_protected(cpu) && !cpu_v86(cpu);
}

/* Read the selector operand and its descriptor; *found is false for null, outside, or no access at this privilege. */
static enum step ask(struct cpu *cpu, const struct insn *insn, struct descriptor *d, bool *found)
{
	uint64_t selector;
	uint32_t ar;

	*found = false;
	if (!is_protected(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (operand_read(cpu, insn, 2, &selector))
		return STEP_FAULT;
	if (selector_is_null((uint16_t)selector))
		return STEP_NEXT;
	switch (descriptor_read(cpu, (uint16_t)selector, false, d)) {
	case DESCRIPTOR_OUTSIDE: return STEP_NEXT;
	case DESCRIPTOR_FAULT: return STEP_FAULT;
	default: break;
	}
	ar = descriptor_ar(d);
	*found = (ar_is_code(ar) && ar_is_conforming(ar)) ||
		 (cpu->cpl <= ar_dpl(ar) && selector_rpl((uint16_t)selector) <= ar_dpl(ar));
	return STEP_NEXT;
}

static enum step exec_lar(struct cpu *cpu, const struct insn *insn)
{
	unsigned legacy = BIT(TYPE_TSS16) | BIT(TYPE_LDT) | BIT(TYPE_TSS16_BUSY) | BIT(TYPE_CALL16) |
			  BIT(TYPE_TASK_GATE) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY) | BIT(TYPE_CALL);
	unsigned in_long_mode = BIT(TYPE_LDT) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY) | BIT(TYPE_CALL);
	struct descriptor d;
	bool found;
	enum step step = ask(cpu, insn, &d, &found);
	int type;

	if (step)
		return step;
	type = found ? ar_system_type(descriptor_ar(&d)) : 0;
	if (found && type >= 0)
		found = (cpu_long_mode(cpu) ? in_long_mode : legacy) >> type & 1;
	exec_set_zf(cpu, found);
	if (found)
		reg_set(cpu, insn->reg, insn->size, (d.low >> 32) & (insn->size == 2 ? 0xff00 : 0x00ffff00));
	return STEP_NEXT;
}

static enum step exec_lsl(struct cpu *cpu, const struct insn *insn)
{
	unsigned legacy = BIT(TYPE_TSS16) | BIT(TYPE_LDT) | BIT(TYPE_TSS16_BUSY) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY);
	unsigned in_long_mode = BIT(TYPE_LDT) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY);
	struct descriptor d;
	bool found;
	enum step step = ask(cpu, insn, &d, &found);
	int type;

	if (step)
		return step;
	type = found ? ar_system_type(descriptor_ar(&d)) : 0;
	if (found && type >= 0)
		found = (cpu_long_mode(cpu) ? in_long_mode : legacy) >> type & 1;
	exec_set_zf(cpu, found);
	if (found)
		reg_set(cpu, insn->reg, insn->size, descriptor_limit(&d));
	return STEP_NEXT;
}

static enum step exec_verr(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor d;
	bool found;
	enum step step = ask(cpu, insn, &d, &found);

	if (step)
		return step;
	exec_set_zf(cpu,
		    found && (descriptor_ar(&d) & AR_S) && (descriptor_ar(&d) & (AR_CODE | AR_WRITABLE)) != AR_CODE);
	return STEP_NEXT;
}

static enum step exec_verw(struct cpu *cpu, const struct insn *insn)
{
	struct descriptor d;
	bool found;
	enum step step = ask(cpu, insn, &d, &found);

	if (step)
		return step;
	exec_set_zf(cpu, found && ar_is_writable_data(descriptor_ar(&d)));
	return STEP_NEXT;
}

static enum step exec_arpl(struct cpu *cpu, const struct insn *insn)
{
	struct operand_rmw rmw;
	uint64_t selector;
	unsigned rpl = cpu->r[insn->reg] & 3;

	if (!is_protected(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (operand_rmw_begin(cpu, insn, 2, &rmw, &selector))
		return STEP_FAULT;
	if ((selector & 3) < rpl) {
		operand_rmw_end(cpu, insn, 2, &rmw, (selector & 0xfffc) | rpl);
		exec_set_zf(cpu, true);
	} else {
		exec_set_zf(cpu, false);
	}
	return STEP_NEXT;
}

/* System tables. */

static bool umip_forbids(const struct cpu *cpu)
{
	return (cpu->cr4 & CR4_UMIP) && cpu->cpl > 0;
}

static enum step exec_lldt(struct cpu *cpu, const struct insn *insn)
{
	struct segment ldtr;
	struct descriptor d;
	uint16_t selector;
	uint64_t value;
	enum step step;

	if (!is_protected(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (operand_read(cpu, insn, 2, &value))
		return STEP_FAULT;
	selector = (uint16_t)value;
	if (selector_is_null(selector)) {
		cpu->seg[LDTR] = (struct segment){.selector = selector, .ar = AR_UNUSABLE};
		return STEP_NEXT;
	}
	if (selector & 4)
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	if (ar_system_type(descriptor_ar(&d)) != TYPE_LDT)
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (cpu_long_mode(cpu) && (step = descriptor_widen(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	if (!(descriptor_ar(&d) & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	descriptor_to_segment(&d, selector, &ldtr);
	if (cpu_long_mode(cpu) && !cpu_fits_linear_width(cpu, ldtr.base))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	cpu->seg[LDTR] = ldtr;
	return STEP_NEXT;
}

static enum step exec_ltr(struct cpu *cpu, const struct insn *insn)
{
	struct segment tr;
	struct descriptor d;
	uint16_t selector;
	uint64_t value;
	enum step step;
	int type;

	if (!is_protected(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (operand_read(cpu, insn, 2, &value))
		return STEP_FAULT;
	selector = (uint16_t)value;
	if (selector_is_null(selector))
		return raise_gp0(cpu);
	if (selector & 4)
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if ((step = descriptor_get(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	type = ar_system_type(descriptor_ar(&d));
	if (type != TYPE_TSS && !(type == TYPE_TSS16 && !cpu_long_mode(cpu)))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if (cpu_long_mode(cpu) && (step = descriptor_widen(cpu, selector, VECTOR_GP, 0, &d)))
		return step;
	if (!(descriptor_ar(&d) & AR_P))
		return raise_error(cpu, VECTOR_NP, selector & 0xfffc);
	descriptor_to_segment(&d, selector, &tr);
	if (cpu_long_mode(cpu) && !cpu_fits_linear_width(cpu, tr.base))
		return raise_error(cpu, VECTOR_GP, selector & 0xfffc);
	if ((step = descriptor_set_busy(cpu, &d, true)))
		return step;
	tr.ar |= TSS_BUSY;
	cpu->seg[TR] = tr;
	return STEP_NEXT;
}

/* SLDT and STR: a register gets the selector zero-extended, memory always 16 bits. */
static enum step store_selector(struct cpu *cpu, const struct insn *insn)
{
	enum segment_number number = insn->form->operation == ZYDIS_MNEMONIC_STR ? TR : LDTR;
	enum step step;

	if (!is_protected(cpu))
		return raise_fault(cpu, VECTOR_UD);
	if (umip_forbids(cpu))
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (operand_write(cpu, insn, insn->ea == EA_NONE ? insn->size : 2, cpu->seg[number].selector))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step load_table(struct cpu *cpu, const struct insn *insn)
{
	bool wide = cpu_64bit(cpu);
	uint8_t bytes[10] = {0};
	enum step step;
	uint64_t base;
	la_t la;

	if (cpu->cpl > 0)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (operand_linear(cpu, insn, wide ? 10 : 6, ACCESS_READ, &la) ||
	    mem_read_bytes(cpu, la, bytes, wide ? 10 : 6, ACCESS_READ))
		return STEP_FAULT;
	base = load_le(bytes + 2, wide ? 8 : 4);
	if (wide && !cpu_fits_linear_width(cpu, base))
		return raise_gp0(cpu);
	if (!wide && insn->size == 2)
		base &= 0xffffff;
	*(insn->form->operation == ZYDIS_MNEMONIC_LGDT ? &cpu->gdtr : &cpu->idtr) =
		(struct table_register){.base = base, .limit = (uint16_t)load_le(bytes, 2)};
	return STEP_NEXT;
}

/* With a 16-bit operand, too, all 32 bits of the base are stored, as processors since the Intel386 do. */
static enum step store_table(struct cpu *cpu, const struct insn *insn)
{
	const struct table_register *table = insn->form->operation == ZYDIS_MNEMONIC_SGDT ? &cpu->gdtr : &cpu->idtr;
	bool wide = cpu_64bit(cpu);
	uint8_t bytes[10];
	enum step step;
	la_t la;

	if (umip_forbids(cpu))
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	store_le(bytes, 2, table->limit);
	store_le(bytes + 2, 8, table->base);
	if (operand_linear(cpu, insn, wide ? 10 : 6, ACCESS_WRITE, &la) ||
	    mem_write_bytes(cpu, la, bytes, wide ? 10 : 6, ACCESS_WRITE))
		return STEP_FAULT;
	return STEP_NEXT;
}

const struct exec_entry exec_segment_entries[] = {
	ENTRY_IF(MOV, mov_segment, is_mov_segment),
	ENTRY_IF(PUSH, push_segment, is_mov_segment),
	ENTRY_IF(POP, pop_segment, is_mov_segment),
	ENTRY(LDS, load_far_pointer),
	ENTRY(LES, load_far_pointer),
	ENTRY(LFS, load_far_pointer),
	ENTRY(LGS, load_far_pointer),
	ENTRY(LSS, load_far_pointer),
	ENTRY(LAR, exec_lar),
	ENTRY(LSL, exec_lsl),
	ENTRY(VERR, exec_verr),
	ENTRY(VERW, exec_verw),
	ENTRY(ARPL, exec_arpl),
	ENTRY(LLDT, exec_lldt),
	ENTRY(LTR, exec_ltr),
	ENTRY(SLDT, store_selector),
	ENTRY(STR, store_selector),
	ENTRY(LGDT, load_table),
	ENTRY(LIDT, load_table),
	ENTRY(SGDT, store_table),
	ENTRY(SIDT, store_table),
	{0},
};

/*
 * x87: arithmetic on the host's FPU, control instructions in C. SDM vol. 1, "Programming with the x87 FPU"; vol. 2,
 * "x87 FPU" instructions.
 *
 * The guest's environment is loaded, one instruction runs, and the environment is saved, so that host code never meets
 * the guest's stack, masks or pending exceptions. FIP, FDP and FOP are kept here: the host would report its own
 * addresses. #MF comes before the next waiting instruction. With CR0.NE = 0 the machine is told (CPU_FERR, for IRQ 13)
 * and the instruction runs as with IGNNE# asserted: freezing is not modelled.
 */
#include "cpu/flags.h"
#include "exec/host_private.h"

#define FSW_EXCEPTIONS 0x3f
#define FSW_NOT_STORED 0x19 /* IE, OE, UE: when unmasked, a store leaves memory as it was */

static uint16_t get(const struct cpu *cpu, unsigned at)
{
	return x87_get(&cpu->fpu, at);
}

/* #NM and, for waiting instructions, #MF. */
static enum step begin(struct cpu *cpu, bool waits)
{
	if (unlikely(host_gate(cpu, GATE_X87) != STEP_NEXT))
		return STEP_FAULT;
	return waits ? host_x87_pending(cpu) : STEP_NEXT;
}

enum step host_x87_pending(struct cpu *cpu)
{
	if (likely(!(get(cpu, X87_FSW) & FSW_ES)))
		return STEP_NEXT;
	if (cpu->cr0 & CR0_NE)
		return raise_fault(cpu, VECTOR_MF);
	if (cpu->event)
		cpu->event(cpu, CPU_FERR);
	return STEP_NEXT;
}

/* FIP, FDP, FOP: in 64-bit mode offsets are 64 bits and selectors are not kept. */
static void set_pointers(struct cpu *cpu, const struct insn *insn, uint64_t fdp)
{
	struct fpu *fpu = &cpu->fpu;
	bool selectors = !model_has(cpu->model, FEATURE_ZERO_FCS_FDS);

	x87_set(fpu, X87_FOP, (uint16_t)((insn->opcode & 7) << 8 | insn->modrm));
	if (cpu_64bit(cpu))
		store_le(fpu->x87 + X87_FIP, 8, cpu->insn_rip);
	else
		store_le(fpu->x87 + X87_FIP, 8,
			 (uint32_t)cpu->insn_rip | (selectors ? (uint64_t)cpu->seg[CS].selector << 32 : 0));
	if (insn->ea == EA_NONE || (model_has(cpu->model, FEATURE_FDP_EXCPTN_ONLY) && !(get(cpu, X87_FSW) & FSW_ES)))
		return;
	if (!cpu_64bit(cpu))
		fdp = (uint32_t)fdp | (selectors ? (uint64_t)cpu->seg[insn->seg].selector << 32 : 0);
	store_le(fpu->x87 + X87_FDP, 8, fdp);
}

/* On the host, with memory at `memory`. */
static void run(struct cpu *cpu, const struct insn *insn, void *memory, uint64_t fdp)
{
	struct host_form *h = insn->form->host;
	struct fpu *fpu = &cpu->fpu;
	uint16_t pending = 0;
	uint8_t pointers[18];
	uint64_t flags;

	if (unlikely(get(cpu, X87_FSW) & FSW_ES)) { /* IGNNE#: the host must not see what is pending */
		pending = get(cpu, X87_FSW) & FSW_EXCEPTIONS;
		x87_set(fpu, X87_FSW, get(cpu, X87_FSW) & ~FSW_EXCEPTIONS);
		x87_update_es(fpu);
	}
	host_mxcsr_sync(cpu); /* FXRSTOR loads MXCSR too */
	memcpy(pointers, fpu->x87 + X87_FOP, sizeof(pointers));
	store_le(fpu->x87 + 24, 4, MXCSR_RESET);
	flags = h->thunk(fpu->x87, NULL, NULL, insn->form->flags_read ? cpu_rflags(cpu) & 0xff : 0, memory, cpu);
	memcpy(fpu->x87 + X87_FOP, pointers, sizeof(pointers));
	if (unlikely(pending)) {
		x87_set(fpu, X87_FSW, get(cpu, X87_FSW) | pending);
		x87_update_es(fpu);
	}
	if (h->writes_flags)
		cc_set_exact(cpu, flags);
	set_pointers(cpu, insn, fdp);
}

static enum step arithmetic(struct cpu *cpu, const struct insn *insn)
{
	struct host_form *h = insn->form->host;
	uint8_t buffer[16] = {0};
	void *host;
	la_t la;

	if (begin(cpu, true) != STEP_NEXT)
		return STEP_FAULT;
	if (unlikely(!h->thunk)) {
		h->thunk = host_make_x87_thunk(insn->opcode, insn->modrm, insn->form->flags_read, h->writes_flags);
		if (!h->thunk)
			return raise_fault(cpu, VECTOR_UD);
	}
	if (!h->memory) {
		run(cpu, insn, NULL, 0);
		return STEP_NEXT;
	}
	if (operand_linear(cpu, insn, h->memory_bytes, h->writes_memory ? ACCESS_WRITE : ACCESS_READ, &la))
		return STEP_FAULT;
	host = h->writes_memory ? tlb_write(cpu, la, h->memory_bytes) : tlb_read(cpu, la, h->memory_bytes);
	if (likely(host)) {
		run(cpu, insn, host, operand_offset(cpu, insn));
		return STEP_NEXT;
	}
	if (!h->writes_memory) {
		uint64_t value;

		if (h->memory_bytes <= 8) {
			if (mem_read_slow(cpu, la, h->memory_bytes, &value, ACCESS_READ))
				return STEP_FAULT;
			store_le(buffer, 8, value);
		} else if (mem_read_bytes(cpu, la, buffer, h->memory_bytes, ACCESS_READ)) {
			return STEP_FAULT;
		}
		run(cpu, insn, buffer, operand_offset(cpu, insn));
		return STEP_NEXT;
	}
	if (mem_probe(cpu, la, h->memory_bytes, ACCESS_WRITE))
		return STEP_FAULT;
	run(cpu, insn, buffer, operand_offset(cpu, insn));
	if (get(cpu, X87_FSW) & ~get(cpu, X87_FCW) & FSW_NOT_STORED)
		return STEP_NEXT;
	return mem_write_bytes(cpu, la, buffer, h->memory_bytes, ACCESS_WRITE) ? STEP_FAULT : STEP_NEXT;
}

/* FNINIT, FNCLEX, FNSTCW, FNSTSW, FLDCW. */

static enum step fninit(struct cpu *cpu, const struct insn *insn)
{
	if (begin(cpu, false) != STEP_NEXT)
		return STEP_FAULT;
	x87_init(&cpu->fpu);
	return STEP_NEXT;
}

static enum step fnclex(struct cpu *cpu, const struct insn *insn)
{
	if (begin(cpu, false) != STEP_NEXT)
		return STEP_FAULT;
	x87_set(&cpu->fpu, X87_FSW, get(cpu, X87_FSW) & 0x7f00);
	return STEP_NEXT;
}

static enum step fnstcw(struct cpu *cpu, const struct insn *insn)
{
	if (begin(cpu, false) != STEP_NEXT || operand_write(cpu, insn, 2, get(cpu, X87_FCW)))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step fnstsw(struct cpu *cpu, const struct insn *insn)
{
	if (begin(cpu, false) != STEP_NEXT)
		return STEP_FAULT;
	if (insn->ea == EA_NONE)
		reg_set(cpu, RAX, 2, get(cpu, X87_FSW));
	else if (operand_write(cpu, insn, 2, get(cpu, X87_FSW)))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step fldcw(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	if (begin(cpu, true) != STEP_NEXT || operand_read(cpu, insn, 2, &value))
		return STEP_FAULT;
	x87_set(&cpu->fpu, X87_FCW, (uint16_t)value);
	x87_update_es(&cpu->fpu);
	return STEP_NEXT;
}

/* FNENI, FNDISI, FNSETPM: of coprocessors long gone. */
static enum step obsolete(struct cpu *cpu, const struct insn *insn)
{
	return begin(cpu, false);
}

/* SDM vol. 2, "WAIT/FWAIT": CR0.EM does not matter, CR0.TS only together with CR0.MP. */
static enum step fwait(struct cpu *cpu, const struct insn *insn)
{
	if ((cpu->cr0 & CR0_MP) && (cpu->cr0 & CR0_TS))
		return raise_fault(cpu, VECTOR_NM);
	return host_x87_pending(cpu);
}

/*
 * The environment in memory: SDM vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE" and its four
 * figures.
 */
static bool is_real_format(const struct cpu *cpu)
{
	return !cpu_protected(cpu) || cpu_v86(cpu);
}

/* 32-bit formats leave the upper halves reserved; processors store ones there. */
static unsigned put_environment(const struct cpu *cpu, unsigned operand_size, uint8_t *to)
{
	uint32_t fip = (uint32_t)load_le(cpu->fpu.x87 + X87_FIP, 4), fdp = (uint32_t)load_le(cpu->fpu.x87 + X87_FDP, 4);
	uint16_t fcs = cpu_64bit(cpu) ? 0 : get(cpu, X87_FCS), fds = cpu_64bit(cpu) ? 0 : get(cpu, X87_FDS);
	uint32_t fop = get(cpu, X87_FOP) & 0x7ff, word[7];

	word[0] = get(cpu, X87_FCW);
	word[1] = get(cpu, X87_FSW);
	word[2] = x87_full_tag(&cpu->fpu);
	if (is_real_format(cpu)) {
		fip += (uint32_t)fcs << 4;
		fdp += (uint32_t)fds << 4;
		word[3] = fip & 0xffff;
		word[4] = (fip >> 16) << 12 | fop;
		word[5] = fdp & 0xffff;
		word[6] = (fdp >> 16) << 12;
	} else {
		word[3] = fip;
		word[4] = fcs | (operand_size == 2 ? 0 : fop << 16);
		word[5] = fdp;
		word[6] = fds;
	}
	for (unsigned i = 0; i < 7; i++) {
		if (operand_size == 2)
			store_le(to + 2 * i, 2, word[i]);
		else
			store_le(to + 4 * i, 4, word[i] | (i < 3 || (i == 6 && !is_real_format(cpu)) ? 0xffff0000 : 0));
	}
	return 7 * (operand_size == 2 ? 2 : 4);
}

static void get_environment(struct cpu *cpu, unsigned operand_size, const uint8_t *from)
{
	unsigned size = operand_size == 2 ? 2 : 4;
	struct fpu *fpu = &cpu->fpu;
	uint32_t word[7];

	for (unsigned i = 0; i < 7; i++)
		word[i] = (uint32_t)load_le(from + size * i, size);
	x87_set(fpu, X87_FCW, (uint16_t)word[0]);
	x87_set(fpu, X87_FSW, (uint16_t)word[1]);
	fpu->x87[X87_FTW] = x87_short_tag((uint16_t)word[2]);
	if (is_real_format(cpu)) {
		store_le(fpu->x87 + X87_FIP, 8, (word[3] & 0xffff) | (word[4] & 0x0ffff000) << 4);
		store_le(fpu->x87 + X87_FDP, 8, (word[5] & 0xffff) | (word[6] & 0x0ffff000) << 4);
		x87_set(fpu, X87_FOP, word[4] & 0x7ff);
	} else {
		bool selectors = !cpu_64bit(cpu) && !model_has(cpu->model, FEATURE_ZERO_FCS_FDS);

		store_le(fpu->x87 + X87_FIP, 8, word[3] | (selectors ? (uint64_t)(word[4] & 0xffff) << 32 : 0));
		store_le(fpu->x87 + X87_FDP, 8, word[5] | (selectors ? (uint64_t)(word[6] & 0xffff) << 32 : 0));
		if (operand_size != 2)
			x87_set(fpu, X87_FOP, word[4] >> 16 & 0x7ff);
	}
	x87_update_es(fpu);
}

static unsigned environment_size(const struct insn *insn)
{
	return insn->size == 2 ? 14 : 28;
}

static enum step fnstenv(struct cpu *cpu, const struct insn *insn)
{
	uint8_t buffer[28];
	la_t la;

	if (begin(cpu, false) != STEP_NEXT || operand_linear(cpu, insn, environment_size(insn), ACCESS_WRITE, &la))
		return STEP_FAULT;
	if (mem_write_bytes(cpu, la, buffer, put_environment(cpu, insn->size, buffer), ACCESS_WRITE))
		return STEP_FAULT;
	x87_set(&cpu->fpu, X87_FCW, get(cpu, X87_FCW) | 0x3f);
	x87_update_es(&cpu->fpu);
	return STEP_NEXT;
}

static enum step fldenv(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = environment_size(insn);
	uint8_t buffer[28];
	la_t la;

	if (begin(cpu, true) != STEP_NEXT || operand_linear(cpu, insn, size, ACCESS_READ, &la) ||
	    mem_read_bytes(cpu, la, buffer, size, ACCESS_READ))
		return STEP_FAULT;
	x87_set_top(&cpu->fpu, buffer[insn->size == 2 ? 3 : 5] >> 3 & 7);
	get_environment(cpu, insn->size, buffer);
	return STEP_NEXT;
}

static enum step fnsave(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = environment_size(insn);
	uint8_t buffer[28 + 80];
	la_t la;

	if (begin(cpu, false) != STEP_NEXT || operand_linear(cpu, insn, size + 80, ACCESS_WRITE, &la))
		return STEP_FAULT;
	put_environment(cpu, insn->size, buffer);
	for (unsigned i = 0; i < 8; i++)
		memcpy(buffer + size + 10 * i, cpu->fpu.x87 + X87_ST + 16 * i, 10);
	if (mem_write_bytes(cpu, la, buffer, size + 80, ACCESS_WRITE))
		return STEP_FAULT;
	x87_init(&cpu->fpu);
	return STEP_NEXT;
}

static enum step frstor(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = environment_size(insn);
	uint8_t buffer[28 + 80];
	la_t la;

	if (begin(cpu, true) != STEP_NEXT || operand_linear(cpu, insn, size + 80, ACCESS_READ, &la) ||
	    mem_read_bytes(cpu, la, buffer, size + 80, ACCESS_READ))
		return STEP_FAULT;
	get_environment(cpu, insn->size, buffer);
	for (unsigned i = 0; i < 8; i++)
		memcpy(cpu->fpu.x87 + X87_ST + 16 * i, buffer + size + 10 * i, 10);
	return STEP_NEXT;
}

/* SDM vol. 2, "EMMS". */
static enum step emms(struct cpu *cpu, const struct insn *insn)
{
	if (host_gate(cpu, GATE_MMX) != STEP_NEXT || host_x87_pending(cpu) != STEP_NEXT)
		return STEP_FAULT;
	host_enter_mmx(&cpu->fpu);
	cpu->fpu.x87[X87_FTW] = 0;
	return STEP_NEXT;
}

static exec_fn *control(uint16_t operation)
{
	switch (operation) {
	case ZYDIS_MNEMONIC_FNINIT: return fninit;
	case ZYDIS_MNEMONIC_FNCLEX: return fnclex;
	case ZYDIS_MNEMONIC_FNSTCW: return fnstcw;
	case ZYDIS_MNEMONIC_FNSTSW: return fnstsw;
	case ZYDIS_MNEMONIC_FLDCW: return fldcw;
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: return obsolete;
	case ZYDIS_MNEMONIC_FWAIT: return fwait;
	case ZYDIS_MNEMONIC_FNSTENV: return fnstenv;
	case ZYDIS_MNEMONIC_FLDENV: return fldenv;
	case ZYDIS_MNEMONIC_FNSAVE: return fnsave;
	case ZYDIS_MNEMONIC_FRSTOR: return frstor;
	case ZYDIS_MNEMONIC_EMMS: return emms;
	default: return NULL;
	}
}

exec_fn *host_x87_lookup(struct form *form)
{
	bool is_x87 = form->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && form->map == 0;
	exec_fn *exec = control(form->operation);
	struct host_form *h;

	if (exec || !is_x87)
		return exec;
	h = form->host = host_alloc(sizeof(*h));
	h->memory = form->memory;
	h->writes_flags = form->flags_written;
	for (unsigned i = 0; i < form->operands; i++) {
		if (form->operand[i].kind != OPERAND_MEM)
			continue;
		h->memory_bytes = form->operand[i].bytes;
		h->writes_memory = form->operand[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	}
	return arithmetic;
}

/*
 * Saving and loading the extended state: FXSAVE, FXRSTOR, the XSAVE family, XCR0, PKRU, MXCSR.
 *
 * SDM vol. 1, "Managing State Using the XSAVE Feature Set"; vol. 2, "FXSAVE", "XSAVE" to "XSETBV". Components: x87,
 * SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM, PKRU. Of the optimisations the init one is done, as the manual defines it; the
 * modified one is not: everything counts as modified, which the manual allows. No supervisor component exists, so
 * IA32_XSS is 0.
 */
#include "exec/entries.h"
#include "exec/host_private.h"
#include "exec/nonroot.h"

enum component { X87, SSE, AVX, OPMASK = 5, ZMM_HI256, HI16_ZMM, PKRU = 9, COMPONENTS };

#define LEGACY_SIZE   512
#define HEADER	      512 /* XSTATE_BV, then XCOMP_BV */
#define EXTENDED      576
#define AREA_SIZE     4096
#define AT_MXCSR      24
#define AT_MXCSR_MASK 28
#define AT_XMM	      160
#define COMPACTED     BIT(63)

/* Bytes to write, in pieces: what an instruction does not mention stays as it is in memory. */
struct area {
	uint8_t bytes[AREA_SIZE];
	struct piece {
		uint16_t at, size;
	} piece[24];
	unsigned pieces;
};

static uint8_t *put(struct area *area, unsigned at, unsigned size)
{
	area->piece[area->pieces++] = (struct piece){(uint16_t)at, (uint16_t)size};
	return area->bytes + at;
}

/* All or nothing: ask for every piece, then write. */
static enum step write_area(struct cpu *cpu, la_t la, const struct area *area)
{
	for (unsigned i = 0; i < area->pieces; i++)
		if (mem_probe(cpu, la + area->piece[i].at, area->piece[i].size, ACCESS_WRITE))
			return STEP_FAULT;
	for (unsigned i = 0; i < area->pieces; i++)
		if (mem_write_bytes(cpu, la + area->piece[i].at, area->bytes + area->piece[i].at, area->piece[i].size,
				    ACCESS_WRITE))
			return STEP_FAULT;
	return STEP_NEXT;
}

/* Vector registers that this mode has. */
static unsigned low_registers(const struct cpu *cpu)
{
	return cpu_64bit(cpu) ? 16 : 8;
}

/* The x87 part of the FXSAVE image; wide: 64-bit pointers (REX.W). */
static void put_x87(const struct cpu *cpu, struct area *area, bool wide)
{
	const struct fpu *fpu = &cpu->fpu;
	uint8_t *to = put(area, 0, AT_MXCSR);

	memcpy(to, fpu->x87, AT_MXCSR);
	to[X87_FTW + 1] = 0;
	if (!wide) {
		/* In 64-bit mode the upper halves of the offsets are kept where selectors would be. */
		bool selectors = !cpu_64bit(cpu);

		store_le(to + X87_FCS, 4, selectors ? x87_get(fpu, X87_FCS) : 0);
		store_le(to + X87_FDS, 4, selectors ? x87_get(fpu, X87_FDS) : 0);
	}
	to = put(area, X87_ST, AT_XMM - X87_ST);
	memset(to, 0, AT_XMM - X87_ST);
	for (unsigned i = 0; i < 8; i++)
		memcpy(to + 16 * i, fpu->x87 + X87_ST + 16 * i, 10);
}

static void get_x87(struct cpu *cpu, const uint8_t *from, bool wide)
{
	struct fpu *fpu = &cpu->fpu;

	memcpy(fpu->x87, from, AT_MXCSR);
	fpu->x87[X87_FTW + 1] = 0;
	if (!wide) {
		bool selectors = !cpu_64bit(cpu) && !model_has(cpu->model, FEATURE_ZERO_FCS_FDS);

		store_le(fpu->x87 + X87_FCS, 4, selectors ? load_le(from + X87_FCS, 2) : 0);
		store_le(fpu->x87 + X87_FDS, 4, selectors ? load_le(from + X87_FDS, 2) : 0);
	}
	memset(fpu->x87 + X87_ST, 0, AT_XMM - X87_ST);
	for (unsigned i = 0; i < 8; i++)
		memcpy(fpu->x87 + X87_ST + 16 * i, from + X87_ST + 16 * i, 10);
	x87_set(fpu, X87_FOP, x87_get(fpu, X87_FOP) & 0x7ff);
	x87_update_es(fpu);
}

static void put_mxcsr(const struct cpu *cpu, struct area *area)
{
	uint8_t *to = put(area, AT_MXCSR, 8);

	store_le(to, 4, cpu->fpu.mxcsr);
	store_le(to + AT_MXCSR_MASK - AT_MXCSR, 4, MXCSR_VALID);
}

static void put_component(const struct cpu *cpu, enum component component, struct area *area, unsigned at, bool wide)
{
	const struct fpu *fpu = &cpu->fpu;
	uint8_t *to;

	switch (component) {
	case X87: put_x87(cpu, area, wide); break;
	case SSE:
		to = put(area, AT_XMM, 16 * low_registers(cpu));
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(to + 16 * i, fpu->v[i].b, 16);
		break;
	case AVX:
		to = put(area, at, 16 * low_registers(cpu));
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(to + 16 * i, fpu->v[i].b + 16, 16);
		break;
	case OPMASK: memcpy(put(area, at, 64), fpu->k, 64); break;
	case ZMM_HI256:
		to = put(area, at, 32 * low_registers(cpu));
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(to + 32 * i, fpu->v[i].b + 32, 32);
		break;
	case HI16_ZMM:
		if (cpu_64bit(cpu))
			memcpy(put(area, at, 16 * 64), fpu->v[16].b, 16 * 64);
		break;
	case PKRU: store_le(put(area, at, 8), 8, fpu->pkru); break;
	default: break;
	}
}

/* from: the component's bytes (x87 and SSE: the area), or NULL for its initial configuration. */
static void get_component(struct cpu *cpu, enum component component, const uint8_t *from, bool wide)
{
	static const uint8_t zeros[16 * 64];
	struct fpu *fpu = &cpu->fpu;
	const uint8_t *bytes = from ? from : zeros;

	switch (component) {
	case X87:
		if (from) {
			get_x87(cpu, from, wide);
		} else {
			x87_init(fpu);
			memset(fpu->x87 + X87_ST, 0, AT_XMM - X87_ST);
		}
		break;
	case SSE:
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(fpu->v[i].b, bytes + (from ? AT_XMM : 0) + 16 * i, 16);
		break;
	case AVX:
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(fpu->v[i].b + 16, bytes + 16 * i, 16);
		break;
	case OPMASK: memcpy(fpu->k, bytes, 64); break;
	case ZMM_HI256:
		for (unsigned i = 0; i < low_registers(cpu); i++)
			memcpy(fpu->v[i].b + 32, bytes + 32 * i, 32);
		break;
	case HI16_ZMM:
		if (cpu_64bit(cpu))
			memcpy(fpu->v[16].b, bytes, 16 * 64);
		break;
	case PKRU: fpu->pkru = (uint32_t)load_le(bytes, 4); break;
	default: break;
	}
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool upper_zero(const struct cpu *cpu, unsigned at, unsigned size)
{
	for (unsigned i = 0; i < low_registers(cpu); i++)
		if (!all_zero(cpu->fpu.v[i].b + at, size))
			return false;
	return true;
}

/* Is a component in its initial configuration? SDM vol. 1, "Processor Tracking of XSAVE-Managed State": XINUSE. */
static bool is_initial(const struct cpu *cpu, enum component component)
{
	const struct fpu *fpu = &cpu->fpu;
	struct fpu initial;

	switch (component) {
	case X87:
		memset(initial.x87, 0, sizeof(initial.x87));
		x87_init(&initial);
		if (memcmp(initial.x87, fpu->x87, AT_MXCSR))
			return false;
		for (unsigned i = 0; i < 8; i++)
			if (!all_zero(fpu->x87 + X87_ST + 16 * i, 10))
				return false;
		return true;
	case SSE: return upper_zero(cpu, 0, 16);
	case AVX: return upper_zero(cpu, 16, 16);
	case OPMASK: return all_zero((const uint8_t *)fpu->k, sizeof(fpu->k));
	case ZMM_HI256: return upper_zero(cpu, 32, 32);
	case HI16_ZMM: return !cpu_64bit(cpu) || all_zero(fpu->v[16].b, 16 * 64);
	case PKRU: return fpu->pkru == 0;
	default: return true;
	}
}

static uint64_t in_use(const struct cpu *cpu)
{
	uint64_t bits = 0;

	for (enum component i = X87; i < COMPONENTS; i++)
		if (!is_initial(cpu, i))
			bits |= BIT(i);
	return bits;
}

/* Where a component lies: in the compacted format behind one another as XCOMP_BV lists them; no component asks for
 * 64-byte alignment. */
static unsigned component_at(enum component component, bool compacted, uint64_t xcomp_bv)
{
	unsigned at = EXTENDED;

	if (!compacted)
		return xstate_offset(component);
	for (unsigned i = AVX; i < component; i++)
		if (xcomp_bv >> i & 1)
			at += xstate_size(i);
	return at;
}

static unsigned area_size(uint64_t components, bool compacted)
{
	unsigned size = EXTENDED;

	for (enum component i = AVX; i < COMPONENTS; i++)
		if (components >> i & 1) {
			unsigned end = component_at(i, compacted, components) + xstate_size(i);

			size = end > size ? end : size;
		}
	return size;
}

static uint64_t edx_eax(const struct cpu *cpu)
{
	return (uint64_t)(uint32_t)cpu->r[RDX] << 32 | (uint32_t)cpu->r[RAX];
}

static bool is_wide(const struct insn *insn)
{
	return insn->prefixes & PREFIX_REX_W;
}

/* #UD, #NM, alignment and address of the memory operand. */
static enum step begin(struct cpu *cpu, const struct insn *insn, unsigned size, unsigned access, la_t *la)
{
	if (!(cpu->cr4 & CR4_OSXSAVE))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cr0 & CR0_TS)
		return raise_fault(cpu, VECTOR_NM);
	if (operand_linear(cpu, insn, size, access, la))
		return STEP_FAULT;
	return is_aligned(*la, 64) ? STEP_NEXT : raise_gp0(cpu);
}

/* XSAVE and XSAVEOPT: standard format. */
static enum step save_standard(struct cpu *cpu, const struct insn *insn, bool optimise)
{
	uint64_t rfbm = cpu->fpu.xcr0 & edx_eax(cpu), used = in_use(cpu), xstate_bv;
	struct area area = {.pieces = 0};
	la_t la;

	host_mxcsr_sync(cpu);
	if (begin(cpu, insn, area_size(rfbm, false), ACCESS_WRITE, &la) != STEP_NEXT ||
	    mem_read_bytes(cpu, la + HEADER, &xstate_bv, 8, ACCESS_READ))
		return STEP_FAULT;
	store_le(put(&area, HEADER, 8), 8, (xstate_bv & ~rfbm) | (used & rfbm));
	if (rfbm & (BIT(SSE) | BIT(AVX)))
		put_mxcsr(cpu, &area);
	for (enum component i = X87; i < COMPONENTS; i++)
		if (rfbm >> i & 1 && (!optimise || used >> i & 1))
			put_component(cpu, i, &area, component_at(i, false, 0), is_wide(insn));
	return write_area(cpu, la, &area);
}

static enum step xsave(struct cpu *cpu, const struct insn *insn)
{
	return save_standard(cpu, insn, false);
}

static enum step xsaveopt(struct cpu *cpu, const struct insn *insn)
{
	return save_standard(cpu, insn, true);
}

/* XSAVEC and XSAVES: compacted format. MXCSR is part of SSE there, and alone makes it in use. */
static enum step xsavec(struct cpu *cpu, const struct insn *insn)
{
	uint64_t rfbm = cpu->fpu.xcr0 & edx_eax(cpu), saved = rfbm & in_use(cpu);
	struct area area = {.pieces = 0};
	la_t la;

	host_mxcsr_sync(cpu);
	if (begin(cpu, insn, area_size(rfbm, true), ACCESS_WRITE, &la) != STEP_NEXT)
		return STEP_FAULT;
	if (rfbm & BIT(SSE) && cpu->fpu.mxcsr != MXCSR_RESET)
		saved |= BIT(SSE);
	store_le(put(&area, HEADER, 16), 8, saved);
	store_le(area.bytes + HEADER + 8, 8, rfbm | COMPACTED);
	if (saved & BIT(SSE))
		put_mxcsr(cpu, &area);
	for (enum component i = X87; i < COMPONENTS; i++)
		if (saved >> i & 1)
			put_component(cpu, i, &area, component_at(i, true, rfbm), is_wide(insn));
	return write_area(cpu, la, &area);
}

/* XSAVES and XRSTORS: a VM exit goes before #NM. */
static enum step begin_supervisor(struct cpu *cpu, const struct insn *insn)
{
	if (is_disabled(cpu, insn))
		return raise_fault(cpu, VECTOR_UD);
	if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->cpl && (cpu->cr0 & CR0_TS)))
		return STEP_NEXT; /* for begin() to refuse */
	return cpu->cpl ? raise_gp0(cpu) : intercept(cpu, insn);
}

static enum step xsaves(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin_supervisor(cpu, insn);

	return step ? step : xsavec(cpu, insn);
}

/* SDM vol. 1, "XRSTOR", "Standard Form of XRSTOR", "Compacted Form of XRSTOR": may this header be loaded? */
static bool header_valid(const struct cpu *cpu, const uint8_t *area, bool only_compacted)
{
	uint64_t xstate_bv = load_le(area + HEADER, 8), xcomp_bv = load_le(area + HEADER + 8, 8);

	if (!(xcomp_bv & COMPACTED))
		return !only_compacted && xcomp_bv == 0 && load_le(area + HEADER + 16, 8) == 0 &&
		       !(xstate_bv & ~cpu->fpu.xcr0);
	if (!model_has(cpu->model, FEATURE_XSAVEC))
		return false;
	return !(xcomp_bv & ~COMPACTED & ~cpu->fpu.xcr0) && !(xstate_bv & ~xcomp_bv) &&
	       all_zero(area + HEADER + 16, 48);
}

static enum step load_area(struct cpu *cpu, const struct insn *insn, bool only_compacted)
{
	uint64_t rfbm = cpu->fpu.xcr0 & edx_eax(cpu), xstate_bv, xcomp_bv;
	uint32_t mxcsr, pkru = cpu->fpu.pkru;
	uint8_t area[AREA_SIZE];
	unsigned size;
	bool compacted;
	la_t la;

	host_mxcsr_sync(cpu);
	mxcsr = cpu->fpu.mxcsr;
	if (begin(cpu, insn, EXTENDED, ACCESS_READ, &la) != STEP_NEXT ||
	    mem_read_bytes(cpu, la, area, EXTENDED, ACCESS_READ))
		return STEP_FAULT;
	if (!header_valid(cpu, area, only_compacted))
		return raise_gp0(cpu);
	xstate_bv = load_le(area + HEADER, 8);
	xcomp_bv = load_le(area + HEADER + 8, 8);
	compacted = xcomp_bv & COMPACTED;
	/* Only what is loaded is read: the area may end after it. */
	size = compacted ? EXTENDED : area_size(rfbm & xstate_bv, false);
	for (enum component i = AVX; compacted && i < COMPONENTS; i++)
		if ((rfbm & xstate_bv) >> i & 1)
			size = component_at(i, true, xcomp_bv) + xstate_size(i);
	if (size > EXTENDED && (operand_linear(cpu, insn, size, ACCESS_READ, &la) ||
				mem_read_bytes(cpu, la + EXTENDED, area + EXTENDED, size - EXTENDED, ACCESS_READ)))
		return STEP_FAULT;
	if (!compacted) {
		if (rfbm & (BIT(SSE) | BIT(AVX)))
			mxcsr = (uint32_t)load_le(area + AT_MXCSR, 4);
	} else if (rfbm & BIT(SSE)) {
		mxcsr = xstate_bv & BIT(SSE) ? (uint32_t)load_le(area + AT_MXCSR, 4) : MXCSR_RESET;
	}
	if (mxcsr & ~(uint32_t)MXCSR_VALID)
		return raise_gp0(cpu);
	cpu->fpu.mxcsr = mxcsr;
	for (enum component i = X87; i < COMPONENTS; i++) {
		unsigned at = i < AVX ? 0 : component_at(i, compacted, xcomp_bv);

		if (rfbm >> i & 1)
			get_component(cpu, i, xstate_bv >> i & 1 ? area + at : NULL, is_wide(insn));
	}
	if (pkru == cpu->fpu.pkru)
		return STEP_NEXT;
	mem_context_changed(cpu);
	return STEP_LEAVE;
}

static enum step xrstor(struct cpu *cpu, const struct insn *insn)
{
	return load_area(cpu, insn, false);
}

static enum step xrstors(struct cpu *cpu, const struct insn *insn)
{
	enum step step = begin_supervisor(cpu, insn);

	return step ? step : load_area(cpu, insn, true);
}

/* SDM vol. 2, "FXSAVE": bytes 416 to 511 are software's; outside 64-bit mode XMM8 to XMM15 are not written. */
static enum step fx_begin(struct cpu *cpu, const struct insn *insn, unsigned access, la_t *la)
{
	if (cpu->cr0 & (CR0_EM | CR0_TS))
		return raise_fault(cpu, VECTOR_NM);
	if (operand_linear(cpu, insn, LEGACY_SIZE, access, la))
		return STEP_FAULT;
	return is_aligned(*la, 16) ? STEP_NEXT : raise_gp0(cpu);
}

static enum step fxsave(struct cpu *cpu, const struct insn *insn)
{
	struct area area = {.pieces = 0};
	la_t la;

	host_mxcsr_sync(cpu);
	if (fx_begin(cpu, insn, ACCESS_WRITE, &la) != STEP_NEXT)
		return STEP_FAULT;
	put_component(cpu, X87, &area, 0, is_wide(insn));
	put_mxcsr(cpu, &area);
	put_component(cpu, SSE, &area, 0, false);
	return write_area(cpu, la, &area);
}

static enum step fxrstor(struct cpu *cpu, const struct insn *insn)
{
	uint8_t area[LEGACY_SIZE];
	uint32_t mxcsr;
	la_t la;

	if (fx_begin(cpu, insn, ACCESS_READ, &la) != STEP_NEXT ||
	    mem_read_bytes(cpu, la, area, LEGACY_SIZE, ACCESS_READ))
		return STEP_FAULT;
	mxcsr = (uint32_t)load_le(area + AT_MXCSR, 4);
	if (mxcsr & ~(uint32_t)MXCSR_VALID)
		return raise_gp0(cpu);
	host_mxcsr_sync(cpu);
	cpu->fpu.mxcsr = mxcsr;
	get_component(cpu, X87, area, is_wide(insn));
	get_component(cpu, SSE, area, false);
	return STEP_NEXT;
}

static enum step ldmxcsr(struct cpu *cpu, const struct insn *insn)
{
	bool vex = insn->form->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	uint64_t value;

	if (host_gate(cpu, vex ? GATE_AVX : GATE_SSE) != STEP_NEXT || operand_read(cpu, insn, 4, &value))
		return STEP_FAULT;
	if (value & ~(uint64_t)MXCSR_VALID)
		return raise_gp0(cpu);
	host_mxcsr_sync(cpu);
	cpu->fpu.mxcsr = (uint32_t)value;
	return STEP_NEXT;
}

static enum step stmxcsr(struct cpu *cpu, const struct insn *insn)
{
	bool vex = insn->form->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	host_mxcsr_sync(cpu);
	if (host_gate(cpu, vex ? GATE_AVX : GATE_SSE) != STEP_NEXT || operand_write(cpu, insn, 4, cpu->fpu.mxcsr))
		return STEP_FAULT;
	return STEP_NEXT;
}

static void set_edx_eax(struct cpu *cpu, uint64_t value)
{
	cpu->r[RAX] = (uint32_t)value;
	cpu->r[RDX] = value >> 32;
}

static enum step xgetbv(struct cpu *cpu, const struct insn *insn)
{
	uint32_t number = (uint32_t)cpu->r[RCX];

	if (!(cpu->cr4 & CR4_OSXSAVE))
		return raise_fault(cpu, VECTOR_UD);
	if (number > 1 || (number == 1 && !model_has(cpu->model, FEATURE_XGETBV1)))
		return raise_gp0(cpu);
	set_edx_eax(cpu, number ? cpu->fpu.xcr0 & in_use(cpu) : cpu->fpu.xcr0);
	return STEP_NEXT;
}

/* SDM vol. 1, "Enabling the XSAVE Feature Set and XSAVE-Enabled Features": x87 always, AVX needs SSE, the three of
 * AVX-512 go together on AVX. */
static bool xcr0_valid(const struct cpu *cpu, uint64_t value)
{
	const uint64_t avx512 = BIT(OPMASK) | BIT(ZMM_HI256) | BIT(HI16_ZMM);

	if (!(value & BIT(X87)) || (value & ~cpu->model->xcr0_allowed))
		return false;
	if ((value & BIT(AVX)) && !(value & BIT(SSE)))
		return false;
	return !(value & avx512) || ((value & avx512) == avx512 && (value & BIT(AVX)));
}

static enum step xsetbv(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = edx_eax(cpu);
	enum step step;

	if (!(cpu->cr4 & CR4_OSXSAVE))
		return raise_fault(cpu, VECTOR_UD);
	if (cpu->cpl)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if ((uint32_t)cpu->r[RCX] != 0 || !xcr0_valid(cpu, value))
		return raise_gp0(cpu);
	cpu->fpu.xcr0 = value;
	return STEP_NEXT;
}

static enum step rdpkru(struct cpu *cpu, const struct insn *insn)
{
	if (!(cpu->cr4 & CR4_PKE))
		return raise_fault(cpu, VECTOR_UD);
	if ((uint32_t)cpu->r[RCX])
		return raise_gp0(cpu);
	set_edx_eax(cpu, cpu->fpu.pkru);
	return STEP_NEXT;
}

static enum step wrpkru(struct cpu *cpu, const struct insn *insn)
{
	if (!(cpu->cr4 & CR4_PKE))
		return raise_fault(cpu, VECTOR_UD);
	if ((uint32_t)cpu->r[RCX] || (uint32_t)cpu->r[RDX])
		return raise_gp0(cpu);
	cpu->fpu.pkru = (uint32_t)cpu->r[RAX];
	mem_context_changed(cpu);
	return STEP_LEAVE;
}

const struct exec_entry exec_xsave_entries[] = {
	ENTRY(FXSAVE, fxsave),
	ENTRY(FXSAVE64, fxsave),
	ENTRY(FXRSTOR, fxrstor),
	ENTRY(FXRSTOR64, fxrstor),
	ENTRY(XSAVE, xsave),
	ENTRY(XSAVE64, xsave),
	ENTRY(XSAVEOPT, xsaveopt),
	ENTRY(XSAVEOPT64, xsaveopt),
	ENTRY(XSAVEC, xsavec),
	ENTRY(XSAVEC64, xsavec),
	ENTRY(XSAVES, xsaves),
	ENTRY(XSAVES64, xsaves),
	ENTRY(XRSTOR, xrstor),
	ENTRY(XRSTOR64, xrstor),
	ENTRY(XRSTORS, xrstors),
	ENTRY(XRSTORS64, xrstors),
	ENTRY(LDMXCSR, ldmxcsr),
	ENTRY(VLDMXCSR, ldmxcsr),
	ENTRY(STMXCSR, stmxcsr),
	ENTRY(VSTMXCSR, stmxcsr),
	ENTRY(XGETBV, xgetbv),
	ENTRY(XSETBV, xsetbv),
	ENTRY(RDPKRU, rdpkru),
	ENTRY(WRPKRU, wrpkru),
	{0},
};

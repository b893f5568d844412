/*
 * SIMD instructions that no thunk can run, because they address several places: gathers, scatters, MASKMOVDQU. And
 * VZEROALL, VZEROUPPER, which name no operand. SDM vol. 2, "VGATHERDPS" and its like, "VPSCATTERDD ...", "MASKMOVDQU",
 * "VZEROALL".
 */
#include "exec/host_private.h"

/* What differs between gathers and scatters. */
struct indexed {
	uint8_t index_bytes, data_bytes;
	bool scatter;
};

static bool indexed_of(uint16_t operation, struct indexed *x)
{
	switch (operation) {
#define GATHER(name, index, data)                          \
	case ZYDIS_MNEMONIC_##name:                        \
		*x = (struct indexed){index, data, false}; \
		return true;
#define SCATTER(name, index, data) \
	case ZYDIS_MNEMONIC_##name: *x = (struct indexed){index, data, true}; return true;
		GATHER(VGATHERDPS, 4, 4)
		GATHER(VGATHERDPD, 4, 8)
		GATHER(VGATHERQPS, 8, 4)
		GATHER(VGATHERQPD, 8, 8)
		GATHER(VPGATHERDD, 4, 4)
		GATHER(VPGATHERDQ, 4, 8)
		GATHER(VPGATHERQD, 8, 4)
		GATHER(VPGATHERQQ, 8, 8)
		SCATTER(VSCATTERDPS, 4, 4)
		SCATTER(VSCATTERDPD, 4, 8)
		SCATTER(VSCATTERQPS, 8, 4)
		SCATTER(VSCATTERQPD, 8, 8)
		SCATTER(VPSCATTERDD, 4, 4)
		SCATTER(VPSCATTERDQ, 4, 8)
		SCATTER(VPSCATTERQD, 8, 4)
		SCATTER(VPSCATTERQQ, 8, 8)
	default: return false;
	}
}

static bool offset_linear(struct cpu *cpu, const struct insn *insn, uint64_t offset, unsigned size, unsigned access,
			  la_t *la)
{
	if (insn->addr_size != 8)
		offset &= bytes_mask(insn->addr_size);
	if (!cpu_64bit(cpu))
		return segment_linear(cpu, insn->seg, offset, size, access, la);
	*la = offset + (insn->seg == FS || insn->seg == GS ? cpu->seg[insn->seg].base : 0);
	return false;
}

static bool element_linear(struct cpu *cpu, const struct insn *insn, const struct indexed *x, unsigned i,
			   unsigned access, la_t *la)
{
	const union vector_register *index = &cpu->fpu.v[insn->rm & 31];
	uint64_t offset = x->index_bytes == 4 ? (uint64_t)(int32_t)index->d[i] : index->q[i];

	offset = cpu->r[insn->base] + (offset << insn->scale) + (uint64_t)(int64_t)insn->disp;
	return offset_linear(cpu, insn, offset, x->data_bytes, access, la);
}

/*
 * Elements are done from the least significant up; what was done before a fault stays done, its mask bit cleared, so
 * that the instruction can be restarted.
 */
static enum step indexed_evex(struct cpu *cpu, const struct insn *insn)
{
	union vector_register *data = &cpu->fpu.v[insn->reg & 31];
	uint64_t *mask = &cpu->fpu.k[insn->evex & 7];
	unsigned count, length = insn->form->vector_bytes;
	struct indexed x;
	la_t la;

	if (host_gate(cpu, GATE_AVX512) != STEP_NEXT || !indexed_of(insn->form->operation, &x))
		return STEP_FAULT;
	if (!(insn->evex & 7) || (!x.scatter && insn->reg == insn->rm))
		return raise_fault(cpu, VECTOR_UD);
	count = length / (x.index_bytes > x.data_bytes ? x.index_bytes : x.data_bytes);
	for (unsigned i = 0; i < count; i++) {
		uint64_t value;

		if (!(*mask >> i & 1))
			continue;
		if (element_linear(cpu, insn, &x, i, x.scatter ? ACCESS_WRITE : ACCESS_READ, &la))
			return STEP_FAULT;
		if (x.scatter) {
			if (mem_write_size(cpu, la, x.data_bytes, load_le(data->b + i * x.data_bytes, x.data_bytes)))
				return STEP_FAULT;
		} else {
			if (mem_read_size(cpu, la, x.data_bytes, &value))
				return STEP_FAULT;
			store_le(data->b + i * x.data_bytes, x.data_bytes, value);
		}
		*mask &= ~BIT(i);
	}
	*mask = 0;
	if (!x.scatter)
		memset(data->b + count * x.data_bytes, 0, 64 - count * x.data_bytes);
	return STEP_NEXT;
}

static enum step gather_vex(struct cpu *cpu, const struct insn *insn)
{
	union vector_register *data = &cpu->fpu.v[insn->reg & 15], *mask = &cpu->fpu.v[insn->vvvv & 15];
	unsigned count, length = insn->form->vector_bytes;
	struct indexed x;
	uint64_t value;
	la_t la;

	if (host_gate(cpu, GATE_AVX) != STEP_NEXT || !indexed_of(insn->form->operation, &x))
		return STEP_FAULT;
	if (insn->reg == insn->rm || insn->reg == insn->vvvv || insn->rm == insn->vvvv)
		return raise_fault(cpu, VECTOR_UD);
	count = length / (x.index_bytes > x.data_bytes ? x.index_bytes : x.data_bytes);
	for (unsigned i = 0; i < count; i++) {
		if (mask->b[(i + 1) * x.data_bytes - 1] & 0x80) { /* the sign bit */
			if (element_linear(cpu, insn, &x, i, ACCESS_READ, &la) ||
			    mem_read_size(cpu, la, x.data_bytes, &value))
				return STEP_FAULT;
			store_le(data->b + i * x.data_bytes, x.data_bytes, value);
		}
		store_le(mask->b + i * x.data_bytes, x.data_bytes, 0);
	}
	memset(mask, 0, sizeof(*mask));
	memset(data->b + count * x.data_bytes, 0, 64 - count * x.data_bytes);
	return STEP_NEXT;
}

/* MASKMOVQ and MASKMOVDQU: bytes at DS:rDI whose mask byte has bit 7 set. */
static enum step masked_store(struct cpu *cpu, const struct insn *insn, const uint8_t *data, const uint8_t *mask,
			      unsigned count)
{
	la_t la;

	for (unsigned pass = 0; pass < 2; pass++) { /* first ask, then write */
		for (unsigned i = 0; i < count; i++) {
			if (!(mask[i] & 0x80))
				continue;
			if (offset_linear(cpu, insn, cpu->r[RDI] + i, 1, ACCESS_WRITE, &la))
				return STEP_FAULT;
			if (pass ? mem_write8(cpu, la, data[i]) : mem_probe(cpu, la, 1, ACCESS_WRITE))
				return STEP_FAULT;
		}
	}
	return STEP_NEXT;
}

static enum step maskmovdqu(struct cpu *cpu, const struct insn *insn)
{
	bool vex = insn->form->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	if (host_gate(cpu, vex ? GATE_AVX : GATE_SSE) != STEP_NEXT)
		return STEP_FAULT;
	return masked_store(cpu, insn, cpu->fpu.v[insn->reg & 15].b, cpu->fpu.v[insn->rm & 15].b, 16);
}

static enum step maskmovq(struct cpu *cpu, const struct insn *insn)
{
	struct fpu *fpu = &cpu->fpu;

	if (host_gate(cpu, GATE_MMX) != STEP_NEXT || host_x87_pending(cpu) != STEP_NEXT)
		return STEP_FAULT;
	host_enter_mmx(fpu);
	return masked_store(cpu, insn, fpu->x87 + X87_ST + 16 * (insn->reg & 7),
			    fpu->x87 + X87_ST + 16 * (insn->rm & 7), 8);
}

static enum step vzero(struct cpu *cpu, const struct insn *insn)
{
	unsigned registers = cpu_64bit(cpu) ? 16 : 8,
		 keep = insn->form->operation == ZYDIS_MNEMONIC_VZEROUPPER ? 16 : 0;

	if (host_gate(cpu, GATE_AVX) != STEP_NEXT)
		return STEP_FAULT;
	for (unsigned i = 0; i < registers; i++)
		memset(cpu->fpu.v[i].b + keep, 0, 64 - keep);
	return STEP_NEXT;
}

exec_fn *host_irregular_lookup(struct form *form)
{
	bool evex = form->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	struct indexed x;
	exec_fn *exec;

	if (indexed_of(form->operation, &x))
		exec = evex ? indexed_evex : gather_vex;
	else if (form->operation == ZYDIS_MNEMONIC_MASKMOVDQU || form->operation == ZYDIS_MNEMONIC_VMASKMOVDQU)
		exec = maskmovdqu;
	else if (form->operation == ZYDIS_MNEMONIC_MASKMOVQ)
		exec = maskmovq;
	else if (form->operation == ZYDIS_MNEMONIC_VZEROALL || form->operation == ZYDIS_MNEMONIC_VZEROUPPER)
		exec = vzero;
	else
		return NULL;
	return exec;
}

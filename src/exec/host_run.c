/*
 * Running a thunk: what must be enabled, where the operands are, memory, MXCSR, and the exceptions that follow.
 *
 * SDM vol. 2, "Exception Conditions"; vol. 1, "SIMD Floating-Point Exceptions", "Memory Alignment"; vol. 2, "Memory
 * Fault Suppression". Order of faults: #UD, #NM, #MF, then those of the memory operand, then #XM. Nothing is changed
 * before the last possible fault.
 */
#include "cpu/flags.h"
#include "exec/host_private.h"

#define XCR0_AVX    BITS(2, 1)
#define XCR0_AVX512 (BITS(7, 5) | BITS(2, 1))

static enum step gate_vex(struct cpu *cpu, uint64_t components)
{
	if (!(cpu->cr4 & CR4_OSXSAVE) || (cpu->fpu.xcr0 & components) != components || !cpu_protected(cpu) ||
	    cpu_v86(cpu))
		return raise_fault(cpu, VECTOR_UD);
	return cpu->cr0 & CR0_TS ? raise_fault(cpu, VECTOR_NM) : STEP_NEXT;
}

enum step host_gate(struct cpu *cpu, enum host_gate gate)
{
	switch (gate) {
	case GATE_SSE:
		if (unlikely((cpu->cr0 & CR0_EM) || !(cpu->cr4 & CR4_OSFXSR)))
			return raise_fault(cpu, VECTOR_UD);
		break;
	case GATE_MMX:
		if (unlikely(cpu->cr0 & CR0_EM))
			return raise_fault(cpu, VECTOR_UD);
		break;
	case GATE_AVX: return gate_vex(cpu, XCR0_AVX);
	case GATE_AVX512: return gate_vex(cpu, XCR0_AVX512);
	case GATE_X87: return cpu->cr0 & (CR0_EM | CR0_TS) ? raise_fault(cpu, VECTOR_NM) : STEP_NEXT;
	}
	return unlikely(cpu->cr0 & CR0_TS) ? raise_fault(cpu, VECTOR_NM) : STEP_NEXT;
}

/* MMX registers are the physical ones: with TOP = 0 the same as the image's. */
void host_enter_mmx(struct fpu *fpu)
{
	x87_set_top(fpu, 0);
	fpu->x87[X87_FTW] = 0xff;
}

static uint8_t *mmx_register(struct fpu *fpu, unsigned number)
{
	return fpu->x87 + X87_ST + 16 * (number & 7);
}

/* The decoder keeps numbers within what exists: 32 vector registers, 16 general ones, 8 of the others. */
static inline void *register_at(struct cpu *cpu, struct host_place place, unsigned number)
{
	return (uint8_t *)cpu + place.base + ((size_t)number << place.shift);
}

static thunk_fn *thunk_of(const struct insn *insn, struct host_form *h)
{
	thunk_fn **slot = &h->thunk;

	if (h->has_imm) {
		if (unlikely(!h->by_imm))
			h->by_imm = host_alloc(256 * sizeof(*h->by_imm));
		slot = &h->by_imm[(uint8_t)insn->imm];
	}
	if (unlikely(!*slot))
		*slot = host_make_thunk(insn, h);
	return *slot;
}

/* Not the compiler's intrinsics, which know nothing of what a call does to MXCSR. */
static inline uint32_t get_mxcsr(void)
{
	uint32_t value;

	__asm__ volatile("stmxcsr %0" : "=m"(value) : : "memory");
	return value;
}

static inline void set_mxcsr(uint32_t value)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(value) : "memory");
}

void host_mxcsr_return(struct cpu *cpu)
{
	cpu->fpu.mxcsr = get_mxcsr();
	cpu->mxcsr_live = false;
	set_mxcsr(MXCSR_RESET);
}

/* Run under the guest's MXCSR, which stays in the host's. */
static uint64_t run_floating(struct cpu *cpu, thunk_fn *thunk, void *reg, void *vvvv, void *mask, void *rm)
{
	uint64_t result;

	if (unlikely(!cpu->mxcsr_live)) {
		set_mxcsr(cpu->fpu.mxcsr);
		cpu->mxcsr_live = true;
	}
	result = thunk(reg, vvvv, mask, 0, rm, cpu);
	if (unlikely(result & THUNK_FAULT)) { /* the signal handler has put the host's own MXCSR back */
		cpu->fpu.mxcsr = (uint32_t)result & MXCSR_VALID;
		cpu->mxcsr_live = false;
	}
	return result;
}

static enum step simd_exception(struct cpu *cpu)
{
	return raise_fault(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD);
}

static enum step execute(struct cpu *cpu, const struct insn *insn, struct host_form *h, void *rm)
{
	thunk_fn *thunk = thunk_of(insn, h);
	void *reg, *vvvv, *mask = NULL;
	uint64_t result;

	if (unlikely(!thunk)) /* code memory is full: only a guest that tries millions of immediates gets here */
		return raise_fault(cpu, VECTOR_UD);
	if (unlikely(h->mmx_state))
		host_enter_mmx(&cpu->fpu);
	reg = register_at(cpu, h->reg_at, insn->reg);
	vvvv = register_at(cpu, h->vvvv_at, insn->vvvv);
	if (h->gate == GATE_AVX512)
		mask = &cpu->fpu.k[insn->evex & 7];
	else if (h->fourth)
		mask = &cpu->fpu.v[insn->imm >> 4 &
				   (cpu_64bit(cpu) ? 15 : 7)]; /* outside 64-bit mode bit 7 is ignored */
	result = h->floating ? run_floating(cpu, thunk, reg, vvvv, mask, rm) : thunk(reg, vvvv, mask, 0, rm, cpu);
	if (unlikely(result & THUNK_FAULT))
		return simd_exception(cpu);
	if (h->writes_flags)
		cc_set_exact(cpu, result);
	if (h->mmx_written)
		store_le(mmx_register(&cpu->fpu, h->mmx_written == 1 ? insn->reg : insn->rm) + 8, 2, 0xffff);
	return STEP_NEXT;
}

/* The bits of the mask that count, one per element of the operation. */
static uint64_t mask_of(const struct cpu *cpu, const struct insn *insn, const struct host_form *h)
{
	uint64_t mask = 0;

	if (h->vmaskmov) {
		const uint8_t *sign = cpu->fpu.v[insn->vvvv & 15].b;

		for (unsigned i = 0; i < h->elements; i++)
			mask |= (uint64_t)(sign[(i + 1) * h->element_bytes - 1] >> 7) << i;
		return mask;
	}
	mask = insn->evex & 7 ? cpu->fpu.k[insn->evex & 7] : ~UINT64_C(0);
	return h->mask_bits >= 64 ? mask : mask & (BIT(h->mask_bits) - 1);
}

/* Does the mask decide about memory? For a load only when it suppresses faults. */
static bool is_masked(const struct insn *insn, const struct host_form *h)
{
	return h->suppress || h->vmaskmov || (h->writes_memory && (insn->evex & 7));
}

/* Which elements of the memory operand are touched. */
static uint64_t touched(const struct cpu *cpu, const struct insn *insn, const struct host_form *h)
{
	uint64_t mask, all = h->elements >= 64 ? ~UINT64_C(0) : BIT(h->elements) - 1, result = 0;

	if (!is_masked(insn, h))
		return all;
	mask = mask_of(cpu, insn, h);
	if (h->packed) {
		unsigned count = (unsigned)__builtin_popcountll(mask);

		return count >= 64 ? ~UINT64_C(0) : BIT(count) - 1;
	}
	for (unsigned i = 0; i < h->elements; i++) {
		if (h->broadcast) { /* element i serves i, i + elements, i + 2 elements ... */
			for (unsigned bit = i; bit < h->mask_bits; bit += h->elements)
				result |= (mask >> bit & 1) << i;
		} else { /* more memory elements than mask bits: several belong to one */
			result |= (mask >> (i * h->mask_bits / h->elements) & 1) << i;
		}
	}
	return result;
}

/* Only the operand's own offset is cut to the address size; its later elements go on from there. */
static bool element_linear(struct cpu *cpu, const struct insn *insn, const struct host_form *h, unsigned i,
			   unsigned access, la_t *la)
{
	uint64_t offset = operand_offset(cpu, insn) + (uint64_t)i * h->element_bytes;

	if (insn->ea == EA_CHECKED)
		return segment_linear(cpu, insn->seg, offset, h->element_bytes, access, la);
	*la = offset + (insn->ea == EA_FSGS ? cpu->seg[insn->seg].base : 0);
	return false;
}

/* Element by element: masked-off ones must not be written, nor fault when the form suppresses it. */
static enum step run_elements(struct cpu *cpu, const struct insn *insn, struct host_form *h, uint64_t elements)
{
	uint8_t buffer[64] __attribute__((aligned(64))) = {0};
	unsigned access = h->writes_memory ? ACCESS_WRITE : ACCESS_READ;
	enum step step;
	la_t la;

	if (!h->suppress && !h->vmaskmov &&
	    (operand_linear(cpu, insn, h->memory_bytes, access, &la) || mem_probe(cpu, la, h->memory_bytes, access)))
		return STEP_FAULT;
	for (unsigned i = 0; i < h->elements; i++) {
		if (!(elements >> i & 1))
			continue;
		if (element_linear(cpu, insn, h, i, access, &la))
			return STEP_FAULT;
		if (h->writes_memory
			    ? mem_probe(cpu, la, h->element_bytes, ACCESS_WRITE)
			    : mem_read_bytes(cpu, la, buffer + i * h->element_bytes, h->element_bytes, ACCESS_READ))
			return STEP_FAULT;
	}
	if ((step = execute(cpu, insn, h, buffer)) != STEP_NEXT || !h->writes_memory)
		return step;
	for (unsigned i = 0; i < h->elements; i++)
		if ((elements >> i & 1) &&
		    (element_linear(cpu, insn, h, i, access, &la) ||
		     mem_write_bytes(cpu, la, buffer + i * h->element_bytes, h->element_bytes, ACCESS_WRITE)))
			return STEP_FAULT; /* cannot be: probed above */
	return STEP_NEXT;
}

/* Through a buffer: a device, a page boundary, a page with code or a breakpoint. */
static COLD enum step run_slow(struct cpu *cpu, const struct insn *insn, struct host_form *h, la_t la)
{
	uint8_t buffer[64] __attribute__((aligned(64)));
	uint64_t value = 0;
	enum step step;

	if (h->memory_bytes <= 8) { /* the size that devices and alignment checks see */
		if (h->writes_memory) {
			if (mem_probe(cpu, la, h->memory_bytes, ACCESS_WRITE))
				return STEP_FAULT;
		} else if (mem_read_slow(cpu, la, h->memory_bytes, &value, ACCESS_READ)) {
			return STEP_FAULT;
		}
		store_le(buffer, 8, value);
	} else if (h->writes_memory ? mem_probe(cpu, la, h->memory_bytes, ACCESS_WRITE)
				    : mem_read_bytes(cpu, la, buffer, h->memory_bytes, ACCESS_READ)) {
		return STEP_FAULT;
	}
	if ((step = execute(cpu, insn, h, buffer)) != STEP_NEXT || !h->writes_memory)
		return step;
	if (h->memory_bytes <= 8
		    ? mem_write_slow(cpu, la, h->memory_bytes, load_le(buffer, h->memory_bytes), ACCESS_WRITE)
		    : mem_write_bytes(cpu, la, buffer, h->memory_bytes, ACCESS_WRITE))
		return STEP_FAULT;
	return STEP_NEXT;
}

static enum step run_memory(struct cpu *cpu, const struct insn *insn, struct host_form *h)
{
	unsigned access = h->writes_memory ? ACCESS_WRITE : ACCESS_READ;
	void *host;
	la_t la;

	if (unlikely(is_masked(insn, h))) {
		uint64_t elements = touched(cpu, insn, h);
		uint64_t all = h->elements >= 64 ? ~UINT64_C(0) : BIT(h->elements) - 1;

		if (h->aligned && elements &&
		    !is_aligned(cpu->seg[insn->seg].base + operand_offset(cpu, insn), h->memory_bytes))
			return raise_gp0(cpu);
		if (elements != all) {
			/* A direct hit cannot fault whatever the mask says; everything else goes by elements. */
			if (insn->ea == EA_CHECKED || operand_linear(cpu, insn, h->memory_bytes, access, &la))
				return run_elements(cpu, insn, h, elements);
			host = h->writes_memory ? tlb_write(cpu, la, h->memory_bytes)
						: tlb_read(cpu, la, h->memory_bytes);
			return host ? execute(cpu, insn, h, host) : run_elements(cpu, insn, h, elements);
		}
	}
	if (operand_linear(cpu, insn, h->memory_bytes, access, &la))
		return STEP_FAULT;
	if (h->aligned && unlikely(!is_aligned(la, h->memory_bytes)))
		return raise_gp0(cpu);
	host = h->writes_memory ? tlb_write(cpu, la, h->memory_bytes) : tlb_read(cpu, la, h->memory_bytes);
	if (likely(host))
		return execute(cpu, insn, h, host);
	if (unlikely(h->memory_bytes > 8 && host_misaligned(cpu, la, h->memory_bytes)))
		return host_alignment_fault(cpu, la, h->memory_bytes, access);
	return run_slow(cpu, insn, h, la);
}

static enum step run_any(struct cpu *cpu, const struct insn *insn)
{
	struct host_form *h = insn->form->host;

	if (unlikely(host_gate(cpu, h->gate) != STEP_NEXT))
		return STEP_FAULT;
	if (unlikely(h->mmx_state) && host_x87_pending(cpu) != STEP_NEXT)
		return STEP_FAULT;
	return h->memory ? run_memory(cpu, insn, h) : execute(cpu, insn, h, register_at(cpu, h->rm_at, insn->rm));
}

/* The usual forms, with what is constant for them known: any difficulty goes the general way from the start. */
enum access_kind { NO_MEMORY, LOADS, STORES };

static inline bool is_enabled(const struct cpu *cpu, enum host_gate gate)
{
	if (gate == GATE_SSE)
		return !(cpu->cr0 & (CR0_EM | CR0_TS)) && (cpu->cr4 & CR4_OSFXSR);
	return !(cpu->cr0 & CR0_TS) && (cpu->cr4 & CR4_OSXSAVE) &&
	       !(~cpu->fpu.xcr0 & (gate == GATE_AVX ? XCR0_AVX : XCR0_AVX512));
}

static inline enum step run_usual(struct cpu *cpu, const struct insn *insn, enum host_gate gate,
				  enum access_kind memory, bool floating)
{
	const struct host_form *h = insn->form->host;
	thunk_fn *thunk = h->by_imm ? h->by_imm[(uint8_t)insn->imm] : h->thunk;
	void *reg = register_at(cpu, h->reg_at, insn->reg), *vvvv = register_at(cpu, h->vvvv_at, insn->vvvv), *rm;
	void *mask = gate == GATE_AVX512 ? &cpu->fpu.k[insn->evex & 7] : NULL;
	uint64_t result;

	if (unlikely(!thunk || !is_enabled(cpu, gate)))
		return run_any(cpu, insn);
	if (memory == NO_MEMORY) {
		rm = register_at(cpu, h->rm_at, insn->rm);
	} else {
		la_t la;

		if (operand_linear(cpu, insn, h->memory_bytes, memory == STORES ? ACCESS_WRITE : ACCESS_READ, &la))
			return STEP_FAULT;
		rm = memory == STORES ? tlb_write(cpu, la, h->memory_bytes) : tlb_read(cpu, la, h->memory_bytes);
		if (unlikely(!rm || (h->aligned && !is_aligned(la, h->memory_bytes))))
			return run_any(cpu, insn);
	}
	result = floating ? run_floating(cpu, thunk, reg, vvvv, mask, rm) : thunk(reg, vvvv, mask, 0, rm, cpu);
	if (floating && unlikely(result & THUNK_FAULT))
		return simd_exception(cpu);
	if (unlikely(h->writes_flags))
		cc_set_exact(cpu, result);
	return STEP_NEXT;
}

#define USUAL(gate, memory, floating)                                                                 \
	static enum step run_##gate##_##memory##_##floating(struct cpu *cpu, const struct insn *insn) \
	{                                                                                             \
		return run_usual(cpu, insn, gate, memory, floating);                                  \
	}
#define ALL_USUAL(X, gate)    \
	X(gate, NO_MEMORY, 0) \
	X(gate, NO_MEMORY, 1) X(gate, LOADS, 0) X(gate, LOADS, 1) X(gate, STORES, 0) X(gate, STORES, 1)
ALL_USUAL(USUAL, GATE_SSE)
ALL_USUAL(USUAL, GATE_AVX)
ALL_USUAL(USUAL, GATE_AVX512)

exec_fn *host_run_for(const struct host_form *h)
{
#define ROW(gate, memory, floating) [gate][memory][floating] = run_##gate##_##memory##_##floating,
	static exec_fn *const usual[GATE_X87 + 1][STORES + 1][2] = {ALL_USUAL(ROW, GATE_SSE) ALL_USUAL(ROW, GATE_AVX)
									    ALL_USUAL(ROW, GATE_AVX512)};
	enum access_kind memory = !h->memory ? NO_MEMORY : h->writes_memory ? STORES : LOADS;

	if (h->mmx_state || h->fourth || h->vmaskmov || h->suppress ||
	    (memory == STORES && h->mask_bits && h->gate == GATE_AVX512))
		return run_any;
	return usual[h->gate][memory][h->floating] ? usual[h->gate][memory][h->floating] : run_any;
}

/*
 * Thunks: machine code that runs one guest instruction on fixed registers.
 *
 * SDM vol. 2, "Instruction Format", "Intel AVX-512 Encoding". The instruction keeps its opcode, prefixes that select
 *it, vector length and immediate; its register numbers become fixed ones and its memory operand becomes [R8]. Zydis
 *reads the result back and says what the operands are and whether the encoding exists at all (masking, broadcast and
 *rounding bits included).
 *
 *	operand            vector    MMX    general    opmask    pointer
 *	ModRM.reg          1         1      RAX        2         RDI
 *	VEX.vvvv           2                R11        3         RSI
 *	ModRM.r/m          3         3      R10        4         R8
 *	imm8[7:4]          4                                     RDX
 *	write-mask                                     1         RDX
 *	implied XMM0       0                                     R9 (struct cpu)
 */
#include "exec/host_private.h"

enum { DI = 7, SI = 6, DX = 2, R8_BASE = 8, R9_CPU = 9, R11_TEMP = 11 };
enum { REG_VECTOR = 1, VVVV_VECTOR = 2, RM_VECTOR = 3, FOURTH_VECTOR = 4 };

struct code {
	uint8_t bytes[160];
	unsigned size;
};

static void put(struct code *c, unsigned count, uint64_t bytes)
{
	store_le(c->bytes + c->size, count, bytes);
	c->size += count;
}

/* ModRM for [base] with no displacement; base is none of RSP, RBP, R12, R13. */
static uint8_t modrm(unsigned reg, unsigned base)
{
	return (uint8_t)(reg << 3 | (base & 7));
}

/* MOVUPS between a vector register and [base], with the length and encoding of the instruction around it. */
static void put_vector(struct code *c, bool legacy, unsigned bytes, unsigned number, unsigned base, bool store)
{
	uint8_t opcode = store ? 0x11 : 0x10;

	if (legacy) {
		if (base >= 8)
			put(c, 1, 0x41);
		put(c, 2, 0x0f | opcode << 8);
	} else if (bytes == 64) {
		put(c, 4, base >= 8 ? 0x487cd162 : 0x487cf162);
		put(c, 1, opcode);
	} else {
		put(c, 3, 0x7800c4u | (base >= 8 ? 0xc100 : 0xe100) | (bytes == 32 ? 0x40000 : 0));
		put(c, 1, opcode);
	}
	put(c, 1, modrm(number, base));
}

static void put_gpr(struct code *c, unsigned number, unsigned base, bool store)
{
	put(c, 1, 0x48 | (number >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0));
	put(c, 1, store ? 0x89 : 0x8b);
	put(c, 1, modrm(number & 7, base));
}

/* MOV between a general register below R8 and a member of struct cpu. */
static void put_cpu_gpr(struct code *c, unsigned number, size_t offset, bool store)
{
	put(c, 2, store ? 0x8949 : 0x8b49);
	put(c, 1, 0x80 | modrm(number, R9_CPU));
	put(c, 4, offset);
}

static void put_mask(struct code *c, unsigned number, unsigned base, bool store)
{
	put(c, 3, base >= 8 ? 0xf8c1c4 : 0xf8e1c4);
	put(c, 1, store ? 0x91 : 0x90);
	put(c, 1, modrm(number, base));
}

static void put_mmx(struct code *c, unsigned number, unsigned base, bool store)
{
	if (base >= 8)
		put(c, 1, 0x41);
	put(c, 2, store ? 0x7f0f : 0x6f0f);
	put(c, 1, modrm(number, base));
}

/* Which numbers stand in the fields of the encoding. */
struct fields {
	unsigned reg, vvvv, rm;
	unsigned L, W;
	bool memory;
	uint8_t evex; /* z, L'L, b, aaa of P2 */
	uint8_t imm;
};

static void put_instruction(struct code *c, const struct insn *insn, const struct fields *f, bool has_imm)
{
	const struct form *form = insn->form;
	static const uint8_t prefixes[4] = {0, 0x66, 0xf3, 0xf2};
	unsigned high = f->rm >> 3 & 1, high_vector = f->memory ? 0 : f->rm >> 4 & 1;

	switch (form->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		put(c, 1, 0xc4);
		put(c, 1, 0xc0 | (high ? 0 : 0x20) | form->map);
		put(c, 1, f->W << 7 | (~f->vvvv & 15) << 3 | f->L << 2 | form->pp);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		put(c, 1, 0x62);
		put(c, 1, 0x90 | (high_vector ? 0 : 0x40) | (high ? 0 : 0x20) | form->map);
		put(c, 1, f->W << 7 | (~f->vvvv & 15) << 3 | 4 | form->pp);
		put(c, 1, (f->evex & 0xf7) | 8);
		break;
	default:
		if (form->pp)
			put(c, 1, prefixes[form->pp]);
		if (f->W || high)
			put(c, 1, 0x40 | f->W << 3 | high);
		put(c, 1, 0x0f);
		if (form->map > 1)
			put(c, 1, form->map == 2 ? 0x38 : 0x3a);
	}
	put(c, 1, insn->opcode);
	put(c, 1, (f->memory ? 0 : 0xc0) | (f->reg & 7) << 3 | (f->rm & 7));
	if (has_imm)
		put(c, 1, f->imm);
}

static enum host_operand operand_class(const ZydisDecodedOperand *o)
{
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM: return HOST_VECTOR;
	case ZYDIS_REGCLASS_MMX: return HOST_MMX;
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return HOST_GPR;
	case ZYDIS_REGCLASS_MASK: return HOST_MASK;
	default: return HOST_NONE;
	}
}

/* Of the whole register, whatever part of it the instruction uses. */
static unsigned vector_bytes(const ZydisDecodedOperand *o)
{
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_ZMM: return 64;
	case ZYDIS_REGCLASS_YMM: return 32;
	default: return 16;
	}
}

static unsigned fixed_number(enum host_operand kind, unsigned vector, unsigned gpr, unsigned mask)
{
	return kind == HOST_GPR ? gpr : kind == HOST_MASK ? mask : vector;
}

static bool decode_again(const struct code *c, ZydisDecodedInstruction *i,
			 ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT])
{
	ZydisDecoder decoder;

	return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, c->bytes, c->size, i, o));
}

/* SDM vol. 2, "Instructions with Explicitly Aligned Memory Operands", "Instructions with Unaligned Access": legacy SSE
 * aligns all but a few. */
static bool must_align(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *memory)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return false;
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32:
	case ZYDIS_MNEMONIC_VMOVDQA64:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA: return true;
	default: return i->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && memory->size == 128;
	}
}

/* Moves and shuffles of floating-point elements do not look at MXCSR. */
static bool obeys_mxcsr(const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o)
{
	switch (i->meta.exception_class) { /* the types with SIMD floating-point exceptions */
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3: return true;
	default: break;
	}
	switch (i->meta.category) {
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_LOGICAL_FP:
	case ZYDIS_CATEGORY_BROADCAST:
	case ZYDIS_CATEGORY_BLEND:
	case ZYDIS_CATEGORY_COMPRESS:
	case ZYDIS_CATEGORY_EXPAND: return false;
	default: break;
	}
	for (unsigned n = 0; n < i->operand_count; n++)
		if (o[n].element_type >= ZYDIS_ELEMENT_TYPE_FLOAT16 && o[n].element_type <= ZYDIS_ELEMENT_TYPE_FLOAT64)
			return true;
	return false;
}

static void describe_implied(struct host_form *h, const ZydisDecodedOperand *o)
{
	bool read = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ, written = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return;
	switch (o->reg.value) {
	case ZYDIS_REGISTER_XMM0:
		h->xmm0 |= read;
		h->writes_xmm0 |= written;
		break;
	case ZYDIS_REGISTER_EAX:
	case ZYDIS_REGISTER_RAX: h->pcmpestr = true; break;
	case ZYDIS_REGISTER_ECX:
	case ZYDIS_REGISTER_RCX: h->writes_ecx |= written; break;
	default:
		if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_FLAGS)
			h->writes_flags |= written;
	}
}

static void describe_operand(struct host_form *h, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o)
{
	bool written = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		h->memory = true;
		h->writes_memory = written;
		h->aligned = must_align(i, o);
		return;
	}
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return;
	if (operand_class(o) == HOST_VECTOR && vector_bytes(o) > 16)
		h->upper = true;
	if (operand_class(o) == HOST_MMX) {
		h->mmx_state = true;
		if (written)
			h->mmx_written = o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG ? 1 : 2;
	}
	switch (o->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: h->reg = operand_class(o); break;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: h->rm = operand_class(o); break;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: h->vvvv = operand_class(o); break;
	case ZYDIS_OPERAND_ENCODING_IS4: h->fourth = true; break;
	case ZYDIS_OPERAND_ENCODING_NONE: describe_implied(h, o); break;
	default: break;
	}
}

static enum host_gate gate_for(const ZydisDecodedInstruction *i, const struct host_form *h)
{
	switch (i->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_EVEX: return GATE_AVX512;
	case ZYDIS_INSTRUCTION_ENCODING_VEX: return h->reg == HOST_MASK || h->rm == HOST_MASK ? GATE_AVX512 : GATE_AVX;
	default: return h->reg == HOST_VECTOR || h->rm == HOST_VECTOR || !h->mmx_state ? GATE_SSE : GATE_MMX;
	}
}

/* SDM vol. 2, "Exceptions Type": E1 to E6, E10 and E11 without "NF" do not fault on masked-off elements. */
static bool suppresses_faults(ZydisExceptionClass class)
{
	switch (class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11: return true;
	default: return false;
	}
}

/* EVEX.b: how many elements one from memory becomes. */
static uint8_t broadcast_count(ZydisBroadcastMode mode)
{
	switch (mode) {
	case ZYDIS_BROADCAST_MODE_1_TO_2: return 2;
	case ZYDIS_BROADCAST_MODE_1_TO_4: return 4;
	case ZYDIS_BROADCAST_MODE_1_TO_8: return 8;
	case ZYDIS_BROADCAST_MODE_1_TO_16: return 16;
	case ZYDIS_BROADCAST_MODE_1_TO_32: return 32;
	default: return 64;
	}
}

static void describe_memory(struct host_form *h, const struct insn *insn, const ZydisDecodedInstruction *i,
			    const ZydisDecodedOperand *o)
{
	for (unsigned n = 0; n < i->operand_count; n++) {
		if (o[n].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		h->memory_bytes = o[n].size / 8;
		h->element_bytes = (uint8_t)(o[n].element_size / 8);
		h->elements = (uint8_t)o[n].element_count;
	}
	h->broadcast = i->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID;
	/* These are of type E4NF, whatever Zydis says: memory elements and mask bits do not correspond. */
	h->suppress = (insn->evex & 7) && suppresses_faults(i->meta.exception_class) &&
		      i->mnemonic != ZYDIS_MNEMONIC_VGF2P8AFFINEQB && i->mnemonic != ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB &&
		      i->mnemonic != ZYDIS_MNEMONIC_VCVTNE2PS2BF16 && i->mnemonic != ZYDIS_MNEMONIC_VDBPSADBW;
	h->packed = i->meta.category == ZYDIS_CATEGORY_COMPRESS || i->meta.category == ZYDIS_CATEGORY_EXPAND;
	h->mask_bits = (uint8_t)o[0].element_count;
	if (h->reg == HOST_MASK)
		h->mask_bits = (uint8_t)(h->broadcast ? insn->form->vector_bytes / h->element_bytes : h->elements);
	/* Scalars obey bit 0; narrowing conversions leave part of the destination out. */
	if (!h->broadcast && h->elements < h->mask_bits)
		h->mask_bits = h->elements;
	if (insn->evex & 0x10 && broadcast_count(i->avx.broadcast.mode) < h->mask_bits)
		h->mask_bits = broadcast_count(i->avx.broadcast.mode);
}

static uint8_t evex_bits(const struct insn *insn)
{
	return (insn->evex & 0xf0) | ((insn->evex & 7) ? 1 : 0);
}

static struct host_place place_of(enum host_operand kind)
{
	switch (kind) {
	case HOST_VECTOR: return (struct host_place){offsetof(struct cpu, fpu.v), 6};
	case HOST_GPR: return (struct host_place){offsetof(struct cpu, r), 3};
	case HOST_MASK: return (struct host_place){offsetof(struct cpu, fpu.k), 3};
	case HOST_MMX: return (struct host_place){offsetof(struct cpu, fpu.x87) + X87_ST, 4};
	default: return (struct host_place){0, 0};
	}
}

static bool converts_integer(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_VCVTSI2SS || mnemonic == ZYDIS_MNEMONIC_VCVTSI2SD ||
	       mnemonic == ZYDIS_MNEMONIC_VCVTUSI2SS || mnemonic == ZYDIS_MNEMONIC_VCVTUSI2SD;
}

static bool describe_as(const struct insn *insn, const struct fields *f, bool code64, struct host_form *h)
{
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction i;
	struct code c = {0};

	put_instruction(&c, insn, f, true);
	if (!decode_again(&c, &i, o) || i.mnemonic != insn->form->operation)
		return false;
	*h = (struct host_form){.form = h->form, .L = (uint8_t)f->L, .W = (uint8_t)f->W, .has_imm = i.length == c.size};
	for (unsigned n = 0; n < i.operand_count; n++)
		describe_operand(h, &i, &o[n]);
	/* VEX.W and EVEX.W only widen general registers, and integers in their place, in 64-bit mode. */
	if (!code64 && f->W && (h->reg == HOST_GPR || h->rm == HOST_GPR || h->pcmpestr || converts_integer(i.mnemonic)))
		return false;
	h->floating = obeys_mxcsr(&i, o);
	h->gate = gate_for(&i, h);
	h->vmaskmov = i.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || i.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
		      i.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD || i.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
	if (h->memory)
		describe_memory(h, insn, &i, o);
	h->reg_at = place_of(h->reg);
	h->vvvv_at = place_of(h->vvvv);
	h->rm_at = place_of(h->rm);
	return true;
}

bool host_describe(const struct insn *insn, bool code64, struct host_form *h)
{
	const struct form *form = insn->form;
	unsigned W = (insn->prefixes & PREFIX_REX_W) != 0, L = form->vector_bytes == 32;
	struct fields f = {.reg = insn->modrm >> 3 & 7,
			   .rm = form->memory ? R8_BASE : 3,
			   .memory = form->memory,
			   .evex = evex_bits(insn)};

	if (!form->has_modrm ||
	    (form->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && (form->map < 1 || form->map > 3)))
		return false;
	/* What the form does not say for sure is tried: VEX.W where 32-bit code ignores it, VEX.L where there is no
	 * vector length. */
	for (unsigned attempt = 0; attempt < 4; attempt++) {
		f.W = W ^ (attempt & 1);
		f.L = L ^ (attempt >> 1);
		if (form->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && attempt)
			return false;
		if (describe_as(insn, &f, code64, h))
			return true;
	}
	return false;
}

static struct fields fields_of(const struct insn *insn, const struct host_form *h)
{
	struct fields f = {
		.reg = h->reg ? fixed_number(h->reg, REG_VECTOR, 0, 2) : insn->modrm >> 3 & 7u,
		.vvvv = h->vvvv ? fixed_number(h->vvvv, VVVV_VECTOR, 11, 3) : 0,
		.rm = h->memory ? R8_BASE : fixed_number(h->rm, RM_VECTOR, 10, 4),
		.memory = h->memory,
		.L = h->L,
		.W = h->W,
		.imm = (uint8_t)insn->imm,
		.evex = evex_bits(insn),
	};

	if (h->fourth)
		f.imm = (uint8_t)(FOURTH_VECTOR << 4 | (f.imm & 15));
	return f;
}

/* Emits a load or store of one operand that is a register. */
static void put_operand(struct code *c, enum host_operand kind, unsigned number, bool legacy, unsigned bytes,
			unsigned base, bool store)
{
	switch (kind) {
	case HOST_NONE: break;
	case HOST_VECTOR: put_vector(c, legacy, bytes, number, base, store); break;
	case HOST_MMX: put_mmx(c, number, base, store); break;
	case HOST_GPR: put_gpr(c, number, base, store); break;
	case HOST_MASK: put_mask(c, number, base, store); break;
	}
}

static bool host_has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

static unsigned base_of(const ZydisDecodedOperand *o)
{
	switch (o->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: return DI;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: return SI;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: return R8_BASE;
	default: return DX; /* imm8[7:4], write-mask */
	}
}

/* The operand's register number in the encoding. */
static unsigned number_of(const ZydisDecodedOperand *o)
{
	return (unsigned)ZydisRegisterGetId(o->reg.value);
}

static bool is_explicit(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->encoding != ZYDIS_OPERAND_ENCODING_NONE;
}

thunk_fn *host_make_thunk(const struct insn *insn, const struct host_form *h)
{
	struct fields f = fields_of(insn, h);
	bool legacy = insn->form->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	unsigned whole = host_has_avx512() ? 64 : 32;
	size_t xmm0 = offsetof(struct cpu, fpu.v[0]);
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction i;
	struct code c = {0}, one = {0};

	put_instruction(&one, insn, &f, h->has_imm);
	if (!decode_again(&one, &i, o))
		return NULL;
	for (unsigned n = 0; n < i.operand_count; n++)
		if (is_explicit(&o[n]) && !(o[n].encoding == ZYDIS_OPERAND_ENCODING_MASK && !(insn->evex & 7)))
			put_operand(&c, operand_class(&o[n]), number_of(&o[n]), legacy, vector_bytes(&o[n]),
				    base_of(&o[n]), false);
	if (h->xmm0) {
		put(&c, 4, 0x80100f41 | (uint32_t)modrm(0, R9_CPU) << 24); /* MOVUPS XMM0, [R9 + disp32] */
		put(&c, 4, xmm0);
	}
	if (h->pcmpestr) {
		put_cpu_gpr(&c, RAX, offsetof(struct cpu, r[RAX]), false);
		put_cpu_gpr(&c, RDX, offsetof(struct cpu, r[RDX]), false);
	}
	put_instruction(&c, insn, &f, h->has_imm);
	for (unsigned n = 0; n < i.operand_count; n++)
		if (is_explicit(&o[n]) && (o[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			put_operand(&c, operand_class(&o[n]), number_of(&o[n]), legacy, whole, base_of(&o[n]), true);
	if (h->writes_xmm0) {
		put(&c, 3, 0x998d4d); /* LEA R11, [R9 + disp32] */
		put(&c, 4, xmm0);
		put_vector(&c, legacy, whole, 0, R11_TEMP, true);
	}
	if (h->writes_ecx)
		put_cpu_gpr(&c, RCX, offsetof(struct cpu, r[RCX]), true);
	if (h->upper)
		put(&c, 3, 0x77f8c5); /* VZEROUPPER */
	if (h->mmx_state)
		put(&c, 2, 0x770f); /* EMMS */
	if (h->writes_flags)
		put(&c, 2, 0x589c); /* PUSHFQ; POP RAX */
	else
		put(&c, 2, 0xc031); /* XOR EAX, EAX */
	put(&c, 1, 0xc3);
	return (thunk_fn *)host_install(c.bytes, c.size);
}

thunk_fn *host_make_x87_thunk(uint8_t opcode, uint8_t modrm_byte, bool flags_in, bool flags_out)
{
	struct code c = {0};

	put(&c, 4, 0x0fae0f48); /* FXRSTOR64 [RDI] */
	if (flags_in)
		put(&c, 6, 0x9e08e0c1c889); /* MOV EAX, ECX; SHL EAX, 8; SAHF */
	if (modrm_byte < 0xc0) {
		put(&c, 2, 0x41 | opcode << 8);
		put(&c, 1, modrm(modrm_byte >> 3 & 7, R8_BASE));
	} else {
		put(&c, 2, opcode | modrm_byte << 8);
	}
	if (flags_out)
		put(&c, 2, 0x589c);
	put(&c, 4, 0x07ae0f48); /* FXSAVE64 [RDI] */
	put(&c, 2, 0xe3db);	/* FNINIT: what is pending must not reach the host's own code */
	if (!flags_out)
		put(&c, 2, 0xc031);
	put(&c, 1, 0xc3);
	return (thunk_fn *)host_install(c.bytes, c.size);
}

/*
 * The engine against the host CPU: random instances of every form that the host has, run natively and in the engine,
 * and everything that can be seen afterwards compared.
 *
 * Left out: what a user-mode process cannot do or what depends on the system (privileged, I/O, far transfers,
 * descriptors, time, random numbers), and what Intel and AMD define differently (see skip()).
 * Flags that the manuals leave undefined are not compared. 32-bit code is left out where the host's kernel has no
 * segment for it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/error.h"
#include "forms.h"
#include "layout.h"
#include "state.h"
#include "xsave.h"

#define SLOT	      64 /* bytes of CODE for one instance */
#define MOST_REPORTED 40

struct test {
	struct random random;
	struct forms forms;
	struct engine *engine;
	ZydisDecoder decoder[2];
	bool code32; /* the host can run it */
	const char *only;
	bool verbose;
	struct state state;
	uint64_t at; /* next slot */
	uint64_t passed, failed, faults, excused;
	unsigned reported;
	uint32_t *tried, *wrong, *faulted; /* by mnemonic */
};

static bool skip_category(ZydisInstructionCategory category)
{
	switch (category) {
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_SGX:
	case ZYDIS_CATEGORY_SMAP:
	case ZYDIS_CATEGORY_RDRAND:
	case ZYDIS_CATEGORY_RDSEED:
	case ZYDIS_CATEGORY_RDPID:
	case ZYDIS_CATEGORY_RDPRU:
	case ZYDIS_CATEGORY_RDWRFSGS:
	case ZYDIS_CATEGORY_UINTR:
	case ZYDIS_CATEGORY_PT:
	case ZYDIS_CATEGORY_WAITPKG:
	case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_CLZERO:
	case ZYDIS_CATEGORY_PADLOCK:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_TSX_LDTRK:
	case ZYDIS_CATEGORY_AMD3DNOW:
	case ZYDIS_CATEGORY_XOP:
	case ZYDIS_CATEGORY_PKU: return true;
	default: return false;
	}
}

static bool skip_mnemonic(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_XBEGIN:
	case ZYDIS_MNEMONIC_XABORT:
	case ZYDIS_MNEMONIC_XTEST:
	case ZYDIS_MNEMONIC_XEND:
	case ZYDIS_MNEMONIC_FXSAVE: /* reserved bytes and MXCSR_MASK differ */
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_INVLPGB:
	case ZYDIS_MNEMONIC_TLBSYNC:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_MCOMMIT: return true;
	default: return false;
	}
}

static bool writes_segment(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	for (unsigned i = 0; i < z->operand_count; i++)
		if (o[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(o[i].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    (o[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			return true;
	return false;
}

/* PUSH of a segment register may leave the upper half of the stack slot alone or clear it. */
static bool pushes_segment(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	return z->mnemonic == ZYDIS_MNEMONIC_PUSH && o[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(o[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static bool uses_segment_base(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	for (unsigned i = 0; i < z->operand_count; i++)
		if (o[i].type == ZYDIS_OPERAND_TYPE_MEMORY && o[i].mem.segment == ZYDIS_REGISTER_FS)
			return true;
	return false;
}

/* Where the manuals of the two makers differ, or leave the result open. */
static bool differs(const ZydisDecodedInstruction *z, bool code64)
{
	bool opsize = z->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;

	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode == 0x0d &&
	    z->raw.modrm.mod == 3) /* PREFETCHW of a register: NOP, or #UD on AMD */
		return true;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_BSWAP:
		if (z->operand_width == 16)
			return true;
		break;
	case ZYDIS_MNEMONIC_LOOPE: /* AMD lets REP and REPNE choose the condition */
	case ZYDIS_MNEMONIC_LOOPNE:
		if (z->attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE | ZYDIS_ATTRIB_HAS_REP))
			return true;
		for (unsigned i = 0; i < z->raw.prefix_count; i++)
			if (z->raw.prefixes[i].value >= 0xf2)
				return true;
		break;
	case ZYDIS_MNEMONIC_VPEXTRD: /* VEX.W in 32-bit code: ignored by Intel, #UD on AMD */
	case ZYDIS_MNEMONIC_VPINSRD:
		if (!code64 && (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? z->raw.vex.W : z->raw.evex.W))
			return true;
		break;
	default: break;
	}
	return code64 && opsize &&
	       z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE; /* AMD cuts RIP to 16 bits, Intel ignores the prefix */
}

static bool accept(void *ctx, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, const uint8_t *bytes,
		   bool code64)
{
	struct test *t = ctx;

	if (!code64 && !t->code32)
		return false;
	if (t->only && strcasecmp(ZydisMnemonicGetString(z->mnemonic), t->only))
		return false;
	if (skip_category(z->meta.category) || skip_mnemonic(z->mnemonic) || writes_segment(z, o) ||
	    pushes_segment(z, o) || differs(z, code64))
		return false;
	if (z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || (z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED))
		return false;
	return engine_offers(t->engine, code64, bytes, z->length);
}

/* Values that find mistakes. */
static uint64_t interesting_integer(struct random *r)
{
	static const uint64_t edges[] = {0,
					 1,
					 2,
					 3,
					 7,
					 8,
					 0x7f,
					 0x80,
					 0xff,
					 0x7fff,
					 0x8000,
					 0xffff,
					 0x7fffffff,
					 0x80000000,
					 0xffffffff,
					 0x7fffffffffffffff,
					 0x8000000000000000,
					 0xffffffffffffffff,
					 0x5555555555555555,
					 31,
					 32,
					 63,
					 64};

	switch (random_below(r, 4)) {
	case 0: return edges[random_below(r, ARRAY_SIZE(edges))];
	case 1: return (uint64_t)0 - edges[random_below(r, ARRAY_SIZE(edges))];
	case 2: return random_next(r) >> random_below(r, 64);
	default: return random_next(r);
	}
}

static uint64_t interesting_float(struct random *r, unsigned exponent_bits, unsigned fraction_bits)
{
	uint64_t sign = (uint64_t)random_below(r, 2) << (exponent_bits + fraction_bits), most = BIT(exponent_bits) - 1;
	uint64_t fraction = random_next(r) & (BIT(fraction_bits) - 1), bias = most / 2;

	switch (random_below(r, 12)) {
	case 0: return sign;
	case 1: return sign | most << fraction_bits;
	case 2: return sign | most << fraction_bits | BIT(fraction_bits - 1) | fraction;
	case 3: return sign | most << fraction_bits | (fraction >> 1) | 1; /* signalling, mostly */
	case 4: return sign | fraction;					   /* denormal */
	case 5: return sign | (most - 1) << fraction_bits | fraction;
	case 6: return sign | BIT(fraction_bits) | (fraction & 3);
	case 7: return sign | bias << fraction_bits;
	case 8:
	case 9:
		return sign | (bias - 4 + random_below(r, 40)) << fraction_bits |
		       (fraction & ~(BIT(fraction_bits - 6) - 1));
	case 10: return sign | (bias + random_below(r, fraction_bits + 8)) << fraction_bits | fraction;
	default: return random_next(r);
	}
}

static void fill(struct random *r, uint8_t *to, unsigned bytes, ZydisElementType type, unsigned element_bits)
{
	unsigned size = element_bits == 16 || element_bits == 32 || element_bits == 8 ? element_bits / 8 : 8;

	for (unsigned i = 0; i < bytes; i += size) {
		uint64_t value = interesting_integer(r);

		if (type == ZYDIS_ELEMENT_TYPE_FLOAT64)
			value = interesting_float(r, 11, 52);
		else if (type == ZYDIS_ELEMENT_TYPE_FLOAT32)
			value = interesting_float(r, 8, 23);
		else if (type == ZYDIS_ELEMENT_TYPE_FLOAT16)
			value = interesting_float(r, 5, 10);
		memcpy(to + i, &value, bytes - i < size ? bytes - i : size);
	}
}

static void fill_x87(struct random *r, uint8_t *st)
{
	uint64_t f = random_next(r), exponent = 16383 - 40 + random_below(r, 80);

	switch (random_below(r, 10)) {
	case 0: f = 0, exponent = 0; break;
	case 1: f = BIT(63), exponent = 0x7fff; break;
	case 2: f |= BITS(63, 62), exponent = 0x7fff; break;
	case 3: f = (f | BIT(63)) & ~BIT(62), exponent = 0x7fff; break;
	case 4: f &= ~BIT(63), exponent = 0; break; /* denormal */
	case 5: f &= ~BIT(63); break;		    /* unsupported */
	case 6: f = BIT(63), exponent = 16383; break;
	case 7: f |= BIT(63), exponent = random_below(r, 0x8000); break;
	default: f = (f | BIT(63)) & ~(BIT(random_below(r, 60)) - 1);
	}
	store_le(st, 8, f);
	store_le(st + 8, 2, exponent | (uint64_t)random_below(r, 2) << 15);
}

/* Control registers of the FPUs: mostly as programs have them, sometimes unmasked, flushing, rounding elsewhere. */
static void fill_environment(struct test *t)
{
	struct random *r = &t->random;
	struct state *s = &t->state;

	s->mxcsr = 0x1f80;
	if (random_below(r, 3) == 0)
		s->mxcsr = (uint32_t)random_next(r) & 0xffff;
	if (random_below(r, 4))
		s->mxcsr |= 0x1f80;
	if (random_below(r, 3) == 0)
		s->mxcsr &= ~0x3fu;
	store_le(s->x87, 2, random_below(r, 3) ? 0x37f : (random_next(r) & 0x1f3f) | 0x40);
	store_le(s->x87 + 2, 2, random_next(r) & 0x7f7f & (random_below(r, 3) ? 0x7f00 : 0x7fff));
	if (random_below(r, 4))
		s->x87[0] |= 0x3f;
	/* ES follows from the rest. */
	if (s->x87[2] & ~s->x87[0] & 0x3f) {
		s->x87[2] |= 0x80;
		s->x87[3] |= 0x80;
	}
	s->x87[4] = (uint8_t)(random_below(r, 2) ? 0xff : random_next(r));
	for (unsigned i = 0; i < 8; i++)
		if (random_below(r, 2))
			fill_x87(r, s->x87 + 32 + 16 * i);
}

/* One instance with what Zydis says about it. */
struct sample {
	const struct template *form;
	uint8_t bytes[16];
	unsigned size;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	bool vectors;
};

static bool is_vector_class(ZydisRegisterClass class)
{
	return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM || class == ZYDIS_REGCLASS_ZMM;
}

static bool touches_vectors(const struct sample *s)
{
	for (unsigned i = 0; i < s->z.operand_count; i++) {
		ZydisRegisterClass class;

		if (s->o[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		class = ZydisRegisterGetClass(s->o[i].reg.value);
		if (is_vector_class(class) || class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_X87 ||
		    class == ZYDIS_REGCLASS_MASK || s->o[i].reg.value == ZYDIS_REGISTER_MXCSR)
			return true;
	}
	return s->z.meta.isa_ext == ZYDIS_ISA_EXT_X87 || s->z.meta.isa_ext == ZYDIS_ISA_EXT_MMX || s->z.encoding != 0 ||
	       s->z.meta.isa_set == ZYDIS_ISA_SET_SSEMXCSR ||
	       (s->z.meta.category == ZYDIS_CATEGORY_CONVERT && s->z.meta.isa_set >= ZYDIS_ISA_SET_SSE &&
		s->z.meta.isa_set <= ZYDIS_ISA_SET_SSE2) ||
	       s->z.meta.isa_ext == ZYDIS_ISA_EXT_AVX;
}

static void fill_register(struct test *t, const ZydisDecodedOperand *o)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(o->reg.value);
	unsigned number = (unsigned)ZydisRegisterGetId(o->reg.value);
	struct state *s = &t->state;

	if (class >= ZYDIS_REGCLASS_GPR16 && class <= ZYDIS_REGCLASS_GPR64)
		s->r[number] = interesting_integer(&t->random);
	else if (class == ZYDIS_REGCLASS_GPR8)
		s->r[number & 15] = interesting_integer(&t->random);
	else if (is_vector_class(class))
		fill(&t->random, s->v[number].b, 64, o->element_type, o->element_size);
	else if (class == ZYDIS_REGCLASS_MASK)
		s->k[number] = random_below(&t->random, 4)   ? random_next(&t->random)
			       : random_below(&t->random, 2) ? ~UINT64_C(0)
							     : 0;
	else if (class == ZYDIS_REGCLASS_MMX && s->x87[3] >> 3 == 0)
		fill(&t->random, s->x87 + 32 + 16 * number, 8, o->element_type, o->element_size);
}

/* An address for a memory operand of this size: mostly good, sometimes bad. */
static uint64_t pick_address(struct test *t, unsigned size, bool code64)
{
	struct random *r = &t->random;
	uint64_t inside = DATA + random_below(r, DATA_SIZE - (size < DATA_SIZE ? size : 0) - 256) + 128;

	if (size >= 16 && random_below(r, 4))
		inside &= ~UINT64_C(63);
	switch (random_below(r, 24)) {
	case 0: return READ_ONLY + random_below(r, 4096 - 64);
	case 1: return READ_ONLY + 4096 - random_below(r, size + 8); /* its end */
	case 2: return DATA - random_below(r, size + 8);	     /* before the start */
	case 3: return READ_ONLY - random_below(r, size + 8);
	case 4: return DATA + 4096 - random_below(r, size + 8); /* from page to page */
	case 5: return code64 && random_below(r, 4) == 0 ? (uint64_t)1 << 47 | random_next(r) >> 17 : inside;
	default: return inside;
	}
}

static unsigned gpr_number(ZydisRegister reg)
{
	return (unsigned)ZydisRegisterGetId(reg);
}

/* Make the memory operand's address come out at `address`, by choosing base and index. */
static void aim(struct test *t, const struct sample *s, const ZydisDecodedOperand *o, uint64_t address)
{
	uint64_t *r = t->state.r;
	bool base = o->mem.base != ZYDIS_REGISTER_NONE, index = o->mem.index != ZYDIS_REGISTER_NONE;
	ZydisRegisterClass base_class = ZydisRegisterGetClass(o->mem.base);
	uint64_t offset = (uint64_t)o->mem.disp.value, scale = o->mem.scale;

	if (o->mem.segment == ZYDIS_REGISTER_GS && s->form->code64)
		address -= DATA;
	if (s->z.meta.isa_set == ZYDIS_ISA_SET_SHA) /* see compare() */
		address &= ~UINT64_C(15);
	if (base && base_class < ZYDIS_REGCLASS_GPR16)
		return;
	if (base_class == ZYDIS_REGCLASS_IP)
		return;
	if (index && ZydisRegisterGetClass(o->mem.index) <= ZYDIS_REGCLASS_GPR64) {
		unsigned i = gpr_number(o->mem.index);

		r[i] = random_below(&t->random, 64);
		if (base && gpr_number(o->mem.base) == i) { /* one register: whatever is nearest */
			r[i] = (address - offset) / (scale + 1);
			return;
		}
		if (!base) {
			r[i] = scale ? (address - offset) / scale : 0;
			return;
		}
		offset += r[i] * scale;
	} else if (index) { /* VSIB: small indexes, all over the two pages */
		union vector_register *v = &t->state.v[gpr_number(o->mem.index)];
		bool wide = s->z.mnemonic == ZYDIS_MNEMONIC_VGATHERQPS || s->z.mnemonic == ZYDIS_MNEMONIC_VGATHERQPD ||
			    s->z.mnemonic == ZYDIS_MNEMONIC_VPGATHERQD || s->z.mnemonic == ZYDIS_MNEMONIC_VPGATHERQQ ||
			    s->z.mnemonic == ZYDIS_MNEMONIC_VSCATTERQPS ||
			    s->z.mnemonic == ZYDIS_MNEMONIC_VSCATTERQPD ||
			    s->z.mnemonic == ZYDIS_MNEMONIC_VPSCATTERQD || s->z.mnemonic == ZYDIS_MNEMONIC_VPSCATTERQQ;

		for (unsigned i = 0; i < (wide ? 8u : 16u); i++) {
			int64_t value = (int64_t)random_below(&t->random, 400) - 200;

			if (wide)
				v->q[i] = (uint64_t)value;
			else
				v->d[i] = (uint32_t)value;
		}
		address = DATA + 4096 + (random_below(&t->random, 8) ? 0 : 3000);
	}
	if (base)
		r[gpr_number(o->mem.base)] = address - offset;
	if (s->z.address_width == 32 && base && s->form->code64) /* what lies above must not count */
		r[gpr_number(o->mem.base)] |= random_next(&t->random) << 32;
}

/* Both memories get the same bytes. */
static void write_data(struct test *t, uint64_t address, const uint8_t *bytes, unsigned size)
{
	if (address < DATA || address + size > DATA + DATA_SIZE)
		return;
	memcpy((void *)address, bytes, size);
	memcpy(engine_data(t->engine) + (address - DATA), bytes, size);
}

static void prepare_memory(struct test *t, const struct sample *s, const ZydisDecodedOperand *o)
{
	unsigned size = o->size / 8 ? o->size / 8u : 1;
	uint64_t address = pick_address(t, size > 64 ? 64 : size, s->form->code64);
	uint8_t bytes[64];

	if (o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
		return;
	aim(t, s, o, address);
	if (size <= 64 && (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)) {
		if (o->element_type == ZYDIS_ELEMENT_TYPE_FLOAT80) {
			fill_x87(&t->random, bytes);
		} else {
			fill(&t->random, bytes, size, o->element_type, o->element_size);
		}
		write_data(t, address, bytes, size);
	}
}

static void prepare_special(struct test *t, const struct sample *s)
{
	struct random *r = &t->random;
	uint64_t *reg = t->state.r;
	uint64_t in_stack = DATA + 0x1000 + (random_below(r, 128) << 3) + (random_below(r, 8) ? 0 : random_below(r, 8));

	for (unsigned i = 0; i < s->z.operand_count; i++)
		if (s->o[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    s->o[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
		    (s->o[i].reg.value == ZYDIS_REGISTER_RSP || s->o[i].reg.value == ZYDIS_REGISTER_ESP))
			reg[RSP] = in_stack;
	switch (s->z.mnemonic) {
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_ENTER: reg[RBP] = in_stack + 256; break;
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (random_below(r, 3))
			reg[RDX] = random_below(r, 2) ? 0 : random_below(r, 16);
		break;
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_CMPXCHG: break;
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_MASKMOVQ: reg[RDI] = pick_address(t, 16, s->form->code64); break;
	case ZYDIS_MNEMONIC_XLAT: reg[RBX] = DATA + 128 + random_below(r, 4096); break;
	default: break;
	}
	if (s->z.meta.category == ZYDIS_CATEGORY_STRINGOP) {
		reg[RSI] = pick_address(t, 8, s->form->code64);
		reg[RDI] = pick_address(t, 8, s->form->code64);
		reg[RCX] = random_below(r, 20);
	}
}

/* BT m, r and its like reach as far as the register says. */
static void prepare_bit_string(struct test *t, const struct sample *s)
{
	bool bits = s->z.mnemonic == ZYDIS_MNEMONIC_BT || s->z.mnemonic == ZYDIS_MNEMONIC_BTS ||
		    s->z.mnemonic == ZYDIS_MNEMONIC_BTR || s->z.mnemonic == ZYDIS_MNEMONIC_BTC;

	if (bits && s->o[0].type == ZYDIS_OPERAND_TYPE_MEMORY && s->o[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
		t->state.r[gpr_number(s->o[1].reg.value)] = (uint64_t)((int64_t)random_below(&t->random, 4096) - 2048);
}

static void prepare(struct test *t, struct sample *s)
{
	struct random *r = &t->random;

	for (unsigned i = 0; i < s->z.operand_count; i++)
		if (s->o[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (random_below(r, 8) || s->o[i].visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN))
			fill_register(t, &s->o[i]);
	if (s->vectors)
		fill_environment(t);
	prepare_bit_string(t, s);
	prepare_special(t, s);
	for (unsigned i = 0; i < s->z.operand_count_visible; i++)
		if (s->o[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			prepare_memory(t, s, &s->o[i]);
	if (s->z.mnemonic == ZYDIS_MNEMONIC_POPF || s->z.mnemonic == ZYDIS_MNEMONIC_POPFD ||
	    s->z.mnemonic == ZYDIS_MNEMONIC_POPFQ) {
		uint64_t flags = random_next(r) & 0x40ed5; /* not TF, NT, RF, IOPL */

		t->state.r[RSP] = DATA + 0x1000 + 8 * random_below(r, 128);
		write_data(t, t->state.r[RSP], (const uint8_t *)&flags, 8);
	}
	if (!s->form->code64)
		for (unsigned i = 0; i < 16; i++)
			t->state.r[i] = i < 8 ? (uint32_t)t->state.r[i] : t->state.r[i];
	t->state.rflags = (random_next(r) & 0xcd5) | 0x202;
	if (!s->vectors && random_below(r, 64) == 0) /* AMD does not check the alignment of all vector accesses */
		t->state.rflags |= RFLAGS_AC;
}

static bool is_maskmov(const struct sample *s)
{
	return s->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || s->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU ||
	       s->z.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
}

static bool is_string(const struct sample *s)
{
	return s->z.meta.category == ZYDIS_CATEGORY_STRINGOP;
}

/* Masked and very long accesses: which byte of the page is reported is not architectural. */
static bool any_element(const struct sample *s)
{
	return s->z.avx.mask.mode > ZYDIS_MASK_MODE_DISABLED ||
	       (s->o[0].size > 80 && s->z.meta.isa_ext == ZYDIS_ISA_EXT_X87) ||
	       s->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || s->z.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       s->z.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD || s->z.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

/* Outcomes that the manuals leave to the processor, or where AMD's and Intel's differ: not compared. */
static bool excused(const struct sample *s, const struct state *before, const struct state *native,
		    const struct outcome *n, const struct outcome *e)
{
	if (n->vector == NATIVE_ENDLESS) /* a branch to itself, say */
		return true;
	/* Whether a byte that is not stored faults. */
	if (is_maskmov(s) && (n->vector >= 0 || e->vector >= 0))
		return true;
	/* AMD does not ask for alignment there. */
	if (s->z.meta.isa_set == ZYDIS_ISA_SET_SHA && e->vector == VECTOR_GP)
		return true;
	/* Around the end of a flat 4-GiB segment: #GP or wrapping. */
	if (!s->form->code64 && n->vector >= 0 && e->vector >= 0 && e->address >= 0xffffffc0)
		return true;
	/* Whether the elements behind FFFFH wrap with 16-bit addresses. */
	if (s->z.address_width == 16 && any_element(s) && (n->address ^ e->address) == 0x10000)
		return true;
	/* AMD checks the end of the new frame too. */
	if (s->z.mnemonic == ZYDIS_MNEMONIC_ENTER && (before->rflags & RFLAGS_AC))
		return true;
	/* How far a gather came before it faulted. */
	if (s->z.meta.category == ZYDIS_CATEGORY_GATHER && n->vector == VECTOR_PF && e->vector == VECTOR_PF)
		return true;
	/* AMD's MM, loaded by LDMXCSR. */
	if (native->mxcsr & BIT(17))
		return true;
	/* Which of two faults comes first. */
	return (is_string(s) || s->z.mnemonic == ZYDIS_MNEMONIC_CALL || s->z.mnemonic == ZYDIS_MNEMONIC_MOVDIR64B ||
		(before->rflags & RFLAGS_AC)) &&
	       n->vector >= 0 && e->vector >= 0;
}

/* Returns what differs, or NULL. */
static const char *compare(const struct test *t, const struct sample *s, const struct state *native,
			   const struct outcome *n, const struct state *engine, const struct outcome *e)
{
	const ZydisAccessedFlags *flags = s->z.cpu_flags;
	uint64_t mask = 0x40ed5, registers = s->form->code64 ? 16 : 8;

	if (n->vector != e->vector)
		return "exception";
	if (n->rip != e->rip)
		return "RIP";
	if (n->vector == VECTOR_PF && n->address != e->address && !is_string(s) &&
	    !(any_element(s) && (n->address ^ e->address) < 4096))
		return "CR2";
	/* A fetch from the kernel's half may meet a present page natively. */
	if (n->vector >= 0 && n->vector != VECTOR_BP && n->vector != VECTOR_OF && n->error != e->error &&
	    !(n->address >> 63))
		return "error code";
	if (flags && n->vector < 0)
		mask &= ~(uint64_t)flags->undefined;
	if ((native->rflags ^ engine->rflags) & mask)
		return "RFLAGS";
	for (unsigned i = 0; i < registers; i++)
		if (native->r[i] != engine->r[i] &&
		    (s->form->code64 || (uint32_t)native->r[i] != (uint32_t)engine->r[i]))
			return "general register";
	if (memcmp((void *)DATA, engine_data(t->engine), DATA_SIZE))
		return "memory";
	if (!s->vectors)
		return NULL;
	if (native->mxcsr != engine->mxcsr)
		return "MXCSR";
	if (memcmp(native->k, engine->k, sizeof(native->k)))
		return "opmask";
	if (memcmp(native->v, engine->v, sizeof(native->v)))
		return "vector register";
	if (memcmp(native->x87, engine->x87, 5))
		return "x87 environment";
	for (unsigned i = 0; i < 8; i++)
		if (memcmp(native->x87 + 32 + 16 * i, engine->x87 + 32 + 16 * i, 10))
			return "x87 register";
	return NULL;
}

static void print_outcome(const char *who, const struct outcome *o)
{
	printf("    %s: vector %d error %x address %" PRIx64 " rip %" PRIx64 "\n", who, o->vector, o->error, o->address,
	       o->rip);
}

static void print_differences(const struct test *t, const struct state *before, const struct state *n,
			      const struct state *e)
{
	const uint8_t *data = (const uint8_t *)DATA;

	for (unsigned i = 0; i < 16; i++)
		if (n->r[i] != e->r[i])
			printf("    r%u: before %" PRIx64 " native %" PRIx64 " engine %" PRIx64 "\n", i, before->r[i],
			       n->r[i], e->r[i]);
	if (n->rflags != e->rflags)
		printf("    rflags: before %" PRIx64 " native %" PRIx64 " engine %" PRIx64 "\n", before->rflags,
		       n->rflags, e->rflags);
	if (n->mxcsr != e->mxcsr)
		printf("    mxcsr: before %x native %x engine %x\n", before->mxcsr, n->mxcsr, e->mxcsr);
	for (unsigned i = 0; i < 8; i++)
		if (n->k[i] != e->k[i])
			printf("    k%u: before %" PRIx64 " native %" PRIx64 " engine %" PRIx64 "\n", i, before->k[i],
			       n->k[i], e->k[i]);
	for (unsigned i = 0; i < 32; i++)
		for (unsigned j = 0; j < 8; j++)
			if (n->v[i].q[j] != e->v[i].q[j])
				printf("    v%u.q%u: before %" PRIx64 " native %" PRIx64 " engine %" PRIx64 "\n", i, j,
				       before->v[i].q[j], n->v[i].q[j], e->v[i].q[j]);
	for (unsigned i = 0; i < 160; i += 2)
		if (memcmp(n->x87 + i, e->x87 + i, 2) && (i < 6 || i >= 32))
			printf("    x87[%u]: before %04x native %04x engine %04x\n", i,
			       (unsigned)load_le(before->x87 + i, 2), (unsigned)load_le(n->x87 + i, 2),
			       (unsigned)load_le(e->x87 + i, 2));
	for (unsigned i = 0, shown = 0; i < DATA_SIZE && shown < 16; i++)
		if (data[i] != engine_data(t->engine)[i] && ++shown)
			printf("    memory %x: native %02x engine %02x\n", DATA + i, data[i],
			       engine_data(t->engine)[i]);
}

static void report(struct test *t, const struct sample *s, uint64_t at, const char *what, const struct state *before,
		   const struct state *n, const struct outcome *no, const struct state *e, const struct outcome *eo)
{
	char text[128] = "(invalid)";
	ZydisFormatter formatter;

	if (t->reported >= MOST_REPORTED)
		return;
	t->reported++;
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&formatter, &s->z, s->o, s->z.operand_count_visible, text, sizeof(text), at,
					NULL);
	printf("FAIL %s: %s differs (%u-bit code), bytes", text, what, s->form->code64 ? 64 : 32);
	for (unsigned i = 0; i < s->size; i++)
		printf(" %02x", s->bytes[i]);
	printf("\n");
	print_outcome("native", no);
	print_outcome("engine", eo);
	print_differences(t, before, n, e);
}

/* FSTENV and FSAVE: the host does not keep FIP, FDP and FOP over XRSTOR, so they cannot be compared. */
static void forget_pointers(struct test *t, const struct sample *s)
{
	unsigned word = s->z.operand_width == 16 ? 2 : 4;
	uint64_t address = 0;

	if (s->z.mnemonic != ZYDIS_MNEMONIC_FNSTENV && s->z.mnemonic != ZYDIS_MNEMONIC_FNSAVE)
		return;
	for (unsigned i = 0; i < s->z.operand_count_visible; i++)
		if (s->o[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			const ZydisDecodedOperandMem *m = &s->o[i].mem;

			address = (uint64_t)m->disp.value;
			if (m->base == ZYDIS_REGISTER_RIP || m->base == ZYDIS_REGISTER_EIP)
				address += t->at + s->size;
			else if (m->base)
				address += t->state.r[gpr_number(m->base)];
			if (m->index)
				address += t->state.r[gpr_number(m->index)] * m->scale;
			if (m->segment == ZYDIS_REGISTER_GS)
				address += DATA;
			if (s->z.address_width == 32)
				address = (uint32_t)address;
		}
	if (address < DATA || address + 7 * word > DATA + DATA_SIZE)
		return;
	memset((uint8_t *)address + 3 * word, 0, 4 * word);
	memset(engine_data(t->engine) + (address - DATA) + 3 * word, 0, 4 * word);
}

static uint64_t branch_target(struct test *t)
{
	uint64_t target = CODE + 256 + random_below(&t->random, CODE_SIZE - 512);

	return target - t->at < SLOT ? target + SLOT : target;
}

static bool make_sample(struct test *t, const struct template *form, struct sample *s)
{
	s->form = form;
	s->size = form_instance(form, &t->random, s->bytes);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&t->decoder[form->code64], s->bytes, s->size, &s->z, s->o)))
		return false;
	s->size = s->z.length;
	if (s->z.mnemonic != form->mnemonic || skip_category(s->z.meta.category) || writes_segment(&s->z, s->o) ||
	    differs(&s->z, form->code64) || uses_segment_base(&s->z, s->o) || pushes_segment(&s->z, s->o))
		return false;
	/* RIP-relative operands are aimed by their displacement. */
	if (s->z.raw.disp.size == 32)
		for (unsigned i = 0; i < s->z.operand_count_visible; i++)
			if (s->o[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			    (s->o[i].mem.base == ZYDIS_REGISTER_RIP || s->o[i].mem.base == ZYDIS_REGISTER_EIP ||
			     (s->o[i].mem.base == ZYDIS_REGISTER_NONE && s->o[i].mem.index == ZYDIS_REGISTER_NONE))) {
				uint64_t to = pick_address(t, 64, false);

				if (s->o[i].mem.base != ZYDIS_REGISTER_NONE)
					to -= t->at + s->size;
				if (random_below(&t->random, 32) == 0) /* as far as it goes: nothing is there */
					to = INT32_MAX - random_below(&t->random, 16);
				store_le(s->bytes + s->z.raw.disp.offset, 4, to);
			}
	/* Relative branches stay in CODE and out of their own slot: everything else there is INT3. */
	if (s->z.raw.imm[0].is_relative && s->z.raw.imm[0].size == 8)
		s->bytes[s->z.raw.imm[0].offset] =
			(uint8_t)(random_below(&t->random, 2) ? 16 + random_below(&t->random, 16)
							      : 236 - random_below(&t->random, 100));
	if (s->z.raw.imm[0].is_relative && s->z.raw.imm[0].size == 32)
		store_le(s->bytes + s->z.raw.imm[0].offset, 4, branch_target(t) - (t->at + s->size));
	s->vectors = touches_vectors(s);
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&t->decoder[form->code64], s->bytes, s->size, &s->z, s->o));
}

/* Stray targets would leave the sandbox. */
static void aim_branch(struct test *t, const struct sample *s)
{
	uint64_t target = branch_target(t);

	if (s->z.meta.branch_type != ZYDIS_BRANCH_TYPE_NEAR)
		return;
	if (s->z.mnemonic == ZYDIS_MNEMONIC_RET) {
		write_data(t, t->state.r[RSP], (const uint8_t *)&target, 8);
	} else if (s->o[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
		t->state.r[gpr_number(s->o[0].reg.value)] = target;
	} else if (s->o[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
		for (unsigned i = 0; i < DATA_SIZE; i += 8)
			if (random_below(&t->random, 64) == 0)
				write_data(t, DATA + i, (const uint8_t *)&target, 8);
	}
}

/* SHLD and SHRD of 16 bits by more than 16: undefined. */
static bool shifts_too_far(const struct test *t, const struct sample *s)
{
	uint64_t count = s->o[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? s->o[2].imm.value.u : t->state.r[RCX];

	return (s->z.mnemonic == ZYDIS_MNEMONIC_SHLD || s->z.mnemonic == ZYDIS_MNEMONIC_SHRD) &&
	       s->z.operand_width == 16 && (count & 31) > 16;
}

static void run_one(struct test *t, const struct template *form)
{
	static const uint8_t stop[SLOT] = {[0 ... SLOT - 1] = 0xcc};
	struct outcome native_outcome, engine_outcome;
	struct state before, engine;
	uint8_t code[SLOT];
	struct sample s;
	const char *what;

	if (t->at + 2 * SLOT > CODE + CODE_SIZE)
		t->at = CODE + 256 + random_below(&t->random, SLOT);
	if (!make_sample(t, form, &s))
		return;
	prepare(t, &s);
	if (shifts_too_far(t, &s))
		return;
	aim_branch(t, &s);
	memcpy(code, s.bytes, s.size);
	code[s.size] = 0xe9;
	store_le(code + s.size + 1, 4, (form->code64 ? LANDING64 : LANDING32) - (t->at + s.size + 5));
	native_write_code(t->at, code, s.size + 5);
	engine_write_code(t->engine, t->at, code, s.size + 5);
	before = engine = t->state;
	if (t->verbose)
		fprintf(stderr, "%s %" PRIx64 "\n", ZydisMnemonicGetString(s.z.mnemonic), t->at);
	native_run(form->code64, s.vectors, t->at, &t->state, &native_outcome);
	if (native_outcome.vector == VECTOR_UD) { /* some hypervisors now and then say so of code just written */
		t->state = before;
		native_run(form->code64, s.vectors, t->at, &t->state, &native_outcome);
	}
	engine_run(t->engine, form->code64, s.vectors, t->at, &engine, &engine_outcome);
	native_write_code(t->at, stop, s.size + 5);
	engine_write_code(t->engine, t->at, stop, s.size + 5);
	if (s.z.mnemonic == ZYDIS_MNEMONIC_FNSTENV || s.z.mnemonic == ZYDIS_MNEMONIC_FNSAVE) {
		struct state after = t->state;

		t->state = before;
		forget_pointers(t, &s);
		t->state = after;
	}
	t->tried[s.z.mnemonic]++;
	t->faulted[s.z.mnemonic] += native_outcome.vector >= 0;
	t->faults += native_outcome.vector >= 0;
	if (excused(&s, &before, &t->state, &native_outcome, &engine_outcome)) {
		memcpy(engine_data(t->engine), (void *)DATA, DATA_SIZE);
		t->excused++;
		return;
	}
	what = compare(t, &s, &t->state, &native_outcome, &engine, &engine_outcome);
	if (what) {
		t->failed++;
		t->wrong[s.z.mnemonic]++;
		report(t, &s, t->at, what, &before, &t->state, &native_outcome, &engine, &engine_outcome);
		memcpy(engine_data(t->engine), (void *)DATA, DATA_SIZE);
	} else {
		t->passed++;
	}
	t->at += SLOT;
}

/* When both have the family at all: the host's vectors are saved by it anyway. */
static void compare_xsave(struct test *t, uint64_t count)
{
	uint64_t tried = 0, right = 0, faulted = 0;
	enum xsave_result result;

	if (t->only && strncasecmp(t->only, "xsave", 5))
		return;
	for (; tried < count && tried - right < MOST_REPORTED; tried++) {
		right += xsave_compare(t->engine, &t->random, &result);
		faulted += result == XSAVE_FAULTED;
	}
	printf("XSAVE family: %" PRIu64 " of %" PRIu64 " agree, of which %" PRIu64 " faulted\n", right, tried, faulted);
	t->passed += right;
	t->failed += tried - right;
}

static void print_table(const struct test *t)
{
	unsigned column = 0;

	printf("Cases by mnemonic (of them, faulting):\n");
	for (unsigned i = 0; i < t->forms.groups; i++) {
		unsigned m = t->forms.group[i].mnemonic;

		printf("%-18s%7u (%u)", ZydisMnemonicGetString((ZydisMnemonic)m), t->tried[m], t->faulted[m]);
		if (t->wrong[m])
			printf(" WRONG %u", t->wrong[m]);
		printf(++column % 4 == 0 ? "\n" : "\t");
	}
	printf("\n%u mnemonics, %u forms\n", t->forms.groups, t->forms.count);
}

static void fill_memory(struct test *t)
{
	for (unsigned i = 0; i < DATA_SIZE; i += 8) {
		uint64_t value = interesting_integer(&t->random);

		write_data(t, DATA + i, (const uint8_t *)&value, 8);
	}
}

int main(int argc, char **argv)
{
	static struct test test;
	struct test *t = &test;
	uint64_t seed = 1, count = 2000000;
	bool quiet = false;
	struct error error;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--count") && i + 1 < argc)
			count = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			t->only = argv[++i];
		else if (!strcmp(argv[i], "--quiet"))
			quiet = true;
		else if (!strcmp(argv[i], "--verbose"))
			t->verbose = true;
		else
			return fprintf(stderr,
				       "usage: %s [--seed N] [--count N] [--only MNEMONIC] [--quiet] [--verbose]\n",
				       argv[0]),
			       2;
	}
	t->random.state = seed;
	t->engine = engine_create(&error);
	if (!t->engine || !native_create(&error))
		return fprintf(stderr, "%s\n", error.text), 1;
	t->code32 = native_has_code32();
	ZydisDecoderInit(&t->decoder[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&t->decoder[1], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	forms_find(&t->forms, accept, t);
	t->tried = xcalloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*t->tried));
	t->wrong = xcalloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*t->wrong));
	t->faulted = xcalloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*t->faulted));
	t->at = CODE + 256;
	t->state.mxcsr = 0x1f80;
	fill_memory(t);
	for (uint64_t i = 0; t->forms.groups && i < 2 * count && t->passed + t->failed < count; i++) {
		const struct group *group = &t->forms.group[random_below(&t->random, t->forms.groups)];

		if (i % 65536 == 0)
			fill_memory(t);
		run_one(t, &t->forms.list[group->first + random_below(&t->random, group->number)]);
	}
	compare_xsave(t, count / 50);
	if (!quiet)
		print_table(t);
	if (!t->code32)
		printf("32-bit code left out: the host's kernel has no segment for it\n");
	printf("seed %" PRIu64 ": %" PRIu64 " faulted in both; %" PRIu64 " not compared, because makers differ\n", seed,
	       t->faults, t->excused);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", t->passed, t->failed);
	forms_free(&t->forms);
	engine_destroy(t->engine);
	return t->failed != 0;
}

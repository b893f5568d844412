/*
 * See forms.h. Two encodings are the same form when Zydis gives them the same mnemonic, operand kinds and sizes, and
 * the same prefixes select them.
 */
#include <stdlib.h>
#include <string.h>
#include "base/bits.h"
#include "base/error.h"
#include "forms.h"

uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

struct encoder {
	uint8_t bytes[16];
	unsigned size;
};

static void put(struct encoder *e, uint8_t byte)
{
	if (e->size < sizeof(e->bytes))
		e->bytes[e->size++] = byte;
}

/* Everything that is free in a template. */
struct choice {
	unsigned reg, rm, vvvv, aaa; /* with their high bits */
	unsigned index, scale;
	uint8_t mod; /* 0, 1, 2; 3 for registers */
	bool sib, address_prefix, lock, force_rex;
	uint8_t segment; /* prefix byte or 0 */
	uint64_t disp, imm;
};

static void put_opcode(struct encoder *e, const struct template *t, const struct choice *c)
{
	static const uint8_t mandatory[4] = {0, 0x66, 0xf3, 0xf2};
	unsigned r = c->reg >> 3 & 1, x = t->memory ? c->index >> 3 & 1 : c->rm >> 4 & 1, b = c->rm >> 3 & 1;

	if (c->segment)
		put(e, c->segment);
	if (c->address_prefix)
		put(e, 0x67);
	if (c->lock)
		put(e, 0xf0);
	switch (t->encoding) {
	case 0:
		if (t->opsize)
			put(e, 0x66);
		if (t->pp)
			put(e, mandatory[t->pp]);
		if (t->code64 && (t->W || r || x || b || c->force_rex))
			put(e, (uint8_t)(0x40 | t->W << 3 | r << 2 | (t->memory ? x << 1 : 0) | b));
		if (t->map >= 1)
			put(e, 0x0f);
		if (t->map >= 2)
			put(e, t->map == 2 ? 0x38 : 0x3a);
		break;
	case 1:
		put(e, 0xc4);
		put(e, (uint8_t)((r ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | t->map));
		put(e, (uint8_t)(t->W << 7 | (~c->vvvv & 15) << 3 | t->L << 2 | t->pp));
		break;
	default:
		put(e, 0x62);
		put(e, (uint8_t)((r ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) | (c->reg >> 4 & 1 ? 0 : 0x10) |
				 t->map));
		put(e, (uint8_t)(t->W << 7 | (~c->vvvv & 15) << 3 | 4 | t->pp));
		put(e, (uint8_t)(t->z << 7 | t->L << 5 | t->b << 4 | (c->vvvv >> 4 & 1 ? 0 : 8) |
				 (t->masked ? c->aaa : 0)));
	}
	put(e, !t->has_modrm && t->rm >= 0 ? (uint8_t)((t->opcode & 0xf8) | (c->rm & 7)) : t->opcode);
}

/* All bytes, with a generous tail of immediate bytes: the instruction's length says how many count. */
static struct encoder encode(const struct template *t, const struct choice *c)
{
	struct encoder e = {.size = 0};

	put_opcode(&e, t, c);
	if (t->has_modrm) {
		unsigned rm = t->memory && c->sib ? 4 : c->rm & 7;

		put(&e, (uint8_t)((t->memory ? c->mod : 3) << 6 | (c->reg & 7) << 3 | rm));
		if (t->memory && c->sib)
			put(&e, (uint8_t)(c->scale << 6 | (c->index & 7) << 3 | (c->rm & 7)));
		if (t->memory && c->mod == 1)
			put(&e, (uint8_t)c->disp);
		if (t->memory && (c->mod == 2 || (c->mod == 0 && (c->rm & 7) == 5 && !c->address_prefix)))
			for (unsigned i = 0; i < 4; i++)
				put(&e, (uint8_t)(c->disp >> (8 * i)));
	}
	for (unsigned i = 0; i < 8; i++)
		put(&e, (uint8_t)(c->imm >> (8 * i)));
	return e;
}

struct finder {
	struct forms *forms;
	unsigned room;
	ZydisDecoder decoder[2];
	bool (*accept)(void *ctx, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, const uint8_t *bytes,
		       bool code64);
	void *ctx;
	uint64_t *seen; /* hash set of signatures */
};

#define SEEN_SIZE (1u << 18)

static bool first_time(struct finder *f, uint64_t signature)
{
	unsigned at = (unsigned)(signature % SEEN_SIZE);

	signature |= 1;
	for (; f->seen[at]; at = (at + 1) % SEEN_SIZE)
		if (f->seen[at] == signature)
			return false;
	f->seen[at] = signature;
	return true;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x100000001b3);
}

static uint64_t signature_of(const struct template *t, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = mix(hash, z->mnemonic);
	hash = mix(hash, t->encoding | t->map << 2 | t->opcode << 8 | t->pp << 16 | t->opsize << 18 | t->code64 << 19 |
				 t->memory << 20 | t->z << 21 | t->b << 22 | t->masked << 23 | t->W << 24 | t->L << 25);
	for (unsigned i = 0; i < z->operand_count_visible; i++) {
		hash = mix(hash, o[i].type | o[i].encoding << 4 | (uint64_t)o[i].size << 12);
		if (o[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			hash = mix(hash, o[i].encoding == ZYDIS_OPERAND_ENCODING_NONE
						 ? 1000u + o[i].reg.value
						 : ZydisRegisterGetClass(o[i].reg.value));
	}
	if (t->rm >= 0)
		hash = mix(hash, 0x100u + (unsigned)t->rm);
	return hash ^ hash >> 29;
}

static bool has_encoding(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o, ZydisOperandEncoding encoding)
{
	for (unsigned i = 0; i < z->operand_count; i++)
		if (o[i].encoding == encoding)
			return true;
	return false;
}

static void consider(struct finder *f, struct template t, uint8_t digit, uint8_t rm)
{
	struct choice c = {.reg = digit, .rm = t.memory ? 3 : rm, .aaa = 1, .sib = t.vsib, .index = 1};
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	struct encoder e = encode(&t, &c);
	ZydisDecodedInstruction z;
	ZyanStatus status;

	status = ZydisDecoderDecodeFull(&f->decoder[t.code64], e.bytes, e.size, &z, o);
	if (status == ZYDIS_STATUS_BAD_REGISTER && t.memory) { /* gathers: registers must differ */
		c.reg = 2;
		c.vvvv = 4;
		e = encode(&t, &c);
		status = ZydisDecoderDecodeFull(&f->decoder[t.code64], e.bytes, e.size, &z, o);
	}
	if (ZYAN_FAILED(status))
		return;
	/* The encoding took effect: no prefix was ignored. */
	if (!t.has_modrm && (z.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return;
	t.mnemonic = (uint16_t)z.mnemonic;
	t.digit = t.has_modrm && has_encoding(&z, o, ZYDIS_OPERAND_ENCODING_MODRM_REG) ? -1 : (int8_t)digit;
	t.vvvv = has_encoding(&z, o, ZYDIS_OPERAND_ENCODING_NDSNDD);
	if (t.has_modrm)
		t.rm = t.memory || has_encoding(&z, o, ZYDIS_OPERAND_ENCODING_MODRM_RM) ? -1 : (int8_t)rm;
	else
		t.rm = has_encoding(&z, o, ZYDIS_OPERAND_ENCODING_OPCODE) ? 0 : -1;
	if (!f->accept(f->ctx, &z, o, e.bytes, t.code64) || !first_time(f, signature_of(&t, &z, o)))
		return;
	if (f->forms->count == f->room) {
		f->room = f->room ? 2 * f->room : 4096;
		f->forms->list = xrealloc(f->forms->list, f->room * sizeof(t));
	}
	f->forms->list[f->forms->count++] = t;
}

static void consider_modrm(struct finder *f, struct template t)
{
	t.has_modrm = true;
	for (unsigned digit = 0; digit < 8; digit++) {
		t.memory = true;
		t.vsib = false;
		consider(f, t, (uint8_t)digit, 0);
		if (t.encoding) {
			t.vsib = true;
			consider(f, t, (uint8_t)digit, 0);
			t.vsib = false;
		}
		t.memory = false;
		for (unsigned rm = 0; rm < (t.encoding ? 1 : 8); rm++)
			consider(f, t, (uint8_t)digit, (uint8_t)rm);
	}
}

static bool is_prefix_or_escape(const struct template *t)
{
	switch (t->map << 8 | t->opcode) {
	case 0x0f:
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64 ... 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3:
	case 0x138:
	case 0x13a: return true;
	case 0xc4:
	case 0xc5:
	case 0x62: return t->code64; /* VEX and EVEX have their own turn */
	case 0x40 ... 0x4f: return t->code64;
	default: return false;
	}
}

static void find_legacy(struct finder *f, struct template t)
{
	for (t.map = 0; t.map < 4; t.map++)
		for (unsigned op = 0; op < 256; op++) {
			t.opcode = (uint8_t)op;
			if (is_prefix_or_escape(&t))
				continue;
			for (t.pp = 0; t.pp < 4; t.pp++)
				for (t.W = 0; t.W <= t.code64; t.W++)
					for (unsigned opsize = 0; opsize <= (t.pp > 1); opsize++) {
						t.opsize = opsize;
						t.has_modrm = t.memory = false;
						consider(f, t, 0, 0);
						consider_modrm(f, t);
					}
		}
}

static void find_vex(struct finder *f, struct template t)
{
	t.encoding = 1;
	for (t.map = 1; t.map < 4; t.map++)
		for (unsigned op = 0; op < 256; op++)
			for (t.pp = 0; t.pp < 4; t.pp++)
				for (t.W = 0; t.W < 2; t.W++)
					for (t.L = 0; t.L < 2; t.L++) {
						t.opcode = (uint8_t)op;
						t.has_modrm = t.memory = false;
						if (t.map == 1 && op == 0x77)
							consider(f, t, 0, 0);
						else
							consider_modrm(f, t);
					}
}

static void find_evex(struct finder *f, struct template t)
{
	t.encoding = 2;
	for (t.map = 1; t.map < 4; t.map++)
		for (unsigned op = 0; op < 256; op++)
			for (unsigned bits = 0; bits < 4 * 2 * 4 * 2 * 3; bits++) {
				unsigned masking = bits / 64;

				t.opcode = (uint8_t)op;
				t.pp = bits & 3;
				t.W = bits >> 2 & 1;
				t.L = bits >> 3 & 3;
				t.b = bits >> 5 & 1;
				t.masked = masking > 0;
				t.z = masking == 2;
				consider_modrm(f, t);
			}
}

static int by_mnemonic(const void *a, const void *b)
{
	return ((const struct template *)a)->mnemonic - ((const struct template *)b)->mnemonic;
}

void forms_find(struct forms *forms,
		bool (*accept)(void *ctx, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *o,
			       const uint8_t *bytes, bool code64),
		void *ctx)
{
	struct finder f = {.forms = forms, .accept = accept, .ctx = ctx, .seen = xcalloc(SEEN_SIZE, 8)};

	*forms = (struct forms){0};
	ZydisDecoderInit(&f.decoder[0], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&f.decoder[1], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned code64 = 0; code64 < 2; code64++) {
		struct template t = {.code64 = code64, .digit = -1, .rm = -1};

		find_legacy(&f, t);
		find_vex(&f, t);
		find_evex(&f, t);
	}
	free(f.seen);
	qsort(forms->list, forms->count, sizeof(*forms->list), by_mnemonic);
	forms->group = xcalloc(forms->count + 1, sizeof(*forms->group));
	for (unsigned i = 0; i < forms->count; i++) {
		if (!forms->groups || forms->group[forms->groups - 1].mnemonic != forms->list[i].mnemonic)
			forms->group[forms->groups++] = (struct group){forms->list[i].mnemonic, i, 0};
		forms->group[forms->groups - 1].number++;
	}
}

void forms_free(struct forms *forms)
{
	free(forms->list);
	free(forms->group);
}

unsigned form_instance(const struct template *t, struct random *random, uint8_t bytes[16])
{
	unsigned registers = !t->code64 ? 8 : t->encoding == 2 ? 32 : 16;
	struct choice c = {
		.reg = t->digit >= 0 ? (unsigned)t->digit : random_below(random, registers),
		.rm = random_below(random, t->memory ? (t->code64 ? 16 : 8) : registers),
		.vvvv = t->vvvv ? random_below(random, registers) : 0,
		.aaa = 1 + random_below(random, 7),
		.index = random_below(random, t->code64 ? 16 : 8),
		.scale = random_below(random, 4),
		.mod = (uint8_t)random_below(random, 3),
		.address_prefix = t->memory && random_below(random, 32) == 0,
		.lock = random_below(random, t->memory && t->encoding == 0 ? 16 : 200) == 0,
		.force_rex = random_below(random, 8) == 0,
		.disp = random_next(random),
		.imm = random_next(random),
	};
	struct encoder e;

	if (t->rm >= 0 && t->has_modrm)
		c.rm = (unsigned)t->rm | (t->code64 && t->encoding == 0 ? c.rm & 8 : 0);
	if (t->digit >= 0 && t->code64 && t->encoding == 0)
		c.reg |= random_below(random, 2) << 3; /* ignored there */
	/* R12 and RSP as a base always need a SIB byte; VSIB does, and takes 32 registers. */
	c.sib = t->vsib || (c.rm & 7) == 4 || random_below(random, 3) == 0;
	if (t->vsib && t->encoding == 2 && t->code64)
		c.vvvv = random_below(random, 2) << 4;
	if (t->code64 && random_below(random, 16) == 0)
		c.segment = (uint8_t[]){0x65, 0x2e, 0x3e, 0x26, 0x36}[random_below(random, 5)];
	if (!t->code64 && random_below(random, 16) == 0)
		c.segment = (uint8_t[]){0x2e, 0x3e, 0x26, 0x36}[random_below(random, 4)];
	if (random_below(random, 4) == 0)
		c.imm = (uint64_t)(int64_t)(int8_t)c.imm;
	if (random_below(random, 2) == 0)
		c.disp = (uint64_t)(int64_t)(int8_t)c.disp;
	e = encode(t, &c);
	memcpy(bytes, e.bytes, 16);
	return e.size < 15 ? e.size : 15;
}

/*
 * Bytes to struct insn: prefixes, opcode, ModRM, SIB, displacement, immediate.
 *
 * SDM vol. 2, "Instruction Format". What an opcode means is the form's affair (form.c); only the layout of the bytes is
 * known here: which opcodes have a ModRM byte. VEX and EVEX prefixes: SDM vol. 2, "Intel Advanced Vector Extensions"
 * and "Intel AVX-512 Encoding".
 */
#include "base/error.h"
#include "decode/form.h"
#include "cpu/mode.h"
#include <stdio.h>
#include <stdlib.h>

#define MAX_LENGTH 15

struct decoder {
	struct form_cache *forms;
	uint8_t prefix[256];	   /* is a legacy prefix */
	uint8_t modrm[2][256];	   /* opcode of the one-byte map, of map 0FH, has ModRM */
	uint8_t rm_counts[2][256]; /* with mod = 3, ModRM.rm selects the instruction */
};

/* The instruction while it is taken apart. */
struct parse {
	const uint8_t *p; /* next byte */
	uint32_t mode;
	uint8_t seg; /* override, SEG_ALL without */
	bool opsize, addrsize, lock, has_rex;
	uint8_t rep;		 /* 0, F3H or F2H */
	uint8_t rex;		 /* W R X B as in REX; from VEX and EVEX too */
	uint8_t encoding;	 /* 0 legacy, 1 VEX, 2 EVEX */
	uint8_t map, pp, length; /* L'L */
	uint8_t vvvv;		 /* 5 bits, not inverted */
	uint8_t reg_high;	 /* EVEX.R': bit 4 of reg */
	uint8_t evex;		 /* P2 */
	uint8_t opcode, modrm;
	uint8_t sib_index; /* as a vector register, for VSIB */
	bool has_modrm;
	bool bad; /* #UD by its prefixes */
};

static bool has_modrm_one_byte(unsigned op)
{
	switch (op) {
	case 0x00 ... 0x3f: return (op & 7) < 4;
	case 0x62:
	case 0x63:
	case 0x69:
	case 0x6b:
	case 0x80 ... 0x8f:
	case 0xc0:
	case 0xc1:
	case 0xc4 ... 0xc7:
	case 0xd0 ... 0xd3:
	case 0xd8 ... 0xdf:
	case 0xf6:
	case 0xf7:
	case 0xfe:
	case 0xff: return true;
	default: return false;
	}
}

/* SDM vol. 2, "Two-byte Opcode Map". */
static bool has_modrm_0f(unsigned op)
{
	switch (op) {
	case 0x04 ... 0x0c:
	case 0x0e:	    /* SYSCALL CLTS SYSRET INVD WBINVD UD2 */
	case 0x30 ... 0x37: /* WRMSR .. GETSEC */
	case 0x77:	    /* EMMS */
	case 0x80 ... 0x8f: /* Jcc */
	case 0xa0 ... 0xa2:
	case 0xa8 ... 0xaa: /* PUSH and POP of FS and GS, CPUID, RSM */
	case 0xc8 ... 0xcf: /* BSWAP */ return false;
	default: return true;
	}
}

struct decoder *decoder_create(const struct decoder_ops *ops)
{
	static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
	static const uint8_t rm_0f[] = {0x01, 0x1a, 0x1b, 0x1e, 0xa6, 0xa7, 0xae, 0xc7, 0x00, 0x18, 0x0d};
	struct decoder *decoder = xcalloc(1, sizeof(*decoder));

	decoder->forms = form_cache_create(ops);
	for (unsigned i = 0; i < sizeof(prefixes); i++)
		decoder->prefix[prefixes[i]] = 1;
	for (unsigned op = 0; op < 256; op++) {
		decoder->modrm[0][op] = has_modrm_one_byte(op);
		decoder->modrm[1][op] = has_modrm_0f(op);
	}
	for (unsigned op = 0xd8; op <= 0xdf; op++)
		decoder->rm_counts[0][op] = 1;
	decoder->rm_counts[0][0xc6] = decoder->rm_counts[0][0xc7] = 1;
	decoder->rm_counts[0][0x90] = 1;
	for (unsigned i = 0; i < sizeof(rm_0f); i++)
		decoder->rm_counts[1][rm_0f[i]] = 1;
	return decoder;
}

void decoder_destroy(struct decoder *decoder)
{
	form_cache_destroy(decoder->forms);
	free(decoder);
}

/* One legacy prefix. */
static void take_prefix(struct parse *s, uint8_t byte)
{
	bool code64 = (s->mode & MODE_CODE) == MODE_CODE64;

	switch (byte) {
	case 0x66: s->opsize = true; break;
	case 0x67: s->addrsize = true; break;
	case 0xf0: s->lock = true; break;
	case 0xf2:
	case 0xf3: s->rep = byte; break;
	case 0x64: s->seg = FS; break;
	case 0x65: s->seg = GS; break;
	default: /* CS DS ES SS: null prefixes in 64-bit mode */
		if (!code64)
			s->seg = byte == 0x2e ? CS : byte == 0x3e ? DS : byte == 0x26 ? ES : SS;
	}
}

/* SDM vol. 2, "The VEX Prefix". p is behind C4H or C5H. */
static void take_vex(struct parse *s, bool three)
{
	uint8_t first = *s->p++, last = three ? *s->p++ : first;

	s->encoding = 1;
	s->bad |= s->has_rex || s->opsize || s->rep || s->lock;
	s->map = three ? first & 0x1f : 1;
	s->rex = (~first >> 7 & 1) << 2;
	if (three)
		s->rex |= (~first >> 6 & 1) << 1 | (~first >> 5 & 1) | (last >> 7) << 3;
	s->vvvv = ~last >> 3 & 15;
	s->length = last >> 2 & 1;
	s->pp = last & 3;
	s->opcode = *s->p++;
}

/* SDM vol. 2, "Instruction Format and EVEX". p is behind 62H. */
static void take_evex(struct parse *s)
{
	uint8_t p0 = *s->p++, p1 = *s->p++, p2 = *s->p++;

	s->encoding = 2;
	s->bad |= s->has_rex || s->opsize || s->rep || s->lock || (p0 & 8) || !(p1 & 4);
	s->map = p0 & 7;
	s->rex = (p1 >> 7) << 3 | (~p0 >> 7 & 1) << 2 | (~p0 >> 6 & 1) << 1 | (~p0 >> 5 & 1);
	s->reg_high = (~p0 >> 4 & 1) << 4;
	s->vvvv = (~p1 >> 3 & 15) | (~p2 >> 3 & 1) << 4;
	s->pp = p1 & 3;
	s->length = p2 >> 5 & 3;
	s->evex = p2;
	s->opcode = *s->p++;
}

/* Up to and including the opcode and ModRM. A local buffer holds 16 bytes or more, so reading ahead is safe. */
static void take_opcode(struct decoder *decoder, struct parse *s, const uint8_t *start)
{
	bool code64 = (s->mode & MODE_CODE) == MODE_CODE64;
	uint8_t byte = *s->p++;

	while (unlikely(decoder->prefix[byte]) && s->p - start < MAX_LENGTH) {
		take_prefix(s, byte);
		byte = *s->p++;
	}
	if (code64 && (byte & 0xf0) == 0x40) {
		uint8_t rex = byte;

		byte = *s->p++;
		if (unlikely((byte & 0xf0) == 0x40 ||
			     decoder->prefix[byte])) { /* only the REX next to the opcode counts */
			while (((byte & 0xf0) == 0x40 || decoder->prefix[byte]) && s->p - start < MAX_LENGTH) {
				if (decoder->prefix[byte]) {
					take_prefix(s, byte);
					rex = 0;
				} else {
					rex = byte;
				}
				byte = *s->p++;
			}
		}
		s->has_rex = rex != 0;
		s->rex = rex & 15;
	}
	if (s->p - start >= MAX_LENGTH)
		return;
	/* In 16- and 32-bit code VEX and EVEX share opcodes with LES, LDS and BOUND, whose ModRM must name memory. */
	if ((byte == 0xc4 || byte == 0xc5 || byte == 0x62) &&
	    (code64 || ((s->mode & MODE_PROTECTED) && *s->p >= 0xc0))) {
		if (byte == 0x62)
			take_evex(s);
		else
			take_vex(s, byte == 0xc4);
		s->has_modrm = !(s->encoding == 1 && s->map == 1 && s->opcode == 0x77); /* VZEROUPPER */
		if (!code64) {
			s->rex &= ~7; /* only registers 0-7 exist; R and X are 0 here, B is ignored */
			s->vvvv &= 0x17;
			s->reg_high = 0;
		}
	} else if (byte != 0x0f) {
		s->opcode = byte;
		s->has_modrm = decoder->modrm[0][byte];
	} else {
		s->map = 1;
		s->opcode = *s->p++;
		if (s->opcode == 0x38 || s->opcode == 0x3a) {
			s->map = s->opcode == 0x38 ? 2 : 3;
			s->opcode = *s->p++;
			s->has_modrm = true;
		} else {
			s->has_modrm = decoder->modrm[1][s->opcode];
		}
	}
	if (s->has_modrm)
		s->modrm = *s->p++;
	if (s->encoding == 0 && s->map == 1 && s->opcode >= 0x20 && s->opcode <= 0x23)
		s->modrm |= 0xc0; /* MOV to and from control and debug registers: ModRM.mod is ignored */
}

static form_key_t key_of(const struct decoder *decoder, const struct parse *s)
{
	bool mod3 = s->modrm >= 0xc0 && s->has_modrm;
	uint64_t rep = s->rep ? s->rep - 0xf1 : 0; /* F2: 1, F3: 2 */
	form_key_t key = s->opcode | (uint64_t)s->map << 8 | (uint64_t)s->encoding << 13 |
			 (uint64_t)(s->mode & MODE_CODE) << 15 | (uint64_t) !!(s->mode & MODE_PROTECTED) << 17 |
			 (uint64_t)s->opsize << 18 | (uint64_t)s->addrsize << 19 | rep << 20 |
			 (uint64_t)(s->rex >> 3) << 22 | (uint64_t)s->lock << 23 | (uint64_t)mod3 << 24 |
			 (uint64_t)(s->modrm >> 3 & 7) << 25;

	if (s->encoding == 0) {
		/* x87 and the like; NOP and XCHG R8, RAX; control and debug registers by REX.R. */
		if (mod3 && s->map <= 1 && decoder->rm_counts[s->map][s->opcode])
			key |= (uint64_t)(s->modrm & 7) << 28;
		if ((s->map == 0 && s->opcode == 0x90) || (s->map == 1 && s->opcode == 0x1e))
			key |= (uint64_t)(s->rex & 1) << 31;
		if (s->map == 1 && s->opcode >= 0x20 && s->opcode <= 0x23)
			key |= (uint64_t)(s->rex >> 2 & 1) << 31;
		return key;
	}
	key |= (uint64_t)s->length << 32 | (uint64_t)(s->vvvv == 0) << 37 |
	       (uint64_t)(!mod3 && (s->modrm & 7) == 4) << 38 | (uint64_t)s->pp << 39;
	if (s->encoding == 2)
		key |= (uint64_t)(s->evex >> 4 & 1) << 34 | (uint64_t)(s->evex >> 7) << 35 |
		       (uint64_t) !!(s->evex & 7) << 36;
	return key;
}

static int64_t take_signed(struct parse *s, unsigned bytes)
{
	int64_t value = sign_extend(load_le(s->p, bytes), 8 * bytes);

	s->p += bytes;
	return value;
}

/* SDM vol. 2, "16-Bit Addressing Forms with the ModR/M Byte". */
static void address16(struct parse *s, struct insn *insn)
{
	static const uint8_t base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
	static const uint8_t index[8] = {RSI, RDI, RSI, RDI, R_ZERO, R_ZERO, R_ZERO, R_ZERO};
	unsigned mod = s->modrm >> 6, rm = s->modrm & 7;

	insn->base = base[rm];
	insn->index = index[rm];
	insn->seg = base[rm] == RBP ? SS : DS;
	if (mod == 0 && rm == 6) {
		insn->base = R_ZERO;
		insn->seg = DS;
		insn->disp = (int32_t)take_signed(s, 2);
	} else if (mod) {
		insn->disp = (int32_t)take_signed(s, mod == 1 ? 1 : 2);
	}
}

/* SDM vol. 2, "32-Bit Addressing Forms with the ModR/M Byte" and "... SIB Byte"; RIP-relative in 64-bit mode. */
static bool address32(struct parse *s, struct insn *insn)
{
	unsigned mod = s->modrm >> 6, rm = s->modrm & 7;
	bool relative = false;

	insn->index = R_ZERO;
	if (rm == 4) {
		uint8_t sib = *s->p++;
		unsigned index = (sib >> 3 & 7) | (s->rex & 2) << 2;

		insn->scale = sib >> 6;
		s->sib_index = (uint8_t)(index | (s->encoding == 2 ? s->vvvv & 16 : 0));
		if (index != RSP)
			insn->index = (uint8_t)index;
		rm = sib & 7;
		insn->base = (uint8_t)(rm | (s->rex & 1) << 3);
		if (rm == 5 && mod == 0) {
			insn->base = R_ZERO;
			insn->disp = (int32_t)take_signed(s, 4);
		}
	} else if (rm == 5 && mod == 0) {
		relative = (s->mode & MODE_CODE) == MODE_CODE64;
		insn->base = R_ZERO;
		insn->disp = (int32_t)take_signed(s, 4);
	} else {
		insn->base = (uint8_t)(rm | (s->rex & 1) << 3);
	}
	insn->seg = insn->base == RSP || insn->base == RBP ? SS : DS;
	if (mod == 1)
		insn->disp = (int32_t)take_signed(s, 1);
	else if (mod == 2)
		insn->disp = (int32_t)take_signed(s, 4);
	return relative;
}

static enum ea_kind ea_of(const struct parse *s, const struct insn *insn)
{
	if ((s->mode & MODE_CODE) == MODE_CODE64) {
		if (insn->seg == FS || insn->seg == GS)
			return EA_FSGS;
		return insn->addr_size == 8 ? EA_PLAIN : EA_PLAIN32;
	}
	if ((s->mode & MODE_FLAT) && (insn->seg == DS || insn->seg == SS || insn->seg == ES))
		return EA_PLAIN32;
	return EA_CHECKED;
}

/* EVEX: an 8-bit displacement counts in units of the memory operand: SDM vol. 2, "Compressed Displacement (disp8*N)".
 */
static void scale_displacement(const struct parse *s, const struct form *form, struct insn *insn)
{
	unsigned n = 1;

	if (s->modrm >> 6 != 1)
		return;
	for (unsigned i = 0; i < form->operands; i++)
		if (form->operand[i].kind == OPERAND_MEM)
			n = form->operand[i].where == FIELD_VSIB ? (s->rex & 8 ? 8 : 4) : form->operand[i].bytes;
	/* VPCOMPRESS and VPEXPAND count elements: bytes and words for opcodes 62H and 63H, else doublewords and
	 * quadwords. */
	if (form->category == ZYDIS_CATEGORY_COMPRESS || form->category == ZYDIS_CATEGORY_EXPAND)
		n = ((s->opcode | 1) == 0x63 ? 1u : 4u) << (s->rex >> 3);
	insn->disp *= (int32_t)n;
}

static uint8_t byte_register(const struct parse *s, unsigned number)
{
	return (uint8_t)(s->has_rex || s->encoding || number < 4 ? 8 * number : 8 * (number - 4) + 1);
}

static bool registers_valid(const struct parse *s, const struct form_record *record)
{
	if (s->encoding == 0)
		return true;
	if (record->mask_reg && (s->reg_high || (s->rex & 4)))
		return false;
	if (record->mask_vvvv && s->vvvv > 7)
		return false;
	return !(record->gpr_reg && s->reg_high);
}

enum decode_result decode(struct decoder *decoder, const uint8_t *bytes, size_t available, uint32_t mode,
			  unsigned offset, struct insn *insn)
{
	struct parse s = {.p = bytes, .mode = mode, .seg = SEG_ALL};
	uint8_t copy[4 * MAX_LENGTH] = {0};
	const uint8_t *start = bytes;
	const struct form_record *record;
	bool relative = false;

	if (unlikely(available < 2 * MAX_LENGTH)) { /* parse a copy that may be read beyond its end */
		memcpy(copy, bytes, available);
		start = s.p = copy;
	}
	*insn = (struct insn){.off = (uint16_t)offset, .base = R_ZERO, .index = R_ZERO, .seg = DS};
	take_opcode(decoder, &s, start);
	if (unlikely((size_t)(s.p - start) > available))
		return available >= MAX_LENGTH ? DECODE_LONG : DECODE_SHORT;
	if (unlikely(s.p - start > MAX_LENGTH || (s.p - start == MAX_LENGTH && decoder->prefix[s.p[-1]])))
		return DECODE_LONG;
	insn->opcode = s.opcode;
	insn->modrm = s.modrm;
	insn->evex = s.encoding == 2 ? s.evex : 0;
	insn->vvvv = s.vvvv;
	insn->prefixes = (s.lock ? PREFIX_LOCK : 0) | (s.rep == 0xf3 ? PREFIX_REP : 0) |
			 (s.rep == 0xf2 ? PREFIX_REPNE : 0) | (s.opsize ? PREFIX_OPSIZE : 0) |
			 (s.addrsize ? PREFIX_ADDRSIZE : 0) | (s.has_rex ? PREFIX_REX : 0) |
			 (s.rex & 8 ? PREFIX_REX_W : 0) | (s.seg != SEG_ALL ? PREFIX_SEG : 0);
	if (unlikely(s.rep == 0xf3 && s.opcode == 0x90 && s.map == 0 && (s.rex & 1))) {
		/* XCHG R8, rAX: only NOP becomes PAUSE by F3H, which Zydis does not know. */
		const uint8_t xchg[] = {s.opsize ? 0x66 : 0x3e, (uint8_t)(0x40 | s.rex), 0x90};

		s.rep = 0;
		record = form_find(decoder->forms, key_of(decoder, &s), xchg, sizeof(xchg), mode);
	} else {
		record = form_find(decoder->forms, key_of(decoder, &s) | (s.bad ? BIT(63) : 0), start,
				   available < MAX_LENGTH ? available : MAX_LENGTH, mode);
	}
	if (unlikely(!record))
		return available >= MAX_LENGTH ? DECODE_LONG : DECODE_SHORT;
	insn->form = &record->form;
	insn->size = record->size;
	insn->addr_size = record->addr_size;
	insn->reg = (uint8_t)((s.modrm >> 3 & 7) | (s.rex & 4) << 1 | s.reg_high);
	insn->rm = (uint8_t)((s.modrm & 7) | (s.rex & 1) << 3);
	if (record->opcode_reg)
		insn->rm = (uint8_t)((s.opcode & 7) | (s.rex & 1) << 3);
	if (s.encoding == 2 && s.modrm >= 0xc0 && !record->gpr_rm)
		insn->rm |= (uint8_t)((s.rex & 2) << 3);
	if (record->eight_reg)
		insn->reg &= 7;
	if (record->eight_rm)
		insn->rm &= 7;
	if (record->byte_reg)
		insn->reg = byte_register(&s, insn->reg);
	if (record->byte_rm)
		insn->rm = byte_register(&s, insn->rm);
	if (unlikely(!record->form.valid || s.bad || !registers_valid(&s, record))) {
		insn->form = form_invalid(decoder->forms);
		insn->len = (uint8_t)(s.p - start);
		return DECODE_INVALID;
	}
	if (record->form.memory) {
		if (insn->addr_size == 2)
			address16(&s, insn);
		else
			relative = address32(&s, insn);
		if (s.encoding == 2)
			scale_displacement(&s, &record->form, insn);
	}
	if (record->vsib) {
		insn->index = R_ZERO;
		insn->rm = s.sib_index;
	}
	if (s.seg != SEG_ALL)
		insn->seg = s.seg;
	if (record->form.memory || record->moffs)
		insn->ea = ea_of(&s, insn);
	if (record->imm_bytes) {
		insn->imm = record->imm_signed ? (uint64_t)take_signed(&s, record->imm_bytes)
					       : load_le(s.p, record->imm_bytes);
		s.p += record->imm_signed ? 0 : record->imm_bytes;
		if (record->imm2_bytes) {
			insn->imm2 = (uint16_t)load_le(s.p, record->imm2_bytes);
			s.p += record->imm2_bytes;
		}
	}
	if (unlikely((size_t)(s.p - start) > available && available < MAX_LENGTH))
		return DECODE_SHORT;
	if (unlikely(s.p - start > MAX_LENGTH))
		return DECODE_LONG;
	insn->len = (uint8_t)(s.p - start);
	if (relative) {
		int64_t disp = (int64_t)insn->disp + offset + insn->len;

		insn->base = R_BLOCK;
		if (unlikely(disp > INT32_MAX)) {
			insn->index = R_REACH;
			disp -= REACH;
		}
		insn->disp = (int32_t)disp;
	}
	return DECODE_OK;
}

unsigned decode_text(const uint8_t *bytes, size_t size, uint32_t mode, uint64_t rip, char *text, size_t text_size)
{
	static const ZydisMachineMode modes[] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
						 ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_MACHINE_MODE_LONG_64};
	ZydisDisassembledInstruction z;

	if (!ZYAN_SUCCESS(ZydisDisassembleIntel(modes[mode & MODE_CODE], rip, bytes, size, &z))) {
		snprintf(text, text_size, "(bad)");
		return 1;
	}
	snprintf(text, text_size, "%s", z.text);
	return z.info.length;
}

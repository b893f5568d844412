/*
 * The decoder against Zydis: lengths, operations, registers, addresses and immediates, over the host's own programs and
 * over random bytes.
 */
#include "decode/insn.h"
#include "cpu/mode.h"
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static void no_bind(void *ctx, struct form *form)
{
}

static const struct decoder_ops no_ops = {.bind = no_bind};

static int gpr_number(ZydisRegister reg)
{
	return reg == ZYDIS_REGISTER_NONE				? R_ZERO
	       : reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP ? R_BLOCK
									: ZydisRegisterGetId(reg);
}

static int byte_offset(ZydisRegister reg)
{
	int id = ZydisRegisterGetId(reg);

	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return 8 * (reg - ZYDIS_REGISTER_AH) + 1;
	return reg >= ZYDIS_REGISTER_SPL ? 8 * (id - (id >= 8 && reg < ZYDIS_REGISTER_R8B ? 4 : 0)) : 8 * id;
}

static bool register_agrees(const ZydisDecodedOperand *z, unsigned number)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(z->reg.value);

	if (class == ZYDIS_REGCLASS_GPR8)
		return z->reg.value >= ZYDIS_REGISTER_SPL && z->reg.value <= ZYDIS_REGISTER_DIL
			       ? number == 8u * (4 + (unsigned)(z->reg.value - ZYDIS_REGISTER_SPL))
		       : z->reg.value >= ZYDIS_REGISTER_R8B
			       ? number == 8u * (8 + (unsigned)(z->reg.value - ZYDIS_REGISTER_R8B))
			       : number == (unsigned)byte_offset(z->reg.value);
	if (class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_MASK || class == ZYDIS_REGCLASS_X87)
		return (number & 7) == (unsigned)ZydisRegisterGetId(z->reg.value);
	if (class == ZYDIS_REGCLASS_SEGMENT)
		return (number & 7) == (unsigned)ZydisRegisterGetId(z->reg.value);
	return number == (unsigned)ZydisRegisterGetId(z->reg.value);
}

static bool agrees(const struct insn *insn, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
	if (insn->len != z->length || insn->form->operation != z->mnemonic)
		return false;
	for (unsigned i = 0; i < z->operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &operands[i];

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG &&
		    !register_agrees(o, insn->reg))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM || o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE) &&
		    !register_agrees(o, insn->rm))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD &&
		    !register_agrees(o, insn->vvvv))
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && i == z->operand_count_visible - 1u &&
		    insn->form->operand[i].where == FIELD_IMM && z->raw.imm[1].size == 0 && insn->imm != o->imm.value.u)
			return false;
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
			int64_t disp = insn->disp - (insn->base == R_BLOCK ? insn->len : 0);

			/* Zydis 4.0 gives SIB base 101B with mod 00B and REX.B the base R13D under a 67H prefix; the
			 * SDM gives none. */
			if (gpr_number(o->mem.base) == R13 && z->raw.modrm.mod == 0 && insn->base == R_ZERO &&
			    z->address_width == 32)
				continue;
			if (gpr_number(o->mem.base) != insn->base ||
			    (o->mem.type != ZYDIS_MEMOP_TYPE_VSIB && gpr_number(o->mem.index) != insn->index) ||
			    (o->mem.index && o->mem.scale != 1 << insn->scale) ||
			    (o->mem.disp.has_displacement && o->mem.disp.value != disp))
				return false;
		}
	}
	return true;
}

struct checker {
	struct decoder *decoder;
	ZydisDecoder zydis;
	uint32_t mode;
	unsigned long checked, differ;
};

static struct checker checker(uint32_t mode)
{
	static const ZydisMachineMode modes[] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
						 ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64};
	struct checker c = {.decoder = decoder_create(&no_ops), .mode = mode};

	ZydisDecoderInit(&c.zydis, modes[mode & MODE_CODE], widths[mode & MODE_CODE]);
	ZydisDecoderEnableMode(&c.zydis, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(&c.zydis, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(&c.zydis, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(&c.zydis, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
	return c;
}

/* Other makers' instructions, which this decoder refuses. */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	const char *extension = ZydisISAExtGetString(z->meta.isa_ext);
	static const char *const foreign[] = {"AMD3DNOW", "KNC",     "SSE4A",  "SVM",	     "TBM",
					      "XOP",	  "FMA4",    "CLZERO", "MONITORX",   "PADLOCK",
					      "RDPRU",	  "MCOMMIT", "SNP",    "AMD_INVLPGB"};

	for (unsigned i = 0; i < ARRAY_SIZE(foreign); i++)
		if (strncmp(extension, foreign[i], strlen(foreign[i])) == 0)
			return true;
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX || z->encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW;
}

/* Length by Zydis, 1 when it finds nothing. */
static unsigned check_one(struct checker *c, const uint8_t *bytes, size_t left)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct insn insn;
	ZyanStatus status = ZydisDecoderDecodeFull(&c->zydis, bytes, left < 15 ? left : 15, &z, operands);
	enum decode_result result = decode(c->decoder, bytes, left, c->mode, 0, &insn);
	bool same;

	c->checked++;
	for (unsigned i = 1; i < 14 && i < left; i++) /* PAUSE that is XCHG: see below */
		if (bytes[i] == 0x90 && (bytes[i - 1] & 0xf1) == 0x41 && insn.len == i + 1)
			return insn.len;
	if (ZYAN_SUCCESS(status) && insn.form->valid)
		same = result == DECODE_OK && agrees(&insn, &z, operands);
	else
		same = result != DECODE_OK && (!ZYAN_SUCCESS(status) || is_foreign(&z));
	if (!same && ++c->differ <= 20) {
		char text[128];

		decode_text(bytes, left < 15 ? left : 15, c->mode, 0, text, sizeof(text));
		print_message("mode %x differs (%d, zydis %x): ", c->mode, result, status);
		for (unsigned i = 0; i < 15 && i < left; i++)
			print_message("%02x ", bytes[i]);
		print_message("%s; len %u reg %u rm %u\n", text, insn.len, insn.reg, insn.rm);
	}
	return ZYAN_SUCCESS(status) ? z.length : 1;
}

/* All .text of a program of this machine. */
static uint8_t *load_text(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *image, *text = NULL;
	long length;
	Elf64_Ehdr *ehdr;
	Elf64_Shdr *shdr;

	if (!file)
		return NULL;
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	image = malloc((size_t)length);
	if (fread(image, 1, (size_t)length, file) != (size_t)length)
		length = 0;
	fclose(file);
	ehdr = (Elf64_Ehdr *)image;
	shdr = (Elf64_Shdr *)(image + ehdr->e_shoff);
	for (unsigned i = 0; length && i < ehdr->e_shnum; i++)
		if ((shdr[i].sh_flags & SHF_EXECINSTR) && shdr[i].sh_size > 10000) {
			*size = shdr[i].sh_size;
			text = malloc(*size + 32);
			memcpy(text, image + shdr[i].sh_offset, *size);
			break;
		}
	free(image);
	return text;
}

static void programs_decode_as_zydis_says(void **state)
{
	struct checker c = checker(MODE_CODE64 | MODE_PROTECTED | MODE_FLAT);
	size_t size, at = 0;
	uint8_t *text = load_text("/proc/self/exe", &size);
	const char *others[] = {"/bin/bash", "/usr/lib/x86_64-linux-gnu/libc.so.6",
				"/usr/lib/x86_64-linux-gnu/libcrypto.so.3"};

	free(text);
	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		text = load_text(others[i], &size);
		if (!text)
			continue;
		if (size > 1000000)
			size = 1000000;
		for (at = 0; at < size;)
			at += check_one(&c, text + at, size - at);
		free(text);
	}
	assert_true(c.checked > 1000);
	assert_int_equal(c.differ, 0);
	decoder_destroy(c.decoder);
}

static void random_bytes_decode_as_zydis_says(void **state)
{
	static const uint32_t modes[] = {MODE_CODE64 | MODE_PROTECTED, MODE_CODE32 | MODE_PROTECTED,
					 MODE_CODE16 | MODE_PROTECTED};
	static const uint8_t lead[] = {0x0f, 0xc4, 0xc5, 0x62, 0x66, 0xf2, 0xf3, 0x48, 0x67, 0xf0, 0xd9, 0xff};

	for (unsigned m = 0; m < 3; m++) {
		struct checker c = checker(modes[m]);
		uint64_t seed = 88172645463325252 + m;

		for (unsigned i = 0; i < 400000; i++) {
			uint8_t bytes[16];

			for (unsigned k = 0; k < 2; k++) {
				seed ^= seed << 13;
				seed ^= seed >> 7;
				seed ^= seed << 17;
				memcpy(bytes + 8 * k, &seed, 8);
			}
			if (i & 1)
				bytes[0] = lead[(i >> 1) % sizeof(lead)];
			check_one(&c, bytes, 15);
		}
		assert_int_equal(c.differ, 0);
		decoder_destroy(c.decoder);
	}
}

static void short_input_asks_for_more(void **state)
{
	struct decoder *decoder = decoder_create(&no_ops);
	static const uint8_t mov[] = {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8};
	struct insn insn;

	for (size_t n = 1; n < sizeof(mov); n++)
		assert_int_equal(decode(decoder, mov, n, MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_SHORT);
	assert_int_equal(decode(decoder, mov, sizeof(mov), MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_OK);
	assert_int_equal(insn.imm, 0x0807060504030201);
	decoder_destroy(decoder);
}

static void sixteen_bytes_are_too_long(void **state)
{
	struct decoder *decoder = decoder_create(&no_ops);
	uint8_t bytes[16];
	struct insn insn;

	memset(bytes, 0x2e, sizeof(bytes));
	bytes[14] = 0x90;
	assert_int_equal(decode(decoder, bytes, 16, MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_OK);
	bytes[14] = 0x2e;
	bytes[15] = 0x90;
	assert_int_equal(decode(decoder, bytes, 16, MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_LONG);
	decoder_destroy(decoder);
}

/* SDM vol. 2, "PAUSE": F3 90. With REX.B the opcode names R8, and F3H means nothing. */
static void pause_is_not_xchg_r8(void **state)
{
	struct decoder *decoder = decoder_create(&no_ops);
	static const uint8_t pause[] = {0xf3, 0x90}, xchg[] = {0xf3, 0x41, 0x90};
	struct insn insn;

	assert_int_equal(decode(decoder, pause, 2, MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_OK);
	assert_int_equal(insn.form->operation, ZYDIS_MNEMONIC_PAUSE);
	assert_int_equal(decode(decoder, xchg, 3, MODE_CODE64 | MODE_PROTECTED, 0, &insn), DECODE_OK);
	assert_int_equal(insn.form->operation, ZYDIS_MNEMONIC_XCHG);
	assert_int_equal(insn.rm, R8);
	assert_int_equal(insn.len, 3);
	decoder_destroy(decoder);
}

/* SDM vol. 2, "RIP-Relative Addressing": 32 bits, sign-extended to 64, are added to the 64-bit RIP of the next
 * instruction. */
static void rip_relative_reaches_all_of_2_gib(void **state)
{
	static const int32_t disps[] = {INT32_MAX, INT32_MAX - 7, INT32_MAX - 4095, INT32_MAX - 8192, 0, INT32_MIN};
	static const unsigned offsets[] = {0, 7, 4095};
	struct decoder *decoder = decoder_create(&no_ops);
	const uint64_t r[R_COUNT] = {[R_BLOCK] = 0x123456789000, [R_REACH] = REACH};
	uint8_t lea[] = {0x48, 0x8d, 0x05, 0, 0, 0, 0};
	struct insn insn;

	for (unsigned i = 0; i < ARRAY_SIZE(disps); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(offsets); k++) {
			store_le(lea + 3, 4, (uint32_t)disps[i]);
			assert_int_equal(
				decode(decoder, lea, sizeof(lea), MODE_CODE64 | MODE_PROTECTED, offsets[k], &insn),
				DECODE_OK);
			assert_int_equal(r[insn.base] + (r[insn.index] << insn.scale) + (uint64_t)(int64_t)insn.disp,
					 r[R_BLOCK] + offsets[k] + sizeof(lea) + (uint64_t)(int64_t)disps[i]);
		}
	decoder_destroy(decoder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(programs_decode_as_zydis_says), cmocka_unit_test(random_bytes_decode_as_zydis_says),
		cmocka_unit_test(short_input_asks_for_more),	 cmocka_unit_test(sixteen_bytes_are_too_long),
		cmocka_unit_test(pause_is_not_xchg_r8),		 cmocka_unit_test(rip_relative_reaches_all_of_2_gib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

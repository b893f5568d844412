/*
 * Instructions that access devices: a table of bytes and what they mean, and lengths and widths against Zydis, over random
 * bytes in all three modes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <Zydis/Zydis.h>

#include "guest/decode.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9 };

#define BYTES(...) .bytes = {__VA_ARGS__}, .length = sizeof((const uint8_t[]){__VA_ARGS__})

static const struct {
	uint8_t bytes[INSTRUCTION_MAX];
	unsigned length, mode;
	struct mmio_instruction is;
} rows[] = {
	/* mov %ecx, (%rax); mov %r9, 0x80(%rsi); mov %dl, (%eax,%ecx,2); mov %ch, (%eax); the same with REX is BPL */
	{BYTES(0x89, 0x08), 64, {MMIO_STORE, .size = 4, .register_size = 4, .reg = RCX}},
	{BYTES(0x4c, 0x89, 0x8e, 0x80, 0, 0, 0), 64, {MMIO_STORE, .size = 8, .register_size = 8, .reg = R9}},
	{BYTES(0x88, 0x14, 0x48), 32, {MMIO_STORE, .size = 1, .register_size = 1, .reg = RDX}},
	{BYTES(0x88, 0x28), 32, {MMIO_STORE, .size = 1, .register_size = 1, .reg = RCX, .high_byte = true}},
	{BYTES(0x40, 0x88, 0x28), 64, {MMIO_STORE, .size = 1, .register_size = 1, .reg = RBP}},
	/* mov 0xfee00020, %eax with a SIB byte, with RIP, with 32 bits; mov (%bx,%si), %ax; mov 0x1234, %edx in 16-bit code */
	{BYTES(0x8b, 0x04, 0x25, 0x20, 0, 0xe0, 0xfe), 64, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RAX}},
	{BYTES(0x8b, 0x05, 1, 2, 3, 4), 64, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RAX}},
	{BYTES(0x8b, 0x1d, 1, 2, 3, 4), 32, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RBX}},
	{BYTES(0x8b, 0x00), 16, {MMIO_LOAD, .size = 2, .register_size = 2, .reg = RAX}},
	{BYTES(0x66, 0x8b, 0x16, 0x34, 0x12), 16, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RDX}},
	/* with segments, a REX prefix that does not count, and one that does */
	{BYTES(0x65, 0x8b, 0x08), 64, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RCX}},
	{BYTES(0x48, 0x66, 0x8b, 0x08), 64, {MMIO_LOAD, .size = 2, .register_size = 2, .reg = RCX}},
	{BYTES(0x66, 0x4c, 0x8b, 0x08), 64, {MMIO_LOAD, .size = 8, .register_size = 8, .reg = R9}},
	/* addresses in the instruction */
	{BYTES(0xa1, 0xb0, 0, 0xe0, 0xfe), 32, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RAX}},
	{BYTES(0xa2, 0x34, 0x12), 16, {MMIO_STORE, .size = 1, .register_size = 1, .reg = RAX}},
	{BYTES(0x48, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8), 64, {MMIO_STORE, .size = 8, .register_size = 8, .reg = RAX}},
	{BYTES(0x67, 0xa1, 1, 2, 3, 4), 64, {MMIO_LOAD, .size = 4, .register_size = 4, .reg = RAX}},
	/* immediates */
	{BYTES(0xc7, 0x00, 1, 2, 3, 0x84), 64, {MMIO_STORE, .size = 4, .register_size = 4, .has_immediate = true,
							.immediate = 0xffffffff84030201}},
	{BYTES(0x48, 0xc7, 0x00, 0xff, 0xff, 0xff, 0xff), 64, {MMIO_STORE, .size = 8, .register_size = 8, .has_immediate = true,
								  .immediate = UINT64_MAX}},
	{BYTES(0xc7, 0x07, 1, 2), 16, {MMIO_STORE, .size = 2, .register_size = 2, .has_immediate = true, .immediate = 0x201}},
	{BYTES(0xc6, 0x45, 0xfc, 7), 32, {MMIO_STORE, .size = 1, .register_size = 1, .has_immediate = true, .immediate = 7}},
	/* movzbl, movswq, movslq */
	{BYTES(0x0f, 0xb6, 0x10), 64, {MMIO_LOAD, .size = 1, .register_size = 4, .reg = RDX}},
	{BYTES(0x48, 0x0f, 0xbf, 0x10), 64, {MMIO_LOAD_SIGNED, .size = 2, .register_size = 8, .reg = RDX}},
	{BYTES(0x48, 0x63, 0x10), 64, {MMIO_LOAD_SIGNED, .size = 4, .register_size = 8, .reg = RDX}},
	/* read, change, write */
	{BYTES(0x87, 0x08), 64, {MMIO_EXCHANGE, .size = 4, .register_size = 4, .reg = RCX}},
	{BYTES(0xf0, 0x09, 0x08), 64, {MMIO_OR, .size = 4, .register_size = 4, .reg = RCX}},
	{BYTES(0x23, 0x08), 64, {MMIO_AND, .size = 4, .register_size = 4, .reg = RCX, .to_register = true}},
	{BYTES(0x83, 0x20, 0xfe), 64, {MMIO_AND, .size = 4, .register_size = 4, .has_immediate = true, .immediate = (uint64_t)-2}},
	{BYTES(0x66, 0x81, 0x38, 1, 2), 64, {MMIO_CMP, .size = 2, .register_size = 2, .has_immediate = true, .immediate = 0x201}},
	{BYTES(0xf7, 0x00, 0, 0x10, 0, 0), 64, {MMIO_TEST, .size = 4, .register_size = 4, .has_immediate = true, .immediate = 0x1000}},
	{BYTES(0x84, 0x08), 64, {MMIO_TEST, .size = 1, .register_size = 1, .reg = RCX}},
	/* rep stosl; stosb */
	{BYTES(0xf3, 0xab), 64, {MMIO_STOS, .size = 4, .register_size = 4, .address_size = 8, .repeat = true, .segment = 3}},
	{BYTES(0xaa), 16, {MMIO_STOS, .size = 1, .register_size = 1, .address_size = 2, .segment = 3}},
	/* rep movsq; movsb %gs:(%si), %es:(%di) */
	{BYTES(0xf3, 0x48, 0xa5), 64, {MMIO_MOVS, .size = 8, .register_size = 8, .address_size = 8, .repeat = true, .segment = 3}},
	{BYTES(0x65, 0xa4), 16, {MMIO_MOVS, .size = 1, .register_size = 1, .address_size = 2, .segment = 5}},
	{BYTES(0x2e, 0xa5), 32, {MMIO_MOVS, .size = 4, .register_size = 4, .address_size = 4, .segment = 1}},
};

static void bytes_and_meanings(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct mmio_instruction got, want = rows[i].is;

		want.length = rows[i].length;
		assert_true(mmio_decode(rows[i].bytes, INSTRUCTION_MAX, rows[i].mode, &got));
		if (memcmp(&got, &want, sizeof(got)) != 0)
			fail_msg("row %zu is wrong", i);
		/* Nothing but the whole of it will do. */
		for (unsigned n = 0; n < rows[i].length; n++)
			assert_false(mmio_decode(rows[i].bytes, n, rows[i].mode, &got));
	}
}

static void others_are_refused(void **state)
{
	static const uint8_t bytes[][8] = {
		{0x89, 0xc8},	     /* mov %ecx, %eax: no memory */
		{0xa7},		     /* cmpsl */
		{0x0f, 0xb1, 0x08},  /* cmpxchg */
		{0xff, 0x30},	     /* push (%rax) */
		{0xc7, 0x08},	     /* group 11, not 0 */
		{0xf7, 0x10},	     /* not (%rax) */
		{0x0f, 0x6f, 0x00},  /* movq (%rax), %mm0 */
		{0xf0, 0x89, 0x08},  /* LOCK is #UD there, so it never gets here */
		{0x04, 1},	     /* add $1, %al */
	};
	struct mmio_instruction got;

	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++)
		assert_false(mmio_decode(bytes[i], 8, 64, &got));
}

static bool is_memory_move(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
	bool memory = false;

	for (unsigned i = 0; i < z->operand_count; i++)
		memory |= operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && operands[i].mem.type == ZYDIS_MEMOP_TYPE_MEM;
	if (!memory || z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_ADC: case ZYDIS_MNEMONIC_SBB: case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_SUB: case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_TEST: case ZYDIS_MNEMONIC_XCHG:
	case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVSX: case ZYDIS_MNEMONIC_MOVSXD: case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD: case ZYDIS_MNEMONIC_STOSQ: case ZYDIS_MNEMONIC_MOVSB: case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSQ: return true;
	case ZYDIS_MNEMONIC_MOVSD: return z->opcode == 0xa5; /* the other one is of SSE2 */
	case ZYDIS_MNEMONIC_MOV: return z->opcode != 0x8c && z->opcode != 0x8e; /* segment registers */
	default: return false;
	}
}

static const struct {
	ZydisMachineMode machine;
	ZydisStackWidth stack;
} modes[] = {{ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	     {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
	     {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64}};

static void compare(const ZydisDecoder *zydis, const uint8_t *bytes, unsigned mode, unsigned *both)
{
	struct mmio_instruction got;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	bool known = mmio_decode(bytes, INSTRUCTION_MAX, mode, &got);
	bool valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(zydis, bytes, INSTRUCTION_MAX, &z, operands));
	unsigned width = 0;

	if (!valid) /* the processor has not executed it */
		return;
	if (known != is_memory_move(&z, operands))
		fail_msg("%02x %02x %02x %02x in mode %u: %s", bytes[0], bytes[1], bytes[2], bytes[3], mode,
			 known ? "known" : "not known");
	if (!known)
		return;
	for (unsigned i = 0; i < z.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && !width)
			width = operands[i].size / 8;
	if (z.mnemonic == ZYDIS_MNEMONIC_MOVSXD && z.operand_width == 16)
		width = 2; /* MOVSXD r16, r/m16 in the manual; Zydis has the form of AMD, with m32 */
	if (got.length != z.length || got.size != width)
		fail_msg("%02x %02x %02x %02x %02x %02x in mode %u: length %u, size %u; Zydis: %u, %u", bytes[0], bytes[1],
			 bytes[2], bytes[3], bytes[4], bytes[5], mode, got.length,
			 got.size, z.length, width);
	++*both;
}

static void lengths_as_zydis(void **state)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf3, 0x65, 0x48, 0x44, 0x4d, 0xf0, 0xf2};

	srand(1);
	for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
		unsigned both = 0;
		ZydisDecoder zydis;

		ZydisDecoderInit(&zydis, modes[m].machine, modes[m].stack);
		for (unsigned n = 0; n < 400000; n++) {
			uint8_t bytes[INSTRUCTION_MAX];
			unsigned prefix = n % 4;

			for (unsigned i = 0; i < INSTRUCTION_MAX; i++)
				bytes[i] = (uint8_t)(rand() >> 4);
			for (unsigned i = 0; i < prefix; i++)
				bytes[i] = prefixes[(unsigned)rand() % ARRAY_SIZE(prefixes)];
			if (n % 8 == 7)
				bytes[prefix] = 0x0f;
			compare(&zydis, bytes, 16u << m, &both);
		}
		assert_true(both > 10000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_and_meanings),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(lengths_as_zydis),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

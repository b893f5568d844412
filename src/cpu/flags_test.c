/* Lazy flags against carries worked out bit by bit: every kind, every size, edge operands. */
#include "cpu/flags.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const uint64_t edges[] = {0,
				 1,
				 2,
				 7,
				 8,
				 0xf,
				 0x10,
				 0x7f,
				 0x80,
				 0x81,
				 0xff,
				 0x100,
				 0x7fff,
				 0x8000,
				 0xffff,
				 0x7fffffff,
				 0x80000000,
				 0xffffffff,
				 0x7fffffffffffffff,
				 0x8000000000000000,
				 0xffffffffffffffff,
				 0x123456789abcdef0};

static bool parity_even(uint64_t v)
{
	bool even = true;

	for (unsigned i = 0; i < 8; i++)
		even ^= v >> i & 1;
	return even;
}

/* Flags by the manual's words, with arithmetic one bit at a time where it decides. */
static uint32_t by_hand(unsigned kind, unsigned log2_size, uint64_t a, uint64_t b, uint64_t *result)
{
	unsigned bits = 8u << log2_size;
	uint64_t mask = bytes_mask(bits / 8);
	unsigned subtract = kind == CC_SUB || kind == CC_SBB;
	unsigned c = kind == CC_ADC || kind == CC_SBB;
	unsigned carries[65];
	uint64_t flags = 0, r = 0;

	carries[0] = c ^ subtract;
	for (unsigned i = 0; i < bits; i++) {
		unsigned x = a >> i & 1, y = (b >> i & 1) ^ subtract;

		r |= (uint64_t)(x ^ y ^ carries[i]) << i;
		carries[i + 1] = (x & y) | (x & carries[i]) | (y & carries[i]);
	}
	*result = r & mask;
	flags |= carries[bits] ^ subtract ? RFLAGS_CF : 0;
	flags |= carries[4] ^ subtract ? RFLAGS_AF : 0;
	flags |= carries[bits] ^ carries[bits - 1] ? RFLAGS_OF : 0;
	flags |= r & mask ? 0 : RFLAGS_ZF;
	flags |= r >> (bits - 1) & 1 ? RFLAGS_SF : 0;
	flags |= parity_even(r) ? RFLAGS_PF : 0;
	return (uint32_t)flags;
}

static void adding_and_subtracting(void **state)
{
	for (unsigned kind = CC_ADD; kind <= CC_SBB; kind++)
		for (unsigned size = 0; size < 4; size++)
			for (unsigned i = 0; i < ARRAY_SIZE(edges); i++)
				for (unsigned j = 0; j < ARRAY_SIZE(edges); j++) {
					uint64_t result, mask = bytes_mask(1u << size);
					uint32_t want = by_hand(kind, size, edges[i] & mask, edges[j] & mask, &result);
					/* Garbage above the operand size must not count. */
					struct lazy_flags cc = {.dst = result | (~mask & 0xa5a5a5a5a5a5a5a5),
								.src = edges[j],
								.op = CC(kind, size)};

					assert_int_equal(cc_flags(&cc), want);
					assert_int_equal(cc_carry(&cc), want & RFLAGS_CF ? 1 : 0);
				}
}

static void increment_keeps_carry(void **state)
{
	for (unsigned size = 0; size < 4; size++)
		for (unsigned i = 0; i < ARRAY_SIZE(edges); i++)
			for (unsigned cf = 0; cf < 2; cf++) {
				uint64_t result, mask = bytes_mask(1u << size);
				uint32_t want = by_hand(CC_ADD, size, edges[i] & mask, 1, &result);
				struct lazy_flags cc = {.dst = result, .src = cf, .op = CC(CC_INC, size)};

				assert_int_equal(cc_flags(&cc), (want & ~1u) | cf);
				want = by_hand(CC_SUB, size, edges[i] & mask, 1, &result);
				cc = (struct lazy_flags){.dst = result, .src = cf, .op = CC(CC_DEC, size)};
				assert_int_equal(cc_flags(&cc), (want & ~1u) | cf);
			}
}

static void shifts_by_one(void **state)
{
	for (unsigned size = 0; size < 4; size++)
		for (unsigned i = 0; i < ARRAY_SIZE(edges); i++) {
			unsigned bits = 8u << size;
			uint64_t mask = bytes_mask(bits / 8), a = edges[i] & mask;
			struct lazy_flags cc = {.dst = a << 1, .src = a, .op = CC(CC_SHL, size)};

			assert_int_equal(cc_carry(&cc), a >> (bits - 1) & 1);
			assert_int_equal(!(cc_flags(&cc) & RFLAGS_OF), (a >> (bits - 1) & 1) == (a >> (bits - 2) & 1));
			cc = (struct lazy_flags){.dst = a >> 1, .src = a, .op = CC(CC_SHR, size)};
			assert_int_equal(cc_carry(&cc), a & 1);
			assert_int_equal(!(cc_flags(&cc) & RFLAGS_OF), !(a >> (bits - 1) & 1));
			cc = (struct lazy_flags){
				.dst = (uint64_t)(sign_extend(a, bits) >> 1), .src = a, .op = CC(CC_SAR, size)};
			assert_int_equal(cc_carry(&cc), a & 1);
			assert_int_equal(cc_flags(&cc) & RFLAGS_OF, 0);
			assert_int_equal(!(cc_flags(&cc) & RFLAGS_SF), !(a >> (bits - 1) & 1));
		}
}

static void conditions_follow_exact_flags(void **state)
{
	struct cpu cpu = {0};

	for (unsigned n = 0; n < 64; n++) {
		bool cf = n & 1, pf = n & 2, zf = n & 4, sf = n & 8, of = n & 16;
		uint64_t flags = (cf ? RFLAGS_CF : 0) | (pf ? RFLAGS_PF : 0) | (zf ? RFLAGS_ZF : 0) |
				 (sf ? RFLAGS_SF : 0) | (of ? RFLAGS_OF : 0) | (n & 32 ? RFLAGS_AF : 0);
		bool holds[8] = {of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of};

		cc_set_exact(&cpu, flags | RFLAGS_IF);
		assert_int_equal(cc_flags(&cpu.cc), flags);
		for (unsigned condition = 0; condition < 16; condition++)
			assert_int_equal(cc_condition(&cpu.cc, condition), holds[condition / 2] != (condition & 1));
	}
}

/* A rotate changes CF and OF alone, whatever the flags came from. */
static void rotates_keep_the_rest(void **state)
{
	static struct cpu cpu;

	for (unsigned kind = CC_EXACT; kind < CC_KINDS; kind++)
		for (unsigned bits = 0; bits < 4; bits++) {
			uint32_t before;

			cpu.cc = (struct lazy_flags){
				.dst = 0x80, .src = 0x8d5, .op = CC(kind, kind == CC_EXACT ? 0 : 2)};
			before = cc_flags(&cpu.cc);
			cc_set_rotated(&cpu, bits & 1, bits & 2);
			assert_int_equal(cc_flags(&cpu.cc), (before & ~(RFLAGS_CF | RFLAGS_OF)) |
								    (bits & 1 ? RFLAGS_CF : 0) |
								    (bits & 2 ? RFLAGS_OF : 0));
			assert_int_equal(cc_carry(&cpu.cc), bits & 1);
			assert_int_equal(cc_condition(&cpu.cc, 2), bits & 1);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adding_and_subtracting), cmocka_unit_test(increment_keeps_carry),
		cmocka_unit_test(shifts_by_one),	  cmocka_unit_test(conditions_follow_exact_flags),
		cmocka_unit_test(rotates_keep_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

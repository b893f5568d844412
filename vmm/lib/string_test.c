/* Bytes, strings and numbers. The C library's functions of the same names are not in this program, so loops say what is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/string.h"

enum { SIZE = 64 };

static void number_bytes(uint8_t *bytes)
{
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)i;
}

/* Every overlap, alignment and length. */
static void moves(void **unused)
{
	for (unsigned from = 0; from < 24; from++) {
		for (unsigned to = 0; to < 24; to++) {
			for (unsigned size = 0; size <= 40; size++) {
				uint8_t bytes[SIZE];

				number_bytes(bytes);
				assert_ptr_equal(memmove(bytes + to, bytes + from, size), bytes + to);
				for (unsigned i = 0; i < SIZE; i++)
					assert_int_equal(bytes[i], i >= to && i < to + size ? i - to + from : i);
			}
		}
	}
}

static void copies_and_fills(void **unused)
{
	for (unsigned at = 0; at < 16; at++) {
		for (unsigned size = 0; size <= 40; size++) {
			uint8_t source[SIZE], copy[SIZE], fill[SIZE];

			number_bytes(source);
			number_bytes(fill);
			for (unsigned i = 0; i < SIZE; i++)
				copy[i] = 0xee;
			assert_ptr_equal(memcpy(copy + at, source, size), copy + at);
			assert_ptr_equal(memset(fill + at, 0x1a5, size), fill + at);
			for (unsigned i = 0; i < SIZE; i++) {
				bool in = i >= at && i < at + size;

				assert_int_equal(copy[i], in ? i - at : 0xee);
				assert_int_equal(fill[i], in ? 0xa5 : i);
			}
		}
	}
}

static void comparisons(void **unused)
{
	assert_int_equal(memcmp("abc", "abd", 2), 0);
	assert_true(memcmp("abc", "abd", 3) < 0);
	assert_true(memcmp("\xff", "\x01", 1) > 0);
	assert_int_equal(strcmp("", ""), 0);
	assert_true(strcmp("ab", "abc") < 0 && strcmp("abc", "ab") > 0 && strcmp("\xff", "a") > 0);
	assert_int_equal(strncmp("abcd", "abxx", 2), 0);
	assert_int_equal(strncmp("ab", "ab", 9), 0);
	assert_true(strncmp("ab", "abc", 3) < 0);
	assert_int_equal(strlen("four"), 4);
}

static void searches(void **unused)
{
	const char *text = "a=b";

	assert_ptr_equal(strchr(text, '='), text + 1);
	assert_ptr_equal(strchr(text, 0), text + 3);
	assert_null(strchr(text, 'x'));
}

static void copies_of_strings(void **unused)
{
	char to[4];

	assert_true(string_copy(to, sizeof(to), "abc"));
	assert_string_equal(to, "abc");
	assert_false(string_copy(to, sizeof(to), "defg"));
	assert_string_equal(to, "def");
	assert_true(string_copy(to, sizeof(to), ""));
	assert_string_equal(to, "");
}

static void numbers(void **unused)
{
	static const struct { const char *text; bool suffix; uint64_t value; } good[] = {
		{"0", false, 0}, {"007", false, 7}, {"18446744073709551615", false, UINT64_MAX}, {"0x0", false, 0},
		{"0xfFfFffffFFFFffff", false, UINT64_MAX}, {"256M", true, 256 << 20}, {"3G", true, UINT64_C(3) << 30},
		{"0x10K", true, 16384}, {"5", true, 5},
		{"17179869183G", true, UINT64_C(17179869183) << 30},
	};
	static const char *const bad[] = {"", "-1", " 1", "1 ", "1K", "x", "0x", "0xg", "a",
					  "18446744073709551616", "0x10000000000000000", "1.5"};
	static const char *const bad_with_suffix[] = {"M", "1T", "1MM", "1m", "17179869184G", "0xM"};
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(string_number(good[i].text, good[i].suffix, &value));
		assert_int_equal(value, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(string_number(bad[i], false, &value));
	for (size_t i = 0; i < ARRAY_SIZE(bad_with_suffix); i++)
		assert_false(string_number(bad_with_suffix[i], true, &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves),
		cmocka_unit_test(copies_and_fills),
		cmocka_unit_test(comparisons),
		cmocka_unit_test(searches),
		cmocka_unit_test(copies_of_strings),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

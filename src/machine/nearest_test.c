/*
 * Edit distance, and arguments taken apart.
 */
#include "machine/keyvals.h"
#include "machine/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void distances(void **unused)
{
	assert_int_equal(word_distance("", ""), 0);
	assert_int_equal(word_distance("kernel", ""), 6);
	assert_int_equal(word_distance("kernel", "kernel"), 0);
	assert_int_equal(word_distance("kernal", "kernel"), 1);
	assert_int_equal(word_distance("krenel", "kernel"), 1);
	assert_int_equal(word_distance("kernels", "kernel"), 1);
	assert_int_equal(word_distance("sitting", "kitten"), 3);
}

static void nearest_is_named(void **unused)
{
	struct nearest nearest = {.word = "seriel"};
	char text[64];

	assert_string_equal(nearest_text(&nearest, "-", text, sizeof(text)), "");
	nearest_offer(&nearest, "smp");
	nearest_offer(&nearest, "serial");
	nearest_offer(&nearest, "monitor");
	assert_string_equal(nearest_text(&nearest, "-", text, sizeof(text)), "; the nearest known one is '-serial'");
}

static void items(void **unused)
{
	struct keyvals kv;
	struct error error;
	bool flag = false, other = true;
	uint64_t number = 7;

	assert_true(keyvals_parse(&kv, "a,,b,key=1,key=0x20,flag,noother,last=x,,y=z", "first", &error));
	assert_string_equal(keyvals_get(&kv, "first"), "a,b");
	assert_true(keyvals_number(&kv, "key", &number, &error));
	assert_int_equal(number, 0x20);
	assert_true(keyvals_bool(&kv, "flag", &flag, &error) && flag);
	assert_true(keyvals_bool(&kv, "other", &other, &error) && !other);
	assert_null(keyvals_get(&kv, "absent"));
	assert_false(keyvals_end(&kv, "-x", &error));
	assert_string_equal(error.text, "-x has no property 'last'; the nearest known one is 'first'");
	assert_string_equal(keyvals_get(&kv, "last"), "x,y=z");
	assert_true(keyvals_end(&kv, "-x", &error));
	keyvals_free(&kv);

	assert_true(keyvals_parse(&kv, "size=big", NULL, &error));
	assert_false(keyvals_number(&kv, "size", &number, &error));
	assert_string_equal(error.text, "size=big: a whole number is wanted");
	keyvals_free(&kv);
}

static void sizes(void **unused)
{
	uint64_t value;

	assert_true(parse_size("512", 1 << 20, &value) && value == UINT64_C(512) << 20);
	assert_true(parse_size("2G", 1 << 20, &value) && value == UINT64_C(2) << 30);
	assert_true(parse_size("1MiB", 1, &value) && value == 1 << 20);
	assert_true(parse_size("0x10k", 1, &value) && value == 0x4000);
	assert_false(parse_size("", 1, &value));
	assert_false(parse_size("G", 1, &value));
	assert_false(parse_size("1X", 1, &value));
	assert_false(parse_size("-1", 1, &value));
	assert_false(parse_size("1Gx", 1, &value));
	assert_false(parse_size("99999999999999999999", 1, &value));
	assert_false(parse_size("16777216T", 1, &value));
	assert_false(parse_number("10B", &value));
	assert_false(parse_number("5k", &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distances),
		cmocka_unit_test(nearest_is_named),
		cmocka_unit_test(items),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

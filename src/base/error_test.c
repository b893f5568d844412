/* Host errors: sentences are built, prefixed and cut, never overrun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static void sentence_and_prefix(void **unused)
{
	struct error error;

	assert_false(error_set(&error, "no file '%s'", "x"));
	assert_string_equal(error.text, "no file 'x'");
	assert_false(error_prefix(&error, "disk %d", 2));
	assert_string_equal(error.text, "disk 2: no file 'x'");
}

static void long_sentences_are_cut(void **unused)
{
	char text[2000];
	struct error error;

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	error_set(&error, "%s", text);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
	error_prefix(&error, "%s", text);
	assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
}

static void memory(void **unused)
{
	char *text = xasprintf("%s-%d", "pin", 7), *copy = xstrdup(text);
	uint8_t *zero = xcalloc(3, 5);

	assert_string_equal(copy, "pin-7");
	for (unsigned i = 0; i < 15; i++)
		assert_int_equal(zero[i], 0);
	zero = xrealloc(zero, 100);
	zero[99] = 1;
	free(zero);
	free(copy);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sentence_and_prefix),
		cmocka_unit_test(long_sentences_are_cut),
		cmocka_unit_test(memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Log categories: parsed as -d gives them, written only when on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"

static void lists(void **unused)
{
	uint32_t enabled = 0;
	char unknown[8];

	assert_true(log_parse("int,cpu_reset", &enabled, unknown, sizeof(unknown)));
	assert_int_equal(enabled, BIT(LOG_INT) | BIT(LOG_CPU_RESET));
	assert_true(log_parse("all", &enabled, unknown, sizeof(unknown)));
	assert_int_equal(enabled, BITS(LOG_COUNT - 1, 0));
	assert_true(log_parse("", &enabled, unknown, sizeof(unknown)));
	assert_int_equal(enabled, 0);
}

static void unknown_words(void **unused)
{
	uint32_t enabled = 42;
	char unknown[8];

	assert_false(log_parse("io,in,exec", &enabled, unknown, sizeof(unknown)));
	assert_string_equal(unknown, "in");
	assert_int_equal(enabled, 42);
	assert_false(log_parse("a_word_longer_than_the_buffer", &enabled, unknown, sizeof(unknown)));
	assert_string_equal(unknown, "a_word_");
}

static void lines(void **unused)
{
	char *text = NULL;
	size_t size;
	struct log log = {open_memstream(&text, &size), BIT(LOG_IO)};

	log_line(&log, LOG_MMU, "not this");
	log_line(&log, LOG_IO, "port %x", 0x80);
	fclose(log.file);
	assert_string_equal(text, "port 80\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(unknown_words),
		cmocka_unit_test(lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

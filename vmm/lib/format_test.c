/* Formats, against the C library's: the same text, the same length, the same cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "lib/print.h"

#define SAME(...)                                                                                                      \
	do {                                                                                                           \
		for (size_t size = 0; size < 70; size++) {                                                             \
			char ours[80], theirs[80];                                                                     \
			memset(ours, '#', sizeof(ours));                                                               \
			memset(theirs, '#', sizeof(theirs));                                                           \
			assert_int_equal(format_text(ours, size, __VA_ARGS__), snprintf(theirs, size, __VA_ARGS__));   \
			assert_memory_equal(ours, theirs, sizeof(ours));                                               \
		}                                                                                                      \
	} while (0)

static void text(void **unused)
{
	SAME("%s", "");
	SAME("plain %% text%c", '!');
	SAME("[%s] [%10s] [%-10s] [%2s]", "abc", "abc", "abc", "abc");
	SAME("[%c] [%3c] [%-3c]", 'x', 'y', 'z');
}

static void numbers(void **unused)
{
	static const int64_t values[] = {0, 1, -1, 9, 10, -10, 255, 1000000, INT32_MAX, INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		int64_t v = values[i];

		SAME("%d %u %x", (int)v, (unsigned)v, (unsigned)v);
		SAME("%ld %lu %lx", (long)v, (unsigned long)v, (unsigned long)v);
		SAME("%lld %llu %llx %zu %zx", (long long)v, (unsigned long long)v, (unsigned long long)v, (size_t)v, (size_t)v);
		SAME("[%5d] [%-5d] [%05d]", (int)v, (int)v, (int)v);
		SAME("[%012ld] [%-24ld] [%024lx]", (long)v, (long)v, (unsigned long)v);
	}
}

static void pointers(void **unused)
{
	SAME("%p [%12p] [%-12p]", (void *)0x1000, (void *)0xabc, (void *)0xabc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(numbers),
		cmocka_unit_test(pointers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

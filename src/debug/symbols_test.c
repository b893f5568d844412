/* Symbol tables: both ELF classes, which of several names wins, where code is loaded, and files that lie. */
#include "debug/symbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "debug/tiny_elf.h"

static const struct tiny_symbol symbols[] = {
	{"start", TINY_CODE, 0, 0, 1},
	{"main", TINY_CODE + 0x100, 0x40, 2, 1},
	{"alias", TINY_CODE + 0x100, 0, 0, 1},
	{"label_in_main", TINY_CODE + 0x110, 0, 0, 1},
	{"data", TINY_CODE + 0x200, 8, 1, 1},
	{"elsewhere", TINY_CODE + 0x210, 8, 2, 2},
	{".Llocal", TINY_CODE + 0x220, 8, 2, 1},
	{"last", TINY_CODE + 0x300, 0x10, 2, 1},
	{"outside", TINY_CODE + 0x2000, 8, 2, 1},
	{"inner", TINY_CODE + 0x304, 2, 2, 1},
};
enum { GOOD = 6 }; /* the others are data, in no code section, or outside of theirs */

#define NOWHERE ~UINT64_C(0)
#define LOADED	UINT64_C(0x101000)

static void assert_symbol(const struct symbols *s, uint64_t offset, pa_t physical, const char *wanted,
			  uint64_t distance)
{
	const char *name = NULL;
	uint64_t from = 0;

	assert_int_equal(symbols_find(s, TINY_CODE + offset, physical, &name, &from), wanted != NULL);
	if (!wanted)
		return;
	assert_string_equal(name, wanted);
	assert_int_equal(from, distance);
}

static void finds(void **state)
{
	for (unsigned wide = 0; wide < 2; wide++) {
		struct symbols *s = symbols_create();
		uint8_t bytes[4096];

		assert_int_equal(symbols_add(s, bytes, tiny_elf(bytes, wide, LOADED, symbols, ARRAY_SIZE(symbols))),
				 GOOD);
		assert_symbol(s, 0, NOWHERE, "start", 0);
		assert_symbol(s, 0xff, NOWHERE, "start", 0xff);
		assert_symbol(s, 0x100, NOWHERE, "main", 0);
		assert_symbol(s, 0x10f, NOWHERE, "main", 0xf);
		assert_symbol(s, 0x300, NOWHERE, "last", 0);
		assert_symbol(s, 0x305, NOWHERE, "inner", 1);
		assert_symbol(s, 0x306, NOWHERE, "last", 6);
		assert_symbol(s, 0x30f, LOADED + 0x30f, "last", 0xf);
		assert_symbol(s, 0x30f, LOADED + 0x1030f, NULL, 0);
		assert_symbol(s, -UINT64_C(1), NOWHERE, NULL, 0);
		assert_symbol(s, TINY_SIZE, NOWHERE, NULL, 0);
		symbols_destroy(s);
	}
}

/* Every byte of a file wrong in turn, and every length: nothing is read outside of it, and nothing hangs. */
static void any_bytes(void **state)
{
	uint8_t good[4096];
	size_t size = tiny_elf(good, true, LOADED, symbols, ARRAY_SIZE(symbols)), interesting = 900;

	for (unsigned i = 0; i < interesting; i++) {
		static const uint8_t values[] = {0, 1, 0x7f, 0xff};

		for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
			struct symbols *s = symbols_create();
			uint8_t *bytes = malloc(size);
			const char *name;
			uint64_t offset;

			memcpy(bytes, good, size);
			bytes[i] = values[v];
			symbols_add(s, bytes, size);
			symbols_find(s, TINY_CODE + 0x120, NOWHERE, &name, &offset);
			free(bytes);
			symbols_destroy(s);
		}
	}
	for (size_t length = 0; length < interesting; length += 7) {
		struct symbols *s = symbols_create();
		uint8_t *bytes = malloc(length + 1);

		memcpy(bytes, good, length);
		assert_int_equal(symbols_add(s, bytes, length), 0);
		free(bytes);
		symbols_destroy(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(finds), cmocka_unit_test(any_bytes)};

	return cmocka_run_group_tests_name("debug/symbols", tests, NULL, NULL);
}

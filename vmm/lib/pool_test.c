/* The pool: pieces are aligned, zeroed, apart from each other, and all that was added can be taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lib/pool.h"
#include "lib/print.h"

enum { BYTES = 8 << 20 };

static uint8_t *memory;

void panic(const char *format, ...)
{
	mock_assert(0, format, __FILE__, __LINE__);
	abort();
}

static int add(void **unused)
{
	memory = aligned_alloc(2 << 20, BYTES);
	memset(memory, 0xee, BYTES);
	pool_add(pa_of(memory), BYTES - 3 * PAGE);
	return 0;
}

static void pieces(void **unused)
{
	enum { PIECES = 400 };
	uint64_t left = pool_left();

	assert_int_equal(left, BYTES - 3 * PAGE);
	for (unsigned i = 0; i < PIECES; i++) {
		uint64_t size = i % 5 ? 1 + i * 7 : PAGE * (1 + i % 3), align = i % 5 ? 16 : PAGE;
		uint8_t *piece = pool_take(size, align);

		assert_non_null(piece);
		assert_true(piece >= memory && piece + size <= memory + BYTES - 3 * PAGE);
		assert_int_equal(pa_of(piece) % align, 0);
		for (uint64_t n = 0; n < size; n++) {
			assert_int_equal(piece[n], 0); /* nor had it been taken before */
			piece[n] = 0xdd;
		}
		left -= ALIGN_UP(size, 16);
		assert_int_equal(pool_left(), left);
	}
	assert_null(pool_take_low(PAGE)); /* there is none */
}

static void large(void **unused)
{
	assert_null(pool_take(BYTES, 16));
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *piece = pool_take(2 << 20, 2 << 20);

		assert_non_null(piece);
		assert_int_equal(pa_of(piece) % (2 << 20), 0);
	}
}

static void sealed(void **unused)
{
	pool_seal();
	expect_assert_failure((void)pool_take(1, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
		cmocka_unit_test(large),
		cmocka_unit_test(sealed),
	};

	return cmocka_run_group_tests(tests, add, NULL);
}

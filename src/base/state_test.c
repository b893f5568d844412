/* Save, restore and digest agree; damaged states are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/state.h"

struct part {
	uint32_t number;
	uint8_t text[37];
	uint8_t *memory;
	size_t size;
};

static void part_state(struct part *part, struct state *state)
{
	state_section(state, "part");
	state_var(state, part->number);
	state_bytes(state, part->text, sizeof(part->text));
	state_memory(state, part->memory, part->size);
}

static void digest_of(struct part *part, char text[33])
{
	struct state *state = state_digest();

	part_state(part, state);
	state_digest_text(state, text);
	state_free(state);
}

static struct part make_part(size_t size)
{
	struct part part = {.number = 7, .text = "hello", .size = size};

	part.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(part.memory, MAP_FAILED);
	return part;
}

static void round_trip(void **unused)
{
	struct part one = make_part(5 * 4096 + 100), two = make_part(5 * 4096 + 100);
	struct state *save = state_save(), *restore;
	char digest_one[33], digest_two[33];
	const void *data;
	size_t size;

	one.memory[3 * 4096 + 17] = 9;
	one.memory[5 * 4096 + 99] = 8;
	two.memory[4096] = 1; /* must become zero again */
	two.number = 0;
	part_state(&one, save);
	data = state_data(save, &size);
	restore = state_restore(data, size);
	assert_true(state_restoring(restore));
	part_state(&two, restore);
	assert_false(state_failed(restore));
	assert_int_equal(two.number, 7);
	assert_string_equal(two.text, "hello");
	assert_memory_equal(one.memory, two.memory, one.size);
	digest_of(&one, digest_one);
	digest_of(&two, digest_two);
	assert_string_equal(digest_one, digest_two);
	assert_int_equal(strlen(digest_one), 32);

	/* Any cut is noticed, and none reads past the end. */
	for (size_t cut = 0; cut < size; cut += 61) {
		struct state *bad;
		uint8_t *copy = malloc(cut ? cut : 1);

		memcpy(copy, data, cut);
		bad = state_restore(copy, cut);
		part_state(&two, bad);
		assert_true(state_failed(bad));
		assert_true(strlen(state_why(bad)) > 0);
		state_free(bad);
		free(copy);
	}
	state_free(restore);
	state_free(save);
	munmap(one.memory, one.size);
	munmap(two.memory, two.size);
}

static void other_machine(void **unused)
{
	struct part one = make_part(4096), two = make_part(8192);
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	part_state(&one, save);
	data = state_data(save, &size);
	restore = state_restore(data, size);
	part_state(&two, restore);
	assert_true(state_failed(restore));
	state_free(restore);

	restore = state_restore(data, size);
	state_section(restore, "port");
	assert_true(state_failed(restore));
	assert_non_null(strstr(state_why(restore), "'port'"));
	state_free(restore);

	restore = state_restore(data, size);
	state_refuse(restore, "first");
	state_refuse(restore, "second");
	assert_string_equal(state_why(restore), "first");
	state_free(restore);
	state_free(save);
	munmap(one.memory, one.size);
	munmap(two.memory, two.size);
}

static void every_bit_changes_the_digest(void **unused)
{
	uint8_t bytes[40] = {0};
	char seen[8 * sizeof(bytes) + 1][33];
	unsigned count = 0;

	for (unsigned bit = 0; bit <= 8 * sizeof(bytes); bit++) {
		struct state *state = state_digest();

		if (bit < 8 * sizeof(bytes))
			bytes[bit / 8] ^= 1 << bit % 8;
		/* In uneven pieces: only the bytes count. */
		state_bytes(state, bytes, bit % 17);
		state_bytes(state, bytes + bit % 17, sizeof(bytes) - bit % 17);
		state_digest_text(state, seen[count]);
		state_free(state);
		for (unsigned i = 0; i < count; i++)
			if (!strcmp(seen[i], seen[count]))
				fail_msg("bits %u and %u", i, bit);
		count++;
		if (bit < 8 * sizeof(bytes))
			bytes[bit / 8] ^= 1 << bit % 8;
	}
}

static void place_of_a_page_counts(void **unused)
{
	struct part one = make_part(64 * 4096), two = make_part(64 * 4096);
	char digest_one[33], digest_two[33];

	one.memory[4096] = 1;
	two.memory[8192] = 1;
	digest_of(&one, digest_one);
	digest_of(&two, digest_two);
	assert_string_not_equal(digest_one, digest_two);
	munmap(one.memory, one.size);
	munmap(two.memory, two.size);
}

/* A large memory costs no host memory to walk. */
static void untouched_pages_stay_untouched(void **unused)
{
	struct part part = make_part((size_t)1 << 30);
	unsigned char resident[256];
	struct state *save = state_save();
	size_t size;

	part.memory[(size_t)1 << 29] = 1;
	part_state(&part, save);
	state_data(save, &size);
	assert_true(size < 8192);
	assert_int_equal(mincore(part.memory, 256 * 4096, resident), 0);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(resident[i] & 1, 0);
	state_free(save);
	munmap(part.memory, part.size);
}

/* A byte of a hostile file that is neither false nor true must not get into a bool. */
static void bool_is_a_bool(void **unused)
{
	static const uint8_t saved[] = {0xfe, 0xff};
	struct state *state = state_restore(saved, sizeof(saved));
	bool even = true, odd = false;
	uint8_t byte;

	state_var(state, even);
	state_var(state, odd);
	assert_false(state_failed(state));
	memcpy(&byte, &even, 1);
	assert_int_equal(byte, 0);
	memcpy(&byte, &odd, 1);
	assert_int_equal(byte, 1);
	state_free(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(other_machine),
		cmocka_unit_test(every_bit_changes_the_digest),
		cmocka_unit_test(place_of_a_page_counts),
		cmocka_unit_test(untouched_pages_stay_untouched),
		cmocka_unit_test(bool_is_a_bool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

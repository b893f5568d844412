/* 8254 against the waveforms of its data sheet, "Mode Definitions": N is counted in CLK pulses after the write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "chipset/pit.h"

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct pit *pit;
	bool irq;
	unsigned rises;
	uint64_t tick; /* CLK pulses so far */
};

static void irq(void *listener, unsigned line, bool level)
{
	struct fixture *f = listener;

	f->rises += level && !f->irq;
	f->irq = level;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_out(f->bus, port, 1, value);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_in(f->bus, port, 1);
}

static void run(struct fixture *f, uint64_t ticks)
{
	vtime_t to = clock_when(f->tick += ticks, PIT_HZ), next;

	while ((next = clock_next(f->clock)) <= to) {
		clock_advance_to(f->clock, next);
		clock_fire_due(f->clock);
	}
	clock_advance_to(f->clock, to);
}

/* Counter 2, low byte only, in a mode; returns the level of OUT. */
static bool program(struct fixture *f, unsigned mode, uint8_t count)
{
	out(f, 0x43, (uint8_t)(0x90 | mode << 1));
	out(f, 0x42, count);
	return pit_out2(f->pit);
}

static uint8_t count(struct fixture *f)
{
	return in(f, 0x42);
}

/* Levels of OUT after each of the next CLK pulses: 1 and 0. */
static void expect(struct fixture *f, const char *levels)
{
	for (const char *at = levels; *at; at++) {
		run(f, 1);
		if (pit_out2(f->pit) != (*at == '1'))
			fail_msg("OUT after pulse %d of %s", (int)(at - levels) + 1, levels);
	}
}

/* Low byte of the counting element after each of the next CLK pulses. */
static void expect_counts(struct fixture *f, const uint8_t *counts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		run(f, 1);
		assert_int_equal(count(f), counts[i]);
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->bus = bus_create(&quiet);
	f->clock = clock_create();
	f->pit = pit_create(f->bus, f->clock, &(struct irq){irq, f, 0}, &quiet);
	pit_set_gate2(f->pit, true);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pit_destroy(f->pit);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static void mode_0(void **state)
{
	struct fixture *f = *state;

	/* OUT goes high N + 1 pulses after the count was written. */
	assert_false(program(f, 0, 4));
	expect_counts(f, (uint8_t[]){4, 3, 2, 1}, 4);
	assert_false(pit_out2(f->pit));
	expect_counts(f, (uint8_t[]){0}, 1);
	assert_true(pit_out2(f->pit));
	expect_counts(f, (uint8_t[]){0xff, 0xfe}, 2); /* goes on */
	assert_true(pit_out2(f->pit));
	/* Gate low stops, and does not touch OUT. */
	assert_false(program(f, 0, 3));
	expect_counts(f, (uint8_t[]){3, 2}, 2);
	pit_set_gate2(f->pit, false);
	expect_counts(f, (uint8_t[]){2, 2}, 2);
	pit_set_gate2(f->pit, true);
	expect(f, "01");
	/* Written while the gate is low: loaded all the same, so N pulses after it rises. */
	pit_set_gate2(f->pit, false);
	assert_false(program(f, 0, 2));
	expect_counts(f, (uint8_t[]){2, 2}, 2);
	pit_set_gate2(f->pit, true);
	expect(f, "01");
	/* A new count in the middle starts anew. */
	program(f, 0, 4);
	expect_counts(f, (uint8_t[]){4, 3}, 2);
	out(f, 0x42, 2);
	expect_counts(f, (uint8_t[]){2, 1}, 2);
	assert_false(pit_out2(f->pit));
	expect(f, "1");
}

static void mode_0_two_bytes(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xb0);
	out(f, 0x42, 5);
	out(f, 0x42, 0);
	run(f, 6);
	assert_true(pit_out2(f->pit));
	out(f, 0x42, 3); /* the first byte stops the counting and lowers OUT */
	assert_false(pit_out2(f->pit));
	run(f, 100);
	assert_false(pit_out2(f->pit));
	out(f, 0x42, 0);
	expect(f, "0001");
}

static void mode_1(void **state)
{
	struct fixture *f = *state;

	pit_set_gate2(f->pit, false);
	assert_true(program(f, 1, 3));
	expect(f, "111");
	pit_set_gate2(f->pit, true); /* trigger: low for N pulses from the next */
	expect(f, "00011");
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "00");
	pit_set_gate2(f->pit, false); /* the gate's level means nothing */
	pit_set_gate2(f->pit, true);  /* retriggered */
	expect(f, "0001");
	/* A new count waits for the next trigger. */
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "0");
	out(f, 0x42, 5);
	expect(f, "001");
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "000001");
}

/* A trigger before the first count starts nothing. */
static void early_trigger(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0x92);
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "111");
	out(f, 0x42, 3);
	expect(f, "111");
	pit_set_gate2(f->pit, true); /* no edge */
	expect(f, "111");
}

static void mode_2(void **state)
{
	struct fixture *f = *state;

	assert_true(program(f, 2, 3));
	expect_counts(f, (uint8_t[]){3, 2, 1, 3, 2, 1, 3}, 7);
	program(f, 2, 3);
	expect(f, "110110110");
	/* Gate low: OUT high at once, reload when it rises. */
	program(f, 2, 3);
	expect(f, "11");
	pit_set_gate2(f->pit, false);
	expect(f, "1111");
	pit_set_gate2(f->pit, true);
	expect(f, "110110");
	/* A new count is taken at the end of the period. */
	program(f, 2, 4);
	expect_counts(f, (uint8_t[]){4, 3}, 2);
	out(f, 0x42, 5);
	expect_counts(f, (uint8_t[]){2, 1, 5, 4, 3, 2, 1, 5}, 8);
}

static void mode_3(void **state)
{
	struct fixture *f = *state;

	assert_true(program(f, 3, 4));
	expect_counts(f, (uint8_t[]){4, 2, 4, 2, 4, 2, 4, 2}, 8);
	program(f, 3, 4);
	expect(f, "11001100");
	/* Odd: high for (N + 1) / 2, low for (N - 1) / 2. */
	program(f, 3, 5);
	expect_counts(f, (uint8_t[]){4, 2, 0, 4, 2, 4, 2, 0, 4, 2}, 10);
	program(f, 3, 5);
	expect(f, "1110011100");
	program(f, 3, 4);
	expect(f, "110");
	pit_set_gate2(f->pit, false);
	assert_true(pit_out2(f->pit));
	expect(f, "111");
	pit_set_gate2(f->pit, true);
	expect(f, "1100");
	/* A new count is taken at the end of the half-cycle. */
	program(f, 3, 4);
	expect(f, "1");
	out(f, 0x42, 6);
	expect(f, "1000111000");
	/* Long unattended: the phase is right. */
	program(f, 3, 5);
	run(f, 1000001);
	expect(f, "1100111");
}

static void mode_4(void **state)
{
	struct fixture *f = *state;

	assert_true(program(f, 4, 3));
	expect(f, "1110111");
	program(f, 4, 3);
	expect(f, "11");
	pit_set_gate2(f->pit, false);
	expect(f, "111");
	pit_set_gate2(f->pit, true);
	expect(f, "101");
	program(f, 4, 2);
	expect_counts(f, (uint8_t[]){2, 1, 0, 0xff, 0xfe}, 5);
	out(f, 0x42, 2);
	expect(f, "1101");
}

static void mode_5(void **state)
{
	struct fixture *f = *state;

	pit_set_gate2(f->pit, false);
	assert_true(program(f, 5, 3));
	expect(f, "11111");
	pit_set_gate2(f->pit, true);
	expect(f, "1110111");
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "11");
	pit_set_gate2(f->pit, false);
	pit_set_gate2(f->pit, true);
	expect(f, "11101");
}

static void zero_is_the_largest(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xb0);
	out(f, 0x42, 0);
	out(f, 0x42, 0);
	run(f, 65536);
	assert_false(pit_out2(f->pit));
	run(f, 1);
	assert_true(pit_out2(f->pit));
	out(f, 0x43, 0xb1); /* BCD: 10000 */
	out(f, 0x42, 0);
	out(f, 0x42, 0);
	run(f, 10000);
	assert_false(pit_out2(f->pit));
	run(f, 1);
	assert_true(pit_out2(f->pit));
	run(f, 1);
	assert_int_equal(in(f, 0x42), 0x99);
	assert_int_equal(in(f, 0x42), 0x99);
}

static void bcd(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xb5);
	out(f, 0x42, 0x00);
	out(f, 0x42, 0x12);
	run(f, 2); /* 1199 */
	assert_int_equal(in(f, 0x42), 0x99);
	assert_int_equal(in(f, 0x42), 0x11);
}

static void latches(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xb4);
	out(f, 0x42, 0x34);
	out(f, 0x42, 0x12);
	run(f, 1);
	out(f, 0x43, 0x80);
	run(f, 5);
	out(f, 0x43, 0x80); /* ignored until the first was read */
	assert_int_equal(in(f, 0x42), 0x34);
	run(f, 5);
	assert_int_equal(in(f, 0x42), 0x12);
	assert_int_equal(in(f, 0x42), 0x34 - 10);
	assert_int_equal(in(f, 0x42), 0x12);
}

static void read_back(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xb4);
	out(f, 0x43, 0xe8); /* status of counter 2 */
	assert_int_equal(in(f, 0x42), 0x80 | 0x40 | 0x34);
	out(f, 0x42, 0x34);
	out(f, 0x42, 0x12);
	out(f, 0x43, 0xe8);
	assert_int_equal(in(f, 0x42), 0xf4); /* not yet in the counting element */
	run(f, 1);
	out(f, 0x43, 0xc8); /* both: status first */
	run(f, 3);
	assert_int_equal(in(f, 0x42), 0xb4);
	assert_int_equal(in(f, 0x42), 0x34);
	assert_int_equal(in(f, 0x42), 0x12);
	/* Mode bits come back as written. */
	out(f, 0x43, 0xbe);
	out(f, 0x43, 0xe8);
	assert_int_equal(in(f, 0x42) & 0x3f, 0x3e);
	/* Several counters at once. */
	out(f, 0x43, 0x34);
	out(f, 0x43, 0xee);
	assert_int_equal(in(f, 0x40) & 0x3f, 0x34);
	assert_int_equal(in(f, 0x42) & 0x3f, 0x3e);
	assert_int_equal(in(f, 0x43), 0xff);
}

static void byte_access(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0xa4); /* high byte only */
	out(f, 0x42, 2);
	run(f, 2); /* 01FF */
	assert_int_equal(in(f, 0x42), 1);
	assert_int_equal(in(f, 0x42), 1);
	run(f, 0xff);
	assert_int_equal(in(f, 0x42), 1);
	run(f, 1);
	assert_int_equal(in(f, 0x42), 0);
}

static void interrupts(void **state)
{
	struct fixture *f = *state;

	out(f, 0x43, 0x34);
	out(f, 0x40, 100);
	out(f, 0x40, 0);
	assert_true(f->irq);
	f->rises = 0;
	run(f, 1 + 100 * 50);
	assert_int_equal(f->rises, 50);
	/* One shot. */
	out(f, 0x43, 0x30);
	out(f, 0x40, 10);
	out(f, 0x40, 0);
	assert_false(f->irq);
	run(f, 10);
	assert_false(f->irq);
	run(f, 1);
	assert_true(f->irq);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	/* Periods of one, which the data sheet forbids, do no harm. */
	out(f, 0x43, 0x14);
	out(f, 0x40, 1);
	run(f, 1000);
	out(f, 0x43, 0x16);
	out(f, 0x40, 1);
	run(f, 1000);
	program(f, 3, 1);
	run(f, 1000);
	pit_out2(f->pit);
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	out(f, 0x43, 0x34);
	out(f, 0x40, 100);
	out(f, 0x40, 0);
	run(f, 30);
	pit_state(f->pit, save);
	data = state_data(save, &size);
	pit_reset(f->pit);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	restore = state_restore(data, size);
	pit_state(f->pit, restore);
	assert_false(state_failed(restore));
	f->irq = true;
	f->rises = 0;
	run(f, 70);
	assert_int_equal(f->rises, 0);
	run(f, 1);
	assert_int_equal(f->rises, 1);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(mode_0),	     TEST(mode_0_two_bytes), TEST(mode_1),
		TEST(early_trigger), TEST(mode_2),	     TEST(mode_3),
		TEST(mode_4),	     TEST(mode_5),	     TEST(zero_is_the_largest),
		TEST(bcd),	     TEST(latches),	     TEST(read_back),
		TEST(byte_access),   TEST(interrupts),	     TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

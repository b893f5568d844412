/* The 8254 against the waveforms of its data sheet, "Mode Definitions": N is counted in CLK pulses after the write. */
#include "devices/clock.h"
#include "devices/fake_vm.h"

static void ticks(struct fake *f, uint64_t n)
{
	run_to(f, clock_ns(clock_ticks(f->now, I8254_HZ) + n, I8254_HZ));
}

static void gate2(struct fake *f, bool gate) { out(f, 0x61, gate); }
static bool out2(struct fake *f) { return in(f, 0x61) & 0x20; }

/* Counter 2, low byte only, in a mode; returns the level of OUT. */
static bool program(struct fake *f, unsigned mode, uint8_t count)
{
	out(f, 0x43, (uint8_t)(0x90 | mode << 1));
	out(f, 0x42, count);
	return out2(f);
}

/* Levels of OUT 2 after each of the next CLK pulses. */
static void expect(struct fake *f, const char *levels)
{
	for (const char *at = levels; *at; at++) {
		ticks(f, 1);
		if (out2(f) != (*at == '1'))
			fail_msg("OUT after pulse %d of %s", (int)(at - levels) + 1, levels);
	}
}

static void expect_counts(struct fake *f, const uint8_t *counts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ticks(f, 1);
		assert_int_equal(in(f, 0x42), counts[i]);
	}
}

/* Interrupts of channel 0 within a time. */
static unsigned interrupts(struct fake *f, uint64_t ns)
{
	unsigned before = f->messages;

	run(f, ns);
	return f->messages - before;
}

static void mode_0(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	assert_false(program(f, 0, 4)); /* OUT rises N + 1 pulses after the write */
	expect_counts(f, (uint8_t[]){4, 3, 2, 1}, 4);
	assert_false(out2(f));
	expect_counts(f, (uint8_t[]){0}, 1);
	assert_true(out2(f));
	expect_counts(f, (uint8_t[]){0xff, 0xfe}, 2); /* goes on */
	assert_true(out2(f));
	assert_false(program(f, 0, 3)); /* GATE low stops, and does not touch OUT */
	expect_counts(f, (uint8_t[]){3, 2}, 2);
	gate2(f, false);
	expect_counts(f, (uint8_t[]){2, 2}, 2);
	gate2(f, true);
	expect(f, "01");
	gate2(f, false); /* written while GATE is low: loaded all the same */
	assert_false(program(f, 0, 2));
	expect_counts(f, (uint8_t[]){2, 2}, 2);
	gate2(f, true);
	expect(f, "01");
	program(f, 0, 4); /* a new count in the middle starts anew */
	expect_counts(f, (uint8_t[]){4, 3}, 2);
	out(f, 0x42, 2);
	expect_counts(f, (uint8_t[]){2, 1}, 2);
	assert_false(out2(f));
	expect(f, "1");
}

static void mode_0_two_bytes(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	out(f, 0x43, 0xb0);
	out(f, 0x42, 5);
	out(f, 0x42, 0);
	ticks(f, 6);
	assert_true(out2(f));
	out(f, 0x42, 3); /* the first byte stops the counting and lowers OUT */
	assert_false(out2(f));
	ticks(f, 100);
	assert_false(out2(f));
	out(f, 0x42, 0);
	expect(f, "0001");
}

static void mode_1(void **state)
{
	struct fake *f = *state;

	assert_true(program(f, 1, 3));
	expect(f, "111");
	gate2(f, true);
	expect(f, "0001");
	gate2(f, false); /* its level means nothing */
	expect(f, "11");
	gate2(f, true);
	expect(f, "00");
	gate2(f, false);
	gate2(f, true); /* retriggered */
	expect(f, "0001");
	gate2(f, false);
	gate2(f, true);
	out(f, 0x42, 5); /* waits for the next trigger */
	expect(f, "0001");
	gate2(f, false);
	gate2(f, true);
	expect(f, "000001");
}

static void a_trigger_before_the_first_count_starts_nothing(void **state)
{
	struct fake *f = *state;

	out(f, 0x43, 0x92);
	gate2(f, true);
	expect(f, "111");
	out(f, 0x42, 3);
	expect(f, "11111");
}

static void mode_2(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	assert_true(program(f, 2, 4));
	expect_counts(f, (uint8_t[]){4, 3, 2, 1, 4, 3, 2, 1, 4}, 9);
	expect(f, "11011101");
	out(f, 0x42, 3); /* from the next period on */
	expect(f, "110110110");
	gate2(f, false);
	assert_true(out2(f));
	expect(f, "1111");
	gate2(f, true); /* begins anew */
	expect(f, "110110");
}

static void mode_3(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	assert_true(program(f, 3, 4));
	expect_counts(f, (uint8_t[]){4, 2, 4, 2, 4}, 5);
	expect(f, "100110011");
	assert_true(program(f, 3, 5));
	expect_counts(f, (uint8_t[]){4, 2, 0, 4, 2, 4}, 6);
	assert_true(program(f, 7, 5)); /* 7 is 3 */
	expect(f, "1110011100");
	gate2(f, false);
	assert_true(out2(f));
}

static void mode_4(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	assert_true(program(f, 4, 3));
	expect(f, "1110111");
	out(f, 0x42, 2);
	expect(f, "1101");
}

static void mode_5(void **state)
{
	struct fake *f = *state;

	assert_true(program(f, 5, 3));
	expect(f, "1111");
	gate2(f, true);
	expect(f, "11101111");
	gate2(f, false);
	gate2(f, true);
	expect(f, "111011");
}

static void bcd(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	out(f, 0x43, 0xb1);
	out(f, 0x42, 0x00);
	out(f, 0x42, 0x10);
	ticks(f, 2);
	assert_int_equal(in(f, 0x42), 0x99);
	assert_int_equal(in(f, 0x42), 0x09);
	out(f, 0x42, 0x00); /* 10000 */
	out(f, 0x42, 0x00);
	ticks(f, 2);
	assert_int_equal(in(f, 0x42), 0x99);
	assert_int_equal(in(f, 0x42), 0x99);
	ticks(f, 10000);
	assert_int_equal(in(f, 0x42), 0x99);
	assert_int_equal(in(f, 0x42), 0x99);
	assert_true(out2(f));
}

static void latches_and_status(void **state)
{
	struct fake *f = *state;

	gate2(f, true);
	out(f, 0x43, 0xb4);
	out(f, 0x43, 0xe8); /* status: null count, OUT high */
	assert_int_equal(in(f, 0x42), 0xf4);
	out(f, 0x42, 0x34);
	out(f, 0x42, 0x12);
	out(f, 0x43, 0xe8);
	assert_int_equal(in(f, 0x42), 0xf4); /* not before the next pulse */
	ticks(f, 1);
	out(f, 0x43, 0x80); /* latch */
	ticks(f, 5);
	out(f, 0x43, 0x80); /* changes nothing */
	assert_int_equal(in(f, 0x42), 0x34);
	assert_int_equal(in(f, 0x42), 0x12);
	assert_int_equal(in(f, 0x42), 0x2f);
	assert_int_equal(in(f, 0x42), 0x12);
	out(f, 0x43, 0xc8); /* both: status comes first */
	ticks(f, 1);
	assert_int_equal(in(f, 0x42), 0xb4);
	assert_int_equal(in(f, 0x42), 0x2f);
	assert_int_equal(in(f, 0x42), 0x12);
	assert_int_equal(in(f, 0x43), 0xff);
}

static void interrupt_rate(void **state)
{
	struct fake *f = *state;

	ioapic_write(&f->vm, 0, 0x14);
	ioapic_write(&f->vm, 0x10, 0x30); /* pin 2: an edge is a message */
	assert_int_equal(interrupts(f, SECOND), 0);
	out(f, 0x43, 0x34); /* 1193 ticks, about 1000 Hz */
	out(f, 0x40, 0xa9);
	out(f, 0x40, 0x04);
	assert_int_equal(interrupts(f, SECOND), 1000);
	out(f, 0x43, 0x36); /* 65536 ticks, 18.2 Hz */
	out(f, 0x40, 0);
	out(f, 0x40, 0);
	assert_int_equal(interrupts(f, 10 * SECOND), 182);
	out(f, 0x43, 0x30); /* once */
	out(f, 0x40, 0);
	out(f, 0x40, 1);
	assert_int_equal(interrupts(f, SECOND), 1);
	out(f, 0x43, 0x38);
	out(f, 0x40, 0);
	out(f, 0x40, 1);
	assert_int_equal(interrupts(f, SECOND), 1);
	out(f, 0x43, 0x32); /* modes 1 and 5 wait for GATE 0, which never changes */
	out(f, 0x40, 0);
	out(f, 0x40, 1);
	assert_int_equal(interrupts(f, SECOND), 0);
	assert_int_equal(i8254_deadline(&f->vm), NEVER);
}

static void short_periods_interrupt_seldom(void **state)
{
	struct fake *f = *state;

	ioapic_write(&f->vm, 0, 0x14);
	ioapic_write(&f->vm, 0x10, 0x30);
	out(f, 0x43, 0x14);
	out(f, 0x40, 1);
	assert_in_range(interrupts(f, SECOND), 5000, 10000);
	f->now += 1000 * SECOND; /* and who looks late finds one */
	assert_int_equal(interrupts(f, 1), 1);
}

static void a_late_look_keeps_the_phase(void **state)
{
	struct fake *f = *state;
	uint64_t period = clock_ns(1193, I8254_HZ), next;

	out(f, 0x43, 0x34);
	out(f, 0x40, 0xa9);
	out(f, 0x40, 0x04);
	next = i8254_deadline(&f->vm);
	f->now = next + 5 * period + period / 2;
	devices_tick(&f->vm, f->now);
	assert_in_range(i8254_deadline(&f->vm), next + 6 * period - 10000, next + 6 * period);
}

static void port_61(void **state)
{
	struct fake *f = *state;
	uint8_t refresh = in(f, 0x61) & 0x10;

	assert_int_equal(in(f, 0x61) & 0x0f, 0);
	out(f, 0x61, 0xff);
	assert_int_equal(in(f, 0x61) & 0x0f, 3);
	run(f, 15085);
	assert_int_not_equal(in(f, 0x61) & 0x10, refresh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mode_0), TEST(mode_0_two_bytes), TEST(mode_1), TEST(a_trigger_before_the_first_count_starts_nothing), TEST(mode_2),
		TEST(mode_3), TEST(mode_4), TEST(mode_5), TEST(bcd), TEST(latches_and_status), TEST(interrupt_rate),
		TEST(short_periods_interrupt_seldom), TEST(a_late_look_keeps_the_phase), TEST(port_61),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The real-time clock against the MC146818A data sheet. */
#include "devices/clock.h"
#include "devices/fake_vm.h"

static void put(struct fake *f, uint8_t index, uint8_t value)
{
	out(f, 0x70, index);
	out(f, 0x71, value);
}

static uint8_t get(struct fake *f, uint8_t index)
{
	out(f, 0x70, index);
	return in(f, 0x71);
}

static void expect_time(struct fake *f, uint32_t date, uint32_t time)
{
	uint32_t d = (uint32_t)(get(f, RTC_CENTURY) << 24 | get(f, RTC_YEAR) << 16 | get(f, RTC_MONTH) << 8 | get(f, RTC_DAY));
	uint32_t t = (uint32_t)(get(f, RTC_HOURS) << 16 | get(f, RTC_MINUTES) << 8 | get(f, RTC_SECONDS));

	if (d != date || t != time)
		fail_msg("it is %08x %06x, not %08x %06x", d, t, date, time);
}

static void set_time(struct fake *f, uint32_t date, uint32_t time)
{
	uint8_t b = get(f, RTC_B);

	put(f, RTC_B, b | 0x80);
	put(f, RTC_CENTURY, (uint8_t)(date >> 24));
	put(f, RTC_YEAR, (uint8_t)(date >> 16));
	put(f, RTC_MONTH, (uint8_t)(date >> 8));
	put(f, RTC_DAY, (uint8_t)date);
	put(f, RTC_HOURS, (uint8_t)(time >> 16));
	put(f, RTC_MINUTES, (uint8_t)(time >> 8));
	put(f, RTC_SECONDS, (uint8_t)time);
	put(f, RTC_B, b);
}

static bool irq8(const struct fake *f) { return f->vm.devices.pic[1].lines & 1; }

static void begins_with_the_machines_time(void **state)
{
	struct fake *f = *state;

	expect_time(f, 0x20261128, 0x235958);
	assert_int_equal(get(f, RTC_DAY_OF_WEEK), 7);
	assert_int_equal(get(f, RTC_A), 0x26);
	assert_int_equal(get(f, RTC_B), 0x02);
	assert_int_equal(get(f, RTC_D), 0x80);
	run(f, 2 * SECOND);
	expect_time(f, 0x20261129, 0x000000);
	assert_int_equal(get(f, RTC_DAY_OF_WEEK), 1);
	assert_int_equal(in(f, 0x70), 0xff);
}

static void carries(void **state)
{
	static const uint32_t steps[][4] = {
		{0x20261231, 0x235959, 0x20270101, 0x000000}, {0x20240228, 0x235959, 0x20240229, 0x000000},
		{0x20230228, 0x235959, 0x20230301, 0x000000}, {0x20000228, 0x235959, 0x20000229, 0x000000},
		{0x21000228, 0x235959, 0x21000301, 0x000000}, {0x19991231, 0x235959, 0x20000101, 0x000000},
		{0x20260430, 0x235959, 0x20260501, 0x000000}, {0x20260101, 0x125959, 0x20260101, 0x130000},
	};
	struct fake *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		set_time(f, steps[i][0], steps[i][1]);
		run(f, SECOND);
		expect_time(f, steps[i][2], steps[i][3]);
	}
}

static void twelve_hours(void **state)
{
	static const uint8_t steps[][2] = {{0x11, 0x92}, {0x92, 0x81}, {0x81, 0x82}, {0x91, 0x12}, {0x12, 0x01}, {0x09, 0x10}};
	struct fake *f = *state;

	put(f, RTC_B, 0);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		set_time(f, 0x20260101, (uint32_t)steps[i][0] << 16 | 0x5959);
		run(f, SECOND);
		expect_time(f, i == 3 ? 0x20260102 : 0x20260101, (uint32_t)steps[i][1] << 16);
	}
}

static void binary(void **state)
{
	struct fake *f = *state;

	put(f, RTC_B, 0x06);
	set_time(f, 20u << 24 | 24 << 16 | 12 << 8 | 31, 23 << 16 | 59 << 8 | 59);
	run(f, SECOND);
	expect_time(f, 20u << 24 | 25 << 16 | 1 << 8 | 1, 0);
	run(f, 10 * SECOND);
	assert_int_equal(get(f, RTC_SECONDS), 10);
}

static void set_stops_updates(void **state)
{
	struct fake *f = *state;

	put(f, RTC_B, 0x92);
	assert_int_equal(get(f, RTC_B), 0x82); /* and clears UIE */
	run(f, 10 * SECOND);
	expect_time(f, 0x20261128, 0x235958);
	assert_int_equal(get(f, RTC_C), 0x40);
	put(f, RTC_B, 0x02);
	run(f, SECOND);
	expect_time(f, 0x20261128, 0x235959);
}

static void the_divider_starts_half_a_second_before_an_update(void **state)
{
	struct fake *f = *state;

	run(f, SECOND / 10);
	put(f, RTC_A, 0x76);
	run(f, 10 * SECOND);
	expect_time(f, 0x20261128, 0x235958);
	put(f, RTC_A, 0x26);
	run(f, SECOND / 2 - 1);
	expect_time(f, 0x20261128, 0x235958);
	run(f, 1);
	expect_time(f, 0x20261128, 0x235959);
}

static void update_in_progress(void **state)
{
	struct fake *f = *state;

	assert_int_equal(get(f, RTC_A) & 0x80, 0);
	run(f, SECOND - 2300000);
	assert_int_equal(get(f, RTC_A) & 0x80, 0);
	run(f, 200000);
	assert_int_equal(get(f, RTC_A) & 0x80, 0x80);
	put(f, RTC_A, 0xff);
	assert_int_equal(get(f, RTC_A), 0x7f); /* cannot be written */
}

static void update_interrupt(void **state)
{
	struct fake *f = *state;

	put(f, RTC_A, 0x20);
	put(f, RTC_HOURS_ALARM, 0x12);
	put(f, RTC_B, 0x12);
	assert_int_equal(rtc_deadline(&f->vm), SECOND);
	run(f, SECOND - 1);
	assert_false(irq8(f));
	run(f, 1);
	assert_true(irq8(f));
	assert_int_equal(get(f, RTC_C), 0x90);
	assert_false(irq8(f));
	assert_int_equal(get(f, RTC_C), 0);
	run(f, SECOND);
	assert_true(irq8(f));
	put(f, RTC_B, 0x02);
	assert_false(irq8(f));
	put(f, RTC_C, 0);
	assert_int_equal(get(f, RTC_C), 0x10);
}

static void alarm(void **state)
{
	struct fake *f = *state;

	set_time(f, 0x20260101, 0x101000);
	put(f, RTC_HOURS_ALARM, 0x10);
	put(f, RTC_MINUTES_ALARM, 0x12);
	put(f, RTC_SECONDS_ALARM, 0x30);
	put(f, RTC_B, 0x22);
	run(f, 149 * SECOND);
	assert_false(irq8(f));
	run(f, SECOND);
	assert_true(irq8(f));
	assert_int_equal(get(f, RTC_C) & 0xa0, 0xa0);
	run(f, 86400 * SECOND - 1);
	assert_false(irq8(f));
	run(f, 1);
	assert_true(irq8(f));
	get(f, RTC_C);
	put(f, RTC_HOURS_ALARM, 0xff); /* each hour, then each minute */
	run(f, 3600 * SECOND);
	assert_true(irq8(f));
	get(f, RTC_C);
	put(f, RTC_MINUTES_ALARM, 0xc0);
	run(f, 60 * SECOND);
	assert_true(irq8(f));
}

static void periodic_rates(void **state)
{
	static const unsigned hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
	struct fake *f = *state;

	put(f, RTC_HOURS_ALARM, 0x12);
	for (unsigned rs = 0; rs < 16; rs++) {
		uint64_t end = f->now + SECOND;
		unsigned n = 0;

		put(f, RTC_A, (uint8_t)(0x20 | rs));
		put(f, RTC_B, 0x42);
		get(f, RTC_C);
		while (rtc_deadline(&f->vm) <= end) {
			run_to(f, rtc_deadline(&f->vm));
			if (irq8(f) && get(f, RTC_C) == (n % hz[rs] == hz[rs] - 1 ? 0xd0 : 0xc0))
				n++;
		}
		run_to(f, end);
		assert_int_equal(n, hz[rs]);
	}
}

static void memory(void **state)
{
	struct fake *f = *state;

	for (unsigned i = 14; i < 128; i++)
		if (i != RTC_CENTURY)
			put(f, (uint8_t)i, (uint8_t)~i);
	for (unsigned i = 14; i < 128; i++)
		if (i != RTC_CENTURY)
			assert_int_equal(get(f, (uint8_t)(i | 0x80)), (uint8_t)~i); /* bit 7 is the NMI mask */
	put(f, RTC_D, 0);
	assert_int_equal(get(f, RTC_D), 0x80);
}

static void nonsense_counts_on(void **state)
{
	struct fake *f = *state;

	for (unsigned b = 0; b < 8; b += 2) {
		put(f, RTC_B, (uint8_t)b);
		set_time(f, 0xffffffff, 0xffffff);
		run(f, SECOND);
		assert_int_equal(get(f, RTC_SECONDS), 0);
		run(f, 86400 * SECOND);
		assert_int_equal(get(f, RTC_MONTH) & 0xe0, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(begins_with_the_machines_time), TEST(carries), TEST(twelve_hours), TEST(binary), TEST(set_stops_updates),
		TEST(the_divider_starts_half_a_second_before_an_update), TEST(update_in_progress), TEST(update_interrupt), TEST(alarm),
		TEST(periodic_rates), TEST(memory), TEST(nonsense_counts_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

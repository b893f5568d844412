/* RTC against the MC146818A data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "base/bits.h"
#include "chipset/rtc.h"

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct rtc *rtc;
	bool irq;
	unsigned rises;
};

static void irq(void *listener, unsigned line, bool level)
{
	struct fixture *f = listener;

	f->rises += level && !f->irq;
	f->irq = level;
}

static void put(struct fixture *f, uint8_t index, uint8_t value)
{
	bus_out(f->bus, 0x70, 1, index);
	bus_out(f->bus, 0x71, 1, value);
}

static uint8_t get(struct fixture *f, uint8_t index)
{
	bus_out(f->bus, 0x70, 1, index);
	return (uint8_t)bus_in(f->bus, 0x71, 1);
}

static void run_to(struct fixture *f, vtime_t to)
{
	vtime_t next;

	while ((next = clock_next(f->clock)) <= to) {
		clock_advance_to(f->clock, next);
		clock_fire_due(f->clock);
	}
	clock_advance_to(f->clock, to);
}

static void run(struct fixture *f, vtime_t ns)
{
	run_to(f, clock_now(f->clock) + ns);
}

static void make(struct fixture *f, int64_t base)
{
	f->bus = bus_create(&quiet);
	f->clock = clock_create();
	f->rtc = rtc_create(f->bus, f->clock, &(struct irq){irq, f, 0}, base, &quiet);
}

static void unmake(struct fixture *f)
{
	rtc_destroy(f->rtc);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	make(f, RTC_DEFAULT_BASE);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	unmake(*state);
	free(*state);
	return 0;
}

static void expect_time(struct fixture *f, uint32_t date, uint32_t time)
{
	uint32_t d = (uint32_t)get(f, 0x32) << 24 | get(f, 9) << 16 | get(f, 8) << 8 | get(f, 7);
	uint32_t t = get(f, 4) << 16 | get(f, 2) << 8 | get(f, 0);

	if (d != date || t != time)
		fail_msg("%08x %06x instead of %08x %06x", d, t, date, time);
}

static void calendar(void **state)
{
	struct fixture *f = *state;

	expect_time(f, 0x20000101, 0x000000);
	assert_int_equal(get(f, 6), 7); /* a Saturday */
	run(f, NS_PER_SECOND - 1);
	expect_time(f, 0x20000101, 0x000000);
	run(f, 1);
	expect_time(f, 0x20000101, 0x000001);
	run(f, 86399 * NS_PER_SECOND);
	expect_time(f, 0x20000102, 0x000000);
	assert_int_equal(get(f, 6), 1);
	run(f, 59 * 86400 * NS_PER_SECOND);
	expect_time(f, 0x20000301, 0x000000); /* 2000 is a leap year */
}

/* Against the host's calendar. */
static void any_base(void **state)
{
	static const int64_t bases[] = {0, 951782399, 1709164799, 1735689599, 4102444799, 4107542399, -1, 1234567890};

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		struct fixture f = {0};

		make(&f, bases[i]);
		for (unsigned n = 0; n < 3; n++) {
			time_t now = bases[i] + n;
			struct tm tm;
			char text[32];

			gmtime_r(&now, &tm);
			strftime(text, sizeof(text), "%Y%m%d", &tm);
			expect_time(&f, (uint32_t)strtoul(text, NULL, 16),
				    (uint32_t)(tm.tm_hour / 10 << 20 | tm.tm_hour % 10 << 16 | tm.tm_min / 10 << 12 |
					       tm.tm_min % 10 << 8 | tm.tm_sec / 10 << 4 | tm.tm_sec % 10));
			assert_int_equal(get(&f, 6), tm.tm_wday + 1);
			run(&f, NS_PER_SECOND);
		}
		unmake(&f);
	}
}

static void formats(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x06); /* binary, 24 hours */
	put(f, 4, 23);
	put(f, 2, 59);
	put(f, 0, 58);
	run(f, NS_PER_SECOND);
	assert_int_equal(get(f, 0), 59);
	put(f, 0x0b, 0x04); /* binary, 12 hours: 11 PM */
	put(f, 4, 0x8b);
	run(f, NS_PER_SECOND);
	assert_int_equal(get(f, 4), 12); /* midnight is 12 AM */
	assert_int_equal(get(f, 7), 2);
	put(f, 0x0b, 0x00); /* BCD, 12 hours */
	put(f, 9, 0x00);
	put(f, 8, 0x01);
	put(f, 7, 0x01);
	put(f, 0x32, 0x20);
	put(f, 4, 0x11);
	put(f, 2, 0x59);
	put(f, 0, 0x59);
	run(f, NS_PER_SECOND);
	assert_int_equal(get(f, 4), 0x92); /* noon is 12 PM */
	run(f, 3600 * NS_PER_SECOND);
	assert_int_equal(get(f, 4), 0x81);
}

static void set_bit(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x82);
	run(f, 10 * NS_PER_SECOND);
	expect_time(f, 0x20000101, 0x000000);
	put(f, 0, 0x30);
	put(f, 2, 0x15);
	assert_int_equal(get(f, 0x0a) & 0x80, 0);
	put(f, 0x0b, 0x02);
	run(f, NS_PER_SECOND);
	expect_time(f, 0x20000101, 0x001531);
	/* SET clears UIE. */
	put(f, 0x0b, 0x12);
	put(f, 0x0b, 0x92);
	assert_int_equal(get(f, 0x0b), 0x82);
}

static void update_in_progress(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x0a), 0x26);
	run_to(f, NS_PER_SECOND - 2228200);
	assert_int_equal(get(f, 0x0a), 0x26);
	run_to(f, NS_PER_SECOND - 2228000);
	assert_int_equal(get(f, 0x0a), 0xa6);
	run_to(f, NS_PER_SECOND - 1);
	assert_int_equal(get(f, 0x0a), 0xa6);
	run_to(f, NS_PER_SECOND);
	assert_int_equal(get(f, 0x0a), 0x26);
	run(f, NS_PER_SECOND / 4);
	put(f, 0x0a, 0x2f); /* another rate: the divider runs on */
	run(f, NS_PER_SECOND * 3 / 4 - 1);
	expect_time(f, 0x20000101, 0x000001);
	run(f, 1);
	expect_time(f, 0x20000101, 0x000002);
	put(f, 0x0a, 0xff);
	assert_int_equal(get(f, 0x0a), 0x7f);
}

static void divider_reset(void **state)
{
	struct fixture *f = *state;

	run(f, NS_PER_SECOND / 4);
	put(f, 0x0a, 0x76);
	run(f, 100 * NS_PER_SECOND);
	expect_time(f, 0x20000101, 0x000000);
	put(f, 0x0a, 0x26); /* the first update half a second later */
	run(f, NS_PER_SECOND / 2 - 1);
	expect_time(f, 0x20000101, 0x000000);
	run(f, 1);
	expect_time(f, 0x20000101, 0x000001);
	run(f, NS_PER_SECOND);
	expect_time(f, 0x20000101, 0x000002);
}

static void update_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x12);
	run(f, NS_PER_SECOND);
	assert_true(f->irq);
	assert_int_equal(get(f, 0x0c) & 0xbf, 0x90); /* PF comes and goes by itself */
	assert_false(f->irq);
	assert_int_equal(get(f, 0x0c) & 0xbf, 0);
	run(f, 3 * NS_PER_SECOND);
	assert_int_equal(f->rises, 2); /* the level stays until it is read */
	put(f, 0x0b, 0x02);
	assert_false(f->irq);
	/* Flags come without interrupts too. */
	get(f, 0x0c);
	run(f, NS_PER_SECOND);
	assert_int_equal(get(f, 0x0c) & 0xbf, 0x10);
}

static void alarm_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, 1, 0x05);
	put(f, 3, 0x01);
	put(f, 5, 0x00);
	put(f, 0x0b, 0x22);
	run(f, 64 * NS_PER_SECOND);
	assert_false(f->irq);
	run(f, NS_PER_SECOND);
	assert_true(f->irq);
	assert_int_equal(get(f, 0x0c) & 0xbf, 0xb0);
	run(f, 86399 * NS_PER_SECOND);
	assert_false(f->irq);
	run(f, NS_PER_SECOND);
	assert_true(f->irq);
	get(f, 0x0c);
	/* Don't care: every minute at :05; every second. */
	put(f, 3, 0xff);
	put(f, 5, 0xc0);
	run(f, 60 * NS_PER_SECOND);
	assert_true(f->irq);
	get(f, 0x0c);
	put(f, 1, 0xc0);
	run(f, NS_PER_SECOND);
	assert_true(f->irq);
	get(f, 0x0c);
	/* A time that never comes. */
	put(f, 1, 0x99);
	run(f, 200000 * NS_PER_SECOND);
	assert_false(f->irq);
	assert_int_equal(get(f, 0x0c) & 0xbf, 0x10);
}

static void periodic_interrupt(void **state)
{
	/* "Periodic Interrupt Rate", 32.768 kHz time base. */
	static const unsigned hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
	struct fixture *f = *state;

	for (unsigned rate = 0; rate < 16; rate++) {
		unsigned count = 0;
		vtime_t end;

		put(f, 0x0a, (uint8_t)(0x20 | rate));
		put(f, 0x0b, 0x42);
		get(f, 0x0c);
		end = clock_now(f->clock) + NS_PER_SECOND;
		while (clock_next(f->clock) <= end) {
			run_to(f, clock_next(f->clock));
			count += f->irq;
			assert_int_equal(get(f, 0x0c) & 0xc0, 0xc0);
		}
		run_to(f, end);
		assert_int_equal(count, hz[rate]);
	}
}

static void memory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x0d), 0x80);
	put(f, 0x0d, 0);
	assert_int_equal(get(f, 0x0d), 0x80);
	for (unsigned i = 0x0e; i < 0x80; i++)
		if (i != 0x32)
			put(f, (uint8_t)i, (uint8_t)(i * 7));
	for (unsigned i = 0x0e; i < 0x80; i++)
		if (i != 0x32)
			assert_int_equal(get(f, (uint8_t)(0x80 | i)), (uint8_t)(i * 7)); /* bit 7 is NMI's */
	assert_true(rtc_nmi_masked(f->rtc));
	get(f, 0);
	assert_false(rtc_nmi_masked(f->rtc));
	/* The upper bank. */
	put(f, 0x10, 0x70);
	bus_out(f->bus, 0x72, 1, 0x10);
	bus_out(f->bus, 0x73, 1, 0x55);
	assert_int_equal(rtc_get_cmos(f->rtc, 0x90), 0x55);
	assert_int_equal(get(f, 0x10), 0x70);
	rtc_set_cmos(f->rtc, 0x34, 0xab);
	assert_int_equal(get(f, 0x34), 0xab);
	rtc_set_cmos(f->rtc, 0x0b, 0xff);
	assert_int_equal(get(f, 0x0b), 0x02);
	/* Reset keeps them, and disables the interrupts. */
	put(f, 0x0b, 0x7a);
	rtc_reset(f->rtc);
	assert_int_equal(get(f, 0x34), 0xab);
	assert_int_equal(get(f, 0x0b), 0x02);
}

static void nonsense(void **state)
{
	struct fixture *f = *state;
	uint32_t seed = 1;

	for (unsigned i = 0; i < 3000; i++) {
		seed = seed * 1664525 + 1013904223;
		put(f, seed >> 24 & 0x7f, (uint8_t)(seed >> 16));
		put(f, seed >> 8 & 15, (uint8_t)seed);
		clock_advance_to(f->clock, clock_now(f->clock) + (seed & 0xfffffff));
		clock_fire_due(f->clock);
		for (uint8_t index = 0; index < 16; index++)
			get(f, index);
	}
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	put(f, 0x0b, 0x12);
	run(f, NS_PER_SECOND / 2);
	rtc_state(f->rtc, save);
	data = state_data(save, &size);
	put(f, 0x0b, 0x02);
	put(f, 4, 0x05);
	restore = state_restore(data, size);
	rtc_state(f->rtc, restore);
	assert_false(state_failed(restore));
	run(f, NS_PER_SECOND / 2);
	assert_true(f->irq);
	expect_time(f, 0x20000101, 0x000001);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(calendar),		  TEST(any_base),      TEST(formats),	       TEST(set_bit),
		TEST(update_in_progress), TEST(divider_reset), TEST(update_interrupt), TEST(alarm_interrupt),
		TEST(periodic_interrupt), TEST(memory),	       TEST(nonsense),	       TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

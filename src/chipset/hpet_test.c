/* HPET against the IA-PC HPET specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/bits.h"
#include "chipset/hpet.h"

#define BASE UINT64_C(0xfed00000)
enum {
	CAP = 0,
	CONF = 0x10,
	STATUS = 0x20,
	COUNTER = 0xf0,
	T0 = 0x100,
	T0_CMP = 0x108,
	T1 = 0x120,
	T1_CMP = 0x128,
	T2 = 0x140,
	T2_CMP = 0x148
};

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct clock *clock;
	struct hpet *hpet;
	uint32_t pins;
	unsigned rises[24], legacy_rises[2];
	bool legacy[2], routed;
};

static void set_pin(void *ctx, unsigned pin, bool level)
{
	struct fixture *f = ctx;

	f->rises[pin] += level && !(f->pins >> pin & 1);
	f->pins = (uint32_t)bits_set(f->pins, pin, pin, level);
}

static void set_legacy(void *ctx, unsigned timer, bool level)
{
	struct fixture *f = ctx;

	f->legacy_rises[timer] += level && !f->legacy[timer];
	f->legacy[timer] = level;
}

static void route(void *ctx, bool legacy)
{
	((struct fixture *)ctx)->routed = legacy;
}

static uint64_t get(struct fixture *f, unsigned offset)
{
	return bus_read(f->bus, BASE + offset, 8, false);
}

static void put(struct fixture *f, unsigned offset, uint64_t value)
{
	bus_write(f->bus, BASE + offset, 8, value, false);
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

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->bus = bus_create(&quiet);
	f->clock = clock_create();
	f->hpet = hpet_create(f->bus, f->clock, &(struct hpet_wires){set_pin, set_legacy, route, f}, &quiet);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hpet_destroy(f->hpet);
	clock_destroy(f->clock);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static void identity(void **state)
{
	struct fixture *f = *state;

	assert_true(get(f, CAP) == UINT64_C(0x009896808086a201));
	put(f, CAP, 0);
	assert_int_equal(bus_read(f->bus, BASE, 4, false), 0x8086a201);
	assert_int_equal(bus_read(f->bus, BASE + 4, 4, false), 10000000); /* fs per tick */
	assert_true(get(f, T0) == UINT64_C(0x00f0000000000030));
	assert_true(get(f, T2) == UINT64_C(0x00f0080000000030));
	assert_true(get(f, T0_CMP) == UINT64_MAX);
	assert_int_equal(get(f, 0x160), 0);
	assert_int_equal(get(f, 0x3f8), 0);
}

static void counter(void **state)
{
	struct fixture *f = *state;

	run_to(f, 1000);
	assert_int_equal(get(f, COUNTER), 0);
	put(f, COUNTER, UINT64_C(0x1ffffffff));
	put(f, CONF, 1);
	run_to(f, 1100);
	assert_true(get(f, COUNTER) == UINT64_C(0x200000009));
	assert_int_equal(bus_read(f->bus, BASE + COUNTER + 4, 4, false), 2);
	put(f, CONF, 0);
	run_to(f, 5000);
	assert_true(get(f, COUNTER) == UINT64_C(0x200000009));
	bus_write(f->bus, BASE + COUNTER + 4, 4, 7, false);
	assert_true(get(f, COUNTER) == UINT64_C(0x700000009));
	put(f, CONF, ~UINT64_C(0));
	assert_int_equal(get(f, CONF), 3);
}

static void one_shot_edge(void **state)
{
	struct fixture *f = *state;

	put(f, T0, 20 << 9 | 4);
	put(f, T0_CMP, 100);
	put(f, CONF, 1);
	run_to(f, 999);
	assert_int_equal(f->rises[20], 0);
	run_to(f, 1000);
	assert_int_equal(f->rises[20], 1);
	run_to(f, 100000);
	assert_int_equal(f->rises[20], 1);
	assert_int_equal(get(f, STATUS), 0);
	put(f, T0_CMP, 20000);
	run_to(f, 200000);
	assert_int_equal(f->rises[20], 2);
	/* A pin that the timer cannot use keeps the old one. */
	put(f, T0, 11 << 9 | 4);
	assert_int_equal(get(f, T0) >> 9 & 31, 20);
	put(f, T2, 11 << 9 | 4);
	assert_int_equal(get(f, T2) >> 9 & 31, 11);
}

static void level(void **state)
{
	struct fixture *f = *state;

	put(f, T2, 11 << 9 | 4 | 2);
	put(f, T2_CMP, 50);
	put(f, CONF, 1);
	run_to(f, 500);
	assert_true(f->pins >> 11 & 1);
	assert_int_equal(get(f, STATUS), 4);
	put(f, STATUS, 3);
	assert_true(f->pins >> 11 & 1);
	put(f, STATUS, 4);
	assert_false(f->pins >> 11 & 1);
	assert_int_equal(get(f, STATUS), 0);
}

static void periodic(void **state)
{
	struct fixture *f = *state;

	put(f, T0, 21 << 9 | 4 | 8 | 0x40);
	put(f, T0_CMP, 150); /* the accumulator */
	put(f, T0_CMP, 100); /* the period */
	assert_int_equal(get(f, T0) & 0x40, 0);
	put(f, CONF, 1);
	run_to(f, 1499);
	assert_int_equal(f->rises[21], 0);
	run_to(f, 1500);
	assert_int_equal(f->rises[21], 1);
	assert_int_equal(get(f, T0_CMP), 250);
	run_to(f, 1500 + 1000 * 20);
	assert_int_equal(f->rises[21], 21);
	/* Without an interrupt enabled the comparator goes on. */
	put(f, T0, 21 << 9 | 8);
	run_to(f, 31500);
	assert_int_equal(f->rises[21], 21);
	assert_int_equal(get(f, T0_CMP), 3250);
}

static void narrow(void **state)
{
	struct fixture *f = *state;

	put(f, COUNTER, UINT64_C(0xffffff00));
	put(f, T1, 22 << 9 | 4 | 0x100);
	bus_write(f->bus, BASE + T1_CMP, 4, 0x10, false);
	assert_int_equal(get(f, T1_CMP), 0x10);
	put(f, CONF, 1);
	run_to(f, 2719);
	assert_int_equal(f->rises[22], 0);
	run_to(f, 2720); /* 100H + 10H ticks, over the wrap of the low half */
	assert_int_equal(f->rises[22], 1);
	run_to(f, 2720 + (UINT64_C(10) << 32));
	assert_int_equal(f->rises[22], 2);
}

static void legacy(void **state)
{
	struct fixture *f = *state;

	put(f, T0, 4 | 8 | 0x40);
	put(f, T0_CMP, 100);
	put(f, T1, 4);
	put(f, T1_CMP, 300);
	put(f, T2, 23 << 9 | 4);
	put(f, T2_CMP, 300);
	put(f, CONF, 3);
	assert_true(f->routed);
	run_to(f, 3000);
	assert_int_equal(f->legacy_rises[0], 3); /* one write with Tn_VAL_SET sets the period as well */
	assert_int_equal(f->legacy_rises[1], 1);
	assert_int_equal(f->rises[23], 1);
	assert_true(f->legacy[0]);
	put(f, CONF, 1);
	assert_false(f->routed);
	assert_false(f->legacy[0]);
	hpet_reset(f->hpet);
	assert_true(clock_next(f->clock) == VTIME_NEVER);
	assert_int_equal(get(f, COUNTER), 0);
}

static void back_to_one_shot(void **state)
{
	struct fixture *f = *state;

	put(f, T0, 21 << 9 | 4 | 8 | 0x40);
	put(f, T0_CMP, 100);
	put(f, CONF, 1);
	run_to(f, 1000);
	put(f, T0, 21 << 9 | 4); /* the period is forgotten */
	run_to(f, 2000);
	assert_int_equal(f->rises[21], 2);
	run_to(f, 100000);
	assert_int_equal(f->rises[21], 2);
	assert_int_equal(get(f, T0_CMP), 200);
}

/* A level-triggered timer that waits for its status bit does not ask while it is disabled, and asks again when enabled.
 */
static void level_enable(void **state)
{
	struct fixture *f = *state;

	put(f, T0, 20 << 9 | 4 | 2);
	assert_int_equal(f->pins, 0);
	put(f, T0_CMP, 10);
	put(f, CONF, 1);
	run_to(f, 100);
	assert_int_equal(f->pins, 1 << 20);
	put(f, T0, 20 << 9 | 2);
	assert_int_equal(f->pins, 0);
	put(f, T0, 20 << 9 | 4 | 2);
	assert_int_equal(f->pins, 1 << 20);
}

static void nonsense(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 1;

	for (unsigned i = 0; i < 20000; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		bus_write(f->bus, BASE + (seed >> 40 & 0x1fc), seed >> 63 ? 4 : 8, seed >> (seed >> 58), false);
		bus_read(f->bus, BASE + (seed >> 48 & 0x3fc), 8, false);
		clock_advance_to(f->clock, clock_now(f->clock) + (seed >> 20 & 0xfff));
		clock_fire_due(f->clock);
	}
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	put(f, T0, 20 << 9 | 4);
	put(f, T0_CMP, 100);
	put(f, CONF, 1);
	run_to(f, 500);
	hpet_state(f->hpet, save);
	data = state_data(save, &size);
	hpet_reset(f->hpet);
	restore = state_restore(data, size);
	hpet_state(f->hpet, restore);
	assert_false(state_failed(restore));
	assert_int_equal(get(f, COUNTER), 50);
	run_to(f, 1000);
	assert_int_equal(f->rises[20], 1);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(identity),
		TEST(counter),
		TEST(one_shot_edge),
		TEST(level),
		TEST(periodic),
		TEST(narrow),
		TEST(legacy),
		TEST(back_to_one_shot),
		TEST(level_enable),
		TEST(nonsense),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

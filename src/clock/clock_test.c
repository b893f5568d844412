/* Virtual time and the order of deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "clock/clock.h"

struct timer {
	struct clock *clock;
	struct deadline deadline;
	vtime_t period;
	char name;
	char *log;
};

static void fire(void *owner)
{
	struct timer *timer = owner;

	*strchr(timer->log, 0) = timer->name;
	if (timer->period != VTIME_NEVER)
		clock_arm(timer->clock, &timer->deadline, timer->period);
}

static void timer_init(struct timer *timer, struct clock *clock, char name, char *log)
{
	*timer = (struct timer){.clock = clock, .period = VTIME_NEVER, .name = name, .log = log};
	deadline_init(&timer->deadline, fire, timer);
}

/* A pause of a machine leaves no trace in its state. */
static void outside(void **unused)
{
	struct clock *clock = clock_create();
	struct state *before = state_digest(), *after = state_digest();
	char log[16] = "", text[2][33];
	struct timer a, b, pause;

	timer_init(&a, clock, 'a', log);
	timer_init(&b, clock, 'b', log);
	timer_init(&pause, clock, 'p', log);
	clock_arm(clock, &a.deadline, 20);
	clock_state(clock, before);
	clock_arm_outside(clock, &pause.deadline, 20);
	clock_state(clock, after);
	state_digest_text(before, text[0]);
	state_digest_text(after, text[1]);
	assert_string_equal(text[0], text[1]);
	clock_arm(clock, &b.deadline, 20);
	clock_advance_to(clock, 20);
	clock_fire_due(clock);
	assert_string_equal(log, "abp");
	clock_arm_outside(clock, &pause.deadline, VTIME_NEVER);
	assert_true(clock_next(clock) == VTIME_NEVER);
	state_free(before);
	state_free(after);
	clock_destroy(clock);
}

static void order(void **unused)
{
	struct clock *clock = clock_create();
	char log[16] = "";
	struct timer a, b, c;

	timer_init(&a, clock, 'a', log);
	timer_init(&b, clock, 'b', log);
	timer_init(&c, clock, 'c', log);
	assert_true(clock_next(clock) == VTIME_NEVER);
	clock_arm(clock, &a.deadline, 20);
	clock_arm(clock, &b.deadline, 10);
	clock_arm(clock, &c.deadline, 20);
	assert_int_equal(clock_next(clock), 10);
	clock_advance_to(clock, 9);
	clock_fire_due(clock);
	assert_string_equal(log, "");
	clock_advance_to(clock, 20);
	clock_fire_due(clock);
	assert_string_equal(log, "bac");
	assert_true(clock_next(clock) == VTIME_NEVER);

	/* Moving goes behind the others of the same instant; cancelling takes out. */
	log[0] = 0;
	memset(log, 0, sizeof(log));
	clock_arm(clock, &a.deadline, 30);
	clock_arm(clock, &b.deadline, 30);
	clock_arm(clock, &c.deadline, 30);
	clock_arm(clock, &a.deadline, 30);
	clock_cancel(clock, &b.deadline);
	clock_cancel(clock, &b.deadline);
	clock_advance_to(clock, 1000);
	clock_advance_to(clock, 500);
	assert_int_equal(clock_now(clock), 1000);
	clock_fire_due(clock);
	assert_string_equal(log, "ca");
	clock_destroy(clock);
}

static void a_period_of_nothing_ends(void **unused)
{
	struct clock *clock = clock_create();
	char log[64] = "";
	struct timer a;

	timer_init(&a, clock, 'a', log);
	a.period = 0;
	clock_arm(clock, &a.deadline, 0);
	clock_advance_to(clock, 3);
	clock_fire_due(clock);
	assert_string_equal(log, "aaaa"); /* at 0, 1, 2 and 3 */
	assert_int_equal(clock_next(clock), 4);
	clock_destroy(clock);
}

static vtime_t elapsed(void *ctx)
{
	return *(vtime_t *)ctx;
}

static void sooner(void *ctx)
{
	++((vtime_t *)ctx)[1];
}

static void running_turn(void **unused)
{
	struct clock *clock = clock_create();
	vtime_t turn[2] = {7, 0};
	char log[4] = "";
	struct timer a, b;

	timer_init(&a, clock, 'a', log);
	timer_init(&b, clock, 'b', log);
	clock_connect(clock, &(struct clock_ops){elapsed, sooner, turn});
	clock_advance_to(clock, 100);
	assert_int_equal(clock_now(clock), 107);
	clock_arm(clock, &a.deadline, 200);
	assert_int_equal(turn[1], 1);
	clock_arm(clock, &b.deadline, 300);
	assert_int_equal(turn[1], 1);
	clock_arm(clock, &b.deadline, 150);
	assert_int_equal(turn[1], 2);
	clock_destroy(clock);
}

static void counters(void **unused)
{
	/* 8254: 1193182 Hz. One tick is 838.09 ns. */
	assert_int_equal(clock_ticks(838, 1193182), 0);
	assert_int_equal(clock_ticks(839, 1193182), 1);
	assert_int_equal(clock_ticks(NS_PER_SECOND, 1193182), 1193182);
	assert_int_equal(clock_when(1, 1193182), 839);
	assert_int_equal(clock_when(5, NS_PER_SECOND), 5);
	assert_int_equal(clock_when(3, NS_PER_SECOND / 10), 30);
	assert_true(clock_when(UINT64_MAX, 1) == VTIME_NEVER);
	assert_true(clock_ticks(UINT64_MAX - 1, NS_PER_SECOND) == UINT64_MAX - 1);
	for (uint64_t ticks = 0; ticks < 5000; ticks += 7) {
		assert_int_equal(clock_ticks(clock_when(ticks, 3579545), 3579545), ticks);
		if (ticks)
			assert_int_equal(clock_ticks(clock_when(ticks, 3579545) - 1, 3579545), ticks - 1);
	}
}

static void restored_order(void **unused)
{
	struct clock *clock = clock_create();
	char log[16] = "";
	struct timer a, b;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	timer_init(&a, clock, 'a', log);
	timer_init(&b, clock, 'b', log);
	clock_advance_to(clock, 5);
	clock_arm(clock, &b.deadline, 50);
	clock_arm(clock, &a.deadline, 50);
	clock_state(clock, save);
	clock_deadline_state(clock, &a.deadline, save);
	clock_deadline_state(clock, &b.deadline, save);
	data = state_data(save, &size);
	clock_advance_to(clock, 60);
	clock_fire_due(clock);
	memset(log, 0, sizeof(log));

	restore = state_restore(data, size);
	clock_state(clock, restore);
	clock_deadline_state(clock, &a.deadline, restore);
	clock_deadline_state(clock, &b.deadline, restore);
	assert_false(state_failed(restore));
	assert_int_equal(clock_now(clock), 5);
	clock_advance_to(clock, 60);
	clock_fire_due(clock);
	assert_string_equal(log, "ba");
	state_free(restore);
	state_free(save);
	clock_destroy(clock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),	cmocka_unit_test(outside),  cmocka_unit_test(a_period_of_nothing_ends),
		cmocka_unit_test(running_turn), cmocka_unit_test(counters), cmocka_unit_test(restored_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The keyboard controller, keyboard and mouse, as drivers talk to them.
 */
#include "console/i8042.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct i8042 *i8042;
	bool irq[16], a20, reset;
};

static void set_irq(void *listener, unsigned line, bool level)
{
	((struct rig *)listener)->irq[line] = level;
}

static void a20(void *ctx, bool enabled)
{
	((struct rig *)ctx)->a20 = enabled;
}

static void reset(void *ctx)
{
	((struct rig *)ctx)->reset = true;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct irq keyboard = {set_irq, r, 1}, mouse = {set_irq, r, 12};
	struct i8042_hooks hooks = {a20, reset, r};

	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	r->i8042 = i8042_create(r->bus, r->clock, &keyboard, &mouse, &hooks);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	i8042_destroy(r->i8042);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	free(r);
	return 0;
}

static uint8_t status(struct rig *r)
{
	return (uint8_t)bus_in(r->bus, 0x64, 1);
}

static void command(struct rig *r, uint8_t value)
{
	bus_out(r->bus, 0x64, 1, value);
}

static void data(struct rig *r, uint8_t value)
{
	bus_out(r->bus, 0x60, 1, value);
}

/* Wait for a byte and take it; -1: none came. */
static int take(struct rig *r)
{
	for (unsigned i = 0; i < 100 && !(status(r) & 1); i++) {
		clock_advance_to(r->clock, clock_now(r->clock) + 10000);
		clock_fire_due(r->clock);
	}
	return status(r) & 1 ? (int)bus_in(r->bus, 0x60, 1) : -1;
}

static void expect(struct rig *r, unsigned count, const int *bytes)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(take(r), bytes[i]);
	assert_int_equal(take(r), -1);
}
#define EXPECT(r, ...) expect(r, sizeof((int[]){__VA_ARGS__}) / sizeof(int), (int[]){__VA_ARGS__})

static void controller_commands(void **state)
{
	struct rig *r = *state;

	command(r, 0xaa);
	EXPECT(r, 0x55);
	assert_int_equal(status(r) & 4, 4);
	command(r, 0xab);
	EXPECT(r, 0);
	command(r, 0xa9);
	EXPECT(r, 0);
	command(r, 0x60);
	data(r, 0x65);
	command(r, 0x20);
	EXPECT(r, 0x65);
	command(r, 0xa7);
	command(r, 0x20);
	EXPECT(r, 0x65); /* bit 5 was set already */
	command(r, 0xa8);
	command(r, 0x20);
	EXPECT(r, 0x45);
	command(r, 0x77);
	data(r, 0x99);
	command(r, 0x37);
	EXPECT(r, 0x99);
	command(r, 0xd2);
	data(r, 0x12);
	assert_int_equal(status(r) & 0x21, 0x01);
	EXPECT(r, 0x12);
	command(r, 0xd3);
	data(r, 0x34);
	assert_int_equal(status(r) & 0x21, 0x21);
	EXPECT(r, 0x34);
}

static void a20_and_reset(void **state)
{
	struct rig *r = *state;

	command(r, 0xd1);
	data(r, 0xdd);
	assert_false(r->a20);
	command(r, 0xdf);
	assert_true(r->a20);
	command(r, 0xd0);
	assert_int_equal(take(r) & 2, 2);
	assert_false(r->reset);
	command(r, 0xfe);
	assert_true(r->reset);
	r->reset = false;
	command(r, 0xd1);
	data(r, 0xde);
	assert_true(r->reset);
}

static void keyboard_commands(void **state)
{
	struct rig *r = *state;

	command(r, 0x60);
	data(r, 0x01); /* no translation */
	data(r, 0xff);
	EXPECT(r, 0xfa, 0xaa);
	data(r, 0xf2);
	EXPECT(r, 0xfa, 0xab, 0x83);
	data(r, 0xee);
	EXPECT(r, 0xee);
	data(r, 0xed);
	EXPECT(r, 0xfa);
	data(r, 0x07);
	EXPECT(r, 0xfa);
	data(r, 0xf0);
	EXPECT(r, 0xfa);
	data(r, 0x00);
	EXPECT(r, 0xfa, 2);
	data(r, 0x01);
	EXPECT(r, 0xfe);
}

static void keys_in_each_scan_code_set(void **state)
{
	struct rig *r = *state;

	/* Set 2, translated to set 1. */
	assert_true(i8042_key(r->i8042, "a", true));
	assert_true(i8042_key(r->i8042, "a", false));
	EXPECT(r, 0x1e, 0x9e);
	i8042_key(r->i8042, "up", true);
	i8042_key(r->i8042, "up", false);
	EXPECT(r, 0xe0, 0x48, 0xe0, 0xc8);
	i8042_key(r->i8042, "f7", true);
	EXPECT(r, 0x41);
	command(r, 0x60);
	data(r, 0x01);
	i8042_key(r->i8042, "a", true);
	i8042_key(r->i8042, "a", false);
	i8042_key(r->i8042, "up", false);
	EXPECT(r, 0x1c, 0xf0, 0x1c, 0xe0, 0xf0, 0x75);
	for (unsigned set = 1; set <= 3; set += 2) {
		data(r, 0xf0);
		EXPECT(r, 0xfa);
		data(r, (uint8_t)set);
		EXPECT(r, 0xfa);
		i8042_key(r->i8042, "ret", true);
		i8042_key(r->i8042, "ret", false);
		if (set == 1)
			EXPECT(r, 0x1c, 0x9c);
		else
			EXPECT(r, 0x5a, 0xf0, 0x5a);
	}
	assert_false(i8042_key(r->i8042, "nonsense", true));
	data(r, 0xf5); /* stop scanning */
	EXPECT(r, 0xfa);
	i8042_key(r->i8042, "a", true);
	assert_int_equal(take(r), -1);
}

static void interrupts(void **state)
{
	struct rig *r = *state;

	i8042_key(r->i8042, "a", true);
	clock_advance_to(r->clock, 1000000);
	clock_fire_due(r->clock);
	assert_true(r->irq[1]);
	bus_in(r->bus, 0x60, 1);
	assert_false(r->irq[1]);
	command(r, 0x60);
	data(r, 0x44); /* interrupts off */
	i8042_key(r->i8042, "a", true);
	clock_advance_to(r->clock, 2000000);
	clock_fire_due(r->clock);
	assert_int_equal(status(r) & 1, 1);
	assert_false(r->irq[1]);
	bus_in(r->bus, 0x60, 1);
	command(r, 0x60);
	data(r, 0x46);
	command(r, 0xd4);
	data(r, 0xf4);
	clock_advance_to(r->clock, 3000000);
	clock_fire_due(r->clock);
	assert_true(r->irq[12]);
	assert_int_equal(status(r) & 0x20, 0x20);
	EXPECT(r, 0xfa);
	assert_false(r->irq[12]);
}

static void to_mouse(struct rig *r, uint8_t value)
{
	command(r, 0xd4);
	data(r, value);
}

static void mouse(void **state)
{
	static const uint8_t knock[] = {200, 100, 80};
	struct rig *r = *state;

	to_mouse(r, 0xff);
	EXPECT(r, 0xfa, 0xaa, 0x00);
	to_mouse(r, 0xf2);
	EXPECT(r, 0xfa, 0x00);
	i8042_mouse(r->i8042, 1, 1, 0, 0);
	assert_int_equal(take(r), -1); /* not reporting yet */
	to_mouse(r, 0xeb);
	EXPECT(r, 0xfa, 0x08, 1, 1);
	to_mouse(r, 0xf4);
	EXPECT(r, 0xfa);
	i8042_mouse(r->i8042, -2, 5, 0, 5);
	EXPECT(r, 0x1d, 0xfe, 5);
	for (unsigned i = 0; i < 3; i++) {
		to_mouse(r, 0xf3);
		EXPECT(r, 0xfa);
		to_mouse(r, knock[i]);
		EXPECT(r, 0xfa);
	}
	to_mouse(r, 0xf2);
	EXPECT(r, 0xfa, 0x03);
	i8042_mouse(r->i8042, 0, 0, -1, 0);
	EXPECT(r, 0x08, 0, 0, 0xff);
	to_mouse(r, 0xe9);
	EXPECT(r, 0xfa, 0x20, 2, 80);
	for (unsigned i = 0; i < 1000; i++) /* more than the queue holds */
		i8042_mouse(r->i8042, 1000, -1000, 1, i & 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(controller_commands),	  TEST(a20_and_reset), TEST(keyboard_commands),
		TEST(keys_in_each_scan_code_set), TEST(interrupts),    TEST(mouse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

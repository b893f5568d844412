/* The 8259s against their data sheet. */
#include "devices/fake_vm.h"

enum { M0 = 0x20, M1 = 0x21, S0 = 0xa0, S1 = 0xa1 };

static void initialize(struct fake *f, uint8_t icw4)
{
	out(f, M0, 0x11);
	out(f, M1, 0x20);
	out(f, M1, 0x04);
	out(f, M1, icw4);
	out(f, S0, 0x11);
	out(f, S1, 0x28);
	out(f, S1, 0x02);
	out(f, S1, 0x01);
}

static void pulse(struct fake *f, unsigned line)
{
	irq_set(&f->vm, line, false);
	irq_set(&f->vm, line, true);
}

static void expect(struct fake *f, unsigned vector)
{
	assert_true(i8259_pending(&f->vm));
	assert_int_equal(i8259_acknowledge(&f->vm), vector);
}

static void nothing(struct fake *f)
{
	assert_false(i8259_pending(&f->vm));
}

static void after_reset_nothing_passes(void **state)
{
	struct fake *f = *state;

	pulse(f, 4);
	nothing(f);
	out(f, M0, 0x11);
	nothing(f);
}

static void an_edge_is_one_interrupt(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 4);
	assert_int_equal(in(f, M0), 0x10);
	expect(f, 0x24);
	assert_int_equal(in(f, M0), 0);
	out(f, M0, 0x0b);
	assert_int_equal(in(f, M0), 0x10);
	out(f, M0, 0x20);
	assert_int_equal(in(f, M0), 0);
	nothing(f); /* it is still high */
	pulse(f, 4);
	expect(f, 0x24);
}

static void masks(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	out(f, M1, 0x10);
	assert_int_equal(in(f, M1), 0x10);
	pulse(f, 4);
	nothing(f);
	out(f, M1, 0);
	expect(f, 0x24);
}

static void priorities_nest(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 4);
	expect(f, 0x24);
	pulse(f, 5);
	nothing(f);
	pulse(f, 3);
	expect(f, 0x23);
	out(f, M0, 0x20); /* of 3 */
	nothing(f);
	out(f, M0, 0x20); /* of 4 */
	expect(f, 0x25);
}

static void the_slave_is_input_2(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 10);
	pulse(f, 9);
	pulse(f, 3);
	expect(f, 0x29);
	nothing(f); /* 10 waits for the slave's EOI, 3 for the master's */
	out(f, S0, 0x20);
	nothing(f);
	out(f, M0, 0x20);
	expect(f, 0x2a);
	out(f, S0, 0x20);
	out(f, M0, 0x20);
	expect(f, 0x23);
}

static void special_fully_nested(void **state)
{
	struct fake *f = *state;

	initialize(f, 0x11);
	pulse(f, 10);
	expect(f, 0x2a);
	pulse(f, 9);
	expect(f, 0x29);
}

static void spurious(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 5);
	irq_set(&f->vm, 5, false);
	nothing(f);
	assert_int_equal(i8259_acknowledge(&f->vm), 0x27);
	out(f, M0, 0x0b);
	assert_int_equal(in(f, M0), 0);
}

static void automatic_eoi_and_its_rotation(void **state)
{
	struct fake *f = *state;

	initialize(f, 3);
	pulse(f, 1);
	expect(f, 0x21);
	pulse(f, 3);
	pulse(f, 1);
	expect(f, 0x21);
	expect(f, 0x23);
	out(f, M0, 0x80); /* rotate: 3 becomes the lowest, then 1 */
	pulse(f, 3);
	expect(f, 0x23);
	pulse(f, 3);
	pulse(f, 5);
	expect(f, 0x25);
	expect(f, 0x23);
	out(f, M0, 0x00);
	pulse(f, 3);
	expect(f, 0x23);
}

static void rotation_and_specific_commands(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	out(f, M0, 0xc4); /* set priority: 4 the lowest */
	pulse(f, 0);
	pulse(f, 5);
	expect(f, 0x25);
	pulse(f, 6);
	nothing(f);
	out(f, M0, 0x65); /* specific EOI */
	expect(f, 0x26);
	out(f, M0, 0xa0); /* rotate on non-specific EOI: 6 the lowest */
	pulse(f, 6);
	expect(f, 0x20);
	out(f, M0, 0xe0); /* rotate on specific EOI: 0 the lowest */
	pulse(f, 0);
	expect(f, 0x26);
	out(f, M0, 0x40); /* no operation */
	nothing(f);
}

static void special_mask_mode(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 3);
	expect(f, 0x23);
	pulse(f, 6);
	nothing(f);
	out(f, M0, 0x68);
	nothing(f);
	out(f, M1, 0x08);
	expect(f, 0x26);
	out(f, M0, 0x20); /* ends 6: what is masked is not ended so */
	out(f, M0, 0x0b);
	assert_int_equal(in(f, M0), 0x08);
	out(f, M0, 0x48);
	pulse(f, 6);
	nothing(f);
}

static void poll(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	out(f, M0, 0x0c);
	assert_int_equal(in(f, M0) & 0x80, 0);
	pulse(f, 9);
	out(f, M0, 0x0c);
	assert_int_equal(in(f, M0), 0x82);
	out(f, S0, 0x0c);
	assert_int_equal(in(f, S0), 0x81);
	out(f, M0, 0x0b);
	assert_int_equal(in(f, M0), 0x04);
}

static void level_triggered(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	out(f, 0x4d0, 0xff);
	out(f, 0x4d1, 0xff);
	assert_int_equal(in(f, 0x4d0), 0xf8);
	assert_int_equal(in(f, 0x4d1), 0xde);
	irq_set(&f->vm, 5, true);
	expect(f, 0x25);
	out(f, M0, 0x20);
	expect(f, 0x25);
	irq_set(&f->vm, 5, false);
	out(f, M0, 0x20);
	nothing(f);
}

static void initialization_forgets_edges(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 4);
	initialize(f, 1);
	nothing(f);
	pulse(f, 4);
	expect(f, 0x24);
}

static void wakes_who_takes_it(void **state)
{
	struct fake *f = *state;

	initialize(f, 1);
	pulse(f, 4);
	assert_int_equal(f->wakes, 0);
	f->takes_extint = true;
	pulse(f, 5);
	assert_true(f->wakes > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_reset_nothing_passes), TEST(an_edge_is_one_interrupt), TEST(masks), TEST(priorities_nest),
		TEST(the_slave_is_input_2), TEST(special_fully_nested), TEST(spurious), TEST(automatic_eoi_and_its_rotation),
		TEST(rotation_and_specific_commands), TEST(special_mask_mode), TEST(poll), TEST(level_triggered),
		TEST(initialization_forgets_edges), TEST(wakes_who_takes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

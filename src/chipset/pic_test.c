/* 8259A pair against its data sheet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "chipset/pic.h"

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct pic *pic;
	bool intr;
};

static void intr(void *listener, unsigned line, bool level)
{
	((struct fixture *)listener)->intr = level;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	bus_out(f->bus, port, 1, value);
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return (uint8_t)bus_in(f->bus, port, 1);
}

/* As PCs do: vectors 08H and 70H, everything unmasked. */
static void initialize(struct fixture *f, uint8_t icw4)
{
	out(f, 0x20, 0x11);
	out(f, 0x21, 0x08);
	out(f, 0x21, 0x04);
	out(f, 0x21, icw4);
	out(f, 0xa0, 0x11);
	out(f, 0xa1, 0x70);
	out(f, 0xa1, 0x02);
	out(f, 0xa1, 0x01);
	out(f, 0x21, 0);
	out(f, 0xa1, 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->bus = bus_create(&quiet);
	f->pic = pic_create(f->bus, &quiet, &(struct irq){intr, f, 0});
	initialize(f, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pic_destroy(f->pic);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static uint8_t isr(struct fixture *f, uint16_t port)
{
	out(f, port, 0x0b);
	return in(f, port);
}

static uint8_t irr(struct fixture *f, uint16_t port)
{
	out(f, port, 0x0a);
	return in(f, port);
}

static void edge(void **state)
{
	struct fixture *f = *state;
	uint8_t seen[4];

	pic_set(f->pic, 0, true);
	assert_true(f->intr);
	assert_int_equal(irr(f, 0x20), 1);
	pic_peek(f->pic, 0, seen);
	assert_memory_equal(seen, ((uint8_t[]){1, 0, 0, 0}), 4);
	assert_int_equal(pic_acknowledge(f->pic), 0x08);
	assert_false(f->intr);
	assert_int_equal(irr(f, 0x20), 0);
	assert_int_equal(isr(f, 0x20), 1);
	out(f, 0x20, 0x20);
	assert_int_equal(isr(f, 0x20), 0);
	assert_false(f->intr); /* still high, but that is no new edge */
	pic_set(f->pic, 0, true);
	assert_false(f->intr);
	pic_set(f->pic, 0, false);
	pic_set(f->pic, 0, true);
	assert_true(f->intr);
}

static void line_that_falls_too_early(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 3, true);
	pic_set(f->pic, 3, false);
	assert_false(f->intr);
	assert_int_equal(pic_acknowledge(f->pic), 0x0f); /* the default IR7 */
	assert_int_equal(isr(f, 0x20), 0);
	/* On the slave: the master has the cascade in service. */
	out(f, 0xa1, 0);
	pic_set(f->pic, 12, true);
	assert_true(f->intr);
	out(f, 0xa1, 0xff); /* masked between the request and INTA: the request leaves both chips */
	assert_false(f->intr);
}

static void masks(void **state)
{
	struct fixture *f = *state;

	out(f, 0x21, 0xfb);
	assert_int_equal(in(f, 0x21), 0xfb);
	pic_set(f->pic, 1, true);
	assert_false(f->intr);
	assert_int_equal(irr(f, 0x20), 2);
	out(f, 0x21, 0xf9);
	assert_true(f->intr);
}

static void fully_nested(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 5, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0d);
	pic_set(f->pic, 6, true);
	assert_false(f->intr);
	pic_set(f->pic, 1, true);
	assert_true(f->intr);
	assert_int_equal(pic_acknowledge(f->pic), 0x09);
	assert_int_equal(isr(f, 0x20), 0x22);
	out(f, 0x20, 0x20); /* the highest in service: 1 */
	assert_int_equal(isr(f, 0x20), 0x20);
	assert_false(f->intr);
	out(f, 0x20, 0x65); /* specific: 5 */
	assert_int_equal(isr(f, 0x20), 0);
	assert_int_equal(pic_acknowledge(f->pic), 0x0e);
}

static void cascade(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 12, true);
	assert_true(f->intr);
	assert_int_equal(irr(f, 0x20), 4);
	assert_int_equal(pic_acknowledge(f->pic), 0x74);
	assert_int_equal(isr(f, 0x20), 4);
	assert_int_equal(isr(f, 0xa0), 0x10);
	pic_set(f->pic, 3, true); /* lower than the cascade */
	assert_false(f->intr);
	pic_set(f->pic, 8, true); /* higher on the slave, but the master's IR2 is in service */
	assert_false(f->intr);
	out(f, 0xa0, 0x20);
	out(f, 0x20, 0x20);
	assert_true(f->intr);
	assert_int_equal(pic_acknowledge(f->pic), 0x70);
	out(f, 0xa0, 0x20);
	out(f, 0x20, 0x20);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b);
	pic_set(f->pic, 2, true); /* no such line */
	assert_int_equal(irr(f, 0x20) & 4, 0);
}

static void special_fully_nested(void **state)
{
	struct fixture *f = *state;

	initialize(f, 0x11);
	pic_set(f->pic, 12, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x74);
	pic_set(f->pic, 8, true);
	assert_true(f->intr);
	assert_int_equal(pic_acknowledge(f->pic), 0x70);
}

static void level(void **state)
{
	struct fixture *f = *state;

	out(f, 0x4d0, 0xff);
	out(f, 0x4d1, 0xff);
	assert_int_equal(in(f, 0x4d0), 0xf8);
	assert_int_equal(in(f, 0x4d1), 0xde);
	pic_set(f->pic, 10, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x72);
	out(f, 0xa0, 0x20);
	out(f, 0x20, 0x20);
	assert_true(f->intr); /* as long as it is high */
	pic_set(f->pic, 10, false);
	assert_false(f->intr);
}

static void rotation(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 3, true);
	pic_set(f->pic, 4, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b);
	out(f, 0x20, 0xa0); /* rotate on non-specific EOI: 3 is lowest now */
	pic_set(f->pic, 3, false);
	pic_set(f->pic, 3, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0c);
	out(f, 0x20, 0x20);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b);
	out(f, 0x20, 0x63);
	out(f, 0x20, 0xc5); /* set priority: 5 lowest, so 6 is highest */
	pic_set(f->pic, 0, true);
	pic_set(f->pic, 7, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0f);
}

static void automatic_eoi(void **state)
{
	struct fixture *f = *state;

	initialize(f, 0x03);
	pic_set(f->pic, 4, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0c);
	assert_int_equal(isr(f, 0x20), 0);
	pic_set(f->pic, 5, true);
	assert_true(f->intr);
}

static void special_mask(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 1, true);
	pic_acknowledge(f->pic);
	pic_set(f->pic, 5, true);
	assert_false(f->intr);
	out(f, 0x21, 0x02);
	out(f, 0x20, 0x68); /* set special mask: all levels but those masked */
	assert_true(f->intr);
	assert_int_equal(pic_acknowledge(f->pic), 0x0d);
	out(f, 0x20, 0x20); /* the masked level 1 is passed over */
	assert_int_equal(isr(f, 0x20), 0x02);
	out(f, 0x20, 0x48);
	pic_set(f->pic, 6, true);
	assert_false(f->intr);
}

static void poll(void **state)
{
	struct fixture *f = *state;

	out(f, 0x20, 0x0c);
	assert_int_equal(in(f, 0x20), 0);
	pic_set(f->pic, 6, true);
	out(f, 0x20, 0x0c);
	assert_int_equal(in(f, 0x20), 0x86);
	assert_false(f->intr);
	assert_int_equal(isr(f, 0x20), 0x40);
}

static void initialization_clears(void **state)
{
	struct fixture *f = *state;

	out(f, 0x21, 0xaa);
	out(f, 0x20, 0x0c); /* a poll that nobody reads */
	pic_set(f->pic, 2, true);
	pic_set(f->pic, 4, true);
	out(f, 0x20, 0x11);
	assert_int_equal(in(f, 0x20), 0); /* IRR: an edge is needed again */
	out(f, 0x21, 0x40);
	out(f, 0x21, 0x04);
	out(f, 0x21, 0x01);
	assert_int_equal(in(f, 0x21), 0);
	assert_false(f->intr);
	pic_set(f->pic, 4, false);
	pic_set(f->pic, 4, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x44);
}

static void rotation_on_automatic_eoi(void **state)
{
	struct fixture *f = *state;

	initialize(f, 0x03);
	out(f, 0x20, 0x80); /* set */
	pic_set(f->pic, 3, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b); /* 3 is lowest now */
	pic_set(f->pic, 3, false);
	pic_set(f->pic, 3, true);
	pic_set(f->pic, 5, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0d); /* 5 is lowest now */
	out(f, 0x20, 0x00);				 /* clear: the order stays as it is */
	pic_set(f->pic, 4, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b);
	pic_set(f->pic, 3, false);
	pic_set(f->pic, 3, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x0b);
}

/* Without ICW4 its functions are off: no automatic EOI. */
static void no_icw4(void **state)
{
	struct fixture *f = *state;

	initialize(f, 0x03);
	out(f, 0x20, 0x10);
	out(f, 0x21, 0x08);
	out(f, 0x21, 0x04);
	out(f, 0x21, 0x00); /* OCW1 already */
	pic_set(f->pic, 1, true);
	assert_int_equal(pic_acknowledge(f->pic), 0x09);
	assert_int_equal(isr(f, 0x20), 2);
}

static void line_becomes_level_sensitive(void **state)
{
	struct fixture *f = *state;

	pic_set(f->pic, 5, true);
	pic_acknowledge(f->pic);
	out(f, 0x20, 0x20);
	assert_false(f->intr);
	out(f, 0x4d0, 0x20);
	assert_true(f->intr);
	pic_set(f->pic, 5, false);
	out(f, 0x4d0, 0x60);
	assert_false(f->intr);
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	pic_set(f->pic, 9, true);
	pic_state(f->pic, save);
	data = state_data(save, &size);
	pic_set(f->pic, 9, false);
	pic_reset(f->pic);
	restore = state_restore(data, size);
	pic_state(f->pic, restore);
	assert_false(state_failed(restore));
	assert_int_equal(pic_acknowledge(f->pic), 0x71);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(edge),
		TEST(line_that_falls_too_early),
		TEST(masks),
		TEST(fully_nested),
		TEST(cascade),
		TEST(special_fully_nested),
		TEST(level),
		TEST(rotation),
		TEST(automatic_eoi),
		TEST(special_mask),
		TEST(poll),
		TEST(initialization_clears),
		TEST(rotation_on_automatic_eoi),
		TEST(no_icw4),
		TEST(line_becomes_level_sensitive),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The 16550A, as a driver programs it. Input comes from a file, output goes to one.
 */
#include "console/uart16550.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BASE = 0x3f8, CHARACTER = 86800 /* ns at 115200 baud, 10 bits */ };

struct rig {
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct chardev *chardev;
	struct uart *uart;
	bool irq;
	char path[64];
};

static void set_irq(void *listener, unsigned line, bool level)
{
	((struct rig *)listener)->irq = level;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct irq irq = {set_irq, r, 4};
	struct error error = {""};
	char command[256], spec[128];

	strcpy(r->path, "/tmp/softvt-uart-XXXXXX");
	if (!mkdtemp(r->path))
		return -1;
	snprintf(command, sizeof(command), "mkfifo %s/p.in %s/p.out", r->path, r->path);
	if (system(command))
		return -1;
	snprintf(spec, sizeof(spec), "pipe:%s/p", r->path);
	r->bus = bus_create(&r->log);
	r->clock = clock_create();
	r->chardev = chardev_create(spec, &error);
	r->uart = uart_create(r->bus, r->clock, BASE, &irq, r->chardev);
	*state = r;
	return r->chardev ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	char command[128];

	uart_destroy(r->uart);
	chardev_destroy(r->chardev);
	clock_destroy(r->clock);
	bus_destroy(r->bus);
	snprintf(command, sizeof(command), "rm -rf %s", r->path);
	free(r);
	return system(command);
}

static uint8_t in(struct rig *r, unsigned reg)
{
	return (uint8_t)bus_in(r->bus, (uint16_t)(BASE + reg), 1);
}

static void out(struct rig *r, unsigned reg, uint8_t value)
{
	bus_out(r->bus, (uint16_t)(BASE + reg), 1, value);
}

static void pass(struct rig *r, vtime_t ns)
{
	vtime_t end = clock_now(r->clock) + ns;

	while (clock_next(r->clock) <= end) {
		clock_advance_to(r->clock, clock_next(r->clock));
		clock_fire_due(r->clock);
	}
	clock_advance_to(r->clock, end);
}

static void type(struct rig *r, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/p.in", r->path);
	file = fopen(path, "r+");
	assert_non_null(file);
	fputs(text, file);
	fflush(file);
	chardev_poll(r->chardev);
	fclose(file);
}

static void program(struct rig *r, uint8_t fcr, uint8_t ier)
{
	out(r, 3, 0x83);
	out(r, 0, 1);
	out(r, 1, 0);
	out(r, 3, 0x03);
	out(r, 2, fcr);
	out(r, 4, 0x0b);
	out(r, 1, ier);
}

static void registers_after_reset(void **state)
{
	struct rig *r = *state;

	assert_int_equal(in(r, 1), 0);
	assert_int_equal(in(r, 2), 0x01);
	assert_int_equal(in(r, 3), 0);
	assert_int_equal(in(r, 4), 0);
	assert_int_equal(in(r, 5), 0x60);
	assert_int_equal(in(r, 6), 0xb0);
	out(r, 7, 0xa5);
	assert_int_equal(in(r, 7), 0xa5);
	out(r, 1, 0xff); /* reserved bits stay 0 */
	assert_int_equal(in(r, 1), 0x0f);
	out(r, 3, 0x80);
	out(r, 0, 0x34);
	out(r, 1, 0x12);
	assert_int_equal(in(r, 0), 0x34);
	assert_int_equal(in(r, 1), 0x12);
	out(r, 2, 0x01);
	assert_int_equal(in(r, 2) & 0xc0, 0xc0);
	out(r, 2, 0x00);
	assert_int_equal(in(r, 2) & 0xc0, 0);
}

static void transmitting_interrupts(void **state)
{
	struct rig *r = *state;
	char path[128], text[8] = "";
	FILE *file;

	program(r, 0x07, 0x02);
	assert_true(r->irq);
	assert_int_equal(in(r, 2), 0xc2);
	assert_false(r->irq); /* reading IIR clears THRE */
	assert_int_equal(in(r, 2), 0xc1);
	out(r, 0, 'x');
	out(r, 0, '\n');
	assert_true(r->irq);
	out(r, 1, 0);
	assert_false(r->irq);
	out(r, 1, 2); /* enabling it anew raises it */
	assert_true(r->irq);
	out(r, 4, 0x03); /* without OUT2 the line is off */
	assert_false(r->irq);
	snprintf(path, sizeof(path), "%s/p.out", r->path);
	file = fopen(path, "r+");
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_string_equal(text, "x\n");
}

static void reception_at_line_speed_and_trigger_level(void **state)
{
	struct rig *r = *state;

	program(r, 0x47, 0x01); /* trigger at 4 */
	type(r, "abcdef");
	pass(r, 3 * CHARACTER + 1000);
	assert_false(r->irq);
	assert_int_equal(in(r, 5) & 1, 1);
	pass(r, CHARACTER);
	assert_true(r->irq);
	assert_int_equal(in(r, 2), 0xc4);
	assert_int_equal(in(r, 0), 'a');
	assert_false(r->irq); /* below the level */
	pass(r, 2 * CHARACTER);
	for (const char *c = "bcdef"; *c; c++)
		assert_int_equal(in(r, 0), *c);
	assert_int_equal(in(r, 5) & 1, 0);
}

static void timeout_below_the_trigger_level(void **state)
{
	struct rig *r = *state;

	program(r, 0xc7, 0x01); /* trigger at 14 */
	type(r, "a");
	pass(r, CHARACTER + 1000);
	assert_false(r->irq);
	pass(r, 4 * CHARACTER);
	assert_true(r->irq);
	assert_int_equal(in(r, 2), 0xcc);
	assert_int_equal(in(r, 0), 'a');
	assert_false(r->irq);
}

static void nothing_is_lost_when_the_fifo_is_full(void **state)
{
	struct rig *r = *state;
	const char *text = "0123456789abcdefghijklmnopqrstuvwxyz";

	program(r, 0x07, 0);
	type(r, text);
	pass(r, 100 * CHARACTER);
	assert_int_equal(in(r, 5) & 2, 0); /* no overrun: the sender waits */
	for (unsigned i = 0; text[i]; i++) {
		assert_int_equal(in(r, 5) & 1, 1);
		assert_int_equal(in(r, 0), text[i]);
		pass(r, 2 * CHARACTER);
	}
	assert_int_equal(in(r, 5) & 1, 0);
}

static void loopback(void **state)
{
	struct rig *r = *state;

	program(r, 0x07, 0x04);
	for (unsigned mcr = 0; mcr < 16; mcr++) {
		unsigned msr =
			(mcr & 1 ? 0x20 : 0) | (mcr & 2 ? 0x10 : 0) | (mcr & 4 ? 0x40 : 0) | (mcr & 8 ? 0x80 : 0);

		out(r, 4, (uint8_t)(0x10 | mcr));
		assert_int_equal(in(r, 6) & 0xf0, msr);
	}
	in(r, 6);
	out(r, 4, 0x10);
	in(r, 6);
	out(r, 4, 0x12); /* RTS on: CTS changed */
	assert_int_equal(in(r, 6), 0x11);
	assert_int_equal(in(r, 6), 0x10); /* deltas are cleared by reading */
	out(r, 4, 0x14);		  /* OUT1 on then off: only the trailing edge of RI counts */
	assert_int_equal(in(r, 6) & 0x04, 0);
	out(r, 4, 0x10);
	assert_int_equal(in(r, 6) & 0x04, 4);
	for (unsigned i = 0; i < 18; i++)
		out(r, 0, (uint8_t)('a' + i));
	assert_int_equal(in(r, 5) & 3, 3); /* data, overrun */
	assert_int_equal(in(r, 5) & 3, 1);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(r, 0), 'a' + i);
	assert_int_equal(in(r, 5) & 1, 0);
}

static void state_is_complete(void **state)
{
	struct rig *r = *state;
	struct state *save = state_save(), *load;
	const void *bytes;
	size_t size;

	program(r, 0x07, 0x05);
	out(r, 4, 0x1b);
	out(r, 0, 'q');
	uart_state(r->uart, save);
	bytes = state_data(save, &size);
	uart_reset(r->uart);
	load = state_restore(bytes, size);
	uart_state(r->uart, load);
	assert_false(state_failed(load));
	assert_int_equal(in(r, 1), 0x05);
	assert_int_equal(in(r, 0), 'q');
	state_free(load);
	state_free(save);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_after_reset),
		TEST(transmitting_interrupts),
		TEST(reception_at_line_speed_and_trigger_level),
		TEST(timeout_below_the_trigger_level),
		TEST(nothing_is_lost_when_the_fifo_is_full),
		TEST(loopback),
		TEST(state_is_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

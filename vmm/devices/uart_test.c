/* COM1 against the PC16550D data sheet. */
#include "devices/fake_vm.h"

enum { RBR = 0x3f8, THR = 0x3f8, IER, FCR, IIR = 0x3fa, LCR, MCR, LSR, MSR, SCR };

static bool irq4(const struct fake *f) { return f->vm.devices.pic[0].lines >> 4 & 1; }

static void receive(struct fake *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_true(uart_receive(&f->vm, (uint8_t)('a' + i)));
}

static void registers(void **state)
{
	struct fake *f = *state;

	assert_int_equal(in(f, IER), 0);
	assert_int_equal(in(f, IIR), 0x01);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, MSR), 0xb0);
	out(f, IER, 0xff);
	assert_int_equal(in(f, IER), 0x0f);
	out(f, MCR, 0xef);
	assert_int_equal(in(f, MCR), 0x0f);
	out(f, SCR, 0x5a);
	assert_int_equal(in(f, SCR), 0x5a);
	out(f, LCR, 0x83);
	out(f, RBR, 0x0c);
	out(f, IER, 0x01);
	assert_int_equal(in(f, RBR), 0x0c);
	assert_int_equal(in(f, IER), 0x01);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, LCR), 0x03);
	assert_int_equal(in(f, IER), 0x0f);
	assert_int_equal(f->sent_count, 0);
	out(f, LSR, 0); /* LSR and MSR: nothing to write for programs */
	out(f, MSR, 0);
	assert_int_equal(in(f, MSR), 0xb0);
}

static void sends_to_the_console(void **state)
{
	struct fake *f = *state;

	out(f, THR, 'h');
	out(f, THR, 'i');
	assert_int_equal(f->sent_count, 2);
	assert_memory_equal(f->sent, "hi", 2);
	assert_int_equal(in(f, LSR), 0x60);
}

static void transmitter_empty_interrupts(void **state)
{
	struct fake *f = *state;

	out(f, MCR, 0x08);
	out(f, IER, 0x02); /* is empty at once */
	assert_true(irq4(f));
	assert_int_equal(in(f, IIR), 0x02);
	assert_false(irq4(f)); /* reading it was the answer */
	assert_int_equal(in(f, IIR), 0x01);
	out(f, THR, 'x');
	assert_true(irq4(f));
	out(f, IER, 0x00);
	assert_false(irq4(f));
	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0x02);
	out(f, IER, 0x02); /* no change, no interrupt */
	assert_int_equal(in(f, IIR), 0x01);
}

static void out2_connects_the_line(void **state)
{
	struct fake *f = *state;

	out(f, IER, 0x02);
	assert_false(irq4(f));
	out(f, MCR, 0x08);
	assert_true(irq4(f));
	out(f, MCR, 0x18);
	assert_false(irq4(f));
}

static void receives_one_without_fifos(void **state)
{
	struct fake *f = *state;

	out(f, MCR, 0x08);
	out(f, IER, 0x01);
	receive(f, 1);
	assert_false(uart_receive(&f->vm, 'b'));
	assert_true(irq4(f));
	assert_int_equal(in(f, IIR), 0x04);
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, RBR), 'a');
	assert_false(irq4(f));
	assert_int_equal(in(f, LSR), 0x60);
}

static void receives_sixteen_with_fifos(void **state)
{
	struct fake *f = *state;

	out(f, FCR, 0x81);
	out(f, IER, 0x01);
	assert_int_equal(in(f, IIR), 0xc1);
	receive(f, 7);
	assert_int_equal(in(f, IIR), 0xcc); /* below the trigger level of 8: the time-out */
	receive(f, 1);
	assert_int_equal(in(f, IIR), 0xc4);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(in(f, RBR), 'a' + i);
	assert_int_equal(in(f, RBR), 'a');
	assert_int_equal(in(f, IIR), 0xc1);
	receive(f, 16);
	assert_false(uart_receive(&f->vm, 'x'));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(f, RBR), 'a' + i);
	assert_int_equal(in(f, LSR), 0x60);
	receive(f, 3);
	out(f, FCR, 0x83); /* clears the receiver */
	assert_int_equal(in(f, LSR), 0x60);
	receive(f, 3);
	out(f, FCR, 0x00); /* so does switching them off */
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, IIR), 0x01);
}

static void loop_back(void **state)
{
	struct fake *f = *state;

	out(f, MCR, 0x10);
	assert_int_equal(in(f, MSR), 0x0b); /* all went low */
	assert_int_equal(in(f, MSR), 0x00);
	for (unsigned i = 0; i < 16; i++) {
		static const uint8_t inputs[4] = {0x20, 0x10, 0x40, 0x80};
		uint8_t expected = 0;

		out(f, MCR, (uint8_t)(0x10 | i));
		for (unsigned bit = 0; bit < 4; bit++)
			expected |= i >> bit & 1 ? inputs[bit] : 0;
		assert_int_equal(in(f, MSR) & 0xf0, expected);
	}
	out(f, MCR, 0x14);
	in(f, MSR);
	out(f, MCR, 0x10); /* RI's end counts, its beginning does not */
	assert_int_equal(in(f, MSR), 0x04);
	out(f, MCR, 0x14);
	assert_int_equal(in(f, MSR), 0x40);
	out(f, THR, 'q');
	assert_int_equal(f->sent_count, 0);
	assert_false(uart_receive(&f->vm, 'x'));
	assert_int_equal(in(f, LSR), 0x61);
	out(f, THR, 'r');
	assert_int_equal(in(f, LSR), 0x63); /* overrun */
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, RBR), 'r');
	out(f, FCR, 0x01);
	for (unsigned i = 0; i < 17; i++)
		out(f, THR, (uint8_t)i);
	assert_int_equal(in(f, LSR), 0x63);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(in(f, RBR), i);
}

static void causes_have_an_order(void **state)
{
	struct fake *f = *state;

	out(f, MCR, 0x10); /* changes modem inputs, and two characters are an overrun */
	out(f, THR, 'a');
	out(f, THR, 'b');
	out(f, IER, 0x0f);
	assert_int_equal(in(f, IIR), 0x06);
	in(f, LSR);
	assert_int_equal(in(f, IIR), 0x04);
	in(f, RBR);
	assert_int_equal(in(f, IIR), 0x02);
	assert_int_equal(in(f, IIR), 0x00);
	in(f, MSR);
	assert_int_equal(in(f, IIR), 0x01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers), TEST(sends_to_the_console), TEST(transmitter_empty_interrupts), TEST(out2_connects_the_line),
		TEST(receives_one_without_fifos), TEST(receives_sixteen_with_fifos), TEST(loop_back), TEST(causes_have_an_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

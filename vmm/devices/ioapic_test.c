/* The I/O APIC against the 82093AA data sheet. */
#include "devices/fake_vm.h"

enum { MASKED = 1 << 16, LEVEL = 1 << 15, REMOTE_IRR = 1 << 14, ACTIVE_LOW = 1 << 13, LOGICAL = 1 << 11 };

static void put(struct fake *f, uint8_t index, uint32_t value)
{
	mmio_write(&f->vm, 0xfec00000, 4, index);
	mmio_write(&f->vm, 0xfec00010, 4, value);
}

static uint32_t get(struct fake *f, uint8_t index)
{
	mmio_write(&f->vm, 0xfec00000, 4, index);
	return (uint32_t)mmio_read(&f->vm, 0xfec00010, 4);
}

static void route(struct fake *f, unsigned pin, uint32_t low, uint8_t destination)
{
	put(f, (uint8_t)(0x11 + 2 * pin), (uint32_t)destination << 24);
	put(f, (uint8_t)(0x10 + 2 * pin), low);
}

static void registers(void **state)
{
	struct fake *f = *state;

	assert_int_equal(get(f, 1), 0x00170011);
	put(f, 1, 0);
	assert_int_equal(get(f, 1), 0x00170011);
	put(f, 0, 0xffffffff);
	assert_int_equal(get(f, 0), 0x0f000000);
	assert_int_equal(get(f, 2), 0x0f000000);
	for (unsigned pin = 0; pin < 24; pin++) {
		assert_int_equal(get(f, (uint8_t)(0x10 + 2 * pin)), MASKED);
		route(f, pin, 0xffffffff, 0xff);
		assert_int_equal(get(f, (uint8_t)(0x10 + 2 * pin)), 0x1afff); /* but delivery status and Remote IRR */
		assert_int_equal(get(f, (uint8_t)(0x11 + 2 * pin)), 0xff000000);
	}
	for (unsigned index = 0x40; index < 0x100; index++) {
		put(f, (uint8_t)index, 0xffffffff);
		assert_int_equal(get(f, (uint8_t)index), 0);
	}
	assert_int_equal(mmio_read(&f->vm, 0xfec00020, 4), 0);
	assert_int_equal((uint32_t)mmio_read(&f->vm, 0xfec01000, 4), 0xffffffff);
	assert_int_equal(f->messages, 0);
}

static void an_edge_is_a_message(void **state)
{
	struct fake *f = *state;

	route(f, 4, 0x34 | LOGICAL | 1 << 8, 0x81);
	irq_set(&f->vm, 4, true);
	assert_int_equal(f->messages, 1);
	assert_int_equal(f->message.vector, 0x34);
	assert_int_equal(f->message.mode, 1);
	assert_true(f->message.logical);
	assert_false(f->message.level);
	assert_true(f->message.asserted);
	assert_int_equal(f->message.destination, 0x81);
	irq_set(&f->vm, 4, true);
	irq_set(&f->vm, 4, false);
	assert_int_equal(f->messages, 1);
	irq_set(&f->vm, 4, true);
	assert_int_equal(f->messages, 2);
	ioapic_eoi(&f->vm, 0x34);
	assert_int_equal(f->messages, 2);
}

static void the_timer_is_at_pin_2(void **state)
{
	struct fake *f = *state;

	route(f, 0, 0x30, 0);
	irq_set(&f->vm, 0, true);
	assert_int_equal(f->messages, 0);
	irq_set(&f->vm, 0, false);
	route(f, 2, 0x32, 0);
	irq_set(&f->vm, 0, true);
	assert_int_equal(f->message.vector, 0x32);
}

static void an_edge_at_a_masked_pin_is_lost(void **state)
{
	struct fake *f = *state;

	irq_set(&f->vm, 4, true);
	route(f, 4, 0x34, 0);
	assert_int_equal(f->messages, 0);
}

static void a_level_comes_again_after_eoi(void **state)
{
	struct fake *f = *state;

	route(f, 10, 0x3a | LEVEL | ACTIVE_LOW, 1);
	irq_set(&f->vm, 10, true);
	assert_int_equal(f->messages, 1);
	assert_true(f->message.level);
	assert_int_equal(get(f, 0x10 + 20), 0x3a | LEVEL | ACTIVE_LOW | REMOTE_IRR);
	irq_set(&f->vm, 10, false);
	irq_set(&f->vm, 10, true);
	assert_int_equal(f->messages, 1);
	ioapic_eoi(&f->vm, 0x3b);
	assert_int_equal(f->messages, 1);
	ioapic_eoi(&f->vm, 0x3a);
	assert_int_equal(f->messages, 2);
	irq_set(&f->vm, 10, false);
	ioapic_eoi(&f->vm, 0x3a);
	assert_int_equal(f->messages, 2);
	assert_int_equal(get(f, 0x10 + 20), 0x3a | LEVEL | ACTIVE_LOW);
}

static void a_masked_level_waits(void **state)
{
	struct fake *f = *state;

	route(f, 10, 0x3a | LEVEL | MASKED, 1);
	irq_set(&f->vm, 10, true);
	assert_int_equal(f->messages, 0);
	put(f, 0x10 + 20, 0x3a | LEVEL);
	assert_int_equal(f->messages, 1);
	put(f, 0x10 + 20, 0x3a | LEVEL | MASKED); /* EOI while masked: sent when it is unmasked */
	ioapic_eoi(&f->vm, 0x3a);
	assert_int_equal(f->messages, 1);
	put(f, 0x10 + 20, 0x3a | LEVEL);
	assert_int_equal(f->messages, 2);
	put(f, 0x10 + 20, 0x3a | MASKED); /* to edge and back ends it too */
	put(f, 0x10 + 20, 0x3a | LEVEL);
	assert_int_equal(f->messages, 3);
}

static void an_nmi_is_an_edge(void **state)
{
	struct fake *f = *state;

	route(f, 10, LEVEL | 4 << 8, 1);
	irq_set(&f->vm, 10, true);
	assert_int_equal(f->messages, 1);
	assert_int_equal(f->message.mode, 4);
	assert_false(f->message.level);
}

static void reserved_modes_send_nothing(void **state)
{
	struct fake *f = *state;

	route(f, 10, 3 << 8, 1);
	route(f, 11, 6 << 8, 1);
	irq_set(&f->vm, 10, true);
	irq_set(&f->vm, 11, true);
	assert_int_equal(f->messages, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers), TEST(an_edge_is_a_message), TEST(the_timer_is_at_pin_2), TEST(an_edge_at_a_masked_pin_is_lost),
		TEST(a_level_comes_again_after_eoi), TEST(a_masked_level_waits), TEST(an_nmi_is_an_edge), TEST(reserved_modes_send_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* PCI, ACPI's registers, reset ports, accesses of all widths; and a guest that writes at random. */
#include "devices/clock.h"
#include "devices/fake_vm.h"

static void pci_configuration(void **state)
{
	struct vm *vm = *state;

	assert_int_equal(port_read(vm, 0xcfc, 4), 0xffffffff);
	port_write(vm, 0xcf8, 4, 0x80000000);
	assert_int_equal(port_read(vm, 0xcf8, 4), 0x80000000);
	assert_int_equal(port_read(vm, 0xcfc, 4), 0x12378086);
	assert_int_equal(port_read(vm, 0xcfe, 2), 0x1237);
	assert_int_equal(port_read(vm, 0xcfd, 1), 0x80);
	port_write(vm, 0xcfc, 4, 0);
	assert_int_equal(port_read(vm, 0xcfc, 4), 0x12378086);
	port_write(vm, 0xcf8, 4, 0x80000008);
	assert_int_equal(port_read(vm, 0xcfe, 2), 0x0600);
	port_write(vm, 0xcf8, 4, 0x8000000c);
	assert_int_equal(port_read(vm, 0xcfe, 1), 0);
	for (unsigned function = 1; function < 0x10000; function++) {
		port_write(vm, 0xcf8, 4, 0x80000000 | function << 8);
		assert_int_equal(port_read(vm, 0xcfc, 4), function == 8 ? 0x10421af4 : 0xffffffff);
	}
	vm->disk = NULL;
	port_write(vm, 0xcf8, 4, 0x80000800);
	assert_int_equal(port_read(vm, 0xcfc, 4), 0xffffffff);
	port_write(vm, 0xcf8, 4, 0xffffffff);
	assert_int_equal(port_read(vm, 0xcf8, 4), 0x80fffffc);
	port_write(vm, 0xcf8, 1, 0); /* no register's */
	assert_int_equal(port_read(vm, 0xcf8, 4), 0x80fffffc);
	assert_int_equal(port_read(vm, 0xcf8, 2), 0xffff);
}

static void pm_timer(void **state)
{
	struct fake *f = *state;

	assert_int_equal(port_read(&f->vm, PM_TIMER, 4), 0);
	run(f, SECOND);
	assert_int_equal(port_read(&f->vm, PM_TIMER, 4), 3579545);
	assert_int_equal(port_read(&f->vm, PM_TIMER + 2, 2), 3579545 >> 16);
	assert_int_equal(in(f, PM_TIMER + 1), 3579545 >> 8 & 0xff);
	run(f, 4 * SECOND);
	assert_int_equal(port_read(&f->vm, PM_TIMER, 4), 5 * 3579545 & 0xffffff);
}

static void power_off(void **state)
{
	struct fake *f = *state;

	assert_int_equal(port_read(&f->vm, PM_CONTROL, 2), 1);
	port_write(&f->vm, PM_CONTROL, 2, 0x0c00 | 0x2000); /* S3 is not there */
	port_write(&f->vm, PM_CONTROL, 2, 5 << 10);
	assert_int_equal(f->power_offs, 0);
	assert_int_equal(port_read(&f->vm, PM_CONTROL, 2), 5 << 10 | 1);
	port_write(&f->vm, PM_CONTROL, 2, 5 << 10 | 0x2000);
	assert_int_equal(f->power_offs, 1);
	out(f, PM_CONTROL + 1, 0x34);
	assert_int_equal(f->power_offs, 2);
	assert_int_equal(port_read(&f->vm, PM_CONTROL, 2), 5 << 10 | 1); /* SLP_EN reads as 0 */
}

static void pm_events(void **state)
{
	struct fake *f = *state;

	port_write(&f->vm, PM_EVENT, 4, 0xffffffff);
	assert_int_equal(port_read(&f->vm, PM_EVENT, 4), 0x47210000);
	out(f, PM_EVENT + 2, 0x01);
	assert_int_equal(port_read(&f->vm, PM_EVENT + 2, 2), 0x4701);
	run(f, 10 * SECOND);
	assert_int_equal(port_read(&f->vm, PM_EVENT, 2), 0);
}

static void resets(void **state)
{
	struct fake *f = *state;

	out(f, 0xcf9, 0x02);
	assert_int_equal(f->resets, 0);
	out(f, 0xcf9, 0x06);
	assert_int_equal(f->resets, 1);
	assert_int_equal(in(f, 0xcf9), 0x06);
	out(f, 0xcf9, 0x06); /* no change from 0 to 1 */
	assert_int_equal(f->resets, 1);
	out(f, 0x92, 0x00);
	assert_int_equal(f->resets, 1);
	assert_int_equal(in(f, 0x92), 0x02);
	out(f, 0x92, 0x03);
	assert_int_equal(f->resets, 2);
	out(f, 0x64, 0xfe);
	assert_int_equal(f->resets, 3);
	out(f, 0x64, 0xff);
	out(f, 0x60, 0xfe);
	out(f, 0x64, 0xd1);
	assert_int_equal(f->resets, 3);
	assert_int_equal(in(f, 0x64), 0);
}

static void widths(void **state)
{
	struct fake *f = *state;

	assert_int_equal(port_read(&f->vm, 0x1234, 1), 0xff);
	assert_int_equal(port_read(&f->vm, 0x1234, 2), 0xffff);
	assert_int_equal(port_read(&f->vm, 0xffff, 4), 0xffffffff); /* around the end */
	port_write(&f->vm, 0x3fe, 2, 0x5a00);
	assert_int_equal(port_read(&f->vm, 0x3fe, 2), 0x5ab0);
	assert_int_equal(port_read(&f->vm, 0x3ff, 2), 0xff5a);
	port_write(&f->vm, 0x20, 2, 0x0011); /* ICW1, and an ICW2 of 0 */
	assert_int_equal(f->vm.devices.pic[0].expected, 3);
}

/* Reads and writes as they come, with time passing: sanitizers look on, run_to() that deadlines move, and the test that nothing takes forever. */
static void random_accesses(void **state)
{
	static const uint16_t bases[] = {0x20, 0xa0, 0x40, 0x60, 0x70, 0x92, 0x3f8, 0x4d0, 0xcf8, 0x600};
	struct fake *f = *state;
	uint64_t seed = 1;

	f->takes_extint = true;
	for (unsigned i = 0; i < 1000000; i++) {
		uint32_t value = (uint32_t)((seed = seed * 6364136223846793005 + 1442695040888963407) >> 32), random = (uint32_t)(seed >> 16);
		uint16_t port = (uint16_t)(random % 32 ? bases[random % ARRAY_SIZE(bases)] + (random >> 8 & 15) : random >> 8);
		unsigned size = 1u << (random >> 24) % 3;

		switch (value >> 28) {
		case 0:
			mmio_write(&f->vm, IOAPIC_ADDRESS + (value & 0x1010), size, seed);
			break;
		case 1:
			mmio_read(&f->vm, IOAPIC_ADDRESS + (value & 0x101f), size);
			break;
		case 2:
			ioapic_eoi(&f->vm, value & 0xff);
			break;
		case 3:
			run(f, UINT64_C(1) << value % 25);
			break;
		case 4:
			if (i8259_pending(&f->vm))
				assert_true(i8259_acknowledge(&f->vm) < 256);
			break;
		case 5:
			if (uart_receive(&f->vm, (uint8_t)value))
				assert_true(f->vm.devices.uart.count <= UART_FIFO);
			break;
		case 6 ... 8:
			assert_true(size == 4 || port_read(&f->vm, port, size) >> size * 8 == 0);
			break;
		default:
			port_write(&f->vm, port, size, value);
		}
	}
	assert_true(f->resets > 0 && f->power_offs > 0 && f->messages > 0 && f->wakes > 0 && f->sent_count > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pci_configuration), TEST(pm_timer), TEST(power_off), TEST(pm_events), TEST(resets), TEST(widths), TEST(random_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The ports of the virtual platform: a row for each device, and what happens to accesses that are not for one as they are.
 */
#include "devices/ports.h"

#include "guest/vm.h"

/* The first row that has the whole access takes it. */
static const struct ports {
	uint16_t first, last;
	unsigned width; /* the widest access that the device takes as one */
	port_reader *read;
	port_writer *write;
} ports[] = {
	{0x3f8, 0x3ff, 1, uart_read, uart_write},
	{0x20, 0x21, 1, i8259_read, i8259_write},
	{0xa0, 0xa1, 1, i8259_read, i8259_write},
	{0x4d0, 0x4d1, 1, elcr_read, elcr_write},
	{0x40, 0x43, 1, i8254_read, i8254_write},
	{0x61, 0x61, 1, port61_read, port61_write},
	{0x60, 0x60, 1, i8042_read, i8042_write},
	{0x64, 0x64, 1, i8042_read, i8042_write},
	{0x70, 0x71, 1, rtc_read, rtc_write},
	{0x92, 0x92, 1, port92_read, port92_write},
	{PM_RESET, PM_RESET, 1, reset_control_read, reset_control_write},
	{0xcf8, 0xcff, 4, pci_read, pci_write},
	{PM_EVENT, PM_END - 1, 4, pm_read, pm_write},
};

static const struct ports *find(uint16_t port, unsigned size)
{
	if (port % size)
		return NULL;
	for (const struct ports *row = ports; row < ports + ARRAY_SIZE(ports); row++)
		if (row->first <= port && port + size - 1 <= row->last && size <= row->width)
			return row;
	return NULL;
}

static uint32_t ones(unsigned size)
{
	return UINT32_MAX >> (32 - size * 8);
}

/* Wider or unaligned accesses come to ISA's devices byte by byte, as its bus does it. */
uint32_t port_read(struct vm *vm, uint16_t port, unsigned size)
{
	const struct ports *row = find(port, size);
	uint32_t value = 0;

	if (row)
		return row->read(vm, port, size, vm_time(vm)) & ones(size);
	if (size == 1)
		return 0xff;
	for (unsigned i = 0; i < size; i++)
		value |= port_read(vm, (uint16_t)(port + i), 1) << i * 8;
	return value;
}

void port_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value)
{
	const struct ports *row = find(port, size);

	if (row) {
		row->write(vm, port, size, value & ones(size), vm_time(vm));
		return;
	}
	for (unsigned i = 0; size > 1 && i < size; i++)
		port_write(vm, (uint16_t)(port + i), 1, value >> i * 8 & 0xff);
}

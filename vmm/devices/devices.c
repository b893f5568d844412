/*
 * The virtual platform as a whole: what the devices share, and what is not at a port.
 */
#include "devices/devices.h"

#include "guest/vm.h"

void devices_reset(struct vm *vm)
{
	vm->devices = (struct devices){0};
	i8259_reset(vm);
	i8254_reset(vm);
	rtc_reset(vm);
	ioapic_reset(vm);
	uart_reset(vm);
	virtio_blk_reset(vm);
}

/* The timer is at pin 2, as on most PCs: the ACPI tables' "Interrupt Source Override Structure". */
void irq_set(struct vm *vm, unsigned line, bool high)
{
	i8259_set(vm, line, high);
	ioapic_set(vm, line == 0 ? 2 : line, high);
}

static bool is_ioapic(gpa_t gpa)
{
	return (gpa & ~(PAGE - 1)) == IOAPIC_ADDRESS;
}

uint64_t mmio_read(struct vm *vm, gpa_t gpa, unsigned size)
{
	if (is_ioapic(gpa))
		return ioapic_read(vm, gpa & (PAGE - 1));
	if (virtio_has(vm, gpa))
		return virtio_read(vm, gpa & (PAGE - 1), size);
	return UINT64_MAX;
}

void mmio_write(struct vm *vm, gpa_t gpa, unsigned size, uint64_t value)
{
	if (is_ioapic(gpa))
		ioapic_write(vm, gpa & (PAGE - 1), (uint32_t)value);
	else if (virtio_has(vm, gpa))
		virtio_write(vm, gpa & (PAGE - 1), size, value);
}

uint64_t devices_deadline(const struct vm *vm)
{
	return min_u64(min_u64(i8254_deadline(vm), rtc_deadline(vm)), virtio_blk_deadline(vm));
}

void devices_tick(struct vm *vm, uint64_t now)
{
	i8254_tick(vm, now);
	rtc_tick(vm, now);
	virtio_blk_tick(vm, now);
}

/*
 * PCI: PCI Local Bus Specification 3.0, "Configuration Space"; its configuration mechanism #1. The host bridge says that this
 * is PCI without extended configuration space, by the IDs of the 82441FX, whose registers for memory it has not.
 */
#include "devices/pci.h"

#include "guest/vm.h"

enum { CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc };
#define ADDRESS_ENABLE BIT(31)
#define ADDRESS_FUNCTION BITS(23, 8) /* bus, device and function */
#define HOST_BRIDGE 0
#define DISK (1 << 11) /* device 1 */
#define ADDRESS_WRITABLE (ADDRESS_ENABLE | BITS(23, 2))

/* "Type 00h Configuration Space Header", by its doublewords; all else reads as 0 and cannot be written. */
static uint32_t host_bridge(unsigned offset)
{
	switch (offset) {
	case 0x00: /* device and vendor ID */
		return 0x12378086;
	case 0x04: /* command: it answers to memory accesses and is a bus master, always */
		return 0x00000006;
	case 0x08: /* class code: bridge, host bridge; revision */
		return 0x06000002;
	}
	return 0;
}

uint32_t pci_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	uint32_t address = vm->devices.pci.address;

	if (port < CONFIG_DATA) /* only a doubleword's access is the register's */
		return port == CONFIG_ADDRESS && size == 4 ? address : UINT32_MAX;
	if ((address & ADDRESS_ENABLE) && (address & ADDRESS_FUNCTION) == HOST_BRIDGE)
		return host_bridge(address & 0xfc) >> (port & 3) * 8;
	if ((address & ADDRESS_ENABLE) && (address & ADDRESS_FUNCTION) == DISK && vm->disk)
		return virtio_config_read(vm, address & 0xfc) >> (port & 3) * 8;
	return UINT32_MAX;
}

void pci_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	uint32_t address = vm->devices.pci.address;
	unsigned shift = (port & 3) * 8;

	if (port == CONFIG_ADDRESS && size == 4)
		vm->devices.pci.address = value & ADDRESS_WRITABLE;
	else if (port >= CONFIG_DATA && (address & ADDRESS_ENABLE) && (address & ADDRESS_FUNCTION) == DISK && vm->disk)
		virtio_config_write(vm, address & 0xfc, value << shift, UINT32_MAX >> (32 - size * 8) << shift);
}

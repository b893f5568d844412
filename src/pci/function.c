/*
 * One PCI function: header, BARs, capabilities, INTx. MSI and MSI-X are in msi.c.
 *
 * PCI Local Bus 3.0, "Configuration Space Decoding", "Base Addresses", "Device Control", "Device Status"; PCI Express
 * Base, "PCI Express Capability Structure".
 */
#include "pci/root.h"
#include "base/bits.h"

#include <assert.h>

void pci_identity(struct pci_function *function, uint16_t vendor, uint16_t device, uint32_t class_code,
		  uint8_t revision, uint16_t subsystem_vendor, uint16_t subsystem)
{
	store_le(function->config + PCI_VENDOR, 2, vendor);
	store_le(function->config + PCI_DEVICE, 2, device);
	function->config[PCI_REVISION] = revision;
	store_le(function->config + PCI_CLASS, 3, class_code);
	store_le(function->config + PCI_SUBSYSTEM_VENDOR, 2, subsystem_vendor);
	store_le(function->config + PCI_SUBSYSTEM, 2, subsystem);
	store_le(function->writable + PCI_COMMAND, 2,
		 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			 PCI_COMMAND_INTX_DISABLE);
	store_le(function->w1c + PCI_STATUS, 2, PCI_STATUS_ERRORS);
	function->writable[PCI_CACHE_LINE] = 0xff;
	function->next_capability = PCI_HEADER_END;
}

uint8_t pci_config_byte(const struct pci_function *function, unsigned offset)
{
	return function->config[offset];
}

uint16_t pci_config_word(const struct pci_function *function, unsigned offset)
{
	return (uint16_t)load_le(function->config + offset, 2);
}

uint32_t pci_config_dword(const struct pci_function *function, unsigned offset)
{
	return (uint32_t)load_le(function->config + offset, 4);
}

bool pci_bus_master(const struct pci_function *function)
{
	return pci_config_word(function, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

static unsigned bar_offset(unsigned index)
{
	return index == PCI_ROM_BAR ? PCI_ROM : PCI_BAR0 + 4 * index;
}

static bool is_64bit(enum pci_bar_kind kind)
{
	return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

static struct pci_bar *add_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t size)
{
	static const uint8_t type_bits[] = {[PCI_BAR_IO] = 1, [PCI_BAR_MEM64] = 4, [PCI_BAR_MEM64_PREFETCH] = 12};
	struct pci_bar *bar = &function->bar[index];
	unsigned offset = bar_offset(index);

	assert(index <= PCI_ROM_BAR && bar->kind == PCI_BAR_NONE && kind != PCI_BAR_NONE && is_aligned(size, size));
	assert(size >= (index == PCI_ROM_BAR ? 4096 : kind == PCI_BAR_IO ? 4 : 16));
	assert(is_64bit(kind) ? index < 5 : size <= BIT(31));
	bar->kind = kind;
	bar->size = size;
	if (kind < ARRAY_SIZE(type_bits))
		function->config[offset] = type_bits[kind];
	store_le(function->writable + offset, is_64bit(kind) ? 8 : 4, ~(size - 1));
	if (index == PCI_ROM_BAR)
		function->writable[offset] |= 1;
	return bar;
}

void pci_add_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t size,
		 const struct device_ops *ops, void *device)
{
	struct pci_bar *bar = add_bar(function, index, kind, size);

	bar->ops = ops;
	bar->device = device;
}

void pci_add_memory_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t size,
			uint8_t *bytes)
{
	add_bar(function, index, kind, size)->bytes = bytes;
}

static uint64_t zero_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void zero_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct device_ops zero_ops = {zero_read, zero_write, 0, 0};

void pci_create_bars(struct pci_function *function)
{
	struct bus *bus = function->root->bus;

	for (unsigned i = 0; i <= PCI_ROM_BAR; i++) {
		struct pci_bar *bar = &function->bar[i];
		const struct device_ops *ops = bar->ops ? bar->ops : &zero_ops;

		if (bar->kind == PCI_BAR_NONE)
			continue;
		if (bar->kind == PCI_BAR_IO)
			bar->region = bus_add_ports(bus, function->name, 0, (unsigned)bar->size, ops, bar->device);
		else if (bar->bytes && i == PCI_ROM_BAR)
			bar->region = bus_add_rom(bus, 0, bar->size, bar->bytes, PCI_BAR_PRIORITY);
		else if (bar->bytes)
			bar->region = bus_add_memory(bus, function->name, 0, bar->size, bar->bytes, PCI_BAR_PRIORITY);
		else
			bar->region =
				bus_add_device(bus, function->name, 0, bar->size, ops, bar->device, PCI_BAR_PRIORITY);
		region_enable(bar->region, false);
	}
}

static void map_bar(struct pci_function *function, unsigned index)
{
	struct pci_bar *bar = &function->bar[index];
	uint64_t base = load_le(function->config + bar_offset(index), is_64bit(bar->kind) ? 8 : 4);
	uint16_t command = pci_config_word(function, PCI_COMMAND);
	bool enabled = command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);

	if (index == PCI_ROM_BAR)
		enabled &= base & 1;
	base &= ~(bar->size - 1);
	if (bar->kind == PCI_BAR_IO)
		enabled &= base + bar->size <= 65536;
	if (enabled) {
		region_move(bar->region, base);
		region_enable(bar->region, true);
	} else {
		region_enable(bar->region, false);
	}
	if (function->msix_table_region && (function->config[function->msix + 4] & 7) == index) {
		region_move(function->msix_table_region, base + (pci_config_dword(function, function->msix + 4) & ~7u));
		region_move(function->msix_pba_region, base + (pci_config_dword(function, function->msix + 8) & ~7u));
		region_enable(function->msix_table_region, enabled);
		region_enable(function->msix_pba_region, enabled);
	}
}

void pci_map_bars(struct pci_function *function)
{
	for (unsigned i = 0; i <= PCI_ROM_BAR; i++)
		if (function->bar[i].region)
			map_bar(function, i);
}

void pci_set_pin(struct pci_function *function, unsigned pin)
{
	assert(pin >= 1 && pin <= 4);
	function->config[PCI_INTERRUPT_PIN] = (uint8_t)pin;
	function->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_update_intx(struct pci_function *function)
{
	bool wire = function->intx_level && !(pci_config_word(function, PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	unsigned pin = (function->reset_config[PCI_INTERRUPT_PIN] - 1u) & 3;
	struct pci_root *root = function->root;
	uint8_t *count = &root->intx_count[function->slot][pin];

	function->config[PCI_STATUS] = (uint8_t)bits_set(function->config[PCI_STATUS], 3, 3, function->intx_level);
	if (wire == function->intx_wire || !function->reset_config[PCI_INTERRUPT_PIN])
		return;
	function->intx_wire = wire;
	if (wire ? !(*count)++ : !--(*count))
		if (root->intx.set)
			root->intx.set(root->intx.ctx, function->slot, pin, wire);
}

void pci_set_intx(struct pci_function *function, bool level)
{
	function->intx_level = level;
	pci_update_intx(function);
}

unsigned pci_add_capability(struct pci_function *function, uint8_t id, unsigned size)
{
	unsigned offset = function->next_capability;

	function->next_capability += (size + 3) & ~3u;
	assert(offset >= PCI_HEADER_END && function->next_capability <= 256);
	function->config[offset] = id;
	function->config[offset + 1] = function->config[PCI_CAPABILITIES];
	function->config[PCI_CAPABILITIES] = (uint8_t)offset;
	function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	return offset;
}

void pci_add_pcie(struct pci_function *function, unsigned port_type)
{
	unsigned at = pci_add_capability(function, 0x10, 0x3c);

	function->pcie = (uint16_t)at;
	store_le(function->config + at + 2, 2, 2 | port_type << 4); /* capability version 2 */
	store_le(function->config + at + 4, 4, BIT(15));	    /* Role-Based Error Reporting; 128-byte payloads */
	/*
	 * Device Control: Relaxed Ordering and No Snoop on, Max Read Request 512 bytes; error reporting bits can be
	 * set.
	 */
	store_le(function->config + at + 8, 2, 0x2810);
	store_le(function->writable + at + 8, 2, 0x78ff);
	store_le(function->w1c + at + 10, 2, 0xf);
	if (port_type == 9)
		return;					     /* a Root Complex Integrated Endpoint has no link */
	store_le(function->config + at + 12, 4, 1 | 1 << 4); /* 2.5 GT/s, x1 */
	store_le(function->writable + at + 16, 2, 0xc3);
	store_le(function->config + at + 18, 2, 1 | 1 << 4);
	store_le(function->config + at + 0x30, 2, 1); /* Target Link Speed */
}

/*
 * The host bridge's side of PCI: configuration accesses by ports and by the ECAM window, the functions on bus 0, their
 * reset and state.
 *
 * PCI Local Bus 3.0, "Configuration Mechanism #1"; PCI Express Base, "PCI Express Enhanced Configuration Access
 * Mechanism (ECAM)". Not modelled: buses behind bridges, which answer all ones.
 */
#include "pci/root.h"
#include "base/bits.h"

#include <assert.h>
#include <stdlib.h>

#define CONFIG_ADDRESS_MASK UINT32_C(0x80fffffc) /* bits 30:24 and 1:0 are reserved and read 0 */

struct pci_function *pci_find(struct pci_root *root, uint8_t bus, uint8_t slot, uint8_t number)
{
	if (bus || slot >= PCI_SLOTS || number >= PCI_FUNCTIONS)
		return NULL;
	return root->function[slot][number];
}

static struct pci_function *find_space(struct pci_root *root, uint16_t bdf, unsigned offset, unsigned size)
{
	struct pci_function *function = pci_find(root, bdf >> 8, bdf >> 3 & 31, bdf & 7);

	if (!function || offset + size > (function->pcie ? PCI_CONFIG_SIZE : 256))
		return NULL;
	return function;
}

uint32_t pci_config_access_read(struct pci_root *root, uint16_t bdf, unsigned offset, unsigned size)
{
	struct pci_function *function = find_space(root, bdf, offset, size);

	if (!function)
		return (uint32_t)bytes_mask(size);
	if (function->ops && function->ops->config_read)
		function->ops->config_read(function, offset, size);
	return (uint32_t)load_le(function->config + offset, size);
}

void pci_config_access_write(struct pci_root *root, uint16_t bdf, unsigned offset, unsigned size, uint32_t value)
{
	struct pci_function *function = find_space(root, bdf, offset, size);

	if (!function)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i), *at = function->config + offset + i,
			may = function->writable[offset + i];

		*at = (*at & ~may) | (byte & may);
		*at &= ~(byte & function->w1c[offset + i]);
	}
	if (pci_overlap(offset, size, PCI_COMMAND, 2) || pci_overlap(offset, size, PCI_BAR0, 4 * PCI_BARS) ||
	    pci_overlap(offset, size, PCI_ROM, 4))
		pci_map_bars(function);
	if (pci_overlap(offset, size, PCI_COMMAND, 2))
		pci_update_intx(function);
	if (function->msi && pci_overlap(offset, size, function->msi, 24))
		pci_replay_msi(function);
	if (function->msix && pci_overlap(offset, size, function->msix, 4))
		pci_replay_msix(function);
	if (function->ops && function->ops->config_written)
		function->ops->config_written(function, offset, size);
}

static uint64_t address_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_root *root = device;

	if (size == 4)
		return root->config_address;
	return root->cf9 ? root->cf9->read(root->cf9_device, offset, size) : UINT64_MAX;
}

static void address_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_root *root = device;

	if (size == 4)
		root->config_address = (uint32_t)value & CONFIG_ADDRESS_MASK;
	else if (root->cf9)
		root->cf9->write(root->cf9_device, offset, size, value);
}

/* Bytes of one dword are bytes of one transaction; functions see them one by one unless they are aligned. */
static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
	struct pci_root *root = device;
	unsigned at = (root->config_address & 0xfc) + (unsigned)offset;
	uint16_t bdf = (uint16_t)(root->config_address >> 8);
	uint64_t value = 0;

	if (!(root->config_address >> 31))
		return UINT64_MAX;
	if (is_aligned(at, size))
		return pci_config_access_read(root, bdf, at, size);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)pci_config_access_read(root, bdf, at + i, 1) << 8 * i;
	return value;
}

static void data_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_root *root = device;
	unsigned at = (root->config_address & 0xfc) + (unsigned)offset;
	uint16_t bdf = (uint16_t)(root->config_address >> 8);

	if (!(root->config_address >> 31))
		return;
	if (is_aligned(at, size)) {
		pci_config_access_write(root, bdf, at, size, (uint32_t)value);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		pci_config_access_write(root, bdf, at + i, 1, (uint8_t)(value >> 8 * i));
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	return pci_config_access_read(device, (uint16_t)(offset >> 12), offset & 0xfff, size);
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	pci_config_access_write(device, (uint16_t)(offset >> 12), offset & 0xfff, size, (uint32_t)value);
}

static const struct device_ops address_ops = {address_read, address_write, 0, 0};
static const struct device_ops data_ops = {data_read, data_write, 0, 0};
static const struct device_ops ecam_ops = {ecam_read, ecam_write, 0, 4};

struct pci_root *pci_root_create(struct bus *bus, struct msi_sink *sink, const struct log *log)
{
	struct pci_root *root = xcalloc(1, sizeof(*root));

	root->bus = bus;
	root->sink = sink;
	root->log = log;
	bus_add_ports(bus, "pci-config-address", 0xcf8, 4, &address_ops, root);
	bus_add_ports(bus, "pci-config-data", 0xcfc, 4, &data_ops, root);
	for (unsigned i = 0; i < PCI_ECAM_SIZES; i++) {
		root->ecam[i] = bus_add_device(bus, "ecam", 0, (uint64_t)256 << 20 >> i, &ecam_ops, root, 10);
		region_enable(root->ecam[i], false);
	}
	return root;
}

void pci_root_destroy(struct pci_root *root)
{
	for (unsigned i = 0; i < PCI_SLOTS * PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->function[i / PCI_FUNCTIONS][i % PCI_FUNCTIONS];

		if (function) {
			free(function->msix_table);
			free(function->msix_pba);
		}
	}
	free(root);
}

void pci_root_connect_intx(struct pci_root *root, const struct pci_intx_ops *ops)
{
	root->intx = *ops;
}

void pci_root_connect_dma(struct pci_root *root, const struct dma_ops *ops)
{
	root->dma = *ops;
}

void pci_root_connect_cf9(struct pci_root *root, const struct device_ops *ops, void *device)
{
	root->cf9 = ops;
	root->cf9_device = device;
}

void pci_root_set_ecam(struct pci_root *root, bool enabled, pa_t base, uint64_t size)
{
	for (unsigned i = 0; i < PCI_ECAM_SIZES; i++)
		if (!enabled || size != (uint64_t)256 << 20 >> i)
			region_enable(root->ecam[i], false);
	for (unsigned i = 0; enabled && i < PCI_ECAM_SIZES; i++) {
		if (size == (uint64_t)256 << 20 >> i) {
			region_move(root->ecam[i], base);
			region_enable(root->ecam[i], true);
		}
	}
}

int pci_free_slot(struct pci_root *root)
{
	for (int slot = 1; slot < PCI_SLOTS; slot++) {
		bool taken = false;

		for (unsigned number = 0; number < PCI_FUNCTIONS; number++)
			taken |= root->function[slot][number] != NULL;
		if (!taken)
			return slot;
	}
	return -1;
}

bool pci_add(struct pci_root *root, struct pci_function *function, uint8_t slot, uint8_t number, struct error *error)
{
	struct pci_function *first;

	assert(slot < PCI_SLOTS && number < PCI_FUNCTIONS);
	if (root->function[slot][number])
		return error_set(error, "PCI address %02x.%x is taken by %s", slot, number,
				 root->function[slot][number]->name);
	root->function[slot][number] = function;
	function->root = root;
	function->slot = slot;
	function->number = number;
	memcpy(function->reset_config, function->config, sizeof(function->config));
	/* Function 0 says that there are others. */
	first = root->function[slot][0];
	for (unsigned other = 1; first && other < PCI_FUNCTIONS; other++) {
		if (root->function[slot][other]) {
			first->config[PCI_HEADER_TYPE] |= 0x80;
			first->reset_config[PCI_HEADER_TYPE] |= 0x80;
		}
	}
	pci_create_bars(function);
	if (function->msix)
		pci_create_msix(function);
	return true;
}

void pci_reset(struct pci_root *root)
{
	root->config_address = 0;
	for (unsigned i = 0; i < PCI_SLOTS * PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->function[i / PCI_FUNCTIONS][i % PCI_FUNCTIONS];

		if (!function)
			continue;
		pci_set_intx(function, false);
		memcpy(function->config, function->reset_config, sizeof(function->config));
		pci_update_intx(function);
		pci_map_bars(function);
		if (function->msix)
			pci_reset_msix(function);
		if (function->ops && function->ops->reset)
			function->ops->reset(function);
	}
}

static void function_state(struct pci_function *function, struct state *state)
{
	state_section(state, function->name);
	state_bytes(state, function->config, sizeof(function->config));
	state_bool(state, &function->intx_level);
	if (function->msix) {
		state_bytes(state, function->msix_table, 16 * function->msix_vectors);
		state_bytes(state, function->msix_pba, (function->msix_vectors + 63) / 64 * 8);
	}
	if (state_restoring(state)) {
		pci_map_bars(function);
		pci_update_intx(function);
	}
	if (function->ops && function->ops->state)
		function->ops->state(function, state);
}

void pci_state(struct pci_root *root, struct state *state)
{
	state_section(state, "pci");
	state_var(state, root->config_address);
	if (state_restoring(state))
		root->config_address &= CONFIG_ADDRESS_MASK;
	for (unsigned i = 0; i < PCI_SLOTS * PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->function[i / PCI_FUNCTIONS][i % PCI_FUNCTIONS];
		uint8_t present = function != NULL;

		state_var(state, present);
		if (state_restoring(state) && present != (function != NULL)) {
			state_refuse(state, "the saved state is of a machine with other PCI functions");
			return;
		}
		if (function)
			function_state(function, state);
	}
}

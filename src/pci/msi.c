/*
 * Message-signalled interrupts: the MSI and MSI-X capabilities, masking and what is sent later because of it.
 *
 * PCI Local Bus 3.0, "MSI Capability Structure", "MSI-X Capability and Table Structures". A message is a DMA write of
 * one dword, so Bus Master Enable and remapping apply to it in dma.c.
 */
#include "pci/root.h"
#include "base/bits.h"

#include <assert.h>

#define MSI_ENABLE	    BIT(0)
#define MSI_64BIT	    BIT(7)
#define MSI_MASKING	    BIT(8)
#define MSIX_FUNCTION_MASK  BIT(14)
#define MSIX_ENABLE	    BIT(15)
#define MSIX_VECTOR_CONTROL 12 /* in a table entry; bit 0 masks */

struct msi_layout {
	unsigned data, mask, pending; /* offsets in configuration space */
};

static uint16_t msi_control(const struct pci_function *function)
{
	return pci_config_word(function, function->msi + 2);
}

static struct msi_layout layout(const struct pci_function *function)
{
	unsigned data = function->msi + (msi_control(function) & MSI_64BIT ? 12u : 8u);

	return (struct msi_layout){data, data + 4, data + 8};
}

void pci_add_msi(struct pci_function *function, unsigned vectors_log2, bool is_64bit)
{
	unsigned at = pci_add_capability(function, 5, is_64bit ? 24 : 20);
	struct msi_layout where;

	assert(vectors_log2 <= 5);
	function->msi = (uint16_t)at;
	store_le(function->config + at + 2, 2, vectors_log2 << 1 | (is_64bit ? MSI_64BIT : 0) | MSI_MASKING);
	where = layout(function);
	store_le(function->writable + at + 2, 2, MSI_ENABLE | BITS(6, 4));
	store_le(function->writable + at + 4, 4, 0xfffffffc);
	if (is_64bit)
		store_le(function->writable + at + 8, 4, 0xffffffff);
	store_le(function->writable + where.data, 2, 0xffff);
	store_le(function->writable + where.mask, 4, bytes_mask(8) >> (64 - (1u << vectors_log2)));
}

bool pci_msi_enabled(const struct pci_function *function)
{
	return function->msi && (msi_control(function) & MSI_ENABLE);
}

/* Multiple Message Enable, as far as Multiple Message Capable allows. */
static unsigned msi_vectors_log2(const struct pci_function *function)
{
	return (unsigned)min_u64(5,
				 min_u64(bits_get(msi_control(function), 6, 4), bits_get(msi_control(function), 3, 1)));
}

static void send(struct pci_function *function, uint64_t address, uint32_t data)
{
	uint8_t bytes[4];

	store_le(bytes, 4, data);
	if (!dma_write(function, address, bytes, 4) && log_on(function->root->log, LOG_GUEST_ERRORS))
		log_line(function->root->log, LOG_GUEST_ERRORS, "%s: the interrupt message to %llx was lost",
			 function->name, (unsigned long long)address);
}

void pci_send_msi(struct pci_function *function, unsigned vector)
{
	uint32_t low_bits = (1u << msi_vectors_log2(function)) - 1, pending, data;
	struct msi_layout where = layout(function);
	uint64_t address;

	if (!pci_msi_enabled(function))
		return;
	vector &= low_bits; /* fewer were given than asked for: they share */
	pending = pci_config_dword(function, where.pending);
	if (pci_config_dword(function, where.mask) >> vector & 1) {
		store_le(function->config + where.pending, 4, pending | 1u << vector);
		return;
	}
	store_le(function->config + where.pending, 4, pending & ~(1u << vector));
	address = load_le(function->config + function->msi + 4, msi_control(function) & MSI_64BIT ? 8 : 4);
	data = (pci_config_word(function, where.data) & ~low_bits) | vector;
	send(function, address, data);
}

void pci_replay_msi(struct pci_function *function)
{
	struct msi_layout where = layout(function);
	uint32_t ready = pci_config_dword(function, where.pending) & ~pci_config_dword(function, where.mask);

	if (!pci_msi_enabled(function))
		return;
	for (; ready; ready &= ready - 1)
		pci_send_msi(function, (unsigned)__builtin_ctz(ready));
}

void pci_add_msix(struct pci_function *function, unsigned vectors, unsigned bar, uint32_t table_offset,
		  uint32_t pba_offset)
{
	unsigned at = pci_add_capability(function, 0x11, 12), pba_size = (vectors + 63) / 64 * 8;

	assert(vectors >= 1 && vectors <= 2048 && bar < PCI_BARS && is_aligned(table_offset | pba_offset, 8));
	assert(function->bar[bar].kind > PCI_BAR_IO && table_offset + 16 * vectors <= function->bar[bar].size &&
	       pba_offset + pba_size <= function->bar[bar].size);
	function->msix = (uint16_t)at;
	function->msix_vectors = vectors;
	function->msix_table = xcalloc(vectors, 16);
	function->msix_pba = xcalloc(1, pba_size);
	store_le(function->config + at + 2, 2, vectors - 1);
	store_le(function->writable + at + 2, 2, MSIX_ENABLE | MSIX_FUNCTION_MASK);
	store_le(function->config + at + 4, 4, table_offset | bar);
	store_le(function->config + at + 8, 4, pba_offset | bar);
}

static uint16_t msix_control(const struct pci_function *function)
{
	return pci_config_word(function, function->msix + 2);
}

bool pci_msix_enabled(const struct pci_function *function)
{
	return function->msix && (msix_control(function) & MSIX_ENABLE);
}

void pci_send_msix(struct pci_function *function, unsigned vector)
{
	const uint8_t *entry = function->msix_table + 16 * vector;
	uint8_t bit = (uint8_t)(1u << vector % 8);

	if (!pci_msix_enabled(function) || vector >= function->msix_vectors)
		return;
	if ((msix_control(function) & MSIX_FUNCTION_MASK) || (entry[MSIX_VECTOR_CONTROL] & 1)) {
		function->msix_pba[vector / 8] |= bit;
		return;
	}
	function->msix_pba[vector / 8] &= ~bit;
	send(function, load_le(entry, 8) & ~UINT64_C(3), (uint32_t)load_le(entry + 8, 4));
}

static void replay_vector(struct pci_function *function, unsigned vector)
{
	if (function->msix_pba[vector / 8] >> vector % 8 & 1)
		pci_send_msix(function, vector);
}

void pci_replay_msix(struct pci_function *function)
{
	for (unsigned vector = 0; vector < function->msix_vectors; vector++)
		replay_vector(function, vector);
}

static uint64_t table_read(void *device, uint64_t offset, unsigned size)
{
	return load_le(((struct pci_function *)device)->msix_table + offset, size);
}

static void table_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_function *function = device;

	if (offset % 16 == MSIX_VECTOR_CONTROL)
		value &= 1;
	store_le(function->msix_table + offset, size, value);
	replay_vector(function, (unsigned)offset / 16);
}

static uint64_t pba_read(void *device, uint64_t offset, unsigned size)
{
	return load_le(((struct pci_function *)device)->msix_pba + offset, size);
}

static void pba_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct device_ops table_ops = {table_read, table_write, 4, 4};
static const struct device_ops pba_ops = {pba_read, pba_write, 4, 4};

void pci_create_msix(struct pci_function *function)
{
	struct bus *bus = function->root->bus;

	function->msix_table_region = bus_add_device(bus, "msix-table", 0, 16 * function->msix_vectors, &table_ops,
						     function, PCI_MSIX_PRIORITY);
	function->msix_pba_region = bus_add_device(bus, "msix-pba", 0, (function->msix_vectors + 63) / 64 * 8, &pba_ops,
						   function, PCI_MSIX_PRIORITY);
	region_enable(function->msix_table_region, false);
	region_enable(function->msix_pba_region, false);
	pci_reset_msix(function);
}

void pci_reset_msix(struct pci_function *function)
{
	memset(function->msix_table, 0, 16 * function->msix_vectors);
	memset(function->msix_pba, 0, (function->msix_vectors + 63) / 64 * 8);
	for (unsigned vector = 0; vector < function->msix_vectors; vector++)
		function->msix_table[16 * vector + MSIX_VECTOR_CONTROL] = 1;
}

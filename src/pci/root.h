/* Inside pci/: what root.c, function.c, msi.c and dma.c share. */
#pragma once

#include "pci/dma.h"

#define PCI_SLOTS	  32
#define PCI_FUNCTIONS	  8
#define PCI_ECAM_SIZES	  3
#define PCI_BAR_PRIORITY  (-10)
#define PCI_MSIX_PRIORITY (-9)

/* Offsets in a type 0 header: PCI Local Bus 3.0, "Type 00h Configuration Space Header". */
enum {
	PCI_VENDOR = 0x00,
	PCI_DEVICE = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION = 0x08,
	PCI_CLASS = 0x09,
	PCI_CACHE_LINE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYSTEM_VENDOR = 0x2c,
	PCI_SUBSYSTEM = 0x2e,
	PCI_ROM = 0x30,
	PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
	PCI_HEADER_END = 0x40,
};

#define PCI_COMMAND_IO		 BIT(0)
#define PCI_COMMAND_MEMORY	 BIT(1)
#define PCI_COMMAND_MASTER	 BIT(2)
#define PCI_COMMAND_PARITY	 BIT(6)
#define PCI_COMMAND_SERR	 BIT(8)
#define PCI_COMMAND_INTX_DISABLE BIT(10)
#define PCI_STATUS_INTERRUPT	 BIT(3)
#define PCI_STATUS_CAPABILITIES	 BIT(4)
#define PCI_STATUS_ERRORS	 (BITS(15, 11) | BIT(8)) /* written 1 to clear */

struct pci_root {
	struct bus *bus;
	struct msi_sink *sink;
	const struct log *log;
	struct pci_intx_ops intx;
	struct dma_ops dma;
	struct pci_function *function[PCI_SLOTS][PCI_FUNCTIONS];
	uint8_t intx_count[PCI_SLOTS][4]; /* functions that assert the pin of their slot */
	uint32_t config_address;
	const struct device_ops *cf9;
	void *cf9_device;
	struct region *ecam[PCI_ECAM_SIZES]; /* 256, 128, 64 MiB */
};

static inline uint16_t pci_bdf(const struct pci_function *function)
{
	return (uint16_t)(function->bus << 8 | function->slot << 3 | function->number);
}

static inline bool pci_overlap(unsigned offset, unsigned size, unsigned first, unsigned length)
{
	return offset < first + length && first < offset + size;
}

/* function.c: make the BARs' regions, and put them where the configuration says. */
void pci_create_bars(struct pci_function *function);
void pci_map_bars(struct pci_function *function);
void pci_update_intx(struct pci_function *function);

/* msi.c: after a configuration write touched the capability or a restore. */
void pci_create_msix(struct pci_function *function);
void pci_reset_msix(struct pci_function *function);
void pci_replay_msi(struct pci_function *function);
void pci_replay_msix(struct pci_function *function);

/*
 * PCI: configuration space, BARs, interrupt pins, MSI and MSI-X; one bus hierarchy behind the host bridge.
 *
 * Not modelled: bridges (all functions sit on bus 0; other buses answer all ones), power management, hot plug, AER.
 *
 * PCI Local Bus 3.0 and PCI Express Base: "Configuration Space". A function embeds struct pci_function, fills its
 * identity and BARs and adds it to a slot. BARs lie below everything else on the bus (priority -10). Memory reaches a
 * device only through dma.h.
 */
#pragma once

#include "base/state.h"
#include "bus/bus.h"
#include "bus/irq.h"

#define PCI_CONFIG_SIZE 4096
#define PCI_BARS	6
#define PCI_ROM_BAR	6

struct pci_root;
struct pci_function;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_MEM64_PREFETCH };

struct pci_bar {
	enum pci_bar_kind kind;
	uint64_t size;		      /* power of two: I/O 4 or more, memory 16 or more */
	const struct device_ops *ops; /* called with `device`; NULL: `bytes` answers, or reads are zero */
	void *device;
	uint8_t *bytes; /* of pci_add_memory_bar(), owned by the device */
	struct region *region;
};

struct pci_function_ops {
	/*
	 * After the common code stored a configuration write (masks applied): offset and size as written. May be NULL.
	 */
	void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
	/* Before a configuration read, to refresh bytes that change by themselves. May be NULL. */
	void (*config_read)(struct pci_function *function, unsigned offset, unsigned size);
	void (*reset)(struct pci_function *function);
	void (*state)(struct pci_function *function, struct state *state);
};

struct pci_function {
	const char *name; /* the device name of -device, for messages */
	const struct pci_function_ops *ops;
	struct pci_root *root;
	uint8_t bus, slot, number;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];     /* bits that software may change */
	uint8_t w1c[PCI_CONFIG_SIZE];	       /* bits that software clears by writing 1 */
	uint8_t reset_config[PCI_CONFIG_SIZE]; /* contents after reset; filled by pci_add() from config */
	struct pci_bar bar[PCI_BARS + 1];
	uint16_t msi, msix, pcie;	/* offsets of the capabilities, 0 without */
	uint16_t next_capability;	/* where the next pci_add_capability() goes */
	uint8_t *msix_table, *msix_pba; /* what the MSI-X regions in the BAR show, owned by pci/ */
	struct region *msix_table_region, *msix_pba_region;
	unsigned msix_vectors;
	bool intx_level; /* what the device asks for: Interrupt Status */
	bool intx_wire;	 /* what the wire carries: Interrupt Disable applied */
};

/* Where INTx wires end: the chipset's PIRQ router. line = PIRQ index as the chipset numbers slots and pins. */
struct pci_intx_ops {
	void (*set)(void *ctx, unsigned slot, unsigned pin, bool level); /* pin 0 = INTA */
	void *ctx;
};

struct pci_root *pci_root_create(struct bus *bus, struct msi_sink *sink, const struct log *log);
void pci_root_destroy(struct pci_root *root);
void pci_root_connect_intx(struct pci_root *root, const struct pci_intx_ops *ops);
/*
 * CF8H takes only dwords; smaller accesses inside CF8H-CFBH are other devices': the chipset's reset control register at
 * CF9H. offset is from CF8H.
 */
void pci_root_connect_cf9(struct pci_root *root, const struct device_ops *ops, void *device);
/* ECAM window: base changes with PCIEXBAR; enabled by the host bridge. size is 256, 128 or 64 MiB, of bus 0 and up. */
void pci_root_set_ecam(struct pci_root *root, bool enabled, pa_t base, uint64_t size);
struct pci_function *pci_find(struct pci_root *root, uint8_t bus, uint8_t slot, uint8_t number);
/* Lowest free slot on bus 0 from 1 up, or -1. */
int pci_free_slot(struct pci_root *root);
/* Put back config space of all functions and call their reset. */
void pci_reset(struct pci_root *root);
void pci_state(struct pci_root *root, struct state *state);

/*
 * Identity first: class_code is 24 bits (class, subclass, programming interface). Fills header type 0, command and
 * status masks.
 */
void pci_identity(struct pci_function *function, uint16_t vendor, uint16_t device, uint32_t class_code,
		  uint8_t revision, uint16_t subsystem_vendor, uint16_t subsystem);
void pci_add_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t size,
		 const struct device_ops *ops, void *device);
/*
 * A BAR that CPUs access directly: device memory, or with PCI_ROM_BAR the bytes of an expansion ROM (size 4 KiB or
 * more).
 */
void pci_add_memory_bar(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t size,
			uint8_t *bytes);
/* Give the function pin INTA..INTD (1 to 4). */
void pci_set_pin(struct pci_function *function, unsigned pin);
/* Reserve `size` bytes for a capability and link it; returns its offset. */
unsigned pci_add_capability(struct pci_function *function, uint8_t id, unsigned size);
/* 2^vectors_log2 vectors (0 to 5) with per-vector masking. */
void pci_add_msi(struct pci_function *function, unsigned vectors_log2, bool is_64bit);
/* Up to 2048 vectors, table and pending bits at 8-byte aligned offsets in a memory BAR that was added before. */
void pci_add_msix(struct pci_function *function, unsigned vectors, unsigned bar, uint32_t table_offset,
		  uint32_t pba_offset);
/*
 * Device/Port Type of the PCI Express Capabilities Register: 0 endpoint, 9 Root Complex Integrated Endpoint. Without
 * it, 256 bytes of space.
 */
void pci_add_pcie(struct pci_function *function, unsigned port_type);
/*
 * Attach. slot 0-31, number 0-7. False when the place is taken. The function stays its owner's, who
 * frees it after pci_root_destroy().
 */
MUST_CHECK bool pci_add(struct pci_root *root, struct pci_function *function, uint8_t slot, uint8_t number,
			struct error *error);

uint8_t pci_config_byte(const struct pci_function *function, unsigned offset);
uint16_t pci_config_word(const struct pci_function *function, unsigned offset);
uint32_t pci_config_dword(const struct pci_function *function, unsigned offset);
bool pci_bus_master(const struct pci_function *function);

/* Configuration access as software makes it: 1, 2 or 4 bytes, naturally aligned. */
uint32_t pci_config_access_read(struct pci_root *root, uint16_t bdf, unsigned offset, unsigned size);
void pci_config_access_write(struct pci_root *root, uint16_t bdf, unsigned offset, unsigned size, uint32_t value);

/*
 * Interrupts. Level of the INTx pin, honouring the Interrupt Disable bit; one MSI or MSI-X vector when enabled and not
 * masked.
 */
void pci_set_intx(struct pci_function *function, bool level);
bool pci_msi_enabled(const struct pci_function *function);
bool pci_msix_enabled(const struct pci_function *function);
void pci_send_msi(struct pci_function *function, unsigned vector);
void pci_send_msix(struct pci_function *function, unsigned vector);

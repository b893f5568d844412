/*
 * Devices that exist for test programs, as QEMU documents them: isa-debug-exit, pc-testdev, pci-testdev, edu.
 */
#pragma once

#include "bus/irq.h"
#include "clock/clock.h"
#include "pci/pci.h"

/* A write of v ends the run: exit(ctx, v << 1 | 1). iosize is 1, 2 or 4 (wider registers take the low bits first). */
struct debug_exit;
struct debug_exit *debug_exit_create(struct bus *bus, uint16_t iobase, unsigned iosize,
				     void (*exit)(void *ctx, unsigned status), void *ctx);
void debug_exit_destroy(struct debug_exit *device);

/*
 * pc-testdev: a port that keeps what is written (E0H-E3H), one that unmaps and maps a page again so that cached
 * translations must notice (E4H), memory-mapped bytes (FF000000H, 64 KiB), wires to interrupt lines (2000H + line), and
 * a 32-byte port window (E8H). irq: ISA lines 0 to 15, then I/O APIC pins up to 23.
 */
struct pc_testdev;
struct pc_testdev *pc_testdev_create(struct bus *bus, const struct irq irq[24]);
void pc_testdev_destroy(struct pc_testdev *device);
void pc_testdev_state(struct pc_testdev *device, struct state *state);

struct pci_testdev;
struct pci_testdev *pci_testdev_create(struct pci_root *root, uint8_t slot, struct error *error);
void pci_testdev_destroy(struct pci_testdev *device);

struct edu;
/* dma_mask: address bits that DMA can use; 0 means the documented 28 bits. */
struct edu *edu_create(struct pci_root *root, struct clock *clock, uint8_t slot, uint64_t dma_mask,
		       struct error *error);
void edu_destroy(struct edu *device);

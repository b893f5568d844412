/*
 * A disk in memory: Virtual I/O Device (VIRTIO) 1.0, "Virtio Over PCI Bus" and "Block Device". PCI device 1, function 0, of VMs that have vm->disk.
 */
#ifndef VMM_DEVICES_VIRTIO_BLK_H
#define VMM_DEVICES_VIRTIO_BLK_H

#include "devices/virtqueue.h"

/* Where its registers are before a guest moves them; its INTA# is interrupt line 11, as guest/dsdt.asl says. */
enum { VIRTIO_LINE = 11 };
#define VIRTIO_BAR UINT32_C(0xfe000000)

struct virtio_blk {
	/* "PCI Device Layout". */
	uint16_t command;
	uint8_t interrupt_line;
	uint32_t bar;
	uint32_t window_offset, window_length; /* "PCI configuration access capability" */

	/* "Common configuration structure layout", "ISR status capability". */
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features;
	uint8_t status, isr;
	uint16_t queue_select;
	struct virtqueue queue;

	uint64_t due;	  /* ns of vm_time(): when it looks at its queue; NEVER */
	uint64_t rest_ns; /* it does nothing before that time */
};

void virtio_blk_reset(struct vm *vm);
uint64_t virtio_blk_deadline(const struct vm *vm);
void virtio_blk_tick(struct vm *vm, uint64_t now);

/* virtio_pci.c. Configuration space by its doublewords, and registers in memory space. */
uint32_t virtio_config_read(struct vm *vm, unsigned offset);
void virtio_config_write(struct vm *vm, unsigned offset, uint32_t value, uint32_t mask); /* mask: the bytes that are written */
bool virtio_has(const struct vm *vm, gpa_t gpa);
uint64_t virtio_read(struct vm *vm, unsigned offset, unsigned size);
void virtio_write(struct vm *vm, unsigned offset, unsigned size, uint64_t value);

void virtio_interrupt(struct vm *vm, uint8_t isr);		   /* sets bits of the ISR status */
void virtio_device_reset(struct vm *vm);			   /* "Device Reset" */
uint32_t virtio_blk_config(const struct vm *vm, unsigned offset);  /* "Device configuration layout", by its doublewords */

/* Feature bits that it offers, and bits of the device status. */
#define VIRTIO_F_VERSION_1 BIT(32)
#define VIRTIO_BLK_FEATURES (VIRTIO_F_VERSION_1 | BIT(1) | BIT(2) | BIT(9)) /* SIZE_MAX, SEG_MAX, FLUSH */
enum { STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8, STATUS_NEEDS_RESET = 64 };
enum { ISR_QUEUE = 1, ISR_CONFIGURATION = 2 };

#endif

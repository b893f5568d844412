/*
 * The virtual platform of a VM: one file per device, named by its part number or its name in the manuals.
 *
 * Rules for all: a device is a plain struct in struct vm, all zero but what its reset sets; its functions are called with vm->lock held; time is
 * vm_time() in nanoseconds and is handed in; a device never waits. Whatever a guest writes, the device stays within its struct.
 */
#ifndef VMM_DEVICES_DEVICES_H
#define VMM_DEVICES_DEVICES_H

#include "devices/i8254.h"
#include "devices/i8259.h"
#include "devices/ioapic.h"
#include "devices/pci.h"
#include "devices/pm.h"
#include "devices/rtc.h"
#include "devices/uart.h"
#include "devices/virtio_blk.h"

struct vm;

struct devices {
	struct i8259 pic[2]; /* master, slave */
	struct i8254 pit;
	struct rtc rtc;
	struct ioapic ioapic;
	struct uart uart; /* COM1, line 4 */
	struct pci pci;	  /* host bridge; configuration ports */
	struct pm pm;	  /* ACPI power management, PM timer, reset ports */
	struct virtio_blk virtio_blk; /* only where vm->disk is */
};

void devices_reset(struct vm *vm);

/* An access of size bytes (1, 2, 4) to a port that was intercepted. A port that nobody has reads as ones. */
uint32_t port_read(struct vm *vm, uint16_t port, unsigned size);
void port_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value);

/* A guest-physical access outside RAM and local APIC (the I/O APIC's page, and a disk's registers). Elsewhere: ones. */
uint64_t mmio_read(struct vm *vm, gpa_t gpa, unsigned size);
void mmio_write(struct vm *vm, gpa_t gpa, unsigned size, uint64_t value);

/* An ISA interrupt line, 0 to 15, goes to both 8259s and I/O APIC (line 0 there is pin 2). */
void irq_set(struct vm *vm, unsigned line, bool high);

/* When a device has something to do next, in ns of vm_time(), and doing what is due. */
uint64_t devices_deadline(const struct vm *vm);
void devices_tick(struct vm *vm, uint64_t now);

#endif

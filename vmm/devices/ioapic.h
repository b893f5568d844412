/*
 * The I/O APIC: Intel 82093AA data sheet. 24 pins, of which ISA's lines use the first 16.
 */
#ifndef VMM_DEVICES_IOAPIC_H
#define VMM_DEVICES_IOAPIC_H

#include "lib/types.h"

struct vm;

enum { IOAPIC_PINS = 24, IOAPIC_ADDRESS = 0xfec00000 };

struct ioapic {
	uint8_t select;	/* IOREGSEL */
	uint32_t id;	/* IOAPICID */
	uint32_t lines;	/* pins that are asserted */
	uint64_t redirection[IOAPIC_PINS];
};

void ioapic_reset(struct vm *vm);
void ioapic_set(struct vm *vm, unsigned pin, bool asserted);
void ioapic_eoi(struct vm *vm, unsigned vector); /* a local APIC broadcasts the end of a level-triggered interrupt */

uint32_t ioapic_read(struct vm *vm, unsigned offset); /* in its page */
void ioapic_write(struct vm *vm, unsigned offset, uint32_t value);

#endif

/*
 * The I/O APIC: 24 pins, version 20H with the EOI register. Intel 82093AA data sheet; ICH9 datasheet, "Advanced
 * Programmable Interrupt Controller (APIC)"; for the remappable format of an entry Intel VT-d, "Interrupt Requests in
 * Remappable Format".
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"

#define IOAPIC_PINS 24

struct ioapic;

/* At FEC00000H. requester: the source ID that its messages carry (the DMAR table names it). */
struct ioapic *ioapic_create(struct bus *bus, const struct msi_sink *sink, uint16_t requester, const struct log *log);
void ioapic_destroy(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);
void ioapic_state(struct ioapic *ioapic, struct state *state);

/* Pins 0 to 23; level: asserted, whatever the polarity bit says. */
void ioapic_set(void *ioapic, unsigned pin, bool level);
/* A local APIC ended a level-triggered interrupt: for apic_bus_on_eoi(). */
void ioapic_eoi(void *ioapic, uint8_t vector);
/* The redirection entry of a pin, for monitors. */
uint64_t ioapic_entry(const struct ioapic *ioapic, unsigned pin);

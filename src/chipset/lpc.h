/*
 * The LPC bridge of the ICH9, 00:1F.0 (8086:2918): where interrupt lines meet, chipset registers, and the small ports
 * of the PC. ICH9 datasheet, "LPC Interface Bridge Registers", "Chipset Configuration Registers", "Processor Interface
 * Registers".
 */
#pragma once

#include "chipset/hpet.h"
#include "chipset/ioapic.h"
#include "chipset/pic.h"
#include "chipset/pit.h"
#include "chipset/pm.h"
#include "chipset/request.h"
#include "chipset/rtc.h"
#include "pci/pci.h"

struct lpc;

struct lpc_hooks {
	void (*a20)(void *ctx, bool enabled); /* A20M# is deasserted; called on changes only */
	void *a20_ctx;
	struct request_hook hook;
};

/*
 * Adds itself to root at 1F.0, its INTx router, and the port CF9H. Lines may be driven once lpc_connect() was called.
 */
struct lpc *lpc_create(struct bus *bus, struct pci_root *root, struct clock *clock, const struct lpc_hooks *hooks,
		       const struct log *log);
/* The parts behind the bridge; they stay the caller's. */
struct lpc_parts {
	struct pic *pic;
	struct ioapic *ioapic;
	struct pit *pit;
	struct pm *pm;
	struct rtc *rtc;
};
void lpc_connect(struct lpc *lpc, const struct lpc_parts *parts);
void lpc_destroy(struct lpc *lpc);
/* Configuration space and state are pci_reset()'s and pci_state()'s. */
struct pci_function *lpc_function(struct lpc *lpc);

/* For struct irq: ISA interrupts 0 to 15, to the 8259s and to the I/O APIC (0 at its pin 2). */
void lpc_set_isa(void *lpc, unsigned line, bool level);
/* FERR# was asserted: IRQ 13 until software writes port F0H. */
void lpc_set_ferr(void *lpc);
/* For test devices: any global system interrupt, 0 to 23. */
void lpc_set_gsi(void *lpc, unsigned gsi, bool level);
/* From the PM block, line 0: routed by ACPI_CNTL.SCI_IRQ_SEL. */
void lpc_set_sci(void *lpc, unsigned line, bool level);
/* For struct hpet_wires. */
void lpc_set_hpet_pin(void *lpc, unsigned pin, bool level);
void lpc_set_hpet_legacy(void *lpc, unsigned timer, bool level);
void lpc_route_hpet(void *lpc, bool legacy);

/* Bit 1 of the keyboard controller's output port; 1 after reset. A20 is open when this or bit 1 of port 92H is 1. */
void lpc_set_keyboard_a20(void *lpc, bool enabled);

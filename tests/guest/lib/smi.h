/*
 * SMIs by way of the APM port, for images that have a handler in SMRAM.
 *
 * The chipset's part is the Q35 host bridge's SMRAM register and the ICH9's SMI_EN, or their 82441FX and PIIX4
 * counterparts.
 */
#ifndef SMI_H
#define SMI_H

#include "chips.h"

enum { SMRAM_CLOSED = 0x0a, SMRAM_OPEN = 0x4a, SMRAM_LOCKED = 0x10 };

static inline u32 pci_address(u32 device, u32 function, u32 reg)
{
	return 1u << 31 | device << 11 | function << 8 | (reg & 0xfc);
}

static inline u8 pci_byte(u32 device, u32 function, u32 reg)
{
	outl(0xcf8, pci_address(device, function, reg));
	return inb(0xcfc + (reg & 3));
}

static inline void pci_byte_write(u32 device, u32 function, u32 reg, u8 v)
{
	outl(0xcf8, pci_address(device, function, reg));
	outb(0xcfc + (reg & 3), v);
}

/* A write to port B2H is an SMI from now on. Returns the host bridge's SMRAM register, or 0 where there are no SMIs or
 * SMRAM is locked. */
static inline u32 smi_enable(void)
{
	u32 id, smram, pmbase;

	outl(0xcf8, pci_address(0, 0, 0));
	id = inl(0xcfc) >> 16;
	if (id == 0x29c0) {
		smram = 0x9d;
		outl(0xcf8, pci_address(0x1f, 0, 0x40));
		pmbase = inl(0xcfc) & 0xff80;
		outl(pmbase + 0x30, inl(pmbase + 0x30) | 0x21);
	} else if (id == 0x1237) {
		smram = 0x72;
		pci_byte_write(1, 3, 0x5b, pci_byte(1, 3, 0x5b) | 2);
	} else {
		return 0;
	}
	return pci_byte(0, 0, smram) & SMRAM_LOCKED ? 0 : smram;
}

#endif

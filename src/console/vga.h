/*
 * VGA with the Bochs display interface (DISPI) and a linear frame buffer: PCI 1234:1111, "VGA".
 *
 * IBM "VGA Technical Reference" for the registers and the planar memory; the DISPI registers as vgabios and the Linux
 * bochs driver use them. Pictures are made when asked for: text from the font in plane 2, 4, 16 and 256 colours, and 15
 * to 32 bits per pixel. Not modelled: light pen, interrupts, split screen, panning by pixels, retrace timing beyond
 * status bits that change.
 */
#pragma once

#include "clock/clock.h"
#include "pci/pci.h"

struct vga;

/* rom: the option ROM file (vgabios-stdvga.bin), or NULL for none. NULL: *error says why. */
struct vga *vga_create(struct pci_root *root, struct bus *bus, struct clock *clock, uint8_t slot, const char *rom,
		       struct error *error);
void vga_destroy(struct vga *vga);
/* Text of 80 by 25 with the option ROM's font, as its BIOS leaves it: for kernels that are started without firmware. */
void vga_text_mode(struct vga *vga);
/* What the screen shows now, as a PNG file. */
MUST_CHECK bool vga_screendump(struct vga *vga, const char *file, struct error *error);

/* Private to the VGA: its registers and memory, which vga.c changes and vga_picture.c shows. */
#pragma once

#include "console/vga.h"

enum {
	VGA_MEMORY = 16 << 20,
	VGA_PLANAR = 256 << 10,
	SEQUENCERS = 8,
	GRAPHICS = 16,
	ATTRIBUTES = 32,
	CRTCS = 32,
	DISPIS = 11
};
enum {
	DISPI_ID,
	DISPI_XRES,
	DISPI_YRES,
	DISPI_BPP,
	DISPI_ENABLE,
	DISPI_BANK,
	DISPI_VIRT_WIDTH,
	DISPI_VIRT_HEIGHT,
	DISPI_X_OFFSET,
	DISPI_Y_OFFSET,
	DISPI_MEMORY_64K
};
enum { DISPI_ENABLED = 0x01, DISPI_GETCAPS = 0x02, DISPI_8BIT_DAC = 0x20, DISPI_LFB = 0x40, DISPI_NOCLEAR = 0x80 };

struct vga {
	struct pci_function function;
	struct clock *clock;
	struct region *legacy; /* A0000H to BFFFFH */
	uint8_t *rom;
	size_t rom_size;
	/* Byte n of plane p is at 4n + p; chained and DISPI modes see all as one line of bytes. */
	uint8_t *memory;
	uint8_t misc, feature, latch[4];
	uint8_t sr_index, gr_index, cr_index, ar_index;
	bool ar_data; /* the flip-flop of 3C0H: next comes data */
	uint8_t sr[SEQUENCERS], gr[GRAPHICS], ar[ATTRIBUTES], cr[CRTCS];
	uint8_t dac[768], dac_mask, dac_read, dac_write, dac_part, dac_latch[3];
	bool dac_reading;
	uint16_t dispi_index, dispi[DISPIS];
};

struct picture {
	unsigned width, height;
	uint8_t *rgb; /* 3 bytes per pixel; to be freed */
};

void vga_picture(const struct vga *vga, struct picture *picture);

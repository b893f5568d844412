/*
 * What the screen shows, from VGA registers and memory: "CRT Controller", "Attribute Controller", "Video DAC" of the
 * "VGA Technical Reference".
 */
#include "console/vga_private.h"

#include <string.h>

enum { MAX_WIDTH = 2560, MAX_HEIGHT = 2048 };

struct canvas {
	const struct vga *v;
	struct picture *picture;
	uint8_t color[256][3];
};

static void load_colors(struct canvas *c)
{
	bool eight = c->v->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC;

	for (unsigned i = 0; i < 256; i++) {
		for (unsigned part = 0; part < 3; part++) {
			uint8_t value = c->v->dac[3 * i + part];

			c->color[i][part] = eight ? value : (uint8_t)(value << 2 | value >> 4);
		}
	}
}

/* A 4-bit colour through the attribute controller's palette: "Color Select Register". */
static uint8_t attribute(const struct vga *v, unsigned index)
{
	unsigned value = v->ar[index & 15] & 63;

	if (v->ar[0x10] & 0x80)
		value = (value & 15) | (v->ar[0x14] & 3u) << 4;
	return (uint8_t)((value | (v->ar[0x14] & 0x0cu) << 4) & v->dac_mask);
}

static void plot(struct canvas *c, unsigned x, unsigned y, const uint8_t rgb[3])
{
	if (x < c->picture->width && y < c->picture->height)
		memcpy(c->picture->rgb + 3 * ((size_t)y * c->picture->width + x), rgb, 3);
}

static void begin(struct canvas *c, unsigned width, unsigned height)
{
	c->picture->width = width < 8 ? 8 : width > MAX_WIDTH ? MAX_WIDTH : width;
	c->picture->height = height < 8 ? 8 : height > MAX_HEIGHT ? MAX_HEIGHT : height;
	c->picture->rgb = xcalloc((size_t)c->picture->width * c->picture->height, 3);
}

static void dispi_pixel(const uint8_t *from, unsigned bpp, uint8_t rgb[3])
{
	unsigned value = from[0] | from[1] << 8;

	switch (bpp) {
	case 15:
		rgb[0] = (uint8_t)((value >> 10 & 31) * 255 / 31);
		rgb[1] = (uint8_t)((value >> 5 & 31) * 255 / 31);
		rgb[2] = (uint8_t)((value & 31) * 255 / 31);
		break;
	case 16:
		rgb[0] = (uint8_t)((value >> 11) * 255 / 31);
		rgb[1] = (uint8_t)((value >> 5 & 63) * 255 / 63);
		rgb[2] = (uint8_t)((value & 31) * 255 / 31);
		break;
	default: /* blue, green, red */
		rgb[0] = from[2];
		rgb[1] = from[1];
		rgb[2] = from[0];
	}
}

static void dispi_picture(struct canvas *c)
{
	const struct vga *v = c->v;
	unsigned bpp = v->dispi[DISPI_BPP], bytes = (bpp + 7) / 8;
	uint64_t stride = (uint64_t)v->dispi[DISPI_VIRT_WIDTH] * bytes;

	begin(c, v->dispi[DISPI_XRES], v->dispi[DISPI_YRES]);
	for (unsigned y = 0; y < c->picture->height; y++) {
		uint64_t line = (y + v->dispi[DISPI_Y_OFFSET]) * stride + (uint64_t)v->dispi[DISPI_X_OFFSET] * bytes;

		for (unsigned x = 0; x < c->picture->width; x++) {
			uint64_t at = line + (uint64_t)x * bytes;
			uint8_t rgb[3], pixel[4] = {0};

			if (at + bytes > VGA_MEMORY)
				return;
			memcpy(pixel, v->memory + at, bytes);
			if (bytes == 1) {
				plot(c, x, y, c->color[pixel[0] & v->dac_mask]);
			} else {
				dispi_pixel(pixel, bpp, rgb);
				plot(c, x, y, rgb);
			}
		}
	}
}

static unsigned lines(const struct vga *v)
{
	return (v->cr[0x12] | (v->cr[7] & 0x02u) << 7 | (v->cr[7] & 0x40u) << 3) + 1;
}

static unsigned start(const struct vga *v)
{
	return v->cr[0x0c] << 8u | v->cr[0x0d];
}

/* 32 bytes for each character; the font is one of eight in plane 2: "Character Map Select Register". */
static unsigned font_base(const struct vga *v, bool second)
{
	unsigned sr3 = v->sr[3], map = second ? (sr3 >> 2 & 3) | (sr3 >> 3 & 4) : (sr3 & 3) | (sr3 >> 2 & 4);

	return (map & 3) << 14 | (map & 4) << 11;
}

static void draw_character(struct canvas *c, unsigned x, unsigned y, unsigned code, unsigned attr, unsigned width,
			   unsigned height, bool cursor)
{
	const struct vga *v = c->v;
	bool blink = v->ar[0x10] & 8, two_fonts = font_base(v, true) != font_base(v, false);
	unsigned font = font_base(v, two_fonts && (attr & 8)) + 32 * code;
	const uint8_t *front = c->color[attribute(v, attr & 15)],
		      *back = c->color[attribute(v, attr >> 4 & (blink ? 7 : 15))];

	for (unsigned row = 0; row < height; row++) {
		unsigned bits = v->memory[(4 * (font + (row & 31)) + 2) & (VGA_PLANAR - 1)] << 1;

		/* The ninth column is empty, or the eighth again in line graphics. */
		if (width == 9 && (v->ar[0x10] & 4) && code >= 0xc0 && code <= 0xdf)
			bits |= bits >> 1 & 1;
		if (cursor && row >= (v->cr[0x0a] & 31u) && row <= (v->cr[0x0b] & 31u))
			bits = 0x1ff;
		for (unsigned column = 0; column < width; column++)
			plot(c, x + column, y + row, bits >> (8 - column) & 1 ? front : back);
	}
}

static void text_picture(struct canvas *c)
{
	const struct vga *v = c->v;
	unsigned columns = v->cr[1] + 1u, height = (v->cr[9] & 31) + 1u, width = v->sr[1] & 1 ? 8 : 9,
		 rows = lines(v) / height;
	unsigned cursor = v->cr[0x0e] << 8u | v->cr[0x0f], pitch = v->cr[0x13] * 2u;
	bool has_cursor = !(v->cr[0x0a] & 0x20);

	begin(c, columns * width, rows * height);
	for (unsigned row = 0; row < rows; row++) {
		for (unsigned column = 0; column < columns; column++) {
			unsigned at = start(v) + row * pitch + column;
			const uint8_t *cell = v->memory + (4 * at & (VGA_PLANAR - 1));

			draw_character(c, column * width, row * height, cell[0], cell[1], width, height,
				       has_cursor && at == cursor);
		}
	}
}

/* Character address of a line, with the row scan bits that CGA and Hercules modes put into it: "CRT Mode Control
 * Register". */
static unsigned line_address(const struct vga *v, unsigned line)
{
	unsigned scan = (v->cr[9] & 31) + 1u, row = line / scan, in_row = line % scan;
	unsigned at = start(v) + row * v->cr[0x13] * 2u;

	if (!(v->cr[0x17] & 1))
		at = (at & ~0x2000u) | (in_row & 1) << 13;
	if (!(v->cr[0x17] & 2))
		at = (at & ~0x4000u) | (in_row >> 1 & 1) << 14;
	return at;
}

static void graphics_picture(struct canvas *c)
{
	const struct vga *v = c->v;
	bool colors256 = v->gr[5] & 0x40, interleaved = v->gr[5] & 0x20, twice = v->cr[9] & 0x80;
	/* 256 colours take two dots for a pixel, and 200-line modes show each line twice, by either of two bits: shown
	 * as drawn. */
	bool pairs = !twice && colors256 && (v->cr[9] & 31) == 1;
	unsigned width = (v->cr[1] + 1u) * (colors256 ? 4 : 8), height = twice || pairs ? lines(v) / 2 : lines(v);

	begin(c, width, height);
	for (unsigned y = 0; y < c->picture->height; y++) {
		unsigned base = line_address(v, pairs ? 2 * y : y);

		for (unsigned x = 0; x < c->picture->width; x++) {
			const uint8_t *planes = v->memory + (4 * (base + x / (colors256 ? 4 : 8)) & (VGA_PLANAR - 1));
			unsigned index;

			if (colors256) {
				plot(c, x, y, c->color[planes[x & 3] & v->dac_mask]);
				continue;
			}
			if (interleaved) { /* two bits a pixel: four pixels in plane 0, then four in plane 1 */
				index = planes[x >> 2 & 1] >> (6 - 2 * (x & 3)) & 3;
			} else {
				index = 0;
				for (unsigned p = 0; p < 4; p++)
					index |= (planes[p] >> (7 - (x & 7)) & 1u) << p;
				index &= v->ar[0x12] & 15;
			}
			plot(c, x, y, c->color[attribute(v, index)]);
		}
	}
}

void vga_picture(const struct vga *v, struct picture *picture)
{
	struct canvas c = {.v = v, .picture = picture};

	load_colors(&c);
	if (v->dispi[DISPI_ENABLE] & DISPI_ENABLED)
		dispi_picture(&c);
	else if (!(v->ar_index & 0x20) || (v->sr[1] & 0x20) || !v->cr[1])
		begin(&c, 640, 400); /* the screen is off */
	else if (v->gr[6] & 1)
		graphics_picture(&c);
	else
		text_picture(&c);
}

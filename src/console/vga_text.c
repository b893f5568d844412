/*
 * The display as a BIOS leaves it: mode 3, text of 80 by 25. IBM "VGA Technical Reference", "Video BIOS" (mode 3+). For
 * kernels that are started without firmware and expect a console there.
 */
#include "console/vga_private.h"

#include "base/bits.h"
#include <string.h>

enum { GLYPHS = 256, HEIGHT = 16, COLUMNS = 80, ROWS = 25, FONT_STRIDE = 32, MISC = 0x67 };

static const uint8_t sequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t graphics[] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x0f, 0xff};
static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
			       0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const uint8_t attribute[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
				    0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

/* The first 64 colours: two bits each of red, green and blue, as on an EGA. */
static void load_palette(struct vga *v)
{
	for (unsigned i = 0; i < 64; i++) {
		for (unsigned part = 0; part < 3; part++) {
			unsigned high = i >> (2 - part) & 1, low = i >> (5 - part) & 1;

			v->dac[3 * i + part] = (uint8_t)(high * 0x2a + low * 0x15);
		}
	}
}

/*
 * The option ROM has the font. It is found by its first two characters, an empty one and a face, which all VGA fonts of
 * 8 by 16 share; a ROM without them leaves the screen without letters.
 */
static void load_font(struct vga *v)
{
	static const uint8_t begin[2 * HEIGHT] = {
		[HEIGHT + 2] = 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd, 0x99, 0x81, 0x81, 0x7e};
	const uint8_t *font;

	if (!v->rom)
		return;
	font = memmem(v->rom, v->rom_size, begin, sizeof(begin));
	if (!font || (size_t)(font - v->rom) + GLYPHS * HEIGHT > v->rom_size)
		return;
	for (unsigned glyph = 0; glyph < GLYPHS; glyph++) {
		for (unsigned row = 0; row < HEIGHT; row++)
			v->memory[4 * (FONT_STRIDE * glyph + row) + 2] = font[HEIGHT * glyph + row];
	}
}

void vga_text_mode(struct vga *v)
{
	v->misc = MISC;
	memcpy(v->sr, sequencer, sizeof(sequencer));
	memcpy(v->gr, graphics, sizeof(graphics));
	memcpy(v->cr, crtc, sizeof(crtc));
	memcpy(v->ar, attribute, sizeof(attribute));
	v->ar_index = 0x20; /* the screen is on */
	load_palette(v);
	load_font(v);
	for (unsigned i = 0; i < COLUMNS * ROWS; i++) {
		v->memory[4 * i] = ' ';
		v->memory[4 * i + 1] = 0x07;
	}
}

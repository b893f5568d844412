/*
 * The x87 state as an FXSAVE64 image: its fixed values and the tag word in both of its forms.
 *
 * SDM vol. 1, "x87 FPU Execution Environment"; vol. 2, "FXSAVE".
 */
#include "exec/host.h"

#define FCW_RESET 0x37f
#define FCW_MASKS 0x3f

static unsigned top_of(const struct fpu *fpu)
{
	return (unsigned)bits_get(x87_get(fpu, X87_FSW), 13, 11);
}

void x87_set_top(struct fpu *fpu, unsigned top)
{
	unsigned turn = top - top_of(fpu);
	uint8_t old[8][16];

	x87_set(fpu, X87_FSW, (uint16_t)bits_set(x87_get(fpu, X87_FSW), 13, 11, top));
	if (!(turn & 7))
		return;
	memcpy(old, fpu->x87 + X87_ST, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		memcpy(fpu->x87 + X87_ST + 16 * i, old[(i + turn) & 7], 16);
}

void x87_init(struct fpu *fpu)
{
	x87_set_top(fpu, 0);
	memset(fpu->x87, 0, X87_FDS + 4);
	x87_set(fpu, X87_FCW, FCW_RESET);
}

void x87_update_es(struct fpu *fpu)
{
	/* Bit 6 of FCW reads as 1, bits 7 and 15:13 as 0. */
	uint16_t fcw = (x87_get(fpu, X87_FCW) & 0x1f3f) | 0x40, fsw = x87_get(fpu, X87_FSW);

	fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	if (fsw & ~fcw & FCW_MASKS)
		fsw |= FSW_ES | FSW_B;
	x87_set(fpu, X87_FCW, fcw);
	x87_set(fpu, X87_FSW, fsw);
}

enum tag { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

/* SDM vol. 2, "FXSAVE", "Recreating FSAVE Format". */
static enum tag tag_of(const uint8_t *st)
{
	uint64_t significand = load_le(st, 8);
	unsigned exponent = (unsigned)load_le(st + 8, 2) & 0x7fff;

	if (exponent == 0 && significand == 0)
		return TAG_ZERO;
	return exponent == 0 || exponent == 0x7fff || !(significand >> 63) ? TAG_SPECIAL : TAG_VALID;
}

uint16_t x87_full_tag(const struct fpu *fpu)
{
	unsigned top = top_of(fpu);
	uint16_t full = 0;

	for (unsigned physical = 0; physical < 8; physical++) {
		const uint8_t *st = fpu->x87 + X87_ST + 16 * ((physical - top) & 7);
		enum tag tag = fpu->x87[X87_FTW] >> physical & 1 ? tag_of(st) : TAG_EMPTY;

		full |= (uint16_t)(tag << (2 * physical));
	}
	return full;
}

uint8_t x87_short_tag(uint16_t full)
{
	uint8_t bits = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((full >> (2 * i) & 3) != TAG_EMPTY)
			bits |= (uint8_t)(1 << i);
	return bits;
}

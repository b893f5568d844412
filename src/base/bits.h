/*
 * Bit arithmetic in the manuals' terms: bit numbers, inclusive bit ranges, sign extension, unaligned little-endian
 * access.
 */
#pragma once

#include "base/types.h"
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

/* Bits hi:lo, inclusive, as a mask. 0 <= lo <= hi <= 63. */
#define BITS(hi, lo) ((~UINT64_C(0) >> (63 - (hi))) & (~UINT64_C(0) << (lo)))

/* Field hi:lo of a value, shifted down to bit 0. */
static inline uint64_t bits_get(uint64_t value, unsigned hi, unsigned lo)
{
	return (value & BITS(hi, lo)) >> lo;
}

/* The value with field hi:lo replaced by the low bits of field. */
static inline uint64_t bits_set(uint64_t value, unsigned hi, unsigned lo, uint64_t field)
{
	return (value & ~BITS(hi, lo)) | ((field << lo) & BITS(hi, lo));
}

/* The low `width` bits (1 to 64) of value as a signed number. */
static inline int64_t sign_extend(uint64_t value, unsigned width)
{
	return (int64_t)(value << (64 - width)) >> (64 - width);
}

/* All ones in the low `bytes` bytes, 1 to 8. */
static inline uint64_t bytes_mask(unsigned bytes)
{
	return ~UINT64_C(0) >> (64 - 8 * bytes);
}

/* Is value a multiple of a power of two? */
static inline bool is_aligned(uint64_t value, uint64_t alignment)
{
	return (value & (alignment - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Little-endian loads and stores of 1 to 8 bytes at any alignment; hosts are little-endian (see docs/decisions). */
static inline uint64_t load_le(const void *from, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, from, bytes);
	return value;
}

static inline void store_le(void *to, unsigned bytes, uint64_t value)
{
	memcpy(to, &value, bytes);
}

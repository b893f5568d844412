/*
 * Bytes and strings. Long copies and fills are single string instructions: quick on processors with "enhanced REP MOVSB",
 * and short.
 */
#include "lib/string.h"

void *memcpy(void *to, const void *from, size_t size)
{
	void *at = to;
	size_t words = size / 8, rest = size % 8;

	__asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(rest) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	uint8_t *last_to = (uint8_t *)to + size - 1;
	const uint8_t *last_from = (const uint8_t *)from + size - 1;

	if ((uintptr_t)to - (uintptr_t)from >= size) /* also where to is below from */
		return memcpy(to, from, size);
	__asm__ volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(size) : : "memory", "cc");
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	void *at = to;
	size_t words = size / 8, rest = size % 8;
	uint64_t word = (uint8_t)byte * UINT64_C(0x0101010101010101);

	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(word) : "memory");
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(word) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;

	for (; size; size--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t strlen(const char *s)
{
	size_t length = 0;

	while (s[length])
		length++;
	return length;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t size)
{
	for (; size; size--, a++, b++) {
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++) {
		if (!*s)
			return NULL;
	}
	return (char *)(uintptr_t)s;
}

bool string_copy(char *to, size_t size, const char *from)
{
	size_t length = strlen(from);
	bool fits = length < size;

	if (!fits)
		length = size - 1;
	memcpy(to, from, length);
	to[length] = 0;
	return fits;
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

static unsigned shift_of(char suffix)
{
	return suffix == 'K' ? 10 : suffix == 'M' ? 20 : suffix == 'G' ? 30 : 0;
}

bool string_number(const char *text, bool suffix, uint64_t *value)
{
	int base = 10;
	unsigned shift;

	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}
	if (digit_of(*text) >= base)
		return false;
	*value = 0;
	for (; digit_of(*text) < base; text++) {
		if (__builtin_mul_overflow(*value, (uint64_t)base, value) || __builtin_add_overflow(*value, (uint64_t)digit_of(*text), value))
			return false;
	}
	shift = suffix ? shift_of(*text) : 0;
	if (shift) {
		text++;
		if (*value > UINT64_MAX >> shift)
			return false;
		*value <<= shift;
	}
	return !*text;
}

/*
 * What the guests of these tests share: ports, COM1, numbers as text.
 */
#ifndef TESTS_VMM_GUEST_H
#define TESTS_VMM_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

static inline void put(const char *text)
{
	for (; *text; text++) {
		while (!(in8(0x3fd) & 0x20))
			__asm__ volatile("pause");
		out8(0x3f8, (uint8_t)*text);
	}
}

static inline void put_number(uint64_t value)
{
	char text[21], *at = text + 20;

	*at = 0;
	do {
		*--at = (char)('0' + value % 10);
	} while (value /= 10);
	put(at);
}

static inline void put_hex(uint64_t value, unsigned digits)
{
	char text[17];

	text[digits] = 0;
	while (digits--) {
		text[digits] = "0123456789abcdef"[value & 15];
		value >>= 4;
	}
	put(text);
}

int main(void);

#endif

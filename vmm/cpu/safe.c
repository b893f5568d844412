/*
 * Instructions that may fault, and say so instead: each tells cpu/interrupts.c, in the section .fixups, where to go on after
 * a fault.
 */
#include "cpu/x86.h"

/* The instruction stands at label 1; what follows it until label 2 is skipped if it faults. */
#define FIXUP ".pushsection .fixups, \"a\"; .quad 1f, 2f; .popsection;"

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	uint32_t low = 0, high = 0;
	bool done = false;

	__asm__ volatile(FIXUP "1: rdmsr; movb $1, %2; 2:" : "+a"(low), "+d"(high), "+q"(done) : "c"(msr));
	*value = (uint64_t)high << 32 | low;
	return done;
}

bool wrmsr_safe(uint32_t msr, uint64_t value)
{
	bool done = false;

	__asm__ volatile(FIXUP "1: wrmsr; movb $1, %0; 2:"
			 : "+q"(done)
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return done;
}

bool xsetbv_safe(uint32_t index, uint64_t value)
{
	bool done = false;

	__asm__ volatile(FIXUP "1: xsetbv; movb $1, %0; 2:"
			 : "+q"(done)
			 : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
	return done;
}

/*
 * Time is the TSC. Its frequency is read from CPUID leaf 15H or measured against the 8254 once, at start; TSCs of all CPUs are
 * taken to be in step.
 */
#ifndef VMM_CPU_TIME_H
#define VMM_CPU_TIME_H

#include "lib/types.h"

extern uint64_t tsc_hz;

void time_init(void);

/* value * times / by, exact; NEVER if that has more than 64 bits. */
static inline uint64_t scale_u64(uint64_t value, uint64_t times, uint64_t by)
{
	unsigned __int128 product = (unsigned __int128)value * times;
	uint64_t high = (uint64_t)(product >> 64), quotient;

	if (high >= by)
		return NEVER;
	__asm__("divq %2" : "=a"(quotient), "+d"(high) : "r"(by), "0"((uint64_t)product) : "cc");
	return quotient;
}

static inline uint64_t ns_of_tsc(uint64_t ticks) { return scale_u64(ticks, 1000000000, tsc_hz); }
static inline uint64_t tsc_of_ns(uint64_t ns) { return scale_u64(ns, tsc_hz, 1000000000); }

void time_delay_us(uint64_t us); /* spins */

#endif

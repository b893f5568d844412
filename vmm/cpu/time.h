/*
 * Time is the TSC. Its frequency is read from CPUID leaf 15H or measured against the 8254 once, at start; TSCs of all CPUs are
 * taken to be in step.
 */
#ifndef VMM_CPU_TIME_H
#define VMM_CPU_TIME_H

#include "lib/types.h"

extern uint64_t tsc_hz;

void time_init(void);

/* Exact for intervals up to 2^64 ns: 128-bit products. */
static inline uint64_t ns_of_tsc(uint64_t ticks) { return (uint64_t)((unsigned __int128)ticks * 1000000000 / tsc_hz); }
static inline uint64_t tsc_of_ns(uint64_t ns) { return (uint64_t)((unsigned __int128)ns * tsc_hz / 1000000000); }

void time_delay_us(uint64_t us); /* spins */

#endif

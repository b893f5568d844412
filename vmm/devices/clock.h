/*
 * Time in ticks of a device's clock, exactly: tick n begins at the first nanosecond by which n of them have passed.
 */
#ifndef VMM_DEVICES_CLOCK_H
#define VMM_DEVICES_CLOCK_H

#include "lib/types.h"

#define SECOND UINT64_C(1000000000) /* in ns */

/* hz: at most 10^9. In two steps, so that no product leaves 64 bits. */
static inline uint64_t clock_ticks(uint64_t ns, uint64_t hz) { return ns / SECOND * hz + ns % SECOND * hz / SECOND; }
static inline uint64_t clock_ns(uint64_t ticks, uint64_t hz) { return ticks / hz * SECOND + (ticks % hz * SECOND + hz - 1) / hz; }

#endif

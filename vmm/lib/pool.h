/*
 * Memory: taken from what the boot loader calls free, at start only, and never given back. What needs more than it took at
 * start is wrong by design.
 */
#ifndef VMM_LIB_POOL_H
#define VMM_LIB_POOL_H

#include "lib/types.h"

/* Adds free physical memory, whole pages, on one side of 1 MiB. Called while the memory map is read. */
void pool_add(pa_t first, uint64_t size);

/* Zeroed memory of size bytes, aligned to align (a power of 2). NULL if there is no such piece. After pool_seal(): panics. */
void *pool_take(uint64_t size, uint64_t align);

/* The same, whole pages below 1 MiB, for the code that starts other CPUs. */
void *pool_take_low(uint64_t size);

uint64_t pool_left(void); /* bytes */
void pool_seal(void);

#endif

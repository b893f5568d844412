/*
 * The loops that the benchmark times: what real programs spend their time on, each small enough to read.
 *
 * The same object code runs in the guest image (guest/) and as a host program (native.c). A call of a loop starts from
 * the same state each time and returns the same checksum each time, on every machine that computes correctly.
 */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <stddef.h>
#include <stdint.h>

/*
 * LOOP(name, calls): Bochs takes one to three seconds for this many calls. Others run a multiple of it.
 * FP_LOOP: the same, but floating point and SSE, so counted in a mean of their own.
 */
#define BENCH_LOOPS(LOOP, FP_LOOP) \
	LOOP(crc, 16)              \
	LOOP(list, 24)             \
	LOOP(qsort, 12)            \
	LOOP(fib, 36)              \
	LOOP(bytecode, 10)         \
	LOOP(hash, 14)             \
	LOOP(sha256, 32)           \
	LOOP(bignum, 10)           \
	LOOP(sieve, 10)            \
	LOOP(wc, 14)               \
	LOOP(memcpy8, 15)          \
	LOOP(lz, 32)               \
	LOOP(syscall, 50)          \
	LOOP(pagefault, 56)        \
	FP_LOOP(dmm, 60)           \
	FP_LOOP(sse, 32)           \
	FP_LOOP(axpy, 32)

struct bench_loop {
	const char *name;
	uint64_t (*run)(void);
	unsigned int calls;
};

extern const struct bench_loop bench_loops[];
extern const size_t bench_loop_count;

/* What the loops ask of the system they run on. */

/* A system call that does next to nothing. */
void bench_syscall(void);

/* Makes `pages` fresh pages, zero on first touch, and returns the first one's address; bench_drop_pages() gives them
 * back. */
#define BENCH_FRESH_PAGES 256
uint8_t *bench_fresh_pages(void);
void bench_drop_pages(uint8_t *pages);

#endif

/*
 * The words that every file of the VMM uses: integers, bits, and what the compiler should know.
 */
#ifndef VMM_LIB_TYPES_H
#define VMM_LIB_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n) (UINT64_C(1) << (n))
#define BITS(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE UINT64_C(4096)
#define ALIGN_UP(value, to) (((value) + ((to) - 1)) & ~(uint64_t)((to) - 1))

#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))
#define PRINTF(text, first) __attribute__((format(printf, text, first)))
#define MUST_CHECK __attribute__((warn_unused_result))

/* Never mixed: what a guest calls an address, and what the machine does. The VMM's own memory is mapped where it is. */
typedef uint64_t gpa_t; /* guest-physical: EPT translates it */
typedef uint64_t gva_t; /* guest-linear: the guest's page tables translate it */
typedef uint64_t pa_t;	/* physical */

static inline pa_t pa_of(const void *pointer) { return (pa_t)(uintptr_t)pointer; }
static inline void *at_pa(pa_t pa) { return (void *)(uintptr_t)pa; }

static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

#define NEVER UINT64_MAX /* a deadline that does not come */

#endif

/*
 * Types and compiler words that every part uses. Knows no PC.
 *
 * Addresses that must never be mixed have different names, so that a signature says what it takes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t la_t;	 /* linear address: after segmentation, before paging */
typedef uint64_t gpa_t;	 /* guest-physical address: input of EPT; equal to pa_t when EPT is off */
typedef uint64_t pa_t;	 /* physical address: what the bus sees */
typedef uint64_t iova_t; /* address in a DMA request: input of VT-d */

#define MUST_CHECK	    __attribute__((warn_unused_result))
#define COLD		    __attribute__((cold, noinline))
#define PRINTF(text, first) __attribute__((format(printf, text, first)))
#define likely(x)	    __builtin_expect(!!(x), 1)
#define unlikely(x)	    __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a)			    (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

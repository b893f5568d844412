/*
 * Executable memory for thunks, and what SIGFPE does to one that runs. Apart from host.h because signals and exec.h
 * share the name raise.
 */
#pragma once

#include "base/error.h"

#define THUNK_FAULT (UINT64_C(1) << 63) /* in RAX: the thunk was left by SIGFPE; MXCSR is in the low half */
#define MXCSR_RESET 0x1f80

struct host_simd;

/* See host.h. */
struct host_simd *host_simd_create(struct error *error);
void host_simd_destroy(struct host_simd *simd);

/* Has someone called host_simd_create()? */
bool host_ready(void);

/* Put code into executable memory. NULL: it is full. */
void *host_install(const uint8_t *code, size_t size);

/* Zeroed memory that lives until the last host_simd_destroy(). */
void *host_alloc(size_t size);

/*
 * x87, MMX, SSE, AVX, AVX-512, AES, SHA ... on the host CPU: the guest's own instruction, re-encoded on fixed operands, run under the guest's MXCSR and
 * x87 environment. The one header that a portable version would stand behind.
 */
#pragma once

#include "exec/exec.h"

struct host_simd;

/* Code memory for thunks and the SIGFPE handler; one per process is shared by count. NULL and a sentence on failure. */
struct host_simd *host_simd_create(struct error *error);
void host_simd_destroy(struct host_simd *simd);

/* Which feature bits the host has: a model offers SIMD features only when this says so. */
bool host_has_feature(enum feature feature);

/* For exec_lookup(): the function that runs a CLASS_HOST form; #UD when neither the host nor the engine can. */
exec_fn *host_lookup(const struct form *form);

/* XSAVE area and FXSAVE image of the guest state, as the instructions in exec/xsave.c need them. */

/*
 * x87, MMX, SSE, AVX, AVX-512, AES, SHA ... on the host CPU: the guest's own instruction, re-encoded on fixed operands,
 * run under the guest's MXCSR and x87 environment. The one header that a portable version would stand behind.
 *
 * Results, masked responses, denormals and flags are the host's by construction. So the approximations, which the
 * manuals leave to each processor within an error bound, differ between hosts of different makers: RCPPS, RCPSS,
 * RSQRTPS, RSQRTSS and the last bit of the x87 transcendental instructions. AVX-512 is only used when the host has F,
 * BW, DQ, VL and CD together.
 */
#pragma once

#include "exec/exec.h"

struct host_simd;

/* Code memory for thunks and the SIGFPE handler; there is one per process, shared by count. NULL and a sentence on
 * failure. */
struct host_simd *host_simd_create(struct error *error);
void host_simd_destroy(struct host_simd *simd);

/* Which feature bits the host has: a model offers SIMD features only when this says so. Asks the host on each call: not
 * for the run loop. */
bool host_has_feature(enum feature feature);

/* For exec_lookup(): the function that runs a CLASS_HOST form; #UD when neither the host nor the engine can. */
exec_fn *host_lookup(struct form *form);

/*
 * While a vCPU runs, floating-point instructions leave its MXCSR in the host's, because moving it for each of them
 * costs more than they do. Before cpu->fpu.mxcsr is read or written, and before the vCPU stops running, it is brought
 * back.
 */
void host_mxcsr_return(struct cpu *cpu);
static inline void host_mxcsr_sync(struct cpu *cpu)
{
	if (unlikely(cpu->mxcsr_live))
		host_mxcsr_return(cpu);
}

/*
 * fpu_state.c: the x87 part of struct fpu, an FXSAVE64 image. SDM vol. 1, "x87 FPU Execution Environment".
 */
enum {
	X87_FCW = 0,
	X87_FSW = 2,
	X87_FTW = 4,
	X87_FOP = 6,
	X87_FIP = 8,
	X87_FCS = 12,
	X87_FDP = 16,
	X87_FDS = 20,
	X87_ST = 32
};
#define X87_SIZE 160 /* bytes of the image that count */

#define FSW_ES BIT(7)
#define FSW_B  BIT(15)

#define MXCSR_VALID 0xffff /* MXCSR_MASK: writing other bits is #GP(0) */

static inline uint16_t x87_get(const struct fpu *fpu, unsigned at)
{
	return (uint16_t)load_le(fpu->x87 + at, 2);
}

static inline void x87_set(struct fpu *fpu, unsigned at, uint16_t value)
{
	store_le(fpu->x87 + at, 2, value);
}

/* Move the top of the stack. The image counts registers from there, so they turn while the physical ones stay. */
void x87_set_top(struct fpu *fpu, unsigned top);
/* FNINIT's state: FCW 37FH, all registers empty. Register contents stay. */
void x87_init(struct fpu *fpu);
/* ES and B follow from the exception flags and masks, whatever was loaded. */
void x87_update_es(struct fpu *fpu);
/* The tag word in full, 2 bits a register, from contents: SDM vol. 2, "FXSAVE", "Recreating FSAVE Format". And back to
 * one bit each. */
uint16_t x87_full_tag(const struct fpu *fpu);
uint8_t x87_short_tag(uint16_t full);

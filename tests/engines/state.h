/*
 * What is compared: registers before and after one instruction, and how it ended.
 */
#pragma once

#include "cpu/cpu.h"

struct state {
	uint64_t r[16];
	uint64_t rflags;
	uint64_t k[8];
	uint32_t mxcsr;
	uint8_t x87[160] __attribute__((aligned(16))); /* as in struct fpu: FCW FSW FTW and ST count here */
	union vector_register v[32];
};

/* rip: where execution stands, or for faults and traps the RIP that the handler sees. */
struct outcome {
	int vector; /* -1: none */
	uint32_t error;
	uint64_t address; /* page faults */
	uint64_t rip;
};

#define NATIVE_ENDLESS -2 /* outcome.vector: had to be stopped */

/* Native execution. The sandbox is one per process. */
bool native_create(struct error *error);
/* Has this host's kernel a segment for 32-bit code? Some that run in a container or virtual machine have none. */
bool native_has_code32(void);
/* Of CODE and DATA as the native instruction sees them: the linear addresses themselves. */
void native_write_code(uint64_t at, const uint8_t *bytes, size_t size);
void native_run(bool code64, bool vectors, uint64_t rip, struct state *state, struct outcome *outcome);

/* The engine under test: a CPU at CPL 3 with the same view of memory. */
struct engine;
struct engine *engine_create(struct error *error);
void engine_destroy(struct engine *engine);
void engine_write_code(struct engine *engine, uint64_t at, const uint8_t *bytes, size_t size);
uint8_t *engine_data(struct engine *engine); /* DATA_SIZE bytes */
uint8_t *engine_read_only(struct engine *engine);
void engine_run(struct engine *engine, bool code64, bool vectors, uint64_t rip, struct state *state,
		struct outcome *outcome);
void engine_cpuid(const struct engine *engine, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* Has the host-like model this instruction? */
bool engine_offers(const struct engine *engine, bool code64, const uint8_t *bytes, size_t size);

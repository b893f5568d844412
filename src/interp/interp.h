/*
 * Engine 1: interpreter over cached, decoded blocks.
 */
#pragma once

#include "exec/run.h"

struct interp;

/* One per machine: the block cache is shared by its vCPUs. */
struct interp *interp_create(const struct log *log);
void interp_destroy(struct interp *interp);
void interp_add_cpu(struct interp *interp, struct cpu *cpu);

/*
 * Run until the turn's budget is used, or the vCPU is not active, or attention holds ATTEND_STOP, ATTEND_DEADLINE or
 * ATTEND_YIELD (left set, for the caller). cpu->rip and all architectural state are exact on return; cpu->insn is NULL.
 */
void interp_run(struct interp *interp, struct cpu *cpu);

/* gdb and monitor: stop before executing at this linear address. The machine is told through ATTEND_STOP with cpu->rip
 * there. */
void interp_set_breakpoint(struct interp *interp, la_t la, bool set);
/* The next interp_run() executes the instruction at RIP even when a breakpoint is there. */
void interp_resume(struct interp *interp);

/* RAM was written by something other than a CPU (DMA, a loader): drop blocks decoded from it. For bus_on_ram_write().
 */
void interp_ram_written(struct interp *interp, const uint8_t *host, size_t size);

struct interp_stats {
	uint64_t blocks_decoded, insns_decoded, blocks_dropped, cache_emptied, jump_misses;
};
struct interp_stats interp_stats(const struct interp *interp);

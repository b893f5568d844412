/*
 * A bare machine for fuzzers: one vCPU of model "max", RAM at 0, ports that read as all ones, virtual time. No devices,
 * no firmware.
 */
#pragma once

#include "bus/bus.h"
#include "clock/clock.h"
#include "cpu/msr.h"
#include "exec/host.h"
#include "interp/interp.h"
#include "mem/mem.h"

#define BARE_RAM (UINT64_C(2) << 20)

struct bare {
	struct cpu cpu;
	struct cpu_model model;
	struct log log;
	struct bus *bus;
	struct clock *clock;
	struct interp *interp;
	uint8_t *ram;
	bool stopped; /* shutdown */
};

/* Modes a fuzzer can start in. */
enum bare_mode {
	BARE_REAL,
	BARE_PROTECTED16,
	BARE_PROTECTED32,
	BARE_V86,
	BARE_COMPATIBILITY,
	BARE_LONG,
	BARE_LONG_USER,
	BARE_MODES
};

/* The one machine of the process; made on the first call. Each call empties RAM, resets the vCPU, and forgets all code.
 */
struct bare *bare_machine(void);
/* Registers and segments of a mode, with flat segments at 0 where the mode has any; paging off but in long mode, where
 * RAM is mapped by 2-MiB pages. */
void bare_enter(struct bare *bare, enum bare_mode mode, uint64_t rip);
/* Run at most so many instructions (and ticks). */
void bare_run(struct bare *bare, unsigned instructions);

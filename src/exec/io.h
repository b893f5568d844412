/*
 * Port accesses as IN, OUT, INS and OUTS make them: permission, then the bus, then I/O breakpoints.
 */
#pragma once

#include "exec/exec.h"

/* SDM vol. 1, "Protected-Mode I/O": IOPL, else the I/O permission bit map of the TSS. True: a fault is in cpu->fault.
 * size 1, 2 or 4. */
MUST_CHECK bool io_check(struct cpu *cpu, uint16_t port, unsigned size);

uint32_t io_in(struct cpu *cpu, uint16_t port, unsigned size);
void io_out(struct cpu *cpu, uint16_t port, unsigned size, uint32_t value);

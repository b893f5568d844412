/*
 * Looking into a machine: the stub that gdb talks to, the monitor that people type at, and dumps of a vCPU.
 *
 * Nothing here runs by itself: bytes arrive through chardev_poll() between two turns of the machine, so what is seen is
 * always a whole state.
 */
#pragma once

#include "console/chardev.h"
#include "machine/machine.h"
#include <stdio.h>

/* Registers of a vCPU, as QEMU's "info registers" shows them. */
void dump_cpu(const struct cpu *cpu, FILE *to);

/* The gdb stub: "GDB Remote Serial Protocol" of the gdb manual. vCPUs are threads. The chardev is not owned. */
struct gdb;
struct gdb *gdb_create(struct machine *machine, struct chardev *chardev);
/* Tells the client the exit status. */
void gdb_destroy(struct gdb *gdb);

/* The monitor. `front` says which side of the chardev it has; not owned. NULL chardev: only monitor_execute() is used.
 */
struct monitor;
struct monitor *monitor_create(struct machine *machine, struct chardev *chardev, enum chardev_front front);
void monitor_destroy(struct monitor *monitor);
/* Carry out one line; what it says goes to `to`. */
void monitor_execute(struct monitor *monitor, const char *line, FILE *to);

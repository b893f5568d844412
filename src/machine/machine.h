/*
 * The whole PC: made from a configuration, run, stopped, saved, compared.
 *
 * One thread owns a machine. Everything that happens in it happens inside machine_run(): the vCPUs' turns, deadlines,
 * and between turns the outside world (back ends, watches), whose callbacks may call any function here except
 * machine_run() and machine_destroy(). A process may hold any number of machines.
 */
#pragma once

#include "base/error.h"
#include "clock/clock.h"
#include "cpu/cpu.h"
#include "machine/config.h"

struct machine;

/* NULL: *error says what is wrong. The machine is then at its first instruction, and running unless paused by
 * machine_pause(). */
struct machine *machine_create(const struct machine_config *config, struct error *error);
void machine_destroy(struct machine *machine);

/*
 * Run until the machine ends, or for `time` nanoseconds of virtual time (VTIME_NEVER: no limit). While paused it waits
 * for the outside world to resume or end it. True: it has ended, see machine_status().
 */
bool machine_run(struct machine *machine, vtime_t time);
/* The exit status that the end asks for: 0, or (value << 1) | 1 after isa-debug-exit. */
int machine_status(const struct machine *machine);
/* NULL, or the sentence that says which failure of the host ended the machine. */
const char *machine_failure(const struct machine *machine);

/* Requests, carried out between two instructions; parts and the outside world may make them at any time. */
void machine_end(struct machine *machine, int status);
void machine_request_reset(struct machine *machine);
void machine_request_power_off(struct machine *machine); /* -no-shutdown: pause */

/* Why a machine is paused. */
enum machine_stop { STOP_NONE, STOP_ASKED, STOP_STEPPED, STOP_BREAKPOINT, STOP_POWERED_OFF, STOP_SHUTDOWN };

void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
/* Resume one vCPU for one instruction; the others and time's deadlines wait until it is over. */
void machine_step(struct machine *machine, unsigned cpu);
enum machine_stop machine_stopped(const struct machine *machine);
/* The vCPU that a step or breakpoint stopped, or 0. */
unsigned machine_stopped_cpu(const struct machine *machine);
/* Told of each change from running to paused. */
void machine_on_stop(struct machine *machine, void (*stopped)(void *ctx), void *ctx);

/* Code breakpoints of a debugger, on every vCPU; the machine pauses before the instruction. */
void machine_set_breakpoint(struct machine *machine, la_t la, bool set);

/* Virtual time since power-on. */
vtime_t machine_time(const struct machine *machine);
unsigned machine_cpus(const struct machine *machine);
struct cpu *machine_cpu(struct machine *machine, unsigned number);
/* Registers were changed from outside: translation and code mode follow. */
void machine_cpu_changed(struct machine *machine, unsigned number);

/* Called between turns when fd has something to read; the machine wakes for it when idle. */
void machine_watch(struct machine *machine, int fd, void (*ready)(void *ctx), void *ctx);

/* Told before a vCPU is reset and when one shuts down (triple fault), for dumps under -d cpu_reset. */
void machine_on_cpu_reset(struct machine *machine, void (*reset)(void *ctx, struct cpu *cpu, const char *why),
			  void *ctx);

/* The whole state: to a file, from a file, as 32 hexadecimal digits. A file of another configuration is refused. */
MUST_CHECK bool machine_save(struct machine *machine, const char *file, struct error *error);
MUST_CHECK bool machine_restore(struct machine *machine, const char *file, struct error *error);
void machine_digest(struct machine *machine, char text[33]);

/* What ran how fast: several lines, the last one "digest: HEX". */
void machine_print_stats(struct machine *machine, FILE *to);
/* The chipset's interrupt controllers; disks and their images. */
void machine_print_interrupts(struct machine *machine, FILE *to);
void machine_print_drives(struct machine *machine, FILE *to);

/* Press the power button; press and release keys, joined by '-', as in "ctrl-alt-delete". */
void machine_press_power(struct machine *machine);
MUST_CHECK bool machine_send_keys(struct machine *machine, const char *keys, struct error *error);
MUST_CHECK bool machine_screendump(struct machine *machine, const char *file, struct error *error);

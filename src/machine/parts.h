/*
 * Inside a machine: every part, for machine/ and debug/ alone.
 */
#pragma once

#include "apic/apic.h"
#include "bus/bus.h"
#include "interp/interp.h"
#include "machine/machine.h"
#include "mem/mem.h"
#include "pci/pci.h"

#define MACHINE_WATCHES 8
#define MACHINE_PARTS	64

/* What every part can do. Added in the order of power-on; destroyed in the opposite one. */
struct part_ops {
	const char *name;
	void (*destroy)(void *part);
	void (*reset)(void *part);			/* NULL: nothing to do */
	void (*state)(void *part, struct state *state); /* NULL: no state of its own */
	void (*stats)(void *part, FILE *to);		/* NULL: counts nothing */
};

/* The functions of a part called TYPE, as part_ops wants them. */
#define PART_DESTROY(type)                          \
	static void type##_part_destroy(void *part) \
	{                                           \
		type##_destroy(part);               \
	}
#define PART_RESET(type)                          \
	static void type##_part_reset(void *part) \
	{                                         \
		type##_reset(part);               \
	}
#define PART_STATE(type)                                               \
	static void type##_part_state(void *part, struct state *state) \
	{                                                              \
		type##_state(part, state);                             \
	}

struct part {
	const struct part_ops *ops;
	void *part;
};

struct watch {
	int fd;
	void (*ready)(void *ctx);
	void *ctx;
};

struct machine {
	struct log log;
	struct cpu_model model;
	struct vmx_capability vmx;
	struct clock *clock;
	struct bus *bus;
	struct apic_bus *apic_bus;
	struct msi_sink msi; /* where devices' messages go */
	struct pci_root *pci;
	struct interp *interp;
	struct msr_table *msr;
	struct host_simd *simd;
	struct cpu *cpu; /* of cpus */
	unsigned cpus;
	struct cpu_topology topology;
	struct part part[MACHINE_PARTS];
	unsigned parts;
	struct board *board; /* build.c's: what the machine is made of, and what it boots */

	/* Run. */
	struct cpu *running;  /* inside its engine, or NULL */
	struct cpu *stepping; /* runs one instruction, then the machine stops */
	unsigned turn_cpu;    /* whose turn it is */
	vtime_t turn_end;     /* 0: it has not begun */
	int turns_to_service;
	vtime_t pace_host, pace_virtual;
	bool follow_host, never_wait, no_reboot, no_shutdown;
	unsigned icount_shift; /* an instruction takes 2^this ns */
	bool ended, reset_wanted, time_is_up;
	int status;
	struct error failure;
	enum machine_stop stopped;
	unsigned stopped_cpu;
	bool stop_unsaid; /* on_stop has not been called yet */
	void (*on_stop)(void *ctx);
	void *on_stop_ctx;
	void (*on_cpu_reset)(void *ctx, struct cpu *cpu, const char *why);
	void *on_cpu_reset_ctx;

	/* The outside world. */
	struct chardev *chardev[MACHINE_CHARDEVS];
	unsigned chardevs;
	struct watch watch[MACHINE_WATCHES];
	unsigned watches;

	/* Statistics. */
	vtime_t host_begin, cpu_begin; /* host's time and processor time at power-on */
};

/* build.c: the machine owns the part from here on. */
void part_add(struct machine *m, const struct part_ops *ops, void *part);

/* run.c */
vtime_t run_clock_elapsed(void *machine);
void run_clock_sooner(void *machine);
void run_stop(struct machine *m, enum machine_stop why, unsigned cpu);

/* reset.c: power-on and reset alike; ends the machine when it cannot boot or -no-reboot forbids it. */
void run_reset(struct machine *m);
MUST_CHECK bool power_on(struct machine *m, struct error *error);
/* What a vCPU says: struct cpu's event. */
void cpu_said(struct cpu *cpu, enum cpu_event event);

/* build.c: put the kernel or firmware in place, after all parts are reset. */
MUST_CHECK bool board_boot(struct machine *m, struct error *error);

/* The x87's error wire: IRQ 13. */
void board_ferr(struct machine *m);

/* snapshot.c */
void machine_state(struct machine *m, struct state *state);

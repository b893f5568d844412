/*
 * Virtual time and deadlines.
 *
 * Time is nanoseconds since power-on. By default one retired instruction is one nanosecond, an idle machine jumps to
 * its next deadline, and so a run repeats exactly. The machine owns the clock and moves it (clock_advance_to); devices
 * read it and arm deadlines.
 */
#pragma once

#include "base/state.h"
#include "base/types.h"

typedef uint64_t vtime_t; /* ns */
#define VTIME_NEVER   UINT64_MAX
#define NS_PER_SECOND UINT64_C(1000000000)

struct clock;

/* One pending call. Embedded in its owner; the clock links it while it is armed. */
struct deadline {
	void (*fire)(void *owner);
	void *owner;
	vtime_t at;	/* VTIME_NEVER when not armed */
	uint64_t order; /* of arming, among deadlines of one instant */
	struct deadline *next;
};

/*
 * How the machine tells the clock about the instructions that the running vCPU has retired since the last
 * clock_advance_to().
 */
struct clock_ops {
	vtime_t (*elapsed)(void *ctx); /* ns since the last clock_advance_to() */
	void (*sooner)(void *ctx);     /* the earliest deadline moved nearer: shorten the current turn */
	void *ctx;
};

struct clock *clock_create(void);
void clock_destroy(struct clock *clock);
void clock_connect(struct clock *clock, const struct clock_ops *ops);

vtime_t clock_now(const struct clock *clock);
/* Time units of a counter that runs at `hz`, rounded down, computed in 128 bits. */
uint64_t clock_ticks(vtime_t now, uint64_t hz);
/* The first instant at which such a counter reads at least `ticks`. */
vtime_t clock_when(uint64_t ticks, uint64_t hz);

void deadline_init(struct deadline *deadline, void (*fire)(void *owner), void *owner);
/*
 * Arm or move. A time that has passed fires at the next instruction boundary; a deadline that arms itself again
 * while it fires does so at least 1 ns later. Same instant: in order of arming.
 */
void clock_arm(struct clock *clock, struct deadline *deadline, vtime_t at);
/* For who looks at the machine from outside: after everything else of that instant, and no part of its state. */
void clock_arm_outside(struct clock *clock, struct deadline *deadline, vtime_t at);
void clock_cancel(struct clock *clock, struct deadline *deadline);
/* Save or restore one deadline's time as part of its owner's state. */
void clock_deadline_state(struct clock *clock, struct deadline *deadline, struct state *state);

/* For the machine. */
vtime_t clock_next(const struct clock *clock);		 /* earliest deadline or VTIME_NEVER */
void clock_advance_to(struct clock *clock, vtime_t now); /* the running turn is accounted up to here; never goes back */
void clock_fire_due(struct clock *clock);		 /* call what is due, in time order; calls may arm again */
void clock_state(struct clock *clock, struct state *state);

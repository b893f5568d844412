/*
 * Virtual time: a sorted list of deadlines. A machine has a few dozen, so that a list is as good as a heap, and its
 * order is plain.
 */
#include "clock/clock.h"
#include "base/error.h"

#include <stdlib.h>

struct clock {
	vtime_t now; /* accounted: clock_advance_to() */
	uint64_t arms;
	struct deadline *first;
	struct deadline *firing; /* whose fire() runs */
	vtime_t fired_at;
	struct clock_ops ops;
};

struct clock *clock_create(void)
{
	return xcalloc(1, sizeof(struct clock));
}

void clock_destroy(struct clock *clock)
{
	free(clock);
}

void clock_connect(struct clock *clock, const struct clock_ops *ops)
{
	clock->ops = *ops;
}

vtime_t clock_now(const struct clock *clock)
{
	return clock->now + (clock->ops.elapsed ? clock->ops.elapsed(clock->ops.ctx) : 0);
}

uint64_t clock_ticks(vtime_t now, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)now * hz / NS_PER_SECOND);
}

vtime_t clock_when(uint64_t ticks, uint64_t hz)
{
	unsigned __int128 at = ((unsigned __int128)ticks * NS_PER_SECOND + hz - 1) / hz;

	return at < VTIME_NEVER ? (vtime_t)at : VTIME_NEVER;
}

void deadline_init(struct deadline *deadline, void (*fire)(void *owner), void *owner)
{
	*deadline = (struct deadline){.fire = fire, .owner = owner, .at = VTIME_NEVER};
}

static void unlink_deadline(struct clock *clock, struct deadline *deadline)
{
	for (struct deadline **link = &clock->first; *link; link = &(*link)->next) {
		if (*link == deadline) {
			*link = deadline->next;
			break;
		}
	}
	deadline->next = NULL;
	deadline->at = VTIME_NEVER;
}

static bool before(const struct deadline *a, const struct deadline *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static void link_deadline(struct clock *clock, struct deadline *deadline)
{
	struct deadline **link = &clock->first;

	while (*link && before(*link, deadline))
		link = &(*link)->next;
	deadline->next = *link;
	*link = deadline;
	if (clock->first == deadline && clock->ops.sooner)
		clock->ops.sooner(clock->ops.ctx);
}

void clock_arm(struct clock *clock, struct deadline *deadline, vtime_t at)
{
	if (deadline->at != VTIME_NEVER)
		unlink_deadline(clock, deadline);
	if (at == VTIME_NEVER)
		return;
	/* A guest can give a timer a period of nothing: one that fires must let time move before it fires again. */
	if (clock->firing == deadline && at <= clock->fired_at)
		at = clock->fired_at + 1;
	deadline->at = at;
	deadline->order = clock->arms++;
	link_deadline(clock, deadline);
}

void clock_arm_outside(struct clock *clock, struct deadline *deadline, vtime_t at)
{
	clock_cancel(clock, deadline);
	if (at == VTIME_NEVER)
		return;
	deadline->at = at;
	deadline->order = UINT64_MAX;
	link_deadline(clock, deadline);
}

void clock_cancel(struct clock *clock, struct deadline *deadline)
{
	if (deadline->at != VTIME_NEVER)
		unlink_deadline(clock, deadline);
}

void clock_deadline_state(struct clock *clock, struct deadline *deadline, struct state *state)
{
	vtime_t at = deadline->at;

	state_var(state, at);
	if (state_restoring(state))
		clock_cancel(clock, deadline);
	state_var(state, deadline->order);
	if (state_restoring(state) && !state_failed(state) && at != VTIME_NEVER) {
		deadline->at = at;
		link_deadline(clock, deadline);
	}
}

vtime_t clock_next(const struct clock *clock)
{
	return clock->first ? clock->first->at : VTIME_NEVER;
}

void clock_advance_to(struct clock *clock, vtime_t now)
{
	if (now > clock->now)
		clock->now = now;
}

void clock_fire_due(struct clock *clock)
{
	struct deadline *due;

	while ((due = clock->first) && due->at <= clock->now) {
		clock->firing = due;
		clock->fired_at = due->at;
		unlink_deadline(clock, due);
		due->fire(due->owner);
	}
	clock->firing = NULL;
}

void clock_state(struct clock *clock, struct state *state)
{
	state_section(state, "clock");
	state_var(state, clock->now);
	state_var(state, clock->arms);
}

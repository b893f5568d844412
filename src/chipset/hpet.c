/*
 * HPET: counter, comparators, interrupts.
 *
 * IA-PC HPET specification, "Register Definitions", "Theory of Operation". Not modelled: FSB (MSI) delivery;
 * Tn_FSB_INT_DEL_CAP is 0. An edge-triggered timer lowers its line just before it raises it again, so the line keeps
 * its request until it is acknowledged.
 */
#include "chipset/hpet.h"
#include "base/bits.h"

#include <stdlib.h>

#define TIMERS	  3
#define HZ	  UINT64_C(100000000)
#define PERIOD_FS UINT64_C(10000000)

#define CAPABILITIES (PERIOD_FS << 32 | 0x8086a201) /* Intel, legacy routes, 64 bits, 3 timers, revision 1 */

#define CONF_ENABLE BIT(0)
#define CONF_LEGACY BIT(1)

#define T_LEVEL	     BIT(1)
#define T_ENABLE     BIT(2)
#define T_PERIODIC   BIT(3)
#define T_CAN_PERIOD BIT(4)
#define T_IS_64BIT   BIT(5)
#define T_SET	     BIT(6)
#define T_32BIT	     BIT(8)
#define T_ROUTE	     BITS(13, 9)
#define T_SETTABLE   (T_LEVEL | T_ENABLE | T_PERIODIC | T_SET | T_32BIT | T_ROUTE)

struct timer {
	struct hpet *hpet;
	unsigned number;
	uint64_t config; /* settable bits */
	uint64_t comparator, period;
	bool line;
	struct deadline deadline;
};

struct hpet {
	struct clock *clock;
	const struct log *log;
	struct hpet_wires wires;
	uint64_t config, status;
	uint64_t counter; /* at `start`, or while it stands still */
	uint64_t start;	  /* in ticks of HZ */
	struct timer timer[TIMERS];
};

static uint32_t routes(const struct timer *timer)
{
	return timer->number == 2 ? 0x00f00800 : 0x00f00000; /* as in the ICH9 */
}

static uint64_t ticks(const struct hpet *hpet)
{
	return clock_ticks(clock_now(hpet->clock), HZ);
}

static uint64_t counter(const struct hpet *hpet)
{
	return hpet->config & CONF_ENABLE ? hpet->counter + (ticks(hpet) - hpet->start) : hpet->counter;
}

static uint64_t width(const struct timer *timer)
{
	return timer->config & T_32BIT ? UINT32_MAX : UINT64_MAX;
}

static bool is_legacy(const struct timer *timer)
{
	return (timer->hpet->config & CONF_LEGACY) && timer->number < 2;
}

static void drive(struct timer *timer, bool level)
{
	const struct hpet_wires *wires = &timer->hpet->wires;
	unsigned pin = (unsigned)bits_get(timer->config, 13, 9);

	if (timer->line == level)
		return;
	timer->line = level;
	if (is_legacy(timer))
		wires->legacy(wires->ctx, timer->number, level);
	else if (routes(timer) >> pin & 1)
		wires->pin(wires->ctx, pin, level);
}

static void interrupt(struct timer *timer)
{
	if (timer->config & T_LEVEL)
		timer->hpet->status |= BIT(timer->number);
	if (!(timer->config & T_ENABLE))
		return;
	if (!(timer->config & T_LEVEL))
		drive(timer, false);
	drive(timer, true);
}

/* `passed`: the match at the current count has been served, so the next is a full turn of the counter away. */
static void arm(struct timer *timer, bool passed)
{
	struct hpet *hpet = timer->hpet;
	uint64_t now = ticks(hpet), left = (timer->comparator - counter(hpet)) & width(timer);
	vtime_t at = VTIME_NEVER;

	if (!left && passed)
		left = timer->config & T_32BIT ? BIT(32) : UINT64_MAX;
	if ((hpet->config & CONF_ENABLE) && (timer->config & (T_ENABLE | T_LEVEL | T_PERIODIC)) &&
	    left < UINT64_MAX - now)
		at = clock_when(now + left, HZ);
	clock_arm(hpet->clock, &timer->deadline, at);
}

static void fire(void *owner)
{
	struct timer *timer = owner;
	uint64_t late;

	interrupt(timer);
	if ((timer->config & T_PERIODIC) && timer->period) {
		/* Periods shorter than a tick of the machine's turn are served once. */
		late = (counter(timer->hpet) - timer->comparator) & width(timer);
		timer->comparator = (timer->comparator + (late / timer->period + 1) * timer->period) & width(timer);
	}
	arm(timer, true);
}

static void arm_all(struct hpet *hpet)
{
	for (unsigned i = 0; i < TIMERS; i++)
		arm(&hpet->timer[i], false);
}

static void config_written(struct hpet *hpet, uint64_t value)
{
	uint64_t changed = hpet->config ^ value;

	if (changed & CONF_ENABLE) {
		hpet->counter = counter(hpet);
		hpet->start = ticks(hpet);
	}
	if (changed & CONF_LEGACY)
		for (unsigned i = 0; i < TIMERS; i++)
			drive(&hpet->timer[i], false); /* on the way it still has */
	hpet->config = value & (CONF_ENABLE | CONF_LEGACY);
	if (changed & CONF_LEGACY)
		hpet->wires.route(hpet->wires.ctx, hpet->config & CONF_LEGACY);
	arm_all(hpet);
}

static void timer_config_written(struct timer *timer, uint64_t value)
{
	uint64_t old = timer->config;

	if ((old ^ value) & (T_LEVEL | T_ENABLE | T_ROUTE))
		drive(timer, false);
	timer->config = value & T_SETTABLE;
	/* A route that the timer does not have keeps the old one: writing and reading back is how software asks. */
	if (!(routes(timer) >> bits_get(value, 13, 9) & 1))
		timer->config = (timer->config & ~T_ROUTE) | (old & T_ROUTE);
	timer->comparator &= width(timer);
	timer->period &= width(timer);
	if ((timer->config & T_LEVEL) && (timer->config & T_ENABLE) && (timer->hpet->status & BIT(timer->number)))
		drive(timer, true);
	arm(timer, false);
}

static void comparator_written(struct timer *timer, uint64_t value, uint64_t mask)
{
	value &= width(timer);
	/* In periodic mode a plain write sets the period, one after Tn_VAL_SET_CNF the comparator as well. */
	if (timer->config & T_PERIODIC)
		timer->period = (timer->period & ~mask) | (value & mask);
	if (!(timer->config & T_PERIODIC) || (timer->config & T_SET))
		timer->comparator = (timer->comparator & ~mask) | (value & mask);
	timer->comparator &= width(timer);
	timer->period &= width(timer);
	timer->config &= ~T_SET;
	arm(timer, false);
}

static uint64_t read_register(struct hpet *hpet, uint64_t offset)
{
	struct timer *timer = &hpet->timer[(offset - 0x100) / 0x20 % 4 % TIMERS];

	switch (offset) {
	case 0x000: return CAPABILITIES;
	case 0x010: return hpet->config;
	case 0x020: return hpet->status;
	case 0x0f0: return counter(hpet);
	case 0x100:
	case 0x120:
	case 0x140: return timer->config | T_CAN_PERIOD | T_IS_64BIT | (uint64_t)routes(timer) << 32;
	case 0x108:
	case 0x128:
	case 0x148: return timer->comparator;
	default: return 0;
	}
}

/* A write of the bytes in mask; value has them in their place. */
static void write_register(struct hpet *hpet, uint64_t offset, uint64_t value, uint64_t mask)
{
	struct timer *timer = &hpet->timer[(offset - 0x100) / 0x20 % 4 % TIMERS];

	switch (offset) {
	case 0x010: config_written(hpet, (hpet->config & ~mask) | (value & mask)); break;
	case 0x020:
		for (unsigned i = 0; i < TIMERS; i++) {
			if (!(value & mask & hpet->status & BIT(i)))
				continue;
			hpet->status &= ~BIT(i);
			if (hpet->timer[i].config & T_LEVEL)
				drive(&hpet->timer[i], false);
		}
		break;
	case 0x0f0:
		hpet->counter = (counter(hpet) & ~mask) | (value & mask);
		hpet->start = ticks(hpet);
		arm_all(hpet);
		break;
	case 0x100:
	case 0x120:
	case 0x140: timer_config_written(timer, (timer->config & ~mask) | (value & mask)); break;
	case 0x108:
	case 0x128:
	case 0x148: comparator_written(timer, value, mask); break;
	}
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	return read_register(device, offset & ~UINT64_C(7)) >> 8 * (offset & 7);
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned shift = 8 * (offset & 7);

	write_register(device, offset & ~UINT64_C(7), value << shift, bytes_mask(size) << shift);
}

static const struct device_ops window_ops = {window_read, window_write, 4, 8};

struct hpet *hpet_create(struct bus *bus, struct clock *clock, const struct hpet_wires *wires, const struct log *log)
{
	struct hpet *hpet = xcalloc(1, sizeof(*hpet));

	hpet->clock = clock;
	hpet->wires = *wires;
	hpet->log = log;
	for (unsigned i = 0; i < TIMERS; i++) {
		hpet->timer[i].hpet = hpet;
		hpet->timer[i].number = i;
		deadline_init(&hpet->timer[i].deadline, fire, &hpet->timer[i]);
	}
	bus_add_device(bus, "hpet", 0xfed00000, 0x400, &window_ops, hpet, 10);
	hpet_reset(hpet);
	return hpet;
}

void hpet_destroy(struct hpet *hpet)
{
	for (unsigned i = 0; i < TIMERS; i++)
		clock_cancel(hpet->clock, &hpet->timer[i].deadline);
	free(hpet);
}

void hpet_reset(struct hpet *hpet)
{
	config_written(hpet, 0);
	hpet->counter = hpet->status = 0;
	for (unsigned i = 0; i < TIMERS; i++) {
		struct timer *timer = &hpet->timer[i];

		drive(timer, false);
		timer->config = 0;
		timer->comparator = UINT64_MAX;
		timer->period = 0;
		clock_cancel(hpet->clock, &timer->deadline);
	}
}

void hpet_state(struct hpet *hpet, struct state *state)
{
	state_section(state, "hpet");
	state_var(state, hpet->config);
	state_var(state, hpet->status);
	state_var(state, hpet->counter);
	state_var(state, hpet->start);
	for (unsigned i = 0; i < TIMERS; i++) {
		struct timer *timer = &hpet->timer[i];

		state_var(state, timer->config);
		state_var(state, timer->comparator);
		state_var(state, timer->period);
		state_bool(state, &timer->line);
		clock_deadline_state(hpet->clock, &timer->deadline, state);
	}
}

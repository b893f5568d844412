/*
 * 8254: three counters in six modes.
 *
 * Intel 8254 data sheet, "Mode Definitions", "Counter Latch Command", "Read-Back Command". A counter is brought up to
 * virtual time when someone looks at it or, for counter 0, when its output changes. Everything happens on CLK pulses:
 * what is written between two of them counts from the next.
 */
#include "chipset/pit.h"
#include "base/bits.h"

#include <stdlib.h>

struct counter {
	uint8_t control;  /* RW (5:4), mode (3:1), BCD (0), as written */
	uint16_t written; /* count register: as programmed */
	uint8_t low;	  /* first byte of two */
	bool high_next;	  /* write: the next byte is the high one */
	bool read_high;	  /* read: the same */
	bool has_count;	  /* a count was written since the control word */
	bool null_count;  /* written, not yet in the counting element */
	bool halted;	  /* mode 0 between its two bytes; any mode before its first count */
	bool load;	  /* the next CLK loads the counting element */
	bool armed;	  /* modes 0, 1, 4, 5: the terminal count is still to come */
	bool gate, out;
	uint8_t latched; /* bytes of the latched count still to read, 0: not latched */
	uint16_t latch;
	bool status_latched;
	uint8_t status;
	uint32_t element; /* counting element, 0 to period */
	uint32_t period;  /* what it was loaded with, 1 to 65536 */
};

struct pit {
	struct clock *clock;
	const struct log *log;
	struct irq irq;
	uint64_t ticks; /* CLK pulses that the counters have seen */
	struct counter counter[3];
	struct deadline deadline; /* of counter 0's next change */
};

static unsigned mode(const struct counter *c)
{
	unsigned bits = c->control >> 1 & 7;

	return bits > 5 ? bits - 4 : bits; /* modes 2 and 3 have a don't-care bit */
}

static bool is_bcd(const struct counter *c)
{
	return c->control & 1;
}

static uint32_t modulus(const struct counter *c)
{
	return is_bcd(c) ? 10000 : 65536;
}

static uint32_t programmed(const struct counter *c)
{
	uint32_t value = c->written;

	if (is_bcd(c))
		value = (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
	return value ? value : modulus(c);
}

static uint16_t visible(const struct counter *c)
{
	uint32_t value = c->element % modulus(c);

	if (is_bcd(c))
		value = value / 1000 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10;
	return (uint16_t)value;
}

static void set_out(struct pit *pit, struct counter *c, bool level)
{
	c->out = level;
	if (c == &pit->counter[0])
		irq_set(&pit->irq, level);
}

/* The written count becomes the period. */
static void take_count(struct counter *c)
{
	c->period = programmed(c);
	c->null_count = false;
}

static void load(struct pit *pit, struct counter *c)
{
	c->load = false;
	take_count(c);
	c->element = mode(c) == 3 ? c->period & ~1u : c->period;
	c->armed = true;
	if (mode(c) == 1)
		set_out(pit, c, false);
	else if (mode(c) != 0)
		set_out(pit, c, true);
}

static bool counts(const struct counter *c)
{
	if (c->halted || !c->has_count)
		return false;
	/* Modes 1 and 5 take the gate as a trigger only. */
	return c->gate || mode(c) == 1 || mode(c) == 5;
}

/* CLK pulses until something other than plain counting happens; 0: nothing will. */
static uint64_t until_event(const struct counter *c)
{
	if (c->load)
		return 1;
	if (!counts(c))
		return 0;
	switch (mode(c)) {
	case 2: return c->element > 1 ? c->element - 1 : 1;
	case 3: return max_u64(1, c->element / 2 + (c->out && (c->period & 1)));
	default:
		if (c->armed)
			return max_u64(1, c->element);
		return (mode(c) == 4 || mode(c) == 5) && !c->out ? 1 : 0;
	}
}

static void plain(struct counter *c, uint64_t ticks)
{
	if (mode(c) == 3)
		c->element -= (uint32_t)(2 * ticks);
	else if (mode(c) == 2 || c->armed)
		c->element -= (uint32_t)ticks;
	else
		c->element = (uint32_t)((c->element + modulus(c) - ticks % modulus(c)) % modulus(c));
}

/* The CLK pulse that is until_event() away. */
static void event(struct pit *pit, struct counter *c)
{
	if (c->load) {
		load(pit, c);
		return;
	}
	switch (mode(c)) {
	case 0:
	case 1:
		c->element = 0;
		c->armed = false;
		set_out(pit, c, true);
		break;
	case 2:
		if (c->element > 1) {
			c->element = 1;
			set_out(pit, c, false);
		} else {
			take_count(c);
			c->element = c->period;
			set_out(pit, c, true);
		}
		break;
	case 3:
		take_count(c);
		c->element = c->period & ~1u;
		set_out(pit, c, !c->out);
		break;
	default: /* strobe: low for one CLK */
		if (c->armed) {
			c->element = 0;
			c->armed = false;
			set_out(pit, c, false);
		} else {
			c->element = modulus(c) - 1;
			set_out(pit, c, true);
		}
	}
}

static void advance(struct pit *pit, struct counter *c, uint64_t ticks)
{
	/* Whole periods change nothing: a counter that nobody looked at for long is cheap. */
	if (!c->load && !c->null_count && counts(c) && (mode(c) == 2 || mode(c) == 3) && c != &pit->counter[0])
		ticks %= c->period;
	while (ticks) {
		uint64_t next = until_event(c);

		if (!next) {
			if (counts(c))
				plain(c, ticks);
			return;
		}
		if (ticks < next) {
			plain(c, ticks);
			return;
		}
		event(pit, c);
		ticks -= next;
	}
}

static void catch_up(struct pit *pit)
{
	uint64_t now = clock_ticks(clock_now(pit->clock), PIT_HZ);

	if (now <= pit->ticks)
		return;
	for (unsigned i = 0; i < 3; i++)
		advance(pit, &pit->counter[i], now - pit->ticks);
	pit->ticks = now;
}

static void arm(struct pit *pit)
{
	uint64_t next = until_event(&pit->counter[0]);

	clock_arm(pit->clock, &pit->deadline, next ? clock_when(pit->ticks + next, PIT_HZ) : VTIME_NEVER);
}

static void fire(void *owner)
{
	catch_up(owner);
	arm(owner);
}

static void count_written(struct pit *pit, struct counter *c, uint16_t value)
{
	bool first = !c->has_count;

	c->written = value;
	c->null_count = true;
	c->has_count = true;
	c->halted = false;
	switch (mode(c)) {
	case 0:
		set_out(pit, c, false);
		c->load = true;
		break;
	case 4: c->load = true; break;
	case 2:
	case 3: c->load |= first; break; /* later ones are taken at the end of the (half) period */
	default: break;			 /* taken at the trigger */
	}
	/* A trigger that came before the first count has nothing to start. */
	if (first && (mode(c) == 1 || mode(c) == 5)) {
		c->period = programmed(c);
		c->armed = false;
	}
}

static void counter_write(struct pit *pit, struct counter *c, uint8_t value)
{
	switch (c->control >> 4 & 3) {
	case 1: count_written(pit, c, value); break;
	case 2: count_written(pit, c, (uint16_t)(value << 8)); break;
	case 3:
		if (c->high_next) {
			c->high_next = false;
			count_written(pit, c, (uint16_t)(value << 8 | c->low));
			break;
		}
		c->low = value;
		c->high_next = true;
		if (mode(c) == 0) { /* the first byte stops the counting */
			c->halted = true;
			c->load = false;
			set_out(pit, c, false);
		}
		break;
	}
}

static uint8_t counter_read(struct counter *c)
{
	unsigned access = c->control >> 4 & 3;
	uint16_t value = c->latched ? c->latch : visible(c);
	bool high = access == 2 || (access == 3 && c->read_high);

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (access == 3)
		c->read_high = !c->read_high;
	if (c->latched)
		c->latched--;
	return (uint8_t)(high ? value >> 8 : value);
}

static void latch_count(struct counter *c)
{
	if (c->latched)
		return; /* a second latch before the first was read is ignored */
	c->latch = visible(c);
	c->latched = (c->control >> 4 & 3) == 3 ? 2 : 1;
}

static void latch_status(struct counter *c)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(c->out << 7 | c->null_count << 6 | (c->control & 0x3f));
	c->status_latched = true;
}

static void control_written(struct pit *pit, struct counter *c, uint8_t value)
{
	bool gate = c->gate, out = c->out;

	*c = (struct counter){.control = value & 0x3f,
			      .gate = gate,
			      .out = out,
			      .null_count = true,
			      .halted = true,
			      .element = c->element,
			      .period = 65536};
	set_out(pit, c, mode(c) != 0);
}

static void control_write(struct pit *pit, uint8_t value)
{
	unsigned select = value >> 6;

	if (select == 3) { /* read-back: bits 5 and 4 are active low */
		for (unsigned i = 0; i < 3; i++) {
			if (!(value >> (i + 1) & 1))
				continue;
			if (!(value & 0x20))
				latch_count(&pit->counter[i]);
			if (!(value & 0x10))
				latch_status(&pit->counter[i]);
		}
	} else if (!(value & 0x30)) {
		latch_count(&pit->counter[select]);
	} else {
		control_written(pit, &pit->counter[select], value);
	}
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct pit *pit = device;

	catch_up(pit);
	return offset < 3 ? counter_read(&pit->counter[offset]) : 0xff; /* the control word cannot be read */
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *pit = device;

	catch_up(pit);
	if (offset < 3)
		counter_write(pit, &pit->counter[offset], (uint8_t)value);
	else
		control_write(pit, (uint8_t)value);
	arm(pit);
}

void pit_set_gate2(struct pit *pit, bool gate)
{
	struct counter *c = &pit->counter[2];
	bool rising = gate && !c->gate;

	catch_up(pit);
	c->gate = gate;
	switch (mode(c)) {
	case 1:
	case 5: c->load |= rising && c->has_count; break;
	case 2:
	case 3:
		c->load |= rising && c->has_count;
		if (!gate)
			set_out(pit, c, true); /* at once */
		break;
	default: break;
	}
}

bool pit_out2(struct pit *pit)
{
	catch_up(pit);
	return pit->counter[2].out;
}

static const struct device_ops port_ops = {port_read, port_write, 1, 1};

struct pit *pit_create(struct bus *bus, struct clock *clock, const struct irq *irq, const struct log *log)
{
	struct pit *pit = xcalloc(1, sizeof(*pit));

	pit->clock = clock;
	pit->log = log;
	pit->irq = *irq;
	deadline_init(&pit->deadline, fire, pit);
	bus_add_ports(bus, "pit", 0x40, 4, &port_ops, pit);
	pit_reset(pit);
	return pit;
}

void pit_destroy(struct pit *pit)
{
	clock_cancel(pit->clock, &pit->deadline);
	free(pit);
}

void pit_reset(struct pit *pit)
{
	/* The data sheet leaves all undefined. Here: mode 0 without a count, so that nothing interrupts. */
	pit->ticks = clock_ticks(clock_now(pit->clock), PIT_HZ);
	for (unsigned i = 0; i < 3; i++) {
		pit->counter[i] = (struct counter){
			.control = 0x30, .halted = true, .null_count = true, .gate = i != 2, .period = 65536};
		set_out(pit, &pit->counter[i], false);
	}
	arm(pit);
}

static void counter_state(struct counter *c, struct state *state)
{
	state_var(state, c->control);
	state_var(state, c->written);
	state_var(state, c->low);
	state_bool(state, &c->high_next);
	state_bool(state, &c->read_high);
	state_bool(state, &c->has_count);
	state_bool(state, &c->null_count);
	state_bool(state, &c->halted);
	state_bool(state, &c->load);
	state_bool(state, &c->armed);
	state_bool(state, &c->gate);
	state_bool(state, &c->out);
	state_var(state, c->latched);
	state_var(state, c->latch);
	state_bool(state, &c->status_latched);
	state_var(state, c->status);
	state_var(state, c->element);
	state_var(state, c->period);
	if (state_restoring(state) && (!c->period || c->period > 65536 || c->element > 65536))
		state_refuse(state, "the saved state has a timer count out of range");
}

void pit_state(struct pit *pit, struct state *state)
{
	state_section(state, "pit");
	state_var(state, pit->ticks);
	for (unsigned i = 0; i < 3; i++)
		counter_state(&pit->counter[i], state);
	clock_deadline_state(pit->clock, &pit->deadline, state);
}

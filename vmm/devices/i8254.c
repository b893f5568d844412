/*
 * The 8254: Intel 82C54 data sheet, "Mode Definitions" and "Programming the 82C54". A channel is a function of the time since it was loaded; nothing
 * happens from tick to tick.
 *
 * In mode 3 a new count is taken at the end of the period, not of the half. What interrupt line 0 shows are the rises of OUT 0 that counting makes,
 * which is what interrupts; it stays high until shortly before the next, so that a late acknowledgement finds its request.
 */
#include "devices/i8254.h"

#include "devices/clock.h"
#include "guest/vm.h"

enum { CONTROL_BCD = 0x01, CONTROL_MODE_SHIFT = 1, CONTROL_RW_SHIFT = 4, CONTROL_KEPT = 0x3f, CONTROL_CHANNEL_SHIFT = 6 };
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };
enum { READ_BACK = 3 /* in place of a channel */, READ_BACK_NO_COUNT = 0x20, READ_BACK_NO_STATUS = 0x10 };
enum { STATUS_OUT = 0x80, STATUS_NULL_COUNT = 0x40 };
enum { PORT61_GATE2 = 0x01, PORT61_SPEAKER = 0x02, PORT61_REFRESH = 0x10, PORT61_OUT2 = 0x20, REFRESH_NS = 15085 };

/* Periods of a few ticks would leave no time between interrupts. Of such rises only some are seen. */
enum { SHORTEST_PERIOD_NS = 100000 };

static unsigned mode_of(const struct i8254_channel *c)
{
	unsigned mode = c->control >> CONTROL_MODE_SHIFT & 7;

	return mode > 5 ? mode - 4 : mode; /* the highest bit of modes 2 and 3 is not looked at */
}

static unsigned rw_of(const struct i8254_channel *c)
{
	return c->control >> CONTROL_RW_SHIFT & 3;
}

static bool is_periodic(const struct i8254_channel *c)
{
	return mode_of(c) == 2 || mode_of(c) == 3;
}

/* Modes 1 and 5: GATE's rise loads the counter, and its level means nothing. In the others a low GATE stops it. */
static bool is_triggered(const struct i8254_channel *c)
{
	return mode_of(c) == 1 || mode_of(c) == 5;
}

static bool is_stopped(const struct i8254_channel *c)
{
	return !c->gate && !is_triggered(c);
}

/* Ticks since the counter was loaded. */
static uint64_t passed(const struct i8254_channel *c, uint64_t tick)
{
	if (is_stopped(c))
		return c->stopped;
	return tick > c->start ? tick - c->start : 0; /* loading takes a tick */
}

/* The end of a period loads a count that was written within it. */
static void end_period(struct i8254_channel *c, uint64_t tick)
{
	if (!is_periodic(c) || !c->next || is_stopped(c) || passed(c, tick) < c->count)
		return;
	c->start += c->count;
	c->count = c->next;
	c->next = 0;
}

static void load(struct i8254_channel *c, uint64_t tick)
{
	if (c->next) {
		c->count = c->next;
		c->next = 0;
	}
	c->counting = true;
	c->start = tick + 1;
	c->stopped = 0;
}

static bool out(const struct i8254_channel *c, uint64_t tick)
{
	uint64_t n = passed(c, tick);

	if (!c->counting)
		return mode_of(c) != 0;
	switch (mode_of(c)) {
	case 0:
	case 1:
		return n >= c->count;
	case 2:
		return is_stopped(c) || n % c->count != c->count - 1;
	case 3:
		return is_stopped(c) || n % c->count < (c->count + 1) / 2;
	default: /* 4, 5: low for one tick, at the end */
		return n != c->count;
	}
}

static uint16_t to_bcd(uint32_t n)
{
	return (uint16_t)(n / 1000 % 10 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10);
}

static uint32_t from_bcd(uint16_t n)
{
	return (n >> 12) * 1000u + (n >> 8 & 15) * 100u + (n >> 4 & 15) * 10u + (n & 15);
}

/* The counting element. */
static uint16_t value(const struct i8254_channel *c, uint64_t tick)
{
	uint64_t n = passed(c, tick);
	uint32_t wrap = c->control & CONTROL_BCD ? 10000 : 65536, left;

	if (!c->counting)
		left = c->count;
	else if (mode_of(c) == 2)
		left = c->count - (uint32_t)(n % c->count);
	else if (mode_of(c) == 3) /* counts by two, twice in a period */
		left = (c->count & ~1u) - 2 * (uint32_t)(n % c->count % ((c->count + 1) / 2));
	else
		left = (uint32_t)((c->count + wrap - n % wrap) % wrap); /* goes on after the end */
	return c->control & CONTROL_BCD ? to_bcd(left) : (uint16_t)left;
}

/* The first tick after the given one at which counting makes OUT rise; NEVER. For channel 0, whose GATE is high. */
static uint64_t next_rise(const struct i8254_channel *c, uint64_t tick)
{
	uint64_t rise = c->start + c->count + (mode_of(c) == 4), period = c->next ? c->next : c->count;

	if (!c->counting || is_triggered(c))
		return NEVER;
	if (tick < rise)
		return rise;
	return is_periodic(c) ? rise + ((tick - rise) / period + 1) * period : NEVER;
}

uint64_t i8254_deadline(const struct vm *vm)
{
	const struct i8254 *pit = &vm->devices.pit;
	uint64_t tick = next_rise(&pit->channels[0], pit->seen);

	if (tick == NEVER)
		return NEVER;
	if (is_periodic(&pit->channels[0]))
		return max_u64(clock_ns(tick, I8254_HZ), pit->rise_ns + SHORTEST_PERIOD_NS);
	return clock_ns(tick, I8254_HZ);
}

void i8254_tick(struct vm *vm, uint64_t now)
{
	struct i8254 *pit = &vm->devices.pit;
	uint64_t tick = clock_ticks(now, I8254_HZ);

	if (now >= i8254_deadline(vm)) { /* one rise, however many were missed */
		pit->seen = tick;
		pit->rise_ns = now;
		irq_set(vm, 0, false);
		irq_set(vm, 0, true);
	}
	for (unsigned i = 0; i < 3; i++)
		end_period(&pit->channels[i], tick);
}

void i8254_reset(struct vm *vm)
{
	struct i8254 *pit = &vm->devices.pit;

	*pit = (struct i8254){0};
	for (unsigned i = 0; i < 3; i++) /* a count of 1 stands for one that was never written: nothing divides by 0 */
		pit->channels[i] = (struct i8254_channel){.control = RW_BOTH << CONTROL_RW_SHIFT, .count = 1, .gate = i != 2};
}

static void set_gate2(struct i8254_channel *c, bool gate, uint64_t tick)
{
	if (gate == c->gate)
		return;
	if (!gate) {
		c->stopped = passed(c, tick);
		c->gate = false;
		return;
	}
	c->gate = true;
	if (is_triggered(c) ? c->next || c->counting : is_periodic(c) && c->counting)
		load(c, tick);
	else
		c->start = tick - c->stopped;
}

/* A whole count has been written. */
static void write_count(struct vm *vm, struct i8254_channel *c, uint16_t count, uint64_t tick)
{
	uint32_t n = c->control & CONTROL_BCD ? from_bcd(count) : count;

	c->next = n ? n : c->control & CONTROL_BCD ? 10000 : 65536;
	if (is_periodic(c) && c->counting) {
		c->start += passed(c, tick) / c->count * c->count; /* of this period, whose end loads the new count */
		return;
	}
	if (is_triggered(c))
		return;
	load(c, tick);
	if (c == &vm->devices.pit.channels[0] && mode_of(c) == 0)
		irq_set(vm, 0, false);
}

static void write_channel(struct vm *vm, struct i8254_channel *c, uint8_t byte, uint64_t tick)
{
	switch (rw_of(c)) {
	case RW_LOW:
		write_count(vm, c, byte, tick);
		break;
	case RW_HIGH:
		write_count(vm, c, (uint16_t)(byte << 8), tick);
		break;
	default:
		if (c->write_high) {
			write_count(vm, c, (uint16_t)(byte << 8 | c->low), tick);
		} else {
			c->low = byte;
			if (mode_of(c) == 0) /* the first byte stops it: "Mode 0" */
				c->counting = false;
		}
		c->write_high = !c->write_high;
	}
}

static void latch_count(struct i8254_channel *c, uint64_t tick)
{
	if (c->count_latched)
		return;
	c->latch = value(c, tick);
	c->count_latched = true;
}

static void latch_status(struct i8254_channel *c, uint64_t tick)
{
	bool null_count = !c->counting || c->next || tick < c->start;

	if (c->status_latched)
		return;
	c->status = (uint8_t)(c->control | (out(c, tick) ? STATUS_OUT : 0) | (null_count ? STATUS_NULL_COUNT : 0));
	c->status_latched = true;
}

static void write_control(struct vm *vm, uint8_t byte, uint64_t tick)
{
	struct i8254_channel *channels = vm->devices.pit.channels, *c;
	unsigned n = byte >> CONTROL_CHANNEL_SHIFT;

	if (n == READ_BACK) {
		for (unsigned i = 0; i < 3; i++) {
			if (!(byte >> (i + 1) & 1))
				continue;
			if (!(byte & READ_BACK_NO_COUNT))
				latch_count(&channels[i], tick);
			if (!(byte & READ_BACK_NO_STATUS))
				latch_status(&channels[i], tick);
		}
		return;
	}
	c = &channels[n];
	if ((byte >> CONTROL_RW_SHIFT & 3) == RW_LATCH) {
		latch_count(c, tick);
		return;
	}
	*c = (struct i8254_channel){.control = byte & CONTROL_KEPT, .count = c->count, .gate = c->gate};
	if (n == 0)
		irq_set(vm, 0, false);
}

void i8254_write(struct vm *vm, uint16_t port, unsigned size, uint32_t byte, uint64_t now)
{
	uint64_t tick = clock_ticks(now, I8254_HZ);
	unsigned n = port & 3;

	i8254_tick(vm, now); /* what was programmed before ends here */
	if (n == 3)
		write_control(vm, (uint8_t)byte, tick);
	else
		write_channel(vm, &vm->devices.pit.channels[n], (uint8_t)byte, tick);
}

/* "Read Operations": status before count, and of a count that is read in two halves the low one first. */
uint32_t i8254_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	struct i8254_channel *c = &vm->devices.pit.channels[port & 3];
	uint16_t count;
	bool high;

	if ((port & 3) == 3)
		return 0xff; /* the control word cannot be read */
	i8254_tick(vm, now);
	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	count = c->count_latched ? c->latch : value(c, clock_ticks(now, I8254_HZ));
	high = rw_of(c) == RW_HIGH || (rw_of(c) == RW_BOTH && c->read_high);
	if (rw_of(c) == RW_BOTH)
		c->read_high = !c->read_high;
	if (!c->read_high)
		c->count_latched = false;
	return high ? count >> 8 : count & 0xff;
}

uint32_t port61_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	struct i8254 *pit = &vm->devices.pit;
	uint32_t byte = pit->speaker ? PORT61_SPEAKER : 0;

	i8254_tick(vm, now);
	if (pit->channels[2].gate)
		byte |= PORT61_GATE2;
	if (out(&pit->channels[2], clock_ticks(now, I8254_HZ)))
		byte |= PORT61_OUT2;
	if (now / REFRESH_NS & 1) /* what memory refresh showed there */
		byte |= PORT61_REFRESH;
	return byte;
}

void port61_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	struct i8254 *pit = &vm->devices.pit;

	i8254_tick(vm, now);
	pit->speaker = value & PORT61_SPEAKER;
	set_gate2(&pit->channels[2], value & PORT61_GATE2, clock_ticks(now, I8254_HZ));
}

/*
 * RTC: calendar, alarm, periodic and update interrupts, CMOS bytes.
 *
 * MC146818A data sheet, "Programming", "Update Cycle"; ICH9 datasheet, "RTC Registers". The registers hold the time;
 * seconds that have passed are added when somebody looks or when an interrupt is due. Not modelled: daylight saving
 * (the ICH9 has none), the square wave output, test divider settings.
 */
#include "chipset/rtc.h"
#include "base/bits.h"

#include <stdlib.h>

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D,
	CENTURY = 0x32
};

#define A_UIP	  BIT(7)
#define A_DIVIDER BITS(6, 4)
#define A_RATE	  BITS(3, 0)
#define B_SET	  BIT(7)
#define B_PIE	  BIT(6)
#define B_AIE	  BIT(5)
#define B_UIE	  BIT(4)
#define B_BINARY  BIT(2)
#define B_24H	  BIT(1)
#define C_IRQF	  BIT(7)
#define C_PF	  BIT(6)
#define C_AF	  BIT(5)
#define C_UF	  BIT(4)
#define D_VRT	  BIT(7)

#define DAY_SECONDS 86400
#define UIP_NS \
	(244141 + 1984000) /* UIP leads by 244 us and stays during the update of 1984 us (32.768 kHz time base) */

struct rtc {
	struct clock *clock;
	const struct log *log;
	struct irq irq;
	uint8_t index[2]; /* of the two banks; bit 7 of the first masks NMI */
	uint8_t cmos[256];
	vtime_t epoch;	  /* of the divider chain: updates are whole seconds after it */
	uint64_t seconds; /* updates since epoch that are in the registers, or were inhibited */
	uint64_t periods; /* periodic ticks since epoch that have been seen */
	struct deadline deadline;
};

static bool runs(const struct rtc *rtc)
{
	return bits_get(rtc->cmos[REG_A], 6, 4) == 2;
}

/* "Periodic Interrupt Rate": 0 when off. */
static unsigned rate_hz(const struct rtc *rtc)
{
	unsigned select = rtc->cmos[REG_A] & A_RATE;

	if (!select || !runs(rtc))
		return 0;
	return 32768u >> ((select <= 2 ? select + 7 : select) - 1);
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15u);
}

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
	return (uint8_t)(rtc->cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode_hours(const struct rtc *rtc, uint8_t value)
{
	unsigned hours;

	if (rtc->cmos[REG_B] & B_24H)
		return decode(rtc, value);
	hours = decode(rtc, value & 0x7f) % 12;
	return value & 0x80 ? hours + 12 : hours;
}

static uint8_t encode_hours(const struct rtc *rtc, unsigned hours)
{
	if (rtc->cmos[REG_B] & B_24H)
		return encode(rtc, hours);
	return (uint8_t)(encode(rtc, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? 0x80 : 0));
}

/* Proleptic Gregorian days since 1970-01-01; month 1 to 12 or beyond. */
static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
	int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400;
	unsigned of_era = (unsigned)(y - era * 400), shifted = (month + 9) % 12;
	unsigned day_of_year = (153 * shifted + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719468;
}

static void date_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned of_era = (unsigned)(z - era * 146097);
	unsigned years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned day_of_year = of_era - (365 * years + years / 4 - years / 100), shifted = (5 * day_of_year + 2) / 153;

	*day = day_of_year - (153 * shifted + 2) / 5 + 1;
	*month = shifted < 10 ? shifted + 3 : shifted - 9;
	*year = years + era * 400 + (*month <= 2);
}

/* Seconds since 1970 that the registers show; what no calendar has is carried over. */
static int64_t get_time(const struct rtc *rtc)
{
	const uint8_t *r = rtc->cmos;
	int64_t days = days_from_date(decode(rtc, r[CENTURY]) * 100 + decode(rtc, r[YEAR]), decode(rtc, r[MONTH]),
				      decode(rtc, r[DAY]));

	return days * DAY_SECONDS + decode_hours(rtc, r[HOURS]) * 3600 + decode(rtc, r[MINUTES]) * 60 +
	       decode(rtc, r[SECONDS]);
}

static void set_time(struct rtc *rtc, int64_t time)
{
	int64_t days = (time >= 0 ? time : time - DAY_SECONDS + 1) / DAY_SECONDS, year;
	unsigned of_day = (unsigned)(time - days * DAY_SECONDS), month, day;
	uint8_t *r = rtc->cmos;

	date_from_days(days, &year, &month, &day);
	r[SECONDS] = encode(rtc, of_day % 60);
	r[MINUTES] = encode(rtc, of_day / 60 % 60);
	r[HOURS] = encode_hours(rtc, of_day / 3600);
	r[DAY] = encode(rtc, day);
	r[MONTH] = encode(rtc, month);
	r[YEAR] = encode(rtc, (unsigned)(year % 100));
	r[CENTURY] = encode(rtc, (unsigned)(year / 100 % 100));
}

/* An alarm byte of C0H or more matches everything. */
static bool matches(const struct rtc *rtc, uint8_t alarm, unsigned value, bool hours)
{
	return alarm >= 0xc0 || (hours ? decode_hours(rtc, alarm) : decode(rtc, alarm)) == value;
}

/* Seconds, 1 to 86400, from a time of day to the next match of the alarm; 0: it can never match. */
static unsigned until_alarm(const struct rtc *rtc, unsigned of_day)
{
	const uint8_t *r = rtc->cmos;

	for (unsigned i = 1; i <= DAY_SECONDS; i++) {
		unsigned then = (of_day + i) % DAY_SECONDS;

		if (!matches(rtc, r[HOURS_ALARM], then / 3600, true))
			i += 3599 - then % 3600;
		else if (!matches(rtc, r[MINUTES_ALARM], then / 60 % 60, false))
			i += 59 - then % 60;
		else if (matches(rtc, r[SECONDS_ALARM], then % 60, false))
			return i;
	}
	return 0;
}

static unsigned time_of_day(const struct rtc *rtc)
{
	int64_t time = get_time(rtc) % DAY_SECONDS;

	return (unsigned)(time < 0 ? time + DAY_SECONDS : time);
}

static vtime_t since_epoch(const struct rtc *rtc)
{
	return clock_now(rtc->clock) - rtc->epoch;
}

static void update_irq(struct rtc *rtc)
{
	uint8_t *c = &rtc->cmos[REG_C];

	*c &= ~C_IRQF;
	if (*c & rtc->cmos[REG_B] & (C_PF | C_AF | C_UF))
		*c |= C_IRQF;
	irq_set(&rtc->irq, *c & C_IRQF);
}

static void add_seconds(struct rtc *rtc, uint64_t count)
{
	unsigned of_day = time_of_day(rtc), alarm = until_alarm(rtc, of_day);
	int64_t before = get_time(rtc);
	uint64_t days = (of_day + count) / DAY_SECONDS;

	if (alarm && alarm <= count)
		rtc->cmos[REG_C] |= C_AF;
	rtc->cmos[REG_C] |= C_UF;
	set_time(rtc, before + (int64_t)count);
	rtc->cmos[WEEKDAY] = encode(rtc, (unsigned)((decode(rtc, rtc->cmos[WEEKDAY]) + 6 + days) % 7) + 1);
}

static void catch_up(struct rtc *rtc)
{
	uint64_t seconds, periods;

	if (!runs(rtc))
		return;
	seconds = since_epoch(rtc) / NS_PER_SECOND;
	if (seconds > rtc->seconds) {
		if (!(rtc->cmos[REG_B] & B_SET))
			add_seconds(rtc, seconds - rtc->seconds);
		rtc->seconds = seconds;
	}
	if (rate_hz(rtc)) {
		periods = clock_ticks(since_epoch(rtc), rate_hz(rtc));
		if (periods > rtc->periods)
			rtc->cmos[REG_C] |= C_PF;
		rtc->periods = periods;
	}
	update_irq(rtc);
}

/* The next instant at which an enabled interrupt can come that is not pending yet. */
static void arm(struct rtc *rtc)
{
	uint8_t enabled = rtc->cmos[REG_B] & ~rtc->cmos[REG_C] & (B_PIE | B_AIE | B_UIE);
	vtime_t at = VTIME_NEVER;

	if (runs(rtc) && rate_hz(rtc) && (enabled & B_PIE))
		at = rtc->epoch + clock_when(rtc->periods + 1, rate_hz(rtc));
	if (runs(rtc) && !(rtc->cmos[REG_B] & B_SET)) {
		unsigned alarm = enabled & B_AIE ? until_alarm(rtc, time_of_day(rtc)) : 0;

		if (alarm)
			at = min_u64(at, rtc->epoch + (rtc->seconds + alarm) * NS_PER_SECOND);
		if (enabled & B_UIE)
			at = min_u64(at, rtc->epoch + (rtc->seconds + 1) * NS_PER_SECOND);
	}
	clock_arm(rtc->clock, &rtc->deadline, at);
}

static void fire(void *owner)
{
	catch_up(owner);
	arm(owner);
}

static uint8_t read_register(struct rtc *rtc, uint8_t index)
{
	uint8_t value;

	catch_up(rtc);
	value = rtc->cmos[index];
	switch (index) {
	case REG_A:
		if (runs(rtc) && !(rtc->cmos[REG_B] & B_SET) &&
		    since_epoch(rtc) % NS_PER_SECOND >= NS_PER_SECOND - UIP_NS)
			value |= A_UIP;
		break;
	case REG_C:
		rtc->cmos[REG_C] = 0;
		update_irq(rtc);
		arm(rtc);
		break;
	}
	return value;
}

static void write_a(struct rtc *rtc, uint8_t value)
{
	bool ran = runs(rtc);

	rtc->cmos[REG_A] = value & ~A_UIP;
	if (!ran && runs(rtc)) {
		/* "the first update cycle begins one-half second later" */
		rtc->epoch = clock_now(rtc->clock) - NS_PER_SECOND / 2; /* may be before 0: all is modulo 2^64 */
		rtc->seconds = 0;
	}
	rtc->periods = rate_hz(rtc) ? clock_ticks(since_epoch(rtc), rate_hz(rtc)) : 0;
}

static void write_register(struct rtc *rtc, uint8_t index, uint8_t value)
{
	catch_up(rtc);
	switch (index) {
	case REG_A: write_a(rtc, value); break;
	case REG_B:
		if (value & B_SET)
			value &= ~B_UIE;
		rtc->cmos[REG_B] = value;
		break;
	case REG_C:
	case REG_D: break; /* read-only */
	default: rtc->cmos[index] = value; break;
	}
	update_irq(rtc);
	arm(rtc);
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct rtc *rtc = device;
	unsigned bank = (unsigned)offset / 2;

	if (!(offset & 1))
		return bank ? rtc->index[1] : 0xff; /* 70H is write-only */
	return read_register(rtc, (uint8_t)((rtc->index[bank] & 0x7f) + 0x80 * bank));
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct rtc *rtc = device;
	unsigned bank = (unsigned)offset / 2;

	if (offset & 1)
		write_register(rtc, (uint8_t)((rtc->index[bank] & 0x7f) + 0x80 * bank), (uint8_t)value);
	else
		rtc->index[bank] = (uint8_t)value;
}

static const struct device_ops port_ops = {port_read, port_write, 1, 1};

struct rtc *rtc_create(struct bus *bus, struct clock *clock, const struct irq *irq, int64_t base, const struct log *log)
{
	struct rtc *rtc = xcalloc(1, sizeof(*rtc));
	int64_t days = (base >= 0 ? base : base - DAY_SECONDS + 1) / DAY_SECONDS;

	rtc->clock = clock;
	rtc->log = log;
	rtc->irq = *irq;
	rtc->cmos[REG_A] = 0x26; /* 32.768 kHz, 1024 Hz */
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VRT;
	set_time(rtc, base);
	rtc->cmos[WEEKDAY] = (uint8_t)(((days + 4) % 7 + 7) % 7 + 1); /* 1 is Sunday; 1970-01-01 was a Thursday */
	rtc->seconds = clock_now(clock) / NS_PER_SECOND;
	deadline_init(&rtc->deadline, fire, rtc);
	bus_add_ports(bus, "rtc", 0x70, 4, &port_ops, rtc);
	return rtc;
}

void rtc_destroy(struct rtc *rtc)
{
	clock_cancel(rtc->clock, &rtc->deadline);
	free(rtc);
}

void rtc_reset(struct rtc *rtc)
{
	catch_up(rtc);
	rtc->index[0] = rtc->index[1] = 0;
	rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | BIT(3));
	rtc->cmos[REG_C] = 0;
	update_irq(rtc);
	arm(rtc);
}

void rtc_state(struct rtc *rtc, struct state *state)
{
	state_section(state, "rtc");
	state_var(state, rtc->index);
	state_var(state, rtc->cmos);
	state_var(state, rtc->epoch);
	state_var(state, rtc->seconds);
	state_var(state, rtc->periods);
	clock_deadline_state(rtc->clock, &rtc->deadline, state);
}

void rtc_set_cmos(struct rtc *rtc, uint8_t index, uint8_t value)
{
	if (index > REG_D)
		rtc->cmos[index] = value;
}

uint8_t rtc_get_cmos(struct rtc *rtc, uint8_t index)
{
	catch_up(rtc);
	return rtc->cmos[index];
}

bool rtc_nmi_masked(const struct rtc *rtc)
{
	return rtc->index[0] & 0x80;
}

/*
 * The real-time clock: Motorola MC146818A data sheet. The bytes that a guest reads are the clock, as in the chip: every second they are counted on,
 * in the format that register B asks for. Nothing happens between looks; sync() makes up for the time since the last.
 *
 * Not modelled: daylight saving (DSE) and the square wave (SQWE), whose bits are only kept.
 */
#include "devices/rtc.h"

#include "devices/clock.h"
#include "guest/vm.h"

enum { A_UIP = 0x80, A_DV = 0x70, A_DV_32KHZ = 0x20, A_RS = 0x0f, A_RS_1024HZ = 6 };
enum { B_SET = 0x80, B_UIE = 0x10 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, C_FLAGS = 0x70 /* as in B, where they enable */ };
enum { D_VRT = 0x80 };
enum { HOURS_PM = 0x80, ALARM_ANY = 0xc0 /* from there on: matches all */ };

enum { HZ = 32768, UPDATE_TICKS = 73 /* "Update Cycle": UIP is 1 for 244 us before it and the 1984 us of it */ };
enum { RTC_LINE = 8, LONGEST_SYNC = 3600 * HZ /* counting on takes a step for each second: never too many at once */ };

static unsigned decode(const struct rtc *rtc, unsigned index)
{
	uint8_t byte = rtc->bytes[index];

	return rtc->bytes[RTC_B] & RTC_B_DM_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode(const struct rtc *rtc, unsigned n)
{
	return (uint8_t)(rtc->bytes[RTC_B] & RTC_B_DM_BINARY ? n : n / 10 << 4 | n % 10);
}

/* Counts a byte on; true if it begins anew. What was written there may be anything. */
static bool count_on(struct rtc *rtc, unsigned index, unsigned first, unsigned last)
{
	unsigned n = decode(rtc, index);

	rtc->bytes[index] = encode(rtc, n < last ? n + 1 : first);
	return n >= last;
}

/* In the 12-hour format: 12, 1, ... 11 with bit 7 clear, then the same with bit 7 set. */
static bool count_hours(struct rtc *rtc)
{
	uint8_t afternoon = rtc->bytes[RTC_HOURS] & HOURS_PM;

	if (rtc->bytes[RTC_B] & RTC_B_24H)
		return count_on(rtc, RTC_HOURS, 0, 23);
	rtc->bytes[RTC_HOURS] ^= afternoon;
	count_on(rtc, RTC_HOURS, 1, 12);
	if (decode(rtc, RTC_HOURS) == 12)
		afternoon ^= HOURS_PM;
	rtc->bytes[RTC_HOURS] |= afternoon;
	return decode(rtc, RTC_HOURS) == 12;
}

static unsigned days_in_month(const struct rtc *rtc)
{
	unsigned month = decode(rtc, RTC_MONTH), year = decode(rtc, RTC_CENTURY) * 100 + decode(rtc, RTC_YEAR);

	if (month == 2)
		return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
	return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static void count_second(struct rtc *rtc)
{
	if (!count_on(rtc, RTC_SECONDS, 0, 59) || !count_on(rtc, RTC_MINUTES, 0, 59) || !count_hours(rtc))
		return;
	count_on(rtc, RTC_DAY_OF_WEEK, 1, 7);
	if (count_on(rtc, RTC_DAY, 1, days_in_month(rtc)) && count_on(rtc, RTC_MONTH, 1, 12) && count_on(rtc, RTC_YEAR, 0, 99))
		count_on(rtc, RTC_CENTURY, 0, 99);
}

/* "Alarm Interrupt": of seconds, minutes and hours, those that are not ALARM_ANY. */
static bool alarm_matches(const struct rtc *rtc)
{
	for (unsigned i = RTC_SECONDS; i <= RTC_HOURS; i += 2)
		if (rtc->bytes[i + 1] < ALARM_ANY && rtc->bytes[i + 1] != rtc->bytes[i])
			return false;
	return true;
}

/* The divider chain runs: "DV". */
static bool is_running(const struct rtc *rtc)
{
	return (rtc->bytes[RTC_A] & A_DV) == A_DV_32KHZ;
}

/* "Periodic Interrupt": in ticks; 0: off. */
static unsigned period(const struct rtc *rtc)
{
	unsigned rs = rtc->bytes[RTC_A] & A_RS;

	return rs == 0 ? 0 : rs <= 2 ? 64u << rs : 1u << (rs - 1);
}

/* "Register C": the flags, and from those that are enabled the interrupt. */
static void update_line(struct vm *vm)
{
	uint8_t *bytes = vm->devices.rtc.bytes;

	bytes[RTC_C] &= C_FLAGS;
	if (bytes[RTC_B] & bytes[RTC_C])
		bytes[RTC_C] |= C_IRQF;
	irq_set(vm, RTC_LINE, bytes[RTC_C] & C_IRQF);
}

static void sync(struct vm *vm, uint64_t now)
{
	struct rtc *rtc = &vm->devices.rtc;
	uint64_t before = rtc->ticks;

	if (!is_running(rtc))
		return;
	rtc->ticks = clock_ticks(now - rtc->epoch, HZ);
	if (period(rtc) && rtc->ticks / period(rtc) != before / period(rtc))
		rtc->bytes[RTC_C] |= C_PF;
	if (!(rtc->bytes[RTC_B] & B_SET)) {
		for (uint64_t n = rtc->ticks / HZ - before / HZ; n > 0; n--) {
			count_second(rtc);
			rtc->bytes[RTC_C] |= C_UF | (alarm_matches(rtc) ? C_AF : 0);
		}
	}
	update_line(vm);
}

void rtc_reset(struct vm *vm)
{
	struct rtc *rtc = &vm->devices.rtc;

	*rtc = (struct rtc){0};
	machine_clock(rtc->bytes);
	rtc->bytes[RTC_A] = A_DV_32KHZ | A_RS_1024HZ;
	rtc->bytes[RTC_B] &= RTC_B_DM_BINARY | RTC_B_24H;
	rtc->bytes[RTC_D] = D_VRT;
	rtc->epoch = vm_time(vm);
}

void rtc_tick(struct vm *vm, uint64_t now)
{
	sync(vm, now);
}

uint64_t rtc_deadline(const struct vm *vm)
{
	const struct rtc *rtc = &vm->devices.rtc;
	uint8_t awaited = rtc->bytes[RTC_B] & ~rtc->bytes[RTC_C];
	uint64_t next = rtc->ticks + LONGEST_SYNC;

	if (!is_running(rtc))
		return NEVER;
	if ((awaited & C_PF) && period(rtc))
		next = (rtc->ticks / period(rtc) + 1) * period(rtc);
	if ((awaited & (C_AF | C_UF)) && !(rtc->bytes[RTC_B] & B_SET))
		next = min_u64(next, (rtc->ticks / HZ + 1) * HZ);
	return rtc->epoch + clock_ns(next, HZ);
}

uint32_t rtc_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	struct rtc *rtc = &vm->devices.rtc;
	uint8_t byte;

	if (!(port & 1))
		return 0xff; /* the index cannot be read */
	sync(vm, now);
	byte = rtc->bytes[rtc->index];
	if (rtc->index == RTC_A && is_running(rtc) && !(rtc->bytes[RTC_B] & B_SET) && rtc->ticks % HZ >= HZ - UPDATE_TICKS)
		byte |= A_UIP;
	if (rtc->index == RTC_C) {
		rtc->bytes[RTC_C] = 0;
		update_line(vm);
	}
	return byte;
}

/* "DV": the chain starts half a second before an update. */
static void write_a(struct rtc *rtc, uint8_t value, uint64_t now)
{
	bool was_running = is_running(rtc);

	rtc->bytes[RTC_A] = value & ~A_UIP;
	if (!was_running && is_running(rtc)) {
		rtc->epoch = now - SECOND / 2;
		rtc->ticks = HZ / 2;
	}
}

void rtc_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	struct rtc *rtc = &vm->devices.rtc;

	if (!(port & 1)) {
		rtc->index = value & 0x7f; /* bit 7, on PCs, masks NMI: there is none */
		return;
	}
	sync(vm, now);
	switch (rtc->index) {
	case RTC_A:
		write_a(rtc, (uint8_t)value, now);
		break;
	case RTC_B:
		rtc->bytes[RTC_B] = (uint8_t)(value & B_SET ? value & ~(unsigned)B_UIE : value);
		update_line(vm);
		break;
	case RTC_C:
	case RTC_D:
		break; /* read only */
	default:
		rtc->bytes[rtc->index] = (uint8_t)value;
	}
}

/*
 * The real-time clock and its CMOS memory. Motorola MC146818A data sheet; ICH9 datasheet, "Real Time Clock". Ports
 * 70H-73H.
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"
#include "clock/clock.h"

#define RTC_DEFAULT_BASE INT64_C(946684800) /* 2000-01-01 00:00:00 */

struct rtc;

/* base: what the calendar shows at virtual time 0, in seconds since 1970. irq: IRQ 8. */
struct rtc *rtc_create(struct bus *bus, struct clock *clock, const struct irq *irq, int64_t base,
		       const struct log *log);
void rtc_destroy(struct rtc *rtc);
/* The chip is on a battery: a reset only disables its interrupts. */
void rtc_reset(struct rtc *rtc);
void rtc_state(struct rtc *rtc, struct state *state);

/*
 * CMOS contents from 0EH up, without side effects. index 0 to 255; the machine writes sizes and types there, monitors
 * read.
 */
void rtc_set_cmos(struct rtc *rtc, uint8_t index, uint8_t value);
uint8_t rtc_get_cmos(struct rtc *rtc, uint8_t index);
/* Bit 7 of port 70H: NMI sources of the chipset are masked. */
bool rtc_nmi_masked(const struct rtc *rtc);

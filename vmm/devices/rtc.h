/*
 * The MC146818 real-time clock with its RAM: Motorola MC146818A data sheet. Interrupt line 8.
 */
#ifndef VMM_DEVICES_RTC_H
#define VMM_DEVICES_RTC_H

#include "devices/ports.h"

/* The bytes. The century is where most PCs have it; the ACPI tables say so. */
enum {
	RTC_SECONDS, RTC_SECONDS_ALARM, RTC_MINUTES, RTC_MINUTES_ALARM, RTC_HOURS, RTC_HOURS_ALARM, RTC_DAY_OF_WEEK, RTC_DAY, RTC_MONTH, RTC_YEAR,
	RTC_A, RTC_B, RTC_C, RTC_D, RTC_CENTURY = 0x32, RTC_BYTES = 128
};
enum { RTC_B_DM_BINARY = 0x04, RTC_B_24H = 0x02 }; /* in register B: the format of the others */

struct rtc {
	uint8_t index;		  /* below RTC_BYTES */
	uint8_t bytes[RTC_BYTES]; /* time, alarm, registers A to D, RAM */
	uint64_t epoch;		  /* ns: when the divider chain started. All is counted from there, so it may be "before" 0 */
	uint64_t ticks;		  /* of 32768 Hz since then, up to which everything has been done */
};

void rtc_reset(struct vm *vm); /* sets it to the machine's time */
uint64_t rtc_deadline(const struct vm *vm); /* ns of vm_time(), or NEVER */
void rtc_tick(struct vm *vm, uint64_t now);

port_reader rtc_read; /* 70H, 71H */
port_writer rtc_write;

/* What the machine's own clock shows now: the bytes of time, and of register B the two bits of their format. machine_clock.c. */
void machine_clock(uint8_t bytes[RTC_BYTES]);

#endif

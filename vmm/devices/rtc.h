/*
 * The MC146818 real-time clock with its RAM: Motorola MC146818A data sheet; the century is in byte 32H, as the ACPI tables say. Interrupt line 8.
 */
#ifndef VMM_DEVICES_RTC_H
#define VMM_DEVICES_RTC_H

#include "devices/ports.h"

struct rtc {
	uint8_t index;
	uint8_t bytes[128];	/* time, alarm, registers A to D, RAM */
	uint64_t phase;		/* ns: seconds end at phase + n * 10^9 */
	uint64_t seconds, periods; /* that had ended at the last look, counted from phase */
};

void rtc_reset(struct vm *vm); /* sets it to the machine's time */
uint64_t rtc_deadline(const struct vm *vm);
void rtc_tick(struct vm *vm, uint64_t now);

port_reader rtc_read; /* 70H, 71H */
port_writer rtc_write;

/* The machine's own clock, in seconds since 1970: read from its CMOS the first time, counted by the TSC from there. machine_clock.c. */
uint64_t machine_clock(void);

#endif

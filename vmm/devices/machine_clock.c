/*
 * The machine's real-time clock, from which the VMs' take their time: Motorola MC146818A data sheet, "Time, Calendar, and Alarm Locations".
 */
#include "cpu/x86.h"
#include "devices/rtc.h"
#include "lib/lock.h"
#include "lib/string.h"

enum { INDEX = 0x70, DATA = 0x71 };
enum { TRIES = 16 };

static const uint8_t indices[] = {RTC_SECONDS, RTC_MINUTES, RTC_HOURS, RTC_DAY_OF_WEEK, RTC_DAY, RTC_MONTH, RTC_YEAR, RTC_B, RTC_CENTURY};

static void read_bytes(uint8_t values[sizeof(indices)])
{
	for (size_t i = 0; i < sizeof(indices); i++) {
		out8(INDEX, indices[i]);
		values[i] = in8(DATA);
	}
}

/* Two readings in turn that are the same have met no update. */
void machine_clock(uint8_t bytes[RTC_BYTES])
{
	static struct lock lock; /* of the two ports */
	uint8_t values[sizeof(indices)], again[sizeof(indices)];

	lock_take(&lock);
	read_bytes(values);
	for (unsigned i = 0; i < TRIES; i++) {
		memcpy(again, values, sizeof(values));
		read_bytes(values);
		if (memcmp(again, values, sizeof(values)) == 0)
			break;
	}
	lock_release(&lock);
	for (size_t i = 0; i < sizeof(indices); i++)
		bytes[indices[i]] = values[i];
	bytes[RTC_B] &= RTC_B_DM_BINARY | RTC_B_24H;
	/* A machine without the byte has something else there, or nothing. */
	if (bytes[RTC_CENTURY] != (bytes[RTC_B] & RTC_B_DM_BINARY ? 19 : 0x19))
		bytes[RTC_CENTURY] = bytes[RTC_B] & RTC_B_DM_BINARY ? 20 : 0x20;
}

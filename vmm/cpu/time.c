/*
 * How fast the TSC counts: SDM vol. 3, "Determining the Processor Base Frequency" and "Time-Stamp Counter"; Intel, "8254
 * Programmable Interval Timer", "Mode 0: Interrupt on Terminal Count".
 */
#include "cpu/time.h"

#include "cpu/apic.h"
#include "cpu/x86.h"
#include "lib/print.h"

enum { I8254_HZ = 1193182, I8254_CHANNEL2 = 0x42, I8254_CONTROL = 0x43, CHANNEL2_WORD_MODE0 = 0xb0 };
enum { PORT_B = 0x61, GATE2 = 1, SPEAKER = 2, OUT2 = 0x20 };
enum { COUNT = I8254_HZ / 100, MEASUREMENTS = 3 };
#define PATIENCE UINT64_C(10000000000) /* a second, at least */

uint64_t tsc_hz;

/* 10 ms by channel 2, whose output port 61H shows. */
static uint64_t ticks_of_count(void)
{
	uint64_t start;

	out8(PORT_B, (uint8_t)((in8(PORT_B) & ~SPEAKER) | GATE2));
	out8(I8254_CONTROL, CHANNEL2_WORD_MODE0);
	out8(I8254_CHANNEL2, COUNT & 0xff);
	out8(I8254_CHANNEL2, COUNT >> 8);
	start = rdtsc();
	while (!(in8(PORT_B) & OUT2)) {
		if (rdtsc() - start > PATIENCE)
			panic("CPUID does not say how fast the TSC counts, and there is no 8254 to measure it");
	}
	return rdtsc() - start;
}

/* 0: CPUID does not say. */
static uint64_t hz_of_cpuid(void)
{
	struct cpuid ratio;

	if (cpuid(0, 0).eax < 0x15)
		return 0;
	ratio = cpuid(0x15, 0);
	return ratio.eax ? (uint64_t)ratio.ecx * ratio.ebx / ratio.eax : 0;
}

void time_init(void)
{
	uint64_t least = UINT64_MAX;

	tsc_hz = hz_of_cpuid();
	if (!tsc_hz) {
		for (unsigned i = 0; i < MEASUREMENTS; i++) /* the shortest: an SMI only makes one longer */
			least = min_u64(least, ticks_of_count());
		tsc_hz = least * I8254_HZ / COUNT;
	}
	apic_timer_measure();
}

void time_delay_us(uint64_t us)
{
	uint64_t start = rdtsc(), ticks = tsc_of_ns(us * 1000);

	while (rdtsc() - start < ticks)
		cpu_relax();
}

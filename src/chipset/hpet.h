/*
 * High Precision Event Timers: one 64-bit counter at 100 MHz, three comparators. IA-PC HPET specification 1.0a. At
 * FED00000H.
 */
#pragma once

#include "bus/bus.h"
#include "clock/clock.h"

struct hpet;

struct hpet_wires {
	void (*pin)(void *ctx, unsigned pin, bool level);      /* I/O APIC input */
	void (*legacy)(void *ctx, unsigned timer, bool level); /* timer 0: in place of the 8254, 1: of the RTC */
	void (*route)(void *ctx, bool legacy);		       /* LEG_RT_CNF: the 8254 and the RTC are cut off */
	void *ctx;
};

struct hpet *hpet_create(struct bus *bus, struct clock *clock, const struct hpet_wires *wires, const struct log *log);
void hpet_destroy(struct hpet *hpet);
void hpet_reset(struct hpet *hpet);
void hpet_state(struct hpet *hpet, struct state *state);

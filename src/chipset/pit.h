/*
 * The 8254 programmable interval timer at 1,193,182 Hz. Intel 8254 data sheet. Ports 40H-43H.
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"
#include "clock/clock.h"

#define PIT_HZ UINT64_C(1193182)

struct pit;

/* irq: OUT of counter 0. The gates of counters 0 and 1 are tied high. */
struct pit *pit_create(struct bus *bus, struct clock *clock, const struct irq *irq, const struct log *log);
void pit_destroy(struct pit *pit);
void pit_reset(struct pit *pit);
void pit_state(struct pit *pit, struct state *state);

/* Counter 2's gate and output: port 61H. */
void pit_set_gate2(struct pit *pit, bool gate);
bool pit_out2(struct pit *pit);

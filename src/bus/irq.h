/*
 * An interrupt wire: whoever drives it holds a struct irq; whoever listens gave the function. Levels are as on the wire
 * (1 = asserted in the listener's sense; polarity is the listener's affair).
 */
#pragma once

#include "base/types.h"

struct irq {
	void (*set)(void *listener, unsigned line, bool level);
	void *listener;
	unsigned line;
};

static inline void irq_set(const struct irq *irq, bool level)
{
	if (irq->set)
		irq->set(irq->listener, irq->line, level);
}

/* An interrupt message: a 32-bit write to 0xFEExxxxx by a device, before remapping. */
struct msi {
	uint64_t address;
	uint32_t data;
	uint16_t requester; /* bus:device.function of the sender */
};

/* Where messages go: the local APICs, or VT-d in front of them. Set by machine/build.c. */
struct msi_sink {
	void (*send)(void *ctx, const struct msi *msi);
	void *ctx;
};

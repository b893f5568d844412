/*
 * The 16550A serial port: "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs" data sheet.
 *
 * Sent characters leave at once; received ones arrive at the programmed speed in virtual time, so that the guest's FIFO
 * is filled in the same way in every run. Not modelled: DMA mode pins, errors on the line (parity, framing), break
 * received.
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"
#include "clock/clock.h"
#include "console/chardev.h"

struct uart;

/* Registers at ports base to base + 7. chardev may be NULL: an unplugged port. It is not owned. */
struct uart *uart_create(struct bus *bus, struct clock *clock, uint16_t base, const struct irq *irq,
			 struct chardev *chardev);
void uart_destroy(struct uart *uart);
void uart_reset(struct uart *uart);
void uart_state(struct uart *uart, struct state *state);

/* Characters since the start, for statistics. */
struct uart_counters {
	uint64_t sent, received;
};
const struct uart_counters *uart_counters(const struct uart *uart);

/*
 * COM1, a 16550A: National Semiconductor PC16550D data sheet. Interrupt line 4. It sends to the console and is typed to from there.
 *
 * Not modelled: how long a character takes. What is written is sent at once, and what is received waits for nobody: the receiver's time-out is
 * over at once too.
 */
#ifndef VMM_DEVICES_UART_H
#define VMM_DEVICES_UART_H

#include "devices/ports.h"

struct uart {
	uint8_t ier, lcr, mcr, msr, scratch, errors; /* errors: bits of LSR */
	uint8_t fcr;
	uint8_t divisor[2];
	bool thre;	/* the interrupt "transmitter holding register empty" is pending */
	uint8_t fifo[16]; /* received */
	uint8_t first, count;
};

void uart_reset(struct vm *vm);

/* A byte from the line. vm->lock is held. False: there is no room, try again later. */
MUST_CHECK bool uart_receive(struct vm *vm, uint8_t byte);

port_reader uart_read; /* 3F8H to 3FFH */
port_writer uart_write;

#endif

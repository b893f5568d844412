/*
 * COM1, a 16550A: National Semiconductor PC16550D data sheet. Interrupt line 4. It sends to the console and is typed to from there.
 */
#ifndef VMM_DEVICES_UART_H
#define VMM_DEVICES_UART_H

#include "devices/ports.h"

enum { UART_FIFO = 16 };

struct uart {
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t errors; /* of LSR: bits 4 to 1 */
	bool thre;	/* the interrupt "transmitter holding register empty" is pending */
	uint8_t received[UART_FIFO]; /* a ring */
	uint8_t first, count;
};

void uart_reset(struct vm *vm);

/* A byte from the line. vm->lock is held. False: there is no room, try again later. */
MUST_CHECK bool uart_receive(struct vm *vm, uint8_t byte);

port_reader uart_read; /* 3F8H to 3FFH */
port_writer uart_write;

#endif

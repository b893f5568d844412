/*
 * Two 8259A interrupt controllers, the slave on input 2 of the master, with the edge/level control registers that PCI chipsets added.
 * Intel 8259A data sheet; "Edge/Level Triggered Interrupt Registers" of the Intel I/O hubs.
 */
#ifndef VMM_DEVICES_I8259_H
#define VMM_DEVICES_I8259_H

#include "devices/ports.h"

struct i8259 {
	uint8_t lines;	    /* inputs that are high */
	uint8_t irr, isr, imr;
	uint8_t elcr;	    /* inputs that are level triggered */
	uint8_t base;	    /* ICW2: vector of input 0 */
	uint8_t first;	    /* the input of highest priority */
	uint8_t expected;   /* the ICW that comes next, 2 to 4; 0: none, initialized */
	bool icw4, single;  /* what ICW1 said */
	bool automatic_eoi, rotate_automatic, special_nested, special_mask;
	bool read_isr, poll; /* OCW3: what the next reads give */
};

void i8259_reset(struct vm *vm);
void i8259_set(struct vm *vm, unsigned line, bool high); /* 0 to 15, not 2. Wakes the vCPU that INTR goes to. */

bool i8259_pending(const struct vm *vm);	/* INTR: the master asks for an interrupt */
unsigned i8259_acknowledge(struct vm *vm);	/* INTA: the vector, and the request is in service; a spurious one without a request */

port_reader i8259_read;	/* 20H, 21H; 0A0H, 0A1H */
port_writer i8259_write;
port_reader elcr_read;	/* 4D0H, 4D1H */
port_writer elcr_write;

#endif

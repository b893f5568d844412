/*
 * The 8254 programmable interval timer, and port 61H: Intel 82C54 data sheet. OUT 0 is interrupt line 0; OUT 1 (once: memory refresh) goes
 * nowhere; GATE 2 and OUT 2 are at port 61H, for the speaker that is not there.
 */
#ifndef VMM_DEVICES_I8254_H
#define VMM_DEVICES_I8254_H

#include "devices/ports.h"

enum { I8254_HZ = 1193182 };

struct i8254_channel {
	uint8_t control;	/* BCD, mode and RW bits of the control word, as the status byte shows them */
	uint32_t count;		/* that it counts from, 1 to 65536 (to 10000 in BCD) */
	uint32_t next;		/* written, but not loaded before the period ends (modes 2, 3) or GATE rises (1, 5); 0: none */
	bool counting;		/* it has been loaded since the control word */
	uint64_t start;		/* tick at which it was loaded */
	uint64_t stopped;	/* while a low GATE stops it: ticks that had passed since start */
	bool gate;
	bool write_high, read_high; /* the other half of a two-byte access comes next */
	uint8_t low;		/* its first half, written */
	bool count_latched, status_latched;
	uint16_t latch;
	uint8_t status;
};

struct i8254 {
	struct i8254_channel channels[3];
	uint64_t seen, rise_ns;	/* the last rise of OUT 0 that interrupted: all to that tick are done with */
	bool speaker;		/* port 61H, bit 1: only kept */
};

void i8254_reset(struct vm *vm);
uint64_t i8254_deadline(const struct vm *vm); /* ns of vm_time(): OUT 0 rises; or NEVER */
void i8254_tick(struct vm *vm, uint64_t now);

port_reader i8254_read; /* 40H to 43H */
port_writer i8254_write;
port_reader port61_read;
port_writer port61_write;

#endif

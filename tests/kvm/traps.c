/*
 * What the guest's handlers do in 64-bit mode, and what they have seen. The handlers of 32-bit mode (guest.S) write the
 * same variables.
 */
#include "guest.h"

struct frame {
	uint64_t r[15], vector, error, rip, cs, rflags, rsp, ss;
};

volatile uint32_t trap_count[256], trap_vector, trap_error, trap_eoi;
volatile uint64_t trap_cr2, trap_rip, trap_dr6;
volatile uint32_t watched;

void guest_trap(struct frame *frame);

static inline void end_of_interrupt(void)
{
	switch (trap_eoi) {
	case EOI_PIC: outb(0x20, 0x20); break;
	case EOI_LAPIC: lapic_write(APIC_EOI, 0); break;
	case EOI_X2APIC: wrmsr(0x800 + APIC_EOI / 16, 0); break;
	default: break;
	}
}

GUEST void guest_trap(struct frame *frame)
{
	uint64_t vector = frame->vector;

	__atomic_add_fetch(&trap_count[vector], 1, __ATOMIC_SEQ_CST);
	trap_vector = (uint32_t)vector;
	trap_error = (uint32_t)frame->error;
	trap_rip = frame->rip;
	if (vector == 14)
		trap_cr2 = READ_CR(2);
	if (vector == 1) {
		trap_dr6 = READ_DR(6);
		WRITE_DR(6, 0xffff0ff0);
	} else if (vector == 2) {
		out(trap_count[2]); /* the program outside may do something to us while NMIs are blocked */
		out(trap_count[2]);
	} else if (vector >= 32) {
		end_of_interrupt();
	} else if (vector != 3) {
		frame->rip += 2;
	}
}

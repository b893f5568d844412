/*
 * What interrupts the VMM: its IDT, and the one function that serves an interrupt, however it was taken: through the IDT
 * while a CPU idles, or by VM exit ("acknowledge interrupt on exit").
 */
#ifndef VMM_CPU_INTERRUPTS_H
#define VMM_CPU_INTERRUPTS_H

#include "lib/types.h"

enum {
	VECTOR_8259 = 0x20,	 /* 16 of them; line 4 is COM1 */
	VECTOR_KICK = 0xf0,	 /* from another CPU: look at cpu->attention */
	VECTOR_TIMER = 0xf1,	 /* apic_timer() */
	VECTOR_POSTED = 0xf2,	 /* posted-interrupt notification; seen here only if the guest was not running */
	VECTOR_SPURIOUS = 0xff
};

void interrupts_init(void);	       /* the IDT, the same on all CPUs; on CPU 0 also the 8259s, where only COM1 is unmasked */
void interrupts_load(void);	       /* LIDT */
void interrupt_serve(unsigned vector); /* handles and sends EOI; also an NMI (2), which comes too when another CPU panicked */
void interrupts_wait(void);	       /* STI, HLT, CLI: returns after one interrupt */

#endif

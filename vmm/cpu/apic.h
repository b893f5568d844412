/*
 * This CPU's local APIC, in whichever mode the firmware left it: SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)".
 */
#ifndef VMM_CPU_APIC_H
#define VMM_CPU_APIC_H

#include "lib/types.h"

void apic_init(void); /* enables it; LINT0 takes the 8259's interrupts on CPU 0 */
uint32_t apic_id(void);
void apic_eoi(void);
void apic_send(uint32_t apic_id, unsigned vector); /* a fixed interrupt; returns when it has been sent */
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, unsigned page);
void apic_send_nmi(uint32_t apic_id);

void apic_timer_measure(void); /* by CPU 0, for all: how fast the timer counts. tsc_hz is known */

/* One interrupt, VECTOR_TIMER, when the TSC reaches tsc (at once if it has; earlier if it is further off than the timer counts);
   NEVER: none. Replaces the one before. */
void apic_timer(uint64_t tsc);

#endif

/*
 * Between lapic.c and lapic_timer.c: what a write to a register does to the timer, and what the timer does to the registers.
 */
#ifndef VMM_DEVICES_LAPIC_TIMER_H
#define VMM_DEVICES_LAPIC_TIMER_H

#include "devices/lapic.h"

enum { LVT_MASKED = 1 << 16 };

void lapic_fire(struct vcpu *vcpu, enum apic_register lvt); /* the interrupt of an LVT entry, unless it is masked */

/* After the register in the page has been changed. */
void lapic_timer_reset(struct vcpu *vcpu);
void lapic_timer_set_lvt(struct vcpu *vcpu);
void lapic_timer_start(struct vcpu *vcpu);
void lapic_timer_divide(struct vcpu *vcpu);
void lapic_timer_set_tsc_deadline(struct vcpu *vcpu, uint64_t value);

uint32_t lapic_timer_current(struct vcpu *vcpu); /* the current-count register */
uint64_t lapic_timer_tsc_deadline(struct vcpu *vcpu);

#endif

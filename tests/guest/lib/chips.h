/*
 * The chips that several images need: local APIC registers, the 8259 pair's virtual wire, 8254 channel 0 as a one-shot.
 *
 * SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)", for the local APIC; the 8254's and 8259A's data
 * sheets.
 */
#ifndef CHIPS_H
#define CHIPS_H

#include "guest.h"

enum {
	APIC_ID = 0x20,
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_PPR = 0xa0,
	APIC_EOI = 0xb0,
	APIC_LDR = 0xd0,
	APIC_DFR = 0xe0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT_LINT0 = 0x350,
	APIC_LVT_LINT1 = 0x360,
	APIC_LVT_ERROR = 0x370,
	APIC_TIMER_INITIAL = 0x380,
	APIC_TIMER_CURRENT = 0x390,
	APIC_TIMER_DIVIDE = 0x3e0,
};
#define APIC_BASE 0xfee00000ul

static inline u32 apic_read(u32 reg)
{
	return *(volatile u32 *)(APIC_BASE + reg);
}

static inline void apic_write(u32 reg, u32 v)
{
	*(volatile u32 *)(APIC_BASE + reg) = v;
}

/* Sends an interrupt command to the local APIC with this ID and waits for its delivery status to clear. */
static inline void apic_send(u8 id, u32 command)
{
	apic_write(APIC_ICR2, (u32)id << 24);
	apic_write(APIC_ICR, command);
	while (apic_read(APIC_ICR) & 1 << 12)
		;
}

/* Lets the 8259's output through LINT0. SDM vol. 3, "Local Vector Table": delivery mode ExtINT. */
static inline void virtual_wire(void)
{
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_LVT_LINT0, 0x700);
}

extern u8 ap_start[], ap_start_end[];
extern u32 ap_entry;
extern volatile u32 ap_count; /* how often a second processor has started */

static inline void pause_for(u32 n)
{
	while (n--)
		asm volatile("pause");
}

/* Waits, for a long time if need be, until another processor has made it so. */
static inline bool reaches(volatile u32 *value, u32 wanted)
{
	for (u32 i = 0; i < 20000000 && *value != wanted; i++)
		asm volatile("pause");
	return *value == wanted;
}

/*
 * Starts the second processor in flat 32-bit protected mode at entry; false if there is none. SDM vol. 3, "MP
 * Initialization Protocol Algorithm".
 */
static inline bool start_second_cpu(ulong entry)
{
	u32 before = ap_count;

	memcpy((void *)0x8000, ap_start, ap_start_end - ap_start);
	ap_entry = entry;
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_ICR, 0xc4500); /* INIT, all excluding self */
	pause_for(100000);
	apic_write(APIC_ICR, 0xc4608); /* start-up at 0x8000 */
	return reaches(&ap_count, before + 1);
}

static inline u8 pic_irr(u16 port)
{
	outb(port, 0x0a);
	return inb(port);
}

static inline u8 pic_isr(u16 port)
{
	outb(port, 0x0b);
	return inb(port);
}

/* Makes IRQ 0 pending at the master 8259 (vector 0x20) with one shot of the 8254's channel 0, mode 0. */
static inline void raise_irq0(void)
{
	outb(0x43, 0x30);
	outb(0x40, 20);
	outb(0x40, 0);
	for (u32 i = 0; i < 10000000 && !(pic_irr(0x20) & 1); i++)
		;
}

/* After IRQ 0 was taken: end of interrupt, output low again. */
static inline void end_irq0(void)
{
	outb(0x43, 0x30);
	outb(0x20, 0x20);
}

#endif

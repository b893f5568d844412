/*
 * For code that runs in the guest, in 64-bit mode: ports, MSRs, the local APIC, and what its trap handlers have seen.
 */
#ifndef KVM_TEST_GUEST_H
#define KVM_TEST_GUEST_H

#include <stdint.h>

#include "layout.h"

/* A guest has no FPU state set up, and nothing below the image's libc may be called. */
#define GUEST __attribute__((target("general-regs-only"), noinline, used, optimize("no-tree-loop-distribute-patterns")))

/* Written by the trap handlers of guest.S and traps.c. An exception skips its instruction, which must be 2 bytes long.
 */
extern volatile uint32_t trap_count[256], trap_vector, trap_error;
extern volatile uint64_t trap_cr2, trap_rip, trap_dr6;
/* How a handler ends the interrupt. */
enum eoi { EOI_NONE, EOI_PIC, EOI_LAPIC, EOI_X2APIC };
extern volatile uint32_t trap_eoi;

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* Tells the program outside a number; out64 in two halves, low one first. */
static inline void out(uint32_t value)
{
	outl(PORT, value);
}

static inline void out64(uint64_t value)
{
	out((uint32_t)value);
	out((uint32_t)(value >> 32));
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index) : "memory");
}

static inline uint32_t cpuid(uint32_t leaf, uint32_t subleaf, int reg)
{
	uint32_t r[4];

	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(subleaf) : "memory");
	return r[reg];
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void sti(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void hlt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

/* Waits for an interrupt that may come between a check and this: STI's shadow covers HLT. Leaves IF clear. */
static inline void wait_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#define READ_CR(n)                                                                  \
	({                                                                          \
		uint64_t value_;                                                    \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(value_) : : "memory"); \
		value_;                                                             \
	})
#define WRITE_CR(n, value) __asm__ volatile("mov %0, %%cr" #n : : "r"((uint64_t)(value)) : "memory")
#define READ_DR(n)                                                                  \
	({                                                                          \
		uint64_t value_;                                                    \
		__asm__ volatile("mov %%db" #n ", %0" : "=r"(value_) : : "memory"); \
		value_;                                                             \
	})
#define WRITE_DR(n, value) __asm__ volatile("mov %0, %%db" #n : : "r"((uint64_t)(value)) : "memory")

/* Registers of the local APIC by their offset, with MMIO; as MSR 0x800 + offset / 16 in x2APIC mode. */
enum {
	APIC_ID = 0x20,
	APIC_TPR = 0x80,
	APIC_PPR = 0xa0,
	APIC_EOI = 0xb0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_IRR = 0x200,
	APIC_ICR = 0x300,
	APIC_ICR_HIGH = 0x310,
	APIC_LVT_TIMER = 0x320,
	APIC_LVT0 = 0x350,
	APIC_INITIAL = 0x380,
	APIC_CURRENT = 0x390,
	APIC_DIVIDE = 0x3e0
};

static inline void lapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)(LAPIC + reg) = value;
}

static inline uint32_t lapic_read(uint32_t reg)
{
	return *(volatile uint32_t *)(uintptr_t)(LAPIC + reg);
}

/* Guest code of guest.S. */
extern const char real16[], real16_end[], real16_main[], real16_irq[], real16_climb[], real16_step[];
extern const char sipi16[], sipi16_end[];
extern const char guest32[], text32[], trap64_table[], trap32_table[];
extern const char step64[], real16_step1[], real16_step2[], real16_step3[];
extern const uint64_t step64_stops[];
extern const char user64[], syscall64[], fpu64[], fault64[], breakpoint64[], breakpoint64_int3[], breakpoint64_watch[];
extern const char spin64[];
extern volatile uint32_t watched;
uint64_t vmx_run64(uint64_t resume);
extern const char l2_64[];
extern volatile uint64_t l2_rax;

#endif

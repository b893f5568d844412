/*
 * Instructions that C does not have, and the bits of the registers they move: SDM vol. 3, "System Architecture Overview".
 */
#ifndef VMM_CPU_X86_H
#define VMM_CPU_X86_H

#include "lib/types.h"

enum {
	CR0_PE = 1 << 0, CR0_MP = 1 << 1, CR0_EM = 1 << 2, CR0_TS = 1 << 3, CR0_ET = 1 << 4, CR0_NE = 1 << 5, CR0_WP = 1 << 16,
	CR0_AM = 1 << 18, CR0_NW = 1 << 29, CR0_CD = 1 << 30
};
#define CR0_PG BIT(31)
enum {
	CR4_VME = 1 << 0, CR4_PVI = 1 << 1, CR4_TSD = 1 << 2, CR4_DE = 1 << 3, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_MCE = 1 << 6,
	CR4_PGE = 1 << 7, CR4_PCE = 1 << 8, CR4_OSFXSR = 1 << 9, CR4_OSXMMEXCPT = 1 << 10, CR4_UMIP = 1 << 11, CR4_LA57 = 1 << 12,
	CR4_VMXE = 1 << 13, CR4_SMXE = 1 << 14,
	CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17, CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22
};
enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };
enum { RFLAGS_FIXED = 1 << 1, RFLAGS_TF = 1 << 8, RFLAGS_IF = 1 << 9, RFLAGS_VM = 1 << 17 };

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;

	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "0"(leaf), "2"(subleaf));
	return r;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

/* The same, but false if the instruction faults (cpu/interrupts.c looks the faulting address up). */
MUST_CHECK bool rdmsr_safe(uint32_t msr, uint64_t *value);
MUST_CHECK bool wrmsr_safe(uint32_t msr, uint64_t value);
MUST_CHECK bool xsetbv_safe(uint32_t index, uint64_t value);

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

#define READ_CR(n)                                                                                                     \
	static inline uint64_t read_cr##n(void)                                                                        \
	{                                                                                                              \
		uint64_t value;                                                                                        \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                                     \
		return value;                                                                                          \
	}                                                                                                              \
	static inline void write_cr##n(uint64_t value)                                                                 \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                                         \
	}
READ_CR(0)
READ_CR(2)
READ_CR(3)
READ_CR(4)
#undef READ_CR

#define DEBUG_REGISTER(n)                                                                                              \
	static inline uint64_t read_dr##n(void)                                                                        \
	{                                                                                                              \
		uint64_t value;                                                                                        \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(value));                                                  \
		return value;                                                                                          \
	}                                                                                                              \
	static inline void write_dr##n(uint64_t value) { __asm__ volatile("mov %0, %%dr" #n : : "r"(value)); }
DEBUG_REGISTER(0)
DEBUG_REGISTER(1)
DEBUG_REGISTER(2)
DEBUG_REGISTER(3)
DEBUG_REGISTER(6)
DEBUG_REGISTER(7)
#undef DEBUG_REGISTER

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void cpu_relax(void) { __builtin_ia32_pause(); }
static inline void interrupts_off(void) { __asm__ volatile("cli" : : : "memory"); }

#endif

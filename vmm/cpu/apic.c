/*
 * The local APIC: SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)". Registers by their offset in the xAPIC's
 * page; in x2APIC mode each is an MSR ("x2APIC Register Address Space").
 */
#include "cpu/apic.h"

#include "cpu/cpu.h"
#include "cpu/interrupts.h"
#include "cpu/time.h"
#include "cpu/msrs.h"
#include "cpu/x86.h"

enum {
	ID = 0x20, TPR = 0x80, EOI = 0xb0, SVR = 0xf0, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, LVT_LINT0 = 0x350,
	LVT_LINT1 = 0x360, LVT_ERROR = 0x370, TIMER_INITIAL = 0x380, TIMER_CURRENT = 0x390, TIMER_DIVIDE = 0x3e0
};
enum {
	SVR_ENABLE = 1 << 8,
	LVT_MASKED = 1 << 16, LVT_TSC_DEADLINE = 2 << 17,
	DELIVER_FIXED = 0 << 8, DELIVER_NMI = 4 << 8, DELIVER_INIT = 5 << 8, DELIVER_STARTUP = 6 << 8, DELIVER_EXTINT = 7 << 8,
	ICR_PENDING = 1 << 12, ICR_ASSERT = 1 << 14,
	DIVIDE_BY_1 = 0xb
};
enum { X2APIC_MSRS = 0x800 };
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_EN BIT(11)
#define APIC_BASE_ADDRESS BITS(51, 12)
#define CPUID1_ECX_TSC_DEADLINE (1u << 24)

/* As CPU 0 found it; the others are made the same. */
static bool x2apic, tsc_deadline;
static pa_t page;
static uint64_t timer_hz; /* of the count; where there is no TSC-deadline mode */

static uint32_t get(unsigned reg)
{
	return x2apic ? (uint32_t)rdmsr(X2APIC_MSRS + reg / 16) : *(volatile uint32_t *)at_pa(page + reg);
}

static void set(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(X2APIC_MSRS + reg / 16, value);
	else
		*(volatile uint32_t *)at_pa(page + reg) = value;
}

void apic_init(void)
{
	uint64_t base = rdmsr(IA32_APIC_BASE) | APIC_BASE_EN;
	bool first = this_cpu()->index == 0;

	if (first) {
		x2apic = base & APIC_BASE_EXTD;
		page = base & APIC_BASE_ADDRESS;
		tsc_deadline = cpuid(1, 0).ecx & CPUID1_ECX_TSC_DEADLINE;
	}
	wrmsr(IA32_APIC_BASE, base);
	if (x2apic)
		wrmsr(IA32_APIC_BASE, base | APIC_BASE_EXTD);
	set(SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	set(TPR, 0);
	set(LVT_ERROR, LVT_MASKED | VECTOR_SPURIOUS);
	set(LVT_LINT0, first ? DELIVER_EXTINT : LVT_MASKED | DELIVER_EXTINT);
	set(LVT_LINT1, DELIVER_NMI);
	set(TIMER_DIVIDE, DIVIDE_BY_1);
	set(LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
}

uint32_t apic_id(void)
{
	return x2apic ? get(ID) : get(ID) >> 24;
}

void apic_eoi(void)
{
	set(EOI, 0);
}

static void send(uint32_t to, uint32_t command)
{
	if (x2apic) {
		/* What this CPU has written before must be seen by the one that is interrupted. "MSR Access in x2APIC Mode". */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(X2APIC_MSRS + ICR / 16, (uint64_t)to << 32 | command);
		return;
	}
	set(ICR_HIGH, to << 24);
	set(ICR, command);
	while (get(ICR) & ICR_PENDING)
		cpu_relax();
}

void apic_send(uint32_t to, unsigned vector)
{
	send(to, ICR_ASSERT | DELIVER_FIXED | vector);
}

void apic_send_init(uint32_t to)
{
	send(to, ICR_ASSERT | DELIVER_INIT);
}

void apic_send_startup(uint32_t to, unsigned startup_page)
{
	send(to, ICR_ASSERT | DELIVER_STARTUP | startup_page);
}

void apic_send_nmi(uint32_t to)
{
	send(to, ICR_ASSERT | DELIVER_NMI);
}

void apic_timer_measure(void)
{
	enum { MEASURE_US = 10000 };
	uint32_t counted;

	if (tsc_deadline)
		return;
	set(LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	set(TIMER_INITIAL, UINT32_MAX);
	time_delay_us(MEASURE_US);
	counted = UINT32_MAX - get(TIMER_CURRENT);
	set(TIMER_INITIAL, 0);
	set(LVT_TIMER, VECTOR_TIMER);
	timer_hz = (uint64_t)counted * 1000000 / MEASURE_US;
}

void apic_timer(uint64_t tsc)
{
	uint64_t now, count;

	if (tsc_deadline) {
		if (!x2apic) /* "TSC-Deadline Mode": the LVT must have been written before */
			__asm__ volatile("mfence" : : : "memory");
		wrmsr(IA32_TSC_DEADLINE, tsc == NEVER ? 0 : max_u64(tsc, 1));
		return;
	}
	now = rdtsc();
	count = tsc > now ? scale_u64(tsc - now, timer_hz, tsc_hz) : 0;
	set(TIMER_INITIAL, tsc == NEVER ? 0 : (uint32_t)min_u64(count, UINT32_MAX - 1) + 1); /* 0 would be none */
}

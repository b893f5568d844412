/*
 * A guest that does nothing but exit, for the benchmark: ROUNDS times each of CPUID, an access to a port, one to memory that is not there (EPT
 * violation), and its own timer (which is an external interrupt for the VMM where it has no preemption timer). Prints what a round takes in TSC
 * ticks, the exit with what the VMM does, and how many rounds there were.
 */
#include "guest.h"

#ifndef ROUNDS
#define ROUNDS 200000
#endif

enum { INTERRUPT_LOOPS = 500, APIC = 0xfee00000u, TIMER_VECTOR = 0x40, TICKS = 1000 };

static volatile unsigned interrupts;

static void apic_write(unsigned offset, uint32_t value) { *(volatile uint32_t *)(uintptr_t)(APIC + offset) = value; }

__attribute__((interrupt)) static void timer(void *frame)
{
	(void)frame;
	interrupts++;
	apic_write(0xb0, 0);
}

static void show(const char *name, uint64_t ticks, unsigned rounds)
{
	put("exits: ");
	put(name);
	put(" ");
	put_number(ticks / rounds);
	put(" ");
	put_number(rounds);
	put("\r\n");
}

static void loop_cpuid(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

static void loop_port(void) { out8(0x80, 0); }
static void loop_memory(void) { (void)*(volatile uint32_t *)0xf0000000; }

static void measure(const char *name, void (*once)(void))
{
	uint64_t start = rdtsc();

	for (unsigned i = 0; i < ROUNDS; i++)
		once();
	show(name, rdtsc() - start, ROUNDS);
}

/* What the interrupts of a periodic timer take away from a loop that otherwise makes no exit. */
static void measure_interrupts(void)
{
	static uint64_t idt[512];
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt};
	uint64_t at = (uint64_t)timer, alone, start;

	idt[2 * TIMER_VECTOR] = (at & 0xffff) | 8 << 16 | 0x8eull << 40 | (at >> 16 & 0xffff) << 48;
	__asm__ volatile("lidt %0" : : "m"(idtr));
	start = rdtsc();
	for (volatile unsigned i = 0; i < ROUNDS * INTERRUPT_LOOPS; i++)
		;
	alone = rdtsc() - start;
	put("exits: alone\r\n"); /* as long as what follows, but for the interrupts */
	apic_write(0xf0, 0x1ff);
	apic_write(0x320, 1 << 17 | TIMER_VECTOR);
	apic_write(0x3e0, 0xb);
	apic_write(0x380, TICKS);
	__asm__ volatile("sti");
	start = rdtsc();
	for (volatile unsigned i = 0; i < ROUNDS * INTERRUPT_LOOPS; i++)
		;
	start = rdtsc() - start;
	__asm__ volatile("cli");
	apic_write(0x320, 1 << 16);
	show("interrupt", start > alone ? start - alone : 0, interrupts ? interrupts : 1);
}

int main(void)
{
	put("exits: begin\r\n");
	measure("cpuid", loop_cpuid);
	measure("port", loop_port);
	measure("ept", loop_memory);
	measure_interrupts();
	put("exits: done\r\n");
	return 0;
}

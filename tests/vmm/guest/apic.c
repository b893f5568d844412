/*
 * A guest that checks how interrupts reach it: local APIC, I/O APIC, 8259, NMI; and the instructions that access them. SDM vol. 3,
 * "Advanced Programmable Interrupt Controller (APIC)". Prints a line for each thing that is wrong, and a count at the end.
 */
#include "guest.h"

enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0,
       ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320,
       LVT_LINT0 = 0x350, LVT_ERROR = 0x370, INITIAL = 0x380, CURRENT = 0x390, DCR = 0x3e0 };
enum { MASKED = 1 << 16, PERIODIC = 1 << 17, TSC_DEADLINE = 2 << 17, SELF = 1 << 18, NMI = 4 << 8 };
enum { IA32_APIC_BASE = 0x1b, IA32_TSC_DEADLINE = 0x6e0 };
enum { IOAPIC = 0xfec00000u, UART = 0x3f8, PIT_HZ = 1193182 };

struct frame {
	uint64_t ip, cs, flags, sp, ss;
};

static uintptr_t apic = 0xfee00000u;
static unsigned checks, failures;
static uint64_t tsc_hz, idt[512];
static volatile unsigned taken[256], order[8], orders, keep_line;
static volatile uint32_t ppr_inside;
static volatile bool nest, faulted;

static uint32_t get(unsigned offset) { return *(volatile uint32_t *)(apic + offset); }
static void set(unsigned offset, uint32_t value) { *(volatile uint32_t *)(apic + offset) = value; }
static bool has(unsigned vectors, unsigned vector) { return get(vectors + vector / 32 * 16) >> vector % 32 & 1; }

static void set_pin(unsigned pin, uint64_t entry)
{
	volatile uint32_t *select = (uint32_t *)(uintptr_t)IOAPIC, *window = select + 4;

	*select = 0x10 + 2 * pin;
	*window = MASKED;
	*select = 0x11 + 2 * pin;
	*window = (uint32_t)(entry >> 32);
	*select = 0x10 + 2 * pin;
	*window = (uint32_t)entry;
}

static void check(const char *what, uint64_t got, uint64_t want)
{
	checks++;
	if (got == want)
		return;
	failures++;
	put("apic: FAILED: ");
	put(what);
	put(": ");
	put_hex(got, 16);
	put(", not ");
	put_hex(want, 16);
	put("\r\n");
}

static void range(const char *what, uint64_t got, uint64_t low, uint64_t high)
{
	check(what, got >= low && got <= high ? low : got, low);
}

/* What arrives is written down, and the APIC told. */
static void arrived(unsigned vector)
{
	taken[vector]++;
	if (orders < 8)
		order[orders++] = vector;
}

#define HANDLER(name, vector, before_eoi)                                       \
	__attribute__((interrupt)) static void name(struct frame *frame)        \
	{                                                                       \
		(void)frame;                                                    \
		arrived(vector);                                                \
		before_eoi;                                                     \
		set(EOI, 0);                                                    \
	}
HANDLER(handler_31, 0x31, ppr_inside = get(PPR))
HANDLER(handler_41, 0x41, )
HANDLER(handler_51, 0x51, if (nest) { set(ICR, SELF | 0x61); __asm__ volatile("sti; nop; cli"); arrived(0x52); })
HANDLER(handler_61, 0x61, )
/* A level: it comes again until its source is quiet. */
HANDLER(handler_71, 0x71, if (!keep_line || !--keep_line) out8(UART + 1, 0))

__attribute__((interrupt)) static void handler_24(struct frame *frame) /* COM1, by the 8259 */
{
	(void)frame;
	arrived(0x24);
	out8(UART + 1, 0);
	out8(0x20, 0x20);
}

__attribute__((interrupt)) static void handler_20(struct frame *frame) /* the 8254, by the 8259 */
{
	(void)frame;
	arrived(0x20);
	out8(0x20, 0x20);
}

/* A second NMI in the handler waits for the IRET. */
__attribute__((interrupt)) static void handler_nmi(struct frame *frame)
{
	(void)frame;
	arrived(2);
	if (nest) {
		nest = false;
		set(ICR, SELF | NMI);
		for (volatile unsigned i = 0; i < 100; i++)
			;
		arrived(3);
	}
}

__attribute__((interrupt)) static void handler_gp(struct frame *frame, uint64_t error)
{
	(void)error;
	faulted = true;
	frame->ip += 2; /* WRMSR */
}

static void gate(unsigned vector, void *handler)
{
	uint64_t at = (uint64_t)handler;

	idt[2 * vector] = (at & 0xffff) | 8 << 16 | 0x8eull << 40 | (at >> 16 & 0xffff) << 48;
}

static void forget(void)
{
	for (unsigned i = 0; i < 256; i++)
		taken[i] = 0;
	orders = 0;
}

static void window(void) { __asm__ volatile("sti; nop; nop; cli" : : : "memory"); }

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void set_cr8(uint64_t value) { __asm__ volatile("mov %0, %%cr8" : : "r"(value) : "memory"); }

static uint64_t cr8(void)
{
	uint64_t value;

	__asm__ volatile("mov %%cr8, %0" : "=r"(value) : : "memory");
	return value;
}

/* Interrupts stay on for so long, or until vector was taken n times. */
static void wait(unsigned vector, unsigned n, uint64_t ticks)
{
	uint64_t end = rdtsc() + ticks;

	__asm__ volatile("sti" : : : "memory");
	while (taken[vector] < n && rdtsc() < end)
		__asm__ volatile("pause");
	__asm__ volatile("cli" : : : "memory");
}

static void priorities(void)
{
	forget();
	set(ICR, SELF | 0x31);
	set(ICR, SELF | 0x51);
	set(ICR_HIGH, 0);
	set(ICR, 0x41); /* to ID 0 */
	check("IRR of 31H", has(IRR, 0x31), 1);
	window();
	window();
	window();
	check("how many of three", orders, 3);
	check("the first", order[0], 0x51);
	check("the second", order[1], 0x41);
	check("the third", order[2], 0x31);
	check("PPR in its handler", ppr_inside, 0x30);
	check("IRR after it", has(IRR, 0x31), 0);
	check("ISR after it", has(ISR, 0x31), 0);

	forget();
	nest = true;
	set(ICR, SELF | 0x51);
	window();
	nest = false;
	check("a higher one in the handler", order[1], 0x61);
	check("and back in the handler", order[2], 0x52);
}

static void task_priority(void)
{
	for (unsigned by_memory = 0; by_memory < 2; by_memory++) {
		forget();
		if (by_memory)
			set(TPR, 0x50);
		else
			set_cr8(5);
		check("TPR", get(TPR), 0x50);
		check("CR8", cr8(), 5);
		check("PPR", get(PPR), 0x50);
		set(ICR, SELF | 0x51);
		set(ICR, SELF | 0x41);
		window();
		check("taken at TPR 50H", orders, 0);
		__asm__ volatile("sti");
		if (by_memory)
			set(TPR, 0x40);
		else
			set_cr8(4);
		__asm__ volatile("nop; nop; cli");
		check("taken at TPR 40H", orders, 1);
		check("which is", order[0], 0x51);
		__asm__ volatile("sti");
		set_cr8(0);
		__asm__ volatile("nop; nop; cli");
		check("taken at TPR 0", order[1], 0x41);
	}
}

static void levels(void)
{
	forget();
	keep_line = 3;
	set_pin(4, 1 << 15 | 0x71);
	out8(UART + 1, 2); /* transmitter empty: the line is high at once */
	check("TMR of a level", has(TMR, 0x71), 1);
	for (unsigned i = 0; i < 5; i++)
		window();
	check("a level that stays for three", taken[0x71], 3);
	in8(UART + 2);
	forget();
	set_pin(4, 0x71);
	out8(UART + 1, 2);
	check("TMR of an edge", has(TMR, 0x71), 0);
	keep_line = 9;
	for (unsigned i = 0; i < 5; i++)
		window();
	check("an edge", taken[0x71], 1);
	out8(UART + 1, 0);
	set_pin(4, MASKED);
}

static void timer(void)
{
	uint64_t start, ticks;

	forget();
	set(DCR, 0xb);
	set(LVT_TIMER, MASKED | 0x41);
	set(INITIAL, UINT32_MAX);
	start = rdtsc();
	while ((ticks = UINT32_MAX - get(CURRENT)) < 100000)
		;
	tsc_hz = (rdtsc() - start) * 25000000 / ticks; /* the timer has 25 MHz here */
	check("the timer counts down", get(CURRENT) < UINT32_MAX, 1);
	set(LVT_TIMER, 0x41);
	set(INITIAL, 25000);
	start = rdtsc();
	wait(0x41, 1, tsc_hz);
	range("one shot of 1 ms", (rdtsc() - start) * 1000 / (tsc_hz / 1000), 990, 5000);
	check("count after it", get(CURRENT), 0);
	wait(0x41, 2, tsc_hz / 100);
	check("one shot is one", taken[0x41], 1);

	forget();
	set(LVT_TIMER, PERIODIC | 0x41);
	set(INITIAL, 25000);
	start = rdtsc();
	wait(0x41, 5, tsc_hz);
	range("five periods of 1 ms", (rdtsc() - start) * 1000 / (tsc_hz / 1000), 4990, 20000);
	set(LVT_TIMER, PERIODIC | MASKED | 0x41);
	window();
	forget();
	wait(0x41, 1, tsc_hz / 200);
	check("a masked timer", taken[0x41], 0);
	set(INITIAL, 0);

	set(LVT_TIMER, TSC_DEADLINE | 0x41);
	__asm__ volatile("mfence");
	start = rdtsc();
	wrmsr(IA32_TSC_DEADLINE, start + tsc_hz / 1000);
	check("IA32_TSC_DEADLINE", rdmsr(IA32_TSC_DEADLINE), start + tsc_hz / 1000);
	wait(0x41, 1, tsc_hz);
	range("TSC deadline in 1 ms", (rdtsc() - start) * 1000 / (tsc_hz / 1000), 1000, 5000);
	check("IA32_TSC_DEADLINE after it", rdmsr(IA32_TSC_DEADLINE), 0);
	wrmsr(IA32_TSC_DEADLINE, 1); /* the past */
	window();
	check("TSC deadline in the past", taken[0x41], 2);
	start = rdtsc();
	wrmsr(IA32_TSC_DEADLINE, start + tsc_hz / 500);
	__asm__ volatile("sti; hlt; cli");
	check("HLT until the deadline", taken[0x41], 3);
	range("HLT for 2 ms", (rdtsc() - start) * 1000 / (tsc_hz / 1000), 2000, 10000);
	set(LVT_TIMER, MASKED);
}

static void pic(const char *when)
{
	static const uint8_t words[] = {0x11, 0x20, 4, 1};

	put(when); /* the transmitter is empty when this has been shown */
	forget();
	for (unsigned i = 0; i < 4; i++) {
		out8(i ? 0x21 : 0x20, words[i]);
	}
	out8(0x21, 0xee); /* 0 and 4 */
	out8(0x43, 0x34);
	out8(0x40, (PIT_HZ / 1000) & 0xff);
	out8(0x40, (PIT_HZ / 1000) >> 8);
	__asm__ volatile("sti; hlt; hlt; hlt; cli");
	out8(0x21, 0xef);
	check("three of the 8254, by the 8259", taken[0x20] >= 3, 1);
	out8(0x43, 0x30);
	window();
	out8(UART + 1, 2);
	window();
	check("one of COM1, by the 8259", taken[0x24], 1);
	out8(0x21, 0xff);
}

static void nmi(void)
{
	forget();
	set(ICR, SELF | NMI);
	for (volatile unsigned i = 0; i < 100; i++)
		;
	check("NMI with interrupts off", taken[2], 1);
	forget();
	nest = true;
	set(ICR, SELF | NMI);
	for (volatile unsigned i = 0; i < 100; i++)
		;
	check("two NMIs", taken[2], 2);
	check("the handler goes on before the second", order[1], 3);
}

static void errors(void)
{
	forget();
	set(ESR, 0);
	set(ESR, 0);
	set(LVT_ERROR, 0x31);
	set(ICR, SELF | 5);
	window();
	check("error interrupt", taken[0x31], 1);
	set(ESR, 0);
	range("ESR: send illegal vector", get(ESR) & 0x20, 0x20, 0x20);
	set(LVT_ERROR, MASKED);
}

/* Every form of access that a compiler makes of a volatile word, and some more. */
static void instructions(void)
{
	volatile uint32_t *ldr = (uint32_t *)(apic + LDR);
	uint32_t value = 0x5a000000;
	uint64_t wide;
	uint8_t flag;

	*ldr = 0x12000000;
	__asm__ volatile("orl $0x21000000, %0" : "+m"(*ldr) : : "cc");
	check("OR", *ldr, 0x33000000);
	__asm__ volatile("lock andl %1, %0" : "+m"(*ldr) : "r"(0xf0ffffff) : "cc");
	check("AND", *ldr, 0x30000000);
	__asm__ volatile("xchgl %1, %0" : "+m"(*ldr), "+r"(value));
	check("XCHG", value, 0x30000000);
	check("XCHG", *ldr, 0x5a000000);
	__asm__ volatile("addl %1, %0" : "+m"(*ldr) : "r"(0x01000000) : "cc");
	check("ADD", *ldr, 0x5b000000);
	__asm__ volatile("cmpl $0x5b000000, %1; sete %0" : "=q"(flag) : "m"(*ldr) : "cc");
	check("CMP", flag, 1);
	__asm__ volatile("testl $0x04000000, %1; setz %0" : "=q"(flag) : "m"(*ldr) : "cc");
	check("TEST", flag, 1);
	__asm__ volatile("movslq %1, %0" : "=r"(wide) : "m"(*ldr));
	check("MOVSXD", wide, 0x5b000000);
	__asm__ volatile("movabs %%eax, 0xfee000d0" : : "a"(0x77000000) : "memory");
	__asm__ volatile("movabs 0xfee000d0, %%eax" : "=a"(value) : : "memory");
	check("MOV with an offset", value, 0x77000000);
	{
		void *to = (void *)ldr;
		uint64_t count = 1;

		__asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0x66000000) : "memory");
		check("STOS", *ldr, 0x66000000);
		check("RDI after STOS", (uint64_t)to, (uint64_t)ldr + 4);
		check("RCX after STOS", count, 0);
	}
	{
		static uint32_t words[3] = {0x1234, 0x99000000, 0x5678};
		const void *from = &words[1];
		void *to = (void *)ldr;

		__asm__ volatile("movsl" : "+D"(to), "+S"(from) : : "memory");
		check("MOVS to the APIC", *ldr, 0x99000000);
		from = (void *)ldr;
		to = &words[2];
		__asm__ volatile("std; movsl; cld" : "+D"(to), "+S"(from) : : "memory");
		check("MOVS from the APIC", words[2], 0x99000000);
		check("RSI after MOVS", (uint64_t)from, (uint64_t)ldr - 4);
		check("RDI after MOVS", (uint64_t)to, (uint64_t)&words[1]);
	}
	*(volatile uint32_t *)(uintptr_t)IOAPIC = 1;
	__asm__ volatile("movzbl %1, %k0" : "=r"(wide) : "m"(*(volatile uint8_t *)(uintptr_t)(IOAPIC + 0x10)));
	check("MOVZX of the I/O APIC's version", wide & 0xf0, 0x10);
	*ldr = 0;
}

static void base(void)
{
	uint64_t old = rdmsr(IA32_APIC_BASE);
	uint32_t a = 1, b, c = 0, d;

	check("IA32_APIC_BASE", old, 0xfee00900);
	gate(13, handler_gp);
	faulted = false;
	wrmsr(IA32_APIC_BASE, old | 1);
	check("#GP for a reserved bit of IA32_APIC_BASE", faulted, 1);

	/* Elsewhere. */
	wrmsr(IA32_APIC_BASE, 0xd0000900);
	check("memory where it was", get(VERSION), UINT32_MAX);
	apic = 0xd0000000;
	check("its version, where it is", get(VERSION) & 0xf0, 0x10);
	set(SVR, 0x1ff);
	priorities();
	task_priority();
	levels();
	timer();
	nmi();
	wrmsr(IA32_APIC_BASE, old);
	apic = 0xfee00000;
	check("its version, back again", get(VERSION) & 0xf0, 0x10);
	priorities();

	/* Off, and on again: as after RESET. */
	wrmsr(IA32_APIC_BASE, 0xfee00100);
	check("memory where it was", get(VERSION), UINT32_MAX);
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	check("CPUID.APIC", d >> 9 & 1, 0);
	pic("apic: the 8259 without the APIC\r\n");
	wrmsr(IA32_APIC_BASE, old);
	check("SVR when it is on again", get(SVR), 0xff);
	check("LVT_LINT0 when it is on again", get(LVT_LINT0), MASKED);
	set(SVR, 0x1ff);
	priorities();
}

int main(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt};

	gate(2, handler_nmi);
	gate(0x20, handler_20);
	gate(0x24, handler_24);
	gate(0x31, handler_31);
	gate(0x41, handler_41);
	gate(0x51, handler_51);
	gate(0x61, handler_61);
	gate(0x71, handler_71);
	__asm__ volatile("lidt %0" : : "m"(idtr));
	out8(UART + 4, 8); /* OUT2 */
	set(SVR, 0x1ff);
	check("ID", get(ID), 0);
	priorities();
	task_priority();
	levels();
	timer();
	set(LVT_LINT0, 7 << 8);
	pic("apic: the 8259 through LINT0\r\n");
	set(LVT_LINT0, MASKED);
	nmi();
	errors();
	instructions();
	base();
	put("apic: ");
	put_number(checks);
	put(" checks, ");
	put_number(failures);
	put(" failures\r\n");
	return 0;
}

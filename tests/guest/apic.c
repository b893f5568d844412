/*
 * Local APIC and I/O APIC: IPIs to itself, priorities, timer in its three modes, logical destinations, errors,
 * level-triggered lines, x2APIC, and a second processor where there is one.
 *
 * SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)", "Multiple-Processor Management"; 82093AA (I/O APIC)
 * data sheet. Nothing here depends on how fast a timer counts.
 */
#include "chips.h"

const char chapter[] = "apic";

static ulong open_window, wait_code;

static bool in_request(u8 vector)
{
	return apic_read(APIC_IRR + vector / 32 * 0x10) >> (vector & 31) & 1;
}

static bool in_service(u8 vector)
{
	return apic_read(APIC_ISR + vector / 32 * 0x10) >> (vector & 31) & 1;
}

static void eoi(void)
{
	apic_write(APIC_EOI, 0);
}

static void self_ipi(u8 vector)
{
	apic_write(APIC_ICR, 0x44000 | vector);
	while (apic_read(APIC_ICR) & 1 << 12)
		;
}

/* Lets one interrupt in, if there is one: its vector, or 0. */
static u32 take(void)
{
	struct ctx c = run((struct ctx){RING0, .ip = open_window});

	return c.vector == VECTOR_END ? 0 : c.vector;
}

/* Waits for one, for a long time if need be. */
static u32 wait_for(void)
{
	struct ctx c = run((struct ctx){RING0, .ip = wait_code, .cx = 200000000});

	return c.vector == VECTOR_END ? 0 : c.vector;
}

static void drain(void)
{
	while (take())
		eoi();
}

static void registers(void)
{
	apic_write(APIC_SVR, 0xff);
	apic_write(APIC_LVT_TIMER, 0x40);
	check("svr/soft-disabled-lvts-stay-masked", "1", "%u", apic_read(APIC_LVT_TIMER) >> 16 & 1);
	virtual_wire();
	check("id/bsp", "0", "%x", apic_read(APIC_ID) >> 24);
	check("version/integrated", "1", "%u",
	      (apic_read(APIC_VERSION) & 0xff) >= 0x10 && (apic_read(APIC_VERSION) & 0xff) < 0x20);
	check("version/max-lvt", "1", "%u", (apic_read(APIC_VERSION) >> 16 & 0xff) >= 3);
	apic_write(APIC_LDR, 0xffffffff);
	check("ldr/only-top-byte", "ff000000", "%x", apic_read(APIC_LDR));
	apic_write(APIC_DFR, 0);
	check("dfr/low-28-bits-are-ones", "fffffff", "%x", apic_read(APIC_DFR));
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_TPR, 0x123);
	check("tpr/8-bits", "23", "%x", apic_read(APIC_TPR));
	ulong cr8;
	asm volatile("mov %%cr8, %0" : "=r"(cr8));
	check("cr8/is-tpr-class", "2", "%lx", cr8);
	asm volatile("mov %0, %%cr8" : : "r"(7ul));
	check("tpr/written-by-cr8", "70", "%x", apic_read(APIC_TPR));
	check("ppr/follows-tpr", "70", "%x", apic_read(APIC_PPR));
	apic_write(APIC_TPR, 0);
	apic_write(APIC_TIMER_DIVIDE, 0xff);
	check("divide/only-bits-0-1-3", "b", "%x", apic_read(APIC_TIMER_DIVIDE));
	apic_write(APIC_ICR2, 0xff000000);
	check("icr2/read-back", "ff000000", "%x", apic_read(APIC_ICR2));
}

static void self_and_priority(void)
{
	u32 v;

	self_ipi(0x51);
	check("self/pending-in-irr", "1 0", "%u %u", in_request(0x51), in_service(0x51));
	v = take();
	check("self/taken", "51 irr=0 isr=1 ppr=50", "%x irr=%u isr=%u ppr=%x", v, in_request(0x51), in_service(0x51),
	      apic_read(APIC_PPR));
	eoi();
	check("self/eoi", "0 ppr=0", "%u ppr=%x", in_service(0x51), apic_read(APIC_PPR));
	/* Higher class first; the same or a lower class waits for EOI. */
	self_ipi(0x45);
	self_ipi(0x95);
	self_ipi(0x63);
	v = take();
	check("priority/highest-first", "95", "%x", v);
	v = take();
	check("priority/lower-class-waits", "0", "%x", v);
	self_ipi(0x9f);
	v = take();
	check("priority/same-class-waits", "0", "%x", v);
	self_ipi(0xa0);
	v = take();
	check("priority/higher-class-nests", "a0", "%x", v);
	eoi();
	check("priority/eoi-clears-the-highest", "0 1", "%u %u", in_service(0xa0), in_service(0x95));
	eoi();
	v = take();
	check("priority/then-9f", "9f", "%x", v);
	eoi();
	v = take();
	check("priority/then-63", "63", "%x", v);
	eoi();
	v = take();
	check("priority/then-45", "45", "%x", v);
	eoi();
	/* TPR holds back its own class and those below. */
	apic_write(APIC_TPR, 0x5f);
	self_ipi(0x5f);
	v = take();
	check("tpr/holds-same-class", "0 irr=1", "%x irr=%u", v, in_request(0x5f));
	self_ipi(0x60);
	v = take();
	check("tpr/lets-higher-class", "60", "%x", v);
	check("ppr/higher-of-tpr-and-isr", "60", "%x", apic_read(APIC_PPR));
	eoi();
	check("ppr/tpr-with-its-subclass", "5f", "%x", apic_read(APIC_PPR));
	apic_write(APIC_TPR, 0);
	v = take();
	check("tpr/released", "5f", "%x", v);
	eoi();
	self_ipi(0x71);
	self_ipi(0x71);
	v = take();
	eoi();
	check("irr/one-bit-per-vector", "71 then 0", "%x then %x", v, take());
	self_ipi(0x71);
	take();
	self_ipi(0x71);
	check("irr/and-isr-both", "1 1", "%u %u", in_request(0x71), in_service(0x71));
	eoi();
	v = take();
	check("irr/again-after-eoi", "71", "%x", v);
	eoi();
	eoi();
	check("eoi/with-nothing-in-service", "0", "%x", take());
	/* Interrupts are recognised after MOV to CR8 lowers the priority. */
	asm volatile("mov %0, %%cr8" : : "r"(15ul));
	self_ipi(0x81);
	struct ctx c = TRY(RING0, CODE("sti; nop; xor %eax, %eax; mov %rax, %cr8; nop; nop; nop; cli"));
	check("cr8/lowering-lets-in", "int 0x81 1", "int %#lx %u", c.vector, c.ip - c.start >= 8);
	eoi();
}

static void destinations(void)
{
	u32 v, id = apic_read(APIC_ID) >> 24;

	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 0x04000000);
	apic_send(id, 0x4052);
	v = take();
	check("physical/own-id", "52", "%x", v);
	eoi();
	apic_send(0xff, 0x4053);
	v = take();
	check("physical/broadcast", "53", "%x", v);
	eoi();
	apic_send(0x04, 0x4854);
	v = take();
	check("logical-flat/match", "54", "%x", v);
	eoi();
	apic_send(0xfc, 0x4855);
	v = take();
	check("logical-flat/any-common-bit", "55", "%x", v);
	eoi();
	apic_send(0xfb, 0x4856);
	v = take();
	check("logical-flat/no-common-bit", "0", "%x", v);
	apic_write(APIC_DFR, 0x0fffffff);
	apic_write(APIC_LDR, 0x32000000);
	apic_send(0x32, 0x4857);
	v = take();
	check("logical-cluster/match", "57", "%x", v);
	eoi();
	apic_send(0x3d, 0x4858);
	v = take();
	check("logical-cluster/other-member", "0", "%x", v);
	apic_send(0x22, 0x4859);
	v = take();
	check("logical-cluster/other-cluster", "0", "%x", v);
	apic_send(0xff, 0x485a);
	v = take();
	check("logical-cluster/broadcast", "5a", "%x", v);
	eoi();
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 0x01000000);
	apic_send(0x01, 0x495b);
	v = take();
	check("lowest-priority/only-candidate", "5b", "%x", v);
	eoi();
	apic_write(APIC_ICR, 0x8405c); /* all including self */
	v = take();
	check("shorthand/all-including-self", "5c", "%x", v);
	eoi();
	apic_write(APIC_ICR, 0xc405d); /* all excluding self */
	v = take();
	check("shorthand/all-excluding-self", "0", "%x", v);
}

static void errors(void)
{
	apic_write(APIC_LVT_ERROR, 0xe1);
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ESR, 0);
	check("esr/clear", "0", "%x", apic_read(APIC_ESR));
	apic_write(APIC_ICR, 0x44003); /* vector 3 is illegal */
	u32 v = take();
	if (v)
		eoi();
	apic_write(APIC_ESR, 0);
	check("esr/illegal-vector", "20 by vector e1|40 by vector e1|60 by vector e1", "%x by vector %x",
	      apic_read(APIC_ESR), v);
	apic_write(APIC_ESR, 0);
	check("esr/second-write-clears", "0", "%x", apic_read(APIC_ESR));
	apic_write(APIC_LVT_ERROR, 0x10000);
}

static void timer(void)
{
	u32 v, a, b;

	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, 0x10041);
	apic_write(APIC_TIMER_INITIAL, 0xffffffff);
	a = apic_read(APIC_TIMER_CURRENT);
	for (u32 i = 0; i < 1000; i++)
		asm volatile("pause");
	b = apic_read(APIC_TIMER_CURRENT);
	check("timer/counts-down", "1", "%u", b < a && b > 0);
	check("timer/initial-reads-back", "ffffffff", "%x", apic_read(APIC_TIMER_INITIAL));
	apic_write(APIC_TIMER_INITIAL, 0);
	check("timer/initial-0-stops", "0", "%x", apic_read(APIC_TIMER_CURRENT));
	apic_write(APIC_LVT_TIMER, 0x41);
	apic_write(APIC_TIMER_INITIAL, 5000);
	v = wait_for();
	check("timer/one-shot", "41 current=0", "%x current=%x", v, apic_read(APIC_TIMER_CURRENT));
	eoi();
	for (u32 i = 0; i < 100000; i++)
		asm volatile("pause");
	check("timer/one-shot-only-once", "0", "%x", take());
	/* Masked: it runs out without an interrupt, and unmasking does not bring it back. */
	apic_write(APIC_LVT_TIMER, 0x10041);
	apic_write(APIC_TIMER_INITIAL, 100);
	while (apic_read(APIC_TIMER_CURRENT))
		;
	apic_write(APIC_LVT_TIMER, 0x41);
	check("timer/masked-expiry-is-lost", "0", "%x", take());
	apic_write(APIC_LVT_TIMER, 0x20042);
	apic_write(APIC_TIMER_INITIAL, 20000);
	for (a = 0; a < 3; a++) {
		if (wait_for() != 0x42)
			break;
		eoi();
	}
	check("timer/periodic", "3", "%u", a);
	check("timer/periodic-reloads", "1", "%u", apic_read(APIC_TIMER_CURRENT) > 0);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, 0x10000);
	drain();
	/* SDM vol. 3, "TSC-Deadline Mode". */
	if (!HAS_TSC_DEADLINE) {
		absent("deadline");
		return;
	}
	apic_write(APIC_LVT_TIMER, 0x40043);
	asm volatile("mfence" : : : "memory");
	apic_write(APIC_TIMER_INITIAL, 1000);
	check("deadline/initial-count-ignored", "0", "%x", apic_read(APIC_TIMER_CURRENT));
	wrmsr(MSR_TSC_DEADLINE, rdmsr(MSR_TSC) + 100000);
	check("deadline/armed", "1", "%u", rdmsr(MSR_TSC_DEADLINE) != 0);
	v = wait_for();
	check("deadline/fires-and-disarms", "43 0", "%x %x", v, (u32)rdmsr(MSR_TSC_DEADLINE));
	eoi();
	wrmsr(MSR_TSC_DEADLINE, 1);
	check("deadline/in-the-past", "43", "%x", wait_for());
	eoi();
	wrmsr(MSR_TSC_DEADLINE, rdmsr(MSR_TSC) + 10000000000);
	wrmsr(MSR_TSC_DEADLINE, 0);
	check("deadline/0-disarms", "0", "%x", (u32)rdmsr(MSR_TSC_DEADLINE));
	wrmsr(MSR_TSC_DEADLINE, rdmsr(MSR_TSC) + 10000000000);
	apic_write(APIC_LVT_TIMER, 0x43);
	check("deadline/mode-change-disarms", "0", "%x", (u32)rdmsr(MSR_TSC_DEADLINE));
	apic_write(APIC_LVT_TIMER, 0x10000);
}

#define IOAPIC 0xfec00000ul
static u32 ioapic_read(u32 reg)
{
	*(volatile u32 *)IOAPIC = reg;
	return *(volatile u32 *)(IOAPIC + 0x10);
}

static void ioapic_write(u32 reg, u32 v)
{
	*(volatile u32 *)IOAPIC = reg;
	*(volatile u32 *)(IOAPIC + 0x10) = v;
}

static void redirect(u32 pin, u32 low, u32 high)
{
	ioapic_write(0x10 + pin * 2, 0x10000);
	ioapic_write(0x11 + pin * 2, high);
	ioapic_write(0x10 + pin * 2, low);
}

static void ioapic(void)
{
	u32 v, id = apic_read(APIC_ID) >> 24;

	check("ioapic/24-pins", "17", "%x", ioapic_read(1) >> 16 & 0xff);
	ioapic_write(0x12, 0xffffffff);
	check("ioapic/read-only-bits", "0", "%x", ioapic_read(0x12) & 0x5000);
	ioapic_write(0x12, 0x10000);
	/* The 8254 (pin 2), edge. */
	redirect(2, 0x61, id << 24);
	raise_irq0();
	for (v = 0; v < 1000000 && !in_request(0x61); v++)
		;
	v = take();
	check("ioapic/edge", "61 tmr=0", "%x tmr=%u", v, apic_read(APIC_TMR + 0x30) >> 1 & 1);
	eoi();
	check("ioapic/edge-once", "0", "%x", take());
	ioapic_write(0x14, 0x10061);
	outb(0x43, 0x30);
	/* The UART's transmitter-empty interrupt (pin 4) as a level: it stays until IIR is read. */
	while (!(inb(0x3f8 + 5) & 0x40))
		;
	inb(0x3f8 + 2);
	redirect(4, 0x8062, id << 24);
	outb(0x3f8 + 4, 0x0b);
	outb(0x3f8 + 1, 2);
	v = take();
	check("level/delivered", "62 remote-irr=1 tmr=1", "%x remote-irr=%u tmr=%u", v, ioapic_read(0x18) >> 14 & 1,
	      apic_read(APIC_TMR + 0x30) >> 2 & 1);
	eoi();
	v = take();
	check("level/again-while-asserted", "62", "%x", v);
	inb(0x3f8 + 2);
	eoi();
	v = take();
	check("level/quiet-when-deasserted", "0 remote-irr=0", "%x remote-irr=%u", v, ioapic_read(0x18) >> 14 & 1);
	outb(0x3f8 + 1, 0);
	outb(0x3f8 + 4, 3);
	redirect(4, 0x18062, 0);
	drain();
	/* Masked, then unmasked while the level is there. */
	outb(0x3f8 + 4, 0x0b);
	outb(0x3f8 + 1, 2);
	v = take();
	check("level/masked", "0", "%x", v);
	ioapic_write(0x18, 0x8062);
	v = take();
	check("level/unmasked-later", "62", "%x", v);
	inb(0x3f8 + 2);
	outb(0x3f8 + 1, 0);
	outb(0x3f8 + 4, 3);
	eoi();
	ioapic_write(0x18, 0x10000);
	drain();
	/* Logical and lowest-priority destinations. */
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_LDR, 0x01000000);
	redirect(2, 0x963, 1 << 24);
	raise_irq0();
	v = wait_for();
	check("ioapic/lowest-priority-logical", "63", "%x", v);
	eoi();
	outb(0x43, 0x30);
	ioapic_write(0x14, 0x10000);
}

/* SDM vol. 3, "Extended xAPIC (x2APIC)". */
static void x2apic(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);
	u32 v;
	ulong rd = CODE("rdmsr"), wr = CODE("wrmsr");

	if (!HAS_X2APIC) {
		absent("x2apic");
		return;
	}
	T("x2apic/msr-in-xapic-mode", "#GP(0x0)+0", RING0, rd, .cx = 0x802);
	wrmsr(MSR_APIC_BASE, base | 0x400);
	check("x2apic/enabled", "c00", "%x", (u32)rdmsr(MSR_APIC_BASE) & 0xc00);
	check("x2apic/id", "0", "%x", (u32)rdmsr(0x802));
	check("x2apic/ldr-from-id", "1", "%x", (u32)rdmsr(0x80d));
	wrmsr(0x80f, 0x1ff);
	wrmsr(0x830, 0x44051);
	v = take();
	check("x2apic/icr-self", "51", "%x", v);
	wrmsr(0x80b, 0);
	wrmsr(0x83f, 0x52);
	v = take();
	check("x2apic/self-ipi-msr", "52 isr=1", "%x isr=%u", v, (u32)rdmsr(0x812) >> 18 & 1);
	wrmsr(0x80b, 0);
	wrmsr(0x830, (u64)rdmsr(0x802) << 32 | 0x4053);
	v = take();
	check("x2apic/icr-physical", "53", "%x", v);
	wrmsr(0x80b, 0);
	wrmsr(0x830, (u64)1 << 32 | 0x4854);
	v = take();
	check("x2apic/icr-logical", "54", "%x", v);
	wrmsr(0x80b, 0);
	wrmsr(0x808, 0x30);
	check("x2apic/tpr-ppr", "30 30", "%x %x", (u32)rdmsr(0x808), (u32)rdmsr(0x80a));
	wrmsr(0x808, 0);
	T("x2apic/eoi-nonzero", "#GP(0x0)+0", RING0, wr, .cx = 0x80b, .ax = 1, .dx = 0);
	T("x2apic/read-eoi", "#GP(0x0)+0", RING0, rd, .cx = 0x80b);
	T("x2apic/write-id", "#GP(0x0)+0", RING0, wr, .cx = 0x802, .ax = 1, .dx = 0);
	T("x2apic/write-isr", "#GP(0x0)+0", RING0, wr, .cx = 0x810, .ax = 0, .dx = 0);
	T("x2apic/no-dfr", "#GP(0x0)+0", RING0, rd, .cx = 0x80e);
	T("x2apic/no-icr2", "#GP(0x0)+0", RING0, rd, .cx = 0x831);
	T("x2apic/write-ldr", "#GP(0x0)+0", RING0, wr, .cx = 0x80d, .ax = 1, .dx = 0);
	T("x2apic/tpr-reserved", "#GP(0x0)+0", RING0, wr, .cx = 0x808, .ax = 0x100, .dx = 0);
	T("x2apic/svr-reserved", "#GP(0x0)+0", RING0, wr, .cx = 0x80f, .ax = 0x100001ff, .dx = 0);
	T("x2apic/esr-nonzero", "#GP(0x0)+0", RING0, wr, .cx = 0x828, .ax = 1, .dx = 0);
	T("x2apic/self-ipi-read", "#GP(0x0)+0", RING0, rd, .cx = 0x83f);
	T("x2apic/upper-half-of-lvt", "#GP(0x0)+0", RING0, wr, .cx = 0x832, .ax = 0x10000, .dx = 1);
	T("x2apic/ring3", "#GP(0x0)+0", RING3, rd, .cx = 0x802);
	T("x2apic/back-to-xapic", "#GP(0x0)+0", RING0, wr, .cx = MSR_APIC_BASE, .ax = (u32)base & ~0x400u,
	  .dx = base >> 32);
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	check("x2apic/by-way-of-disabled", "0", "%x", (u32)rdmsr(MSR_APIC_BASE) & 0xc00);
	check("x2apic/cpuid-apic-clear-when-disabled", "0", "%u", cpu_has(1, 0, 3, 9));
	T("x2apic/disabled-to-x2apic", "#GP(0x0)+0", RING0, wr, .cx = MSR_APIC_BASE, .ax = (u32)base | 0x400,
	  .dx = base >> 32);
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	wrmsr(MSR_APIC_BASE, base);
	virtual_wire();
	check("x2apic/xapic-again", "1", "%u", cpu_has(1, 0, 3, 9));
}

/* The second processor, in flat protected mode with an interrupt table of its own. */
asm(".pushsection .snippet,\"ax\"\n"
    ".code32\n"
    "ap_protected_main:\n"
    "mov %ebx, ap_cr0; mov %esi, ap_edx; mov $1, %eax; cpuid; mov %eax, ap_signature; shr $24, %ebx; mov %ebx, ap_id\n"
    "lidt ap_idt_pointer; movl $0x1ff, 0xfee000f0; movl $0x02000000, 0xfee000d0; movl $0xffffffff, 0xfee000e0\n"
    "lock incl ap_ready; sti\n"
    "1: cmpl $0, ap_work; jne 2f; pause; jmp 1b\n"
    "2: movl $0, ap_work; mov $20000, %ecx\n"
    "3: lock incl shared_lock; loop 3b; mov $20000, %ecx\n"
    "4: mov $1, %eax; 5: xchg %eax, spin; test %eax, %eax; jz 6f; pause; jmp 5b; 6: incl shared_spin; movl $0, spin; "
    "loop 4b\n"
    "lock incl ap_done; jmp 1b\n"
    "ap_ipi: lock incl ap_ticks; push %eax; movl $0, 0xfee000b0; pop %eax; iret\n"
    "ap_nmi: lock incl ap_nmis; iret\n"
    ".code64\n"
    ".popsection\n");
extern u8 ap_protected_main[], ap_ipi[], ap_nmi[];
volatile u32 ap_ready, ap_cr0, ap_edx, ap_signature, ap_id, ap_work, ap_done, ap_ticks, ap_nmis, shared_lock,
	shared_spin, spin;
u64 ap_idt[256];
struct __attribute__((packed)) {
	u16 limit;
	u32 base;
} ap_idt_pointer;

static void second_processor(void)
{
	ap_idt_pointer.limit = sizeof(ap_idt) - 1;
	ap_idt_pointer.base = (u32)(ulong)ap_idt;
	ap_idt[0x70] = gate_descriptor(SEL_CODE0_32, (u32)(ulong)ap_ipi, ACC_INT, 0);
	ap_idt[VEC_NMI] = gate_descriptor(SEL_CODE0_32, (u32)(ulong)ap_nmi, ACC_INT, 0);
	if (!start_second_cpu((ulong)ap_protected_main) || !reaches(&ap_ready, 1)) {
		absent("smp");
		return;
	}
	check("smp/ap-cr0", "60000010", "%x", ap_cr0);
	check("smp/ap-edx-is-signature", "1", "%u", ap_edx == ap_signature);
	check("smp/ap-id", "1", "%x", ap_id);
	apic_write(APIC_ICR, 0xc4608);
	pause_for(100000);
	check("smp/second-startup-ignored", "1", "%u", ap_ready);
	apic_send(1, 0x4070);
	check("smp/ipi-physical", "1", "%u", reaches(&ap_ticks, 1));
	apic_send(2, 0x4870);
	check("smp/ipi-logical", "1", "%u", reaches(&ap_ticks, 2));
	apic_write(APIC_ICR, 0xc4070);
	check("smp/ipi-all-excluding-self", "1", "%u", reaches(&ap_ticks, 3));
	apic_send(2, 0x4970);
	check("smp/ipi-lowest-priority", "1", "%u", reaches(&ap_ticks, 4));
	apic_send(1, 0x4400);
	check("smp/nmi", "1", "%u", reaches(&ap_nmis, 1));
	check("smp/none-here", "0", "%x", take());
	ap_work = 1;
	for (u32 i = 0; i < 20000; i++)
		asm volatile("lock incl %0" : "+m"(shared_lock));
	for (u32 i = 0; i < 20000; i++) {
		u32 one = 1;

		do {
			one = 1;
			asm volatile("xchg %0, %1" : "+r"(one), "+m"(spin) : : "memory");
			if (one)
				asm volatile("pause");
		} while (one);
		shared_spin++;
		spin = 0;
	}
	check("smp/work-done", "1", "%u", reaches(&ap_done, 1));
	check("smp/lock-prefix-is-atomic", "40000", "%u", shared_lock);
	check("smp/xchg-lock", "40000", "%u", shared_spin);
	/* INIT stops it; a start-up IPI starts it again. */
	apic_send(1, 0x4500);
	pause_for(100000);
	apic_send(1, 0x4070);
	pause_for(100000);
	check("smp/init-stops", "4", "%u", ap_ticks);
	apic_send(1, 0x4608);
	check("smp/started-again", "1", "%u", reaches(&ap_ready, 2));
}

void chapter_main(void)
{
	open_window = CODE("sti; nop; nop; nop; cli");
	wait_code = CODE("sti; nop; 1: pause; loop 1b; cli");
	registers();
	self_and_priority();
	destinations();
	errors();
	timer();
	ioapic();
	second_processor();
	x2apic();
}

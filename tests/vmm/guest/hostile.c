/*
 * A hostile guest: ATTEMPTS times something picked at random that a VMM must survive: every instruction that can exit, with random operands; random
 * MSRs, ports, and memory where devices are or nothing is; random bytes executed in ring 3. A last part, which may kill this machine but nothing
 * else, executes random bytes in ring 0. The numbers come from SEED, so that a run repeats.
 *
 * It keeps itself alive: any exception or interrupt ends an attempt; what an attempt may have broken is put back before the next one; ports that
 * switch the machine off or reset it are left out, and what the VMM stops a guest for: FXSAVE areas and strings where there is no RAM, a local APIC
 * over RAM. With LETHAL nothing but power-off is left out; then it is not to say when it ends.
 */
#include "guest.h"

#ifndef SEED
#define SEED 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 20000
#endif
#ifndef LETHAL
#define LETHAL 0
#endif

enum { RING0_ATTEMPTS = 200, USER = 0x200000, SCRATCH = 0x210000, APIC = 0xfee00000u, TIMER_VECTOR = 0x40 };

extern uint64_t gdt[];

static uint64_t seed = SEED;

/* Marsaglia, "Xorshift RNGs". */
static uint64_t random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

/* Numbers near which mistakes are made, as often as any. */
static uint64_t odd(void)
{
	uint64_t r = random();

	switch (r & 7) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return 1ull << (r >> 8 & 63);
	case 3: return (1ull << (r >> 8 & 63)) - 1;
	case 4: return r >> 8 & 0xff;
	case 5: return r >> 32;
	case 6: return 0xfee00000 + (r >> 8 & 0xfff);
	default: return random();
	}
}

/* attempt(f) calls f and returns 0, or 1 more than the number of the exception or interrupt that ended it. Handlers come back by IRET, so that NMIs are let
   through again. */
unsigned attempt(void (*f)(void));
void trap_stubs(void);

__asm__("	.text\n"
	"attempt:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, saved_rsp\n"
	"	call *%rdi\n"
	"	xor %eax, %eax\n"
	"attempt_end:\n"
	"	cli; cld\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"	.balign 16\n"
	"trap_stubs:\n"
	"	.set n, 0\n"
	"	.rept 256\n"
	"	.balign 16\n"
	"	mov $n + 1, %eax\n"
	"	jmp trap\n"
	"	.set n, n + 1\n"
	"	.endr\n"
	"trap:	mov saved_rsp, %rbx\n"
	"	mov $trap_stack_top, %esp\n"
	"	push $16; push %rbx; push $2; push $8; push $attempt_end\n"
	"	iretq\n"
	"	.bss\n"
	"	.balign 8\n"
	"saved_rsp: .quad 0\n"
	"	.text\n");

static uint64_t idt[512];

static void load_idt(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt}, gdtr = {6 * 8 + 7, (uint64_t)gdt};

	for (unsigned i = 0; i < 256; i++) {
		uint64_t at = (uint64_t)trap_stubs + 16 * i;

		idt[2 * i] = (at & 0xffff) | 8 << 16 | 1ull << 32 | 0xeeull << 40 | (at >> 16 & 0xffff) << 48;
		idt[2 * i + 1] = 0;
	}
	__asm__ volatile("lidt %0; lgdt %1" : : "m"(idtr), "m"(gdtr));
}

static void apic_write(unsigned offset, uint32_t value) { *(volatile uint32_t *)(uintptr_t)(APIC + offset) = value; }

/* What an attempt may have changed. */
static void mend(void)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(0x80000033ull));
	__asm__ volatile("mov %0, %%cr3" : : "r"(0x1000ull));
	__asm__ volatile("mov %0, %%cr4" : : "r"(0x620ull));
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
	__asm__ volatile("mov %0, %%cr8" : : "r"(0ull));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %0, %%ss" : : "r"(16));
	load_idt();
	wrmsr(0x1b, 0xfee00900);
}

static void arm_timer(unsigned count)
{
	apic_write(0xf0, 0x1ff);
	apic_write(0x80, 0);
	apic_write(0x320, TIMER_VECTOR);
	apic_write(0x3e0, 0xb);
	apic_write(0x380, count | 1);
	for (unsigned class = 0; class < 16; class++)
		apic_write(0xb0, 0); /* whatever is in service */
}

static void random_bytes(uint8_t *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		at[i] = (uint8_t)(random() >> 24);
	/* Often, what starts many instructions that exit. */
	if (random() & 1)
		at[0] = 0x0f;
	for (unsigned i = n; i < n + 16; i++)
		at[i] = 0xcc;
}

static uint64_t mmio(void)
{
	static const uint64_t bases[] = {0xfee00000, 0xfec00000, 0xa0000, 0xfed00000, 0xf0000000, 0xc0000000, 0xfffff000, 0xfee00000};

	return bases[random() & 7] + (random() & 0xfff);
}

static uint16_t port(void)
{
	static const uint16_t known[] = {0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0xcf8, 0xcfc, 0x3f8, 0x3f9, 0x3fa, 0x3fb,
					 0x3fc, 0x4d0, 0x4d1, 0x60, 0x80, 0x600, 0x602, 0x608, 0xe9, 0x3fd, 0x3fe, 0x3ff, 0xcfd, 0xcfe, 0xffff};
	uint16_t p = random() & 1 ? known[random() & 31] : (uint16_t)random();

	/* Not what switches off or resets: port 64H, port 92H, PM1a control, the reset register; wide accesses reach 3 further. */
	if (LETHAL)
		return p >= 0x601 && p <= 0x607 ? 0x80 : p;
	if ((p >= 0x61 && p <= 0x64) || (p >= 0x8f && p <= 0x92) || (p >= 0x601 && p <= 0x607) || (p >= 0xcf6 && p <= 0xcf9))
		p = 0x80;
	return p;
}

/* Itself it spares. */
static uint64_t not_low(uint64_t at) { return at < USER ? at | USER : at; }

/* Attempts. */
static void op_cpuid(void)
{
	uint32_t a = (uint32_t)odd(), b, c = (uint32_t)odd(), d;

	if (random() & 1)
		a = (uint32_t)(random() & 0x1f);
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

static uint32_t msr_number(void)
{
	static const uint32_t bases[] = {0, 0x10, 0x1b, 0x3a, 0x174, 0x200, 0x250, 0x2ff, 0x480, 0x6e0, 0x800, 0xc0000080, 0xc0000100, 0xda0, 0xc0010000, 0x40000000};

	return random() & 7 ? bases[random() & 15] + (random() & 0x1f) : (uint32_t)random();
}

static void op_rdmsr(void)
{
	uint32_t a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr_number()));
}

static uint32_t written_msr;
static uint64_t written_before, written_value;

static void read_before(void)
{
	uint32_t a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(written_msr));
	written_before = (uint64_t)d << 32 | a;
}

static void write_value(void) { wrmsr(written_msr, written_value); }

/* Not by attempt(): it makes attempts of its own. */
static void try_wrmsr(void)
{
	written_msr = msr_number();
	if (written_msr == 0x1b && !LETHAL)
		written_msr = 0x10;
	if (attempt(read_before))
		written_before = 0;
	written_value = random() & 1 ? written_before ^ 1ull << (random() & 63) : odd();
	if (written_msr == 0x830)
		written_value &= ~0x700ull;
	attempt(write_value);
	written_value = written_before;
	if (written_msr != 0x10)
		attempt(write_value);
}

static void op_in(void)
{
	uint32_t a;

	switch (random() % 3) {
	case 0: __asm__ volatile("inb %1, %%al" : "=a"(a) : "d"(port())); break;
	case 1: __asm__ volatile("inw %1, %%ax" : "=a"(a) : "d"(port())); break;
	default: __asm__ volatile("inl %1, %%eax" : "=a"(a) : "d"(port())); break;
	}
}

static void op_out(void)
{
	switch (random() % 3) {
	case 0: __asm__ volatile("outb %%al, %1" : : "a"((uint32_t)odd()), "d"(port())); break;
	case 1: __asm__ volatile("outw %%ax, %1" : : "a"((uint32_t)odd()), "d"(port())); break;
	default: __asm__ volatile("outl %%eax, %1" : : "a"((uint32_t)odd()), "d"(port())); break;
	}
	__asm__ volatile("outb %%al, $0xfb" : : "a"(0));
}

static void op_string_io(void)
{
	uint64_t at = random() & 3 ? SCRATCH + (random() & 0xfff) : not_low(odd()), count = random() & 0xff;

	if (random() & 1)
		__asm__ volatile("std");
	switch (random() % 4) {
	case 0: __asm__ volatile("rep insb" : "+D"(at), "+c"(count) : "d"(port()) : "memory"); break;
	case 1: __asm__ volatile("rep outsw" : "+S"(at), "+c"(count) : "d"(port()) : "memory"); break;
	case 2: __asm__ volatile("insl" : "+D"(at) : "d"(port()) : "memory"); break;
	default: __asm__ volatile("addr32 rep outsl" : "+S"(at), "+c"(count) : "d"(port()) : "memory"); break;
	}
}

static void op_memory(void)
{
	uint64_t at = random() & 3 ? mmio() : not_low(odd()), value = odd();

	/* An INIT IPI to itself would leave it waiting for somebody to start it. */
	if ((at & ~0xfffull) == APIC && (at & 0xff0) >= 0x2f0 && (at & 0xff0) <= 0x310)
		value &= ~0x0707070707070707ull;
	switch (random() % (LETHAL && !(random() & 31) ? 12 : 9)) {
	case 0: *(volatile uint8_t *)at = (uint8_t)value; break;
	case 1: *(volatile uint16_t *)at = (uint16_t)value; break;
	case 2: *(volatile uint32_t *)at = (uint32_t)value; break;
	case 3: *(volatile uint64_t *)at = value; break;
	case 4: (void)*(volatile uint8_t *)at; break;
	case 5: (void)*(volatile uint16_t *)at; break;
	case 6: (void)*(volatile uint32_t *)at; break;
	case 7: (void)*(volatile uint64_t *)at; break;
	case 8: __asm__ volatile("xchg %k0, (%1)" : "+r"(value) : "r"(at) : "memory"); break;
	case 9: __asm__ volatile("rep movsb" : : "D"((uint64_t)SCRATCH), "S"(at), "c"(16) : "memory"); break;
	case 10: __asm__ volatile("fxsave (%0)" : : "r"(at & ~15ull) : "memory"); break;
	default: __asm__ volatile("lock orl %1, (%0); push (%0); pop %%rax" : : "r"(at), "r"((uint32_t)value & 0xff) : "memory", "rax"); break;
	}
}

static void op_lock(void)
{
	uint64_t at = mmio();

	__asm__ volatile("lock orl %1, (%0)" : : "r"(at), "r"((uint32_t)random() & 0xff) : "memory");
}

static void op_fetch(void) { __asm__ volatile("call *%0" : : "r"(LETHAL && (random() & 1) ? odd() : mmio()) : "memory"); }

static void op_control(void)
{
	uint64_t v = odd();

	switch (random() % 12) {
	case 0: __asm__ volatile("mov %0, %%cr0" : : "r"(0x80000033 ^ 1ull << (random() & 63))); break;
	case 1: __asm__ volatile("mov %0, %%cr4" : : "r"(0x620 ^ 1ull << (random() & 63))); break;
	case 2: __asm__ volatile("mov %0, %%cr8" : : "r"(v)); break;
	case 3: __asm__ volatile("mov %0, %%dr7" : : "r"(v)); break;
	case 4: __asm__ volatile("mov %0, %%dr0; mov %0, %%dr3; mov %0, %%dr6" : : "r"(v)); break;
	case 5: __asm__ volatile("clts; mov %%cr0, %0" : "=r"(v)); break;
	case 6: __asm__ volatile("lmsw %w0" : : "r"((uint32_t)v)); break;
	case 7: __asm__ volatile("mov %%cr2, %0; mov %0, %%cr2; mov %%cr8, %0" : "=r"(v)); break;
	case 8: __asm__ volatile("xsetbv" : : "a"((uint32_t)v), "d"((uint32_t)(odd() & random())), "c"((uint32_t)(random() & 1 ? 0 : odd()))); break;
	case 9: __asm__ volatile("mov %%cr4, %0; bts $18, %0; mov %0, %%cr4; xor %%ecx, %%ecx; xsetbv" : "=&r"(v) : "a"((uint32_t)random() & 0xff), "d"(0) : "rcx"); break;
	case 10: __asm__ volatile("invlpg (%0)" : : "r"(v) : "memory"); break;
	default: __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0x82, 0x01" : : "a"(v & 3), "c"((uint64_t)SCRATCH) : "memory"); break; /* INVPCID */
	}
}

static void op_system(void)
{
	uint64_t a = odd(), c = odd(), d = odd(), b = odd();

#define I(text) __asm__ volatile(text : "+a"(a), "+b"(b), "+c"(c), "+d"(d) : : "memory", "cc"); break
	switch (random() % 40) {
	case 0: I("vmcall");
	case 1: I(".byte 0x0f, 0x01, 0xd4"); /* VMFUNC */
	case 2: I("vmlaunch");
	case 3: I("vmresume");
	case 4: I("vmxoff");
	case 5: I("vmread %%rax, %%rcx");
	case 6: I("vmwrite %%rax, %%rcx");
	case 7: I("vmptrld 0x210000");
	case 8: I("vmclear 0x210000");
	case 9: I("vmptrst 0x210000");
	case 10: I("vmxon 0x210000");
	case 11: I("invept 0x210000, %%rax");
	case 12: I("invvpid 0x210000, %%rax");
	case 13: I("getsec");
	case 14: I("rsm");
	case 15: I("invd");
	case 16: I("wbinvd");
	case 17: I("rdpmc");
	case 18: I("rdtscp");
	case 19: I("monitor");
	case 20: I("mwait");
	case 21: I("pause");
	case 22: I(".byte 0xf1"); /* INT1 */
	case 23: I("int3");
	case 24: I("int $0x80");
	case 25: I("syscall");
	case 26: I("sysenter");
	case 27: I("rdrand %%rax");
	case 28: I("rdseed %%rax");
	case 29: I(".byte 0x0f, 0xc7, 0x2c, 0x25, 0, 0, 0x21, 0"); /* XSAVES */
	case 30: I(".byte 0xf2, 0x0f, 0xae, 0xf0"); /* UMWAIT */
	case 31: I(".byte 0x0f, 0x01, 0xcf"); /* ENCLS */
	case 32: I(".byte 0x0f, 0x01, 0xc5"); /* PCONFIG */
	case 33: I("ltr %%ax");
	case 34: I("lldt %%ax");
	case 35: I("sgdt 0x210000; sidt 0x210010; sldt 0x210020; str 0x210030");
	case 36: I("push %%rax; lretq");
	case 37: I("ud2");
	case 38: I("mov %%eax, %%ss; int3");
	default: I("push %%rax; popfq; nop");
	}
#undef I
}

static void op_halt(void)
{
	arm_timer((unsigned)random() & 0xfff);
	for (;;)
		__asm__ volatile("sti; hlt");
}

/* Random bytes in ring 3; the timer ends what does not end by itself. */
static void op_user(void)
{
	random_bytes((uint8_t *)USER, 64);
	arm_timer(2000 + ((unsigned)random() & 0x3fff));
	__asm__ volatile("push $32 + 3; push %0; push $0x202; push $24 + 3; push %1\n"
			 "mov %2, %%rax; mov %2, %%rbx; mov %2, %%rcx; mov %2, %%rdx; mov %2, %%rsi; mov %2, %%rdi; mov %2, %%rbp; mov %2, %%r8\n"
			 "iretq"
			 :
			 : "r"((uint64_t)SCRATCH + 0x800), "r"((uint64_t)USER), "r"((uint64_t)SCRATCH + 0x400)
			 : "memory", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8");
}

static void op_kernel(void)
{
	random_bytes((uint8_t *)USER, 64);
	arm_timer(0x4000);
	__asm__ volatile("sti; call *%0" : : "r"((uint64_t)USER), "a"(odd()), "c"(odd()), "d"(odd()), "b"(odd()), "D"(mmio()), "S"(mmio()) : "memory");
}

int main(void)
{
	static void (*const ops[])(void) = {op_cpuid, op_rdmsr, op_in, op_out, op_string_io, op_memory, op_fetch, op_lock, op_control, op_system, op_halt, op_user,
					    op_memory, op_system, op_control, NULL};
	unsigned kinds[257] = {0};

	/* Ring 3 may go to the 2 MiB at USER. */
	*(uint64_t *)0x1000 |= 4;
	*(uint64_t *)0x2000 |= 4;
	*(uint64_t *)0x3008 |= 4;
	mend();
	put("hostile: ");
	put_number(ATTEMPTS);
	put(" attempts from seed ");
	put_number(SEED);
	put("\r\n");
	for (unsigned i = 1; i <= ATTEMPTS; i++) {
		void (*op)(void) = LETHAL && !(random() & 7) ? op_kernel : ops[random() & 15];

		if (op)
			kinds[attempt(op)]++;
		else
			try_wrmsr();
		mend();
		if (i % (ATTEMPTS / 10) == 0) {
			out8(0x3fb, 3); /* the divisor latch may be open */
			out8(0x3fc, 0);
			put("hostile: ");
			put_number(i);
			put("\r\n");
		}
	}
	for (unsigned i = 0; i < 257; i++) {
		if (kinds[i] && i > 0 && i <= 32) {
			put("hostile: vector ");
			put_number(i - 1);
			put(" ended ");
			put_number(kinds[i]);
			put("\r\n");
		}
	}
	put("hostile: done; now in ring 0\r\n");
	for (unsigned i = 0; i < RING0_ATTEMPTS; i++) {
		attempt(op_kernel);
		mend();
	}
	put("hostile: survived itself\r\n");
	return 0;
}

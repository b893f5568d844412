/*
 * The common runtime of the guest images: COM1, text, descriptor tables, run(), and the report.
 *
 * See guest.h for the model. It drives no more of the board than it must: COM1 by polling, the 8259 pair masked, the
 * two ways to end the machine.
 */
#include "guest.h"

#define COM1	       0x3f8
#define DEBUG_EXIT     0xf4
#define BOCHS_SHUTDOWN 0x8900

extern struct ctx guest;
extern u8 trap_stubs[][16], trap_stack_top[], double_fault_stack_top[], double_fault_entry[], in_guest[];
void guest_enter(void);
void runtime_main(void);
void unexpected(void);
void double_fault_copy(void);

static u32 passed, failed;

u64 ldt[16];
struct gate idt[256] __attribute__((aligned(16)));
struct main_tss main_tss __attribute__((aligned(16)));
static u8 pool[256][4096] __attribute__((aligned(4096)));
static u32 pool_used;

#ifdef __x86_64__
u64 pml4[512] __attribute__((aligned(4096))), pdpt[512] __attribute__((aligned(4096)));
u64 page_dirs[4][512] __attribute__((aligned(4096)));
#define CODE0_FLAGS 0x00af
#else
struct tss32 double_fault_tss __attribute__((aligned(128)));
#define CODE0_FLAGS 0x00cf
#endif

u64 gdt[GDT_ENTRIES] __attribute__((aligned(16))) = {
	[SEL_CODE0 / 8] = 0x00009b000000ffff | (u64)CODE0_FLAGS << 48,
	[SEL_DATA0 / 8] = 0x00cf93000000ffff,
	[SEL_CODE0_32 / 8] = 0x00cf9b000000ffff,
	[SEL_CODE3 / 8] = 0x00cffb000000ffff,
	[SEL_DATA3 / 8] = 0x00cff3000000ffff,
	[SEL_CODE3_64 / 8] = 0x00affb000000ffff,
	[SEL_CODE0_16 / 8] = 0x00009b000000ffff,
	[SEL_DATA0_16 / 8] = 0x000093000000ffff,
};

const struct __attribute__((packed)) {
	u16 limit;
	ulong base;
} gdt_pointer = {sizeof(gdt) - 1, (ulong)gdt}, idt_pointer = {sizeof(idt) - 1, (ulong)idt};

__attribute__((noinline)) void *memset(void *to, int byte, size_t size)
{
	for (u8 *p = to; size--; p++)
		*p = byte;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	u8 *t = to;
	const u8 *f = from;

	while (size--)
		*t++ = *f++;
	return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const u8 *p = a, *q = b;

	for (; size--; p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p)
		p++;
	return p - s;
}

static void serial_put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, c);
}

static void put_text(const char *s)
{
	for (; *s; s++)
		serial_put(*s);
}

struct sink {
	char *at, *end;
};

static void put(struct sink *s, char c)
{
	if (s->at < s->end)
		*s->at++ = c;
}

static void put_number(struct sink *s, u64 v, u32 base, u32 width)
{
	char digits[24];
	u32 n = 0;

	if (base == 10) {
		u32 d = v;

		do
			digits[n++] = '0' + d % 10;
		while (d /= 10);
	} else {
		do
			digits[n++] = "0123456789abcdef"[v & 15];
		while (v >>= 4);
	}
	while (n < width)
		digits[n++] = '0';
	while (n)
		put(s, digits[--n]);
}

static void format_list(struct sink *s, const char *f, va_list args)
{
	for (; *f; f++) {
		u32 width = 0, longs = 0;
		u64 v;

		if (*f != '%') {
			put(s, *f);
			continue;
		}
		if (*++f == '#') {
			put(s, '0');
			put(s, 'x');
			f++;
		}
		for (; *f >= '0' && *f <= '9'; f++)
			width = width * 10 + *f - '0';
		for (; *f == 'l'; f++)
			longs++;
		switch (*f) {
		case 's':
			for (const char *t = va_arg(args, const char *); *t; t++)
				put(s, *t);
			break;
		case 'c': put(s, va_arg(args, int)); break;
		case 'd': {
			int d = va_arg(args, int);

			if (d < 0)
				put(s, '-');
			put_number(s, d < 0 ? -(u32)d : (u32)d, 10, width);
			break;
		}
		case 'u': put_number(s, va_arg(args, u32), 10, width); break;
		case 'x':
			v = longs == 2 ? va_arg(args, u64) : longs ? va_arg(args, ulong) : va_arg(args, u32);
			put_number(s, v, 16, width);
			break;
		default: put(s, *f);
		}
	}
	*s->at = 0;
}

char *format_text(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	format_list(&(struct sink){text, text + size - 1}, format, args);
	va_end(args);
	return text;
}

void print(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	format_list(&(struct sink){line, line + sizeof(line) - 1}, format, args);
	va_end(args);
	put_text(line);
}

static bool one_of(const char *text, const char *choices)
{
	size_t n = strlen(text);

	for (;;) {
		const char *end = choices;

		while (*end && *end != '|')
			end++;
		if ((size_t)(end - choices) == n && !memcmp(choices, text, n))
			return true;
		if (!*end)
			return false;
		choices = end + 1;
	}
}

void check(const char *name, const char *expected, const char *format, ...)
{
	char seen[384];
	va_list args;
	bool good;

	va_start(args, format);
	format_list(&(struct sink){seen, seen + sizeof(seen) - 1}, format, args);
	va_end(args);
	good = one_of(seen, expected);
	print("%s %s/%s: %s", good ? "PASS" : "FAIL", chapter, name, seen);
	if (good) {
		passed++;
		print("\n");
	} else {
		failed++;
		print(" (manual: %s)\n", expected);
	}
}

void absent(const char *name)
{
	print("ABSENT %s/%s\n", chapter, name);
}

const char *outcome(struct ctx c)
{
	static const char names[20][4] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "",
		"#TS", "#NP", "#SS", "#GP", "#PF", "",	  "#MF", "#AC", "#MC", "#XM",
	};
	static char ring[4][96];
	static u32 next;
	char *text = ring[next++ & 3], code[24] = "", cr2[32] = "", where[24];
	ulong delta = c.ip - c.start;

	if (c.vector == VECTOR_END)
		return "ok";
	if (c.vector >= 20 || !names[c.vector][0])
		return format_text(text, 96, "int %#lx+%u", c.vector, (u32)delta);
	if (c.vector == 8 || (c.vector >= 10 && c.vector <= 14) || c.vector == 17)
		format_text(code, sizeof(code), "(%#lx)", c.error);
	if (c.vector == VEC_PF)
		format_text(cr2, sizeof(cr2), " cr2=%#lx", c.cr2);
	if (delta < 4096)
		format_text(where, sizeof(where), "+%u", (u32)delta);
	else
		format_text(where, sizeof(where), "@%s", "elsewhere");
	return format_text(text, 96, "%s%s%s%s", names[c.vector], code, where, cr2);
}

struct ctx run(struct ctx c)
{
	guest = c;
	guest.start = c.ip;
#ifndef __x86_64__
	double_fault_tss.cr3 = read_cr3();
#endif
	guest_enter();
	guest.cs &= 0xffff;
	guest.ss &= 0xffff;
	guest.ds &= 0xffff;
	guest.es &= 0xffff;
	guest.fs &= 0xffff;
	guest.gs &= 0xffff;
	return guest;
}

/* An event outside run(): the image cannot go on. */
void unexpected(void)
{
	guest.start = guest.ip;
	print("FATAL %s: %s at %#lx outside an experiment\n", chapter, outcome(guest), guest.ip);
	failed++;
	finish();
}

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)access << 40 | (u64)(limit >> 16 & 15) << 48 |
	       (u64)(flags & 15) << 52 | (u64)(base >> 24) << 56;
}

u64 gate_descriptor(u16 selector, u32 offset, u8 access, u8 parameters)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)parameters << 32 | (u64)access << 40 |
	       (u64)(offset >> 16) << 48;
}

u16 set_descriptor(u16 sel, u32 base, u32 limit, u8 access, u8 flags)
{
	gdt[sel / 8] = descriptor(base, limit, access, flags);
	return sel;
}

void set_idt(u8 vector, u16 selector, ulong offset, u8 access, u8 ist)
{
	idt[vector] = (struct gate){
		.offset_low = offset,
		.selector = selector,
		.attributes = access << 8 | ist,
		.offset_high = offset >> 16,
#ifdef __x86_64__
		.offset_top = offset >> 32,
#endif
	};
}

void default_idt(u8 vector)
{
	bool user = vector == VECTOR_END || vector == VEC_BP || vector == VEC_OF;

#ifdef __x86_64__
	set_idt(vector, SEL_CODE0, (ulong)trap_stubs[vector], ACC_INT | (user ? ACC_DPL3 : 0), vector == VEC_DF);
#else
	if (vector == VEC_DF)
		set_idt(vector, SEL_DF_TSS, 0, ACC_TASK_GATE, 0);
	else
		set_idt(vector, SEL_CODE0, (ulong)trap_stubs[vector], ACC_INT | (user ? ACC_DPL3 : 0), 0);
#endif
}

void use_ldt(void)
{
	set_descriptor(SEL_LDT, (u32)(ulong)ldt, sizeof(ldt) - 1, ACC_LDT, 0);
	asm volatile("lldt %w0" : : "r"(SEL_LDT) : "memory");
}

void no_ldt(void)
{
	asm volatile("lldt %w0" : : "r"(0) : "memory");
}

void reload_tr(void)
{
	set_descriptor(SEL_TSS, (u32)(ulong)&main_tss, sizeof(main_tss) - 1, ACC_TSS, 0);
	asm volatile("ltr %w0" : : "r"(SEL_TSS) : "memory");
}

#ifndef __x86_64__
/* Runs in the double-fault task: the broken task's state is in the TSS it was switched from. */
void double_fault_copy(void)
{
	u64 d = gdt[(double_fault_tss.link & 0xffff) / 8];
	struct tss32 *t = (struct tss32 *)((u32)(d >> 16 & 0xffffff) | (u32)(d >> 56) << 24);

	guest = (struct ctx){
		.ax = t->eax,
		.bx = t->ebx,
		.cx = t->ecx,
		.dx = t->edx,
		.si = t->esi,
		.di = t->edi,
		.bp = t->ebp,
		.sp = t->esp,
		.ip = t->eip,
		.cs = t->cs,
		.flags = t->eflags,
		.ss = t->ss,
		.ds = t->ds,
		.es = t->es,
		.fs = t->fs,
		.gs = t->gs,
		.vector = VEC_DF,
		.error = guest.error,
		.cr2 = read_cr2(),
		.dr6 = read_dr6(),
		.start = guest.start,
	};
	set_descriptor(SEL_DF_TSS, (u32)&double_fault_tss, sizeof(double_fault_tss) - 1, ACC_TSS, 0);
	reload_tr();
	no_ldt();
}
#endif

static void tss_init(void)
{
	main_tss.t.iomap = IOMAP_NONE;
#ifdef __x86_64__
	main_tss.t.rsp[0] = (ulong)trap_stack_top;
	main_tss.t.ist[0] = (ulong)double_fault_stack_top;
#else
	main_tss.t.ss0 = SEL_DATA0;
	main_tss.t.esp0 = (ulong)trap_stack_top;
	double_fault_tss = (struct tss32){
		.eip = (u32)double_fault_entry,
		.esp = (u32)double_fault_stack_top,
		.eflags = FLAG_FIXED,
		.cs = SEL_CODE0,
		.ss = SEL_DATA0,
		.ds = SEL_DATA0,
		.es = SEL_DATA0,
		.fs = SEL_DATA0,
		.gs = SEL_DATA0,
		.iomap = IOMAP_NONE,
	};
	set_descriptor(SEL_DF_TSS, (u32)&double_fault_tss, sizeof(double_fault_tss) - 1, ACC_TSS, 0);
#endif
	reload_tr();
	no_ldt();
}

void *page_alloc(void)
{
	if (pool_used == sizeof(pool) / sizeof(pool[0])) {
		print("FATAL %s: out of pages\n", chapter);
		failed++;
		finish();
	}
	return pool[pool_used++];
}

void pic_mask(u8 master, u8 slave)
{
	outb(0x21, master);
	outb(0xa1, slave);
}

static void pic_init(void)
{
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, 0x20);
	outb(0xa1, 0x28);
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	pic_mask(0xff, 0xff);
}

bool cpu_has(u32 leaf, u32 subleaf, u32 reg, u32 bit)
{
	u32 r[4];

	cpuid(leaf & 0x80000000, 0, r);
	if (r[0] < leaf)
		return false;
	cpuid(leaf, subleaf, r);
	return r[reg] >> bit & 1;
}

u32 physical_bits(void)
{
	u32 r[4];

	cpuid(0x80000000, 0, r);
	if (r[0] < 0x80000008)
		return 36;
	cpuid(0x80000008, 0, r);
	return r[0] & 0xff;
}

void finish(void)
{
	print("%u passed, %u failed\n", passed, failed);
	while (!(inb(COM1 + 5) & 0x40))
		;
	outb(DEBUG_EXIT, failed ? 0x11 : 0x10);
	for (const char *s = "Shutdown"; *s; s++)
		outb(BOCHS_SHUTDOWN, *s);
	for (;;)
		asm volatile("cli; hlt");
}

void runtime_main(void)
{
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 0x80);
	outb(COM1, 1);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 3);
	outb(COM1 + 2, 7);
	outb(COM1 + 4, 3);
	pic_init();
	for (u32 i = 0; i < 256; i++)
		default_idt(i);
	asm volatile("lidt %0" : : "m"(idt_pointer));
	tss_init();
	chapter_main();
	finish();
}

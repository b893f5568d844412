/*
 * 32-bit paging: permissions with CR0.WP, error codes, accessed and dirty flags, 4-MiB pages, faults in the middle.
 *
 * SDM vol. 3, "32-Bit Paging", "Access Rights", "Page-Fault Exceptions", "Accessed and Dirty Flags". The first 8 MiB
 * are mapped one to one for everyone; experiments look at the window at WINDOW.
 */
#include "guest.h"

const char chapter[] = "paging32";

#define WINDOW 0x40000000u
enum { P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100 };

static u32 *dir, *window, *data[4];

static void setup(void)
{
	dir = page_alloc();
	window = page_alloc();
	for (u32 i = 0; i < 4; i++)
		data[i] = page_alloc();
	for (u32 t = 0; t < 2; t++) {
		u32 *table = page_alloc();

		for (u32 i = 0; i < 1024; i++)
			table[i] = (t * 1024 + i) << 12 | P | RW | US;
		dir[t] = (u32)table | P | RW | US;
	}
	write_cr3((u32)dir);
	write_cr0(read_cr0() | CR0_PG);
}

/* The window's directory entry and its first page, fresh in the TLB. */
static void map(u32 pde_flags, u32 pte)
{
	dir[WINDOW >> 22] = (u32)window | pde_flags;
	window[0] = pte;
	write_cr3((u32)dir);
}

static ulong read_code, write_code, rmw_code;

/* One access from a ring: "ok" or the error code. */
static void probe(char *text, size_t size, u32 ring, ulong code)
{
	struct ctx c;

	if (ring)
		c = TRY(RING3, code);
	else
		c = TRY(RING0, code);
	if (c.vector == VEC_PF && c.cr2 == WINDOW)
		format_text(text, size, "%x", (u32)c.error);
	else
		format_text(text, size, "%s", outcome(c));
}

/* SDM vol. 3, "Determination of Access Rights": the model that the observations are compared with. */
static void expect(char *text, size_t size, u32 pde, u32 pte, u32 ring, bool write, bool wp)
{
	u32 both = pde & pte;
	bool allowed = both & P && (!ring || both & US) && (!write || both & RW || (!ring && !wp));

	if (allowed)
		format_text(text, size, "ok");
	else
		format_text(text, size, "%x", (both & P) | (write ? 2 : 0) | (ring ? 4 : 0));
}

static void rights(void)
{
	for (u32 wp = 0; wp < 2; wp++) {
		write_cr0(wp ? read_cr0() | CR0_WP : read_cr0() & ~CR0_WP);
		for (u32 i = 0; i < 64; i++) {
			u32 pde = i & 7, pte = i >> 3;
			char name[48], seen[5][24], expected[5][24], line[128];

			for (u32 k = 0; k < 5; k++) {
				u32 ring = k < 2 ? 0 : 3;
				ulong code = k == 4 ? rmw_code : k & 1 ? write_code : read_code;

				map(pde, (u32)data[0] | pte);
				probe(seen[k], sizeof(seen[k]), ring, code);
				expect(expected[k], sizeof(expected[k]), pde, pte, ring, code != read_code, wp);
			}
			format_text(name, sizeof(name), "rights/wp%u-pde-%c%c%c-pte-%c%c%c", wp, pde & US ? 'u' : 's',
				    pde & RW ? 'w' : 'r', pde & P ? 'p' : '-', pte & US ? 'u' : 's',
				    pte & RW ? 'w' : 'r', pte & P ? 'p' : '-');
			format_text(line, sizeof(line), "ring0 %s %s ring3 %s %s", expected[0], expected[1],
				    expected[2], expected[3]);
			check(name, line, "ring0 %s %s ring3 %s %s", seen[0], seen[1], seen[2], seen[3]);
			if (pde == 7) {
				/* A read-modify-write is a write from the start. */
				format_text(name, sizeof(name), "rmw/wp%u-pte-%c%c%c", wp, pte & US ? 'u' : 's',
					    pte & RW ? 'w' : 'r', pte & P ? 'p' : '-');
				check(name, expected[4], "%s", seen[4]);
			}
		}
	}
	write_cr0(read_cr0() & ~CR0_WP);
}

static void accessed_dirty(void)
{
	struct ctx c;

	map(P | RW | US, (u32)data[0] | P | RW | US);
	check("ad/none-before", "0 0", "%x %x", dir[WINDOW >> 22] & (A | D), window[0] & (A | D));
	c = TRY(RING0, read_code);
	check("ad/read", "ok 20 20", "%s %x %x", outcome(c), dir[WINDOW >> 22] & (A | D), window[0] & (A | D));
	c = TRY(RING0, write_code);
	check("ad/write-after-read", "ok 20 60", "%s %x %x", outcome(c), dir[WINDOW >> 22] & (A | D),
	      window[0] & (A | D));
	map(P | RW | US, (u32)data[0] | P | RW | US);
	c = TRY(RING3, write_code);
	check("ad/write", "ok 20 60", "%s %x %x", outcome(c), dir[WINDOW >> 22] & (A | D), window[0] & (A | D));
	map(P | US, (u32)data[0] | P | RW | US);
	c = TRY(RING3, write_code);
	check("ad/no-dirty-on-fault", "#PF(0x7)+0 cr2=0x40000000 d=0", "%s d=%u", outcome(c), window[0] >> 6 & 1);
	map(P | RW | US, (u32)data[0] | P | RW | US);
	c = TRY(RING0, CODE("movl 0x40000000, %eax; cmpxchgl %eax, 0x40000000"));
	check("ad/failed-cmpxchg-is-a-write", "ok 60", "%s %x", outcome(c), window[0] & (A | D));
	map(P | RW | US, (u32)data[0] | P | RW | US | 0xe00);
	c = TRY(RING0, read_code);
	check("ad/available-bits-kept", "ok e27", "%s %x", outcome(c), window[0] & 0xfff);
	map(P | RW | US, (u32)data[0] | P | RW | US);
	c = TRY(RING0, CODE("invlpg 0x40000000; prefetcht0_: .byte 0x0f, 0x18, 0x0d; .long 0x40000000"));
	check("ad/prefetch-never-faults", "ok", "%s", outcome(c));
	dir[WINDOW >> 22] = 0;
	write_cr3((u32)dir);
	T("prefetch/not-present", "ok", RING0, CODE(".byte 0x0f, 0x18, 0x0d; .long 0x40000000"));
}

/* SDM vol. 3, "Operation to Invalidate TLBs and Paging-Structure Caches" where it is certain. */
static void invalidation(void)
{
	struct ctx c;

	*data[0] = 0xaaaa;
	*data[1] = 0xbbbb;
	map(P | RW | US, 0);
	T("tlb/not-present", "#PF(0x0)+0 cr2=0x40000000", RING0, read_code);
	window[0] = (u32)data[0] | P | RW | US;
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("tlb/not-present-is-not-cached", "ok aaaa", "%s %x", outcome(c), (u32)c.ax);
	window[0] = (u32)data[1] | P | RW | US;
	invlpg((void *)WINDOW);
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("tlb/invlpg", "ok bbbb", "%s %x", outcome(c), (u32)c.ax);
	window[0] = (u32)data[0] | P | RW | US;
	write_cr3((u32)dir);
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("tlb/mov-cr3", "ok aaaa", "%s %x", outcome(c), (u32)c.ax);
	/* Rights taken away need INVLPG; rights given work at once, since a fault drops the entry. */
	map(P | RW | US, (u32)data[0] | P | US);
	TRY(RING3, read_code);
	window[0] |= RW;
	TRY(RING3, write_code);
	c = TRY(RING3, write_code);
	check("tlb/more-rights-after-a-fault", "ok", "%s", outcome(c));
	window[0] = (u32)data[1] | P | RW | US;
	write_cr0(read_cr0() & ~CR0_PG);
	write_cr0(read_cr0() | CR0_PG);
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("tlb/cr0-pg-flushes", "ok bbbb", "%s %x", outcome(c), (u32)c.ax);
	*data[0] = 0xaaaa;
	if (!HAS_PGE) {
		absent("global");
		return;
	}
	write_cr4(read_cr4() | CR4_PGE);
	map(P | RW | US, (u32)data[0] | P | RW | US | G);
	TRY(RING0, read_code);
	window[0] = (u32)data[1] | P | RW | US | G;
	write_cr4(read_cr4() & ~CR4_PGE);
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("global/cr4-pge-flushes", "ok bbbb", "%s %x", outcome(c), (u32)c.ax);
	write_cr4(read_cr4() | CR4_PGE);
	window[0] = (u32)data[0] | P | RW | US | G;
	invlpg((void *)WINDOW);
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("global/invlpg", "ok aaaa", "%s %x", outcome(c), (u32)c.ax);
	write_cr4(read_cr4() & ~CR4_PGE);
}

/* 4-MiB pages, PSE-36. SDM vol. 3, "Formats of ... a Page-Directory Entry that Maps a 4-MByte Page". */
static void large_pages(void)
{
	struct ctx c;
	u32 *pde = &dir[WINDOW >> 22];

	if (!HAS_PSE) {
		absent("pse");
		return;
	}
	/* Without CR4.PSE the bit is ignored: the entry points to a table. */
	map(P | RW | US | PS, (u32)data[0] | P | RW | US);
	*data[0] = 0x1234;
	c = TRY(RING0, CODE("movl 0x40000000, %eax"));
	check("pse/bit-ignored-when-off", "ok 1234", "%s %x", outcome(c), (u32)c.ax);
	write_cr4(read_cr4() | CR4_PSE);
	*pde = P | RW | US | PS;
	write_cr3((u32)dir);
	*(u32 *)0x7000 = 0x5678;
	c = TRY(RING3, CODE("movl 0x40007000, %eax; movl %eax, 0x40007004"));
	check("pse/maps-4m", "ok 5678 5678 pde=e7", "%s %x %x pde=%x", outcome(c), (u32)c.ax, *(u32 *)0x7004, *pde);
	*pde = P | US | PS;
	write_cr3((u32)dir);
	T("pse/read-only", "#PF(0x7)+0 cr2=0x40007000", RING3, CODE("movl %eax, 0x40007000"));
	*pde = P | RW | PS;
	write_cr3((u32)dir);
	T("pse/supervisor", "#PF(0x5)+0 cr2=0x40007abc", RING3, CODE("movb 0x40007abc, %al"));
	*pde = P | RW | US | PS | 1 << 12; /* PAT */
	write_cr3((u32)dir);
	c = TRY(RING0, CODE("movl 0x40007000, %eax"));
	check("pse/pat-bit-is-no-address", "ok 5678", "%s %x", outcome(c), (u32)c.ax);
	*pde = P | RW | US | PS | 1 << 21;
	write_cr3((u32)dir);
	T("pse/bit-21-reserved", "#PF(0x9)+0 cr2=0x40000000", RING0, read_code);
	T("pse/reserved-write-user", "#PF(0xf)+0 cr2=0x40000000", RING3, write_code);
	*pde = RW | US | PS | 1 << 21;
	write_cr3((u32)dir);
	T("pse/not-present-beats-reserved", "#PF(0x0)+0 cr2=0x40000000", RING0, read_code);
	write_cr4(read_cr4() & ~CR4_PSE);
}

/* Faults on the second page, in the middle of instructions and in accesses the processor makes by itself. */
static void special(void)
{
	struct ctx c;
	u8 *first = (u8 *)data[0];

	dir[WINDOW >> 22] = (u32)window | P | RW | US;
	window[0] = (u32)data[0] | P | RW | US;
	window[1] = 0;
	write_cr3((u32)dir);
	T("cross/read", "#PF(0x0)+0 cr2=0x40001000", RING0, CODE("movl 0x40000ffd, %eax"));
	first[4095] = 0x77;
	T("cross/write", "#PF(0x2)+0 cr2=0x40001000", RING0, CODE("movl %eax, 0x40000fff"), .ax = 0);
	check("cross/write-leaves-first-page", "77", "%x", first[4095]);
	T("cross/user-write", "#PF(0x6)+0 cr2=0x40001000", RING3, CODE("movl %eax, 0x40000ffd"));
	T("cross/locked", "#PF(0x2)+0 cr2=0x40001000", RING0, CODE("lock addl %eax, 0x40000ffe"));
	c = TRY(RING0, CODE("cld; rep movsb"), .si = (ulong)data[1], .di = WINDOW + 4090, .cx = 20);
	check("rep/movs-stops-at-fault", "#PF(0x2)+1 cr2=0x40001000 cx=14 di=1000 si=6", "%s cx=%u di=%x si=%x",
	      outcome(c), (u32)c.cx, (u32)c.di - WINDOW, (u32)c.si - (u32)data[1]);
	window[1] = (u32)data[2] | P | RW | US;
	c = TRY(RING0, c.start + 1, .si = c.si, .di = c.di, .cx = c.cx);
	check("rep/movs-resumes", "ok cx=0 di=100e", "%s cx=%u di=%x", outcome(c), (u32)c.cx, (u32)c.di - WINDOW);
	window[1] = 0;
	invlpg((void *)(WINDOW + 4096));
	c = TRY(RING0, CODE("rep lodsl"), .si = WINDOW + 4096 - 8, .cx = 5);
	check("rep/lods-stops-at-fault", "#PF(0x0)+0 cr2=0x40001000 cx=3 si=1000", "%s cx=%u si=%x", outcome(c),
	      (u32)c.cx, (u32)c.si - WINDOW);
	c = TRY(RING0, CODE("std; rep stosb; cld"), .di = WINDOW + 3, .cx = 10);
	check("rep/stos-backwards-below-window", "#PF(0x2)+1 cr2=0x3fffffff cx=6 di=-1", "%s cx=%u di=%d", outcome(c),
	      (u32)c.cx, (int)(c.di - WINDOW));
	/* PUSHA, ENTER, CALL: the stack pointer is as before the instruction. */
	c = TRY(RING0, CODE("mov %esp, %ebp; mov $0x40001008, %esp; push %eax"));
	check("stack/push", "#PF(0x2)+7 cr2=0x40001004|#DF(0x0)+7", "%s", outcome(c));
	c = TRY(RING3, CODE("pushal"), .sp = WINDOW + 4096 + 8);
	check("stack/pusha-ring3", "#PF(0x6)+0 esp=1008", "%s esp=%x",
	      format_text((char[24]){0}, 24, "#PF(%#lx)+%u", c.error, (u32)(c.ip - c.start)), (u32)c.sp - WINDOW);
	c = TRY(RING3, CODE("call 1f; 1:"), .sp = WINDOW + 4096 + 4);
	check("stack/call-ring3", "#PF(0x6)+0 cr2=0x40001000 esp=1004", "%s esp=%x", outcome(c), (u32)c.sp - WINDOW);
	c = TRY(RING3, CODE("enter $16, $0"), .sp = WINDOW + 4096 + 4, .bp = 5);
	check("stack/enter-ring3", "#PF(0x6)+0 cr2=0x40001000 esp=1004 ebp=5", "%s esp=%x ebp=%x", outcome(c),
	      (u32)c.sp - WINDOW, (u32)c.bp);
	c = TRY(RING3, CODE("popl (%esp)"), .sp = WINDOW + 4096 - 4);
	check("stack/pop-to-memory-ring3", "#PF(0x6)+0 cr2=0x40001000 esp=ffc", "%s esp=%x", outcome(c),
	      (u32)c.sp - WINDOW);
	/* SDM vol. 2, "ENTER": a write to the final stack pointer is checked. */
	window[1] = (u32)data[2] | P | RW | US;
	dir[(WINDOW >> 22) - 1] = 0;
	c = TRY(RING3, CODE("enter $64, $0"), .sp = WINDOW + 16, .bp = 5);
	check("stack/enter-probes-final-esp", "#PF(0x6)+0 cr2=0x3fffffcc esp=10|ok esp=-52", "%s esp=%d", outcome(c),
	      c.vector == VEC_PF ? 10 : (int)(c.sp - WINDOW));
	/* Instruction fetch: from a page that is not there, and with the tail on such a page. */
	window[1] = 0;
	invlpg((void *)(WINDOW + 4096));
	first[4094] = 0x90;
	first[4095] = 0xb8;
	c = run((struct ctx){RING3, .ip = WINDOW + 4094});
	check("fetch/across-page", "#PF(0x4)+1 cr2=0x40001000", "%s", outcome(c));
	c = run((struct ctx){RING0, .ip = WINDOW + 4096});
	check("fetch/not-present", "#PF(0x0)+0 cr2=0x40001000", "%s", outcome(c));
	window[0] = (u32)data[0] | P | RW;
	invlpg((void *)WINDOW);
	c = run((struct ctx){RING3, .ip = WINDOW + 4094});
	check("fetch/supervisor-page", "#PF(0x5)+0 cr2=0x40000ffe", "%s", outcome(c));
	/* Descriptor tables are read with supervisor rights, and the accessed flag is written with them. */
	const struct __attribute__((packed)) {
		u16 limit;
		u32 base;
	} alias = {sizeof(gdt) - 1, WINDOW};
	memcpy(data[0], gdt, sizeof(gdt));
	asm volatile("lgdt %0" : : "m"(alias));
	T("implicit/gdt-on-supervisor-page", "ok", RING3, CODE("mov %eax, %ds"), .ax = SEL_DATA3);
	((u64 *)data[0])[SEL_TEST / 8] = descriptor(0, 0xfffff, 0xf2, SEG_D | SEG_G);
	window[0] = (u32)data[0] | P;
	invlpg((void *)WINDOW);
	write_cr0(read_cr0() | CR0_WP);
	T("implicit/accessed-flag-on-read-only-page",
	  "#PF(0x3)+0 cr2=0x40000074|#PF(0x3)+0 cr2=0x40000075|#PF(0x3)+0 cr2=0x40000070", RING3, CODE("mov %eax, %ds"),
	  .ax = SEL_TEST);
	T("implicit/already-accessed-needs-no-write", "ok", RING3, CODE("mov %eax, %ds"), .ax = SEL_DATA3);
	write_cr0(read_cr0() & ~CR0_WP);
	const struct __attribute__((packed)) {
		u16 limit;
		u32 base;
	} half = {sizeof(gdt) - 1, WINDOW + 4096 - SEL_TEST};
	memcpy((u8 *)data[0] + 4096 - SEL_TEST, gdt, SEL_TEST);
	asm volatile("lgdt %0" : : "m"(half));
	T("implicit/gdt-not-present", "#PF(0x0)+0 cr2=0x40001000", RING3, CODE("mov %eax, %ds"), .ax = SEL_TEST);
	asm volatile("lgdt gdt_pointer");
	/* The IDT across a page boundary: vectors from 0x30 on are not there. */
	const struct __attribute__((packed)) {
		u16 limit;
		u32 base;
	} idt_alias = {sizeof(idt) - 1, WINDOW + 4096 - 0x30 * 8};
	window[0] = (u32)data[0] | P | RW;
	invlpg((void *)WINDOW);
	memcpy((u8 *)data[0] + 4096 - 0x30 * 8, idt, 0x30 * 8);
	asm volatile("lidt %0" : : "m"(idt_alias));
	c = TRY(RING3, CODE("int $0x30"));
	asm volatile("lidt idt_pointer");
	check("implicit/idt-not-present", "#PF(0x0)+0 cr2=0x40001000", "%s", outcome(c));
	/* A page fault while delivering from ring 3 to a stack that is not there: a second one, so a double fault. */
	u32 esp0 = main_tss.t.esp0;
	main_tss.t.esp0 = WINDOW + 4096 + 64;
	c = TRY(RING3, CODE("ud2"));
	main_tss.t.esp0 = esp0;
	check("double/page-fault-twice", "#DF(0x0)+0", "%s", outcome(c));
}

void chapter_main(void)
{
	read_code = CODE("movl 0x40000000, %eax");
	write_code = CODE("movl %eax, 0x40000000");
	rmw_code = CODE("lock orl $0, 0x40000000");
	setup();
	rights();
	accessed_dirty();
	invalidation();
	large_pages();
	special();
}

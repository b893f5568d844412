/*
 * 4-level and 5-level paging: sizes of page, access rights with SMEP, SMAP and protection keys, reserved bits, PCIDs,
 * global pages, canonical addresses.
 *
 * SDM vol. 3, "4-Level Paging and 5-Level Paging", "Access Rights", "Protection Keys", "Process-Context Identifiers
 * (PCIDs)", "Details of TLB Use". The runtime's tables map the first 4 GiB; the window is in the second slot of the
 * PML4.
 */
#include "page_model.h"

const char chapter[] = "paging64";

#define WINDOW	     0x8000000000ul
#define RESERVED_TOP (1ull << physical_bits())

static u64 *win_pdpt, *win_dir, *win;
static u8 *data[2];
static ulong read_code, write_code;

static void setup(void)
{
	win_pdpt = page_alloc();
	win_dir = page_alloc();
	win = page_alloc();
	data[0] = page_alloc();
	data[1] = page_alloc();
	pml4[1] = (u64)win_pdpt | PTE_ALL;
	win_pdpt[0] = (u64)win_dir | PTE_ALL;
	win_dir[0] = (u64)win | PTE_ALL;
	win[0] = (u64)data[0] | PTE_ALL;
	for (u32 i = 0; i < 2; i++)
		memcpy(data[i], (u8[]){0xcd, VECTOR_END, i}, 3);
	read_code = CODE("mov (%rbx), %al");
	write_code = CODE("movb $0xcd, (%rbx)");
}

static void flush(void)
{
	write_cr3(read_cr3());
}

#define W(name, expected, base, code, ...) \
	check(name, expected, "%s", outcome(run((struct ctx){base, .ip = (code), .bx = WINDOW, ##__VA_ARGS__})))
#define AT_WINDOW " cr2=0x8000000000"

static void rights(void)
{
	struct page_mode m = {0};

	write_cr0(read_cr0() & ~CR0_WP);
	page_matrix("plain", m, &win_dir[0], &win[0], WINDOW, (u64)data[0], read_code, write_code);
	m.wp = true;
	write_cr0(read_cr0() | CR0_WP);
	page_matrix("wp", m, &win_dir[0], &win[0], WINDOW, (u64)data[0], read_code, write_code);
	win[0] |= PTE_XD;
	flush();
	W("nx/reserved-without-nxe", "#PF(0x9)+0" AT_WINDOW, RING0, read_code);
	win[0] &= ~PTE_XD;
	if (!HAS_NX) {
		absent("nx");
		return;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	m.nxe = true;
	page_matrix("nx", m, &win_dir[0], &win[0], WINDOW, (u64)data[0], read_code, write_code);
	/* The upper levels count too. */
	pml4[1] |= PTE_XD;
	flush();
	W("levels/xd-in-pml4e", "#PF(0x11)+0" AT_WINDOW, RING0, WINDOW);
	pml4[1] = (pml4[1] & ~PTE_XD) & ~(u64)PTE_RW;
	flush();
	W("levels/read-only-pml4e", "#PF(0x3)+0" AT_WINDOW, RING0, write_code);
	pml4[1] = (pml4[1] | PTE_RW) & ~(u64)PTE_US;
	flush();
	W("levels/supervisor-pml4e", "#PF(0x5)+0" AT_WINDOW, RING3, read_code);
	pml4[1] |= PTE_US;
	win_pdpt[0] &= ~(u64)PTE_P;
	flush();
	W("levels/no-pdpte", "#PF(0x4)+0" AT_WINDOW, RING3, read_code);
	win_pdpt[0] |= PTE_P;
	flush();
}

/*
 * SMEP and SMAP. Ring 0 must run on supervisor pages then: the first 4 MiB lose U/S, but for one page of ring 3 code.
 */
static void supervisor_protection(void)
{
	struct page_mode m = {.wp = true, .nxe = HAS_NX};
	u64 *low = page_alloc(), saved = page_dirs[0][0], saved2 = page_dirs[0][1];
	u8 *user_page = (u8 *)0x80000;
	ulong user_read = (ulong)user_page, user_write = (ulong)user_page + 16;
	struct ctx c;

	/* A 4-KiB map of the first 2 MiB with one user page for ring 3's code. Ring 3 needs no stack until it ends. */
	for (u32 i = 0; i < 512; i++)
		low[i] = (u64)i << 12 | PTE_P | PTE_RW;
	memcpy(user_page, (void *)read_code, 8);
	memcpy(user_page + 16, (void *)write_code, 8);
	low[(ulong)user_page >> 12 & 511] |= PTE_US;
	page_dirs[0][0] = (u64)low | PTE_ALL;
	page_dirs[0][1] &= ~(u64)PTE_US;
	flush();
	if (HAS_SMEP) {
		write_cr4(read_cr4() | CR4_SMEP);
		m.smep = true;
		win[0] = (u64)data[0] | PTE_ALL;
		flush();
		W("smep/fetch-user-page", "#PF(0x11)+0" AT_WINDOW, RING0, WINDOW);
		W("smep/read-user-page", "ok", RING0, read_code);
		W("smep/ring3-fetch", "ok", RING3, WINDOW);
		win[0] &= ~(u64)PTE_US;
		flush();
		W("smep/fetch-supervisor-page", "ok", RING0, WINDOW);
		win[0] = 0;
		flush();
		W("smep/fetch-not-present", "#PF(0x10)+0" AT_WINDOW, RING0, WINDOW);
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_NXE);
		W("smep/error-code-bit-4-without-nxe", "#PF(0x10)+0" AT_WINDOW, RING0, WINDOW);
		write_cr4(read_cr4() & ~CR4_SMEP);
		W("nx/error-code-bit-4-needs-nxe-or-smep", "#PF(0x0)+0" AT_WINDOW, RING0, WINDOW);
		if (m.nxe)
			wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
		win[0] = (u64)data[0] | PTE_ALL;
		flush();
	} else {
		absent("smep");
	}
	if (HAS_SMAP) {
		memcpy(user_page + 32, (u8[]){0x0f, 0x01, 0xcb}, 3);
		T("stac/ring3", "#UD+0", RING3, (ulong)user_page + 32);
		write_cr4(read_cr4() | CR4_SMAP);
		W("smap/read-user-page", "#PF(0x1)+0" AT_WINDOW, RING0, read_code);
		W("smap/write-user-page", "#PF(0x3)+0" AT_WINDOW, RING0, write_code);
		W("smap/ac-lifts", "ok", RING0, read_code, .flags = FLAG_FIXED | FLAG_AC);
		W("smap/stac-clac", "#PF(0x1)+8" AT_WINDOW, RING0,
		  CODE("stac; mov (%rbx), %al; clac; mov (%rbx), %al"));
		W("smap/fetch-user-page-is-smep's", "ok", RING0, WINDOW);
		W("smap/ring3-read", "ok", RING3, user_read);
		W("smap/ring3-write", "ok", RING3, user_write);
		/* Implicit accesses (descriptor tables) are supervisor accesses that AC does not lift. */
		set_descriptor(SEL_LDT, (u32)WINDOW, 0xff, ACC_LDT, 0);
		gdt[SEL_LDT / 8 + 1] = WINDOW >> 32;
		memcpy(data[0], gdt, 0x100);
		asm volatile("lldt %w0" : : "r"(SEL_LDT));
		T("smap/implicit-access", "#PF(0x1)+0 cr2=0x8000000028", RING0, CODE("mov %eax, %ds"),
		  .ax = SEL_DATA3 | 4);
		T("smap/implicit-access-with-ac", "#PF(0x1)+0 cr2=0x8000000028", RING0, CODE("mov %eax, %ds"),
		  .ax = SEL_DATA3 | 4, .flags = FLAG_FIXED | FLAG_AC);
		no_ldt();
		memcpy(data[0], (u8[]){0xcd, VECTOR_END, 0}, 3);
		write_cr4(read_cr4() & ~CR4_SMAP);
		c = TRY(RING0, CODE("stac; pushf; pop %rax; clac; pushf; pop %rcx"));
		check("stac/sets-ac", "ok 40000 0", "%s %x %x", outcome(c), (u32)c.ax & FLAG_AC, (u32)c.cx & FLAG_AC);
	} else {
		absent("smap");
		absent("stac");
	}
	page_dirs[0][0] = saved;
	page_dirs[0][1] = saved2;
	flush();
}

static void sizes(void)
{
	struct ctx c;
	u64 pdpte = win_pdpt[0], pde = win_dir[0];

	win_dir[0] = 0x1800000 | PTE_ALL | PTE_PS;
	*(u32 *)0x18abcd0 = 0x1111;
	flush();
	c = TRY(RING0, CODE("mov (%rbx), %eax; mov %eax, 4(%rbx)"), .bx = WINDOW + 0xabcd0);
	check("2m/maps", "ok 1111 1111 ad=60 pdpte-ad=20 pml4e-ad=20", "%s %x %x ad=%x pdpte-ad=%x pml4e-ad=%x",
	      outcome(c), (u32)c.ax, *(u32 *)0x18abcd4, (u32)win_dir[0] & (PTE_A | PTE_D),
	      (u32)win_pdpt[0] & (PTE_A | PTE_D), (u32)pml4[1] & (PTE_A | PTE_D));
	for (u32 bit = 13; bit <= 20; bit++) {
		char name[40];

		win_dir[0] = 0x1800000 | PTE_ALL | PTE_PS | 1ull << bit;
		flush();
		W(format_text(name, sizeof(name), "2m/reserved-bit-%u", bit), "#PF(0x9)+0" AT_WINDOW, RING0, read_code);
	}
	win_dir[0] = 0x1800000 | PTE_ALL | PTE_PS | 1 << 12;
	flush();
	W("2m/pat-bit", "ok", RING0, read_code);
	win_dir[0] = pde;
	if (HAS_1G) {
		win_pdpt[0] = 0 | PTE_ALL | PTE_PS;
		flush();
		c = TRY(RING0, CODE("mov (%rbx), %eax"), .bx = WINDOW + 0x18abcd0);
		check("1g/maps", "ok 1111 ad=20", "%s %x ad=%x", outcome(c), (u32)c.ax,
		      (u32)win_pdpt[0] & (PTE_A | PTE_D));
		for (u32 bit = 13; bit <= 29; bit += 4) {
			char name[40];

			win_pdpt[0] = PTE_ALL | PTE_PS | 1ull << bit;
			flush();
			W(format_text(name, sizeof(name), "1g/reserved-bit-%u", bit), "#PF(0x9)+0" AT_WINDOW, RING0,
			  read_code);
		}
	} else {
		absent("1g");
		win_pdpt[0] = PTE_ALL | PTE_PS;
		flush();
		W("1g/absent-ps-reserved", "#PF(0x9)+0" AT_WINDOW, RING0, read_code);
	}
	win_pdpt[0] = pdpte;
	pml4[1] |= PTE_PS;
	flush();
	W("reserved/ps-in-pml4e", "#PF(0x9)+0" AT_WINDOW, RING0, read_code);
	pml4[1] &= ~(u64)PTE_PS;
	if (physical_bits() < 52) {
		u64 *const levels[] = {&pml4[1], &win_pdpt[0], &win_dir[0], &win[0]};

		for (u32 i = 0; i < 4; i++) {
			char name[40];

			*levels[i] |= RESERVED_TOP;
			flush();
			W(format_text(name, sizeof(name), "reserved/maxphyaddr-level-%u", 4 - i),
			  "#PF(0x9)+0" AT_WINDOW, RING0, read_code);
			W(format_text(name, sizeof(name), "reserved/maxphyaddr-level-%u-user-write", 4 - i),
			  "#PF(0xf)+0" AT_WINDOW, RING3, write_code);
			*levels[i] &= ~RESERVED_TOP;
		}
	} else {
		absent("reserved/maxphyaddr");
	}
	win[0] |= 0x07f0000000000e00ull;
	flush();
	W("reserved/available-bits-are-not", "ok", RING0, read_code);
	win[0] = (u64)data[0] | PTE_ALL;
	flush();
}

static void accessed_dirty(void)
{
	struct ctx c;

	pml4[1] = (u64)win_pdpt | PTE_ALL;
	win_pdpt[0] = (u64)win_dir | PTE_ALL;
	win_dir[0] = (u64)win | PTE_ALL;
	win[0] = (u64)data[0] | PTE_ALL;
	flush();
	c = TRY(RING0, read_code, .bx = WINDOW);
	check("ad/read", "ok 20 20 20 20", "%s %x %x %x %x", outcome(c), (u32)pml4[1] & 0x60, (u32)win_pdpt[0] & 0x60,
	      (u32)win_dir[0] & 0x60, (u32)win[0] & 0x60);
	c = TRY(RING0, write_code, .bx = WINDOW);
	check("ad/write", "ok 20 60", "%s %x %x", outcome(c), (u32)win_dir[0] & 0x60, (u32)win[0] & 0x60);
	win[0] = (u64)data[0] | PTE_ALL;
	flush();
	W("ad/fetch", "ok", RING0, WINDOW);
	check("ad/fetch-sets-accessed", "20", "%x", (u32)win[0] & 0x60);
}

/* SDM vol. 3, "Canonical Addressing", vol. 1 "Canonical Addressing": #GP(0), or #SS(0) by way of the stack segment. */
static void canonical(void)
{
	const ulong low_top = 0x7ffffffffffful, bad = 0x800000000000ul;

	T("canonical/read", "#GP(0x0)+0", RING0, read_code, .bx = bad);
	T("canonical/write", "#GP(0x0)+0", RING0, write_code, .bx = bad);
	T("canonical/across", "#GP(0x0)+0|#PF(0x0)+0 cr2=0x7fffffffffff", RING0, CODE("mov (%rbx), %rax"),
	  .bx = low_top);
	T("canonical/highest-low-byte", "#PF(0x0)+0 cr2=0x7fffffffffff", RING0, read_code, .bx = low_top);
	T("canonical/lowest-high-byte", "#PF(0x0)+0 cr2=0xffff800000000000", RING0, read_code,
	  .bx = 0xffff800000000000);
	T("canonical/rbp", "#SS(0x0)+0", RING0, CODE("mov (%rbp), %al"), .bp = bad);
	T("canonical/rsp", "#SS(0x0)+3", RING3, CODE("mov %rbx, %rsp; pop %rax"), .bx = bad);
	T("canonical/push", "#SS(0x0)+3", RING3, CODE("mov %rbx, %rsp; push %rax"), .bx = bad + 8);
	T("canonical/ss-prefix-ignored", "#GP(0x0)+0", RING0, CODE(".byte 0x36; mov (%rbx), %al"), .bx = bad);
	T("canonical/string", "#GP(0x0)+0", RING0, CODE("lodsb"), .si = bad);
	T("canonical/jmp", "#GP(0x0)+0", RING0, CODE("jmp *%rbx"), .bx = bad);
	T("canonical/call", "#GP(0x0)+0", RING0, CODE("call *%rbx"), .bx = bad);
	T("canonical/ret", "#GP(0x0)+1", RING0, CODE("push %rbx; ret"), .bx = bad);
	T("canonical/invlpg-ignores", "ok", RING0, CODE("invlpg (%rbx)"), .bx = bad);
	T("canonical/lea", "ok", RING0, CODE("lea (%rbx), %rax"), .bx = bad);
	T("canonical/prefetch", "ok", RING0, CODE("prefetcht0 (%rbx)"), .bx = bad);
	T("canonical/address-size-32-wraps", "ok", RING0, CODE("mov (%ebx), %al"), .bx = 0xabcd000000100000ul);
	T("canonical/wrmsr-fs-base", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_FS_BASE, .ax = 0, .dx = 1 << 24);
}

/* SDM vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches". */
static u32 third_byte(void)
{
	struct ctx c = TRY(RING0, CODE("movb 2(%rbx), %al"), .bx = WINDOW);

	return c.vector == VECTOR_END ? c.ax & 0xff : 0xff00 | c.vector;
}

static void remap(u32 i, u64 flags)
{
	win[0] = (u64)data[i] | PTE_ALL | flags;
}

static void invalidation(void)
{
	remap(0, 0);
	flush();
	third_byte();
	remap(1, 0);
	invlpg((void *)WINDOW);
	check("tlb/invlpg", "1", "%x", third_byte());
	remap(0, 0);
	flush();
	check("tlb/mov-cr3", "0", "%x", third_byte());
	/* INVLPG drops cached upper levels too. */
	win_dir[0] = 0;
	invlpg((void *)WINDOW);
	check("tlb/invlpg-upper-levels", "ff0e", "%x", third_byte());
	win_dir[0] = (u64)win | PTE_ALL;
	check("tlb/not-present-is-not-cached", "0", "%x", third_byte());
	write_cr4(read_cr4() | CR4_PGE);
	remap(0, PTE_G);
	invlpg((void *)WINDOW);
	third_byte();
	remap(1, PTE_G);
	write_cr4(read_cr4() & ~CR4_PGE);
	check("global/cr4-pge-flushes", "1", "%x", third_byte());
	remap(0, 0);
	flush();
	if (HAS_PCID) {
		struct {
			u64 pcid, address;
		} d;
		ulong cr3 = read_cr3();

		T("pcid/enable-with-cr3-low-bits", "#GP(0x0)+3", RING0, CODE("mov %rbx, %cr3; mov %rax, %cr4"),
		  .ax = read_cr4() | CR4_PCIDE, .bx = cr3 | 0x20 | 0x18);
		write_cr3(cr3);
		write_cr4(read_cr4() | CR4_PCIDE);
		write_cr3(cr3 | 1);
		check("pcid/cr3-reads-back", "1", "%x", (u32)(read_cr3() & 0xfff));
		third_byte();
		write_cr3(cr3 | 2);
		remap(1, 0);
		write_cr3(cr3 | 1);
		check("pcid/flushing-write", "1", "%x", third_byte());
		remap(0, 0);
		T("pcid/bit-63-only-with-pcide", "ok", RING0, CODE("mov %rax, %cr3; mov %cr3, %rax"),
		  .ax = cr3 | 1 | 1ull << 63);
		check("pcid/bit-63-not-stored", "0", "%x", (u32)(read_cr3() >> 63));
		invlpg((void *)WINDOW);
		check("pcid/invlpg-current", "0", "%x", third_byte());
		if (HAS_INVPCID) {
			ulong code = CODE("invpcid (%rbx), %rax");

			remap(1, 0);
			d.pcid = 1;
			d.address = WINDOW;
			T("invpcid/individual-address", "ok", RING0, code, .ax = 0, .bx = (ulong)&d);
			check("invpcid/individual-address-flushed", "1", "%x", third_byte());
			remap(0, 0);
			T("invpcid/single-context", "ok", RING0, code, .ax = 1, .bx = (ulong)&d);
			check("invpcid/single-context-flushed", "0", "%x", third_byte());
			remap(1, 0);
			T("invpcid/all-with-global", "ok", RING0, code, .ax = 2, .bx = (ulong)&d);
			check("invpcid/all-with-global-flushed", "1", "%x", third_byte());
			remap(0, 0);
			T("invpcid/all", "ok", RING0, code, .ax = 3, .bx = (ulong)&d);
			check("invpcid/all-flushed", "0", "%x", third_byte());
			T("invpcid/type-4", "#GP(0x0)+0", RING0, code, .ax = 4, .bx = (ulong)&d);
			d.pcid = 0x1000;
			T("invpcid/reserved-bits", "#GP(0x0)+0", RING0, code, .ax = 1, .bx = (ulong)&d);
			d.pcid = 1;
			d.address = 1ull << 56;
			T("invpcid/not-canonical", "#GP(0x0)+0", RING0, code, .ax = 0, .bx = (ulong)&d);
			T("invpcid/ring3", "#GP(0x0)+0", RING3, code, .ax = 0, .bx = (ulong)&d);
		} else {
			absent("invpcid");
		}
		write_cr3(cr3);
		write_cr4(read_cr4() & ~CR4_PCIDE);
		T("pcid/bit-63-without-pcide", "#GP(0x0)+0", RING0, CODE("mov %rax, %cr3"), .ax = cr3 | 1ull << 63);
	} else {
		absent("pcid");
		absent("invpcid");
		T("invpcid/absent-ud", "#UD+0", RING0, CODE("invpcid (%rbx), %rax"));
	}
	flush();
}

/* Rights are decided by the modes of the moment, also for a translation that is cached. No experiment here flushes. */
static void cached_rights(void)
{
	struct ctx c;

	win[0] = (u64)data[0] | PTE_P | PTE_US;
	flush();
	write_cr0(read_cr0() & ~CR0_WP);
	W("cached/wp-clear-write", "ok", RING0, write_code);
	write_cr0(read_cr0() | CR0_WP);
	W("cached/wp-set-write", "#PF(0x3)+0" AT_WINDOW, RING0, write_code);
	W("cached/ring3-write", "#PF(0x7)+0" AT_WINDOW, RING3, write_code);
	W("cached/ring3-read", "ok", RING3, read_code);
	win[0] = (u64)data[0] | PTE_P | PTE_RW;
	flush();
	W("cached/supervisor-write", "ok", RING0, write_code);
	W("cached/supervisor-page-from-ring3", "#PF(0x5)+0" AT_WINDOW, RING3, read_code);
	W("cached/supervisor-again", "ok", RING0, write_code);
	/* A second linear address of the same page. */
	win[1] = (u64)data[0] | PTE_ALL;
	c = TRY(RING0,
		CODE("movl $0x1234567, 64(%rbx); movl 4096+64(%rbx), %eax; movl $7, 4096+64(%rbx); movl 64(%rbx), "
		     "%ecx"),
		.bx = WINDOW);
	check("cached/two-addresses-one-page", "ok 1234567 7", "%s %lx %lx", outcome(c), c.ax, c.cx);
	c = TRY(RING0, CODE("movl $0x11223344, 4094(%rbx); movl 4094(%rbx), %eax; movw (%rbx), %cx"), .bx = WINDOW,
		.cx = 0);
	check("cached/write-across-to-the-same-page", "ok 11223344 1122", "%s %lx %lx", outcome(c), c.ax, c.cx);
	memcpy(data[0], (u8[]){0xcd, VECTOR_END, 0}, 3);
	/* D is set anew after software cleared it. */
	TRY(RING0, write_code, .bx = WINDOW);
	win[0] &= ~(u64)PTE_D;
	invlpg((void *)WINDOW);
	TRY(RING0, read_code, .bx = WINDOW);
	u32 after_read = win[0] & PTE_D;
	TRY(RING0, write_code, .bx = WINDOW);
	check("cached/dirty-again-after-invlpg", "0 40", "%x %x", after_read, (u32)win[0] & PTE_D);
	/* A 2-MiB page becomes a table, by INVLPG of any address in it. */
	u64 table = win_dir[0];

	win_dir[0] = 0x1800000 | PTE_ALL | PTE_PS;
	flush();
	*(volatile u32 *)0x1801000 = 0xaaaa;
	*(u32 *)data[1] = 0xbbbb;
	c = TRY(RING0, CODE("mov 4096(%rbx), %eax"), .bx = WINDOW);
	win[1] = (u64)data[1] | PTE_ALL;
	win_dir[0] = table;
	invlpg((void *)(WINDOW + 0x123000));
	check("cached/large-page-split", "aaaa then bbbb", "%x then %x", (u32)c.ax,
	      (u32)TRY(RING0, CODE("mov 4096(%rbx), %eax"), .bx = WINDOW).ax);
	memcpy(data[1], (u8[]){0xcd, VECTOR_END, 1}, 3);
	win[1] = 0;
	win[0] = (u64)data[0] | PTE_ALL;
	flush();
}

/* SDM vol. 3, "Protection Keys": only user pages, only data accesses; bit 5 of the error code. */
static void protection_keys(void)
{
	struct ctx c;

	if (!HAS_PKU) {
		absent("pku");
		return;
	}
	T("pku/rdpkru-needs-cr4-pke", "#UD+0", RING0, CODE("rdpkru"), .cx = 0);
	win[0] = (u64)data[0] | PTE_ALL | 5ull << 59;
	write_cr4(read_cr4() | CR4_PKE);
	T("pku/rdpkru-ecx", "#GP(0x0)+0", RING0, CODE("rdpkru"), .cx = 1);
	T("pku/wrpkru-ecx", "#GP(0x0)+0", RING0, CODE("wrpkru"), .cx = 1);
	T("pku/wrpkru-edx", "#GP(0x0)+0", RING0, CODE("wrpkru"), .cx = 0, .dx = 1);
	static const struct {
		const char *name;
		u32 pkru;
		const char *expected;
	} rows[] = {
		{"pku/open", 0, "ok ok ok ok ok"},
		{"pku/write-disabled", 2 << 10, "ok 23 ok 27 ok"},
		{"pku/access-disabled", 1 << 10, "21 23 25 27 ok"},
		{"pku/both", 3 << 10, "21 23 25 27 ok"},
		{"pku/other-keys", ~(3u << 10) & ~3u, "ok ok ok ok ok"},
	};
	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[5][24];
		u32 pkru = rows[i].pkru;

		asm volatile("wrpkru" : : "a"(pkru), "c"(0), "d"(0));
		flush();
		page_seen(text[0], 24, TRY(RING0, read_code, .bx = WINDOW), WINDOW);
		page_seen(text[1], 24, TRY(RING0, write_code, .bx = WINDOW), WINDOW);
		page_seen(text[2], 24, TRY(RING3, read_code, .bx = WINDOW), WINDOW);
		page_seen(text[3], 24, TRY(RING3, write_code, .bx = WINDOW), WINDOW);
		page_seen(text[4], 24, TRY(RING3, WINDOW, .bx = WINDOW), WINDOW);
		check(rows[i].name, rows[i].expected, "%s %s %s %s %s", text[0], text[1], text[2], text[3], text[4]);
	}
	/* WRPKRU takes effect at once, without a flush. */
	asm volatile("wrpkru" : : "a"(0), "c"(0), "d"(0));
	W("pku/cached-then-closed", "#PF(0x21)+9" AT_WINDOW, RING0,
	  CODE("mov (%rbx), %al; mov %esi, %eax; .byte 0x90, 0x90; wrpkru; mov (%rbx), %al"), .cx = 0, .dx = 0,
	  .si = 1 << 10);
	asm volatile("wrpkru" : : "a"(2 << 10), "c"(0), "d"(0));
	write_cr0(read_cr0() & ~CR0_WP);
	W("pku/wd-ring0-needs-wp", "ok", RING0, write_code);
	write_cr0(read_cr0() | CR0_WP);
	asm volatile("wrpkru" : : "a"(3 << 10), "c"(0), "d"(0));
	win[0] &= ~(u64)PTE_US;
	flush();
	W("pku/supervisor-page-not-covered", "ok", RING0, write_code);
	win[0] = (u64)data[0] | PTE_ALL | 5ull << 59;
	win[0] &= ~(u64)PTE_RW;
	flush();
	W("pku/together-with-read-only", "#PF(0x27)+0" AT_WINDOW, RING3, write_code);
	asm volatile("wrpkru" : : "a"(2 << 10), "c"(0), "d"(0));
	W("pku/write-disable-with-read-only", "#PF(0x27)+0" AT_WINDOW, RING3, write_code);
	/* PK is for data accesses: a fetch that is refused for another reason does not report it. */
	asm volatile("wrpkru" : : "a"(3 << 10), "c"(0), "d"(0));
	if (HAS_NX) {
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
		win[0] |= PTE_XD;
		flush();
		W("pku/fetch-from-no-execute", "#PF(0x15)+0" AT_WINDOW, RING3, WINDOW);
		win[0] &= ~PTE_XD;
		flush();
	}
	c = TRY(RING3, CODE("xor %ecx, %ecx; rdpkru"), .dx = 5);
	check("pku/rdpkru", "ok c00 0", "%s %x %x", outcome(c), (u32)c.ax, (u32)c.dx);
	asm volatile("wrpkru" : : "a"(0), "c"(0), "d"(0));
	write_cr4(read_cr4() & ~CR4_PKE);
	win[0] = (u64)data[0] | PTE_ALL;
	flush();
}

/* SDM vol. 3, "Linear-Address Translation with 4-Level Paging and 5-Level Paging". LA57 changes only with paging off:
 * by way of compatibility mode in identity-mapped memory. */
asm(".text\n"
    "switch_la57:\n" /* EDI: new CR3, ESI: bits to toggle in CR4 */
    "push %rbx; lea 1f(%rip), %rax; push $0x18; push %rax; lretq\n"
    ".code32\n"
    "1: mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
    "mov %cr4, %eax; xor %esi, %eax; mov %eax, %cr4; mov %edi, %cr3\n"
    "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0; ljmp $0x8, $2f\n"
    ".code64\n"
    "2: pop %rbx; ret\n");
void switch_la57(ulong cr3, ulong bits);

/* With 4-level paging on a processor that has LA57: registers take what is canonical for the processor, and what uses
 * them faults. */
static void wide_registers(void)
{
	const u64 wide = 1ull << 47, star = rdmsr(MSR_STAR), lstar = rdmsr(MSR_LSTAR), fs = rdmsr(MSR_FS_BASE),
		  kernel_gs = rdmsr(MSR_KERNEL_GS_BASE);
	u16 *table = (u16 *)page_alloc();
	u64 *invpcid = page_alloc();
	struct ctx c;

	table[0] = 0xfff;
	memcpy(&table[1], &wide, 8);
	T("la57/wide-gdtr", "ok", RING0, CODE("sgdt 16(%rbx); lgdt (%rbx); lgdt 16(%rbx)"), .bx = (ulong)table);
	T("la57/wide-idtr", "ok", RING0, CODE("sidt 16(%rbx); lidt (%rbx); lidt 16(%rbx)"), .bx = (ulong)table);
	gdt[SEL_TEST / 8] = descriptor(0, 0xff, ACC_LDT, 0);
	gdt[SEL_TEST / 8 + 1] = wide >> 32;
	T("la57/wide-ldtr", "ok", RING0, CODE("lldt %ax"), .ax = SEL_TEST);
	no_ldt();
	gdt[SEL_TEST / 8] = descriptor(0, 0x67, ACC_TSS, 0);
	T("la57/wide-tr", "ok", RING0, CODE("ltr %ax"), .ax = SEL_TEST);
	reload_tr();
	T("la57/wide-msr", "ok", RING0, CODE("wrmsr"), .cx = MSR_KERNEL_GS_BASE, .ax = 0, .dx = wide >> 32);
	wrmsr(MSR_KERNEL_GS_BASE, kernel_gs);
	T("la57/wide-base-access", "#GP(0x0)+2", RING0, CODE("wrmsr; mov %fs:0, %al"), .cx = MSR_FS_BASE, .ax = 0,
	  .dx = wide >> 32);
	wrmsr(MSR_FS_BASE, fs);
	wrmsr(MSR_STAR, (u64)SEL_CODE0 << 32);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	c = TRY(RING0, CODE("wrmsr; syscall"), .cx = MSR_LSTAR, .ax = 0, .dx = wide >> 32);
	check("la57/wide-lstar-fetch", "vector=13 ip=800000000000", "vector=%u ip=%lx", (u32)c.vector, c.ip);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_SCE);
	wrmsr(MSR_LSTAR, lstar);
	wrmsr(MSR_STAR, star);
	if (HAS_FSGSBASE) {
		write_cr4(read_cr4() | CR4_FSGSBASE);
		T("la57/wide-fsgsbase", "ok", RING3, CODE("wrfsbase %rax"), .ax = wide);
		write_cr4(read_cr4() & ~CR4_FSGSBASE);
		wrmsr(MSR_FS_BASE, fs);
	} else {
		absent("la57/wide-fsgsbase");
	}
	invpcid[1] = wide;
	if (HAS_INVPCID)
		T("la57/wide-invpcid", "ok", RING0, CODE("invpcid (%rbx), %rax"), .ax = 0, .bx = (ulong)invpcid);
	else
		absent("la57/wide-invpcid");
}

static void five_levels(void)
{
	const ulong far = 0x0100000000000000ul - (1ul << 48); /* slot 255 of the PML5 */
	u64 *pml5;
	ulong cr3 = read_cr3();

	if (!HAS_LA57) {
		absent("la57");
		T("la57/absent-bit-reserved", "#GP(0x0)+0", RING0, CODE("mov %rax, %cr4"), .ax = read_cr4() | CR4_LA57);
		return;
	}
	T("la57/not-while-paging", "#GP(0x0)+0", RING0, CODE("mov %rax, %cr4"), .ax = read_cr4() | CR4_LA57);
	wide_registers();
	pml5 = page_alloc();
	pml5[0] = (u64)pml4 | PTE_ALL;
	pml5[255] = (u64)pml4 | PTE_ALL;
	switch_la57((ulong)pml5, CR4_LA57);
	check("la57/on", "1", "%u", (u32)(read_cr4() >> 12 & 1));
	W("la57/window", "ok", RING0, read_code);
	T("la57/57-bit-address", "ok", RING0, read_code, .bx = far + 0x100000);
	T("la57/window-again", "ok", RING0, read_code, .bx = far + WINDOW);
	T("la57/canonical-edge", "#PF(0x0)+0 cr2=0x800000000000", RING0, read_code, .bx = 0x800000000000);
	T("la57/not-canonical", "#GP(0x0)+0", RING0, read_code, .bx = 0x0100000000000000);
	T("la57/highest-half", "#PF(0x0)+0 cr2=0xff00000000000000", RING0, read_code, .bx = 0xff00000000000000);
	check("la57/pml5e-accessed", "20 20", "%x %x", (u32)pml5[0] & 0x60, (u32)pml5[255] & 0x60);
	pml5[255] |= PTE_PS;
	flush();
	T("la57/ps-in-pml5e-reserved", "#PF(0x9)+0 cr2=0xff000000100000", RING0, read_code, .bx = far + 0x100000);
	switch_la57(cr3, CR4_LA57);
	T("la57/off-again", "#GP(0x0)+0", RING0, read_code, .bx = far + 0x100000);
}

void chapter_main(void)
{
	setup();
	rights();
	supervisor_protection();
	sizes();
	accessed_dirty();
	canonical();
	invalidation();
	cached_rights();
	protection_keys();
	five_levels();
}

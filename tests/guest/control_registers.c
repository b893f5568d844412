/*
 * What MOV to control registers refuses, in 64-bit mode, and loads of table registers with addresses that are not
 * canonical.
 *
 * SDM vol. 2, "MOV—Move to/from Control Registers", "LGDT/LIDT"; vol. 3, "Control Registers". A processor that takes
 * one of these values cannot go on, which is why they have an image of their own.
 */
#include "guest.h"

const char chapter[] = "control_registers";

#define HIGH(n) (1ul << (n))

void chapter_main(void)
{
	const ulong to_cr0 = CODE("mov %rax, %cr0"), to_cr3 = CODE("mov %rax, %cr3"), to_cr4 = CODE("mov %rax, %cr4"),
		    to_cr8 = CODE("mov %rax, %cr8");
	const ulong cr0 = read_cr0(), cr3 = read_cr3(), cr4 = read_cr4();
	struct ctx c;

	T("cr0/same", "ok", RING0, to_cr0, .ax = cr0);
	T("cr0/et-cannot-clear", "ok", RING0, to_cr0, .ax = cr0 & ~(ulong)CR0_ET);
	check("cr0/et-reads-one", "10", "%lx", read_cr0() & CR0_ET);
	T("cr0/reserved-low-bit-ignored", "ok", RING0, to_cr0, .ax = cr0 | 1 << 6 | 1 << 15 | 1 << 28);
	check("cr0/reserved-reads-zero", "0", "%lx", read_cr0() & (1 << 6 | 1 << 15 | 1 << 28));
	T("cr0/bit-32", "#GP(0x0)+0", RING0, to_cr0, .ax = cr0 | HIGH(32));
	T("cr0/bit-63", "#GP(0x0)+0", RING0, to_cr0, .ax = cr0 | HIGH(63));
	T("cr0/pg-without-pe", "#GP(0x0)+0", RING0, to_cr0, .ax = cr0 & ~(ulong)CR0_PE);
	T("cr0/nw-without-cd", "#GP(0x0)+0", RING0, to_cr0, .ax = cr0 | CR0_NW);
	T("cr0/clear-pg-in-64-bit-mode", "#GP(0x0)+0", RING0, to_cr0, .ax = cr0 & ~CR0_PG);
	T("cr0/cd-nw", "ok", RING0, to_cr0, .ax = cr0 | CR0_CD | CR0_NW);
	write_cr0(cr0);
	T("cr0/ring3", "#GP(0x0)+0", RING3, to_cr0, .ax = cr0);
	T("cr0/lmsw-cannot-reach-wp", "ok", RING0, CODE("lmsw %ax"), .ax = 0x3f);
	c = TRY(RING0, CODE("mov %cr0, %rax; clts; mov %cr0, %rcx"));
	check("cr0/lmsw-and-clts", "ok 8001003f 80010037", "%s %lx %lx", outcome(c), c.ax, c.cx);
	write_cr0(cr0);

	T("cr3/bits-beyond-maxphyaddr", physical_bits() < 52 ? "#GP(0x0)+0" : "ok", RING0, to_cr3,
	  .ax = cr3 | (physical_bits() < 52 ? HIGH(physical_bits()) : 0));
	T("cr3/bit-63-without-pcide", "#GP(0x0)+0", RING0, to_cr3, .ax = cr3 | HIGH(63));
	T("cr3/low-bits", "ok", RING0, to_cr3, .ax = cr3 | 0x18);
	check("cr3/pwt-pcd-read-back", "18", "%lx", read_cr3() & 0xfff);
	write_cr3(cr3);

	T("cr4/clear-pae-in-64-bit-mode", "#GP(0x0)+0", RING0, to_cr4, .ax = cr4 & ~(ulong)CR4_PAE);
	for (u32 bit = 24; bit < 64; bit += 3) {
		char name[32];

		if (bit >= 24 && bit <= 27) /* PKS, UINTR and what may come */
			continue;
		T(format_text(name, sizeof(name), "cr4/reserved-bit-%u", bit), "#GP(0x0)+0", RING0, to_cr4,
		  .ax = cr4 | HIGH(bit));
	}
	T("cr4/bit-15", "#GP(0x0)+0", RING0, to_cr4, .ax = cr4 | HIGH(15));
	/* A feature that CPUID does not offer has a reserved bit. */
	const struct {
		const char *name;
		bool there;
		u32 bit;
	} features[] = {
		{"cr4/vme", HAS_VME, 0},
		{"cr4/pvi", HAS_VME, 1},
		{"cr4/de", HAS_DE, 2},
		{"cr4/pse", HAS_PSE, 4},
		{"cr4/pge", HAS_PGE, 7},
		{"cr4/umip", HAS_UMIP, 11},
		{"cr4/vmxe", cpu_has(1, 0, 2, 5), 13},
		{"cr4/smxe", cpu_has(1, 0, 2, 6), 14},
		{"cr4/fsgsbase", HAS_FSGSBASE, 16},
		{"cr4/pcide", HAS_PCID, 17},
		{"cr4/osxsave", HAS_XSAVE, 18},
		{"cr4/smep", HAS_SMEP, 20},
		{"cr4/smap", HAS_SMAP, 21},
		{"cr4/pke", HAS_PKU, 22},
	};
	for (u32 i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		/* SMEP and SMAP would hit the runtime itself, whose pages user mode may use. */
		if (features[i].there && (features[i].bit == 20 || features[i].bit == 21))
			continue;
		c = TRY(RING0, CODE("mov %rax, %cr4; mov %cr4, %rcx; mov %rbx, %cr4"),
			.ax = cr4 | HIGH(features[i].bit), .bx = cr4);
		check(features[i].name, features[i].there ? "with CPUID: ok 1" : "without CPUID: #GP(0x0)+0 0",
		      "%s: %s %u", features[i].there ? "with CPUID" : "without CPUID", outcome(c),
		      (u32)(c.cx >> features[i].bit & 1));
	}
	T("cr8/reserved", "#GP(0x0)+0", RING0, to_cr8, .ax = 16);
	T("cr8/reserved-high", "#GP(0x0)+0", RING0, to_cr8, .ax = HIGH(40));
	c = TRY(RING0, CODE("mov %rax, %cr8; mov %cr8, %rcx; xor %eax, %eax; mov %rax, %cr8"), .ax = 5);
	check("cr8/read-back", "ok 5", "%s %lx", outcome(c), c.cx);
	T("cr8/ring3", "#GP(0x0)+0", RING3, CODE("mov %cr8, %rax"));
	T("mov-cr/mod-bits-ignored", "ok", RING0, CODE(".byte 0x0f, 0x20, 0x00")); /* mod 00, still a register */
	T("mov-cr/lock", "#UD+0", RING0, CODE(".byte 0xf0, 0x0f, 0x20, 0xd8"));
	T("mov-cr/cr9", "#UD+0", RING0, CODE(".byte 0x44, 0x0f, 0x20, 0xc8"));
	const struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} bad = {0xfff, 1ull << 56};
	T("lgdt/not-canonical", "#GP(0x0)+0", RING0, CODE("lgdt (%rbx)"), .bx = (ulong)&bad);
	T("lidt/not-canonical", "#GP(0x0)+0", RING0, CODE("lidt (%rbx)"), .bx = (ulong)&bad);
	c = TRY(RING0, CODE("sgdt (%rbx); sidt 16(%rbx)"), .bx = (ulong)page_alloc());
	check("sgdt-sidt/ten-bytes", "ok 1ff 1 fff 1", "%s %x %u %x %u", outcome(c), *(u16 *)c.bx,
	      *(u64 *)(c.bx + 2) == (ulong)gdt, *(u16 *)(c.bx + 16), *(u64 *)(c.bx + 18) == (ulong)idt);
	gdt[SEL_LDT / 8] = descriptor(0, 0xff, ACC_LDT, 0);
	gdt[SEL_LDT / 8 + 1] = 1 << 24;
	T("lldt/base-not-canonical", "#GP(0x60)+0", RING0, CODE("lldt %ax"), .ax = SEL_LDT);
	gdt[SEL_LDT / 8 + 1] = 0x1full << 40;
	T("lldt/upper-type-not-0", "#GP(0x60)+0", RING0, CODE("lldt %ax"), .ax = SEL_LDT);
	gdt[SEL_TEST / 8] = descriptor(0, 0x67, ACC_TSS, 0);
	gdt[SEL_TEST / 8 + 1] = 1 << 24;
	T("ltr/base-not-canonical", "#GP(0x70)+0", RING0, CODE("ltr %ax"), .ax = SEL_TEST);
	gdt[SEL_TEST / 8 + 1] = 0;
	gdt[SEL_TEST / 8] = descriptor(0, 0x67, ACC_TSS16, 0);
	T("ltr/16-bit-tss", "#GP(0x70)+0", RING0, CODE("ltr %ax"), .ax = SEL_TEST);
}

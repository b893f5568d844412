/*
 * Control registers of a guest: guest/host masks and read shadows, CLTS, LMSW and SMSW, CR3-target values, CR8.
 *
 * SDM vol. 3, "Guest/Host Masks and Read Shadows for CR0 and CR4", "CR3-Target Controls", "Changes to Instruction
 * Behavior in VMX Non-Root Operation", "Instructions That Cause VM Exits Conditionally", "Exit Qualification for
 * Control-Register Accesses".
 */
#include "vmx.h"

const char chapter[] = "vmx_cr_masks";

#define CR0(mask, shadow) (vm_write(CR0_MASK, mask), vm_write(CR0_READ_SHADOW, shadow))
#define CR4(mask, shadow) (vm_write(CR4_MASK, mask), vm_write(CR4_READ_SHADOW, shadow))
/* A line with the guest's register, RAX, and what the VMCS then has. */
#define R(name, expected, mode, code, field, ...)                \
	(vm_fresh(mode, code), (void)0, ##__VA_ARGS__, vm_run(), \
	 vm_line(name, expected, "%s rax=%lx field=%lx", vm_text(), regs.ax, vm_read(field)))

static void cr0(void)
{
	ulong read = CODE("mov %cr0, %rax"), write = CODE("mov %rbx, %cr0");
	const u64 base = 0x80010031;

	R("cr0/read-no-mask", "ok rax=80010031 field=80010031", G64, read, GUEST_CR0);
	R("cr0/read-shadow", "ok rax=8001003b field=80010031", G64, read, GUEST_CR0,
	  CR0(CR0_TS | CR0_MP, CR0_TS | CR0_MP));
	R("cr0/read-shadow-clears", "ok rax=10031 field=80010031", G64, read, GUEST_CR0, CR0(CR0_PG, 0));
	R("cr0/read-shadow-outside-mask", "ok rax=80010031 field=80010031", G64, read, GUEST_CR0, CR0(0, ~0ul));
	R("cr0/write-free", "ok rax=0 field=80010039", G64, write, GUEST_CR0, regs.bx = base | CR0_TS);
	R("cr0/write-masked-same", "ok rax=0 field=80010033", G64, write, GUEST_CR0, CR0(CR0_TS, CR0_TS),
	  regs.bx = base | CR0_TS | CR0_MP);
	V("cr0/write-masked-differs", "CR_ACCESS cr0=bx len=3", G64, write, CR0(CR0_TS, 0), regs.bx = base | CR0_TS);
	V("cr0/write-masked-differs-register", "CR_ACCESS cr0=r15 len=4", G64, CODE("mov %r15, %cr0"),
	  CR0(CR0_TS, CR0_TS), regs.r15 = base);
	V("cr0/write-ring3", "#GP(0x0)+0", G64_U, write, CR0(CR0_TS, 0), regs.bx = base | CR0_TS);
	V("cr0/write-pg-fixed", "#GP(0x0)+0", G64, write, regs.bx = base & ~CR0_PG);
	V("cr0/write-ne-fixed", "#GP(0x0)+0", G64, write, regs.bx = base & ~(u64)CR0_NE);
	R("cr0/write-ne-hidden", "ok rax=0 field=80010031", G64, write, GUEST_CR0, CR0(CR0_NE, 0),
	  regs.bx = base & ~(u64)CR0_NE);
	V("cr0/write-nw-without-cd", "#GP(0x0)+0", G64, write, regs.bx = base | CR0_NW);
	V("cr0/write-upper-half", "#GP(0x0)+0", G64, write, regs.bx = base | 1ul << 32);
	V("cr0/exit-before-gp", "CR_ACCESS cr0=bx len=3", G64, write, CR0(CR0_TS, 0),
	  regs.bx = base | CR0_TS | 1ul << 32);
	R("cr0/et-cannot-be-cleared", "ok rax=0 field=80010031", G64, write, GUEST_CR0, regs.bx = base & ~(u64)CR0_ET);
	R("cr0/read-32", "ok rax=80010039 field=80010031", G32, CODE32("mov %cr0, %eax"), GUEST_CR0,
	  CR0(CR0_TS, CR0_TS));
	V("cr0/write-v86", "#GP(0x0)+0", GV86, CODE16("mov %ebx, %cr0"), CR0(~0ul, 0));
	V("cr0/write-real", "CR_ACCESS cr0=bx len=3", GREAL, CODE16("mov %ebx, %cr0"), CR0(CR0_PE, 0),
	  regs.bx = CR0_PE | CR0_NE);
	V("cr0/real-pg-without-pe", "#GP(0x0)+0", GREAL, CODE16("mov %ebx, %cr0"), regs.bx = CR0_PG | CR0_NE);
}

static void clts_lmsw_smsw(void)
{
	ulong clts = CODE("clts"), lmsw = CODE("lmsw %bx"), smsw = CODE("smsw %eax");

	R("clts/free", "ok rax=0 field=80010031", G64, clts, GUEST_CR0, vm_or(GUEST_CR0, CR0_TS));
	V("clts/masked-shadow-set", "CR_ACCESS clts len=2", G64, clts, CR0(CR0_TS, CR0_TS));
	R("clts/masked-shadow-clear", "ok rax=0 field=80010039", G64, clts, GUEST_CR0, CR0(CR0_TS, 0),
	  vm_or(GUEST_CR0, CR0_TS));
	V("clts/ring3", "#GP(0x0)+0", G64_U, clts, CR0(CR0_TS, CR0_TS));
	R("lmsw/free", "ok rax=0 field=8001003f", G64, lmsw, GUEST_CR0, regs.bx = 0xffff);
	R("lmsw/pe-stays", "ok rax=0 field=80010031", G64, lmsw, GUEST_CR0, regs.bx = 0);
	V("lmsw/ts-differs", "CR_ACCESS lmsw reg 8 len=3", G64, lmsw, CR0(CR0_TS, 0), regs.bx = 8);
	V("lmsw/mp-differs", "CR_ACCESS lmsw reg 0 len=3", G64, lmsw, CR0(CR0_MP, CR0_MP), regs.bx = 0);
	R("lmsw/masked-same", "ok rax=0 field=80010033", G64, lmsw, GUEST_CR0, CR0(CR0_TS, CR0_TS), regs.bx = 0xa);
	V("lmsw/pe-sets-shadow", "CR_ACCESS lmsw reg 1 len=3", G64, lmsw, CR0(CR0_PE, 0), regs.bx = 1);
	R("lmsw/pe-clears-shadow", "ok rax=0 field=80010031", G64, lmsw, GUEST_CR0, CR0(CR0_PE, CR0_PE), regs.bx = 0);
	R("lmsw/other-bits-do-not-count", "ok rax=0 field=80010031", G64, lmsw, GUEST_CR0, CR0(CR0_NE | CR0_WP, 0),
	  regs.bx = 0xfff0);
	V("lmsw/memory", "CR_ACCESS lmsw mem 1234 len=3", G64, CODE("lmsw (%rbx)"), CR0(CR0_EM, 0), regs.bx = 0x5000,
	  *(u16 *)0x5000 = 0x1234);
	vm_line("lmsw/memory-linear-address", "5000", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	V("lmsw/memory-fault-first", "#PF(0x0)+0 cr2=0x200000000", G64, CODE("lmsw (%rbx)"), CR0(CR0_EM, 0),
	  regs.bx = 1ul << 33);
	V("lmsw/ring3", "#GP(0x0)+0", G64_U, lmsw, CR0(CR0_TS, 0), regs.bx = 8);
	V("lmsw/real", "CR_ACCESS lmsw reg 1 len=3", GREAL, CODE16("lmsw %bx"), CR0(CR0_PE, 0), regs.bx = 1);
	R("smsw/shadow", "ok rax=8001003b field=80010031", G64, smsw, GUEST_CR0, CR0(CR0_TS | CR0_MP, CR0_TS | CR0_MP));
	R("smsw/16-bit-register", "ok rax=77770033 field=80010031", G64, CODE("smsw %ax"), GUEST_CR0,
	  CR0(CR0_MP, CR0_MP), regs.ax = 0x77777777);
	R("smsw/64-bit-register", "ok rax=8001003b field=80010031", G64, CODE("smsw %rax"), GUEST_CR0, CR0(0xa, 0xa));
	V("smsw/memory", "ok", G64, CODE("smsw (%rbx)"), CR0(CR0_TS, CR0_TS), regs.bx = 0x5000,
	  *(u32 *)0x5000 = 0xffffffff);
	vm_line("smsw/memory-value", "ffff0039", "%x", *(u32 *)0x5000);
	R("smsw/ring3", "ok rax=80010039 field=80010031", G64_U, smsw, GUEST_CR0, CR0(CR0_TS, CR0_TS));
	V("smsw/ring3-umip", "#GP(0x0)+0", G64_U, smsw, vm_needs(HAS_UMIP), vm_or(GUEST_CR4, CR4_UMIP));
}

static void cr4(void)
{
	ulong read = CODE("mov %cr4, %rax"), write = CODE("mov %rbx, %cr4");
	const u64 base = CR4_VMXE | CR4_PAE;

	R("cr4/read-vmxe-hidden", "ok rax=20 field=2020", G64, read, GUEST_CR4, CR4(CR4_VMXE, 0));
	R("cr4/read-shadow", "ok rax=2030 field=2020", G64, read, GUEST_CR4, CR4(CR4_PSE, CR4_PSE));
	R("cr4/write-free", "ok rax=0 field=2024", G64, write, GUEST_CR4, regs.bx = base | CR4_TSD);
	R("cr4/write-hidden-vmxe", "ok rax=0 field=2024", G64, write, GUEST_CR4, CR4(CR4_VMXE, 0),
	  regs.bx = CR4_PAE | CR4_TSD);
	V("cr4/write-masked-differs", "CR_ACCESS cr4=bx len=3", G64, write, CR4(CR4_VMXE, 0), regs.bx = base);
	V("cr4/write-vmxe-fixed", "#GP(0x0)+0", G64, write, regs.bx = CR4_PAE);
	V("cr4/write-reserved", "#GP(0x0)+0", G64, write, regs.bx = base | 1ul << 31);
	V("cr4/exit-before-gp", "CR_ACCESS cr4=bx len=3", G64, write, CR4(1ul << 31, 0), regs.bx = base | 1ul << 31);
	V("cr4/pae-in-long-mode", "#GP(0x0)+0", G64, write, regs.bx = CR4_VMXE);
	V("cr4/pae-hidden", "ok", G64, write, CR4(CR4_PAE, 0), regs.bx = CR4_VMXE);
	V("cr4/ring3", "#GP(0x0)+0", G64_U, write, CR4(~0ul, 0));
	R("cr4/32", "ok rax=0 field=2014", G32, CODE32("mov %ebx, %cr4"), GUEST_CR4,
	  regs.bx = CR4_VMXE | CR4_PSE | CR4_TSD);
}

static void cr3(void)
{
	ulong read = CODE("mov %cr3, %rax"), write = CODE("mov %rbx, %cr3");
	const u64 top = (u64)pml4;

	V("cr3/store-exiting", "CR_ACCESS ax=cr3 len=3", G64, read, pri(CR3_STORE_EXITING));
	V("cr3/store-free", "ok", G64, read);
	V("cr3/store-ring3", "#GP(0x0)+0", G64_U, read, pri(CR3_STORE_EXITING));
	V("cr3/load-exiting", "CR_ACCESS cr3=bx len=3", G64, write, pri(CR3_LOAD_EXITING), regs.bx = top);
	V("cr3/load-free", "ok", G64, write, regs.bx = top);
	V("cr3/load-ring3", "#GP(0x0)+0", G64_U, write, pri(CR3_LOAD_EXITING));
	V("cr3/load-exit-before-gp", "CR_ACCESS cr3=bx len=3", G64, write, pri(CR3_LOAD_EXITING), regs.bx = 1ul << 62);
	for (u32 i = 0; i < 4; i++) {
		char name[40];

		V(format_text(name, sizeof(name), "cr3/target-%u", i), "ok", G64, write, pri(CR3_LOAD_EXITING),
		  regs.bx = top, vm_write(CR3_TARGET_VALUE0 + 2 * i, top), vm_write(CR3_TARGET_COUNT, i + 1));
		V(format_text(name, sizeof(name), "cr3/target-%u-not-counted", i), "CR_ACCESS cr3=bx len=3", G64, write,
		  pri(CR3_LOAD_EXITING), regs.bx = top, vm_write(CR3_TARGET_VALUE0 + 2 * i, top),
		  vm_write(CR3_TARGET_COUNT, i));
	}
	V("cr3/target-low-bits-count", "CR_ACCESS cr3=bx len=3", G64, write, pri(CR3_LOAD_EXITING),
	  regs.bx = top | 0x18, vm_write(CR3_TARGET_VALUE0, top), vm_write(CR3_TARGET_COUNT, 1));
	V("cr3/target-other", "CR_ACCESS cr3=r8 len=4", G64, CODE("mov %r8, %cr3"), pri(CR3_LOAD_EXITING),
	  regs.r8 = top + 0x1000, vm_write(CR3_TARGET_VALUE0, top), vm_write(CR3_TARGET_COUNT, 4));
	V("cr3/saved", "ok", G64, write, regs.bx = top | 0x18);
	vm_line("cr3/saved-value", "18", "%lx", vm_read(GUEST_CR3) & 0xfff);
	V("cr3/load-reserved", "#GP(0x0)+0", G64, write, regs.bx = top | 1ul << 60);
}

static void cr8(void)
{
	V("cr8/load-exiting", "CR_ACCESS cr8=bx len=4", G64, CODE("mov %rbx, %cr8"), pri(CR8_LOAD_EXITING),
	  regs.bx = 1ul << 60);
	V("cr8/store-exiting", "CR_ACCESS bx=cr8 len=4", G64, CODE("mov %cr8, %rbx"), pri(CR8_STORE_EXITING));
	V("cr8/ring3", "#GP(0x0)+0", G64_U, CODE("mov %rbx, %cr8"), pri(CR8_LOAD_EXITING));
	V("cr8/free", "ok", G64, CODE("mov $3, %ebx; mov %rbx, %cr8; mov %cr8, %rax; xor %ebx, %ebx; mov %rbx, %cr8"));
	vm_line("cr8/free-value", "3", "%lx", regs.ax);
	V("cr8/reserved", "#GP(0x0)+0", G64, CODE("mov %rbx, %cr8"), regs.bx = 16);
	V("cr2/no-exit", "ok", G64, CODE("mov %rbx, %cr2; mov %cr2, %rax"), regs.bx = 0x1234, CR0(~0ul, 0),
	  CR4(~0ul, 0), pri(CR3_LOAD_EXITING), pri(CR3_STORE_EXITING), pri(CR8_LOAD_EXITING), pri(CR8_STORE_EXITING));
	V("cr1/undefined", "#UD+0", G64, CODE(".byte 0x0f, 0x22, 0xcb"), CR0(~0ul, 0));
	V("cr5/undefined", "#UD+0", G64, CODE(".byte 0x0f, 0x20, 0xeb"), CR0(~0ul, 0));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	cr0();
	clts_lmsw_smsw();
	cr4();
	cr3();
	cr8();
	vm_report();
}

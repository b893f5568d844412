/*
 * VM functions and EPTP switching, virtualization exceptions, sub-page write permissions, hypervisor-managed
 * linear-address translation.
 *
 * SDM vol. 3, "VM Functions", "Virtualization Exceptions", "Sub-Page Write Permissions", "Hypervisor-Managed
 * Linear-Address Translation (HLAT)", "EPT Paging-Write Control", "Guest-Paging Verification".
 */
#include "vmx.h"

const char chapter[] = "vmx_functions";

#define PAGE	    0x600000ul
#define OTHER	    0x601000ul
#define PRESENT	    (EPT_RWX | EPT_WB)
#define SUPPRESS_VE (1ul << 63)
#define SPP	    (1ul << 61)
#define VEC_VE	    20
#define page(bits)  (*ept_page(PAGE) = PAGE | (bits))

static u64 *eptp_list, *other_pml4, *ve_area;

/* A second EPT hierarchy, in which PAGE is OTHER. */
static void make_other(void)
{
	u64 *pdpt_2 = page_alloc(), *pd_2 = page_alloc(), *table = page_alloc();

	other_pml4 = page_alloc();
	other_pml4[0] = (u64)pdpt_2 | EPT_RWX;
	pdpt_2[0] = (u64)pd_2 | EPT_RWX;
	for (u64 i = 0; i < 512; i++) {
		pd_2[i] = i << 21 | EPT_PS | PRESENT;
		table[i] = PAGE | i << 12 | PRESENT;
	}
	table[0] = OTHER | PRESENT;
	pd_2[PAGE >> 21] = (u64)table | EPT_RWX;
}

#define FUNCTIONS vm_ept(), sec(ENABLE_VM_FUNCTIONS)
#define SWITCHING vm_ept(), vm_control(VM_FUNCTION, FUNCTION_CTLS_EPTP_SWITCHING), vm_write(EPTP_LIST, (u64)eptp_list)

static void functions(void)
{
	ulong code = CODE("vmfunc; movb (%rbx), %al");
	u64 second = (u64)other_pml4 | 3 << 3 | 6;

	memset(eptp_list, 0, 4096);
	eptp_list[1] = second;
	eptp_list[2] = second | 1ul << 63; /* beyond the physical-address width */
	eptp_list[3] = second ^ 3;	   /* memory type 5 */
	eptp_list[511] = second;
	V("vmfunc/off", "#UD+0", G64, code, vm_ept());
	V("vmfunc/not-enabled", "VMFUNC len=3", G64, code, FUNCTIONS);
	V("vmfunc/function-1", "VMFUNC len=3", G64, code, SWITCHING, regs.ax = 1);
	V("vmfunc/function-64", "#UD+0", G64, code, SWITCHING, regs.ax = 64);
	V("vmfunc/lock", "#UD+0", G64, CODE("lock; vmfunc"), SWITCHING);
	V("vmfunc/rep", "#UD+0", G64, CODE("repe; vmfunc"), SWITCHING);
	V("switch/first", "ok", G64, code, SWITCHING, regs.cx = 1, regs.bx = PAGE);
	vm_line("switch/first-value", "5a 1", "%lx %u", regs.ax & 0xff, vm_read(EPTP) == second);
	V("switch/last", "ok", G64, code, SWITCHING, regs.cx = 511, regs.bx = PAGE);
	V("switch/beyond-list", "VMFUNC len=3", G64, code, SWITCHING, regs.cx = 512, regs.bx = PAGE);
	V("switch/zero-entry", "VMFUNC len=3", G64, code, SWITCHING, regs.cx = 0);
	V("switch/bad-address", "VMFUNC len=3", G64, code, SWITCHING, regs.cx = 2);
	V("switch/bad-memory-type", "VMFUNC len=3", G64, code, SWITCHING, regs.cx = 3);
	V("switch/rcx-upper-half-ignored", "ok", G64, code, SWITCHING, regs.cx = 1ul << 32 | 1, regs.bx = PAGE);
	V("switch/ring3", "ok", G64_U, code, SWITCHING, regs.cx = 1, regs.bx = PAGE);
	V("switch/compatibility", "ok", GCOMPAT_U, CODE32("vmfunc; movb (%ebx), %al"), SWITCHING, regs.cx = 1,
	  regs.bx = PAGE);
	vm_line("switch/compatibility-value", "5a", "%lx", regs.ax & 0xff);
	V("switch/real", "ok", GREAL, CODE16("vmfunc"), SWITCHING, regs.cx = 1);
	V("switch/violation-in-second", "EPT_VIOLATION q=181 gpa=80000000 +3", G64, code, SWITCHING, regs.cx = 1,
	  regs.bx = 0x80000000);
	V("switch/index-field", "ok", G64, code, SWITCHING, sec(EPT_VIOLATION_VE),
	  vm_write(VE_INFORMATION, (u64)ve_area), regs.cx = 511, regs.bx = PAGE);
	vm_line("switch/index-field-value", "1ff", "%lx", vm_read(EPTP_INDEX));
}

#define VE sec(EPT_VIOLATION_VE), vm_write(VE_INFORMATION, (u64)ve_area), memset(ve_area, 0, 4096)

static void virtualization_exceptions(void)
{
	ulong read = CODE("movb (%rbx), %al"), write = CODE("movb %al, (%rbx)");

	V("ve/read", "int 0x14+0", G64, read, vm_ept(), VE, vm_write(EPTP_INDEX, 0x77), regs.bx = PAGE + 5, page(0));
	vm_line("ve/area", "ffffffff00000030 181 600005 600005 77", "%lx %lx %lx %lx %x", ve_area[0],
		ve_area[1] & 0x1bf, ve_area[2], ve_area[3], (u32)(u16)ve_area[4]);
	V("ve/write", "int 0x14+0", G64, write, vm_ept(), VE, regs.bx = PAGE, page(EPT_R | EPT_WB));
	vm_line("ve/write-qualification", "18a", "%lx", ve_area[1] & 0x1bf);
	V("ve/ring3", "int 0x14+0", G64_U, read, vm_ept(), VE, regs.bx = PAGE, page(0));
	V("ve/suppressed", "EPT_VIOLATION q=181 gpa=600000", G64, read, vm_ept(), VE, regs.bx = PAGE,
	  page(SUPPRESS_VE));
	V("ve/suppressed-present", "EPT_VIOLATION q=18a gpa=600000", G64, write, vm_ept(), VE, regs.bx = PAGE,
	  page(SUPPRESS_VE | EPT_R | EPT_WB));
	V("ve/control-off", "EPT_VIOLATION q=181 gpa=600000", G64, read, vm_ept(), regs.bx = PAGE, page(0));
	V("ve/area-busy", "EPT_VIOLATION q=181 gpa=600000", G64, read, vm_ept(), VE, *(u32 *)((u64)ve_area + 4) = 1,
	  regs.bx = PAGE, page(0));
	V("ve/bitmap", "EXCEPTION_NMI hard 20", G64, read, vm_ept(), VE, regs.bx = PAGE, page(0),
	  vm_write(EXCEPTION_BITMAP, 1 << VEC_VE));
	vm_line("ve/bitmap-area-written", "30 181", "%lx %lx", ve_area[0] & 0xffffffff, ve_area[1] & 0x1bf);
	V("ve/during-delivery", "EPT_VIOLATION q=182 gpa=600ff8 idt=hard 6", G64, CODE("ud2"), vm_ept(), VE,
	  vm_write(GUEST_RSP, PAGE + 0x1000), page(0));
	V("ve/upper-entry", "int 0x14+0", G64, read, vm_ept(), VE, regs.bx = 0x80000000, ept_pdpt[2] = 0);
	V("ve/upper-entry-suppressed", "EPT_VIOLATION q=181 gpa=80000000", G64, read, vm_ept(), VE,
	  regs.bx = 0x80000000, ept_pdpt[2] = SUPPRESS_VE);
	V("ve/misconfiguration-exits", "EPT_MISCONFIGURATION gpa=600000", G64, read, vm_ept(), VE, regs.bx = PAGE,
	  page(EPT_W | EPT_WB));
	V("ve/real-mode-exits", "EPT_VIOLATION q=181 gpa=600000", GREAL, CODE16("movb %fs:0, %al"), VE,
	  vm_write(GUEST_FS_BASE, PAGE), page(0));
	V("ve/paging-structure", "int 0x14+0", G64, read, vm_ept(), VE, regs.bx = PAGE + 0x40000000,
	  *ept_page((u64)page_dirs[1]) = 0);
	vm_line("ve/paging-structure-qualification", "81 40600000", "%lx %lx", ve_area[1] & 0x1bf, ve_area[2]);
	V("ve/page-fault-first", "#PF(0x0)+0 cr2=0x200000000", G64, read, vm_ept(), VE, regs.bx = 1ul << 33, page(0));
}

/* A page whose 32 sub-pages of 128 bytes have write permissions of their own, at the even bits of an entry four tables
 * down. */
static void sub_pages(void)
{
	u64 *table[4];
	ulong write = CODE("movb %al, (%rbx)"), wide = CODE("movq %rax, (%rbx)");

	for (u32 i = 0; i < 4; i++)
		table[i] = page_alloc();
#define TABLES                                                                                                       \
	(table[0][0] = (u64)table[1] | 1, table[1][0] = (u64)table[2] | 1, table[2][PAGE >> 21] = (u64)table[3] | 1, \
	 table[3][0] = 1ul << 2 * 3)
#define SPP_ON                                                                            \
	vm_ept(), sec(SUBPAGE_WRITE_PERMISSIONS), vm_write(SPPTP, (u64)table[0]), TABLES, \
		page(EPT_R | EPT_X | EPT_WB | SPP)
	V("spp/allowed", "ok", G64, write, SPP_ON, regs.bx = PAGE + 3 * 128);
	V("spp/allowed-last-byte", "ok", G64, write, SPP_ON, regs.bx = PAGE + 3 * 128 + 127);
	V("spp/refused", "EPT_VIOLATION q=1aa gpa=600100", G64, write, SPP_ON, regs.bx = PAGE + 2 * 128);
	V("spp/refused-next", "EPT_VIOLATION q=1aa gpa=600200", G64, write, SPP_ON, regs.bx = PAGE + 4 * 128);
	V("spp/read", "ok", G64, CODE("movb (%rbx), %al"), SPP_ON, regs.bx = PAGE + 2 * 128);
	V("spp/crossing-into-refused", "EPT_VIOLATION q=1aa gpa=6001fc|EPT_VIOLATION q=1aa gpa=600200", G64, wide,
	  SPP_ON, regs.bx = PAGE + 4 * 128 - 4);
	V("spp/page-without", "EPT_VIOLATION q=1aa gpa=600180", G64, write, SPP_ON, page(EPT_R | EPT_X | EPT_WB),
	  regs.bx = PAGE + 3 * 128);
	V("spp/writable-page", "ok", G64, write, SPP_ON, page(PRESENT | SPP), regs.bx = PAGE + 2 * 128);
#define SPP_LINE(name, what)                                                         \
	vm_line(name, "SPP " what, "%s %x", vm_exited(EXIT_SPP) ? "SPP" : vm_text(), \
		(u32)vm_read(EXIT_QUALIFICATION) & 0x800)
	vm_fresh(G64, write), SPP_ON, regs.bx = PAGE + 3 * 128, table[2][PAGE >> 21] = 0, vm_run();
	SPP_LINE("spp/miss", "800");
	vm_line("spp/miss-address", "600180", "%lx", vm_read(GUEST_PHYSICAL_ADDRESS));
	vm_fresh(G64, write), SPP_ON, regs.bx = PAGE + 3 * 128, table[1][0] |= 2, vm_run();
	SPP_LINE("spp/misconfiguration", "0");
	vm_fresh(G64, write), SPP_ON, regs.bx = PAGE + 3 * 128, table[3][0] |= 2, vm_run();
	SPP_LINE("spp/misconfiguration-odd-bit", "0");
}

/* The tables at HLATP translate linear addresses whose upper bits are 1; here none need be. */
static void hlat(void)
{
	u64 *top = page_alloc(), *pdpt_2 = page_alloc(), *pd = page_alloc();
	ulong read = CODE("movb (%rbx), %al");

	memcpy(top, pml4, 4096);
	memcpy(pdpt_2, pdpt, 4096);
	memcpy(pd, page_dirs[1], 4096);
	top[0] = (u64)pdpt_2 | 7;
	pdpt_2[1] = (u64)pd | 7;
	pd[0] = 0x800000 | 0xe7;
	*(u8 *)0x800000 = 0x77;
	*(u8 *)0x40000000 = 0xcd;
#define HLAT vm_ept(), ter(ENABLE_HLAT), vm_write(HLATP, (u64)top)
	V("hlat/translates", "ok", G64, read, HLAT, regs.bx = 0x40000000);
	vm_line("hlat/value", "77", "%lx", regs.ax & 0xff);
	V("hlat/restart", "ok", G64, read, HLAT, regs.bx = 0x40000000, pd[0] |= 1 << 11);
	vm_line("hlat/restart-value", "1", "%u", (regs.ax & 0xff) != 0x77);
	pd[0] &= ~(1ul << 11);
	V("hlat/prefix-not-matched", "ok", G64, read, HLAT, vm_write(HLAT_PREFIX_SIZE, 1), regs.bx = 0x40000000);
	vm_line("hlat/prefix-not-matched-value", "1", "%u", (regs.ax & 0xff) != 0x77);
	/* A page directory that EPT lets nobody write, but paging. */
	u64 *own = (u64 *)page_dirs[1];

#define READ_ONLY(bits) (*ept_page((u64)own) = (u64)own | EPT_R | EPT_WB | (bits))
	vm_fresh(G64, read), vm_ept(), ter(EPT_PAGING_WRITE_CONTROL), vm_needs(has_cap(ACCESSED_DIRTY)),
		regs.bx = 0x40000000;
	if (!vm_missing())
		vm_or(EPTP, 0x40), READ_ONLY(0);
	vm_run();
	vm_line("paging-write/bit-clear", "EPT_VIOLATION 8b", "%s %lx",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(), vm_read(EXIT_QUALIFICATION) & 0x1bf);
	vm_fresh(G64, read), vm_ept(), ter(EPT_PAGING_WRITE_CONTROL), vm_needs(has_cap(ACCESSED_DIRTY)),
		regs.bx = 0x40000000;
	if (!vm_missing())
		vm_or(EPTP, 0x40), READ_ONLY(1ul << 58);
	vm_run();
	vm_check("paging-write/bit-set", "ok");
	vm_fresh(G64, read), vm_ept(), ter(EPT_PAGING_WRITE_CONTROL), ter(GUEST_PAGING_VERIFICATION),
		regs.bx = 0x40000000;
	if (!vm_missing())
		*ept_page(0x40000000) = 0x40000000 | PRESENT | 1ul << 57;
	vm_run();
	vm_line("verification/refused", "EPT_VIOLATION 8000 40000000", "%s %lx %lx",
		vm_exited(EXIT_EPT_VIOLATION) ? "EPT_VIOLATION" : vm_text(), vm_read(EXIT_QUALIFICATION) & 0x8000,
		vm_read(GUEST_PHYSICAL_ADDRESS));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	eptp_list = page_alloc();
	ve_area = page_alloc();
	make_other();
	*(u8 *)PAGE = 0xcd;
	*(u8 *)OTHER = 0x5a;
	functions();
	virtualization_exceptions();
	sub_pages();
	hlat();
	vm_report();
}

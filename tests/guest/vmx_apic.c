/*
 * APIC virtualization: the TPR shadow, the APIC-access page, x2APIC MSRs, virtual interrupts, posted interrupts, IPI
 * virtualization.
 *
 * SDM vol. 3, "APIC Virtualization and Virtual Interrupts", "VM Exits Induced by the TPR Threshold", "Interrupt-Window
 * Exiting and Virtual-Interrupt Delivery". Where the manual leaves a choice (large pages, physical accesses) nothing is
 * asked, nor is an instruction fetch, which Bochs does not survive (src/mem/apic_access_test.c has it).
 */
#include "chips.h"
#include "vmx.h"

const char chapter[] = "vmx_apic";

#define NOTIFY	0xe1
#define ENABLED 0x1ff /* SVR */

static u8 *virtual_apic, *access_page, *bitmap;
static u64 *pid, *other, *table;

#define VIRTUAL(offset) (*(volatile u32 *)(virtual_apic + (offset)))

static u32 vector_bit(u32 base, u32 vector)
{
	return VIRTUAL(base + vector / 32 * 16) >> vector % 32 & 1;
}

static void set_vector(u32 base, u32 vector)
{
	VIRTUAL(base + vector / 32 * 16) |= 1u << vector % 32;
}

/* "use TPR shadow" and an empty virtual-APIC page. */
static void shadow(void)
{
	memset(virtual_apic, 0, 4096);
	memset(access_page, 0, 4096);
	memset(pid, 0, 128);
	pri(USE_TPR_SHADOW);
	vm_write(VIRTUAL_APIC_ADDRESS, (u64)virtual_apic);
}

static void accesses(void)
{
	shadow();
	sec(VIRTUALIZE_APIC_ACCESSES);
	vm_write(APIC_ACCESS_ADDRESS, (u64)access_page);
	regs.bx = (u64)access_page;
}

static void delivery(void)
{
	shadow();
	sec(VIRTUAL_INTERRUPT_DELIVERY);
	pin(EXTERNAL_INTERRUPT_EXITING);
}

static void x2apic(void)
{
	shadow();
	sec(VIRTUALIZE_X2APIC_MODE);
	pri(USE_MSR_BITMAPS);
	vm_write(MSR_BITMAP, (u64)bitmap);
}

static void request(u32 vector)
{
	set_vector(APIC_IRR, vector);
	if (vector > (vm_read(GUEST_INTERRUPT_STATUS) & 255))
		vm_write(GUEST_INTERRUPT_STATUS, (vm_read(GUEST_INTERRUPT_STATUS) & 0xff00) | vector);
}

static void in_service(u32 vector)
{
	set_vector(APIC_ISR, vector);
	vm_write(GUEST_INTERRUPT_STATUS, (vm_read(GUEST_INTERRUPT_STATUS) & 255) | vector << 8);
}

#define enable_interrupts()	    vm_or(GUEST_RFLAGS, FLAG_IF)
#define status_line(name, expected) vm_line(name, expected, "%lx", vm_read(GUEST_INTERRUPT_STATUS))

/* In an inactive state, so that a processor that does not wake says so by another VM exit. */
#define OR_TIMER pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 10000)

static void task_priority(void)
{
	ulong write = CODE("mov %rax, %cr8; nop; vmcall"), read = CODE("mov %cr8, %rcx; vmcall");

	V("tpr/read", "VMCALL len=3 +4", G64, read, shadow(), VIRTUAL(APIC_TPR) = 0x9c);
	vm_line("tpr/read-value", "9", "%lx", regs.cx);
	V("tpr/write", "VMCALL len=3 +5", G64, write, shadow(), VIRTUAL(APIC_TPR) = 0xffffffff, regs.ax = 6,
	  vm_write(TPR_THRESHOLD, 6));
	vm_line("tpr/write-value", "60", "%x", VIRTUAL(APIC_TPR));
	V("tpr/below-threshold", "TPR_BELOW_THRESHOLD +4", G64, write, shadow(), VIRTUAL(APIC_TPR) = 0x70, regs.ax = 5,
	  vm_write(TPR_THRESHOLD, 6));
	V("tpr/reserved", "#GP(0x0)+0", G64, write, shadow(), VIRTUAL(APIC_TPR) = 0x70, regs.ax = 0x10,
	  vm_write(TPR_THRESHOLD, 6));
	V("tpr/load-exiting", "CR_ACCESS cr8=ax len=4", G64, write, shadow(), VIRTUAL(APIC_TPR) = 0x70,
	  pri(CR8_LOAD_EXITING), vm_write(TPR_THRESHOLD, 6));
	V("tpr/store-exiting", "CR_ACCESS cx=cr8 len=4", G64, read, shadow(), pri(CR8_STORE_EXITING));
	V("tpr/step", "TPR_BELOW_THRESHOLD +4", G64, write, shadow(), VIRTUAL(APIC_TPR) = 0x70,
	  vm_write(TPR_THRESHOLD, 6), vm_or(GUEST_RFLAGS, FLAG_TF));
	vm_line("tpr/step-pending", "4000", "%lx", vm_read(GUEST_PENDING_DEBUG));
	V("tpr/entry", "VMfail(7)", G64, write, shadow(), vm_write(TPR_THRESHOLD, 1));
	V("tpr/entry-accesses", "TPR_BELOW_THRESHOLD", G64, write, accesses(), vm_write(TPR_THRESHOLD, 1));
	V("tpr/entry-injecting", "TPR_BELOW_THRESHOLD handler 48", G64, write, accesses(), vm_write(TPR_THRESHOLD, 1),
	  enable_interrupts(), vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	V("tpr/entry-halted", "TPR_BELOW_THRESHOLD", G64, write, accesses(), vm_write(TPR_THRESHOLD, 1), OR_TIMER,
	  vm_write(GUEST_ACTIVITY_STATE, HALTED));
}

/* Each register of the page: the offsets at which an access of 4 bytes is virtualized. */
static void registers(const char *name, const char *expected, bool write, u32 controls)
{
	ulong code = write ? CODE("movl %eax, (%rbx); vmcall") : CODE("movl (%rbx), %eax; vmcall");
	char text[320];
	u32 length = 0;

	text[0] = 0;
	vm_fresh(G64, code);
	accesses();
	for (u32 offset = 0; !vm_missing() && offset < 0x400; offset += 16) {
		vm_fresh(G64, code);
		accesses();
		if (controls & 1)
			sec(APIC_REGISTER_VIRTUALIZATION);
		if (controls & 2) {
			sec(VIRTUAL_INTERRUPT_DELIVERY);
			pin(EXTERNAL_INTERRUPT_EXITING);
		}
		if (controls & 4)
			vm_and(VM_PROCBASED_CTLS, ~(1ul << PROCBASED_CTLS_USE_TPR_SHADOW));
		regs.bx += offset;
		VIRTUAL(offset) = write ? 0 : 0x12345600 + offset;
		regs.ax = write ? 0x1f : 0;
		vm_run();
		if (vm_missing() || vm_exited(EXIT_APIC_ACCESS))
			continue;
		format_text(text + length, sizeof(text) - length, "%s%x", length ? " " : "", offset >> 4);
		while (text[length])
			length++;
	}
	vm_line(name, expected, "%s", text);
}

static void page(void)
{
	ulong read = CODE("movl (%rbx), %eax; vmcall"), write = CODE("movl %eax, (%rbx); vmcall");

	registers("page/read-nothing", "", false, 4);
	registers("page/write-nothing", "", true, 4);
	registers("page/read-tpr", "8", false, 0);
	registers("page/read-delivery", "8 b 30", false, 2);
	registers("page/read-registers",
		  "2 3 8 b d e f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 26 27 28 30 31 32 "
		  "33 34 "
		  "35 36 37 38 3e",
		  false, 1);
	registers("page/write-tpr", "8", true, 0);
	registers("page/write-delivery", "8 b 30", true, 2);
	registers("page/write-registers", "2 8 b d e f 28 30 31 32 33 34 35 36 37 38 3e", true, 1);
	registers("page/write-all", "2 8 b d e f 28 30 31 32 33 34 35 36 37 38 3e", true, 3);

	V("page/read", "VMCALL len=3 +2", G64, read, accesses(), regs.bx += APIC_TPR, VIRTUAL(APIC_TPR) = 0x78);
	vm_line("page/read-value", "78", "%lx", regs.ax);
	/* A VM entry may clear bytes 3:1 of VTPR. */
	V("page/read-all", "VMCALL len=3 +2", G64, read, accesses(), regs.bx += APIC_TPR, VIRTUAL(APIC_TPR) = 0x12345678);
	vm_line("page/read-all-value", "12345678|78", "%lx", regs.ax);
	V("page/exit", "APIC_ACCESS offset=30 type=0 len=2", G64, read, accesses(), regs.bx += APIC_VERSION);
	vm_line("page/exit-rf", "10000", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	V("page/exit-write", "APIC_ACCESS offset=30 type=1 len=2", G64, write, accesses(), regs.bx += APIC_VERSION);
	V("page/no-shadow", "APIC_ACCESS offset=80 type=0 len=2", G64, read, sec(VIRTUALIZE_APIC_ACCESSES),
	  vm_write(APIC_ACCESS_ADDRESS, (u64)access_page), regs.bx = (u64)access_page + APIC_TPR);
	V("page/byte-2", "APIC_ACCESS offset=82 type=0 len=3", G64, CODE("movb 2(%rbx), %al; vmcall"), accesses(),
	  regs.bx += APIC_TPR);
	V("page/byte-2-registers", "VMCALL len=3 +3", G64, CODE("movb 2(%rbx), %al; vmcall"), accesses(),
	  sec(APIC_REGISTER_VIRTUALIZATION), regs.bx += APIC_TPR);
	V("page/byte-4", "APIC_ACCESS offset=84 type=0 len=3", G64, CODE("movb 4(%rbx), %al; vmcall"), accesses(),
	  regs.bx += APIC_TPR);
	V("page/word-3", "APIC_ACCESS offset=83 type=0 len=4", G64, CODE("movw 3(%rbx), %ax; vmcall"), accesses(),
	  regs.bx += APIC_TPR);
	V("page/quadword", "APIC_ACCESS offset=80 type=0 len=3", G64, CODE("movq (%rbx), %rax; vmcall"), accesses(),
	  regs.bx += APIC_TPR);
	V("page/write", "VMCALL len=3 +2", G64, write, accesses(), regs.bx += APIC_TPR, regs.ax = 0xabcdef45);
	vm_line("page/write-value", "45 0", "%x %x", VIRTUAL(APIC_TPR), *(u32 *)(access_page + APIC_TPR));
	V("page/write-below-threshold", "TPR_BELOW_THRESHOLD +2", G64, write, accesses(), regs.bx += APIC_TPR,
	  regs.ax = 0x45, VIRTUAL(APIC_TPR) = 0x70, vm_write(TPR_THRESHOLD, 5));
	V("page/read-modify-write", "VMCALL len=3 +3", G64, CODE("addl $16, (%rbx); vmcall"), accesses(),
	  regs.bx += APIC_TPR, VIRTUAL(APIC_TPR) = 0x30);
	vm_line("page/read-modify-write-value", "40", "%x", VIRTUAL(APIC_TPR));
	V("page/read-modify-write-exit", "APIC_ACCESS offset=30 type=1 len=3", G64, CODE("addl $16, (%rbx); vmcall"),
	  accesses(), sec(APIC_REGISTER_VIRTUALIZATION), regs.bx += APIC_VERSION);
	V("page/delivery", "APIC_ACCESS offset=f8 type=3 idt=soft 49", G64, CODE("int $0x31"), accesses(),
	  vm_write(GUEST_RSP, (u64)access_page + 0x100));
	vm_line("page/delivery-length", "2", "%lu", vm_read(VM_EXIT_INSTRUCTION_LENGTH));
	V("page/page-fault-first", "#PF(0x0)+0 cr2=0x200000080", G64, read, accesses(), regs.bx = 0x200000080);

	/* Behind EPT it is a physical page. */
	vm_fresh(G64, read);
	accesses();
	vm_ept();
	if (!vm_missing()) {
		*ept_page(0x5000) = (u64)access_page | EPT_WB | EPT_RWX;
		invept_all();
	}
	regs.bx = 0x5000 + APIC_VERSION;
	vm_run();
	vm_check("page/ept", "APIC_ACCESS offset=30 type=0 len=2");
	vm_fresh(G64, read);
	accesses();
	vm_ept();
	if (!vm_missing()) {
		*ept_page(0x5000) = (u64)access_page | EPT_WB | EPT_X | EPT_R;
		invept_all();
	}
	regs.bx = 0x5000 + APIC_TPR;
	VIRTUAL(APIC_TPR) = 0x77;
	vm_run();
	vm_check("page/ept-virtualized", "VMCALL len=3 +2");
	vm_line("page/ept-value", "77", "%lx", regs.ax);
	V("page/paging-structures", "APIC_ACCESS offset=0 type=15", G64, read, accesses(), vm_ept(),
	  vm_write(APIC_ACCESS_ADDRESS, read_cr3() & ~0xffful), regs.bx = 0x5000);
}

static void emulation(void)
{
	ulong write = CODE("movl %eax, (%rbx); vmcall");

	V("write/lvt", "APIC_WRITE q=370 +2", G64, write, accesses(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.bx += APIC_LVT_ERROR, regs.ax = 0x12345678);
	vm_line("write/lvt-value", "12345678", "%x", VIRTUAL(APIC_LVT_ERROR));
	V("write/icr-high", "VMCALL len=3 +2", G64, write, accesses(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.bx += APIC_ICR2, regs.ax = 0x12345678);
	vm_line("write/icr-high-value", "12000000", "%x", VIRTUAL(APIC_ICR2));
	ulong byte_1 = CODE("movb %al, 1(%rbx); vmcall");

	V("write/tpr-byte-1", "APIC_WRITE q=81 +3", G64, byte_1, accesses(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.bx += APIC_TPR, VIRTUAL(APIC_TPR) = 0x77, regs.ax = 0x50);
	vm_line("write/tpr-byte-1-value", "5077", "%x", VIRTUAL(APIC_TPR));
	V("write/icr-byte-1", "APIC_WRITE q=301 +3", G64, byte_1, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  sec(APIC_REGISTER_VIRTUALIZATION), regs.bx += APIC_ICR, VIRTUAL(APIC_ICR) = 0x40061);
	V("write/icr-high-byte-1", "VMCALL len=3 +3", G64, byte_1, accesses(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.bx += APIC_ICR2, VIRTUAL(APIC_ICR2) = 0x12345678);
	vm_line("write/icr-high-byte-1-value", "12000000", "%x", VIRTUAL(APIC_ICR2));
	V("write/eoi-no-delivery", "APIC_WRITE q=b0 +2", G64, write, accesses(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.bx += APIC_EOI);
	V("write/eoi", "VMCALL len=3 +2", G64, write, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  regs.bx += APIC_EOI, regs.ax = 0x55, in_service(0x41), set_vector(APIC_ISR, 0x32));
	status_line("write/eoi-status", "3200");
	vm_line("write/eoi-page", "isr=0 eoi=0 ppr=30", "isr=%x eoi=%x ppr=%x", vector_bit(APIC_ISR, 0x41),
		VIRTUAL(APIC_EOI), VIRTUAL(APIC_PPR));
	V("write/eoi-exit", "VIRTUALIZED_EOI q=41 +2", G64, write, accesses(), delivery(),
	  sec(VIRTUALIZE_APIC_ACCESSES), regs.bx += APIC_EOI, in_service(0x41), vm_write(EOI_EXIT_BITMAP1, 2));
	status_line("write/eoi-exit-status", "0");
	V("write/self-ipi", "VMCALL len=3 +2", G64, write, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  regs.bx += APIC_ICR, regs.ax = 0x40061);
	status_line("write/self-ipi-status", "61");
	vm_line("write/self-ipi-irr", "1", "%u", vector_bit(APIC_IRR, 0x61));
	V("write/self-ipi-delivered", "int 0x61+2", G64, write, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  regs.bx += APIC_ICR, regs.ax = 0x40061, enable_interrupts());
	V("write/self-ipi-low-vector", "APIC_WRITE q=300 +2", G64, write, accesses(), delivery(),
	  sec(VIRTUALIZE_APIC_ACCESSES), regs.bx += APIC_ICR, regs.ax = 0x4000f);
	V("write/icr-others", "APIC_WRITE q=300 +2", G64, write, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  regs.bx += APIC_ICR, regs.ax = 0xc0061);
	V("write/icr-level", "APIC_WRITE q=300 +2", G64, write, accesses(), delivery(), sec(VIRTUALIZE_APIC_ACCESSES),
	  regs.bx += APIC_ICR, regs.ax = 0x48061);
}

static void interrupts(void)
{
	ulong nops = CODE("nop; nop; vmcall"), sti = CODE("nop; sti; nop; nop; vmcall"),
	      lower = CODE("mov %rax, %cr8; nop; vmcall"), halt = CODE("hlt; vmcall");

	V("virtual/entry", "int 0x61+0", G64, nops, delivery(), request(0x61), enable_interrupts());
	status_line("virtual/entry-status", "6100");
	vm_line("virtual/entry-page", "irr=0 isr=1 ppr=60", "irr=%u isr=%u ppr=%x", vector_bit(APIC_IRR, 0x61),
		vector_bit(APIC_ISR, 0x61), VIRTUAL(APIC_PPR));
	V("virtual/two", "int 0x61+0", G64, nops, delivery(), request(0x61), request(0x45), enable_interrupts());
	status_line("virtual/two-status", "6145");
	V("virtual/masked", "VMCALL len=3 +2", G64, nops, delivery(), request(0x61));
	V("virtual/sti", "int 0x61+3", G64, sti, delivery(), request(0x61));
	V("virtual/blocked-by-sti", "int 0x61+1", G64, nops, delivery(), request(0x61), enable_interrupts(),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	V("virtual/priority", "VMCALL len=3 +2", G64, nops, delivery(), request(0x61), in_service(0x60),
	  enable_interrupts());
	vm_line("virtual/priority-ppr", "60", "%x", VIRTUAL(APIC_PPR));
	V("virtual/tpr", "VMCALL len=3 +2", G64, nops, delivery(), request(0x61), VIRTUAL(APIC_TPR) = 0x65,
	  enable_interrupts());
	vm_line("virtual/tpr-ppr", "65", "%x", VIRTUAL(APIC_PPR));
	V("virtual/tpr-lowered", "int 0x61+4", G64, lower, delivery(), request(0x61), VIRTUAL(APIC_TPR) = 0x60,
	  enable_interrupts(), regs.ax = 5);
	V("virtual/no-threshold", "VMCALL len=3 +5", G64, lower, delivery(), VIRTUAL(APIC_TPR) = 0x60, regs.ax = 5,
	  vm_write(TPR_THRESHOLD, 15));
	V("virtual/window", "INTERRUPT_WINDOW", G64, nops, delivery(), request(0x61), enable_interrupts(),
	  pri(INTERRUPT_WINDOW_EXITING));
	V("virtual/halted", "int 0x61+0", G64, nops, delivery(), request(0x61), enable_interrupts(), OR_TIMER,
	  vm_write(GUEST_ACTIVITY_STATE, HALTED));
	V("virtual/hlt", "PREEMPTION_TIMER +1", G64, halt, delivery(), request(0x61), OR_TIMER);
	V("virtual/after-injection", "int 0x30+0", G64, nops, delivery(), request(0x61), enable_interrupts(),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	V("virtual/fault", "EXCEPTION_NMI hard 13(0x30b) idt=intr 97", G64, nops, delivery(), request(0x61),
	  enable_interrupts(), vm_write(GUEST_IDTR_LIMIT, 0x60f), vm_write(EXCEPTION_BITMAP, 1 << VEC_GP));
}

/* The registers whose RDMSR, or WRMSR of 0, neither faults nor exits (or that exits for this reason). The local APIC is in
 * xAPIC mode, where it has no such MSRs. */
static void msrs_done(const char *name, const char *expected, ulong code, u32 controls, u32 reason)
{
	char text[320];
	u32 length = 0;

	text[0] = 0;
	for (u32 i = 0; i < 0x40; i++) {
		vm_fresh(G64, code);
		x2apic();
		if (controls & 1)
			sec(APIC_REGISTER_VIRTUALIZATION);
		if (controls & 2)
			delivery();
		regs.cx = 0x800 + i;
		vm_run();
		if (vm_missing())
			break;
		if (reason ? !vm_exited(reason) : !vm_exited(EXIT_VMCALL) || vm_vector() >= 0)
			continue;
		format_text(text + length, sizeof(text) - length, "%s%x", length ? " " : "", i);
		while (text[length])
			length++;
	}
	vm_line(name, expected, "%s", text);
}

/* RDMSR or WRMSR of one register. */
static void msrs(void)
{
	ulong read = CODE("rdmsr; vmcall"), write = CODE("wrmsr; vmcall");

	V("x2apic/read-tpr", "VMCALL len=3 +2", G64, read, x2apic(), regs.cx = 0x808, VIRTUAL(APIC_TPR) = 0x45,
	  VIRTUAL(APIC_TPR + 4) = 0x99);
	vm_line("x2apic/read-tpr-value", "45 99", "%lx %lx", regs.ax, regs.dx);
	V("x2apic/read-other", "#GP(0x0)+0", G64, read, x2apic(), regs.cx = 0x803);
	V("x2apic/read-registers", "VMCALL len=3 +2", G64, read, x2apic(), sec(APIC_REGISTER_VIRTUALIZATION),
	  regs.cx = 0x8ff, VIRTUAL(0xff0) = 0x12345678);
	vm_line("x2apic/read-registers-value", "12345678 0", "%lx %lx", regs.ax, regs.dx);
	V("x2apic/write-tpr", "VMCALL len=3 +2", G64, write, x2apic(), regs.cx = 0x808, regs.ax = 0x45);
	vm_line("x2apic/write-tpr-value", "45", "%x", VIRTUAL(APIC_TPR));
	V("x2apic/write-tpr-threshold", "TPR_BELOW_THRESHOLD +2", G64, write, x2apic(), VIRTUAL(APIC_TPR) = 0x70,
	  vm_write(TPR_THRESHOLD, 7), regs.cx = 0x808, regs.ax = 0x45);
	V("x2apic/write-tpr-reserved", "#GP(0x0)+0", G64, write, x2apic(), regs.cx = 0x808, regs.ax = 0x145);
	V("x2apic/write-tpr-high", "#GP(0x0)+0", G64, write, x2apic(), regs.cx = 0x808, regs.dx = 1);
	V("x2apic/write-eoi", "VMCALL len=3 +2", G64, write, x2apic(), delivery(), regs.cx = 0x80b, in_service(0x41));
	status_line("x2apic/write-eoi-status", "0");
	V("x2apic/write-eoi-value", "#GP(0x0)+0", G64, write, x2apic(), delivery(), regs.cx = 0x80b, regs.ax = 1);
	V("x2apic/write-self-ipi", "int 0x61+2", G64, write, x2apic(), delivery(), regs.cx = 0x83f, regs.ax = 0x61,
	  enable_interrupts());
	V("x2apic/write-self-ipi-low", "APIC_WRITE q=3f0 +2", G64, write, x2apic(), delivery(), regs.cx = 0x83f,
	  regs.ax = 0x0f);
	V("x2apic/write-self-ipi-reserved", "#GP(0x0)+0", G64, write, x2apic(), delivery(), regs.cx = 0x83f,
	  regs.ax = 0x161);
	V("x2apic/write-other", "#GP(0x0)+0", G64, write, x2apic(), delivery(), regs.cx = 0x80f, regs.ax = 0x1ff);
	msrs_done("x2apic/readable", "8", read, 0, 0);
	msrs_done("x2apic/readable-delivery", "8", read, 2, 0);
	msrs_done("x2apic/readable-registers",
		  "0 1 2 3 4 5 6 7 8 9 a b c d e f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 "
		  "26 27 28 29 2a 2b 2c 2d 2e 2f 30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f",
		  read, 1, 0);
	msrs_done("x2apic/writable", "8", write, 1, 0);
	msrs_done("x2apic/writable-delivery", "8 b", write, 3, 0);
	msrs_done("x2apic/writable-exits", "3f", write, 3, EXIT_APIC_WRITE);
	V("x2apic/bitmap", "RDMSR len=2", G64, read, x2apic(), bitmap[0x808 / 8] = 1 << 0x808 % 8, regs.cx = 0x808);
	bitmap[0x808 / 8] = 0;
}

static void posting(void)
{
	delivery();
	pin(PROCESS_POSTED_INTERRUPTS);
	exi(ACKNOWLEDGE_INTERRUPT);
	vm_write(POSTED_INTERRUPT_VECTOR, NOTIFY);
	vm_write(POSTED_INTERRUPT_DESCRIPTOR, (u64)pid);
}

static void post(u32 vector)
{
	((u8 *)pid)[vector / 8] |= 1 << vector % 8;
}

/* An interrupt for this processor, which waits until the guest runs. */
static void send(u32 vector)
{
	if (!vm_missing())
		apic_send(apic_read(APIC_ID) >> 24, 0x4000 | vector);
}

static void posted(void)
{
	ulong nops = CODE("nop; nop; vmcall");

	V("posted/delivered", "int 0x61+0", G64, nops, posting(), post(0x61), post(0x34), pid[4] = 1, send(NOTIFY),
	  enable_interrupts());
	status_line("posted/delivered-status", "6134");
	vm_line("posted/delivered-descriptor", "0 0 0 0 0", "%lx %lx %lx %lx %lx", pid[0], pid[1], pid[2], pid[3],
		pid[4]);
	vm_line("posted/eoi", "0", "%x", apic_read(APIC_ISR + 0x70));
	V("posted/masked", "VMCALL len=3 +2", G64, nops, posting(), post(0x61), pid[4] = 1, send(NOTIFY));
	status_line("posted/masked-status", "61");
	V("posted/nothing", "VMCALL len=3 +2", G64, nops, posting(), send(NOTIFY), enable_interrupts());
	V("posted/other-vector", "EXTERNAL_INTERRUPT intr 81", G64, nops, posting(), post(0x61), send(0x51),
	  enable_interrupts());
	if (!vm_missing())
		apic_write(APIC_EOI, 0);
	status_line("posted/other-vector-status", "0");
	V("posted/halted", "int 0x61+0", G64, nops, posting(), post(0x61), send(NOTIFY), enable_interrupts(), OR_TIMER,
	  vm_write(GUEST_ACTIVITY_STATE, HALTED));
	V("posted/halted-nothing", "PREEMPTION_TIMER", G64, nops, posting(), send(NOTIFY), enable_interrupts(),
	  vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	vm_line("posted/halted-nothing-activity", "1", "%lu", vm_read(GUEST_ACTIVITY_STATE));
}

/* To the virtual processor with ID 3, whose notifications come to this processor: they take what is posted to ours. */
static void ipis(u64 entry, u64 control)
{
	accesses();
	posting();
	sec(VIRTUALIZE_APIC_ACCESSES);
	ter(IPI_VIRTUALIZATION);
	regs.bx = (u64)access_page + APIC_ICR;
	VIRTUAL(APIC_ICR2) = 3u << 24;
	table[3] = entry;
	other[4] = (u64)(apic_read(APIC_ID) >> 24) << 40 | NOTIFY << 16 | control;
	vm_write(PID_POINTER_TABLE, (u64)table);
	vm_write(LAST_PID_POINTER_INDEX, 3);
	post(0x55);
	enable_interrupts();
}

static void ipi_virtualization(void)
{
	ulong write = CODE("movl %eax, (%rbx); vmcall");
	u64 entry = (u64)other | 1;

	V("ipi/posted", "int 0x55+2", G64, write, ipis(entry, 0), regs.ax = 0x72);
	vm_line("ipi/posted-descriptor", "4000000000000 1", "%lx %lx", other[1], other[4] & 3);
	V("ipi/outstanding", "VMCALL len=3 +2", G64, write, ipis(entry, 1), regs.ax = 0x72);
	vm_line("ipi/outstanding-descriptor", "4000000000000 1", "%lx %lx", other[1], other[4] & 3);
	V("ipi/suppressed", "VMCALL len=3 +2", G64, write, ipis(entry, 2), regs.ax = 0x72);
	vm_line("ipi/suppressed-descriptor", "4000000000000 2", "%lx %lx", other[1], other[4] & 3);
	V("ipi/invalid-entry", "APIC_WRITE q=300 +2", G64, write, ipis(entry ^ 1, 0), regs.ax = 0x72);
	V("ipi/reserved-in-entry", "APIC_WRITE q=300 +2", G64, write, ipis(entry | 2, 0), regs.ax = 0x72);
	V("ipi/beyond-the-table", "APIC_WRITE q=300 +2", G64, write, ipis(entry, 0), regs.ax = 0x72,
	  vm_write(LAST_PID_POINTER_INDEX, 2));
	V("ipi/low-vector", "APIC_WRITE q=300 +2", G64, write, ipis(entry, 0), regs.ax = 0x0f);
	V("ipi/logical", "APIC_WRITE q=300 +2", G64, write, ipis(entry, 0), regs.ax = 0x872);
	V("ipi/nmi", "APIC_WRITE q=300 +2", G64, write, ipis(entry, 0), regs.ax = 0x472);
	V("ipi/self", "int 0x72+2", G64, write, ipis(entry, 0), regs.ax = 0x40072);
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	virtual_apic = page_alloc();
	access_page = page_alloc();
	bitmap = page_alloc();
	pid = page_alloc();
	other = pid + 8;
	table = page_alloc();
	apic_write(APIC_SVR, ENABLED);
	task_priority();
	page();
	emulation();
	interrupts();
	msrs();
	posted();
	ipi_virtualization();
	vm_report();
}

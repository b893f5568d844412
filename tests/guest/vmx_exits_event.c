/*
 * VM exits that no instruction asks for: exceptions, interrupts, NMIs, windows, triple fault, INIT, SIPI, task
 * switches, the monitor trap flag, the preemption timer, the TPR threshold. Two processors, of which the second sends
 * INIT and start-up IPIs.
 *
 * SDM vol. 3, "Other Causes of VM Exits", "Information for VM Exits Due to Vectored Events", "Information for VM Exits
 * During Event Delivery", "Features Specific to VMX Non-Root Operation", "Task Switches Not Allowed".
 */
#include "chips.h"
#include "vmx.h"

const char chapter[] = "vmx_exits_event";

#define BAD		  (1ull << 60) /* not canonical */
#define UNMAPPED	  (1ull << 33)
#define exception(vector) vm_or(EXCEPTION_BITMAP, 1u << (vector))

/* In an inactive state, so that a processor that does not wake says so by another VM exit. */
#define OR_TIMER pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 10000)

/* The text of an event that may have come an instruction sooner or later: without where. */
static const char *somewhere(void)
{
	vm_from_here();
	return vm_text();
}
#define W(name, expected, mode, code, ...)                  \
	({                                                  \
		vm_fresh(mode, code);                       \
		(void)0, ##__VA_ARGS__;                     \
		vm_run();                                   \
		vm_line(name, expected, "%s", somewhere()); \
	})

/* Each exception: with its bit in the bitmap clear it goes to the guest, set it is a VM exit. */
static void exceptions(void)
{
	const struct {
		const char *name;
		u32 vector;
		enum guest_mode mode;
		const char *guest, *exit;
		ulong code;
		u64 flags, cr4, bx, cr0;
	} rows[] = {
		{"de", VEC_DE, G64, "#DE+2", "EXCEPTION_NMI hard 0 +2", CODE("xor %ecx, %ecx; div %ecx")},
		{"db-step", VEC_DB, G64, "#DB+1", "EXCEPTION_NMI hard 1 dr6=4000 +1", CODE("nop; nop"), FLAG_TF},
		{"bp", VEC_BP, G64, "#BP+2", "EXCEPTION_NMI softexc 3 len=1 +1", CODE("nop; int3")},
		{"bp-ring3", VEC_BP, G64_U, "#BP+2", "EXCEPTION_NMI softexc 3 len=1 +1", CODE("nop; int3")},
		{"bp-cd03", VEC_BP, G64, "#BP+2", "#BP+2", CODE(".byte 0xcd, 3")},
		{"of", VEC_OF, GCOMPAT_U, "#OF+1", "EXCEPTION_NMI softexc 4 len=1", CODE32("into"), FLAG_OF},
		{"br", VEC_BR, GCOMPAT_U, "#BR+0", "EXCEPTION_NMI hard 5", CODE32("bound %eax, 0x5000"), .bx = 0},
		{"ud", VEC_UD, G64, "#UD+0", "EXCEPTION_NMI hard 6", CODE("ud2")},
		{"nm", VEC_NM, G64, "#NM+0", "EXCEPTION_NMI hard 7", CODE("fnop"), .cr0 = CR0_TS},
		{"np", VEC_NP, G64, "#NP(0x78)+0", "EXCEPTION_NMI hard 11(0x78)", CODE("mov %ebx, %fs"),
		 .bx = SEL_TEST + 8},
		{"ss", VEC_SS, G64, "#SS(0x0)+3", "EXCEPTION_NMI hard 12(0x0) +3",
		 CODE("mov %rbx, %rbp; movb (%rbp), %al"), .bx = BAD},
		{"gp", VEC_GP, G64, "#GP(0x0)+0", "EXCEPTION_NMI hard 13(0x0)", CODE("movb (%rbx), %al"), .bx = BAD},
		{"gp-selector", VEC_GP, G64, "#GP(0x1f8)+0", "EXCEPTION_NMI hard 13(0x1f8)", CODE("mov %ebx, %fs"),
		 .bx = 0x1f8},
		{"gp-v86", VEC_GP, GV86, "#GP(0x0)+0", "EXCEPTION_NMI hard 13(0x0)", CODE16("hlt")},
		{"gp-real", VEC_GP, GREAL, "#GP(0x0)+0", "EXCEPTION_NMI hard 13", CODE16("movl 0xfffe, %eax")},
		{"pf-read", VEC_PF, G64, "#PF(0x0)+0 cr2=0x200000000", "EXCEPTION_NMI hard 14(0x0) at=200000000",
		 CODE("movb (%rbx), %al"), .bx = UNMAPPED},
		{"pf-write-ring3", VEC_PF, G64_U, "#PF(0x6)+0 cr2=0x200000007",
		 "EXCEPTION_NMI hard 14(0x6) at=200000007", CODE("movb %al, 7(%rbx)"), .bx = UNMAPPED},
		{"ac", VEC_AC, G64_U, "#AC(0x0)+0", "EXCEPTION_NMI hard 17(0x0)", CODE("movl 0x5001, %eax"), FLAG_AC,
		 .cr0 = CR0_AM},
		{"mf", VEC_MF, G64, "#MF+27", "EXCEPTION_NMI hard 16 +27",
		 CODE("fninit; movw $0x37b, 0x5000; fldcw 0x5000; nop; fld1; fldz; fdivrp; .byte 0x90, 0x9b, 0x90, "
		      "0x90"),
		 .bx = 0},
		{"xm", VEC_XM, G64, "#XM+7", "EXCEPTION_NMI hard 19 +7",
		 CODE("ldmxcsr (%rbx); xorps %xmm0, %xmm0; .byte 0x90; divps %xmm0, %xmm0"),
		 .cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT, .bx = 0x5010},
		{"int1", VEC_DB, G64, "#DB+1", "EXCEPTION_NMI priv 1 len=1", CODE(".byte 0xf1")},
	};
	char name[64];

	*(u32 *)0x5000 = 1;
	*(u32 *)0x5004 = 2;
	*(u32 *)0x5010 = 0; /* MXCSR with all exceptions unmasked */
	set_descriptor(SEL_TEST + 8, 0, 0xfffff, 0x13, SEG_G | SEG_D);
	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (u32 on = 0; on < 2; on++) {
			format_text(name, sizeof(name), "exception/%s%s", rows[i].name, on ? "" : "-guest");
			vm_fresh(rows[i].mode, rows[i].code);
			vm_or(GUEST_RFLAGS, rows[i].flags);
			vm_or(GUEST_CR4, rows[i].cr4);
			vm_or(GUEST_CR0, rows[i].cr0);
			regs.bx = rows[i].bx;
			if (on)
				exception(rows[i].vector);
			write_dr6(0xffff0ff0);
			write_cr2(0x77);
			vm_run();
			vm_check(name, on ? rows[i].exit : rows[i].guest);
			if (rows[i].vector == VEC_PF)
				vm_line(format_text(name, sizeof(name), "exception/%s-cr2%s", rows[i].name,
						    on ? "" : "-guest"),
					on		      ? "77"
					: rows[i].mode == G64 ? "200000000"
							      : "200000007",
					"%lx", read_cr2());
			if (rows[i].vector == VEC_DB && rows[i].flags)
				vm_line(format_text(name, sizeof(name), "exception/%s-dr6%s", rows[i].name,
						    on ? "" : "-guest"),
					on ? "ffff0ff0" : "ffff4ff0", "%lx", read_dr6());
		}
	/* Debug register hits: the qualification says which; DR7 is still the guest's. */
	vm_fresh(G64, CODE("movb 0x5000, %al"));
	ent(LOAD_DEBUG_CONTROLS);
	exi(SAVE_DEBUG_CONTROLS);
	vm_write(GUEST_DR7, 0x30403);
	exception(VEC_DB);
	write_dr0(0x5000);
	vm_run();
	vm_check("exception/db-data", "EXCEPTION_NMI hard 1 dr6=1 +7");
	vm_write(GUEST_DR7, 0xf0403);
	write_dr0(0x5000);
	vm_fresh(G64, CODE("movb 0x5000, %al; nop"));
	ent(LOAD_DEBUG_CONTROLS);
	exi(SAVE_DEBUG_CONTROLS);
	vm_write(GUEST_DR7, 0x30403 | 1 << 19);
	exception(VEC_DB);
	vm_run();
	vm_line("exception/db-saved-dr7", "b0403", "%lx", vm_read(GUEST_DR7));
	vm_line("exception/dr7-after-exit", "400", "%lx", read_dr7());
	V("exception/db-fault", "EXCEPTION_NMI hard 1 dr6=1", G64, CODE("nop"), ent(LOAD_DEBUG_CONTROLS),
	  vm_write(GUEST_DR7, 0x402), write_dr0(vm_read(GUEST_RIP)), exception(VEC_DB));
	V("exception/db-fault-rf", "ok", G64, CODE("nop"), ent(LOAD_DEBUG_CONTROLS), vm_write(GUEST_DR7, 0x402),
	  write_dr0(vm_read(GUEST_RIP)), exception(VEC_DB), vm_or(GUEST_RFLAGS, FLAG_RF));
	V("exception/db-general-detect", "EXCEPTION_NMI hard 1 dr6=2000", G64, CODE("mov %dr0, %rax"),
	  ent(LOAD_DEBUG_CONTROLS), vm_write(GUEST_DR7, 0x2400), exception(VEC_DB));
	write_dr0(0);
	/* RF as delivery would have pushed it. */
	V("exception/rf-fault", "EXCEPTION_NMI hard 6", G64, CODE("ud2"), exception(VEC_UD));
	vm_line("exception/rf-fault-saved", "10000", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	V("exception/rf-bp", "EXCEPTION_NMI softexc 3 len=1", G64, CODE("int3"), exception(VEC_BP));
	vm_line("exception/rf-bp-saved", "0", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	/* INT n is no exception, whatever the vector. */
	V("exception/int-n", "int 0x21+2", G64_U, CODE("int $0x21"), vm_write(EXCEPTION_BITMAP, ~0u));
}

/* Exit if the error code under the mask is the match, when bit 14 is 1; if it is not, when bit 14 is 0. */
static void page_faults(void)
{
	static const struct {
		u32 mask, match, bit;
	} rows[] = {{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {0, 1, 1}, {2, 2, 0},  {2, 2, 1},
		    {2, 0, 0}, {2, 0, 1}, {7, 2, 1}, {7, 6, 1}, {~0u, 2, 1}};
	ulong write = CODE("movb %al, (%rbx)"), read = CODE("movb (%rbx), %al");
	char name[64];

	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (u32 w = 0; w < 2; w++) {
			bool match = ((w ? 2u : 0u) & rows[i].mask) == rows[i].match, exits = match == rows[i].bit;

			format_text(name, sizeof(name), "pf/%s-mask-%x-match-%x-bit-%u", w ? "write" : "read",
				    rows[i].mask, rows[i].match, rows[i].bit);
			vm_fresh(G64, w ? write : read);
			vm_write(PAGE_FAULT_ERROR_CODE_MASK, rows[i].mask);
			vm_write(PAGE_FAULT_ERROR_CODE_MATCH, rows[i].match);
			if (rows[i].bit)
				exception(VEC_PF);
			regs.bx = UNMAPPED;
			vm_run();
			vm_line(name, exits ? "exit" : "guest", "%s",
				vm_exited(EXIT_EXCEPTION_NMI) ? "exit"
				: vm_vector() == VEC_PF	      ? "guest"
							      : "?");
		}
}

/* Exceptions on exceptions. */
static void nested(void)
{
	ulong gp = CODE("movb (%rbx), %al"), pf = CODE("movb (%rbx), %al");

	V("nested/triple-fault", "TRIPLE_FAULT", G64, gp, vm_write(GUEST_IDTR_LIMIT, 0), regs.bx = BAD);
	V("nested/triple-fault-rip", "TRIPLE_FAULT +3", G64, CODE("nop; nop; nop; ud2"), vm_write(GUEST_IDTR_LIMIT, 0));
	V("nested/double-fault", "EXCEPTION_NMI hard 8(0x0)", G64, gp, vm_write(GUEST_IDTR_LIMIT, 0), exception(VEC_DF),
	  regs.bx = BAD);
	V("nested/double-fault-idt", "EXCEPTION_NMI hard 8(0x0)", G64, CODE("ud2"), vm_write(GUEST_IDTR_LIMIT, 0),
	  exception(VEC_DF));
	V("nested/gp-during-ud", "EXCEPTION_NMI hard 13(0x33) idt=hard 6", G64, CODE("ud2"),
	  vm_write(GUEST_IDTR_LIMIT, 6 * 16), exception(VEC_GP));
	V("nested/gp-during-pf", "EXCEPTION_NMI hard 8(0x0)", G64, pf, vm_write(GUEST_IDTR_LIMIT, 14 * 16 - 1),
	  exception(VEC_DF), regs.bx = UNMAPPED);
	V("nested/gp-during-pf-bitmap", "EXCEPTION_NMI hard 13(0x73) idt=hard 14(0x0)", G64, pf,
	  vm_write(GUEST_IDTR_LIMIT, 14 * 16 - 1), exception(VEC_GP), regs.bx = UNMAPPED);
	V("nested/gp-during-int-n", "EXCEPTION_NMI hard 13(0x402) idt=soft 128", G64, CODE("int $0x80"),
	  vm_write(GUEST_IDTR_LIMIT, 0x7ff), exception(VEC_GP));
	vm_line("nested/gp-during-int-n-length", "2", "%lu", vm_read(VM_EXIT_INSTRUCTION_LENGTH));
	V("nested/gp-during-int3", "EXCEPTION_NMI hard 13(0x1a) idt=softexc 3", G64, CODE("int3"),
	  vm_write(GUEST_IDTR_LIMIT, 3 * 16 - 1), exception(VEC_GP));
	vm_line("nested/gp-during-int3-length", "1", "%lu", vm_read(VM_EXIT_INSTRUCTION_LENGTH));
	V("nested/pf-during-ud", "EXCEPTION_NMI hard 14(0x2) at=1fffffff8 idt=hard 6", G64, CODE("ud2"),
	  vm_write(GUEST_RSP, UNMAPPED), vm_write(EXCEPTION_BITMAP, 1 << VEC_PF));
	V("nested/ss-during-ud", "EXCEPTION_NMI hard 12(0x1) idt=hard 6|EXCEPTION_NMI hard 12(0x0) idt=hard 6", G64,
	  CODE("ud2"), vm_write(GUEST_RSP, BAD), exception(VEC_SS));
	V("nested/dpl-of-int-n", "EXCEPTION_NMI hard 13(0x32) idt=soft 6", G64_U, CODE("int $6"), exception(VEC_GP));
	/* The manual does not say whether INT n's own #GP is during delivery. */
	V("nested/v86-iopl", "EXCEPTION_NMI hard 13(0x0)|EXCEPTION_NMI hard 13(0x0) idt=soft 33", GV86,
	  CODE16("int $0x21"), exception(VEC_GP), vm_and(GUEST_RFLAGS, ~(u64)FLAG_IOPL));
}

/* External interrupts: vector 41H, which the processor has sent itself before the VM entry. */
static void self_interrupt(void)
{
	apic_write(APIC_ICR, 0x44041);
	while (apic_read(APIC_ICR) & 1 << 12)
		;
}

static u32 pending_41(void)
{
	return apic_read(APIC_IRR + 0x20) >> 1 & 1;
}

static u32 in_service_41(void)
{
	return apic_read(APIC_ISR + 0x20) >> 1 & 1;
}

static void end_interrupt(void)
{
	if (pending_41())
		run((struct ctx){RING0, .ip = CODE("sti; nop; nop; cli"), .flags = FLAG_FIXED});
	while (in_service_41())
		apic_write(APIC_EOI, 0);
}

static void interrupts(void)
{
	ulong nops = CODE("nop; nop; nop"), sti = CODE("sti; nop; nop; nop"), mov_ss = CODE("mov %ebx, %ss; nop; nop");

#define INTERRUPT(name, expected, ...)          \
	do {                                    \
		self_interrupt();               \
		V(name, expected, __VA_ARGS__); \
	} while (0)
	INTERRUPT("interrupt/no-ack", "EXTERNAL_INTERRUPT -", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING));
	vm_line("interrupt/no-ack-pending", "1 0", "%u %u", pending_41(), in_service_41());
	end_interrupt();
	INTERRUPT("interrupt/ack", "EXTERNAL_INTERRUPT intr 65", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  exi(ACKNOWLEDGE_INTERRUPT));
	vm_line("interrupt/ack-in-service", "0 1", "%u %u", pending_41(), in_service_41());
	end_interrupt();
	INTERRUPT("interrupt/if-set", "EXTERNAL_INTERRUPT -", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  vm_or(GUEST_RFLAGS, FLAG_IF));
	end_interrupt();
	INTERRUPT("interrupt/halted", "EXTERNAL_INTERRUPT -", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	vm_line("interrupt/halted-activity", "1", "%lu", vm_read(GUEST_ACTIVITY_STATE));
	end_interrupt();
	INTERRUPT("interrupt/blocked-by-mov-ss", "EXTERNAL_INTERRUPT - +1", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	end_interrupt();
	INTERRUPT("interrupt/blocked-by-sti", "EXTERNAL_INTERRUPT - +1", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	end_interrupt();
	INTERRUPT("interrupt/not-exiting-if-clear", "ok", G64, nops);
	end_interrupt();
	INTERRUPT("interrupt/not-exiting", "int 0x41+0", G64, nops, vm_or(GUEST_RFLAGS, FLAG_IF));
	end_interrupt();
	INTERRUPT("interrupt/not-exiting-sti", "int 0x41+2", G64, sti);
	end_interrupt();
	INTERRUPT("interrupt/not-exiting-mov-ss", "int 0x41+3", G64, mov_ss, vm_or(GUEST_RFLAGS, FLAG_IF),
		  regs.bx = SEL_DATA0, vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	end_interrupt();
	INTERRUPT("interrupt/not-exiting-halted", "int 0x41+0", G64, nops, vm_or(GUEST_RFLAGS, FLAG_IF),
		  vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	end_interrupt();
	INTERRUPT("interrupt/not-exiting-hlt", "int 0x41+2", G64, CODE("sti; hlt; nop"));
	end_interrupt();
	INTERRUPT("interrupt/v86", "EXTERNAL_INTERRUPT intr 65", GV86, CODE16("nop"), pin(EXTERNAL_INTERRUPT_EXITING),
		  exi(ACKNOWLEDGE_INTERRUPT), vm_or(GUEST_RFLAGS, FLAG_IF));
	end_interrupt();
	INTERRUPT("interrupt/real", "int 0x41+0", GREAL, CODE16("nop"), vm_or(GUEST_RFLAGS, FLAG_IF));
	end_interrupt();
	INTERRUPT("interrupt/rf-saved", "EXTERNAL_INTERRUPT -", G64, nops, pin(EXTERNAL_INTERRUPT_EXITING),
		  vm_or(GUEST_RFLAGS, FLAG_RF | FLAG_IF));
	vm_line("interrupt/rf-saved-value", "10000", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	end_interrupt();
	/* During delivery. */
	INTERRUPT("interrupt/delivery-faults", "EXCEPTION_NMI hard 13(0x20b) idt=intr 65", G64, nops,
		  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_IDTR_LIMIT, 0x40f), exception(VEC_GP));
	end_interrupt();
	INTERRUPT("interrupt/delivery-double-fault", "EXCEPTION_NMI hard 14(0x2) at=1fffffff8 idt=intr 65", G64, nops,
		  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_RSP, UNMAPPED), exception(VEC_PF));
	end_interrupt();
}

static void windows(void)
{
	ulong nops = CODE("nop; nop; nop");

	V("window/interrupt-open", "INTERRUPT_WINDOW", G64, nops, pri(INTERRUPT_WINDOW_EXITING),
	  vm_or(GUEST_RFLAGS, FLAG_IF));
	V("window/interrupt-closed", "ok", G64, nops, pri(INTERRUPT_WINDOW_EXITING));
	V("window/interrupt-sti", "INTERRUPT_WINDOW +2", G64, CODE("sti; nop; nop"), pri(INTERRUPT_WINDOW_EXITING));
	V("window/interrupt-blocked-by-sti", "INTERRUPT_WINDOW +1", G64, nops, pri(INTERRUPT_WINDOW_EXITING),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	V("window/interrupt-blocked-by-mov-ss", "INTERRUPT_WINDOW +1", G64, nops, pri(INTERRUPT_WINDOW_EXITING),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	V("window/interrupt-popf", "INTERRUPT_WINDOW +9", G64, CODE("pushf; orl $0x200, (%rsp); popf; nop; nop"),
	  pri(INTERRUPT_WINDOW_EXITING));
	V("window/interrupt-halted", "INTERRUPT_WINDOW", G64, nops, pri(INTERRUPT_WINDOW_EXITING),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	vm_line("window/interrupt-halted-activity", "1", "%lu", vm_read(GUEST_ACTIVITY_STATE));
	V("window/interrupt-after-injection", "INTERRUPT_WINDOW elsewhere|int 0x30+0", G64, nops,
	  pri(INTERRUPT_WINDOW_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	/* Before the external interrupt itself. */
	self_interrupt();
	V("window/before-interrupt", "INTERRUPT_WINDOW", G64, nops, pri(INTERRUPT_WINDOW_EXITING),
	  pin(EXTERNAL_INTERRUPT_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF));
	end_interrupt();
	V("window/nmi-open", "NMI_WINDOW", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING));
	V("window/nmi-blocked", "ok", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	V("window/nmi-iret", "NMI_WINDOW elsewhere", G64,
	  CODE("mov %rsp, %rax; push $0x10; push %rax; pushf; push $8; push $0x100000; iretq"), pin(NMI_EXITING),
	  pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("window/nmi-iret-state", "100000 0", "%lx %lx", vm_read(GUEST_RIP), vm_read(GUEST_INTERRUPTIBILITY));
	V("window/nmi-blocked-by-mov-ss", "NMI_WINDOW +1", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  pri(NMI_WINDOW_EXITING), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	/* STI blocking: the manual's editions differ. */
	V("window/nmi-blocked-by-sti", "NMI_WINDOW +1|NMI_WINDOW", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  pri(NMI_WINDOW_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	V("window/nmi-halted", "NMI_WINDOW", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING),
	  vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	V("window/nmi-shut-down", "NMI_WINDOW", G64, nops, vm_needs(has_misc(ACTIVITY_SHUTDOWN)), pin(NMI_EXITING),
	  pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING), vm_write(GUEST_ACTIVITY_STATE, SHUT_DOWN), OR_TIMER);
	V("window/nmi-before-interrupt-window", "NMI_WINDOW", G64, nops, pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  pri(NMI_WINDOW_EXITING), pri(INTERRUPT_WINDOW_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF));
}

/* NMIs that the guest's processor sends itself. After an NMI's VM exit NMIs are blocked until the host executes IRET,
 * as run() does. */
static void unblock_nmi(void)
{
	run((struct ctx){RING0, .ip = CODE("nop")});
}

static void nmis(void)
{
	ulong send = CODE("movl %ecx, 0x310(%rdi); movl $0x4400, 0x300(%rdi); 1: pause; dec %ebx; jnz 1b");
	u32 self = apic_read(APIC_ID);

#define NMI(name, expected, mode, code, ...)                                                                \
	W(name, expected, mode, code, regs.cx = self, regs.di = APIC_BASE, regs.bx = 10000, ##__VA_ARGS__), \
		unblock_nmi()
	NMI("nmi/not-exiting", "NMI+0", G64, send);
	vm_line("nmi/not-exiting-blocked", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	NMI("nmi/exiting", "EXCEPTION_NMI nmi 2", G64, send, pin(NMI_EXITING));
	vm_line("nmi/exiting-state", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	NMI("nmi/blocked", "ok", G64, send, vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	/* It stays pending until the host's IRET, and is taken there. */
	struct ctx c = TRY(RING0, CODE("nop; nop"));
	check("nmi/blocked-then-taken-by-host", "NMI+0|ok", "%s", outcome(c));
	unblock_nmi();
	NMI("nmi/virtual-blocked-exits", "EXCEPTION_NMI nmi 2", G64, send, pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	    vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("nmi/virtual-blocking-saved", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	/* "Information About NMI Unblocking Due to IRET". */
	V("nmi/unblocking-fault",
	  "EXCEPTION_NMI hard 14(0x0) unblocking at=200000000|EXCEPTION_NMI hard 14(0x0) unblocking at=200000010", G64,
	  CODE("iretq"), vm_write(GUEST_RSP, UNMAPPED), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI),
	  pin(NMI_EXITING), pin(VIRTUAL_NMIS), exception(VEC_PF));
	vm_line("nmi/unblocking-fault-state", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("nmi/no-unblocking-without-blocking",
	  "EXCEPTION_NMI hard 14(0x0) at=200000000|EXCEPTION_NMI hard 14(0x0) at=200000010", G64, CODE("iretq"),
	  vm_write(GUEST_RSP, UNMAPPED), pin(NMI_EXITING), pin(VIRTUAL_NMIS), exception(VEC_PF));
	V("nmi/injected-virtual", "NMI+0", G64, CODE("nop"), pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_NMI));
	vm_line("nmi/injected-virtual-blocks", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
}

/* Last of all, since Bochs keeps an INIT pending after its VM exit. The second processor sends what ap_command says;
 * 0x4500 INIT once, 0x4608 start-up IPIs until the command is withdrawn. */
extern u8 ap_loop[];
extern volatile u32 ap_command;
asm(".pushsection .snippet,\"ax\"\n.code32\n"
    "ap_loop: movl $0x1ff, 0xfee000f0\n"
    "1: pause; mov ap_command, %eax; test %eax, %eax; jz 1b; mov $20000, %ecx; 2: pause; dec %ecx; jnz 2b\n"
    "movl $0, 0xfee00310; mov %eax, 0xfee00300\n"
    "cmp $0x4500, %eax; jne 1b; movl $0, ap_command; jmp 1b\n"
    ".code64\n.popsection\n.pushsection .bss\n.balign 4\nap_command: .skip 4\n.popsection");

static void init_and_sipi(void)
{
	ulong wait = CODE("1: pause; dec %ebx; jnz 1b");

	if (apic_read(APIC_ID) >> 24 || !start_second_cpu((ulong)ap_loop)) {
		absent("init");
		absent("sipi");
		return;
	}
	ap_command = 0x4608;
	W("sipi/exit", "SIPI q=8", G64, wait, vm_needs(has_misc(ACTIVITY_WAIT_SIPI)),
	  vm_write(GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI));
	vm_line("sipi/activity", "3", "%lu", vm_read(GUEST_ACTIVITY_STATE));
	W("sipi/ignored-when-active", "ok", G64, wait, regs.bx = 200000);
	ap_command = 0;
	pause_for(200000);
	ap_command = 0x4500;
	W("init/exit", "INIT", G64, wait, regs.bx = 20000000);
	ap_command = 0x4500;
	W("init/halted", "INIT", G64, wait, vm_write(GUEST_ACTIVITY_STATE, HALTED));
	vm_line("init/halted-activity", "1", "%lu", vm_read(GUEST_ACTIVITY_STATE));
	ap_command = 0x4500;
	while (ap_command)
		asm volatile("pause");
	pause_for(100000);
	W("init/held-in-root-operation", "INIT", G64, wait, regs.bx = 20000000);
}

static void monitor_trap(void)
{
	u64 *pae_table = page_alloc();

	V("mtf/nop", "MONITOR_TRAP_FLAG +1", G64, CODE("nop; nop"), pri(MONITOR_TRAP_FLAG));
	V("mtf/branch", "MONITOR_TRAP_FLAG +3", G64, CODE("jmp 1f; nop; 1: nop"), pri(MONITOR_TRAP_FLAG));
	V("mtf/rep", "MONITOR_TRAP_FLAG", G64, CODE("rep stosb"), pri(MONITOR_TRAP_FLAG), regs.di = 0x5000,
	  regs.cx = 3);
	vm_line("mtf/rep-count", "cx=2 di=5001", "cx=%lx di=%lx", regs.cx, regs.di);
	V("mtf/rep-last", "MONITOR_TRAP_FLAG +2", G64, CODE("rep stosb"), pri(MONITOR_TRAP_FLAG), regs.di = 0x5000,
	  regs.cx = 1);
	V("mtf/exception", "MONITOR_TRAP_FLAG handler 6", G64, CODE("ud2"), pri(MONITOR_TRAP_FLAG));
	V("mtf/int-n", "MONITOR_TRAP_FLAG handler 128", G64, CODE("int $0x80"), pri(MONITOR_TRAP_FLAG));
	V("mtf/exiting-instruction", "CPUID len=2", G64, CODE("cpuid"), pri(MONITOR_TRAP_FLAG));
	V("mtf/exception-exits", "EXCEPTION_NMI hard 6", G64, CODE("ud2"), pri(MONITOR_TRAP_FLAG), exception(VEC_UD));
	V("mtf/after-injection", "MONITOR_TRAP_FLAG handler 48", G64, CODE("nop"), pri(MONITOR_TRAP_FLAG),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	V("mtf/injected", "MONITOR_TRAP_FLAG", G64, CODE("nop"), vm_needs(has_pri(MONITOR_TRAP_FLAG)),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER));
	V("mtf/injected-halted", "MONITOR_TRAP_FLAG", G64, CODE("nop"), vm_needs(has_pri(MONITOR_TRAP_FLAG)),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER), vm_write(GUEST_ACTIVITY_STATE, HALTED),
	  OR_TIMER);
	V("mtf/mov-ss", "MONITOR_TRAP_FLAG +2", G64, CODE("mov %ebx, %ss; nop"), pri(MONITOR_TRAP_FLAG),
	  regs.bx = SEL_DATA0);
	vm_line("mtf/mov-ss-blocking", "2", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("mtf/step", "MONITOR_TRAP_FLAG +1", G64, CODE("nop; nop"), pri(MONITOR_TRAP_FLAG),
	  vm_or(GUEST_RFLAGS, FLAG_TF));
	vm_line("mtf/step-pending", "4000", "%lx", vm_read(GUEST_PENDING_DEBUG));
	V("mtf/int1", "MONITOR_TRAP_FLAG handler 1", G64, CODE(".byte 0xf1; nop"), pri(MONITOR_TRAP_FLAG));
	V("mtf/out-step", "MONITOR_TRAP_FLAG +2", G64, CODE("out %al, $0x80; nop"), pri(MONITOR_TRAP_FLAG),
	  vm_or(GUEST_RFLAGS, FLAG_TF));
	vm_line("mtf/out-step-pending", "4000", "%lx", vm_read(GUEST_PENDING_DEBUG));
	V("mtf/cr3-fault", "MONITOR_TRAP_FLAG handler 13", G64, CODE("mov %rax, %cr3; nop"), pri(MONITOR_TRAP_FLAG),
	  vm_and(VM_PROCBASED_CTLS, ~(1ul << PROCBASED_CTLS_CR3_LOAD_EXITING)), regs.ax = 0x0ff0000000000000);
	/* The step into PAE paging loads the PDPTEs, and the VM exit saves them. */
	for (u64 i = 0; i < 4; i++)
		pae_table[i] = (u64)page_dirs[i] | 1;
	V("mtf/pae", "MONITOR_TRAP_FLAG +3", GFLAT, CODE32("mov %eax, %cr0; nop"), pri(MONITOR_TRAP_FLAG),
	  ent(LOAD_EFER), exi(LOAD_EFER), vm_write(GUEST_EFER, 0), vm_or(GUEST_CR4, CR4_PAE),
	  vm_write(GUEST_CR3, (u64)pae_table), regs.ax = read_cr0());
	vm_line("mtf/pae-pdptes", "0 0 0 0", "%lx %lx %lx %lx", vm_read(GUEST_PDPTE0) ^ pae_table[0],
		vm_read(GUEST_PDPTE1) ^ pae_table[1], vm_read(GUEST_PDPTE2) ^ pae_table[2],
		vm_read(GUEST_PDPTE3) ^ pae_table[3]);
	V("mtf/hlt", "MONITOR_TRAP_FLAG +1", G64, CODE("hlt; nop"), pri(MONITOR_TRAP_FLAG), OR_TIMER);
	V("mtf/halted", "PREEMPTION_TIMER", G64, CODE("nop"), pri(MONITOR_TRAP_FLAG),
	  vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	V("mtf/shut-down", "PREEMPTION_TIMER", G64, CODE("nop"), vm_needs(has_misc(ACTIVITY_SHUTDOWN)),
	  pri(MONITOR_TRAP_FLAG), vm_write(GUEST_ACTIVITY_STATE, SHUT_DOWN), OR_TIMER);
	self_interrupt();
	V("mtf/halted-interrupt", "MONITOR_TRAP_FLAG handler 65", G64, CODE("nop"), pri(MONITOR_TRAP_FLAG),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	end_interrupt();
	self_interrupt();
	V("mtf/before-interrupt", "MONITOR_TRAP_FLAG|EXTERNAL_INTERRUPT -", G64, CODE("nop"),
	  vm_needs(has_pri(MONITOR_TRAP_FLAG)), pin(EXTERNAL_INTERRUPT_EXITING),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER));
	end_interrupt();
}

static void preemption_timer(void)
{
	ulong wait = CODE("1: pause; dec %rbx; jnz 1b");

	V("timer/zero", "PREEMPTION_TIMER", G64, wait, pin(PREEMPTION_TIMER), regs.bx = 1);
	W("timer/expires", "PREEMPTION_TIMER", G64, wait, pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 1000),
	  regs.bx = 1ull << 40);
	V("timer/not-yet", "ok", G64, CODE("nop"), pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 0x7fffffff));
	vm_line("timer/not-saved", "7fffffff", "%lx", vm_read(PREEMPTION_TIMER));
	V("timer/save", "ok", G64, CODE("nop"), pin(PREEMPTION_TIMER), exi(SAVE_PREEMPTION_TIMER),
	  vm_write(PREEMPTION_TIMER, 0x7fffffff));
	vm_line("timer/saved-has-run", "1", "%u",
		vm_read(PREEMPTION_TIMER) <= 0x7fffffff && vm_read(PREEMPTION_TIMER) > 0x7f000000);
	u32 stood = 0;
	for (u32 i = 0; i < 32; i++) { /* whatever the TSC's low bits are, a few instructions do not go by unseen */
		vm_fresh(G64, CODE("nop; nop; nop; nop"));
		pin(PREEMPTION_TIMER);
		exi(SAVE_PREEMPTION_TIMER);
		vm_write(PREEMPTION_TIMER, 0x7fffffff);
		for (u32 k = 0; k < i; k++)
			asm volatile("nop");
		vm_run();
		stood += vm_read(PREEMPTION_TIMER) == 0x7fffffff;
	}
	vm_line("timer/saved-each-time", "0", "%u", stood);
	W("timer/saved-zero", "PREEMPTION_TIMER", G64, wait, pin(PREEMPTION_TIMER), exi(SAVE_PREEMPTION_TIMER),
	  vm_write(PREEMPTION_TIMER, 100), regs.bx = 1ull << 40);
	vm_line("timer/saved-zero-value", "0", "%lx", vm_read(PREEMPTION_TIMER));
	W("timer/halted", "PREEMPTION_TIMER", G64, wait, OR_TIMER, vm_write(GUEST_ACTIVITY_STATE, HALTED));
	W("timer/hlt", "PREEMPTION_TIMER", G64, CODE("hlt"), pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 1000));
	vm_line("timer/hlt-activity", "1", "%lu", vm_read(GUEST_ACTIVITY_STATE));
	V("timer/after-injection", "PREEMPTION_TIMER handler 48", G64, CODE("nop"), pin(PREEMPTION_TIMER),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	V("timer/before-interrupt-window", "PREEMPTION_TIMER", G64, CODE("nop"), pin(PREEMPTION_TIMER),
	  pri(INTERRUPT_WINDOW_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF));
	V("timer/before-nmi-window", "PREEMPTION_TIMER", G64, CODE("nop"), pin(PREEMPTION_TIMER), pin(NMI_EXITING),
	  pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING));
	V("timer/mtf-before", "MONITOR_TRAP_FLAG", G64, CODE("nop"), pin(PREEMPTION_TIMER),
	  vm_needs(has_pri(MONITOR_TRAP_FLAG)), vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER));
	V("timer/blocked-by-mov-ss", "PREEMPTION_TIMER|PREEMPTION_TIMER +1", G64, CODE("nop"), pin(PREEMPTION_TIMER),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
}

/* "TPR shadow" and its threshold, without APIC accesses. */
static void tpr_threshold(void)
{
	u64 page = (u64)page_alloc();
	u32 *vtpr = (u32 *)(page + 0x80);

#define TPR(name, expected, code, threshold, ...)                                                             \
	*vtpr = 0x50, V(name, expected, G64, code, pri(USE_TPR_SHADOW), vm_write(VIRTUAL_APIC_ADDRESS, page), \
			vm_write(TPR_THRESHOLD, threshold), ##__VA_ARGS__)
	TPR("tpr/read", "ok", CODE("mov %cr8, %rax"), 0);
	vm_line("tpr/read-value", "5", "%lx", regs.ax);
	TPR("tpr/write-above", "ok", CODE("mov %rbx, %cr8"), 3, regs.bx = 3);
	vm_line("tpr/write-above-value", "30", "%x", *vtpr);
	TPR("tpr/write-below", "TPR_BELOW_THRESHOLD +4", CODE("mov %rbx, %cr8; nop"), 3, regs.bx = 2);
	vm_line("tpr/write-below-value", "20", "%x", *vtpr);
	TPR("tpr/write-reserved", "#GP(0x0)+0", CODE("mov %rbx, %cr8"), 3, regs.bx = 0x10);
	TPR("tpr/entry-below", "VMfail(7)", CODE("nop"), 6);
	TPR("tpr/entry-below-apic-accesses", "TPR_BELOW_THRESHOLD", CODE("nop"), 6, sec(VIRTUALIZE_APIC_ACCESSES),
	    vm_write(APIC_ACCESS_ADDRESS, page + 0x1000));
	TPR("tpr/entry-below-halted", "TPR_BELOW_THRESHOLD", CODE("nop"), 6, sec(VIRTUALIZE_APIC_ACCESSES),
	    vm_write(APIC_ACCESS_ADDRESS, page + 0x1000), vm_write(GUEST_ACTIVITY_STATE, HALTED), OR_TIMER);
	TPR("tpr/load-exiting", "CR_ACCESS cr8=bx len=4", CODE("mov %rbx, %cr8"), 3, pri(CR8_LOAD_EXITING),
	    regs.bx = 2);
	TPR("tpr/store-exiting", "CR_ACCESS r12=cr8 len=4", CODE("mov %cr8, %r12"), 3, pri(CR8_STORE_EXITING));
}

/* "Task Switches Not Allowed": after the checks of the gate and the TSS descriptor, before anything is changed. */
static void task_switches(void)
{
	const u16 tss = SEL_TEST + 16, gate = SEL_TEST + 24, busy = SEL_TEST + 32, gone = SEL_TEST + 40,
		  low = SEL_TEST + 48;
	struct tss32 *t = page_alloc();

	*t = (struct tss32){.cs = SEL_CODE0_32, .ss = SEL_DATA0, .ds = SEL_DATA0, .es = SEL_DATA0};
	set_descriptor(tss, (u32)(u64)t, 0x67, ACC_TSS, 0);
	set_descriptor(busy, (u32)(u64)t, 0x67, ACC_TSS | 2, 0);
	set_descriptor(gone, (u32)(u64)t, 0x67, ACC_TSS & ~ACC_PRESENT, 0);
	set_descriptor(low, (u32)(u64)t, 0x66, ACC_TSS, 0);
	gdt[gate / 8] = gate_descriptor(tss, 0, ACC_TASK_GATE | ACC_DPL3, 0);
	V("task/jmp", "TASK_SWITCH sel=80 by=jmp len=7", G32, CODE32("ljmp $0x80, $0"));
	V("task/call", "TASK_SWITCH sel=80 by=call len=7", G32, CODE32("lcall $0x80, $0"));
	V("task/jmp-gate", "TASK_SWITCH sel=80 by=jmp len=7 +1", G32, CODE32("nop; ljmp $0x88, $0"));
	V("task/call-gate-ring3", "TASK_SWITCH sel=80 by=call len=7", G32_U, CODE32("lcall $0x88, $0"));
	V("task/jmp-ring3-dpl", "#GP(0x80)+0", G32_U, CODE32("ljmp $0x80, $0"));
	V("task/jmp-busy", "#GP(0x90)+0", G32, CODE32("ljmp $0x90, $0"));
	V("task/jmp-absent", "#NP(0x98)+0", G32, CODE32("ljmp $0x98, $0"));
	V("task/jmp-small", "#TS(0xa0)+0|TASK_SWITCH sel=a0 by=jmp len=7", G32, CODE32("ljmp $0xa0, $0"));
	t->link = 0;
	V("task/iret", "TASK_SWITCH sel=90 by=iret len=1", G32, CODE32("iretl"), vm_or(GUEST_RFLAGS, FLAG_NT),
	  ((struct tss32 *)vm_read(GUEST_TR_BASE))->link = busy);
	V("task/iret-not-busy", "#TS(0x80)+0", G32, CODE32("iretl"), vm_or(GUEST_RFLAGS, FLAG_NT),
	  ((struct tss32 *)vm_read(GUEST_TR_BASE))->link = tss);
#define task_gate(vector) (vm_idt32[vector] = gate_descriptor(tss, 0, ACC_TASK_GATE | ACC_DPL3, 0))
	V("task/int-n", "TASK_SWITCH sel=80 by=gate len=2 idt=soft 48", G32, CODE32("int $0x30"), task_gate(0x30));
	V("task/int-n-v86", "TASK_SWITCH sel=80 by=gate len=2 idt=soft 48", GV86, CODE16("int $0x30"), task_gate(0x30));
	V("task/int3", "TASK_SWITCH sel=80 by=gate len=1 idt=softexc 3", G32_U, CODE32("int3"), task_gate(3));
	V("task/int1", "TASK_SWITCH sel=80 by=gate len=1 idt=priv 1", G32_U, CODE32(".byte 0xf1"), task_gate(1));
	V("task/ud", "TASK_SWITCH sel=80 by=gate +2 idt=hard 6", G32, CODE32("nop; nop; ud2"), task_gate(6));
	V("task/gp", "TASK_SWITCH sel=80 by=gate idt=hard 13(0xfff8)", G32, CODE32("mov %ebx, %ds"), task_gate(13),
	  regs.bx = 0xfff8);
	V("task/gp-bitmap-first", "EXCEPTION_NMI hard 13(0xfff8)", G32, CODE32("mov %ebx, %ds"), task_gate(13),
	  regs.bx = 0xfff8, exception(VEC_GP));
	V("task/injected", "TASK_SWITCH sel=80 by=gate idt=intr 48", G32, CODE32("nop"), task_gate(0x30),
	  vm_or(GUEST_RFLAGS, FLAG_IF), vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXTERNAL | 0x30));
	V("task/double-fault", "TASK_SWITCH sel=80 by=gate idt=hard 8(0x0)", G32, CODE32("movb (%ebx), %al"),
	  task_gate(8), vm_idt32[13] = 0, regs.bx = 0xffffffff, vm_write(GUEST_DS_LIMIT, 0xfffff),
	  vm_write(GUEST_DS_AR, 0x4093), vm_idt32[11] = 0);
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	apic_write(APIC_SVR, 0x1ff);
	exceptions();
	page_faults();
	nested();
	interrupts();
	windows();
	nmis();
	monitor_trap();
	preemption_timer();
	tpr_threshold();
	task_switches();
	init_and_sipi();
	vm_report();
}

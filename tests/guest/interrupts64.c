/*
 * Exceptions and interrupts in IA-32e mode: stack frames, IST, compatibility-mode code, IRET in all its forms, double
 * faults.
 *
 * SDM vol. 3, "Exception and Interrupt Handling in 64-bit Mode", "64-Bit Mode Stack Frame", "Interrupt Stack Table",
 * "IRET in IA-32e Mode". What does not depend on the mode is in interrupts.c.
 */
#include "chips.h"

const char chapter[] = "interrupts64";

enum {
	S_CODE32_0 = SEL_CODE0_32,
	S_ABSENT_CODE = SEL_TEST,
	S_LD = SEL_TEST + 8,
	S_CONFORM = SEL_TEST + 16,
	S_CODE16_3 = SEL_TEST + 24,
	S_ABSENT_DATA3 = SEL_TEST + 32,
	S_SMALL3 = SEL_TEST + 40,
	S_CALL_GATE = SEL_TEST + 48
};

asm(".text\n"
    "look: pushf; pop %rax; pop %rbx; pop %rcx; pop %rdx; pop %rsi; pop %rdi; lea -40(%rsp), %rbp; int $0x80\n"
    "look_error: pop %r9; jmp look\n");
extern u8 look[], look_error[];
static u8 ist_stack[4096] __attribute__((aligned(4096)));
#define IST_TOP ((ulong)ist_stack + sizeof(ist_stack))

static void frames(void)
{
	struct ctx c;

	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	/* SS:RSP are pushed even without a change of privilege, at a stack aligned to 16. */
	for (u32 i = 0; i < 16; i += 5) {
		char name[32], expected[96];

		c = TRY(RING0, CODE("int $0x30"), .sp = (ulong)ring0_stack_top - 64 - i, .flags = FLAG_FIXED | FLAG_IF);
		format_text(name, sizeof(name), "frame/alignment-%u", i);
		format_text(expected, sizeof(expected), "ok ip+2 cs=8 flags=202 rsp-%u ss=10 frame at %u handler=2",
			    64 + i, ((64 + i + 15) & ~15u) + 40);
		check(name, expected, "%s ip+%u cs=%x flags=%x rsp-%u ss=%x frame at %u handler=%x", outcome(c),
		      (u32)(c.bx - c.start), (u32)c.cx, (u32)c.dx, (u32)((ulong)ring0_stack_top - c.si), (u32)c.di,
		      (u32)((ulong)ring0_stack_top - c.bp), (u32)c.ax);
	}
	c = TRY(RING3, CODE("int $0x30"), .sp = 0x123456789abc);
	check("frame/from-ring3", "ok cs=33 rsp=123456789abc ss=2b new-ss=0 at rsp0-40",
	      "%s cs=%x rsp=%lx ss=%x new-ss=%x at rsp0-%u", outcome(c), (u32)c.cx, c.si, (u32)c.di, (u32)c.ss,
	      (u32)(main_tss.t.rsp[0] - c.bp));
	c = TRY(RING3_32, CODE32("int $0x30"), .sp = 0x5678);
	check("frame/from-compatibility-mode", "ok cs=23 rsp=5678 ss=2b ip+2", "%s cs=%x rsp=%lx ss=%x ip+%u",
	      outcome(c), (u32)c.cx, c.si, (u32)c.di, (u32)(c.bx - c.start));
	c = TRY(RING0_32, CODE32("int $0x30"), .sp = (ulong)ring0_stack_top - 64);
	check("frame/from-ring0-compatibility-mode", "ok cs=18 ss=10 ip+2", "%s cs=%x ss=%x ip+%u", outcome(c),
	      (u32)c.cx, (u32)c.di, (u32)(c.bx - c.start));
	set_idt(VEC_GP, SEL_CODE0, (ulong)look_error, ACC_INT, 0);
	c = TRY(RING0, CODE("mov %eax, %ds"), .ax = SEL_TSS);
	default_idt(VEC_GP);
	check("frame/error-code", "ok error=38 ip+0", "%s error=%lx ip+%u", outcome(c), c.r9, (u32)(c.bx - c.start));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_TRAP | ACC_DPL3, 0);
	c = TRY(RING0, CODE("int $0x30"), .flags = FLAG_FIXED | FLAG_IF | FLAG_DF | FLAG_CF);
	check("frame/trap-gate", "ok handler=603 saved=603", "%s handler=%x saved=%x", outcome(c), (u32)c.ax,
	      (u32)c.dx);

	main_tss.t.ist[1] = IST_TOP;
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT | ACC_DPL3, 2);
	/* "Interrupt Stack Table" forces SS to null; INT's operation section does so only when CPL changes. */
	c = TRY(RING0, CODE("int $0x30"));
	check("ist/ring0", "ok at top-40 ss=10|ok at top-40 ss=0", "%s at top-%u ss=%x", outcome(c),
	      (u32)(IST_TOP - c.bp), (u32)c.ss);
	c = TRY(RING3, CODE("int $0x30"));
	check("ist/ring3", "ok at top-40 ss=0", "%s at top-%u ss=%x", outcome(c), (u32)(IST_TOP - c.bp), (u32)c.ss);
	main_tss.t.ist[1] = IST_TOP - 8;
	c = TRY(RING0, CODE("int $0x30"));
	check("ist/aligned-down", "ok at top-56", "%s at top-%u", outcome(c), (u32)(IST_TOP - c.bp));
	main_tss.t.ist[1] = 0x800000000000;
	T("ist/not-canonical", "#SS(0x0)+0", RING0, CODE("int $0x30"));
	set_idt(VEC_UD, SEL_CODE0, (ulong)look, ACC_INT, 2);
	T("ist/not-canonical-exception", "#SS(0x1)+0", RING0, CODE("ud2"));
	default_idt(VEC_UD);
	main_tss.t.ist[2] = IST_TOP;
	ulong rsp0 = main_tss.t.rsp[0];
	set_idt(VEC_SS, SEL_CODE0, (ulong)look_error, ACC_INT, 3);
	main_tss.t.rsp[0] = 0x800000000000;
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	c = TRY(RING3, CODE("int $0x30"));
	main_tss.t.rsp[0] = rsp0;
	default_idt(VEC_SS);
	check("rsp0/not-canonical", "ok error=0", "%s error=%lx", outcome(c), c.r9);
}

/* SDM vol. 3, "64-Bit Mode IDT": 16-byte gates, target must be a 64-bit code segment. */
static void gates(void)
{
	set_idt(0x30, S_CODE32_0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("gate/32-bit-target", "#GP(0x18)+0", RING0, CODE("int $0x30"));
	set_descriptor(S_LD, 0, 0xfffff, 0x9b, SEG_G | SEG_D | SEG_L);
	set_idt(0x30, S_LD, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("gate/l-and-d-set", "#GP(0x78)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, 0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("gate/null-target", "#GP(0x0)+0", RING0, CODE("int $0x30"));
	set_descriptor(S_ABSENT_CODE, 0, 0xfffff, 0x1b, SEG_G | SEG_L);
	set_idt(0x30, S_ABSENT_CODE, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("gate/absent-target", "#NP(0x70)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE3_64 | 3, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("gate/outer-target", "#GP(0x30)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT, 0);
	T("gate/dpl", "#GP(0x182)+0", RING3, CODE("int $0x30"));
	T("gate/dpl-from-compatibility-mode", "#GP(0x182)+0", RING3_32, CODE32("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_TASK_GATE | ACC_DPL3, 0);
	T("gate/task-gate", "#GP(0x182)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT16 | ACC_DPL3, 0);
	T("gate/16-bit-type", "#GP(0x182)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, 0x800000000000, ACC_INT | ACC_DPL3, 0);
	T("gate/target-not-canonical", "#GP(0x0)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, (ACC_INT | ACC_DPL3) & 0x7f, 0);
	T("gate/absent", "#NP(0x182)+0", RING0, CODE("int $0x30"));
	const struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} cut = {0x81 * 16 - 1, (ulong)idt};
	asm volatile("lidt %0" : : "m"(cut));
	T("idt/beyond-limit", "#GP(0x40a)+0", RING0, CODE("int $0x81"));
	T("idt/last", "ok", RING0, CODE("int $0x80"));
	asm volatile("lidt idt_pointer");
	set_idt(VEC_UD, S_CODE32_0, (ulong)look, ACC_INT, 0);
	T("ext/exception", "#GP(0x19)+0", RING0, CODE("ud2"));
	default_idt(VEC_UD);
	idt[VEC_GP].attributes &= ~0x8000;
	T("double/gp-then-np", "#DF(0x0)+0", RING0, CODE("mov %eax, %ds"), .ax = SEL_TSS);
	default_idt(VEC_GP);
	idt[VEC_BP].attributes &= ~0x8000;
	T("double/bp-then-np", "#NP(0x1a)+0", RING0, CODE("int3"));
	default_idt(VEC_BP);
	T("double/stack-not-canonical", "#DF(0x0)+3", RING0, CODE("mov %rbx, %rsp; ud2"), .bx = 0x800000000000);
	T("double/stack-not-present", "#DF(0x0)+3", RING0, CODE("mov %rbx, %rsp; ud2"), .bx = 0x700000000000);
	/* Removed or changed opcodes of 64-bit mode. */
	static const struct {
		const char *name;
		u8 bytes[4];
		const char *expected;
	} gone[] = {
		{"push-es", {0x06}, "#UD+0"},
		{"pop-ds", {0x1f}, "#UD+0"},
		{"daa", {0x27}, "#UD+0"},
		{"das", {0x2f}, "#UD+0"},
		{"aaa", {0x37}, "#UD+0"},
		{"aas", {0x3f}, "#UD+0"},
		{"pusha", {0x60}, "#UD+0"},
		{"popa", {0x61}, "#UD+0"},
		{"bound-is-evex", {0x62, 0x00, 0x00, 0x00}, "#UD+0"},
		{"far-call", {0x9a}, "#UD+0"},
		{"les-is-vex", {0xc4, 0, 0, 0}, "#UD+0"},
		{"into", {0xce}, "#UD+0"},
		{"aam", {0xd4, 10}, "#UD+0"},
		{"aad", {0xd5, 10}, "#UD+0"},
		{"salc", {0xd6}, "#UD+0"},
		{"far-jmp", {0xea}, "#UD+0"},
		{"group1-82", {0x82, 0xc0, 0}, "#UD+0"},
		{"arpl-is-movsxd", {0x63, 0xc0}, "ok"},
		{"inc-is-rex", {0x48, 0x90}, "ok"},
		{"rex-last-counts", {0x48, 0x66, 0x90}, "ok"},
	};
	static u8 buffer[32];
	for (u32 i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		char name[40];

		u32 length = 4;

		while (gone[i].expected[0] == 'o' && !gone[i].bytes[length - 1])
			length--;
		memset(buffer, 0x90, sizeof(buffer));
		memcpy(buffer, gone[i].bytes, length);
		memcpy(buffer + 16, (u8[]){0xcd, VECTOR_END}, 2);
		format_text(name, sizeof(name), "opcode/%s", gone[i].name);
		T(name, gone[i].expected, RING0, (ulong)buffer);
	}
}

/* SDM vol. 2, "IRET", IA-32e-MODE. Frames are pushed by the experiment; RDX is what IRETQ finds as SS, and so on. */
static void iret(void)
{
	struct ctx c;
	ulong full = CODE("push %rdx; push %rsi; push %rdi; push %rcx; push %rbx; iretq");
	ulong here = CODE("nop"), here32 = CODE32("nop");
#define IRETQ(name, expected, s_ss, s_cs, where, ...)                                                       \
	T("iretq/" name, expected, RING0, full, .dx = s_ss, .si = (ulong)ring3_stack_top, .di = FLAG_FIXED, \
	  .cx = s_cs, .bx = where, ##__VA_ARGS__)

	c = TRY(RING0, full, .dx = SEL_DATA3 | 3, .si = (ulong)ring3_stack_top, .di = FLAG_FIXED | FLAG_IOPL,
		.cx = SEL_CODE3_64 | 3, .bx = here);
	check("iretq/to-ring3", "vector=128 cs=33 ss=2b flags=3002", "vector=%u cs=%x ss=%x flags=%x", (u32)c.vector,
	      (u32)c.cs, (u32)c.ss, (u32)c.flags);
	c = TRY(RING0, full, .dx = SEL_DATA3 | 3, .si = 0x12345678, .di = FLAG_FIXED, .cx = SEL_CODE3 | 3,
		.bx = here32);
	check("iretq/to-compatibility-mode", "vector=128 cs=23 rsp=12345678", "vector=%u cs=%x rsp=%lx", (u32)c.vector,
	      (u32)c.cs, c.sp);
	c = TRY(RING0, full, .dx = SEL_DATA0, .si = (ulong)ring0_stack_top - 100, .di = FLAG_FIXED, .cx = SEL_CODE0_32,
		.bx = here32);
	check("iretq/to-ring0-compatibility-mode", "vector=128 cs=18", "vector=%u cs=%x", (u32)c.vector, (u32)c.cs);
	set_descriptor(S_CODE16_3, 0, 0xfffff, 0xfb, SEG_G);
	*(u16 *)0x7c00 = 0x80cd;
	c = TRY(RING0, full, .dx = SEL_DATA3 | 3, .si = 0x5678, .di = FLAG_FIXED, .cx = S_CODE16_3 | 3, .bx = 0x7c00);
	check("iretq/to-16-bit-compatibility-mode", "vector=128 ip=7c02 cs=8b", "vector=%u ip=%lx cs=%x", (u32)c.vector,
	      c.ip, (u32)c.cs);
	c = TRY(RING0, full, .dx = 0, .si = (ulong)ring0_stack_top - 100, .di = FLAG_FIXED, .cx = SEL_CODE0,
		.bx = here);
	check("iretq/null-ss-in-ring0", "vector=128 ss=0", "vector=%u ss=%x", (u32)c.vector, (u32)c.ss);
	IRETQ("null-ss-to-ring3", "#GP(0x0)+5", 3, SEL_CODE3_64 | 3, here);
	IRETQ("null-ss-rpl", "#GP(0x0)+5", 3, SEL_CODE0, here);
	IRETQ("null-ss-to-compatibility", "#GP(0x0)+5", 0, SEL_CODE0_32, here32);
	IRETQ("null-cs", "#GP(0x0)+5", SEL_DATA0, 0, here);
	IRETQ("data-cs", "#GP(0x10)+5", SEL_DATA0, SEL_DATA0, here);
	set_descriptor(S_LD, 0, 0xfffff, 0x9b, SEG_G | SEG_D | SEG_L);
	IRETQ("l-and-d-set", "#GP(0x78)+5", SEL_DATA0, S_LD, here);
	IRETQ("absent-cs", "#NP(0x70)+5", SEL_DATA0, S_ABSENT_CODE, here);
	IRETQ("rpl-not-dpl", "#GP(0x8)+5", SEL_DATA0, SEL_CODE0 | 3, here);
	IRETQ("ss-rpl", "#GP(0x28)+5", SEL_DATA3, SEL_CODE3_64 | 3, here);
	IRETQ("ss-dpl", "#GP(0x10)+5", SEL_DATA0 | 3, SEL_CODE3_64 | 3, here);
	IRETQ("ss-code", "#GP(0x30)+5", SEL_CODE3_64 | 3, SEL_CODE3_64 | 3, here);
	set_descriptor(S_ABSENT_DATA3, 0, 0xfffff, 0x73, SEG_G | SEG_D);
	IRETQ("ss-absent", "#SS(0x90)+5|#NP(0x90)+5", S_ABSENT_DATA3 | 3, SEL_CODE3_64 | 3, here);
	IRETQ("rip-not-canonical", "#GP(0x0)+5", SEL_DATA3 | 3, SEL_CODE3_64 | 3, 0x800000000000);
	set_descriptor(S_SMALL3, 0, 0xfff, 0xfb, SEG_D);
	IRETQ("compatibility-limit", "#GP(0x0)+5", SEL_DATA3 | 3, S_SMALL3 | 3, 0x1000);
	T("iretq/nt", "#GP(0x0)+0", RING0, CODE("iretq"), .flags = FLAG_FIXED | FLAG_NT);
	c = TRY(RING0, full, .dx = SEL_DATA0, .si = (ulong)ring0_stack_top - 100, .di = 0x27fd7 & ~0x4100,
		.cx = SEL_CODE0, .bx = here);
	check("iretq/vm-ignored", "vector=128 vm=0 flags=3ed7", "vector=%u vm=%u flags=%x", (u32)c.vector,
	      (u32)c.flags >> 17 & 1, (u32)c.flags);
	/* 32-bit IRET in 64-bit mode pops five doublewords. */
	c = TRY(RING0,
		CODE("sub $20, %rsp; movl %ebx, (%rsp); movl $0x33, 4(%rsp); movl $2, 8(%rsp); movl $0x7654, 12(%rsp); "
		     "movl $0x2b, 16(%rsp); iretl"),
		.bx = here);
	check("iretl/64-bit-mode-pops-five", "vector=128 cs=33 rsp=7654", "vector=%u cs=%x rsp=%lx", (u32)c.vector,
	      (u32)c.cs, c.sp);
	/* From compatibility mode at the same privilege, three. */
	c = TRY(RING0_32, CODE32("pushf; push %cs; push %ebx; mov %esp, %esi; iret"), .bx = here32,
		.sp = (ulong)ring0_stack_top - 64);
	check("iretl/compatibility-same-pops-three", "vector=128 cs=18 12", "vector=%u cs=%x %u", (u32)c.vector,
	      (u32)c.cs, (u32)(c.sp - c.si));
	c = TRY(RING3_32, CODE32("pushf; push %cs; push %ebx; iret"), .bx = here32);
	check("iretl/compatibility-ring3", "vector=128 cs=23", "vector=%u cs=%x", (u32)c.vector, (u32)c.cs);
	c = TRY(RING3, CODE("pushf; push $0x33; push %rbx; iretq"), .bx = here);
	check("iretq/ring3-pops-five", "vector=13", "vector=%u", (u32)c.vector);
	c = TRY(RING3, CODE("mov %rsp, %rsi; push $0x2b; push %rsi; push $0x3202; push $0x33; push %rbx; iretq"),
		.bx = here);
	check("iretq/ring3-same", "vector=128 cs=33 flags=2", "vector=%u cs=%x flags=%x", (u32)c.vector, (u32)c.cs,
	      (u32)c.flags);
	c = TRY(RING0, full, .dx = SEL_DATA3 | 3, .si = (ulong)ring3_stack_top, .di = FLAG_FIXED,
		.cx = SEL_CODE3_64 | 3, .bx = here, .es = SEL_DATA3, .ds = SEL_DATA0, .fs = 0, .gs = SEL_DATA0);
	check("iretq/nulls-inner-segments", "ds=0 es=28 fs=0 gs=0", "ds=%x es=%x fs=%x gs=%x", (u32)c.ds, (u32)c.es,
	      (u32)c.fs, (u32)c.gs);
	/* SDM vol. 3, "Single-Step Exception Condition". */
	c = TRY(RING0, CODE("nop; nop"), .flags = FLAG_FIXED | FLAG_TF);
	check("tf/iretq", "#DB+1 saved-tf=1", "%s saved-tf=%u", outcome(c), (u32)c.flags >> 8 & 1);
}

static struct ctx with_irq0(struct ctx c)
{
	raise_irq0();
	c = run(c);
	if (c.vector != 0x20)
		TRY(RING0, CODE("sti; nop; nop; nop; nop"));
	end_irq0();
	return c;
}

static void external(void)
{
	struct ctx c;

	virtual_wire();
	pic_mask(0xfe, 0xff);
	check("irq/sti-shadow", "int 0x20+2", "%s",
	      outcome(with_irq0((struct ctx){RING0, .ip = CODE("sti; nop; nop")})));
	check("irq/ring3", "int 0x20+0", "%s",
	      outcome(with_irq0((struct ctx){RING3, .ip = CODE("nop"), .flags = FLAG_FIXED | FLAG_IF})));
	check("irq/compatibility-mode", "int 0x20+0", "%s",
	      outcome(with_irq0((struct ctx){RING3_32, .ip = CODE32("nop"), .flags = FLAG_FIXED | FLAG_IF})));
	main_tss.t.ist[1] = IST_TOP;
	set_idt(0x20, SEL_CODE0, (ulong)look, ACC_INT, 2);
	c = with_irq0((struct ctx){RING0, .ip = CODE("sti; nop; nop")});
	check("irq/ist", "at top-40 ip+2", "at top-%u ip+%u", (u32)(IST_TOP - c.bp), (u32)(c.bx - c.start));
	default_idt(0x20);
	/* SDM vol. 2, "MOV CR8": TPR holds back lower priority classes; the 8259's vector comes by ExtINT, which it
	 * does not. */
	asm volatile("mov %0, %%cr8" : : "r"(15ul));
	check("irq/extint-ignores-tpr", "int 0x20+2", "%s",
	      outcome(with_irq0((struct ctx){RING0, .ip = CODE("sti; nop; nop")})));
	asm volatile("mov %0, %%cr8" : : "r"(0ul));
	pic_mask(0xff, 0xff);
}

/* SDM vol. 3, "Handling Multiple NMIs": blocked until IRET, of whatever kind and whoever executes it. */
asm(".text\n"
    "nmi_handler: incl nmi_count; cmpl $1, nmi_count; jne 1f; mov $0xfee00300, %ecx; movl $0x400, (%rcx); mov $10000, "
    "%ecx; 2: loop 2b\n"
    "movl nmi_count, %eax; movl %eax, nmi_in_handler; iretq; 1: int $0x80\n"
    "nmi_inner_iret: incl nmi_count; cmpl $1, nmi_count; jne 1f; mov $0xfee00300, %ecx; movl $0x400, (%rcx); mov "
    "$10000, %ecx; 2: loop "
    "2b\n"
    "movl nmi_count, %eax; movl %eax, nmi_in_handler\n"
    "mov %rsp, %rax; push $0x10; push %rax; pushf; push $8; lea 3f(%rip), %rax; push %rax; iretq\n"
    "3: mov $10000, %ecx; 2: loop 2b; mov $0x77, %ebx; 1: int $0x80\n");
extern u8 nmi_handler[], nmi_inner_iret[];
u32 nmi_count, nmi_in_handler;

static void nmi(void)
{
	ulong code = CODE("mov $0xfee00300, %ecx; movl $0x400, (%rcx); mov $10000, %ecx; 1: loop 1b");
	struct ctx c;

	apic_write(APIC_ICR2, apic_read(APIC_ID));
	main_tss.t.ist[1] = IST_TOP;
	set_idt(VEC_NMI, SEL_CODE0, (ulong)look, ACC_INT, 2);
	c = TRY(RING0, code);
	check("nmi/ist", "ok at top-40 cs=8", "%s at top-%u cs=%lx", outcome(c), (u32)(IST_TOP - c.bp), c.cx);
	set_idt(VEC_NMI, SEL_CODE0, (ulong)nmi_handler, ACC_INT, 2);
	nmi_count = 0;
	TRY(RING0, code);
	check("nmi/blocked-until-iretq", "in handler 1, in the end 2", "in handler %u, in the end %u", nmi_in_handler,
	      nmi_count);
	set_idt(VEC_NMI, SEL_CODE0, (ulong)nmi_inner_iret, ACC_INT, 0);
	nmi_count = 0;
	c = TRY(RING0, code, .bx = 0);
	check("nmi/any-iretq-unblocks", "in handler 1, in the end 2 before-end=1",
	      "in handler %u, in the end %u before-end=%u", nmi_in_handler, nmi_count, c.bx != 0x77);
	default_idt(VEC_NMI);
}

void chapter_main(void)
{
	frames();
	gates();
	iret();
	external();
	nmi();
}

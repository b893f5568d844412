/*
 * Hardware task switches: JMP, CALL, IRET and interrupts through TSS descriptors and task gates.
 *
 * SDM vol. 3, "Task Management": "Task Switching", "Task Linking", "16-Bit Task-State Segment (TSS)". A fault that is
 * raised in the new task has no trustworthy stack there, so vectors 10 to 13 are task gates here when an experiment
 * asks for it.
 */
#include "guest.h"

const char chapter[] = "task_switch";

enum {
	S_B = SEL_TEST,
	S_B16 = S_B + 8,
	S_GATE = S_B + 0x10,
	S_SMALL = S_B + 0x18,
	S_ABSENT_TSS = S_B + 0x20,
	S_SMALL16 = S_B + 0x28,
	S_ABSENT_CODE = S_B + 0x30,
	S_ABSENT_DATA = S_B + 0x38,
	S_STACK16 = S_B + 0x40,
	S_CODE_BASED = S_B + 0x48,
	S_NOT_LDT = S_B + 0x50,
	S_CONFORM = S_B + 0x58,
	S_B_DPL3 = S_B + 0x60,
	S_FAULT = S_B + 0x68,
	/* one per vector 10 to 13 */
	S_GATE_ABSENT = S_FAULT + 0x20,
	S_GATE_NULL = S_GATE_ABSENT + 8,
	S_GATE_DATA = S_GATE_ABSENT + 0x10,
	S_SHORT = S_GATE_ABSENT + 0x18,
};

struct tss16 {
	u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
} __attribute__((packed));

static struct tss32 b __attribute__((aligned(128)));
static struct tss16 b16 __attribute__((aligned(64)));
static struct tss32 fault_tss[4] __attribute__((aligned(128)));
static u8 stack_b[4096] __attribute__((aligned(16))), fault_stack[4096] __attribute__((aligned(16)));
u32 fault_vector, fault_error;
static u16 task; /* TR when the last experiment ended */

asm(".text\n"
    "fault10: popl fault_error; movl $10, fault_vector; int $0x80\n"
    "fault11: popl fault_error; movl $11, fault_vector; int $0x80\n"
    "fault12: popl fault_error; movl $12, fault_vector; int $0x80\n"
    "fault13: popl fault_error; movl $13, fault_vector; int $0x80\n"
    "task_end: int $0x80\n"
    "task_pushes: push %eax; int $0x80\n"
    "task_iret: iret; jmp task_iret\n"
    ".globl task_end, task_iret\n");
extern u8 fault10[], fault11[], fault12[], fault13[], task_end[], task_iret[], task_pushes[];

static u8 type_of(u16 sel)
{
	return gdt[sel / 8] >> 40;
}

/* Everything as before any switch: only SEL_TSS busy, task B ready to run at entry in ring 0. */
static void fresh(const u8 *entry)
{
	static u8 *const faults[] = {fault10, fault11, fault12, fault13};

	b = (struct tss32){
		.eip = (u32)entry,
		.esp = (u32)stack_b + sizeof(stack_b),
		.eflags = FLAG_FIXED,
		.eax = 0xb0,
		.ecx = 0xb1,
		.edx = 0xb2,
		.ebx = 0xb3,
		.ebp = 0xb5,
		.esi = 0xb6,
		.edi = 0xb7,
		.cs = SEL_CODE0,
		.ss = SEL_DATA0,
		.ds = SEL_DATA0,
		.es = SEL_DATA3,
		.fs = SEL_DATA0,
		.gs = 0,
		.iomap = IOMAP_NONE,
		.ss0 = SEL_DATA0,
		.esp0 = (u32)stack_b + sizeof(stack_b) / 2,
		.cr3 = 0,
	};
	b16 = (struct tss16){
		.ip = 0,
		.flags = FLAG_FIXED,
		.sp = 0x8000,
		.ax = 0x16a,
		.cs = S_CODE_BASED,
		.ss = S_STACK16,
		.ds = SEL_DATA0,
		.es = SEL_DATA0,
	};
	main_tss.t.link = 0;
	set_descriptor(S_B, (u32)&b, sizeof(b) - 1, ACC_TSS, 0);
	set_descriptor(S_B_DPL3, (u32)&b, sizeof(b) - 1, ACC_TSS | ACC_DPL3, 0);
	set_descriptor(S_B16, (u32)&b16, sizeof(b16) - 1, ACC_TSS16, 0);
	set_descriptor(S_SMALL, (u32)&b, 0x66, ACC_TSS, 0);
	set_descriptor(S_SMALL16, (u32)&b16, 0x2a, ACC_TSS16, 0);
	set_descriptor(S_ABSENT_TSS, (u32)&b, sizeof(b) - 1, ACC_TSS & 0x7f, 0);
	set_descriptor(S_CODE_BASED, (u32)entry, 0xffff, 0x9b, SEG_D);
	gdt[S_GATE / 8] = gate_descriptor(S_B, 0, ACC_TASK_GATE | ACC_DPL3, 0);
	for (u32 i = 0; i < 4; i++) {
		fault_tss[i] = (struct tss32){
			.eip = (u32)faults[i],
			.esp = (u32)fault_stack + sizeof(fault_stack),
			.eflags = FLAG_FIXED,
			.cs = SEL_CODE0,
			.ss = SEL_DATA0,
			.ds = SEL_DATA0,
			.es = SEL_DATA0,
			.fs = SEL_DATA0,
			.gs = SEL_DATA0,
			.iomap = IOMAP_NONE,
		};
		set_descriptor(S_FAULT + i * 8, (u32)&fault_tss[i], sizeof(fault_tss[i]) - 1, ACC_TSS, 0);
	}
	fault_vector = fault_error = 0;
}

/* Back in the main task. Returns CR0 as the experiment left it. */
static u32 home(void)
{
	u32 cr0 = read_cr0();

	asm volatile("str %0; push $2; popf; clts" : "=r"(task));
	reload_tr();
	no_ldt();
	return cr0;
}

static const char *task_name(u16 sel)
{
	switch (sel) {
	case SEL_TSS: return "main";
	case S_B: return "b";
	case S_B16: return "b16";
	case S_FAULT: return "ts-handler";
	case S_FAULT + 8: return "np-handler";
	case S_FAULT + 16: return "ss-handler";
	case S_FAULT + 24: return "gp-handler";
	}
	return "other";
}

static void switches(void)
{
	struct ctx c;
	u32 cr0;

	fresh(task_end);
	c = TRY(RING0, CODE("ljmp $0x70, $0"), .ax = 0xa0, .di = 0xa7, .flags = FLAG_FIXED | FLAG_CF);
	cr0 = home();
	check("jmp/new-state", "vector=128 task=b eax=b0 ecx=b1 edi=b7 ebp=b5 es=28 gs=0 flags=2 ts=1",
	      "vector=%u task=%s eax=%x ecx=%x edi=%x ebp=%x es=%x gs=%x flags=%x ts=%u", (u32)c.vector,
	      task_name(task), (u32)c.ax, (u32)c.cx, (u32)c.di, (u32)c.bp, (u32)c.es, (u32)c.gs, (u32)c.flags,
	      cr0 >> 3 & 1);
	check("jmp/old-state", "eax=a0 edi=a7 eip+7 cs=8 ss=10 flags=3", "eax=%x edi=%x eip+%u cs=%x ss=%x flags=%x",
	      main_tss.t.eax, main_tss.t.edi, main_tss.t.eip - (u32)c.start, main_tss.t.cs & 0xffff,
	      main_tss.t.ss & 0xffff, main_tss.t.eflags);
	check("jmp/link-and-busy", "link=0 main=89 b=8b", "link=%x main=%x b=%x", b.link & 0xffff,
	      type_of(SEL_TSS) & 0xfd, type_of(S_B));

	fresh(task_end);
	c = TRY(RING0, CODE("ljmp $0x70, $0"));
	check("jmp/old-not-busy", "89", "%x", type_of(SEL_TSS));
	home();

	fresh(task_end);
	c = TRY(RING0, CODE("lcall $0x70, $0"));
	check("call/link-busy-nt", "nt=1 link=38 main=8b b=8b saved-nt=0", "nt=%u link=%x main=%x b=%x saved-nt=%u",
	      (u32)c.flags >> 14 & 1, b.link & 0xffff, type_of(SEL_TSS), type_of(S_B), main_tss.t.eflags >> 14 & 1);
	home();

	/* There and back: B's IRET, then B again from where it stopped. */
	fresh(task_iret);
	c = TRY(RING0, CODE("mov $1, %eax; lcall $0x70, $0; inc %eax; lcall $0x70, $0; inc %eax"), .cx = 5);
	cr0 = home();
	check("call/and-iret", "ok eax=3 ecx=5 task=main nt=0 b=89 b.nt=0 ts=1",
	      "%s eax=%x ecx=%x task=%s nt=%u b=%x b.nt=%u ts=%u", outcome(c), (u32)c.ax, (u32)c.cx, task_name(task),
	      (u32)c.flags >> 14 & 1, type_of(S_B), b.eflags >> 14 & 1, cr0 >> 3 & 1);
	check("call/b-stopped-after-iret", "1", "%d", (int)(b.eip - (u32)task_iret));

	fresh(task_end);
	c = TRY(RING0, CODE("ljmp $0x80, $0"));
	home();
	check("gate/jmp", "task=b nt=0", "task=%s nt=%u", task_name(task), (u32)c.flags >> 14 & 1);
	fresh(task_end);
	c = TRY(RING0, CODE("lcall $0x80, $0"));
	home();
	check("gate/call", "task=b nt=1", "task=%s nt=%u", task_name(task), (u32)c.flags >> 14 & 1);
	fresh(task_end);
	c = TRY(RING3, CODE("lcall $0x83, $0"));
	home();
	check("gate/call-from-ring3", "task=b cs=8 saved cs=23 ss=2b", "task=%s cs=%x saved cs=%x ss=%x",
	      task_name(task), (u32)c.cs, main_tss.t.cs & 0xffff, main_tss.t.ss & 0xffff);
	fresh(task_iret);
	c = TRY(RING3, CODE("mov %esp, %ebx; lcall $0x83, $0; mov %cs, %eax; sub %esp, %ebx"));
	home();
	check("gate/ring3-and-back", "ok cs=23 stack-moved=0", "%s cs=%x stack-moved=%x", outcome(c), (u32)c.ax,
	      (u32)c.bx);
	fresh(task_end);
	set_idt(0x30, S_B, 0, ACC_TASK_GATE, 0);
	c = TRY(RING0, CODE("int $0x30"), .flags = FLAG_FIXED | FLAG_IF);
	home();
	check("interrupt/int", "task=b nt=1 flags=4002 saved eip+2 flags=202 esp-b=0",
	      "task=%s nt=%u flags=%x saved eip+%u flags=%x esp-b=%d", task_name(task), (u32)c.flags >> 14 & 1,
	      (u32)c.flags, main_tss.t.eip - (u32)c.start, main_tss.t.eflags,
	      (int)((u32)stack_b + sizeof(stack_b) - c.sp));
	T("interrupt/dpl", "#GP(0x182)+0", RING3, CODE("int $0x30"));
	fresh(task_end);
	set_idt(VEC_GP, S_B, 0, ACC_TASK_GATE, 0);
	c = TRY(RING0, CODE("mov %eax, %ds"), .ax = SEL_TSS);
	home();
	default_idt(VEC_GP);
	check("interrupt/error-code", "task=b pushed=38 esp-b=4 saved eip+0", "task=%s pushed=%x esp-b=%d saved eip+%u",
	      task_name(task), *(u32 *)(stack_b + sizeof(stack_b) - 4), (int)((u32)stack_b + sizeof(stack_b) - c.sp),
	      main_tss.t.eip - (u32)c.start);
	fresh(task_end);
	b.cs = SEL_CODE3 | 3;
	b.ss = b.ds = SEL_DATA3 | 3;
	b.fs = 0;
	c = TRY(RING0, CODE("ljmp $0x70, $0"));
	home();
	check("jmp/to-ring3-task", "vector=128 cs=23 ss=2b", "vector=%u cs=%x ss=%x", (u32)c.vector, (u32)c.cs,
	      (u32)c.ss);
	/* To virtual-8086 mode: HLT at 0x7c00 faults there. */
	fresh(task_end);
	*(u8 *)0x7c00 = 0xf4;
	b.eflags |= FLAG_VM;
	b.cs = 0x7c0;
	b.eip = 0;
	b.ss = b.ds = b.es = b.fs = b.gs = 0x100;
	b.esp = 0x800;
	c = TRY(RING0, CODE("ljmp $0x70, $0"));
	home();
	check("jmp/to-v86-task", "vector=13 cs=7c0 ip=0 vm=1 ds=100", "vector=%u cs=%x ip=%x vm=%u ds=%x",
	      (u32)c.vector, (u32)c.cs, (u32)c.ip, (u32)c.flags >> 17 & 1, (u32)c.ds);
	/* SDM vol. 3, "Debug Control Register (DR7)": local enables are cleared on every task switch. */
	fresh(task_end);
	write_dr7(0x755);
	TRY(RING0, CODE("ljmp $0x70, $0"));
	home();
	check("jmp/clears-local-breakpoints", "0", "%x", (u32)read_dr7() & 0xff);
	write_dr7(0x400);
}

/* Refused while still in the old task. SDM vol. 2, "JMP", "CALL", "IRET": TASK-GATE, TASK-STATE-SEGMENT, TASK-RETURN.
 */
static void refused(void)
{
	static const struct {
		const char *name;
		u16 link;
		const char *expected;
	} links[] = {
		{"null", 0, "#TS(0x0)+0"},	  {"data", SEL_DATA0, "#TS(0x10)+0"},
		{"not-busy", S_B, "#TS(0x70)+0"}, {"beyond-gdt", 0x7f0, "#TS(0x7f0)+0"},
		{"in-ldt", 0x74, "#TS(0x74)+0"},  {"gate", S_GATE, "#TS(0x80)+0"},
	};

	fresh(task_end);
	T("jmp/busy", "#GP(0x38)+0", RING0, CODE("ljmp $0x38, $0"));
	T("call/busy", "#GP(0x38)+0", RING0, CODE("lcall $0x38, $0"));
	T("jmp/absent", "#NP(0x90)+0", RING0, CODE("ljmp $0x90, $0"));
	T("jmp/limit-66", "#TS(0x88)+0", RING0, CODE("ljmp $0x88, $0"));
	T("jmp/16-bit-limit-2a", "#TS(0x98)+0", RING0, CODE("ljmp $0x98, $0"));
	T("jmp/dpl", "#GP(0x70)+0", RING3, CODE("ljmp $0x70, $0"));
	T("jmp/rpl", "#GP(0x70)+0", RING0, CODE("ljmp $0x73, $0"));
	gdt[S_GATE / 8] = gate_descriptor(S_B, 0, ACC_TASK_GATE, 0);
	T("gate/dpl", "#GP(0x80)+0", RING3, CODE("ljmp $0x80, $0"));
	T("gate/rpl", "#GP(0x80)+0", RING0, CODE("lcall $0x83, $0"));
	gdt[S_GATE_ABSENT / 8] = gate_descriptor(S_B, 0, ACC_TASK_GATE & 0x7f, 0);
	gdt[S_GATE_NULL / 8] = gate_descriptor(0, 0, ACC_TASK_GATE, 0);
	gdt[S_GATE_DATA / 8] = gate_descriptor(SEL_DATA0, 0, ACC_TASK_GATE, 0);
	T("gate/absent", "#NP(0xf8)+0", RING0, CODE("ljmp $0xf8, $0"));
	T("gate/null-tss", "#GP(0x0)+0", RING0, CODE("ljmp $0x100, $0"));
	T("gate/not-a-tss", "#GP(0x10)+0", RING0, CODE("ljmp $0x108, $0"));
	gdt[S_GATE / 8] = gate_descriptor(SEL_TSS, 0, ACC_TASK_GATE, 0);
	T("gate/busy-tss", "#GP(0x38)+0", RING0, CODE("ljmp $0x80, $0"));
	gdt[S_GATE / 8] = gate_descriptor(S_B | 4, 0, ACC_TASK_GATE, 0);
	T("gate/tss-in-ldt", "#GP(0x74)+0", RING0, CODE("ljmp $0x80, $0"));
	gdt[S_GATE / 8] = gate_descriptor(S_ABSENT_TSS, 0, ACC_TASK_GATE, 0);
	T("gate/absent-tss", "#NP(0x90)+0", RING0, CODE("ljmp $0x80, $0"));
	gdt[S_GATE / 8] = gate_descriptor(S_SMALL, 0, ACC_TASK_GATE, 0);
	T("gate/small-tss", "#TS(0x88)+0", RING0, CODE("ljmp $0x80, $0"));
	for (u32 i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		char name[32];

		main_tss.t.link = links[i].link;
		format_text(name, sizeof(name), "iret/link-%s", links[i].name);
		T(name, links[i].expected, RING0, CODE("iret"), .flags = FLAG_FIXED | FLAG_NT);
	}
	main_tss.t.link = S_ABSENT_TSS;
	gdt[S_ABSENT_TSS / 8] |= 2ull << 40;
	T("iret/link-absent", "#NP(0x90)+0", RING0, CODE("iret"), .flags = FLAG_FIXED | FLAG_NT);
	main_tss.t.link = 0;
	set_idt(0x30, SEL_TSS, 0, ACC_TASK_GATE, 0);
	T("int/busy", "#GP(0x38)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, S_ABSENT_TSS, 0, ACC_TASK_GATE, 0);
	gdt[S_ABSENT_TSS / 8] &= ~(2ull << 40);
	T("int/absent-tss", "#NP(0x90)+0", RING0, CODE("int $0x30"));
	set_idt(VEC_UD, S_SMALL, 0, ACC_TASK_GATE, 0);
	T("exception/small-tss", "#TS(0x89)+0", RING0, CODE("ud2"));
	default_idt(VEC_UD);
}

/* SDM vol. 3, "Exception Conditions Checked During a Task Switch": raised in the new task, before its first
 * instruction. */
static void faults_in_new_task(void)
{
	static const struct {
		const char *name;
		u16 offset; /* of the selector in the TSS */
		u16 selector;
		const char *expected;
	} rows[] = {
		{"cs-null", offsetof(struct tss32, cs), 0, "#10(0) from b eip+0"},
		{"cs-data", offsetof(struct tss32, cs), SEL_DATA0, "#10(10) from b eip+0"},
		{"cs-absent", offsetof(struct tss32, cs), S_ABSENT_CODE, "#11(a0) from b eip+0"},
		{"cs-rpl", offsetof(struct tss32, cs), SEL_CODE0 | 3, "#10(8) from b eip+0"},
		{"cs-beyond-gdt", offsetof(struct tss32, cs), 0x7f0, "#10(7f0) from b eip+0"},
		{"cs-limit", offsetof(struct tss32, cs), S_SHORT, "#13(0) from b eip+0"},
		{"ss-null", offsetof(struct tss32, ss), 0, "#10(0) from b eip+0"},
		{"ss-rpl", offsetof(struct tss32, ss), SEL_DATA0 | 3, "#10(10) from b eip+0"},
		{"ss-dpl", offsetof(struct tss32, ss), SEL_DATA3, "#10(28) from b eip+0"},
		{"ss-absent", offsetof(struct tss32, ss), S_ABSENT_DATA, "#12(a8) from b eip+0"},
		{"ss-code", offsetof(struct tss32, ss), SEL_CODE0, "#10(8) from b eip+0"},
		{"ds-tss", offsetof(struct tss32, ds), SEL_TSS, "#10(38) from b eip+0"},
		{"ds-absent", offsetof(struct tss32, ds), S_ABSENT_DATA, "#11(a8) from b eip+0"},
		{"es-beyond-gdt", offsetof(struct tss32, es), 0x7f0, "#10(7f0) from b eip+0"},
		{"gs-rpl", offsetof(struct tss32, gs), SEL_DATA0 | 3, "#10(10) from b eip+0"},
		{"fs-null-is-fine", offsetof(struct tss32, fs), 0, "ok in b"},
		{"ldt-not-ldt", offsetof(struct tss32, ldt), SEL_DATA0, "#10(10) from b eip+0"},
		{"ldt-in-ldt", offsetof(struct tss32, ldt), 0x74, "#10(74) from b eip+0"},
		{"ldt-absent", offsetof(struct tss32, ldt), S_NOT_LDT, "#10(c0) from b eip+0"},
		{"ldt-null-is-fine", offsetof(struct tss32, ldt), 0, "ok in b"},
	};

	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[48];
		struct ctx c;

		fresh(task_end);
		set_descriptor(S_ABSENT_CODE, 0, 0xfffff, 0x1b, SEG_D | SEG_G);
		set_descriptor(S_ABSENT_DATA, 0, 0xfffff, 0x13, SEG_D | SEG_G);
		set_descriptor(S_NOT_LDT, (u32)ldt, 0x7f, 2, 0);
		set_descriptor(S_SHORT, 0, 0xfff, 0x9b, SEG_D);
		*(u32 *)((u8 *)&b + rows[i].offset) = rows[i].selector;
		if (rows[i].selector == (SEL_CODE0 | 3)) /* only CS itself is wrong */
			b.ss = b.ds = b.fs = SEL_DATA3 | 3;
		for (u32 v = VEC_TS; v <= VEC_GP; v++)
			set_idt(v, S_FAULT + (v - VEC_TS) * 8, 0, ACC_TASK_GATE, 0);
		c = TRY(RING0, CODE("lcall $0x70, $0"));
		home();
		for (u32 v = VEC_TS; v <= VEC_GP; v++)
			default_idt(v);
		format_text(name, sizeof(name), "new-task/%s", rows[i].name);
		if (fault_vector)
			check(name, rows[i].expected, "#%u(%x) from %s eip+%d", fault_vector, fault_error,
			      task_name(fault_tss[fault_vector - VEC_TS].link), (int)(b.eip - (u32)task_end));
		else
			check(name, rows[i].expected, "%s in %s", c.vector == VECTOR_END ? "ok" : outcome(c),
			      task_name(task));
	}
}

/* SDM vol. 3, "16-Bit Task-State Segment (TSS)". */
static void tss_16_bit(void)
{
	struct ctx c;

	memset((void *)0x20000, 0, 0x10000);
	set_descriptor(S_STACK16, 0x20000, 0xffff, ACC_DATA0, 0);
	fresh(task_end);
	c = TRY(RING0, CODE("ljmp $0x78, $0"));
	home();
	check("16/jmp", "vector=128 task=b16 ax=16a cs=b8 ip=2 sp=8000 ss=b0 fs=0 gs=0",
	      "vector=%u task=%s ax=%x cs=%x ip=%x sp=%x ss=%x fs=%x gs=%x", (u32)c.vector, task_name(task),
	      (u32)(u16)c.ax, (u32)c.cs, (u32)(u16)c.ip, (u32)(u16)c.sp, (u32)c.ss, (u32)c.fs, (u32)c.gs);
	fresh(task_iret);
	c = TRY(RING0, CODE("mov $0x12345678, %eax; lcall $0x78, $0; inc %eax"));
	home();
	check("16/call-and-iret", "ok eax=12345679 task=main saved ip=1 ax=16a link=38",
	      "%s eax=%x task=%s saved ip=%x ax=%x link=%x", outcome(c), (u32)c.ax, task_name(task), b16.ip, b16.ax,
	      b16.link);
	check("16/types", "b16=81 main=8b", "b16=%x main=%x", type_of(S_B16), type_of(SEL_TSS));
}

/* SDM vol. 3, "Task-Switch Exception Condition": T in the new TSS traps after the switch, DR6.BT says so. */
static void t_flag(void)
{
	struct ctx c;

	write_dr6(0xffff0ff0);
	fresh(task_end);
	b.trap = 1;
	c = TRY(RING0, CODE("ljmp $0x70, $0"));
	home();
	check("t-flag/jmp", "vector=1 eip+0 bt=1 task=b", "vector=%u eip+%d bt=%u task=%s", (u32)c.vector,
	      (int)(c.ip - (ulong)task_end), (u32)c.dr6 >> 15 & 1, task_name(task));
	write_dr6(0xffff0ff0);
}

/* With paging on: CR3 comes from the new TSS. Two directories that map one address to different pages. */
static void address_spaces(void)
{
	u32 *dir[2], *data[2];
	struct ctx c;

	for (u32 i = 0; i < 2; i++) {
		u32 *table = page_alloc(), *window = page_alloc();

		dir[i] = page_alloc();
		data[i] = page_alloc();
		*data[i] = 0x1111 * (i + 1);
		for (u32 p = 0; p < 1024; p++)
			table[p] = p << 12 | 7;
		dir[i][0] = (u32)table | 7;
		dir[i][256] = (u32)window | 7;
		window[0] = (u32)data[i] | 7;
	}
	fresh((u8 *)CODE("movl 0x40000000, %edx; iret; jmp . - 7"));
	b.cr3 = (u32)dir[1];
	write_cr3((u32)dir[0]);
	write_cr0(read_cr0() | CR0_PG);
	main_tss.t.cr3 = (u32)dir[0];
	c = TRY(RING0, CODE("movl 0x40000000, %eax; lcall $0x70, $0; movl 0x40000000, %ecx; mov %cr3, %ebx"));
	write_cr0(read_cr0() & ~CR0_PG);
	home();
	check("cr3/switched-and-back", "ok main=1111 b=2222 main=1111 cr3=0", "%s main=%x b=%x main=%x cr3=%x",
	      outcome(c), (u32)c.ax, b.edx, (u32)c.cx, (u32)c.bx - (u32)dir[0]);
}

void chapter_main(void)
{
	switches();
	refused();
	faults_in_new_task();
	tss_16_bit();
	t_flag();
	address_spaces();
}

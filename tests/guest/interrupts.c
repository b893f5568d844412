/*
 * Exceptions and interrupts in protected mode: every vector's error code and saved EIP, gates, privilege, IRET, double
 * faults, the interrupt shadow, NMI blocking.
 *
 * SDM vol. 3, "Interrupt and Exception Handling"; vol. 2, "INT n/INTO/INT3/INT1" and "IRET". Page faults are in
 * paging32.c, task gates in task_switch.c, #DB in debug.c, virtual-8086 mode in v86.c, IA-32e mode in interrupts64.c.
 */
#include "chips.h"

const char chapter[] = "interrupts";

enum {
	S_CODE1 = SEL_TEST,
	S_STACK1 = SEL_TEST + 8,
	S_CONFORM = SEL_TEST + 0x10,
	S_ABSENT_CODE = SEL_TEST + 0x18,
	S_SHORT = SEL_TEST + 0x20,
	S_ABSENT_DATA3 = SEL_TEST + 0x28,
	S_STACK16 = SEL_TEST + 0x30,
	S_ABSENT_DATA0 = SEL_TEST + 0x38,
};

/* Handlers: EAX = own flags, then the frame as it lies on the stack. */
asm(".text\n"
    "look: pushf; popl %eax; popl %ebx; popl %ecx; popl %edx; popl %esi; popl %edi; int $0x80\n"
    "look_error: pushf; popl %eax; popl %ebp; popl %ebx; popl %ecx; popl %edx; popl %esi; popl %edi; int $0x80\n"
    "plain_iret: iret\n");
extern u8 look[], look_error[], plain_iret[];

/* SDM vol. 3, "Exception and Interrupt Reference". */
static void vectors(void)
{
	struct ctx c;

	T("de/div-zero", "#DE+2", RING0, CODE("xor %ecx, %ecx; div %ecx"));
	T("de/div-overflow", "#DE+0", RING0, CODE("div %ecx"), .ax = 0, .dx = 5, .cx = 5);
	T("de/div-largest", "ok", RING0, CODE("div %ecx"), .ax = 0xffffffff, .dx = 4, .cx = 5);
	T("de/idiv-min-by-minus-1", "#DE+0", RING0, CODE("idiv %ecx"), .ax = 0x80000000, .dx = 0xffffffff, .cx = -1);
	T("de/idiv-byte-overflow", "#DE+0", RING0, CODE("idiv %cl"), .ax = 0x80, .cx = 1);
	T("de/idiv-byte-minus-128", "ok", RING0, CODE("idiv %cl"), .ax = 0xff80, .cx = 1);
	T("de/aam-zero", "#DE+0", RING0, CODE(".byte 0xd4, 0"));
	T("bp/int3", "#BP+1", RING0, CODE("int3"));
	T("bp/int-3", "#BP+2", RING0, CODE(".byte 0xcd, 3"));
	T("of/into-set", "#OF+5", RING0, CODE("movb $0x7f, %al; incb %al; into; nop"), .ax = 0);
	T("of/into-clear", "ok", RING0, CODE("into"));
	T("of/int-4", "#OF+2", RING0, CODE("int $4"));
	T("br/below", "#BR+0", RING0, CODE("bound %eax, limits_of_bound"), .ax = -6);
	T("br/above", "#BR+0", RING0, CODE("bound %eax, limits_of_bound"), .ax = 10);
	T("br/at-lower", "ok", RING0, CODE("bound %eax, limits_of_bound"), .ax = -5);
	T("br/at-upper", "ok", RING0, CODE("bound %eax, limits_of_bound"), .ax = 9);
	T("br/register", "#UD+0", RING0, CODE(".byte 0x62, 0xc0, 0, 0, 0, 0"));
	T("ud/ud2", "#UD+0", RING0, CODE("ud2"));
	T("ud/ud0", "#UD+0", RING0, CODE(".byte 0x0f, 0xff, 0xc0"));
	T("ud/ud1", "#UD+0", RING0, CODE(".byte 0x0f, 0xb9, 0xc0"));
	T("ud/salc-is-defined", "ok", RING0, CODE(".byte 0xd6"));
	T("ud/lgdt-register-beats-privilege", "#UD+0", RING3, CODE(".byte 0x0f, 0x00, 0xf0"));
	T("ud/lea-register", "#UD+0", RING0, CODE(".byte 0x8d, 0xc0"));
	T("ud/les-register", "#UD+0", RING0, CODE(".byte 0xc4, 0xc0, 0, 0, 0, 0"));
	T("ud/cmpxchg8b-register", "#UD+0", RING0, CODE(".byte 0x0f, 0xc7, 0xc8"));
	T("ud/mov-cr1", "#UD+0", RING0, CODE(".byte 0x0f, 0x20, 0xc8"));
	T("ud/mov-cr5", "#UD+0", RING0, CODE(".byte 0x0f, 0x20, 0xe8"));
	T("ud/pop-cs-is-two-byte", "#UD+0", RING0, CODE(".byte 0x0f, 0x04"));
	T("ud/group3-fe-7", "#UD+0", RING0, CODE(".byte 0xfe, 0xf8"));
	T("ud/group5-ff-7", "#UD+0", RING0, CODE(".byte 0xff, 0xf8"));
	T("ud/rsm-outside-smm", "#UD+0", RING0, CODE("rsm"));
	T("gp/too-long", "#GP(0x0)+0", RING0, CODE(".fill 15, 1, 0x66; nop"));
	T("gp/longest", "ok", RING0, CODE(".fill 14, 1, 0x3e; nop"));
	c = TRY(RING3, CODE("movl 1(%esp), %eax"), .sp = (ulong)ring3_stack_top - 64, .flags = FLAG_FIXED | FLAG_AC);
	check("ac/am-clear", "ok", "%s", outcome(c));
	write_cr0(read_cr0() | CR0_AM);
	ulong sp3 = (ulong)ring3_stack_top - 64;
#define AC .sp = sp3, .flags = FLAG_FIXED | FLAG_AC
	T("ac/dword", "#AC(0x0)+0", RING3, CODE("movl 1(%esp), %eax"), AC);
	T("ac/dword-at-2", "#AC(0x0)+0", RING3, CODE("movl 2(%esp), %eax"), AC);
	T("ac/word", "#AC(0x0)+0", RING3, CODE("movw %ax, 1(%esp)"), AC);
	T("ac/word-at-2", "ok", RING3, CODE("movw %ax, 2(%esp)"), AC);
	T("ac/byte", "ok", RING3, CODE("movb %al, 1(%esp)"), AC);
	T("ac/qword-at-4", "#AC(0x0)+0", RING3, CODE("cmpxchg8b 4(%esp)"), AC);
	T("ac/push", "#AC(0x0)+1", RING3, CODE("dec %esp; push %eax"), AC);
	T("ac/string", "#AC(0x0)+0", RING3, CODE("lodsl"), AC, .si = sp3 + 3);
	T("ac/flag-clear", "ok", RING3, CODE("movl 1(%esp), %eax"), .sp = sp3);
	T("ac/ring0", "ok", RING0, CODE("movl 1(%esp), %eax"), .flags = FLAG_FIXED | FLAG_AC,
	  .sp = (ulong)ring0_stack_top - 64);
	T("ac/bound-word", "#AC(0x0)+0", RING3, CODE("bound %ax, 1(%esp)"), AC);
	write_cr0(read_cr0() & ~CR0_AM);
	write_cr0(read_cr0() | CR0_TS);
	T("nm/x87-ts", "#NM+0", RING0, CODE("fnop"));
	T("nm/wait-needs-mp", "ok", RING0, CODE("fwait"));
	write_cr0(read_cr0() | CR0_MP);
	T("nm/wait-ts-mp", "#NM+0", RING0, CODE("fwait"));
	write_cr0((read_cr0() & ~(CR0_TS | CR0_MP)) | CR0_EM);
	T("nm/x87-em", "#NM+0", RING0, CODE("fnop"));
	T("nm/wait-em", "ok", RING0, CODE("fwait"));
	write_cr0(read_cr0() & ~CR0_EM);
	T("mf/pending", "#MF+14", RING0, CODE("fninit; fldz; fldcw all_unmasked; fld1; fdiv %st(1), %st; fwait"));
	asm volatile("fninit");
}

const int32_t limits_of_bound[2] = {-5, 9};
const u16 all_unmasked = 0x340;

/* SDM vol. 2, "LOCK": #UD unless the instruction is in the list and its destination is memory. */
static void lock_prefix(void)
{
	T("lock/nop", "#UD+0", RING0, CODE(".byte 0xf0; nop"));
	T("lock/mov", "#UD+0", RING0, CODE(".byte 0xf0; movl %eax, scratch"));
	T("lock/cmp", "#UD+0", RING0, CODE(".byte 0xf0; cmpl %eax, scratch"));
	T("lock/test", "#UD+0", RING0, CODE(".byte 0xf0; testl %eax, scratch"));
	T("lock/add-register", "#UD+0", RING0, CODE(".byte 0xf0; addl %eax, %ecx"));
	T("lock/add-load", "#UD+0", RING0, CODE(".byte 0xf0; addl scratch, %ecx"));
	T("lock/add", "ok", RING0, CODE("lock; addl %eax, scratch"));
	T("lock/not", "ok", RING0, CODE("lock; notl scratch"));
	T("lock/neg", "ok", RING0, CODE("lock; negl scratch"));
	T("lock/xadd", "ok", RING0, CODE("lock; xaddl %eax, scratch"));
	T("lock/cmpxchg", "ok", RING0, CODE("lock; cmpxchgl %eax, scratch"));
	T("lock/cmpxchg8b", "ok", RING0, CODE("lock; cmpxchg8b scratch"));
	T("lock/bts", "ok", RING0, CODE("lock; btsl $1, scratch"));
	T("lock/bt", "#UD+0", RING0, CODE(".byte 0xf0; btl $1, scratch"));
	T("lock/mul", "#UD+0", RING0, CODE(".byte 0xf0; mull scratch"));
	T("lock/shl", "#UD+0", RING0, CODE(".byte 0xf0; shll scratch"));
	T("lock/push", "#UD+0", RING0, CODE(".byte 0xf0; pushl scratch"));
	T("lock/movs", "#UD+0", RING0, CODE(".byte 0xf0; movsb"));
	T("lock/hlt-beats-privilege", "#UD+0", RING3, CODE(".byte 0xf0; hlt"));
	T("lock/int3", "#UD+0", RING0, CODE(".byte 0xf0; int3"));
}

u64 scratch;

/* SDM vol. 3, "IDT Descriptors", "Error Code"; vol. 2, "INT n". Error code: vector * 8 + 2 for a gate, + 1 for EXT. */
static void gates(void)
{
	struct ctx c;
	const struct __attribute__((packed)) {
		u16 limit;
		u32 base;
	} cut_idt = {0x81 * 8 - 1, (u32)idt};

	T("int/dpl0-from-ring3", "#GP(0x182)+0", RING3, CODE("int $0x30"));
	T("int/dpl0-from-ring0", "int 0x30+2", RING0, CODE("int $0x30"));
	T("int/exception-vector-from-ring3", "#GP(0x32)+0", RING3, CODE("int $6"));
	set_idt(VEC_BP, SEL_CODE0, (ulong)look, ACC_INT, 0);
	set_idt(VEC_OF, SEL_CODE0, (ulong)look, ACC_INT, 0);
	T("int3/dpl0-from-ring3", "#GP(0x1a)+0", RING3, CODE("int3"));
	T("into/dpl0-from-ring3", "#GP(0x22)+0", RING3, CODE("into"), .flags = FLAG_FIXED | FLAG_OF);
	T("int1/dpl0-from-ring3", "#DB+1", RING3, CODE(".byte 0xf1"));
	default_idt(VEC_BP);
	default_idt(VEC_OF);
	T("bound/dpl-not-checked", "#BR+0", RING3, CODE("bound %eax, limits_of_bound"), .ax = 100);
	asm volatile("lidt %0" : : "m"(cut_idt));
	T("int/beyond-idt", "#GP(0x40a)+0", RING0, CODE("int $0x81"));
	T("int/last-in-idt", "ok", RING0, CODE("int $0x80"));
	asm volatile("lidt idt_pointer");
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT & 0x7f, 0);
	T("int/gate-absent", "#NP(0x182)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_CALL, 0);
	T("int/call-gate-in-idt", "#GP(0x182)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_DATA0, 0);
	T("int/segment-in-idt", "#GP(0x182)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, 0, (ulong)look, ACC_INT, 0);
	T("int/null-target", "#GP(0x0)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_DATA0, (ulong)look, ACC_INT, 0);
	T("int/data-target", "#GP(0x10)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, S_ABSENT_CODE, (ulong)look, ACC_INT, 0);
	T("int/absent-target", "#NP(0x88)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE3 | 3, (ulong)look, ACC_INT, 0);
	T("int/outer-target", "#GP(0x20)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, 0x7f0, (ulong)look, ACC_INT, 0);
	T("int/target-beyond-gdt", "#GP(0x7f0)+0", RING0, CODE("int $0x30"));
	set_idt(0x30, SEL_CODE0 | 3, (ulong)look, ACC_INT, 0);
	T("int/target-rpl-ignored", "ok", RING0, CODE("int $0x30"));
	set_idt(0x30, S_SHORT, 0x1000, ACC_INT, 0);
	T("int/target-beyond-limit", "#GP(0x0)+0", RING0, CODE("int $0x30"));

	/* The same by an exception: EXT is set. */
	set_idt(VEC_UD, SEL_CODE0, (ulong)look, ACC_INT & 0x7f, 0);
	T("ext/gate-absent", "#NP(0x33)+0", RING0, CODE("ud2"));
	set_idt(VEC_UD, 0, (ulong)look, ACC_INT, 0);
	T("ext/null-target", "#GP(0x1)+0", RING0, CODE("ud2"));
	set_idt(VEC_UD, SEL_DATA0, (ulong)look, ACC_INT, 0);
	T("ext/data-target", "#GP(0x11)+0", RING0, CODE("ud2"));
	set_idt(VEC_UD, S_ABSENT_CODE, (ulong)look, ACC_INT, 0);
	T("ext/absent-target", "#NP(0x89)+0", RING0, CODE("ud2"));
	set_idt(VEC_BP, 0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	T("ext/int3-is-software", "#GP(0x0)+0", RING0, CODE("int3"));
	default_idt(VEC_BP);
	set_idt(VEC_DB, 0, (ulong)look, ACC_INT, 0);
	T("ext/int1-is-external", "#GP(0x1)+0", RING0, CODE(".byte 0xf1"));
	default_idt(VEC_DB);
	default_idt(VEC_UD);

	/* What the handler sees. SDM vol. 3, "Flag Usage By Exception- or Interrupt-Handler Procedure". */
	const ulong all = FLAG_FIXED | FLAG_IF | FLAG_AC | FLAG_OF | FLAG_CF | FLAG_DF;
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT, 0);
	c = TRY(RING0, CODE("int $0x30"), .flags = all);
	check("gate/interrupt-clears-if", "ok handler=40c03 saved=40e03", "%s handler=%x saved=%x", outcome(c),
	      (u32)c.ax, (u32)c.dx);
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_TRAP, 0);
	c = TRY(RING0, CODE("int $0x30"), .flags = all);
	check("gate/trap-keeps-if", "ok handler=40e03 saved=40e03", "%s handler=%x saved=%x", outcome(c), (u32)c.ax,
	      (u32)c.dx);
	c = TRY(RING0, CODE("push $0x4002; popf; int $0x30"));
	check("gate/nt-cleared", "ok handler=2 saved=4002", "%s handler=%x saved=%x", outcome(c), (u32)c.ax, (u32)c.dx);
	set_idt(0x30, SEL_CODE0, (ulong)look, ACC_INT | ACC_DPL3, 0);
	c = TRY(RING3, CODE("int $0x30"), .sp = 0x12345678);
	check("gate/inner-frame", "ok ip+2 cs=23 flags=2 esp=12345678 ss=2b", "%s ip+%u cs=%x flags=%x esp=%x ss=%x",
	      outcome(c), (u32)(c.bx - c.start), (u32)c.cx, (u32)c.dx, (u32)c.si, (u32)c.di);
	set_idt(0x30, SEL_CODE0, (ulong)look & 0xffff, ACC_INT16 | ACC_DPL3, 0);
	/* 16-bit gate: word pushes and a 16-bit EIP, so the handler is a copy in low memory: IP, CS, FLAGS, SP, SS
	 * words. */
	memcpy((void *)((ulong)look & 0xffff), look, 16);
	c = TRY(RING3, CODE("int $0x30"), .sp = 0x12345678);
	check("gate/16-bit", "ok ip+2 cs=23 flags=2 sp=5678 ss=2b", "%s ip+%u cs=%x flags=%x sp=%x ss=%x", outcome(c),
	      (u32)(u16)(c.bx - c.start), (u32)c.bx >> 16, (u32)(u16)c.cx, (u32)c.cx >> 16, (u32)(u16)c.dx);
	set_idt(0x30, S_CONFORM, (ulong)look, ACC_INT | ACC_DPL3, 0);
	c = TRY(RING3, CODE("int $0x30"));
	check("gate/conforming-keeps-cpl", "ok cs=83 ss=2b frame=12", "%s cs=%x ss=%x frame=%d", outcome(c), (u32)c.cs,
	      (u32)c.ss, (int)((ulong)ring3_stack_top - c.sp) + 20);

	/* To ring 1, whose stack is wrong in each way. SDM vol. 2, "INT n", INTRA- and INTER-PRIVILEGE-LEVEL-INTERRUPT.
	 */
	main_tss.t.esp1 = (ulong)ring0_stack_top;
	for (u32 ext = 0; ext < 2; ext++) {
		static const struct {
			const char *name;
			u16 ss1;
			const char *by_int, *by_exception;
		} stacks[] = {
			{"null", 0, "#TS(0x0)+0", "#TS(0x1)+0"},
			{"rpl", SEL_DATA0, "#TS(0x10)+0", "#TS(0x11)+0"},
			{"dpl", SEL_DATA0 | 1, "#TS(0x10)+0", "#TS(0x11)+0"},
			{"code", S_CODE1 | 1, "#TS(0x70)+0", "#TS(0x71)+0"},
			{"beyond-gdt", 0x7f1, "#TS(0x7f0)+0", "#TS(0x7f1)+0"},
			{"absent", S_ABSENT_DATA3 | 1, "#TS(0x98)+0", "#TS(0x99)+0"},
		};

		set_idt(ext ? VEC_UD : 0x30, S_CODE1, (ulong)look, ACC_INT | ACC_DPL3, 0);
		for (u32 i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
			char name[48];

			main_tss.t.ss1 = stacks[i].ss1;
			format_text(name, sizeof(name), "ring1-stack/%s-%s", stacks[i].name, ext ? "exception" : "int");
			if (ext)
				T(name, stacks[i].by_exception, RING3, CODE("ud2"));
			else
				T(name, stacks[i].by_int, RING3, CODE("int $0x30"));
		}
		gdt[S_STACK1 / 8] &= ~(0x80ull << 40);
		main_tss.t.ss1 = S_STACK1 | 1;
		if (ext)
			T("ring1-stack/not-present-exception", "#SS(0x79)+0", RING3, CODE("ud2"));
		else
			T("ring1-stack/not-present-int", "#SS(0x78)+0", RING3, CODE("int $0x30"));
		gdt[S_STACK1 / 8] |= 0x80ull << 40;
		if (ext)
			c = TRY(RING3, CODE("ud2"));
		else
			c = TRY(RING3, CODE("int $0x30"));
		check(ext ? "ring1/exception" : "ring1/int",
		      ext ? "ok cs=71 ss=79 saved cs=23 rf=1" : "ok cs=71 ss=79 saved cs=23 rf=0",
		      "%s cs=%x ss=%x saved cs=%x rf=%u", outcome(c), (u32)c.cs, (u32)c.ss, (u32)c.cx,
		      (u32)c.dx >> 16 & 1);
	}
	default_idt(VEC_UD);
	default_idt(0x30);
}

/* SDM vol. 3, "Interrupt 8: Double Fault Exception (#DF)", "Conditions for Generating a Double Fault". */
static void double_faults(void)
{
	static const struct {
		const char *name;
		u8 vector; /* whose gate is not present */
		const char *expected;
	} rows[] = {
		{"de-then-np", VEC_DE, "#DF(0x0)+0"},  {"ts-then-np", VEC_TS, "#DF(0x0)+1"},
		{"np-then-gp", VEC_NP, "#DF(0x0)+0"},  {"ss-then-np", VEC_SS, "#DF(0x0)+0"},
		{"gp-then-np", VEC_GP, "#DF(0x0)+0"},  {"ud-then-np", VEC_UD, "#NP(0x33)+0"},
		{"br-then-np", VEC_BR, "#NP(0x2b)+0"}, {"nm-then-np", VEC_NM, "#NP(0x3b)+0"},
		{"bp-then-np", VEC_BP, "#NP(0x1a)+0"},
	};

	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[40];
		ulong code = 0;

		switch (rows[i].vector) {
		case VEC_DE: code = CODE("div %ecx"); break;
		case VEC_TS: code = CODE("nop; iret"); break;
		case VEC_NP: code = CODE("mov %eax, %ds"); break;
		case VEC_SS: code = CODE("mov %eax, %ss"); break;
		case VEC_GP: code = CODE("mov %edx, %ds"); break;
		case VEC_UD: code = CODE("ud2"); break;
		case VEC_BR: code = CODE("bound %esi, limits_of_bound"); break;
		case VEC_NM: code = CODE("fnop"); break;
		case VEC_BP: code = CODE("int3"); break;
		}
		/* NT with a back link that is no TSS makes IRET raise #TS. */
		main_tss.t.link = rows[i].vector == VEC_TS ? SEL_DATA0 : 0;
		if (rows[i].vector == VEC_NM)
			write_cr0(read_cr0() | CR0_TS);
		if (rows[i].vector == VEC_NP)
			set_idt(rows[i].vector, SEL_DATA0, 0, ACC_INT, 0);
		else
			idt[rows[i].vector].attributes &= ~0x8000;
		format_text(name, sizeof(name), "double/%s", rows[i].name);
		T(name, rows[i].expected, RING0, code, .ax = rows[i].vector == VEC_SS ? S_ABSENT_DATA0 : S_ABSENT_DATA3,
		  .cx = 0, .dx = SEL_TSS, .si = 1000,
		  .flags = rows[i].vector == VEC_TS ? FLAG_FIXED | FLAG_NT : FLAG_FIXED);
		default_idt(rows[i].vector);
		write_cr0(read_cr0() & ~CR0_TS);
	}
	struct ctx c = TRY(RING0, CODE("mov $0x20000, %esp; movw $0x10, %ax; lss bad_stack, %esp; push %eax"));
	check("double/stack-fault-on-bad-stack", "#DF(0x0)+16", "%s", outcome(c));
}

const struct __attribute__((packed)) {
	u32 offset;
	u16 selector;
} bad_stack = {0x10000000, S_STACK16};

/* SDM vol. 2, "IRET/IRETD". */
static void iret(void)
{
	struct ctx c;

	T("iret/same", "ok", RING0, CODE("pushf; push %cs; push $1f; iret; 1:"));
	T("iret/null-cs", "#GP(0x0)+5", RING0, CODE("pushf; push $0; push $0; iret"));
	T("iret/data-cs", "#GP(0x10)+5", RING0, CODE("pushf; push $0x10; push $0; iret"));
	T("iret/absent-cs", "#NP(0x88)+8", RING0, CODE("pushf; push $0x88; push $0; iret"));
	T("iret/beyond-gdt", "#GP(0x7f0)+8", RING0, CODE("pushf; push $0x7f0; push $0; iret"));
	T("iret/beyond-limit", "#GP(0x0)+11", RING0, CODE("pushf; push $0x90; push $0x1000; iret"));
	T("iret/rpl-not-dpl", "#GP(0x8)+5", RING0, CODE("pushf; push $0xb; push $0; iret"));
	T("iret/outer-null-ss", "#GP(0x0)+9", RING0, CODE("push $0; push $0; pushf; push $0x23; push $0; iret"));
	T("iret/outer-ss-rpl", "#GP(0x28)+9", RING0, CODE("push $0x28; push $0; pushf; push $0x23; push $0; iret"));
	T("iret/outer-ss-dpl", "#GP(0x10)+9", RING0, CODE("push $0x13; push $0; pushf; push $0x23; push $0; iret"));
	/* The operation section says #SS(SS selector), the list of exceptions #NP(selector). */
	T("iret/outer-ss-absent", "#SS(0x98)+12|#NP(0x98)+12", RING0,
	  CODE("push $0x9b; push $0; pushf; push $0x23; push $0; iret"));
	T("iret3/to-inner", "#GP(0x8)+5", RING3, CODE("pushf; push $8; push $0; iret"));
	c = TRY(RING0, CODE("push $0x2b; push $0x1234; push $0x3202; push $0x23; push $1f; iret; 1: pushf"),
		.ds = SEL_DATA0, .es = SEL_DATA3, .fs = S_CONFORM, .gs = 0);
	check("iret/outer", "ok flags=3202 cs=23 ss=2b ds=0 es=28 fs=80", "%s flags=%x cs=%x ss=%x ds=%x es=%x fs=%x",
	      outcome(c), (u32)c.flags, (u32)c.cs, (u32)c.ss, (u32)c.ds, (u32)c.es, (u32)c.fs);
	c = TRY(RING3, CODE("push $0x3202; push %cs; push $1f; iret; 1: pushf; pop %eax"));
	check("iret3/keeps-iopl-and-if", "ok 2", "%s %x", outcome(c), (u32)c.ax);
	c = TRY(RING3, CODE("push $0x200; push %cs; push $1f; iret; 1: pushf; pop %eax"),
		.flags = FLAG_FIXED | FLAG_IOPL);
	check("iret3/iopl3-sets-if", "ok 3202", "%s %x", outcome(c), (u32)c.ax);
	c = TRY(RING3, CODE("push $0x20002; push %cs; push $1f; iret; 1: pushf; pop %eax"));
	check("iret3/vm-ignored", "ok 2", "%s %x", outcome(c), (u32)c.ax);
	c = TRY(RING0, CODE("push $0x247fd7 - 0x100 - 0x4000; push %cs; push $1f; iret; 1: pushf; pop %eax; cli"));
	check("iret/all-flags", "ok 243ed7", "%s %x", outcome(c), (u32)c.ax);
	c = TRY(RING0, CODE("push $0xffc0803a; push %cs; push $1f; iret; 1: pushf; pop %eax"));
	check("iret/reserved-flags", "ok 12", "%s %x", outcome(c), (u32)c.ax);
	memcpy((void *)0x7c00, (u8[]){0xcd, VECTOR_END}, 2);
	c = TRY(RING0, CODE("pushw $0x4ed7 - 0x4000 - 0x200; pushw $8; pushw $0x7c00; iretw"),
		.flags = FLAG_FIXED | FLAG_AC);
	check("iretw/keeps-upper-flags", "vector=128 ip=7c02 flags=40cd7", "vector=%u ip=%x flags=%x", (u32)c.vector,
	      (u32)c.ip, (u32)c.flags);
	/* SDM vol. 3, "Single-Step Exception Condition": the instruction after the one that sets TF runs first. */
	c = TRY(RING0, CODE("push $0x102; popf; nop; nop"));
	check("tf/popf", "#DB+7", "%s", outcome(c));
	c = TRY(RING0, CODE("push $0x102; push %cs; push $1f; iret; 1: nop; nop"));
	check("tf/iret", "#DB+13", "%s", outcome(c));
	/* SDM vol. 3, "Saved RF": faults push RF set, software interrupts push it clear. */
	c = TRY(RING0, CODE("ud2"));
	check("rf/fault", "#UD+0 rf=1", "%s rf=%u", outcome(c), (u32)c.flags >> 16 & 1);
	c = TRY(RING0, CODE("int3"));
	check("rf/int3", "#BP+1 rf=0", "%s rf=%u", outcome(c), (u32)c.flags >> 16 & 1);
	c = TRY(RING0, CODE("int $0x80"), .flags = FLAG_FIXED | FLAG_RF);
	check("rf/int-after-iret-with-rf", "ok rf=0", "%s rf=%u", outcome(c), (u32)c.flags >> 16 & 1);
	c = TRY(RING0, CODE("push $0x10002; popf; pushf; pop %eax"));
	check("rf/popf-cannot-set", "ok 2", "%s %x", outcome(c), (u32)c.ax);
}

/* One experiment with IRQ 0 pending; afterwards it is taken and ended. */
static struct ctx with_irq0(struct ctx c)
{
	raise_irq0();
	c = run(c);
	if (c.vector != 0x20)
		TRY(RING0, CODE("sti; nop; nop; nop; nop"));
	end_irq0();
	return c;
}
#define SHADOW(name, expected, body, ...) \
	check("shadow/" name, expected, "%s", outcome(with_irq0((struct ctx){RING0, .ip = CODE(body), ##__VA_ARGS__})))

/* SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks"; vol. 2, "STI", "MOV", "POP". */
static void shadow(void)
{
	virtual_wire();
	pic_mask(0xfe, 0xff);
	SHADOW("iret-no-shadow", "int 0x20+0", "nop", .flags = FLAG_FIXED | FLAG_IF);
	SHADOW("sti", "int 0x20+2", "sti; nop; nop");
	SHADOW("sti-cli", "ok", "sti; cli; nop");
	SHADOW("sti-hlt", "int 0x20+2", "sti; hlt; nop");
	SHADOW("sti-sti", "int 0x20+2", "sti; sti; nop; nop");
	SHADOW("sti-when-already-set", "int 0x20+0", "sti; nop", .flags = FLAG_FIXED | FLAG_IF);
	SHADOW("popf-no-shadow", "int 0x20+6", "push $0x202; popf; nop; nop");
	SHADOW("sti-mov-ss", "int 0x20+3|int 0x20+4", "sti; mov %eax, %ss; nop; nop", .ax = SEL_DATA0);
	SHADOW("sti-lss", "int 0x20+8", "sti; lss good_stack, %esp; nop; nop");
	SHADOW("sti-pop-ss", "int 0x20+3|int 0x20+4", "push %ss; sti; pop %ss; nop; nop; nop");
	SHADOW("sti-fault", "#UD+1", "sti; ud2");
	SHADOW("sti-rep", "int 0x20+3", "sti; rep stosb; nop; nop", .cx = 1, .di = 0x7000);
	SHADOW("jmp-after-sti", "int 0x20+5", "sti; jmp 1f; nop; nop; 1: nop; nop");
	SHADOW("hlt-wakes", "int 0x20+0|int 0x20+1", "hlt", .flags = FLAG_FIXED | FLAG_IF);
	/* REP with interrupts on: taken before the first or between iterations, EIP at the prefix, registers
	 * consistent. */
	raise_irq0();
	struct ctx c = TRY(RING0, CODE("sti; nop; rep stosb"), .cx = 1000, .di = 0x7000);
	check("shadow/rep-consistent", "int 0x20+2 sum=8000", "%s sum=%x", outcome(c),
	      (u32)(c.cx + c.di) + 0x1000 - 1000);
	end_irq0();
	/* An external interrupt whose delivery fails sets EXT, and stays acknowledged at the 8259. */
	idt[0x20].attributes &= ~0x8000;
	raise_irq0();
	c = TRY(RING0, CODE("sti; nop; nop"));
	default_idt(0x20);
	check("external/gate-absent", "#NP(0x103)+2 isr=1", "%s isr=%x", outcome(c), pic_isr(0x20));
	end_irq0();
	set_idt(0x20, SEL_DATA0, 0, ACC_INT, 0);
	raise_irq0();
	c = TRY(RING0, CODE("sti; nop; nop"));
	default_idt(0x20);
	check("external/data-target", "#GP(0x11)+2", "%s", outcome(c));
	end_irq0();
	/* DPL of the gate does not count for external interrupts; ring 3 gives way. */
	raise_irq0();
	c = TRY(RING3, CODE("1: jmp 1b"), .flags = FLAG_FIXED | FLAG_IF);
	check("external/from-ring3", "int 0x20+0 cs=23 if=1", "%s cs=%x if=%u", outcome(c), (u32)c.cs,
	      (u32)c.flags >> 9 & 1);
	end_irq0();
	pic_mask(0xff, 0xff);
	/* Blocking by MOV SS holds back a single-step trap; see debug.c for breakpoints. */
	T("shadow/mov-ss-holds-tf", "#DB+9", RING0, CODE("push $0x102; popf; mov %eax, %ss; nop; nop"),
	  .ax = SEL_DATA0);
}

const struct __attribute__((packed)) {
	u32 offset;
	u16 selector;
} good_stack = {(u32)ring0_stack_top - 64, SEL_DATA0};

/* NMI to itself, and a second one from inside the handler: blocked until IRET. SDM vol. 3, "Handling Multiple NMIs". */
asm(".text\n"
    "nmi_handler: incl nmi_count; cmpl $1, nmi_count; jne 1f; movl $0x400, 0xfee00300; mov $10000, %ecx; 2: loop 2b;"
    " movl nmi_count, %eax; movl %eax, nmi_count_in_handler; iret; 1: int $0x80\n");
extern u8 nmi_handler[];
u32 nmi_count, nmi_count_in_handler;

static void nmi(void)
{
	apic_write(APIC_ICR2, apic_read(APIC_ID));
	struct ctx c = TRY(RING0, CODE("movl $0x400, 0xfee00300; mov $10000, %ecx; 1: loop 1b"));
	check("nmi/with-if-clear", "vector 2", "vector %u", (u32)c.vector);
	set_idt(VEC_NMI, SEL_CODE0, (ulong)nmi_handler, ACC_INT, 0);
	TRY(RING0, CODE("movl $0x400, 0xfee00300; mov $10000, %ecx; 1: loop 1b"));
	check("nmi/blocked-until-iret", "in handler 1, in the end 2", "in handler %u, in the end %u",
	      nmi_count_in_handler, nmi_count);
	default_idt(VEC_NMI);
}

void chapter_main(void)
{
	set_descriptor(S_CODE1, 0, 0xfffff, 0xbb, SEG_D | SEG_G);
	set_descriptor(S_STACK1, 0, 0xfffff, 0xb3, SEG_D | SEG_G);
	set_descriptor(S_CONFORM, 0, 0xfffff, 0x9f, SEG_D | SEG_G);
	set_descriptor(S_ABSENT_CODE, 0, 0xfffff, 0x1b, SEG_D | SEG_G);
	set_descriptor(S_SHORT, 0, 0xfff, 0x9b, SEG_D);
	set_descriptor(S_ABSENT_DATA3, 0, 0xfffff, 0x73, SEG_D | SEG_G);
	set_descriptor(S_ABSENT_DATA0, 0, 0xfffff, 0x13, SEG_D | SEG_G);
	set_descriptor(S_STACK16, 0, 0xffff, ACC_DATA0, SEG_D);
	vectors();
	lock_prefix();
	gates();
	double_faults();
	iret();
	shadow();
	nmi();
}

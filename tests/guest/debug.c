/*
 * Debug registers and single-stepping, built for 32-bit and 64-bit mode.
 *
 * SDM vol. 3, "Debug, Branch Profile, TSC, ... Features": "Debug Registers", "Debug Exceptions", "Single-Stepping on
 * Branches". The task-switch trap is in task_switch.c.
 */
#include "guest.h"

#ifdef __x86_64__
const char chapter[] = "debug64";
#define AX_ "%rax"
#define CX_ "%rcx"
#define SI_ "%rsi"
#define SP_ "%rsp"
#else
const char chapter[] = "debug";
#define AX_ "%eax"
#define CX_ "%ecx"
#define SI_ "%esi"
#define SP_ "%esp"
#endif

enum { EXEC = 0, WRITE = 1, IO = 2, ACCESS = 3 };
enum { LEN1 = 0, LEN2 = 1, LEN8 = 2, LEN4 = 3 };
#define BP(n, rw, len) (2ul << (n)*2 | (ulong)(rw) << (16 + (n)*4) | (ulong)(len) << (18 + (n)*4))
#define DR6_CLEAR      0xffff0ff0ul
#define DR7_CLEAR      0x400ul

/* A run with these debug registers; DR6 is what the experiment left, without its fixed bits. */
static struct ctx with_dr(ulong dr0, ulong dr1, ulong dr7, struct ctx c)
{
	write_dr6(DR6_CLEAR);
	write_dr0(dr0);
	write_dr1(dr1);
	write_dr7(DR7_CLEAR | dr7);
	c = run(c);
	write_dr7(DR7_CLEAR);
	return c;
}

static const char *seen(struct ctx c)
{
	static char text[64];

	/* B0-B3, BD, BS, BT. */
	return format_text(text, sizeof(text), "%s dr6=%x", outcome(c), (u32)c.dr6 & 0xe00f);
}
#define D(name, expected, dr0, dr1, dr7, code, ...) \
	check(name, expected, "%s",                 \
	      seen(with_dr((ulong)(dr0), (ulong)(dr1), dr7, (struct ctx){RING0, .ip = (code), ##__VA_ARGS__})))

u8 cell[256] __attribute__((aligned(64)));
u16 stack_selector = SEL_DATA0;

/* SDM vol. 3, "Instruction-Breakpoint Exception Condition": a fault, before the instruction. */
static void instruction_breakpoints(void)
{
	ulong nops = CODE("nop; nop; nop"), bad = CODE("nop; ud2"), store = CODE("movb $1, cell; nop");
	struct ctx c;

	D("exec/fault-before", "#DB+1 dr6=1", nops + 1, 0, BP(0, EXEC, LEN1), nops);
	D("exec/first-instruction", "#DB+0 dr6=1", nops, 0, BP(0, EXEC, LEN1), nops);
	D("exec/iret-with-rf-skips-one", "#DB+2 dr6=2", nops, nops + 2, BP(0, EXEC, LEN1) | BP(1, EXEC, LEN1), nops,
	  .flags = FLAG_FIXED | FLAG_RF);
	D("exec/disabled", "ok dr6=0", nops, 0, BP(0, EXEC, LEN1) & ~3ul, nops);
	D("exec/local-enable", "#DB+1 dr6=1", nops + 1, 0, 1, nops);
	D("exec/two-match", "#DB+1 dr6=3", nops + 1, nops + 1, BP(0, EXEC, LEN1) | BP(1, EXEC, LEN1), nops);
	D("exec/before-ud", "#DB+1 dr6=1", bad + 1, 0, BP(0, EXEC, LEN1), bad);
	D("exec/middle-of-instruction", "ok dr6=0", store + 1, 0, BP(0, EXEC, LEN1), store);
	D("exec/data-access-no-match", "ok dr6=0", cell, 0, BP(0, EXEC, LEN1), store);
	c = with_dr(nops + 1, 0, BP(0, EXEC, LEN1), (struct ctx){RING0, .ip = nops});
	/* "Saved RF": an instruction breakpoint is the one fault that does not set it. */
	check("exec/rf-not-pushed", "rf=0", "rf=%u", (u32)c.flags >> 16 & 1);
	c = with_dr(nops + 1, 0, BP(0, EXEC, LEN1), (struct ctx){RING3, .ip = nops});
	check("exec/ring3", "#DB+1 dr6=1 cpl=3", "%s cpl=%u", seen(c), (u32)c.cs & 3);
	write_dr6(0xffff0ff8);
	write_dr0(nops + 1);
	write_dr7(DR7_CLEAR | BP(0, EXEC, LEN1));
	c = run((struct ctx){RING0, .ip = nops});
	write_dr7(DR7_CLEAR);
	check("dr6/never-cleared-by-processor", "#DB+1 dr6=9|#DB+1 dr6=1", "%s", seen(c));
}

/* SDM vol. 3, "Data Memory and I/O Breakpoint Exception Conditions": traps, after the instruction. */
static void data_breakpoints(void)
{
	D("data/write", "#DB+8 dr6=1|#DB+7 dr6=1", cell, 0, BP(0, WRITE, LEN1), CODE("movb $1, cell; nop"));
	D("data/read-by-write-bp", "ok dr6=0", cell, 0, BP(0, WRITE, LEN1), CODE("mov $cell, %esi; movb (%esi), %al"));
	D("data/read-by-access-bp", "#DB+2 dr6=1|#DB+3 dr6=1", cell, 0, BP(0, ACCESS, LEN1),
	  CODE("movb (" SI_ "), %al; nop"), .si = (ulong)cell);
	D("data/dword-covers", "#DB+2 dr6=1", cell + 3, 0, BP(0, WRITE, LEN1), CODE("movl %eax, (" SI_ "); nop"),
	  .si = (ulong)cell);
	D("data/byte-in-dword", "#DB+2 dr6=1", cell, 0, BP(0, WRITE, LEN4), CODE("movb %al, (" SI_ "); nop"),
	  .si = (ulong)cell + 3);
	D("data/byte-after", "ok dr6=0", cell, 0, BP(0, WRITE, LEN4), CODE("movb %al, (" SI_ "); nop"),
	  .si = (ulong)cell + 4);
	D("data/length-2", "#DB+2 dr6=1", cell + 2, 0, BP(0, WRITE, LEN2), CODE("movb %al, (" SI_ "); nop"),
	  .si = (ulong)cell + 3);
	D("data/address-low-bits-ignored", "#DB+2 dr6=1", cell + 3, 0, BP(0, WRITE, LEN4),
	  CODE("movb %al, (" SI_ "); nop"), .si = (ulong)cell);
	D("data/two-match", "#DB+2 dr6=3", cell, cell + 2, BP(0, WRITE, LEN1) | BP(1, ACCESS, LEN2),
	  CODE("movl %eax, (" SI_ "); nop"), .si = (ulong)cell);
	D("data/read-modify-write", "#DB+2 dr6=1", cell, 0, BP(0, WRITE, LEN1), CODE("incb (" SI_ "); nop"),
	  .si = (ulong)cell);
	D("data/push", IS_64 ? "#DB+4 dr6=1" : "#DB+3 dr6=1", cell + 200, 0, BP(0, WRITE, LEN4),
	  CODE("mov " SI_ ", " SP_ "; push " AX_ "; nop"), .si = (ulong)cell + 200 + sizeof(ulong));
	D("data/fetch-is-no-access", "ok dr6=0", CODE("nop"), 0, BP(0, ACCESS, LEN1), CODE("nop"));
	D("data/faulting-instruction", "#GP(0x38)+4 dr6=0|#GP(0x38)+4 dr6=1", cell, 0, BP(0, ACCESS, LEN1),
	  CODE("mov $0x38, %ax; mov %ax, %ds; movb %al, (" SI_ ")"), .si = (ulong)cell);
#ifdef __x86_64__
	D("data/length-8", "#DB+2 dr6=1", cell, 0, BP(0, WRITE, LEN8), CODE("movb %al, (%rsi); nop"),
	  .si = (ulong)cell + 7);
#endif
	struct ctx c = with_dr((ulong)cell + 2, 0, BP(0, WRITE, LEN1),
			       (struct ctx){RING0, .ip = CODE("rep stosb; nop"), .cx = 8, .di = (ulong)cell});
	check("data/rep-between-iterations", "#DB+0 dr6=1 cx=5", "%s cx=%u", seen(c), (u32)c.cx);
	c = with_dr((ulong)cell + 7, 0, BP(0, WRITE, LEN1),
		    (struct ctx){RING0, .ip = CODE("rep stosb; nop"), .cx = 8, .di = (ulong)cell});
	check("data/rep-last-iteration", "#DB+2 dr6=1 cx=0|#DB+0 dr6=1 cx=0", "%s cx=%u", seen(c), (u32)c.cx);
	c = with_dr((ulong)cell, 0, BP(0, WRITE, LEN1),
		    (struct ctx){RING3, .ip = CODE("movb %al, (" SI_ "); nop"), .si = (ulong)cell});
	check("data/ring3", "#DB+2 dr6=1 rf=0", "%s rf=%u", seen(c), (u32)c.flags >> 16 & 1);
	write_cr4(read_cr4() | CR4_DE);
	D("io/in", "#DB+2 dr6=1", 0x80, 0, BP(0, IO, LEN1), CODE("in $0x80, %al; nop"));
	D("io/out", "#DB+2 dr6=1", 0x80, 0, BP(0, IO, LEN1), CODE("out %al, $0x80; nop"));
	D("io/other-port", "ok dr6=0", 0x81, 0, BP(0, IO, LEN1), CODE("in $0x80, %al; nop"));
	D("io/word-covers", "#DB+3 dr6=1", 0x81, 0, BP(0, IO, LEN1), CODE("in $0x80, %ax; nop"));
	D("io/memory-at-port-address", "ok dr6=0", cell, 0, BP(0, IO, LEN1), CODE("movb (" SI_ "), %al"),
	  .si = (ulong)cell);
	write_cr4(read_cr4() & ~CR4_DE);
}

/* SDM vol. 3, "Single-Step Exception Condition". */
static void single_step(void)
{
	struct ctx c;

	D("tf/nop", "#DB+1 dr6=4000", 0, 0, 0, CODE("nop; nop"), .flags = FLAG_FIXED | FLAG_TF);
	D("tf/taken-branch", "#DB+4 dr6=4000", 0, 0, 0, CODE("jmp 1f; nop; nop; 1: nop"),
	  .flags = FLAG_FIXED | FLAG_TF);
	/* Branches that have run many times, to code that has: an engine may have joined them. */
	ulong jump = CODE("jmp 1f; nop; nop; 1: nop"), indirect = CODE("jmp *" AX_ "; nop; nop"),
	      back = CODE("ret; nop; nop");
	u8 *const end = ring0_stack_top - 64;
	for (int n = 0; n < 10; n++) {
		(void)TRY(RING0, jump);
		(void)TRY(RING0, indirect, .ax = indirect + 3);
		*(ulong *)end = back + 2;
		(void)TRY(RING0, back, .sp = (ulong)end);
	}
	D("tf/taken-branch-run-before", "#DB+4 dr6=4000", 0, 0, 0, jump, .flags = FLAG_FIXED | FLAG_TF);
	D("tf/indirect-branch-run-before", "#DB+3 dr6=4000", 0, 0, 0, indirect, .ax = indirect + 3,
	  .flags = FLAG_FIXED | FLAG_TF);
	*(ulong *)end = back + 2;
	D("tf/ret-run-before", "#DB+2 dr6=4000", 0, 0, 0, back, .sp = (ulong)end, .flags = FLAG_FIXED | FLAG_TF);
	D("tf/fault-wins", "#UD+0 dr6=0", 0, 0, 0, CODE("ud2"), .flags = FLAG_FIXED | FLAG_TF);
	D("tf/rep-per-iteration", "#DB+0 dr6=4000", 0, 0, 0, CODE("rep stosb; nop"), .flags = FLAG_FIXED | FLAG_TF,
	  .cx = 3, .di = (ulong)cell);
	D("tf/rep-last-iteration", "#DB+2 dr6=4000|#DB+0 dr6=4000", 0, 0, 0, CODE("rep stosb; nop"),
	  .flags = FLAG_FIXED | FLAG_TF, .cx = 1, .di = (ulong)cell);
	D("tf/rep-zero", "#DB+2 dr6=4000", 0, 0, 0, CODE("rep stosb; nop"), .flags = FLAG_FIXED | FLAG_TF, .cx = 0,
	  .di = (ulong)cell);
	D("tf/int-enters-without-trap", "ok dr6=0", 0, 0, 0, CODE("int $0x80"), .flags = FLAG_FIXED | FLAG_TF);
	D("tf/popf-clears", "#DB+1 dr6=4000", 0, 0, 0, CODE("popf; nop"), .flags = FLAG_FIXED | FLAG_TF,
	  .sp = (ulong)ring0_stack_top - 64);
	D("tf/mov-ss-delays", "#DB+3 dr6=4000", 0, 0, 0, CODE("mov %eax, %ss; nop; nop"), .flags = FLAG_FIXED | FLAG_TF,
	  .ax = SEL_DATA0);
	D("tf/iret-to-ring3", "#DB+1 dr6=4000", 0, 0, 0, CODE("nop; nop"), RING3, .flags = FLAG_FIXED | FLAG_TF);
	c = TRY(RING0, CODE("pushf; nop"), .flags = FLAG_FIXED | FLAG_TF);
	check("tf/pushf-sees-tf", "#DB+1 102", "%s %x", outcome(c), *(u32 *)c.sp);
	c = TRY(RING0, CODE("rep stosb; nop"), .flags = FLAG_FIXED | FLAG_TF, .cx = 3, .di = (ulong)cell);
	/* "Saved RF": set for a trap between iterations, so that an instruction breakpoint does not hit again. */
	check("tf/rep-pushes-rf", "#DB+0 rf=1 cx=2", "%s rf=%u cx=%u", outcome(c), (u32)c.flags >> 16 & 1, (u32)c.cx);
	c = TRY(RING0, CODE("nop; nop"), .flags = FLAG_FIXED | FLAG_TF);
	check("tf/trap-pushes-no-rf", "#DB+1 rf=0 tf=1", "%s rf=%u tf=%u", outcome(c), (u32)c.flags >> 16 & 1,
	      (u32)c.flags >> 8 & 1);
	/* Both at once: the trap of the previous instruction comes with BS; B0 may be reported with it. */
	ulong nops = CODE("nop; nop; nop");
	D("tf/with-breakpoint-on-next", "#DB+1 dr6=4000|#DB+1 dr6=4001", nops + 1, 0, BP(0, EXEC, LEN1), nops,
	  .flags = FLAG_FIXED | FLAG_TF);
	D("tf/with-data-breakpoint", "#DB+2 dr6=4001", cell, 0, BP(0, WRITE, LEN1), CODE("movb %al, (" SI_ "); nop"),
	  .si = (ulong)cell, .flags = FLAG_FIXED | FLAG_TF);
	/* A data breakpoint on the load of SS is held back over the next instruction. */
	D("mov-ss/data-breakpoint-held", "#DB+3 dr6=1|#DB+4 dr6=1", &stack_selector, 0, BP(0, ACCESS, LEN2),
	  CODE("mov (" SI_ "), %ss; nop; nop"), .si = (ulong)&stack_selector);
	if (!cpu_has(1, 0, 3, 11)) /* SYSENTER's bit stands for a P6-class DEBUGCTL */
		return;
	c = TRY(RING0, CODE("wrmsr; rdmsr"), .cx = MSR_DEBUGCTL, .ax = 2, .dx = 0);
	if (c.vector != VECTOR_END || !(c.ax & 2)) {
		absent("btf");
		return;
	}
	D("btf/branches-only", "#DB+6 dr6=4000", 0, 0, 0, CODE("nop; nop; jmp 1f; nop; nop; 1: nop; nop"),
	  .flags = FLAG_FIXED | FLAG_TF);
	check("btf/cleared-by-db", "0", "%x", (u32)rdmsr(MSR_DEBUGCTL) & 2);
	wrmsr(MSR_DEBUGCTL, 2);
	D("btf/not-taken-is-no-branch", "#DB+6 dr6=4000", 0, 0, 0, CODE("xor %eax, %eax; jne 1f; jmp 1f; 1: nop; nop"),
	  .flags = FLAG_FIXED | FLAG_TF);
	wrmsr(MSR_DEBUGCTL, 0);
}

/* SDM vol. 3, "Debug Registers" themselves. */
static void registers(void)
{
	struct ctx c;
	ulong dr7 = DR7_CLEAR;

	write_dr6(0);
	check("dr6/fixed-bits-zero", "ffff0ff0", "%lx", read_dr6());
	write_dr6(0xffffffff);
	check("dr6/fixed-bits-one", "ffffefff", "%lx", read_dr6());
	write_dr7(0);
	check("dr7/fixed-bits-zero", "400", "%lx", read_dr7());
	write_dr7(0xff);
	check("dr7/bit-10-reads-one", "4ff", "%lx", read_dr7());
	write_dr7(dr7);
	D("gd/mov-from-dr", "#DB+0 dr6=2000", 0, 0, 1 << 13, CODE("mov %dr0, " AX_));
	D("gd/mov-to-dr", "#DB+0 dr6=2000", 0, 0, 1 << 13, CODE("mov " AX_ ", %dr3"));
	write_dr7(DR7_CLEAR | 1 << 13);
	TRY(RING0, CODE("mov %dr0, " AX_));
	check("gd/cleared-by-db", "400", "%lx", read_dr7());
	c = with_dr(0, 0, 1 << 13, (struct ctx){RING3, .ip = CODE("mov %dr0, " AX_)});
	/* Privilege counts first. Then the handler's own read of DR6, in ring 0, is what GD catches. */
	check("gd/ring3", "#GP(0x0)+0 dr6=0|#DB+0 dr6=2000|#DB@elsewhere dr6=2000", "%s", seen(c));
	D("int1/trap-no-bits", "#DB+1 dr6=0", 0, 0, 0, CODE(".byte 0xf1; nop"));
	D("int-1/software", "#DB+2 dr6=0", 0, 0, 0, CODE("int $1; nop"));
	/* DR4 and DR5 are DR6 and DR7 while CR4.DE is clear. */
	write_dr6(DR6_CLEAR);
	c = TRY(RING0, CODE(".byte 0x0f, 0x21, 0xe0; mov " AX_ ", " CX_ "; .byte 0x0f, 0x21, 0xe8"));
	check("dr4-dr5/alias", "ok dr4=ffff0ff0 dr5=400", "%s dr4=%lx dr5=%lx", outcome(c), c.cx, c.ax);
	write_cr4(read_cr4() | CR4_DE);
	T("dr4/ud-with-de", "#UD+0", RING0, CODE(".byte 0x0f, 0x21, 0xe0"));
	T("dr5/ud-with-de", "#UD+0", RING0, CODE(".byte 0x0f, 0x23, 0xe8"));
	write_cr4(read_cr4() & ~CR4_DE);
#ifdef __x86_64__
	T("dr7/upper-half", "#GP(0x0)+0", RING0, CODE("mov %rax, %dr7"), .ax = 0x100000400);
	T("dr6/upper-half", "#GP(0x0)+0", RING0, CODE("mov %rax, %dr6"), .ax = 0x1ffff0ff0);
	T("dr0/any-address", "ok|#GP(0x0)+0", RING0, CODE("mov %rax, %dr0"), .ax = 0x1234567800000000);
	c = TRY(RING0, CODE("mov %rax, %dr1; mov %dr1, %rcx"), .ax = 0x00007fff12345678);
	check("dr1/64-bits", "ok 7fff12345678", "%s %lx", outcome(c), c.cx);
	write_dr1(0);
#endif
}

void chapter_main(void)
{
	instruction_breakpoints();
	data_breakpoints();
	single_step();
	registers();
}

/*
 * IA-32e mode: compatibility mode, SYSCALL and SYSENTER, SWAPGS and the FS/GS bases, far transfers, 64-bit call gates,
 * leaving and entering the mode.
 *
 * SDM vol. 3, "IA-32e Mode Operation", "Fast System Calls"; vol. 2, "SYSCALL", "SYSRET", "SYSENTER", "SYSEXIT",
 * "SWAPGS", "CALL", "JMP", "RET". IRET is in interrupts64.c.
 */
#include "guest.h"

const char chapter[] = "long_mode";

enum {
	S_GATE = SEL_TEST,
	S_GATE32 = SEL_TEST + 16,
	S_LD = SEL_TEST + 32,
	S_DATA_BASED = SEL_TEST + 40,
	S_CONFORM = SEL_TEST + 48,
	S_ABSENT = SEL_TEST + 56,
	S_CODE16 = SEL_TEST + 64,
	S_BASED_CODE32 = SEL_TEST + 72
};

static void gate64(u16 sel, u16 target, ulong offset, u8 access)
{
	gdt[sel / 8] = gate_descriptor(target, offset, access, 0);
	gdt[sel / 8 + 1] = offset >> 32;
}

static void compatibility(void)
{
	struct ctx c;

	c = TRY(RING3_32, CODE32("mov $-1, %eax; mov %eax, %ecx; inc %ecx; push $0x1234; pop %edx"), .cx = 0,
		.sp = (ulong)ring3_stack_top);
	check("compat/32-bit-operation", "ok rax=ffffffff rcx=0 rdx=1234", "%s rax=%lx rcx=%lx rdx=%lx", outcome(c),
	      c.ax, c.cx, c.dx);
	c = TRY(RING3_32, CODE32(".byte 0x40; mov %ds, %ecx"), .ax = 7);
	check("compat/40-is-inc", "ok eax=8", "%s eax=%lx", outcome(c), c.ax & 0xffffffff);
	T("compat/into", "#OF+1", RING3_32, CODE32("into"), .flags = FLAG_FIXED | FLAG_OF);
	T("compat/bound", "#BR+0", RING3_32, CODE32("bound %eax, 0x100000"), .ax = -2147483647);
	T("compat/syscall-off-ud", "#UD+0", RING3_32, CODE32(".byte 0x0f, 5"));
	set_descriptor(S_DATA_BASED, 0x100000, 0xfff, ACC_DATA3, SEG_D);
	T("compat/segment-limit", "#GP(0x0)+0", RING3_32, CODE32("movb %fs:0x1000, %al"), .fs = S_DATA_BASED | 3);
	T("compat/segment-within", "ok", RING3_32, CODE32("movb %fs:0xfff, %al"), .fs = S_DATA_BASED | 3);
	T("64/ds-limit-ignored", "ok", RING3, CODE("movb %ds:0x200000, %al"), .ds = S_DATA_BASED | 3);
	T("64/null-ds-usable", "ok", RING3, CODE("movb (%rbx), %al"), .ds = 0, .bx = 0x100000);
	c = TRY(RING0, CODE("mov $0x98, %eax; mov %eax, %fs; movb %fs:0xfffff, %al; mov $0xc0000100, %ecx; rdmsr"));
	check("64/fs-base-from-descriptor", "ok 100000", "%s %lx", outcome(c), c.ax | c.dx << 32);
	c = TRY(RING3_32, CODE32("mov $0x100000, %eax; movl (%eax), %ecx"));
	check("compat/flat-data", "ok 1", "%s %u", outcome(c), (u32)c.cx == *(u32 *)0x100000);
	set_descriptor(S_CODE16, 0, 0xffff, 0xfb, 0);
	*(u32 *)0x7c00 = 0x80cd5058; /* pop %ax; push %ax */
	c = TRY(RING3_32, 0x7c00, .cs = S_CODE16 | 3, .sp = 0x7000);
	check("compat/16-bit-code", "ok sp=7000", "%s sp=%lx", outcome(c), c.sp);
	/* The upper halves of registers survive a visit to compatibility mode at least as zero or unchanged; 64-bit
	 * code again. */
	c = TRY(RING0,
		CODE("lea 1f(%rip), %rax; push $0x18; push %rax; lretq\n.code32\n1: mov $5, %ecx; ljmp $8, "
		     "$2f\n.code64\n2: mov %cs, %edx"),
		.sp = (ulong)ring0_stack_top - 64);
	check("switch/64-to-32-to-64", "ok 5 cs=8", "%s %lx cs=%x", outcome(c), c.cx, (u32)c.dx);
}

static void far_transfers(void)
{
	static struct __attribute__((packed)) {
		u64 offset;
		u16 selector;
	} far64;
	static struct __attribute__((packed)) {
		u32 offset;
		u16 selector;
	} far32;
	struct ctx c;

	set_descriptor(S_LD, 0, 0xfffff, 0x9b, SEG_G | SEG_L | SEG_D);
	set_descriptor(S_CONFORM, 0, 0xfffff, 0x9f, SEG_G | SEG_L);
	set_descriptor(S_ABSENT, 0, 0xfffff, 0x1b, SEG_G | SEG_L);
#define TO(sel, where) \
	(far64.selector = (sel), far64.offset = (where), far32.selector = (sel), far32.offset = (u32)(where))
	ulong jmp64 = CODE("rex.w ljmp *(%rbx)"), jmp32 = CODE("ljmp *(%rbx)"), call64 = CODE("rex.w lcall *(%rbx)"),
	      call32 = CODE("lcall *(%rbx)");
	ulong end = CODE("nop");

	TO(SEL_CODE0, end);
	c = TRY(RING0, jmp64, .bx = (ulong)&far64);
	check("jmp/m16-64", "vector=128 there=1", "vector=%u there=%u", (u32)c.vector, c.ip == end + 3);
	c = TRY(RING0, jmp32, .bx = (ulong)&far32);
	check("jmp/m16-32", "vector=128 there=1", "vector=%u there=%u", (u32)c.vector, c.ip == end + 3);
	c = TRY(RING0, call64, .bx = (ulong)&far64);
	check("call/m16-64-pushes-16-bytes", "vector=128 16 cs=8 rip+3", "vector=%u %u cs=%lx rip+%u", (u32)c.vector,
	      (u32)((ulong)ring0_stack_top - c.sp), ((u64 *)c.sp)[1] & 0xffff, (u32)(((u64 *)c.sp)[0] - c.start));
	c = TRY(RING0, call32, .bx = (ulong)&far32);
	check("call/m16-32-pushes-8-bytes", "vector=128 8 cs=8 rip+2", "vector=%u %u cs=%x rip+%u", (u32)c.vector,
	      (u32)((ulong)ring0_stack_top - c.sp), ((u32 *)c.sp)[1] & 0xffff, (u32)(((u32 *)c.sp)[0] - (u32)c.start));
	TO(SEL_CODE0, 0x800000000000);
	T("jmp/not-canonical", "#GP(0x0)+0", RING0, jmp64, .bx = (ulong)&far64);
	T("call/not-canonical", "#GP(0x0)+0", RING0, call64, .bx = (ulong)&far64);
	TO(S_LD, end);
	T("jmp/l-and-d-set", "#GP(0x90)+0", RING0, jmp32, .bx = (ulong)&far32);
	TO(0, end);
	T("jmp/null", "#GP(0x0)+0", RING0, jmp32, .bx = (ulong)&far32);
	TO(S_ABSENT, end);
	T("jmp/absent", "#NP(0xa8)+0", RING0, jmp32, .bx = (ulong)&far32);
	TO(SEL_TSS, 0);
	T("jmp/tss", "#GP(0x38)+0", RING0, jmp32, .bx = (ulong)&far32);
	gdt[S_GATE / 8] = gate_descriptor(SEL_TSS, 0, ACC_TASK_GATE, 0);
	TO(S_GATE, 0);
	T("jmp/task-gate", "#GP(0x70)+0", RING0, jmp32, .bx = (ulong)&far32);
	T("lret/not-canonical", "#GP(0x0)+4", RING0, CODE("push $8; push %rbx; .byte 0x90; rex.w lret"),
	  .bx = 0x800000000000);
	T("lret/null", "#GP(0x0)+3", RING0, CODE("push $0; push %rbx; rex.w lret"), .bx = end);
	c = TRY(RING0, CODE("push $0x2b; push $0x5678; push $0x33; push %rbx; rex.w lret"), .bx = end);
	check("lret/to-ring3-64", "vector=128 cs=33 rsp=5678 ss=2b", "vector=%u cs=%x rsp=%lx ss=%x", (u32)c.vector,
	      (u32)c.cs, c.sp, (u32)c.ss);
	c = TRY(RING0, CODE("push $0; push $0x5678; push $0x33; push %rbx; rex.w lret"), .bx = end);
	check("lret/null-ss-to-ring3", "vector=13 error=0", "vector=%u error=%lx", (u32)c.vector, c.error);

	/* 64-bit call gates: 16 bytes, type 0xc, target must be 64-bit code; SS:RSP, CS:RIP pushed as eight bytes each,
	 * no copy. */
	ulong look = CODE("pop %rax; pop %rcx; pop %rdx; pop %rsi");
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL | ACC_DPL3);
	TO(S_GATE | 3, 0);
	c = TRY(RING3, call32, .bx = (ulong)&far32, .sp = 0x1234567890);
	check("gate/from-ring3", "vector=128 rip+2 cs=33 rsp=1234567890 ss=2b cs=8 ss=0",
	      "vector=%u rip+%u cs=%lx rsp=%lx ss=%lx cs=%x ss=%x", (u32)c.vector, (u32)(c.ax - c.start), c.cx, c.dx,
	      c.si, (u32)c.cs, (u32)c.ss);
	c = TRY(RING3_32, CODE32("lcall $0x73, $0"), .sp = 0x5678);
	check("gate/from-compatibility-mode", "vector=128 rip+7 cs=23 rsp=5678 cs=8",
	      "vector=%u rip+%u cs=%lx rsp=%lx cs=%x", (u32)c.vector, (u32)(c.ax - c.start), c.cx, c.dx, (u32)c.cs);
	TO(S_GATE, 0);
	c = TRY(RING0, call32, .bx = (ulong)&far32);
	check("gate/same-privilege", "vector=128 rip+2 cs=8 sp+16", "vector=%u rip+%u cs=%lx sp+%d", (u32)c.vector,
	      (u32)(c.ax - c.start), c.cx, (int)(c.sp - (ulong)ring0_stack_top));
	c = TRY(RING0, jmp32, .bx = (ulong)&far32, .sp = (ulong)ring0_stack_top - 64);
	check("gate/jmp", "vector=128 cs=8", "vector=%u cs=%x", (u32)c.vector, (u32)c.cs);
	gate64(S_GATE, SEL_CODE0_32, look, ACC_CALL | ACC_DPL3);
	T("gate/32-bit-target", "#GP(0x18)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, 0, look, ACC_CALL | ACC_DPL3);
	T("gate/null-target", "#GP(0x0)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, 0x800000000000, ACC_CALL | ACC_DPL3);
	T("gate/target-not-canonical", "#GP(0x0)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL);
	TO(S_GATE | 3, 0);
	T("gate/dpl", "#GP(0x70)+0", RING3, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL & 0x7f);
	TO(S_GATE, 0);
	T("gate/absent", "#NP(0x70)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL16);
	T("gate/16-bit-type", "#GP(0x70)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL);
	gdt[S_GATE / 8 + 1] |= 0x1full << 40; /* the upper descriptor's type must be 0 */
	T("gate/upper-type-not-0", "#GP(0x70)+0", RING0, call32, .bx = (ulong)&far32);
	gate64(S_GATE, SEL_CODE0, look, ACC_CALL | ACC_DPL3);
	ulong rsp0 = main_tss.t.rsp[0];
	main_tss.t.rsp[0] = 0x800000000000;
	TO(S_GATE | 3, 0);
	main_tss.t.ist[1] = rsp0;
	set_idt(VEC_SS, SEL_CODE0, (ulong)(uintptr_t)CODE("pop %rax"), ACC_INT, 2);
	c = TRY(RING3, CODE("lcall *(%rbx)"), .bx = (ulong)&far32);
	default_idt(VEC_SS);
	main_tss.t.rsp[0] = rsp0;
	check("gate/rsp0-not-canonical", "ok error=0", "%s error=%lx", outcome(c), c.ax);
}

static void syscall_sysret(void)
{
	struct ctx c;
	ulong entry = CODE("mov %rsp, %rax");
	T("syscall/sce-clear", "#UD+0", RING3, CODE("syscall"));
	T("sysret/sce-clear", "#UD+0", RING0, CODE("sysretq"));
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	wrmsr(MSR_STAR, (u64)(SEL_CODE3 | 3) << 48 | (u64)SEL_CODE0 << 32);
	wrmsr(MSR_LSTAR, entry);
	wrmsr(MSR_CSTAR, entry);
	wrmsr(MSR_FMASK, FLAG_IF | FLAG_TF | FLAG_DF | FLAG_NT);
	c = TRY(RING3, CODE("syscall"), .flags = FLAG_FIXED | FLAG_IF | FLAG_DF | FLAG_CF | FLAG_AC, .sp = 0x123456);
	check("syscall/state", "vector=128 cs=8 ss=10 rcx=+2 r11=40603 flags=40003 rsp=123456",
	      "vector=%u cs=%x ss=%x rcx=+%d r11=%lx flags=%lx rsp=%lx", (u32)c.vector, (u32)c.cs, (u32)c.ss,
	      (int)(c.cx - c.start), c.r11, c.flags, c.ax);
	c = TRY(RING0, CODE("syscall"));
	check("syscall/from-ring0", "vector=128 cs=8", "vector=%u cs=%x", (u32)c.vector, (u32)c.cs);
	wrmsr(MSR_FMASK, 0x10000 | FLAG_AC);
	c = TRY(RING3, CODE("syscall"), .flags = FLAG_FIXED | FLAG_AC | FLAG_ZF);
	check("syscall/fmask-ac", "flags=42 r11=40042", "flags=%lx r11=%lx", c.flags, c.r11);
	/* SYSRET. RCX is where to, R11 the flags. */
	ulong end = CODE("mov %cs, %eax; mov %ss, %ebx"), end32 = CODE32("mov %cs, %eax; mov %ss, %ebx");
	c = TRY(RING0, CODE("sysretq"), .cx = end, .r11 = 0x3202 | FLAG_CF | 0x20000 | FLAG_RF, .sp = 0x7777);
	check("sysret/64", "vector=128 cs=33 ss=2b flags=3203 rsp=7777", "vector=%u cs=%x ss=%x flags=%lx rsp=%lx",
	      (u32)c.vector, (u32)c.cs, (u32)c.ss, c.flags, c.sp);
	c = TRY(RING0, CODE("sysretl"), .cx = end32 | 0xabcdull << 32, .r11 = 2);
	check("sysret/32", "vector=128 cs=23 ss=2b", "vector=%u cs=%x ss=%x", (u32)c.vector, (u32)c.cs, (u32)c.ss);
	T("sysret/rcx-not-canonical", "#GP(0x0)+0", RING0, CODE("sysretq"), .cx = 0x800000000000, .r11 = 2);
	T("sysret/ring3", "#GP(0x0)+0", RING3, CODE("sysretq"), .cx = end, .r11 = 2);
	wrmsr(MSR_STAR, (u64)SEL_CODE3 << 48 | (u64)SEL_CODE0 << 32);
	c = TRY(RING0, CODE("sysretq"), .cx = end, .r11 = 2);
	check("sysret/rpl-forced-to-3", "cs=33 ss=2b", "cs=%x ss=%x", (u32)c.cs, (u32)c.ss);
	T("syscall/compatibility-mode-ud", "#UD+0", RING3_32, CODE32(".byte 0x0f, 5"));
	/* With TF masked there is no single-step trap after SYSCALL. */
	wrmsr(MSR_FMASK, FLAG_TF);
	c = TRY(RING3, CODE("syscall; nop"), .flags = FLAG_FIXED | FLAG_TF);
	check("syscall/tf-masked-no-trap", "vector=128 r11.tf=1", "vector=%u r11.tf=%u", (u32)c.vector,
	      (u32)c.r11 >> 8 & 1);
	/* LSTAR and CSTAR take canonical addresses only. */
	T("lstar/not-canonical", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_LSTAR, .ax = 0, .dx = 1 << 24);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(u64)EFER_SCE);
}

static void sysenter_sysexit(void)
{
	struct ctx c;
	ulong entry = CODE("mov %rsp, %rax");

	if (!HAS_SEP) {
		absent("sysenter");
		return;
	}
	wrmsr(MSR_SYSENTER_CS, 0);
	T("sysenter/cs-null", "#GP(0x0)+0", RING3, CODE("sysenter"));
	T("sysexit/cs-null", "#GP(0x0)+0", RING0, CODE("sysexitl"), .cx = 0x7000, .dx = entry);
	wrmsr(MSR_SYSENTER_CS, 3);
	T("sysenter/cs-null-rpl3", "#GP(0x0)+0", RING3, CODE("sysenter"));
	wrmsr(MSR_SYSENTER_CS, SEL_CODE0 | 3);
	wrmsr(MSR_SYSENTER_ESP, (ulong)ring0_stack_top - 128);
	wrmsr(MSR_SYSENTER_EIP, entry);
	c = TRY(RING3, CODE("sysenter"), .flags = FLAG_FIXED | FLAG_IF | FLAG_DF);
	check("sysenter/state", "vector=128 cs=8 ss=10 rsp=1 flags=402", "vector=%u cs=%x ss=%x rsp=%u flags=%lx",
	      (u32)c.vector, (u32)c.cs, (u32)c.ss, c.ax == (ulong)ring0_stack_top - 128, c.flags);
	c = TRY(RING3_32, CODE32("sysenter"));
	check("sysenter/from-compatibility-mode", "vector=128 cs=8", "vector=%u cs=%x", (u32)c.vector, (u32)c.cs);
	/* CS + 16 and + 24 for 32 bits, + 32 and + 40 for 64. */
	wrmsr(MSR_SYSENTER_CS, SEL_CODE0);
	T("sysexit/ring3", "#GP(0x0)+0", RING3, CODE("sysexitl"), .cx = 0x7000, .dx = entry);
	c = TRY(RING0, CODE("rex.w sysexit"), .cx = 0x123456789a, .dx = CODE("nop"));
	check("sysexit/64", "vector=128 cs=2b ss=33 rsp=123456789a", "vector=%u cs=%x ss=%x rsp=%lx", (u32)c.vector,
	      (u32)c.cs, (u32)c.ss, c.sp);
	c = TRY(RING0, CODE("sysexitl"), .cx = 0x12345678, .dx = CODE32("nop"));
	check("sysexit/32", "vector=128 cs=1b ss=23 rsp=12345678", "vector=%u cs=%x ss=%x rsp=%lx", (u32)c.vector,
	      (u32)c.cs, (u32)c.ss, c.sp);
	T("sysexit/not-canonical-rip", "#GP(0x0)+0", RING0, CODE("rex.w sysexit"), .cx = 0, .dx = 0x800000000000);
	T("sysexit/not-canonical-rsp", "#GP(0x0)+0", RING0, CODE("rex.w sysexit"), .cx = 0x800000000000, .dx = entry);
	T("sysenter-eip/not-canonical", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_SYSENTER_EIP, .ax = 0,
	  .dx = 1 << 24);
}

static void bases(void)
{
	struct ctx c;

	wrmsr(MSR_KERNEL_GS_BASE, 0x123456789000);
	c = TRY(RING0, CODE("mov $0xc0000101, %ecx; mov $0x5000, %eax; xor %edx, %edx; wrmsr; swapgs; rdmsr; mov %eax, "
			    "%esi; mov %edx, %edi;"
			    "inc %ecx; rdmsr; swapgs"));
	check("swapgs", "ok gs=12345678 9000 kernel=5000", "%s gs=%lx %lx kernel=%lx", outcome(c),
	      c.di << 16 | c.si >> 16, c.si & 0xffff, c.ax);
	T("swapgs/ring3", "#GP(0x0)+0", RING3, CODE("swapgs"));
	T("swapgs/compatibility-mode", "#UD+0", RING3_32, CODE32(".byte 0x0f, 0x01, 0xf8"));
	c = TRY(RING0, CODE("mov $0xc0000100, %ecx; mov $0x100000, %eax; xor %edx, %edx; wrmsr; movl %fs:0, %ebx; mov "
			    "%fs, %esi"));
	check("fs-base/msr", "ok 1", "%s %u", outcome(c), (u32)c.bx == *(u32 *)0x100000);
	c = TRY(RING0, CODE("mov $0xc0000100, %ecx; mov $-16, %rax; mov $-1, %edx; wrmsr; movl %fs:0x100010, %ebx"));
	check("fs-base/adds-and-wraps", "ok 1", "%s %u", outcome(c), (u32)c.bx == *(u32 *)0x100000);
	T("cs-ss-es-ds-bases-are-0", "ok", RING0, CODE("movl %es:0x100000, %eax; movl %ss:0x100000, %eax"), .es = 0);
	if (HAS_FSGSBASE) {
		T("fsgsbase/cr4-clear", "#UD+0", RING0, CODE("rdfsbase %rax"));
		write_cr4(read_cr4() | CR4_FSGSBASE);
		c = TRY(RING3, CODE("wrfsbase %rax; rdfsbase %rcx; wrgsbase %rbx; rdgsbase %edx; movl %fs:0, %esi"),
			.ax = 0x100000, .bx = 0x712345678abc);
		check("fsgsbase/ring3", "ok fs=100000 gs32=45678abc 1", "%s fs=%lx gs32=%lx %u", outcome(c), c.cx, c.dx,
		      (u32)c.si == *(u32 *)0x100000);
		c = TRY(RING3, CODE("wrfsbase %eax; rdfsbase %rcx"), .ax = 0xffffffff87654321ul);
		check("fsgsbase/32-bit-zero-extends", "ok 87654321", "%s %lx", outcome(c), c.cx);
		T("fsgsbase/not-canonical", "#GP(0x0)+0", RING3, CODE("wrgsbase %rax"), .ax = 1ull << 56);
		T("fsgsbase/compatibility-mode", "#UD+0", RING3_32, CODE32(".byte 0xf3, 0x0f, 0xae, 0xc0"));
		write_cr4(read_cr4() & ~CR4_FSGSBASE);
	} else {
		absent("fsgsbase");
	}
	/* SDM vol. 2, "MOV": a 32-bit write zeroes the upper half, 8 and 16 bits keep it. */
	c = TRY(RING0, CODE("mov $0x12345678, %eax; mov $0x9abc, %bx; mov $0xde, %cl; xchg %edx, %edx; mov %esi, %esi"),
		.ax = -1ul, .bx = -1ul, .cx = -1ul, .dx = -1ul, .si = -1ul);
	check("registers/partial-writes", "ok 12345678 ffffffffffff9abc ffffffffffffffde ffffffff ffffffff",
	      "%s %lx %lx %lx %lx %lx", outcome(c), c.ax, c.bx, c.cx, c.dx, c.si);
	c = TRY(RING0, CODE("nop; .byte 0x90; .byte 0x49, 0x90"), .ax = 1, .r8 = 2);
	check("registers/rex-nop-is-xchg-r8", "ok rax=2 r8=1", "%s rax=%lx r8=%lx", outcome(c), c.ax, c.r8);
	c = TRY(RING0, CODE("push $-1; pop %rax; pushw $0x1234; pop %bx; mov %fs, %ecx; push %fs; pop %rdx"),
		.fs = SEL_DATA0);
	check("stack/push-sizes", "ok ffffffffffffffff 1234 10", "%s %lx %x %lx", outcome(c), c.ax, (u32)(u16)c.bx,
	      c.dx);
	c = TRY(RING0, CODE("enter $0x20, $2; mov %rsp, %rax; mov %rbp, %rbx; leave"),
		.bp = (ulong)ring0_stack_top - 0x200, .sp = (ulong)ring0_stack_top - 0x100);
	check("stack/enter-64", "ok 138 108", "%s %lx %lx", outcome(c), (ulong)ring0_stack_top - c.ax,
	      (ulong)ring0_stack_top - c.bx);
	c = TRY(RING0, CODE("movabs 0x100000, %eax; mov %eax, %ecx; movabs %al, 0x7000"), .ax = 0);
	check("moffs/64-bit-address", "ok 1", "%s %u", outcome(c), (u32)c.cx == *(u32 *)0x100000);
	c = TRY(RING0, CODE("xor %esi, %esi; mov 0(%rip), %eax; 1: lea 1b(%rip), %rbx; lea 1b(%eip), %rcx"));
	check("rip-relative", "ok 8 8", "%s %u %u", outcome(c), (u32)(c.bx - c.start), (u32)(c.cx - c.start));
}

/* Out of IA-32e mode and back in. SDM vol. 3, "Switching Out of IA-32e Mode Operation", "Initializing IA-32e Mode". */
asm(".text\n"
    "leave_and_return:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "lea 1f(%rip), %rax; push $0x18; push %rax; lretq\n"
    ".code32\n"
    "1: mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
    "mov $0xc0000080, %ecx; rdmsr; mov %eax, mode_efer; and $0xfffffeff, %eax; wrmsr; rdmsr; mov %eax, mode_efer+4\n"
    "mov $0x12345678, %eax; .byte 0x40; mov %eax, mode_eax\n" /* inc %eax: this is legacy mode */
    "rdmsr; or $0x100, %eax; wrmsr; rdmsr; mov %eax, mode_efer+8\n"
    "mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0; rdmsr; mov %eax, mode_efer+12\n"
    "ljmp $0x8, $2f\n"
    ".code64\n"
    "2: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");
void leave_and_return(void);
u32 mode_efer[4], mode_eax;

static void leave(void)
{
	leave_and_return();
	check("mode/efer-lma-follows-pg", "lme=1 lma=0, 0 0, 1 0, 1 1", "lme=%u lma=%u, %u %u, %u %u, %u %u",
	      mode_efer[0] >> 8 & 1, mode_efer[0] >> 10 & 1, mode_efer[1] >> 8 & 1, mode_efer[1] >> 10 & 1,
	      mode_efer[2] >> 8 & 1, mode_efer[2] >> 10 & 1, mode_efer[3] >> 8 & 1, mode_efer[3] >> 10 & 1);
	check("mode/legacy-between", "12345679", "%x", mode_eax);
}

void chapter_main(void)
{
	compatibility();
	far_transfers();
	syscall_sysret();
	sysenter_sysexit();
	bases();
	leave();
}

/*
 * Virtual-8086 mode: what a monitor sees, IOPL, the I/O permission bitmap, the virtual-mode extensions.
 *
 * SDM vol. 3, "8086 Emulation": "Virtual-8086 Mode", "Interrupt and Exception Handling in Virtual-8086 Mode",
 * "Protected-Mode Virtual Interrupts"; vol. 1, "I/O Permission Bit Map". VME and PVI are reported absent where CPUID
 * says so.
 */
#include "chips.h"

const char chapter[] = "v86";

#define SEG	 0x1000u /* where the code runs: linear 0x10000, offset 0 */
#define LINEAR	 ((u8 *)0x10000)
#define DATA_SEG 0x2000u
#define DATA	 ((u8 *)0x20000)

enum { S_CODE1 = SEL_TEST, S_CONFORM = SEL_TEST + 8 };

#define V86   .cs = SEG, .ip = 0, .ss = 0x3000, .sp = 0x8000, .ds = DATA_SEG, .es = DATA_SEG, .fs = 0x2345, .gs = 0x3456
#define IOPL3 .flags = FLAG_FIXED | FLAG_VM | FLAG_IOPL
#define IOPL0 .flags = FLAG_FIXED | FLAG_VM

/* Copies a snippet to LINEAR, ended by INT 0x80 (which needs IOPL 3), and runs it. ip counts from its start. */
static struct ctx run_v86(ulong code, struct ctx c)
{
	memcpy(LINEAR, (void *)code, 256);
	return run(c);
}
#define TRY86(code, ...)	       run_v86(CODE16(code), (struct ctx){V86, __VA_ARGS__})
#define T86(name, expected, code, ...) check(name, expected, "%s", outcome(TRY86(code, __VA_ARGS__)))

/* SDM vol. 3, "Structure of a Virtual-8086 Task", "Entering Virtual-8086 Mode", "Leaving Virtual-8086 Mode". */
static void mode(void)
{
	struct ctx c;

	c = TRY86("mov %cs, %ax; mov %ss, %bx; mov %fs, %cx; mov %gs, %dx", IOPL3);
	check("enter/segments", "ok cs=1000 ss=3000 fs=2345 gs=3456 frame ds=2000 es=2000 vm=1",
	      "%s cs=%x ss=%x fs=%x gs=%x frame ds=%x es=%x vm=%u", outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx,
	      (u32)(u16)c.cx, (u32)(u16)c.dx, (u32)c.ds, (u32)c.es, (u32)c.flags >> 17 & 1);
	memcpy(DATA + 0x10, "\x34\x12", 2);
	c = TRY86("mov 0x10, %ax; push %ax; mov $0x2001, %dx; mov %dx, %es; mov %es:0, %bx; pop %cx", IOPL3);
	check("segment/base-is-selector-times-16", "ok 1234 1234 1234 sp=8000", "%s %x %x %x sp=%x", outcome(c),
	      (u32)(u16)c.ax, (u32)(u16)c.bx, (u32)(u16)c.cx, (u32)c.sp);
	*(u8 *)0x100000 = *(u8 *)0x100000;
	c = TRY86("mov $0xffff, %dx; mov %dx, %es; mov %es:0x10, %eax", IOPL3);
	check("segment/reaches-above-1m", "ok 1", "%s %u", outcome(c), (u32)c.ax == *(u32 *)0x100000);
	T86("limit/word-at-ffff", "#GP(0x0)+0", "mov 0xffff, %ax", IOPL3);
	T86("limit/byte-at-ffff", "ok", "mov 0xffff, %al", IOPL3);
	T86("limit/stack-segment", "#SS(0x0)+0", "mov %ss:0xffff, %ax", IOPL3);
	T86("limit/32-bit-offset", "#GP(0x0)+6", "mov $0x10000, %ebx; mov (%ebx), %al", IOPL3);
	T86("limit/push-at-1", "#SS(0x0)+3", "mov $1, %sp; push %ax", IOPL3);
	T86("limit/push-at-0", "ok", "mov $0, %sp; push %ax", IOPL3);
	memset(LINEAR + 0xfff0, 0x90, 16);
	c = run((struct ctx){V86, .ip = 0xfffe, IOPL3});
	check("limit/run-off-ip", "vector=13 ip=10000", "vector=%u ip=%x", (u32)c.vector, (u32)c.ip);
	/* CPL is 3. */
	T86("cpl3/hlt", "#GP(0x0)+0", "hlt", IOPL3);
	T86("cpl3/mov-cr0", "#GP(0x0)+0", "mov %cr0, %eax", IOPL3);
	T86("cpl3/mov-dr7", "#GP(0x0)+0", "mov %dr7, %eax", IOPL3);
	T86("cpl3/lgdt", "#GP(0x0)+0", "lgdt 0", IOPL3);
	T86("cpl3/lmsw", "#GP(0x0)+0", "lmsw %ax", IOPL3);
	T86("cpl3/clts", "#GP(0x0)+0", "clts", IOPL3);
	T86("cpl3/wbinvd", "#GP(0x0)+0", "wbinvd", IOPL3);
	T86("cpl3/rdmsr", "#GP(0x0)+0", "rdmsr", IOPL3);
	T86("cpl3/smsw", "ok", "smsw %ax", IOPL3);
	T86("cpl3/sgdt", "ok", "sgdt 0", IOPL3);
	/* Not recognised in this mode. */
	T86("ud/sldt", "#UD+0", "sldt %ax", IOPL3);
	T86("ud/str", "#UD+0", "str %ax", IOPL3);
	T86("ud/lldt", "#UD+0", "lldt %ax", IOPL3);
	T86("ud/ltr", "#UD+0", "ltr %ax", IOPL3);
	T86("ud/lar", "#UD+0", "lar %ax, %bx", IOPL3);
	T86("ud/lsl", "#UD+0", "lsl %ax, %bx", IOPL3);
	T86("ud/verr", "#UD+0", "verr %ax", IOPL3);
	T86("ud/verw", "#UD+0", "verw %ax", IOPL3);
	T86("ud/arpl", "#UD+0", "arpl %ax, %bx", IOPL3);
	/* Exceptions come to the protected-mode handlers. */
	T86("exception/de", "#DE+2", "xor %cx, %cx; div %cx", IOPL3);
	T86("exception/ud", "#UD+0", "ud2", IOPL0);
	T86("exception/single-step", "#DB+5", "pushw $0x3102; popf; nop; nop; nop; nop", IOPL3);
	c = TRY86("nop; nop", .flags = FLAG_FIXED | FLAG_VM | FLAG_TF);
	check("exception/single-step-from-iret", "#DB+1 vm=1", "%s vm=%u", outcome(c), (u32)c.flags >> 17 & 1);
}

/* The handler's view: data segments are null, the frame has nine words. SDM vol. 3, "Class 1", "Handling an Interrupt".
 */
asm(".text\n"
    "look86: mov %ds, %eax; mov %es, %ebx; mov %fs, %ecx; mov %gs, %edx; pushf; pop %esi; mov %esp, %edi; int $0x80\n"
    "add_ret86: mov $0x10, %eax; mov %eax, %ds; addl $2, %ss:(%esp); iret\n");
extern u8 look86[], add_ret86[];

static void handlers(void)
{
	struct ctx c;

	set_idt(VEC_UD, SEL_CODE0, (ulong)look86, ACC_INT, 0);
	c = TRY86("ud2", IOPL3);
	check("handler/null-segments", "ok 0 0 0 0 flags=3002 frame=36", "%s %x %x %x %x flags=%x frame=%u", outcome(c),
	      (u32)c.ax, (u32)c.bx, (u32)c.cx, (u32)c.dx, (u32)c.si, (u32)(main_tss.t.esp0 - c.di));
	set_idt(VEC_UD, SEL_CODE0, (ulong)add_ret86, ACC_INT, 0);
	c = TRY86("ud2; mov %ds, %bx; mov %gs, %cx; mov $7, %dx", IOPL3);
	check("handler/iret-resumes", "ok ds=2000 gs=3456 dx=7 vm=1", "%s ds=%x gs=%x dx=%x vm=%u", outcome(c),
	      (u32)(u16)c.bx, (u32)(u16)c.cx, (u32)(u16)c.dx, (u32)c.flags >> 17 & 1);
	default_idt(VEC_UD);
	set_idt(0x30, S_CODE1, (ulong)look86, ACC_INT | ACC_DPL3, 0);
	T86("handler/ring1-code", "#GP(0x70)+0", "int $0x30", IOPL3);
	set_idt(0x30, S_CONFORM, (ulong)look86, ACC_INT | ACC_DPL3, 0);
	T86("handler/conforming-code", "#GP(0x78)+0", "int $0x30", IOPL3);
	set_idt(0x30, SEL_CODE0, (ulong)look86, ACC_INT, 0);
	T86("handler/gate-dpl0", "#GP(0x182)+0", "int $0x30", IOPL3);
	set_idt(0x30, SEL_CODE0, (ulong)look86, ACC_TRAP | ACC_DPL3, 0);
	c = TRY86("int $0x30", .flags = FLAG_FIXED | FLAG_VM | FLAG_IOPL | FLAG_IF);
	check("handler/trap-gate-keeps-if", "ok flags=3202", "%s flags=%x", outcome(c), (u32)c.si);
	default_idt(0x30);
}

/* SDM vol. 3, "Sensitive Instructions": they depend on IOPL here. */
static void iopl(void)
{
	struct ctx c;

	T86("iopl0/cli", "#GP(0x0)+0", "cli", IOPL0);
	T86("iopl0/sti", "#GP(0x0)+0", "sti", IOPL0);
	T86("iopl0/pushf", "#GP(0x0)+0", "pushf", IOPL0);
	T86("iopl0/popf", "#GP(0x0)+0", "popf", IOPL0);
	T86("iopl0/pushfl", "#GP(0x0)+0", "pushfl", IOPL0);
	T86("iopl0/iret", "#GP(0x0)+0", "iret", IOPL0);
	T86("iopl0/iretl", "#GP(0x0)+0", "iretl", IOPL0);
	T86("iopl0/int", "#GP(0x0)+0", "int $0x80", IOPL0);
	T86("iopl0/int3-not-sensitive", "#BP+1", "int3", IOPL0);
	T86("iopl0/into-not-sensitive", "#OF+1", "into", .flags = FLAG_FIXED | FLAG_VM | FLAG_OF);
	T86("iopl2/cli", "#GP(0x0)+0", "cli", .flags = FLAG_FIXED | FLAG_VM | 0x2000);
	c = TRY86("sti; pushf; pop %ax; cli; pushf; pop %bx", IOPL3);
	check("iopl3/sti-cli-pushf", "ok 3202 3002", "%s %x %x", outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx);
	c = TRY86("pushw $0x0ed7 - 0x200; popf; pushf; pop %ax", IOPL3);
	check("iopl3/popf-keeps-iopl", "ok 3cd7", "%s %x", outcome(c), (u32)(u16)c.ax);
	c = TRY86("pushl $0x240cd7; popfl; pushfl; pop %eax; pushl $2; popfl", IOPL3);
	check("iopl3/popfl-pushfl", "ok 243cd7", "%s %x", outcome(c), (u32)c.ax);
	c = TRY86("pushw $0x0cd7; push %cs; pushw $7; iret; pushf; pop %ax", IOPL3);
	check("iopl3/iret", "ok 3cd7", "%s %x", outcome(c), (u32)(u16)c.ax);
	c = TRY86("pushl $0x240002; pushl $0x1000; pushl $17; iretl; pushfl; pop %eax; pushl $2; popfl", IOPL3);
	check("iopl3/iretl-keeps-vm-and-iopl", "ok 243002", "%s %x", outcome(c), (u32)c.ax);
	/* EIP of more than 16 bits is beyond the limit. */
	DATA[0] = 0xf4; /* where a processor without limits would go on */
	T86("iopl3/iretl-beyond-limit", "#GP(0x0)+15", "pushl $2; pushl $0x1000; pushl $0x10000; iretl", IOPL3);
}

/* SDM vol. 1, "I/O Permission Bit Map". Ports 0x80 and 0xed are free to read; the answer does not matter. */
static void io_bitmap(void)
{
	u8 *map = main_tss.bitmap;

	main_tss.t.iomap = offsetof(struct main_tss, bitmap);
	memset(map, 0, 8192);
	map[8192] = 0xff;
	T86("io/allowed-iopl0", "#GP(0x0)+2", "in $0x80, %al; hlt", IOPL0);
	map[0x80 / 8] = 1;
	T86("io/denied", "#GP(0x0)+0", "in $0x80, %al; hlt", IOPL0);
	T86("io/denied-at-iopl3-too", "#GP(0x0)+0", "in $0x80, %al; hlt", IOPL3);
	T86("io/out-denied", "#GP(0x0)+0", "out %al, $0x80; hlt", IOPL3);
	T86("io/neighbour", "#GP(0x0)+2", "in $0x81, %al; hlt", IOPL0);
	map[0x80 / 8] = 2;
	T86("io/word-second-byte-denied", "#GP(0x0)+0", "in $0x80, %ax; hlt", IOPL0);
	T86("io/dword-second-byte-denied", "#GP(0x0)+0", "in $0x80, %eax; hlt", IOPL0);
	map[0x80 / 8] = 0;
	map[0x88 / 8] = 1;
	T86("io/word-across-byte-of-map", "#GP(0x0)+0", "in $0x87, %ax; hlt", IOPL0);
	T86("io/byte-before", "#GP(0x0)+2", "in $0x87, %al; hlt", IOPL0);
	T86("io/ins-denied", "#GP(0x0)+3", "mov $0x88, %dx; insb; hlt", IOPL0, .di = 0);
	T86("io/outs-denied", "#GP(0x0)+3", "mov $0x88, %dx; outsb; hlt", IOPL0, .si = 0);
	map[0x88 / 8] = 0;
	T86("io/last-port", "#GP(0x0)+4", "mov $0xffff, %dx; in %dx, %al; hlt", IOPL0);
	/* Protected mode: with CPL <= IOPL the map is not read. */
	map[0x80 / 8] = 1;
	T("io/ring3-denied", "#GP(0x0)+0", RING3, CODE("in $0x80, %al"));
	T("io/ring3-iopl3-bypasses", "ok", RING3, CODE("in $0x80, %al"), .flags = FLAG_FIXED | FLAG_IOPL);
	T("io/ring3-allowed", "ok", RING3, CODE("in $0x81, %al"));
	T("io/ring0", "ok", RING0, CODE("in $0x80, %al"));
	map[0x80 / 8] = 0;
	/* "Two bytes are read": the byte after the last one must be within the limit. */
	set_descriptor(SEL_TSS, (u32)&main_tss, offsetof(struct main_tss, bitmap) + 0x10, ACC_TSS, 0);
	asm volatile("ltr %w0" : : "r"(SEL_TSS));
	T("io/limit-second-byte-beyond", "#GP(0x0)+0", RING3, CODE("in $0x80, %al"));
	T("io/limit-within", "ok", RING3, CODE("in $0x70, %al"));
	T("io/limit-beyond", "#GP(0x0)+0", RING3, CODE("in $0x92, %al"));
	main_tss.t.iomap = 0x2100;
	T("io/base-beyond-limit", "#GP(0x0)+0", RING3, CODE("in $0x80, %al"));
	main_tss.t.iomap = IOMAP_NONE;
	reload_tr();
}

/* SDM vol. 3, "Virtual-8086 Mode Extensions": software interrupt redirection and VIF. */
static void vme(void)
{
	struct ctx c;
	u8 *redirection = (u8 *)&main_tss + offsetof(struct main_tss, bitmap); /* the 32 bytes below the I/O map */
	u16 *ivt = (u16 *)0;
	u16 old[2] = {ivt[0x31 * 2], ivt[0x31 * 2 + 1]};

	T86("vme-off/vif-not-set-by-sti", "#GP(0x0)+0", "sti", IOPL0);
	if (!HAS_VME) {
		absent("vme");
		absent("pvi");
		return;
	}
	main_tss.t.iomap = offsetof(struct main_tss, bitmap) + 32;
	memset(redirection, 0xff, 32);
	redirection[0x31 / 8] &= ~(1 << (0x31 & 7));
	write_cr4(read_cr4() | CR4_VME);
	/* HLT is the end here, because INT 0x80 needs IOPL 3 or redirection. */
	c = TRY86("sti; pushf; pop %ax; cli; pushf; pop %bx; hlt", IOPL0);
	check("vme/sti-cli-pushf", "#GP(0x0)+6 pushed=3202 3002 vif=0 if=0", "%s pushed=%x %x vif=%u if=%u", outcome(c),
	      (u32)(u16)c.ax, (u32)(u16)c.bx, (u32)c.flags >> 19 & 1, (u32)c.flags >> 9 & 1);
	c = TRY86("sti; hlt", IOPL0);
	check("vme/sti-sets-vif-only", "#GP(0x0)+1 vif=1 if=0", "%s vif=%u if=%u", outcome(c), (u32)c.flags >> 19 & 1,
	      (u32)c.flags >> 9 & 1);
	T86("vme/sti-with-vip", "#GP(0x0)+0", "sti; hlt", .flags = FLAG_FIXED | FLAG_VM | FLAG_VIP);
	T86("vme/cli-with-vip", "#GP(0x0)+1", "cli; hlt", .flags = FLAG_FIXED | FLAG_VM | FLAG_VIP);
	T86("vme/pushfl", "#GP(0x0)+0", "pushfl; hlt", IOPL0);
	T86("vme/popfl", "#GP(0x0)+0", "popfl; hlt", IOPL0);
	T86("vme/iretl", "#GP(0x0)+0", "iretl; hlt", IOPL0);
	c = TRY86("pushw $0x3202; popf; hlt", IOPL0);
	check("vme/popf-if-to-vif", "#GP(0x0)+4 flags=a0002", "%s flags=%x", outcome(c), (u32)c.flags & ~FLAG_RF);
	T86("vme/popf-tf", "#GP(0x0)+3", "pushw $0x102; popf; hlt", IOPL0);
	T86("vme/popf-if-with-vip", "#GP(0x0)+3", "pushw $0x202; popf; hlt", .flags = FLAG_FIXED | FLAG_VM | FLAG_VIP);
	c = TRY86("pushw $0x0202; push %cs; pushw $8; iret; nop; hlt", IOPL0);
	check("vme/iret-if-to-vif", "#GP(0x0)+8 vif=1 if=0", "%s vif=%u if=%u", outcome(c), (u32)c.flags >> 19 & 1,
	      (u32)c.flags >> 9 & 1);
	/* INT 0x31 goes to 1000:0080 by the table at 0; the handler pops what was pushed. */
	ivt[0x31 * 2] = 0x80;
	ivt[0x31 * 2 + 1] = SEG;
	c = TRY86("int $0x31; .fill 126, 1, 0x90; pop %ax; pop %bx; pop %cx; hlt", IOPL0,
		  .flags = FLAG_FIXED | FLAG_VM | FLAG_VIF | FLAG_IF);
	check("vme/int-redirected-iopl0", "#GP(0x0)+131 ip=2 cs=1000 flags=3202 vif=0 if=1",
	      "%s ip=%x cs=%x flags=%x vif=%u if=%u", outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx, (u32)(u16)c.cx,
	      (u32)c.flags >> 19 & 1, (u32)c.flags >> 9 & 1);
	c = TRY86("int $0x31; .fill 126, 1, 0x90; pop %ax; pop %bx; pop %cx; hlt",
		  .flags = FLAG_FIXED | FLAG_VM | FLAG_IOPL | FLAG_IF);
	check("vme/int-redirected-iopl3", "#GP(0x0)+131 flags=3202 if=0", "%s flags=%x if=%u", outcome(c),
	      (u32)(u16)c.cx, (u32)c.flags >> 9 & 1);
	T86("vme/int-not-redirected-iopl0", "#GP(0x0)+0", "int $0x32", IOPL0);
	T86("vme/int-not-redirected-iopl3", "ok", "int $0x80", IOPL3);
	T86("vme/int3-not-redirected", "#BP+1", "int3", IOPL0);
	write_cr4(read_cr4() & ~CR4_VME);
	ivt[0x31 * 2] = old[0];
	ivt[0x31 * 2 + 1] = old[1];

	/* SDM vol. 3, "Protected-Mode Virtual Interrupts". */
	write_cr4(read_cr4() | CR4_PVI);
	c = TRY(RING3, CODE("sti"));
	check("pvi/sti", "ok vif=1 if=0", "%s vif=%u if=%u", outcome(c), (u32)c.flags >> 19 & 1, (u32)c.flags >> 9 & 1);
	c = TRY(RING3, CODE("cli"), .flags = FLAG_FIXED | FLAG_VIF | FLAG_IF);
	check("pvi/cli", "ok vif=0 if=1", "%s vif=%u if=%u", outcome(c), (u32)c.flags >> 19 & 1, (u32)c.flags >> 9 & 1);
	T("pvi/sti-with-vip", "#GP(0x0)+0", RING3, CODE("sti"), .flags = FLAG_FIXED | FLAG_VIP);
	c = TRY(RING3, CODE("pushf; orl $0x200, (%esp); popf"), .flags = FLAG_FIXED);
	check("pvi/popf-unaffected", "ok vif=0 if=0", "%s vif=%u if=%u", outcome(c), (u32)c.flags >> 19 & 1,
	      (u32)c.flags >> 9 & 1);
	write_cr4(read_cr4() & ~CR4_PVI);
	main_tss.t.iomap = IOMAP_NONE;
}

/* External interrupts leave virtual-8086 mode whatever IOPL is. */
static void external(void)
{
	struct ctx c;

	virtual_wire();
	pic_mask(0xfe, 0xff);
	raise_irq0();
	c = TRY86("nop; nop", .flags = FLAG_FIXED | FLAG_VM | FLAG_IF);
	check("external/iopl0", "int 0x20+0 vm=1 if=1 ds=2000", "%s vm=%u if=%u ds=%x", outcome(c),
	      (u32)c.flags >> 17 & 1, (u32)c.flags >> 9 & 1, (u32)c.ds);
	end_irq0();
	raise_irq0();
	c = TRY86("sti; nop; nop", IOPL3);
	check("external/sti-shadow", "int 0x20+2", "%s", outcome(c));
	end_irq0();
	raise_irq0();
	c = TRY86("nop; nop", IOPL3);
	check("external/if-clear", "ok", "%s", outcome(c));
	TRY(RING0, CODE("sti; nop; nop; nop"));
	end_irq0();
	pic_mask(0xff, 0xff);
}

void chapter_main(void)
{
	set_descriptor(S_CODE1, 0, 0xfffff, 0xbb, SEG_D | SEG_G);
	set_descriptor(S_CONFORM, 0, 0xfffff, 0x9f, SEG_D | SEG_G);
	mode();
	handlers();
	iopl();
	io_bitmap();
	vme();
	external();
}

/*
 * Real-address mode, entered from protected mode and left again for every experiment.
 *
 * SDM vol. 3, "8086 Emulation": "Real-Address Mode"; "Mode Switching": "Switching Back to Real-Address Mode". Low
 * memory: the context at 0x5000 (struct ctx), an interrupt table at 0x6000, the switching code at 0x8000, experiments
 * at 0x10000, their data at 0x20000, stack at 0x30000.
 */
#include "guest.h"

const char chapter[] = "real_mode";

enum { S_CODE_RM = SEL_TEST };
#define STATE  ((struct ctx *)0x5000)
#define IVT    ((u16 *)0x6000)
#define BLOB   0x8000u
#define SEG    0x1000u
#define LINEAR ((u8 *)0x10000)
#define DATA   ((u8 *)0x20000)
#define STACK  ((u8 *)0x30000)

/* Words of the context, as in boot.S. */
asm(".set rm_ax, 0x5000; .set rm_bx, 0x5004; .set rm_cx, 0x5008; .set rm_dx, 0x500c; .set rm_si, 0x5010; .set rm_di, "
    "0x5014;"
    ".set rm_bp, 0x5018; .set rm_sp, 0x501c; .set rm_ip, 0x5020; .set rm_cs, 0x5024; .set rm_flags, 0x5028; .set "
    "rm_ss, 0x502c;"
    ".set rm_ds, 0x5030; .set rm_es, 0x5034; .set rm_fs, 0x5038; .set rm_gs, 0x503c; .set rm_vector, 0x5040\n"
    ".text\n"
    "real_enter:\n" /* EAX: selector that leaves its limit in the data segment registers */
    "pushal; mov %esp, real_kernel_esp; lidt real_idt; ljmp $0x70, $0\n"
    ".pushsection .snippet,\"ax\"\n"
    ".code16\n"
    "real_blob:\n"
    "mov %ax, %ds; mov %ax, %es; mov %ax, %fs; mov %ax, %gs; mov $0x50, %cx; mov %cx, %ss\n"
    "mov %cr0, %eax; and $0xfe, %al; mov %eax, %cr0; ljmp $0x800, $1f - real_blob\n"
    "1: xor %ax, %ax; mov %ax, %ds; mov rm_ss, %ss; mov rm_sp, %esp; pushw rm_flags; pushw rm_cs; pushw rm_ip\n"
    "mov rm_es, %es; mov rm_fs, %fs; mov rm_gs, %gs\n"
    "mov rm_ax, %eax; mov rm_bx, %ebx; mov rm_cx, %ecx; mov rm_dx, %edx; mov rm_si, %esi; mov rm_di, %edi; mov rm_bp, "
    "%ebp\n"
    "mov rm_ds, %ds; iretw\n"
    "real_common: pushw %ds; pushl %eax; xor %ax, %ax; mov %ax, %ds\n"
    "popl rm_ax; popw rm_ds; popw rm_vector; popw rm_ip; popw rm_cs; popw rm_flags\n"
    "mov %ebx, rm_bx; mov %ecx, rm_cx; mov %edx, rm_dx; mov %esi, rm_si; mov %edi, rm_di; mov %ebp, rm_bp; mov %esp, "
    "rm_sp\n"
    "movw %es, rm_es; movw %fs, rm_fs; movw %gs, rm_gs; movw %ss, rm_ss\n"
    "mov %cr0, %eax; or $1, %al; mov %eax, %cr0; ljmpl $0x8, $real_back\n"
    ".p2align 3\n"
    "real_stubs: .set n, 0\n"
    ".rept 256; .p2align 3; .byte 0x68; .word n; jmp real_common; .set n, n + 1; .endr\n"
    "real_blob_end:\n"
    ".code32\n"
    ".popsection\n"
    "real_back: mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs; mov %eax, %ss\n"
    "mov real_kernel_esp, %esp; lgdt gdt_pointer; lidt idt_pointer; cld; popal; ret\n");
extern u8 real_blob[], real_blob_end[], real_stubs[];
void real_enter(void);
u32 real_kernel_esp;
struct __attribute__((packed)) {
	u16 limit;
	u32 base;
} real_idt = {0x3ff, 0x6000};

static void setup(void)
{
	memcpy((void *)BLOB, real_blob, real_blob_end - real_blob);
	set_descriptor(S_CODE_RM, BLOB, 0xffff, 0x9b, 0);
	for (u32 i = 0; i < 256; i++) {
		IVT[i * 2] = real_stubs - real_blob + i * 8;
		IVT[i * 2 + 1] = BLOB >> 4;
	}
}

/* As run(), in real mode. big: data segment registers keep a limit of 4 GiB ("unreal" mode). */
static struct ctx run_real(ulong code, bool big, struct ctx c)
{
	struct ctx out;

	if (code)
		memcpy(LINEAR, (void *)code, 256);
	*STATE = c;
	asm volatile("call real_enter" : : "a"(big ? SEL_DATA0 : SEL_DATA0_16) : "memory");
	out = *STATE;
	out.start = c.ip;
	out.vector &= 0xffff;
	out.ip &= 0xffff;
	out.cs &= 0xffff;
	out.flags &= 0xffff;
	out.ss &= 0xffff;
	out.ds &= 0xffff;
	out.es &= 0xffff;
	out.error = 0;
	return out;
}

/* outcome(), without error codes: real mode pushes none. */
static const char *real_outcome(struct ctx c)
{
	static char text[2][32];
	static u32 next;
	char *t = text[next++ & 1];

	if (c.vector == VECTOR_END)
		return "ok";
	return format_text(t, sizeof(text[0]), "int %u+%d", (u32)c.vector, (int)(c.ip - c.start));
}

#define RM                                                                                                      \
	.cs = SEG, .ip = 0, .ss = 0x3000, .sp = 0x8000, .ds = 0x2000, .es = 0x2000, .fs = 0x2000, .gs = 0x2000, \
	.flags = FLAG_FIXED
#define TRYR(code, ...)		     run_real(CODE16(code), false, (struct ctx){RM, ##__VA_ARGS__})
#define TRYU(code, ...)		     run_real(CODE16(code), true, (struct ctx){RM, ##__VA_ARGS__})
#define R(name, expected, code, ...) check(name, expected, "%s", real_outcome(TRYR(code, ##__VA_ARGS__)))
#define U(name, expected, code, ...) check(name, expected, "%s", real_outcome(TRYU(code, ##__VA_ARGS__)))

static void addressing(void)
{
	struct ctx c;

	memcpy(DATA, "\x11\x22\x33\x44", 4);
	memcpy(DATA + 0x1000, "\x55\x66", 2);
	memcpy(DATA + 0x10000, "\x77\x88", 2);
	c = TRYR("mov (%bx,%si), %ax; mov 0x9000(%bx), %cx", .bx = 0x8000, .si = 0x9000);
	check("address/16-bit-sum-wraps", "ok 6655 6655", "%s %x %x", real_outcome(c), (u32)(u16)c.ax, (u32)(u16)c.cx);
	c = TRYR("mov -1(%bp,%di), %ax", .bp = 2, .di = 0xfffe, .ss = 0x2000);
	check("limit/bp-index-displacement", "int 12+0", "%s", real_outcome(c));
	c = TRYR("mov (%bp,%di), %ax", .bp = 2, .di = 0xfffe, .ss = 0x2000);
	check("address/wraps-to-0", "ok 2211", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	c = TRYR("mov $0xffff, %dx; mov %dx, %es; mov %es:0x10, %eax");
	check("address/above-1m-with-a20", "ok 1", "%s %u", real_outcome(c), (u32)c.ax == *(u32 *)0x100000);
	c = TRYR("mov (%ebx), %ax", .bx = 0x1000);
	check("address/32-bit-size-within-64k", "ok 6655", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	R("limit/32-bit-offset", "int 13+0", "mov (%ebx), %al", .bx = 0x10000);
	R("limit/word-at-ffff", "int 13+0", "mov 0xffff, %ax");
	R("limit/byte-at-ffff", "ok", "mov 0xffff, %al");
	R("limit/dword-at-fffd", "int 13+0", "mov 0xfffd, %eax");
	R("limit/write-word", "int 13+0", "mov %ax, 0xffff");
	R("limit/rmw", "int 13+0", "incw 0xffff");
	R("limit/stack-segment", "int 12+0", "mov %ss:0xffff, %ax");
	R("limit/bp", "int 12+0", "mov (%bp), %ax", .bp = 0xffff);
	R("limit/movs-source", "int 13+0", "movsw", .si = 0xffff, .di = 0);
	R("limit/pop-at-ffff", "int 12+3", "mov $0xffff, %sp; pop %ax");
	R("limit/far-pointer", "int 13+0", "les 0xfffd, %ax");
	c = TRYR("rep movsb", .si = 0xfffe, .di = 0x4000, .cx = 4);
	check("string/si-wraps", "ok si=2 di=4004", "%s si=%x di=%x", real_outcome(c), (u32)c.si, (u32)c.di);
	c = TRYR("rep movsb", .si = 0x12340000, .di = 0x56784000, .cx = 0x00050002);
	check("string/16-bit-registers-only", "ok si=12340002 di=56784002 cx=50000", "%s si=%x di=%x cx=%x",
	      real_outcome(c), (u32)c.si, (u32)c.di, (u32)c.cx);
	c = TRYR("addr32 rep stosb", .di = 0xfffe, .cx = 4);
	check("string/addr32-hits-limit", "int 13+0 di=10000 cx=2", "%s di=%x cx=%x", real_outcome(c), (u32)c.di,
	      (u32)c.cx);
	c = TRYR("1: inc %ax; loop 1b", .ax = 0, .cx = 0x10003);
	check("loop/uses-cx", "ok ax=3 cx=10000", "%s ax=%x cx=%x", real_outcome(c), (u32)c.ax, (u32)c.cx);
	c = TRYR("1: inc %ax; addr32 loop 1b", .ax = 0, .cx = 0x3);
	check("loop/addr32-uses-ecx", "ok ax=3 cx=0", "%s ax=%x cx=%x", real_outcome(c), (u32)c.ax, (u32)c.cx);
	c = TRYR("jcxz 1f; inc %ax; 1: jecxz 2f; incw %bx; 2:", .ax = 0, .bx = 0, .cx = 0x10000);
	check("jcxz/and-jecxz", "ok ax=0 bx=1", "%s ax=%x bx=%x", real_outcome(c), (u32)c.ax, (u32)c.bx);
	R("cs/writeable", "ok", "mov %ax, %cs:0x80");
	memcpy(LINEAR + 0x2000, "\x31\x41\x59\x26", 4);
	c = TRYR("mov %cs:0x2000, %eax; mov %cs:0x2000, %ecx; mov $0x1ff0, %bx; mov %cs:0x10(%bx), %edx", .ax = 0,
		 .cx = 0, .dx = 0);
	check("cs/override", "ok 26594131 26594131 26594131", "%s %x %x %x", real_outcome(c), (u32)c.ax, (u32)c.cx,
	      (u32)c.dx);
	c = TRYR("movb $0x12, 0; mov $0x2001, %ax; mov %ax, %ds; mov -16, %bl; mov %ds, %cx");
	check("segment/base-from-selector", "ok cx=2001", "%s cx=%x", real_outcome(c), (u32)(u16)c.cx);
	/* Unreal mode: limits survive loads in real mode. SDM vol. 3, "Switching Back to Real-Address Mode". */
	memcpy((void *)0x200000, "\xfe\xca\xed\xfe", 4);
	c = TRYU("xor %ax, %ax; mov %ax, %ds; mov (%ebx), %eax", .bx = 0x200000);
	check("unreal/reads-above-64k", "ok feedcafe", "%s %x", real_outcome(c), (u32)c.ax);
	c = TRYU("mov %ax, %es; movl $0x1234, %es:(%edi); mov %es, %cx", .ax = 0x1000, .di = 0x1f0000);
	check("unreal/base-changes-limit-stays", "ok 1234 1000", "%s %x %x", real_outcome(c), *(u32 *)0x200000,
	      (u32)(u16)c.cx);
	c = TRYU("addr32 rep stosl", .ax = 0x55aa55aa, .di = 0x1e0000, .es = 0x2000, .cx = 4);
	check("unreal/rep-stos", "ok 55aa55aa", "%s %x", real_outcome(c), *(u32 *)0x20000c);
	U("unreal/word-at-ffff", "ok", "mov 0xffff, %ax");
}

static void stack(void)
{
	struct ctx c;

	c = TRYR("push %sp; pop %ax; sub %sp, %ax");
	check("push-sp/old-value", "ok 0", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	memcpy(STACK + 0x6000, "\x00\x70", 2);
	c = TRYR("pop %sp; mov %sp, %ax; mov $0x7000, %sp", .sp = 0x6000);
	check("pop-sp/loads-popped", "ok 7000", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	c = TRYR("mov $0, %sp; push %ax; mov %sp, %bx; mov $0x8000, %sp", .ax = 0x1234);
	check("push/wraps-at-0", "ok fffe 1234", "%s %x %x", real_outcome(c), (u32)(u16)c.bx, *(u16 *)(STACK + 0xfffe));
	c = TRYR("mov $0xfffe, %sp; pop %ax; mov %sp, %bx; mov $0x8000, %sp");
	check("pop/wraps-to-0", "ok 0 1234", "%s %x %x", real_outcome(c), (u32)(u16)c.bx, (u32)(u16)c.ax);
	c = TRYR("pushal; mov %sp, %ax; popal", .ax = 1, .sp = 0x8000);
	check("pushal/32-bit-operands", "ok 1 sp=8000", "%s %x sp=%x", real_outcome(c), (u32)c.ax, (u32)c.sp);
	c = TRYR("pushl $0x12345678; pop %ax; pop %bx");
	check("pushl/in-16-bit-code", "ok 5678 1234", "%s %x %x", real_outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx);
	c = TRYR("push %fs; pop %ax; pushl %fs; pop %bx; pop %dx", .fs = 0x2345);
	check("push/segment", "ok 2345 2345 sp=8000", "%s %x %x sp=%x", real_outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx,
	      (u32)c.sp);
	c = TRYR("enter $0x20, $3; mov %sp, %ax; mov %bp, %bx; leave", .bp = 0x7f00, .sp = 0x8000);
	check("enter/nested-3", "ok sp=7fd8 bp=7ffe then bp=7f00 sp=8000", "%s sp=%x bp=%x then bp=%x sp=%x",
	      real_outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx, (u32)(u16)c.bp, (u32)c.sp);
	c = TRYR("pushw $0x7202; popf; pushf; pop %ax; pushw $2; popf");
	check("popf/iopl-nt-if", "ok 7202", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	c = TRYR("pushl $0x247cd7; popfl; pushfl; pop %ax; pop %bx; pushl $2; popfl");
	check("popfl/ac-id", "ok 247cd7", "%s %x", real_outcome(c), (u32)(u16)c.bx << 16 | (u16)c.ax);
}

static void transfers(void)
{
	struct ctx c;

	c = TRYR("ljmp $0x1002, $0; .fill 0x20 - 5, 1, 0xf4; mov %cs, %ax");
	check("jmp/far", "ok 1002", "%s %x", real_outcome(c), (u32)(u16)c.ax);
	c = TRYR("lcall $0x1000, $9; nop; nop; nop; nop; 1: pop %ax; pop %bx");
	check("call/far-pushes-cs-ip", "ok 1000:5", "%s %x:%x", real_outcome(c), (u32)(u16)c.bx, (u32)(u16)c.ax);
	c = TRYR("lcalll $0x1000, $12; nop; nop; nop; nop; 1: pop %eax; pop %ebx");
	check("call/far-32", "ok 1000:8", "%s %x:%x", real_outcome(c), (u32)(u16)c.bx, (u32)c.ax);
	c = TRYR("push %cs; pushw $8; push %cx; add $2, %sp; lret; mov $1, %ax", .ax = 0);
	check("ret/far", "ok", "%s", real_outcome(c));
	for (u32 i = 0; i < 32; i += 2) /* where a processor without limits would go on */
		memcpy(DATA + i, (u8[]){0xcd, VECTOR_END}, 2);
	R("jmp/32-bit-beyond-64k", "int 13+0", ".byte 0x66, 0xe9; .long 0x10000");
	R("call/32-bit-beyond-64k", "int 13+0", ".byte 0x66, 0xe8; .long 0x10000");
	R("ret/32-bit-beyond-64k", "int 13+6", "pushl $0x10000; retl");
	LINEAR[0xfff0] = 0xeb; /* jmp to 0x12 across the end */
	LINEAR[0xfff1] = 0x20;
	LINEAR[0x12] = 0xcd;
	LINEAR[0x13] = VECTOR_END;
	c = run_real(0, false, (struct ctx){RM, .ip = 0xfff0});
	check("jmp/16-bit-wraps", "ok ip=14", "%s ip=%x", real_outcome(c), (u32)c.ip);
	memset(LINEAR + 0xfffe, 0x90, 1);
	LINEAR[0xffff] = 0xb0; /* mov $imm, %al: the immediate is beyond the limit */
	LINEAR[0x10000] = 0;
	c = run_real(0, false, (struct ctx){RM, .ip = 0xffff});
	check("fetch/across-64k", "int 13+0", "%s", real_outcome(c));
}

static void interrupts(void)
{
	struct ctx c;

	R("exception/de", "int 0+2", "xor %cx, %cx; div %cx");
	R("exception/ud", "int 6+0", "ud2");
	R("exception/br", "int 5+0", "bound %ax, 0", .ax = 0x7000);
	R("exception/into", "int 4+1", "into", .flags = FLAG_FIXED | FLAG_OF);
	R("exception/int3", "int 3+1", "int3");
	R("exception/nm", "int 7+9", "smsw %ax; or $8, %al; lmsw %ax; .byte 0x90; fnop");
	write_cr0(read_cr0() & ~CR0_TS);
	R("exception/tf", "int 1+5", "pushw $0x102; popf; nop; nop");
	R("exception/too-long", "int 13+0", ".fill 15, 1, 0x66; nop");
	R("exception/lock", "int 6+0", ".byte 0xf0; nop");
	c = TRYR("int $0x21; nop");
	check("int/saved", "int 33+2 cs=1000 flags=2 sp=8000", "%s cs=%x flags=%x sp=%x", real_outcome(c), (u32)c.cs,
	      (u32)c.flags, (u32)c.sp);
	/* A handler of our own at 1000:0040 that looks at its flags and returns. */
	IVT[0x22 * 2] = 0x40;
	IVT[0x22 * 2 + 1] = SEG;
	c = TRYR("int $0x22; nop; int $0x80; .fill 0x40 - 5, 1, 0x90; pushf; pop %ax; iret",
		 .flags = FLAG_FIXED | FLAG_IF | FLAG_CF | FLAG_OF);
	check("int/clears-if-and-returns", "ok handler=803 after=a03", "%s handler=%x after=%x", real_outcome(c),
	      (u32)(u16)c.ax, (u32)c.flags);
	c = TRYR("pushw $0x302; popf; int $0x22; int $0x80; .fill 0x40 - 8, 1, 0x90; pushf; pop %ax; iret");
	check("int/clears-tf", "ok handler=2 saved=302", "%s handler=%x saved=%x", real_outcome(c), (u32)(u16)c.ax,
	      (u32)c.flags);
	/* SDM vol. 3, "Interrupt and Exception Handling" in real mode: the table is where IDTR says, with its limit. */
	real_idt.limit = 0x22 * 4 + 2;
	R("idt/beyond-limit", "int 13+0", "int $0x22");
	real_idt.limit = 0x80 * 4 + 3;
	R("idt/exactly-within", "ok", "int $0x80");
	R("idt/next-beyond", "int 13+0", "int $0x81");
	real_idt.limit = 0x3ff;
	memcpy((void *)0x7000, IVT, 0x400);
	real_idt.base = 0x7000;
	R("idt/moved", "ok", "nop");
	real_idt.base = 0x6000;
	c = TRYR("sti; pushf; pop %ax; cli; pushf; pop %bx");
	check("sti-cli", "ok 202 2", "%s %x %x", real_outcome(c), (u32)(u16)c.ax, (u32)(u16)c.bx);
}

/* Instructions that this mode does not recognise, and system instructions that it does. */
static void instructions(void)
{
	struct ctx c;

	R("ud/sldt", "int 6+0", "sldt %ax");
	R("ud/str", "int 6+0", "str %ax");
	R("ud/lldt", "int 6+0", "lldt %ax");
	R("ud/ltr", "int 6+0", "ltr %ax");
	R("ud/lar", "int 6+0", "lar %ax, %bx");
	R("ud/lsl", "int 6+0", "lsl %ax, %bx");
	R("ud/verr", "int 6+0", "verr %ax");
	R("ud/verw", "int 6+0", "verw %ax");
	R("ud/arpl", "int 6+0", "arpl %ax, %bx");
	c = TRYR("smsw %ax; mov %cr0, %ecx");
	check("smsw", "ok pe=0 30", "%s pe=%x %x", real_outcome(c), (u32)c.ax & 1, (u32)c.cx & 0x3f);
	R("rdmsr", "ok", "rdmsr", .cx = MSR_TSC);
	R("mov-cr0", "ok", "mov %cr0, %eax; mov %eax, %cr0");
	R("clts", "ok", "clts");
	R("cpuid", "ok", "cpuid", .ax = 0);
	c = TRYR("sgdt 0; mov 2, %eax; mov 0, %cx");
	check("sgdt", "ok limit=1ff base-ok=1", "%s limit=%x base-ok=%u", real_outcome(c), (u32)(u16)c.cx,
	      (u32)c.ax == (u32)gdt);
	/* With a 16-bit operand LGDT loads 24 bits of base. */
	memcpy(DATA + 0x100, "\xff\x01\x45\x23\x01\xab", 6);
	u32 base = (u32)gdt;
	memcpy(DATA + 0x110, "\xff\x01", 2);
	memcpy(DATA + 0x112, &base, 4);
	c = TRYR("lgdtw 0x100; sgdt 0; mov 2, %eax; data32 lgdt 0x110");
	check("lgdt/16-bit-operand", "ok 12345", "%s %x", real_outcome(c), (u32)c.ax);
	c = TRYR("lgdtl 0x100; sgdtl 0; mov 2, %eax; data32 lgdt 0x110");
	check("lgdt/32-bit-operand", "ok ab012345", "%s %x", real_outcome(c), (u32)c.ax);
	/* Into protected mode and back within one experiment, without reloading a segment register. */
	c = TRYR("mov %cr0, %eax; or $1, %al; mov %eax, %cr0; mov 0, %bl; and $0xfe, %al; mov %eax, %cr0; mov $5, %dx");
	check("pe/set-and-cleared-in-place", "ok 5", "%s %x", real_outcome(c), (u32)c.dx);
	/* Loads a flat DS in protected mode, drops back: big real mode made by the code itself. */
	memcpy((void *)0x200000, "\x0d\xf0", 2);
	c = TRYR("mov %cr0, %eax; or $1, %al; mov %eax, %cr0; mov $0x10, %cx; mov %cx, %ds; and $0xfe, %al; mov %eax, "
		 "%cr0;"
		 "mov (%ebx), %dx",
		 .bx = 0x200000);
	check("pe/unreal-by-hand", "ok f00d ds=10", "%s %x ds=%x", real_outcome(c), (u32)(u16)c.dx, (u32)c.ds);
	c = TRYR("lmsw %ax; smsw %bx; mov %cr0, %eax; and $0xfe, %al; mov %eax, %cr0", .ax = 1);
	check("lmsw/sets-pe", "ok 1", "%s %x", real_outcome(c), (u32)c.bx & 1);
	memcpy(DATA + 0x120, "\x34\x12\x00\x30", 4);
	c = TRYR("lss 0x120, %bx; mov %ss, %cx", .bx = 0);
	check("lss", "ok 3000:1234", "%s %x:%x", real_outcome(c), (u32)(u16)c.cx, (u32)(u16)c.bx);
}

void chapter_main(void)
{
	setup();
	addressing();
	stack();
	transfers();
	interrupts();
	instructions();
}

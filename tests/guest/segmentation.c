/*
 * Segmentation: limits, types, privilege, call gates, far returns, 16-bit stacks.
 *
 * SDM vol. 3, "Protected-Mode Memory Management" and "Protection"; the error codes are those of the instructions' pages
 * in vol. 2 (MOV, CALL, JMP, RET, LAR, LSL, VERR, LLDT, LTR). Task gates and task switches are in task_switch.c.
 */
#include "guest.h"

const char chapter[] = "segmentation";

enum {
	S_DATA = SEL_TEST,
	S_READ_ONLY = S_DATA + 8,
	S_DOWN32 = S_DATA + 0x10,
	S_DOWN16 = S_DATA + 0x18,
	S_EXEC_ONLY = S_DATA + 0x20,
	S_CODE = S_DATA + 0x28,
	S_CONFORM = S_DATA + 0x30,
	S_ABSENT = S_DATA + 0x38,
	S_GRANULAR = S_DATA + 0x40,
	S_ABSENT_CODE = S_DATA + 0x48,
	S_STACK16 = S_DATA + 0x50,
	S_GATE = S_DATA + 0x58,
	S_ANY = S_DATA + 0x60,
	S_SHORT_CODE = S_DATA + 0x68,
	S_CONFORM3 = S_DATA + 0x70,
	S_STACK_SMALL = S_DATA + 0x78,
	S_CODE3_EXEC = S_DATA + 0x80,
	S_CODE16 = S_DATA + 0x88,
	S_ABSENT_TSS = S_DATA + 0x90,
	S_FREE_TSS = S_DATA + 0x98,
	S_DATA16_3 = S_DATA + 0xa0,
};

/* 64 KiB and more for segments to lie over. */
static u8 area[0x12000] __attribute__((aligned(4096)));

static void descriptors(void)
{
	u32 base = (u32)area;

	set_descriptor(S_DATA, base, 0xfff, ACC_DATA0, SEG_D);
	set_descriptor(S_READ_ONLY, base, 0xfff, 0x91, SEG_D);
	set_descriptor(S_DOWN32, base, 0xfff, 0x97, SEG_D);
	set_descriptor(S_DOWN16, base, 0xfff, 0x97, 0);
	set_descriptor(S_EXEC_ONLY, 0, 0xfffff, 0x99, SEG_D | SEG_G);
	set_descriptor(S_CODE, 0, 0xfffff, 0x9b, SEG_D | SEG_G);
	set_descriptor(S_CONFORM, 0, 0xfffff, 0x9f, SEG_D | SEG_G);
	set_descriptor(S_CONFORM3, 0, 0xfffff, 0xff, SEG_D | SEG_G);
	set_descriptor(S_ABSENT, base, 0xfff, 0x13, SEG_D);
	set_descriptor(S_ABSENT_CODE, 0, 0xfffff, 0x1b, SEG_D | SEG_G);
	set_descriptor(S_GRANULAR, base, 0, ACC_DATA0, SEG_D | SEG_G);
	set_descriptor(S_STACK16, base, 0xffff, ACC_DATA0, 0);
	set_descriptor(S_DATA16_3, base, 0xffff, ACC_DATA3, 0);
	set_descriptor(S_STACK_SMALL, base, 0xff, ACC_DATA0, SEG_D);
	set_descriptor(S_CODE3_EXEC, 0, 0xfffff, 0xf9, SEG_D | SEG_G);
	set_descriptor(S_CODE16, base, 0xffff, 0x9b, 0);
	set_descriptor(S_ABSENT_TSS, base, 0x67, 0x09, 0);
	set_descriptor(S_FREE_TSS, base, 0x67, 0x89, 0);
}

/* SDM vol. 3, "Limit Checking". */
static void limits(void)
{
	T("limit/last-byte", "ok", RING0, CODE("movb %fs:0xfff, %al"), .fs = S_DATA);
	T("limit/first-byte-beyond", "#GP(0x0)+0", RING0, CODE("movb %fs:0x1000, %al"), .fs = S_DATA);
	T("limit/word-across", "#GP(0x0)+0", RING0, CODE("movw %fs:0xfff, %ax"), .fs = S_DATA);
	T("limit/last-dword", "ok", RING0, CODE("movl %fs:0xffc, %eax"), .fs = S_DATA);
	T("limit/dword-across", "#GP(0x0)+0", RING0, CODE("movl %eax, %fs:0xffd"), .fs = S_DATA);
	T("limit/qword-across", "#GP(0x0)+0", RING0, CODE("cmpxchg8b %fs:0xff9"), .fs = S_DATA);
	T("limit/last-qword", "ok", RING0, CODE("cmpxchg8b %fs:0xff8"), .fs = S_DATA);
	T("limit/far-beyond", "#GP(0x0)+0", RING0, CODE("movb %fs:0xffffffff, %al"), .fs = S_DATA);
	T("limit/granular-last", "ok", RING0, CODE("movb %fs:0xfff, %al"), .fs = S_GRANULAR);
	T("limit/granular-beyond", "#GP(0x0)+0", RING0, CODE("movb %fs:0x1000, %al"), .fs = S_GRANULAR);
	T("limit/read-modify-write", "#GP(0x0)+0", RING0, CODE("incl %fs:0xffe"), .fs = S_DATA);
	T("limit/string-source", "#GP(0x0)+0", RING0, CODE("lodsl"), .ds = S_DATA, .si = 0xffd);
	T("limit/string-destination", "#GP(0x0)+0", RING0, CODE("stosl"), .es = S_DATA, .di = 0xffd);
	T("limit/stack-segment", "#SS(0x0)+0", RING0, CODE("movl %ss:0x1000, %eax"), .ss = S_DATA, .sp = 0x800);
	T("limit/ebp-uses-ss", "#SS(0x0)+0", RING0, CODE("movl 0xffd(%ebp), %eax"), .ss = S_DATA, .sp = 0x800);
	T("limit/sgdt-six-bytes", "#GP(0x0)+0", RING0, CODE("sgdt %fs:0xffb"), .fs = S_DATA);
	T("limit/bound-reads-two", "#GP(0x0)+0", RING0, CODE("bound %eax, %fs:0xffa"), .fs = S_DATA);
	T("limit/far-pointer", "#GP(0x0)+0", RING0, CODE("lgs %fs:0xffb, %eax"), .fs = S_DATA);
}

/* SDM vol. 3, "Limit Checking": the limit of an expand-down segment is the last offset that is *not* allowed. */
static void expand_down(void)
{
	T("expand-down/at-limit", "#GP(0x0)+0", RING0, CODE("movb %fs:0xfff, %al"), .fs = S_DOWN32);
	T("expand-down/below-limit", "#GP(0x0)+0", RING0, CODE("movb %fs:0, %al"), .fs = S_DOWN32);
	T("expand-down/across-limit", "#GP(0x0)+0", RING0, CODE("movl %fs:0xffe, %eax"), .fs = S_DOWN32);
	T("expand-down/above-limit", "ok", RING0, CODE("movl %fs:0x1000, %eax"), .fs = S_DOWN32);
	T("expand-down/32-bit-reaches-64k", "ok", RING0, CODE("movl %fs:0x10000, %eax"), .fs = S_DOWN32);
	T("expand-down/across-top", "#GP(0x0)+0", RING0, CODE("movl %fs:0xfffffffd, %eax"), .fs = S_DOWN32);
	T("expand-down/16-bit-last", "ok", RING0, CODE("movb %fs:0xffff, %al"), .fs = S_DOWN16);
	T("expand-down/16-bit-across-64k", "#GP(0x0)+0", RING0, CODE("movw %fs:0xffff, %ax"), .fs = S_DOWN16);
	T("expand-down/16-bit-beyond-64k", "#GP(0x0)+0", RING0, CODE("movb %fs:0x10000, %al"), .fs = S_DOWN16);
	T("expand-down/write", "ok", RING0, CODE("movl %eax, %fs:0x1000"), .fs = S_DOWN32);
}

/* SDM vol. 3, "Type Checking". */
static void types(void)
{
	T("type/write-read-only", "#GP(0x0)+0", RING0, CODE("movb %al, %fs:0"), .fs = S_READ_ONLY);
	T("type/read-read-only", "ok", RING0, CODE("movb %fs:0, %al"), .fs = S_READ_ONLY);
	T("type/rmw-read-only", "#GP(0x0)+0", RING0, CODE("lock incb %fs:0"), .fs = S_READ_ONLY);
	T("type/write-code", "#GP(0x0)+0", RING0, CODE("movb %al, %fs:0"), .fs = S_CODE);
	T("type/read-code", "ok", RING0, CODE("movb %fs:0x100000, %al"), .fs = S_CODE);
	T("type/write-by-cs", "#GP(0x0)+0", RING0, CODE("movb %al, %cs:area"));
	T("type/read-by-cs", "ok", RING0, CODE("movb %cs:area, %al"));
	T("type/read-by-exec-only-cs", "#GP(0x0)+7", RING0, CODE("ljmp $0x90, $1f; 1: movb %cs:area, %al"));
	T("type/null-read", "#GP(0x0)+0", RING0, CODE("movb %fs:0, %al"), .fs = 0);
	T("type/null-read-rpl3", "#GP(0x0)+0", RING0, CODE("movb %fs:0, %al"), .fs = 3);
	T("type/null-write", "#GP(0x0)+0", RING0, CODE("movb %al, %fs:0"), .fs = 0);
	T("type/null-es-string", "#GP(0x0)+0", RING0, CODE("stosb"), .es = 0);
	T("type/null-rep-zero-count", "ok", RING0, CODE("rep stosb"), .es = 0, .cx = 0);
	T("type/null-lea", "ok", RING0, CODE(".byte 0x64; lea 0, %eax"), .fs = 0);
	T("type/null-invlpg", "ok|#GP(0x0)+0", RING0, CODE("invlpg %fs:0"), .fs = 0);
}

#define LOAD_DS "mov %eax, %ds"
#define LOAD_SS "mov %eax, %ss; mov %ecx, %ss" /* ecx: a good one, so that the end can be delivered */

/* SDM vol. 2, "MOV": loading segment registers. */
static void loads(void)
{
	T("load/null", "ok", RING0, CODE(LOAD_DS), .ax = 0);
	T("load/null-rpl3", "ok", RING0, CODE(LOAD_DS), .ax = 3);
	T("load/exec-only", "#GP(0x90)+0", RING0, CODE(LOAD_DS), .ax = S_EXEC_ONLY);
	T("load/readable-code", "ok", RING0, CODE(LOAD_DS), .ax = S_CODE);
	T("load/not-present", "#NP(0xa8)+0", RING0, CODE(LOAD_DS), .ax = S_ABSENT);
	T("load/system", "#GP(0x38)+0", RING0, CODE(LOAD_DS), .ax = SEL_TSS);
	T("load/beyond-gdt", "#GP(0x1f8)+7", RING0, CODE("lgdt short_gdt; mov %eax, %ds"), .ax = 0x200 - 8);
	asm volatile("lgdt gdt_pointer");
	T("load/last-descriptor-cut", "#GP(0x28)+7", RING0, CODE("lgdt cut_gdt; mov %eax, %ds"), .ax = SEL_DATA3);
	asm volatile("lgdt gdt_pointer");
	T("load/ldt-null", "#GP(0x14)+0", RING0, CODE(LOAD_DS), .ax = 0x14);
	T("load/error-code-drops-rpl", "#GP(0x38)+0", RING0, CODE(LOAD_DS), .ax = SEL_TSS | 3);
	T("load/rpl3-dpl0", "#GP(0x70)+0", RING0, CODE(LOAD_DS), .ax = S_DATA | 3);
	T("load/rpl3-conforming", "ok", RING0, CODE(LOAD_DS), .ax = S_CONFORM | 3);
	T("load/mov-cs", "#UD+0", RING0, CODE(".byte 0x8e, 0xc8"));
	T("load/mov-seg-6", "#UD+0", RING0, CODE(".byte 0x8e, 0xf0"));
	T("load/mov-from-seg-7", "#UD+0", RING0, CODE(".byte 0x8c, 0xf8"));
	T("load/pop-ds", "#GP(0x38)+2", RING0, CODE("push $0x38; pop %ds"));
	T("load/les", "#NP(0xa8)+0", RING0, CODE("les far_absent, %eax"));
	T("load/lss-null", "#GP(0x0)+0", RING0, CODE("lss far_null, %eax"));
	T("load/lfs-register", "#UD+0", RING0, CODE(".byte 0x0f, 0xb4, 0xc0"));
	T("load-ss/null", "#GP(0x0)+0", RING0, CODE(LOAD_SS), .ax = 0, .cx = SEL_DATA0);
	T("load-ss/read-only", "#GP(0x78)+0", RING0, CODE(LOAD_SS), .ax = S_READ_ONLY, .cx = SEL_DATA0);
	T("load-ss/code", "#GP(0x98)+0", RING0, CODE(LOAD_SS), .ax = S_CODE, .cx = SEL_DATA0);
	T("load-ss/rpl", "#GP(0x10)+0", RING0, CODE(LOAD_SS), .ax = SEL_DATA0 | 3, .cx = SEL_DATA0);
	T("load-ss/dpl", "#GP(0x28)+0", RING0, CODE(LOAD_SS), .ax = SEL_DATA3, .cx = SEL_DATA0);
	T("load-ss/not-present", "#SS(0xa8)+0", RING0, CODE(LOAD_SS), .ax = S_ABSENT, .cx = SEL_DATA0);
	T("load-ss/not-present-type-first", "#GP(0xb8)+0", RING0, CODE(LOAD_SS), .ax = S_ABSENT_CODE, .cx = SEL_DATA0);
	T("load-ss/system", "#GP(0x38)+0", RING0, CODE(LOAD_SS), .ax = SEL_TSS, .cx = SEL_DATA0);
	T("load-ss/good", "ok", RING0, CODE(LOAD_SS), .ax = SEL_DATA0, .cx = SEL_DATA0);
	T("load3/dpl0-data", "#GP(0x10)+0", RING3, CODE(LOAD_DS), .ax = SEL_DATA0);
	T("load3/dpl0-code", "#GP(0x98)+0", RING3, CODE(LOAD_DS), .ax = S_CODE);
	T("load3/conforming", "ok", RING3, CODE(LOAD_DS), .ax = S_CONFORM);
	T("load3/rpl0-dpl3", "ok", RING3, CODE(LOAD_DS), .ax = SEL_DATA3);
	T("load3/ss-rpl0", "#GP(0x28)+0", RING3, CODE(LOAD_SS), .ax = SEL_DATA3, .cx = SEL_DATA3 | 3);
	T("load3/ss-null", "#GP(0x0)+0", RING3, CODE(LOAD_SS), .ax = 3, .cx = SEL_DATA3 | 3);
}

const struct __attribute__((packed)) {
	u16 limit;
	u32 base;
} short_gdt = {0x1f7, (u32)gdt}, cut_gdt = {0x2e, (u32)gdt};
const struct __attribute__((packed)) {
	u32 offset;
	u16 selector;
} far_absent = {0, S_ABSENT}, far_null = {0, 0};

/* SDM vol. 3, "Code- and Data-Segment Descriptor Types": the accessed bit is set when a selector is loaded. */
static void accessed(void)
{
	struct ctx c;

	set_descriptor(S_ANY, 0, 0xfffff, 0x92, SEG_D | SEG_G);
	c = TRY(RING0, CODE(LOAD_DS), .ax = S_ANY);
	check("accessed/data", "ok 93", "%s %x", outcome(c), (u8)(gdt[S_ANY / 8] >> 40));
	set_descriptor(S_ANY, 0, 0xfffff, 0x9a, SEG_D | SEG_G);
	c = TRY(RING0, CODE("ljmp $0xd0, $1f; 1:"));
	check("accessed/code", "ok 9b", "%s %x", outcome(c), (u8)(gdt[S_ANY / 8] >> 40));
	set_descriptor(S_ANY, 0, 0xfffff, 0x12, SEG_D | SEG_G);
	c = TRY(RING0, CODE(LOAD_DS), .ax = S_ANY);
	check("accessed/not-on-fault", "#NP(0xd0)+0 12", "%s %x", outcome(c), (u8)(gdt[S_ANY / 8] >> 40));
	set_descriptor(S_ANY, 0, 0xfffff, 0x92, SEG_D | SEG_G);
	c = TRY(RING0, CODE("lar %eax, %ecx; verr %ax"), .ax = S_ANY);
	check("accessed/not-by-lar-verr", "ok 92", "%s %x", outcome(c), (u8)(gdt[S_ANY / 8] >> 40));
}

/* SDM vol. 2, "LAR", "LSL", "VERR/VERW": which descriptor types each takes, from ring 0 and ring 3. */
static void probes(void)
{
	static const char *const ring_name[] = {"ring0", "ring3"};
	const u32 lar_system = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
	const u32 lsl_system = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
	ulong code = CODE("xor %esi, %esi; lar %eax, %ecx; setz %bl; lsl %eax, %edx; setz %bh; shl $16, %ebx;"
			  "verr %ax; setz %bl; verw %ax; setz %bh");

	for (u32 ring = 0; ring < 2; ring++)
		for (u32 type = 0; type < 32; type++) {
			struct ctx c;
			char name[32], expected[64];
			bool is_code = (type & 0x18) == 0x18, visible = !ring || (is_code && type & 4);
			bool lar = visible && (type & 16 || lar_system >> type & 1);
			bool lsl = visible && (type & 16 || lsl_system >> type & 1);
			bool verr = visible && type & 16 && (!is_code || type & 2);
			bool verw = visible && type & 16 && !is_code && type & 2;

			set_descriptor(S_ANY, 0, 0x12345, 0x80 | type, SEG_G);
			if (ring)
				c = TRY(RING3, code, .ax = S_ANY, .cx = 0x77, .dx = 0x77, .bx = 0);
			else
				c = TRY(RING0, code, .ax = S_ANY, .cx = 0x77, .dx = 0x77, .bx = 0);
			format_text(name, sizeof(name), "probe/%s-type-%02x", ring_name[ring], type);
			format_text(expected, sizeof(expected), "ok lar=%d:%x lsl=%d:%x verr=%d verw=%d", lar,
				    lar ? 0x808000 | type << 8 : 0x70, lsl, lsl ? 0x12345fff : 0x77, verr, verw);
			/* LAR leaves bits 19:16 undefined. */
			check(name, expected, "%s lar=%d:%x lsl=%d:%x verr=%d verw=%d", outcome(c),
			      (int)(c.bx >> 16 & 1), (u32)c.cx & 0x00f0ff00 ?: (u32)c.cx & 0x70, (int)(c.bx >> 24 & 1),
			      (u32)c.dx, (int)(c.bx & 1), (int)(c.bx >> 8 & 1));
		}
	set_descriptor(S_ANY, 0, 0x12345, 0x13, SEG_D);
	struct ctx c = TRY(RING0, code, .ax = S_ANY, .cx = 0, .dx = 0, .bx = 0);
	check("probe/not-present", "ok lar=401300 lsl=12345 flags=1010101|ok lar=401300 lsl=12345 flags=1010000",
	      "%s lar=%x lsl=%x flags=%x", outcome(c), (u32)c.cx & 0xf0ff00, (u32)c.dx, (u32)c.bx);
	c = TRY(RING0, code, .ax = 0, .cx = 0x77, .dx = 0x77, .bx = 0);
	check("probe/null", "ok 77 77 0", "%s %x %x %x", outcome(c), (u32)c.cx, (u32)c.dx, (u32)c.bx);
	c = TRY(RING0, code, .ax = 0x200, .cx = 0x77, .dx = 0x77, .bx = 0);
	check("probe/beyond-gdt", "ok 77 77 0", "%s %x %x %x", outcome(c), (u32)c.cx, (u32)c.dx, (u32)c.bx);
	c = TRY(RING0, code, .ax = SEL_DATA0 | 3, .cx = 0x77, .dx = 0x77, .bx = 0);
	check("probe/rpl3-dpl0", "ok 77 77 0", "%s %x %x %x", outcome(c), (u32)c.cx, (u32)c.dx, (u32)c.bx);
	set_descriptor(S_ANY, 0, 0x12345, 0x93, SEG_G);
	c = TRY(RING0, CODE("lar %ax, %cx; lsl %ax, %dx"), .ax = S_ANY, .cx = 0x77777777, .dx = 0x77777777);
	check("probe/16-bit-operand", "ok 77779300 77775fff", "%s %x %x", outcome(c), (u32)c.cx, (u32)c.dx);
}

/* SDM vol. 2, "LLDT", "LTR". */
static void system_segments(void)
{
	struct ctx c;

	T("lldt/null", "ok", RING0, CODE("lldt %ax"), .ax = 0);
	T("lldt/type", "#GP(0x10)+0", RING0, CODE("lldt %ax"), .ax = SEL_DATA0);
	T("lldt/in-ldt", "#GP(0x4)+0", RING0, CODE("lldt %ax"), .ax = 4);
	set_descriptor(S_ANY, (u32)ldt, sizeof(ldt) - 1, 2, 0);
	T("lldt/not-present", "#NP(0xd0)+0", RING0, CODE("lldt %ax"), .ax = S_ANY);
	T("lldt/ring3", "#GP(0x0)+0", RING3, CODE("lldt %ax"), .ax = 0);
	T("ltr/null", "#GP(0x0)+0", RING0, CODE("ltr %ax"), .ax = 0);
	reload_tr();
	T("ltr/busy", "#GP(0x38)+0", RING0, CODE("ltr %ax"), .ax = SEL_TSS);
	T("ltr/type", "#GP(0x10)+0", RING0, CODE("ltr %ax"), .ax = SEL_DATA0);
	T("ltr/in-ldt", "#GP(0x3c)+0", RING0, CODE("ltr %ax"), .ax = 0x3c);
	T("ltr/not-present", "#NP(0x100)+0", RING0, CODE("ltr %ax"), .ax = S_ABSENT_TSS);
	T("ltr/ring3", "#GP(0x0)+0", RING3, CODE("ltr %ax"), .ax = S_FREE_TSS);
	c = TRY(RING0, CODE("ltr %ax; str %ecx"), .ax = S_FREE_TSS);
	check("ltr/sets-busy", "ok str=108 type=8b", "%s str=%x type=%x", outcome(c), (u32)c.cx,
	      (u8)(gdt[S_FREE_TSS / 8] >> 40));
	reload_tr();
	use_ldt();
	ldt[1] = descriptor(0x100000, 0xfff, ACC_DATA0, SEG_D);
	T("ldt/use", "ok", RING0, CODE("mov %eax, %fs; movl %fs:0, %ecx"), .ax = 0xc);
	T("ldt/limit", "#GP(0x84)+0", RING0, CODE(LOAD_DS), .ax = 0x84);
	T("ldt/slot-0-is-not-null", "#GP(0x4)+0", RING0, CODE(LOAD_DS), .ax = 4);
	T("ldt/error-code-has-ti", "#GP(0xc)+0", RING3, CODE(LOAD_DS), .ax = 0xf);
	no_ldt();
}

/* SDM vol. 3, "Direct Calls or Jumps to Code Segments". */
static void far_jumps(void)
{
	T("jmp/null", "#GP(0x0)+0", RING0, CODE("ljmp $0, $0"));
	T("jmp/data", "#GP(0x70)+0", RING0, CODE("ljmp $0x70, $0"));
	T("jmp/not-present", "#NP(0xb8)+0", RING0, CODE("ljmp $0xb8, $0"));
	T("jmp/rpl3-nonconforming", "#GP(0x8)+0", RING0, CODE("ljmp $0xb, $0"));
	T("jmp/conforming", "ok", RING0, CODE("ljmp $0xa0, $1f; 1:"));
	T("jmp/conforming-rpl3", "ok", RING0, CODE("ljmp $0xa3, $1f; 1:"));
	T("jmp/conforming-dpl3-from-0", "#GP(0xe0)+0", RING0, CODE("ljmp $0xe0, $1f; 1:"));
	T("jmp/dpl3-from-0", "#GP(0x20)+0", RING0, CODE("ljmp $0x20, $1f; 1:"));
	T("jmp/beyond-gdt", "#GP(0x7f0)+0", RING0, CODE("ljmp $0x7f0, $0"));
	set_descriptor(S_SHORT_CODE, 0, 0xfff, 0x9b, SEG_D);
	T("jmp/beyond-limit", "#GP(0x0)+0", RING0, CODE("ljmp $0xd8, $0x1000"));
	T("jmp/ldt-descriptor", "#GP(0x60)+0", RING0, CODE("ljmp $0x60, $0"));
	T("jmp/memory-operand-register", "#UD+0", RING0, CODE(".byte 0xff, 0xe8"));
	T("call/null", "#GP(0x0)+0", RING0, CODE("lcall $0, $0"));
	T("call/not-present", "#NP(0xb8)+0", RING0, CODE("lcall $0xb8, $0"));
	T("call3/conforming", "ok", RING3, CODE("lcall $0xa0, $1f; 1:"));
	T("call3/dpl0-nonconforming", "#GP(0x98)+0", RING3, CODE("lcall $0x98, $1f; 1:"));
	/* The #SS finds no room either. */
	T("call/stack-full", "#DF(0x0)+5", RING0, CODE("mov $4, %esp; lcall $0x8, $1f; 1:"), .ss = S_STACK_SMALL,
	  .sp = 0x100);
	struct ctx c = TRY(RING3, CODE("lcall $0xa0, $1f; 1: pop %ebx; pop %ecx; mov %cs, %edx"));
	check("call3/conforming-keeps-cpl", "ok dx=a3 pushed-cs=23", "%s dx=%x pushed-cs=%x", outcome(c), (u32)c.dx,
	      (u32)c.cx);
	/* A near branch beyond the limit faults with the branch's own EIP; running off the end with the next one. */
	set_descriptor(S_SHORT_CODE, (u32)area, 0x1f, 0x9b, SEG_D);
	for (u32 i = 0; i < 0x100; i += 2) /* INT 0x80 beyond the limit, so that a processor without limits ends too */
		memcpy(area + i, (u8[]){0xcd, VECTOR_END}, 2);
	memset(area, 0x90, 0x20);
	c = TRY(RING0, 0x1e, .cs = S_SHORT_CODE);
	check("limit/run-off-code", "vector=13 error=0 ip=20", "vector=%u error=%x ip=%x", (u32)c.vector, (u32)c.error,
	      (u32)c.ip);
	area[0] = 0xeb;
	area[1] = 0x1e;
	c = TRY(RING0, 0, .cs = S_SHORT_CODE);
	check("limit/branch-off-code", "vector=13 error=0 ip=0", "vector=%u error=%x ip=%x", (u32)c.vector,
	      (u32)c.error, (u32)c.ip);
	area[0x1d] = 0xb8; /* mov $imm32, %eax, cut by the limit */
	c = TRY(RING0, 0x1d, .cs = S_SHORT_CODE);
	check("limit/instruction-across", "vector=13 error=0 ip=1d", "vector=%u error=%x ip=%x", (u32)c.vector,
	      (u32)c.error, (u32)c.ip);
	area[0] = 0xe8; /* call beyond the limit: nothing is pushed */
	area[1] = 0x7b;
	area[2] = area[3] = area[4] = 0;
	c = TRY(RING0, 0, .cs = S_SHORT_CODE);
	check("limit/call-off-code", "vector=13 ip=0 pushed=0", "vector=%u ip=%x pushed=%u", (u32)c.vector, (u32)c.ip,
	      (u32)((ulong)ring0_stack_top - c.sp));
}

/* Where call gates lead: ring 0 looks at its stack, or goes back. */
asm(".text\n"
    "gate_look: popl %eax; popl %ebx; popl %ecx; popl %edx; popl %esi; popl %edi; int $0x80\n"
    "gate_return: lret $8\n"
    "gate_return0: lret\n"
    ".code16\n"
    "gate_look16: .byte 0x66; popl %eax; .byte 0x66; popl %ebx; .byte 0x66; popl %ecx; .byte 0x66; popl %edx;"
    " .byte 0x66; popl %esi; .byte 0x66; popl %edi; int $0x80\n"
    ".code32\n");
extern u8 gate_look[], gate_return[], gate_return0[];

/* SDM vol. 3, "Call Gates", "Accessing a Code Segment Through a Call Gate", "Stack Switching". */
static void call_gates(void)
{
	u32 look = (u32)gate_look;
	u64 *gate = &gdt[S_GATE / 8];
	u16 ss0 = main_tss.t.ss0;
	u32 esp0 = main_tss.t.esp0;
	struct ctx c;
	ulong call = CODE("push $0x1111; push $0x2222; lcall $0xcb, $0; 1:");
	ulong call0 = CODE("lcall $0xc8, $0");
	ulong back = CODE("push $0x1111; push $0x2222; lcall $0xcb, $0; mov %ds, %ecx; mov %esp, %ebx");

	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL | ACC_DPL3, 2);
	c = TRY(RING3, call);
	check("gate/stack", "ok eip+17 cs=23 2222 1111 esp-8 ss=2b cs=8 ss=10",
	      "%s eip+%u cs=%x %x %x esp-%u ss=%x cs=%x ss=%x", outcome(c), (u32)(c.ax - c.start), (u32)c.bx, (u32)c.cx,
	      (u32)c.dx, (u32)((ulong)ring3_stack_top - c.si), (u32)c.di, (u32)c.cs, (u32)c.ss);
	check("gate/new-stack-from-tss", "0", "%d", (int)(c.sp - esp0));
	c = TRY(RING0, call0);
	check("gate/same-privilege-no-copy", "ok eip+7 cs=8 sp+16", "%s eip+%u cs=%x sp+%d", outcome(c),
	      (u32)(c.ax - c.start), (u32)c.bx, (int)(c.sp - (ulong)ring0_stack_top));
	*gate = gate_descriptor(SEL_CODE0, (u32)gate_return, ACC_CALL | ACC_DPL3, 2);
	c = TRY(RING3, back, .cx = 0);
	check("gate/return-releases", "ok cs=23 ss=2b ds=2b esp=0", "%s cs=%x ss=%x ds=%x esp=%d", outcome(c),
	      (u32)c.cs, (u32)c.ss, (u32)c.cx, (int)(c.bx - (ulong)ring3_stack_top));
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL, 2);
	T("gate/dpl-below-cpl", "#GP(0xc8)+10", RING3, call);
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL, 0);
	T("gate/rpl-above-dpl", "#GP(0xc8)+0", RING0, CODE("lcall $0xcb, $0"));
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL & 0x7f, 0);
	T("gate/not-present", "#NP(0xc8)+0", RING0, call0);
	*gate = gate_descriptor(0, look, ACC_CALL, 0);
	T("gate/null-target", "#GP(0x0)+0", RING0, call0);
	*gate = gate_descriptor(S_DATA, look, ACC_CALL, 0);
	T("gate/data-target", "#GP(0x70)+0", RING0, call0);
	*gate = gate_descriptor(SEL_CODE3 | 3, look, ACC_CALL, 0);
	T("gate/outer-target", "#GP(0x20)+0", RING0, call0);
	*gate = gate_descriptor(S_ABSENT_CODE, look, ACC_CALL, 0);
	T("gate/absent-target", "#NP(0xb8)+0", RING0, call0);
	*gate = gate_descriptor(0x7f0, look, ACC_CALL, 0);
	T("gate/target-beyond-gdt", "#GP(0x7f0)+0", RING0, call0);
	*gate = gate_descriptor(SEL_CODE0 | 3, look, ACC_CALL, 0);
	T("gate/target-rpl-ignored", "ok", RING0, call0);
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL | ACC_DPL3, 0);
	T("gate/jmp-to-inner", "#GP(0x8)+0", RING3, CODE("ljmp $0xcb, $0"));
	*gate = gate_descriptor(S_CONFORM, look, ACC_CALL | ACC_DPL3, 2);
	c = TRY(RING3, call);
	check("gate/conforming-no-switch", "ok cs=a3 ss=2b 2222", "%s cs=%x ss=%x %x", outcome(c), (u32)c.cs, (u32)c.ss,
	      (u32)c.cx);
	c = TRY(RING3, CODE("ljmp $0xcb, $0"));
	check("gate/jmp-conforming", "ok cs=a3 sp+24", "%s cs=%x sp+%d", outcome(c), (u32)c.cs,
	      (int)(c.sp - (ulong)ring3_stack_top));

	/* The inner stack. SDM vol. 2, "CALL", MORE-PRIVILEGE: #TS with the selector of the new SS. */
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL | ACC_DPL3, 2);
	main_tss.t.ss0 = 0;
	c = TRY(RING3, CODE("push $0x1111; push $0x2222; lcall $0xcb, $0"));
	/* The #TS cannot be delivered on that stack either: a double fault by task gate. */
	check("gate/ss0-null", "#DF(0x0)+10", "%s", outcome(c));
	main_tss.t.ss0 = ss0;
	main_tss.t.ss1 = 0;
	main_tss.t.esp1 = esp0;
	set_descriptor(S_ANY, 0, 0xfffff, 0xbb, SEG_D | SEG_G);
	*gate = gate_descriptor(S_ANY, look, ACC_CALL | ACC_DPL3, 2);
	T("gate/ss1-null", "#TS(0x0)+10", RING3, call);
	main_tss.t.ss1 = SEL_DATA0;
	T("gate/ss1-rpl", "#TS(0x10)+10", RING3, call);
	main_tss.t.ss1 = SEL_DATA0 | 1;
	T("gate/ss1-dpl", "#TS(0x10)+10", RING3, call);
	main_tss.t.ss1 = 0x7f1;
	T("gate/ss1-beyond-gdt", "#TS(0x7f0)+10", RING3, call);
	set_descriptor(S_SHORT_CODE, (u32)area, 0xfffff, 0x33, SEG_D | SEG_G);
	main_tss.t.ss1 = S_SHORT_CODE | 1;
	T("gate/ss1-absent", "#SS(0xd8)+10", RING3, call);
	set_descriptor(S_SHORT_CODE, (u32)area, 0xfffff, 0xb1, SEG_D | SEG_G);
	T("gate/ss1-read-only", "#TS(0xd8)+10", RING3, call);
	set_descriptor(S_SHORT_CODE, (u32)area, 0xfff, 0xb3, SEG_D);
	main_tss.t.esp1 = 0x10;
	T("gate/ss1-no-room", "#SS(0xd8)+10", RING3, call);
	main_tss.t.esp1 = 0x1000;
	c = TRY(RING3, call);
	check("gate/ring1-cannot-reach-int80-frame", "ok cs=d1 ss=d9 cx=2222", "%s cs=%x ss=%x cx=%x", outcome(c),
	      (u32)c.cs, (u32)c.ss, (u32)c.cx);

	/* A TSS too short to hold the new stack pointer. */
	*gate = gate_descriptor(SEL_CODE0, look, ACC_CALL | ACC_DPL3, 0);
	*gate = gate_descriptor(S_ANY, look, ACC_CALL | ACC_DPL3, 2);
	set_descriptor(SEL_TSS, (u32)&main_tss, 0x10, ACC_TSS, 0);
	c = TRY(RING0, CODE("ltr %ax; push $0x2b; push $0; push $2; push $0x23; push %ebx; iret"), .ax = SEL_TSS,
		.bx = call);
	check("gate/tss-too-short", "vector=10 error=38", "vector=%u error=%x", (u32)c.vector, (u32)c.error);
	reload_tr();

	/* 16-bit gate: words are pushed, and the offset has 16 bits. */
	memcpy(area, gate_look, 32);
	memcpy(area + 0x1000000, (u8[]){0xcd, VECTOR_END}, 2);
	set_descriptor(S_ANY, (u32)area, 0xffff, 0x9b, SEG_D);
	*gate = gate_descriptor(S_ANY, 0x1000000, ACC_CALL16 | ACC_DPL3, 2);
	c = TRY(RING3, CODE("pushw $0x1111; pushw $0x2222; lcall $0xcb, $0"));
	check("gate16/stack", "ok cs:ip=23:0f params=11112222 ss:sp=2b:fffc", "%s cs:ip=%x:%02x params=%x ss:sp=%x:%s",
	      outcome(c), (u32)c.ax >> 16, (u32)(u16)(c.ax - c.start), (u32)c.bx, (u32)c.cx >> 16,
	      (u16)c.cx == (u16)((ulong)ring3_stack_top - 4) ? "fffc" : "wrong");
}

/* SDM vol. 2, "RET": far returns. */
static void far_returns(void)
{
	struct ctx c;

	T("lret/same", "ok", RING0, CODE("push $0x08; push $1f; lret; 1:"));
	T("lret/null", "#GP(0x0)+4", RING0, CODE("push $0; push $0; lret"));
	T("lret/null-rpl3", "#GP(0x0)+4", RING0, CODE("push $3; push $0; lret"));
	T("lret/data", "#GP(0x70)+4", RING0, CODE("push $0x70; push $0; lret"));
	T("lret/not-present", "#NP(0xb8)+7", RING0, CODE("push $0xb8; push $0; lret"));
	T("lret/conforming-dpl-above-rpl", "#GP(0xe0)+7", RING0, CODE("push $0xe0; push $0; lret"));
	T("lret/dpl-not-rpl", "#GP(0x8)+4", RING0, CODE("push $0xb; push $0; lret"));
	T("lret/beyond-gdt", "#GP(0x7f0)+7", RING0, CODE("push $0x7f0; push $0; lret"));
	T("lret3/inner", "#GP(0x8)+4", RING3, CODE("push $8; push $0; lret"));
	set_descriptor(S_SHORT_CODE, 0, 0xfff, 0x9b, SEG_D);
	memcpy((void *)0x1000, (u8[]){0xcd, VECTOR_END}, 2);
	T("lret/beyond-limit", "#GP(0x0)+10", RING0, CODE("push $0xd8; push $0x1000; lret"));
	T("lret/outer-null-ss", "#GP(0x0)+8", RING0, CODE("push $0; push $0; push $0x23; push $0; lret"));
	T("lret/outer-ss-rpl", "#GP(0x28)+8", RING0, CODE("push $0x28; push $0; push $0x23; push $0; lret"));
	T("lret/outer-ss-dpl", "#GP(0x10)+8", RING0, CODE("push $0x13; push $0; push $0x23; push $0; lret"));
	T("lret/outer-ss-code", "#GP(0x20)+8", RING0, CODE("push $0x23; push $0; push $0x23; push $0; lret"));
	set_descriptor(S_ANY, 0, 0xfffff, 0x73, SEG_D | SEG_G);
	T("lret/outer-ss-absent", "#SS(0xd0)+11", RING0, CODE("push $0xd3; push $0; push $0x23; push $0; lret"));
	/* Data segments that the outer level may not use become null; conforming code and DPL 3 stay. */
	c = TRY(RING0, CODE("push $0x2b; push $0x1234; push $0x23; push $1f; lret; 1: mov %esp, %ebx"), .ds = SEL_DATA0,
		.es = SEL_DATA3, .fs = S_CONFORM, .gs = S_CODE);
	check("lret/outer-nulls-segments", "ok ds=0 es=28 fs=a0 gs=0 esp=1234", "%s ds=%x es=%x fs=%x gs=%x esp=%x",
	      outcome(c), (u32)c.ds, (u32)c.es, (u32)c.fs, (u32)c.gs, (u32)c.bx);
	c = TRY(RING0,
		CODE("push $0x2b; push $0x1234; push $1; push $2; push $0x23; push $1f; lret $8; 1: mov %esp, %ebx"));
	check("lret/outer-imm-both-stacks", "ok esp=123c", "%s esp=%x", outcome(c), (u32)c.bx);
	memcpy((void *)0x7c00, (u8[]){0xcd, VECTOR_END}, 2);
	c = TRY(RING0, CODE("push $0x87654321; pushw $8; pushw $0x7c00; lretw"));
	check("lret/16-bit-operand", "vector=128 ip=7c02 sp-4", "vector=%u ip=%x sp-%u", (u32)c.vector, (u32)c.ip,
	      (u32)((ulong)ring0_stack_top - c.sp));
}

/* SDM vol. 3, "Stack Pointer" size: the B flag of SS chooses SP or ESP. */
static void stacks16(void)
{
	struct ctx c;

	c = TRY(RING0, CODE("pushw %ax; mov %esp, %ecx; lss good_stack, %esp"), .ss = S_STACK16, .sp = 0x12340102,
		.ax = 0xbeef);
	check("stack16/upper-esp-kept", "ok esp=12340100 word=beef", "%s esp=%x word=%x", outcome(c), (u32)c.cx,
	      *(u16 *)(area + 0x100));
	/* IRET into the context popped 12 bytes with SP: start with room and move SP here. */
	c = TRY(RING0, CODE("mov $0x56780000, %esp; pushw %ax; mov %esp, %ecx; lss good_stack, %esp"), .ss = S_STACK16,
		.sp = 0x8000, .ax = 0xcafe);
	check("stack16/wraps-at-0", "ok esp=5678fffe word=cafe", "%s esp=%x word=%x", outcome(c), (u32)c.cx,
	      *(u16 *)(area + 0xfffe));
	/* The #SS frame itself then has no room at SP 2 but wraps to the top: delivery works. */
	c = TRY(RING0, CODE("mov $0x56780002, %esp; pushl %eax; mov %esp, %ecx; lss good_stack, %esp"), .ss = S_STACK16,
		.sp = 0x8000);
	check("stack16/dword-across-end", "#DF(0x0)+5", "%s", outcome(c));
	c = TRY(RING0, CODE("mov $0x5678ffff, %esp; popw %ax; lss good_stack, %esp"), .ss = S_STACK16, .sp = 0x8000);
	check("stack16/pop-across-end", "#SS(0x0)+5", "%s", outcome(c));
	memcpy(area + 0xfffe, (u8[]){0xfe, 0xca}, 2);
	c = TRY(RING0, CODE("mov $0x5678fffe, %esp; popw %ax; mov %esp, %ecx; lss good_stack, %esp"), .ss = S_STACK16,
		.sp = 0x8000);
	check("stack16/pop-wraps", "ok esp=56780000 ax=cafe", "%s esp=%x ax=%x", outcome(c), (u32)c.cx, (u32)(u16)c.ax);
	c = TRY(RING0,
		CODE("enter $0x10, $0; mov %esp, %ecx; mov %ebp, %edx; leave; mov %esp, %ebx; lss good_stack, %esp"),
		.ss = S_STACK16, .sp = 0x9abc0200, .bp = 0x11112222);
	/* LEAVE copies BP to SP (16 bits of stack), then pops EBP (32 bits of operand). */
	check("stack16/enter-leave",
	      "ok esp=9abc01ec ebp=9abc01fc then esp=9abc0200 ebp=11112222|"
	      "ok esp=9abc01ec ebp=111101fc then esp=9abc0200 ebp=11112222",
	      "%s esp=%x ebp=%x then esp=%x ebp=%x", outcome(c), (u32)c.cx, (u32)c.dx, (u32)c.bx, (u32)c.bp);
	c = TRY(RING0, CODE("pushal; mov %esp, %ecx; popal; mov %esp, %edx; lss good_stack, %esp"), .ss = S_STACK16,
		.sp = 0x9abc0200);
	check("stack16/pusha-popa", "ok edx=9abc0200", "%s edx=%x", outcome(c), (u32)c.dx);
	c = TRY(RING0, CODE("mov %esp, %ebp; call 1f; 1: popl %eax; mov %esp, %ecx; lss good_stack, %esp"),
		.ss = S_STACK16, .sp = 0x9abc0200);
	check("stack16/call-32-bit-operand", "ok eip+7 esp=9abc0200", "%s eip+%u esp=%x", outcome(c),
	      (u32)(c.ax - c.start), (u32)c.cx);
	/* The 32-bit address size reaches beyond SP: no wrap for explicit operands. */
	T("stack16/explicit-esp-operand", "#SS(0x0)+5", RING0, CODE("mov $0x5678fffe, %esp; movl (%esp), %eax"),
	  .ss = S_STACK16, .sp = 0x8000);
	c = TRY(RING3, CODE("pushw %ax; mov %esp, %ecx"), .ss = S_DATA16_3 | 3, .sp = 0x300);
	check("stack16/ring3", "ok sp=2fe", "%s sp=%x", outcome(c), (u32)(u16)c.cx);
	/* 16-bit code: near transfers keep 16 bits of IP, whatever was in the upper half. */
	memcpy(area + 0xfff0, (u8[]){0xeb, 0x20}, 2); /* jmp +0x20, wraps to 0x12 */
	memcpy(area + 0x12, (u8[]){0xcd, 0x80}, 2);
	c = TRY(RING0, 0xfff0, .cs = S_CODE16);
	check("code16/branch-wraps-ip", "vector=128 ip=14", "vector=%u ip=%x", (u32)c.vector, (u32)c.ip);
	area[0xfffe] = 0x90;
	memcpy(area + 0xffff, (u8[]){0x90, 0xcd, VECTOR_END}, 3);
	c = TRY(RING0, 0xfffe, .cs = S_CODE16);
	check("code16/sequential-runs-off", "vector=13 ip=10000", "vector=%u ip=%x", (u32)c.vector, (u32)c.ip);
}

const struct __attribute__((packed)) {
	u32 offset;
	u16 selector;
} good_stack = {(u32)ring0_stack_top, SEL_DATA0};

/* SDM vol. 3, "Privileged Instructions"; CPL 3 gets #GP(0). */
static void privileged(void)
{
	T("privileged/hlt", "#GP(0x0)+0", RING3, CODE("hlt"));
	T("privileged/lgdt", "#GP(0x0)+0", RING3, CODE("lgdt gdt_pointer"));
	T("privileged/lidt", "#GP(0x0)+0", RING3, CODE("lidt idt_pointer"));
	T("privileged/lmsw", "#GP(0x0)+0", RING3, CODE("lmsw %ax"));
	T("privileged/clts", "#GP(0x0)+0", RING3, CODE("clts"));
	T("privileged/mov-cr0", "#GP(0x0)+0", RING3, CODE("mov %cr0, %eax"));
	T("privileged/mov-to-cr3", "#GP(0x0)+0", RING3, CODE("mov %eax, %cr3"));
	T("privileged/mov-dr7", "#GP(0x0)+0", RING3, CODE("mov %dr7, %eax"));
	T("privileged/rdmsr", "#GP(0x0)+0", RING3, CODE("rdmsr"), .cx = MSR_TSC);
	T("privileged/wrmsr", "#GP(0x0)+0", RING3, CODE("wrmsr"), .cx = MSR_TSC);
	T("privileged/invd", "#GP(0x0)+0", RING3, CODE("invd"));
	T("privileged/wbinvd", "#GP(0x0)+0", RING3, CODE("wbinvd"));
	T("privileged/invlpg", "#GP(0x0)+0", RING3, CODE("invlpg area"));
	T("privileged/cli", "#GP(0x0)+0", RING3, CODE("cli"));
	T("privileged/sti", "#GP(0x0)+0", RING3, CODE("sti"));
	T("privileged/in", "#GP(0x0)+0", RING3, CODE("in $0x80, %al"));
	T("privileged/outs", "#GP(0x0)+0", RING3, CODE("outsb"), .si = 0x100000);
	T("privileged/smsw", "ok", RING3, CODE("smsw %eax"));
	T("privileged/sgdt", "ok", RING3, CODE("sgdt area"));
	T("privileged/str", "ok", RING3, CODE("str %eax"));
	struct ctx c = TRY(RING0, CODE("mov $0, %ax; lmsw %ax; smsw %eax"));
	check("lmsw/cannot-clear-pe", "ok 31", "%s %x", outcome(c), (u32)c.ax & 0x3f);
	c = TRY(RING0,
		CODE("mov $0xffff, %ax; lmsw %ax; smsw %eax; mov %cr0, %ecx; clts; mov $0x31, %edx; mov %edx, %cr0"));
	check("lmsw/low-four-bits", "ok 3f", "%s %x", outcome(c), (u32)c.cx & 0x3f);
	c = TRY(RING3, CODE("pushf; orl $0x3200, (%esp); popf; pushf; pop %eax"));
	check("popf/ring3-keeps-iopl-and-if", "ok 2", "%s %x", outcome(c), (u32)c.ax & 0x3202);
	c = TRY(RING0, CODE("push $0x3202; popf; pushf; pop %eax; cli"));
	check("popf/ring0-sets-iopl-and-if", "ok 3202", "%s %x", outcome(c), (u32)c.ax & 0x3202);
	c = TRY(RING3, CODE("cli; pushf; pop %eax"), .flags = FLAG_FIXED | FLAG_IF | FLAG_IOPL);
	check("cli/iopl3", "ok 3002", "%s %x", outcome(c), (u32)c.ax & 0x3202);
}

void chapter_main(void)
{
	descriptors();
	limits();
	expand_down();
	types();
	loads();
	accessed();
	probes();
	system_segments();
	far_jumps();
	call_gates();
	far_returns();
	stacks16();
	privileged();
}

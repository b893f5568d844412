/*
 * Integer instructions whose results need a special mode or a fault in the middle: BCD, ENTER, strings in every address
 * size, CMPXCHG8B/16B, bit strings, ARPL, BOUND, partial registers, shifts by any count.
 *
 * SDM vol. 2. 64-bit image; 32-bit and 16-bit forms run in compatibility mode. Plain arithmetic is compared with the
 * host elsewhere. Undefined flags are masked out.
 */
#include "guest.h"

const char chapter[] = "integer";

#define AF_CF (FLAG_AF | FLAG_CF)
#define SZP   (FLAG_SF | FLAG_ZF | FLAG_PF)
static u8 *data, *hole; /* a page, followed by one that is not present */
static u64 *table;

static void setup(void)
{
	/* 0x40000000 and up: one page of data, then nothing. */
	table = page_alloc();
	data = page_alloc();
	page_dirs[1][0] = (u64)table | 7;
	table[0] = (u64)data | 7;
	write_cr3(read_cr3());
	hole = (u8 *)0x40001000;
}

static void bcd(void)
{
	static const struct {
		const char *name;
		u8 code[2];
		u16 ax;
		u32 flags;
		u16 result;
		u32 out, mask;
	} rows[] = {
		{"daa-9a", {0x27}, 0x9a, 0, 0x00, FLAG_AF | FLAG_CF | FLAG_ZF | FLAG_PF, AF_CF | SZP},
		{"daa-99", {0x27}, 0x99, 0, 0x99, FLAG_SF | FLAG_PF, AF_CF | SZP},
		{"daa-af", {0x27}, 0x12, FLAG_AF, 0x18, FLAG_AF | FLAG_PF, AF_CF | SZP},
		{"daa-cf", {0x27}, 0x12, FLAG_CF, 0x72, FLAG_CF | FLAG_PF, AF_CF | SZP},
		{"daa-fa", {0x27}, 0xfa, 0, 0x60, FLAG_AF | FLAG_CF | FLAG_PF, AF_CF | SZP},
		{"das-0", {0x2f}, 0x00, 0, 0x00, FLAG_ZF | FLAG_PF, AF_CF | SZP},
		{"das-ff", {0x2f}, 0xff, 0, 0x99, FLAG_AF | FLAG_CF | FLAG_SF | FLAG_PF, AF_CF | SZP},
		{"das-af-cf", {0x2f}, 0x88, FLAG_AF | FLAG_CF, 0x22, FLAG_AF | FLAG_CF | FLAG_PF, AF_CF | SZP},
		{"das-borrow", {0x2f}, 0x05, FLAG_AF, 0xff, FLAG_AF | FLAG_CF | FLAG_SF | FLAG_PF, AF_CF | SZP},
		{"aaa-0f", {0x37}, 0x000f, 0, 0x0105, AF_CF, AF_CF},
		{"aaa-09", {0x37}, 0x0109, 0, 0x0109, 0, AF_CF},
		{"aaa-ff", {0x37}, 0x00ff, 0, 0x0205, AF_CF, AF_CF},
		{"aas-00-af", {0x3f}, 0x0200, FLAG_AF, 0x000a, AF_CF, AF_CF},
		{"aas-0f", {0x3f}, 0x020f, 0, 0x0109, AF_CF, AF_CF},
		{"aam-63", {0xd4, 10}, 63, 0, 0x0603, FLAG_PF, SZP},
		{"aam-base-16", {0xd4, 16}, 0xab, 0, 0x0a0b, 0, SZP},
		{"aad-0603", {0xd5, 10}, 0x0603, 0, 63, FLAG_PF, SZP},
		{"aad-base-0", {0xd5, 0}, 0x7780, 0, 0x0080, FLAG_SF, SZP},
	};

	for (u32 i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		u8 *code = (u8 *)0x7c00;
		char name[32], expected[64];
		struct ctx c;

		memcpy(code, (u8[]){rows[i].code[0], 0x90, 0xcd, VECTOR_END}, 4);
		if (rows[i].code[0] >= 0xd4)
			code[1] = rows[i].code[1];
		c = TRY(RING3_32, 0x7c00, .ax = rows[i].ax, .flags = FLAG_FIXED | rows[i].flags);
		format_text(name, sizeof(name), "bcd/%s", rows[i].name);
		format_text(expected, sizeof(expected), "ok ax=%04x flags=%x", rows[i].result, rows[i].out);
		check(name, expected, "%s ax=%04x flags=%x", outcome(c), (u32)(u16)c.ax, (u32)c.flags & rows[i].mask);
	}
}

static void shifts(void)
{
	struct ctx c;

	c = TRY(RING0, CODE("shl %cl, %eax; pushf; pop %rdx"), .ax = 0x80000001, .cx = 33);
	check("shift/count-masked-to-5-bits", "ok 2 cf=1", "%s %lx cf=%lx", outcome(c), c.ax, c.dx & 1);
	c = TRY(RING0, CODE("shl %cl, %rax"), .ax = 1, .cx = 33);
	check("shift/count-masked-to-6-bits", "ok 200000000", "%s %lx", outcome(c), c.ax);
	c = TRY(RING0, CODE("shl %cl, %al; pushf; pop %rdx"), .ax = 0xff, .cx = 9);
	check("shift/byte-by-9", "ok 0", "%s %lx", outcome(c), c.ax);
	c = TRY(RING0, CODE("shl %cl, %eax; pushf; pop %rdx"), .ax = 0xffffffff00000001, .cx = 32,
		.flags = FLAG_FIXED | FLAG_ARITHMETIC);
	check("shift/count-0-keeps-flags-zero-extends", "ok 1 flags=8d7", "%s %lx flags=%lx", outcome(c), c.ax, c.dx);
	c = TRY(RING0, CODE("sar $31, %eax"), .ax = 0x80000000);
	check("shift/sar-31", "ok ffffffff", "%s %lx", outcome(c), c.ax);
	c = TRY(RING0, CODE("rcl %cl, %al; pushf; pop %rdx"), .ax = 0x80, .cx = 9, .flags = FLAG_FIXED | FLAG_CF);
	check("rotate/rcl-byte-by-9-is-identity", "ok 80 cf=1", "%s %lx cf=%lx", outcome(c), c.ax, c.dx & 1);
	c = TRY(RING0, CODE("rcr %cl, %ax; pushf; pop %rdx"), .ax = 0x0001, .cx = 18);
	check("rotate/rcr-word-by-18", "ok 0 cf=1", "%s %lx cf=%lx", outcome(c), c.ax, c.dx & 1);
	c = TRY(RING0, CODE("rol %cl, %al; pushf; pop %rdx"), .ax = 0x81, .cx = 8);
	check("rotate/rol-byte-by-8-sets-cf", "ok 81 cf=1", "%s %lx cf=%lx", outcome(c), c.ax, c.dx & 1);
	c = TRY(RING0, CODE("shld $4, %ebx, %eax; shrd $8, %rcx, %rdx"), .ax = 0x12345678, .bx = 0xabcdef01, .cx = 0xff,
		.dx = 0x100);
	check("shift/shld-shrd", "ok 2345678a ff00000000000001", "%s %lx %lx", outcome(c), c.ax, c.dx);
	c = TRY(RING0, CODE("imul $-3, %eax, %ecx; imul %edx, %edx; pushf; pop %rbx"), .ax = 7, .dx = 0x10000);
	check("imul/overflow", "ok ffffffeb 0 of=1 cf=1", "%s %lx %lx of=%lx cf=%lx", outcome(c), c.cx, c.dx,
	      c.bx >> 11 & 1, c.bx & 1);
	c = TRY(RING0, CODE("idivb %cl"), .ax = 0xff81, .cx = 10); /* -127 / 10 */
	check("idiv/truncates-to-zero", "ok f9f4", "%s %lx", outcome(c), c.ax & 0xffff);
	c = TRY(RING0, CODE("div %rcx"), .ax = 0, .dx = 1, .cx = 3);
	check("div/128-by-64", "ok 5555555555555555 1", "%s %lx %lx", outcome(c), c.ax, c.dx);
	T("div/128-overflow", "#DE+0", RING0, CODE("div %rcx"), .ax = 0, .dx = 3, .cx = 3);
	T("idiv/128-most-negative", "#DE+0", RING0, CODE("idiv %rcx"), .ax = 1ul << 63, .dx = -1ul, .cx = -1ul);
}

static void bits(void)
{
	struct ctx c;
	u64 *words = (u64 *)data;

	memset(data, 0, 4096);
	c = TRY(RING0, CODE("bts %rax, (%rbx); setc %cl; bts %rax, (%rbx); setc %ch"), .ax = -65ul,
		.bx = (ulong)(words + 2), .cx = 0);
	check("bt/negative-offset", "ok 100 word=8000000000000000", "%s %lx word=%lx", outcome(c), c.cx, words[0]);
	words[0] = 0;
	c = TRY(RING0, CODE("btsl %eax, (%rbx)"), .ax = 100, .bx = (ulong)data);
	check("bt/beyond-operand", "ok 10", "%s %x", outcome(c), ((u32 *)data)[3]);
	c = TRY(RING0, CODE("btsl $100, (%rbx); btsw %ax, (%rcx)"), .bx = (ulong)data, .ax = -1ul,
		.cx = (ulong)data + 32);
	check("bt/immediate-masked", "ok 10 8000", "%s %x %x", outcome(c), ((u32 *)data)[0], *(u16 *)(data + 30));
	c = TRY(RING0, CODE("bts %eax, %ecx"), .ax = 33, .cx = 0);
	check("bt/register-masked", "ok 2", "%s %lx", outcome(c), c.cx);
	T("bt/faults-at-the-bit's-word", "#PF(0x2)+0 cr2=0x40001000", RING0, CODE("btsl %eax, (%rbx)"), .ax = 4096 * 8,
	  .bx = 0x40000000);
	c = TRY(RING0, CODE("bsf %eax, %ecx; setz %dl; bsr %ebx, %esi"), .ax = 0, .cx = 0x77, .bx = 0x8001, .dx = 0);
	check("bsf/zero-source-keeps-destination", "ok 77 zf=1 15|ok 77 zf=1 f", "%s %lx zf=%lx %lx", outcome(c), c.cx,
	      c.dx, c.si);
	c = TRY(RING0, CODE("bswap %eax; bswap %rbx; bswap %r8d"), .ax = 0x12345678, .bx = 0x1122334455667788,
		.r8 = -1ul << 32 | 0x01020304);
	check("bswap", "ok 78563412 8877665544332211 4030201", "%s %lx %lx %lx", outcome(c), c.ax, c.bx, c.r8);
	data[0xf5] = 0x42;
	c = TRY(RING0, CODE("xlat; mov %al, %cl; mov $0xf5, %al; addr32 xlat"), .ax = 0xf5, .bx = 0x40000000, .cx = 0);
	check("xlat", "ok 42 42", "%s %lx %lx", outcome(c), c.cx, c.ax);
	T("xlat/addr32-wraps", "ok", RING0, CODE("addr32 xlat"), .ax = 0xff, .bx = 0xfffffff1);
	c = TRY(RING0, CODE("cmpxchgl %ecx, %edx; setz %bl; cmpxchgl %ecx, %esi"), .ax = 5, .cx = 9, .dx = 5,
		.si = -1ul, .bx = 0);
	check("cmpxchg/register", "ok dx=9 zf=1 ax=ffffffff si=ffffffff", "%s dx=%lx zf=%lx ax=%lx si=%lx", outcome(c),
	      c.dx, c.bx, c.ax, c.si & 0xffffffff);
	memcpy(data, "\1\0\0\0\2\0\0\0", 8);
	c = TRY(RING0,
		CODE("cmpxchg8b (%rsi); setz %dil; mov %eax, %r8d; mov %edx, %r9d; cmpxchg8b (%rsi); setz %r10b"),
		.si = (ulong)data, .ax = 1, .dx = 3, .bx = 7, .cx = 8, .di = 0, .r10 = 0);
	check("cmpxchg8b", "ok zf=0 eax=1 edx=2 then zf=1 7 8", "%s zf=%lx eax=%lx edx=%lx then zf=%lx %x %x",
	      outcome(c), c.di, c.r8, c.r9, c.r10, ((u32 *)data)[0], ((u32 *)data)[1]);
	if (HAS_CX16) {
		words[0] = 11;
		words[1] = 22;
		c = TRY(RING0, CODE("lock; cmpxchg16b (%rsi); setz %dil"), .si = (ulong)data, .ax = 11, .dx = 22,
			.bx = 33, .cx = 44, .di = 0);
		check("cmpxchg16b", "ok zf=1 33 44", "%s zf=%lx %u %u", outcome(c), c.di, (u32)words[0], (u32)words[1]);
	} else {
		absent("cmpxchg16b");
	}
	c = TRY(RING0, CODE("xadd %eax, %eax; xadd %bl, %cl"), .ax = 3, .bx = 0x7f, .cx = 1);
	check("xadd/same-register", "ok 6 bl=1 cl=80", "%s %lx bl=%lx cl=%lx", outcome(c), c.ax, c.bx, c.cx);
	c = TRY(RING0, CODE("cwde; cdqe; cqo; mov %rdx, %rcx; movsx %al, %ebx; movsxd %eax, %rsi"), .ax = 0x8001);
	check("sign-extensions", "ok ffffffffffff8001 ffffffffffffffff 1 ffffffffffff8001", "%s %lx %lx %lx %lx",
	      outcome(c), c.ax, c.cx, c.bx, c.si);
	c = TRY(RING0, CODE("sahf; lahf; pushf; pop %rcx"), .ax = 0xff00);
	check("sahf-lahf", "ok d700 d7", "%s %lx %lx", outcome(c), c.ax & 0xff00, c.cx & 0xff);
	c = TRY(RING0, CODE("cmovne (%rbx), %eax"), .bx = (ulong)hole, .flags = FLAG_FIXED | FLAG_ZF);
	check("cmov/loads-even-if-false", "#PF(0x0)+0 cr2=0x40001000", "%s", outcome(c));
	c = TRY(RING0, CODE("cmovne %ebx, %eax"), .ax = -1ul, .bx = 0, .flags = FLAG_FIXED | FLAG_ZF);
	check("cmov/false-zero-extends", "ok ffffffff", "%s %lx", outcome(c), c.ax);
	T("setcc/write-fault", "#PF(0x2)+0 cr2=0x40001000", RING0, CODE("setc (%rbx)"), .bx = (ulong)hole);
	c = TRY(RING0, CODE("xchg %eax, (%rbx)"), .bx = (ulong)hole, .ax = 5);
	check("xchg/write-fault-keeps-register", "#PF(0x2)+0 cr2=0x40001000 5", "%s %lx", outcome(c), c.ax);
}

static void strings(void)
{
	struct ctx c;

	memset(data, 0, 4096);
	for (u32 i = 0; i < 256; i++)
		data[i] = i;
	c = TRY(RING0, CODE("rep movsq"), .si = 0x40000000, .di = 0x40000800, .cx = 3);
	check("movs/rep-64", "ok rsi+24 rdi+24 rcx=0 last=17", "%s rsi+%u rdi+%u rcx=%lx last=%x", outcome(c),
	      (u32)(c.si - 0x40000000), (u32)(c.di - 0x40000800), c.cx, data[0x817]);
	c = TRY(RING0, CODE("addr32 rep movsb"), .si = 0xabcd00000000ul + 0x40000000,
		.di = 0x123400000000ul + 0x40000900, .cx = 0xffff00000002ul);
	check("movs/addr32-uses-and-zero-extends-32", "ok rsi=40000002 rdi=40000902 rcx=0",
	      "%s rsi=%lx rdi=%lx rcx=%lx", outcome(c), c.si, c.di, c.cx);
	c = TRY(RING0, CODE("rep movsb"), .si = 0x40000000, .di = 0x40000ffc, .cx = 10);
	check("movs/fault-in-the-middle", "#PF(0x2)+0 cr2=0x40001000 rsi+4 rdi=40001000 rcx=6",
	      "%s rsi+%u rdi=%lx rcx=%lx", outcome(c), (u32)(c.si - 0x40000000), c.di, c.cx);
	table[1] = (u64)page_alloc() | 7;
	c = TRY(RING0, c.start, .si = c.si, .di = c.di, .cx = c.cx);
	table[1] = 0;
	invlpg(hole);
	check("movs/resumes", "ok rsi+10 rcx=0", "%s rsi+%u rcx=%lx", outcome(c), (u32)(c.si - 0x40000000), c.cx);
	c = TRY(RING0, CODE("std; rep movsw; cld"), .si = 0x40000012, .di = 0x40000a12, .cx = 4);
	check("movs/backwards", "ok rsi=4000000a rdi=40000a0a 0f0e", "%s rsi=%lx rdi=%lx %02x%02x", outcome(c), c.si,
	      c.di, data[0xa0f], data[0xa0e]);
	c = TRY(RING0, CODE("rep movsb"), .si = 0x40000000, .di = 0x40000001, .cx = 8);
	check("movs/overlapping-propagates", "ok 0 0 0", "%s %x %x %x", outcome(c), data[1], data[4], data[8]);
	for (u32 i = 0; i < 256; i++)
		data[i] = i;
	c = TRY(RING0, CODE("repne scasb; pushf; pop %rdx"), .ax = 5, .di = 0x40000000, .cx = 100);
	check("scas/repne-finds", "ok rdi+6 rcx=94 zf=1", "%s rdi+%u rcx=%u zf=%lx", outcome(c),
	      (u32)(c.di - 0x40000000), (u32)c.cx, c.dx >> 6 & 1);
	c = TRY(RING0, CODE("repe cmpsb; pushf; pop %rdx"), .si = 0x40000000, .di = 0x40000001, .cx = 100);
	check("cmps/repe-stops-at-difference", "ok rsi+1 rcx=99 cf=1", "%s rsi+%u rcx=%u cf=%x", outcome(c),
	      (u32)(c.si - 0x40000000), (u32)c.cx, (u32)(c.dx & 1));
	c = TRY(RING0, CODE("repe cmpsb; pushf; pop %rdx"), .si = 0x40000000, .di = 0x40000000, .cx = 0,
		.flags = FLAG_FIXED | FLAG_CF);
	check("cmps/zero-count-keeps-flags", "ok flags=3", "%s flags=%lx", outcome(c), c.dx);
	memset(data + 0x400, 0, 0xc00);
	c = TRY(RING0, CODE("repe scasl"), .di = 0x40000ff8, .ax = 0, .cx = 10);
	/* "REP": flags are restored to what they were before the instruction. */
	check("scas/fault-restores-flags", "#PF(0x0)+0 cr2=0x40001000 rcx=8 zf=0", "%s rcx=%u zf=%x", outcome(c),
	      (u32)c.cx, (u32)(c.flags >> 6 & 1));
	c = TRY(RING0, CODE("repe cmpsl"), .si = (ulong)data + 0x400, .di = 0x40000ffc, .cx = 4);
	check("cmps/fault-on-second-operand", "#PF(0x0)+0 cr2=0x40001000 rcx=3", "%s rcx=%u", outcome(c), (u32)c.cx);
	T("lods/non-present", "#PF(0x0)+0 cr2=0x40001000", RING0, CODE("lodsb"), .si = (ulong)hole);
	c = TRY(RING0, CODE("lodsl; lodsw"), .ax = -1ul, .si = 0x40000010);
	check("lods/widths", "ok 13121514 rsi+6", "%s %lx rsi+%u", outcome(c), c.ax, (u32)(c.si - 0x40000010));
	c = TRY(RING0, CODE("rep lodsq"), .ax = 0, .si = 0x40000000, .cx = 4);
	check("lods/rep", "ok 1f1e1d1c1b1a1918", "%s %lx", outcome(c), c.ax);
	c = TRY(RING0, CODE("rep stosw"), .ax = 0xabcd, .di = 0x40000c01, .cx = 3);
	check("stos/unaligned", "ok cd ab rdi=40000c07", "%s %x %x rdi=%lx", outcome(c), data[0xc05], data[0xc06],
	      c.di);
	/* The last of several repeat prefixes counts; REPNE repeats MOVS and STOS too. */
	c = TRY(RING0, CODE(".byte 0xf2; stosb"), .ax = 1, .di = 0x40000d00, .cx = 5);
	check("repne/on-stos", "ok rcx=0", "%s rcx=%u", outcome(c), (u32)c.cx);
	c = TRY(RING0, CODE(".byte 0xf3, 0xf2; scasb"), .ax = 9, .di = 0x40000000, .cx = 50);
	check("rep/last-prefix-counts", "ok rcx=40", "%s rcx=%u", outcome(c), (u32)c.cx);
	c = TRY(RING0, CODE(".byte 0xf2, 0xf3; scasb"), .ax = 9, .di = 0x40000000, .cx = 50);
	check("repne/last-prefix-counts", "ok rcx=49", "%s rcx=%u", outcome(c), (u32)c.cx);
	/* I/O strings; port 0x80 swallows what is written. */
	c = TRY(RING0, CODE("rep outsb"), .si = 0x40000ffe, .dx = 0x80, .cx = 5);
	check("outs/fault-in-the-middle", "#PF(0x0)+0 cr2=0x40001000 rcx=3", "%s rcx=%u", outcome(c), (u32)c.cx);
	c = TRY(RING0, CODE("rep insb"), .di = 0x40000fff, .dx = 0x61, .cx = 2);
	check("ins/fault-in-the-middle", "#PF(0x2)+0 cr2=0x40001000 rcx=1", "%s rcx=%u", outcome(c), (u32)c.cx);
	T("ins/fault-before-port-is-read", "#PF(0x2)+0 cr2=0x40001000", RING0, CODE("insb"), .di = (ulong)hole,
	  .dx = 0x60);
	/* 32-bit code with 16-bit addresses: SI, DI and CX wrap, upper halves stay. */
	memset((void *)0xff00, 0x77, 0x100);
	c = TRY(RING3_32, CODE32("addr16 rep stosb"), .ax = 0x5a, .di = 0x1230fffe, .cx = 0x45670003);
	check("stos/addr16-wraps", "ok edi=12300001 ecx=45670000 5a", "%s edi=%lx ecx=%lx %x", outcome(c),
	      c.di & 0xffffffff, c.cx & 0xffffffff, *(u8 *)0xffff);
	c = TRY(RING3_32, CODE32("addr16 lodsb; mov %esi, %edx; addr16 loop 1f; 1: jecxz 2f; inc %edx; 2:"),
		.si = 0xabcd8000, .cx = 0x10001);
	check("lods-loop/addr16", "ok esi=abcd8001 ecx=10000 edx=abcd8002", "%s esi=%lx ecx=%lx edx=%lx", outcome(c),
	      c.si & 0xffffffff, c.cx & 0xffffffff, c.dx & 0xffffffff);
	c = TRY(RING0, CODE("mov $1, %ecx; shl $32, %rcx; jrcxz 1f; mov $7, %eax; 1: jecxz 2f; mov $9, %eax; 2:"),
		.ax = 0);
	check("jrcxz-jecxz", "ok 7", "%s %lx", outcome(c), c.ax);
}

static void compat(void)
{
	struct ctx c;
	static u32 bounds[2] = {10, 20};

	c = TRY(RING3_32, CODE32("arpl %cx, %ax; setz %bl"), .ax = 0x12345608, .cx = 0x7773, .bx = 0);
	check("arpl/raises", "ok 1234560b zf=1", "%s %lx zf=%lx", outcome(c), c.ax & 0xffffffff, c.bx & 0xff);
	c = TRY(RING3_32, CODE32("arpl %cx, %ax; setz %bl"), .ax = 0x0b, .cx = 0x3, .bx = 0);
	check("arpl/equal", "ok b zf=0", "%s %lx zf=%lx", outcome(c), c.ax & 0xffffffff, c.bx & 0xff);
	T("bound/in", "ok", RING3_32, CODE32("bound %eax, (%ebx)"), .ax = 20, .bx = (ulong)bounds);
	T("bound/out", "#BR+0", RING3_32, CODE32("bound %eax, (%ebx)"), .ax = 21, .bx = (ulong)bounds);
	c = TRY(RING3_32, CODE32("pushal; popal; mov %esp, %edx"), .ax = 1, .cx = 2, .bx = 3, .si = 4, .di = 5, .bp = 6,
		.sp = 0x8000);
	check("pusha-popa", "ok 1 3 4 5 6 esp=8000", "%s %lx %lx %lx %lx %lx esp=%lx", outcome(c), c.ax, c.bx, c.si,
	      c.di, c.bp, c.dx);
	c = TRY(RING3_32,
		CODE32("enter $8, $0; mov %ebp, %eax; enter $8, $1; mov %esp, %ebx; mov (%ebp), %ecx; enter $0, $31; "
		       "leave; leave; leave"),
		.bp = 0x7777, .sp = 0x8000);
	check("enter/nested", "ok ebp=7ffc esp=7fe4 link=7ffc ebp=7777 esp=8000",
	      "%s ebp=%lx esp=%lx link=%lx ebp=%lx esp=%lx", outcome(c), c.ax, c.bx, c.cx, c.bp, c.sp);
	c = TRY(RING3_32, CODE32("enterw $4, $0; mov %esp, %eax; leavew; mov %esp, %ebx"), .bp = 0x7777, .sp = 0x8000);
	check("enter/16-bit-operand", "ok esp=7ffa bp=7777", "%s esp=%lx bp=%lx", outcome(c), c.ax, c.bp & 0xffffffff);
	c = TRY(RING3_32, CODE32("inc %eax; pushf; pop %ecx; dec %al; pushf; pop %edx"), .ax = 0x7fffffff,
		.flags = FLAG_FIXED | FLAG_CF);
	check("inc-dec/keep-cf", "ok of=1 cf=1 af=1 cf=1", "%s of=%lx cf=%lx af=%lx cf=%lx", outcome(c), c.cx >> 11 & 1,
	      c.cx & 1, c.dx >> 4 & 1, c.dx & 1);
	c = TRY(RING3_32, CODE32(".byte 0xd6; mov %al, %bl"), .ax = 0, .flags = FLAG_FIXED | FLAG_CF);
	check("salc", "ok ff", "%s %lx", outcome(c), c.bx & 0xff);
	c = TRY(RING3_32, CODE32("pushw %ds; popw %ax; pushl %ds; mov (%esp), %cx; add $4, %esp; mov %esp, %edx"),
		.sp = 0x8000);
	check("push-segment/sizes", "ok 2b 2b esp=8000", "%s %lx %lx esp=%lx", outcome(c), c.ax & 0xffff, c.cx & 0xffff,
	      c.dx);
	c = TRY(RING3_32, CODE32("push %esp; pop %eax; pushl (%esp); mov %esp, %ebx; popl 4(%esp)"), .sp = 0x8000);
	check("push-esp/and-esp-based-operands", "ok 8000 7ffc esp=8000", "%s %lx %lx esp=%lx", outcome(c), c.ax, c.bx,
	      c.sp);
	c = TRY(RING3_32, CODE32("jmp 1f; 2: ret $8; 1: push $1; push $2; call 2b; mov %esp, %eax"), .sp = 0x8000);
	check("ret/immediate", "ok 8000", "%s %lx", outcome(c), c.ax);
	c = TRY(RING3_32, CODE32("lea (%ebx,%ecx,8), %eax; addr16 lea 0x10(%bx,%si), %edx"), .bx = 0xffff, .cx = 2,
		.si = 3);
	check("lea/address-sizes", "ok 1000f 12", "%s %lx %lx", outcome(c), c.ax, c.dx);
}

void chapter_main(void)
{
	setup();
	bcd();
	shifts();
	bits();
	strings();
	compat();
}

/*
 * The system side of x87, MMX, SSE and AVX: which exception when, alignment, MXCSR, XSAVE and XCR0.
 *
 * SDM vol. 3, "Numeric coprocessor" rules in "Control Registers" (EM, MP, TS, NE), "System Programming for Instruction
 * Set Extensions and Processor Extended States"; vol. 1, "Managing State Using the XSAVE Feature Set", "Handling x87
 * FPU Exceptions in Software". Numeric results are compared with the host elsewhere; here only those that show state.
 * FERR# is in ferr.c.
 */
#include "guest.h"

const char chapter[] = "fpu_sse";

static u8 area[8192] __attribute__((aligned(64)));
u32 mxcsr_slot;
u16 fcw_slot;
const u16 fcw_unmasked = 0x340, fcw_default = 0x37f;
const u32 mxcsr_unmasked = 0, mxcsr_default = 0x1f80;

static void cr0_set(ulong bits)
{
	write_cr0((read_cr0() & ~(ulong)(CR0_EM | CR0_MP | CR0_TS)) | bits);
}

/* SDM vol. 2A, tables of #NM and #UD by EM, MP, TS: every class of instruction under all eight settings. */
static void emulation_bits(void)
{
	const ulong x87 = CODE("fnop"), wait = CODE("fwait"), mmx = CODE("movd %eax, %mm0"),
		    sse = CODE("xorps %xmm0, %xmm0"), fx = CODE("fxsave (%rbx)"), mxcsr = CODE("stmxcsr mxcsr_slot"),
		    fence = CODE("lfence; prefetchnta (%rbx); movnti %eax, (%rbx)"), emms = CODE("emms"),
		    stcw = CODE("fnstcw fcw_slot");
	static const char *const names[] = {"fnop",    "fwait",	 "movd-mm", "xorps", "fxsave",
					    "stmxcsr", "fences", "emms",    "fnstcw"};
	const ulong codes[] = {x87, wait, mmx, sse, fx, mxcsr, fence, emms, stcw};

	for (u32 bits = 0; bits < 8; bits++)
		for (u32 i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
			bool em = bits & 4, ts = bits & 2, mp = bits & 1;
			const char *expected = "ok";
			char name[48];
			struct ctx c;

			switch (i) {
			case 0:
			case 8: expected = em || ts ? "#NM+0" : "ok"; break;
			case 1: expected = mp && ts ? "#NM+0" : "ok"; break;
			case 2:
			case 3:
			case 5:
			case 7: expected = em ? "#UD+0" : ts ? "#NM+0" : "ok"; break;
			case 4: expected = em || ts ? "#NM+0" : "ok"; break;
			}
			cr0_set((em ? CR0_EM : 0) | (ts ? CR0_TS : 0) | (mp ? CR0_MP : 0));
			c = TRY(RING0, codes[i], .bx = (ulong)area);
			cr0_set(0);
			format_text(name, sizeof(name), "cr0/%s-em%u-ts%u-mp%u", names[i], em, ts, mp);
			check(name, expected, "%s", outcome(c));
		}
	write_cr4(read_cr4() & ~CR4_OSFXSR);
	T("osfxsr-clear/xorps", "#UD+0", RING0, sse);
	T("osfxsr-clear/stmxcsr", "#UD+0", RING0, mxcsr);
	T("osfxsr-clear/mmx", "ok", RING0, mmx);
	T("osfxsr-clear/sse2-on-mm", "ok|#UD+0", RING0, CODE("paddq %mm0, %mm1"));
	T("osfxsr-clear/fxsave", "ok", RING0, fx, .bx = (ulong)area);
	T("osfxsr-clear/fences", "ok", RING0, fence, .bx = (ulong)area);
	write_cr4(read_cr4() | CR4_OSFXSR);
	cr0_set(0);
	asm volatile("fninit");
}

static void x87(void)
{
	struct ctx c;

	T("mf/next-waiting-instruction", "#MF+15", RING0, CODE("fninit; fldcw fcw_unmasked; fldz; fld1; fdivp; fld1"));
	T("mf/fwait", "#MF+15", RING0, CODE("fninit; fldcw fcw_unmasked; fldz; fld1; fdiv %st(1), %st; fnop; nop"));
	c = TRY(RING0, CODE("fninit; fldcw fcw_unmasked; fldz; fld1; fdiv %st(1), %st; fnstsw %ax; fnclex; fld1; "
			    "fnstcw fcw_slot"));
	check("mf/non-waiting-and-cleared", "ok sw=b084 cw=340", "%s sw=%x cw=%x", outcome(c), (u32)(u16)c.ax,
	      fcw_slot);
	c = TRY(RING0, CODE("fninit; fldz; fld1; fdivp; fnstsw %ax; fstps mxcsr_slot"));
	check("masked/zero-divide", "ok sw=3804 result=7f800000", "%s sw=%x result=%x", outcome(c), (u32)(u16)c.ax,
	      mxcsr_slot);
	c = TRY(RING0, CODE("fninit; fldz; fldz; fdivp; fnstsw %ax; fstps mxcsr_slot"));
	check("masked/invalid", "ok sw=3801 result=ffc00000", "%s sw=%x result=%x", outcome(c), (u32)(u16)c.ax,
	      mxcsr_slot);
	c = TRY(RING0, CODE("fninit; fstps mxcsr_slot; fnstsw %ax"));
	check("stack/underflow", "ok sw=841 result=ffc00000", "%s sw=%x result=%x", outcome(c),
	      (u32)(u16)c.ax & ~0x4500, mxcsr_slot);
	c = TRY(RING0, CODE("fninit; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fnstsw %ax"));
	check("stack/overflow-sets-c1", "ok sw=3a41", "%s sw=%x", outcome(c), (u32)(u16)c.ax & ~0x4500);
	c = TRY(RING0, CODE("fninit; fldl two_to_40; fistpl mxcsr_slot; fnstsw %ax"));
	check("fist/overflow-indefinite", "ok sw=1 80000000", "%s sw=%x %x", outcome(c), (u32)(u16)c.ax, mxcsr_slot);
	mxcsr_slot = 0x5555;
	c = TRY(RING0, CODE("fninit; fldcw fcw_unmasked; fldl two_to_40; fistpl mxcsr_slot; fnstsw %ax; fnclex"));
	check("fist/unmasked-stores-nothing", "ok sw=b881 5555", "%s sw=%x %x", outcome(c), (u32)(u16)c.ax, mxcsr_slot);
	c = TRY(RING0, CODE("fninit; fldpi; fnstenv (%rbx); fnstcw fcw_slot"), .bx = (ulong)area);
	check("fnstenv/masks-afterwards", "ok cw=37f sw=3800 tw=3fff after=37f", "%s cw=%x sw=%x tw=%x after=%x",
	      outcome(c), ((u16 *)area)[0], ((u16 *)area)[2], ((u16 *)area)[4], fcw_slot);
	c = TRY(RING0, CODE("fninit; fld1; fldz; fldpi; fnsave (%rbx); fnstsw %ax; fnstcw fcw_slot"),
		.bx = (ulong)area);
	check("fnsave/initialises", "ok tw=13ff sw=2800 then sw=0 cw=37f", "%s tw=%x sw=%x then sw=%x cw=%x",
	      outcome(c), ((u16 *)area)[4], ((u16 *)area)[2], (u32)(u16)c.ax, fcw_slot);
	c = TRY(RING0, CODE("fninit; movd %eax, %mm3; fnstenv (%rbx); emms; fnstenv 64(%rbx)"), .ax = 0x1234,
		.bx = (ulong)area);
	check("mmx/tags-valid-until-emms", "ok used=1 empty=1", "%s used=%u empty=%u", outcome(c),
	      ((u16 *)area)[4] != 0xffff, ((u16 *)(area + 64))[4] == 0xffff);
	c = TRY(RING0, CODE("fninit; fld1; movd %eax, %mm0; fnstsw %ax; fnsave (%rbx)"), .bx = (ulong)area, .ax = 0x77);
	check("mmx/top-is-0-exponent-ffff", "ok sw=0 mm0=77 exp=ffff", "%s sw=%x mm0=%x exp=%x", outcome(c),
	      (u32)(u16)c.ax & 0x3800, *(u32 *)(area + 28), *(u16 *)(area + 36));
	c = TRY(RING0, CODE("fninit; fbld (%rbx); fistpl mxcsr_slot; fildl mxcsr_slot; fchs; fbstp 16(%rbx)"),
		.bx = (ulong)memcpy(area, "\x78\x56\x34\x12\0\0\0\0\0\0", 10));
	check("bcd/load-and-store", "ok 12345678 then 78 56 34 12 sign=80", "%s %d then %02x %02x %02x %02x sign=%x",
	      outcome(c), (int)mxcsr_slot, area[16], area[17], area[18], area[19], area[25]);
}

const double two_to_40 = 1099511627776.0;
const float f_zero = 0, f_one = 1;
const u32 f_denormal = 1, f_snan = 0x7f800001;

static void sse(void)
{
	struct ctx c;

	T("align/movaps", "#GP(0x0)+0", RING0, CODE("movaps 8(%rbx), %xmm0"), .bx = (ulong)area);
	T("align/movaps-store", "#GP(0x0)+0", RING0, CODE("movaps %xmm0, 8(%rbx)"), .bx = (ulong)area);
	T("align/movups", "ok", RING0, CODE("movups 8(%rbx), %xmm0"), .bx = (ulong)area);
	T("align/addps-memory", "#GP(0x0)+0", RING0, CODE("addps 8(%rbx), %xmm0"), .bx = (ulong)area);
	T("align/addss-memory", "ok", RING0, CODE("addss 2(%rbx), %xmm0"), .bx = (ulong)area);
	T("align/movntdq", "#GP(0x0)+0", RING0, CODE("movntdq %xmm0, 8(%rbx)"), .bx = (ulong)area);
	T("align/stack-segment-too", "#GP(0x0)+0|#SS(0x0)+0", RING0, CODE("movaps 8(%rbp), %xmm0"), .bp = (ulong)area);
	T("align/fxsave", "#GP(0x0)+0", RING0, CODE("fxsave 8(%rbx)"), .bx = (ulong)area);
	T("align/fxrstor", "#GP(0x0)+0", RING0, CODE("fxrstor 8(%rbx)"), .bx = (ulong)area);
	T("align/lddqu", "ok", RING0, CODE("lddqu 1(%rbx), %xmm0"), .bx = (ulong)area);
	if (HAS_CX16)
		T("align/cmpxchg16b", "#GP(0x0)+0", RING0, CODE("cmpxchg16b 8(%rbx)"), .bx = (ulong)area);

	/* MXCSR. */
	asm volatile("fxsave %0" : "=m"(area));
	u32 mask = *(u32 *)(area + 28) ?: 0xffbf;
	check("mxcsr/mask", "ffff", "%x", mask | 0x40);
	for (u32 bit = 16; bit < 32; bit += 5) {
		char name[32];

		mxcsr_slot = 0x1f80 | 1u << bit;
		T(format_text(name, sizeof(name), "mxcsr/reserved-bit-%u", bit), "#GP(0x0)+0", RING0,
		  CODE("ldmxcsr mxcsr_slot"));
	}
	asm volatile("fxsave %0" : "=m"(area));
	*(u32 *)(area + 24) = 0x11f80;
	T("mxcsr/fxrstor-reserved", "#GP(0x0)+0", RING0, CODE("fxrstor (%rbx)"), .bx = (ulong)area);
	*(u32 *)(area + 24) = 0x1f80;
	T("mxcsr/fxrstor", "ok", RING0, CODE("fxrstor (%rbx)"), .bx = (ulong)area);

	/* #XM, or #UD without OSXMMEXCPT. */
	ulong divide = CODE("ldmxcsr mxcsr_unmasked; movss f_one, %xmm0; divss f_zero, %xmm0; stmxcsr mxcsr_slot");
	write_cr4(read_cr4() & ~CR4_OSXMMEXCPT);
	T("xm/osxmmexcpt-clear", "#UD+17", RING0, divide);
	write_cr4(read_cr4() | CR4_OSXMMEXCPT);
	T("xm/zero-divide", "#XM+17", RING0, divide);
	asm volatile("stmxcsr mxcsr_slot");
	check("xm/flags-set", "4", "%x", mxcsr_slot & 0x3f);
	c = TRY(RING0, CODE("ldmxcsr mxcsr_unmasked; movss f_denormal, %xmm0; movss f_one, %xmm1; addss %xmm1, %xmm0"));
	check("xm/denormal", "#XM+26", "%s", outcome(c));
	c = TRY(RING0, CODE("ldmxcsr mxcsr_unmasked; movss f_snan, %xmm0; ucomiss %xmm0, %xmm0"));
	check("xm/invalid-snan", "#XM+17", "%s", outcome(c));
	c = TRY(RING0, CODE("ldmxcsr mxcsr_default; movss f_one, %xmm0; divss f_zero, %xmm0; movd %xmm0, %eax; stmxcsr "
			    "mxcsr_slot"));
	check("masked/sse-zero-divide", "ok 7f800000 mxcsr=1f84", "%s %x mxcsr=%x", outcome(c), (u32)c.ax, mxcsr_slot);
	c = TRY(RING0, CODE("ldmxcsr mxcsr_default; movss f_snan, %xmm0; addss %xmm0, %xmm0; movd %xmm0, %eax; stmxcsr "
			    "mxcsr_slot"));
	check("masked/sse-snan-quieted", "ok 7fc00001 mxcsr=1f81", "%s %x mxcsr=%x", outcome(c), (u32)c.ax, mxcsr_slot);
	mxcsr_slot = 0x9fc0; /* FTZ and DAZ */
	c = TRY(RING0, CODE("ldmxcsr mxcsr_slot; movss f_denormal, %xmm0; movss f_one, %xmm1; mulss %xmm1, %xmm0; movd "
			    "%xmm0, %eax; stmxcsr mxcsr_slot;"
			    "ldmxcsr mxcsr_default"));
	check("masked/daz", "ok 0 mxcsr=9fc0", "%s %x mxcsr=%x", outcome(c), (u32)c.ax, mxcsr_slot);
	T("lock/xorps", "#UD+0", RING0, CODE(".byte 0xf0, 0x0f, 0x57, 0xc0"));
	/* FXSAVE: abridged tag word, 64-bit form, registers. */
	c = TRY(RING0, CODE("fninit; fld1; fld1; mov $0x1122334455667788, %rax; movq %rax, %xmm15; fxsave64 (%rbx)"),
		.bx = (ulong)area);
	check("fxsave/layout", "ok fcw=37f ftw=c0 xmm15=1122334455667788", "%s fcw=%x ftw=%x xmm15=%lx", outcome(c),
	      *(u16 *)area, area[4], *(u64 *)(area + 160 + 15 * 16));
	c = TRY(RING0,
		CODE("xorps %xmm15, %xmm15; fninit; fxrstor64 (%rbx); fnstsw %ax; mov %rax, %rcx; movq %xmm15, %rax"),
		.bx = (ulong)area);
	check("fxrstor/layout", "ok 1122334455667788 sw=3000", "%s %lx sw=%x", outcome(c), c.ax, (u32)(u16)c.cx);
	c = TRY(RING3_32, CODE32("fxsave (%ebx)"), .bx = (ulong)area + 512);
	check("fxsave/compatibility-mode-8-registers", "ok", "%s", outcome(c));
}

static struct ctx xsetbv(u64 v)
{
	return TRY(RING0, CODE("xsetbv"), .cx = 0, .ax = (u32)v, .dx = v >> 32);
}

static void xsave(void)
{
	struct ctx c;
	u32 r[4];

	if (!HAS_XSAVE) {
		absent("xsave");
		T("xsave/absent-ud", "#UD+0", RING0, CODE("xgetbv"), .cx = 0);
		return;
	}
	write_cr4(read_cr4() & ~CR4_OSXSAVE);
	cpuid(1, 0, r);
	check("xsave/cpuid-osxsave-follows-cr4", "0", "%u", r[2] >> 27 & 1);
	T("xsave/osxsave-clear-xgetbv", "#UD+0", RING0, CODE("xgetbv"), .cx = 0);
	T("xsave/osxsave-clear-xsave", "#UD+0", RING0, CODE("xsave (%rbx)"), .bx = (ulong)area);
	write_cr4(read_cr4() | CR4_OSXSAVE);
	cpuid(1, 0, r);
	check("xsave/cpuid-osxsave-set", "1", "%u", r[2] >> 27 & 1);
	cpuid(0xd, 0, r);
	u64 supported = r[0] | (u64)r[3] << 32;
	T("xsetbv/x87-clear", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 0, .dx = 0);
	T("xsetbv/x87-clear-sse-set", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 2, .dx = 0);
	T("xsetbv/avx-without-sse", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 5, .dx = 0);
	T("xsetbv/bit-63", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 3, .dx = 0x80000000);
	T("xsetbv/ecx-1", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 1, .ax = 1, .dx = 0);
	T("xsetbv/ring3", "#GP(0x0)+0", RING3, CODE("xsetbv"), .cx = 0, .ax = 3, .dx = 0);
	T("xgetbv/ecx-2", "#GP(0x0)+0", RING0, CODE("xgetbv"), .cx = 2);
	T("xgetbv/ring3", "ok", RING3, CODE("xgetbv"), .cx = 0);
	if ((supported & 0xe0) == 0xe0) {
		T("xsetbv/avx512-partial", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 0x27, .dx = 0);
		T("xsetbv/avx512-without-avx", "#GP(0x0)+0", RING0, CODE("xsetbv"), .cx = 0, .ax = 0xe3, .dx = 0);
	} else {
		absent("xsetbv/avx512");
	}
	c = xsetbv(3);
	check("xsetbv/x87-sse", "ok", "%s", outcome(c));
	cpuid(0xd, 0, r);
	check("cpuid/d-size-with-x87-sse", "240", "%x", r[1]);
	T("xsave/alignment", "#GP(0x0)+0", RING0, CODE("xsave 16(%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	T("xrstor/alignment", "#GP(0x0)+0", RING0, CODE("xrstor 16(%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	T("xsave/register-operand", "#UD+0", RING0, CODE(".byte 0x0f, 0xae, 0xe0"));
	T("xsave/lock", "#UD+0", RING0, CODE(".byte 0xf0; xsave (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	write_cr0(read_cr0() | CR0_TS);
	T("xsave/ts", "#NM+0", RING0, CODE("xsave (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	T("xgetbv/ts-ignored", "ok", RING0, CODE("xgetbv"), .cx = 0);
	write_cr0(read_cr0() & ~CR0_TS);
	u64 *header = (u64 *)(area + 512);
	memset(area, 0, sizeof(area));
	c = TRY(RING0, CODE("fninit; fld1; movq %rsi, %xmm3; xsave64 (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area,
		.si = 0x1234);
	check("xsave/header", "ok xstate_bv=3 xcomp_bv=0 xmm3=1234", "%s xstate_bv=%lx xcomp_bv=%lx xmm3=%lx",
	      outcome(c), header[0], header[1], *(u64 *)(area + 208));
	memset(area, 0xcc, 1024);
	memset(header, 0, 64);
	c = TRY(RING0, CODE("xsave64 (%rbx)"), .ax = 1, .dx = 0, .bx = (ulong)area);
	check("xsave/only-requested", "ok xmm3=cccccccccccccccc", "%s xmm3=%lx", outcome(c), *(u64 *)(area + 208));
	/* XRSTOR: a component whose XSTATE_BV bit is clear gets its initial values. */
	memset(area, 0, 1024);
	*(u32 *)(area + 24) = 0x1f80;
	c = TRY(RING0, CODE("fld1; movq %rsi, %xmm3; xrstor64 (%rbx); movq %xmm3, %rcx; fnstsw %ax"), .ax = 3, .dx = 0,
		.bx = (ulong)area, .si = 7);
	check("xrstor/initialises", "ok xmm3=0 sw=0", "%s xmm3=%lx sw=%x", outcome(c), c.cx, (u32)(u16)c.ax);
	header[0] = 1ull << 62;
	T("xrstor/xstate-bv-beyond-xcr0", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 3, .dx = 0,
	  .bx = (ulong)area);
	header[0] = 4;
	T("xrstor/xstate-bv-avx-off", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	header[0] = 3;
	header[2] = 1;
	T("xrstor/header-reserved", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
	header[2] = 0;
	header[1] = 1;
	T("xrstor/xcomp-bv-standard-form", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 3, .dx = 0,
	  .bx = (ulong)area);
	header[1] = 0;
	*(u32 *)(area + 24) = 0x10000;
	T("xrstor/mxcsr-reserved", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 2, .dx = 0, .bx = (ulong)area);
	*(u32 *)(area + 24) = 0x1f80;
	if (HAS_AVX) {
		T("avx/xcr0-clear", "#UD+0", RING0, CODE("vxorps %ymm0, %ymm0, %ymm0"));
		T("avx/vex-128-needs-it-too", "#UD+0", RING0, CODE("vxorps %xmm0, %xmm0, %xmm0"));
		c = xsetbv(7);
		check("xsetbv/avx", "ok", "%s", outcome(c));
		cpuid(0xd, 2, r);
		check("cpuid/d-2-avx", "size=100 offset=240", "size=%x offset=%x", r[0], r[1]);
		cpuid(0xd, 0, r);
		check("cpuid/d-size-with-avx", "340", "%x", r[1]);
		T("avx/on", "ok", RING0, CODE("vxorps %ymm0, %ymm0, %ymm0"));
		T("avx/vmovaps-alignment", "#GP(0x0)+0", RING0, CODE("vmovaps 16(%rbx), %ymm0"), .bx = (ulong)area);
		T("avx/vmovups", "ok", RING0, CODE("vmovups 1(%rbx), %ymm0"), .bx = (ulong)area);
		T("avx/vaddps-memory-unaligned", "ok", RING0, CODE("vaddps 1(%rbx), %ymm0, %ymm0"), .bx = (ulong)area);
		T("avx/osxsave-clear", "#UD+10", RING0,
		  CODE("mov %cr4, %rax; btr $18, %eax; mov %rax, %cr4; vxorps %ymm0, %ymm0, %ymm0"));
		write_cr4(read_cr4() | CR4_OSXSAVE);
		write_cr0(read_cr0() | CR0_TS);
		T("avx/ts", "#NM+0", RING0, CODE("vxorps %ymm0, %ymm0, %ymm0"));
		write_cr0((read_cr0() & ~(ulong)CR0_TS) | CR0_EM);
		T("avx/em-ignored", "ok|#UD+0", RING0, CODE("vxorps %ymm0, %ymm0, %ymm0"));
		write_cr0(read_cr0() & ~(ulong)CR0_EM);
		T("avx/66-prefix", "#UD+0", RING0, CODE(".byte 0x66, 0xc5, 0xfc, 0x57, 0xc0"));
		T("avx/rex-prefix", "#UD+0", RING0, CODE(".byte 0x40, 0xc5, 0xfc, 0x57, 0xc0"));
		T("avx/lock-prefix", "#UD+0", RING0, CODE(".byte 0xf0, 0xc5, 0xfc, 0x57, 0xc0"));
		T("avx/vvvv-must-be-ones", "#UD+0", RING0,
		  CODE(".byte 0xc5, 0xf4, 0x28, 0xc0")); /* vmovaps with vvvv = 0001b */
		/* A legacy SSE write keeps the upper half, VEX.128 clears it. */
		memset(area, 0x5a, 64);
		c = TRY(RING0,
			CODE("vmovaps (%rbx), %ymm1; vmovaps (%rbx), %ymm2; movaps %xmm0, %xmm1; vmovaps %xmm0, %xmm2; "
			     "vmovaps %ymm1, 64(%rbx); vmovaps %ymm2, 96(%rbx)"),
			.bx = (ulong)area);
		check("avx/upper-halves", "ok sse=5a5a5a5a vex=0", "%s sse=%x vex=%x", outcome(c),
		      *(u32 *)(area + 64 + 16), *(u32 *)(area + 96 + 16));
		c = TRY(RING0, CODE("vmovaps (%rbx), %ymm1; vzeroupper; vmovaps %ymm1, 64(%rbx)"), .bx = (ulong)area);
		check("avx/vzeroupper", "ok low=5a5a5a5a high=0", "%s low=%x high=%x", outcome(c), *(u32 *)(area + 64),
		      *(u32 *)(area + 80));
	} else {
		absent("avx");
		absent("xsetbv/avx");
		absent("cpuid/d-2-avx");
		absent("cpuid/d-size-with-avx");
	}
	if (HAS_XSAVEOPT) {
		memset(area, 0, 1024);
		c = TRY(RING0, CODE("xrstor64 (%rbx); xsaveopt64 (%rbx)"), .ax = 3, .dx = 0,
			.bx = (ulong)memset(area, 0, 1024));
		check("xsaveopt/init-clears-xstate-bv", "ok 0|ok 1|ok 2|ok 3", "%s %lx", outcome(c), header[0]);
	} else {
		absent("xsaveopt");
	}
	if (HAS_XSAVEC) {
		memset(area, 0, 1024);
		c = TRY(RING0, CODE("fninit; fld1; movq %rsi, %xmm3; xsavec64 (%rbx)"), .ax = 3, .dx = 0,
			.bx = (ulong)area, .si = 5);
		check("xsavec/header", "ok xstate_bv=3 xcomp_bv=8000000000000003", "%s xstate_bv=%lx xcomp_bv=%lx",
		      outcome(c), header[0], header[1]);
		c = TRY(RING0, CODE("pxor %xmm3, %xmm3; xrstor64 (%rbx); movq %xmm3, %rcx"), .ax = 3, .dx = 0,
			.bx = (ulong)area);
		check("xrstor/compact", "ok 5", "%s %lx", outcome(c), c.cx);
		header[0] = 7;
		T("xrstor/compact-xstate-beyond-xcomp", "#GP(0x0)+0", RING0, CODE("xrstor (%rbx)"), .ax = 3, .dx = 0,
		  .bx = (ulong)area);
	} else {
		absent("xsavec");
		absent("xrstor/compact");
	}
	if (HAS_XSAVES) {
		T("xsaves/ring3", "#GP(0x0)+0", RING3, CODE("xsaves (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
		memset(area, 0, 1024);
		T("xsaves/ring0", "ok", RING0, CODE("xsaves (%rbx)"), .ax = 3, .dx = 0, .bx = (ulong)area);
		memset(area, 0, 1024);
		T("xrstors/standard-form", "#GP(0x0)+0", RING0, CODE("xrstors (%rbx)"), .ax = 3, .dx = 0,
		  .bx = (ulong)area);
	} else {
		absent("xsaves");
		absent("xrstors");
	}
	asm volatile("fninit");
}

void chapter_main(void)
{
	asm volatile("fninit");
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	emulation_bits();
	x87();
	sse();
	xsave();
}

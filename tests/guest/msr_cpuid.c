/*
 * Model-specific registers that every processor of this class has, CPUID's consistency, MTRRs and PAT, UMIP, time stamp
 * and performance counter access, MONITOR and MWAIT.
 *
 * SDM vol. 2, "CPUID", "RDMSR", "WRMSR", "RDPMC", "RDTSC", "MONITOR", "MWAIT"; vol. 3, "Memory Cache Control",
 * "User-Mode Instruction Prevention". A value that one model lacks is reported absent.
 */
#include "chips.h"

const char chapter[] = "msr_cpuid";

static ulong rdmsr_code, wrmsr_code;

static struct ctx try_wrmsr(u32 msr, u64 v)
{
	return TRY(RING0, wrmsr_code, .cx = msr, .ax = (u32)v, .dx = v >> 32);
}

static void msrs(void)
{
	struct ctx c;
	u64 efer = rdmsr(MSR_EFER), pat = rdmsr(MSR_PAT);

	T("rdmsr/unknown", "#GP(0x0)+0", RING0, rdmsr_code, .cx = 0x12345678);
	T("wrmsr/unknown", "#GP(0x0)+0", RING0, wrmsr_code, .cx = 0x12345678);
	T("rdmsr/ring3", "#GP(0x0)+0", RING3, rdmsr_code, .cx = MSR_TSC);
	T("wrmsr/ring3", "#GP(0x0)+0", RING3, wrmsr_code, .cx = MSR_TSC);
	T("rdmsr/compatibility-mode-ring3", "#GP(0x0)+0", RING3_32, CODE32("rdmsr"), .cx = MSR_TSC);
	c = TRY(RING0, CODE("mov $-1, %rax; mov $-1, %rdx; rdmsr"), .cx = MSR_EFER | 0xabcdul << 32);
	check("rdmsr/clears-upper-halves", "ok 0 0", "%s %lx %lx", outcome(c), c.ax >> 32, c.dx >> 32);
	for (u32 bit = 1; bit < 64; bit++) {
		char name[32];

		/* SCE, LME, LMA, NXE; AMD's SVME, LMSLE, FFXSR, TCE may be offered too. */
		if (bit == 8 || bit == 10 || (bit >= 11 && bit <= 15))
			continue;
		if (bit > 20 && bit < 60)
			continue;
		c = try_wrmsr(MSR_EFER, efer | 1ull << bit);
		wrmsr(MSR_EFER, efer);
		check(format_text(name, sizeof(name), "efer/reserved-bit-%u", bit), "#GP(0x0)+0", "%s", outcome(c));
	}
	c = try_wrmsr(MSR_EFER, efer & ~(u64)EFER_LME);
	check("efer/lme-while-paging", "#GP(0x0)+0", "%s", outcome(c));
	c = try_wrmsr(MSR_EFER, efer & ~(u64)EFER_LMA);
	check("efer/lma-write-ignored", "ok 1", "%s %u", outcome(c), (u32)(rdmsr(MSR_EFER) >> 10 & 1));
	/* SDM vol. 3, "Page Attribute Table (PAT)": 2, 3 and 8 and above are reserved types. */
	for (u32 type = 0; type < 10; type++) {
		char name[32];
		bool good = type < 8 && type != 2 && type != 3;

		c = try_wrmsr(MSR_PAT, (pat & ~0xff00000000000000ull) | (u64)type << 56);
		check(format_text(name, sizeof(name), "pat/type-%u", type), good ? "ok" : "#GP(0x0)+0", "%s",
		      outcome(c));
	}
	wrmsr(MSR_PAT, pat);
	check("pat/reset-value-read-back", "7040600070406", "%llx", (unsigned long long)rdmsr(MSR_PAT));
	static const u32 canonical[] = {0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102, 0x175, 0x176};
	for (u32 i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++) {
		char name[48];
		u64 old = rdmsr(canonical[i]);
		u64 bad = cpu_has(7, 0, 2, 16) ? 0x0100000000000000 : 0x0000800000000000;

		c = try_wrmsr(canonical[i], bad);
		wrmsr(canonical[i], old);
		check(format_text(name, sizeof(name), "canonical/msr-%x", canonical[i]), "#GP(0x0)+0", "%s",
		      outcome(c));
		wrmsr(canonical[i], 0xffff812345678000);
		check(format_text(name, sizeof(name), "canonical/msr-%x-high-half", canonical[i]), "ffff812345678000",
		      "%llx", (unsigned long long)rdmsr(canonical[i]));
		wrmsr(canonical[i], old);
	}
	if (HAS_RDTSCP) {
		c = try_wrmsr(MSR_TSC_AUX, 0x1234);
		check("tsc-aux/rdtscp", "ok 1234", "%s %lx", outcome(c), TRY(RING3, CODE("rdtscp")).cx);
		if (HAS_RDPID)
			check("tsc-aux/rdpid", "1234", "%lx",
			      TRY(RING3, CODE(".byte 0xf3, 0x0f, 0xc7, 0xf9"), .cx = ~0ul).cx);
		else
			absent("tsc-aux/rdpid");
		c = try_wrmsr(MSR_TSC_AUX, 1ull << 32);
		check("tsc-aux/upper-half", "#GP(0x0)+0", "%s", outcome(c));
		wrmsr(MSR_TSC_AUX, 0);
	} else {
		absent("tsc-aux");
	}
	c = try_wrmsr(MSR_SYSENTER_CS, 0x123);
	check("sysenter-cs/read-back", "ok 123", "%s %llx", outcome(c), (unsigned long long)rdmsr(MSR_SYSENTER_CS));
	wrmsr(MSR_SYSENTER_CS, 0);
	/* SDM vol. 3, "Local APIC Status and Location". */
	u64 base = rdmsr(MSR_APIC_BASE);
	check("apic-base/bsp-enabled", "fee00900", "%llx", (unsigned long long)base & ~0x400ull);
	c = try_wrmsr(MSR_APIC_BASE, base | 1);
	check("apic-base/reserved-bit-0", "#GP(0x0)+0", "%s", outcome(c));
	c = try_wrmsr(MSR_APIC_BASE, base | 0x200);
	check("apic-base/reserved-bit-9", "#GP(0x0)+0", "%s", outcome(c));
	if (physical_bits() < 52) {
		c = try_wrmsr(MSR_APIC_BASE, base | 1ull << physical_bits());
		check("apic-base/beyond-maxphyaddr", "#GP(0x0)+0", "%s", outcome(c));
	}
	wrmsr(MSR_APIC_BASE, base);
	/* Time: it goes on, and writes set it. */
	u64 t0 = rdmsr(MSR_TSC), t1 = rdmsr(MSR_TSC);
	check("tsc/increases", "1", "%u", t1 > t0);
	wrmsr(MSR_TSC, 0x123456789abc0000);
	check("tsc/write", "12345", "%llx", (unsigned long long)rdmsr(MSR_TSC) >> 44);
	c = TRY(RING0, CODE("rdtsc; shl $32, %rdx; or %rdx, %rax"));
	check("tsc/rdtsc-same-counter", "12345", "%lx", c.ax >> 44);
}

static void mtrrs(void)
{
	struct ctx c;

	if (!HAS_MTRR) {
		absent("mtrr");
		return;
	}
	/* SDM vol. 3, "Memory Type Range Registers (MTRRs)". */
	u64 cap = rdmsr(0xfe), def = rdmsr(0x2ff);
	check("mtrr/cap-sane", "1", "%u", (cap & 0xff) >= 1 && (cap & 0xff) <= 16);
	T("mtrr/cap-read-only", "#GP(0x0)+0", RING0, wrmsr_code, .cx = 0xfe, .ax = 0, .dx = 0);
	for (u32 type = 0; type < 9; type++) {
		char name[32];
		bool good = type < 7 && type != 2 && type != 3;

		c = try_wrmsr(0x2ff, (def & ~0xffull) | type);
		wrmsr(0x2ff, def);
		check(format_text(name, sizeof(name), "mtrr/default-type-%u", type), good ? "ok" : "#GP(0x0)+0", "%s",
		      outcome(c));
	}
	c = try_wrmsr(0x2ff, def | 0x100);
	check("mtrr/default-reserved", "#GP(0x0)+0", "%s", outcome(c));
	wrmsr(0x2ff, def);
	u64 base0 = rdmsr(0x200), mask0 = rdmsr(0x201);
	c = try_wrmsr(0x200, 2);
	check("mtrr/base-type-2", "#GP(0x0)+0", "%s", outcome(c));
	c = try_wrmsr(0x200, 0x106);
	check("mtrr/base-reserved", "#GP(0x0)+0", "%s", outcome(c));
	c = try_wrmsr(0x201, 0x400);
	check("mtrr/mask-reserved", "#GP(0x0)+0", "%s", outcome(c));
	if (physical_bits() < 52) {
		c = try_wrmsr(0x201, 1ull << physical_bits());
		check("mtrr/mask-beyond-maxphyaddr", "#GP(0x0)+0", "%s", outcome(c));
	}
	c = try_wrmsr(0x200, 0x80000006);
	check("mtrr/base-read-back", "ok 80000006", "%s %llx", outcome(c), (unsigned long long)rdmsr(0x200));
	wrmsr(0x200, base0);
	wrmsr(0x201, mask0);
	if (cap & 0x100) {
		u64 fixed = rdmsr(0x250);

		c = try_wrmsr(0x250, 0x0606060606060602);
		check("mtrr/fixed-bad-type", "#GP(0x0)+0", "%s", outcome(c));
		c = try_wrmsr(0x250, 0x0106050400010605);
		check("mtrr/fixed-read-back", "ok 106050400010605", "%s %llx", outcome(c),
		      (unsigned long long)rdmsr(0x250));
		wrmsr(0x250, fixed);
	} else {
		absent("mtrr/fixed");
	}
	T("mtrr/beyond-count", "#GP(0x0)+0", RING0, rdmsr_code, .cx = 0x200 + 2 * 32);
}

/* SDM vol. 2, "CPUID": fields that must agree with each other whatever the model. */
static void cpuid_consistency(void)
{
	u32 r[4], s[4], max, ext;

	cpuid(0, 0, r);
	max = r[0];
	check("cpuid/max-leaf", "1", "%u", max >= 1 && max < 0x100);
	cpuid(0x80000000, 0, r);
	ext = r[0];
	check("cpuid/max-extended", "1", "%u", ext >= 0x80000008 && ext < 0x80000100);
	cpuid(1, 0, r);
	cpuid(0x80000001, 0, s);
	check("cpuid/apic-id-0", "0", "%u", r[1] >> 24);
	check("cpuid/basics", "fpu=1 tsc=1 msr=1 pae=1 cx8=1 apic=1 cmov=1 fxsr=1 sse2=1 lm=1",
	      "fpu=%u tsc=%u msr=%u pae=%u cx8=%u apic=%u cmov=%u fxsr=%u sse2=%u lm=%u", r[3] & 1, r[3] >> 4 & 1,
	      r[3] >> 5 & 1, r[3] >> 6 & 1, r[3] >> 8 & 1, r[3] >> 9 & 1, r[3] >> 15 & 1, r[3] >> 24 & 1,
	      r[3] >> 26 & 1, s[3] >> 29 & 1);
	check("cpuid/reserved-bits", "edx.10=0 edx.20=0", "edx.10=%u edx.20=%u", r[3] >> 10 & 1, r[3] >> 20 & 1);
	/* What needs what. */
	check("cpuid/avx-needs-xsave", "1", "%u", !HAS_AVX || HAS_XSAVE);
	check("cpuid/avx2-needs-avx", "1", "%u", !cpu_has(7, 0, 1, 5) || HAS_AVX);
	check("cpuid/avx512f-needs-avx2", "1", "%u", !cpu_has(7, 0, 1, 16) || cpu_has(7, 0, 1, 5));
	check("cpuid/fma-needs-avx", "1", "%u", !cpu_has(1, 0, 2, 12) || HAS_AVX);
	check("cpuid/sse-order", "1", "%u",
	      (!(r[2] >> 20 & 1) || r[2] >> 19 & 1) && (!(r[2] >> 19 & 1) || r[2] >> 9 & 1) &&
		      (!(r[2] >> 9 & 1) || r[2] & 1));
	check("cpuid/invpcid-needs-no-pcid-but-long-mode", "1", "%u", !HAS_INVPCID || HAS_LM);
	check("cpuid/address-sizes", "1", "%u", ({
		      cpuid(0x80000008, 0, s);
		      (s[0] & 0xff) >= 36 && (s[0] & 0xff) <= 52 && ((s[0] >> 8 & 0xff) == (HAS_LA57 ? 57u : 48u));
	      }));
	if (HAS_XSAVE) {
		u32 d[4], sum = 0x240;

		cpuid(0xd, 0, d);
		for (u32 i = 2; i < 32; i++)
			if (d[0] >> i & 1) {
				u32 e[4];

				cpuid(0xd, i, e);
				if (e[1] + e[0] > sum)
					sum = e[1] + e[0];
			}
		check("cpuid/xsave-size-is-the-last-component's-end", "0", "%d", (int)(d[2] - sum));
		check("cpuid/xsave-x87-sse", "3", "%x", d[0] & 3);
		check("cpuid/xsave-avx-bit-follows-feature", "1", "%u", (d[0] >> 2 & 1) == (u32)HAS_AVX);
	}
	/* A basic leaf beyond the last gives the last one's data; here only that subleaf and upper halves behave. */
	struct ctx c =
		TRY(RING0, CODE("cpuid"), .ax = 0xdead000000000001, .bx = -1ul, .cx = 0xffffffff00000000, .dx = -1ul);
	check("cpuid/clears-upper-halves", "0 0 0 0", "%lx %lx %lx %lx", c.ax >> 32, c.bx >> 32, c.cx >> 32,
	      c.dx >> 32);
	T("cpuid/ring3", "ok", RING3, CODE("cpuid"), .ax = 0);
	cpuid(0xb, 0, r);
	if (max >= 0xb && r[1]) {
		cpuid(0xb, 1, s);
		check("cpuid/b-levels", "smt 1 then core 2 x2apic-id 0 0", "smt %u then core %u x2apic-id %u %u",
		      r[2] >> 8 & 0xff, s[2] >> 8 & 0xff, r[3], s[3]);
		cpuid(0xb, 7, r);
		check("cpuid/b-invalid-level", "0 0 ecx=7", "%x %x ecx=%x", r[0], r[1], r[2]);
	} else {
		absent("cpuid/b");
	}
	char brand[49] = "";
	u32 printable = 0;
	for (u32 i = 0; i < 3; i++) {
		cpuid(0x80000002 + i, 0, r);
		memcpy(brand + i * 16, r, 16);
	}
	for (u32 i = 0; i < 48 && brand[i]; i++)
		printable += brand[i] >= ' ' && brand[i] < 127;
	check("cpuid/brand-string", "1", "%u", printable == strlen(brand) && printable > 3);
}

/* With IRQ 0 coming some 50 ms later, in case the processor does wait. */
static struct ctx with_late_irq0(struct ctx c)
{
	virtual_wire();
	pic_mask(0xfe, 0xff);
	outb(0x43, 0x30);
	outb(0x40, 0xff);
	outb(0x40, 0xff);
	TRY(RING0, CODE("sti; nop; nop; nop; cli")); /* what the firmware's ticks left behind */
	outb(0x20, 0x20);
	c = run(c);
	raise_irq0();
	if (c.vector != 0x20)
		TRY(RING0, CODE("sti; nop; nop; nop"));
	end_irq0();
	pic_mask(0xff, 0xff);
	return c;
}

static void user_access(void)
{
	struct ctx c;

	/* CR4.TSD and PCE. */
	T("tsd-clear/rdtsc-ring3", "ok", RING3, CODE("rdtsc"));
	write_cr4(read_cr4() | CR4_TSD);
	T("tsd/rdtsc-ring3", "#GP(0x0)+0", RING3, CODE("rdtsc"));
	T("tsd/rdtsc-ring0", "ok", RING0, CODE("rdtsc"));
	if (HAS_RDTSCP)
		T("tsd/rdtscp-ring3", "#GP(0x0)+0", RING3, CODE("rdtscp"));
	else
		absent("tsd/rdtscp-ring3");
	write_cr4(read_cr4() & ~CR4_TSD);
	T("pce-clear/rdpmc-ring3", "#GP(0x0)+0", RING3, CODE("rdpmc"), .cx = 0);
	T("pce-clear/rdpmc-bad-counter-ring0", "#GP(0x0)+0", RING0, CODE("rdpmc"), .cx = 0x3fffffff);
	/* SDM vol. 3, "User-Mode Instruction Prevention (UMIP)". */
	static u8 scratch[16];
	if (HAS_UMIP) {
		write_cr4(read_cr4() | CR4_UMIP);
		T("umip/sgdt", "#GP(0x0)+0", RING3, CODE("sgdt (%rbx)"), .bx = (ulong)scratch);
		T("umip/sidt", "#GP(0x0)+0", RING3, CODE("sidt (%rbx)"), .bx = (ulong)scratch);
		T("umip/sldt", "#GP(0x0)+0", RING3, CODE("sldt %eax"));
		T("umip/str", "#GP(0x0)+0", RING3, CODE("str %eax"));
		T("umip/smsw", "#GP(0x0)+0", RING3, CODE("smsw %eax"));
		T("umip/compatibility-mode", "#GP(0x0)+0", RING3_32, CODE32("smsw %eax"));
		T("umip/ring0", "ok", RING0, CODE("sgdt (%rbx); str %eax; smsw %eax; sldt %eax"), .bx = (ulong)scratch);
		write_cr4(read_cr4() & ~CR4_UMIP);
	} else {
		absent("umip");
	}
	T("umip-off/ring3", "ok", RING3, CODE("sgdt (%rbx); str %eax; smsw %eax; sldt %eax; sidt (%rbx)"),
	  .bx = (ulong)scratch);
	if (HAS_MONITOR) {
		T("monitor/ring3", "#UD+0", RING3, CODE("monitor"), .ax = (ulong)scratch, .cx = 0, .dx = 0);
		T("mwait/ring3", "#UD+0", RING3, CODE("mwait"), .ax = 0, .cx = 0);
		T("monitor/ecx", "#GP(0x0)+0", RING0, CODE("monitor"), .ax = (ulong)scratch, .cx = 1, .dx = 0);
		T("mwait/ecx-reserved", "#GP(0x0)+0", RING0, CODE("mwait"), .ax = 0, .cx = 4);
		T("monitor/not-canonical", "#GP(0x0)+0", RING0, CODE("monitor"), .ax = 0x8000000000000000, .cx = 0,
		  .dx = 0);
		T("monitor/not-present", "#PF(0x0)+0 cr2=0x700000000000", RING0, CODE("monitor"), .ax = 0x700000000000,
		  .cx = 0, .dx = 0);
		/* A store to the monitored line before MWAIT: it falls through. */
		check("mwait/after-store-falls-through", "ok", "%s",
		      outcome(with_late_irq0((struct ctx){
			      RING0, .ip = CODE("sti; monitor; movb $1, (%rax); xor %eax, %eax; mwait; cli"),
			      .ax = (ulong)scratch, .cx = 0, .dx = 0})));
		check("mwait/without-monitor-falls-through", "ok", "%s",
		      outcome(with_late_irq0((struct ctx){RING0, .ip = CODE("sti; mwait; cli"), .ax = 0, .cx = 0})));
	} else {
		absent("monitor");
		absent("mwait");
	}
	T("pause", "ok", RING3, CODE("pause"));
	T("clflush/not-present", "#PF(0x4)+0 cr2=0x700000000000", RING3, CODE("clflush (%rbx)"), .bx = 0x700000000000);
	if (cpu_has(1, 0, 2, 30)) {
		c = TRY(RING3, CODE("1: rdrand %rax; jnc 1b"));
		check("rdrand/carry", "ok", "%s", outcome(c));
		T("rdrand/memory-form", "#UD+0", RING3, CODE(".byte 0x0f, 0xc7, 0x33"));
	} else {
		absent("rdrand");
	}
}

void chapter_main(void)
{
	rdmsr_code = CODE("rdmsr");
	wrmsr_code = CODE("wrmsr");
	msrs();
	mtrrs();
	cpuid_consistency();
	user_access();
}

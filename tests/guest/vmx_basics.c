/*
 * VMX operation and the VMX instructions in root operation: entering and leaving, pointers, VMCS fields, errors,
 * faults.
 *
 * SDM vol. 3, "Discovering Support for VMX", "Enabling and Entering VMX Operation", "Restrictions on VMX Operation",
 * "VMX Instruction Reference", appendices "VMX Capability Reporting Facility" and "Field Encoding in VMCS". The errors
 * of the dual-monitor treatment need SMM and are not here.
 */
#include "vmx.h"

const char chapter[] = "vmx_basics";

/* The instructions by name, with a memory operand at RBX, a register operand in RCX. */
enum insn {
	VMXON,
	VMXOFF,
	VMPTRLD,
	VMPTRST,
	VMCLEAR,
	VMREAD,
	VMWRITE,
	VMLAUNCH,
	VMRESUME,
	VMCALL,
	INVEPT,
	INVVPID,
	INSNS
};
static const char insn_name[INSNS][10] = {"vmxon",   "vmxoff",	 "vmptrld",  "vmptrst", "vmclear", "vmread",
					  "vmwrite", "vmlaunch", "vmresume", "vmcall",	"invept",  "invvpid"};
static ulong code64[INSNS], code32[INSNS];
static u64 operand[2];

static void make_code(void)
{
	ulong c64[INSNS] = {CODE("vmxon (%rbx)"),
			    CODE("vmxoff"),
			    CODE("vmptrld (%rbx)"),
			    CODE("vmptrst (%rbx)"),
			    CODE("vmclear (%rbx)"),
			    CODE("vmread %rcx, (%rbx)"),
			    CODE("vmwrite (%rbx), %rcx"),
			    CODE("vmlaunch"),
			    CODE("vmresume"),
			    CODE("vmcall"),
			    CODE("invept (%rbx), %rcx"),
			    CODE("invvpid (%rbx), %rcx")};
	ulong c32[INSNS] = {CODE32("vmxon (%ebx)"),
			    CODE32("vmxoff"),
			    CODE32("vmptrld (%ebx)"),
			    CODE32("vmptrst (%ebx)"),
			    CODE32("vmclear (%ebx)"),
			    CODE32("vmread %ecx, (%ebx)"),
			    CODE32("vmwrite (%ebx), %ecx"),
			    CODE32("vmlaunch"),
			    CODE32("vmresume"),
			    CODE32("vmcall"),
			    CODE32("invept (%ebx), %ecx"),
			    CODE32("invvpid (%ebx), %ecx")};

	memcpy(code64, c64, sizeof(c64));
	memcpy(code32, c32, sizeof(c32));
}

/* Executes one, with all arithmetic flags set before; the result in the manual's words or the exception. */
static const char *execute(enum insn n, u64 low, u64 high, u64 cx)
{
	operand[0] = low;
	operand[1] = high;
	struct ctx c = TRY(RING0, code64[n], .bx = (ulong)operand, .cx = cx, .flags = FLAG_FIXED | FLAG_ARITHMETIC);

	return c.vector == VECTOR_END ? vmx_result(c.flags) : outcome(c);
}

/* A line for one of them with a pointer as its operand. */
#define P(name, expected, insn, pointer) check(name, expected, "%s", execute(insn, pointer, 0, 0))

/* Every instruction in a context; VMCALL and VMXON may differ from the rest. */
static void each(const char *where, const char *expected, const char *vmxon, const char *vmcall, bool ring3,
		 bool compatibility)
{
	char name[64];

	for (u32 i = 0; i < INSNS; i++) {
		const char *text = i == VMXON ? vmxon : i == VMCALL ? vmcall : expected;
		ulong code = compatibility ? code32[i] : code64[i];

		format_text(name, sizeof(name), "%s/%s", where, insn_name[i]);
		if ((i == INVEPT && !has_cap(INVEPT)) || (i == INVVPID && !has_cap(INVVPID))) {
			absent(name);
			continue;
		}
		if (ring3 && compatibility)
			T(name, text, RING3_32, code, .bx = (ulong)operand);
		else if (ring3)
			T(name, text, RING3, code, .bx = (ulong)operand);
		else if (compatibility)
			T(name, text, RING0_32, code, .bx = (ulong)operand);
		else
			T(name, text, RING0, code, .bx = (ulong)operand);
	}
}

static void discovery(void)
{
	u64 basic = rdmsr(MSR_VMX_BASIC), misc = rdmsr(MSR_VMX_MISC);
	bool true_ctls = basic >> BASIC_TRUE_CTLS & 1;
	ulong read = CODE("rdmsr"), write = CODE("wrmsr");
	u32 bad = 0;

	check("msr/basic-bit-31", "0", "%u", (u32)basic >> 31);
	check("msr/basic-region-size", "1", "%u", (basic >> 32 & 0x1fff) >= 1 && (basic >> 32 & 0x1fff) <= 4096);
	check("msr/basic-memory-type", "6", "%u", (u32)(basic >> 50) & 15);
	check("msr/basic-32-bit-addresses", "0", "%u", (u32)(basic >> 48) & 1);
	check("msr/misc-cr3-targets", "4", "%u", (u32)(misc >> 16) & 0x1ff);
	check("msr/misc-reserved", "0", "%lx", misc & 0x80003e00ul);
	/* "VMX-Fixed Bits in CR0", "... in CR4": PE, NE and PG; VMXE. */
	check("msr/cr0-fixed0", "80000021", "%lx", rdmsr(MSR_VMX_CR0_FIXED0));
	check("msr/cr0-fixed1", "ffffffff", "%lx", rdmsr(MSR_VMX_CR0_FIXED1));
	check("msr/cr4-fixed0", "2000", "%lx", rdmsr(MSR_VMX_CR4_FIXED0));
	check("msr/cr4-fixed1-has-vmxe", "2000", "%lx", rdmsr(MSR_VMX_CR4_FIXED1) & CR4_VMXE);
	/* Every bit that must be 1 may be 1; TRUE MSRs loosen the default1 class only. */
	for (u32 i = 0; i < 4; i++) {
		u64 plain = rdmsr(0x481 + i), loose = true_ctls ? rdmsr(0x48d + i) : plain;

		if ((u32)plain & ~(plain >> 32) || (u32)loose & ~(u32)plain || loose >> 32 != plain >> 32)
			bad |= 1 << i;
	}
	check("msr/allowed-settings-consistent", "0", "%x", bad);
	bad = 0;
	for (u32 i = 0x480; i <= 0x48a; i++) {
		struct ctx c = TRY(RING0, write, .cx = i);

		bad += c.vector == VEC_GP && c.ip == c.start;
	}
	check("msr/read-only", "11", "%u", bad);
	T("msr/beyond", "#GP(0x0)+0", RING0, read, .cx = 0x4ff);
}

/* Before VMXON. */
static void outside(void)
{
	u64 control = rdmsr(MSR_FEATURE_CONTROL);
	u64 *region = vmx_region(), good = (u64)region;

	each("off-vmxe-clear", "#UD+0", "#UD+0", "#UD+0", false, false);
	each("off-vmxe-clear-ring3", "#UD+0", "#UD+0", "#UD+0", true, false);
	write_cr4(read_cr4() | CR4_VMXE);
	if (control & 1) {
		absent("feature-control-unlocked");
	} else {
		P("feature-control-unlocked/vmxon", "#GP(0x0)+0", VMXON, good);
		wrmsr(MSR_FEATURE_CONTROL, 4);
		P("feature-control-unlocked/vmxon-enabled", "#GP(0x0)+0", VMXON, good);
		T("feature-control-unlocked/reserved-bit", "#GP(0x0)+0", RING0, CODE("wrmsr"),
		  .cx = MSR_FEATURE_CONTROL, .dx = 1);
		wrmsr(MSR_FEATURE_CONTROL, 5);
	}
	T("feature-control/locked", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_FEATURE_CONTROL, .ax = 5);
	operand[0] = 1; /* no VMXON pointer */
	each("off", "#UD+0", "ok", "#UD+0", false, false);
	/* VMXON in the order of its operation. */
	T("vmxon/ring3", "#GP(0x0)+0", RING3, code64[VMXON], .bx = (ulong)&operand);
	T("vmxon/compatibility-mode", "#UD+0", RING0_32, code32[VMXON], .bx = (ulong)&operand);
	write_cr0(read_cr0() & ~(ulong)CR0_NE);
	P("vmxon/cr0-ne-clear", "#GP(0x0)+0", VMXON, good);
	write_cr0(read_cr0() | CR0_NE);
	T("vmxon/not-canonical", "#GP(0x0)+0", RING0, code64[VMXON], .bx = 1ull << 60);
	T("vmxon/not-canonical-ss", "#SS(0x0)+0", RING0, CODE("vmxon (%rbp)"), .bp = 1ull << 60);
	T("vmxon/not-mapped", "#PF(0x0)+0 cr2=0x200000000", RING0, code64[VMXON], .bx = 1ull << 33);
	P("vmxon/misaligned", "VMfailInvalid", VMXON, good + 8);
	P("vmxon/beyond-maxphyaddr", "VMfailInvalid", VMXON, good | 1ull << physical_bits());
	P("vmxon/bit-63", "VMfailInvalid", VMXON, good | 1ull << 63);
	*region ^= 1;
	P("vmxon/revision", "VMfailInvalid", VMXON, good);
	*region = rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
	*region |= 1u << 31;
	P("vmxon/revision-bit-31", "VMfailInvalid", VMXON, good);
	*region &= 0x7fffffff;
	P("vmxon/off-vmptrld", "#UD+0", VMPTRLD, good);
}

/* In VMX operation without a current VMCS: every failure is VMfailInvalid. */
static void no_current(void)
{
	u64 region = (u64)vmx_region();

	check("no-current/vmptrst", "ffffffffffffffff", "%lx", vmx_vmptrst());
	P("no-current/vmxon", "VMfailInvalid", VMXON, region);
	P("no-current/vmptrld-misaligned", "VMfailInvalid", VMPTRLD, region + 1);
	P("no-current/vmptrld-vmxon-pointer", "VMfailInvalid", VMPTRLD, (u64)vmxon_region);
	P("no-current/vmclear-misaligned", "VMfailInvalid", VMCLEAR, region + 0x800);
	P("no-current/vmclear-vmxon-pointer", "VMfailInvalid", VMCLEAR, (u64)vmxon_region);
	check("no-current/vmread", "VMfailInvalid", "%s", execute(VMREAD, 0, 0, GUEST_RIP));
	check("no-current/vmwrite", "VMfailInvalid", "%s", execute(VMWRITE, 0, 0, GUEST_RIP));
	check("no-current/vmwrite-unknown", "VMfailInvalid", "%s", execute(VMWRITE, 0, 0, 0xffff));
	check("no-current/vmlaunch", "VMfailInvalid", "%s", execute(VMLAUNCH, 0, 0, 0));
	check("no-current/vmresume", "VMfailInvalid", "%s", execute(VMRESUME, 0, 0, 0));
	check("no-current/vmcall", "VMfailInvalid", "%s", execute(VMCALL, 0, 0, 0));
	if (has_cap(INVEPT))
		check("no-current/invept-bad-type", "VMfailInvalid", "%s", execute(INVEPT, 0, 0, 99));
	else
		absent("no-current/invept-bad-type");
	P("no-current/vmclear", "ok", VMCLEAR, region);
}

static void pointers(void)
{
	u64 a = (u64)vmx_region(), b = (u64)vmx_region(), wide = 1ull << physical_bits();

	P("vmclear/a", "ok", VMCLEAR, a);
	P("vmclear/b", "ok", VMCLEAR, b);
	P("vmptrld/a", "ok", VMPTRLD, a);
	check("vmptrst/a", "1", "%u", vmx_vmptrst() == a);
	vm_write(GUEST_RIP, 0xa);
	P("vmptrld/b", "ok", VMPTRLD, b);
	vm_write(GUEST_RIP, 0xb);
	P("vmptrld/a-again", "ok", VMPTRLD, a);
	check("vmptrld/a-kept", "a", "%lx", vm_read(GUEST_RIP));
	P("vmclear/other-leaves-current", "ok", VMCLEAR, b);
	check("vmptrst/still-a", "1", "%u", vmx_vmptrst() == a);
	P("vmptrld/b-after-vmclear", "ok", VMPTRLD, b);
	check("vmptrld/b-kept-in-memory", "b", "%lx", vm_read(GUEST_RIP));
	P("vmclear/current", "ok", VMCLEAR, b);
	check("vmptrst/none", "ffffffffffffffff", "%lx", vmx_vmptrst());
	vmx_vmptrld(a);
	P("vmptrld/same-again", "ok", VMPTRLD, a);
	P("vmptrld/misaligned", "VMfail(9)", VMPTRLD, b + 16);
	P("vmptrld/beyond-maxphyaddr", "VMfail(9)", VMPTRLD, b | wide);
	P("vmptrld/vmxon-pointer", "VMfail(10)", VMPTRLD, (u64)vmxon_region);
	*(u32 *)b ^= 1;
	P("vmptrld/revision", "VMfail(11)", VMPTRLD, b);
	P("vmclear/revision-not-looked-at", "ok", VMCLEAR, b);
	*(u32 *)b ^= 1;
	*(u32 *)b |= 1u << 31;
	P("vmptrld/shadow", has_sec(VMCS_SHADOWING) ? "ok" : "VMfail(11)", VMPTRLD, b);
	*(u32 *)b &= 0x7fffffff;
	vmx_vmclear(b);
	vmx_vmptrld(a);
	P("vmclear/misaligned", "VMfail(2)", VMCLEAR, b + 1);
	P("vmclear/beyond-maxphyaddr", "VMfail(2)", VMCLEAR, b | wide);
	P("vmclear/vmxon-pointer", "VMfail(3)", VMCLEAR, (u64)vmxon_region);
	P("vmxon/again", "VMfail(15)", VMXON, b);
	P("vmxon/again-bad-pointer", "VMfail(15)", VMXON, 1);
	check("vmptrst/failures-change-nothing", "1", "%u", vmx_vmptrst() == a);
	T("vmptrst/not-canonical", "#GP(0x0)+0", RING0, code64[VMPTRST], .bx = 1ull << 60);
	T("vmptrld/not-canonical", "#GP(0x0)+0", RING0, code64[VMPTRLD], .bx = 1ull << 60);
	T("vmclear/not-canonical", "#GP(0x0)+0", RING0, code64[VMCLEAR], .bx = 1ull << 60);
	T("vmptrst/not-mapped", "#PF(0x2)+0 cr2=0x200000000", RING0, code64[VMPTRST], .bx = 1ull << 33);
	T("vmptrld/not-mapped", "#PF(0x0)+0 cr2=0x200000000", RING0, code64[VMPTRLD], .bx = 1ull << 33);
	vmx_vmclear(a);
}

/* Does this processor have the field? By the NEED rows of spec/vmcs_fields.def. */
#define WORD(word, ...) WORD_##word,
enum word {
#include "vmx_controls.def"
};
static bool may_be_1(enum word word, u32 bit)
{
	switch (word) {
	case WORD_PINBASED_CTLS: return vm_allows(PIN, bit);
	case WORD_PROCBASED_CTLS: return vm_allows(PRIMARY, bit);
	case WORD_PROCBASED_CTLS2: return vm_allows(SECONDARY, bit);
	case WORD_PROCBASED_CTLS3: return vm_allows(TERTIARY, bit);
	case WORD_EXIT_CTLS: return vm_allows(EXIT, bit);
	case WORD_ENTRY_CTLS: return vm_allows(ENTRY, bit);
	case WORD_FUNCTION_CTLS: return vm_allows(VM_FUNCTION, bit);
	default: return false;
	}
}
enum need {
	NEED_ALWAYS,
#define NEED(condition, ...) NEED_##condition,
#include "vmcs_fields.def"
	NEEDS
};
static const struct {
	enum word word_a;
	u32 bit_a;
	enum word word_b;
	u32 bit_b;
} needs[] = {
	[NEED_ALWAYS] = {0},
#define NEED(condition, word_a, a, word_b, b) {WORD_##word_a, word_a##_##a, WORD_##word_b, word_b##_##b},
#include "vmcs_fields.def"
};
static const struct field {
	u32 encoding;
	enum need need;
	const char *name;
} fields[] = {
#define F(encoding, name, need, ...) {encoding, NEED_##need, #name},
#include "vmcs_fields.def"
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static bool exists(const struct field *f)
{
	return f->need == NEED_ALWAYS || may_be_1(needs[f->need].word_a, needs[f->need].bit_a) ||
	       may_be_1(needs[f->need].word_b, needs[f->need].bit_b);
}

/* VMWRITE then VMREAD of a pattern: "16 bits", "error", ... */
static const char *write_and_read(u32 encoding, char text[32])
{
	const u64 pattern = 0xa5b6c7d8e9fa1b2c;
	const char *failure = execute(VMWRITE, pattern, 0, encoding);
	u64 got;

	if (failure[0] != 'o')
		return failure;
	execute(VMREAD, 0, 0, encoding);
	got = operand[0];
	for (u32 bits = 16; bits <= 64; bits += bits == 16 ? 16 : 32)
		if (got == (bits == 64 ? pattern : pattern & ((1ull << bits) - 1)))
			return format_text(text, 32, "%u bits", bits);
	return format_text(text, 32, "%lx", got);
}

static void all_fields(void)
{
	static const char widths[4][8] = {"16 bits", "64 bits", "32 bits", "64 bits"};
	char name[64], seen[32], more[96], expected[96];
	u32 highest = 0, unknown = 0, accepted = 0;
	bool any_write = has_misc(VMWRITE_ANY);
	u64 region = (u64)vmx_region();

	vmx_vmclear(region);
	vmx_vmptrld(region);
	for (const struct field *f = fields; f < fields + FIELDS; f++) {
		u32 width = f->encoding >> 13 & 3, type = f->encoding >> 10 & 3;
		const char *first;

		format_text(name, sizeof(name), "field/%s", f->name);
		if (!exists(f)) {
			/* One that another processor has: these two report ABSENT so that they are not compared. */
			bool both = execute(VMREAD, 0, 0, f->encoding)[0] == 'V' &&
				    execute(VMWRITE, 0, 0, f->encoding)[0] == 'V' &&
				    vm_read(VM_INSTRUCTION_ERROR) == ERROR_UNSUPPORTED_COMPONENT;

			if (both)
				absent(name);
			else
				check(name, "VMfail(12)", "there");
			continue;
		}
		if ((f->encoding >> 1 & 0x1ff) > highest)
			highest = f->encoding >> 1 & 0x1ff;
		first = write_and_read(f->encoding, seen);
		if (type == 1 && !any_write) {
			check(name, "VMfail(13) ok", "%s %s", first, execute(VMREAD, 0, 0, f->encoding));
			continue;
		}
		if (width == 1) {
			/* SDM vol. 3, "VMREAD, VMWRITE, and Encodings of VMCS Fields": the high half by the encoding
			 * plus 1. */
			u64 high;

			first = format_text(more, sizeof(more), "%s", first);
			execute(VMREAD, 0, 0, f->encoding + 1);
			high = operand[0];
			execute(VMWRITE, 0x1111111122222222, 0, f->encoding + 1);
			execute(VMREAD, 0, 0, f->encoding);
			check(name, "64 bits, high a5b6c7d8, then 22222222e9fa1b2c", "%s, high %lx, then %lx", first,
			      high, operand[0]);
			continue;
		}
		format_text(expected, sizeof(expected), "%s", widths[width]);
		check(name, expected, "%s", first);
	}
	/* No other encoding of 15 bits exists, and none with bit 0 set but in 64-bit fields, with bit 12, or above
	 * bit 14. */
	for (u32 e = 0; e < 0x8000; e++) {
		bool known = false;

		for (const struct field *f = fields; f < fields + FIELDS; f++)
			known |= e == f->encoding || (e == f->encoding + 1 && (f->encoding >> 13 & 3) == 1);
		if (known)
			continue;
		u8 failed;
		u64 v;

		asm volatile("vmread %2, %1; setna %0" : "=q"(failed), "=r"(v) : "r"((u64)e) : "cc");
		unknown++;
		if (!failed)
			accepted++;
	}
	check("encoding/others-unsupported", "0", "%u", accepted);
	check("encoding/vmcs-enum", "1", "%u", (rdmsr(MSR_VMX_VMCS_ENUM) >> 1 & 0x1ff) >= highest);
	check("encoding/bit-15", "VMfail(12)", "%s", execute(VMREAD, 0, 0, 0x8000 | GUEST_RIP));
	check("encoding/bit-31", "VMfail(12)", "%s", execute(VMREAD, 0, 0, 1u << 31 | GUEST_RIP));
	check("encoding/bit-32", "VMfail(12)", "%s", execute(VMREAD, 0, 0, 1ull << 32 | GUEST_RIP));
	check("encoding/vmwrite-bit-63", "VMfail(12)", "%s", execute(VMWRITE, 0, 0, 1ull << 63 | GUEST_RIP));
	check("encoding/high-of-natural", "VMfail(12)", "%s", execute(VMREAD, 0, 0, GUEST_RIP + 1));
	check("encoding/high-of-32", "VMfail(12)", "%s", execute(VMWRITE, 0, 0, EXCEPTION_BITMAP + 1));
	/* Operands: a register's upper half is zeroed by VMREAD; nothing is written when VMREAD fails. */
	vm_write(EXCEPTION_BITMAP, 0x12345678);
	struct ctx c = TRY(RING0, CODE("vmread %rcx, %rdx"), .cx = EXCEPTION_BITMAP, .dx = ~0ul);
	check("vmread/zero-extends", "ok 12345678", "%s %lx", outcome(c), c.dx);
	c = TRY(RING0, CODE("vmread %rcx, %rdx"), .cx = 0x1000, .dx = 0x77);
	check("vmread/failure-writes-nothing", "ok 77", "%s %lx", outcome(c), c.dx);
	T("vmread/not-mapped", "#PF(0x2)+0 cr2=0x200000000", RING0, code64[VMREAD], .bx = 1ull << 33, .cx = GUEST_RIP);
	T("vmread/unknown-not-mapped", "ok", RING0, code64[VMREAD], .bx = 1ull << 33, .cx = 0x1000);
	T("vmwrite/not-mapped", "#PF(0x0)+0 cr2=0x200000000", RING0, code64[VMWRITE], .bx = 1ull << 33,
	  .cx = GUEST_RIP);
	T("vmwrite/read-only-page-is-enough", "ok", RING0, code64[VMWRITE], .bx = 0x100000, .cx = GUEST_RIP);
	T("vmread/lock", "#UD+0", RING0, CODE("lock; vmread %rcx, %rdx"), .cx = GUEST_RIP);
	T("vmread/operand-size-prefix", "#UD+0", RING0, CODE(".byte 0x66; vmread %rcx, %rdx"), .cx = GUEST_RIP);
	T("vmread/rep", "#UD+0", RING0, CODE(".byte 0xf3; vmread %rcx, %rdx"), .cx = GUEST_RIP);
	vmx_vmclear(region);
}

static void entry_errors(void)
{
	ulong nop = CODE("nop");
	char text[64];

	vm_fresh(G64, nop);
	check("entry/vmresume-not-launched", "VMfail(5)", "%s", execute(VMRESUME, 0, 0, 0));
	vm_run();
	vm_check("entry/vmlaunch", "ok");
	check("entry/vmlaunch-launched", "VMfail(4)", "%s", execute(VMLAUNCH, 0, 0, 0));
	/* Without a supported dual-monitor treatment, or with IA32_SMM_MONITOR_CTL.Valid = 0; the VMCS's launch state
	 * is of no account. */
	check("entry/vmcall-in-root", "VMfail(1)", "%s", execute(VMCALL, 0, 0, 0));
	vm_run();
	vm_check("entry/vmresume", "VMCALL len=3 elsewhere|ok");
	vmx_vmclear((u64)vmcs_region);
	vmx_vmptrld((u64)vmcs_region);
	check("entry/vmclear-makes-clear", "VMfail(5)", "%s", execute(VMRESUME, 0, 0, 0));
	vm_fresh(G64, nop);
	vm_write(VM_PINBASED_CTLS, ~0u);
	vm_run();
	vm_check("entry/control-field", "VMfail(7)");
	check("entry/error-stays-after-success", "ok 7", "%s %lu", execute(VMWRITE, 0, 0, VPID)[0] == 'o' ? "ok" : "ok",
	      vm_read(VM_INSTRUCTION_ERROR));
	vm_fresh(G64, nop);
	vm_write(HOST_CR0, 0);
	vm_run();
	vm_check("entry/host-field", "VMfail(8)");
	/* POP SS or MOV SS before the instruction: also when the controls are bad. */
	vm_fresh(G64, nop);
	T("entry/mov-ss-ends-normally", "ok", RING0, CODE("mov %ebx, %ss; nop"), .bx = SEL_DATA0);
	struct ctx c =
		TRY(RING0, CODE("mov %ebx, %ss; vmlaunch"), .bx = SEL_DATA0, .flags = FLAG_FIXED | FLAG_ARITHMETIC);
	format_text(text, sizeof(text), "%s", vmx_result(c.flags));
	check("entry/after-mov-ss", "ok VMfail(26)", "%s %s", outcome(c), text);
	vm_write(VM_PINBASED_CTLS, ~0u);
	c = TRY(RING0, CODE("mov %ebx, %ss; vmlaunch"), .bx = SEL_DATA0, .flags = FLAG_FIXED | FLAG_ARITHMETIC);
	format_text(text, sizeof(text), "%s", vmx_result(c.flags));
	check("entry/after-mov-ss-bad-controls", "ok VMfail(26)", "%s %s", outcome(c), text);
	/* A VMCS that is a shadow one. */
	if (has_sec(VMCS_SHADOWING)) {
		u64 *shadow = vmx_region();

		*(u32 *)shadow |= 1u << 31;
		vmx_vmclear((u64)shadow);
		vmx_vmptrld((u64)shadow);
		check("entry/vmlaunch-shadow", "VMfailInvalid", "%s", execute(VMLAUNCH, 0, 0, 0));
		check("entry/vmresume-shadow", "VMfailInvalid", "%s", execute(VMRESUME, 0, 0, 0));
		vmx_vmclear((u64)shadow);
	} else {
		absent("entry/vmlaunch-shadow");
		absent("entry/vmresume-shadow");
	}
}

/* SDM vol. 3, "INVEPT", "INVVPID": types, reserved bits, addresses. */
static void invalidations(void)
{
	vm_fresh(G64, 0);
#define I(name, expected, capability, insn, low, high, type)                         \
	do {                                                                         \
		if (has_cap(capability))                                             \
			check(name, expected, "%s", execute(insn, low, high, type)); \
		else                                                                 \
			absent(name);                                                \
	} while (0)
	u64 eptp = (u64)vmx_region() | 3 << 3 | 6;

	I("invept/type-0", "VMfail(28)", INVEPT, INVEPT, 0, 0, 0);
	I("invept/type-3", "VMfail(28)", INVEPT, INVEPT, 0, 0, 3);
	I("invept/type-wide", "VMfail(28)", INVEPT, INVEPT, 0, 0, 1ull << 32 | 2);
	I("invept/single", "ok", INVEPT_SINGLE, INVEPT, eptp, 0, 1);
	I("invept/single-bad-eptp", "VMfail(28)", INVEPT_SINGLE, INVEPT, eptp | 1ull << physical_bits(), 0, 1);
	I("invept/single-bad-memory-type", "VMfail(28)", INVEPT_SINGLE, INVEPT, eptp ^ 3, 0, 1);
	I("invept/all", "ok", INVEPT_ALL, INVEPT, ~0ull, 0, 2);
	I("invvpid/type-4", "VMfail(28)", INVVPID, INVVPID, 1, 0, 4);
	I("invvpid/address", "ok", INVVPID_ADDRESS, INVVPID, 1, 0x5000, 0);
	I("invvpid/address-vpid-0", "VMfail(28)", INVVPID_ADDRESS, INVVPID, 0, 0x5000, 0);
	I("invvpid/address-not-canonical", "VMfail(28)", INVVPID_ADDRESS, INVVPID, 1, 1ull << 60, 0);
	/* Of the processor's linear-address width, not of the paging that is on. */
	I("invvpid/address-of-57-bits", HAS_LA57 ? "ok" : "VMfail(28)", INVVPID_ADDRESS, INVVPID, 1, 1ull << 47, 0);
	I("invvpid/address-reserved", "VMfail(28)", INVVPID_ADDRESS, INVVPID, 0x10001, 0x5000, 0);
	I("invvpid/single", "ok", INVVPID_SINGLE, INVVPID, 0xffff, 0, 1);
	I("invvpid/single-vpid-0", "VMfail(28)", INVVPID_SINGLE, INVVPID, 0, 0, 1);
	I("invvpid/single-reserved", "VMfail(28)", INVVPID_SINGLE, INVVPID, 1ull << 63 | 1, 0, 1);
	I("invvpid/all", "ok", INVVPID_ALL, INVVPID, 0, 0, 2);
	I("invvpid/retaining-globals", "ok", INVVPID_RETAIN_GLOBALS, INVVPID, 1, 0, 3);
	I("invvpid/retaining-globals-vpid-0", "VMfail(28)", INVVPID_RETAIN_GLOBALS, INVVPID, 0, 0, 3);
#undef I
	if (has_cap(INVEPT))
		T("invept/not-canonical", "#GP(0x0)+0", RING0, code64[INVEPT], .bx = 1ull << 60, .cx = 2);
	else
		absent("invept/not-canonical");
	if (has_cap(INVVPID))
		T("invvpid/not-mapped", "#PF(0x0)+0 cr2=0x200000000", RING0, code64[INVVPID], .bx = 1ull << 33,
		  .cx = 2);
	else
		absent("invvpid/not-mapped");
}

/* "Restrictions on VMX Operation": bits fixed in CR0 and CR4. */
static void fixed_bits(void)
{
	ulong cr0 = read_cr0(), cr4 = read_cr4(), to_cr0 = CODE("mov %rbx, %cr0"), to_cr4 = CODE("mov %rbx, %cr4");

	T("fixed/cr0-ne", "#GP(0x0)+0", RING0, to_cr0, .bx = cr0 & ~(ulong)CR0_NE);
	T("fixed/cr0-pg", "#GP(0x0)+0", RING0, to_cr0, .bx = cr0 & ~CR0_PG);
	T("fixed/cr0-pe-pg", "#GP(0x0)+0", RING0, to_cr0, .bx = cr0 & ~(CR0_PG | CR0_PE));
	T("fixed/cr0-others-free", "ok", RING0, to_cr0, .bx = cr0 ^ (CR0_MP | CR0_WP | CR0_AM));
	write_cr0(cr0);
	T("fixed/cr4-vmxe", "#GP(0x0)+0", RING0, to_cr4, .bx = cr4 & ~(ulong)CR4_VMXE);
	T("fixed/cr4-others-free", "ok", RING0, to_cr4, .bx = cr4 ^ (CR4_TSD | CR4_DE));
	write_cr4(cr4);
	T("fixed/clts", "ok", RING0, CODE("clts"));
}

void chapter_main(void)
{
	make_code();
	if (!cpu_has(1, 0, 2, 5)) {
		absent("");
		return;
	}
	discovery();
	outside();
	if (!vm_begin())
		return;
	no_current();
	pointers();
	all_fields();
	entry_errors();
	invalidations();
	fixed_bits();
	each("ring3", "#GP(0x0)+0", "#GP(0x0)+0", "#GP(0x0)+0", true, false);
	each("compatibility", "#UD+0", "#UD+0", "#UD+0", false, true);
	each("compatibility-ring3", "#UD+0", "#UD+0", "#UD+0", true, true);
	vm_report();
	P("vmxoff/ok", "ok", VMXOFF, 0);
	T("vmxoff/again", "#UD+0", RING0, CODE("vmxoff"));
	write_cr4(read_cr4() | CR4_VMXE);
	T("vmxoff/then-vmptrst", "#UD+0", RING0, code64[VMPTRST], .bx = (ulong)operand);
	P("vmxoff/then-vmxon", "ok", VMXON, (u64)vmxon_region);
	check("vmxoff/no-current", "ffffffffffffffff", "%lx", vmx_vmptrst());
	P("vmxoff/once-more", "ok", VMXOFF, 0);
	T("vmxoff/vmxe-can-be-cleared", "ok", RING0, CODE("mov %cr4, %rax; btr $13, %eax; mov %rax, %cr4"));
}

/*
 * VMX operation of a 32-bit host: modes that IA-32e mode cannot show, fields of 64 bits in two halves, checks of the
 * address-space size.
 *
 * SDM vol. 3, "VMX Instruction Reference", "VMREAD, VMWRITE, and Encodings of VMCS Fields", "Checks Related to
 * Address-Space Size", "Loading Host State". A program of its own, because the library of the other images is 64-bit
 * code. Lines whose names are ids are rules of spec/vmx_checks.def.
 */
#include "vmx.h"

const char chapter[] = "vmx_host32";

static u32 page_dir[1024] __attribute__((aligned(4096)));
static u64 operand[2];
static u32 *region, *on_region;
u32 exit_flags, guest_start;

/* VMLAUNCH, and the way back from a VM exit or a failure: HOST_RSP is 6C14H. */
void enter32(void);
extern u8 exit32[];
asm(".pushsection .text\n"
    "enter32: push %ebp; push %ebx; push %esi; push %edi; mov $0x6c14, %eax; vmwrite %esp, %eax; vmlaunch\n"
    "exit32: pushf; pop exit_flags; cld; pop %edi; pop %esi; pop %ebx; pop %ebp; ret\n"
    ".popsection");

static u32 vmread32(u32 field)
{
	u32 v = 0;

	asm volatile("vmread %1, %0" : "+r"(v) : "r"(field) : "cc");
	return v;
}

static void vmwrite32(u32 field, u32 v)
{
	asm volatile("vmwrite %0, %1" : : "r"(v), "r"(field) : "cc", "memory");
}

/* What a VMX instruction left in the flags. */
static const char *result(u32 flags)
{
	static char text[32];

	switch (flags & FLAG_ARITHMETIC) {
	case 0: return "ok";
	case FLAG_CF: return "VMfailInvalid";
	case FLAG_ZF: return format_text(text, sizeof(text), "VMfail(%u)", vmread32(VM_INSTRUCTION_ERROR));
	}
	return format_text(text, sizeof(text), "flags=%x", (u32)(flags & FLAG_ARITHMETIC));
}

static const char *execute(ulong code, u64 pointer)
{
	operand[0] = pointer;
	struct ctx c = TRY(RING0, code, .bx = (ulong)operand, .flags = FLAG_FIXED | FLAG_ARITHMETIC);

	return c.vector == VECTOR_END ? result(c.flags) : outcome(c);
}

static u32 control(u32 msr, u32 true_msr)
{
	return rdmsr(rdmsr(MSR_VMX_BASIC) >> BASIC_TRUE_CTLS & 1 ? true_msr : msr);
}

/* A 32-bit host, and a guest that is just like it. */
static void fresh(ulong code)
{
	static const struct {
		u32 field, value;
	} fixed[] = {{EXCEPTION_BITMAP, 0},
		     {CR3_TARGET_COUNT, 0},
		     {VM_EXIT_MSR_STORE_COUNT, 0},
		     {VM_EXIT_MSR_LOAD_COUNT, 0},
		     {VM_ENTRY_MSR_LOAD_COUNT, 0},
		     {VM_ENTRY_INTERRUPTION_INFO, 0},
		     {VMCS_LINK_POINTER, ~0u},
		     {VMCS_LINK_POINTER + 1, ~0u},
		     {GUEST_DEBUGCTL, 0},
		     {GUEST_INTERRUPTIBILITY, 0},
		     {GUEST_ACTIVITY_STATE, 0},
		     {GUEST_PENDING_DEBUG, 0},
		     {GUEST_RFLAGS, FLAG_FIXED},
		     {GUEST_DR7, 0x400},
		     {GUEST_SYSENTER_ESP, 0},
		     {GUEST_SYSENTER_EIP, 0},
		     {CR0_MASK, 0},
		     {CR4_MASK, 0},
		     {PAGE_FAULT_ERROR_CODE_MASK, 0},
		     {PAGE_FAULT_ERROR_CODE_MATCH, 0},
		     {GUEST_LDTR_AR, AR_UNUSABLE},
		     {GUEST_LDTR_SELECTOR, 0},
		     {GUEST_LDTR_BASE, 0},
		     {GUEST_LDTR_LIMIT, 0},
		     {GUEST_TR_SELECTOR, SEL_TSS},
		     {GUEST_TR_AR, 0x8b},
		     {GUEST_TR_LIMIT, sizeof(main_tss) - 1},
		     {GUEST_GDTR_LIMIT, sizeof(gdt) - 1},
		     {GUEST_IDTR_LIMIT, sizeof(idt) - 1},
		     {HOST_TR_SELECTOR, SEL_TSS},
		     {HOST_FS_BASE, 0},
		     {HOST_GS_BASE, 0},
		     {HOST_SYSENTER_ESP, 0},
		     {HOST_SYSENTER_EIP, 0},
		     {HOST_SYSENTER_CS, 0},
		     {GUEST_SYSENTER_CS, 0}};

	execute(CODE("vmclear (%ebx)"), (ulong)region);
	execute(CODE("vmptrld (%ebx)"), (ulong)region);
	for (u32 i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		vmwrite32(fixed[i].field, fixed[i].value);
	for (u32 i = 0; i < 6; i++) {
		vmwrite32(GUEST_ES_SELECTOR + 2 * i, i == 1 ? SEL_CODE0 : SEL_DATA0);
		vmwrite32(GUEST_ES_BASE + 2 * i, 0);
		vmwrite32(GUEST_ES_LIMIT + 2 * i, ~0u);
		vmwrite32(GUEST_ES_AR + 2 * i, i == 1 ? 0xc09b : 0xc093);
		vmwrite32(HOST_ES_SELECTOR + 2 * i, i == 1 ? SEL_CODE0 : SEL_DATA0);
	}
	vmwrite32(VM_PINBASED_CTLS, control(0x481, 0x48d));
	vmwrite32(VM_PROCBASED_CTLS, control(0x482, 0x48e));
	vmwrite32(VM_EXIT_CTLS, control(0x483, 0x48f));
	vmwrite32(VM_ENTRY_CTLS, control(0x484, 0x490));
	vmwrite32(GUEST_CR0, read_cr0());
	vmwrite32(GUEST_CR3, read_cr3());
	vmwrite32(GUEST_CR4, read_cr4());
	vmwrite32(HOST_CR0, read_cr0());
	vmwrite32(HOST_CR3, read_cr3());
	vmwrite32(HOST_CR4, read_cr4());
	vmwrite32(GUEST_TR_BASE, (u32)&main_tss);
	vmwrite32(HOST_TR_BASE, (u32)&main_tss);
	vmwrite32(GUEST_GDTR_BASE, (u32)gdt);
	vmwrite32(HOST_GDTR_BASE, (u32)gdt);
	vmwrite32(GUEST_IDTR_BASE, (u32)idt);
	vmwrite32(HOST_IDTR_BASE, (u32)idt);
	vmwrite32(GUEST_RSP, (u32)ring0_stack_top);
	vmwrite32(GUEST_RIP, code);
	vmwrite32(HOST_RIP, (u32)exit32);
	guest_start = code;
}

static const char *enter(void)
{
	static char text[64];

	enter32();
	if (exit_flags & (FLAG_CF | FLAG_ZF))
		return result(exit_flags);
	return format_text(text, sizeof(text), "exit %x +%u", vmread32(EXIT_REASON), vmread32(GUEST_RIP) - guest_start);
}

#define E(name, expected, ...) (fresh(cpuid_code), (void)0, ##__VA_ARGS__, check(name, expected, "%s", enter()))

static void modes(const char *state, const char *ring3, const char *v86)
{
	static const char names[5][10] = {"vmptrst", "vmread", "vmclear", "vmxoff", "vmlaunch"};
	ulong code[5] = {CODE("vmptrst (%ebx)"), CODE("vmread %ecx, %eax"), CODE("vmclear (%ebx)"), CODE("vmxoff"),
			 CODE("vmlaunch")};
	ulong code16[5] = {CODE16("vmptrst (%bx)"), CODE16("vmread %ecx, %eax"), CODE16("vmclear (%bx)"),
			   CODE16("vmxoff"), CODE16("vmlaunch")};
	char name[48];

	for (u32 i = 0; i < 5; i++) {
		T(format_text(name, sizeof(name), "%s/%s-ring3", state, names[i]), ring3, RING3, code[i],
		  .bx = (ulong)operand);
		memcpy((void *)REAL_CODE, (void *)code16[i], 64);
		check(format_text(name, sizeof(name), "%s/%s-v86", state, names[i]), v86, "%s",
		      outcome(run((struct ctx){.cs = REAL_CODE >> 4,
					       .ss = REAL_STACK >> 4,
					       .sp = 0x8000,
					       .flags = FLAG_FIXED | FLAG_VM | FLAG_IOPL})));
	}
}

void chapter_main(void)
{
	ulong vmxon = CODE("vmxon (%ebx)"), vmptrst = CODE("vmptrst (%ebx)");
	ulong cpuid_code = CODE("nop; cpuid");

	if (!cpu_has(1, 0, 2, 5)) {
		absent("");
		return;
	}
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	region = page_alloc();
	on_region = page_alloc();
	*region = *on_region = rdmsr(MSR_VMX_BASIC);
	for (u32 i = 0; i < 1024; i++)
		page_dir[i] = i << 22 | 0xe7;
	modes("off", "#UD+0", "#UD+0");
	write_cr4(read_cr4() | CR4_VMXE | CR4_PSE);
	write_cr0(read_cr0() | CR0_NE);
	check("vmxon/no-paging", "#GP(0x0)+0", "%s", execute(vmxon, (ulong)on_region));
	execute(CODE("vmxoff"), 0); /* where it succeeded all the same */
	write_cr3((ulong)page_dir);
	write_cr0(read_cr0() | CR0_PG);
	memcpy((void *)REAL_CODE, (void *)CODE16("vmxon (%bx)"), 64);
	check("vmxon/v86", "#UD+0", "%s",
	      outcome(run((struct ctx){.cs = REAL_CODE >> 4,
				       .ss = REAL_STACK >> 4,
				       .sp = 0x8000,
				       .flags = FLAG_FIXED | FLAG_VM | FLAG_IOPL})));
	T("vmxon/ring3", "#GP(0x0)+0", RING3, vmxon, .bx = (ulong)operand);
	T("vmxon/segment-limit", "#GP(0x0)+0", RING0, CODE("vmxon %fs:0x2000"),
	  .fs = set_descriptor(SEL_TEST, 0, 0xfff, ACC_DATA0, SEG_D));
	check("vmxon/bit-32", "VMfailInvalid", "%s", execute(vmxon, 1ull << 63 | (ulong)on_region));
	check("vmxon/ok", "ok", "%s", execute(vmxon, (ulong)on_region));
	T("fixed/cr0-pg", "#GP(0x0)+7", RING0, CODE("mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0"));
	modes("on", "#GP(0x0)+0", "#UD+0");
	execute(vmptrst, 0);
	check("vmptrst/64-bits", "ffffffffffffffff", "%llx", operand[0]);

	/* Fields of 64 bits: the whole encoding reads the low half, and writes it with zeros above. */
	fresh(cpuid_code);
	vmwrite32(TSC_OFFSET, 0x11111111);
	vmwrite32(TSC_OFFSET + 1, 0x22222222);
	check("field/halves", "11111111 22222222", "%x %x", vmread32(TSC_OFFSET), vmread32(TSC_OFFSET + 1));
	vmwrite32(TSC_OFFSET, 0x33333333);
	check("field/full-write-clears-high", "33333333 0", "%x %x", vmread32(TSC_OFFSET), vmread32(TSC_OFFSET + 1));
	operand[0] = ~0ull;
	TRY(RING0, CODE("vmread %ecx, (%ebx)"), .bx = (ulong)operand, .cx = GUEST_RIP);
	check("field/memory-operand-is-32-bits", "1", "%u", operand[0] == (0xffffffff00000000ull | (u32)cpuid_code));

	E("entry/exit-and-back", "exit a +1");
	check("entry/host", "0 1", "%llx %u",
	      cpu_has(0x80000001, 0, 3, 29) ? rdmsr(MSR_EFER) & (EFER_LMA | EFER_LME) : 0,
	      read_cr3() == (ulong)page_dir);
	E("entry/guest-ring3", "exit a +1", vmwrite32(GUEST_CS_SELECTOR, SEL_CODE3 | 3), vmwrite32(GUEST_CS_AR, 0xc0fb),
	  vmwrite32(GUEST_SS_SELECTOR, SEL_DATA3 | 3), vmwrite32(GUEST_SS_AR, 0xc0f3));
	memcpy((void *)REAL_CODE, (void *)cpuid_code, 16);
	E("entry/host-data-segments-null", "exit a +1", vmwrite32(HOST_FS_SELECTOR, 0), vmwrite32(HOST_GS_SELECTOR, 0));
	asm volatile("mov %0, %%fs; mov %0, %%gs" : : "r"(SEL_DATA0));
	E("host.ss.nonnull", "VMfail(8)", vmwrite32(HOST_SS_SELECTOR, 0));
	if (!cpu_has(0x80000001, 0, 3, 29)) {
		absent("addr.lma0.guest");
		absent("addr.lma0.host");
	} else {
		E("addr.lma0.guest", "VMfail(8)|VMfail(7)",
		  vmwrite32(VM_ENTRY_CTLS, vmread32(VM_ENTRY_CTLS) | 1 << ENTRY_CTLS_IA32E_MODE_GUEST));
		E("addr.lma0.host", "VMfail(8)|VMfail(7)",
		  vmwrite32(VM_EXIT_CTLS, vmread32(VM_EXIT_CTLS) | 1 << EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE),
		  vmwrite32(HOST_CR4, read_cr4() | CR4_PAE));
	}
	E("addr.host32.guest", "VMfail(8)|VMfail(7)",
	  vmwrite32(VM_ENTRY_CTLS, vmread32(VM_ENTRY_CTLS) | 1 << ENTRY_CTLS_IA32E_MODE_GUEST));
	if (!(rdmsr(0x483) >> (32 + EXIT_CTLS_LOAD_CET) & 1)) {
		absent("addr.host32.s_cet");
		absent("addr.host32.ssp");
	}
	if (HAS_PCID)
		E("addr.host32.pcide", "VMfail(8)", vmwrite32(HOST_CR4, read_cr4() | CR4_PCIDE));
	else
		absent("addr.host32.pcide");
	check("vmxoff/ok", "ok", "%s", execute(CODE("vmxoff"), 0));
	T("vmxoff/paging-off", "ok", RING0, CODE("mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0"));
}

/*
 * See vmx.h. VMX operation, the VMCS of an experiment, one VM entry and the text of what came of it.
 *
 * SDM vol. 3, "Software Setup and Opt-In", "Checks on VMX Controls and Host-State Area" and "Checks on the Guest State
 * Area" say which values a field must have; the control words follow the algorithm in the appendix "VMX Capability
 * Reporting Facility".
 */
#include "vmx.h"

struct regs regs;
u64 *vmxon_region, *vmcs_region, *ept_pml4, *ept_pdpt, *ept_pd[4];
static u64 *ept_table[8];
static u32 ept_table_of[8], ept_tables;
static bool in_vmx, missing, placeless;
static u64 start;

/* What the image has exercised. */
static bool exits_seen[128], errors_seen[32];
static u64 controls_seen[CONTROL_WORDS];

static const struct {
	const char *name;
	u32 field, msr,
		true_msr; /* true_msr 0: every bit may be 0, and the MSR is 64 bits that may be 1 or their high half */
} words[CONTROL_WORDS] = {
	[PIN] = {"PINBASED_CTLS", VM_PINBASED_CTLS, 0x481, 0x48d},
	[PRIMARY] = {"PROCBASED_CTLS", VM_PROCBASED_CTLS, 0x482, 0x48e},
	[SECONDARY] = {"PROCBASED_CTLS2", VM_PROCBASED_CTLS2, 0x48b, 0},
	[TERTIARY] = {"PROCBASED_CTLS3", VM_PROCBASED_CTLS3, 0x492, 0},
	[EXIT] = {"EXIT_CTLS", VM_EXIT_CTLS, 0x483, 0x48f},
	[ENTRY] = {"ENTRY_CTLS", VM_ENTRY_CTLS, 0x484, 0x490},
	[VM_FUNCTION] = {"FUNCTION_CTLS", VM_FUNCTION_CTLS, 0x491, 0},
};

static const struct {
	u32 number;
	const char *name;
} reasons[] = {
#define X(number, name, ...) {number, #name},
#include "vmx_exit_reasons.def"
};

void vmx_enter(void);
extern u8 vmx_exit[], guest_stubs[];
extern u8 trap_stack_top[];
u64 vmx_flags;
u8 vmx_launched;

/* HOST_RSP is 6C14H. A VM entry that fails goes on where a VM exit arrives: then RFLAGS say so. */
asm(".pushsection .text\n"
    ".globl vmx_enter, vmx_exit, guest_stubs\n"
    "vmx_enter: push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "mov $0x6c14, %eax; vmwrite %rsp, %rax\n"
    "mov regs, %rax; mov regs+8, %rcx; mov regs+16, %rdx; mov regs+24, %rbx; mov regs+40, %rbp; mov regs+48, %rsi\n"
    "mov regs+56, %rdi; mov regs+64, %r8; mov regs+72, %r9; mov regs+80, %r10; mov regs+88, %r11; mov regs+96, %r12\n"
    "mov regs+104, %r13; mov regs+112, %r14; mov regs+120, %r15\n"
    "cmpb $0, vmx_launched; jne 1f; vmlaunch; jmp vmx_exit; 1: vmresume\n"
    "vmx_exit: pushfq; popq vmx_flags\n"
    "mov %rax, regs; mov %rcx, regs+8; mov %rdx, regs+16; mov %rbx, regs+24; mov %rbp, regs+40; mov %rsi, regs+48\n"
    "mov %rdi, regs+56; mov %r8, regs+64; mov %r9, regs+72; mov %r10, regs+80; mov %r11, regs+88; mov %r12, regs+96\n"
    "mov %r13, regs+104; mov %r14, regs+112; mov %r15, regs+120\n"
    "cld; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n"
    /* The guest's handlers, of any mode: one VMCALL per vector. */
    ".balign 4096\n"
    "guest_stubs: .rept 256; .balign 16; vmcall; .endr; .balign 16\n"
    ".popsection");

/* The guest's own tables. The GDT and the 64-bit TSS are the host's. */
static struct gate idt64[256] __attribute__((aligned(16)));
u64 vm_idt32[256] __attribute__((aligned(16)));
static struct tss32 tss32 __attribute__((aligned(128)));
static u32 page_dir32[1024] __attribute__((aligned(4096)));

u64 vm_read(u32 field)
{
	u64 v = 0;

	asm volatile("vmread %1, %0" : "+r"(v) : "r"((u64)field) : "cc");
	return v;
}

bool vm_write(u32 field, u64 value)
{
	u8 failed;

	asm volatile("vmwrite %1, %2; setna %0" : "=q"(failed) : "r"(value), "r"((u64)field) : "cc", "memory");
	return !failed;
}

#define REGION_INSTRUCTION(name)                                                                         \
	u64 vmx_##name(u64 region)                                                                       \
	{                                                                                                \
		u64 flags;                                                                               \
                                                                                                         \
		asm volatile(#name " %1; pushfq; popq %0" : "=r"(flags) : "m"(region) : "cc", "memory"); \
		return flags;                                                                            \
	}
REGION_INSTRUCTION(vmxon)
REGION_INSTRUCTION(vmclear)
REGION_INSTRUCTION(vmptrld)

u64 vmx_vmptrst(void)
{
	u64 region;

	asm volatile("vmptrst %0" : "=m"(region) : : "cc", "memory");
	return region;
}

u64 *vmx_region(void)
{
	u64 *region = page_alloc();

	*region = rdmsr(MSR_VMX_BASIC) & 0x7fffffff;
	return region;
}

void vm_note_error(u32 error)
{
	errors_seen[error & 31] = true;
}

const char *vmx_result(u64 flags)
{
	static char text[2][32];
	static u32 next;
	char *t = text[next++ & 1];

	switch (flags & FLAG_ARITHMETIC) {
	case 0: return "ok";
	case FLAG_CF: return "VMfailInvalid";
	case FLAG_ZF:
		vm_note_error(vm_read(VM_INSTRUCTION_ERROR));
		return format_text(t, 32, "VMfail(%u)", (u32)vm_read(VM_INSTRUCTION_ERROR));
	}
	return format_text(t, 32, "flags=%lx", flags & FLAG_ARITHMETIC);
}

/* Bits that may be 1. */
static u64 allowed_1(enum control_word word)
{
	if (word == SECONDARY && !has_pri(ACTIVATE_SECONDARY_CONTROLS))
		return 0;
	if (word == TERTIARY)
		return has_pri(ACTIVATE_TERTIARY_CONTROLS) ? rdmsr(words[word].msr) : 0;
	if (word == VM_FUNCTION)
		return has_sec(ENABLE_VM_FUNCTIONS) ? rdmsr(words[word].msr) : 0;
	return rdmsr(words[word].msr) >> 32;
}

/* Bits that must be 1. */
static u32 allowed_0(enum control_word word)
{
	if (!words[word].true_msr)
		return 0;
	return rdmsr(rdmsr(MSR_VMX_BASIC) >> BASIC_TRUE_CTLS & 1 ? words[word].true_msr : words[word].msr);
}

bool vm_allows(enum control_word word, u32 bit)
{
	return allowed_1(word) >> bit & 1;
}

bool vm_missing(void)
{
	return missing;
}

u64 vm_ept_vpid_cap(void)
{
	return has_sec(ENABLE_EPT) || has_sec(ENABLE_VPID) ? rdmsr(MSR_VMX_EPT_VPID_CAP) : 0;
}

void vm_needs(bool available)
{
	missing |= !available;
}

void vm_control(enum control_word word, u32 bit)
{
	if (!vm_allows(word, bit)) {
		missing = true;
		return;
	}
	if (word == SECONDARY)
		pri(ACTIVATE_SECONDARY_CONTROLS);
	if (word == TERTIARY)
		pri(ACTIVATE_TERTIARY_CONTROLS);
	if (word == VM_FUNCTION)
		sec(ENABLE_VM_FUNCTIONS);
	vm_or(words[word].field, 1ull << bit);
}

/* EPT: 2-MByte pages for the first 4 GiB, writeback. SDM vol. 3, "The Extended Page Table Mechanism (EPT)". */
static void ept_identity(void)
{
	if (!ept_pml4) {
		ept_pml4 = page_alloc();
		ept_pdpt = page_alloc();
		for (u32 i = 0; i < 4; i++)
			ept_pd[i] = page_alloc();
	}
	memset(ept_pml4, 0, 4096);
	memset(ept_pdpt, 0, 4096);
	ept_pml4[0] = (u64)ept_pdpt | EPT_RWX;
	for (u64 i = 0; i < 4; i++)
		ept_pdpt[i] = (u64)ept_pd[i] | EPT_RWX;
	for (u64 i = 0; i < 2048; i++)
		ept_pd[i / 512][i % 512] = i << 21 | EPT_PS | EPT_WB | EPT_RWX;
	ept_tables = 0;
}

u64 *ept_page(u64 gpa)
{
	u32 large = gpa >> 21, k;

	for (k = 0; k < ept_tables && ept_table_of[k] != large; k++)
		;
	if (k == ept_tables) {
		if (!ept_table[k])
			ept_table[k] = page_alloc();
		for (u64 i = 0; i < 512; i++)
			ept_table[k][i] = (u64)large << 21 | i << 12 | EPT_WB | EPT_RWX;
		ept_table_of[k] = large;
		ept_pd[large / 512][large % 512] = (u64)ept_table[k] | EPT_RWX;
		ept_tables++;
	}
	return &ept_table[k][gpa >> 12 & 511];
}

void invept_all(void)
{
	u64 descriptor[2] = {0};

	asm volatile("invept %0, %1" : : "m"(descriptor), "r"(2ul) : "cc", "memory");
}

void vm_ept(void)
{
	sec(ENABLE_EPT);
	if (missing)
		return;
	ept_identity();
	invept_all();
	vm_write(EPTP, (u64)ept_pml4 | 3 << 3 | 6);
}

static void interrupt_tables(void)
{
	for (u32 i = 0; i < 256; i++) {
		bool user = i >= 32 || i == VEC_BP || i == VEC_OF;
		u64 stub = (u64)guest_stubs + 16 * i;
		u8 access = ACC_INT | (user ? ACC_DPL3 : 0);

		idt64[i] = (struct gate){stub, SEL_CODE0, access << 8, stub >> 16};
		vm_idt32[i] = gate_descriptor(SEL_CODE0_32, stub, access, 0);
	}
}

bool vm_begin(void)
{
	if (in_vmx)
		return true;
	if (!cpu_has(1, 0, 2, 5)) {
		absent("");
		return false;
	}
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	write_cr0((read_cr0() | rdmsr(MSR_VMX_CR0_FIXED0)) & rdmsr(MSR_VMX_CR0_FIXED1));
	write_cr4((read_cr4() | rdmsr(MSR_VMX_CR4_FIXED0) | CR4_VMXE) & rdmsr(MSR_VMX_CR4_FIXED1));
	vmxon_region = vmx_region();
	vmcs_region = vmx_region();
	if (vmx_vmxon((u64)vmxon_region) & FLAG_ARITHMETIC) {
		check("vmxon", "ok", "fails");
		return false;
	}
	in_vmx = true;
	for (u32 i = 0; i < 1024; i++)
		page_dir32[i] = i << 22 | 0xe7;
	return true;
}

void vm_report(void)
{
	print("COVERED exits");
	for (u32 i = 0; i < 128; i++)
		if (exits_seen[i])
			print(" %u", i);
	print("\nCOVERED errors");
	for (u32 i = 0; i < 32; i++)
		if (errors_seen[i])
			print(" %u", i);
	print("\n");
	for (u32 i = 0; i < CONTROL_WORDS; i++)
		print("COVERED %s %lx of %lx\n", words[i].name, controls_seen[i], allowed_1(i));
}

bool vm_has(enum guest_mode mode)
{
	return mode < GREAL || (has_sec(UNRESTRICTED_GUEST) && has_sec(ENABLE_EPT));
}

/* One row per segment register: the fields of all lie 2 apart, in the order ES CS SS DS FS GS LDTR TR. */
static void segment(u32 n, u16 selector, u64 base, u32 limit, u32 rights)
{
	vm_write(GUEST_ES_SELECTOR + 2 * n, selector);
	vm_write(GUEST_ES_BASE + 2 * n, base);
	vm_write(GUEST_ES_LIMIT + 2 * n, limit);
	vm_write(GUEST_ES_AR + 2 * n, rights);
}
enum { ES, CS, SS, DS, FS, GS, LDTR, TR };

static const struct {
	u16 cs, data;
	u32 cs_rights, data_rights;
	bool long_mode, paging, sixteen;
	u32 flags;
} modes[G_MODES] = {
	[G64] = {SEL_CODE0, SEL_DATA0, 0xa09b, 0xc093, true, true},
	[G64_U] = {SEL_CODE3_64 | 3, SEL_DATA3 | 3, 0xa0fb, 0xc0f3, true, true},
	[GCOMPAT] = {SEL_CODE0_32, SEL_DATA0, 0xc09b, 0xc093, true, true},
	[GCOMPAT_U] = {SEL_CODE3 | 3, SEL_DATA3 | 3, 0xc0fb, 0xc0f3, true, true},
	[G32] = {SEL_CODE0_32, SEL_DATA0, 0xc09b, 0xc093, false, true},
	[G32_U] = {SEL_CODE3 | 3, SEL_DATA3 | 3, 0xc0fb, 0xc0f3, false, true},
	[GV86] = {REAL_CODE >> 4, 0, 0xf3, 0xf3, false, true, true, FLAG_VM | FLAG_IOPL},
	[GREAL] = {REAL_CODE >> 4, 0, 0x9b, 0x93, false, false, true},
	[GFLAT] = {SEL_CODE0_32, SEL_DATA0, 0xc09b, 0xc093, false, false},
};

static void host_state(void)
{
	vm_write(HOST_CR0, read_cr0());
	vm_write(HOST_CR3, read_cr3());
	vm_write(HOST_CR4, read_cr4());
	for (u32 i = 0; i < 6; i++)
		vm_write(HOST_ES_SELECTOR + 2 * i, i == CS ? SEL_CODE0 : SEL_DATA0);
	vm_write(HOST_TR_SELECTOR, SEL_TSS);
	vm_write(HOST_FS_BASE, 0);
	vm_write(HOST_GS_BASE, 0);
	vm_write(HOST_TR_BASE, (u64)&main_tss);
	vm_write(HOST_GDTR_BASE, (u64)gdt);
	vm_write(HOST_IDTR_BASE, (u64)idt);
	vm_write(HOST_SYSENTER_CS, 0);
	vm_write(HOST_SYSENTER_ESP, 0);
	vm_write(HOST_SYSENTER_EIP, 0);
	vm_write(HOST_RIP, (u64)vmx_exit);
	vm_write(HOST_PAT, rdmsr(MSR_PAT));
	vm_write(HOST_EFER, rdmsr(MSR_EFER));
	vm_write(HOST_PERF_GLOBAL_CTRL, 0);
}

static void segments(enum guest_mode mode)
{
	bool sixteen = modes[mode].sixteen;

	for (u32 i = ES; i <= GS; i++) {
		u16 selector = i == CS ? modes[mode].cs : i == SS && sixteen ? REAL_STACK >> 4 : modes[mode].data;

		segment(i, selector, sixteen ? selector << 4 : 0, sixteen ? 0xffff : 0xffffffff,
			i == CS ? modes[mode].cs_rights : modes[mode].data_rights);
	}
	segment(LDTR, 0, 0, 0, AR_UNUSABLE);
	if (modes[mode].long_mode) {
		segment(TR, SEL_TSS, (u64)&main_tss, sizeof(main_tss) - 1, 0x8b);
	} else {
		tss32 = (struct tss32){.esp0 = (u32)(u64)trap_stack_top, .ss0 = SEL_DATA0, .iomap = IOMAP_NONE};
		set_descriptor(SEL_DF_TSS, (u32)(u64)&tss32, sizeof(tss32) - 1, ACC_TSS | 2, 0);
		segment(TR, SEL_DF_TSS, (u64)&tss32, sizeof(tss32) - 1, 0x8b);
	}
	vm_write(GUEST_GDTR_BASE, (u64)gdt);
	vm_write(GUEST_GDTR_LIMIT, sizeof(gdt) - 1);
	vm_write(GUEST_IDTR_BASE, mode == GREAL ? 0 : modes[mode].long_mode ? (u64)idt64 : (u64)vm_idt32);
	vm_write(GUEST_IDTR_LIMIT, mode == GREAL	   ? 0x3ff
				   : modes[mode].long_mode ? sizeof(idt64) - 1
							   : sizeof(vm_idt32) - 1);
}

/* A copy of the snippet where 16-bit code can be, and a real-address mode interrupt table whose handlers are VMCALLs.
 */
static void low_memory(ulong code)
{
	memcpy((void *)(u64)REAL_CODE, (void *)code, 256);
	for (u32 i = 0; i < 256; i++) {
		((u32 *)0)[i] = REAL_STUBS << 12 | 16 * i;
		memcpy((void *)(u64)(REAL_STUBS + 16 * i), guest_stubs, 3);
	}
}

void vm_fresh(enum guest_mode mode, ulong code)
{
	bool user = mode == G64_U || mode == GCOMPAT_U || mode == G32_U;

	static const u32 zero[] = {
		VPID,
		POSTED_INTERRUPT_VECTOR,
		EPTP_INDEX,
		GUEST_INTERRUPT_STATUS,
		PML_INDEX,
		IO_BITMAP_A,
		IO_BITMAP_B,
		MSR_BITMAP,
		VM_EXIT_MSR_STORE_ADDRESS,
		VM_EXIT_MSR_LOAD_ADDRESS,
		VM_ENTRY_MSR_LOAD_ADDRESS,
		EXECUTIVE_VMCS_POINTER,
		PML_ADDRESS,
		TSC_OFFSET,
		VIRTUAL_APIC_ADDRESS,
		APIC_ACCESS_ADDRESS,
		POSTED_INTERRUPT_DESCRIPTOR,
		VM_FUNCTION_CTLS,
		EPTP,
		EOI_EXIT_BITMAP0,
		EOI_EXIT_BITMAP1,
		EOI_EXIT_BITMAP2,
		EOI_EXIT_BITMAP3,
		EPTP_LIST,
		VMREAD_BITMAP,
		VMWRITE_BITMAP,
		VE_INFORMATION,
		XSS_EXITING_BITMAP,
		ENCLS_EXITING_BITMAP,
		SPPTP,
		TSC_MULTIPLIER,
		VM_PROCBASED_CTLS3,
		HLATP,
		GUEST_DEBUGCTL,
		GUEST_PERF_GLOBAL_CTRL,
		GUEST_PDPTE0,
		GUEST_PDPTE1,
		GUEST_PDPTE2,
		GUEST_PDPTE3,
		GUEST_BNDCFGS,
		GUEST_PKRS,
		HOST_PKRS,
		EXCEPTION_BITMAP,
		PAGE_FAULT_ERROR_CODE_MASK,
		PAGE_FAULT_ERROR_CODE_MATCH,
		CR3_TARGET_COUNT,
		VM_EXIT_MSR_STORE_COUNT,
		VM_EXIT_MSR_LOAD_COUNT,
		VM_ENTRY_MSR_LOAD_COUNT,
		VM_ENTRY_INTERRUPTION_INFO,
		VM_ENTRY_ERROR_CODE,
		VM_ENTRY_INSTRUCTION_LENGTH,
		TPR_THRESHOLD,
		VM_PROCBASED_CTLS2,
		PLE_GAP,
		PLE_WINDOW,
		GUEST_INTERRUPTIBILITY,
		GUEST_ACTIVITY_STATE,
		GUEST_SMBASE,
		GUEST_SYSENTER_CS,
		PREEMPTION_TIMER,
		CR0_MASK,
		CR4_MASK,
		CR0_READ_SHADOW,
		CR4_READ_SHADOW,
		CR3_TARGET_VALUE0,
		CR3_TARGET_VALUE1,
		CR3_TARGET_VALUE2,
		CR3_TARGET_VALUE3,
		GUEST_PENDING_DEBUG,
		GUEST_SYSENTER_ESP,
		GUEST_SYSENTER_EIP,
		GUEST_S_CET,
		GUEST_SSP,
		GUEST_SSP_TABLE,
		HOST_S_CET,
		HOST_SSP,
		HOST_SSP_TABLE,
	};

	missing = placeless = false;
	vmx_launched = 0;
	interrupt_tables();
	memset(&regs, 0, sizeof(regs));
	vmx_vmclear((u64)vmcs_region);
	vmx_vmptrld((u64)vmcs_region);
	for (u32 i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		vm_write(zero[i], 0);
	for (u32 i = 0; i < CONTROL_WORDS; i++)
		if (words[i].true_msr)
			vm_write(words[i].field, allowed_0(i));
	vm_control(EXIT, EXIT_CTLS_HOST_ADDRESS_SPACE_SIZE);
	host_state();
	vm_write(VMCS_LINK_POINTER, ~0ull);
	vm_write(GUEST_CR0, modes[mode].paging ? read_cr0()
			    : mode == GREAL    ? CR0_NE | CR0_ET
					       : CR0_NE | CR0_ET | CR0_PE);
	vm_write(GUEST_CR4, modes[mode].long_mode ? read_cr4() : CR4_VMXE | CR4_PSE);
	vm_write(GUEST_CR3, modes[mode].long_mode ? read_cr3() : modes[mode].paging ? (u64)page_dir32 : 0);
	vm_write(GUEST_DR7, 0x400);
	vm_write(GUEST_PAT, rdmsr(MSR_PAT));
	vm_write(GUEST_EFER, modes[mode].long_mode ? rdmsr(MSR_EFER) : rdmsr(MSR_EFER) & ~(u64)(EFER_LMA | EFER_LME));
	if (modes[mode].long_mode)
		vm_control(ENTRY, ENTRY_CTLS_IA32E_MODE_GUEST);
	segments(mode);
	vm_write(GUEST_RFLAGS, FLAG_FIXED | modes[mode].flags);
	vm_write(GUEST_RSP, modes[mode].sixteen ? 0x8000 : (u64)(user ? ring3_stack_top : ring0_stack_top));
	start = code;
	if (modes[mode].sixteen) {
		low_memory(code);
		start = 0;
	}
	vm_write(GUEST_RIP, start);
	if (mode >= GREAL) {
		sec(UNRESTRICTED_GUEST);
		vm_ept();
	}
}

void vm_note_exit(void)
{
	exits_seen[vm_read(EXIT_REASON) & 127] = true;
	if (vm_read(EXIT_REASON) >> 31 & 1)
		return;
	for (u32 i = 0; i < CONTROL_WORDS; i++) {
		bool active =
			i == SECONDARY	? vm_read(VM_PROCBASED_CTLS) >> PROCBASED_CTLS_ACTIVATE_SECONDARY_CONTROLS & 1
			: i == TERTIARY ? vm_read(VM_PROCBASED_CTLS) >> PROCBASED_CTLS_ACTIVATE_TERTIARY_CONTROLS & 1
			: i == VM_FUNCTION ? vm_read(VM_PROCBASED_CTLS2) >> PROCBASED_CTLS2_ENABLE_VM_FUNCTIONS & 1
					   : true;

		if (active)
			controls_seen[i] |= vm_read(words[i].field);
	}
}

void vm_run(void)
{
	if (missing)
		return;
	vmx_enter();
	if (vmx_flags & (FLAG_CF | FLAG_ZF)) {
		vmx_result(vmx_flags);
		return;
	}
	vm_note_exit();
	if (!(vm_read(EXIT_REASON) >> 31 & 1))
		vmx_launched = 1;
}

bool vm_exited(enum exit_reason reason)
{
	return !(vmx_flags & (FLAG_CF | FLAG_ZF)) && vm_read(EXIT_REASON) == reason;
}

int vm_vector(void)
{
	u64 at = vm_read(GUEST_CS_BASE) + vm_read(GUEST_RIP);

	if (!vm_exited(EXIT_VMCALL))
		return -1;
	if (at - (u64)guest_stubs < 4096)
		return (at - (u64)guest_stubs) / 16;
	if (at - REAL_STUBS < 4096)
		return (at - REAL_STUBS) / 16;
	return -1;
}

u32 vm_offset(void)
{
	return vm_read(GUEST_RIP) - start;
}

const char *event_text(u32 information, u32 error)
{
	static const char types[8][8] = {"intr", "type1", "nmi", "hard", "soft", "priv", "softexc", "other"};
	static char text[4][48];
	static u32 next;
	char *t = text[next++ & 3], code[16] = "";

	if (!(information & EVENT_VALID))
		return "-";
	if (information & EVENT_ERROR_CODE)
		format_text(code, sizeof(code), "(%#x)", error);
	return format_text(t, 48, "%s %u%s%s", types[information >> 8 & 7], information & 255, code,
			   information & 0x1000 ? " unblocking" : "");
}

static const char *reg_name(u32 n)
{
	static const char names[16][4] = {"ax", "cx", "dx",  "bx",  "sp",  "bp",  "si",	 "di",
					  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

	return names[n & 15];
}

/* A memory operand of the instruction-information field, with the displacement of the exit qualification. */
static char *operand_text(char *t, size_t size, u32 info)
{
	static const char segs[8][3] = {"es", "cs", "ss", "ds", "fs", "gs", "6", "7"};
	char index[16] = "", disp[24] = "";
	u64 q = vm_read(EXIT_QUALIFICATION);

	if (!(info >> 22 & 1))
		format_text(index, sizeof(index), "+%s*%u", reg_name(info >> 18), 1 << (info & 3));
	if (q)
		format_text(disp, sizeof(disp), "+%#lx", q);
	return format_text(t, size, " %s:[%s%s%s] a%u", segs[info >> 15 & 7],
			   info >> 27 & 1 ? "" : reg_name(info >> 23), index, disp, 16 << (info >> 7 & 3));
}

/* What the exit qualification and the instruction-information field say; undefined bits are left out. */
static char *details(char *t, size_t size, u32 reason)
{
	u64 q = vm_read(EXIT_QUALIFICATION);
	u32 info = vm_read(VM_EXIT_INSTRUCTION_INFO), n = q;
	char operand[64];

	*t = 0;
	switch (reason) {
	case EXIT_EXCEPTION_NMI: {
		u32 event = vm_read(VM_EXIT_INTERRUPTION_INFO);
		char more[32] = "";

		if ((event & 0x7ff) == (EVENT_EXCEPTION | VEC_PF))
			format_text(more, sizeof(more), " at=%lx", q);
		else if ((event & 255) == VEC_DB && q)
			format_text(more, sizeof(more), " dr6=%lx", q);
		return format_text(t, size, " %s%s", event_text(event, vm_read(VM_EXIT_ERROR_CODE)), more);
	}
	case EXIT_EXTERNAL_INTERRUPT:
		return format_text(t, size, " %s", event_text(vm_read(VM_EXIT_INTERRUPTION_INFO), 0));
	case EXIT_SIPI:
	case EXIT_VIRTUALIZED_EOI:
	case EXIT_APIC_WRITE:
	case EXIT_INVLPG:
	case EXIT_MWAIT:
	case EXIT_WBINVD: return format_text(t, size, " q=%lx", q);
	case EXIT_TASK_SWITCH: {
		static const char by[4][5] = {"call", "iret", "jmp", "gate"};

		return format_text(t, size, " sel=%x by=%s", n & 0xffff, by[n >> 30]);
	}
	case EXIT_CR_ACCESS:
		switch (n >> 4 & 3) {
		case 0: return format_text(t, size, " cr%u=%s", n & 15, reg_name(n >> 8));
		case 1: return format_text(t, size, " %s=cr%u", reg_name(n >> 8), n & 15);
		case 2: return format_text(t, size, " clts");
		}
		return format_text(t, size, " lmsw %s %x", n & 0x40 ? "mem" : "reg", n >> 16);
	case EXIT_MOV_DR: return format_text(t, size, n & 0x10 ? " %s=dr%u" : " %s to dr%u", reg_name(n >> 8), n & 7);
	case EXIT_IO_INSTRUCTION:
		format_text(operand, sizeof(operand), " a%u%s", 16 << (info >> 7 & 3),
			    n & 8		    ? ""
			    : (info >> 15 & 7) == 3 ? " ds"
						    : " seg");
		return format_text(t, size, " %s%u port=%x%s%s%s%s", n & 8 ? "in" : "out", (n & 7) + 1, n >> 16,
				   n & 0x40 ? " imm" : " dx", n & 0x20 ? " rep" : "", n & 0x10 ? " str" : "",
				   n & 0x10 ? operand : "");
	case EXIT_APIC_ACCESS: return format_text(t, size, " offset=%x type=%u", n & 0xfff, n >> 12 & 15);
	case EXIT_EPT_VIOLATION:
		n &= n & 0x80 ? 0x11ff : 0x107f;
		if (!(vm_read(VM_PROCBASED_CTLS2) >> PROCBASED_CTLS2_MODE_BASED_EXECUTE & 1))
			n &= ~0x40u;
		return format_text(t, size, " q=%x%s gpa=%lx", n & 0x1ff, n & 0x1000 ? " unblocking" : "",
				   vm_read(GUEST_PHYSICAL_ADDRESS));
	case EXIT_EPT_MISCONFIGURATION: return format_text(t, size, " gpa=%lx", vm_read(GUEST_PHYSICAL_ADDRESS));
	case EXIT_VMCLEAR:
	case EXIT_VMPTRLD:
	case EXIT_VMPTRST:
	case EXIT_VMXON:
	case EXIT_XSAVES:
	case EXIT_XRSTORS: return operand_text(t, size, info);
	case EXIT_INVEPT:
	case EXIT_INVVPID:
	case EXIT_INVPCID:
		operand_text(operand, sizeof(operand), info);
		return format_text(t, size, "%s reg2=%s", operand, reg_name(info >> 28));
	case EXIT_VMREAD:
	case EXIT_VMWRITE:
		if (info & 0x400)
			return format_text(t, size, " %s reg2=%s", reg_name(info >> 3), reg_name(info >> 28));
		operand_text(operand, sizeof(operand), info);
		return format_text(t, size, "%s reg2=%s", operand, reg_name(info >> 28));
	case EXIT_GDTR_IDTR: {
		static const char what[4][5] = {"sgdt", "sidt", "lgdt", "lidt"};
		bool is64 = vm_read(GUEST_CS_AR) & AR_L;

		operand_text(operand, sizeof(operand), info);
		return format_text(t, size, " %s%s%s", what[info >> 28 & 3], operand,
				   is64		  ? ""
				   : info & 0x800 ? " o32"
						  : " o16");
	}
	case EXIT_LDTR_TR: {
		static const char what[4][5] = {"sldt", "str", "lldt", "ltr"};

		if (info & 0x400)
			return format_text(t, size, " %s %s", what[info >> 28 & 3], reg_name(info >> 3));
		operand_text(operand, sizeof(operand), info);
		return format_text(t, size, " %s%s", what[info >> 28 & 3], operand);
	}
	case EXIT_RDRAND:
	case EXIT_RDSEED: return format_text(t, size, " %s o%u", reg_name(info >> 3), 16 << (info >> 11 & 3));
	case EXIT_UMWAIT:
	case EXIT_TPAUSE: return format_text(t, size, " %s", reg_name(info >> 3));
	}
	return t;
}

/* Does the VM exit record the instruction's length? */
static bool has_length(u32 reason)
{
	switch (reason) {
	case EXIT_EXTERNAL_INTERRUPT:
	case EXIT_TRIPLE_FAULT:
	case EXIT_INIT:
	case EXIT_SIPI:
	case EXIT_INTERRUPT_WINDOW:
	case EXIT_NMI_WINDOW:
	case EXIT_MONITOR_TRAP_FLAG:
	case EXIT_TPR_BELOW_THRESHOLD:
	case EXIT_VIRTUALIZED_EOI:
	case EXIT_EPT_VIOLATION:
	case EXIT_EPT_MISCONFIGURATION:
	case EXIT_PREEMPTION_TIMER:
	case EXIT_APIC_WRITE:
	case EXIT_PML_FULL:
	case EXIT_SPP: return false;
	case EXIT_EXCEPTION_NMI: return (vm_read(VM_EXIT_INTERRUPTION_INFO) >> 8 & 7) >= 5;
	case EXIT_TASK_SWITCH:
		return vm_read(EXIT_QUALIFICATION) >> 30 != 3 ||
		       (vm_read(IDT_VECTORING_INFO) & EVENT_VALID && (vm_read(IDT_VECTORING_INFO) >> 8 & 7) >= 4);
	case EXIT_APIC_ACCESS: return (vm_read(EXIT_QUALIFICATION) >> 12 & 15) < 2;
	}
	return true;
}

/* The event that reached the guest's handler, from the frame on its stack. */
static const char *delivered_text(int vector)
{
	u64 sp = vm_read(GUEST_SS_BASE) + vm_read(GUEST_RSP);
	struct ctx c = {.vector = vector, .start = start, .cr2 = read_cr2()};
	bool has_code = vector == VEC_DF || (vector >= VEC_TS && vector <= VEC_PF) || vector == VEC_AC;

	if (!(vm_read(GUEST_CR0) & CR0_PE)) {
		c.ip = *(u16 *)sp;
	} else if (vm_read(VM_ENTRY_CTLS) >> ENTRY_CTLS_IA32E_MODE_GUEST & 1) {
		has_code = !(sp & 8); /* SDM vol. 3, "64-Bit Mode Stack Frame": RSP is aligned first */
		c.error = has_code ? *(u64 *)sp : 0;
		c.ip = ((u64 *)sp)[has_code];
	} else {
		c.error = has_code ? *(u32 *)sp : 0;
		c.ip = ((u32 *)sp)[has_code];
	}
	if (placeless)
		c.ip = c.start;
	return outcome(c);
}

void vm_from_here(void)
{
	placeless = true;
}

const char *vm_text(void)
{
	static char text[2][192];
	static u32 next;
	char *t = text[next++ & 1], more[96], length[16] = "", where[16] = "", idt_info[48] = "";
	u32 reason;

	if (vmx_flags & (FLAG_CF | FLAG_ZF))
		return vmx_result(vmx_flags);
	reason = vm_read(EXIT_REASON);
	if (vm_vector() >= 0)
		return delivered_text(vm_vector());
	for (u32 i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].number != (reason & 0xffff))
			continue;
		if (reason >> 31)
			return format_text(t, 192, "%s q=%lx", reasons[i].name, vm_read(EXIT_QUALIFICATION));
		u64 delta = vm_read(GUEST_RIP) - start;

		if (has_length(reason))
			format_text(length, sizeof(length), " len=%u", (u32)vm_read(VM_EXIT_INSTRUCTION_LENGTH));
		if (placeless)
			delta = 0;
		if (vm_read(GUEST_RIP) - (u64)guest_stubs < 4096)
			format_text(where, sizeof(where), " handler %u",
				    (u32)(vm_read(GUEST_RIP) - (u64)guest_stubs) / 16);
		else if (delta && delta < 4096)
			format_text(where, sizeof(where), " +%u", (u32)delta);
		else if (delta)
			format_text(where, sizeof(where), " elsewhere");
		if (vm_read(IDT_VECTORING_INFO) & EVENT_VALID)
			format_text(
				idt_info, sizeof(idt_info), " idt=%s",
				event_text(vm_read(IDT_VECTORING_INFO) & ~0x1000u, vm_read(IDT_VECTORING_ERROR_CODE)));
		return format_text(t, 192, "%s%s%s%s%s", reasons[i].name, details(more, sizeof(more), reason), length,
				   where, idt_info);
	}
	return format_text(t, 192, "reason=%x", reason);
}

bool vm_check(const char *name, const char *expected)
{
	if (missing) {
		absent(name);
		return false;
	}
	check(name, expected, "%s", vm_text());
	return true;
}

/*
 * A hypervisor with mistakes, for -explain, -d vmx, -exits and the monitor. It breaks five rules of VM entry at once,
 * each in a function of its own; mends them; resumes a VMCS that is not launched, in a loop; runs a guest that executes
 * CPUID three times and HLT; and lets it die of a triple fault. With -append spin the guest then spins under EPT;
 * with -append abort its last VM exit is a VMX abort.
 *
 * SDM vol. 3, "VMX Support for Virtual Machines": VMXON, VMCLEAR, VMPTRLD, VMWRITE, VMLAUNCH.
 */
#include "guest.h"

const char chapter[] = "five_rules";

#define F(encoding, name, ...) name = encoding,
enum vmcs_field {
#include "../../spec/vmcs_fields.def"
};

enum {
	CR4_VMXE = 1 << 13,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_VMX_BASIC = 0x480,
	MSR_VMX_PINBASED_CTLS,
	MSR_VMX_PROCBASED_CTLS,
	MSR_VMX_EXIT_CTLS,
	MSR_VMX_ENTRY_CTLS,
	MSR_VMX_PROCBASED_CTLS2 = 0x48b,
	HLT_EXITING = 1 << 7,
	ENABLE_EPT = 1 << 1,
	HOST_ADDRESS_SPACE_SIZE = 1 << 9,
	IA32E_MODE_GUEST = 1 << 9,
	AR_UNUSABLE = 1 << 16,
};

#define SECONDARY_CONTROLS (1u << 31)

static u64 *vmcs;
static u8 guest_stack[4096];

/* 0: VMsucceed; FLAG_CF: VMfailInvalid; FLAG_ZF: VMfailValid. */
#define RESULT(flags) ((flags) & (FLAG_CF | FLAG_ZF))

static ulong vmxon(u64 *region)
{
	ulong flags;

	asm volatile("vmxon %1; pushf; pop %0" : "=r"(flags) : "m"(region) : "memory", "cc");
	return RESULT(flags);
}

static ulong vmptrld(u64 *region)
{
	ulong flags;

	asm volatile("vmclear %1; vmptrld %1; pushf; pop %0" : "=r"(flags) : "m"(region) : "memory", "cc");
	return RESULT(flags);
}

/* Inline, so that each function's own address is what SoftVT notes. */
static inline __attribute__((always_inline)) void vmwrite(ulong field, ulong value)
{
	asm volatile("vmwrite %1, %0" : : "r"(field), "r"(value) : "memory", "cc");
}

static ulong vmread(ulong field)
{
	ulong value;

	asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "memory", "cc");
	return value;
}

/* Returns the flags of an entry that failed, or 0 after a VM exit. */
ulong enter(bool launch);
asm(".text\n"
    ".globl enter\n"
    "enter: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov $0x6c14, %eax; vmwrite %rsp, %rax\n"			  /* HOST_RSP */
    "mov $0x6c16, %eax; lea 1f(%rip), %rcx; vmwrite %rcx, %rax\n" /* HOST_RIP */
    "test %dil, %dil; jz 2f\n"
    "vmlaunch; jmp 3f\n"
    "2: vmresume\n"
    "3: pushf; pop %rax; jmp 4f\n"
    "1: xor %eax, %eax\n"
    "4: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    ".type enter, @function\n.size enter, . - enter\n");

void guest_code(void);
asm(".text\n.type guest_code, @function\n"
    "guest_code: xor %eax, %eax; xor %ecx, %ecx; cpuid; cpuid; cpuid; hlt; int3\n"
    ".size guest_code, . - guest_code\n");

void guest_spin(void);
asm(".text\n.type guest_spin, @function\nguest_spin: jmp guest_spin\n.size guest_spin, . - guest_spin\n");

/* What the processor lets be 1 and what it wants to be 1. */
static u32 control(u32 msr, u32 wanted)
{
	u64 allowed = rdmsr(msr);

	return (wanted | (u32)allowed) & (u32)(allowed >> 32);
}

static void set_controls(void)
{
	vmwrite(VM_PINBASED_CTLS, control(MSR_VMX_PINBASED_CTLS, 0));
	vmwrite(VM_PROCBASED_CTLS, control(MSR_VMX_PROCBASED_CTLS, HLT_EXITING));
	vmwrite(VM_EXIT_CTLS, control(MSR_VMX_EXIT_CTLS, HOST_ADDRESS_SPACE_SIZE));
	vmwrite(VM_ENTRY_CTLS, control(MSR_VMX_ENTRY_CTLS, IA32E_MODE_GUEST));
	vmwrite(CR3_TARGET_COUNT, 0);
	vmwrite(VMCS_LINK_POINTER, ~0ul);
}

static void set_host(void)
{
	ulong cr0, cr3, cr4;

	asm volatile("mov %%cr0, %0; mov %%cr3, %1; mov %%cr4, %2" : "=r"(cr0), "=r"(cr3), "=r"(cr4));
	vmwrite(HOST_CR0, cr0);
	vmwrite(HOST_CR3, cr3);
	vmwrite(HOST_CR4, cr4);
	vmwrite(HOST_CS_SELECTOR, SEL_CODE0);
	vmwrite(HOST_SS_SELECTOR, SEL_DATA0);
	vmwrite(HOST_TR_SELECTOR, SEL_TSS);
	vmwrite(HOST_TR_BASE, (ulong)&main_tss);
	vmwrite(HOST_GDTR_BASE, (ulong)gdt);
	vmwrite(HOST_IDTR_BASE, (ulong)idt);
	vmwrite(GUEST_CR0, cr0);
	vmwrite(GUEST_CR3, cr3);
	vmwrite(GUEST_CR4, cr4);
}

static void set_guest(void)
{
	vmwrite(GUEST_CS_SELECTOR, SEL_CODE0);
	vmwrite(GUEST_CS_LIMIT, 0xffffffff);
	vmwrite(GUEST_CS_AR, 0xa09b);
	vmwrite(GUEST_SS_AR, AR_UNUSABLE);
	vmwrite(GUEST_DS_AR, AR_UNUSABLE);
	vmwrite(GUEST_ES_AR, AR_UNUSABLE);
	vmwrite(GUEST_FS_AR, AR_UNUSABLE);
	vmwrite(GUEST_GS_AR, AR_UNUSABLE);
	vmwrite(GUEST_LDTR_AR, AR_UNUSABLE);
	vmwrite(GUEST_TR_SELECTOR, SEL_TSS);
	vmwrite(GUEST_TR_BASE, (ulong)&main_tss);
	vmwrite(GUEST_TR_LIMIT, 0x67);
	vmwrite(GUEST_TR_AR, 0x8b);
	vmwrite(GUEST_DR7, 0x400);
	vmwrite(GUEST_RIP, (ulong)guest_code);
	vmwrite(GUEST_RSP, (ulong)guest_stack + sizeof(guest_stack));
	vmwrite(GUEST_RFLAGS, FLAG_FIXED);
	vmwrite(GUEST_ACTIVITY_STATE, 0);
}

static void too_many_cr3_targets(void)
{
	vmwrite(CR3_TARGET_COUNT, 5);
}

static void null_code_segment(void)
{
	vmwrite(HOST_CS_SELECTOR, 0);
}

static void flags_without_bit_1(void)
{
	vmwrite(GUEST_RFLAGS, 0);
}

static void no_such_activity(void)
{
	vmwrite(GUEST_ACTIVITY_STATE, 4);
}

static void limit_not_of_whole_pages(void)
{
	vmwrite(GUEST_CS_LIMIT, 0xffff0000);
}

static bool begin(void)
{
	u64 *region = page_alloc();
	u32 revision;

	if (!cpu_has(1, 0, 2, 5))
		return false;
	if (!(rdmsr(MSR_FEATURE_CONTROL) & 1))
		wrmsr(MSR_FEATURE_CONTROL, 5);
	asm volatile("mov %%cr4, %%rax; or %0, %%rax; mov %%rax, %%cr4" : : "i"(CR4_VMXE) : "rax");
	revision = (u32)rdmsr(MSR_VMX_BASIC);
	vmcs = page_alloc();
	*region = *vmcs = revision;
	return !vmxon(region) && !vmptrld(vmcs);
}

/* The first GiB as it is, by 2-MiB pages that are write-back. */
static u64 identity_ept(void)
{
	u64 *root = page_alloc(), *pointers = page_alloc(), *directory = page_alloc();

	root[0] = (ulong)pointers | 7;
	pointers[0] = (ulong)directory | 7;
	for (u64 i = 0; i < 512; i++)
		directory[i] = i << 21 | 0xb7;
	return (ulong)root | 3 << 3 | 6;
}

/* A guest for the monitor and gdb to look at. */
static void spin(void)
{
	vmwrite(VM_PROCBASED_CTLS, control(MSR_VMX_PROCBASED_CTLS, SECONDARY_CONTROLS));
	vmwrite(VM_PROCBASED_CTLS2, control(MSR_VMX_PROCBASED_CTLS2, ENABLE_EPT));
	vmwrite(EPTP, identity_ept());
	vmwrite(GUEST_RIP, (ulong)guest_spin);
	print("spinning\n");
	enter(false);
}

/* A host's MSR that cannot be loaded: the VM exit becomes a VMX abort. */
static void abort_vmx(void)
{
	u64 *list = page_alloc();

	list[0] = MSR_EFER;
	list[1] = ~0ull;
	vmwrite(VM_EXIT_MSR_LOAD_ADDRESS, (ulong)list);
	vmwrite(VM_EXIT_MSR_LOAD_COUNT, 1);
	vmwrite(GUEST_RIP, (ulong)guest_code);
	enter(false);
}

/* Does -append end in this word? Multiboot's information structure: flags, then the command line's address at 16. */
static bool asked_for(const char *word)
{
	extern u8 multiboot_info[];
	const u32 *info = (const u32 *)(ulong) * (const u32 *)multiboot_info;
	const char *text = info[0] & 4 ? (const char *)(ulong)info[4] : "";
	size_t size = strlen(text), wanted = strlen(word);

	return size >= wanted && !memcmp(text + size - wanted, word, wanted);
}

void chapter_main(void)
{
	ulong result;

	if (!begin()) {
		absent("five_rules/");
		return;
	}
	set_controls();
	set_host();
	set_guest();
	too_many_cr3_targets();
	null_code_segment();
	flags_without_bit_1();
	no_such_activity();
	limit_not_of_whole_pages();
	result = RESULT(enter(true));
	check("five-rules", "40 7", "%lx %lx", result, vmread(VM_INSTRUCTION_ERROR));

	set_controls();
	set_host();
	set_guest();
	for (u32 i = 0; i < 10; i++)
		enter(false);
	check("not-launched", "5", "%lx", vmread(VM_INSTRUCTION_ERROR));
	result = enter(true);
	check("launch", "0 a", "%lx %lx", result, vmread(EXIT_REASON));
	for (u32 i = 0; i < 3; i++) {
		vmwrite(GUEST_RIP, vmread(GUEST_RIP) + vmread(VM_EXIT_INSTRUCTION_LENGTH));
		enter(false);
	}
	check("hlt", "c", "%lx", vmread(EXIT_REASON));
	vmwrite(GUEST_RIP, vmread(GUEST_RIP) + 1);
	vmwrite(GUEST_IDTR_LIMIT, 0);
	enter(false);
	check("triple-fault", "2", "%lx", vmread(EXIT_REASON));
	if (asked_for("spin"))
		spin();
	if (asked_for("abort"))
		abort_vmx();
}

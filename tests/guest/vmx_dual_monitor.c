/*
 * The dual-monitor treatment of SMIs and SMM: this image is the firmware that sets MSEG up, the executive monitor, its
 * guest, and the SMM-transfer monitor (STM).
 *
 * SDM vol. 3, "Dual-Monitor Treatment of SMIs and SMM". MSEG, with the STM's page tables, stack and VMCS, lies in
 * SMRAM at B0000H and is closed to all but SMM; the STM's code is the image's own. Each time the executive monitor or
 * its guest is about to call the STM it says which function is to run there; the function looks at the VMCS, and the
 * STM returns by VMRESUME.
 */
#include "vmx.h"
#include "vmx_smi.h"

const char chapter[] = "vmx_dual_monitor";

#define LOG SMI_LOG

enum { MSR_SMM_MONITOR_CTL = 0x9b, MSR_SMBASE = 0x9e };
#define FROM_ROOT   0x20000000u
#define MTF_PENDING 0x10000000u

/* SMRAM from B0000H on. */
#define MSEG	   0xb0000u
#define STM_CR3	   (MSEG + 0x1000)
#define STM_STACK  (MSEG + 0x8000) /* one past the end */
#define STM_VMCS   (MSEG + 0x9000)
#define STM_VMCS_2 (MSEG + 0xa000) /* for a guest in SMM */

static struct {
	u32 revision, features, gdtr_limit, gdtr_base, cs, eip, esp, cr3;
} *const mseg = (void *)(u64)MSEG;

/* What the STM found when it was started from MSEG. */
u64 start_flags, start_rsp;
struct __attribute__((packed)) {
	u16 limit;
	u64 base;
} start_gdtr, start_idtr;
u8 stm_launched;
extern const u8 idt_pointer[];
extern u8 stm_start[], stm_entry[], trap_stack_top[];
void stm_main(void);
void stm_failed(u64 flags);

asm(".pushsection .text\n"
    "stm_start: push %rax; pushfq; pop start_flags; lea 8(%rsp), %rax; mov %rax, start_rsp; sgdt start_gdtr; sidt "
    "start_idtr\n"
    "lidt idt_pointer; pop %rax\n"
    "stm_entry: push %rax; push %rcx; push %rdx; push %rbx; push %rbp; push %rsi; push %rdi; push %r8; push %r9; push "
    "%r10\n"
    "push %r11; push %r12; push %r13; push %r14; push %r15\n"
    "cld; call stm_main\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rbp; pop "
    "%rbx\n"
    "pop %rdx; pop %rcx; pop %rax\n"
    "cmpb $0, stm_launched; movb $1, stm_launched; jne 1f; vmlaunch; jmp 2f; 1: vmresume\n"
    "2: pushfq; pop %rdi; call stm_failed\n"
    ".popsection\n");

static void (*step)(void);
static u32 calls; /* of the STM */

void stm_main(void)
{
	u32 reason = vm_read(EXIT_REASON);

	calls++;
	vm_note_exit();
	if ((reason & 0xffff) == EXIT_VMCALL)
		vm_write(GUEST_RIP, vm_read(GUEST_RIP) + vm_read(VM_EXIT_INSTRUCTION_LENGTH));
	step();
}

void stm_failed(u64 flags)
{
	check("stm/return", "no failure", "%s", vmx_result(flags));
	finish();
}

static void no_step(void)
{
}

/* The address of the last VMCALL or OUT that call_stm() and smi_stm() executed. */
extern u8 vmcall_here[], out_here[];

static __attribute__((noinline)) u64 call_stm(void (*what)(void))
{
	u64 flags;

	step = what;
	asm volatile("vmcall_here: vmcall; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	return flags;
}

static __attribute__((noinline)) void smi_stm(void (*what)(void))
{
	step = what;
	asm volatile("out_here: outb %%al, $0xb2; nop; nop" : : "a"(0) : "memory");
}

static u64 try_entry(bool launch)
{
	u64 flags;

	if (launch)
		asm volatile("vmlaunch; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	else
		asm volatile("vmresume; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	return flags;
}

static void write_ctl(u64 value)
{
	smi_order(SMI_WRITE_MSR, MSR_SMM_MONITOR_CTL, value);
}

static void msrs(void)
{
	ulong read = CODE("rdmsr"), write = CODE("wrmsr");

	T("msr/ctl-read", "ok", RING0, read, .cx = MSR_SMM_MONITOR_CTL);
	T("msr/ctl-write-outside-smm", "#GP(0x0)+0", RING0, write, .cx = MSR_SMM_MONITOR_CTL);
	T("msr/smbase-read-outside-smm", "#GP(0x0)+0", RING0, read, .cx = MSR_SMBASE);
	T("msr/smbase-write", "#GP(0x0)+0", RING0, write, .cx = MSR_SMBASE);
	check("msr/ctl-after-reset", "0", "%lx", rdmsr(MSR_SMM_MONITOR_CTL));
	write_ctl(MSEG | 5);
	check("msr/ctl-vmxoff-bit", "b0005", "%lx", rdmsr(MSR_SMM_MONITOR_CTL));
	write_ctl(MSEG);
}

/* "Initial Checks", in their order. */
static void checks_of_activation(void)
{
	vm_fresh(G64, CODE("vmcall"));
	check("call/not-valid", "VMfail(1)", "%s", vmx_result(call_stm(no_step)));
	write_ctl(MSEG | 1);
	vmx_vmclear((u64)vmcs_region);
	check("call/no-current-vmcs", "VMfailInvalid", "%s", vmx_result(call_stm(no_step)));
	mseg->revision = ~(u32)(rdmsr(MSR_VMX_MISC) >> 32);
	mseg->features = 2;
	vm_fresh(G64, CODE("vmcall"));
	vm_run();
	vm_write(VM_EXIT_CTLS, 0);
	check("call/launched", "VMfail(19)", "%s", vmx_result(call_stm(no_step)));
	vm_fresh(G64, CODE("vmcall"));
	vm_write(VM_EXIT_CTLS, 0);
	check("call/exit-controls", "VMfail(20)", "%s", vmx_result(call_stm(no_step)));
	vm_fresh(G64, CODE("vmcall"));
	check("call/mseg-revision", "VMfail(22)", "%s", vmx_result(call_stm(no_step)));
	mseg->revision = rdmsr(MSR_VMX_MISC) >> 32;
	check("call/features-reserved", "VMfail(24)", "%s", vmx_result(call_stm(no_step)));
	mseg->features = 0;
	check("call/features-not-64-bit", "VMfail(24)", "%s", vmx_result(call_stm(no_step)));
	mseg->features = 1;
	check("call/still-outside", "0", "%u", calls);
}

/* What activation loads and saves; then the STM makes itself at home in SMRAM. */
static void activated(void)
{
	u16 cs, ss, ldtr;

	asm("mov %%cs, %0; mov %%ss, %1; sldt %2" : "=r"(cs), "=r"(ss), "=r"(ldtr));
	check("activate/cr0", "80000033", "%lx", read_cr0());
	check("activate/cr3", "b1018", "%lx", read_cr3());
	check("activate/cr4", "2020", "%lx", read_cr4());
	check("activate/efer", "500", "%lx", rdmsr(MSR_EFER));
	check("activate/selectors", "cs=8 ss=10 ldtr=0", "cs=%x ss=%x ldtr=%x", cs, ss, ldtr);
	check("activate/gdtr", "1 1ff", "%u %x", start_gdtr.base == (u64)gdt, start_gdtr.limit);
	check("activate/idtr", "1 0", "%u %x", start_idtr.base == (u64)idt, start_idtr.limit);
	check("activate/rsp", "b8000", "%lx", start_rsp);
	check("activate/rflags", "2", "%lx", start_flags);
	check("activate/dr7", "400", "%lx", read_dr7());
	check("activate/reason", "20000012", "%lx", vm_read(EXIT_REASON));
	check("activate/qualification", "0", "%lx", vm_read(EXIT_QUALIFICATION));
	check("activate/length", "3", "%lx", vm_read(VM_EXIT_INSTRUCTION_LENGTH));
	check("activate/executive-pointer", "1", "%u", vm_read(EXECUTIVE_VMCS_POINTER) == (u64)vmxon_region);
	check("activate/link-pointer", "1", "%u", vm_read(VMCS_LINK_POINTER) == (u64)vmcs_region);
	check("activate/current-vmcs", "1", "%u", vmx_vmptrst() == (u64)vmcs_region);
	check("activate/smbase", "a0000", "%lx", vm_read(GUEST_SMBASE));
	check("activate/guest-rip", "1", "%u", vm_read(GUEST_RIP) == (u64)vmcall_here + 3);
	check("activate/guest-cr4", "20e0", "%lx", vm_read(GUEST_CR4));
	check("activate/guest-dr7", "401", "%lx", vm_read(GUEST_DR7));
	check("activate/interruptibility", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	check("activate/smram-in-smm", "1", "%u", mseg->features == 1 && *(u32 *)(u64)STM_VMCS);

	vm_write(HOST_CR3, STM_CR3);
	vm_write(HOST_CR4, read_cr4());
	vm_write(HOST_RIP, (u64)stm_entry);
	vm_write(HOST_RSP, STM_STACK);
	vm_write(VM_EXIT_MSR_STORE_COUNT, 0);
	vm_control(EXIT, EXIT_CTLS_SAVE_EFER);
	vm_control(ENTRY, ENTRY_CTLS_LOAD_EFER);
	vm_write(GUEST_RFLAGS, FLAG_FIXED);
	vmx_vmclear((u64)vmcs_region);
	memcpy((void *)(u64)STM_VMCS, vmcs_region, 4096);
	check("stm/vmptrld", "ok", "%s", vmx_result(vmx_vmptrld(STM_VMCS)));
}

static void called(void)
{
	u64 flags;

	check("vmcall/reason", "20000012", "%lx", vm_read(EXIT_REASON));
	check("vmcall/current-vmcs", "b9000", "%lx", vmx_vmptrst());
	check("vmcall/link-pointer", "1", "%u", vm_read(VMCS_LINK_POINTER) == (u64)vmcs_region);
	check("vmcall/host", "cr3=b1000", "cr3=%lx", read_cr3());
	asm volatile("vmcall; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	check("stm/vmcall", "VMfail(1)", "%s", vmx_result(flags));
	asm volatile("vmxoff; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	check("stm/vmxoff", "VMfail(23)", "%s", vmx_result(flags));
	check("stm/vmxon", "VMfail(15)", "%s", vmx_result(vmx_vmxon((u64)vmxon_region)));
	T("stm/rsm", "#UD+0", RING0, CODE("rsm"));
	T("stm/smbase-write", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_SMBASE, .ax = 0xa0000);
	check("stm/smbase-read", "a0000", "%lx", rdmsr(MSR_SMBASE));
	T("stm/ctl-reserved-bit", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_SMM_MONITOR_CTL, .ax = MSEG | 2);
	T("stm/ctl-write", "ok", RING0, CODE("wrmsr"), .cx = MSR_SMM_MONITOR_CTL, .ax = MSEG | 1);
	vm_write(GUEST_RFLAGS, FLAG_FIXED);
}

static void io_smi_in_root(void)
{
	check("smi/root-io-reason", "20000005", "%lx", vm_read(EXIT_REASON));
	check("smi/root-io-qualification", "b20040", "%lx", vm_read(EXIT_QUALIFICATION));
	check("smi/root-io-rip", "1 1", "%u %u", vm_read(IO_RIP) == (u64)out_here,
	      vm_read(GUEST_RIP) == (u64)out_here + 2);
	check("smi/root-executive-pointer", "1", "%u", vm_read(EXECUTIVE_VMCS_POINTER) == (u64)vmxon_region);
	check("smi/root-link-pointer", "1", "%u", vm_read(VMCS_LINK_POINTER) == (u64)vmcs_region);
}

static u32 reason_seen;
static u64 qualification_seen, linear_seen, io_rcx_seen, executive_seen, rip_seen;

static void note(void)
{
	reason_seen = vm_read(EXIT_REASON);
	qualification_seen = vm_read(EXIT_QUALIFICATION);
	linear_seen = vm_read(GUEST_LINEAR_ADDRESS);
	io_rcx_seen = vm_read(IO_RCX);
	executive_seen = vm_read(EXECUTIVE_VMCS_POINTER);
	rip_seen = vm_read(GUEST_RIP);
}

/* An MTF VM exit that was pending is for the STM to inject again. */
static void inject_mtf(void)
{
	note();
	vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER);
}

static void without_smis(void)
{
	vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI);
}

static void with_smis(void)
{
	check("blocking/interruptibility", "4", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	vm_write(GUEST_INTERRUPTIBILITY, 0);
	step = note;
}

static void events(void)
{
	u32 before;

	smi_stm(io_smi_in_root);
	check("smi/root-goes-on", "1", "%u", vmx_vmptrst() == (u64)vmcs_region);
	virtual_wire();
	before = calls;
	step = note;
	apic_send(apic_read(APIC_ID) >> 24, 0x4200);
	for (u32 i = 0; i < 100000 && calls == before; i++)
		asm volatile("pause");
	check("smi/root-other", "20000006 q=0", "%x q=%lx", reason_seen, qualification_seen);

	step = note;
	V("smi/guest", "VMCALL len=3 +7", G64, CODE("out %al, $0xb2; mov $7, %ecx; vmcall"), vm_ept());
	vm_line("smi/guest-registers", "7", "%lx", regs.cx);
	vm_line("smi/guest-reason", "5 q=b20040", "%x q=%lx", reason_seen, qualification_seen);
	vm_line("smi/guest-executive-pointer", "1 1", "%u %u", executive_seen == (u64)vmcs_region,
		vmx_vmptrst() == (u64)vmcs_region);
	V("smi/guest-dx", "VMCALL len=3 +2", G64, CODE("out %ax, %dx; vmcall"), regs.dx = 0xb2);
	vm_line("smi/guest-dx-reason", "5 q=b20001", "%x q=%lx", reason_seen, qualification_seen);
	V("smi/guest-rep-outsb", "VMCALL len=3 +2", G64, CODE("rep outsb; vmcall"), regs.dx = 0xb2, regs.cx = 1,
	  regs.si = 0x100000);
	vm_line("smi/guest-rep-outsb-reason", "5 q=b20030 la=100000 cx=1", "%x q=%lx la=%lx cx=%lx", reason_seen,
		qualification_seen, linear_seen, io_rcx_seen);
	step = inject_mtf;
	V("smi/guest-mtf", "MONITOR_TRAP_FLAG +2", G64, CODE("out %al, $0xb2; nop; nop"), pri(MONITOR_TRAP_FLAG));
	vm_line("smi/guest-mtf-reason", "10000005", "%x", reason_seen);

	call_stm(without_smis);
	before = calls;
	smi_stm(note);
	check("blocking/no-smi", "0", "%u", calls - before);
	call_stm(with_smis);
	check("blocking/smi-after-return", "2", "%u", calls - before);
	check("blocking/smi-reason", "20000006", "%x", reason_seen);
}

static u64 link_pointer;

static void failed_link(void)
{
	check("return/link-is-executive", "80000021 q=4", "%lx q=%lx", vm_read(EXIT_REASON),
	      vm_read(EXIT_QUALIFICATION));
	vm_write(VMCS_LINK_POINTER, link_pointer);
	step = no_step;
}

static void failed_activity(void)
{
	check("return/root-wait-for-sipi", "80000021 q=0", "%lx q=%lx", vm_read(EXIT_REASON),
	      vm_read(EXIT_QUALIFICATION));
	vm_write(GUEST_ACTIVITY_STATE, ACTIVE);
	link_pointer = vm_read(VMCS_LINK_POINTER);
	vm_write(VMCS_LINK_POINTER, vm_read(EXECUTIVE_VMCS_POINTER));
	step = failed_link;
}

/* After a failure that is like a VM exit: to the STM, which is still in SMM. */
static void failed_late(void)
{
	check("return/late-failure", "80000021 q=0", "%lx q=%lx", vm_read(EXIT_REASON), vm_read(EXIT_QUALIFICATION));
	check("return/late-failure-vmcs", "b9000", "%lx", vmx_vmptrst());
	vm_write(GUEST_RFLAGS, FLAG_FIXED);
	vm_write(GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI);
	step = failed_activity;
}

/* "VM Entries that Return from SMM": what they check beyond other VM entries. */
static void checks_of_return(void)
{
	u64 executive = vm_read(EXECUTIVE_VMCS_POINTER), entry = vm_read(VM_ENTRY_CTLS);
	u64 *region = vmx_region();

	vm_write(EXECUTIVE_VMCS_POINTER, (u64)vmcs_region | 8);
	check("return/pointer-unaligned", "VMfail(16)", "%s", vmx_result(try_entry(false)));
	vm_write(EXECUTIVE_VMCS_POINTER, 1ull << physical_bits());
	check("return/pointer-too-wide", "VMfail(16)", "%s", vmx_result(try_entry(false)));
	*region ^= 1;
	vm_write(EXECUTIVE_VMCS_POINTER, (u64)region);
	check("return/pointer-revision", "VMfail(16)", "%s", vmx_result(try_entry(false)));
	*region ^= 1;
	vm_write(EXECUTIVE_VMCS_POINTER, executive);
	vm_write(VM_ENTRY_CTLS, entry | 1 << ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR | 1 << ENTRY_CTLS_ENTRY_TO_SMM);
	check("return/both-controls", "VMfail(7)", "%s", vmx_result(try_entry(false)));
	vm_write(EXECUTIVE_VMCS_POINTER, (u64)vmcs_region);
	vm_write(VM_ENTRY_CTLS, entry | 1 << ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR);
	check("return/deactivate-to-guest", "VMfail(18)|VMfail(17)", "%s", vmx_result(try_entry(false)));
	vm_write(EXECUTIVE_VMCS_POINTER, executive);
	vm_write(VM_ENTRY_CTLS, entry);
	vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_OTHER);
	check("return/mtf-to-root", "VMfail(7)", "%s", vmx_result(try_entry(false)));
	vm_write(VM_ENTRY_INTERRUPTION_INFO, 0);
	check("return/vmlaunch", "VMfail(4)", "%s", vmx_result(try_entry(true)));
	vm_write(GUEST_RFLAGS, 0);
	step = failed_late;
}

/* The executive VMCS has bad controls, or is not launched. */
static void check_executive_controls(void)
{
	u64 *copy = page_alloc();

	vmx_vmptrld((u64)vmcs_region);
	vm_write(CR3_TARGET_COUNT, 0x1ff);
	vmx_vmptrld(STM_VMCS);
	check("return/executive-controls", "VMfail(25)", "%s", vmx_result(try_entry(false)));
	vmx_vmptrld((u64)vmcs_region);
	vm_write(CR3_TARGET_COUNT, 0);
	vmx_vmptrld(STM_VMCS);
	/* A copy that is clear. */
	memcpy(copy, vmcs_region, 4096);
	vmx_vmclear((u64)copy);
	vm_write(EXECUTIVE_VMCS_POINTER, (u64)copy);
	check("return/executive-vmcs-clear", "VMfail(17)", "%s", vmx_result(try_entry(false)));
	vm_write(EXECUTIVE_VMCS_POINTER, (u64)vmcs_region);
}

/* A guest of the STM's own. */
static void guest_in_smm(void)
{
	u64 *executive = vmcs_region;

	vmcs_region = (void *)(u64)STM_VMCS_2;
	*vmcs_region = *vmxon_region;
	V("smm-guest/not-blocked", "INVALID_GUEST_STATE q=0", G64, CODE("rsm"), ent(ENTRY_TO_SMM));
	V("smm-guest/wait-for-sipi", "INVALID_GUEST_STATE q=0", G64, CODE("rsm"), ent(ENTRY_TO_SMM),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI), vm_write(GUEST_ACTIVITY_STATE, WAIT_FOR_SIPI));
	V("smm-guest/rsm", "RSM len=2", G64, CODE("rsm"), ent(ENTRY_TO_SMM),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI));
	check("smm-guest/interruptibility", "4", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("smm-guest/vmcall", "VMCALL len=3", G64, CODE("vmcall"), ent(ENTRY_TO_SMM),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI));
	V("smm-guest/smbase", "VMCALL len=3 +7", G64, CODE("mov $0x9e, %ecx; rdmsr; vmcall"), ent(ENTRY_TO_SMM),
	  pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, (u64)page_alloc()),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI));
	check("smm-guest/smbase-value", "a0000", "%lx", regs.ax);
	vmcs_region = executive;
	vmx_vmptrld(STM_VMCS);
}

static void move_smbase(void)
{
	vm_write(GUEST_SMBASE, 0x30000);
}

static void deactivate(void)
{
	check("deactivate/smbase-was-loaded", "30000", "%lx", vm_read(GUEST_SMBASE));
	vm_write(GUEST_SMBASE, 0xa0000);
	vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_SMI);
	vm_control(ENTRY, ENTRY_CTLS_DEACTIVATE_DUAL_MONITOR);
	vm_note_exit();
}

static void prepare_mseg(void)
{
	memset(mseg, 0, 0x10000);
	mseg->gdtr_limit = 0xffff01ff;
	mseg->gdtr_base = (u32)(u64)gdt - MSEG;
	mseg->cs = 0x1234000f;
	mseg->eip = (u32)(u64)stm_start - MSEG;
	mseg->esp = STM_STACK - MSEG;
	mseg->cr3 = (STM_CR3 - MSEG) | 0xfff;
	memcpy((void *)(u64)STM_CR3, pml4, sizeof(pml4));
	*(u64 *)(u64)STM_VMCS = *vmxon_region;
}

void chapter_main(void)
{
	u32 smram, before;
	u64 flags;

	if (!cpu_has(1, 0, 2, 5) || !(rdmsr(MSR_VMX_BASIC) >> BASIC_DUAL_MONITOR & 1)) {
		absent("");
		return;
	}
	smram = smi_begin();
	if (!smram || !vm_begin()) {
		absent("");
		return;
	}
	prepare_mseg();
	msrs();
	checks_of_activation();
	pci_byte_write(0, 0, smram, SMRAM_CLOSED);
	check("mseg/hidden", "1", "%u", mseg->features != 1);

	vm_fresh(G64, CODE("vmcall"));
	vm_write(VM_EXIT_MSR_STORE_COUNT, 1); /* not used by activation: an entry of zeros would be a VMX abort */
	vm_write(VM_EXIT_MSR_STORE_ADDRESS, (u64)page_alloc());
	exi(SAVE_DEBUG_CONTROLS);
	write_cr4(read_cr4() | CR4_MCE | CR4_PGE);
	write_dr7(0x401);
	flags = call_stm(activated);
	check("activate/returns", "1 ok", "%u %s", calls, vmx_result(flags));
	check("activate/executive-goes-on", "1 20e0", "%u %lx", vmx_vmptrst() == (u64)vmcs_region, read_cr4());
	write_dr7(0x400);
	asm volatile("vmxoff; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
	check("executive/vmxoff", "VMfail(23)", "%s", vmx_result(flags));
	T("executive/ctl-write", "#GP(0x0)+0", RING0, CODE("wrmsr"), .cx = MSR_SMM_MONITOR_CTL);
	check("executive/mseg-hidden", "1", "%u", mseg->features != 1);
	check("vmcall/returns", "ok", "%s", vmx_result(call_stm(called)));
	events();
	call_stm(checks_of_return);
	check("return/at-last", "1", "%u", vmx_vmptrst() == (u64)vmcs_region);
	step = check_executive_controls;
	V("return/guest-goes-on", "VMCALL len=3 +2", G64, CODE("out %al, $0xb2; vmcall"));
	call_stm(guest_in_smm);
	check("smm-guest/executive-goes-on", "1", "%u", vmx_vmptrst() == (u64)vmcs_region);
	call_stm(move_smbase);

	LOG->count = 0;
	check("deactivate/returns", "ok", "%s", vmx_result(call_stm(deactivate)));
	before = calls;
	smi_now();
	check("deactivate/default-treatment", "1 0", "%u %u", LOG->count, calls - before);
	vm_fresh(G64, CODE("vmcall"));
	asm volatile("vmxoff; setna %b0" : "=r"(flags) : : "cc", "memory");
	check("deactivate/vmxoff", "0", "%u", (u32)flags & 1);
	vmx_vmxon((u64)vmxon_region);
	vm_report();
	pci_byte_write(0, 0, smram, SMRAM_CLOSED);
}

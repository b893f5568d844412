/*
 * What a VM entry loads, what a VM exit saves, and what the host has afterwards.
 *
 * SDM vol. 3, "Loading Guest State", "Loading MSRs", "Special Features of VM Entry", "Saving Guest State", "Saving
 * MSRs", "Loading Host State". Values that a VM entry refuses are in vmx_entry_checks.c.
 */
#include "vmx.h"

const char chapter[] = "vmx_entry_loading";

#define MSR_PERF_GLOBAL_CTRL 0x38f

static u64 no_msr_exits; /* MSR bitmaps of zeros */

#define MSRS_FREE	  pri(USE_MSR_BITMAPS), vm_write(MSR_BITMAP, no_msr_exits)
#define exception(vector) vm_or(EXCEPTION_BITMAP, 1u << (vector))
/* One run, and a line with the text and more. */
#define RUN(mode, code, ...)		  (vm_fresh(mode, code), (void)0, ##__VA_ARGS__, vm_run())
#define LINE(name, expected, format, ...) vm_line(name, expected, "%s " format, vm_text(), __VA_ARGS__)

static ulong read_msr;

/* The MSR that the guest reads. */
#define MSR(name, expected, mode, msr, ...)                            \
	(RUN(mode, read_msr, MSRS_FREE, regs.cx = msr, ##__VA_ARGS__), \
	 LINE(name, expected, "%lx", (regs.ax & 0xffffffff) | regs.dx << 32))

static void registers(void)
{
	bool has_debugctl = TRY(RING0, CODE("rdmsr"), .cx = MSR_DEBUGCTL).vector == VECTOR_END;

	RUN(G64, CODE("nop"), vm_or(GUEST_CR0, CR0_CD | CR0_NW | 0xffc0));
	LINE("cr0/bits-not-loaded", "ok 80010031", "%lx", vm_read(GUEST_CR0));
	RUN(G64, CODE("nop"), vm_and(GUEST_CR0, ~(u64)CR0_ET));
	LINE("cr0/et-stays", "ok 10", "%lx", vm_read(GUEST_CR0) & CR0_ET);
	check("cr0/host-again", "80010031", "%lx", read_cr0());
	RUN(G64, CODE("mov %cr3, %rax"), vm_or(GUEST_CR3, 0x18));
	LINE("cr3/low-bits", "ok 18", "%lx", regs.ax & 0xfff);
	RUN(G64, CODE("mov %dr7, %rax"), vm_write(GUEST_DR7, 0x455));
	LINE("dr7/not-loaded", "ok 400", "%lx", regs.ax);
	RUN(G64, CODE("mov %dr7, %rax"), ent(LOAD_DEBUG_CONTROLS), vm_write(GUEST_DR7, 0xdafa));
	LINE("dr7/loaded", "ok 6fa", "%lx", regs.ax & ~0x800ul);
	RUN(G64, CODE("mov $0x400, %eax; bts $9, %eax; mov %rax, %dr7"), vm_write(GUEST_DR7, 0x455));
	LINE("dr7/not-saved", "ok 455", "%lx", vm_read(GUEST_DR7));
	RUN(G64, CODE("mov $0x400, %eax; bts $9, %eax; mov %rax, %dr7"), exi(SAVE_DEBUG_CONTROLS));
	LINE("dr7/saved", "ok 600", "%lx", vm_read(GUEST_DR7));
	check("dr7/host", "400", "%lx", read_dr7());
	RUN(GCOMPAT, CODE32("mov %esp, %eax"), vm_write(GUEST_RSP, 0x12345678));
	LINE("rsp/32", "ok 12345678", "%lx", regs.ax & 0xffffffff);
	RUN(G64, CODE("pushf; pop %rax"),
	    vm_or(GUEST_RFLAGS, FLAG_ARITHMETIC | FLAG_AC | FLAG_NT | FLAG_IOPL | 1 << 21));
	LINE("rflags/loaded", "ok 2478d7", "%lx", regs.ax);
	RUN(G64, CODE("stc; std; .byte 0x90; cpuid"));
	LINE("rflags/host-has-2", "CPUID len=2 +3 2", "%lx", vmx_flags);
	MSR("msr/sysenter-cs", "ok 12345678", G64, MSR_SYSENTER_CS, vm_write(GUEST_SYSENTER_CS, 0x12345678));
	MSR("msr/sysenter-esp", "ok ffff800000000000", G64, MSR_SYSENTER_ESP,
	    vm_write(GUEST_SYSENTER_ESP, 0xffff800000000000));
	MSR("msr/sysenter-eip", "ok 7fffffffffff", G64, MSR_SYSENTER_EIP, vm_write(GUEST_SYSENTER_EIP, 0x7fffffffffff));
	MSR("msr/fs-base", "ok 123456789000", G64, MSR_FS_BASE, vm_write(GUEST_FS_BASE, 0x123456789000));
	MSR("msr/gs-base-unusable", "ok 987654321000|ok 0", G64, MSR_GS_BASE, vm_write(GUEST_GS_BASE, 0x87654321000),
	    vm_write(GUEST_GS_AR, AR_UNUSABLE), vm_write(GUEST_GS_BASE, 0));
	MSR("msr/pat-not-loaded", "ok 7040600070406", G64, MSR_PAT, vm_write(GUEST_PAT, 0x0606060606060606));
	MSR("msr/pat-loaded", "ok 606060606060606", G64, MSR_PAT, ent(LOAD_PAT), exi(LOAD_PAT),
	    vm_write(GUEST_PAT, 0x0606060606060606));
	vm_line("msr/pat-host-again", "7040600070406", "%lx", rdmsr(MSR_PAT));
	MSR("msr/pat-stays-without-load", "ok 606060606060606", G64, MSR_PAT, ent(LOAD_PAT),
	    vm_write(GUEST_PAT, 0x0606060606060606));
	vm_line("msr/pat-stays-in-host", "606060606060606", "%lx", rdmsr(MSR_PAT));
	wrmsr(MSR_PAT, 0x7040600070406);
	RUN(G64, CODE("mov $0x277, %ecx; mov $0x04040404, %eax; mov %eax, %edx; wrmsr"), MSRS_FREE, exi(SAVE_PAT),
	    exi(LOAD_PAT));
	LINE("msr/pat-saved", "ok 404040404040404", "%lx", vm_read(GUEST_PAT));
	MSR("msr/efer-64", "ok 500", G64, MSR_EFER);
	MSR("msr/efer-32", "ok 0", G32, MSR_EFER);
	MSR("msr/efer-no-paging-keeps-lme", "ok 100", GFLAT, MSR_EFER);
	MSR("msr/efer-loaded", "ok d01", G64, MSR_EFER, ent(LOAD_EFER), exi(LOAD_EFER),
	    vm_write(GUEST_EFER, EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE));
	vm_line("msr/efer-host-again", "500", "%lx", rdmsr(MSR_EFER));
	RUN(G64, CODE("mov $0xc0000080, %ecx; rdmsr; or $1, %eax; wrmsr"), MSRS_FREE, exi(SAVE_EFER), exi(LOAD_EFER));
	LINE("msr/efer-saved", "ok 501", "%lx", vm_read(GUEST_EFER));
	RUN(G64, CODE("mov $0xc0000080, %ecx; rdmsr; or $1, %eax; wrmsr"), MSRS_FREE);
	LINE("msr/efer-sce-stays-in-host", "ok 501", "%lx", rdmsr(MSR_EFER));
	wrmsr(MSR_EFER, 0x500);
	bool has_perf = TRY(RING0, CODE("rdmsr"), .cx = MSR_PERF_GLOBAL_CTRL).vector == VECTOR_END;

	MSR("msr/perf-global-ctrl-loaded", "ok 3", G64, MSR_PERF_GLOBAL_CTRL, vm_needs(has_perf),
	    ent(LOAD_PERF_GLOBAL_CTRL), exi(LOAD_PERF_GLOBAL_CTRL), vm_write(GUEST_PERF_GLOBAL_CTRL, 3),
	    vm_write(HOST_PERF_GLOBAL_CTRL, 1));
	vm_line("msr/perf-global-ctrl-host", "1", "%lx", has_perf ? rdmsr(MSR_PERF_GLOBAL_CTRL) : 0);
	RUN(G64, CODE("mov $0x38f, %ecx; xor %edx, %edx; mov $2, %eax; wrmsr"), vm_needs(has_perf), MSRS_FREE,
	    exi(SAVE_PERF_GLOBAL_CTRL), exi(LOAD_PERF_GLOBAL_CTRL), vm_write(HOST_PERF_GLOBAL_CTRL, 0));
	LINE("msr/perf-global-ctrl-saved", "ok 2", "%lx", vm_read(GUEST_PERF_GLOBAL_CTRL));
	MSR("msr/debugctl-not-loaded", "ok 0", G64, MSR_DEBUGCTL, vm_needs(has_debugctl), vm_write(GUEST_DEBUGCTL, 2));
	MSR("msr/debugctl-loaded", "ok 2", G64, MSR_DEBUGCTL, vm_needs(has_debugctl), ent(LOAD_DEBUG_CONTROLS),
	    vm_write(GUEST_DEBUGCTL, 2));
	/* 0 where there are no model-specific branch records. */
	MSR("msr/debugctl-lbr", "ok 0|ok 1", G64, MSR_DEBUGCTL, vm_needs(has_debugctl), ent(LOAD_DEBUG_CONTROLS),
	    vm_write(GUEST_DEBUGCTL, 1));
	vm_line("msr/debugctl-host", "0", "%lx", has_debugctl ? rdmsr(MSR_DEBUGCTL) : 0);
}

static void segments(void)
{
	RUN(G64, CODE("movb %fs:0x10, %al"), vm_write(GUEST_FS_BASE, 0x5000), *(u8 *)0x5010 = 0x5a);
	LINE("segment/base", "ok 5a", "%lx", regs.ax & 0xff);
	V("segment/limit", "#GP(0x0)+0", G32, CODE32("movb 0x5000, %al"), vm_write(GUEST_DS_LIMIT, 0x4fff),
	  vm_write(GUEST_DS_AR, 0x4093));
	V("segment/within-limit", "ok", G32, CODE32("movb 0x4fff, %al"), vm_write(GUEST_DS_LIMIT, 0x4fff),
	  vm_write(GUEST_DS_AR, 0x4093));
	V("segment/null-selector-usable", "ok", G32, CODE32("movb 0x5000, %al"), vm_write(GUEST_DS_SELECTOR, 0));
	V("segment/unusable", "#GP(0x0)+0", G32, CODE32("movb 0x5000, %al"), vm_write(GUEST_DS_AR, AR_UNUSABLE));
	V("segment/unusable-64", "ok", G64, CODE("movb 0x5000, %al"), vm_write(GUEST_DS_AR, AR_UNUSABLE));
	V("segment/read-only", "#GP(0x0)+0", G32, CODE32("movb %al, %es:0x5000"), vm_write(GUEST_ES_AR, 0xc091));
	V("segment/expand-down", "#GP(0x0)+0", G32, CODE32("movb %gs:0x5000, %al"), vm_write(GUEST_GS_AR, 0x4097),
	  vm_write(GUEST_GS_LIMIT, 0x5fff));
	V("segment/selector-not-looked-up", "ok", G32, CODE32("mov %ds, %eax; movb 0x5000, %al"),
	  vm_write(GUEST_DS_SELECTOR, 0xfff0));
	V("segment/ss-unusable-64", "ok", G64, CODE("push %rax; pop %rax"), vm_write(GUEST_SS_AR, AR_UNUSABLE),
	  vm_write(GUEST_SS_SELECTOR, 0));
	V("segment/16-bit-stack", "ok", G32, CODE32("push %eax; mov %esp, %ebx; pop %eax"), vm_write(GUEST_SS_AR, 0x93),
	  vm_write(GUEST_SS_LIMIT, 0xffff), vm_write(GUEST_RSP, 0x8000));
	vm_line("segment/16-bit-stack-sp", "7ffc", "%lx", regs.bx & 0xffffffff);
	V("segment/code-16", "ok", G32, CODE16("mov $0x1234, %ax; xor %bx, %bx"), vm_write(GUEST_CS_AR, 0x809b));
	V("segment/ldtr-unusable", "#GP(0x4)+0", G32, CODE32("mov %ebx, %fs"), regs.bx = 4);
	V("segment/ldtr", "ok", G32, CODE32("mov %ebx, %fs"), regs.bx = 4, vm_write(GUEST_LDTR_AR, 0x82),
	  vm_write(GUEST_LDTR_BASE, (u64)ldt), vm_write(GUEST_LDTR_LIMIT, 7),
	  ldt[0] = descriptor(0x5000, 0xfffff, ACC_DATA0, SEG_G | SEG_D));
	vm_line("segment/saved", "4 5000 ffffffff c093", "%lx %lx %lx %lx", vm_read(GUEST_FS_SELECTOR),
		vm_read(GUEST_FS_BASE), vm_read(GUEST_FS_LIMIT), vm_read(GUEST_FS_AR));
	V("segment/null-saved", "ok", G32, CODE32("mov %ebx, %fs"), regs.bx = 0);
	vm_line("segment/null-saved-unusable", "0 1", "%lx %lx", vm_read(GUEST_FS_SELECTOR),
		vm_read(GUEST_FS_AR) >> 16);
	V("segment/gdtr-limit", "#GP(0x70)+0", G32, CODE32("mov %ebx, %fs"), regs.bx = SEL_TEST,
	  vm_write(GUEST_GDTR_LIMIT, SEL_TEST - 1));
	RUN(G64, CODE("sgdt 0x5000; sidt 0x5010"), vm_write(GUEST_GDTR_LIMIT, 0x1ff),
	    vm_write(GUEST_IDTR_LIMIT, 0xfff));
	LINE("segment/table-limits", "ok 1ff fff", "%x %x", *(u16 *)0x5000, *(u16 *)0x5010);
	V("segment/cpl-is-ss-dpl", "#GP(0x0)+0", G64_U, CODE("hlt"));
	V("segment/conforming-code", "#GP(0x0)+0", G64_U, CODE("hlt"), vm_write(GUEST_CS_AR, 0xa09f));
}

/* "Loading Host Segment and Descriptor-Table Registers", "Loading Host Control Registers, Debug Registers, MSRs". */
static void host(void)
{
	struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} table;
	u32 limit;
	u16 selector;
	u64 before = read_cr4();

	RUN(G64, CODE("nop"), vm_write(GUEST_GDTR_LIMIT, 0x1ff), vm_write(HOST_SYSENTER_CS, 0x99),
	    vm_write(HOST_SYSENTER_ESP, 0x1234567), vm_write(HOST_SYSENTER_EIP, 0x7654321),
	    vm_write(HOST_FS_BASE, 0x111000), vm_write(HOST_GS_BASE, 0x222000), vm_write(HOST_FS_SELECTOR, 0),
	    vm_write(HOST_GS_SELECTOR, 0));
	asm volatile("sgdt %0" : "=m"(table));
	check("host/gdtr", "ffff 1", "%x %u", table.limit, table.base == (u64)gdt);
	asm volatile("sidt %0" : "=m"(table));
	check("host/idtr", "ffff 1", "%x %u", table.limit, table.base == (u64)idt);
	asm volatile("sldt %0" : "=m"(selector));
	check("host/ldtr", "0", "%x", selector);
	asm volatile("str %0" : "=m"(selector));
	check("host/tr", "38", "%x", selector);
	asm volatile("lsl %1, %0" : "=r"(limit) : "r"(SEL_DATA0) : "cc");
	check("host/sysenter", "99 1234567 7654321", "%lx %lx %lx", rdmsr(MSR_SYSENTER_CS), rdmsr(MSR_SYSENTER_ESP),
	      rdmsr(MSR_SYSENTER_EIP));
	check("host/fs-gs-base", "111000 222000", "%lx %lx", rdmsr(MSR_FS_BASE), rdmsr(MSR_GS_BASE));
	check("host/cr4", "1", "%u", read_cr4() == before);
	wrmsr(MSR_SYSENTER_CS, 0);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
	RUN(G64, CODE("nop"), vm_or(HOST_CR4, CR4_TSD | CR4_DE));
	check("host/cr4-loaded", "c", "%lx", read_cr4() & (CR4_TSD | CR4_DE));
	write_cr4(before);
	/* The TSS's limit is 67H after a VM exit: no I/O permission bitmap. The data segments are flat. */
	RUN(G64, CODE("nop"));
	T("host/ring3-still-works", "ok", RING3, CODE("nop"));
	T("host/no-bitmap", "#GP(0x0)+0", RING3, CODE("in $0x80, %al"));
	check("host/launched", "VMfail(4)", "%s", ({
		      u64 flags;
		      asm volatile("vmlaunch; pushfq; popq %0" : "=r"(flags) : : "cc", "memory");
		      vmx_result(flags);
	      }));
	/* A monitor that the host has armed is not armed any more. */
	vm_fresh(G64, CODE("mwait"));
	vm_needs(HAS_MONITOR);
	pri(MWAIT_EXITING);
	if (!vm_missing())
		asm volatile("monitor" : : "a"(0x5000ul), "c"(0ul), "d"(0ul));
	vm_run();
	vm_check("host/monitor-cleared", "MWAIT q=0 len=3");
}

struct msr_entry {
	u32 index, reserved;
	u64 value;
};

static void msr_lists(void)
{
	struct msr_entry *load = page_alloc(), *store = page_alloc(), *host_load = page_alloc();
	ulong swap = CODE("mov $0xc0000102, %ecx; rdmsr; mov %eax, %ebx; mov $0x5678, %eax; wrmsr");

	load[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x1111};
	load[1] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x2222};
	store[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, ~0ul};
	store[1] = (struct msr_entry){MSR_SYSENTER_CS, 0, ~0ul};
	host_load[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x9999};
	host_load[1] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, 0x9abc};
	RUN(G64, swap, MSRS_FREE, vm_write(VM_ENTRY_MSR_LOAD_ADDRESS, (u64)load), vm_write(VM_ENTRY_MSR_LOAD_COUNT, 2),
	    vm_write(VM_EXIT_MSR_STORE_ADDRESS, (u64)store), vm_write(VM_EXIT_MSR_STORE_COUNT, 2),
	    vm_write(VM_EXIT_MSR_LOAD_ADDRESS, (u64)host_load), vm_write(VM_EXIT_MSR_LOAD_COUNT, 2),
	    vm_write(GUEST_SYSENTER_CS, 0x4321));
	LINE("list/in-order", "ok guest=2222 stored=5678 4321 host=9abc", "guest=%lx stored=%lx %lx host=%lx", regs.bx,
	     store[0].value, store[1].value, rdmsr(MSR_KERNEL_GS_BASE));
	/* After the fields: the list wins. */
	load[0] = (struct msr_entry){MSR_SYSENTER_ESP, 0, 0x77};
	MSR("list/overrides-fields", "ok 77", G64, MSR_SYSENTER_ESP, vm_write(GUEST_SYSENTER_ESP, 0x55),
	    vm_write(VM_ENTRY_MSR_LOAD_ADDRESS, (u64)load), vm_write(VM_ENTRY_MSR_LOAD_COUNT, 1));
	host_load[0] = (struct msr_entry){MSR_SYSENTER_EIP, 0, 0x88};
	RUN(G64, CODE("nop"), vm_write(VM_EXIT_MSR_LOAD_ADDRESS, (u64)host_load), vm_write(VM_EXIT_MSR_LOAD_COUNT, 1),
	    vm_write(HOST_SYSENTER_EIP, 0x66));
	LINE("list/overrides-host-fields", "ok 88", "%lx", rdmsr(MSR_SYSENTER_EIP));
	store[0] = (struct msr_entry){MSR_KERNEL_GS_BASE, 0, ~0ul};
	RUN(G64, CODE("nop"), vm_write(GUEST_RFLAGS, 0), vm_write(VM_EXIT_MSR_STORE_ADDRESS, (u64)store),
	    vm_write(VM_EXIT_MSR_STORE_COUNT, 1), vm_write(VM_EXIT_MSR_LOAD_ADDRESS, (u64)host_load),
	    vm_write(VM_EXIT_MSR_LOAD_COUNT, 1));
	LINE("list/failed-entry-loads-but-does-not-store", "INVALID_GUEST_STATE q=0 ffffffffffffffff 88", "%lx %lx",
	     store[0].value, rdmsr(MSR_SYSENTER_EIP));
	wrmsr(MSR_SYSENTER_EIP, 0);
}

/* "Delivery of Pending Debug Exceptions after VM Entry". */
static void pending_debug(void)
{
	ulong nops = CODE("nop; nop; nop");

#define PENDING(bits) write_dr6(0xffff0ff0), vm_write(GUEST_PENDING_DEBUG, bits)
	V("pending/step", "#DB+0", G64, nops, PENDING(1 << 14), vm_or(GUEST_RFLAGS, FLAG_TF));
	vm_line("pending/step-dr6", "ffff4ff0", "%lx", read_dr6());
	V("pending/step-exit", "EXCEPTION_NMI hard 1 dr6=4000", G64, nops, PENDING(1 << 14), exception(VEC_DB));
	vm_line("pending/step-exit-dr6", "ffff0ff0", "%lx", read_dr6());
	V("pending/breakpoint", "EXCEPTION_NMI hard 1 dr6=1", G64, nops, PENDING(1 << 12 | 1), exception(VEC_DB));
	V("pending/breakpoint-and-step", "EXCEPTION_NMI hard 1 dr6=4003", G64, nops, PENDING(1 << 12 | 3 | 1 << 14),
	  exception(VEC_DB), vm_or(GUEST_RFLAGS, FLAG_TF));
	V("pending/not-enabled", "ok", G64, nops, PENDING(3), exception(VEC_DB));
	V("pending/blocked-by-mov-ss", "EXCEPTION_NMI hard 1 dr6=4000 +1", G64, nops, PENDING(1 << 14),
	  exception(VEC_DB), vm_or(GUEST_RFLAGS, FLAG_TF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	V("pending/blocked-by-sti", "EXCEPTION_NMI hard 1 dr6=4000", G64, nops, PENDING(1 << 14), exception(VEC_DB),
	  vm_or(GUEST_RFLAGS, FLAG_TF | FLAG_IF), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_STI));
	V("pending/halted", "EXCEPTION_NMI hard 1 dr6=4000", G64, nops, PENDING(1 << 14), exception(VEC_DB),
	  vm_or(GUEST_RFLAGS, FLAG_TF), vm_write(GUEST_ACTIVITY_STATE, HALTED), pin(PREEMPTION_TIMER),
	  vm_write(PREEMPTION_TIMER, 10000));
	V("pending/lost-by-injection", "#UD+0", G64, nops, PENDING(1 << 12 | 1),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_EXCEPTION | VEC_UD));
	/* INT n and its like after MOV SS: in the handler. Of INT1 the manual says both. */
	V("pending/injected-int-n", "EXCEPTION_NMI hard 1 dr6=1 handler 48", G64, nops, PENDING(1 << 12 | 1),
	  exception(VEC_DB), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_SOFT_INT | 0x30),
	  vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 2));
	V("pending/injected-int-n-step", "EXCEPTION_NMI hard 1 dr6=1 handler 48", G64, nops,
	  PENDING(1 << 14 | 1 << 12 | 1), exception(VEC_DB), vm_or(GUEST_RFLAGS, FLAG_TF),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_SOFT_INT | 0x30),
	  vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 2));
	V("pending/injected-int3", "EXCEPTION_NMI hard 1 dr6=1 handler 3", G64, nops, PENDING(1 << 12 | 1),
	  exception(VEC_DB), vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_SOFT_EXCEPTION | VEC_BP),
	  vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 1));
	V("pending/lost-by-int3", "#BP+1", G64, nops, PENDING(1 << 12 | 1),
	  vm_write(VM_ENTRY_INTERRUPTION_INFO, EVENT_VALID | EVENT_SOFT_EXCEPTION | VEC_BP),
	  vm_write(VM_ENTRY_INSTRUCTION_LENGTH, 1));
	V("pending/before-timer", "EXCEPTION_NMI hard 1 dr6=4000", G64, nops, PENDING(1 << 14), exception(VEC_DB),
	  pin(PREEMPTION_TIMER));
	V("pending/before-interrupt-window", "EXCEPTION_NMI hard 1 dr6=4000", G64, nops, PENDING(1 << 14),
	  exception(VEC_DB), pri(INTERRUPT_WINDOW_EXITING), vm_or(GUEST_RFLAGS, FLAG_IF));
	/* What is due after the debug exception comes before its handler's first instruction. */
	V("pending/then-timer", "PREEMPTION_TIMER handler 1", G64, nops, PENDING(1 << 12 | 2), pin(PREEMPTION_TIMER));
	V("pending/then-nmi-window", "NMI_WINDOW handler 1", G64, nops, PENDING(1 << 12 | 2), pin(NMI_EXITING),
	  pin(VIRTUAL_NMIS), pri(NMI_WINDOW_EXITING));
	V("pending/tf-steps", "EXCEPTION_NMI hard 1 dr6=4000 +1", G64, nops, PENDING(0), exception(VEC_DB),
	  vm_or(GUEST_RFLAGS, FLAG_TF));
	write_dr6(0xffff0ff0);
}

static void activity(void)
{
	V("activity/shut-down", "PREEMPTION_TIMER", G64, CODE("nop"), vm_needs(has_misc(ACTIVITY_SHUTDOWN)),
	  vm_write(GUEST_ACTIVITY_STATE, SHUT_DOWN), pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 1000));
	vm_line("activity/shut-down-saved", "2", "%lx", vm_read(GUEST_ACTIVITY_STATE));
	V("activity/halted", "PREEMPTION_TIMER", G64, CODE("nop"), vm_needs(has_misc(ACTIVITY_HLT)),
	  vm_write(GUEST_ACTIVITY_STATE, HALTED), pin(PREEMPTION_TIMER), vm_write(PREEMPTION_TIMER, 1000));
	vm_line("activity/halted-saved", "1", "%lx", vm_read(GUEST_ACTIVITY_STATE));
	V("activity/blocking-kept", "CPUID len=2", G64, CODE("cpuid"),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	vm_line("activity/blocking-saved", "2", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("activity/blocking-ends", "CPUID len=2 +1", G64, CODE("nop; cpuid"),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_MOV_SS));
	vm_line("activity/blocking-ended", "0", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("activity/virtual-nmi-blocking-kept", "ok", G64, CODE("nop"), pin(NMI_EXITING), pin(VIRTUAL_NMIS),
	  vm_write(GUEST_INTERRUPTIBILITY, BLOCKED_BY_NMI));
	vm_line("activity/virtual-nmi-blocking-saved", "8", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	no_msr_exits = (u64)page_alloc();
	read_msr = CODE("rdmsr"); /* the same bytes in every mode */
	wrmsr(MSR_PAT, 0x7040600070406);
	registers();
	segments();
	host();
	msr_lists();
	pending_debug();
	activity();
	vm_report();
}

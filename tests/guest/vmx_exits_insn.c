/*
 * Instructions that cause VM exits, always or by a control: exit reason, qualification, length, instruction
 * information, and which faults come first.
 *
 * SDM vol. 3, "Relative Priority of Faults and VM Exits", "Instructions That Cause VM Exits Unconditionally",
 * "Instructions That Cause VM Exits Conditionally", "Information for VM Exits Due to Instruction Execution". Control
 * registers are in vmx_cr_masks.c, bitmaps in vmx_bitmaps.c.
 */
#include "vmx.h"

const char chapter[] = "vmx_exits_insn";

#define DATA 0x5000 /* a page that an operand may be in */

static void unconditional(void)
{
	V("uncond/cpuid", "CPUID len=2", G64, CODE("cpuid"));
	V("uncond/cpuid-prefixed", "CPUID len=4 +1", G64, CODE("nop; .byte 0xf3, 0x48; cpuid"));
	V("uncond/cpuid-ring3", "CPUID len=2", G64_U, CODE("cpuid"));
	V("uncond/cpuid-v86", "CPUID len=2", GV86, CODE16("cpuid"));
	V("uncond/cpuid-real", "CPUID len=2", GREAL, CODE16("cpuid"));
	V("uncond/cpuid-lock", "#UD+0", G64, CODE("lock; cpuid"));
	V("uncond/getsec", "GETSEC len=2", G64, CODE("getsec"), vm_needs(cpu_has(1, 0, 2, 6)),
	  vm_or(GUEST_CR4, CR4_SMXE));
	V("uncond/getsec-smxe-clear", "#UD+0", G64, CODE("getsec"));
	V("uncond/invd", "INVD len=2", G64, CODE("invd"));
	V("uncond/invd-ring3", "#GP(0x0)+0", G64_U, CODE("invd"));
	V("uncond/invd-v86", "#GP(0x0)+0", GV86, CODE16("invd"));
	V("uncond/invd-real", "INVD len=2", GREAL, CODE16("invd"));
	V("uncond/xsetbv", "XSETBV len=3", G64, CODE("xsetbv"), vm_needs(HAS_XSAVE), vm_or(GUEST_CR4, CR4_OSXSAVE));
	V("uncond/xsetbv-bad-index", "XSETBV len=3", G64, CODE("xsetbv"), vm_needs(HAS_XSAVE),
	  vm_or(GUEST_CR4, CR4_OSXSAVE), regs.cx = 77);
	V("uncond/xsetbv-ring3", "#GP(0x0)+0", G64_U, CODE("xsetbv"), vm_needs(HAS_XSAVE),
	  vm_or(GUEST_CR4, CR4_OSXSAVE));
	V("uncond/xsetbv-osxsave-clear", "#UD+0", G64, CODE("xsetbv"));
	V("uncond/vmcall", "VMCALL len=3", G64, CODE("vmcall"));
	V("uncond/vmcall-ring3", "VMCALL len=3", G64_U, CODE("vmcall"));
	V("uncond/vmcall-compatibility", "VMCALL len=3", GCOMPAT_U, CODE32("vmcall"));
	V("uncond/vmcall-v86", "VMCALL len=3", GV86, CODE16("vmcall"));
	V("uncond/vmcall-real", "VMCALL len=3", GREAL, CODE16("vmcall"));
	V("uncond/rsm", "#UD+0", G64, CODE("rsm"));
}

/* The VMX instructions: in VMX non-root operation before anything but #UD, the privilege level included. */
static void vmx_instructions(void)
{
	static const struct {
		const char *name, *text;
	} plain[] = {
		{"vmlaunch", "VMLAUNCH len=3"},
		{"vmresume", "VMRESUME len=3"},
		{"vmxoff", "VMXOFF len=3"},
	};
	ulong code64[] = {CODE("vmlaunch"), CODE("vmresume"), CODE("vmxoff")};
	ulong code32[] = {CODE32("vmlaunch"), CODE32("vmresume"), CODE32("vmxoff")};
	ulong code16[] = {CODE16("vmlaunch"), CODE16("vmresume"), CODE16("vmxoff")};
	char name[64];

	for (u32 i = 0; i < 3; i++) {
#define NAME(mode) format_text(name, sizeof(name), "vmx/%s" mode, plain[i].name)
		V(NAME(""), plain[i].text, G64, code64[i]);
		V(NAME("-ring3"), plain[i].text, G64_U, code64[i]);
		V(NAME("-compatibility"), "#UD+0", GCOMPAT, code32[i]);
		V(NAME("-32"), plain[i].text, G32, code32[i]);
		V(NAME("-32-ring3"), plain[i].text, G32_U, code32[i]);
		V(NAME("-v86"), "#UD+0", GV86, code16[i]);
		V(NAME("-real"), "#UD+0", GREAL, code16[i]);
		V(NAME("-flat"), plain[i].text, GFLAT, code32[i]);
#undef NAME
	}
	V("vmx/vmclear", "VMCLEAR ds:[bx] a64 len=4", G64, CODE("vmclear (%rbx)"));
	V("vmx/vmclear-ring3", "VMCLEAR ds:[bx] a64 len=4", G64_U, CODE("vmclear (%rbx)"));
	V("vmx/vmclear-no-access", "VMCLEAR ds:[bx+0x10] a64 len=5", G64, CODE("vmclear 16(%rbx)"),
	  regs.bx = 1ull << 60);
	V("vmx/vmclear-index", "VMCLEAR ds:[r13+r14*8+0x1234] a64 len=10", G64, CODE("vmclear 0x1234(%r13,%r14,8)"));
	V("vmx/vmclear-no-base", "VMCLEAR ds:[+si*4+0x5000] a64 len=9", G64, CODE("vmclear 0x5000(,%rsi,4)"));
	V("vmx/vmclear-absolute", "VMCLEAR ds:[+0x5000] a64 len=9", G64, CODE("vmclear 0x5000"));
	V("vmx/vmclear-negative", "VMCLEAR ss:[sp+0xfffffffffffffff8] a64 len=6", G64, CODE("vmclear -8(%rsp)"));
	V("vmx/vmclear-fs-a32", "VMCLEAR fs:[cx] a32 len=6", G64, CODE("vmclear %fs:(%ecx)"));
	V("vmx/vmclear-rbp-ss", "VMCLEAR ss:[bp] a64 len=5", G64, CODE("vmclear (%rbp)"));
	V("vmx/vmclear-compatibility", "#UD+0", GCOMPAT, CODE32("vmclear (%ebx)"));
	V("vmx/vmclear-32", "VMCLEAR ds:[bx+si*2] a32 len=5", G32, CODE32("vmclear (%ebx,%esi,2)"));
	V("vmx/vmclear-32-a16", "VMCLEAR ds:[bx+si*1+0x7] a16 len=6", G32, CODE32("vmclear 7(%bx,%si)"));
	V("vmx/vmclear-v86", "#UD+0", GV86, CODE16("vmclear (%bx)"));
	V("vmx/vmclear-real", "#UD+0", GREAL, CODE16("vmclear (%bx)"));
	V("vmx/vmptrld", "VMPTRLD ds:[bx] a64 len=3", G64, CODE("vmptrld (%rbx)"));
	V("vmx/vmptrld-compatibility", "#UD+0", GCOMPAT_U, CODE32("vmptrld (%ebx)"));
	V("vmx/vmptrst", "VMPTRST ds:[di] a64 len=4|VMPTRST es:[di] a64 len=4", G64_U, CODE("vmptrst %es:(%rdi)"));
	V("vmx/vmptrst-compatibility", "#UD+0", GCOMPAT_U, CODE32("vmptrst (%ebx)"));
	V("vmx/vmxon", "VMXON ds:[bx] a64 len=4", G64, CODE("vmxon (%rbx)"));
	V("vmx/vmxon-vmxe-shadow-clear", "VMXON ds:[bx] a64 len=4", G64, CODE("vmxon (%rbx)"),
	  vm_write(CR4_MASK, CR4_VMXE));
	V("vmx/vmxon-compatibility", "#UD+0", GCOMPAT, CODE32("vmxon (%ebx)"));
	V("vmx/vmread-register", "VMREAD dx reg2=cx len=3", G64, CODE("vmread %rcx, %rdx"));
	V("vmx/vmread-high-registers", "VMREAD r9 reg2=r15 len=4", G64, CODE("vmread %r15, %r9"));
	V("vmx/vmread-memory", "VMREAD ds:[bx+0x8] a64 reg2=cx len=4", G64, CODE("vmread %rcx, 8(%rbx)"));
	V("vmx/vmread-ring3", "VMREAD dx reg2=cx len=3", G64_U, CODE("vmread %rcx, %rdx"));
	V("vmx/vmread-compatibility", "#UD+0", GCOMPAT, CODE32("vmread %ecx, %edx"));
	V("vmx/vmread-v86", "#UD+0", GV86, CODE16("vmread %ecx, %edx"));
	V("vmx/vmwrite-register", "VMWRITE cx reg2=dx len=3", G64, CODE("vmwrite %rcx, %rdx"));
	V("vmx/vmwrite-memory", "VMWRITE gs:[ax] a64 reg2=r8 len=5", G64, CODE("vmwrite %gs:(%rax), %r8"));
	V("vmx/vmwrite-compatibility", "#UD+0", GCOMPAT, CODE32("vmwrite %ecx, %edx"));
	V("vmx/invept", "INVEPT ds:[bx] a64 reg2=cx len=5", G64, CODE("invept (%rbx), %rcx"),
	  vm_needs(has_cap(INVEPT)));
	V("vmx/invept-ring3", "INVEPT ds:[bx] a64 reg2=r9 len=6", G64_U, CODE("invept (%rbx), %r9"),
	  vm_needs(has_cap(INVEPT)));
	V("vmx/invept-compatibility", "#UD+0", GCOMPAT, CODE32("invept (%ebx), %ecx"));
	V("vmx/invvpid", "INVVPID ds:[bx+si*4+0x44] a64 reg2=di len=7", G64, CODE("invvpid 0x44(%rbx,%rsi,4), %rdi"),
	  vm_needs(has_cap(INVVPID)));
	V("vmx/invvpid-compatibility", "#UD+0", GCOMPAT, CODE32("invvpid (%ebx), %ecx"));
	V("vmx/vmfunc-off", "#UD+0", G64, CODE("vmfunc"));
}

/* One control on or off; the secondary "enable" controls make #UD of their instruction when off. */
static void conditional(void)
{
	V("invlpg/on", "INVLPG q=5678 len=3", G64, CODE("invlpg (%rbx)"), pri(INVLPG_EXITING), regs.bx = 0x5678);
	V("invlpg/off", "ok", G64, CODE("invlpg (%rbx)"), regs.bx = 0x5678);
	V("invlpg/segment-base", "INVLPG q=7678 len=4", G64, CODE("invlpg %fs:(%rbx)"), pri(INVLPG_EXITING),
	  regs.bx = 0x5678, vm_write(GUEST_FS_BASE, 0x2000));
	V("invlpg/ring3", "#GP(0x0)+0", G64_U, CODE("invlpg (%rbx)"), pri(INVLPG_EXITING));
	V("invlpg/v86", "#GP(0x0)+0", GV86, CODE16("invlpg (%bx)"), pri(INVLPG_EXITING));
	V("rdtsc/on", "RDTSC len=2", G64, CODE("rdtsc"), pri(RDTSC_EXITING));
	V("rdtsc/off", "ok", G64, CODE("rdtsc"));
	V("rdtsc/ring3", "RDTSC len=2", G64_U, CODE("rdtsc"), pri(RDTSC_EXITING));
	V("rdtsc/tsd-ring3", "#GP(0x0)+0", G64_U, CODE("rdtsc"), pri(RDTSC_EXITING), vm_or(GUEST_CR4, CR4_TSD));
	V("rdtsc/tsd-ring0", "RDTSC len=2", G64, CODE("rdtsc"), pri(RDTSC_EXITING), vm_or(GUEST_CR4, CR4_TSD));
	V("rdtscp/not-enabled", "#UD+0", G64, CODE("rdtscp"));
	V("rdtscp/not-enabled-rdtsc-exiting", "#UD+0", G64, CODE("rdtscp"), pri(RDTSC_EXITING));
	V("rdtscp/enabled", "ok", G64, CODE("rdtscp"), sec(ENABLE_RDTSCP));
	V("rdtscp/exiting", "RDTSCP len=3", G64, CODE("rdtscp"), sec(ENABLE_RDTSCP), pri(RDTSC_EXITING));
	V("rdtscp/tsd-ring3", "#GP(0x0)+0", G64_U, CODE("rdtscp"), sec(ENABLE_RDTSCP), pri(RDTSC_EXITING),
	  vm_or(GUEST_CR4, CR4_TSD));
	V("rdpid/not-enabled", "#UD+0", G64, CODE("rdpid %rax"));
	V("rdpid/enabled", "ok", G64, CODE("rdpid %rax"), vm_needs(HAS_RDPID), sec(ENABLE_RDTSCP));
	V("rdpmc/on", "RDPMC len=2", G64, CODE("rdpmc"), pri(RDPMC_EXITING));
	V("rdpmc/ring3-pce-clear", "#GP(0x0)+0", G64_U, CODE("rdpmc"), pri(RDPMC_EXITING));
	V("rdpmc/ring3-pce-set", "RDPMC len=2", G64_U, CODE("rdpmc"), pri(RDPMC_EXITING), vm_or(GUEST_CR4, CR4_PCE));
	V("hlt/on", "HLT len=1", G64, CODE("hlt"), pri(HLT_EXITING));
	V("hlt/ring3", "#GP(0x0)+0", G64_U, CODE("hlt"), pri(HLT_EXITING));
	V("hlt/v86", "#GP(0x0)+0", GV86, CODE16("hlt"), pri(HLT_EXITING));
	V("monitor/on", "MONITOR len=3", G64, CODE("monitor"), vm_needs(HAS_MONITOR), pri(MONITOR_EXITING),
	  regs.ax = DATA);
	V("monitor/on-bad-hint", "MONITOR len=3", G64, CODE("monitor"), vm_needs(HAS_MONITOR), pri(MONITOR_EXITING),
	  regs.cx = 5);
	V("monitor/off", "ok", G64, CODE("monitor"), vm_needs(HAS_MONITOR), regs.ax = DATA);
	V("monitor/ring3", "#UD+0", G64_U, CODE("monitor"), vm_needs(HAS_MONITOR), pri(MONITOR_EXITING),
	  regs.ax = DATA);
	V("mwait/not-armed", "MWAIT q=0 len=3", G64, CODE("mwait"), vm_needs(HAS_MONITOR), pri(MWAIT_EXITING));
	V("mwait/armed", "MWAIT q=1 len=3 +3", G64, CODE("monitor; mwait"), vm_needs(HAS_MONITOR), pri(MWAIT_EXITING),
	  regs.ax = DATA);
	V("mwait/off", "ok", G64, CODE("mwait"), vm_needs(HAS_MONITOR));
	V("mwait/ring3", "#UD+0", G64_U, CODE("mwait"), vm_needs(HAS_MONITOR), pri(MWAIT_EXITING));
	V("pause/on", "PAUSE len=2", G64, CODE("pause"), pri(PAUSE_EXITING));
	V("pause/off", "ok", G64, CODE("pause"));
	V("pause/ring3", "PAUSE len=2", G64_U, CODE("pause"), pri(PAUSE_EXITING));
	V("pause/nop", "ok", G64, CODE("nop; .byte 0x66, 0x90, 0x41, 0x90"), pri(PAUSE_EXITING));
	V("wbinvd/on", "WBINVD q=0 len=2", G64, CODE("wbinvd"), sec(WBINVD_EXITING));
	V("wbinvd/off", "ok", G64, CODE("wbinvd"));
	V("wbinvd/ring3", "#GP(0x0)+0", G64_U, CODE("wbinvd"), sec(WBINVD_EXITING));
	V("rdrand/on-16", "RDRAND bx o16 len=4", G64, CODE("rdrand %bx"), vm_needs(cpu_has(1, 0, 2, 30)),
	  sec(RDRAND_EXITING));
	V("rdrand/on-32", "RDRAND cx o32 len=3", G64_U, CODE("rdrand %ecx"), vm_needs(cpu_has(1, 0, 2, 30)),
	  sec(RDRAND_EXITING));
	V("rdrand/on-64", "RDRAND r11 o64 len=4", G64, CODE("rdrand %r11"), vm_needs(cpu_has(1, 0, 2, 30)),
	  sec(RDRAND_EXITING));
	V("rdrand/off", "ok", G64, CODE("rdrand %rbx"), vm_needs(cpu_has(1, 0, 2, 30)));
	V("rdseed/on-16", "RDSEED ax o16 len=4", G64, CODE("rdseed %ax"), vm_needs(cpu_has(7, 0, 1, 18)),
	  sec(RDSEED_EXITING));
	V("rdseed/on-64", "RDSEED r8 o64 len=4", G64, CODE("rdseed %r8"), vm_needs(cpu_has(7, 0, 1, 18)),
	  sec(RDSEED_EXITING));
	V("rdseed/off", "ok", G64, CODE("rdseed %rbx"), vm_needs(cpu_has(7, 0, 1, 18)));
	V("invpcid/not-enabled", "#UD+0", G64, CODE("invpcid (%rbx), %rcx"));
	V("invpcid/enabled", "ok", G64, CODE("invpcid (%rbx), %rcx"), sec(ENABLE_INVPCID), regs.bx = DATA, regs.cx = 2);
	V("invpcid/exiting", "INVPCID ds:[bx] a64 reg2=cx len=5", G64, CODE("invpcid (%rbx), %rcx"),
	  sec(ENABLE_INVPCID), pri(INVLPG_EXITING), regs.cx = 77);
	V("invpcid/ring3", "#GP(0x0)+0", G64_U, CODE("invpcid (%rbx), %rcx"), sec(ENABLE_INVPCID), pri(INVLPG_EXITING));
	V("invpcid/not-enabled-ring3", "#UD+0", G64_U, CODE("invpcid (%rbx), %rcx"));
	V("tpause/not-enabled", "#UD+0", G64, CODE("tpause %ecx"));
	V("tpause/exiting", "TPAUSE cx len=4", G64, CODE("tpause %ecx"), sec(ENABLE_USER_WAIT_AND_PAUSE),
	  pri(RDTSC_EXITING));
	V("umwait/not-enabled", "#UD+0", G64, CODE("umwait %ecx"));
	V("umwait/exiting", "UMWAIT si len=4", G64, CODE("umwait %esi"), sec(ENABLE_USER_WAIT_AND_PAUSE),
	  pri(RDTSC_EXITING));
	V("umonitor/not-enabled", "#UD+0", G64, CODE("umonitor %rcx"));
	V("umonitor/enabled", "ok", G64, CODE("umonitor %rcx"), sec(ENABLE_USER_WAIT_AND_PAUSE), regs.cx = DATA);
}

static void descriptor_tables(void)
{
	V("table/sgdt", "GDTR_IDTR sgdt ds:[bx] a64 len=3", G64, CODE("sgdt (%rbx)"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sidt", "GDTR_IDTR sidt ds:[bx+0x8] a64 len=4", G64, CODE("sidt 8(%rbx)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lgdt", "GDTR_IDTR lgdt ds:[bx+di*2] a64 len=4", G64, CODE("lgdt (%rbx,%rdi,2)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lidt", "GDTR_IDTR lidt ds:[r12] a64 len=5", G64, CODE("lidt (%r12)"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sgdt-off", "ok", G64, CODE("sgdt (%rbx)"), regs.bx = DATA);
	V("table/sgdt-ring3", "GDTR_IDTR sgdt ds:[bx] a64 len=3", G64_U, CODE("sgdt (%rbx)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sgdt-umip-ring3", "#GP(0x0)+0", G64_U, CODE("sgdt (%rbx)"), vm_needs(HAS_UMIP),
	  sec(DESCRIPTOR_TABLE_EXITING), vm_or(GUEST_CR4, CR4_UMIP));
	V("table/lgdt-ring3", "#GP(0x0)+0", G64_U, CODE("lgdt (%rbx)"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lgdt-register", "#UD+0", G64, CODE(".byte 0x0f, 1, 0xd7"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lgdt-no-access", "GDTR_IDTR lgdt ds:[bx] a64 len=3", G64, CODE("lgdt (%rbx)"),
	  sec(DESCRIPTOR_TABLE_EXITING), regs.bx = 1ull << 60);
	V("table/lgdt-32", "GDTR_IDTR lgdt ds:[+0x5000] a32 o32 len=7", G32, CODE32("lgdt 0x5000"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lidt-32-o16", "GDTR_IDTR lidt ds:[cx] a32 o16 len=4", G32, CODE32("data16 lidt (%ecx)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sidt-32-ring3", "GDTR_IDTR sidt ds:[ax+dx*1+0x80] a32 o32 len=8", G32_U,
	  CODE32("sidt 0x80(%eax,%edx,1)"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sgdt-compatibility", "GDTR_IDTR sgdt es:[bp+0x4] a32 o32 len=5", GCOMPAT_U, CODE32("sgdt %es:4(%ebp)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lidt-real", "GDTR_IDTR lidt ss:[bp+di*1+0x6] a16 o16 len=4", GREAL, CODE16("lidtw 6(%bp,%di)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lgdt-real-o32", "GDTR_IDTR lgdt ds:[+0x5000] a16 o32 len=6", GREAL, CODE16("lgdtl 0x5000"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sidt-v86", "GDTR_IDTR sidt ds:[si] a16 o16 len=3", GV86, CODE16("sidtw (%si)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sldt-register", "LDTR_TR sldt cx len=3", G64, CODE("sldt %ecx"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/str-register", "LDTR_TR str r10 len=4", G64_U, CODE("str %r10d; nop"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/sldt-memory", "LDTR_TR sldt ds:[bx] a64 len=3", G64, CODE("sldt (%rbx)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lldt", "LDTR_TR lldt ax len=3", G64, CODE("lldt %ax"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lldt-memory", "LDTR_TR lldt gs:[si+0x2] a64 len=5", G64, CODE("lldt %gs:2(%rsi)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/ltr", "LDTR_TR ltr dx len=3", G64, CODE("ltr %dx"), sec(DESCRIPTOR_TABLE_EXITING), regs.dx = 0xffff);
	V("table/ltr-memory", "LDTR_TR ltr ds:[bx+cx*8] a64 len=4", G64, CODE("ltr (%rbx,%rcx,8)"),
	  sec(DESCRIPTOR_TABLE_EXITING));
	V("table/ltr-ring3", "#GP(0x0)+0", G64_U, CODE("ltr %dx"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/str-off", "ok", G64, CODE("str %eax"));
	V("table/str-umip-ring3", "#GP(0x0)+0", G64_U, CODE("str %eax"), vm_needs(HAS_UMIP),
	  sec(DESCRIPTOR_TABLE_EXITING), vm_or(GUEST_CR4, CR4_UMIP));
	V("table/str-v86", "#UD+0", GV86, CODE16("str %ax"), sec(DESCRIPTOR_TABLE_EXITING));
	V("table/lldt-real", "#UD+0", GREAL, CODE16("lldt %ax"), sec(DESCRIPTOR_TABLE_EXITING));
}

static void input_output(void)
{
	V("io/in-imm", "IO_INSTRUCTION in1 port=80 imm len=2", G64, CODE("inb $0x80"), pri(UNCONDITIONAL_IO_EXITING));
	V("io/in-dx", "IO_INSTRUCTION in4 port=1234 dx len=1", G64, CODE("inl %dx"), pri(UNCONDITIONAL_IO_EXITING),
	  regs.dx = 0xff1234);
	V("io/in-16", "IO_INSTRUCTION in2 port=ffff dx len=2", G64, CODE("inw %dx"), pri(UNCONDITIONAL_IO_EXITING),
	  regs.dx = 0xffff);
	V("io/out-imm", "IO_INSTRUCTION out4 port=f0 imm len=2", G64, CODE("outl $0xf0"),
	  pri(UNCONDITIONAL_IO_EXITING));
	V("io/out-dx", "IO_INSTRUCTION out1 port=1 dx len=1", G64, CODE("outb %dx"), pri(UNCONDITIONAL_IO_EXITING),
	  regs.dx = 1);
	V("io/off", "ok", G64, CODE("inb $0x80"));
	V("io/ring3-no-bitmap", "#GP(0x0)+0", G64_U, CODE("inb $0x80"), pri(UNCONDITIONAL_IO_EXITING));
	V("io/ring3-iopl3", "IO_INSTRUCTION in1 port=80 imm len=2", G64_U, CODE("inb $0x80"),
	  pri(UNCONDITIONAL_IO_EXITING), vm_or(GUEST_RFLAGS, FLAG_IOPL));
	V("io/v86-no-bitmap", "#GP(0x0)+0", GV86, CODE16("inb $0x80"), pri(UNCONDITIONAL_IO_EXITING));
	V("io/insb", "IO_INSTRUCTION in1 port=70 dx str a64 len=1", G64, CODE("insb"), pri(UNCONDITIONAL_IO_EXITING),
	  regs.dx = 0x70, regs.di = DATA);
	vm_line("io/insb-linear-address", "5000", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	V("io/rep-outsl", "IO_INSTRUCTION out4 port=70 dx rep str a64 ds len=2", G64, CODE("rep outsl"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.dx = 0x70, regs.si = DATA, regs.cx = 3);
	vm_line("io/rep-outsl-state", "5000 cx=3 si=5000", "%lx cx=%lx si=%lx", vm_read(GUEST_LINEAR_ADDRESS), regs.cx,
		regs.si);
	V("io/outsw-a32", "IO_INSTRUCTION out2 port=70 dx str a32 ds len=3", G64, CODE("addr32 outsw"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.dx = 0x70, regs.si = 0x100005000);
	vm_line("io/outsw-a32-linear-address", "5000", "%lx", vm_read(GUEST_LINEAR_ADDRESS));
	V("io/outsb-fs", "IO_INSTRUCTION out1 port=70 dx str a64 seg len=2", G64, CODE("outsb %fs:(%rsi), %dx"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.dx = 0x70, regs.si = DATA, vm_write(GUEST_FS_BASE, 0x800));
	vm_line("io/outsb-fs-segment", "4 linear=5800", "%u linear=%lx",
		(u32)vm_read(VM_EXIT_INSTRUCTION_INFO) >> 15 & 7, vm_read(GUEST_LINEAR_ADDRESS));
	V("io/outsb-no-access", "IO_INSTRUCTION out1 port=70 dx str a64 ds len=1", G64, CODE("outsb"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.dx = 0x70, regs.si = 1ull << 60);
	V("io/insw-real", "IO_INSTRUCTION in2 port=70 dx rep str a16 len=2", GREAL, CODE16("rep insw"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.dx = 0x70, regs.di = DATA, regs.cx = 1);
	/* The manual does not say whether a count of 0 is looked at first. */
	V("io/rep-count-0", "ok|IO_INSTRUCTION out1 port=0 dx rep str a64 ds len=2", G64, CODE("rep outsb"),
	  pri(UNCONDITIONAL_IO_EXITING), regs.si = DATA);
}

static void msr_and_xsaves(void)
{
	V("msr/rdmsr", "RDMSR len=2", G64, CODE("rdmsr"), regs.cx = 0x10);
	V("msr/rdmsr-unknown", "RDMSR len=2", G64, CODE("rdmsr"), regs.cx = 0x12345678);
	V("msr/rdmsr-ring3", "#GP(0x0)+0", G64_U, CODE("rdmsr"));
	V("msr/rdmsr-v86", "#GP(0x0)+0", GV86, CODE16("rdmsr"));
	V("msr/wrmsr", "WRMSR len=2", G64, CODE("wrmsr"), regs.cx = 0x10);
	V("msr/wrmsr-bad-value", "WRMSR len=2", G64, CODE("wrmsr"), regs.cx = 0x277, regs.ax = 0xff);
	V("msr/wrmsr-ring3", "#GP(0x0)+0", G64_U, CODE("wrmsr"));
	V("msr/wrmsr-real", "WRMSR len=2", GREAL, CODE16("wrmsr"));
}

/* "MOV DR": before the privilege check, and before #UD of DR4 and DR5 when CR4.DE is 1. */
static void debug_registers(void)
{
	V("dr/write", "MOV_DR ax to dr7 len=3", G64, CODE("mov %rax, %dr7"), pri(MOV_DR_EXITING));
	V("dr/read", "MOV_DR r9=dr0 len=4", G64, CODE("mov %dr0, %r9"), pri(MOV_DR_EXITING));
	V("dr/ring3", "MOV_DR bx=dr6 len=3", G64_U, CODE("mov %dr6, %rbx"), pri(MOV_DR_EXITING));
	V("dr/v86", "MOV_DR bx=dr6 len=3", GV86, CODE16("mov %dr6, %ebx"), pri(MOV_DR_EXITING));
	V("dr/dr4-de", "MOV_DR bx=dr4 len=3", G64, CODE("mov %dr4, %rbx"), pri(MOV_DR_EXITING),
	  vm_or(GUEST_CR4, CR4_DE));
	V("dr/general-detect", "MOV_DR bx=dr6 len=3", G64, CODE("mov %dr6, %rbx"), pri(MOV_DR_EXITING),
	  vm_or(GUEST_DR7, 0x2000), ent(LOAD_DEBUG_CONTROLS));
	V("dr/off", "ok", G64, CODE("mov %dr6, %rbx"));
	V("dr/off-ring3", "#GP(0x0)+0", G64_U, CODE("mov %dr6, %rbx"));
	V("dr/write-upper-half", "MOV_DR ax to dr7 len=3", G64, CODE("mov %rax, %dr7"), pri(MOV_DR_EXITING),
	  regs.ax = 1ull << 40);
}

/* What of the guest's registers a VM exit leaves: all general ones, and RFLAGS with RF as the manual says. */
static void state_after(void)
{
	V("state/registers", "CPUID len=2 +40", G64,
	  CODE("mov $1, %eax; mov $2, %ecx; mov $3, %edx; mov $4, %ebx; mov $5, %ebp; mov $6, %esi; mov $7, %edi; mov "
	       "$8, %r8b; "
	       "stc; std; cpuid; .byte 0x90"));
	vm_line("state/registers-values", "1 2 3 4 5 6 7 8 flags=403", "%lx %lx %lx %lx %lx %lx %lx %lx flags=%lx",
		regs.ax, regs.cx, regs.dx, regs.bx, regs.bp, regs.si, regs.di, regs.r8, vm_read(GUEST_RFLAGS));
	V("state/rf-kept", "CPUID len=2", G64, CODE("cpuid"), vm_or(GUEST_RFLAGS, FLAG_RF));
	vm_line("state/rf-saved", "0", "%lx", vm_read(GUEST_RFLAGS) & FLAG_RF);
	V("state/tf-no-trap", "CPUID len=2", G64, CODE("cpuid"), vm_or(GUEST_RFLAGS, FLAG_TF));
	vm_line("state/tf-pending-debug", "0", "%lx", vm_read(GUEST_PENDING_DEBUG));
	V("state/after-sti", "CPUID len=2 +1", G64, CODE("sti; cpuid"));
	vm_line("state/after-sti-blocking", "1", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
	V("state/after-mov-ss", "CPUID len=2 +2", G64, CODE("mov %ebx, %ss; cpuid"), regs.bx = SEL_DATA0);
	vm_line("state/after-mov-ss-blocking", "2", "%lx", vm_read(GUEST_INTERRUPTIBILITY));
}

void chapter_main(void)
{
	if (!vm_begin())
		return;
	unconditional();
	vmx_instructions();
	conditional();
	descriptor_tables();
	input_output();
	msr_and_xsaves();
	debug_registers();
	state_after();
	vm_report();
}

/*
 * What a guest image may ask of the common runtime.
 *
 * An image is a Multiboot 1 kernel that runs experiments and reports one line per experiment on COM1. The image itself
 * runs in ring 0 with interrupts off. An experiment is a few instructions that run in a machine context of their own
 * (any privilege level, segment set, flags; virtual-8086 or compatibility mode too): run() enters the context and comes
 * back at the first exception or interrupt of any kind, with everything that was saved. INT 0x80 is the normal end.
 * A context may break any rule: whatever the processor does about it is the observation.
 *
 * The same header serves 32-bit images (flat protected mode, paging off at the start) and 64-bit images (the first 4
 * GiB mapped one to one by 2-MiB pages that user mode may use).
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "selectors.h"

typedef unsigned long ulong;
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#ifdef __x86_64__
#define IS_64 true
#else
#define IS_64 false
#endif

/* Flags, control register bits and MSRs that several images use, with the manual's names. */
enum {
	FLAG_CF = 1,
	FLAG_FIXED = 2,
	FLAG_PF = 4,
	FLAG_AF = 0x10,
	FLAG_ZF = 0x40,
	FLAG_SF = 0x80,
	FLAG_TF = 0x100,
	FLAG_IF = 0x200,
	FLAG_DF = 0x400,
	FLAG_OF = 0x800,
	FLAG_IOPL = 0x3000,
	FLAG_NT = 0x4000,
	FLAG_RF = 0x10000,
	FLAG_VM = 0x20000,
	FLAG_AC = 0x40000,
	FLAG_VIF = 0x80000,
	FLAG_VIP = 0x100000,
};
#define FLAG_ARITHMETIC 0x8d5ul

enum {
	CR0_PE = 1,
	CR0_MP = 2,
	CR0_EM = 4,
	CR0_TS = 8,
	CR0_ET = 16,
	CR0_NE = 32,
	CR0_WP = 1 << 16,
	CR0_AM = 1 << 18,
	CR0_NW = 1 << 29,
	CR0_CD = 1 << 30,
};
#define CR0_PG 0x80000000ul

enum {
	CR4_VME = 1,
	CR4_PVI = 2,
	CR4_TSD = 4,
	CR4_DE = 8,
	CR4_PSE = 0x10,
	CR4_PAE = 0x20,
	CR4_MCE = 0x40,
	CR4_PGE = 0x80,
	CR4_PCE = 0x100,
	CR4_OSFXSR = 0x200,
	CR4_OSXMMEXCPT = 0x400,
	CR4_UMIP = 0x800,
	CR4_LA57 = 0x1000,
	CR4_FSGSBASE = 0x10000,
	CR4_PCIDE = 0x20000,
	CR4_OSXSAVE = 0x40000,
	CR4_SMEP = 0x100000,
	CR4_SMAP = 0x200000,
	CR4_PKE = 0x400000,
};

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_DEBUGCTL = 0x1d9,
	MSR_PAT = 0x277,
	MSR_TSC_DEADLINE = 0x6e0,
};
#define MSR_EFER	   0xc0000080u
#define MSR_STAR	   0xc0000081u
#define MSR_LSTAR	   0xc0000082u
#define MSR_CSTAR	   0xc0000083u
#define MSR_FMASK	   0xc0000084u
#define MSR_FS_BASE	   0xc0000100u
#define MSR_GS_BASE	   0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX	   0xc0000103u
#define EFER_SCE	   1u
#define EFER_LME	   0x100u
#define EFER_LMA	   0x400u
#define EFER_NXE	   0x800u

/*
 * A machine context. boot.S knows this layout as an array of words. On entry everything down to gs is loaded; when
 * run() returns, everything is what the processor had (or pushed) when the event was delivered.
 */
struct ctx {
	ulong ax, bx, cx, dx, si, di, bp, sp;
	ulong ip, cs, flags, ss, ds, es, fs, gs;
	ulong vector, error; /* error is 0 for vectors without an error code */
	ulong cr2, dr6;
	ulong start; /* the ip that the context was entered with */
#ifdef __x86_64__
	ulong r8, r9, r10, r11, r12, r13, r14, r15;
#endif
};

#define VECTOR_END 0x80 /* INT 0x80 ends an experiment */

enum {
	VEC_DE,
	VEC_DB,
	VEC_NMI,
	VEC_BP,
	VEC_OF,
	VEC_BR,
	VEC_UD,
	VEC_NM,
	VEC_DF,
	VEC_TS = 10,
	VEC_NP,
	VEC_SS,
	VEC_GP,
	VEC_PF,
	VEC_MF = 16,
	VEC_AC,
	VEC_MC,
	VEC_XM,
};

/* Every image defines these two. */
extern const char chapter[];
void chapter_main(void);

/* Runs c until an exception or interrupt, and returns what was saved then. Does not nest. */
struct ctx run(struct ctx c);

/* The stacks that RING0 and RING3 contexts start with (one past the end). */
extern u8 ring0_stack_top[], ring3_stack_top[];

#define RING0                                                                                                 \
	.cs = SEL_CODE0, .ss = SEL_DATA0, .ds = SEL_DATA0, .es = SEL_DATA0, .fs = SEL_DATA0, .gs = SEL_DATA0, \
	.flags = FLAG_FIXED, .sp = (ulong)ring0_stack_top
#define RING3_32                                                                                                 \
	.cs = SEL_CODE3 | 3, .ss = SEL_DATA3 | 3, .ds = SEL_DATA3 | 3, .es = SEL_DATA3 | 3, .fs = SEL_DATA3 | 3, \
	.gs = SEL_DATA3 | 3, .flags = FLAG_FIXED, .sp = (ulong)ring3_stack_top
#define RING3_64                                                                                                    \
	.cs = SEL_CODE3_64 | 3, .ss = SEL_DATA3 | 3, .ds = SEL_DATA3 | 3, .es = SEL_DATA3 | 3, .fs = SEL_DATA3 | 3, \
	.gs = SEL_DATA3 | 3, .flags = FLAG_FIXED, .sp = (ulong)ring3_stack_top
#define RING0_32                                                                                                 \
	.cs = SEL_CODE0_32, .ss = SEL_DATA0, .ds = SEL_DATA0, .es = SEL_DATA0, .fs = SEL_DATA0, .gs = SEL_DATA0, \
	.flags = FLAG_FIXED, .sp = (ulong)ring0_stack_top
#define RING0_16                                                                                                 \
	.cs = SEL_CODE0_16, .ss = SEL_DATA0, .ds = SEL_DATA0, .es = SEL_DATA0, .fs = SEL_DATA0, .gs = SEL_DATA0, \
	.flags = FLAG_FIXED, .sp = (ulong)ring0_stack_top
#ifdef __x86_64__
#define RING3 RING3_64
#else
#define RING3 RING3_32
#endif

/*
 * The address of a piece of code given as assembler text; falling off its end ends the experiment. CODE is in the
 * image's own mode, CODE32 and CODE16 for contexts with such a code segment.
 */
#ifdef __x86_64__
#define MODE_ ".code64"
#else
#define MODE_ ".code32"
#endif
#define STR_(x) #x
#define STR(x)	STR_(x)
#define SNIPPET_(mode, n, body)                                                            \
	({                                                                                 \
		extern u8 snippet_##n[];                                                   \
		asm(".pushsection .snippet,\"ax\"\n.p2align 4\n" mode                      \
		    "\nsnippet_" STR(n) ":\n" body "\nint $0x80\n" MODE_ "\n.popsection"); \
		(ulong) snippet_##n;                                                       \
	})
#define SNIPPET(mode, n, body) SNIPPET_(mode, n, body)
#define CODE(body)	       SNIPPET(MODE_, __COUNTER__, body)
#define CODE32(body)	       SNIPPET(".code32", __COUNTER__, body)
#define CODE16(body)	       SNIPPET(".code16", __COUNTER__, body)

/* Runs code in a context given by designated initialisers on top of a base such as RING0. */
#define TRY(base, code, ...) run((struct ctx){base, .ip = (code), ##__VA_ARGS__})

/*
 * "ok" for a normal end, else the event with its error code and the distance of the saved ip from the start of the
 * experiment: "#GP(0x18)+2", "int 0x21+5". For #PF also CR2. The text stays valid for four more calls.
 */
const char *outcome(struct ctx c);

/*
 * Reports an observation under a name and compares it with what the manual says. Where the manual leaves a choice, the
 * expected text lists the choices separated by '|'.
 */
__attribute__((format(printf, 3, 4))) void check(const char *name, const char *expected, const char *format, ...);

/* One experiment whose observation is just its outcome. */
#define T(name, expected, base, code, ...) \
	check(name, expected, "%s", outcome(run((struct ctx){base, .ip = (code), ##__VA_ARGS__})))

/* Says that this processor or board does not offer what the checks under this name need. */
void absent(const char *name);

/* Prints to COM1. Knows %c %s %d %u %x %#x, widths with 0, and the sizes l and ll (%x only). */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
/* As print, but into text, cut to size; returns text. */
__attribute__((format(printf, 3, 4))) char *format_text(char *text, size_t size, const char *format, ...);

/* Ends the machine: isa-debug-exit first, then Bochs' shutdown port. */
__attribute__((noreturn)) void finish(void);

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *s);

/* Descriptors. SDM vol. 3, "Segment Descriptors", "Gate Descriptors", "TSS Descriptor". */
enum {
	ACC_PRESENT = 0x80,
	ACC_DPL3 = 0x60,
	ACC_S = 0x10,
	ACC_CODE = 8,
	ACC_DOWN = 4,
	ACC_CONFORM = 4,
	ACC_W = 2,
	ACC_R = 2,
	ACC_A = 1,
	ACC_DATA0 = 0x93,
	ACC_CODE0 = 0x9b,
	ACC_DATA3 = 0xf3,
	ACC_CODE3 = 0xfb,
	ACC_LDT = 0x82,
	ACC_TSS = 0x89,
	ACC_TSS16 = 0x81,
	ACC_TASK_GATE = 0x85,
	ACC_CALL16 = 0x84,
	ACC_INT16 = 0x86,
	ACC_TRAP16 = 0x87,
	ACC_CALL = 0x8c,
	ACC_INT = 0x8e,
	ACC_TRAP = 0x8f,
};
enum { SEG_G = 8, SEG_D = 4, SEG_L = 2 };

extern u64 gdt[GDT_ENTRIES];
extern u64 ldt[16]; /* for images that want one: use_ldt() */
struct gate {
	u16 offset_low, selector, attributes, offset_high;
#ifdef __x86_64__
	u32 offset_top, zero;
#endif
};
extern struct gate idt[256];

u64 descriptor(u32 base, u32 limit, u8 access, u8 flags);
u64 gate_descriptor(u16 selector, u32 offset, u8 access, u8 parameters);
/* Writes GDT slot sel; limit counts as given with SEG_G in flags. Returns sel. */
u16 set_descriptor(u16 sel, u32 base, u32 limit, u8 access, u8 flags);
void set_idt(u8 vector, u16 selector, ulong offset, u8 access, u8 ist);
void default_idt(u8 vector);
/* Points SEL_LDT at ldt[] and loads LDTR. */
void use_ldt(void);
void no_ldt(void);
/* Makes SEL_TSS describe main_tss again and loads TR. */
void reload_tr(void);

/* The TSS that holds ring 0's stack and the I/O permission bitmap. SDM vol. 3, "Task-State Segment (TSS)". */
struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	u32 es, cs, ss, ds, fs, gs, ldt;
	u16 trap, iomap;
} __attribute__((packed));
struct tss64 {
	u32 reserved;
	u64 rsp[3], reserved2, ist[8 - 1], reserved3;
	u16 reserved4, iomap;
} __attribute__((packed));
#ifdef __x86_64__
extern struct main_tss {
	struct tss64 t;
	u8 bitmap[8192 + 1];
} main_tss;
#else
extern struct main_tss {
	struct tss32 t;
	u8 bitmap[8192 + 1];
} main_tss;
extern struct tss32 double_fault_tss;
#endif
#define IOMAP_NONE 0xffff
/* Pages for tables and scratch, never freed, zeroed. The whole pool is 1 MiB. */
void *page_alloc(void);
extern u8 image_end[];

#ifdef __x86_64__
extern u64 pml4[512], pdpt[512], page_dirs[4][512];
#endif

/* Chips that every PC has; the runtime leaves all lines masked, vectors at 0x20 and 0x28. */
void pic_mask(u8 master, u8 slave);

/* Does CPUID leaf exist, and has it this bit in the register (0 to 3: EAX, EBX, ECX, EDX)? */
bool cpu_has(u32 leaf, u32 subleaf, u32 reg, u32 bit);
#define HAS_VME		 cpu_has(1, 0, 3, 1)
#define HAS_DE		 cpu_has(1, 0, 3, 2)
#define HAS_PSE		 cpu_has(1, 0, 3, 3)
#define HAS_PAE		 cpu_has(1, 0, 3, 6)
#define HAS_SEP		 cpu_has(1, 0, 3, 11)
#define HAS_MTRR	 cpu_has(1, 0, 3, 12)
#define HAS_PGE		 cpu_has(1, 0, 3, 13)
#define HAS_PAT		 cpu_has(1, 0, 3, 16)
#define HAS_PSE36	 cpu_has(1, 0, 3, 17)
#define HAS_MONITOR	 cpu_has(1, 0, 2, 3)
#define HAS_CX16	 cpu_has(1, 0, 2, 13)
#define HAS_PCID	 cpu_has(1, 0, 2, 17)
#define HAS_X2APIC	 cpu_has(1, 0, 2, 21)
#define HAS_TSC_DEADLINE cpu_has(1, 0, 2, 24)
#define HAS_XSAVE	 cpu_has(1, 0, 2, 26)
#define HAS_AVX		 cpu_has(1, 0, 2, 28)
#define HAS_FSGSBASE	 cpu_has(7, 0, 1, 0)
#define HAS_SMEP	 cpu_has(7, 0, 1, 7)
#define HAS_INVPCID	 cpu_has(7, 0, 1, 10)
#define HAS_SMAP	 cpu_has(7, 0, 1, 20)
#define HAS_UMIP	 cpu_has(7, 0, 2, 2)
#define HAS_PKU		 cpu_has(7, 0, 2, 3)
#define HAS_LA57	 cpu_has(7, 0, 2, 16)
#define HAS_RDPID	 cpu_has(7, 0, 2, 22)
#define HAS_XSAVEOPT	 cpu_has(0xd, 1, 0, 0)
#define HAS_XSAVEC	 cpu_has(0xd, 1, 0, 1)
#define HAS_XSAVES	 cpu_has(0xd, 1, 0, 3)
#define HAS_SYSCALL	 cpu_has(0x80000001, 0, 3, 11)
#define HAS_NX		 cpu_has(0x80000001, 0, 3, 20)
#define HAS_1G		 cpu_has(0x80000001, 0, 3, 26)
#define HAS_RDTSCP	 cpu_has(0x80000001, 0, 3, 27)
#define HAS_LM		 cpu_has(0x80000001, 0, 3, 29)
/* MAXPHYADDR. */
u32 physical_bits(void);

static inline void cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "0"(leaf), "2"(subleaf));
}

static inline void outb(u16 port, u8 v)
{
	asm volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outw(u16 port, u16 v)
{
	asm volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void outl(u16 port, u32 v)
{
	asm volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline u8 inb(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u16 inw(u16 port)
{
	u16 v;

	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u32 inl(u16 port)
{
	u32 v;

	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline u64 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

#define CONTROL_REGISTER(name)                                              \
	static inline ulong read_##name(void)                               \
	{                                                                   \
		ulong v;                                                    \
                                                                            \
		asm volatile("mov %%" #name ", %0" : "=r"(v) : : "memory"); \
		return v;                                                   \
	}                                                                   \
                                                                            \
	static inline void write_##name(ulong v)                            \
	{                                                                   \
		asm volatile("mov %0, %%" #name : : "r"(v) : "memory");     \
	}
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)
CONTROL_REGISTER(dr0)
CONTROL_REGISTER(dr1)
CONTROL_REGISTER(dr2)
CONTROL_REGISTER(dr3)
CONTROL_REGISTER(dr6)
CONTROL_REGISTER(dr7)

static inline void invlpg(const volatile void *p)
{
	asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}

#endif

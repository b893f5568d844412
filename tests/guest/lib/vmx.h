/*
 * What the vmx_* images share: VMX operation, one VMCS with a host and a guest that can run, and what came back as
 * text.
 *
 * SDM vol. 3, "Introduction to Virtual Machine Extensions" and the chapters after it. An experiment is vm_fresh(),
 * which writes every field so that a guest in a given mode is about to run a piece of code; changes to a few fields;
 * vm_run(), which enters once and returns at the VM exit; and a line that compares vm_text() with what the manual says.
 * The guest's own exceptions and interrupts end the run too: all its handlers are VMCALLs.
 *
 * Names of fields, controls and exit reasons come from spec/. An image says ABSENT for what this processor's capability
 * MSRs do not allow. vm_report() prints what the image has exercised, for the listing that suite.py makes.
 */
#ifndef VMX_H
#define VMX_H

#include "guest.h"

#define F(encoding, name, ...) name = encoding,
enum vmcs_encoding {
#include "vmcs_fields.def"
};
#define X(number, name, ...) EXIT_##name = number,
enum exit_reason {
#include "vmx_exit_reasons.def"
};
#define X(number, name, ...) ERROR_##name = number,
enum vmx_error {
#include "vmx_errors.def"
};
#define C(word, bit, name, ...) word##_##name = bit,
enum vmx_control {
#include "vmx_controls.def"
};

enum {
	CR4_VMXE = 1 << 13,
	CR4_SMXE = 1 << 14,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_VMX_BASIC = 0x480,
	MSR_VMX_MISC = 0x485,
	MSR_VMX_CR0_FIXED0,
	MSR_VMX_CR0_FIXED1,
	MSR_VMX_CR4_FIXED0,
	MSR_VMX_CR4_FIXED1,
	MSR_VMX_VMCS_ENUM,
	MSR_VMX_PROCBASED_CTLS2,
	MSR_VMX_EPT_VPID_CAP,
	MSR_VMX_VMFUNC = 0x491,
	MSR_XSS = 0xda0,
};

/* Interruption information: SDM vol. 3, "VM-Entry Controls for Event Injection". */
enum {
	EVENT_EXTERNAL = 0 << 8,
	EVENT_NMI = 2 << 8 | 2,
	EVENT_EXCEPTION = 3 << 8,
	EVENT_SOFT_INT = 4 << 8,
	EVENT_INT1 = 5 << 8 | 1,
	EVENT_SOFT_EXCEPTION = 6 << 8,
	EVENT_OTHER = 7 << 8,
	EVENT_ERROR_CODE = 1 << 11,
};
#define EVENT_VALID 0x80000000u

/* Guest interruptibility state, activity state, pending debug exceptions: "Guest Non-Register State". */
enum { BLOCKED_BY_STI = 1, BLOCKED_BY_MOV_SS = 2, BLOCKED_BY_SMI = 4, BLOCKED_BY_NMI = 8 };
enum { ACTIVE, HALTED, SHUT_DOWN, WAIT_FOR_SIPI };

/* Access rights of a segment register as a VMCS has them: bits 15:8 of the descriptor's second half, G, D and L higher.
 */
enum {
	AR_S = 0x10,
	AR_PRESENT = 0x80,
	AR_L = 0x2000,
	AR_DB = 0x4000,
	AR_G = 0x8000,
	AR_UNUSABLE = 0x10000,
};

/* The guest's general registers, in the order of their numbers. RSP and RIP are in the VMCS. */
struct regs {
	u64 ax, cx, dx, bx, sp, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
};
extern struct regs regs;
/* The interrupt table of 32-bit and virtual-8086 guests, as vm_fresh() makes it anew. */
extern u64 vm_idt32[256];

/* The guest that vm_fresh() describes. */
enum guest_mode {
	G64,	 /* 64-bit mode, ring 0 */
	G64_U,	 /* ... ring 3 */
	GCOMPAT, /* compatibility mode, ring 0 */
	GCOMPAT_U,
	G32, /* protected mode with 32-bit paging, ring 0 */
	G32_U,
	GV86,  /* virtual-8086 mode, IOPL 3, in such a system */
	GREAL, /* real-address mode: an unrestricted guest with EPT */
	GFLAT, /* protected mode without paging: the same */
	G_MODES,
};

/* Where 16-bit guests have their code (a copy of the snippet), stack, and interrupt handlers. */
#define REAL_CODE  0x10000u
#define REAL_STACK 0x20000u
#define REAL_STUBS 0x30000u

/* In VMX operation; false, after the line "ABSENT chapter/", where there is none. */
bool vm_begin(void);
/* Says what the image has exercised. */
void vm_report(void);

bool vm_has(enum guest_mode mode);
/* code is CODE(), CODE32() or CODE16() as fits the mode. Interrupts off, no optional control on, registers 0. */
void vm_fresh(enum guest_mode mode, ulong code);
/* One VM entry. What it did is in the VMCS, in regs, and in vm_text(). */
void vm_run(void);
/* A VM entry that fails is no surprise. Otherwise as vm_run(). */
const char *vm_text(void);
/* The text is not to say where in the code: asynchronous events come when they come. */
void vm_from_here(void);
/* Is the last run over because of this VM exit? */
bool vm_exited(enum exit_reason reason);
/* How far the guest's RIP is from the start of its code. */
u32 vm_offset(void);
/* The vector by which the guest's handler was reached, or -1. */
int vm_vector(void);
/* As the manual's fields: "#GP(0x0) type=3", "-" if not valid. */
const char *event_text(u32 information, u32 error);

u64 vm_read(u32 field);
/* False if VMWRITE failed. */
bool vm_write(u32 field, u64 value);
#define vm_or(field, bits)  vm_write(field, vm_read(field) | (bits))
#define vm_and(field, bits) vm_write(field, vm_read(field) & (bits))

/*
 * Switch a control on for the next run; for secondary and tertiary ones that includes the control that activates them.
 * One that the processor has not makes the next line of this experiment ABSENT.
 */
enum control_word { PIN, PRIMARY, SECONDARY, TERTIARY, EXIT, ENTRY, VM_FUNCTION, CONTROL_WORDS };
void vm_control(enum control_word word, u32 bit);
bool vm_allows(enum control_word word, u32 bit);
/* IA32_VMX_EPT_VPID_CAP, or 0 where there is none. */
u64 vm_ept_vpid_cap(void);
#define pin(name)      vm_control(PIN, PINBASED_CTLS_##name)
#define pri(name)      vm_control(PRIMARY, PROCBASED_CTLS_##name)
#define sec(name)      vm_control(SECONDARY, PROCBASED_CTLS2_##name)
#define ter(name)      vm_control(TERTIARY, PROCBASED_CTLS3_##name)
#define exi(name)      vm_control(EXIT, EXIT_CTLS_##name)
#define ent(name)      vm_control(ENTRY, ENTRY_CTLS_##name)
#define has_pin(name)  vm_allows(PIN, PINBASED_CTLS_##name)
#define has_pri(name)  vm_allows(PRIMARY, PROCBASED_CTLS_##name)
#define has_sec(name)  vm_allows(SECONDARY, PROCBASED_CTLS2_##name)
#define has_ter(name)  vm_allows(TERTIARY, PROCBASED_CTLS3_##name)
#define has_exi(name)  vm_allows(EXIT, EXIT_CTLS_##name)
#define has_ent(name)  vm_allows(ENTRY, ENTRY_CTLS_##name)
#define has_cap(name)  (vm_ept_vpid_cap() >> EPT_VPID_CAP_##name & 1)
#define has_misc(name) (rdmsr(MSR_VMX_MISC) >> MISC_##name & 1)
/* Another reason why the next line is ABSENT. */
void vm_needs(bool available);

/* "enable EPT" with the identity map; ept_page() gives the entry of a 4-KByte page there. vm_fresh() mends the map. */
void vm_ept(void);
u64 *ept_page(u64 gpa);
void invept_all(void);
extern u64 *ept_pml4, *ept_pdpt, *ept_pd[4];
enum {
	EPT_R = 1,
	EPT_W = 2,
	EPT_X = 4,
	EPT_RWX = 7,
	EPT_WB = 6 << 3,
	EPT_PS = 0x80,
	EPT_A = 0x100,
	EPT_D = 0x200,
	EPT_XU = 0x400
};

/* A line of the report: vm_text() against what the manual says, or ABSENT. Returns false if ABSENT. */
bool vm_check(const char *name, const char *expected);
/* The same with a text of its own. */
#define vm_line(name, expected, ...) (vm_missing() ? absent(name) : check(name, expected, __VA_ARGS__))
bool vm_missing(void);
/* RFLAGS after the last VM-entry instruction. */
extern u64 vmx_flags;

/* One experiment in one row. The last arguments are what is done between vm_fresh() and vm_run(). */
#define V(name, expected, mode, code, ...) \
	({                                 \
		vm_fresh(mode, code);      \
		(void)0, ##__VA_ARGS__;    \
		vm_run();                  \
		vm_check(name, expected);  \
	})

/* The flags that a VMX instruction sets: "ok", "VMfailInvalid", "VMfail(n)", or what is left of a pattern that is none.
 */
const char *vmx_result(u64 flags);
u64 vmx_vmxon(u64 region);
u64 vmx_vmclear(u64 region);
u64 vmx_vmptrld(u64 region);
u64 vmx_vmptrst(void);
/* A page with the VMCS revision identifier. */
u64 *vmx_region(void);
extern u64 *vmxon_region, *vmcs_region;

/* What was exercised. The library notes VM exits, errors, and controls that were on when a guest ran. */
void vm_note_error(u32 error);
/* A VM exit that vm_run() has not seen: the current VMCS tells of it. */
void vm_note_exit(void);

#endif

/*
 * Architectural state of one vCPU, and no behaviour. Hot members first; each group says who writes it.
 *
 * Everything is public because the engines address it. What may be asked of it as a whole (flags, reset, pins) is
 * declared below the structure.
 */
#pragma once

#include "base/log.h"
#include "base/state.h"
#include "cpu/cpuid.h"
#include "cpu/regs.h"
#include "cpu/topology.h"

struct bank;	/* mem/: translation cache of one address space and privilege */
struct mem_cpu; /* mem/: all banks of this vCPU */
struct block;	/* decode/ */
struct insn;	/* decode/ */
struct msr_table;
struct bus;
struct apic;
struct clock;
struct vmx; /* vmx/ */
struct vmx_reporter; /* vmx/report.h */

/*
 * Arithmetic flags are computed when asked for. cc_op says how cc_dst and cc_src give them (cpu/flags.h). The other
 * flags are in rflags.
 */
struct lazy_flags {
	uint64_t dst, src;
	uint32_t op;
	uint32_t rotated; /* CF and OF, when op has CC_ROTATED */
};

struct segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint32_t ar;	/* AR_* */
	uint16_t selector;
};

struct table_register {
	uint64_t base;
	uint16_t limit;
};

/* What went wrong with the instruction at hand; filled by whoever returns STEP_FAULT (or a true "faulted") and consumed
 * by exec/event. */
struct fault {
	enum fault_kind { FAULT_EXCEPTION, FAULT_VM_EXIT } kind;
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t address; /* page faults: the linear address, becomes CR2 */
	uint64_t dr6;	  /* debug exceptions: bits to set in DR6 */
	bool nmi_unblocked; /* in non-root operation: by the IRET that faulted, for the VM exit to tell */
	/* FAULT_VM_EXIT, which mem/ finds: SDM vol. 3, "Exit Qualification". */
	uint32_t reason; /* basic exit reason */
	uint64_t qualification;
	uint64_t linear;   /* with bit 7 of the qualification of an EPT violation; else 0 */
	uint64_t physical; /* guest-physical address; 0 for a full page-modification log and for APIC accesses */
	uint8_t length;	   /* of the instruction whose access it was; 0: of none */
	bool convertible;  /* an EPT violation that may become a virtualization exception */
};

/* What holds of a walk of EPT besides the EPT pointer: controls in force, and what the processor offers. */
enum ept_controls {
	EPT_MODE_BASED_EXECUTE = 1 << 0,
	EPT_PML = 1 << 1, /* page-modification logging is enabled */
	EPT_VIOLATION_VE = 1 << 2,
	EPT_SUBPAGE = 1 << 3,	   /* sub-page write permissions: spptp is the table's address */
	EPT_PAGING_WRITE = 1 << 4, /* EPT paging-write control */
	EPT_VERIFY_PAGING = 1 << 5, /* guest-paging verification */
	EPT_HLAT = 1 << 6, /* HLAT paging: from hlatp, where hlat_prefix_size says */
	EPT_EXECUTE_ONLY = 1 << 8, /* from here: offered */
	EPT_PAGES_2M = 1 << 9,
	EPT_PAGES_1G = 1 << 10,
	EPT_ADVANCED_INFO = 1 << 11, /* in the qualification of EPT violations */
};

/*
 * APIC virtualization, as far as memory accesses depend on it: controls in force in non-root operation. SDM vol. 3,
 * "Virtualizing Memory-Mapped APIC Accesses".
 */
enum vapic_controls {
	VAPIC_ACCESSES = 1 << 0,   /* "virtualize APIC accesses": apic_access_page is one */
	VAPIC_TPR_SHADOW = 1 << 1, /* "use TPR shadow": virtual_apic_page is one */
	VAPIC_REGISTERS = 1 << 2,  /* "APIC-register virtualization" */
	VAPIC_INTERRUPTS = 1 << 3, /* "virtual-interrupt delivery" */
	VAPIC_IPIS = 1 << 4,	   /* "IPI virtualization" */
};

enum activity { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI, ACTIVITY_MWAIT };

/* Reasons to look up from the instruction stream; any bit zeroes the budget. Set by pins and by whoever changes what
 * they test. */
enum attention {
	ATTEND_PINS = 1 << 0,	  /* an unmasked pin is asserted: INTR, NMI, SMI, INIT, SIPI */
	ATTEND_TRAP = 1 << 1,	  /* TF, pending debug exceptions, or a data breakpoint hit */
	ATTEND_SHADOW = 1 << 2,	  /* blocking by STI or MOV SS ends after the next instruction */
	ATTEND_STOP = 1 << 3,	  /* the machine wants the thread: pause, quit, gdb, reset */
	ATTEND_DEADLINE = 1 << 4, /* the clock has a sooner deadline than this turn's end */
	ATTEND_CODE = 1 << 5,	  /* the running block was dropped: its bytes were written */
	ATTEND_YIELD = 1 << 6,	  /* this vCPU spins (PAUSE): give the turn to another */
};

/* PIN_VIRTUAL is none: in non-root operation, a virtual interrupt is recognized. */
enum pin { PIN_INTR, PIN_NMI, PIN_SMI, PIN_INIT, PIN_SIPI, PIN_VIRTUAL, PIN_COUNT };

/* What a vCPU tells the machine. */
enum cpu_event {
	CPU_SHUTDOWN,
	CPU_SMI_ENTERED,
	CPU_SMI_LEFT,
	CPU_INIT /* INIT was taken: reset the APIC likewise */,
	CPU_FERR,     /* x87 exception with CR0.NE = 0: FERR#, IRQ 13 */
	CPU_TSC_MOVED /* by WRMSR: call apic_tsc_changed() */
};

/*
 * What holds for the instruction at hand (low nibble) and, armed by it for the one after (high nibble): blocking by STI
 * and MOV SS; RFLAGS.RF was loaded and is cleared afterwards; RFLAGS.TF was set when it began. exec_attend() moves the
 * nibbles at each boundary.
 */
enum shadow {
	SHADOW_STI = 1,
	SHADOW_MOV_SS = 2,
	SHADOW_RF = 4,
	SHADOW_STEP = 8,
	SHADOW_NEXT = 4 /* shift of the high nibble */
};

/* x87, SSE and AVX registers. */
union vector_register {
	uint8_t b[64];
	uint16_t w[32];
	uint32_t d[16];
	uint64_t q[8];
} __attribute__((aligned(64)));

struct fpu {
	uint8_t x87[512] __attribute__((
		aligned(64)));	     /* FXSAVE64 image: only its x87 part, bytes 0 to 159 without MXCSR, counts */
	union vector_register v[32]; /* ZMM0-31 */
	uint64_t k[8];		     /* opmask */
	uint32_t mxcsr;
	uint32_t pkru;
	uint64_t xcr0, xss;
};

#define PMU_COUNTERS 4
#define PMU_FIXED    3
#define PMU_WATCH    2 /* of watch: leave the instruction stream when CPL is not 0 any more, or becomes 0 */

/* Performance monitoring: exec/pmu.c. */
struct pmu {
	uint64_t select[PMU_COUNTERS], counter[PMU_COUNTERS], fixed[PMU_FIXED];
	uint64_t fixed_ctrl, global_ctrl, status;
	uint64_t instructions, cycles; /* the vCPU's, when the counters were brought up to date */
	bool active;		       /* some counter counts */
	bool user;		       /* CPL was above 0 then */
	uint8_t watch;		       /* PMU_WATCH and user; or 0 */
};

struct cpu {
	/* Hot: the engines, on every instruction. */
	uint64_t r[R_COUNT]; /* GPRs; r[R_ZERO] is 0; r[R_BLOCK] belongs to the engine */
	struct lazy_flags cc;
	struct bank *bank;	 /* current translation context; mem_context_changed() keeps it */
	int64_t budget;		 /* instructions until the engine must look up: exec/run.h */
	int64_t turn;		 /* what budget was when the turn began */
	uint64_t idle;		 /* of them, ticks that passed without an instruction (RDTSC, PAUSE cost time) */
	uint32_t mode;		 /* key of decoded code: cpu/mode.h; cpu_mode_changed() keeps it */
	uint32_t attention;	 /* enum attention */
	struct block *block;	 /* being run, or the last one */
	bool mxcsr_live;	 /* exec/host: the host's MXCSR is the guest's, and newer than fpu.mxcsr */
	uint64_t accesses;	 /* counter: memory operands of the blocks entered, elements of strings */
	unsigned link;		 /* engine: 1 + which of block's successors is wanted, 0 none */
	const struct insn *insn; /* being executed, when a helper or a slow path runs */
	uint64_t rip;	   /* in a helper: RIP of the next instruction; outside the engine: of the instruction to run */
	uint64_t insn_rip; /* in a helper: RIP of the instruction being executed */

	/* Architectural: exec/. */
	uint64_t rflags;	     /* without the arithmetic flags, which are in cc; bit 1 set */
	struct segment seg[SEG_ALL]; /* ES CS SS DS FS GS LDTR TR; by enum segment_number */
	uint8_t cpl;		     /* SS.DPL's copy; 0 in real mode, 3 in V86 */
	uint8_t shadow;		     /* enum shadow, twice */
	bool nmi_blocked;
	bool in_smm;
	bool a20m;			/* physical address bit 20 is 0: A20M# is asserted and not blocked */
	bool a20m_pin, a20m_blocked;	/* mem_set_a20m(), mem_block_a20m() */
	enum activity activity;
	struct table_register gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer;
	uint64_t pdpte[4]; /* PAE paging: loaded by MOV CR3 and others */
	uint64_t dr[4], dr6, dr7;
	uint64_t pending_debug; /* DR6 bits of a trap to deliver after this instruction */
	uint64_t fs_kernel_gs;	/* IA32_KERNEL_GS_BASE */
	uint64_t star, lstar, cstar, fmask;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_offset; /* TSC = virtual time + offset: WRMSR TSC and IA32_TSC_ADJUST */
	uint64_t tsc_adjust;
	uint64_t tsc_aux;
	uint64_t pat;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
	uint64_t apic_base; /* IA32_APIC_BASE */
	uint64_t misc_enable, debugctl, feature_control, spec_ctrl, umwait_control;
	uint32_t smbase;
	uint64_t monitor;	  /* physical address of the 64-byte line armed by MONITOR */
	uint8_t monitor_line[64]; /* what was in it then */
	bool monitor_armed;
	uint32_t io_misc; /* smm/: the IN or OUT that raised the SMI that is pending, as the save map tells it; 0: none
			   */
	uint64_t io_rip;
	uint64_t mcg_status;
	struct pmu pmu;
	uint64_t random;    /* state of RDRAND and RDSEED */
	bool nonroot;	    /* VMX non-root operation */
	uint64_t eptp;	    /* nonroot with EPT: the EPT pointer; else 0 */
	uint16_t vpid;	    /* of the translations in use; 0 in root operation and without VPIDs */
	uint16_t pml_index; /* mem/ counts it down */
	uint64_t pml_address;
	uint64_t spptp, hlatp;
	uint16_t hlat_prefix_size;
	uint32_t ept_controls;	 /* enum ept_controls; looked at while eptp is not 0 */
	uint32_t vapic_controls; /* enum vapic_controls; 0 in root operation */
	uint64_t apic_access_page, virtual_apic_page;
	/* A virtualized write to the APIC-access page, or what counts as one, whose effects wait for the end of the
	 * instruction: offset and size. 0: none. */
	uint16_t vapic_write;
	uint8_t vapic_write_size;
	struct fpu fpu;

	/* Faults and pins: exec/event, apic/. */
	struct fault fault;
	uint8_t pins; /* BIT(enum pin) asserted */
	uint8_t sipi_vector;

	/* Fixed when the machine is built. */
	unsigned number; /* index in the machine; 0 is the bootstrap processor */
	unsigned cpus;	 /* how many the machine has */
	struct cpu_topology topology;
	uint32_t apic_id;
	uint8_t tick_shift; /* an instruction takes 2^this ns */
	const struct cpu_model *model;
	struct mem_cpu *mem;
	struct msr_table *msr;
	struct apic *apic;
	struct vmx *vmx; /* NULL: the model has no VT-x */
	struct bus *bus;
	struct clock *clock;
	const struct log *log;
	void *machine; /* for callbacks set by machine/build.c only */
	const struct vmx_reporter *reporter; /* who is told of failures and VMX transitions; NULL: nobody */

	/* Interrupt acknowledge: the local APIC. -1: none after all (spurious is the APIC's own business). */
	int (*acknowledge)(struct cpu *cpu);
	/* The machine decides what shutdown (triple fault) does; SMRAM's view follows in_smm. */
	void (*event)(struct cpu *cpu, enum cpu_event event);

	/* Counters: the engines. */
	uint64_t cycles;  /* ticks in which it ran, with idle ones, up to the last part of a turn */
	uint64_t retired; /* instructions, up to the last look-up; run_retired() adds the running block's part */
	uint64_t blocks, decoded, tlb_misses, exceptions, interrupts;
};

/* What an instruction's meaning returns. */
enum step {
	STEP_NEXT = 0, /* done: go on after it, in the same block */
	STEP_FAULT,    /* not done: cpu->fault says why; registers are as before (or as the manual leaves them) */
	STEP_LEAVE,    /* done: go on at cpu->rip, and look up mode, bank and attention again */
};

/* RFLAGS with the arithmetic flags computed, and back. */
uint64_t cpu_rflags(const struct cpu *cpu);
void cpu_set_rflags(struct cpu *cpu, uint64_t rflags);

/* SDM vol. 3, "Processor State After Reset". INIT keeps what INIT keeps. APICs are reset by their owner. */
void cpu_reset(struct cpu *cpu, bool init);
void cpu_state(struct cpu *cpu, struct state *state);
/* A triple fault, RSM with an invalid state, a VMX abort: stop executing and tell the machine. */
void cpu_shutdown(struct cpu *cpu, const char *why);

/* Recompute cpu->mode after CS, SS, CR0, CR4, EFER, RFLAGS.VM or a segment's flatness changed. */
void cpu_mode_changed(struct cpu *cpu);

/* Make the engine leave the instruction stream after the current instruction. */
static inline void cpu_attend(struct cpu *cpu, enum attention why)
{
	cpu->attention |= why;
}

static inline void cpu_set_pin(struct cpu *cpu, enum pin pin, bool level)
{
	cpu->pins = level ? cpu->pins | BIT(pin) : cpu->pins & ~BIT(pin);
	if (level)
		cpu_attend(cpu, ATTEND_PINS);
}

static inline bool cpu_long_mode(const struct cpu *cpu)
{
	return cpu->efer & EFER_LMA;
}

static inline bool cpu_64bit(const struct cpu *cpu)
{
	return (cpu->efer & EFER_LMA) && (cpu->seg[CS].ar & AR_L);
}

static inline bool cpu_protected(const struct cpu *cpu)
{
	return cpu->cr0 & CR0_PE;
}

static inline bool cpu_v86(const struct cpu *cpu)
{
	return cpu->rflags & RFLAGS_VM;
}

static inline unsigned cpu_iopl(const struct cpu *cpu)
{
	return (unsigned)bits_get(cpu->rflags, 13, 12);
}

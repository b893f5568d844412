/*
 * Linear address -> bytes: what the CPU may ask of memory. Translation context is data: exec/ changes CR0, CR3, CR4,
 * EFER, CPL, AC and calls mem_context_changed(), and so does vmx/ after it has written eptp, vpid, ept_controls and the
 * page-modification log's place.
 *
 * SDM vol. 3, "Paging", "Memory Cache Control". Every mem_* access that returns bool returns true for a fault, with
 * cpu->fault filled.
 */
#pragma once

#include "base/error.h"
#include "cpu/cpu.h"

/* Kinds of access, as bits, for error codes and breakpoints. */
enum access {
	ACCESS_READ = 1,
	ACCESS_WRITE = 2,
	ACCESS_EXEC = 4,
	ACCESS_SYSTEM = 8, /* implicit supervisor access whatever the CPL: descriptor tables, TSS, IDT */
	ACCESS_USER = 16,  /* as if CPL were 3 */
	ACCESS_STACK = 32, /* an implied stack access: a non-canonical address is #SS(0) */
};

/* After cpu->bus has its RAM and cpu->model is set. The machine calls mem_flush_all() for each vCPU when the bus's map
 * changes. */
void mem_cpu_create(struct cpu *cpu);
void mem_cpu_destroy(struct cpu *cpu);

/* After CR0, CR3's address space, CR4, EFER, CPL, RFLAGS.AC, SMM, APIC base, PKRU or breakpoints changed: choose
 * cpu->bank. Flushes nothing. */
void mem_context_changed(struct cpu *cpu);

/* The same when nothing but CPL or RFLAGS.AC changed: every system call, interrupt and return. */
void mem_privilege_changed(struct cpu *cpu);

/* Invalidation, as MOV CR3, INVLPG, INVPCID, MOV CR0/CR4 and MTRR writes define it. But for the first, it is of the
 * current VPID alone. */
void mem_flush_all(struct cpu *cpu);		     /* everything of every VPID, global pages too */
void mem_flush_pcid(struct cpu *cpu, unsigned pcid); /* non-global translations of one PCID (0 without PCIDE) */
void mem_flush_page(struct cpu *cpu, la_t la);	     /* INVLPG: this page in the current PCID, global too */
void mem_flush_page_pcid(struct cpu *cpu, unsigned pcid, la_t la); /* INVPCID type 0 */
void mem_flush_non_global(struct cpu *cpu);			   /* all PCIDs, INVPCID type 3 */

/*
 * SDM vol. 3, "Operations that Invalidate Cached Mappings". Linear mappings are those made while eptp was 0, combined
 * mappings the others; guest-physical mappings are kept apart from both, and of these functions only the last two end them.
 * VM entry and VM exit invalidate nothing here: without VPIDs, who performs them calls mem_flush_vpid(cpu, 0, false).
 */
void mem_flush_vpid(struct cpu *cpu, uint16_t vpid,
		    bool keep_global); /* INVVPID types 1 and 3, INVPCID type 2 with cpu->vpid */
void mem_flush_vpid_page(struct cpu *cpu, uint16_t vpid, la_t la); /* INVVPID type 0, global too */
void mem_flush_vpids(struct cpu *cpu);				   /* INVVPID type 2: all but VPID 0 */
void mem_flush_ept(struct cpu *cpu, uint64_t eptp);		   /* INVEPT type 1: bits 51:12 count */
void mem_flush_epts(struct cpu *cpu);				   /* INVEPT type 2 */

/* WRMSR as a whole: the MSR's owner, and what translations depend on in it. False: #GP(0). */
MUST_CHECK bool mem_write_msr(struct cpu *cpu, uint32_t index, uint64_t value);

/* The A20M# pin, which keyboard controller and port 92H drive: asserted, physical address bit 20 is 0; but not while
 * VMX operation blocks it. SDM vol. 3, "Restrictions on VMX Operation". */
void mem_set_a20m(struct cpu *cpu, bool asserted);
void mem_block_a20m(struct cpu *cpu, bool blocked);

/* Data, little-endian, any alignment, with the current CPL. The inline versions are in mem/access.h. */
MUST_CHECK bool mem_read_bytes(struct cpu *cpu, la_t la, void *to, size_t size, unsigned access);
MUST_CHECK bool mem_write_bytes(struct cpu *cpu, la_t la, const void *from, size_t size, unsigned access);
/* Would writing (or reading) these bytes fault? Fills cpu->fault; sets A and D bits as the access would. */
MUST_CHECK bool mem_probe(struct cpu *cpu, la_t la, size_t size, unsigned access);

/*
 * The instruction stream: host address of the bytes at la and how many are left in the page (at least 1). *cacheable
 * says that the engine hears of writes to them (RAM) or that there are none (ROM); other bytes are a copy that the next
 * call overwrites.
 */
MUST_CHECK bool mem_fetch(struct cpu *cpu, la_t la, const uint8_t **bytes, size_t *left, bool *cacheable);

/*
 * Load PDPTEs from memory at a CR3 value: SDM vol. 3, "PDPTE Registers". True: *pdpte is untouched and cpu->fault says
 * #GP(0), for a reserved bit, or a VM exit, which EPT caused.
 */
MUST_CHECK bool mem_read_pdptes(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4]);

/* For debuggers: translate without side effects. False: not mapped. */
MUST_CHECK bool mem_debug_translate(struct cpu *cpu, la_t la, pa_t *pa);
/*
 * For debuggers: the entries that EPT has for a guest-physical address, from the root down, without side effects.
 * Returns how many; the last one says where it ends. controls: enum ept_controls.
 */
enum ept_end { EPT_GOES_ON, EPT_MAPS_PAGE, EPT_NOT_PRESENT, EPT_MISCONFIGURED };
struct ept_entry {
	unsigned level; /* 1 is the PTE */
	pa_t at;
	uint64_t entry;
	enum ept_end end;
};
#define EPT_MOST_LEVELS 5
unsigned mem_debug_ept(struct cpu *cpu, uint64_t eptp, uint32_t controls, gpa_t gpa,
		       struct ept_entry path[EPT_MOST_LEVELS]);
size_t mem_debug_read(struct cpu *cpu, la_t la, void *to, size_t size);
size_t mem_debug_write(struct cpu *cpu, la_t la, const void *from, size_t size);

/* The page at IA32_APIC_BASE, when enabled and not in x2APIC mode, is answered per vCPU by its local APIC. */
struct device_ops;
void mem_connect_apic(struct cpu *cpu, const struct device_ops *ops, void *apic);

/*
 * Cached code. The engine keeps one flag per RAM page, non-zero where it has decoded code, and hears of writes there
 * before the bytes change. Writes to such pages never hit the TLB.
 */
struct code_ops {
	/* Blocks with bytes in [host, host + size) must go. Called for RAM in one page, when that page's flag is set.
	 */
	void (*written)(void *ctx, struct cpu *writer, const uint8_t *host, size_t size);
	void *ctx;
	const uint8_t *code_pages; /* indexed by RAM page */
};
void mem_connect_code(struct cpu *cpu, const struct code_ops *ops);
/* The RAM page at host_page was flagged: forget direct write access to it. The engine calls this for each vCPU. */
void mem_code_page_flagged(struct cpu *cpu, const uint8_t *host_page);
/* The engine freed all its blocks: forget where code was. */
void mem_forget_code(struct cpu *cpu);

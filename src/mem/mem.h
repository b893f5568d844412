/*
 * Linear address -> bytes: what the CPU may ask of memory. Translation context is data: exec/ changes CR0, CR3, CR4, EFER, CPL, AC and calls
 * mem_context_changed(); vmx/ will write EPTP and VPID there.
 *
 * SDM vol. 3, "Paging", "Memory Cache Control". Every mem_* access that returns bool returns true for a fault, with cpu->fault filled.
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
};

MUST_CHECK bool mem_cpu_create(struct cpu *cpu, struct error *error);
void mem_cpu_destroy(struct cpu *cpu);

/* After CR0, CR3's address space, CR4, EFER, CPL, RFLAGS.AC, SMM, APIC base, PKRU or breakpoints changed: choose cpu->bank. Flushes nothing. */
void mem_context_changed(struct cpu *cpu);

/* Invalidation, as MOV CR3, INVLPG, INVPCID, MOV CR0/CR4 and MTRR writes define it. */
void mem_flush_all(struct cpu *cpu);			   /* everything, global pages too */
void mem_flush_pcid(struct cpu *cpu, unsigned pcid);	   /* non-global translations of one PCID (0 without PCIDE) */
void mem_flush_page(struct cpu *cpu, la_t la);		   /* INVLPG: this page in the current PCID, global too */
void mem_flush_page_pcid(struct cpu *cpu, unsigned pcid, la_t la); /* INVPCID type 0 */
void mem_flush_non_global(struct cpu *cpu);		   /* all PCIDs, INVPCID type 3 */

/* Data, little-endian, any alignment, with the current CPL. The inline versions are in mem/access.h. */
MUST_CHECK bool mem_read_bytes(struct cpu *cpu, la_t la, void *to, size_t size, unsigned access);
MUST_CHECK bool mem_write_bytes(struct cpu *cpu, la_t la, const void *from, size_t size, unsigned access);
/* Would writing (or reading) these bytes fault? Fills cpu->fault; sets A and D bits as the access would. */
MUST_CHECK bool mem_probe(struct cpu *cpu, la_t la, size_t size, unsigned access);

/* The instruction stream: host address of the bytes at la and how many are left in the page; *pa their physical address. */
MUST_CHECK bool mem_fetch(struct cpu *cpu, la_t la, const uint8_t **bytes, size_t *left, pa_t *pa);

/* Load PDPTEs from memory at a CR3 value: SDM vol. 3, "PDPTE Registers". True: a reserved bit is set; *pdpte untouched. */
MUST_CHECK bool mem_read_pdptes(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4]);

/* For debuggers: translate without side effects. False: not mapped. */
MUST_CHECK bool mem_debug_translate(struct cpu *cpu, la_t la, pa_t *pa);
size_t mem_debug_read(struct cpu *cpu, la_t la, void *to, size_t size);
size_t mem_debug_write(struct cpu *cpu, la_t la, const void *from, size_t size);

/* The page at IA32_APIC_BASE, when enabled and not in x2APIC mode, is answered per vCPU by its local APIC. */
struct device_ops;
void mem_connect_apic(struct cpu *cpu, const struct device_ops *ops, void *apic);

/* Cached code: which engine wants to hear of writes. code_written() drops blocks; called before the bytes change. Set by the engine. */
struct code_ops {
	/* Any block with bytes in [host, host + size) is to be dropped. True: the block that is running was among them. */
	bool (*written)(void *ctx, const uint8_t *host, size_t size);
	/* A bank was flushed or dropped: forget addresses cached for it. */
	void (*bank_flushed)(void *ctx, struct bank *bank);
	void *ctx;
};
void mem_connect_code(struct cpu *cpu, const struct code_ops *ops);
/* The page at this host address now holds cached code (or no more): writes to it take the slow path in every vCPU. */
void mem_set_code_page(struct cpu *cpu, const uint8_t *host_page, bool code);

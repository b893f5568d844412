/*
 * A hypervisor for the fuzzer of VMX, as seen from outside its processor: what it keeps in the whole PC's memory, VMCSs
 * that hold, and the state in which it makes VM entries.
 */
#pragma once

#include "vmx/vmx.h"
#include "whole.h"

/* Pages of the whole PC's RAM, by number. */
enum page {
	PAGE_TABLES = 0x10, /* PML4; PDPT and PD follow: 2 MiB of RAM where they are, and the APIC's page */
	PAGE_TABLES32 = 0x13,
	PAGE_EPT = 0x14, /* PML4; PDPT, PD and PT follow, and a PD for the APIC's page */
	PAGE_GDT = 0x19,
	PAGE_IDT = 0x1a,
	PAGE_TSS = 0x1b, /* and the I/O permission bit map */
	PAGE_IDT32 = 0x1c,
	PAGE_ROOT_CODE = 0x20,
	PAGE_GUEST_CODE = 0x28,
	PAGE_HANDLER = 0x2a, /* where every gate leads */
	PAGE_STACK = 0x2c,
	PAGE_VMXON = 0x30,
	PAGE_VMCS = 0x31, /* and the three after it */
	PAGE_SHADOW = 0x35,
	PAGE_ENTRY_LOAD = 0x36, /* lists of MSRs */
	PAGE_EXIT_STORE = 0x37,
	PAGE_EXIT_LOAD = 0x38,
	PAGE_MSR_BITMAP = 0x39,
	PAGE_IO_BITMAPS = 0x3a, /* two */
	PAGE_VMREAD_BITMAP = 0x3c,
	PAGE_VMWRITE_BITMAP = 0x3d,
	PAGE_VIRTUAL_APIC = 0x3e,
	PAGE_APIC_ACCESS = 0x3f,
	PAGE_POSTED = 0x40,
	PAGE_PID_TABLE = 0x41,
	PAGE_VE = 0x42,
	PAGE_EPTP_LIST = 0x43,
	PAGE_PML = 0x44,
	PAGE_SPPT = 0x45, /* four levels */
	PAGE_HLAT = 0x49, /* three */
	PAGE_MSEG = 0x4c,
	PAGE_END
};
#define AT(page) ((uint64_t)(page) << 12)

enum guest { GUEST_64, GUEST_PAE, GUEST_V86, GUEST_REAL, GUEST_FLAT, GUEST_COUNT };
enum wish {
	WISH_EPT = 1 << 0, /* with VPID */
	WISH_APIC = 1 << 1,
	WISH_INTERRUPTS = 1 << 2, /* virtual and posted ones */
	WISH_BITMAPS = 1 << 3,
	WISH_TIMER = 1 << 4,
	WISH_PAGES = 1 << 5, /* everything that EPT can do */
	WISH_LISTS = 1 << 6,
	WISH_HOST32 = 1 << 7,
};

/* All of it, in memory. */
void hypervisor_pages(struct machine *m);
/* Its code, page tables and descriptors alone: what it needs to run, whatever a guest wrote there. */
void hypervisor_code(struct machine *m);
/* Fill the current VMCS, which a VM entry then takes. */
void hypervisor_fill(struct cpu *cpu, enum guest guest, unsigned wishes);
/* The state in which it runs, in 64-bit mode or not; at an instruction that is put there. */
void hypervisor_at(struct machine *m, struct cpu *cpu, bool wide, const void *code, size_t size);
/* One instruction, whatever is pending. */
void hypervisor_step(struct machine *m, struct cpu *cpu);

/*
 * The software TLB. One bank per address space and privilege, so that changing CPL, CR3 with PCID, and SMM swaps a pointer instead of flushing.
 *
 * A hit is one compare and one add: the tag is the page's linear address when the access is allowed and plain RAM, and something that no page
 * has otherwise; so MMIO, code pages (writes), split accesses, watchpoints and alignment checks all miss the same way. SDM vol. 3, "Caching
 * Translation Information".
 */
#pragma once

#include "cpu/cpu.h"

#define PAGE_SIZE UINT64_C(4096)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define TLB_ENTRIES 2048
#define TLB_INVALID UINT64_C(1) /* no page-aligned address */
#define JUMP_ENTRIES 2048

struct tlb_entry {
	la_t read, write, exec; /* linear page address, or TLB_INVALID */
	uintptr_t delta;	/* host address - linear address, modulo 2^64 */
};

/* Where code at a linear address is: filled and used by the engine, emptied with the bank. */
struct jump_entry {
	la_t la;	     /* linear address of the first instruction; TLB_INVALID when empty */
	struct block *block; /* compare its mode before use: a dropped block has MODE_DEAD */
};

struct bank {
	struct tlb_entry tlb[TLB_ENTRIES];
	struct jump_entry jump[JUMP_ENTRIES];
	/* mem/ alone: */
	struct bank_cold *cold;
};

static inline struct tlb_entry *tlb_slot(struct bank *bank, la_t la)
{
	return &bank->tlb[(la / PAGE_SIZE) % TLB_ENTRIES];
}

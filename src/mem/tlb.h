/*
 * The software TLB. One bank per address space and privilege, so that changing CPL, CR3 with PCID, and SMM swaps a
 * pointer instead of flushing.
 *
 * A hit is one compare and one add: the tag is the page's linear address when the access is allowed and plain RAM, and
 * something that no page has otherwise; so MMIO, code pages (writes), split accesses, watchpoints and alignment checks
 * all miss the same way. SDM vol. 3, "Caching Translation Information".
 */
#pragma once

#include "cpu/cpu.h"

#define PAGE_SIZE    UINT64_C(4096)
#define PAGE_MASK    (~(PAGE_SIZE - 1))
#define TLB_ENTRIES  2048
#define TLB_INVALID  UINT64_C(1) /* no page-aligned address */
#define JUMP_ENTRIES 2048

struct tlb_entry {
	la_t read, write, exec; /* linear page address, or TLB_INVALID */
	uintptr_t delta;	/* host address - linear address, modulo 2^64 */
};

/*
 * Where code at a linear address was last found. Needs no flushing: it holds while the page's execute tag hits with the
 * same delta, so the same bytes are still mapped there, and while the block's mode is the CPU's (a dropped block has
 * MODE_DEAD).
 */
struct jump_entry {
	la_t la; /* of the first instruction; TLB_INVALID when empty */
	struct block *block;
	uintptr_t delta;
};

struct bank {
	struct tlb_entry tlb[TLB_ENTRIES];
	struct jump_entry jump[JUMP_ENTRIES];
	/* mem/ alone: what INVLPG and flushes need to know of each slot. */
	uint8_t global[TLB_ENTRIES]; /* survives a flush of non-global translations */
	uint8_t listed[TLB_ENTRIES];
	uint16_t filled[TLB_ENTRIES]; /* slots in use since the last flush, each once */
	unsigned fill_count;
	la_t large_base, large_mask; /* covers every large page that has slots here; base TLB_INVALID: none */
};

static inline struct tlb_entry *tlb_slot(struct bank *bank, la_t la)
{
	return &bank->tlb[(la / PAGE_SIZE) % TLB_ENTRIES];
}

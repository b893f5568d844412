/*
 * A VM's guest-physical address space: SDM vol. 3, "The Extended Page Table Mechanism (EPT)". Four levels; pages as large as
 * alignment and the CPU allow. Tables come from a pool of their own, of a fixed number of pages per VM, taken when the VM is
 * made.
 */
#ifndef VMM_VMX_EPT_H
#define VMM_VMX_EPT_H

#include "lib/types.h"

enum { EPT_READ = 1, EPT_WRITE = 2, EPT_EXECUTE = 4, EPT_ALL = 7 };
enum { MEMORY_UC = 0, MEMORY_WB = 6 };

struct ept {
	uint64_t *root; /* PML4 table */
	uint8_t *pages; /* of tables */
	unsigned pages_count, pages_used;
	uint64_t eptp;
};

/* Takes tables pages from the pool. */
void ept_create(struct ept *ept, unsigned tables);

/* Maps [gpa, gpa + size) to pa; both and size multiples of 4 KiB. Splits large pages where it must. False if the tables are
   used up. */
MUST_CHECK bool ept_map(struct ept *ept, gpa_t gpa, pa_t pa, uint64_t size, unsigned access, unsigned type);
MUST_CHECK bool ept_unmap(struct ept *ept, gpa_t gpa, uint64_t size);

/* The entry that maps gpa (of whatever level; *size its page), NULL if it is not mapped. */
uint64_t *ept_entry(struct ept *ept, gpa_t gpa, uint64_t *size);

#endif

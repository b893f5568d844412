/*
 * Sub-page write permissions: a write of a page that EPT does not let be written may be of 128-byte parts that the
 * sub-page permission table does. SDM vol. 3, "Sub-Page Write Permissions".
 *
 * Such a page has no write tag in the TLB, so that each write asks here. A write that crosses into another page is
 * judged page by page, which the manual leaves to the model.
 */
#include "mem/private.h"

#define SPP_VALID    BIT(0)
#define SPP_ADDR     BITS(51, 12)
#define SPP_ODD	     UINT64_C(0xaaaaaaaaaaaaaaaa) /* of a vector; bit 2n is of sub-page n */
#define SUBPAGE_SIZE 128

#define QUALIFICATION_MISS BIT(11)

static bool misconfigured(const struct cpu *cpu, unsigned level, uint64_t entry)
{
	uint64_t width = cpu->mem->physical_bits;

	return entry & (level > 1 ? BITS(11, 1) | BITS(63, width) : SPP_ODD);
}

enum subpage mem_subpage_walk(struct cpu *cpu, pa_t gpa, unsigned size, la_t la)
{
	unsigned first = (unsigned)(gpa & ~PAGE_MASK) / SUBPAGE_SIZE;
	unsigned last = ((unsigned)(gpa & ~PAGE_MASK) + size - 1) / SUBPAGE_SIZE;
	pa_t table = cpu->spptp;

	for (unsigned level = 4;; level--) {
		uint64_t entry = mem_read_entry(cpu, table + (gpa >> (12 + 9 * (level - 1)) & 0x1ff) * 8, 8);

		if (level > 1 && !(entry & SPP_VALID)) {
			mem_vm_exit(cpu, EXIT_SPP, QUALIFICATION_MISS, la, gpa);
			return SUBPAGE_EXIT;
		}
		if (misconfigured(cpu, level, entry)) {
			mem_vm_exit(cpu, EXIT_SPP, 0, la, gpa);
			return SUBPAGE_EXIT;
		}
		if (level == 1) {
			for (unsigned i = first; i <= last; i++)
				if (!(entry >> 2 * i & 1))
					return SUBPAGE_DENIED;
			return SUBPAGE_ALLOWED;
		}
		table = entry & SPP_ADDR;
	}
}

/*
 * What the manual says about one access through 64-bit paging-structure entries, and one access as an observation.
 *
 * SDM vol. 3, "Determination of Access Rights", "Page-Fault Exceptions". The model knows P, R/W, U/S and XD of two
 * levels, and the modes that change their meaning; not reserved bits and protection keys.
 */
#ifndef PAGE_MODEL_H
#define PAGE_MODEL_H

#include "guest.h"

enum { PTE_P = 1, PTE_RW = 2, PTE_US = 4, PTE_PCD = 0x10, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
#define PTE_XD	(1ull << 63)
#define PTE_ALL (PTE_P | PTE_RW | PTE_US)

enum access { READ, WRITE, FETCH };
struct page_mode {
	bool wp, nxe, smep, smap, ac; /* ac: EFLAGS.AC, which lifts SMAP for explicit supervisor accesses */
};

/* "ok", or the error code of the page fault. */
static inline char *page_model(char *text, size_t size, struct page_mode m, u64 upper, u64 leaf, bool user,
			       enum access access)
{
	u64 both = upper & leaf;
	bool xd = m.nxe && (upper | leaf) & PTE_XD, user_page = both & PTE_US, allowed = both & PTE_P;

	if (user && !user_page)
		allowed = false;
	if (access == READ && !user && user_page && m.smap && !m.ac)
		allowed = false;
	if (access == WRITE) {
		if (!(both & PTE_RW) && (user || m.wp))
			allowed = false;
		if (!user && user_page && m.smap && !m.ac)
			allowed = false;
	}
	if (access == FETCH && (xd || (!user && user_page && m.smep)))
		allowed = false;
	if (allowed)
		return format_text(text, size, "ok");
	return format_text(text, size, "%x",
			   (u32)(both & PTE_P) | (access == WRITE ? 2 : 0) | (user ? 4 : 0) |
				   (access == FETCH && (m.nxe || m.smep) ? 16 : 0));
}

/* The outcome of an experiment that touches only address: "ok", or the error code when CR2 is right. */
static inline char *page_seen(char *text, size_t size, struct ctx c, ulong address)
{
	if (c.vector == VEC_PF && c.cr2 == address)
		return format_text(text, size, "%x", (u32)c.error);
	return format_text(text, size, "%s", outcome(c));
}

/* Six accesses (ring 0 and 3; read, write, fetch) to a page at address that holds INT 0x80; one line of the report. */
static inline void page_line(const char *name, struct page_mode m, u64 upper, u64 leaf, ulong address, ulong read_code,
			     ulong write_code)
{
	char seen[6][24], expected[6][24], line[160];

	for (u32 k = 0; k < 6; k++) {
		enum access access = k % 3;
		ulong code = access == READ ? read_code : access == WRITE ? write_code : address;
		ulong flags = FLAG_FIXED | (m.ac ? FLAG_AC : 0);
		struct ctx c;

		page_model(expected[k], sizeof(expected[k]), m, upper, leaf, k >= 3, access);
		if (k < 3)
			c = TRY(RING0, code, .flags = flags, .bx = address);
		else
			c = TRY(RING3, code, .flags = flags, .bx = address);
		page_seen(seen[k], sizeof(seen[k]), c, address);
	}
	format_text(line, sizeof(line), "ring0 %s %s %s ring3 %s %s %s", expected[0], expected[1], expected[2],
		    expected[3], expected[4], expected[5]);
	check(name, line, "ring0 %s %s %s ring3 %s %s %s", seen[0], seen[1], seen[2], seen[3], seen[4], seen[5]);
}

/* All combinations of P, R/W, U/S and XD (only with NXE) in a leaf under a permissive or a strict upper entry. */
static inline void page_matrix(const char *group, struct page_mode m, u64 *upper, u64 *leaf, ulong address, u64 data,
			       ulong read_code, ulong write_code)
{
	const u64 table = *upper & ~0x8000000000000fffull;

	for (u32 i = 0; i < (m.nxe ? 32u : 16u); i++) {
		u64 upper_flags = i & 8 ? PTE_P : PTE_ALL, leaf_flags = (i & 7) | (i & 16 ? PTE_XD : 0);
		char name[64];

		*upper = table | upper_flags;
		*leaf = data | leaf_flags;
		write_cr3(read_cr3());
		format_text(name, sizeof(name), "%s/upper-%s-leaf-%c%c%c%s", group, i & 8 ? "srp" : "uwp",
			    i & 4 ? 'u' : 's', i & 2 ? 'w' : 'r', i & 1 ? 'p' : '-', i & 16 ? "-xd" : "");
		page_line(name, m, upper_flags, leaf_flags, address, read_code, write_code);
	}
	if (m.nxe) {
		*upper = table | PTE_ALL | PTE_XD;
		*leaf = data | PTE_ALL;
		write_cr3(read_cr3());
		char name[64];

		page_line(format_text(name, sizeof(name), "%s/upper-xd", group), m, PTE_ALL | PTE_XD, PTE_ALL, address,
			  read_code, write_code);
	}
	*upper = table | PTE_ALL;
	*leaf = data | PTE_ALL;
	write_cr3(read_cr3());
}

#endif

/*
 * The walk of extended page tables: guest-physical to physical address, in non-root operation with an EPT pointer.
 *
 * SDM vol. 3, "The Extended Page Table Mechanism (EPT)": "EPT Translation Mechanism", "EPT-Induced VM Exits", "Accessed
 * and Dirty Flags for EPT", "Page-Modification Logging", "Convertible EPT Violations". Memory types change nothing here and are only
 * checked. Not done: supervisor shadow-stack control, for want of CET.
 */
#include "mem/private.h"
#include <stdlib.h>

#define EPT_READ	 BIT(0)
#define EPT_WRITE	 BIT(1)
#define EPT_EXECUTE	 BIT(2) /* of supervisor-mode linear addresses, with mode-based execute control */
#define EPT_PAGE	 BIT(7)
#define EPT_A		 BIT(8)
#define EPT_D		 BIT(9)
#define EPT_USER_EXECUTE BIT(10) /* with mode-based execute control */
#define EPT_ADDR	 BITS(51, 12)
#define EPT_VERIFY	  BIT(57) /* with "guest-paging verification", of an entry that maps a page */
#define EPT_PAGING	  BIT(58) /* with "EPT paging-write control", of an entry that maps a page */
#define EPT_SUBPAGE_WRITE BIT(61)
#define EPT_SUPPRESS_VE	 BIT(63) /* with "EPT-violation #VE"; of an entry that maps a page or is not present */

#define MAX_LEVELS  5
#define PML_ENTRIES 512

/* SDM vol. 3, "Exit Qualification for EPT Violations". Bits 5:3, and 6 with mode-based execute control, tell what the
 * EPT entries allow. */
#define VIOLATION_READ	     BIT(0)
#define VIOLATION_WRITE	     BIT(1)
#define VIOLATION_FETCH	     BIT(2)
#define VIOLATION_USER_X     BIT(6)
#define VIOLATION_LINEAR     BIT(7)
#define VIOLATION_FINAL	     BIT(8)
#define VIOLATION_USER	     BIT(9)
#define VIOLATION_WRITABLE   BIT(10)
#define VIOLATION_NO_EXECUTE BIT(11)
#define VIOLATION_UNVERIFIED BIT(15)

struct ept_path {
	unsigned used; /* entries passed */
	pa_t at[MAX_LEVELS];
	uint64_t entry[MAX_LEVELS];
};

bool mem_vm_exit(struct cpu *cpu, enum exit_reason reason, uint64_t qualification, la_t la, pa_t gpa)
{
	cpu->fault = (struct fault){
		.kind = FAULT_VM_EXIT,
		.reason = reason,
		.qualification = qualification,
		.linear = la,
		.physical = gpa,
		.length = cpu->insn ? cpu->insn->len : 0,
	};
	if (log_on(cpu->log, LOG_MMU))
		log_line(cpu->log, LOG_MMU,
			 "cpu %u: VM exit %u, qualification %#llx, guest-physical %#llx, linear %#llx", cpu->number,
			 reason, (unsigned long long)qualification, (unsigned long long)gpa, (unsigned long long)la);
	return true;
}

/* Controls under which an entry says more than a mapping keeps. */
#define EPT_SPECIAL (EPT_SUBPAGE | EPT_PAGING_WRITE | EPT_VERIFY_PAGING)

static struct guest_mapping *guest_mapping(struct mem_cpu *mem, pa_t gpa)
{
	return &mem->guest_mapping[gpa / PAGE_SIZE % GUEST_MAPPINGS];
}

void mem_forget_guest_mappings(struct mem_cpu *mem, uint64_t eptp)
{
	for (unsigned i = 0; mem->guest_mapping && i < GUEST_MAPPINGS; i++)
		if (!eptp || ((mem->guest_mapping[i].eptp ^ eptp) & EPT_ADDR) == 0)
			mem->guest_mapping[i].eptp = 0;
}

static unsigned rights_of(const struct cpu *cpu, const struct ept_access *how, uint64_t allowed)
{
	bool user_execute = (cpu->ept_controls & EPT_MODE_BASED_EXECUTE) && how->user;

	return (allowed & EPT_READ ? ACCESS_READ : 0) | (allowed & EPT_WRITE ? ACCESS_WRITE : 0) |
	       (allowed & (user_execute ? EPT_USER_EXECUTE : EPT_EXECUTE) ? ACCESS_EXEC : 0);
}

/*
 * Is the access allowed by a mapping that is known, and does it set no flag? Processors may go by what is known, and a
 * VMM has to execute INVEPT when it has cleared a dirty flag. But they keep translations of pages in TLBs, not here, so
 * that one without INVEPT works as long as something else flushes those: the flag of the page accessed is looked at.
 */
static bool is_known(struct cpu *cpu, pa_t gpa, const struct ept_access *how, struct translation *t)
{
	const struct guest_mapping *known = mem_guest_mapping(cpu, gpa);
	unsigned rights;

	if (!known)
		return false;
	rights = rights_of(cpu, how, known->allowed);
	if ((rights & how->access) != how->access || ((how->access & ACCESS_WRITE) && !known->dirty))
		return false;
	if (how->final && known->dirty && ept_flags_enabled(cpu) && !(mem_read_entry(cpu, known->at, 8) & EPT_D))
		return false;
	t->pa = known->pa | (gpa & ~PAGE_MASK);
	t->rights = rights;
	t->dirty = known->dirty;
	t->paging_write = false;
	return true;
}

static void make_known(struct cpu *cpu, pa_t gpa, uint64_t allowed, pa_t at, const struct translation *t)
{
	/* What an access to guest paging structures has to be allowed, and that it sets no flag. */
	uint64_t needs = ept_flags_enabled(cpu) ? EPT_READ | EPT_WRITE : EPT_READ;
	bool readable = (allowed & needs) == needs && t->dirty;
	pa_t page = t->pa & PAGE_MASK;

	if (!cpu->mem->guest_mapping)
		cpu->mem->guest_mapping = xcalloc(GUEST_MAPPINGS, sizeof(struct guest_mapping));
	*guest_mapping(cpu->mem, gpa) =
		(struct guest_mapping){.gpa = gpa & PAGE_MASK,
				       .eptp = cpu->eptp,
				       .pa = page,
				       .table = readable ? mem_ram_at(cpu, page, PAGE_SIZE) : NULL,
				       .allowed = allowed & (EPT_READ | EPT_WRITE | EPT_EXECUTE | EPT_USER_EXECUTE),
				       .controls = cpu->ept_controls,
				       .smm = cpu->in_smm,
				       .dirty = t->dirty,
				       .writable = t->dirty && (allowed & EPT_WRITE),
				       .at = at};
}

/* allowed: the bits that all entries used have, none when one was not present. last: the entry that ended the walk. */
static bool violation(struct cpu *cpu, pa_t gpa, const struct ept_access *how, uint64_t allowed, uint64_t last,
		      bool unverified)
{
	uint64_t qualification = (allowed & (EPT_READ | EPT_WRITE | EPT_EXECUTE)) << 3;

	if (how->access & ACCESS_READ)
		qualification |= VIOLATION_READ;
	if (how->access & ACCESS_WRITE)
		qualification |= VIOLATION_WRITE;
	if (how->access & ACCESS_EXEC)
		qualification |= VIOLATION_FETCH;
	if ((cpu->ept_controls & EPT_MODE_BASED_EXECUTE) && (allowed & EPT_USER_EXECUTE))
		qualification |= VIOLATION_USER_X;
	if (how->linear)
		qualification |= VIOLATION_LINEAR;
	if (how->final) {
		qualification |= VIOLATION_FINAL;
		if (cpu->ept_controls & EPT_ADVANCED_INFO)
			qualification |= (how->user ? VIOLATION_USER : 0) | (how->writable ? VIOLATION_WRITABLE : 0) |
					 (how->no_execute ? VIOLATION_NO_EXECUTE : 0);
	}
	if (unverified)
		qualification |= VIOLATION_UNVERIFIED;
	/* An EPT violation invalidates what is cached for its addresses: whoever mends the entry needs no INVEPT. */
	if (how->update && cpu->mem->guest_mapping)
		guest_mapping(cpu->mem, gpa)->eptp = 0;
	if (how->linear && how->update)
		mem_forget_page(cpu->mem->current, how->la);
	mem_vm_exit(cpu, EXIT_EPT_VIOLATION, qualification, how->la, gpa);
	cpu->fault.convertible = (cpu->ept_controls & EPT_VIOLATION_VE) && !(last & EPT_SUPPRESS_VE);
	return true;
}

/* SDM vol. 3, "EPT Misconfigurations", of an entry that is present. level: 1 is the PTE; leaf: it maps a page. */
static bool misconfigured(const struct cpu *cpu, unsigned level, bool leaf, uint64_t entry)
{
	uint64_t reserved = cpu->mem->physical_bits < 52 ? BITS(51, cpu->mem->physical_bits) : 0;
	uint64_t execute = EPT_EXECUTE | (cpu->ept_controls & EPT_MODE_BASED_EXECUTE ? EPT_USER_EXECUTE : 0);

	if (!(entry & EPT_READ) &&
	    ((entry & EPT_WRITE) || ((entry & execute) && !(cpu->ept_controls & EPT_EXECUTE_ONLY))))
		return true;
	if (leaf) {
		unsigned type = (unsigned)bits_get(entry, 5, 3);

		if (!(entry & EPT_READ) && (entry & EPT_PAGING) && (cpu->ept_controls & EPT_PAGING_WRITE))
			return true;
		if (type == 2 || type == 3 || type == 7)
			return true;
		if (level > 1)
			reserved |= BITS(12 + 9 * (level - 1) - 1, 12);
	} else {
		reserved |= BITS(7, 3); /* bit 7 too: where it may be set, it makes a leaf */
	}
	return entry & reserved;
}

static bool maps_page(const struct cpu *cpu, unsigned level, uint64_t entry)
{
	switch (level) {
	case 1: return true;
	case 2: return (entry & EPT_PAGE) && (cpu->ept_controls & EPT_PAGES_2M);
	case 3: return (entry & EPT_PAGE) && (cpu->ept_controls & EPT_PAGES_1G);
	default: return false;
	}
}

/* Accessed flags of the entries used, and the dirty flag of the last for a write; log the page when that one changes.
 * True: the log is full. */
static bool set_flags(struct cpu *cpu, pa_t gpa, bool write, struct ept_path *path)
{
	bool logs = cpu->ept_controls & EPT_PML, full = logs && cpu->pml_index >= PML_ENTRIES;

	for (unsigned i = 0; i < path->used; i++) {
		bool dirties = write && i == path->used - 1 && !(path->entry[i] & EPT_D);

		if ((path->entry[i] & EPT_A) && !dirties)
			continue;
		if (full)
			return mem_vm_exit(cpu, EXIT_PML_FULL, 0, 0, 0);
		path->entry[i] |= EPT_A | (dirties ? EPT_D : 0);
		mem_write_entry(cpu, path->at[i], 8, path->entry[i]);
		if (dirties && logs) {
			mem_write_entry(cpu, cpu->pml_address + 8 * cpu->pml_index, 8, gpa & PAGE_MASK);
			cpu->pml_index--;
		}
	}
	return false;
}

/* May sub-page write permissions allow what the rights deny? Only of a 4-KByte page, when the write bit of the last
 * entry alone is missing, and not for the guest's paging structures. */
static bool asks_subpages(const struct cpu *cpu, const struct ept_access *how, unsigned level, uint64_t above,
			  unsigned rights, uint64_t last)
{
	return (cpu->ept_controls & EPT_SUBPAGE) && (last & EPT_SUBPAGE_WRITE) && level == 1 && how->final &&
	       (how->access & ~rights) == ACCESS_WRITE && (above & EPT_WRITE);
}

/* SDM vol. 3, "Guest-Paging Verification": of pages that ask for it. Without "EPT paging-write control" no page is one
 * for guest paging structures, and none asks. */
static bool unverified(const struct cpu *cpu, const struct ept_access *how, uint64_t last)
{
	return how->unverified && (last & EPT_VERIFY) && (cpu->ept_controls & EPT_VERIFY_PAGING) &&
	       (cpu->ept_controls & EPT_PAGING_WRITE);
}

static __attribute__((noinline)) bool walk(struct cpu *cpu, pa_t gpa, const struct ept_access *how, struct translation *t)
{
	uint64_t present = EPT_READ | EPT_WRITE | EPT_EXECUTE, allowed = ~UINT64_C(0), size;
	uint64_t above = allowed, last;
	unsigned level = cpu->eptp & BIT(5) ? 5 : 4; /* VM entry has checked that bits 5:3 are 3 or 4 */
	pa_t table = cpu->eptp & EPT_ADDR;
	struct ept_path path = {.used = 0};

	if (cpu->ept_controls & EPT_MODE_BASED_EXECUTE)
		present |= EPT_USER_EXECUTE;
	if (level == 4 && gpa >> 48) /* no entry could suppress #VE: the VMM hears of it */
		return violation(cpu, gpa, how, 0, EPT_SUPPRESS_VE, false);
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		pa_t at = table + (gpa >> shift & 0x1ff) * 8;
		uint64_t entry = mem_read_entry(cpu, at, 8);
		bool leaf = maps_page(cpu, level, entry);

		if (!(entry & present))
			return violation(cpu, gpa, how, 0, entry, false);
		if (misconfigured(cpu, level, leaf, entry))
			return mem_vm_exit(cpu, EXIT_EPT_MISCONFIGURATION, 0, 0, gpa);
		above = allowed;
		allowed &= entry;
		path.at[path.used] = at;
		path.entry[path.used++] = entry;
		table = entry & EPT_ADDR;
		if (leaf) {
			size = UINT64_C(1) << shift;
			break;
		}
	}
	last = path.entry[path.used - 1];
	t->pa = (table & ~(size - 1)) | (gpa & (size - 1));
	t->rights = rights_of(cpu, how, allowed);
	t->paging_write = (cpu->ept_controls & EPT_PAGING_WRITE) && (last & EPT_PAGING);
	if (t->paging_write && how->linear && !how->final && (above & EPT_WRITE))
		t->rights |= ACCESS_WRITE;
	if (how->update) {
		enum subpage subpage = SUBPAGE_DENIED;

		if (unlikely(asks_subpages(cpu, how, level, above, t->rights, last)))
			subpage = mem_subpage_walk(cpu, gpa, how->size, how->la);
		if (subpage == SUBPAGE_EXIT)
			return true;
		if ((t->rights & how->access) != how->access && subpage == SUBPAGE_DENIED)
			return violation(cpu, gpa, how, allowed, last, false);
		if (how->final && unverified(cpu, how, last))
			return violation(cpu, gpa, how, allowed, last, true);
		if (ept_flags_enabled(cpu) && set_flags(cpu, gpa, how->access & ACCESS_WRITE, &path))
			return true;
	}
	t->dirty = !ept_flags_enabled(cpu) || (path.entry[path.used - 1] & EPT_D);
	if ((how->update || !ept_flags_enabled(cpu)) && !(cpu->ept_controls & EPT_SPECIAL))
		make_known(cpu, gpa, allowed, path.at[path.used - 1], t);
	return false;
}

bool mem_ept_walk(struct cpu *cpu, pa_t gpa, const struct ept_access *how, struct translation *t)
{
	return !is_known(cpu, gpa, how, t) && walk(cpu, gpa, how, t);
}

static enum ept_end entry_end(const struct cpu *cpu, unsigned level, uint64_t entry)
{
	uint64_t present = EPT_READ | EPT_WRITE | EPT_EXECUTE |
			   (cpu->ept_controls & EPT_MODE_BASED_EXECUTE ? EPT_USER_EXECUTE : 0);
	bool leaf = maps_page(cpu, level, entry);

	if (!(entry & present))
		return EPT_NOT_PRESENT;
	if (misconfigured(cpu, level, leaf, entry))
		return EPT_MISCONFIGURED;
	return leaf ? EPT_MAPS_PAGE : EPT_GOES_ON;
}

unsigned mem_debug_ept(struct cpu *cpu, uint64_t eptp, uint32_t controls, gpa_t gpa,
		       struct ept_entry path[EPT_MOST_LEVELS])
{
	unsigned level = eptp & BIT(5) ? 5 : 4, used = 0;
	uint32_t in_force = cpu->ept_controls;
	pa_t table = eptp & EPT_ADDR;

	cpu->ept_controls = controls; /* for what is asked of an entry below */
	for (bool more = level == 5 || !(gpa >> 48); more; level--) {
		struct ept_entry *e = &path[used++];

		e->level = level;
		e->at = table + (gpa >> (12 + 9 * (level - 1)) & 0x1ff) * 8;
		e->entry = mem_read_entry(cpu, e->at, 8);
		e->end = entry_end(cpu, level, e->entry);
		table = e->entry & EPT_ADDR;
		more = e->end == EPT_GOES_ON;
	}
	cpu->ept_controls = in_force;
	return used;
}

/*
 * The page walk: linear to physical address in every paging mode, with the page-fault error code and the A and D bits.
 *
 * SDM vol. 3, "Paging": 32-bit, PAE, 4-level and 5-level paging, "Access Rights", "Page-Fault Exceptions", "Accessed
 * and Dirty Flags", "Protection Keys". One loop serves all modes: they differ in the number of levels, the entry size
 * and the reserved bits. A bits are set when the translation succeeds, for all entries at once, and the D bit with
 * them.
 *
 * HLAT paging, "HLAT Paging": the same from another root, until an entry says to begin again at CR3.
 *
 * With EPT the addresses in CR3 and in entries are guest-physical, and so is the walk's result: each goes through
 * mem_ept_walk(). SDM vol. 3, "EPT Translation Mechanism", "Prioritization of EPT Misconfigurations and EPT
 * Violations".
 */
#include "mem/private.h"

#define PTE_P	 BIT(0)
#define PTE_RW	 BIT(1)
#define PTE_US	 BIT(2)
#define PTE_A	 BIT(5)
#define PTE_D	 BIT(6)
#define PTE_PS	 BIT(7)
#define PTE_G	 BIT(8)
#define PTE_R	 BIT(11) /* of HLAT paging: restart */
#define PTE_ADDR BITS(51, 12)
#define PTE_XD	 BIT(63)

#define MAX_LEVELS 5

/* What the entries on the path allow together. */
struct path {
	bool user, writable, no_execute;
	bool unverified; /* an entry is in a page that EPT does not have for guest paging structures */
	unsigned key;
	unsigned writable_at;	   /* bits, as those below: EPT is known to let that entry be written */
	unsigned used;		   /* entries passed */
	pa_t at[MAX_LEVELS];	   /* where they are */
	pa_t guest_at[MAX_LEVELS]; /* and where the guest thinks so */
	uint64_t entry[MAX_LEVELS];
};

/* SDM vol. 3, "Address Wraparound" and A20M#: with the pin asserted, bit 20 of every physical address the CPU makes is
 * 0. */
static pa_t a20(const struct cpu *cpu, pa_t pa)
{
	return unlikely(cpu->a20m) ? pa & ~BIT(20) : pa;
}

uint8_t *mem_ram_at(struct cpu *cpu, pa_t pa, uint64_t size)
{
	struct bus_span span;

	pa = a20(cpu, pa);
	bus_lookup(cpu->bus, pa, cpu->in_smm, &span);
	return span.host && span.writable && pa + size - 1 <= span.end - 1 ? span.host + (pa - span.base) : NULL;
}

void mem_write_entry(struct cpu *cpu, pa_t pa, unsigned size, uint64_t value)
{
	uint8_t *host = mem_ram_at(cpu, pa, size);

	if (!host) {
		bus_write(cpu->bus, a20(cpu, pa), size, value, cpu->in_smm);
		return;
	}
	code_will_change(cpu, host, size);
	store_le(host, size, value);
}

uint64_t mem_read_entry(struct cpu *cpu, pa_t pa, unsigned size)
{
	uint8_t *host = mem_ram_at(cpu, pa, size);

	if (!host)
		return bus_read(cpu->bus, a20(cpu, pa), size, cpu->in_smm);
	return size == 8 ? load_le(host, 8) : load_le(host, 4); /* each is one load then */
}

/* Where an entry of the guest's paging structures is. True: a VM exit. */
static bool entry_at(struct cpu *cpu, la_t la, unsigned access, bool update, pa_t gpa, struct path *path, pa_t *pa)
{
	struct ept_access how = {.access = access, .linear = true, .update = update, .la = la};
	struct translation t;

	if (ept_flags_enabled(cpu))
		how.access |= ACCESS_READ | ACCESS_WRITE;
	if (mem_ept_walk(cpu, gpa, &how, &t))
		return true;
	*pa = t.pa;
	path->unverified |= !t.paging_write;
	return update && is_apic_access_page(cpu, t.pa) && mem_apic_guest_physical(cpu);
}

/*
 * Read an entry of the paging structures and say where it is. *at: as the tables have it; with EPT that is
 * guest-physical, and becomes physical. True: a VM exit. Inline, for the loops know the size.
 */
static inline __attribute__((always_inline)) bool read_entry(struct cpu *cpu, la_t la, unsigned size, bool update,
							     struct path *path, pa_t *at, uint64_t *entry)
{
	const struct guest_mapping *known = cpu->eptp ? mem_guest_mapping(cpu, *at) : NULL;

	/* path->unverified does not count then: where it would, no mapping is kept */
	if (known && likely(known->table) && !is_apic_access_page(cpu, known->pa)) {
		*entry = load_le(known->table + (*at & ~PAGE_MASK), size);
		*at = known->pa | (*at & ~PAGE_MASK);
		path->writable_at |= known->writable << path->used;
		return false;
	}
	if (cpu->eptp && entry_at(cpu, la, ACCESS_READ, update, *at, path, at))
		return true;
	*entry = mem_read_entry(cpu, *at, size);
	return false;
}

/* Take the guest's translation of la, complete in *t, through EPT. True: a VM exit. */
static bool final_address(struct cpu *cpu, la_t la, unsigned access, unsigned size, bool update,
			  const struct path *path, struct translation *t)
{
	struct ept_access how = {
		.access = access,
		.linear = true,
		.final = true,
		.update = update,
		.la = la,
		.user = path->user,
		.writable = path->writable,
		.no_execute = path->no_execute,
		.size = size,
		.unverified = path->unverified,
	};
	struct translation ept;

	if (mem_ept_walk(cpu, t->pa, &how, &ept))
		return true;
	t->pa = ept.pa;
	t->rights &= ept.rights;
	t->dirty &= ept.dirty;
	return false;
}

static bool page_fault(struct cpu *cpu, la_t la, unsigned access, struct requester who, uint32_t error)
{
	bool shows_fetch = ((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NXE)) || (cpu->cr4 & CR4_SMEP);

	error |= (access & ACCESS_WRITE ? PF_W : 0) | (who.user ? PF_U : 0);
	if ((access & ACCESS_EXEC) && shows_fetch)
		error |= PF_I;
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION, .vector = VECTOR_PF, .has_error = true, .error = error, .address = la};
	if (log_on(cpu->log, LOG_MMU))
		log_line(cpu->log, LOG_MMU, "cpu %u: page fault at %#llx, error %#x, rip %#llx", cpu->number,
			 (unsigned long long)la, error, (unsigned long long)cpu->rip);
	return true;
}

/* SDM vol. 3, "Determination of Access Rights" and "Protection Keys". *denied: data accesses that the page's key
 * forbids, whatever else forbids them. */
static unsigned rights(const struct cpu *cpu, const struct path *path, struct requester who, unsigned *denied)
{
	bool wp = cpu->cr0 & CR0_WP;
	unsigned allowed;

	*denied = 0;
	if (who.user) {
		if (!path->user)
			return 0;
		allowed = ACCESS_READ | (path->writable ? ACCESS_WRITE : 0) | (path->no_execute ? 0 : ACCESS_EXEC);
	} else {
		allowed =
			ACCESS_READ | (path->writable || !wp ? ACCESS_WRITE : 0) | (path->no_execute ? 0 : ACCESS_EXEC);
		if (path->user && (cpu->cr4 & CR4_SMEP))
			allowed &= ~ACCESS_EXEC;
		if (path->user && (cpu->cr4 & CR4_SMAP) && !who.smap_off)
			allowed &= ACCESS_EXEC;
	}
	if (path->user && (cpu->cr4 & CR4_PKE) && cpu_long_mode(cpu)) {
		unsigned pkru = cpu->fpu.pkru >> (2 * path->key) & 3;

		if (pkru & 1)
			*denied = ACCESS_READ | ACCESS_WRITE;
		else if ((pkru & 2) && (who.user || wp))
			*denied = ACCESS_WRITE;
		allowed &= ~*denied;
	}
	return allowed;
}

/* Reserved bits of an entry that is present. level: 1 is the PTE; leaf: it maps a page. */
static uint64_t reserved_bits(const struct cpu *cpu, unsigned level, bool leaf, uint64_t entry)
{
	uint64_t reserved = cpu->mem->physical_bits < 52 ? BITS(51, cpu->mem->physical_bits) : 0;

	if (!(cpu->efer & EFER_NXE))
		reserved |= PTE_XD;
	if (!cpu_long_mode(cpu)) /* PAE paging: bits 62:MAXPHYADDR */
		reserved |= BITS(62, 52);
	if (leaf && level == 2)
		reserved |= BITS(20, 13);
	if (leaf && level == 3)
		reserved |= BITS(29, 13);
	if ((entry & PTE_PS) && (level >= 4 || (level == 3 && !model_has(cpu->model, FEATURE_PDPE1GB))))
		reserved |= PTE_PS;
	return reserved;
}

/* A and D bits that a translation wants set in entry i of its path. */
static uint64_t wanted_bits(const struct path *path, unsigned i, bool write)
{
	return PTE_A | (write && i == path->used - 1 ? PTE_D : 0);
}

/* Set the A bits passed, and the D bit of the last entry for a write. */
static void mark(struct cpu *cpu, struct path *path, unsigned entry_size, bool write)
{
	for (unsigned i = 0; i < path->used; i++) {
		uint64_t want = wanted_bits(path, i, write);

		if ((path->entry[i] & want) != want) {
			mem_write_entry(cpu, path->at[i], entry_size,
					mem_read_entry(cpu, path->at[i], entry_size) | want);
			path->entry[i] |= want;
		}
	}
}

/* May mark() write? It reads and writes: SDM vol. 3, "Automatic Locking", has the flags set in locked cycles, and that
 * is how processors report it. When EPT has accessed and dirty flags, reading the entries has asked already. True: a VM
 * exit. */
static bool probe_mark(struct cpu *cpu, la_t la, struct path *path, bool write)
{
	pa_t pa;

	for (unsigned i = 0; i < path->used && !ept_flags_enabled(cpu); i++) {
		uint64_t want = wanted_bits(path, i, write);

		if ((path->entry[i] & want) != want && !(path->writable_at & 1u << i) &&
		    entry_at(cpu, la, ACCESS_READ | ACCESS_WRITE, true, path->guest_at[i], path, &pa))
			return true;
	}
	return false;
}

static bool finish(struct cpu *cpu, la_t la, unsigned access, struct requester who, bool update, struct path *path,
		   unsigned entry_size, struct translation *t)
{
	unsigned wanted = access & (ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC);
	bool write = access & ACCESS_WRITE;
	uint64_t leaf = path->entry[path->used - 1];
	unsigned denied;

	t->rights = rights(cpu, path, who, &denied);
	if (update && (t->rights & wanted) != wanted)
		return page_fault(cpu, la, access, who, PF_P | (denied & wanted ? PF_PK : 0));
	t->dirty = (leaf & PTE_D) || (update && write);
	t->global = (leaf & PTE_G) && (cpu->cr4 & CR4_PGE);
	if (cpu->eptp &&
	    ((update && probe_mark(cpu, la, path, write)) || final_address(cpu, la, wanted, who.size, update, path, t)))
		return true;
	if (update)
		mark(cpu, path, entry_size, write);
	return false;
}

/* SDM vol. 3, "32-Bit Paging", with PSE-36. */
static bool walk_32bit(struct cpu *cpu, la_t la, unsigned access, struct requester who, bool update,
		       struct translation *t)
{
	struct path path = {.user = true, .writable = true, .used = 0};
	pa_t table = cpu->cr3 & BITS(31, 12);

	for (unsigned level = 2; level >= 1; level--) {
		unsigned shift = level == 2 ? 22 : 12;
		pa_t guest_at = table + (la >> shift & 0x3ff) * 4, at = guest_at;
		uint64_t entry;

		if (read_entry(cpu, la, 4, update, &path, &at, &entry))
			return true;
		if (!(entry & PTE_P))
			return page_fault(cpu, la, access, who, 0);
		path.at[path.used] = at;
		path.guest_at[path.used] = guest_at;
		path.entry[path.used++] = entry;
		path.user &= (entry & PTE_US) != 0;
		path.writable &= (entry & PTE_RW) != 0;
		if (level == 2 && (entry & PTE_PS) && (cpu->cr4 & CR4_PSE)) {
			unsigned high = cpu->mem->physical_bits < 40 ? cpu->mem->physical_bits : 40;
			uint64_t reserved = BIT(21) | (high < 40 ? BITS(20, 13 + high - 32) : 0);

			if (entry & reserved)
				return page_fault(cpu, la, access, who, PF_P | PF_RSVD);
			t->size = UINT64_C(4) << 20;
			t->pa = (entry & BITS(31, 22)) | bits_get(entry, 20, 13) << 32 | (la & BITS(21, 0));
			return finish(cpu, la, access, who, update, &path, 4, t);
		}
		table = entry & BITS(31, 12);
	}
	t->size = PAGE_SIZE;
	t->pa = table | (la & BITS(11, 0));
	return finish(cpu, la, access, who, update, &path, 4, t);
}

/* Only with 4-level and 5-level paging. A prefix size of 1, the largest that is offered, is the upper half of addresses. */
static bool uses_hlat(const struct cpu *cpu, la_t la)
{
	return (cpu->ept_controls & EPT_HLAT) && cpu_long_mode(cpu) && (!cpu->hlat_prefix_size || la >> 63);
}

/* PAE, 4-level and 5-level paging: 8-byte entries, 9 bits of the address a level. */
static bool walk_64bit(struct cpu *cpu, la_t la, unsigned access, struct requester who, bool update,
		       struct translation *t)
{
	struct path path = {.user = true, .writable = true, .used = 0};
	bool hlat = cpu->eptp && uses_hlat(cpu, la);
	unsigned levels = cpu_long_mode(cpu) ? (cpu->cr4 & CR4_LA57 ? 5 : 4) : 2, level = levels;
	pa_t table = (hlat ? cpu->hlatp : cpu->cr3) & PTE_ADDR;
	uint64_t limit = ~UINT64_C(0); /* the size of what a restart was for: no larger page is cached */

	if (level == 2) { /* the PDPTEs are registers; their reserved bits were checked when they were loaded */
		uint64_t pdpte = cpu->pdpte[la >> 30 & 3];

		if (!(pdpte & PTE_P))
			return page_fault(cpu, la, access, who, 0);
		table = pdpte & PTE_ADDR;
	}
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		pa_t guest_at = table + (la >> shift & 0x1ff) * 8, at = guest_at;
		uint64_t entry;
		bool leaf;

		if (read_entry(cpu, la, 8, update, &path, &at, &entry))
			return true;
		leaf = level == 1 || (level <= 3 && (entry & PTE_PS));
		if (!(entry & PTE_P))
			return page_fault(cpu, la, access, who, hlat ? PF_HLAT : 0);
		if (entry & reserved_bits(cpu, level, leaf, entry))
			return page_fault(cpu, la, access, who, PF_P | PF_RSVD | (hlat ? PF_HLAT : 0));
		if (unlikely(hlat && (entry & PTE_R))) {
			path = (struct path){.user = true, .writable = true};
			hlat = false;
			limit = UINT64_C(1) << shift;
			table = cpu->cr3 & PTE_ADDR;
			level = levels + 1;
			continue;
		}
		path.at[path.used] = at;
		path.guest_at[path.used] = guest_at;
		path.entry[path.used++] = entry;
		path.user &= (entry & PTE_US) != 0;
		path.writable &= (entry & PTE_RW) != 0;
		path.no_execute |= (entry & PTE_XD) != 0;
		if (leaf) {
			uint64_t size = UINT64_C(1) << shift;

			path.key = (unsigned)bits_get(entry, 62, 59);
			t->size = min_u64(size, limit);
			t->pa = (entry & PTE_ADDR & ~(size - 1)) | (la & (size - 1));
			return finish(cpu, la, access, who, update, &path, 8, t);
		}
		table = entry & PTE_ADDR;
	}
}

bool mem_walk(struct cpu *cpu, la_t la, unsigned access, struct requester who, bool update, struct translation *t)
{
	if (!(cpu->cr0 & CR0_PG)) {
		*t = (struct translation){.pa = a20(cpu, la),
					  .size = PAGE_SIZE,
					  .rights = ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC,
					  .dirty = true};
		return cpu->eptp &&
		       final_address(cpu, la, access & (ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC), who.size, update,
				     &(struct path){.user = true, .writable = true}, t);
	}
	if (cpu->cr4 & CR4_PAE ? walk_64bit(cpu, la, access, who, update, t)
			       : walk_32bit(cpu, la, access, who, update, t))
		return true;
	t->pa = a20(cpu, t->pa);
	return false;
}

bool mem_read_pdptes(struct cpu *cpu, uint64_t cr3, uint64_t pdpte[4])
{
	uint64_t reserved = BITS(2, 1) | BITS(8, 5) | BIT(63) | BITS(62, cpu->mem->physical_bits);
	struct translation table = {.pa = cr3 & BITS(31, 5)};
	uint64_t entries[4];

	/* data reads even when EPT has accessed and dirty flags, and for no linear address */
	if (cpu->eptp &&
	    (mem_ept_walk(cpu, table.pa, &(struct ept_access){.access = ACCESS_READ, .update = true}, &table) ||
	     (is_apic_access_page(cpu, table.pa) && mem_apic_guest_physical(cpu))))
		return true;
	for (unsigned i = 0; i < 4; i++) {
		entries[i] = mem_read_entry(cpu, table.pa + 8 * i, 8);
		if ((entries[i] & PTE_P) && (entries[i] & reserved)) {
			cpu->fault = (struct fault){.kind = FAULT_EXCEPTION, .vector = VECTOR_GP, .has_error = true};
			return true;
		}
	}
	memcpy(pdpte, entries, sizeof(entries));
	return false;
}

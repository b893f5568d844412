/* What walk.c, tlb.c and access.c share and nobody else sees. */
#pragma once

#include "bus/bus.h"
#include "decode/insn.h"
#include "mem/access.h"

#define SPACES 32

/* A bank per way of being allowed: SDM vol. 3, "Determination of Access Rights". */
enum bank_kind {
	BANK_SUPERVISOR,    /* CPL below 3; user pages obey SMAP. Also implicit supervisor accesses */
	BANK_SUPERVISOR_AC, /* CPL below 3, SMAP suspended by RFLAGS.AC */
	BANK_USER,	    /* CPL 3 */
	BANK_USER_ALIGNED,  /* CPL 3 with alignment checks: data never hits */
	BANK_KINDS
};

/* All of the CPU's state that translations depend on besides the tags of their space. When it changes, nothing cached
 * holds. */
struct config {
	uint64_t cr0, cr4, efer, pkru, apic_base, dr7, ept, apic_access;
	uint64_t dr[4];
};

/*
 * One address space: a PCID, or all there is without PCIDs, of a VPID under an EPT pointer (0: linear mappings; else
 * combined mappings); SMM sees other memory.
 */
struct space_tag {
	uint64_t eptp;
	uint16_t pcid, vpid;
	bool smm;
};

struct space {
	struct space_tag tag;
	uint64_t stamp;		       /* when last current: the oldest is reused */
	struct bank *bank[BANK_KINDS]; /* made when first needed */
	struct config config;	       /* that what is cached was made under */
};

/*
 * A guest-physical mapping that was walked: SDM vol. 3, "Information That May Be Cached", of 4 KBytes whatever the page.
 * INVEPT and an EPT violation of the address end it; nothing else need.
 */
#define GUEST_MAPPINGS 1024
struct guest_mapping {
	pa_t gpa; /* of the page; with an EPT pointer of 0: none */
	uint64_t eptp;
	pa_t pa;
	uint8_t *table;	  /* host address of the page, when an entry of guest paging structures there is RAM to read at once */
	uint32_t allowed; /* the bits 10 and 2:0 that all its entries have */
	uint32_t controls;
	bool smm;
	bool dirty;    /* a write changes nothing in the entries */
	bool writable; /* and is allowed */
	pa_t at;       /* of the last entry */
};

struct mem_cpu {
	struct space space[SPACES];
	unsigned spaces; /* in use */
	struct space *current;
	struct config config;
	uint64_t stamp;
	unsigned physical_bits;
	bool watching; /* DR7 enables a data breakpoint */
	uint8_t *ram;
	uint64_t ram_size;
	uint8_t *written; /* a bit per RAM page that may have a write tag in some bank */
	struct code_ops code;
	const struct device_ops *apic_ops;
	void *apic;
	struct guest_mapping *guest_mapping; /* GUEST_MAPPINGS of them, by page number, once there was an EPT walk */
	uint8_t fetched[16]; /* copy of code bytes outside RAM and ROM */
};

/* Result of a walk. */
struct translation {
	pa_t pa;	 /* of the byte */
	uint64_t size;	 /* of the page: 4 KiB, 2 MiB, 4 MiB, 1 GiB */
	unsigned rights; /* ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC that this requester has */
	bool dirty;	 /* the D bit is set, so writes may be cached */
	bool paging_write; /* of mem_ept_walk(): the page is one for guest paging structures */
	bool global;
};

/* Who asks. */
struct requester {
	bool user;     /* user-mode access */
	bool smap_off; /* supervisor access with RFLAGS.AC: user pages are allowed */
	uint16_t size; /* bytes of the access, which is within a page */
};

/* walk.c: true is a fault in cpu->fault. update: set A and D bits, and fail with faults; otherwise look only. */
MUST_CHECK bool mem_walk(struct cpu *cpu, la_t la, unsigned access, struct requester who, bool update,
			 struct translation *t);

/* Host address of `size` bytes of RAM as page walks reach it, or NULL where they are anything else. */
uint8_t *mem_ram_at(struct cpu *cpu, pa_t pa, uint64_t size);
/* Physical memory as page walks reach it, 4 or 8 bytes. */
uint64_t mem_read_entry(struct cpu *cpu, pa_t pa, unsigned size);
void mem_write_entry(struct cpu *cpu, pa_t pa, unsigned size, uint64_t value);

/* A guest-physical access, as EPT judges it. */
struct ept_access {
	unsigned access;		 /* ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC */
	bool linear;			 /* it serves the translation of la, or the access there */
	bool final;			 /* the access itself, not one to guest paging structures; with linear */
	bool update;			 /* as of mem_walk() */
	bool user, writable, no_execute; /* with final: what the guest's paging structures say of la */
	unsigned size;			 /* with final: bytes of the access */
	bool unverified;		 /* with final: some of those are on other pages than paging_write has */
	la_t la;
};

/* ept.c: forget what INVEPT ends; an EPT pointer of 0 is all of them. */
void mem_forget_guest_mappings(struct mem_cpu *mem, uint64_t eptp);

/* The mapping of a guest-physical address that is known, or NULL. */
static inline const struct guest_mapping *mem_guest_mapping(const struct cpu *cpu, pa_t gpa)
{
	const struct guest_mapping *known = cpu->mem->guest_mapping;

	if (!known)
		return NULL;
	known += gpa / PAGE_SIZE % GUEST_MAPPINGS;
	return known->eptp == cpu->eptp && known->gpa == (gpa & PAGE_MASK) && known->controls == cpu->ept_controls &&
			       known->smm == cpu->in_smm
		       ? known
		       : NULL;
}

/* ept.c: true is a VM exit in cpu->fault. Fills pa, rights and dirty of *t. Called while cpu->eptp is not 0. */
MUST_CHECK bool mem_ept_walk(struct cpu *cpu, pa_t gpa, const struct ept_access *how, struct translation *t);

/* subpage.c: a write of a 4-KByte page that only the write bit of its EPT entry forbids. */
enum subpage { SUBPAGE_ALLOWED, SUBPAGE_DENIED, SUBPAGE_EXIT /* in cpu->fault */ };
enum subpage mem_subpage_walk(struct cpu *cpu, pa_t gpa, unsigned size, la_t la);

enum exit_reason {
#define X(number, name, title) EXIT_##name = number,
#include "vmx_exit_reasons.def"
#undef X
};

/* A VM exit for an access. Fills cpu->fault, and is true like any fault. */
bool mem_vm_exit(struct cpu *cpu, enum exit_reason reason, uint64_t qualification, la_t la, pa_t gpa);

/* apic_access.c: accesses to the page at cpu->apic_access_page. */

/*
 * An access by linear address: true is a VM exit in cpu->fault, false that it goes to the same place of the
 * virtual-APIC page. When such a write is done, call mem_apic_written().
 */
MUST_CHECK bool mem_apic_access(struct cpu *cpu, unsigned offset, unsigned size, unsigned access);
void mem_apic_written(struct cpu *cpu, unsigned offset, unsigned size);
/* A guest-physical access to it. Always true. */
bool mem_apic_guest_physical(struct cpu *cpu);

static inline bool is_apic_access_page(const struct cpu *cpu, pa_t pa)
{
	return unlikely(cpu->vapic_controls & VAPIC_ACCESSES) && ((pa ^ cpu->apic_access_page) & PAGE_MASK) == 0;
}

/* Are accesses to guest paging structures writes? SDM vol. 3, "Accessed and Dirty Flags for EPT". */
static inline bool ept_flags_enabled(const struct cpu *cpu)
{
	return cpu->eptp & BIT(6);
}

/* tlb.c */
void mem_forget_page(struct space *space, la_t la); /* all of its translations there */
/* A page fault at la. SDM vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches": whoever mends the
 * entry needs no INVLPG. present: a translation exists, so one may be cached. */
void mem_forget_faulting(struct space *space, la_t la, bool present);
struct bank *mem_bank(struct cpu *cpu, struct space *space, enum bank_kind kind);
void mem_fill(struct cpu *cpu, struct bank *bank, enum bank_kind kind, la_t la, const struct translation *t);
enum bank_kind mem_current_kind(const struct cpu *cpu);

static inline bool in_ram(const struct mem_cpu *mem, const uint8_t *host)
{
	return host >= mem->ram && host < mem->ram + mem->ram_size;
}

static inline uint64_t ram_page(const struct mem_cpu *mem, const uint8_t *host)
{
	return (uint64_t)(host - mem->ram) / PAGE_SIZE;
}

/* Tell the engine that RAM bytes are about to change, when their page holds decoded code. */
static inline void code_will_change(struct cpu *cpu, const uint8_t *host, size_t size)
{
	struct mem_cpu *mem = cpu->mem;

	if (mem->code.code_pages && in_ram(mem, host) && mem->code.code_pages[ram_page(mem, host)])
		mem->code.written(mem->code.ctx, cpu, host, size);
}

static inline bool mem_canonical(const struct cpu *cpu, la_t la)
{
	return (uint64_t)sign_extend(la, cpu->cr4 & CR4_LA57 ? 57 : 48) == la;
}

/* Is this the page that the vCPU's own local APIC answers? */
static inline bool is_apic_page(const struct cpu *cpu, pa_t pa)
{
	return cpu->mem->apic_ops && (cpu->apic_base & (BIT(11) | BIT(10))) == BIT(11) &&
	       ((pa ^ cpu->apic_base) & PAGE_MASK & BITS(51, 0)) == 0;
}

/*
 * Banks of the software TLB: which one counts, filling a slot, invalidation.
 *
 * SDM vol. 3, "Caching Translation Information" and "Invalidation of TLBs and Paging-Structure Caches".
 * Paging-structure caches are not modelled: a walk always reads memory.
 *
 * Under VMX a space also has the tags of vol. 3, "Caching Translation Information" (the chapter on VMX support for
 * address translation): VPID and EPT pointer. Each space remembers the control registers it was filled under, so that
 * VM entries and exits need no flush for changing them.
 */
#include "cpu/msr.h"
#include "mem/private.h"
#include <stdlib.h>

static void clear_slot(struct tlb_entry *entry)
{
	entry->read = entry->write = entry->exec = TLB_INVALID;
}

static void clear_jumps(struct bank *bank)
{
	for (unsigned i = 0; i < JUMP_ENTRIES; i++)
		bank->jump[i] = (struct jump_entry){.la = TLB_INVALID};
}

static void bank_flush(struct bank *bank, bool keep_global)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < bank->fill_count; i++) {
		unsigned slot = bank->filled[i];

		if (keep_global && bank->global[slot]) {
			bank->filled[kept++] = (uint16_t)slot;
			continue;
		}
		clear_slot(&bank->tlb[slot]);
		bank->listed[slot] = 0;
	}
	bank->fill_count = kept;
	if (!kept)
		bank->large_base = TLB_INVALID;
}

static void space_flush(struct space *space, bool keep_global)
{
	for (unsigned kind = 0; kind < BANK_KINDS; kind++)
		if (space->bank[kind])
			bank_flush(space->bank[kind], keep_global);
}

struct bank *mem_bank(struct cpu *cpu, struct space *space, enum bank_kind kind)
{
	struct bank *bank = space->bank[kind];

	if (bank)
		return bank;
	bank = xcalloc(1, sizeof(*bank));
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		clear_slot(&bank->tlb[i]);
	clear_jumps(bank);
	bank->large_base = TLB_INVALID;
	space->bank[kind] = bank;
	return bank;
}

static bool is_space(const struct space *space, const struct space_tag *tag)
{
	return space->tag.eptp == tag->eptp && space->tag.pcid == tag->pcid && space->tag.vpid == tag->vpid &&
	       space->tag.smm == tag->smm;
}

static struct space *find_space(struct mem_cpu *mem, const struct space_tag *tag)
{
	struct space *oldest = &mem->space[0];

	for (unsigned i = 0; i < mem->spaces; i++) {
		struct space *space = &mem->space[i];

		if (is_space(space, tag))
			return space;
		if (space->stamp < oldest->stamp)
			oldest = space;
	}
	if (mem->spaces < SPACES)
		oldest = &mem->space[mem->spaces++];
	space_flush(oldest, false);
	oldest->tag = *tag;
	return oldest;
}

enum bank_kind mem_current_kind(const struct cpu *cpu)
{
	if (cpu->cpl == 3)
		return (cpu->cr0 & CR0_AM) && (cpu->rflags & RFLAGS_AC) ? BANK_USER_ALIGNED : BANK_USER;
	return (cpu->cr4 & CR4_SMAP) && (cpu->rflags & RFLAGS_AC) ? BANK_SUPERVISOR_AC : BANK_SUPERVISOR;
}

/* Does DR7 enable a breakpoint on data? R/W is 1 or 3. */
static bool watches_data(uint64_t dr7)
{
	for (unsigned i = 0; i < 4; i++)
		if ((dr7 >> (2 * i) & 3) && (dr7 >> (16 + 4 * i) & 1))
			return true;
	return false;
}

/* Member by member, for VM entry and VM exit come here too. */
static void get_config(const struct cpu *cpu, struct config *config)
{
	config->cr0 = cpu->cr0 & (CR0_PG | CR0_WP);
	config->cr4 = cpu->cr4 &
		      (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE);
	config->efer = cpu->efer & (EFER_NXE | EFER_LMA);
	config->pkru = cpu->cr4 & CR4_PKE ? cpu->fpu.pkru : 0;
	config->apic_base = cpu->apic_base;
	config->ept = cpu->eptp ? cpu->ept_controls : 0;
	config->apic_access = cpu->vapic_controls & VAPIC_ACCESSES ? cpu->apic_access_page : ~UINT64_C(0);
	config->dr7 = cpu->dr7 & 0xff ? cpu->dr7 : 0;
	for (unsigned i = 0; i < 4; i++)
		config->dr[i] = config->dr7 ? cpu->dr[i] : 0;
}

void mem_context_changed(struct cpu *cpu)
{
	struct mem_cpu *mem = cpu->mem;
	struct space_tag tag = {.eptp = cpu->eptp,
				.pcid = cpu->cr4 & CR4_PCIDE ? cpu->cr3 & CR3_PCID : 0,
				.vpid = cpu->vpid,
				.smm = cpu->in_smm};
	struct space *space = mem->current;
	struct config config;

	get_config(cpu, &config);
	/* With the same tags it was a MOV to a control register, else a VM entry or exit. */
	if (space && space->tag.vpid == tag.vpid && space->tag.eptp == tag.eptp &&
	    memcmp(&config, &mem->config, sizeof(config)) != 0)
		mem_flush_vpid(cpu, tag.vpid, false);
	mem->config = config;
	mem->watching = unlikely(config.dr7) && watches_data(config.dr7);
	if (!space || !is_space(space, &tag)) {
		mem->current = space = find_space(mem, &tag);
		space->stamp = ++mem->stamp;
	}
	if (memcmp(&config, &space->config, sizeof(config)) != 0) {
		space_flush(space, false);
		space->config = config;
	}
	cpu->bank = mem_bank(cpu, space, mem_current_kind(cpu));
}

void mem_privilege_changed(struct cpu *cpu)
{
	cpu->bank = mem_bank(cpu, cpu->mem->current, mem_current_kind(cpu));
}

/* Is a data breakpoint in this page? Such a page never hits. SDM vol. 3, "Debug Registers". */
static bool watched(const struct cpu *cpu, la_t page)
{
	for (unsigned i = 0; i < 4; i++)
		if ((cpu->dr7 >> (2 * i) & 3) && (cpu->dr7 >> (16 + 4 * i) & 1) &&
		    ((cpu->dr[i] ^ page) & PAGE_MASK) == 0)
			return true;
	return false;
}

void mem_fill(struct cpu *cpu, struct bank *bank, enum bank_kind kind, la_t la, const struct translation *t)
{
	struct mem_cpu *mem = cpu->mem;
	la_t page = la & PAGE_MASK;
	pa_t pa = t->pa & PAGE_MASK;
	struct tlb_entry *entry = tlb_slot(bank, la);
	size_t slot = (size_t)(entry - bank->tlb);
	struct bus_span span;
	uint8_t *host;
	bool data;

	bus_lookup(cpu->bus, pa, cpu->in_smm, &span);
	if (!span.host || pa + PAGE_SIZE - 1 > span.end - 1 || is_apic_page(cpu, pa) || is_apic_access_page(cpu, pa))
		return;
	host = span.host + (pa - span.base);
	data = kind != BANK_USER_ALIGNED && !(mem->watching && watched(cpu, page));
	entry->delta = (uintptr_t)host - (uintptr_t)page;
	entry->read = data && (t->rights & ACCESS_READ) ? page : TLB_INVALID;
	entry->exec = (t->rights & ACCESS_EXEC) && (in_ram(mem, host) || !span.writable) ? page : TLB_INVALID;
	entry->write = TLB_INVALID;
	if (data && (t->rights & ACCESS_WRITE) && t->dirty && span.writable) {
		if (!in_ram(mem, host)) {
			entry->write = page;
		} else if (!mem->code.code_pages || !mem->code.code_pages[ram_page(mem, host)]) {
			entry->write = page;
			mem->written[ram_page(mem, host) / 8] |= 1 << ram_page(mem, host) % 8;
		}
	}
	bank->global[slot] = t->global;
	if (!bank->listed[slot]) {
		bank->listed[slot] = 1;
		bank->filled[bank->fill_count++] = (uint16_t)slot;
	}
	if (t->size > PAGE_SIZE) { /* INVLPG of any address in a large page must find all its slots */
		la_t mask = ~(t->size - 1);

		if (bank->large_base == TLB_INVALID) {
			bank->large_base = la & mask;
			bank->large_mask = mask;
		} else {
			mask &= bank->large_mask;
			while ((bank->large_base ^ la) & mask)
				mask <<= 1;
			bank->large_base &= mask;
			bank->large_mask = mask;
		}
	}
}

void mem_flush_all(struct cpu *cpu)
{
	mem_forget_guest_mappings(cpu->mem, 0);
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		space_flush(&cpu->mem->space[i], false);
}

void mem_flush_vpid(struct cpu *cpu, uint16_t vpid, bool keep_global)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.vpid == vpid)
			space_flush(&cpu->mem->space[i], keep_global);
}

void mem_flush_vpids(struct cpu *cpu)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.vpid)
			space_flush(&cpu->mem->space[i], false);
}

void mem_flush_ept(struct cpu *cpu, uint64_t eptp)
{
	mem_forget_guest_mappings(cpu->mem, eptp);
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.eptp && ((cpu->mem->space[i].tag.eptp ^ eptp) & BITS(51, 12)) == 0)
			space_flush(&cpu->mem->space[i], false);
}

void mem_flush_epts(struct cpu *cpu)
{
	mem_forget_guest_mappings(cpu->mem, 0);
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.eptp)
			space_flush(&cpu->mem->space[i], false);
}

void mem_flush_non_global(struct cpu *cpu)
{
	mem_flush_vpid(cpu, cpu->vpid, true);
}

void mem_flush_pcid(struct cpu *cpu, unsigned pcid)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.vpid == cpu->vpid && cpu->mem->space[i].tag.pcid == pcid)
			space_flush(&cpu->mem->space[i], true);
}

static void bank_flush_page(struct bank *bank, la_t la, bool keep_global)
{
	struct tlb_entry *entry = tlb_slot(bank, la);
	la_t page = la & PAGE_MASK;

	if (bank->large_base != TLB_INVALID && ((la ^ bank->large_base) & bank->large_mask) == 0)
		bank_flush(bank, keep_global);
	else if ((entry->read == page || entry->write == page || entry->exec == page) &&
		 !(keep_global && bank->global[entry - bank->tlb]))
		clear_slot(entry);
}

static void space_flush_page(struct space *space, la_t la, bool keep_global)
{
	for (unsigned kind = 0; kind < BANK_KINDS; kind++)
		if (space->bank[kind])
			bank_flush_page(space->bank[kind], la, keep_global);
}

void mem_forget_page(struct space *space, la_t la)
{
	space_flush_page(space, la, false);
}

static bool is_cached(const struct space *space, la_t la)
{
	for (unsigned kind = 0; kind < BANK_KINDS; kind++) {
		const struct tlb_entry *entry = space->bank[kind] ? tlb_slot(space->bank[kind], la) : NULL;
		la_t page = la & PAGE_MASK;

		if (entry && (entry->read == page || entry->write == page || entry->exec == page))
			return true;
	}
	return false;
}

/* Most faults are of pages that are not present: those find nothing, and must not empty a bank for a large page. */
void mem_forget_faulting(struct space *space, la_t la, bool present)
{
	if (present || is_cached(space, la))
		mem_forget_page(space, la);
}

void mem_flush_vpid_page(struct cpu *cpu, uint16_t vpid, la_t la)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.vpid == vpid)
			space_flush_page(&cpu->mem->space[i], la, false);
}

/* INVLPG: translations of the page for the current PCID, and global ones of every PCID. */
void mem_flush_page(struct cpu *cpu, la_t la)
{
	mem_flush_vpid_page(cpu, cpu->vpid, la);
}

void mem_flush_page_pcid(struct cpu *cpu, unsigned pcid, la_t la)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		if (cpu->mem->space[i].tag.vpid == cpu->vpid && cpu->mem->space[i].tag.pcid == pcid)
			space_flush_page(&cpu->mem->space[i], la, true);
}

void mem_code_page_flagged(struct cpu *cpu, const uint8_t *host_page)
{
	struct mem_cpu *mem = cpu->mem;
	uint64_t number = ram_page(mem, host_page);

	if (!(mem->written[number / 8] & 1 << number % 8))
		return;
	mem->written[number / 8] &= ~(1 << number % 8);
	for (unsigned i = 0; i < mem->spaces; i++)
		for (unsigned kind = 0; kind < BANK_KINDS; kind++) {
			struct bank *bank = mem->space[i].bank[kind];

			for (unsigned f = 0; bank && f < bank->fill_count; f++) {
				struct tlb_entry *entry = &bank->tlb[bank->filled[f]];

				if (entry->write != TLB_INVALID && entry->write + entry->delta == (uintptr_t)host_page)
					entry->write = TLB_INVALID;
			}
		}
}

void mem_forget_code(struct cpu *cpu)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		for (unsigned kind = 0; kind < BANK_KINDS; kind++)
			if (cpu->mem->space[i].bank[kind])
				clear_jumps(cpu->mem->space[i].bank[kind]);
}

void mem_cpu_create(struct cpu *cpu)
{
	struct mem_cpu *mem = xcalloc(1, sizeof(*mem));

	mem->ram = bus_ram(cpu->bus);
	mem->ram_size = bus_ram_size(cpu->bus);
	mem->physical_bits = cpu->model->physical_bits;
	mem->written = xcalloc(mem->ram_size / PAGE_SIZE / 8 + 1, 1);
	cpu->mem = mem;
	mem_context_changed(cpu);
}

void mem_cpu_destroy(struct cpu *cpu)
{
	for (unsigned i = 0; i < cpu->mem->spaces; i++)
		for (unsigned kind = 0; kind < BANK_KINDS; kind++)
			free(cpu->mem->space[i].bank[kind]);
	free(cpu->mem->written);
	free(cpu->mem->guest_mapping);
	free(cpu->mem);
	cpu->mem = NULL;
	cpu->bank = NULL;
}

bool mem_write_msr(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if (!msr_write(cpu, index, value))
		return false;
	/* EFER.NXE decides whether bit 63 of an entry is reserved; the local APIC's page may have moved. What was
	 * cached under other values goes, and other VPIDs keep theirs: VM entries and exits load EFER from lists. */
	if (index == MSR_EFER || index == MSR_APIC_BASE) {
		cpu_mode_changed(cpu);
		mem_context_changed(cpu);
	}
	return true;
}

static void update_a20m(struct cpu *cpu)
{
	bool asserted = cpu->a20m_pin && !cpu->a20m_blocked;

	if (cpu->a20m == asserted)
		return;
	cpu->a20m = asserted;
	mem_flush_all(cpu);
}

void mem_set_a20m(struct cpu *cpu, bool asserted)
{
	cpu->a20m_pin = asserted;
	update_a20m(cpu);
}

void mem_block_a20m(struct cpu *cpu, bool blocked)
{
	cpu->a20m_blocked = blocked;
	update_a20m(cpu);
}

void mem_connect_code(struct cpu *cpu, const struct code_ops *ops)
{
	cpu->mem->code = *ops;
}

void mem_connect_apic(struct cpu *cpu, const struct device_ops *ops, void *apic)
{
	cpu->mem->apic_ops = ops;
	cpu->mem->apic = apic;
}

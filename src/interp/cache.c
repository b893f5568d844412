/*
 * Building, finding and dropping blocks.
 *
 * A block is known by the host address of its bytes and the mode, so mappings may change without touching it. What it
 * depends on are the bytes: RAM pages with blocks are flagged, mem/ reports writes to them, and blocks whose bytes are
 * hit die at once. Their memory stays until the arena is emptied.
 */
#include "interp/cache.h"
#include "base/error.h"
#include <stdlib.h>
#include <sys/mman.h>

#define ARENA_SIZE (UINT64_C(40) << 20)
#define HASH_SIZE  65536

static size_t block_size(unsigned insns)
{
	return sizeof(struct block) + (insns + 1) * sizeof(struct insn);
}

void cache_create(struct interp *interp)
{
	interp->arena_size = ARENA_SIZE;
	interp->arena =
		mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (interp->arena == MAP_FAILED)
		abort();
	interp->hash = xcalloc(HASH_SIZE, sizeof(struct block *));
	interp->scratch = xcalloc(1, block_size(BLOCK_INSNS));
}

void cache_set_ram(struct interp *interp, uint8_t *ram, uint64_t size)
{
	interp->ram = ram;
	interp->ram_pages = size / PAGE_SIZE;
	interp->code_pages = xcalloc(interp->ram_pages + 1, 1);
	interp->page_blocks = xcalloc(interp->ram_pages + 1, sizeof(struct block *));
	interp->page2_blocks = xcalloc(interp->ram_pages + 1, sizeof(struct block *));
	interp->granules = xcalloc(interp->ram_pages + 1, sizeof(uint64_t));
}

void cache_destroy(struct interp *interp)
{
	munmap(interp->arena, interp->arena_size);
	free(interp->hash);
	free(interp->scratch);
	free(interp->code_pages);
	free(interp->page_blocks);
	free(interp->page2_blocks);
	free(interp->granules);
}

void cache_empty(struct interp *interp)
{
	interp->arena_used = 0;
	memset(interp->hash, 0, HASH_SIZE * sizeof(struct block *));
	for (uint64_t page = 0; page < interp->ram_pages; page++)
		if (interp->code_pages[page]) {
			interp->code_pages[page] = 0;
			interp->page_blocks[page] = interp->page2_blocks[page] = NULL;
			interp->granules[page] = 0;
		}
	for (unsigned i = 0; i < interp->cpus; i++)
		mem_forget_code(interp->cpu[i]);
	interp->stats.cache_emptied++;
}

static struct block **bucket(struct interp *interp, const uint8_t *host, uint32_t mode)
{
	uint64_t key = ((uintptr_t)host + ((uint64_t)mode << 56)) * UINT64_C(0x9e3779b97f4a7c15);

	return &interp->hash[key >> 48];
}

static bool in_ram(const struct interp *interp, const uint8_t *host)
{
	return host >= interp->ram && host < interp->ram + interp->ram_pages * PAGE_SIZE;
}

static uint64_t page_of(const struct interp *interp, const uint8_t *host)
{
	return (uint64_t)(host - interp->ram) / PAGE_SIZE;
}

/* The 64-byte pieces of a page that [host, host + size) touches. */
static uint64_t granule_mask(const uint8_t *host, size_t size)
{
	unsigned first = ((uintptr_t)host & 4095) / 64, last = (unsigned)(((uintptr_t)host & 4095) + size - 1) / 64;

	return BITS(last < 63 ? last : 63, first);
}

/* A RAM page holds code from now on, at these bytes. */
static void flag_page(struct interp *interp, uint64_t page, const uint8_t *host, size_t size)
{
	interp->granules[page] |= granule_mask(host, size);
	if (interp->code_pages[page])
		return;
	interp->code_pages[page] = 1;
	for (unsigned i = 0; i < interp->cpus; i++)
		mem_code_page_flagged(interp->cpu[i], interp->ram + page * PAGE_SIZE);
}

/* Register a block with its pages, as far as they are RAM. */
static void link_pages(struct interp *interp, struct block *block)
{
	if (in_ram(interp, block->host)) {
		uint64_t page = page_of(interp, block->host);

		block->page_next = interp->page_blocks[page];
		interp->page_blocks[page] = block;
		flag_page(interp, page, block->host, block->bytes);
	}
	if (block->host2 && in_ram(interp, block->host2)) {
		uint64_t page = page_of(interp, block->host2);

		block->page2_next = interp->page2_blocks[page];
		interp->page2_blocks[page] = block;
		flag_page(interp, page, block->host2, block->bytes2);
	}
}

/* Take a block out of use; the page lists drop dead blocks when they meet them. */
static void kill(struct interp *interp, struct block *block)
{
	for (struct block **at = bucket(interp, block->host, block->mode); *at; at = &(*at)->hash_next)
		if (*at == block) {
			*at = block->hash_next;
			break;
		}
	block->mode = MODE_DEAD;
	interp->stats.blocks_dropped++;
}

static bool overlap(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

void cache_written(void *ctx, struct cpu *writer, const uint8_t *host, size_t size)
{
	struct interp *interp = ctx;
	uint64_t page = page_of(interp, host), granules = 0;

	if (writer && writer->block && writer->block->host &&
	    overlap(host, size, writer->block->host, writer->block->bytes))
		cpu_attend(writer, ATTEND_CODE);
	if (!(interp->granules[page] & granule_mask(host, size)))
		return;
	for (struct block **at = &interp->page_blocks[page]; *at;) {
		struct block *block = *at;

		if (block->mode != MODE_DEAD && overlap(host, size, block->host, block->bytes))
			kill(interp, block);
		if (block->mode == MODE_DEAD) {
			*at = block->page_next;
			continue;
		}
		granules |= granule_mask(block->host, block->bytes);
		at = &block->page_next;
	}
	for (struct block **at = &interp->page2_blocks[page]; *at;) {
		struct block *block = *at;

		if (block->mode != MODE_DEAD && overlap(host, size, block->host2, block->bytes2))
			kill(interp, block);
		if (block->mode == MODE_DEAD) {
			*at = block->page2_next;
			continue;
		}
		granules |= granule_mask(block->host2, block->bytes2);
		at = &block->page2_next;
	}
	interp->granules[page] = granules;
	interp->code_pages[page] = granules != 0;
}

static void log_block(struct interp *interp, const struct block *block, uint64_t rip, const uint8_t *bytes)
{
	for (unsigned i = 0; i < block->count; i++) {
		char text[128];

		decode_text(bytes + block->insn[i].off, block->insn[i].len, block->mode, rip + block->insn[i].off, text,
			    sizeof(text));
		log_line(interp->log, LOG_IN_ASM, "0x%08llx:  %s", (unsigned long long)(rip + block->insn[i].off),
			 text);
	}
}

/* How many bytes from RIP on the code segment's limit lets the CPU fetch. */
static uint64_t limit_left(const struct cpu *cpu, uint64_t rip)
{
	if ((cpu->mode & MODE_CODE) == MODE_CODE64 || (cpu->mode & MODE_FLAT))
		return UINT64_MAX;
	return rip > cpu->seg[CS].limit ? 0 : cpu->seg[CS].limit - rip + 1;
}

static void limit_fault(struct cpu *cpu)
{
	cpu->fault = (struct fault){.kind = FAULT_EXCEPTION, .vector = VECTOR_GP, .has_error = true};
}

/* How often an instruction goes through the TLB, for the hit rate: once for each operand in memory; strings count as
 * one element. */
/* Decode into a block at `block` until something ends it. bytes: of the page. Returns what stopped an empty block. */
static enum decode_result fill(struct interp *interp, struct cpu *cpu, struct block *block, const uint8_t *bytes,
			       size_t left)
{
	enum decode_result result = DECODE_OK;
	unsigned offset = 0, count = 0;

	while (count < BLOCK_INSNS && offset < left) {
		struct insn *insn = &block->insn[count];

		result = decode(interp->decoder, bytes + offset, left - offset, cpu->mode, offset, insn);
		if (result == DECODE_SHORT)
			break;
		insn->index_in_block = (uint8_t)count;
		if (result == DECODE_OK)
			block->accesses += (uint16_t)insn_accesses(insn);
		if (result == DECODE_LONG) { /* an instruction of its own that raises #GP(0) when it is reached */
			insn->len = 0;
			insn->form = NULL;
		}
		offset += insn->len;
		count++;
		if (result != DECODE_OK || insn->form->ends_block)
			break;
	}
	block->count = (uint16_t)count;
	block->bytes = (uint16_t)(offset ? offset : 1);
	block->mode = cpu->mode;
	interp->stats.insns_decoded += count;
	for (unsigned i = 0; i < count; i++)
		interp_bind(cpu, block, &block->insn[i], i ? &block->insn[i - 1] : NULL);
	interp_terminate(block);
	return count ? DECODE_OK : result;
}

static void block_clear(struct block *block, const uint8_t *host)
{
	memset(block, 0, sizeof(*block));
	block->host = host;
}

/*
 * The bytes of one instruction that one page does not hold whole, or that may not be cached. *host2: where the second
 * page's part is, when both are cacheable. Returns how many bytes there are; 0 for a fault.
 */
static size_t gather(struct interp *interp, struct cpu *cpu, uint64_t rip, const uint8_t *bytes, size_t left,
		     uint8_t copy[32], const uint8_t **host2)
{
	uint64_t limit = limit_left(cpu, rip);
	size_t have = min_u64(min_u64(left, 15), limit);
	struct insn probe;

	*host2 = NULL;
	memcpy(copy, bytes, have);
	while (have < 15 && decode(interp->decoder, copy, have, cpu->mode, 0, &probe) == DECODE_SHORT) {
		bool cacheable;
		size_t more;

		if (have >= limit) {
			limit_fault(cpu);
			return 0;
		}
		if (mem_fetch(cpu, code_linear(cpu, rip + have), &bytes, &more, &cacheable))
			return 0;
		if (cacheable && have == left)
			*host2 = bytes;
		more = min_u64(min_u64(more, 15 - have), limit - have);
		memcpy(copy + have, bytes, more);
		have += more;
	}
	/* Exactly one instruction: what follows may lie elsewhere. */
	if (decode(interp->decoder, copy, have, cpu->mode, 0, &probe) == DECODE_OK)
		have = probe.len;
	return have;
}

/* Decoded each time, from a copy. */
static struct block *build_apart(struct interp *interp, struct cpu *cpu, uint64_t rip, const uint8_t *bytes,
				 size_t left)
{
	struct block *block = interp->scratch;
	uint8_t copy[32] = {0};
	const uint8_t *host2;
	size_t size = gather(interp, cpu, rip, bytes, left, copy, &host2);

	if (!size)
		return NULL;
	block_clear(block, NULL);
	block->apart = true;
	fill(interp, cpu, block, copy, size);
	return block;
}

static struct block *arena_block(struct interp *interp, const uint8_t *host)
{
	struct block *block;

	if (interp->arena_used + block_size(BLOCK_INSNS) > interp->arena_size)
		cache_empty(interp);
	block = (struct block *)(interp->arena + interp->arena_used);
	block_clear(block, host);
	return block;
}

/* Keep the block that arena_block() gave. */
static void keep(struct interp *interp, struct block *block, unsigned insns)
{
	struct block **head = bucket(interp, block->host, block->mode);

	interp->arena_used += block_size(insns);
	block->hash_next = *head;
	*head = block;
	link_pages(interp, block);
	interp->stats.blocks_decoded++;
}

/* One instruction over a page boundary, with `left` bytes in the first page. NULL: a fault, or not cacheable (*apart).
 */
static struct block *build_straddler(struct interp *interp, struct cpu *cpu, uint64_t rip, const uint8_t *host,
				     size_t left, bool *apart)
{
	struct block *block = arena_block(interp, host);
	uint8_t copy[32] = {0};
	const uint8_t *host2;
	size_t size = gather(interp, cpu, rip, host, left, copy, &host2);

	*apart = size && (!host2 || size <= left);
	if (!size || *apart)
		return NULL;
	block->host2 = host2;
	fill(interp, cpu, block, copy, size);
	block->bytes = (uint16_t)left;
	block->bytes2 = (uint16_t)(size - left);
	interp_guard_second_page(block);
	keep(interp, block, 2);
	return block;
}

static struct block *build(struct interp *interp, struct cpu *cpu, const uint8_t *host, size_t left)
{
	struct block *block = arena_block(interp, host);

	if (fill(interp, cpu, block, host, left) != DECODE_OK)
		return NULL;
	keep(interp, block, block->count);
	return block;
}

/* The cached block at these bytes. A straddler counts when its second page is still where it was; *faulted: that page
 * may not be fetched. */
static struct block *look_up(struct interp *interp, struct cpu *cpu, uint64_t rip, const uint8_t *host, bool *faulted)
{
	struct block *block = *bucket(interp, host, cpu->mode);
	const uint8_t *host2;
	bool cacheable;
	size_t left;

	while (block && (block->host != host || block->mode != cpu->mode))
		block = block->hash_next;
	if (likely(!block || !block->host2))
		return block;
	*faulted = mem_fetch(cpu, code_linear(cpu, rip + block->bytes), &host2, &left, &cacheable);
	if (!*faulted && cacheable && host2 == block->host2)
		return block;
	if (!*faulted)
		kill(interp, block);
	return NULL;
}

struct block *cache_find(struct interp *interp, struct cpu *cpu, uint64_t rip, bool *cached)
{
	la_t la = code_linear(cpu, rip);
	uint64_t limit = limit_left(cpu, rip);
	bool cacheable, faulted = false, apart;
	struct block *block;
	const uint8_t *host;
	size_t left;

	*cached = false;
	if (unlikely(limit == 0)) {
		limit_fault(cpu);
		return NULL;
	}
	if (mem_fetch(cpu, la, &host, &left, &cacheable))
		return NULL;
	if (unlikely(!cacheable))
		return build_apart(interp, cpu, rip, host, left);
	block = look_up(interp, cpu, rip, host, &faulted);
	if (unlikely(!block)) {
		if (faulted)
			return NULL;
		block = build(interp, cpu, host, left);
		apart = limit != UINT64_MAX;
		if (!block && !apart) {
			block = build_straddler(interp, cpu, rip, host, left, &apart);
			if (!block && !apart)
				return NULL;
		}
		if (block && log_on(interp->log, LOG_IN_ASM))
			log_block(interp, block, rip, host);
	}
	if (!block || block->bytes > limit)
		return build_apart(interp, cpu, rip, host, left);
	*cached = true;
	if (limit == UINT64_MAX) {
		struct tlb_entry *entry = tlb_slot(cpu->bank, la);

		if (entry->exec == (la & PAGE_MASK))
			cpu->bank->jump[jump_slot(la)] =
				(struct jump_entry){.la = la, .block = block, .delta = entry->delta};
	}
	return block;
}

struct block *cache_part(struct interp *interp, const struct block *block, unsigned count)
{
	struct block *part = interp->scratch;

	if (block != part) {
		memcpy(part, block, block_size(count));
		part->next[0] = part->next[1] = NULL;
	}
	part->count = (uint16_t)count;
	part->accesses = 0;
	for (unsigned i = 0; i < count; i++)
		part->accesses += (uint16_t)insn_accesses(&part->insn[i]);
	part->apart = true;
	interp_unfuse(&part->insn[count - 1]);
	interp_terminate(part);
	return part;
}

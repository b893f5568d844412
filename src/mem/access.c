/*
 * What happens when an access misses the TLB: canonical check, walk, page splits, alignment check, breakpoints,
 * devices, code pages.
 *
 * SDM vol. 3, "Paging", "Alignment Checking", "Debug Exceptions"; vol. 1, "Canonical Addressing". The order of faults
 * is that of "Priority Among Concurrent Events": canonical, page fault, alignment.
 */
#include "mem/private.h"

/* One page's part of an access, translated: where the bytes are. */
struct part {
	pa_t pa;
	uint8_t *host; /* NULL: a device */
	bool writable; /* with host */
	bool virtual_apic; /* pa is in the virtual-APIC page, in place of the APIC-access page */
	unsigned size;
};

static la_t next_page(const struct cpu *cpu, la_t la)
{
	la_t next = (la | ~PAGE_MASK) + 1;

	return cpu_64bit(cpu) ? next : (uint32_t)next;
}

static bool not_canonical(struct cpu *cpu, unsigned access)
{
	bool stack = access & ACCESS_STACK;

	if (!stack && !(access & ACCESS_SYSTEM) && cpu->insn)
		stack = cpu->insn->ea != EA_NONE && cpu->insn->seg == SS;
	cpu->fault =
		(struct fault){.kind = FAULT_EXCEPTION, .vector = stack ? VECTOR_SS : VECTOR_GP, .has_error = true};
	return true;
}

static enum bank_kind kind_for(const struct cpu *cpu, unsigned access)
{
	if (access & ACCESS_SYSTEM)
		return BANK_SUPERVISOR;
	if (access & ACCESS_USER)
		return BANK_USER;
	return mem_current_kind(cpu);
}

/* Translate, with faults, and fill the bank that the access belongs to. */
static bool translate(struct cpu *cpu, la_t la, unsigned size, unsigned access, struct translation *t)
{
	enum bank_kind kind = kind_for(cpu, access);
	struct requester who = {.user = kind >= BANK_USER, .smap_off = kind == BANK_SUPERVISOR_AC, .size = (uint16_t)size};

	if (unlikely(cpu_long_mode(cpu) && !mem_canonical(cpu, la)))
		return not_canonical(cpu, access);
	cpu->tlb_misses++;
	if (mem_walk(cpu, la, access, who, true, t)) {
		if (cpu->fault.kind == FAULT_EXCEPTION)
			mem_forget_faulting(cpu->mem->current, la, cpu->fault.error & PF_P);
		return true;
	}
	mem_fill(cpu, mem_bank(cpu, cpu->mem->current, kind), kind, la, t);
	return false;
}

static bool find_part(struct cpu *cpu, la_t la, unsigned size, unsigned access, struct part *part)
{
	struct translation t;
	struct bus_span span;

	if (translate(cpu, la, size, access, &t))
		return true;
	*part = (struct part){.pa = t.pa, .size = size};
	if (is_apic_access_page(cpu, t.pa)) {
		part->virtual_apic = true;
		part->pa = cpu->virtual_apic_page | (t.pa & ~PAGE_MASK);
		return mem_apic_access(cpu, (unsigned)(t.pa & ~PAGE_MASK), size, access);
	}
	if (is_apic_page(cpu, t.pa))
		return false;
	bus_lookup(cpu->bus, t.pa, cpu->in_smm, &span);
	if (span.host && t.pa + size - 1 <= span.end - 1) {
		part->host = span.host + (t.pa - span.base);
		part->writable = span.writable;
	}
	return false;
}

/* The one or two parts of an access. True: a fault, before anything was read or written. */
static bool find_parts(struct cpu *cpu, la_t la, unsigned size, unsigned access, struct part part[2], unsigned *parts)
{
	unsigned first = (unsigned)min_u64(size, PAGE_SIZE - (la & ~PAGE_MASK));

	*parts = first < size ? 2 : 1;
	if (find_part(cpu, la, first, access, &part[0]))
		return true;
	if (*parts == 2 && find_part(cpu, next_page(cpu, la), size - first, access, &part[1]))
		return true;
	if (unlikely(mem_current_kind(cpu) == BANK_USER_ALIGNED) && !(access & ACCESS_SYSTEM) &&
	    (size & (size - 1)) == 0 && !is_aligned(la, size)) {
		cpu->fault = (struct fault){.kind = FAULT_EXCEPTION, .vector = VECTOR_AC, .has_error = true};
		return true;
	}
	return false;
}

/* SDM vol. 3, "Debug Registers": a data breakpoint covers LEN bytes at an address aligned to it; hits are reported as a
 * trap. */
static void watch(struct cpu *cpu, la_t la, unsigned size, unsigned access)
{
	static const uint8_t lengths[4] = {1, 2, 8, 4};

	for (unsigned i = 0; i < 4; i++) {
		unsigned type = cpu->dr7 >> (16 + 4 * i) & 3;
		unsigned length = lengths[cpu->dr7 >> (18 + 4 * i) & 3];
		la_t start = cpu->dr[i] & ~(la_t)(length - 1);

		if (!(cpu->dr7 >> (2 * i) & 3) || (type != 1 && type != 3) || (type == 1 && !(access & ACCESS_WRITE)))
			continue;
		if (la + size - 1 < start || la > start + length - 1)
			continue;
		cpu->pending_debug |= BIT(i);
		cpu_attend(cpu, ATTEND_TRAP);
	}
}

static uint64_t apic_access(struct cpu *cpu, pa_t pa, unsigned size, bool write, uint64_t value)
{
	struct mem_cpu *mem = cpu->mem;
	uint64_t offset = pa & ~PAGE_MASK;

	if (!write)
		return mem->apic_ops->read(mem->apic, offset, size);
	mem->apic_ops->write(mem->apic, offset, size, value);
	return 0;
}

static uint64_t read_part(struct cpu *cpu, const struct part *part)
{
	if (part->host)
		return load_le(part->host, part->size);
	if (!part->virtual_apic && is_apic_page(cpu, part->pa))
		return apic_access(cpu, part->pa, part->size, false, 0);
	return bus_read(cpu->bus, part->pa, part->size, cpu->in_smm);
}

static void write_part(struct cpu *cpu, const struct part *part, uint64_t value)
{
	if (part->host && part->writable) {
		code_will_change(cpu, part->host, part->size);
		store_le(part->host, part->size, value);
	} else if (part->virtual_apic) {
		bus_write(cpu->bus, part->pa, part->size, value, cpu->in_smm);
		mem_apic_written(cpu, (unsigned)(part->pa & ~PAGE_MASK), part->size);
	} else if (is_apic_page(cpu, part->pa)) {
		apic_access(cpu, part->pa, part->size, true, value);
	} else {
		bus_write(cpu->bus, part->pa, part->size, value, cpu->in_smm);
	}
}

static uint64_t read_parts(struct cpu *cpu, const struct part part[2], unsigned parts)
{
	uint64_t value = read_part(cpu, &part[0]);

	if (parts == 2)
		value = (value & bytes_mask(part[0].size)) | read_part(cpu, &part[1]) << (8 * part[0].size);
	return value;
}

static void write_parts(struct cpu *cpu, const struct part part[2], unsigned parts, uint64_t value)
{
	write_part(cpu, &part[0], value & bytes_mask(part[0].size));
	if (parts == 2)
		write_part(cpu, &part[1], value >> (8 * part[0].size));
}

bool mem_read_slow(struct cpu *cpu, la_t la, unsigned size, uint64_t *value, unsigned access)
{
	struct part part[2];
	unsigned parts;

	if (find_parts(cpu, la, size, access, part, &parts))
		return true;
	*value = read_parts(cpu, part, parts) & bytes_mask(size);
	if (unlikely(cpu->mem->watching))
		watch(cpu, la, size, access);
	return false;
}

bool mem_write_slow(struct cpu *cpu, la_t la, unsigned size, uint64_t value, unsigned access)
{
	struct part part[2];
	unsigned parts;

	if (find_parts(cpu, la, size, access, part, &parts))
		return true;
	write_parts(cpu, part, parts, value);
	if (unlikely(cpu->mem->watching))
		watch(cpu, la, size, access);
	return false;
}

bool mem_rmw_begin_slow(struct cpu *cpu, struct mem_rmw *rmw, uint64_t *value)
{
	struct part part[2];
	unsigned parts;

	if (find_parts(cpu, rmw->la, rmw->size, ACCESS_READ | ACCESS_WRITE, part, &parts))
		return true;
	*value = read_parts(cpu, part, parts) & bytes_mask(rmw->size);
	return false;
}

void mem_rmw_end_slow(struct cpu *cpu, const struct mem_rmw *rmw, uint64_t value)
{
	/* begin found both parts writable, and nothing ran since: the same translation cannot fail now. */
	if (mem_write_slow(cpu, rmw->la, rmw->size, value, ACCESS_READ | ACCESS_WRITE))
		cpu->fault = (struct fault){0};
}

/* Longer accesses and those of the system, page by page. A write is only begun when all of it can be done. */
static bool bytes(struct cpu *cpu, la_t la, uint8_t *data, size_t size, unsigned access, bool move)
{
	while (size) {
		unsigned now = (unsigned)min_u64(size, PAGE_SIZE - (la & ~PAGE_MASK));
		struct part part;

		if (find_part(cpu, la, now, access, &part))
			return true;
		if (move && part.host && (part.writable || !(access & ACCESS_WRITE))) {
			if (access & ACCESS_WRITE) {
				code_will_change(cpu, part.host, now);
				memcpy(part.host, data, now);
			} else {
				memcpy(data, part.host, now);
			}
		} else if (move) {
			for (unsigned done = 0; done < now; done += part.size) { /* natural pieces of at most 8 bytes */
				struct part piece = {
					.pa = part.pa + done, .size = 8, .virtual_apic = part.virtual_apic};

				while (piece.size > now - done || !is_aligned(piece.pa, piece.size))
					piece.size /= 2;
				if (access & ACCESS_WRITE)
					write_part(cpu, &piece, load_le(data + done, piece.size));
				else
					store_le(data + done, piece.size, read_part(cpu, &piece));
				part.size = piece.size;
			}
		}
		if (unlikely(cpu->mem->watching) && move && !(access & ACCESS_SYSTEM))
			watch(cpu, la, now, access);
		data = move ? data + now : NULL;
		size -= now;
		la = now == PAGE_SIZE - (la & ~PAGE_MASK) ? next_page(cpu, la) : la + now;
	}
	return false;
}

/* A hit for the bytes as a whole, in the bank that the access belongs to. */
static uint8_t *hit(struct cpu *cpu, la_t la, size_t size, unsigned access)
{
	struct bank *bank = cpu->bank;
	const struct tlb_entry *entry;

	if (access & (ACCESS_SYSTEM | ACCESS_USER))
		bank = mem_bank(cpu, cpu->mem->current, kind_for(cpu, access));
	entry = tlb_slot(bank, la);
	if ((access & ACCESS_WRITE ? entry->write : entry->read) != ((la + size - 1) & PAGE_MASK))
		return NULL;
	return (uint8_t *)(uintptr_t)(la + entry->delta);
}

bool mem_read_bytes(struct cpu *cpu, la_t la, void *to, size_t size, unsigned access)
{
	const uint8_t *host = hit(cpu, la, size, access);

	if (likely(host)) {
		memcpy(to, host, size);
		return false;
	}
	return bytes(cpu, la, to, size, access | ACCESS_READ, true);
}

bool mem_write_bytes(struct cpu *cpu, la_t la, const void *from, size_t size, unsigned access)
{
	uint8_t *host = hit(cpu, la, size, access | ACCESS_WRITE);

	if (likely(host)) {
		memcpy(host, from, size);
		return false;
	}
	if ((la & ~PAGE_MASK) + size > PAGE_SIZE && bytes(cpu, la, NULL, size, access | ACCESS_WRITE, false))
		return true;
	return bytes(cpu, la, (uint8_t *)from, size, access | ACCESS_WRITE, true);
}

bool mem_probe(struct cpu *cpu, la_t la, size_t size, unsigned access)
{
	if (hit(cpu, la, size, access) && !((access & ACCESS_READ) && !hit(cpu, la, size, access & ~ACCESS_WRITE)))
		return false;
	return bytes(cpu, la, NULL, size, access, false);
}

bool mem_fetch(struct cpu *cpu, la_t la, const uint8_t **code, size_t *left, bool *cacheable)
{
	const struct tlb_entry *entry = tlb_slot(cpu->bank, la);
	struct mem_cpu *mem = cpu->mem;
	struct translation t;
	struct bus_span span;

	*left = PAGE_SIZE - (la & ~PAGE_MASK);
	if (entry->exec == (la & PAGE_MASK)) {
		*code = (const uint8_t *)(uintptr_t)(la + entry->delta);
		*cacheable = true;
		return false;
	}
	if (translate(cpu, la, 1, ACCESS_EXEC, &t))
		return true;
	if (is_apic_access_page(cpu, t.pa))
		return mem_apic_access(cpu, (unsigned)(t.pa & ~PAGE_MASK), 1, ACCESS_EXEC);
	bus_lookup(cpu->bus, t.pa, cpu->in_smm, &span);
	*left = min_u64(*left, span.end - t.pa);
	*cacheable = span.host && !is_apic_page(cpu, t.pa) && (!span.writable || in_ram(mem, span.host));
	if (*cacheable) {
		*code = span.host + (t.pa - span.base);
		return false;
	}
	*left = min_u64(*left, sizeof(mem->fetched) - 1);
	for (size_t i = 0; i < *left; i++) {
		struct part part = {.pa = t.pa + i, .size = 1};

		mem->fetched[i] = (uint8_t)read_part(cpu, &part);
	}
	*code = mem->fetched;
	return false;
}

bool mem_debug_translate(struct cpu *cpu, la_t la, pa_t *pa)
{
	struct requester who = {.smap_off = true, .size = 1};
	struct fault kept = cpu->fault;
	struct translation t;

	if ((cpu_long_mode(cpu) && !mem_canonical(cpu, la)) || mem_walk(cpu, la, ACCESS_READ, who, false, &t)) {
		cpu->fault = kept;
		return false;
	}
	*pa = t.pa;
	return true;
}

/* Debuggers reach RAM and ROM, and leave devices alone, whose reads may have effects. */
static size_t debug_access(struct cpu *cpu, la_t la, uint8_t *data, size_t size, bool write)
{
	size_t done = 0;

	while (done < size) {
		size_t now = min_u64(size - done, PAGE_SIZE - ((la + done) & ~PAGE_MASK));
		struct bus_span span;
		uint8_t *host;
		pa_t pa;

		if (!mem_debug_translate(cpu, la + done, &pa))
			break;
		bus_lookup(cpu->bus, pa, cpu->in_smm, &span);
		if (!span.host || (write && !span.writable))
			break;
		now = min_u64(now, span.end - pa);
		host = span.host + (pa - span.base);
		if (write) {
			code_will_change(cpu, host, now);
			memcpy(host, data + done, now);
		} else {
			memcpy(data + done, host, now);
		}
		done += now;
	}
	return done;
}

size_t mem_debug_read(struct cpu *cpu, la_t la, void *to, size_t size)
{
	return debug_access(cpu, la, to, size, false);
}

size_t mem_debug_write(struct cpu *cpu, la_t la, const void *from, size_t size)
{
	return debug_access(cpu, la, (uint8_t *)from, size, true);
}

/*
 * Reads and writes of guest memory by linear address: the TLB hit inline, everything else in access.c.
 *
 * A function returns true when the access faulted (cpu->fault is filled, nothing was changed). An access that crosses a
 * page misses, because the tag compared is that of its last byte at the slot of its first.
 */
#pragma once

#include "mem/mem.h"
#include "mem/tlb.h"

MUST_CHECK bool mem_read_slow(struct cpu *cpu, la_t la, unsigned size, uint64_t *value, unsigned access) COLD;
MUST_CHECK bool mem_write_slow(struct cpu *cpu, la_t la, unsigned size, uint64_t value, unsigned access) COLD;

static inline void *tlb_read(const struct cpu *cpu, la_t la, unsigned size)
{
	const struct tlb_entry *e = tlb_slot(cpu->bank, la);

	return likely(e->read == ((la + size - 1) & PAGE_MASK)) ? (void *)(uintptr_t)(la + e->delta) : NULL;
}

static inline void *tlb_write(const struct cpu *cpu, la_t la, unsigned size)
{
	const struct tlb_entry *e = tlb_slot(cpu->bank, la);

	return likely(e->write == ((la + size - 1) & PAGE_MASK)) ? (void *)(uintptr_t)(la + e->delta) : NULL;
}

#define MEM_ACCESSORS(bits)                                                                           \
	MUST_CHECK static inline bool mem_read##bits(struct cpu *cpu, la_t la, uint##bits##_t *value) \
	{                                                                                             \
		const void *host = tlb_read(cpu, la, bits / 8);                                       \
		uint64_t wide;                                                                        \
                                                                                                      \
		if (likely(host)) {                                                                   \
			memcpy(value, host, bits / 8);                                                \
			return false;                                                                 \
		}                                                                                     \
		if (mem_read_slow(cpu, la, bits / 8, &wide, ACCESS_READ))                             \
			return true;                                                                  \
		*value = (uint##bits##_t)wide;                                                        \
		return false;                                                                         \
	}                                                                                             \
	MUST_CHECK static inline bool mem_write##bits(struct cpu *cpu, la_t la, uint##bits##_t value) \
	{                                                                                             \
		void *host = tlb_write(cpu, la, bits / 8);                                            \
                                                                                                      \
		if (likely(host)) {                                                                   \
			memcpy(host, &value, bits / 8);                                               \
			return false;                                                                 \
		}                                                                                     \
		return mem_write_slow(cpu, la, bits / 8, value, ACCESS_WRITE);                        \
	}
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)
#undef MEM_ACCESSORS

/*
 * Read-modify-write: one check for both. begin() reads and proves that the write will not fault; end() writes and
 * cannot fail. The struct lives on the caller's stack between the two.
 */
struct mem_rmw {
	void *host; /* plain RAM, or NULL for the slow way */
	la_t la;
	unsigned size;
};
MUST_CHECK bool mem_rmw_begin_slow(struct cpu *cpu, struct mem_rmw *rmw, uint64_t *value) COLD;
void mem_rmw_end_slow(struct cpu *cpu, const struct mem_rmw *rmw, uint64_t value) COLD;

MUST_CHECK static inline bool mem_rmw_begin(struct cpu *cpu, struct mem_rmw *rmw, la_t la, unsigned size,
					    uint64_t *value)
{
	rmw->host = tlb_write(cpu, la, size);
	rmw->la = la;
	rmw->size = size;
	if (unlikely(!rmw->host))
		return mem_rmw_begin_slow(cpu, rmw, value);
	*value = 0;
	memcpy(value, rmw->host, size);
	return false;
}

static inline void mem_rmw_end(struct cpu *cpu, const struct mem_rmw *rmw, uint64_t value)
{
	if (likely(rmw->host))
		memcpy(rmw->host, &value, rmw->size);
	else
		mem_rmw_end_slow(cpu, rmw, value);
}

/* Implicit supervisor accesses: descriptor tables, TSS, IDT. */
#define MEM_SYSTEM(bits)                                                                                  \
	MUST_CHECK static inline bool mem_sys_read##bits(struct cpu *cpu, la_t la, uint##bits##_t *value) \
	{                                                                                                 \
		return mem_read_bytes(cpu, la, value, bits / 8, ACCESS_READ | ACCESS_SYSTEM);             \
	}                                                                                                 \
	MUST_CHECK static inline bool mem_sys_write##bits(struct cpu *cpu, la_t la, uint##bits##_t value) \
	{                                                                                                 \
		return mem_write_bytes(cpu, la, &value, bits / 8, ACCESS_WRITE | ACCESS_SYSTEM);          \
	}
MEM_SYSTEM(8)
MEM_SYSTEM(16)
MEM_SYSTEM(32)
MEM_SYSTEM(64)
#undef MEM_SYSTEM

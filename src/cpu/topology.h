/*
 * Where a vCPU sits: threads in cores, cores in dies, dies in sockets.
 *
 * SDM vol. 3, "Hierarchical Mapping of Shared Resources": an APIC ID has a field for each level, wide enough for the
 * largest number at that level, so that IDs have gaps where a number is no power of two.
 */
#pragma once

#include "base/types.h"

/* How many of each are in one of the next: all at least 1. */
struct cpu_topology {
	unsigned sockets, dies, cores, threads;
};

/* Bits for numbers below n. */
static inline unsigned topology_bits(unsigned n)
{
	return n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;
}

/* By how much an APIC ID is shifted right to give the number of the core, the die, the package. */
static inline unsigned topology_core_shift(const struct cpu_topology *t)
{
	return topology_bits(t->threads);
}

static inline unsigned topology_die_shift(const struct cpu_topology *t)
{
	return topology_core_shift(t) + topology_bits(t->cores);
}

static inline unsigned topology_package_shift(const struct cpu_topology *t)
{
	return topology_die_shift(t) + topology_bits(t->dies);
}

/* Logical processors. */
static inline unsigned topology_per_die(const struct cpu_topology *t)
{
	return t->cores * t->threads;
}

static inline unsigned topology_per_package(const struct cpu_topology *t)
{
	return t->dies * topology_per_die(t);
}

static inline unsigned topology_all(const struct cpu_topology *t)
{
	return t->sockets * topology_per_package(t);
}

/* The APIC ID of the vCPU with this index: threads count up first, then cores, dies and sockets. */
static inline uint32_t topology_apic_id(const struct cpu_topology *t, unsigned index)
{
	unsigned thread = index % t->threads, core = index / t->threads % t->cores;
	unsigned die = index / topology_per_die(t) % t->dies, socket = index / topology_per_package(t);

	return thread | core << topology_core_shift(t) | die << topology_die_shift(t) |
	       socket << topology_package_shift(t);
}

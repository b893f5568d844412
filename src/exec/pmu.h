/* The performance-monitoring unit: what the machine and RDPMC ask of it. */
#pragma once

#include "cpu/cpu.h"

struct msr_table;
void pmu_claim_msrs(struct msr_table *table);

/* Bring the counters up to date, and raise what has overflowed. After each part of a turn while cpu->pmu.active. */
void pmu_settle(struct cpu *cpu);
/* Ticks after which a counter may overflow that interrupts then: no part of a turn may be longer. */
uint64_t pmu_ticks_left(const struct cpu *cpu);
/* RDPMC's index. False: there is no such counter. */
MUST_CHECK bool pmu_read(struct cpu *cpu, uint32_t index, uint64_t *value);

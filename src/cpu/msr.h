/*
 * Who owns which MSR. Parts register ranges; RDMSR, WRMSR and the VMX MSR lists ask here. SDM vol. 4.
 */
#pragma once

#include "cpu/cpu.h"

/* Both return false for "#GP(0)": an unknown index, a reserved bit, a non-canonical address, a write to a read-only
 * MSR. */
struct msr_ops {
	bool (*read)(struct cpu *cpu, uint32_t index, uint64_t *value);
	bool (*write)(struct cpu *cpu, uint32_t index, uint64_t value);
};

/* MSR_EFER and so on, by the manual's names without IA32_. */
enum {
#define STORED(index, name, feature, member, bits, check) MSR_##name = index,
#define FIXED(index, name, feature, value)		  MSR_##name = index,
#define ACTIVE(first, last, name, feature, accessor)	  MSR_##name = first,
#define OTHER(index, name)				  MSR_##name = index,
#include "msrs.def"
};

#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE_PERFMON	 BIT(7)
#define MISC_ENABLE_BTS_ABSENT	 BIT(11)
#define MISC_ENABLE_PEBS_ABSENT	 BIT(12)
#define MISC_ENABLE_MONITOR	 BIT(18)
#define MISC_ENABLE_LIMIT_CPUID	 BIT(22)
#define MISC_ENABLE_XD_DISABLE	 BIT(34)
/* Thermal control, SpeedStep, xTPR messages disabled: every processor since the Core 2 takes them. They do nothing
 * here. */
#define MISC_ENABLE_IDLE (BIT(3) | BIT(16) | BIT(23))

/* The time stamp counter now: 1 GHz of virtual time. */
uint64_t cpu_tsc(const struct cpu *cpu);

struct msr_table *msr_table_create(void);
void msr_table_destroy(struct msr_table *table);
/* Claim [first, last]. A later claim wins where ranges overlap. */
void msr_claim(struct msr_table *table, uint32_t first, uint32_t last, const struct msr_ops *ops);
MUST_CHECK bool msr_read(struct cpu *cpu, uint32_t index, uint64_t *value);
MUST_CHECK bool msr_write(struct cpu *cpu, uint32_t index, uint64_t value);

/* Claims the MSRs that are plain CPU state (spec/msrs.def): EFER, STAR, PAT, MTRRs, SYSENTER, FS/GS bases, TSC,
 * MISC_ENABLE ... */
void msr_claim_cpu(struct msr_table *table);

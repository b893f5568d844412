/*
 * Architectural performance monitoring, version 2: four general-purpose and three fixed-function counters of 48 bits.
 * SDM vol. 3, "Architectural Performance Monitoring"; CPUID.0AH says what is here.
 *
 * Three of the architectural events are counted: instructions retired, which is exact; unhalted core cycles and
 * unhalted reference cycles, which are both the nanoseconds of virtual time in which this vCPU ran: what
 * its instructions take, and what RDTSC, PAUSE and the delivery of faults cost. CPUID says that the others are not
 * available, and they and all events that are not architectural count nothing. One event happens in a cycle at most,
 * which is what CMASK and INV see; edge detection counts nothing.
 *
 * Nothing is counted while instructions run. Two totals that the engine and the machine keep anyway are read when a
 * counter is, when its controls change, and when a part of a turn ends; the machine ends it where a counter overflows
 * that interrupts, to the instruction, and cpu_mode_changed() where CPL begins or ends to be 0 if a counter looks at
 * that. An instruction that changes CPL, or writes the controls, counts for what holds after it.
 */
#include "exec/pmu.h"
#include "apic/apic.h"
#include "cpu/msr.h"
#include "exec/run.h"

#define WIDTH	 48
#define OVERFLOW BIT(WIDTH)

/* IA32_PERFEVTSELx. */
#define SELECT_EVENT BITS(15, 0) /* with the unit mask */
#define SELECT_USR   BIT(16)
#define SELECT_OS    BIT(17)
#define SELECT_EDGE  BIT(18)
#define SELECT_INT   BIT(20)
#define SELECT_ANY   BIT(21) /* of version 3: reserved */
#define SELECT_EN    BIT(22)
#define SELECT_INV   BIT(23)

#define EVENT_INSTRUCTIONS     0x00c0
#define EVENT_CORE_CYCLES      0x003c
#define EVENT_REFERENCE_CYCLES 0x013c

/* IA32_FIXED_CTR_CTRL, 4 bits for each counter; bit 2 is of version 3. */
#define FIXED_OS    1
#define FIXED_USR   2
#define FIXED_PMI   8
#define FIXED_VALID UINT64_C(0xbbb)

/* IA32_PERF_GLOBAL_CTRL, and the counters' bits of IA32_PERF_GLOBAL_STATUS. */
#define GLOBAL_VALID   (BITS(PMU_COUNTERS - 1, 0) | BITS(32 + PMU_FIXED - 1, 32))
#define STATUS_CLEARED (GLOBAL_VALID | BITS(63, 62)) /* what IA32_PERF_GLOBAL_OVF_CTRL takes */

/* What one counter does, however its controls are written. */
struct counter {
	uint64_t *value;
	bool enabled, os, usr, interrupts;
	uint64_t overflow; /* its bit of the status */
};

static struct counter general(struct pmu *pmu, unsigned i)
{
	uint64_t select = pmu->select[i];

	return (struct counter){
		.value = &pmu->counter[i],
		.enabled = (select & SELECT_EN) && (pmu->global_ctrl & BIT(i)),
		.os = select & SELECT_OS,
		.usr = select & SELECT_USR,
		.interrupts = select & SELECT_INT,
		.overflow = BIT(i),
	};
}

static struct counter fixed(struct pmu *pmu, unsigned i)
{
	unsigned control = (unsigned)(pmu->fixed_ctrl >> 4 * i & 15);

	return (struct counter){
		.value = &pmu->fixed[i],
		.enabled = (control & (FIXED_OS | FIXED_USR)) && (pmu->global_ctrl & BIT(32 + i)),
		.os = control & FIXED_OS,
		.usr = control & FIXED_USR,
		.interrupts = control & FIXED_PMI,
		.overflow = BIT(32 + i),
	};
}

static struct counter counter_of(struct pmu *pmu, unsigned i)
{
	return i < PMU_COUNTERS ? general(pmu, i) : fixed(pmu, i - PMU_COUNTERS);
}

/* How often what a general-purpose counter selects has happened. */
static uint64_t selected(uint64_t select, uint64_t instructions, uint64_t cycles)
{
	unsigned least = select >> 24 & 0xff;
	uint64_t events;

	switch (select & SELECT_EVENT) {
	case EVENT_INSTRUCTIONS: events = instructions; break;
	case EVENT_CORE_CYCLES:
	case EVENT_REFERENCE_CYCLES: events = cycles; break;
	default: return 0;
	}
	if (select & SELECT_EDGE)
		return 0;
	if (least > 1)
		events = 0;
	return least && (select & SELECT_INV) ? cycles - events : events;
}

static uint64_t happened(const struct pmu *pmu, unsigned i, uint64_t instructions, uint64_t cycles)
{
	if (i < PMU_COUNTERS)
		return selected(pmu->select[i], instructions, cycles);
	return i == PMU_COUNTERS ? instructions : cycles; /* INST_RETIRED.ANY, CPU_CLK_UNHALTED.CORE and .REF_TSC */
}

/* What of the counters matters to others follows from the controls and from CPL. */
static void refresh(struct cpu *cpu)
{
	struct pmu *pmu = &cpu->pmu;
	bool filters = false;

	pmu->active = false;
	for (unsigned i = 0; i < PMU_COUNTERS + PMU_FIXED; i++) {
		struct counter c = counter_of(pmu, i);

		pmu->active |= c.enabled && (c.os || c.usr);
		filters |= c.enabled && c.os != c.usr;
	}
	pmu->user = cpu->cpl != 0;
	pmu->watch = filters ? PMU_WATCH | pmu->user : 0;
}

void pmu_settle(struct cpu *cpu)
{
	struct pmu *pmu = &cpu->pmu;
	uint64_t instructions = run_retired(cpu) - pmu->instructions;
	uint64_t cycles = cpu->cycles + run_elapsed(cpu) - pmu->cycles;
	bool interrupt = false;

	pmu->instructions += instructions;
	pmu->cycles += cycles;
	for (unsigned i = 0; i < PMU_COUNTERS + PMU_FIXED; i++) {
		struct counter c = counter_of(pmu, i);

		if (!c.enabled || !(pmu->user ? c.usr : c.os))
			continue;
		*c.value += happened(pmu, i, instructions, cycles << cpu->tick_shift);
		if (*c.value >= OVERFLOW) {
			pmu->status |= c.overflow;
			interrupt |= c.interrupts;
		}
		*c.value &= OVERFLOW - 1;
	}
	if (interrupt) {
		if (cpu->debugctl & DEBUGCTL_FREEZE_PERFMON_ON_PMI)
			pmu->global_ctrl = 0;
		apic_performance_interrupt(cpu->apic);
	}
	refresh(cpu);
}

uint64_t pmu_ticks_left(const struct cpu *cpu)
{
	struct pmu pmu = cpu->pmu;
	uint64_t left = UINT64_MAX, cycle = UINT64_C(1) << cpu->tick_shift;

	for (unsigned i = 0; i < PMU_COUNTERS + PMU_FIXED; i++) {
		struct counter c = counter_of(&pmu, i);

		uint64_t rate = max_u64(happened(&pmu, i, 0, cycle), happened(&pmu, i, 1, cycle)); /* at most, in a tick */

		if (c.enabled && c.interrupts && (pmu.user ? c.usr : c.os) && rate)
			left = min_u64(left, (OVERFLOW - *c.value - 1) / rate + 1);
	}
	return left;
}

bool pmu_read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	bool is_fixed = index & BIT(30);
	unsigned i = index & ~(uint32_t)BIT(30);

	if (!model_has(cpu->model, FEATURE_PERFMON) || i >= (is_fixed ? PMU_FIXED : PMU_COUNTERS))
		return false;
	pmu_settle(cpu);
	*value = is_fixed ? cpu->pmu.fixed[i] : cpu->pmu.counter[i];
	return true;
}

static bool read(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	const struct pmu *pmu = &cpu->pmu;

	if (!model_has(cpu->model, FEATURE_PERFMON))
		return false;
	pmu_settle(cpu);
	switch (index) {
	case MSR_PMC0 ... MSR_PMC0 + PMU_COUNTERS - 1: *value = pmu->counter[index - MSR_PMC0]; return true;
	case MSR_PERFEVTSEL0 ... MSR_PERFEVTSEL0 + PMU_COUNTERS - 1:
		*value = pmu->select[index - MSR_PERFEVTSEL0];
		return true;
	case MSR_FIXED_CTR0 ... MSR_FIXED_CTR0 + PMU_FIXED - 1:
		*value = pmu->fixed[index - MSR_FIXED_CTR0];
		return true;
	case MSR_FIXED_CTR_CTRL: *value = pmu->fixed_ctrl; return true;
	case MSR_PERF_GLOBAL_STATUS: *value = pmu->status; return true;
	case MSR_PERF_GLOBAL_CTRL: *value = pmu->global_ctrl; return true;
	case MSR_PERF_GLOBAL_OVF_CTRL: *value = 0; return true;
	default: return false;
	}
}

static bool set(uint64_t *member, uint64_t value, uint64_t valid)
{
	if (value & ~valid)
		return false;
	*member = value;
	return true;
}

static bool store(struct pmu *pmu, uint32_t index, uint64_t value)
{
	switch (index) {
	case MSR_PMC0 ... MSR_PMC0 + PMU_COUNTERS - 1: /* no full-width writes: bit 31 is extended */
		pmu->counter[index - MSR_PMC0] = (uint64_t)sign_extend(value, 32) & (OVERFLOW - 1);
		return true;
	case MSR_PERFEVTSEL0 ... MSR_PERFEVTSEL0 + PMU_COUNTERS - 1:
		return set(&pmu->select[index - MSR_PERFEVTSEL0], value, BITS(31, 0) & ~SELECT_ANY);
	case MSR_FIXED_CTR0 ... MSR_FIXED_CTR0 + PMU_FIXED - 1:
		return set(&pmu->fixed[index - MSR_FIXED_CTR0], value, OVERFLOW - 1);
	case MSR_FIXED_CTR_CTRL: return set(&pmu->fixed_ctrl, value, FIXED_VALID);
	case MSR_PERF_GLOBAL_CTRL: return set(&pmu->global_ctrl, value, GLOBAL_VALID);
	case MSR_PERF_GLOBAL_OVF_CTRL:
		if (value & ~STATUS_CLEARED)
			return false;
		pmu->status &= ~value;
		return true;
	default: return false; /* IA32_PERF_GLOBAL_STATUS is read-only */
	}
}

static bool write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	if (!model_has(cpu->model, FEATURE_PERFMON))
		return false;
	pmu_settle(cpu);
	if (!store(&cpu->pmu, index, value))
		return false;
	refresh(cpu);
	cpu_attend(cpu, ATTEND_DEADLINE); /* an overflow may be nearer than the turn's end */
	return true;
}

void pmu_claim_msrs(struct msr_table *table)
{
	static const struct msr_ops ops = {read, write};

	msr_claim(table, MSR_PMC0, MSR_PMC0 + PMU_COUNTERS - 1, &ops);
	msr_claim(table, MSR_PERFEVTSEL0, MSR_PERFEVTSEL0 + PMU_COUNTERS - 1, &ops);
	msr_claim(table, MSR_FIXED_CTR0, MSR_FIXED_CTR0 + PMU_FIXED - 1, &ops);
	msr_claim(table, MSR_FIXED_CTR_CTRL, MSR_PERF_GLOBAL_OVF_CTRL, &ops);
}

/*
 * Instructions on the processor itself that need no more than a privilege check: CPUID, MSRs, time stamps, random
 * numbers, FS and GS bases, caches, TLB invalidation, fences and hints: SDM vol. 2.
 *
 * Caches are not modelled, so what writes them back or invalidates them only checks what the manual checks. Control and
 * debug registers, HLT and descriptor tables are elsewhere.
 */
#include "cpu/control.h"
#include "cpu/msr.h"
#include "exec/integer.h"
#include "exec/nonroot.h"
#include "exec/pmu.h"
#include "exec/run.h"
#include "exec/system.h"
#include "vmx/intercept.h"
#include "vmx/virtual_apic.h"

#define TSC_TICKS 20 /* what reading the time stamp counter costs, so that loops that wait for it end */

static enum step nop(struct cpu *cpu, const struct insn *insn)
{
	return STEP_NEXT;
}

/* Instructions fetched earlier are fetched again. */
static enum step serialize(struct cpu *cpu, const struct insn *insn)
{
	return STEP_LEAVE;
}

static enum step cpuid(struct cpu *cpu, const struct insn *insn)
{
	uint32_t out[4];
	enum step step;

	if ((step = intercept(cpu, insn)))
		return step;
	cpuid_get(cpu, (uint32_t)cpu->r[RAX], (uint32_t)cpu->r[RCX], out);
	cpu->r[RAX] = out[CPUID_EAX];
	cpu->r[RBX] = out[CPUID_EBX];
	cpu->r[RCX] = out[CPUID_ECX];
	cpu->r[RDX] = out[CPUID_EDX];
	return STEP_NEXT;
}

static void pair_set(struct cpu *cpu, uint64_t value)
{
	cpu->r[RAX] = (uint32_t)value;
	cpu->r[RDX] = value >> 32;
}

/* In non-root operation the x2APIC's may be virtual. False: #GP(0). */
static bool read_msr(struct cpu *cpu, uint32_t index, uint64_t *value)
{
	if (unlikely(cpu->nonroot) && vmx_x2apic_read(cpu, index, value) == VMX_X2APIC_DONE)
		return true;
	return msr_read(cpu, index, value);
}

static bool write_msr(struct cpu *cpu, uint32_t index, uint64_t value)
{
	enum vmx_x2apic virtual = unlikely(cpu->nonroot) ? vmx_x2apic_write(cpu, index, value) : VMX_X2APIC_NORMAL;

	return virtual == VMX_X2APIC_NORMAL ? mem_write_msr(cpu, index, value) : virtual == VMX_X2APIC_DONE;
}

static enum step rdmsr(struct cpu *cpu, const struct insn *insn)
{
	uint32_t index = (uint32_t)cpu->r[RCX];
	uint64_t value;
	enum step step;

	if (cpu->cpl)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (!read_msr(cpu, index, &value)) {
		if (log_on(cpu->log, LOG_MSR))
			log_line(cpu->log, LOG_MSR, "cpu %u: rdmsr %#x: #GP", cpu->number, index);
		return raise_gp0(cpu);
	}
	if (log_on(cpu->log, LOG_MSR))
		log_line(cpu->log, LOG_MSR, "cpu %u: rdmsr %#x = %#llx", cpu->number, index, (unsigned long long)value);
	pair_set(cpu, index == MSR_TIME_STAMP_COUNTER && cpu->nonroot ? vmx_tsc(cpu, value) : value);
	return STEP_NEXT;
}

static enum step wrmsr(struct cpu *cpu, const struct insn *insn)
{
	uint32_t index = (uint32_t)cpu->r[RCX];
	uint64_t value = (uint32_t)cpu->r[RAX] | cpu->r[RDX] << 32;
	enum step step;
	bool written;

	if (cpu->cpl)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	written = write_msr(cpu, index, value);
	if (log_on(cpu->log, LOG_MSR))
		log_line(cpu->log, LOG_MSR, "cpu %u: wrmsr %#x = %#llx%s", cpu->number, index,
			 (unsigned long long)value, written ? "" : ": #GP");
	return written ? STEP_LEAVE : raise_gp0(cpu);
}

static enum step rdtsc(struct cpu *cpu, const struct insn *insn)
{
	uint64_t tsc = cpu_tsc(cpu);
	enum step step;

	if (is_disabled(cpu, insn)) /* RDTSCP */
		return exec_undefined(cpu, insn);
	if (cpu->cpl && (cpu->cr4 & CR4_TSD))
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	pair_set(cpu, cpu->nonroot ? vmx_tsc(cpu, tsc) : tsc);
	run_idle(cpu, TSC_TICKS);
	return STEP_NEXT;
}

static enum step rdtscp(struct cpu *cpu, const struct insn *insn)
{
	enum step step = rdtsc(cpu, insn);

	if (step == STEP_NEXT)
		cpu->r[RCX] = (uint32_t)cpu->tsc_aux;
	return step;
}

static enum step rdpid(struct cpu *cpu, const struct insn *insn)
{
	if (is_disabled(cpu, insn))
		return exec_undefined(cpu, insn);
	cpu->r[insn->rm] = (uint32_t)cpu->tsc_aux;
	return STEP_NEXT;
}

static enum step rdpmc(struct cpu *cpu, const struct insn *insn)
{
	enum step step;
	uint64_t value;

	if (cpu->cpl && !(cpu->cr4 & CR4_PCE))
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (!pmu_read(cpu, (uint32_t)cpu->r[RCX], &value))
		return raise_gp0(cpu);
	pair_set(cpu, value);
	return STEP_NEXT;
}

/* Not random: the same run gives the same numbers. SplitMix64, a stream of its own for each vCPU. */
static uint64_t next_random(struct cpu *cpu)
{
	uint64_t z;

	cpu->random += UINT64_C(0x9e3779b97f4a7c15);
	z = cpu->random + cpu->number * UINT64_C(0xd1342543de82ef95);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* RDRAND, RDSEED: always ready. */
static enum step rdrand(struct cpu *cpu, const struct insn *insn)
{
	enum step step = intercept(cpu, insn);

	if (step)
		return step;
	reg_set(cpu, insn->rm, insn->size, next_random(cpu));
	cc_set_exact(cpu, RFLAGS_CF);
	return STEP_NEXT;
}

static inline enum step base_read(struct cpu *cpu, const struct insn *insn, enum segment_number segment)
{
	if (!(cpu->cr4 & CR4_FSGSBASE))
		return exec_undefined(cpu, insn);
	reg_set(cpu, insn->rm, insn->size, cpu->seg[segment].base);
	return STEP_NEXT;
}

static inline enum step base_write(struct cpu *cpu, const struct insn *insn, enum segment_number segment)
{
	uint64_t base = reg_get(cpu, insn->rm, insn->size);

	if (!(cpu->cr4 & CR4_FSGSBASE))
		return exec_undefined(cpu, insn);
	if (!cpu_fits_linear_width(cpu, base))
		return raise_gp0(cpu);
	cpu->seg[segment].base = base;
	return STEP_NEXT;
}

static enum step rdfsbase(struct cpu *cpu, const struct insn *insn)
{
	return base_read(cpu, insn, FS);
}

static enum step rdgsbase(struct cpu *cpu, const struct insn *insn)
{
	return base_read(cpu, insn, GS);
}

static enum step wrfsbase(struct cpu *cpu, const struct insn *insn)
{
	return base_write(cpu, insn, FS);
}

static enum step wrgsbase(struct cpu *cpu, const struct insn *insn)
{
	return base_write(cpu, insn, GS);
}

/* INVD, WBINVD. */
static enum step cache_invalidate(struct cpu *cpu, const struct insn *insn)
{
	return cpu->cpl ? raise_gp0(cpu) : intercept(cpu, insn);
}

/* CLFLUSH, CLFLUSHOPT, CLWB: checked like a load of one byte. */
static enum step cache_line(struct cpu *cpu, const struct insn *insn)
{
	la_t la;

	if (operand_linear(cpu, insn, 1, ACCESS_READ, &la) || mem_probe(cpu, la, 1, ACCESS_READ))
		return STEP_FAULT;
	return STEP_NEXT;
}

/* The operand is an address that is not accessed: no limit, no canonical check (a non-canonical one has no
 * translation). */
static enum step invlpg(struct cpu *cpu, const struct insn *insn)
{
	la_t la = operand_offset(cpu, insn);
	enum step step;

	if (cpu->cpl)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (insn->ea == EA_FSGS || insn->ea == EA_CHECKED)
		la += cpu->seg[insn->seg].base;
	if (!cpu_64bit(cpu))
		la = (uint32_t)la;
	mem_flush_page(cpu, la);
	return STEP_LEAVE;
}

enum invpcid { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_NON_GLOBAL };

static enum step invpcid(struct cpu *cpu, const struct insn *insn)
{
	uint64_t type = reg_get(cpu, insn->reg, cpu_64bit(cpu) ? 8 : 4), descriptor[2];
	enum step step;
	la_t la;

	if (is_disabled(cpu, insn))
		return exec_undefined(cpu, insn);
	if (cpu->cpl)
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (operand_linear(cpu, insn, 16, ACCESS_READ, &la) || mem_read_bytes(cpu, la, descriptor, 16, ACCESS_READ))
		return STEP_FAULT;
	if (type > INVPCID_NON_GLOBAL)
		return raise_gp0(cpu);
	if (type <= INVPCID_CONTEXT) {
		if ((descriptor[0] & ~CR3_PCID) || (!(cpu->cr4 & CR4_PCIDE) && descriptor[0]))
			return raise_gp0(cpu);
		if (type == INVPCID_ADDRESS && !cpu_fits_linear_width(cpu, descriptor[1]))
			return raise_gp0(cpu);
	}
	switch ((enum invpcid)type) {
	case INVPCID_ADDRESS: mem_flush_page_pcid(cpu, (unsigned)descriptor[0], descriptor[1]); break;
	case INVPCID_CONTEXT: mem_flush_pcid(cpu, (unsigned)descriptor[0]); break;
	case INVPCID_ALL: mem_flush_vpid(cpu, cpu->vpid, false); break;
	case INVPCID_NON_GLOBAL: mem_flush_non_global(cpu); break;
	}
	return STEP_LEAVE;
}

const struct exec_entry exec_system_entries[] = {
	ENTRY(CPUID, cpuid),
	ENTRY(RDMSR, rdmsr),
	ENTRY(WRMSR, wrmsr),
	ENTRY(RDTSC, rdtsc),
	ENTRY(RDTSCP, rdtscp),
	ENTRY(RDPID, rdpid),
	ENTRY(RDPMC, rdpmc),
	ENTRY(RDRAND, rdrand),
	ENTRY(RDSEED, rdrand),
	ENTRY(RDFSBASE, rdfsbase),
	ENTRY(RDGSBASE, rdgsbase),
	ENTRY(WRFSBASE, wrfsbase),
	ENTRY(WRGSBASE, wrgsbase),
	ENTRY(INVD, cache_invalidate),
	ENTRY(WBINVD, cache_invalidate),
	ENTRY(CLFLUSH, cache_line),
	ENTRY(CLFLUSHOPT, cache_line),
	ENTRY(CLWB, cache_line),
	ENTRY(INVLPG, invlpg),
	ENTRY(INVPCID, invpcid),
	ENTRY(SERIALIZE, serialize),
	ENTRY(NOP, nop),
	ENTRY(LFENCE, nop),
	ENTRY(SFENCE, nop),
	ENTRY(MFENCE, nop),
	ENTRY(PREFETCH, nop),
	ENTRY(PREFETCHW, nop),
	ENTRY(PREFETCHWT1, nop),
	ENTRY(PREFETCHNTA, nop),
	ENTRY(PREFETCHT0, nop),
	ENTRY(PREFETCHT1, nop),
	ENTRY(PREFETCHT2, nop),
	{0},
};

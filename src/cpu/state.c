/*
 * A vCPU's state as a whole: RFLAGS, the mode key, reset and INIT, save and restore.
 *
 * SDM vol. 3, "Processor Initialization" (the table of processor states following power-up, reset, or INIT). The local
 * APIC resets by itself.
 */
#include "cpu/flags.h"
#include "cpu/msr.h"
#include "cpu/mode.h"

#define APIC_BASE_BSP	 BIT(8)
#define APIC_BASE_ENABLE BIT(11)

uint64_t cpu_rflags(const struct cpu *cpu)
{
	return cpu->rflags | cc_flags(&cpu->cc);
}

void cpu_set_rflags(struct cpu *cpu, uint64_t rflags)
{
	cc_set_exact(cpu, rflags);
	cpu->rflags = (rflags & ~RFLAGS_ARITH) | RFLAGS_1;
}

/* Base 0, limit 4 GiB - 1 and nothing that an access could violate. */
static bool is_flat(const struct segment *segment, uint32_t must_be_set)
{
	return segment->base == 0 && segment->limit == UINT32_MAX && !(segment->ar & AR_UNUSABLE) &&
	       (segment->ar & must_be_set) == must_be_set && ((segment->ar & AR_CODE) || !(segment->ar & AR_DOWN));
}

void cpu_mode_changed(struct cpu *cpu)
{
	uint32_t data = AR_S | AR_P | AR_WRITABLE;
	uint32_t mode = cpu_protected(cpu) && !cpu_v86(cpu) ? MODE_PROTECTED : 0;

	if (unlikely(cpu->pmu.watch) && cpu->pmu.watch != (PMU_WATCH | (cpu->cpl != 0)))
		cpu_attend(cpu, ATTEND_DEADLINE);
	if (cpu_64bit(cpu)) {
		cpu->mode = mode | MODE_CODE64 | MODE_STACK64 | MODE_FLAT;
		return;
	}
	mode |= cpu->seg[CS].ar & AR_DB ? MODE_CODE32 : MODE_CODE16;
	if (cpu->seg[SS].ar & AR_DB)
		mode |= MODE_STACK32;
	/* CS: readable, so that an override may read through it. A data segment that is code cannot be written: not
	 * flat. */
	if (is_flat(&cpu->seg[CS], data) && is_flat(&cpu->seg[DS], data) && is_flat(&cpu->seg[ES], data) &&
	    is_flat(&cpu->seg[SS], data) && !((cpu->seg[DS].ar | cpu->seg[ES].ar | cpu->seg[SS].ar) & AR_CODE))
		mode |= MODE_FLAT;
	cpu->mode = mode;
}

/* Powered on, but not by INIT: what only a reset clears. */
static void reset_kept_by_init(struct cpu *cpu)
{
	cpu->a20m = cpu->a20m_pin = cpu->a20m_blocked = false;
	cpu->fpu = (struct fpu){.mxcsr = 0x1f80, .xcr0 = 1};
	store_le(cpu->fpu.x87, 2, 0x40);     /* FCW */
	store_le(cpu->fpu.x87 + 4, 1, 0xff); /* FTW 5555H: all valid (and zero), in FXSAVE's abridged form */
	cpu->tsc_offset = 0;
	cpu->tsc_adjust = 0;
	cpu->tsc_aux = 0;
	cpu->star = cpu->lstar = cpu->cstar = cpu->fmask = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->fs_kernel_gs = 0;
	cpu->pat = UINT64_C(0x0007040600070406);
	cpu->mtrr_def_type = 0;
	memset(cpu->mtrr_fixed, 0, sizeof(cpu->mtrr_fixed));
	memset(cpu->mtrr_base, 0, sizeof(cpu->mtrr_base));
	memset(cpu->mtrr_mask, 0, sizeof(cpu->mtrr_mask));
	cpu->apic_base = 0xfee00000 | APIC_BASE_ENABLE | (cpu->number == 0 ? APIC_BASE_BSP : 0);
	cpu->misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_BTS_ABSENT | MISC_ENABLE_PEBS_ABSENT |
			   (model_has(cpu->model, FEATURE_PERFMON) ? MISC_ENABLE_PERFMON : 0) |
			   (model_has(cpu->model, FEATURE_MONITOR) ? MISC_ENABLE_MONITOR : 0);
	cpu->feature_control = 0;
	cpu->spec_ctrl = 0;
	cpu->umwait_control = 0;
	cpu->mcg_status = 0;
	/* The general-purpose counters are enabled but for their event selects. The totals go on. */
	cpu->pmu = (struct pmu){.instructions = cpu->pmu.instructions,
				.cycles = cpu->pmu.cycles,
				.global_ctrl = BITS(PMU_COUNTERS - 1, 0)};
	cpu->smbase = 0x30000;
}

void cpu_reset(struct cpu *cpu, bool init)
{
	uint32_t data = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED;
	uint64_t caching = init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

	memset(cpu->r, 0, sizeof(cpu->r));
	cpu->r[R_REACH] = REACH;
	cpu->r[RDX] = cpu_signature(cpu->model);
	cpu_set_rflags(cpu, 0);
	cpu->rip = 0xfff0;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = (struct segment){.limit = 0xffff, .ar = data};
	cpu->seg[CS].selector = 0xf000;
	cpu->seg[CS].base = 0xffff0000;
	cpu->seg[LDTR] = (struct segment){.limit = 0xffff, .ar = AR_P | 2};
	cpu->seg[TR] = (struct segment){.limit = 0xffff, .ar = AR_P | 11};
	cpu->gdtr = cpu->idtr = (struct table_register){.limit = 0xffff};
	cpu->cpl = 0;
	cpu->shadow = 0;
	cpu->nmi_blocked = false;
	cpu->in_smm = false;
	cpu->cr0 = CR0_ET | caching;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = 0;
	cpu->efer = 0;
	memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
	memset(cpu->dr, 0, sizeof(cpu->dr));
	cpu->dr6 = DR6_FIXED;
	cpu->dr7 = DR7_1;
	cpu->pending_debug = 0;
	cpu->debugctl = 0;
	cpu->monitor_armed = false;
	cpu->io_misc = 0;
	/* INTR is a level. A SIPI that follows an INIT may be there before the INIT is taken. The other latched ones
	 * are forgotten. */
	cpu->pins &= BIT(PIN_INTR) | (init ? BIT(PIN_SIPI) : 0);
	if (!init)
		reset_kept_by_init(cpu);
	cpu->activity = cpu->apic_base & APIC_BASE_BSP ? ACTIVITY_ACTIVE : ACTIVITY_WAIT_SIPI;
	cpu_attend(cpu, ATTEND_PINS);
	cpu_mode_changed(cpu);
}

static void segment_state(struct segment *segment, struct state *state)
{
	state_var(state, segment->base);
	state_var(state, segment->limit);
	state_var(state, segment->ar);
	state_var(state, segment->selector);
}

static void table_state(struct table_register *table, struct state *state)
{
	state_var(state, table->base);
	state_var(state, table->limit);
}

/* Between parts of a turn, so that the counters are up to date. */
static void pmu_state(struct pmu *pmu, struct state *state)
{
	state_var(state, pmu->select);
	state_var(state, pmu->counter);
	state_var(state, pmu->fixed);
	state_var(state, pmu->fixed_ctrl);
	state_var(state, pmu->global_ctrl);
	state_var(state, pmu->status);
	state_var(state, pmu->instructions);
	state_var(state, pmu->cycles);
	state_bool(state, &pmu->active);
	state_bool(state, &pmu->user);
	state_var(state, pmu->watch);
	for (unsigned i = 0; i < PMU_COUNTERS; i++)
		pmu->counter[i] &= BITS(47, 0);
	for (unsigned i = 0; i < PMU_FIXED; i++)
		pmu->fixed[i] &= BITS(47, 0);
}

void cpu_state(struct cpu *cpu, struct state *state)
{
	uint64_t rflags = cpu_rflags(cpu);

	state_section(state, "cpu");
	state_bytes(state, cpu->r, 16 * sizeof(cpu->r[0]));
	state_var(state, cpu->rip);
	state_var(state, rflags);
	for (unsigned i = 0; i < SEG_ALL; i++)
		segment_state(&cpu->seg[i], state);
	state_var(state, cpu->cpl);
	state_var(state, cpu->shadow);
	state_bool(state, &cpu->nmi_blocked);
	state_bool(state, &cpu->in_smm);
	state_bool(state, &cpu->a20m_pin);
	state_bool(state, &cpu->a20m_blocked);
	state_var(state, cpu->activity);
	table_state(&cpu->gdtr, state);
	table_state(&cpu->idtr, state);
	state_var(state, cpu->cr0);
	state_var(state, cpu->cr2);
	state_var(state, cpu->cr3);
	state_var(state, cpu->cr4);
	state_var(state, cpu->cr8);
	state_var(state, cpu->efer);
	state_var(state, cpu->pdpte);
	state_var(state, cpu->dr);
	state_var(state, cpu->dr6);
	state_var(state, cpu->dr7);
	state_var(state, cpu->pending_debug);
	state_var(state, cpu->fs_kernel_gs);
	state_var(state, cpu->star);
	state_var(state, cpu->lstar);
	state_var(state, cpu->cstar);
	state_var(state, cpu->fmask);
	state_var(state, cpu->sysenter_cs);
	state_var(state, cpu->sysenter_esp);
	state_var(state, cpu->sysenter_eip);
	state_var(state, cpu->tsc_offset);
	state_var(state, cpu->tsc_adjust);
	state_var(state, cpu->tsc_aux);
	state_var(state, cpu->pat);
	state_var(state, cpu->mtrr_def_type);
	state_var(state, cpu->mtrr_fixed);
	state_var(state, cpu->mtrr_base);
	state_var(state, cpu->mtrr_mask);
	state_var(state, cpu->apic_base);
	state_var(state, cpu->misc_enable);
	state_var(state, cpu->debugctl);
	state_var(state, cpu->feature_control);
	state_var(state, cpu->spec_ctrl);
	state_var(state, cpu->umwait_control);
	state_var(state, cpu->smbase);
	state_var(state, cpu->monitor);
	state_var(state, cpu->monitor_line);
	state_bool(state, &cpu->monitor_armed);
	state_var(state, cpu->io_misc);
	state_var(state, cpu->io_rip);
	state_var(state, cpu->mcg_status);
	state_var(state, cpu->random);
	state_bytes(state, cpu->fpu.x87, 160);
	state_var(state, cpu->fpu.v);
	state_var(state, cpu->fpu.k);
	state_var(state, cpu->fpu.mxcsr);
	state_var(state, cpu->fpu.pkru);
	state_var(state, cpu->fpu.xcr0);
	state_var(state, cpu->fpu.xss);
	state_var(state, cpu->pins);
	state_var(state, cpu->sipi_vector);
	pmu_state(&cpu->pmu, state);
	state_var(state, cpu->retired);
	state_var(state, cpu->cycles);
	state_var(state, cpu->exceptions);
	state_var(state, cpu->interrupts);
	if (!state_restoring(state))
		return;
	if (cpu->cpl > 3 || cpu->activity > ACTIVITY_MWAIT)
		state_refuse(state, "a vCPU's privilege level or activity is out of range");
	/* What the host CPU would not load. */
	if (cpu->fpu.mxcsr >> 16 || !(cpu->fpu.xcr0 & 1) || cpu->fpu.xcr0 & ~cpu->model->xcr0_allowed ||
	    cpu->fpu.xss & ~cpu->model->xss_allowed)
		state_refuse(state, "a vCPU's MXCSR, XCR0 or IA32_XSS has bits that it does not have");
	cpu_set_rflags(cpu, rflags);
	cpu->a20m = cpu->a20m_pin && !cpu->a20m_blocked;
	cpu_mode_changed(cpu);
	/* What asks for attention is worked out anew from the state. */
	cpu_attend(cpu, ATTEND_PINS);
	cpu_attend(cpu, ATTEND_TRAP);
}

void cpu_shutdown(struct cpu *cpu, const char *why)
{
	if (log_on(cpu->log, LOG_CPU_RESET))
		log_line(cpu->log, LOG_CPU_RESET, "cpu %u: shutdown: %s at %04x:%016llx cr0 %llx cr3 %llx cr4 %llx",
			 cpu->number, why, cpu->seg[CS].selector, (unsigned long long)cpu->rip,
			 (unsigned long long)cpu->cr0, (unsigned long long)cpu->cr3, (unsigned long long)cpu->cr4);
	cpu->activity = ACTIVITY_SHUTDOWN;
	cpu->shadow = 0;
	if (cpu->event)
		cpu->event(cpu, CPU_SHUTDOWN);
}

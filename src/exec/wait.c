/*
 * Waiting: PAUSE, MONITOR and MWAIT, UMONITOR, UMWAIT and TPAUSE: SDM vol. 2; SDM vol. 3, "MONITOR/MWAIT Instruction".
 *
 * A monitored line is remembered with its contents: a write is what changed them. So a write of the same bytes does not
 * wake, which software cannot rely on, because it looks at the contents. MWAIT has no extensions and one power state
 * (CPUID.05H). UMWAIT and TPAUSE wait inside the current turn at most, and then return as for an event that the manual
 * leaves to the implementation.
 */
#include "bus/bus.h"
#include "cpu/msr.h"
#include "exec/integer.h"
#include "exec/nonroot.h"
#include "exec/run.h"
#include "exec/system.h"
#include "vmx/intercept.h"

#define PAUSE_TICKS 40

/* A spinning vCPU lets the others on. */
static enum step pause_insn(struct cpu *cpu, const struct insn *insn)
{
	enum step step = intercept(cpu, insn);

	if (step)
		return step;
	run_idle(cpu, PAUSE_TICKS);
	if (cpu->cpus > 1)
		cpu_attend(cpu, ATTEND_YIELD);
	return STEP_NEXT;
}

/* The 64-byte line as it is now. False: not memory, so it cannot be monitored. */
static bool line_read(const struct cpu *cpu, pa_t line, uint8_t bytes[64])
{
	struct bus_span span;

	bus_lookup(cpu->bus, line, cpu->in_smm, &span);
	if (!span.host || span.end - line < 64) /* an end of 0 is 2^64 */
		return false;
	memcpy(bytes, span.host + (line - span.base), 64);
	return true;
}

static enum step arm(struct cpu *cpu, const struct insn *insn, uint64_t offset)
{
	uint64_t value;
	la_t la;
	pa_t pa;

	if (offset_linear(cpu, insn->seg, offset, 1, ACCESS_READ, &la) || mem_read_size(cpu, la, 1, &value))
		return STEP_FAULT;
	cpu->monitor_armed = mem_debug_translate(cpu, la, &pa) && line_read(cpu, pa & ~UINT64_C(63), cpu->monitor_line);
	cpu->monitor = cpu->monitor_armed ? pa & ~UINT64_C(63) : 0;
	return STEP_NEXT;
}

static bool line_written(const struct cpu *cpu)
{
	uint8_t now[64];

	return !cpu->monitor_armed || !line_read(cpu, cpu->monitor, now) || memcmp(now, cpu->monitor_line, 64) != 0;
}

/* MONITOR and MWAIT in rings above 0 are #UD, not #GP. */
static bool monitor_offered(const struct cpu *cpu)
{
	return cpu->cpl == 0 && (cpu->misc_enable & MISC_ENABLE_MONITOR);
}

static enum step monitor(struct cpu *cpu, const struct insn *insn)
{
	enum step step;

	if (!monitor_offered(cpu))
		return exec_undefined(cpu, insn);
	if ((step = intercept(cpu, insn)))
		return step;
	if ((uint32_t)cpu->r[RCX])
		return raise_gp0(cpu);
	return arm(cpu, insn, reg_get(cpu, RAX, insn->addr_size));
}

static enum step mwait(struct cpu *cpu, const struct insn *insn)
{
	enum step step;

	if (!monitor_offered(cpu))
		return exec_undefined(cpu, insn);
	if ((step = intercept(cpu, insn)))
		return step;
	if ((uint32_t)cpu->r[RCX])
		return raise_gp0(cpu);
	if (line_written(cpu)) {
		cpu->monitor_armed = false;
		return STEP_NEXT;
	}
	cpu->activity = ACTIVITY_MWAIT;
	return STEP_LEAVE;
}

bool exec_mwait_ended(struct cpu *cpu)
{
	if (cpu->activity != ACTIVITY_MWAIT || !line_written(cpu))
		return false;
	cpu->monitor_armed = false;
	cpu->activity = ACTIVITY_ACTIVE;
	return true;
}

static enum step umonitor(struct cpu *cpu, const struct insn *insn)
{
	if (is_disabled(cpu, insn))
		return exec_undefined(cpu, insn);
	return arm(cpu, insn, reg_get(cpu, insn->rm, insn->addr_size));
}

/* Until the TSC reaches EDX:EAX, or for IA32_UMWAIT_CONTROL's time at most, which CF tells. */
static enum step wait_until(struct cpu *cpu, uint64_t ticks)
{
	uint64_t most = cpu->umwait_control & BITS(31, 2);
	uint64_t left = run_left(cpu) > 0 ? (uint64_t)run_left(cpu) << cpu->tick_shift : 0;
	bool limited = most && most < ticks && most <= left;

	if (most)
		ticks = min_u64(ticks, most);
	run_idle(cpu, (unsigned)min_u64(min_u64(ticks, left) >> cpu->tick_shift, 1u << 30));
	if (cpu->cpus > 1)
		cpu_attend(cpu, ATTEND_YIELD);
	cc_set_exact(cpu, flag_if(limited, RFLAGS_CF));
	return STEP_NEXT;
}

static enum step timed_wait(struct cpu *cpu, const struct insn *insn, bool over)
{
	uint64_t deadline = (uint32_t)cpu->r[RAX] | cpu->r[RDX] << 32, now = cpu_tsc(cpu), ticks;
	enum step step;

	if (is_disabled(cpu, insn))
		return exec_undefined(cpu, insn);
	if (cpu->cpl && (cpu->cr4 & CR4_TSD))
		return raise_gp0(cpu);
	if ((step = intercept(cpu, insn)))
		return step;
	if (reg_get(cpu, insn->rm, 4) & ~UINT64_C(1)) /* bit 0 chooses between two power states */
		return raise_gp0(cpu);
	if (cpu->nonroot)
		now = vmx_tsc(cpu, now);
	ticks = deadline > now && !over ? deadline - now : 0;
	return wait_until(cpu, cpu->nonroot ? vmx_delay(cpu, ticks) : ticks);
}

static enum step tpause(struct cpu *cpu, const struct insn *insn)
{
	return timed_wait(cpu, insn, false);
}

static enum step umwait(struct cpu *cpu, const struct insn *insn)
{
	enum step step = timed_wait(cpu, insn, line_written(cpu));

	if (step == STEP_NEXT)
		cpu->monitor_armed = false;
	return step;
}

const struct exec_entry exec_wait_entries[] = {
	ENTRY(PAUSE, pause_insn),
	ENTRY(MONITOR, monitor),
	ENTRY(MWAIT, mwait),
	ENTRY(UMONITOR, umonitor),
	ENTRY(UMWAIT, umwait),
	ENTRY(TPAUSE, tpause),
	{0},
};

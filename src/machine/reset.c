/*
 * Power-on, reset, and what a vCPU's shutdown does.
 *
 * All resets (port CF9H, port 92H, the i8042's, a triple fault) put every part into the state after power-on and boot
 * again; RAM keeps its contents, as DRAM does, except where booting puts things.
 */
#include "machine/parts.h"
#include "vmx/vmx.h"

#include "base/log.h"

static void reset_cpus(struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		struct cpu *cpu = &m->cpu[i];

		cpu_reset(cpu, false);
		if (cpu->vmx)
			vmx_reset(cpu);
		apic_reset(cpu->apic, false);
		cpu->pins = 0;
		cpu->attention = ATTEND_PINS;
	}
}

static void cpus_changed(struct machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		mem_flush_all(&m->cpu[i]);
		machine_cpu_changed(m, i);
	}
}

bool power_on(struct machine *m, struct error *error)
{
	m->reset_wanted = false;
	m->turn_cpu = 0;
	m->turn_end = 0;
	for (unsigned i = 0; i < m->parts; i++) {
		if (m->part[i].ops->reset)
			m->part[i].ops->reset(m->part[i].part);
	}
	reset_cpus(m);
	cpus_changed(m);
	if (!board_boot(m, error))
		return false;
	cpus_changed(m);
	/* Parts may have asked for a reset while they were being reset; that is this one. */
	m->reset_wanted = false;
	return true;
}

void run_reset(struct machine *m)
{
	if (m->no_reboot) {
		m->reset_wanted = false;
		machine_request_power_off(m);
		return;
	}
	if (m->stopped == STOP_POWERED_OFF || m->stopped == STOP_SHUTDOWN)
		m->stopped = STOP_NONE;
	if (!power_on(m, &m->failure))
		machine_end(m, 1);
}

void cpu_said(struct cpu *cpu, enum cpu_event event)
{
	struct machine *m = cpu->machine;

	switch (event) {
	case CPU_SHUTDOWN:
		if (m->on_cpu_reset)
			m->on_cpu_reset(m->on_cpu_reset_ctx, cpu, "Triple fault");
		machine_request_reset(m);
		break;
	case CPU_INIT: apic_reset(cpu->apic, true); break;
	case CPU_FERR: board_ferr(m); break;
	case CPU_TSC_MOVED: apic_tsc_changed(cpu->apic); break;
	/* SMM changes this vCPU's view of memory alone, which mem/ sees by itself. */
	case CPU_SMI_ENTERED:
	case CPU_SMI_LEFT: break;
	}
}

void machine_on_cpu_reset(struct machine *m, void (*reset)(void *ctx, struct cpu *cpu, const char *why), void *ctx)
{
	m->on_cpu_reset = reset;
	m->on_cpu_reset_ctx = ctx;
}

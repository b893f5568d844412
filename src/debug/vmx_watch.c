/*
 * What vCPUs tell, handed on to the three that want it.
 */
#include "debug/vmx_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/exit_stats.h"
#include "debug/explain.h"
#include "debug/vmx_trace.h"

struct vmx_watch {
	struct machine *machine;
	struct vmx_reporter reporter;
	struct symbols *symbols;
	struct explain *explain; /* NULL: not wanted; so is stats */
	struct exit_stats *stats;
	const char *stats_file;
};

static void instruction(void *ctx, struct cpu *cpu, const struct vmx_instruction *what)
{
	struct vmx_watch *watch = ctx;

	vmx_trace_instruction(cpu, what);
	if (watch->explain && (what->invalid || what->error))
		explain_instruction(watch->explain, cpu, what);
}

static void entry_failed(void *ctx, struct cpu *cpu, const struct vmx_failed_entry *what)
{
	struct vmx_watch *watch = ctx;

	vmx_trace_entry_failed(cpu, what);
	if (watch->explain)
		explain_entry(watch->explain, cpu, what);
}

static void entered(void *ctx, struct cpu *cpu, bool launch)
{
	struct vmx_watch *watch = ctx;

	vmx_trace_entered(cpu, launch);
	if (watch->stats)
		exit_stats_entered(watch->stats, cpu);
}

static void exits(void *ctx, struct cpu *cpu)
{
	struct vmx_watch *watch = ctx;

	vmx_trace_exits(cpu);
	if (watch->stats)
		exit_stats_exits(watch->stats, cpu);
}

static void aborts(void *ctx, struct cpu *cpu, enum vmx_abort why, uint32_t entry)
{
	struct vmx_watch *watch = ctx;

	vmx_trace_aborts(cpu, why);
	if (watch->explain)
		explain_abort(watch->explain, cpu, why, entry);
}

static void vmcs_leaves(void *ctx, struct cpu *cpu)
{
	struct vmx_watch *watch = ctx;

	if (watch->explain)
		explain_vmcs_leaves(watch->explain, cpu);
}

static void triple_fault(void *ctx, struct cpu *cpu, const struct fault_chain *chain)
{
	struct vmx_watch *watch = ctx;

	if (watch->explain)
		explain_triple_fault(watch->explain, cpu, chain);
}

struct vmx_watch *vmx_watch_create(struct machine *machine, const struct vmx_watch_config *config)
{
	struct vmx_watch *watch = xcalloc(1, sizeof(*watch));

	watch->machine = machine;
	watch->reporter = (struct vmx_reporter){
		.ctx = watch,
		.transitions = config->exits,
		.instruction = instruction,
		.entry_failed = entry_failed,
		.entered = entered,
		.exits = exits,
		.aborts = aborts,
		.vmcs_leaves = vmcs_leaves,
		.triple_fault = triple_fault,
	};
	if (config->explain != EXPLAIN_OFF) {
		watch->symbols = symbols_create();
		if (config->kernel)
			symbols_add_kernel(watch->symbols, config->kernel, config->modules);
		watch->explain = explain_create(stderr, config->explain == EXPLAIN_JSON, watch->symbols);
	}
	if (config->exits) {
		watch->stats = exit_stats_create();
		watch->stats_file = config->exits_file;
	}
	for (unsigned i = 0; i < machine_cpus(machine); i++)
		machine_cpu(machine, i)->reporter = &watch->reporter;
	return watch;
}

void vmx_watch_destroy(struct vmx_watch *watch)
{
	if (!watch)
		return;
	for (unsigned i = 0; i < machine_cpus(watch->machine); i++)
		machine_cpu(watch->machine, i)->reporter = NULL;
	explain_destroy(watch->explain);
	exit_stats_destroy(watch->stats);
	symbols_destroy(watch->symbols);
	free(watch);
}

static bool is_json(const char *name)
{
	size_t size = strlen(name);

	return size >= 5 && !strcmp(name + size - 5, ".json");
}

static bool write_stats(const struct vmx_watch *watch, struct error *error)
{
	const char *name = watch->stats_file;
	FILE *file;
	bool good;

	if (!name) {
		exit_stats_print(watch->stats, stderr);
		return true;
	}
	file = fopen(name, "we");
	if (!file)
		return error_set(error, "could not open '%s' for statistics of VM exits: %s", name, strerror(errno));
	if (is_json(name))
		exit_stats_print_json(watch->stats, file);
	else
		exit_stats_print(watch->stats, file);
	good = !ferror(file);
	good = !fclose(file) && good;
	return good || error_set(error, "could not write statistics of VM exits to '%s': %s", name, strerror(errno));
}

bool vmx_watch_conclude(struct vmx_watch *watch, struct error *error)
{
	if (watch->explain)
		explain_conclude(watch->explain);
	return !watch->stats || write_stats(watch, error);
}

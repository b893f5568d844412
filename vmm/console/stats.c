/*
 * What a VM's exits were and cost. A cycle is a tick of the TSC, from the VM exit to the next VM entry.
 */
#include "console/console.h"

#include "cpu/time.h"
#include "lib/print.h"

/* Of all its vCPUs; they may be running, so this is a look in passing. */
static struct exit_count sum(const struct vm *vm, unsigned reason)
{
	struct exit_count all = {0, 0};

	for (unsigned i = 0; i < vm->vcpus_count; i++) {
		all.count += vm->vcpus[i]->exits[reason].count;
		all.cycles += vm->vcpus[i]->exits[reason].cycles;
	}
	return all;
}

static uint64_t mean(struct exit_count exits)
{
	return exits.count ? exits.cycles / exits.count : 0;
}

static void print_row(struct exit_count exits, uint64_t total, const char *title)
{
	uint64_t share = total ? exits.count * 1000 / total : 0;

	print("%10lu  %3lu.%lu %%  %10lu  %s\n", exits.count, share / 10, share % 10, mean(exits), title);
}

void stats_print(struct vm *vm)
{
	struct exit_count counts[EXIT_REASONS], total = {0, 0};
	uint64_t entries = 0;

	for (unsigned i = 0; i < vm->vcpus_count; i++)
		entries += vm->vcpus[i]->entries;
	for (unsigned reason = 0; reason < EXIT_REASONS; reason++) {
		counts[reason] = sum(vm, reason);
		total.count += counts[reason].count;
		total.cycles += counts[reason].cycles;
	}
	print("vmm: vm %s: %lu VM entries, VM exits:\n", vm->config->name, entries);
	print("     count    share  mean cycles  reason\n");
	for (;;) {
		unsigned most = 0;

		for (unsigned reason = 1; reason < EXIT_REASONS; reason++) {
			if (counts[reason].count > counts[most].count)
				most = reason;
		}
		if (!counts[most].count)
			break;
		print_row(counts[most], total.count, exit_reason_title(most));
		counts[most].count = 0;
	}
	print_row(total, total.count, "total");
}

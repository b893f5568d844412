/*
 * Counting VM exits. Time is the machine's, which counts instructions, so that two runs print the same.
 *
 * A guest is a VMCS by its address, whichever vCPU enters it.
 */
#include "debug/exit_stats.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "clock/clock.h"

/* Guests that a hostile hypervisor makes beyond these count as one. */
enum { MOST_GUESTS = 1024, REASONS = 80 };

#define OTHERS (~UINT64_C(0))

struct reason_count {
	uint64_t count;
	uint64_t timed; /* of them, those that an entry followed */
	vtime_t total, least, most;
};

struct guest {
	pa_t vmcs;
	uint64_t entries;
	vtime_t inside;	 /* time in non-root operation */
	vtime_t entered; /* when that began */
	vtime_t left;	 /* of the last exit, if an entry is awaited */
	int reason;	 /* its reason; -1: none is awaited */
	struct reason_count exits[REASONS];
};

struct exit_stats {
	struct guest *guest;
	unsigned guests, last;
};

struct exit_stats *exit_stats_create(void)
{
	return xcalloc(1, sizeof(struct exit_stats));
}

void exit_stats_destroy(struct exit_stats *s)
{
	if (!s)
		return;
	free(s->guest);
	free(s);
}

static struct guest *find(struct exit_stats *s, pa_t vmcs)
{
	if (s->guests && s->guest[s->last].vmcs == vmcs)
		return &s->guest[s->last];
	for (unsigned i = 0; i < s->guests; i++)
		if (s->guest[i].vmcs == vmcs) {
			s->last = i;
			return &s->guest[i];
		}
	if (s->guests == MOST_GUESTS)
		return find(s, OTHERS);
	s->last = s->guests++;
	s->guest = xrealloc(s->guest, s->guests * sizeof(*s->guest));
	s->guest[s->last] = (struct guest){.vmcs = s->guests == MOST_GUESTS ? OTHERS : vmcs, .reason = -1};
	return &s->guest[s->last];
}

void exit_stats_entered(struct exit_stats *s, const struct cpu *cpu)
{
	struct guest *guest = find(s, cpu->vmx->current);
	vtime_t now = clock_now(cpu->clock), time = now - guest->left;

	if (guest->reason >= 0) {
		struct reason_count *exits = &guest->exits[guest->reason];

		exits->least = exits->timed ? min_u64(exits->least, time) : time;
		exits->most = max_u64(exits->most, time);
		exits->total += time;
		exits->timed++;
	}
	guest->reason = -1;
	guest->entered = now;
	guest->entries++;
}

void exit_stats_exits(struct exit_stats *s, const struct cpu *cpu)
{
	struct guest *guest = find(s, cpu->vmx->current);
	uint32_t reason = cpu->vmx->exit.reason & 0xffff;

	guest->left = clock_now(cpu->clock);
	guest->inside += guest->left - guest->entered;
	guest->entered = guest->left;
	if (reason >= REASONS)
		return;
	guest->exits[reason].count++;
	guest->reason = (int)reason;
}

/* ---- Printing ---- */

struct row {
	unsigned reason;
	const struct reason_count *exits;
};

static int compare(const void *left, const void *right)
{
	const struct row *a = left, *b = right;

	if (a->exits->count != b->exits->count)
		return a->exits->count < b->exits->count ? 1 : -1;
	return a->reason < b->reason ? -1 : 1;
}

/* The reasons that there were, the most frequent first. */
static unsigned gather(const struct guest *guest, struct row rows[REASONS], uint64_t *count, vtime_t *time)
{
	unsigned used = 0;

	*count = *time = 0;
	for (unsigned reason = 0; reason < REASONS; reason++) {
		if (!guest->exits[reason].count)
			continue;
		rows[used++] = (struct row){.reason = reason, .exits = &guest->exits[reason]};
		*count += guest->exits[reason].count;
		*time += guest->exits[reason].total;
	}
	qsort(rows, used, sizeof(*rows), compare);
	return used;
}

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static double microseconds(vtime_t time)
{
	return (double)time / 1000;
}

static const char *reason_name(unsigned reason)
{
	const char *text = vmx_exit_text(reason);

	return text ? text : "reserved";
}

void exit_stats_print(const struct exit_stats *s, FILE *to)
{
	if (!s->guests)
		fprintf(to, "VM exits: there was no VM entry\n");
	for (unsigned i = 0; i < s->guests; i++) {
		const struct guest *guest = &s->guest[i];
		struct row rows[REASONS];
		uint64_t count;
		vtime_t time;
		unsigned used = gather(guest, rows, &count, &time);

		if (guest->vmcs == OTHERS)
			fprintf(to, "VM exits of all other VMCSs");
		else
			fprintf(to, "VM exits of VMCS 0x%" PRIx64, guest->vmcs);
		fprintf(to, ": %" PRIu64 " entries, %" PRIu64 " exits, %.2fus in the guest, %.2fus between\n",
			guest->entries, count, microseconds(guest->inside), microseconds(time));
		fprintf(to, "%36s %10s %9s %9s %12s %12s %12s\n", "VM-EXIT", "Samples", "Samples%", "Time%", "Min Time",
			"Max Time", "Avg time");
		for (unsigned row = 0; row < used; row++) {
			const struct reason_count *exits = rows[row].exits;

			fprintf(to, "%36s %10" PRIu64 " %8.2f%% %8.2f%% %10.2fus %10.2fus %10.2fus\n",
				reason_name(rows[row].reason), exits->count, 100 * share(exits->count, count),
				100 * share(exits->total, time), microseconds(exits->least), microseconds(exits->most),
				share(exits->total, exits->timed) / 1000);
		}
	}
}

void exit_stats_print_json(const struct exit_stats *s, FILE *to)
{
	fprintf(to, "{\"guests\": [");
	for (unsigned i = 0; i < s->guests; i++) {
		const struct guest *guest = &s->guest[i];
		struct row rows[REASONS];
		uint64_t count;
		vtime_t time;
		unsigned used = gather(guest, rows, &count, &time);

		fprintf(to, "%s\n  {\"vmcs\": ", i ? "," : "");
		if (guest->vmcs == OTHERS)
			fprintf(to, "null");
		else
			fprintf(to, "\"0x%" PRIx64 "\"", guest->vmcs);
		fprintf(to,
			", \"entries\": %" PRIu64 ", \"exits\": %" PRIu64 ", \"guest_ns\": %" PRIu64
			", \"root_ns\": %" PRIu64 ", \"reasons\": [",
			guest->entries, count, guest->inside, time);
		for (unsigned row = 0; row < used; row++) {
			const struct reason_count *exits = rows[row].exits;

			fprintf(to,
				"%s\n    {\"reason\": %u, \"name\": \"%s\", \"count\": %" PRIu64
				", \"share\": %.6f, \"time_ns\": %" PRIu64
				", \"time_share\": %.6f, \"min_ns\": %" PRIu64 ", \"max_ns\": %" PRIu64
				", \"avg_ns\": %.1f}",
				row ? "," : "", rows[row].reason, reason_name(rows[row].reason), exits->count,
				share(exits->count, count), exits->total, share(exits->total, time), exits->least,
				exits->most, share(exits->total, exits->timed));
		}
		fprintf(to, "]}");
	}
	fprintf(to, "\n]}\n");
}

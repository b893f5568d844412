/*
 * What ran how fast, for -stats and the monitor.
 */
#include "machine/parts.h"

#include <time.h>

static double seconds(clockid_t clock, vtime_t begin)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)((vtime_t)now.tv_sec * NS_PER_SECOND + (vtime_t)now.tv_nsec - begin) / 1e9;
}

void machine_print_stats(struct machine *m, FILE *to)
{
	double host = seconds(CLOCK_MONOTONIC, m->host_begin),
	       processor = seconds(CLOCK_PROCESS_CPUTIME_ID, m->cpu_begin);
	struct interp_stats engine = interp_stats(m->interp);
	uint64_t retired = 0, misses = 0, accesses = 0, blocks = 0;
	char digest[33];

	for (unsigned i = 0; i < m->cpus; i++) {
		const struct cpu *cpu = &m->cpu[i];

		fprintf(to, "cpu %u: %llu instructions, %llu exceptions, %llu interrupts, %llu TLB misses\n", i,
			(unsigned long long)cpu->retired, (unsigned long long)cpu->exceptions,
			(unsigned long long)cpu->interrupts, (unsigned long long)cpu->tlb_misses);
		retired += cpu->retired;
		misses += cpu->tlb_misses;
		accesses += cpu->accesses;
		blocks += cpu->blocks;
	}
	fprintf(to, "time: %.3f s in the machine, %.3f s on the host, %.3f s of processor time\n",
		(double)clock_now(m->clock) / 1e9, host, processor);
	fprintf(to, "speed: %.1f million instructions per second of processor time\n",
		processor > 0 ? (double)retired / processor / 1e6 : 0);
	/* Accesses are the operands of blocks entered, whether they were left half-way or not, and elements of strings;
	 * misses are also those of descriptor tables and interrupt stacks, so a short run may have more: say 0 then. */
	fprintf(to, "TLB: %.4f %% of %llu accesses hit\n",
		misses < accesses ? 100 - 100 * (double)misses / (double)accesses : 0, (unsigned long long)accesses);
	fprintf(to,
		"blocks: %llu entered, %llu decoded with %llu instructions, %llu dropped, cache emptied %llu times\n",
		(unsigned long long)blocks, (unsigned long long)engine.blocks_decoded,
		(unsigned long long)engine.insns_decoded, (unsigned long long)engine.blocks_dropped,
		(unsigned long long)engine.cache_emptied);
	for (unsigned i = 0; i < m->parts; i++) {
		if (m->part[i].ops->stats)
			m->part[i].ops->stats(m->part[i].part, to);
	}
	machine_digest(m, digest);
	fprintf(to, "digest: %s\n", digest);
}

/*
 * The loops as a host program: the yardstick of the benchmark.
 *
 *   bench_native NAME CALLS     prints: NAME, the checksum in hex, the CPU time in ns
 *   bench_native --list         prints a line for each loop: NAME CALLS KIND, where KIND is int or fp
 */
#include "loops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void bench_syscall(void)
{
	syscall(SYS_getppid);
}

uint8_t *bench_fresh_pages(void)
{
	uint8_t *pages =
		mmap(NULL, BENCH_FRESH_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED) {
		perror("bench_native: mmap");
		exit(1);
	}
	/* A huge page would be one fault instead of many. */
	madvise(pages, BENCH_FRESH_PAGES * 4096, MADV_NOHUGEPAGE);
	return pages;
}

void bench_drop_pages(uint8_t *pages)
{
	munmap(pages, BENCH_FRESH_PAGES * 4096);
}

/* Not getrusage(): its split into user and system is by sampling, and a loop without system calls has no system time.
 */
static long long cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int run(const struct bench_loop *loop, unsigned long calls)
{
	uint64_t checksum = loop->run(); /* also touches the memory for the first time */
	long long begin = cpu_ns();

	for (unsigned long i = 0; i < calls; i++) {
		if (loop->run() != checksum) {
			fprintf(stderr, "bench_native: %s gave two checksums\n", loop->name);
			return 1;
		}
	}
	printf("%s %llx %lld\n", loop->name, (unsigned long long)checksum, cpu_ns() - begin);
	return 0;
}

static void list(void)
{
#define INT(name, calls) printf("%s %u int\n", #name, (unsigned int)(calls));
#define FP(name, calls)	 printf("%s %u fp\n", #name, (unsigned int)(calls));
	BENCH_LOOPS(INT, FP)
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list();
		return 0;
	}
	for (size_t i = 0; argc == 3 && i < bench_loop_count; i++)
		if (!strcmp(argv[1], bench_loops[i].name))
			return run(&bench_loops[i], strtoul(argv[2], NULL, 10));
	fprintf(stderr, "usage: bench_native NAME CALLS | --list\n");
	return 2;
}

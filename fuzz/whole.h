/*
 * A whole PC for fuzzers: two vCPUs, 2 MiB of RAM, every device that -device knows, disks in memory, a kernel that only
 * halts. It is built once per process; each input begins with the same state of everything that the guest can see.
 */
#pragma once

#include "machine/parts.h"

#define WHOLE_RAM (UINT64_C(2) << 20)

/* The one machine of the process; made on the first call, and put back to after its first reset by each later one. */
struct machine *whole_machine(void);
/* The saved state that it is put back to, for whoever wants to damage it. */
const uint8_t *whole_state(size_t *size);
/* After a restore of anybody's: what is cached follows, and nothing is left of an end, a stop or a reset that was asked
 * for. */
void whole_settle(struct machine *m);
/* Let so much time pass, without the vCPUs, but with at most `most` deadlines. */
void whole_pass(struct machine *m, vtime_t time, unsigned most);

/* An anonymous file that lives as long as the process: its descriptor, its name for open(), its new contents. */
struct memory_file {
	int fd;
	char name[32];
};
void memory_file_create(struct memory_file *file);
void memory_file_set(const struct memory_file *file, const void *bytes, size_t size);

/* Bytes of an input as little-endian numbers; zeros when it is used up. */
struct input {
	const uint8_t *at, *end;
};
uint64_t input_take(struct input *input, unsigned size);

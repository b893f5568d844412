/*
 * Log lines by category, as -d and -D ask for them. A machine has one; a part keeps the pointer it was given. A
 * category that is off costs one test.
 */
#pragma once

#include "base/types.h"
#include <stdio.h>

#define LOG_CATEGORIES(X)                                                                         \
	X(INT, "int", "interrupts and exceptions, as delivered")                                  \
	X(CPU_RESET, "cpu_reset", "CPU state at reset and triple fault")                          \
	X(GUEST_ERRORS, "guest_errors", "accesses that no part answers and other guest mistakes") \
	X(MMU, "mmu", "page walks that fault")                                                    \
	X(UNIMP, "unimp", "what the guest asked for and the machine does not have")               \
	X(IN_ASM, "in_asm", "each block of guest code when it is decoded")                        \
	X(EXEC, "exec", "each block when it is executed")                                         \
	X(VMX, "vmx", "VMX transitions")                                                          \
	X(IO, "io", "port and memory-mapped device accesses")                                     \
	X(MSR, "msr", "RDMSR and WRMSR")

enum log_category {
#define X(name, word, help) LOG_##name,
	LOG_CATEGORIES(X)
#undef X
		LOG_COUNT
};

struct log {
	FILE *file;	  /* where lines go; owned by whoever opened it */
	uint32_t enabled; /* BIT(category) */
};

static inline bool log_on(const struct log *log, enum log_category category)
{
	return unlikely(log->enabled >> category & 1);
}

/* One line; the newline is added. Call only under log_on(), or accept the cost of the arguments. */
void log_line(const struct log *log, enum log_category category, const char *format, ...) PRINTF(3, 4);

/* Parse "int,cpu_reset"; "all" is every category. False: *unknown (size bytes) names the first unknown word. */
bool log_parse(const char *list, uint32_t *enabled, char *unknown, size_t size);

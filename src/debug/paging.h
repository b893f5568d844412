/*
 * A vCPU's page tables as a list of mappings, for the monitor. SDM vol. 3, "Paging".
 */
#pragma once

#include "cpu/cpu.h"

struct mapping {
	la_t la;
	pa_t pa;
	uint64_t size;			 /* of the page */
	uint64_t entry;			 /* the last entry: G, D, A, PCD, PWT and PAT are its own */
	bool writable, user, no_execute; /* all levels together */
};

/* Calls `each` in order of linear addresses until it returns false. False: paging is off. */
bool paging_list(const struct cpu *cpu, bool (*each)(void *ctx, const struct mapping *mapping), void *ctx);

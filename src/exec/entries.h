/*
 * Which function runs which operation: one table per file, searched by exec_lookup() when a form is met for the first time.
 */
#pragma once

#include "exec/exec.h"

struct exec_entry {
	uint16_t operation; /* ZydisMnemonic; 0 ends a table */
	exec_fn *exec;
	bool (*matches)(const struct form *form); /* NULL: every form of the operation. Entries with a condition are tried first */
};

/* Every table. X(file). */
#define EXEC_TABLES(X)                                                                                                 \
	X(arith)

#define X(file) extern const struct exec_entry exec_##file##_entries[];
EXEC_TABLES(X)
#undef X

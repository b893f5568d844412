/*
 * Which function runs which operation: one table per file, searched by exec_lookup() when a form is met for the first
 * time.
 */
#pragma once

#include "exec/exec.h"

struct exec_entry {
	uint16_t operation; /* ZydisMnemonic; 0 ends a table */
	exec_fn *exec;
	bool (*matches)(const struct form *
				form); /* NULL: every form of the operation. Entries with a condition are tried first */
};

/* Rows: ENTRY(ADD, add), and ENTRY_IF(MOV, mov_cr, is_cr) for some forms only. */
#define ENTRY(name, function)                                          \
	{                                                              \
		.operation = ZYDIS_MNEMONIC_##name, .exec = (function) \
	}
#define ENTRY_IF(name, function, condition)                                                    \
	{                                                                                      \
		.operation = ZYDIS_MNEMONIC_##name, .exec = (function), .matches = (condition) \
	}

/* Every table. X(file). */
#define EXEC_TABLES(X)                                                                                                 \
	X(arith)                                                                                                       \
	X(multiply) X(shift) X(bits) X(bcd) X(exchange) X(move) X(flagop) X(string) X(io) X(system) X(wait) X(segment) \
		X(stack) X(flags_insn) X(far) X(iret) X(interrupt) X(fast_call) X(control) X(debug) X(rsm) X(xsave)    \
			X(vmx_insn)

#define X(file) extern const struct exec_entry exec_##file##_entries[];
EXEC_TABLES(X)
#undef X

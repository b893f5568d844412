/*
 * Expressions that the monitor takes for numbers and addresses: C's operators on 64 bits, $register, parentheses.
 */
#pragma once

#include "base/error.h"

struct cpu;

/* *text is moved behind the expression. False: *error says what is wrong. */
MUST_CHECK bool expression_parse(const char **text, const struct cpu *cpu, uint64_t *value, struct error *error);

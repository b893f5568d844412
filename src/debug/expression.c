/*
 * A recursive-descent parser: sum of products of unary terms. $rax and all other names are those that gdb sees, with
 * eip, pc, sp and fp beside them.
 */
#include "debug/expression.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cpu/cpu.h"
#include "debug/gdb_registers.h"

#define DEPTH 32 /* nested parentheses and signs */

struct parser {
	const char *at;
	const struct cpu *cpu;
	struct error *error;
	unsigned depth;
};

static bool sum(struct parser *p, uint64_t *value);

static void skip(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\t')
		p->at++;
}

static bool named(struct parser *p, uint64_t *value)
{
	static const char *const other[][2] = {{"pc", "rip"}, {"eip", "rip"}, {"sp", "rsp"}, {"fp", "rbp"}};
	char name[16];
	size_t size = 0;
	uint8_t bytes[16];
	unsigned width;
	int number;

	for (p->at++; isalnum((unsigned char)*p->at) || *p->at == '_'; p->at++) {
		if (size < sizeof(name) - 1)
			name[size++] = *p->at;
	}
	name[size] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		if (!strcmp(name, other[i][0]))
			strcpy(name, other[i][1]);
	}
	number = gdb_register_number(name);
	if (number < 0)
		return error_set(p->error, "there is no register '$%s'", name);
	width = gdb_register_get(p->cpu, (unsigned)number, bytes);
	*value = load_le(bytes, width < 8 ? width : 8);
	return true;
}

static bool term(struct parser *p, uint64_t *value)
{
	char *end;
	bool good = true;

	if (p->depth++ == DEPTH)
		return error_set(p->error, "the expression is nested too deeply");
	skip(p);
	switch (*p->at) {
	case '+':
		p->at++;
		good = term(p, value);
		break;
	case '-':
		p->at++;
		good = term(p, value);
		*value = good ? -*value : 0;
		break;
	case '~':
		p->at++;
		good = term(p, value);
		*value = good ? ~*value : 0;
		break;
	case '(':
		p->at++;
		good = sum(p, value);
		skip(p);
		if (good && *p->at++ != ')')
			good = error_set(p->error, "a ')' is missing");
		break;
	case '$': good = named(p, value); break;
	case '\'':
		good = p->at[1] && p->at[2] == '\'';
		if (!good) {
			error_set(p->error, "a character is of the form 'c'");
			break;
		}
		*value = (uint8_t)p->at[1];
		p->at += 3;
		break;
	default:
		if (!isdigit((unsigned char)*p->at)) {
			good = error_set(p->error, "a number, $register or '(' is wanted at '%s'", p->at);
			break;
		}
		*value = strtoull(p->at, &end, 0);
		p->at = end;
	}
	p->depth--;
	return good;
}

static bool product(struct parser *p, uint64_t *value)
{
	if (!term(p, value))
		return false;
	for (;;) {
		uint64_t right;
		char what;

		skip(p);
		what = *p->at;
		if (what != '*' && what != '/' && what != '%')
			return true;
		p->at++;
		if (!term(p, &right))
			return false;
		if (what != '*' && right == 0)
			return error_set(p->error, "division by zero");
		*value = what == '*' ? *value * right : what == '/' ? *value / right : *value % right;
	}
}

static bool sum(struct parser *p, uint64_t *value)
{
	if (!product(p, value))
		return false;
	for (;;) {
		uint64_t right;
		char what;

		skip(p);
		what = *p->at;
		if (!what || !strchr("+-&|^", what))
			return true;
		p->at++;
		if (!product(p, &right))
			return false;
		switch (what) {
		case '+': *value += right; break;
		case '-': *value -= right; break;
		case '&': *value &= right; break;
		case '|': *value |= right; break;
		default: *value ^= right; break;
		}
	}
}

bool expression_parse(const char **text, const struct cpu *cpu, uint64_t *value, struct error *error)
{
	struct parser p = {.at = *text, .cpu = cpu, .error = error};
	bool good = sum(&p, value);

	*text = p.at;
	return good;
}

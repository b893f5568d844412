/*
 * x and xp: memory as numbers or instructions.
 */
#include "debug/monitor.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expression.h"
#include "decode/insn.h"
#include "cpu/mode.h"

#define COUNT_MAX 65536

struct view {
	unsigned long count;
	char format;   /* x d u o c i */
	unsigned size; /* bytes */
	uint32_t mode; /* of instructions */
};

static bool parse_view(const char **text, struct view *view, FILE *to)
{
	const char *at = *text;

	if (*at == '/') {
		at++;
		if (isdigit((unsigned char)*at)) {
			view->count = strtoul(at, (char **)&at, 10);
			if (view->count > COUNT_MAX)
				view->count = COUNT_MAX;
		}
		for (; *at && *at != ' '; at++) {
			switch (*at) {
			case 'x':
			case 'd':
			case 'u':
			case 'o':
			case 'c':
			case 'i': view->format = *at; break;
			case 'b': view->size = 1; break;
			case 'h': view->size = 2; break;
			case 'w': view->size = 4; break;
			case 'g': view->size = 8; break;
			default:
				fprintf(to, "format '%c' is unknown; there are x d u o c i, and the sizes b h w g\n",
					*at);
				return false;
			}
		}
	}
	*text = at + strspn(at, " ");
	return true;
}

static size_t read_memory(struct monitor *mon, bool physical, uint64_t at, void *bytes, size_t size)
{
	if (!physical)
		return mem_debug_read(machine_cpu(mon->machine, mon->cpu), at, bytes, size);
	return bus_read_bytes(mon->machine->bus, at, bytes, size) ? size : 0;
}

static void show_instructions(struct monitor *mon, const struct view *view, bool physical, FILE *to)
{
	for (unsigned long i = 0; i < view->count; i++) {
		uint8_t bytes[15];
		char text[128];
		size_t size = read_memory(mon, physical, mon->next, bytes, sizeof(bytes));
		unsigned length;

		if (!size) {
			fprintf(to, "0x%016llx:  not mapped\n", (unsigned long long)mon->next);
			return;
		}
		length = decode_text(bytes, size, view->mode, mon->next, text, sizeof(text));
		fprintf(to, "0x%016llx:  ", (unsigned long long)mon->next);
		for (unsigned j = 0; j < length; j++)
			fprintf(to, "%02x ", bytes[j]);
		fprintf(to, "%*s%s\n", length < 8 ? (int)(3 * (8 - length)) : 0, "", text);
		mon->next += length;
	}
}

static void show_number(const struct view *view, uint64_t value, FILE *to)
{
	int64_t number = sign_extend(value, 8 * view->size);

	switch (view->format) {
	case 'd': fprintf(to, " %lld", (long long)number); break;
	case 'u': fprintf(to, " %llu", (unsigned long long)value); break;
	case 'o': fprintf(to, " %#llo", (unsigned long long)value); break;
	case 'c': fprintf(to, " '%c'", isprint((int)(value & 0xff)) ? (int)(value & 0xff) : '.'); break;
	default: fprintf(to, " 0x%0*llx", (int)(2 * view->size), (unsigned long long)value); break;
	}
}

static void show_numbers(struct monitor *mon, const struct view *view, bool physical, FILE *to)
{
	unsigned per_line = view->format == 'c' ? 16 : 16 / view->size;

	for (unsigned long i = 0; i < view->count; i++) {
		uint8_t bytes[8];

		if (i % per_line == 0)
			fprintf(to, "%s%016llx:", i ? "\n" : "", (unsigned long long)mon->next);
		if (read_memory(mon, physical, mon->next, bytes, view->size) != view->size) {
			fprintf(to, " not mapped");
			break;
		}
		show_number(view, load_le(bytes, view->size), to);
		mon->next += view->size;
	}
	fputc('\n', to);
}

void monitor_examine(struct monitor *mon, const char *arguments, bool physical, FILE *to)
{
	const struct cpu *cpu = machine_cpu(mon->machine, mon->cpu);
	struct view view = {.count = 1, .format = 'x', .size = 4, .mode = cpu->mode};
	struct error error;

	if (!parse_view(&arguments, &view, to))
		return;
	if (*arguments && (!expression_parse(&arguments, cpu, &mon->next, &error) || *arguments)) {
		fprintf(to, "%s\n", *arguments ? "that is not one address" : error.text);
		return;
	}
	if (view.format == 'i')
		show_instructions(mon, &view, physical, to);
	else
		show_numbers(mon, &view, physical, to);
}

/*
 * The monitor: lines in, text out. One table of commands; help is printed from it.
 *
 * Names are those of QEMU's human monitor. Not there: completion, history, QMP.
 */
#include "debug/monitor.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "debug/expression.h"
#include "machine/nearest.h"

static const char prompt[] = "(softvt) ";

static void report(bool good, const struct error *error, FILE *to)
{
	if (!good)
		fprintf(to, "%s\n", error->text);
}

static void do_info(struct monitor *mon, const char *arguments, FILE *to)
{
	monitor_info(mon, arguments, to);
}

static void do_x(struct monitor *mon, const char *arguments, FILE *to)
{
	monitor_examine(mon, arguments, false, to);
}

static void do_xp(struct monitor *mon, const char *arguments, FILE *to)
{
	monitor_examine(mon, arguments, true, to);
}

static bool take_number(struct monitor *mon, const char *text, uint64_t *value, FILE *to)
{
	struct error error;
	bool good = expression_parse(&text, machine_cpu(mon->machine, mon->cpu), value, &error);

	if (good && *text)
		good = error_set(&error, "'%s' does not belong there", text);
	report(good, &error, to);
	return good;
}

/* p EXPRESSION, p/FORMAT EXPRESSION: x hexadecimal, d signed, u unsigned, o octal, c character. */
static void do_print(struct monitor *mon, const char *arguments, FILE *to)
{
	char format = 'x';
	uint64_t value;

	if (*arguments == '/') {
		format = arguments[1] ? arguments[1] : 'x';
		arguments += strcspn(arguments, " ");
		arguments += strspn(arguments, " ");
	}
	if (!take_number(mon, arguments, &value, to))
		return;
	switch (format) {
	case 'd': fprintf(to, "%lld\n", (long long)value); break;
	case 'u': fprintf(to, "%llu\n", (unsigned long long)value); break;
	case 'o': fprintf(to, "%#llo\n", (unsigned long long)value); break;
	case 'c': fprintf(to, "'%c'\n", isprint((int)(value & 0xff)) ? (int)(value & 0xff) : '.'); break;
	default: fprintf(to, "%#llx\n", (unsigned long long)value); break;
	}
}

static void do_gva2gpa(struct monitor *mon, const char *arguments, FILE *to)
{
	uint64_t la;
	pa_t pa;

	if (!take_number(mon, arguments, &la, to))
		return;
	if (mem_debug_translate(machine_cpu(mon->machine, mon->cpu), la, &pa))
		fprintf(to, "gpa: %#llx\n", (unsigned long long)pa);
	else
		fprintf(to, "Unmapped\n");
}

static void do_cpu(struct monitor *mon, const char *arguments, FILE *to)
{
	uint64_t number;

	if (!take_number(mon, arguments, &number, to))
		return;
	if (number >= machine_cpus(mon->machine))
		fprintf(to, "there are %u CPUs\n", machine_cpus(mon->machine));
	else
		mon->cpu = (unsigned)number;
}

static bool wants_file(const char *arguments, FILE *to)
{
	if (!*arguments)
		fprintf(to, "the name of a file is missing\n");
	return *arguments;
}

static void do_savevm(struct monitor *mon, const char *arguments, FILE *to)
{
	struct error error;

	if (wants_file(arguments, to))
		report(machine_save(mon->machine, arguments, &error), &error, to);
}

static void do_loadvm(struct monitor *mon, const char *arguments, FILE *to)
{
	struct error error;

	if (wants_file(arguments, to))
		report(machine_restore(mon->machine, arguments, &error), &error, to);
}

static void do_stop(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_pause(mon->machine);
}

static void do_cont(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_resume(mon->machine);
	if (machine_stopped(mon->machine) != STOP_NONE)
		fprintf(to, "the machine is off; system_reset starts it again\n");
}

static void do_reset(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_request_reset(mon->machine);
}

static void do_quit(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_end(mon->machine, 0);
}

static void do_nmi(struct monitor *mon, const char *arguments, FILE *to)
{
	cpu_set_pin(machine_cpu(mon->machine, mon->cpu), PIN_NMI, true);
}

static void do_screendump(struct monitor *mon, const char *arguments, FILE *to)
{
	struct error error;

	if (wants_file(arguments, to))
		report(machine_screendump(mon->machine, arguments, &error), &error, to);
}

static void do_log(struct monitor *mon, const char *arguments, FILE *to)
{
	uint32_t enabled = 0;
	char unknown[32];

	if (strcmp(arguments, "none") && !log_parse(arguments, &enabled, unknown, sizeof(unknown)))
		fprintf(to, "log item '%s' is unknown; -d help lists them\n", unknown);
	else
		mon->machine->log.enabled = enabled;
}

static void do_gdbserver(struct monitor *mon, const char *arguments, FILE *to)
{
	struct machine *m = mon->machine;
	struct error error;
	char *spec;

	if (mon->gdb || m->on_stop) {
		fprintf(to, "gdb is already being waited for\n");
		return;
	}
	if (m->chardevs == MACHINE_CHARDEVS) {
		fprintf(to, "there are too many character devices\n");
		return;
	}
	spec = xasprintf("%s,server=on,wait=off", *arguments ? arguments : "tcp::1234");
	mon->gdb_chardev = chardev_create(spec, &error);
	free(spec);
	if (!mon->gdb_chardev) {
		fprintf(to, "%s\n", error.text);
		return;
	}
	m->chardev[m->chardevs++] = mon->gdb_chardev;
	mon->gdb = gdb_create(m, mon->gdb_chardev);
	fprintf(to, "waiting for gdb on '%s'\n", *arguments ? arguments : "tcp::1234");
}

static void do_help(struct monitor *mon, const char *arguments, FILE *to);

static void do_power(struct monitor *mon, const char *arguments, FILE *to)
{
	machine_press_power(mon->machine);
}

static void do_sendkey(struct monitor *mon, const char *arguments, FILE *to)
{
	struct error error;

	report(machine_send_keys(mon->machine, arguments, &error), &error, to);
}

static const struct monitor_command commands[] = {
	{"cont", "", "go on", do_cont},
	{"c", "", "go on", do_cont},
	{"cpu", "N", "the CPU that registers and addresses mean", do_cpu},
	{"gdbserver", "[WHERE]", "wait for gdb, by default on tcp::1234", do_gdbserver},
	{"gva2gpa", "ADDRESS", "the physical address that a linear one means", do_gva2gpa},
	{"help", "", "this list", do_help},
	{"?", "", "this list", do_help},
	{"info", "SUBJECT", "show something of the machine; info alone lists the subjects", do_info},
	{"loadvm", "FILE", "go on where savevm FILE was", do_loadvm},
	{"log", "ITEM[,ITEM...]", "log these, or none", do_log},
	{"nmi", "", "a non-maskable interrupt on the current CPU", do_nmi},
	{"p", "[/FORMAT] EXPRESSION", "the value of an expression; formats x d u o c", do_print},
	{"print", "[/FORMAT] EXPRESSION", "the same", do_print},
	{"quit", "", "end the emulator", do_quit},
	{"q", "", "end the emulator", do_quit},
	{"savevm", "FILE", "write the machine's state to a file", do_savevm},
	{"screendump", "FILE.png", "write the screen to a file", do_screendump},
	{"sendkey", "KEY[-KEY...]", "press and release keys, as in ctrl-alt-delete", do_sendkey},
	{"stop", "", "pause", do_stop},
	{"system_powerdown", "", "press the power button", do_power},
	{"system_reset", "", "reset the machine", do_reset},
	{"x", "/[COUNT][FORMAT][SIZE] ADDRESS", "memory by linear address; formats x d u o c i, sizes b h w g", do_x},
	{"xp", "/[COUNT][FORMAT][SIZE] ADDRESS", "memory by physical address", do_xp},
};

static void do_help(struct monitor *mon, const char *arguments, FILE *to)
{
	monitor_list(commands, ARRAY_SIZE(commands), "", to);
}

void monitor_list(const struct monitor_command *table, unsigned rows, const char *prefix, FILE *to)
{
	for (unsigned i = 0; i < rows; i++)
		fprintf(to, "%s%s %s -- %s\n", prefix, table[i].name, table[i].arguments, table[i].help);
}

void monitor_dispatch(struct monitor *mon, const struct monitor_command *table, unsigned rows, const char *what,
		      const char *line, FILE *to)
{
	size_t size = strcspn(line, " /");
	char *name = xasprintf("%.*s", (int)size, line), text[128];
	struct nearest nearest = {.word = name};

	for (unsigned i = 0; i < rows; i++) {
		if (!strcmp(table[i].name, name)) {
			line += size;
			table[i].run(mon, line + strspn(line, " "), to);
			free(name);
			return;
		}
		nearest_offer(&nearest, table[i].name);
	}
	fprintf(to, "%s '%s' is unknown%s\n", what, name, nearest_text(&nearest, "", text, sizeof(text)));
	free(name);
}

void monitor_execute(struct monitor *mon, const char *line, FILE *to)
{
	char *copy = xstrdup(line + strspn(line, " \t"));
	size_t size = strlen(copy);

	while (size && isspace((unsigned char)copy[size - 1]))
		copy[--size] = 0;
	if (mon->cpu >= machine_cpus(mon->machine))
		mon->cpu = 0;
	if (size)
		monitor_dispatch(mon, commands, ARRAY_SIZE(commands), "command", copy, to);
	free(copy);
}

static void say(struct monitor *mon, const char *text)
{
	chardev_write(mon->chardev, text, strlen(text));
}

static void entered(struct monitor *mon)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	mon->line[mon->size] = 0;
	mon->size = 0;
	if (to) {
		monitor_execute(mon, mon->line, to);
		fclose(to);
	}
	chardev_write(mon->chardev, text, size);
	free(text);
	say(mon, prompt);
}

static void typed(struct monitor *mon, uint8_t byte)
{
	bool after_return = mon->skip_newline;

	mon->skip_newline = byte == '\r';
	if (byte == '\r' || byte == '\n') {
		if (byte == '\n' && after_return)
			return;
		say(mon, "\n");
		entered(mon);
	} else if (byte == 8 || byte == 127) {
		if (mon->size) {
			mon->size--;
			say(mon, "\b \b");
		}
	} else if (byte == ('U' & 31)) {
		for (; mon->size; mon->size--)
			say(mon, "\b \b");
	} else if (byte >= ' ' && mon->size < sizeof(mon->line) - 1) {
		mon->line[mon->size++] = (char)byte;
		chardev_write(mon->chardev, &byte, 1);
	}
}

static void ready(void *ctx)
{
	struct monitor *mon = ctx;
	uint8_t bytes[64];
	size_t size;

	while ((size = chardev_read(mon->chardev, mon->front, bytes, sizeof(bytes))) > 0) {
		for (size_t i = 0; i < size; i++)
			typed(mon, bytes[i]);
	}
}

/* The prompt again, and what was typed of a line when the keyboard went away. */
static void chosen(void *ctx)
{
	struct monitor *mon = ctx;

	say(mon, "\n");
	say(mon, prompt);
	chardev_write(mon->chardev, mon->line, mon->size);
}

struct monitor *monitor_create(struct machine *machine, struct chardev *chardev, enum chardev_front front)
{
	struct monitor *mon = xcalloc(1, sizeof(*mon));

	mon->machine = machine;
	mon->chardev = chardev;
	mon->front = front;
	if (!chardev)
		return mon;
	chardev_connect(chardev, front, &(struct chardev_client){.ready = ready, .chosen = chosen, .ctx = mon});
	/* On a terminal shared with a serial port the first prompt comes when the monitor is chosen. */
	if (front != CHARDEV_MONITOR) {
		say(mon, "SoftVT monitor - type 'help' for the commands\n");
		say(mon, prompt);
	}
	return mon;
}

void monitor_destroy(struct monitor *mon)
{
	if (!mon)
		return;
	if (mon->chardev)
		chardev_connect(mon->chardev, mon->front, &(struct chardev_client){0});
	if (mon->gdb) {
		struct machine *m = mon->machine;

		gdb_destroy(mon->gdb);
		for (unsigned i = 0; i < m->chardevs; i++) {
			if (m->chardev[i] == mon->gdb_chardev)
				m->chardev[i] = m->chardev[--m->chardevs];
		}
		chardev_destroy(mon->gdb_chardev);
	}
	free(mon);
}

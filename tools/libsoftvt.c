/*
 * The library's public face: options into a machine, with its back ends, monitor and gdb stub.
 */
#include "softvt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "debug/debug.h"
#include "exec/host.h"
#include "machine/keyvals.h"
#include "machine/nearest.h"
#include "options.h"

struct softvt {
	struct options options;
	struct machine *machine;
	struct monitor *monitor;
	struct gdb *gdb;
	struct vmx_watch *watch;
	FILE *log_file; /* of -D, or NULL */
	bool pid_written, concluded;
	unsigned named; /* of the back ends, those that a -chardev made: the first ones */
	char *chardev_id[MACHINE_CHARDEVS];
	struct chardev *stdio; /* the back end on standard input and output */
	struct chardev *monitor_chardev, *gdb_chardev;
	struct chardev *muxed; /* a terminal that a serial port shares with the monitor */
};

static bool add_chardev(struct softvt *vt, struct chardev *chardev, struct error *error)
{
	struct machine_config *m = &vt->options.machine;

	if (m->chardevs == MACHINE_CHARDEVS) {
		chardev_destroy(chardev);
		return error_set(error, "there are too many character devices");
	}
	m->chardev[m->chardevs++] = chardev;
	return true;
}

static bool is_stdio(const char *spec)
{
	return !strcmp(spec, "mon:stdio") || !strcmp(spec, "stdio") || !strncmp(spec, "stdio,", 6);
}

/* Standard input can serve one back end only. */
static struct chardev *open_chardev(struct softvt *vt, const char *spec, struct error *error)
{
	struct chardev *chardev;

	if (is_stdio(spec) && vt->stdio) {
		error_set(error, "'%s': standard input and output are already in use", spec);
		return NULL;
	}
	chardev = chardev_create(spec, error);
	if (!chardev || !add_chardev(vt, chardev, error))
		return NULL;
	if (is_stdio(spec))
		vt->stdio = chardev;
	return chardev;
}

/* -chardev KIND,id=ID,...: the back end and its name. */
static bool open_named(struct softvt *vt, const char *argument, struct error *error)
{
	struct machine_config *m = &vt->options.machine;
	struct chardev *chardev;
	const char *id, *mux;
	struct keyvals kv;
	bool shared = false;

	if (!keyvals_parse(&kv, argument, "backend", error))
		return false;
	id = keyvals_get(&kv, "id");
	mux = keyvals_get(&kv, "mux");
	if (!id || !*id) {
		keyvals_free(&kv);
		return error_set(error, "-chardev %s: id=ID is missing", argument);
	}
	if (mux && !parse_bool(mux, &shared)) {
		keyvals_free(&kv);
		return error_set(error, "-chardev %s: mux is on or off", argument);
	}
	chardev = open_chardev(vt, argument, error);
	if (chardev) {
		vt->chardev_id[m->chardevs - 1] = xstrdup(id);
		m->chardev_id[m->chardevs - 1] = vt->chardev_id[m->chardevs - 1];
		vt->named = m->chardevs;
		if (shared)
			vt->muxed = chardev;
	}
	keyvals_free(&kv);
	return chardev || error_prefix(error, "-chardev %s", argument);
}

static struct chardev *find_named(struct softvt *vt, const char *id, struct error *error)
{
	struct machine_config *m = &vt->options.machine;
	struct nearest nearest = {.word = id};
	char text[128];

	for (unsigned i = 0; i < vt->named; i++) {
		if (!strcmp(vt->chardev_id[i], id))
			return m->chardev[i];
		nearest_offer(&nearest, vt->chardev_id[i]);
	}
	error_set(error, "there is no -chardev with id=%s%s", id, nearest_text(&nearest, "", text, sizeof(text)));
	return NULL;
}

/* A specification as -serial takes it. False: *error. *chardev is NULL for "none". */
static bool open_spec(struct softvt *vt, const char *option, const char *spec, struct chardev **chardev,
		      struct error *error)
{
	*chardev = NULL;
	if (!strcmp(spec, "none"))
		return true;
	*chardev = strncmp(spec, "chardev:", 8) ? open_chardev(vt, spec, error) : find_named(vt, spec + 8, error);
	if (*chardev && !strcmp(spec, "mon:stdio"))
		vt->muxed = *chardev;
	return *chardev || error_prefix(error, "%s %s", option, spec);
}

/* gdb's TCP and Unix addresses are listened at, without waiting for somebody to come. */
static bool open_gdb(struct softvt *vt, struct error *error)
{
	const char *where = vt->options.gdb;
	bool listens = !strncmp(where, "tcp:", 4) || !strncmp(where, "unix:", 5);
	char *spec = xasprintf("%s%s", where, listens ? ",server=on,wait=off" : "");
	bool good = open_spec(vt, "-gdb", spec, &vt->gdb_chardev, error);

	free(spec);
	return good;
}

static void dump_reset(void *ctx, struct cpu *cpu, const char *why)
{
	const struct machine_config *m = ctx;

	if (!log_on(&m->log, LOG_CPU_RESET))
		return;
	fprintf(m->log.file, "%s\n", why);
	dump_cpu(cpu, m->log.file);
}

static bool open_log(struct softvt *vt, struct error *error)
{
	struct options *o = &vt->options;

	o->machine.log = (struct log){.file = stderr, .enabled = o->log_enabled};
	if (!o->log_file)
		return true;
	vt->log_file = fopen(o->log_file, "we");
	if (!vt->log_file)
		return error_set(error, "could not open log file '%s': %s", o->log_file, strerror(errno));
	o->machine.log.file = vt->log_file;
	return true;
}

static bool write_pid(struct softvt *vt, struct error *error)
{
	const char *name = vt->options.pid_file;
	FILE *file;

	if (!name)
		return true;
	file = fopen(name, "we");
	vt->pid_written = file != NULL;
	if (!file || fprintf(file, "%ld\n", (long)getpid()) < 0 || fclose(file))
		return error_set(error, "could not write PID file '%s': %s", name, strerror(errno));
	return true;
}

/* Every back end, before the machine that polls them. */
static bool open_consoles(struct softvt *vt, struct error *error)
{
	struct options *o = &vt->options;

	for (unsigned i = 0; i < o->chardevs; i++) {
		if (!open_named(vt, o->chardev[i], error))
			return false;
	}
	for (unsigned i = 0; i < o->serials; i++) {
		if (!open_spec(vt, "-serial", o->serial[i], &o->machine.serial[i], error))
			return false;
	}
	if (o->debugcon && !open_spec(vt, "-debugcon", o->debugcon, &o->machine.debugcon, error))
		return false;
	if (o->monitor && o->monitor_by_id) {
		vt->monitor_chardev = find_named(vt, o->monitor, error);
		if (!vt->monitor_chardev)
			return error_prefix(error, "-mon %s", o->monitor);
	} else if (o->monitor && !open_spec(vt, "-monitor", o->monitor, &vt->monitor_chardev, error)) {
		return false;
	}
	/* A terminal that is shared has a monitor whether asked for or not. */
	if (!vt->monitor_chardev)
		vt->monitor_chardev = vt->muxed;
	return !o->gdb || open_gdb(vt, error);
}

/* Explanations are for people: on a terminal, unless asked for otherwise. */
static enum explain_mode explain_mode(const struct options *o)
{
	return o->explain_said ? o->explain : isatty(STDERR_FILENO) ? EXPLAIN_TEXT : EXPLAIN_OFF;
}

static bool build(struct softvt *vt, struct error *error)
{
	struct options *o = &vt->options;

	if (!command_cpu(o->cpu, &o->machine.model, &o->machine.vmx, error))
		return error_prefix(error, "-cpu %s", o->cpu);
	if (!open_log(vt, error) || !open_consoles(vt, error))
		return false;
	vt->machine = machine_create(&o->machine, error);
	if (!vt->machine)
		return false;
	machine_on_cpu_reset(vt->machine, dump_reset, &o->machine);
	vt->watch = vmx_watch_create(vt->machine, &(struct vmx_watch_config){
							  .explain = explain_mode(o),
							  .exits = o->exits,
							  .exits_file = o->exits_file,
							  .kernel = o->machine.kernel,
							  .modules = o->machine.initrd,
						  });
	if (vt->monitor_chardev)
		vt->monitor = monitor_create(vt->machine, vt->monitor_chardev,
					     vt->monitor_chardev == vt->muxed ? CHARDEV_MONITOR : CHARDEV_SERIAL);
	if (vt->gdb_chardev)
		vt->gdb = gdb_create(vt->machine, vt->gdb_chardev);
	if (o->restore && !machine_restore(vt->machine, o->restore, error))
		return false;
	if (o->paused)
		machine_pause(vt->machine);
	return write_pid(vt, error);
}

static enum softvt_result say_why(const struct error *why, char *error, size_t size)
{
	if (error && size)
		snprintf(error, size, "%s", why->text);
	return SOFTVT_ERROR;
}

enum softvt_result softvt_create(struct softvt **result, int argc, char *const argv[], char *error, size_t error_size)
{
	struct softvt *vt = xcalloc(1, sizeof(*vt));
	struct error why = {""};
	bool good = options_parse(&vt->options, argc, argv, &why), done = vt->options.done;

	*result = NULL;
	good = good && (done || build(vt, &why));
	if (good && !done) {
		*result = vt;
		return SOFTVT_OK;
	}
	softvt_destroy(vt);
	return good ? SOFTVT_TOLD : say_why(&why, error, error_size);
}

/* What is asked for at the end, while everything is still there. */
static void conclude(struct softvt *vt)
{
	const struct options *o = &vt->options;
	struct error error;

	if (o->screendump && !machine_screendump(vt->machine, o->screendump, &error))
		fprintf(stderr, "softvt: %s\n", error.text);
	if (!vmx_watch_conclude(vt->watch, &error))
		fprintf(stderr, "softvt: %s\n", error.text);
	if (o->stats)
		machine_print_stats(vt->machine, stderr);
}

void softvt_destroy(struct softvt *vt)
{
	if (!vt)
		return;
	gdb_destroy(vt->gdb);
	monitor_destroy(vt->monitor);
	vmx_watch_destroy(vt->watch);
	machine_destroy(vt->machine);
	for (unsigned i = 0; i < vt->options.machine.chardevs; i++) {
		chardev_destroy(vt->options.machine.chardev[i]);
		free(vt->chardev_id[i]);
	}
	if (vt->log_file)
		fclose(vt->log_file);
	if (vt->pid_written)
		unlink(vt->options.pid_file);
	options_free(&vt->options);
	free(vt);
}

bool softvt_run(struct softvt *vt, uint64_t nanoseconds)
{
	bool ended = machine_run(vt->machine, nanoseconds);

	if (ended && !vt->concluded)
		conclude(vt);
	vt->concluded |= ended;
	return ended;
}

void softvt_stop(struct softvt *vt, int status)
{
	machine_end(vt->machine, status);
}

int softvt_status(const struct softvt *vt)
{
	return machine_status(vt->machine);
}

const char *softvt_failure(const struct softvt *vt)
{
	return machine_failure(vt->machine);
}

uint64_t softvt_time(const struct softvt *vt)
{
	return machine_time(vt->machine);
}

void softvt_digest(struct softvt *vt, char text[33])
{
	machine_digest(vt->machine, text);
}

bool softvt_save(struct softvt *vt, const char *file, char *error, size_t error_size)
{
	struct error why;

	return machine_save(vt->machine, file, &why) || say_why(&why, error, error_size) == SOFTVT_OK;
}

void softvt_watch(struct softvt *vt, int fd, void (*ready)(void *ctx), void *ctx)
{
	machine_watch(vt->machine, fd, ready, ctx);
}

/*
 * Inside the monitor: what its files share.
 */
#pragma once

#include "debug/debug.h"
#include "machine/parts.h"

struct monitor {
	struct machine *machine;
	struct chardev *chardev;
	enum chardev_front front;
	unsigned cpu; /* the one that registers and addresses mean */
	char line[512];
	unsigned size;
	bool prompted, skip_newline;
	uint64_t next;	 /* where x and xp go on without an address */
	struct gdb *gdb; /* started by gdbserver */
	struct chardev *gdb_chardev;
};

/* What follows "info": SUBJECT ARGUMENTS. */
void monitor_info(struct monitor *monitor, const char *subject, FILE *to);
/* x and xp: "/COUNT FORMAT SIZE ADDRESS". */
void monitor_examine(struct monitor *monitor, const char *arguments, bool physical, FILE *to);

/* monitor_vmx.c: rows of info. */
void monitor_info_vmx(struct monitor *monitor, const char *arguments, FILE *to);
void monitor_info_vmcs(struct monitor *monitor, const char *arguments, FILE *to);
void monitor_info_ept(struct monitor *monitor, const char *arguments, FILE *to);

/* "root", "non-root, VMCS 0x1234000": where a vCPU in VMX operation is; outside of it false, and nothing. */
bool vmx_level(const struct cpu *cpu, char *text, size_t size);

/* How a table of commands finds and lists its rows. */
struct monitor_command {
	const char *name, *arguments, *help;
	void (*run)(struct monitor *monitor, const char *arguments, FILE *to);
};

/* Run the row that a line names, or say that there is none and which is nearest. `what` names the table in messages. */
void monitor_dispatch(struct monitor *monitor, const struct monitor_command *table, unsigned rows, const char *what,
		      const char *line, FILE *to);
void monitor_list(const struct monitor_command *table, unsigned rows, const char *prefix, FILE *to);

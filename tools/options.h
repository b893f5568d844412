/*
 * The command line: QEMU's spellings, driven by one table that the parser, -help and README share.
 */
#pragma once

#include "debug/vmx_watch.h"
#include "machine/config.h"

/* Three words, then the version, as scripts that probe an emulator's version expect it. */
#define SOFTVT_BANNER "SoftVT PC emulator version " SOFTVT_VERSION " (takes QEMU's options)"

struct options {
	struct machine_config machine;
	const char *cpu;		     /* argument of -cpu */
	const char *serial[MACHINE_SERIALS]; /* back ends by specification, in order of COM ports */
	unsigned serials;
	const char *chardev[MACHINE_CHARDEVS]; /* arguments of -chardev */
	unsigned chardevs;
	const char *debugcon, *monitor, *gdb; /* specifications, or NULL */
	const char *log_file, *pid_file, *screendump, *restore;
	uint32_t log_enabled; /* BIT(enum log_category) */
	const char *exits_file; /* of -exits=FILE, or NULL */
	enum explain_mode explain;
	bool explain_said, exits;
	bool no_defaults, vga_said, snapshot, paused, stats;
	bool monitor_by_id; /* monitor is the id of a -chardev */
	bool done;	    /* only text was asked for, and it has been printed */
	char **kept;	    /* owned copies of arguments that were taken apart */
	unsigned kept_count;
};

/*
 * Parse. argv[0] is the program's name; strings are borrowed from argv. Text that is asked for (-help) goes to stdout
 * and sets done. False: *error says what is wrong, naming the option.
 */
MUST_CHECK bool options_parse(struct options *options, int argc, char *const argv[], struct error *error);
void options_free(struct options *options);

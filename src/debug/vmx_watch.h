/*
 * Who listens to what vCPUs tell of VMX: explanations (-explain), the trace (-d vmx) and statistics (-exits).
 */
#pragma once

#include "machine/machine.h"

enum explain_mode { EXPLAIN_OFF, EXPLAIN_TEXT, EXPLAIN_JSON };

struct vmx_watch_config {
	enum explain_mode explain; /* to stderr */
	bool exits;		   /* count VM exits */
	const char *exits_file;	   /* where to; .json is JSON; NULL: stderr */
	/* What -kernel and -initrd named, or NULL: their symbols name addresses. */
	const char *kernel, *modules;
};

struct vmx_watch;

/* The configuration's strings are borrowed. */
struct vmx_watch *vmx_watch_create(struct machine *machine, const struct vmx_watch_config *config);
void vmx_watch_destroy(struct vmx_watch *watch);
/* The run is over. False: a file could not be written. */
MUST_CHECK bool vmx_watch_conclude(struct vmx_watch *watch, struct error *error);

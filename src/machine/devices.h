/*
 * What -device can add: one row per device in devices.c, with the properties that it takes.
 */
#pragma once

#include "base/error.h"
#include <stdio.h>

struct machine;

/* "name" in double quotes, one per line, as scripts that probe for a device look for it. */
void devices_list(FILE *to);
/* The properties of one device. False: it is unknown; *error names the nearest. */
MUST_CHECK bool devices_help(const char *name, FILE *to, struct error *error);

/* Add what an argument of -device asks for. */
MUST_CHECK bool devices_add(struct machine *machine, const char *argument, struct error *error);

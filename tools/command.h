/*
 * Commands of softvt that start no machine: softvt NAME ... runs NAME's function with NAME as argv[0]. The result is
 * the exit status.
 */
#pragma once

#include "vmx/capability.h"

int caps_main(int argc, char **argv);
int check_main(int argc, char **argv);

/* A -cpu argument as a model and its VMX capabilities; warnings go to stderr. False: *error. */
MUST_CHECK bool command_cpu(const char *spec, struct cpu_model *model, struct vmx_capability *caps,
			    struct error *error);

/* -cpu MODEL, as the machine and all commands take it: a CPU model, and what it offers of VMX. */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>

#include "exec/host.h"

bool command_cpu(const char *spec, struct cpu_model *model, struct vmx_capability *caps, struct error *error)
{
	struct vmx_options options;
	struct error warning[2];
	char *rest = xstrdup(spec);
	bool good = vmx_options_take(spec, &options, rest, error) &&
		    cpu_model_parse(rest, host_has_feature, model, &warning[0], error);

	free(rest);
	if (!good)
		return false;
	vmx_capability_init(caps, model, &options, &warning[1]);
	for (unsigned i = 0; i < ARRAY_SIZE(warning); i++)
		if (warning[i].text[0])
			fprintf(stderr, "softvt: warning: -cpu %s: %s\n", spec, warning[i].text);
	return true;
}

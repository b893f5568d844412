/*
 * Command lines: arguments separated by zero bytes. What -cpu takes is parsed too; nothing is opened.
 */
#include "exec/host.h"
#include "options.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARGUMENTS = 64 };

/* Help goes to standard output, where nobody wants to see it. */
static void silence(void)
{
	static bool silent;
	int null;

	if (silent)
		return;
	silent = true;
	null = open("/dev/null", O_WRONLY);
	if (null >= 0)
		dup2(null, STDOUT_FILENO);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[ARGUMENTS + 2] = {"softvt"}, *text;
	struct options options = {0};
	struct error error, warning;
	struct cpu_model model;
	int argc = 1;

	if (size > 4096)
		return 0;
	silence();
	text = calloc(1, size + 1);
	memcpy(text, data, size);
	for (size_t at = 0; at < size && argc <= ARGUMENTS; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	if (options_parse(&options, argc, argv, &error) && options.cpu)
		(void)!cpu_model_parse(options.cpu, host_has_feature, &model, &warning, &error);
	options_free(&options);
	free(text);
	return 0;
}

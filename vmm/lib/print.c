/*
 * The VMM's own lines, and its end.
 */
#include "lib/print.h"

#include "console/console.h"
#include "lib/string.h"

enum { LINE_MAX = 1024 }; /* longer ones are cut */

void vprint(const char *format, va_list args)
{
	char line[LINE_MAX];

	vformat_text(line, sizeof(line), format, args);
	console_write(line, strlen(line));
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprint(format, args);
	va_end(args);
}

/*
 * Log lines by category. Opening the file and choosing the categories are the command line's.
 */
#include "base/log.h"
#include "base/bits.h"

#include <stdarg.h>
#include <string.h>

void log_line(const struct log *log, enum log_category category, const char *format, ...)
{
	va_list args;

	if (!log_on(log, category) || !log->file)
		return;
	va_start(args, format);
	vfprintf(log->file, format, args);
	va_end(args);
	putc('\n', log->file);
}

bool log_parse(const char *list, uint32_t *enabled, char *unknown, size_t size)
{
	static const char *const words[] = {
#define X(name, word, help) [LOG_##name] = word,
		LOG_CATEGORIES(X)
#undef X
	};
	uint32_t found = 0;

	while (*list) {
		size_t length = strcspn(list, ",");
		unsigned i;

		for (i = 0; i < LOG_COUNT; i++)
			if (strlen(words[i]) == length && !memcmp(words[i], list, length))
				break;
		if (i < LOG_COUNT) {
			found |= (uint32_t)BIT(i);
		} else if (length == 3 && !memcmp(list, "all", 3)) {
			found |= (uint32_t)BITS(LOG_COUNT - 1, 0);
		} else {
			snprintf(unknown, size, "%.*s", (int)length, list);
			return false;
		}
		list += length;
		list += *list == ',';
	}
	*enabled = found;
	return true;
}

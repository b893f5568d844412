/*
 * Words of the command line. A word ends at a blank that is not between quotes.
 */
#include "boot/boot.h"
#include "boot/options.h"

#include "lib/string.h"

/*
 * GRUB puts an argument with a blank into quotes, and a backslash before each quote or backslash of an argument (GRUB
 * manual, "Quoting", for what it takes away before). Undone here, so that 'vm=a,append="x y"' in grub.cfg gives what the
 * same without the outer quotes gives elsewhere.
 */
void options_set(const char *line)
{
	char *to = boot_info.command_line, *end = to + COMMAND_LINE_MAX - 1;
	bool whole = false, quoted = false; /* in a word that is quoted as a whole; in other quotes */
	char before = ' ';

	for (; *line && to < end; before = *line++) {
		if (*line == '"' && (whole || (before == ' ' && !quoted))) {
			whole = !whole;
			continue;
		}
		quoted ^= *line == '"';
		if (*line == '\\' && (line[1] == '"' || line[1] == '\'' || line[1] == '\\'))
			line++;
		*to++ = *line;
	}
	*to = 0;
}

/* The end of the word that starts at word. */
static const char *word_end(const char *word)
{
	bool quoted = false;

	for (; *word && (quoted || *word != ' '); word++)
		quoted ^= *word == '"';
	return word;
}

const char *boot_option(const char *name, char *buffer, size_t size)
{
	size_t length = strlen(name);

	for (const char *word = boot_info.command_line; *word;) {
		const char *end = word_end(word), *value = word + length;

		if (!strncmp(word, name, length) && (value == end || *value == '=')) {
			value += *value == '=';
			length = min_u64((size_t)(end - value), size - 1);
			memcpy(buffer, value, length);
			buffer[length] = 0;
			return buffer;
		}
		word = *end ? end + 1 : end;
	}
	return NULL;
}

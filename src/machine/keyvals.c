/*
 * Splitting option arguments. See keyvals.h.
 */
#include "machine/keyvals.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/nearest.h"

/* Ends the item at `item` in place, halves doubled commas, and returns the next item or NULL. */
static char *cut_item(char *item)
{
	char *to = item;

	for (char *from = item; *from; from++) {
		if (*from == ',' && from[1] != ',') {
			*to = 0;
			return from + 1;
		}
		if (*from == ',')
			from++;
		*to++ = *from;
	}
	*to = 0;
	return NULL;
}

bool keyvals_parse(struct keyvals *kv, const char *text, const char *first_key, struct error *error)
{
	char *item, *next, *equals;

	*kv = (struct keyvals){.text = xstrdup(text)};
	for (item = kv->text; item; item = next) {
		bool first = item == kv->text;
		struct keyval *pair = &kv->pair[kv->count];

		next = cut_item(item);
		if (!*item && !(first && first_key))
			continue;
		if (kv->count == KEYVALS_MAX) {
			keyvals_free(kv);
			return error_set(error, "'%s' has more than %d items", text, KEYVALS_MAX);
		}
		equals = strchr(item, '=');
		if (equals) {
			*equals = 0;
			*pair = (struct keyval){.key = item, .value = equals + 1};
		} else if (first && first_key) {
			*pair = (struct keyval){.key = first_key, .value = item};
		} else if (!strncmp(item, "no", 2) && item[2]) {
			*pair = (struct keyval){.key = item + 2, .value = "off"};
		} else {
			*pair = (struct keyval){.key = item, .value = "on"};
		}
		kv->count++;
	}
	return true;
}

void keyvals_free(struct keyvals *kv)
{
	free(kv->text);
	*kv = (struct keyvals){0};
}

void keyvals_default(struct keyvals *kv, const char *key, const char *value)
{
	for (unsigned i = 0; i < kv->count; i++) {
		if (!strcmp(kv->pair[i].key, key))
			return;
	}
	if (kv->count < KEYVALS_MAX)
		kv->pair[kv->count++] = (struct keyval){.key = key, .value = value, .used = true};
}

void keyvals_allow_underscores(struct keyvals *kv)
{
	for (unsigned i = 0; i < kv->count; i++)
		for (const char *key = kv->pair[i].key; (key = strchr(key, '_'));)
			kv->text[key - kv->text] = '-';
}

const char *keyvals_get(struct keyvals *kv, const char *key)
{
	const char *value = NULL;

	if (kv->asked_count < ARRAY_SIZE(kv->asked))
		kv->asked[kv->asked_count++] = key;
	for (unsigned i = 0; i < kv->count; i++) {
		if (!strcmp(kv->pair[i].key, key)) {
			kv->pair[i].used = true;
			value = kv->pair[i].value;
		}
	}
	return value;
}

bool keyvals_bool(struct keyvals *kv, const char *key, bool *value, struct error *error)
{
	const char *text = keyvals_get(kv, key);

	if (text && !parse_bool(text, value))
		return error_set(error, "%s=%s: it is either on or off", key, text);
	return true;
}

bool keyvals_number(struct keyvals *kv, const char *key, uint64_t *value, struct error *error)
{
	const char *text = keyvals_get(kv, key);

	if (text && !parse_number(text, value))
		return error_set(error, "%s=%s: a whole number is wanted", key, text);
	return true;
}

bool keyvals_end(const struct keyvals *kv, const char *owner, struct error *error)
{
	for (unsigned i = 0; i < kv->count; i++) {
		struct nearest nearest = {.word = kv->pair[i].key};
		char text[128];

		if (kv->pair[i].used)
			continue;
		for (unsigned j = 0; j < kv->asked_count; j++)
			nearest_offer(&nearest, kv->asked[j]);
		return error_set(error, "%s has no property '%s'%s", owner, kv->pair[i].key,
				 nearest_text(&nearest, "", text, sizeof(text)));
	}
	return true;
}

/* The digits at the beginning of a text; *end is what follows them. */
static bool scan_digits(const char *text, const char **end, uint64_t *value)
{
	char *after;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, &after, text[0] == '0' && (text[1] | 32) == 'x' ? 16 : 10);
	*end = after;
	return errno == 0;
}

bool parse_number(const char *text, uint64_t *value)
{
	const char *end;

	return scan_digits(text, &end, value) && !*end;
}

bool parse_size(const char *text, uint64_t unit, uint64_t *value)
{
	static const char suffixes[] = "BKMGT";
	const char *end, *suffix;
	uint64_t number;

	if (!scan_digits(text, &end, &number))
		return false;
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || (end[1] && strcasecmp(end + 1, "b") && strcasecmp(end + 1, "iB")))
			return false;
		unit = UINT64_C(1) << (10 * (suffix - suffixes));
	}
	return !__builtin_mul_overflow(number, unit, value);
}

bool parse_bool(const char *text, bool *value)
{
	*value = !strcmp(text, "on") || !strcmp(text, "yes") || !strcmp(text, "true");
	return *value || !strcmp(text, "off") || !strcmp(text, "no") || !strcmp(text, "false");
}

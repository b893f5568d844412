/*
 * Option arguments of the form "word,key=value,flag,noflag": a doubled comma stands for one comma in a value, the first
 * item may go without its key, and of equal keys the last one counts.
 *
 * Whoever consumes the keys asks for each that it knows, then calls keyvals_end(), which complains about what nobody
 * asked for. So the list of known keys is the code that reads them.
 */
#pragma once

#include "base/error.h"

#define KEYVALS_MAX 32

struct keyvals {
	char *text; /* owned; keys and values point into it */
	unsigned count, asked_count;
	struct keyval {
		const char *key, *value;
		bool used;
	} pair[KEYVALS_MAX];
	const char *asked[2 * KEYVALS_MAX];
};

/* first_key names an item without '=' in the first place (NULL: none may be there). "flag" is "flag=on", "noflag" is
 * "flag=off". */
MUST_CHECK bool keyvals_parse(struct keyvals *kv, const char *text, const char *first_key, struct error *error);
void keyvals_free(struct keyvals *kv);

/* A default: counts unless the key has a value already, and nobody complains when it is never asked for. Not copied. */
void keyvals_default(struct keyvals *kv, const char *key, const char *value);
/* Keys may be spelled with underscores, as QEMU has it for machines and accelerators. */
void keyvals_allow_underscores(struct keyvals *kv);
/* The last value of a key, or NULL. The key must be a string constant. */
const char *keyvals_get(struct keyvals *kv, const char *key);
/* These leave *value alone when the key is absent. False: *error says what is wrong with the value. */
MUST_CHECK bool keyvals_bool(struct keyvals *kv, const char *key, bool *value, struct error *error);
MUST_CHECK bool keyvals_number(struct keyvals *kv, const char *key, uint64_t *value, struct error *error);
/* False when a key was never asked for: the sentence names it, `owner`, and the nearest key that was. */
MUST_CHECK bool keyvals_end(const struct keyvals *kv, const char *owner, struct error *error);

/* A whole number: decimal, 0x hexadecimal. A size: with K, M, G or T, or in `unit` bytes without. False: not one, or
 * beyond 64 bits. */
MUST_CHECK bool parse_number(const char *text, uint64_t *value);
MUST_CHECK bool parse_size(const char *text, uint64_t unit, uint64_t *value);
MUST_CHECK bool parse_bool(const char *text, bool *value);

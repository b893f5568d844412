/*
 * Failures of the host (a file, memory, a bad option): one sentence for the user. Never used for what a guest did.
 */
#pragma once

#include "base/types.h"

struct error {
	char text[512];
};

/*
 * Write the sentence (no trailing newline) into *error and return false, so that a caller can `return error_set(...)`.
 */
bool error_set(struct error *error, const char *format, ...) PRINTF(2, 3);

/* Put a prefix and ": " before the sentence, to say what was being done. Returns false. */
bool error_prefix(struct error *error, const char *format, ...) PRINTF(2, 3);

/* calloc that cannot return NULL: a host without memory ends the process with one sentence. */
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *pointer, size_t size);
char *xstrdup(const char *text);
/* printf into new memory that the caller frees. */
char *xasprintf(const char *format, ...) PRINTF(1, 2);

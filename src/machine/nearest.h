/*
 * The known word that a mistyped one is nearest to, for messages.
 */
#pragma once

#include "base/types.h"

/* How many letters must be added, dropped, changed or swapped with their neighbour to make one word of the other. */
unsigned word_distance(const char *a, const char *b);

/*
 * Collects candidates: begin with {.word = WORD}, offer each known word, then ask nearest_text(). The pointers must
 * live that long.
 */
struct nearest {
	const char *word;
	const char *best;
	unsigned distance;
};

void nearest_offer(struct nearest *nearest, const char *known);
/* "; the nearest known one is 'BEST'", or "" when nothing was offered. text is the caller's buffer. */
const char *nearest_text(const struct nearest *nearest, const char *before, char *text, size_t size);

/*
 * Edit distance of short words (Damerau-Levenshtein, neighbours only). Words longer than WORD_MAX count by their
 * beginnings.
 */
#include "machine/nearest.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 64

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

unsigned word_distance(const char *a, const char *b)
{
	unsigned row[3][WORD_MAX + 1]; /* three rows of the table are enough: this, the last and the one before */
	unsigned rows = (unsigned)strnlen(a, WORD_MAX), columns = (unsigned)strnlen(b, WORD_MAX);

	for (unsigned j = 0; j <= columns; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= rows; i++) {
		unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= columns; j++) {
			bool same = a[i - 1] == b[j - 1];

			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + !same);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
	}
	return row[rows % 3][columns];
}

void nearest_offer(struct nearest *nearest, const char *known)
{
	unsigned distance = word_distance(nearest->word, known);

	if (!nearest->best || distance < nearest->distance) {
		nearest->best = known;
		nearest->distance = distance;
	}
}

const char *nearest_text(const struct nearest *nearest, const char *before, char *text, size_t size)
{
	text[0] = 0;
	if (nearest->best)
		snprintf(text, size, "; the nearest known one is '%s%s'", before, nearest->best);
	return text;
}

/*
 * The three walks over a machine's state: save, restore, digest. What the members mean is known only to the parts.
 *
 * A saved stream is: for each section a length byte and the name; members as they lie in memory; for a block of memory
 * its size, then the number and the bytes of each page that is not zero, then NO_PAGE. Host byte order is little-endian
 * (see docs/decisions).
 */
#include "base/state.h"
#include "base/bits.h"
#include "base/error.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE	4096
#define NO_PAGE UINT64_MAX
#define BATCH	512 /* pages per look at the page map */

/*
 * The digest: two 64-bit lanes that each step scrambles and crosses, one-to-one. It tells runs apart; it does not
 * resist an adversary.
 */
struct hash {
	uint64_t a, b;
	uint64_t total;
	uint8_t pending[16];
};

struct state {
	enum { SAVE, RESTORE, DIGEST } kind;
	uint8_t *out;	   /* save */
	const uint8_t *in; /* restore */
	size_t size;	   /* of out or in */
	size_t room;	   /* of out */
	size_t at;	   /* in in */
	struct hash hash;
	bool failed;
	char why[160];
};

static struct state *create(int kind)
{
	struct state *state = xcalloc(1, sizeof(*state));

	state->kind = kind;
	state->hash.a = UINT64_C(0x243f6a8885a308d3); /* digits of pi */
	state->hash.b = UINT64_C(0x13198a2e03707344);
	return state;
}

struct state *state_save(void)
{
	return create(SAVE);
}

struct state *state_restore(const void *data, size_t size)
{
	struct state *state = create(RESTORE);

	state->in = data;
	state->size = size;
	return state;
}

struct state *state_digest(void)
{
	return create(DIGEST);
}

void state_free(struct state *state)
{
	if (state)
		free(state->out);
	free(state);
}

const void *state_data(const struct state *state, size_t *size)
{
	*size = state->size;
	return state->out;
}

/* One-to-one on 64 bits: odd multiplications and xor-shifts can be undone. */
static uint64_t scramble(uint64_t value)
{
	value ^= value >> 32;
	value *= UINT64_C(0x9e3779b97f4a7c15);
	value ^= value >> 29;
	value *= UINT64_C(0xd1342543de82ef95);
	return value ^ value >> 32;
}

static void hash_block(struct hash *hash, const uint8_t block[16])
{
	hash->a = scramble(hash->a ^ load_le(block, 8)) + hash->b;
	hash->b = scramble(hash->b ^ load_le(block + 8, 8)) + hash->a;
}

static void hash_bytes(struct hash *hash, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	size_t used = hash->total % 16;

	hash->total += size;
	if (used) {
		size_t take = min_u64(size, 16 - used);

		memcpy(hash->pending + used, from, take);
		from += take;
		size -= take;
		if (used + take < 16)
			return;
		hash_block(hash, hash->pending);
	}
	for (; size >= 16; from += 16, size -= 16)
		hash_block(hash, from);
	memcpy(hash->pending, from, size);
}

void state_digest_text(const struct state *state, char text[33])
{
	struct hash hash = state->hash;
	uint64_t a, b;

	memset(hash.pending + hash.total % 16, 0, 16 - hash.total % 16);
	hash_block(&hash, hash.pending);
	a = scramble(hash.a + scramble(hash.b ^ hash.total));
	b = scramble(hash.b + scramble(a));
	snprintf(text, 33, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

bool state_restoring(const struct state *state)
{
	return state->kind == RESTORE;
}

bool state_failed(const struct state *state)
{
	return state->failed;
}

void state_refuse(struct state *state, const char *why)
{
	if (!state->failed)
		snprintf(state->why, sizeof(state->why), "%s", why);
	state->failed = true;
}

const char *state_why(const struct state *state)
{
	return state->why;
}

static void append(struct state *state, const void *bytes, size_t size)
{
	if (state->room - state->size < size) {
		state->room = 2 * state->room + size + PAGE;
		state->out = xrealloc(state->out, state->room);
	}
	memcpy(state->out + state->size, bytes, size);
	state->size += size;
}

static void extract(struct state *state, void *bytes, size_t size)
{
	if (!state->failed && state->size - state->at < size)
		state_refuse(state, "the saved state is too short");
	if (state->failed) {
		memset(bytes, 0, size);
		return;
	}
	memcpy(bytes, state->in + state->at, size);
	state->at += size;
}

void state_bytes(struct state *state, void *bytes, size_t size)
{
	if (!size)
		return;
	switch (state->kind) {
	case SAVE: append(state, bytes, size); break;
	case RESTORE: extract(state, bytes, size); break;
	case DIGEST: hash_bytes(&state->hash, bytes, size); break;
	}
}

void state_bool(struct state *state, bool *value)
{
	uint8_t byte = *value;

	state_var(state, byte);
	if (state->kind == RESTORE)
		*value = byte & 1;
}

void state_section(struct state *state, const char *name)
{
	uint8_t length = (uint8_t)min_u64(strlen(name), 63);
	char text[64] = "";

	memcpy(text, name, length);
	state_bytes(state, &length, 1);
	if (state->kind != RESTORE) {
		state_bytes(state, text, length);
	} else if (!state->failed) {
		char found[64] = "";

		state_bytes(state, found, min_u64(length, 63));
		if (!state->failed && strcmp(found, text)) {
			state->failed = true;
			snprintf(state->why, sizeof(state->why),
				 "the saved state has no '%s' where this machine has one", text);
		}
	}
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return !size || (!bytes[0] && !memcmp(bytes, bytes + 1, size - 1));
}

/*
 * Which of `count` pages were ever touched? Reading an untouched page would make the host map it, which for a large RAM
 * costs time and page tables. /proc/self/pagemap tells (bit 63 present, bit 62 swapped); without it every page counts
 * as touched.
 */
static void find_touched(int pagemap, const uint8_t *bytes, unsigned count, bool touched[BATCH])
{
	uint64_t entries[BATCH];
	size_t length = count * sizeof(entries[0]);
	bool known = pagemap >= 0 && is_aligned((uintptr_t)bytes, PAGE) && sysconf(_SC_PAGESIZE) == PAGE &&
		     pread(pagemap, entries, length, (off_t)((uintptr_t)bytes / PAGE * sizeof(entries[0]))) ==
			     (ssize_t)length;

	for (unsigned i = 0; i < count; i++)
		touched[i] = !known || entries[i] >> 62;
}

/* Calls visit() for each page that is not all zero, in order. */
static void visit_pages(struct state *state, uint8_t *bytes, size_t size,
			void (*visit)(struct state *, uint64_t, uint8_t *, size_t))
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t pages = size / PAGE + (size % PAGE != 0);
	bool touched[BATCH];

	for (uint64_t first = 0; first < pages; first += BATCH) {
		unsigned count = (unsigned)min_u64(BATCH, pages - first);

		find_touched(pagemap, bytes + first * PAGE, count, touched);
		for (unsigned i = 0; i < count; i++) {
			uint8_t *page = bytes + (first + i) * PAGE;
			size_t length = min_u64(PAGE, size - (first + i) * PAGE);

			if (touched[i] && !is_zero(page, length))
				visit(state, first + i, page, length);
		}
	}
	if (pagemap >= 0)
		close(pagemap);
}

static void put_page(struct state *state, uint64_t number, uint8_t *page, size_t length)
{
	state_var(state, number);
	state_bytes(state, page, length);
}

static void clear_page(struct state *state, uint64_t number, uint8_t *page, size_t length)
{
	memset(page, 0, length);
}

static void get_pages(struct state *state, uint8_t *bytes, size_t size)
{
	uint64_t pages = size / PAGE + (size % PAGE != 0), number, next = 0;

	visit_pages(state, bytes, size, clear_page);
	while (state_var(state, number), !state->failed && number != NO_PAGE) {
		if (number < next || number >= pages) {
			state_refuse(state, "the saved state has a page outside of its memory");
			return;
		}
		state_bytes(state, bytes + number * PAGE, min_u64(PAGE, size - number * PAGE));
		next = number + 1;
	}
}

void state_memory(struct state *state, void *bytes, size_t size)
{
	uint64_t length = size, end = NO_PAGE;

	state_var(state, length);
	if (state->kind == RESTORE) {
		if (length != size)
			state_refuse(state, "the saved state is of a machine with another size of memory");
		get_pages(state, bytes, size);
		return;
	}
	visit_pages(state, bytes, size, put_page);
	state_var(state, end);
}

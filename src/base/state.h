/*
 * A part's state, walked once for three purposes: save, restore and digest.
 *
 * Each part has one function `void PART_state(struct PART *, struct state *)` that names every member a snapshot must
 * hold, in a fixed order. Saving writes them, restoring reads them back, a digest hashes them; so the three cannot
 * disagree. Pointers, caches and host things are left out and rebuilt by the part after state_restoring() says so. A
 * restore may come from a hostile file: a part checks what indexes something.
 */
#pragma once

#include "base/types.h"

struct state;

/* Create a walk that appends to memory, reads `size` bytes at `data` (not copied), or hashes. */
struct state *state_save(void);
struct state *state_restore(const void *data, size_t size);
struct state *state_digest(void);
void state_free(struct state *state);

/* After a save: the bytes, valid until state_free(). */
const void *state_data(const struct state *state, size_t *size);
/* After a digest: the 128-bit hash as 32 hexadecimal digits. */
void state_digest_text(const struct state *state, char text[33]);

/* True while a restore runs: members hold what was saved once their state_*() call returned. */
bool state_restoring(const struct state *state);
/* True after a restore met a wrong section name, a short file or a state_refuse(): members may then be zero. */
bool state_failed(const struct state *state);
/* A part calls this when a restored value is out of its range. */
void state_refuse(struct state *state, const char *why);
const char *state_why(const struct state *state);

/* Begin a part's members: the name is checked on restore. */
void state_section(struct state *state, const char *name);
void state_bytes(struct state *state, void *bytes, size_t size);
/* A bool, which from a hostile file could be neither. */
void state_bool(struct state *state, bool *value);
/*
 * A block of memory that is mostly zero pages, such as RAM: only non-zero 4-KiB pages are written, zero pages are never
 * touched.
 */
void state_memory(struct state *state, void *bytes, size_t size);

/* As state_bool(), with state_bytes()'s parameters. */
static inline void state_flag(struct state *state, void *value, size_t size)
{
	state_bool(state, value);
}

/* Any member; of a bool only the value is taken over. In a structure that holds a bool name the members, not the
 * structure. */
#define state_var(state, lvalue) \
	_Generic((lvalue), bool : state_flag, default : state_bytes)((state), &(lvalue), sizeof(lvalue))

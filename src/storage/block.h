/*
 * Disk images: bytes by offset, whatever the format. Raw files, qcow2, and an overlay that keeps writes to itself
 * (-snapshot).
 *
 * Calls finish before they return. A process that is killed at any moment leaves an image that its format allows, with
 * every write before the last flush in it.
 */
#pragma once

#include "base/error.h"
#include "base/types.h"

struct block;

enum block_format { BLOCK_PROBE, BLOCK_RAW, BLOCK_QCOW2 };

/*
 * read_only: the file is opened so, and writes fail. snapshot: writes go to an unlinked temporary file. BLOCK_PROBE
 * tells qcow2 by its magic number, and never by what a guest could have written into a raw image that was opened as
 * such before: it is for images named without a format. NULL: *error says why.
 */
struct block *block_open(const char *file, enum block_format format, bool read_only, bool snapshot,
			 struct error *error);
/* Flushes. NULL is allowed. */
void block_close(struct block *block);

uint64_t block_size(const struct block *block); /* bytes */
bool block_read_only(const struct block *block);

/* False: the host failed or [offset, offset + size) is not in the image; the guest sees a medium error. */
MUST_CHECK bool block_read(struct block *block, uint64_t offset, void *to, size_t size);
MUST_CHECK bool block_write(struct block *block, uint64_t offset, const void *from, size_t size);
/* Everything written is on the host's disk. */
MUST_CHECK bool block_flush(struct block *block);

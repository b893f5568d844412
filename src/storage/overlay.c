/*
 * -snapshot: an image that is never written; what the guest writes lives in a file without a name, gone with the
 * process.
 */
#include "base/bits.h"
#include "storage/block_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLUSTER = 65536 };

struct overlay {
	struct block block;
	struct block *base;
	int fd;
	uint8_t *written; /* one bit per cluster */
};

static bool is_written(const struct overlay *o, uint64_t cluster)
{
	return o->written[cluster / 8] >> (cluster % 8) & 1;
}

static bool overlay_read(struct block *block, uint64_t offset, void *to, size_t size)
{
	struct overlay *o = (struct overlay *)block;
	uint8_t *bytes = to;

	while (size) {
		size_t part = min_u64(size, CLUSTER - offset % CLUSTER);

		if (is_written(o, offset / CLUSTER) ? !file_read_at(o->fd, offset, bytes, part)
						    : !block_read(o->base, offset, bytes, part))
			return false;
		bytes += part;
		offset += part;
		size -= part;
	}
	return true;
}

static bool overlay_write(struct block *block, uint64_t offset, const void *from, size_t size)
{
	struct overlay *o = (struct overlay *)block;
	const uint8_t *bytes = from;
	uint8_t buffer[CLUSTER];

	while (size) {
		uint64_t cluster = offset / CLUSTER, base = cluster * CLUSTER;
		size_t part = min_u64(size, CLUSTER - offset % CLUSTER), whole = min_u64(CLUSTER, block->size - base);

		if (!is_written(o, cluster) && part < whole) {
			if (!block_read(o->base, base, buffer, whole) || !file_write_at(o->fd, base, buffer, whole))
				return false;
		}
		if (!file_write_at(o->fd, offset, bytes, part))
			return false;
		o->written[cluster / 8] |= (uint8_t)(1 << cluster % 8);
		bytes += part;
		offset += part;
		size -= part;
	}
	return true;
}

static bool overlay_flush(struct block *block)
{
	return true; /* nothing here is meant to last */
}

static void overlay_close(struct block *block)
{
	struct overlay *o = (struct overlay *)block;

	block_close(o->base);
	close(o->fd);
	free(o->written);
	free(o);
}

static const struct block_driver overlay_driver = {overlay_read, overlay_write, overlay_flush, overlay_close};

struct block *overlay_create(struct block *base, struct error *error)
{
	const char *directory = getenv("TMPDIR");
	char *name = xasprintf("%s/softvt-XXXXXX", directory && *directory ? directory : "/var/tmp");
	int fd = mkostemp(name, O_CLOEXEC);
	struct overlay *o;

	if (fd < 0) {
		error_set(error, "could not make a temporary file '%s': %s", name, strerror(errno));
		free(name);
		block_close(base);
		return NULL;
	}
	unlink(name);
	free(name);
	o = xcalloc(1, sizeof(*o));
	o->block = (struct block){&overlay_driver, base->size, false};
	o->base = base;
	o->fd = fd;
	o->written = xcalloc(base->size / CLUSTER / 8 + 1, 1);
	return &o->block;
}

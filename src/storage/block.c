/*
 * Opening images and the checks that all formats share. Whether a file is qcow2 is told by its magic number: "qcow2
 * Image File Format", "Header".
 */
#include "base/bits.h"
#include "storage/block_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 32, SECTOR = 512 };

bool file_read_at(int fd, uint64_t offset, void *to, size_t size)
{
	uint8_t *bytes = to;

	while (size) {
		ssize_t done = pread(fd, bytes, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return false;
		if (done == 0) {
			memset(bytes, 0, size);
			return true;
		}
		bytes += done;
		offset += (uint64_t)done;
		size -= (size_t)done;
	}
	return true;
}

bool file_write_at(int fd, uint64_t offset, const void *from, size_t size)
{
	const uint8_t *bytes = from;

	while (size) {
		ssize_t done = pwrite(fd, bytes, size, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes += done;
		offset += (uint64_t)done;
		size -= (size_t)done;
	}
	return true;
}

struct block *open_image(const char *name, enum block_format format, bool read_only, unsigned depth,
			 struct error *error)
{
	uint8_t magic[4];
	struct stat status;
	int fd;

	if (depth > MAX_DEPTH) {
		error_set(error, "the image '%s' has too long a chain of backing files", name);
		return NULL;
	}
	fd = open(name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status)) {
		error_set(error, "could not open disk image '%s': %s", name, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
		error_set(error, "the disk image '%s' is neither a file nor a block device", name);
		close(fd);
		return NULL;
	}
	/* Two writers would destroy it. The lock goes away with the process. */
	if (!read_only && flock(fd, LOCK_EX | LOCK_NB)) {
		error_set(error, "the disk image '%s' is in use by another process", name);
		close(fd);
		return NULL;
	}
	if (format == BLOCK_PROBE)
		format = file_read_at(fd, 0, magic, 4) && !memcmp(magic, "QFI\xfb", 4) ? BLOCK_QCOW2 : BLOCK_RAW;
	return format == BLOCK_QCOW2 ? qcow2_open(fd, name, read_only, depth, error)
				     : raw_open(fd, name, read_only, error);
}

struct block *block_open(const char *file, enum block_format format, bool read_only, bool snapshot, struct error *error)
{
	struct block *block = open_image(file, format, read_only || snapshot, 0, error);

	return block && snapshot ? overlay_create(block, error) : block;
}

void block_close(struct block *block)
{
	if (block)
		block->driver->close(block);
}

uint64_t block_size(const struct block *block)
{
	return block->size;
}

bool block_read_only(const struct block *block)
{
	return block->read_only;
}

static bool inside(const struct block *block, uint64_t offset, size_t size)
{
	return offset <= block->size && size <= block->size - offset;
}

bool block_read(struct block *block, uint64_t offset, void *to, size_t size)
{
	return inside(block, offset, size) && block->driver->read(block, offset, to, size);
}

bool block_write(struct block *block, uint64_t offset, const void *from, size_t size)
{
	return !block->read_only && inside(block, offset, size) && block->driver->write(block, offset, from, size);
}

bool block_flush(struct block *block)
{
	return block->read_only || block->driver->flush(block);
}

/* Raw images: a byte of the file is a byte of the disk. */
struct raw {
	struct block block;
	int fd;
};

static bool raw_read(struct block *block, uint64_t offset, void *to, size_t size)
{
	return file_read_at(((struct raw *)block)->fd, offset, to, size);
}

static bool raw_write(struct block *block, uint64_t offset, const void *from, size_t size)
{
	return file_write_at(((struct raw *)block)->fd, offset, from, size);
}

static bool raw_flush(struct block *block)
{
	return fdatasync(((struct raw *)block)->fd) == 0;
}

static void raw_close(struct block *block)
{
	struct raw *raw = (struct raw *)block;

	if (!block->read_only)
		fdatasync(raw->fd);
	close(raw->fd);
	free(raw);
}

static const struct block_driver raw_driver = {raw_read, raw_write, raw_flush, raw_close};

struct block *raw_open(int fd, const char *name, bool read_only, struct error *error)
{
	struct raw *raw;
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < 0) {
		error_set(error, "could not find the size of '%s': %s", name, strerror(errno));
		close(fd);
		return NULL;
	}
	raw = xcalloc(1, sizeof(*raw));
	/* A last part of a sector is padded with zeros. */
	raw->block = (struct block){&raw_driver, ((uint64_t)size + SECTOR - 1) & ~(uint64_t)(SECTOR - 1), read_only};
	raw->fd = fd;
	return &raw->block;
}

/* Private to storage/: what an image format provides. */
#pragma once

#include "storage/block.h"

struct block_driver {
	bool (*read)(struct block *block, uint64_t offset, void *to, size_t size);
	bool (*write)(struct block *block, uint64_t offset, const void *from, size_t size);
	bool (*flush)(struct block *block);
	void (*close)(struct block *block);
};

/* Embedded first in each format's structure. Offsets were checked against size before a driver is called. */
struct block {
	const struct block_driver *driver;
	uint64_t size;
	bool read_only;
};

/* fd is owned by the result, and closed on failure. name is for sentences and for finding backing files. */
struct block *raw_open(int fd, const char *name, bool read_only, struct error *error);
struct block *qcow2_open(int fd, const char *name, bool read_only, unsigned depth, struct error *error);
/* Takes `base` over. */
struct block *overlay_create(struct block *base, struct error *error);
/* depth: how many images refer to this one; bounded, so that a chain cannot be endless. */
struct block *open_image(const char *file, enum block_format format, bool read_only, unsigned depth,
			 struct error *error);

/* Whole transfers on a host file; reads beyond its end give zeros. */
bool file_read_at(int fd, uint64_t offset, void *to, size_t size);
bool file_write_at(int fd, uint64_t offset, const void *from, size_t size);

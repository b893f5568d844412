/*
 * virtio block device: "Block Device" of VIRTIO 1.1. Reads, writes, flushes, and says its serial number.
 */
#include "storage/virtio_blk.h"

#include "base/bits.h"
#include "storage/virtio.h"
#include <stdlib.h>
#include <string.h>

enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, STATUS_OK = 0, STATUS_IOERR = 1, STATUS_UNSUPP = 2 };
enum {
	HEADER = 16,
	ID_SIZE = 20,
	SECTOR = 512,
	CHUNK = 65536,
	SEG_MAX = VIRTIO_QUEUE_SIZE - 2,
	REQUEST_MAX = 64 << 20 /* a longer one would hold the machine up */
};
enum { F_SEG_MAX = 1 << 2, F_RO = 1 << 5, F_BLK_SIZE = 1 << 6, F_FLUSH = 1 << 9 };

struct virtio_blk {
	struct virtio virtio;
	struct block *block;
	char serial[ID_SIZE + 1];
	struct virtio_chain chain;
	struct virtio_blk_counters counters;
	uint8_t buffer[CHUNK];
};

static uint8_t move(struct virtio_blk *b, bool write, uint64_t offset, uint64_t size)
{
	uint64_t at = 0;

	if (size % SECTOR || size > REQUEST_MAX)
		return STATUS_IOERR;
	while (at < size) {
		size_t part = min_u64(size - at, CHUNK);

		if (write) {
			virtio_read(&b->virtio, &b->chain, HEADER + at, b->buffer, part);
			if (!block_write(b->block, offset + at, b->buffer, part))
				return STATUS_IOERR;
		} else {
			if (!block_read(b->block, offset + at, b->buffer, part))
				return STATUS_IOERR;
			virtio_write(&b->virtio, &b->chain, at, b->buffer, part);
		}
		at += part;
		*(write ? &b->counters.bytes_written : &b->counters.bytes_read) += part;
	}
	return STATUS_OK;
}

/* Data written to the guest is all but the last writable byte, which is the status. */
static uint8_t execute(struct virtio_blk *b, uint32_t *written)
{
	uint64_t in = b->chain.write_size - 1, sector;
	uint8_t header[HEADER], status;

	if (virtio_read(&b->virtio, &b->chain, 0, header, HEADER) < HEADER)
		return STATUS_IOERR;
	sector = load_le(header + 8, 8);
	switch (load_le(header, 4)) {
	case TYPE_IN:
	case TYPE_OUT:
		if (sector > block_size(b->block) / SECTOR)
			return STATUS_IOERR;
		if (load_le(header, 4) == TYPE_OUT)
			return move(b, true, sector * SECTOR, b->chain.read_size - HEADER);
		status = move(b, false, sector * SECTOR, in);
		*written += status == STATUS_OK ? (uint32_t)in : 0;
		return status;
	case TYPE_FLUSH: return block_flush(b->block) ? STATUS_OK : STATUS_IOERR;
	case TYPE_GET_ID:
		*written += (uint32_t)virtio_write(&b->virtio, &b->chain, 0, b->serial, min_u64(in, ID_SIZE));
		return STATUS_OK;
	default: return STATUS_UNSUPP;
	}
}

static void run(struct virtio *virtio, unsigned queue)
{
	struct virtio_blk *b = CONTAINER_OF(virtio, struct virtio_blk, virtio);

	/* At most a queue's worth in one go: the driver's next notification continues. */
	for (unsigned i = 0; i < VIRTIO_QUEUE_SIZE && virtio_pop(virtio, queue, &b->chain); i++) {
		uint32_t written = 1;
		uint8_t status;

		/* Without room for the status there is no way to answer but to give it back empty. */
		if (!b->chain.write_size) {
			virtio_push(virtio, queue, &b->chain, 0);
			continue;
		}
		status = execute(b, &written);
		b->counters.requests++;
		b->counters.errors += status != STATUS_OK;
		virtio_write(virtio, &b->chain, b->chain.write_size - 1, &status, 1);
		virtio_push(virtio, queue, &b->chain, written);
	}
}

static const struct virtio_ops ops = {.run = run};

struct virtio_blk *virtio_blk_create(struct pci_root *root, struct clock *clock, uint8_t slot, struct block *block,
				     const char *serial, struct error *error)
{
	struct virtio_blk *b = xcalloc(1, sizeof(*b));
	struct virtio *v = &b->virtio;

	b->block = block;
	strncpy(b->serial, serial, ID_SIZE);
	v->ops = &ops;
	v->queues = 1;
	v->offered = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_ANY_LAYOUT | F_SEG_MAX | F_BLK_SIZE |
		     F_FLUSH | (block_read_only(block) ? F_RO : 0);
	v->config_size = 24;
	store_le(v->config, 8, block_size(block) / SECTOR);
	store_le(v->config + 12, 4, SEG_MAX);
	store_le(v->config + 20, 4, SECTOR);
	if (!virtio_add(v, root, clock, "virtio-blk-pci", 2, 0x010000, slot, error)) {
		free(b);
		return NULL;
	}
	return b;
}

void virtio_blk_destroy(struct virtio_blk *b)
{
	if (!b)
		return;
	virtio_remove(&b->virtio);
	free(b);
}

const struct virtio_blk_counters *virtio_blk_counters(const struct virtio_blk *blk)
{
	return &blk->counters;
}

/*
 * virtio-blk-pci: "Virtual I/O Device (VIRTIO) Version 1.1", "Block Device", transitional (also answers drivers of the
 * time before 1.0).
 */
#pragma once

#include "clock/clock.h"
#include "pci/pci.h"
#include "storage/block.h"

struct virtio_blk;

/* block is not owned. serial: up to 20 characters. NULL: *error says why. */
struct virtio_blk *virtio_blk_create(struct pci_root *root, struct clock *clock, uint8_t slot, struct block *block,
				     const char *serial, struct error *error);
void virtio_blk_destroy(struct virtio_blk *blk);

/* Requests and bytes since the start, for statistics. */
struct virtio_blk_counters {
	uint64_t requests, bytes_read, bytes_written, errors;
};
const struct virtio_blk_counters *virtio_blk_counters(const struct virtio_blk *blk);

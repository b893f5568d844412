/*
 * Private to virtio devices: the PCI transport and split virtqueues. "Virtual I/O Device (VIRTIO) Version 1.1", "Virtio
 * Over PCI Bus", "Split Virtqueues".
 */
#pragma once

#include "clock/clock.h"
#include "pci/pci.h"

struct virtio;

enum { VIRTIO_QUEUE_SIZE = 256, VIRTIO_QUEUES_MAX = 4, VIRTIO_SEGMENTS = 1024 };

struct virtio_ops {
	/* Buffers are available in a queue: take as many as wanted with virtio_pop(). */
	void (*run)(struct virtio *virtio, unsigned queue);
	/* The device was reset. May be NULL. */
	void (*reset)(struct virtio *virtio);
	void (*state)(struct virtio *virtio, struct state *state); /* may be NULL */
};

struct virtio_queue {
	uint64_t desc, avail, used; /* guest addresses */
	uint16_t size, vector, last_avail, used_index;
	bool enabled, pending;
};

struct virtio {
	struct pci_function function;
	const struct virtio_ops *ops;
	struct clock *clock;
	struct deadline work;
	uint64_t offered; /* feature bits */
	uint64_t accepted;
	uint32_t device_select, driver_select;
	uint16_t queue_select, config_vector;
	uint8_t status, isr, generation;
	unsigned queues;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	uint8_t config[64]; /* device-specific configuration, read-only to drivers */
	unsigned config_size;
	unsigned window; /* offset of the capability for access through configuration space */
};

/* One request: segments that the device reads come first, then those that it writes. */
struct virtio_chain {
	uint16_t head;
	unsigned readable, count;
	uint64_t read_size, write_size;
	struct {
		uint64_t address;
		uint32_t size;
	} segment[VIRTIO_SEGMENTS];
};

#define VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VIRTIO_F_ANY_LAYOUT    (UINT64_C(1) << 27)
#define VIRTIO_F_VERSION_1     (UINT64_C(1) << 32)

/* type: the virtio device ID. Fill ops, offered, queues, config and config_size first. */
MUST_CHECK bool virtio_add(struct virtio *virtio, struct pci_root *root, struct clock *clock, const char *name,
			   unsigned type, uint32_t class_code, uint8_t slot, struct error *error);
void virtio_remove(struct virtio *virtio);

/* False: nothing is there, or the driver broke the rules and the device now wants a reset. */
bool virtio_pop(struct virtio *virtio, unsigned queue, struct virtio_chain *chain);
/* Copy from the readable or to the writable part at an offset; short at its end. Returns the bytes copied. */
size_t virtio_read(struct virtio *virtio, const struct virtio_chain *chain, uint64_t offset, void *to, size_t size);
size_t virtio_write(struct virtio *virtio, const struct virtio_chain *chain, uint64_t offset, const void *from,
		    size_t size);
/* Give the request back, with how many bytes of it were written, and interrupt unless the driver asked not to. */
void virtio_push(struct virtio *virtio, unsigned queue, const struct virtio_chain *chain, uint32_t written);

/*
 * A split virtqueue: Virtual I/O Device (VIRTIO) 1.0, "Virtqueues". It lies in the guest's memory, and every word of it may be a lie.
 */
#ifndef VMM_DEVICES_VIRTQUEUE_H
#define VMM_DEVICES_VIRTQUEUE_H

#include "lib/types.h"

struct vm;

enum { VIRTQUEUE_MOST = 128 /* entries */ };

struct virtqueue {
	uint16_t size; /* a power of 2, at most VIRTQUEUE_MOST */
	bool enabled;
	gpa_t descriptors, available, used;
	uint16_t next_available, next_used;
};

/* The buffers of one request: first those that the device reads, then those that it writes. */
struct virtqueue_chain {
	uint16_t head;
	unsigned count;
	struct {
		gpa_t gpa;
		uint32_t size;
		bool writable;
	} buffers[VIRTQUEUE_MOST];
	uint64_t readable, writable; /* bytes */
};

/* The next request, if there is one. False: the queue is broken, nothing more can be done with it. */
MUST_CHECK bool virtqueue_next(struct vm *vm, struct virtqueue *queue, struct virtqueue_chain *chain, bool *found);

/* Gives it back, written to so far; *interrupt: its driver wants to hear of it. */
MUST_CHECK bool virtqueue_done(struct vm *vm, struct virtqueue *queue, const struct virtqueue_chain *chain, uint32_t written, bool *interrupt);

/* Bytes from offset on, of what the device reads or of what it writes. False if they are not all there, or not RAM. */
MUST_CHECK bool chain_read(struct vm *vm, const struct virtqueue_chain *chain, uint64_t offset, void *to, uint64_t size);
MUST_CHECK bool chain_write(struct vm *vm, const struct virtqueue_chain *chain, uint64_t offset, const void *from, uint64_t size);

#endif

/*
 * A split virtqueue: Virtual I/O Device (VIRTIO) 1.0, "The Virtqueue Descriptor Table", "The Virtqueue Available Ring", "The Virtqueue Used Ring".
 */
#include "devices/virtqueue.h"

#include "guest/vm.h"

struct descriptor {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
enum { F_NEXT = 1, F_WRITE = 2 };
enum { AVAIL_F_NO_INTERRUPT = 1 };
enum { RING = 4 /* of both: behind flags and idx */ };

struct used_element {
	uint32_t id, len;
};

/* A chain longer than the queue is a loop; "Message Framing" puts what the device writes behind what it reads. */
static bool read_chain(struct vm *vm, const struct virtqueue *queue, struct virtqueue_chain *chain)
{
	uint16_t index = chain->head;
	struct descriptor d;

	chain->count = 0;
	chain->readable = chain->writable = 0;
	do {
		if (index >= queue->size || chain->count >= queue->size || !vm_read(vm, queue->descriptors + index * sizeof(d), &d, sizeof(d)) ||
		    (d.flags & ~(F_NEXT | F_WRITE)) || (chain->writable && !(d.flags & F_WRITE)))
			return false;
		chain->buffers[chain->count].gpa = d.addr;
		chain->buffers[chain->count].size = d.len;
		chain->buffers[chain->count++].writable = d.flags & F_WRITE;
		*(d.flags & F_WRITE ? &chain->writable : &chain->readable) += d.len;
		index = d.next;
	} while (d.flags & F_NEXT);
	return true;
}

bool virtqueue_next(struct vm *vm, struct virtqueue *queue, struct virtqueue_chain *chain, bool *found)
{
	uint16_t index;

	*found = false;
	if (!vm_read(vm, queue->available + 2, &index, sizeof(index)))
		return false;
	if (index == queue->next_available)
		return true;
	if (!vm_read(vm, queue->available + RING + queue->next_available % queue->size * sizeof(chain->head), &chain->head, sizeof(chain->head)) ||
	    !read_chain(vm, queue, chain))
		return false;
	queue->next_available++;
	*found = true;
	return true;
}

/* The index last: what it counts is then there. */
bool virtqueue_done(struct vm *vm, struct virtqueue *queue, const struct virtqueue_chain *chain, uint32_t written, bool *interrupt)
{
	struct used_element element = {chain->head, written};
	uint16_t flags;

	if (!vm_write(vm, queue->used + RING + queue->next_used % queue->size * sizeof(element), &element, sizeof(element)))
		return false;
	queue->next_used++;
	if (!vm_write(vm, queue->used + 2, &queue->next_used, sizeof(queue->next_used)) || !vm_read(vm, queue->available, &flags, sizeof(flags)))
		return false;
	*interrupt = !(flags & AVAIL_F_NO_INTERRUPT);
	return true;
}

static bool copy(struct vm *vm, const struct virtqueue_chain *chain, bool write, uint64_t offset, uint8_t *data, uint64_t size)
{
	for (unsigned i = 0; i < chain->count && size > 0; i++) {
		gpa_t gpa = chain->buffers[i].gpa + offset;
		uint64_t n = chain->buffers[i].size;

		if (chain->buffers[i].writable != write)
			continue;
		if (offset >= n) {
			offset -= n;
			continue;
		}
		n = min_u64(n - offset, size);
		if (!(write ? vm_write(vm, gpa, data, n) : vm_read(vm, gpa, data, n)))
			return false;
		data += n;
		size -= n;
		offset = 0;
	}
	return size == 0;
}

bool chain_read(struct vm *vm, const struct virtqueue_chain *chain, uint64_t offset, void *to, uint64_t size)
{
	return copy(vm, chain, false, offset, to, size);
}

bool chain_write(struct vm *vm, const struct virtqueue_chain *chain, uint64_t offset, const void *from, uint64_t size)
{
	return copy(vm, chain, true, offset, (uint8_t *)(uintptr_t)from, size); /* only read from */
}

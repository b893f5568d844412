/*
 * A disk in memory: Virtual I/O Device (VIRTIO) 1.0, "Block Device". What it does for a notification it does when the devices have their turn, and
 * not too much at once: a guest may ask for many megabytes.
 */
#include "devices/virtio_blk.h"

#include "guest/vm.h"
#include "lib/string.h"

enum { SECTOR = 512 };
enum { SIZE_MAX_BYTES = 32 << 10, SEG_MAX = VIRTQUEUE_MOST - 2, REQUEST_MOST = SIZE_MAX_BYTES * SEG_MAX };
enum { TURN_BYTES = 1 << 20, TURN_NS = 1000000 /* so much, and then not before this time has passed */ };
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, STATUS_BYTES = 1 };
enum { ID_BYTES = 20 };

struct request {
	uint32_t type, reserved;
	uint64_t sector;
};

uint32_t virtio_blk_config(const struct vm *vm, unsigned offset)
{
	switch (offset) {
	case 0: /* capacity */
		return (uint32_t)(vm->disk_size / SECTOR);
	case 4:
		return (uint32_t)(vm->disk_size / SECTOR >> 32);
	case 8:
		return SIZE_MAX_BYTES;
	case 12:
		return SEG_MAX;
	}
	return 0;
}

/* "Device Operation": the request's data are size bytes at its sector. */
static bool is_in_disk(const struct vm *vm, const struct request *request, uint64_t size)
{
	uint64_t sectors = vm->disk_size / SECTOR;

	return size % SECTOR == 0 && size <= REQUEST_MOST && request->sector <= sectors && size / SECTOR <= sectors - request->sector;
}

/* The status byte; *written: bytes before it. There is a header, and room for a status. */
static uint8_t execute(struct vm *vm, const struct virtqueue_chain *chain, const struct request *request, uint32_t *written)
{
	static const char id[ID_BYTES] = "SoftVT RAM disk";
	uint64_t in = chain->writable - STATUS_BYTES, out = chain->readable - sizeof(*request);

	switch (request->type) {
	case T_IN:
		if (!is_in_disk(vm, request, in) || !chain_write(vm, chain, 0, vm->disk + request->sector * SECTOR, in))
			return S_IOERR;
		*written = (uint32_t)in;
		return S_OK;
	case T_OUT:
		if (!is_in_disk(vm, request, out) || !chain_read(vm, chain, sizeof(*request), vm->disk + request->sector * SECTOR, out))
			return S_IOERR;
		return S_OK;
	case T_FLUSH:
		return S_OK;
	case T_GET_ID:
		*written = (uint32_t)min_u64(in, ID_BYTES);
		return chain_write(vm, chain, 0, id, *written) ? S_OK : S_IOERR;
	}
	return S_UNSUPP;
}

/* False: what is there is no request. */
static bool serve(struct vm *vm, const struct virtqueue_chain *chain)
{
	struct request request;
	uint32_t written = 0;
	uint8_t status;
	bool interrupt;

	if (chain->writable < STATUS_BYTES || !chain_read(vm, chain, 0, &request, sizeof(request)))
		return false;
	status = execute(vm, chain, &request, &written);
	if (!chain_write(vm, chain, chain->writable - STATUS_BYTES, &status, STATUS_BYTES) ||
	    !virtqueue_done(vm, &vm->devices.virtio_blk.queue, chain, written + STATUS_BYTES, &interrupt))
		return false;
	if (interrupt)
		virtio_interrupt(vm, ISR_QUEUE);
	return true;
}

uint64_t virtio_blk_deadline(const struct vm *vm)
{
	return vm->devices.virtio_blk.due;
}

void virtio_blk_tick(struct vm *vm, uint64_t now)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;
	uint64_t moved = 0;
	bool found = true;

	if (blk->due > now)
		return;
	blk->due = NEVER;
	while (found && moved < TURN_BYTES) {
		struct virtqueue_chain chain;

		if (!virtqueue_next(vm, &blk->queue, &chain, &found) || (found && !serve(vm, &chain))) {
			blk->status |= STATUS_NEEDS_RESET;
			virtio_interrupt(vm, ISR_CONFIGURATION);
			return;
		}
		if (found)
			moved += min_u64(chain.readable + chain.writable, REQUEST_MOST) + SECTOR; /* one without data is work, too */
	}
	if (moved >= TURN_BYTES)
		blk->rest_ns = now + TURN_NS;
	if (found)
		blk->due = blk->rest_ns;
}

/*
 * The PCI transport of virtio devices, of 1.0 and later ("Virtio Over PCI Bus") and before it ("Legacy Interfaces: A
 * Note on PCI Device Layout"), and split virtqueues with indirect descriptors.
 *
 * Rings, descriptors and indexes are the guest's and may say anything: chains are bounded by the queue's size, and
 * whoever breaks the rules finds the device in DEVICE_NEEDS_RESET. Not offered: event indexes, packed rings,
 * notification data.
 */
#include "storage/virtio.h"

#include "base/bits.h"
#include "pci/dma.h"
#include <assert.h>
#include <string.h>

enum {
	STATUS_FEATURES_OK = 8,
	STATUS_DRIVER_OK = 4,
	STATUS_NEEDS_RESET = 64,
	ISR_QUEUE = 1,
	ISR_CONFIG = 2,
	NO_VECTOR = 0xffff
};
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16, AVAIL_NO_INTERRUPT = 1 };
enum { BAR_LEGACY = 0, BAR_MSIX = 1, BAR_MODERN = 4, LEGACY_SIZE = 128, MODERN_SIZE = 0x4000, MSIX_SIZE = 0x1000 };
enum { COMMON = 0x0000, ISR = 0x1000, DEVICE = 0x2000, NOTIFY = 0x3000, AREA = 0x1000 };
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
enum { NOTIFY_MULTIPLIER = 4, WORK_NS = 5000 };
/* Offsets in the common configuration. */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	CONFIG_GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	COMMON_SIZE = 0x38
};
/* And in the legacy header. */
enum {
	L_HOST_FEATURES = 0x00,
	L_GUEST_FEATURES = 0x04,
	L_QUEUE_PFN = 0x08,
	L_QUEUE_SIZE = 0x0c,
	L_QUEUE_SELECT = 0x0e,
	L_NOTIFY = 0x10,
	L_STATUS = 0x12,
	L_ISR = 0x13,
	L_CONFIG_VECTOR = 0x14,
	L_QUEUE_VECTOR = 0x16
};

static struct virtio *from_function(struct pci_function *function)
{
	return CONTAINER_OF(function, struct virtio, function);
}

static void interrupt(struct virtio *v, uint8_t bit, uint16_t vector)
{
	v->isr |= bit;
	if (pci_msix_enabled(&v->function)) {
		if (vector != NO_VECTOR)
			pci_send_msix(&v->function, vector);
	} else {
		pci_set_intx(&v->function, true);
	}
}

static void broken(struct virtio *v)
{
	v->status |= STATUS_NEEDS_RESET;
	if (v->status & STATUS_DRIVER_OK)
		interrupt(v, ISR_CONFIG, v->config_vector);
}

static void reset_device(struct virtio *v)
{
	clock_cancel(v->clock, &v->work);
	v->accepted = 0;
	v->device_select = v->driver_select = 0;
	v->queue_select = 0;
	v->config_vector = NO_VECTOR;
	v->status = v->isr = 0;
	memset(v->queue, 0, sizeof(v->queue));
	for (unsigned i = 0; i < v->queues; i++) {
		v->queue[i].size = VIRTIO_QUEUE_SIZE;
		v->queue[i].vector = NO_VECTOR;
	}
	pci_set_intx(&v->function, false);
	if (v->ops->reset)
		v->ops->reset(v);
}

static void work(void *owner)
{
	struct virtio *v = owner;

	for (unsigned i = 0; i < v->queues; i++) {
		bool run = v->queue[i].pending && v->queue[i].enabled;

		v->queue[i].pending = false;
		if (run && (v->status & STATUS_DRIVER_OK) && !(v->status & STATUS_NEEDS_RESET))
			v->ops->run(v, i);
	}
}

static void notify(struct virtio *v, unsigned index)
{
	if (index >= v->queues)
		return;
	v->queue[index].pending = true;
	if (v->work.at == VTIME_NEVER)
		clock_arm(v->clock, &v->work, clock_now(v->clock) + WORK_NS);
}

static void write_status(struct virtio *v, uint8_t value)
{
	if (value == 0) {
		reset_device(v);
		return;
	}
	/* A driver that accepted what was not offered does not get FEATURES_OK. */
	if (v->accepted & ~v->offered)
		value &= (uint8_t)~STATUS_FEATURES_OK;
	v->status = value | (v->status & STATUS_NEEDS_RESET);
	/* Legacy drivers may fill queues before they say DRIVER_OK. */
	if (value & STATUS_DRIVER_OK) {
		for (unsigned i = 0; i < v->queues; i++) {
			if (v->queue[i].enabled)
				notify(v, i);
		}
	}
}

/* Add a descriptor's buffer to the chain. False: the device must not go on. */
static bool add_segment(struct virtio_chain *chain, uint64_t address, uint32_t size, bool writable)
{
	if (chain->count == VIRTIO_SEGMENTS || (!writable && chain->count > chain->readable))
		return false;
	chain->segment[chain->count].address = address;
	chain->segment[chain->count++].size = size;
	if (writable) {
		chain->write_size += size;
	} else {
		chain->readable = chain->count;
		chain->read_size += size;
	}
	return true;
}

/* Follow a table of `entries` descriptors from `index`. A table that loops is longer than it has entries. */
static bool follow(struct virtio *v, uint64_t table, uint32_t entries, uint16_t index, struct virtio_chain *chain,
		   bool indirect)
{
	for (uint32_t steps = 0; steps < entries; steps++) {
		uint8_t desc[DESC_SIZE];
		uint64_t address;
		uint32_t size;
		uint16_t flags;

		if (index >= entries ||
		    !dma_read(&v->function, table + (uint64_t)index * DESC_SIZE, desc, sizeof(desc)))
			return false;
		address = load_le(desc, 8);
		size = (uint32_t)load_le(desc + 8, 4);
		flags = (uint16_t)load_le(desc + 12, 2);
		index = (uint16_t)load_le(desc + 14, 2);
		if (flags & DESC_INDIRECT) {
			/* "MUST NOT set both", and no table within a table. */
			if (indirect || (flags & DESC_NEXT) || size % DESC_SIZE || !size ||
			    !(v->offered & VIRTIO_F_INDIRECT_DESC))
				return false;
			return follow(v, address, size / DESC_SIZE, 0, chain, true);
		}
		if (!add_segment(chain, address, size, flags & DESC_WRITE))
			return false;
		if (!(flags & DESC_NEXT))
			return true;
	}
	return false;
}

bool virtio_pop(struct virtio *v, unsigned index, struct virtio_chain *chain)
{
	struct virtio_queue *q = &v->queue[index];
	uint16_t avail = (uint16_t)dma_read_le(&v->function, q->avail + 2, 2);

	if (!q->enabled || (v->status & STATUS_NEEDS_RESET) || avail == q->last_avail)
		return false;
	if ((uint16_t)(avail - q->last_avail) > q->size) {
		broken(v);
		return false;
	}
	chain->head = (uint16_t)dma_read_le(&v->function, q->avail + 4 + 2 * (q->last_avail & (q->size - 1)), 2);
	q->last_avail++;
	chain->readable = chain->count = 0;
	chain->read_size = chain->write_size = 0;
	if (!follow(v, q->desc, q->size, chain->head, chain, false)) {
		broken(v);
		return false;
	}
	return true;
}

static size_t copy(struct virtio *v, const struct virtio_chain *chain, unsigned first, unsigned end, uint64_t offset,
		   uint8_t *bytes, size_t size, bool write)
{
	size_t done = 0;

	for (unsigned i = first; i < end && done < size; i++) {
		uint64_t length = chain->segment[i].size, part;

		if (offset >= length) {
			offset -= length;
			continue;
		}
		part = min_u64(length - offset, size - done);
		if (write)
			dma_write(&v->function, chain->segment[i].address + offset, bytes + done, part);
		else
			dma_read(&v->function, chain->segment[i].address + offset, bytes + done, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t virtio_read(struct virtio *v, const struct virtio_chain *chain, uint64_t offset, void *to, size_t size)
{
	return copy(v, chain, 0, chain->readable, offset, to, size, false);
}

size_t virtio_write(struct virtio *v, const struct virtio_chain *chain, uint64_t offset, const void *from, size_t size)
{
	return copy(v, chain, chain->readable, chain->count, offset, (uint8_t *)from, size, true);
}

void virtio_push(struct virtio *v, unsigned index, const struct virtio_chain *chain, uint32_t written)
{
	struct virtio_queue *q = &v->queue[index];
	uint8_t element[8];

	store_le(element, 4, chain->head);
	store_le(element + 4, 4, written);
	dma_write(&v->function, q->used + 4 + 8 * (q->used_index & (q->size - 1)), element, sizeof(element));
	q->used_index++;
	dma_write(&v->function, q->used + 2, &q->used_index, 2);
	if (!(dma_read_le(&v->function, q->avail, 2) & AVAIL_NO_INTERRUPT))
		interrupt(v, ISR_QUEUE, q->vector);
}

static uint16_t take_vector(const struct virtio *v, uint64_t value)
{
	return value < v->function.msix_vectors ? (uint16_t)value : NO_VECTOR;
}

static uint8_t read_isr(struct virtio *v)
{
	uint8_t value = v->isr;

	v->isr = 0;
	pci_set_intx(&v->function, false);
	return value;
}

static uint64_t common_read(struct virtio *v, unsigned offset)
{
	static const struct virtio_queue none;
	const struct virtio_queue *q = v->queue_select < v->queues ? &v->queue[v->queue_select] : &none;

	switch (offset) {
	case DEVICE_FEATURE_SELECT: return v->device_select;
	case DEVICE_FEATURE: return v->device_select < 2 ? (uint32_t)(v->offered >> 32 * v->device_select) : 0;
	case DRIVER_FEATURE_SELECT: return v->driver_select;
	case DRIVER_FEATURE: return v->driver_select < 2 ? (uint32_t)(v->accepted >> 32 * v->driver_select) : 0;
	case CONFIG_VECTOR: return v->config_vector;
	case NUM_QUEUES: return v->queues;
	case DEVICE_STATUS: return v->status;
	case CONFIG_GENERATION: return v->generation;
	case QUEUE_SELECT: return v->queue_select;
	case QUEUE_SIZE: return q->size;
	case QUEUE_VECTOR: return q->vector;
	case QUEUE_ENABLE: return q->enabled;
	case QUEUE_NOTIFY_OFF: return v->queue_select;
	case QUEUE_DESC: return q->desc;
	case QUEUE_DESC + 4: return q->desc >> 32;
	case QUEUE_DRIVER: return q->avail;
	case QUEUE_DRIVER + 4: return q->avail >> 32;
	case QUEUE_DEVICE: return q->used;
	case QUEUE_DEVICE + 4: return q->used >> 32;
	default: return 0;
	}
}

static void set_address(uint64_t *address, unsigned offset, unsigned size, uint64_t value)
{
	*address = offset & 4 ? bits_set(*address, 63, 32, value) : bits_set(*address, size == 8 ? 63 : 31, 0, value);
}

static void common_write_queue(struct virtio *v, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_queue *q;

	if (v->queue_select >= v->queues)
		return;
	q = &v->queue[v->queue_select];
	switch (offset) {
	case QUEUE_SIZE:
		if (!q->enabled && value && value <= VIRTIO_QUEUE_SIZE && !(value & (value - 1)))
			q->size = (uint16_t)value;
		break;
	case QUEUE_VECTOR: q->vector = take_vector(v, value); break;
	case QUEUE_ENABLE:
		if (value == 1)
			q->enabled = true;
		break;
	case QUEUE_DESC:
	case QUEUE_DESC + 4: set_address(&q->desc, offset - QUEUE_DESC, size, value); break;
	case QUEUE_DRIVER:
	case QUEUE_DRIVER + 4: set_address(&q->avail, offset - QUEUE_DRIVER, size, value); break;
	case QUEUE_DEVICE:
	case QUEUE_DEVICE + 4: set_address(&q->used, offset - QUEUE_DEVICE, size, value); break;
	default: break;
	}
}

static void common_write(struct virtio *v, unsigned offset, unsigned size, uint64_t value)
{
	switch (offset) {
	case DEVICE_FEATURE_SELECT: v->device_select = (uint32_t)value; break;
	case DRIVER_FEATURE_SELECT: v->driver_select = (uint32_t)value; break;
	case DRIVER_FEATURE:
		if (v->driver_select < 2 && !(v->status & STATUS_FEATURES_OK))
			v->accepted = v->driver_select ? bits_set(v->accepted, 63, 32, value)
						       : bits_set(v->accepted, 31, 0, value);
		break;
	case CONFIG_VECTOR: v->config_vector = take_vector(v, value); break;
	case DEVICE_STATUS: write_status(v, (uint8_t)value); break;
	case QUEUE_SELECT: v->queue_select = (uint16_t)value; break;
	default: common_write_queue(v, offset, size, value); break;
	}
}

static uint64_t config_read(const struct virtio *v, unsigned offset, unsigned size)
{
	return offset + size <= v->config_size ? load_le(v->config + offset, size) : 0;
}

static uint64_t modern_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio *v = device;
	unsigned inside = (unsigned)offset % AREA;

	switch (offset - inside) {
	case COMMON: return common_read(v, inside);
	case ISR: return inside == 0 ? read_isr(v) : 0;
	case DEVICE: return config_read(v, inside, size);
	default: return 0;
	}
}

static void modern_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio *v = device;
	unsigned inside = (unsigned)offset % AREA;

	if (offset - inside == COMMON)
		common_write(v, inside, size, value);
	else if (offset - inside == NOTIFY)
		notify(v, inside / NOTIFY_MULTIPLIER);
}

static const struct device_ops modern_ops = {.read = modern_read, .write = modern_write};

/* "Legacy Interfaces: A Note on Virtqueue Layout": one piece of memory, used ring on the next 4-KiB boundary. */
static void legacy_pfn(struct virtio *v, uint32_t pfn)
{
	struct virtio_queue *q;

	if (v->queue_select >= v->queues)
		return;
	if (!pfn) {
		reset_device(v);
		return;
	}
	q = &v->queue[v->queue_select];
	q->desc = (uint64_t)pfn << 12;
	q->avail = q->desc + (uint64_t)q->size * DESC_SIZE;
	q->used = (q->avail + 4 + 2 * q->size + 2 + 4095) & ~UINT64_C(4095);
	q->enabled = true;
}

static unsigned legacy_config(const struct virtio *v)
{
	return pci_msix_enabled(&v->function) ? L_CONFIG_VECTOR + 4 : L_CONFIG_VECTOR;
}

static uint64_t legacy_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio *v = device;
	const struct virtio_queue *q = v->queue_select < v->queues ? &v->queue[v->queue_select] : NULL;

	if (offset >= legacy_config(v))
		return config_read(v, (unsigned)offset - legacy_config(v), size);
	switch (offset) {
	case L_HOST_FEATURES: return (uint32_t)v->offered;
	case L_GUEST_FEATURES: return (uint32_t)v->accepted;
	case L_QUEUE_PFN: return q && q->enabled ? q->desc >> 12 : 0;
	case L_QUEUE_SIZE: return q ? VIRTIO_QUEUE_SIZE : 0;
	case L_QUEUE_SELECT: return v->queue_select;
	case L_STATUS: return v->status;
	case L_ISR: return read_isr(v);
	case L_CONFIG_VECTOR: return v->config_vector;
	case L_QUEUE_VECTOR: return q ? q->vector : NO_VECTOR;
	default: return 0;
	}
}

static void legacy_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio *v = device;

	if (offset >= legacy_config(v))
		return;
	switch (offset) {
	case L_GUEST_FEATURES: v->accepted = (uint32_t)value & v->offered; break;
	case L_QUEUE_PFN: legacy_pfn(v, (uint32_t)value); break;
	case L_QUEUE_SELECT: v->queue_select = (uint16_t)value; break;
	case L_NOTIFY: notify(v, (unsigned)value & 0xffff); break;
	case L_STATUS: write_status(v, (uint8_t)value); break;
	case L_CONFIG_VECTOR: v->config_vector = take_vector(v, value); break;
	case L_QUEUE_VECTOR:
		if (v->queue_select < v->queues)
			v->queue[v->queue_select].vector = take_vector(v, value);
		break;
	default: break;
	}
}

static const struct device_ops legacy_ops = {.read = legacy_read, .write = legacy_write};

/* "PCI configuration access capability": a window to the BARs for firmware that does not map them. */
static bool window_target(struct virtio *v, unsigned offset, unsigned size, uint32_t *at, unsigned *length)
{
	const uint8_t *cap = v->function.config + v->window;

	*at = (uint32_t)load_le(cap + 8, 4);
	*length = (unsigned)load_le(cap + 12, 4);
	return offset < v->window + 20 && offset + size > v->window + 16 && cap[4] == BAR_MODERN &&
	       (*length == 1 || *length == 2 || *length == 4) && *at < MODERN_SIZE && is_aligned(*at, *length);
}

static void window_read(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio *v = from_function(function);
	unsigned length;
	uint32_t at;

	if (window_target(v, offset, size, &at, &length))
		store_le(function->config + v->window + 16, 4, modern_read(v, at, length));
}

static void window_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio *v = from_function(function);
	unsigned length;
	uint32_t at;

	if (window_target(v, offset, size, &at, &length))
		modern_write(v, at, length, load_le(function->config + v->window + 16, length));
}

static void reset(struct pci_function *function)
{
	reset_device(from_function(function));
}

static void save(struct pci_function *function, struct state *state)
{
	struct virtio *v = from_function(function);

	state_section(state, "virtio");
	clock_deadline_state(v->clock, &v->work, state);
	state_var(state, v->accepted);
	state_var(state, v->device_select);
	state_var(state, v->driver_select);
	state_var(state, v->queue_select);
	state_var(state, v->config_vector);
	state_var(state, v->status);
	state_var(state, v->isr);
	for (unsigned i = 0; i < v->queues; i++) {
		struct virtio_queue *q = &v->queue[i];

		state_var(state, q->desc);
		state_var(state, q->avail);
		state_var(state, q->used);
		state_var(state, q->size);
		state_var(state, q->vector);
		state_var(state, q->last_avail);
		state_var(state, q->used_index);
		state_var(state, q->enabled);
		state_var(state, q->pending);
		if (state_restoring(state) && (!q->size || q->size > VIRTIO_QUEUE_SIZE || (q->size & (q->size - 1))))
			state_refuse(state, "an impossible virtqueue size");
	}
	if (v->ops->state)
		v->ops->state(v, state);
}

static const struct pci_function_ops function_ops = {
	.config_read = window_read, .config_written = window_written, .reset = reset, .state = save};

static void add_capability(struct pci_function *f, unsigned type, uint32_t offset, uint32_t length, unsigned size)
{
	uint8_t *cap = f->config + pci_add_capability(f, 0x09, size);

	cap[2] = (uint8_t)size;
	cap[3] = (uint8_t)type;
	cap[4] = BAR_MODERN;
	store_le(cap + 8, 4, offset);
	store_le(cap + 12, 4, length);
	if (type == CAP_NOTIFY)
		store_le(cap + 16, 4, NOTIFY_MULTIPLIER);
}

bool virtio_add(struct virtio *v, struct pci_root *root, struct clock *clock, const char *name, unsigned type,
		uint32_t class_code, uint8_t slot, struct error *error)
{
	struct pci_function *f = &v->function;

	assert(v->queues <= VIRTIO_QUEUES_MAX && v->config_size <= sizeof(v->config));
	v->clock = clock;
	deadline_init(&v->work, work, v);
	f->name = name;
	f->ops = &function_ops;
	/* Transitional: device 1000H + what the type was then (1001H block), subsystem is the type. */
	pci_identity(f, 0x1af4, (uint16_t)(0x1000 + type - 1), class_code, 0, 0x1af4, (uint16_t)type);
	pci_set_pin(f, 1);
	pci_add_bar(f, BAR_LEGACY, PCI_BAR_IO, LEGACY_SIZE, &legacy_ops, v);
	pci_add_bar(f, BAR_MSIX, PCI_BAR_MEM32, MSIX_SIZE, NULL, NULL);
	pci_add_bar(f, BAR_MODERN, PCI_BAR_MEM64_PREFETCH, MODERN_SIZE, &modern_ops, v);
	pci_add_msix(f, v->queues + 1, BAR_MSIX, 0, MSIX_SIZE / 2);
	add_capability(f, CAP_COMMON, COMMON, COMMON_SIZE, 16);
	add_capability(f, CAP_ISR, ISR, AREA, 16);
	add_capability(f, CAP_DEVICE, DEVICE, AREA, 16);
	add_capability(f, CAP_NOTIFY, NOTIFY, AREA, 20);
	v->window = f->next_capability;
	add_capability(f, CAP_PCI, 0, 0, 20);
	f->writable[v->window + 4] = 0xff;
	memset(f->writable + v->window + 8, 0xff, 12);
	if (!pci_add(root, f, slot, 0, error))
		return false;
	reset_device(v);
	return true;
}

void virtio_remove(struct virtio *v)
{
	clock_cancel(v->clock, &v->work);
}

/*
 * The virtio disk's transport: Virtual I/O Device (VIRTIO) 1.0, "Virtio Over PCI Bus", without its legacy interface; PCI Local Bus Specification 3.0,
 * "Configuration Space". Interrupts are INTA#: there is no MSI-X.
 */
#include "devices/virtio_blk.h"

#include "guest/vm.h"

/* "Virtio Structure PCI Capabilities": where in the BAR's page the structures are. */
enum { COMMON = 0x000, COMMON_END = 0x038, ISR = 0x100, DEVICE = 0x200, DEVICE_END = 0x218, NOTIFY = 0x300 };
enum { COMMON_CFG = 1, NOTIFY_CFG, ISR_CFG, DEVICE_CFG, PCI_CFG };
#define CAPABILITY(type, length, next) (0x09 | (next) << 8 | (length) << 16 | (uint32_t)(type) << 24)

/* Offsets in configuration space. */
enum { ID, COMMAND = 0x04, CLASS = 0x08, BAR0 = 0x10, SUBSYSTEM = 0x2c, CAPABILITIES = 0x34, INTERRUPT = 0x3c };
enum { CAP_COMMON = 0x40, CAP_ISR = 0x50, CAP_DEVICE = 0x60, CAP_NOTIFY = 0x70, CAP_PCI = 0x84, CAP_END = 0x98 };
enum { WINDOW_OFFSET = CAP_PCI + 8, WINDOW_LENGTH = CAP_PCI + 12, WINDOW_DATA = CAP_PCI + 16 };
enum { COMMAND_MEMORY = 1 << 1, COMMAND_INTX_DISABLE = 1 << 10, COMMAND_KEPT = 0x0406 /* and bus master */ };
enum { STATUS_INTERRUPT = 1 << 19, STATUS_CAPABILITIES = 1 << 20 };

static const uint32_t capabilities[(CAP_END - CAP_COMMON) / 4] = {
	CAPABILITY(COMMON_CFG, 16, CAP_ISR), 0, COMMON, COMMON_END - COMMON,
	CAPABILITY(ISR_CFG, 16, CAP_DEVICE), 0, ISR, 1,
	CAPABILITY(DEVICE_CFG, 16, CAP_NOTIFY), 0, DEVICE, DEVICE_END - DEVICE,
	CAPABILITY(NOTIFY_CFG, 20, CAP_PCI), 0, NOTIFY, 2, 0, /* one queue, notify_off_multiplier 0 */
	CAPABILITY(PCI_CFG, 20, 0),
};

static void update_line(struct vm *vm)
{
	const struct virtio_blk *blk = &vm->devices.virtio_blk;

	irq_set(vm, VIRTIO_LINE, blk->isr && !(blk->command & COMMAND_INTX_DISABLE));
}

void virtio_interrupt(struct vm *vm, uint8_t isr)
{
	vm->devices.virtio_blk.isr |= isr;
	update_line(vm);
}

/* After power-on, INTA#'s line has a level, as firmware of PCs has it. */
void virtio_blk_reset(struct vm *vm)
{
	vm->devices.virtio_blk = (struct virtio_blk){.bar = VIRTIO_BAR, .interrupt_line = VIRTIO_LINE, .queue.size = VIRTQUEUE_MOST, .due = NEVER};
	if (vm->disk)
		vm->devices.pic[VIRTIO_LINE >> 3].elcr = 1 << (VIRTIO_LINE & 7);
}

/* "Device Reset": all but what PCI has; and no less rest. */
void virtio_device_reset(struct vm *vm)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;

	*blk = (struct virtio_blk){
		.command = blk->command, .interrupt_line = blk->interrupt_line, .bar = blk->bar, .window_offset = blk->window_offset,
		.window_length = blk->window_length, .queue.size = VIRTQUEUE_MOST, .due = NEVER, .rest_ns = blk->rest_ns,
	};
	update_line(vm);
}

static bool window_ok(const struct virtio_blk *blk)
{
	uint32_t size = blk->window_length;

	return (size == 1 || size == 2 || size == 4) && blk->window_offset % size == 0 && blk->window_offset < PAGE;
}

uint32_t virtio_config_read(struct vm *vm, unsigned offset)
{
	const struct virtio_blk *blk = &vm->devices.virtio_blk;

	switch (offset) {
	case ID:
		return 0x10421af4;
	case COMMAND:
		return blk->command | STATUS_CAPABILITIES | (blk->isr ? STATUS_INTERRUPT : 0);
	case CLASS: /* mass storage; revision 1: not transitional */
		return 0x01000001;
	case BAR0:
		return blk->bar;
	case SUBSYSTEM:
		return 0x10421af4;
	case CAPABILITIES:
		return CAP_COMMON;
	case INTERRUPT: /* INTA# */
		return blk->interrupt_line | 1 << 8;
	case WINDOW_OFFSET:
		return blk->window_offset;
	case WINDOW_LENGTH:
		return blk->window_length;
	case WINDOW_DATA:
		return window_ok(blk) ? (uint32_t)virtio_read(vm, blk->window_offset, blk->window_length) : 0;
	}
	return offset >= CAP_COMMON && offset < CAP_END ? capabilities[(offset - CAP_COMMON) / 4] : 0;
}

static void merge(uint32_t *to, uint32_t value, uint32_t mask)
{
	*to = (*to & ~mask) | (value & mask);
}

void virtio_config_write(struct vm *vm, unsigned offset, uint32_t value, uint32_t mask)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;

	switch (offset) {
	case COMMAND:
		mask &= COMMAND_KEPT;
		blk->command = (uint16_t)((blk->command & ~mask) | (value & mask));
		update_line(vm);
		break;
	case BAR0:
		merge(&blk->bar, value, mask & ~(uint32_t)(PAGE - 1));
		break;
	case INTERRUPT:
		if (mask & 0xff)
			blk->interrupt_line = (uint8_t)value;
		break;
	case WINDOW_OFFSET:
		merge(&blk->window_offset, value, mask);
		break;
	case WINDOW_LENGTH:
		merge(&blk->window_length, value, mask);
		break;
	case WINDOW_DATA:
		if (window_ok(blk))
			virtio_write(vm, blk->window_offset, blk->window_length, value);
		break;
	}
}

bool virtio_has(const struct vm *vm, gpa_t gpa)
{
	const struct virtio_blk *blk = &vm->devices.virtio_blk;

	return vm->disk && (blk->command & COMMAND_MEMORY) && (gpa & ~(PAGE - 1)) == blk->bar;
}

/* Reading acknowledges. */
static uint8_t read_isr(struct vm *vm)
{
	uint8_t isr = vm->devices.virtio_blk.isr;

	vm->devices.virtio_blk.isr = 0;
	update_line(vm);
	return isr;
}

/* "Common configuration structure layout". Its 64-bit members are written in halves. */
enum {
	DEVICE_FEATURE_SELECT = 0, DEVICE_FEATURE = 4, DRIVER_FEATURE_SELECT = 8, DRIVER_FEATURE = 12, MSIX_CONFIG = 16, NUM_QUEUES = 18,
	DEVICE_STATUS = 20, CONFIG_GENERATION = 21, QUEUE_SELECT = 22, QUEUE_SIZE = 24, QUEUE_MSIX_VECTOR = 26, QUEUE_ENABLE = 28,
	QUEUE_NOTIFY_OFF = 30, QUEUE_DESC = 32, QUEUE_DRIVER = 40, QUEUE_DEVICE = 48
};
enum { NO_VECTOR = 0xffff };

static gpa_t *queue_address(struct virtio_blk *blk, unsigned offset)
{
	switch (offset & ~7u) {
	case QUEUE_DESC:
		return &blk->queue.descriptors;
	case QUEUE_DRIVER:
		return &blk->queue.available;
	default:
		return &blk->queue.used;
	}
}

static uint64_t read_common(struct virtio_blk *blk, unsigned offset)
{
	switch (offset) {
	case DEVICE_FEATURE_SELECT:
		return blk->device_feature_select;
	case DEVICE_FEATURE:
		return blk->device_feature_select < 2 ? (uint32_t)(VIRTIO_BLK_FEATURES >> blk->device_feature_select * 32) : 0;
	case DRIVER_FEATURE_SELECT:
		return blk->driver_feature_select;
	case DRIVER_FEATURE:
		return blk->driver_feature_select < 2 ? (uint32_t)(blk->driver_features >> blk->driver_feature_select * 32) : 0;
	case MSIX_CONFIG:
	case QUEUE_MSIX_VECTOR:
		return NO_VECTOR;
	case NUM_QUEUES:
		return 1;
	case DEVICE_STATUS:
		return blk->status;
	case QUEUE_SELECT:
		return blk->queue_select;
	}
	if (blk->queue_select != 0) /* there is none: its size is 0 */
		return 0;
	switch (offset) {
	case QUEUE_SIZE:
		return blk->queue.size;
	case QUEUE_ENABLE:
		return blk->queue.enabled;
	}
	return offset >= QUEUE_DESC ? *queue_address(blk, offset) >> (offset & 4) * 8 : 0;
}

/* "Driver Requirements: Device Initialization": a driver that takes other features than are offered, or not version 1, finds FEATURES_OK clear. */
static void write_status(struct vm *vm, uint8_t status)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;
	bool features_ok = !(blk->driver_features & ~VIRTIO_BLK_FEATURES) && (blk->driver_features & VIRTIO_F_VERSION_1);

	if (status == 0) {
		virtio_device_reset(vm);
		return;
	}
	if (!(blk->status & STATUS_FEATURES_OK) && !features_ok)
		status &= ~STATUS_FEATURES_OK;
	blk->status = status | (blk->status & STATUS_NEEDS_RESET);
}

/* Where a queue lies is settled when it is enabled. */
static void write_queue(struct virtio_blk *blk, unsigned offset, unsigned size, uint64_t value)
{
	if (blk->queue_select != 0 || blk->queue.enabled)
		return;
	if (offset == QUEUE_SIZE && value && value <= VIRTQUEUE_MOST && !(value & (value - 1)))
		blk->queue.size = (uint16_t)value;
	else if (offset == QUEUE_ENABLE && value == 1)
		blk->queue.enabled = true;
	else if (offset >= QUEUE_DESC && size == 8)
		*queue_address(blk, offset) = value;
	else if (offset >= QUEUE_DESC && offset & 4)
		*queue_address(blk, offset) = (*queue_address(blk, offset) & UINT32_MAX) | value << 32;
	else if (offset >= QUEUE_DESC)
		*queue_address(blk, offset) = (*queue_address(blk, offset) & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
}

static void write_common(struct vm *vm, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;
	unsigned shift = (blk->driver_feature_select & 1) * 32;

	switch (offset) {
	case DEVICE_FEATURE_SELECT:
		blk->device_feature_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE_SELECT:
		blk->driver_feature_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE:
		if (blk->driver_feature_select < 2 && !(blk->status & STATUS_FEATURES_OK))
			blk->driver_features = (blk->driver_features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)(uint32_t)value << shift;
		break;
	case DEVICE_STATUS:
		write_status(vm, (uint8_t)value);
		break;
	case QUEUE_SELECT:
		blk->queue_select = (uint16_t)value;
		break;
	default:
		write_queue(blk, offset, size, value);
	}
}

uint64_t virtio_read(struct vm *vm, unsigned offset, unsigned size)
{
	unsigned doubleword = (offset - DEVICE) & ~3u;

	if (offset % size)
		return 0;
	if (offset < COMMON_END)
		return read_common(&vm->devices.virtio_blk, offset);
	if (offset == ISR)
		return read_isr(vm);
	if (offset >= DEVICE && offset < DEVICE_END)
		return (virtio_blk_config(vm, doubleword) | (uint64_t)virtio_blk_config(vm, doubleword + 4) << 32) >> (offset & 3) * 8;
	return 0;
}

void virtio_write(struct vm *vm, unsigned offset, unsigned size, uint64_t value)
{
	struct virtio_blk *blk = &vm->devices.virtio_blk;

	if (offset % size)
		return;
	if (offset < COMMON_END)
		write_common(vm, offset, size, value);
	else if (offset == NOTIFY && blk->queue.enabled && (blk->status & STATUS_DRIVER_OK) && !(blk->status & STATUS_NEEDS_RESET))
		blk->due = min_u64(blk->due, max_u64(vm_time(vm), blk->rest_ns));
}

/*
 * pc-testdev, as kvm-unit-tests use it: bytes to write and read back by ports and memory, and interrupt lines to pull.
 *
 * The flush port makes an emulator of nested paging forget a page's mapping and find it again. Nothing is remembered
 * about RAM here that a guest could outdate, so the port only takes its value.
 */
#include "testdev/testdev.h"

#include "base/bits.h"
#include <stdlib.h>
#include <string.h>

enum { IOPORT = 0xe0, FLUSH = 0xe4, IOPORT_BYTE = 0xe8, IRQ_LINES = 0x2000, LINES = 24, MEMORY_SIZE = 0x10000 };
#define MEMORY UINT64_C(0xff000000)

struct pc_testdev {
	struct irq irq[LINES];
	uint8_t ioport[4]; /* E0H and E8H show the same */
	uint8_t memory[MEMORY_SIZE];
};

static uint64_t ioport_read(void *device, uint64_t offset, unsigned size)
{
	struct pc_testdev *d = device;

	return load_le(d->ioport + offset, (unsigned)min_u64(size, 4 - offset));
}

static void ioport_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_testdev *d = device;

	store_le(d->ioport + offset, (unsigned)min_u64(size, 4 - offset), value);
}

static uint64_t flush_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void flush_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static void lines_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_testdev *d = device;

	irq_set(&d->irq[offset], value != 0);
}

static uint64_t memory_read(void *device, uint64_t offset, unsigned size)
{
	struct pc_testdev *d = device;

	return load_le(d->memory + offset, size);
}

static void memory_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_testdev *d = device;

	store_le(d->memory + offset, size, value);
}

static const struct device_ops ioport_ops = {.read = ioport_read, .write = ioport_write};
static const struct device_ops ioport_byte_ops = {.read = ioport_read, .write = ioport_write, .max_size = 1};
static const struct device_ops flush_ops = {.read = flush_read, .write = flush_write};
/* One access pulls one line, whatever its width. */
static const struct device_ops lines_ops = {.read = flush_read, .write = lines_write};
static const struct device_ops memory_ops = {.read = memory_read, .write = memory_write};

struct pc_testdev *pc_testdev_create(struct bus *bus, const struct irq irq[LINES])
{
	struct pc_testdev *d = xcalloc(1, sizeof(*d));

	memcpy(d->irq, irq, sizeof(d->irq));
	bus_add_ports(bus, "pc-testdev", IOPORT, 4, &ioport_ops, d);
	bus_add_ports(bus, "pc-testdev", FLUSH, 4, &flush_ops, d);
	bus_add_ports(bus, "pc-testdev", IOPORT_BYTE, 4, &ioport_byte_ops, d);
	bus_add_ports(bus, "pc-testdev", IRQ_LINES, LINES, &lines_ops, d);
	bus_add_device(bus, "pc-testdev", MEMORY, MEMORY_SIZE, &memory_ops, d, 10);
	return d;
}

void pc_testdev_destroy(struct pc_testdev *d)
{
	free(d);
}

void pc_testdev_state(struct pc_testdev *d, struct state *state)
{
	state_section(state, "pc-testdev");
	state_bytes(state, d->ioport, sizeof(d->ioport));
	state_bytes(state, d->memory, sizeof(d->memory));
}

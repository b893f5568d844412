/*
 * isa-debug-exit: the guest ends the run and says how. As QEMU has it: the status is the value times two plus one.
 */
#include "testdev/testdev.h"

#include <stdlib.h>

struct debug_exit {
	void (*exit)(void *ctx, unsigned status);
	void *ctx;
};

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct debug_exit *d = device;

	d->exit(d->ctx, (unsigned)value << 1 | 1);
}

static const struct device_ops ops = {.read = port_read, .write = port_write};

struct debug_exit *debug_exit_create(struct bus *bus, uint16_t iobase, unsigned iosize,
				     void (*exit)(void *ctx, unsigned status), void *ctx)
{
	struct debug_exit *d = xcalloc(1, sizeof(*d));

	d->exit = exit;
	d->ctx = ctx;
	bus_add_ports(bus, "isa-debug-exit", iobase, iosize, &ops, d);
	return d;
}

void debug_exit_destroy(struct debug_exit *d)
{
	free(d);
}

/*
 * Debug consoles at 402H (SeaBIOS, OVMF) and E9H (Bochs), and Bochs' shutdown port 8900H.
 */
#include "console/debug_ports.h"

#include <stdlib.h>

struct debugcon {
	struct chardev *chardev;
	uint8_t readback;
};

static uint64_t debugcon_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct debugcon *)device)->readback;
}

static void debugcon_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	uint8_t byte = (uint8_t)value;

	chardev_write(((struct debugcon *)device)->chardev, &byte, 1);
}

static const struct device_ops debugcon_ops = {.read = debugcon_read, .write = debugcon_write, .max_size = 1};

struct debugcon *debugcon_create(struct bus *bus, uint16_t port, uint8_t readback, struct chardev *chardev)
{
	struct debugcon *d = xcalloc(1, sizeof(*d));

	d->chardev = chardev;
	d->readback = readback;
	bus_add_ports(bus, "isa-debugcon", port, 1, &debugcon_ops, d);
	return d;
}

void debugcon_destroy(struct debugcon *d)
{
	free(d);
}

static const char word[] = "Shutdown";

struct shutdown_port {
	void (*shutdown)(void *ctx);
	void *ctx;
	uint8_t matched; /* characters of the word so far */
};

static uint64_t shutdown_read(void *device, uint64_t offset, unsigned size)
{
	return 0xff;
}

static void shutdown_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct shutdown_port *p = device;

	if ((char)value == word[p->matched])
		p->matched++;
	else
		p->matched = (char)value == word[0];
	if (p->matched == sizeof(word) - 1) {
		p->matched = 0;
		p->shutdown(p->ctx);
	}
}

static const struct device_ops shutdown_ops = {.read = shutdown_read, .write = shutdown_write, .max_size = 1};

struct shutdown_port *shutdown_port_create(struct bus *bus, void (*shutdown)(void *ctx), void *ctx)
{
	struct shutdown_port *p = xcalloc(1, sizeof(*p));

	p->shutdown = shutdown;
	p->ctx = ctx;
	bus_add_ports(bus, "bochs-shutdown", 0x8900, 1, &shutdown_ops, p);
	return p;
}

void shutdown_port_destroy(struct shutdown_port *p)
{
	free(p);
}

void shutdown_port_reset(struct shutdown_port *p)
{
	p->matched = 0;
}

void shutdown_port_state(struct shutdown_port *p, struct state *state)
{
	state_section(state, "bochs-shutdown");
	state_var(state, p->matched);
	if (state_restoring(state) && p->matched >= sizeof(word) - 1)
		state_refuse(state, "more of \"Shutdown\" than there is");
}

/*
 * Ports for guests under development: debug consoles (one byte out at a time) and the shutdown port of Bochs.
 */
#pragma once

#include "bus/bus.h"
#include "console/chardev.h"

struct debugcon;

/* Writes go to chardev (not owned); a read gives `readback`: E9H says that somebody listens. */
struct debugcon *debugcon_create(struct bus *bus, uint16_t port, uint8_t readback, struct chardev *chardev);
void debugcon_destroy(struct debugcon *debugcon);

struct shutdown_port;

/* Port 8900H: the characters "Shutdown" in a row call the hook. */
struct shutdown_port *shutdown_port_create(struct bus *bus, void (*shutdown)(void *ctx), void *ctx);
void shutdown_port_destroy(struct shutdown_port *port);
void shutdown_port_reset(struct shutdown_port *port);
void shutdown_port_state(struct shutdown_port *port, struct state *state);

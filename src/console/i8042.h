/*
 * The keyboard controller (i8042) with a PS/2 keyboard and mouse. "IBM Personal System/2 Hardware Interface Technical
 * Reference", "Keyboard/Auxiliary Device Controller", "Keyboards (101- and 102-Key)", "PS/2 Mouse".
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"
#include "clock/clock.h"

struct i8042;

struct i8042_hooks {
	void (*a20)(void *ctx, bool enabled); /* may be NULL */
	void (*reset)(void *ctx);
	void *ctx;
};

/* Ports 60H and 64H; IRQ 1 and 12. */
struct i8042 *i8042_create(struct bus *bus, struct clock *clock, const struct irq *keyboard, const struct irq *mouse,
			   const struct i8042_hooks *hooks);
void i8042_destroy(struct i8042 *i8042);
void i8042_reset(struct i8042 *i8042);
void i8042_state(struct i8042 *i8042, struct state *state);

/* A20 may also be changed by port 92H: the chipset tells, and asks. */
void i8042_set_a20(struct i8042 *i8042, bool enabled);

/* A key by the name that `sendkey` takes ("a", "ret", "ctrl", "kp_enter"): pressed or released. False: unknown name. */
bool i8042_key(struct i8042 *i8042, const char *name, bool pressed);
/* Relative motion, wheel, and buttons (bit 0 left, 1 right, 2 middle). y grows upwards. */
void i8042_mouse(struct i8042 *i8042, int dx, int dy, int dz, unsigned buttons);

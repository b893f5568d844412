/*
 * The keyboard controller, a PS/2 keyboard and a PS/2 mouse. "IBM PS/2 Hardware Interface Technical Reference":
 * "Keyboard/Auxiliary Device Controller" for ports 60H and 64H, "Keyboards (101- and 102-Key)" and "Mouse" for the
 * devices.
 *
 * A byte of a device reaches the output buffer about as fast as over the wire, one at a time, so that a driver gets an
 * interrupt for each. Not modelled: the password, the test inputs, multiplexed mouse ports.
 */
#include "console/i8042.h"

#include "base/bits.h"
#include <stdlib.h>
#include <string.h>

enum { ST_OBF = 0x01, ST_SYS = 0x04, ST_CMD = 0x08, ST_UNLOCKED = 0x10, ST_AUX = 0x20 };
enum {
	CCB_KBD_INT = 0x01,
	CCB_AUX_INT = 0x02,
	CCB_SYS = 0x04,
	CCB_KBD_OFF = 0x10,
	CCB_AUX_OFF = 0x20,
	CCB_TRANSLATE = 0x40
};
enum { OUT_NO_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_IRQ = 0x10, OUT_AUX_IRQ = 0x20, OUT_IDLE = 0xc0 };
enum { ACK = 0xfa, RESEND = 0xfe, BAT_OK = 0xaa, ECHO = 0xee, BREAK = 0xf0, EXTENDED = 0xe0 };
enum { QUEUE = 64, BYTE_NS = 100000, RAM = 32, KEYBOARD = 0, MOUSE = 1 };

struct queue {
	uint8_t bytes[QUEUE];
	uint8_t head, size;
};

struct keyboard {
	struct queue queue;
	uint8_t command; /* waits for its parameter; 0: none */
	uint8_t set;
	uint8_t leds, typematic;
	bool scanning;
};

struct mouse {
	struct queue queue;
	uint8_t command;
	uint8_t resolution, rate, rates[3]; /* the last three: the knock for the wheel */
	bool reporting, remote, scaling, wrap, wheel;
	uint8_t buttons;
	int32_t dx, dy, dz; /* not reported yet */
};

struct i8042 {
	struct clock *clock;
	struct irq irq[2];
	struct i8042_hooks hooks;
	struct deadline deadline;
	uint8_t status, ccb, out, data; /* output port, output buffer */
	uint8_t command;		/* waits for its data byte at 60H; 0: none */
	uint8_t ram[RAM];
	struct keyboard keyboard;
	struct mouse mouse;
};

struct key {
	const char *name;
	uint8_t set1, set2, set3;
	bool extended;
};

static const struct key keys[] = {
#define KEY(name, set1, set2, set3, extended) {name, set1, set2, set3, extended},
#include "console/keys.def"
#undef KEY
};

/* Set 2 to set 1, as the controller translates: codes without a key pass unchanged. */
static uint8_t translate(uint8_t code)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (keys[i].set2 == code)
			return keys[i].set1;
	}
	return code == 0x84 ? 0x54 : code;
}

static bool put(struct queue *q, uint8_t byte)
{
	if (q->size == QUEUE)
		return false;
	q->bytes[(q->head + q->size++) % QUEUE] = byte;
	return true;
}

static uint8_t get(struct queue *q)
{
	uint8_t byte = q->bytes[q->head];

	q->head = (q->head + 1) % QUEUE;
	q->size--;
	return byte;
}

static void update_irq(struct i8042 *k)
{
	bool full = k->status & ST_OBF, aux = k->status & ST_AUX;
	bool irq1 = full && !aux && (k->ccb & CCB_KBD_INT), irq12 = full && aux && (k->ccb & CCB_AUX_INT);

	k->out = (uint8_t)((k->out & ~(OUT_KBD_IRQ | OUT_AUX_IRQ)) | (irq1 ? OUT_KBD_IRQ : 0) |
			   (irq12 ? OUT_AUX_IRQ : 0));
	irq_set(&k->irq[KEYBOARD], irq1);
	irq_set(&k->irq[MOUSE], irq12);
}

static void fill(struct i8042 *k, uint8_t byte, bool aux)
{
	k->data = byte;
	k->status = (uint8_t)((k->status & ~ST_AUX) | ST_OBF | (aux ? ST_AUX : 0));
	update_irq(k);
}

/* The controller's own answers skip the wire. */
static void answer(struct i8042 *k, uint8_t byte)
{
	fill(k, byte, false);
}

static void schedule(struct i8042 *k)
{
	if (k->deadline.at == VTIME_NEVER && (k->keyboard.queue.size || k->mouse.queue.size))
		clock_arm(k->clock, &k->deadline, clock_now(k->clock) + BYTE_NS);
}

/*
 * Translation turns "F0, code" into the code with bit 7 set, so the break code is one byte. Answers are translated like
 * scan codes: the identity AB 83 arrives as AB 41, which drivers know.
 */
static bool next_keyboard(struct i8042 *k, uint8_t *byte)
{
	struct queue *q = &k->keyboard.queue;
	bool released = false;

	if (!q->size)
		return false;
	*byte = get(q);
	if (!(k->ccb & CCB_TRANSLATE))
		return true;
	if (*byte == BREAK && q->size) {
		released = true;
		*byte = get(q);
	}
	*byte = (uint8_t)(translate(*byte) | (released ? 0x80 : 0));
	return true;
}

static void deliver(void *owner)
{
	struct i8042 *k = owner;
	uint8_t byte;

	if (k->status & ST_OBF)
		return;
	if (!(k->ccb & CCB_KBD_OFF) && next_keyboard(k, &byte))
		fill(k, byte, false);
	else if (!(k->ccb & CCB_AUX_OFF) && k->mouse.queue.size)
		fill(k, get(&k->mouse.queue), true);
}

static void reset_keyboard(struct keyboard *kb)
{
	memset(kb, 0, sizeof(*kb));
	kb->set = 2;
	kb->typematic = 0x2b;
	kb->scanning = true;
}

static void keyboard_parameter(struct keyboard *kb, uint8_t value)
{
	uint8_t command = kb->command;

	kb->command = 0;
	switch (command) {
	case 0xed: kb->leds = value & 7; break;
	case 0xf3: kb->typematic = value; break;
	case 0xf0:
		if (value == 0) {
			put(&kb->queue, ACK);
			put(&kb->queue, kb->set);
			return;
		}
		if (value > 3) {
			put(&kb->queue, RESEND);
			return;
		}
		kb->set = value;
		break;
	default: break; /* key type of one key of set 3 */
	}
	put(&kb->queue, ACK);
}

static void keyboard_write(struct keyboard *kb, uint8_t value)
{
	if (kb->command && value < 0xed) {
		keyboard_parameter(kb, value);
		return;
	}
	kb->command = 0;
	switch (value) {
	case 0xed: /* LEDs, scan code set, typematic rate, one key's type: a parameter follows */
	case 0xf0:
	case 0xf3:
	case 0xfb:
	case 0xfc:
	case 0xfd:
		kb->command = value;
		put(&kb->queue, ACK);
		break;
	case 0xee: put(&kb->queue, ECHO); break;
	case 0xf2:
		put(&kb->queue, ACK);
		put(&kb->queue, 0xab);
		put(&kb->queue, 0x83);
		break;
	case 0xf4:
		kb->queue.size = 0;
		kb->scanning = true;
		put(&kb->queue, ACK);
		break;
	case 0xf5:
	case 0xf6:
		reset_keyboard(kb);
		kb->scanning = value == 0xf6;
		put(&kb->queue, ACK);
		break;
	case 0xf7: /* all keys' types, in set 3 only: accepted, all keys make, break and repeat anyway */
	case 0xf8:
	case 0xf9:
	case 0xfa: put(&kb->queue, ACK); break;
	case 0xff:
		reset_keyboard(kb);
		put(&kb->queue, ACK);
		put(&kb->queue, BAT_OK);
		break;
	default: put(&kb->queue, RESEND); break;
	}
}

static void reset_mouse(struct mouse *m)
{
	memset(m, 0, sizeof(*m));
	m->resolution = 2;
	m->rate = 100;
}

static int clamp(int value)
{
	return value < -255 ? -255 : value > 255 ? 255 : value;
}

/* One movement packet: what has gathered, as far as nine bits hold it. "Data Report". */
static void report(struct mouse *m)
{
	int dx = clamp(m->dx), dy = clamp(m->dy), dz = m->dz < -8 ? -8 : m->dz > 7 ? 7 : m->dz;

	if (m->queue.size > QUEUE - 4)
		return;
	put(&m->queue, (uint8_t)(0x08 | (dy < 0 ? 0x20 : 0) | (dx < 0 ? 0x10 : 0) | (m->buttons & 7)));
	put(&m->queue, (uint8_t)dx);
	put(&m->queue, (uint8_t)dy);
	if (m->wheel)
		put(&m->queue, (uint8_t)dz);
	m->dx -= dx;
	m->dy -= dy;
	m->dz -= m->wheel ? dz : m->dz;
}

static void mouse_parameter(struct mouse *m, uint8_t value)
{
	static const uint8_t knock[3] = {200, 100, 80};

	if (m->command == 0xe8)
		m->resolution = value & 3;
	if (m->command == 0xf3) {
		memmove(m->rates, m->rates + 1, 2);
		m->rates[2] = m->rate = value;
		/* Three sample rates in a row switch the wheel on: the mouse then says that its type is 3. */
		if (!memcmp(m->rates, knock, 3))
			m->wheel = true;
	}
	m->command = 0;
	put(&m->queue, ACK);
}

static void mouse_write(struct mouse *m, uint8_t value)
{
	if (m->command) {
		mouse_parameter(m, value);
		return;
	}
	if (m->wrap && value != 0xff && value != 0xec) {
		put(&m->queue, value);
		return;
	}
	if (value != 0xe9 && value != 0xeb && value != 0xf2)
		m->queue.size = 0; /* a command ends what was being sent */
	put(&m->queue, ACK);
	switch (value) {
	case 0xe6: m->scaling = false; break;
	case 0xe7: m->scaling = true; break;
	case 0xe8:
	case 0xf3: m->command = value; break;
	case 0xe9:
		put(&m->queue, (uint8_t)(m->remote << 6 | m->reporting << 5 | m->scaling << 4 | (m->buttons & 1) << 2 |
					 (m->buttons & 4) >> 1 | (m->buttons & 2) >> 1));
		put(&m->queue, m->resolution);
		put(&m->queue, m->rate);
		break;
	case 0xea: m->remote = false; break;
	case 0xeb: report(m); break;
	case 0xec: m->wrap = false; break;
	case 0xee: m->wrap = true; break;
	case 0xf0: m->remote = true; break;
	case 0xf2: put(&m->queue, m->wheel ? 3 : 0); break;
	case 0xf4: m->reporting = true; break;
	case 0xf5: m->reporting = false; break;
	case 0xf6: {
		bool wheel = m->wheel;

		reset_mouse(m);
		m->wheel = wheel;
		put(&m->queue, ACK);
		break;
	}
	case 0xff:
		reset_mouse(m);
		put(&m->queue, ACK);
		put(&m->queue, BAT_OK);
		put(&m->queue, 0);
		break;
	default:
		m->queue.size = 0;
		put(&m->queue, RESEND);
		break;
	}
}

/* "Output Port Definitions": bit 0 low resets the system, bit 1 is A20. */
static void write_out(struct i8042 *k, uint8_t value)
{
	bool a20 = value & OUT_A20, was = k->out & OUT_A20;

	k->out = (uint8_t)((value & ~(OUT_KBD_IRQ | OUT_AUX_IRQ)) | (k->out & (OUT_KBD_IRQ | OUT_AUX_IRQ)));
	if (a20 != was && k->hooks.a20)
		k->hooks.a20(k->hooks.ctx, a20);
	if (!(value & OUT_NO_RESET) && k->hooks.reset)
		k->hooks.reset(k->hooks.ctx);
}

static void write_ccb(struct i8042 *k, uint8_t value)
{
	k->ccb = value;
	k->status = (uint8_t)((k->status & ~ST_SYS) | (value & CCB_SYS ? ST_SYS : 0));
	update_irq(k);
	schedule(k);
}

/* "Keyboard/Auxiliary Device Controller Commands" at port 64H. */
static void write_command(struct i8042 *k, uint8_t value)
{
	k->status |= ST_CMD;
	k->command = 0;
	switch (value) {
	case 0x20: answer(k, k->ccb); break;
	case 0x60: /* commands with a data byte */
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4: k->command = value; break;
	case 0xa7: write_ccb(k, k->ccb | CCB_AUX_OFF); break;
	case 0xa8: write_ccb(k, k->ccb & (uint8_t)~CCB_AUX_OFF); break;
	case 0xa9:
	case 0xab: answer(k, 0x00); break; /* interface tests: no error */
	case 0xaa:
		k->status |= ST_SYS;
		answer(k, 0x55);
		break;
	case 0xad: write_ccb(k, k->ccb | CCB_KBD_OFF); break;
	case 0xae: write_ccb(k, k->ccb & (uint8_t)~CCB_KBD_OFF); break;
	case 0xc0: answer(k, 0x80); break; /* input port: keyboard not locked */
	case 0xd0:
		answer(k, (uint8_t)(k->out | (k->status & ST_OBF && !(k->status & ST_AUX) ? OUT_KBD_IRQ : 0)));
		break;
	case 0xdd: write_out(k, k->out & (uint8_t)~OUT_A20); break;
	case 0xdf: write_out(k, k->out | OUT_A20); break;
	default:
		if (value > 0x20 && value < 0x40)
			answer(k, k->ram[value & 31]);
		else if (value > 0x60 && value < 0x80)
			k->command = value;
		else if (value >= 0xf0 && !(value & 1) && k->hooks.reset)
			k->hooks.reset(k->hooks.ctx); /* pulse output port lines: bit 0 is the reset line */
		break;
	}
}

static void write_data(struct i8042 *k, uint8_t value)
{
	uint8_t command = k->command;

	k->status &= (uint8_t)~ST_CMD;
	k->command = 0;
	switch (command) {
	case 0x60: write_ccb(k, value); break;
	case 0xd1: write_out(k, value); break;
	case 0xd2: fill(k, value, false); break;
	case 0xd3: fill(k, value, true); break;
	case 0xd4:
		mouse_write(&k->mouse, value);
		write_ccb(k, k->ccb & (uint8_t)~CCB_AUX_OFF);
		break;
	default:
		if (command > 0x60 && command < 0x80) {
			k->ram[command & 31] = value;
		} else {
			/* Writing to the keyboard enables its interface. */
			keyboard_write(&k->keyboard, value);
			write_ccb(k, k->ccb & (uint8_t)~CCB_KBD_OFF);
		}
	}
	schedule(k);
}

static uint64_t data_read(void *device, uint64_t offset, unsigned size)
{
	struct i8042 *k = device;

	k->status &= (uint8_t) ~(ST_OBF | ST_AUX);
	update_irq(k);
	schedule(k);
	return k->data;
}

static void data_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	write_data(device, (uint8_t)value);
}

static uint64_t status_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct i8042 *)device)->status;
}

static void command_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	write_command(device, (uint8_t)value);
}

static const struct device_ops data_ops = {.read = data_read, .write = data_port_write, .max_size = 1};
static const struct device_ops command_ops = {.read = status_read, .write = command_port_write, .max_size = 1};

void i8042_reset(struct i8042 *k)
{
	clock_cancel(k->clock, &k->deadline);
	k->status = ST_CMD | ST_UNLOCKED;
	k->ccb = CCB_KBD_INT | CCB_AUX_INT | CCB_TRANSLATE;
	k->out = OUT_NO_RESET | OUT_A20 | OUT_IDLE;
	k->data = k->command = 0;
	memset(k->ram, 0, sizeof(k->ram));
	reset_keyboard(&k->keyboard);
	reset_mouse(&k->mouse);
	update_irq(k);
}

struct i8042 *i8042_create(struct bus *bus, struct clock *clock, const struct irq *keyboard, const struct irq *mouse,
			   const struct i8042_hooks *hooks)
{
	struct i8042 *k = xcalloc(1, sizeof(*k));

	k->clock = clock;
	k->irq[KEYBOARD] = *keyboard;
	k->irq[MOUSE] = *mouse;
	k->hooks = *hooks;
	deadline_init(&k->deadline, deliver, k);
	bus_add_ports(bus, "i8042-data", 0x60, 1, &data_ops, k);
	bus_add_ports(bus, "i8042-command", 0x64, 1, &command_ops, k);
	i8042_reset(k);
	return k;
}

void i8042_destroy(struct i8042 *k)
{
	if (!k)
		return;
	clock_cancel(k->clock, &k->deadline);
	free(k);
}

void i8042_set_a20(struct i8042 *k, bool enabled)
{
	k->out = (uint8_t)(enabled ? k->out | OUT_A20 : k->out & ~OUT_A20);
}

/* Make and break codes in the selected set. With translation the host programs set 2 and sees set 1. */
static void send_key(struct keyboard *kb, const struct key *key, bool pressed)
{
	struct queue *q = &kb->queue;

	if (q->size > QUEUE - 4)
		return; /* a real keyboard beeps */
	if (key->extended && kb->set != 3)
		put(q, EXTENDED);
	if (kb->set == 1) {
		put(q, (uint8_t)(key->set1 | (pressed ? 0 : 0x80)));
		return;
	}
	if (!pressed)
		put(q, BREAK);
	put(q, kb->set == 3 ? key->set3 : key->set2);
}

bool i8042_key(struct i8042 *k, const char *name, bool pressed)
{
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i].name, name)) {
			if (k->keyboard.scanning)
				send_key(&k->keyboard, &keys[i], pressed);
			schedule(k);
			return true;
		}
	}
	return false;
}

void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, unsigned buttons)
{
	struct mouse *m = &k->mouse;

	m->dx = clamp(m->dx + clamp(dx));
	m->dy = clamp(m->dy + clamp(dy));
	m->dz = clamp(m->dz + clamp(dz));
	m->buttons = buttons & 7;
	if (m->reporting && !m->remote)
		report(m);
	schedule(k);
}

static void queue_state(struct queue *queue, struct state *state)
{
	state_bytes(state, queue->bytes, sizeof(queue->bytes));
	state_var(state, queue->head);
	state_var(state, queue->size);
	if (state_restoring(state) && (queue->head >= QUEUE || queue->size > QUEUE))
		state_refuse(state, "a keyboard queue longer than 64");
}

static void keyboard_state(struct keyboard *keyboard, struct state *state)
{
	queue_state(&keyboard->queue, state);
	state_var(state, keyboard->command);
	state_var(state, keyboard->set);
	state_var(state, keyboard->leds);
	state_var(state, keyboard->typematic);
	state_var(state, keyboard->scanning);
}

static void mouse_state(struct mouse *mouse, struct state *state)
{
	queue_state(&mouse->queue, state);
	state_var(state, mouse->command);
	state_var(state, mouse->resolution);
	state_var(state, mouse->rate);
	state_bytes(state, mouse->rates, sizeof(mouse->rates));
	state_var(state, mouse->reporting);
	state_var(state, mouse->remote);
	state_var(state, mouse->scaling);
	state_var(state, mouse->wrap);
	state_var(state, mouse->wheel);
	state_var(state, mouse->buttons);
	state_var(state, mouse->dx);
	state_var(state, mouse->dy);
	state_var(state, mouse->dz);
	if (state_restoring(state)) {
		mouse->dx = clamp(mouse->dx);
		mouse->dy = clamp(mouse->dy);
		mouse->dz = clamp(mouse->dz);
	}
}

void i8042_state(struct i8042 *k, struct state *state)
{
	state_section(state, "i8042");
	state_var(state, k->status);
	state_var(state, k->ccb);
	state_var(state, k->out);
	state_var(state, k->data);
	state_var(state, k->command);
	state_bytes(state, k->ram, sizeof(k->ram));
	keyboard_state(&k->keyboard, state);
	mouse_state(&k->mouse, state);
	clock_deadline_state(k->clock, &k->deadline, state);
}

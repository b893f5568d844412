/*
 * 8259A pair: requests, masks, priorities, acknowledge.
 *
 * Intel 8259A data sheet, "Programming the 8259A", "Fully Nested Mode" and following. A request is dropped when its
 * line falls before the acknowledge, in edge mode too, as the data sheet says. Not modelled: MCS-80/85 mode (ICW4.uPM
 * is taken as 1), ICW1.LTIM and ICW1.SNGL, which the ICH9 ignores (level mode is ELCR's).
 */
#include "chipset/pic.h"
#include "base/bits.h"

#include <stdlib.h>

struct i8259 {
	uint8_t irr, isr, imr;
	uint8_t lines;	  /* levels of the inputs */
	uint8_t served;	  /* edge mode: acknowledged, and the line has not fallen since */
	uint8_t elcr;	  /* 1: level-sensitive */
	uint8_t vector;	  /* ICW2, bits 7:3 */
	uint8_t lowest;	  /* input with the lowest priority */
	uint8_t expected; /* ICW that the next write to the odd port is: 2 to 4, 0 none */
	bool icw4_follows;
	bool auto_eoi, rotate_on_auto_eoi, fully_nested; /* fully_nested: special fully nested mode */
	bool special_mask, poll, read_isr;
};

struct pic {
	struct i8259 chip[2]; /* master, slave */
	const struct log *log;
	struct irq intr;
};

enum { MASTER, SLAVE };
#define CASCADE 2

static uint8_t elcr_mask(unsigned which)
{
	return which == MASTER ? 0xf8 : 0xde; /* IRQ 0, 1, 2, 8 and 13 are always edge-sensitive */
}

/* Rank 0 is the highest priority. */
static unsigned rank(const struct i8259 *chip, unsigned input)
{
	return (input - chip->lowest - 1) & 7;
}

/* The highest priority among bits; -1 without. */
static int highest(const struct i8259 *chip, uint8_t bits)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned input = (chip->lowest + 1 + i) & 7;

		if (bits >> input & 1)
			return (int)input;
	}
	return -1;
}

/* The request that the chip would deliver now; -1 without. */
static int request(const struct i8259 *chip, unsigned which)
{
	int input = highest(chip, chip->irr & ~chip->imr);
	uint8_t blocking = chip->isr;
	int serving;

	if (input < 0)
		return -1;
	/*
	 * Special mask mode: only the same level in service inhibits. Special fully nested: the slave's level does not
	 * inhibit itself.
	 */
	if (chip->special_mask)
		return blocking >> input & 1 ? highest(chip, chip->irr & ~chip->imr & ~blocking) : input;
	serving = highest(chip, blocking);
	if (serving < 0 || rank(chip, (unsigned)input) < rank(chip, (unsigned)serving))
		return input;
	if (which == MASTER && chip->fully_nested && input == CASCADE && serving == CASCADE)
		return input;
	return -1;
}

static void drive(struct i8259 *chip, unsigned input, bool level)
{
	uint8_t bit = (uint8_t)(1u << input);

	chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
	if (!level) {
		chip->served &= ~bit;
		chip->irr &= ~bit;
	} else if ((chip->elcr & bit) || !(chip->served & bit)) {
		chip->irr |= bit;
	}
}

static void update(struct pic *pic)
{
	drive(&pic->chip[MASTER], CASCADE, request(&pic->chip[SLAVE], SLAVE) >= 0);
	irq_set(&pic->intr, request(&pic->chip[MASTER], MASTER) >= 0);
}

void pic_set(void *owner, unsigned line, bool level)
{
	struct pic *pic = owner;

	if (line >= 16 || line == CASCADE)
		return;
	drive(&pic->chip[line / 8], line % 8, level);
	update(pic);
}

/* First INTA of one chip: its input, or 7 when the request went away. */
static unsigned acknowledge(struct i8259 *chip, unsigned which)
{
	int input = request(chip, which);
	uint8_t bit;

	if (input < 0)
		return 7;
	bit = (uint8_t)(1u << input);
	if (!(chip->elcr & bit)) {
		chip->irr &= ~bit;
		/* The cascade is a level between the chips: the slave may ask again at once. */
		if (!(which == MASTER && input == CASCADE))
			chip->served |= bit;
	}
	if (chip->auto_eoi) {
		if (chip->rotate_on_auto_eoi)
			chip->lowest = (uint8_t)input;
	} else {
		chip->isr |= bit;
	}
	return (unsigned)input;
}

int pic_acknowledge(void *owner)
{
	struct pic *pic = owner;
	bool any = request(&pic->chip[MASTER], MASTER) >= 0;
	unsigned input = acknowledge(&pic->chip[MASTER], MASTER);
	int vector = pic->chip[MASTER].vector | (int)input;

	if (any && input == CASCADE)
		vector = pic->chip[SLAVE].vector | (int)acknowledge(&pic->chip[SLAVE], SLAVE);
	update(pic);
	return vector;
}

static void initialize(struct i8259 *chip, uint8_t icw1)
{
	/* "The following automatically occur" under "Initialization Command Words 1 and 2". */
	chip->served = chip->lines & ~chip->elcr; /* an edge is needed again */
	chip->irr = chip->lines & chip->elcr;
	chip->imr = chip->isr = 0;
	chip->lowest = 7;
	chip->special_mask = chip->read_isr = chip->poll = false;
	chip->auto_eoi = chip->rotate_on_auto_eoi = chip->fully_nested = false;
	chip->icw4_follows = icw1 & 1;
	chip->expected = 2;
}

/* "Operation Command Word 2 (OCW2)": rotate, specific, EOI in bits 7:5. */
static void end_of_interrupt(struct i8259 *chip, uint8_t ocw2)
{
	bool rotate = ocw2 & 0x80, specific = ocw2 & 0x40, eoi = ocw2 & 0x20;
	uint8_t served = chip->special_mask ? chip->isr & ~chip->imr : chip->isr;
	int level = specific ? ocw2 & 7 : highest(chip, served);

	if (eoi) {
		if (level < 0)
			return;
		chip->isr &= ~(1u << level);
		if (rotate)
			chip->lowest = (uint8_t)level;
	} else if (rotate && specific) {
		chip->lowest = (uint8_t)level;
	} else if (!specific) {
		chip->rotate_on_auto_eoi = rotate;
	}
}

static void write_even(struct i8259 *chip, uint8_t value)
{
	if (value & 0x10) {
		initialize(chip, value);
	} else if (value & 0x08) {
		chip->poll = value & 4;
		if (value & 2)
			chip->read_isr = value & 1;
		if (value & 0x40)
			chip->special_mask = value & 0x20;
	} else {
		end_of_interrupt(chip, value);
	}
}

static void write_odd(struct i8259 *chip, uint8_t value)
{
	switch (chip->expected) {
	case 2:
		chip->vector = value & 0xf8;
		chip->expected = 3;
		break;
	case 3: /* which input or which slave: wired */ chip->expected = chip->icw4_follows ? 4 : 0; break;
	case 4:
		chip->auto_eoi = value & 2;
		chip->fully_nested = value & 0x10;
		chip->expected = 0;
		break;
	default: chip->imr = value; break;
	}
}

static uint64_t port_read(struct pic *pic, unsigned which, uint64_t offset)
{
	struct i8259 *chip = &pic->chip[which];
	uint8_t value;

	if (chip->poll) { /* the read is the acknowledge */
		chip->poll = false;
		if (request(chip, which) < 0)
			return 0;
		value = (uint8_t)(0x80 | acknowledge(chip, which));
		update(pic);
		return value;
	}
	if (offset)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static void port_write(struct pic *pic, unsigned which, uint64_t offset, uint64_t value)
{
	if (offset)
		write_odd(&pic->chip[which], (uint8_t)value);
	else
		write_even(&pic->chip[which], (uint8_t)value);
	update(pic);
}

static uint64_t master_read(void *device, uint64_t offset, unsigned size)
{
	return port_read(device, MASTER, offset);
}

static void master_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	port_write(device, MASTER, offset, value);
}

static uint64_t slave_read(void *device, uint64_t offset, unsigned size)
{
	return port_read(device, SLAVE, offset);
}

static void slave_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	port_write(device, SLAVE, offset, value);
}

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
	return ((struct pic *)device)->chip[offset].elcr;
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic *pic = device;
	struct i8259 *chip = &pic->chip[offset];

	chip->elcr = (uint8_t)value & elcr_mask((unsigned)offset);
	chip->irr |= chip->lines & chip->elcr;
	update(pic);
}

void pic_peek(const struct pic *pic, unsigned chip, uint8_t registers[4])
{
	const struct i8259 *which = &pic->chip[chip & 1];

	registers[0] = which->irr;
	registers[1] = which->isr;
	registers[2] = which->imr;
	registers[3] = which->elcr;
}

static const struct device_ops master_ops = {master_read, master_write, 1, 1};
static const struct device_ops slave_ops = {slave_read, slave_write, 1, 1};
static const struct device_ops elcr_ops = {elcr_read, elcr_write, 1, 1};

struct pic *pic_create(struct bus *bus, const struct log *log, const struct irq *intr)
{
	struct pic *pic = xcalloc(1, sizeof(*pic));

	pic->log = log;
	pic->intr = *intr;
	bus_add_ports(bus, "pic-master", 0x20, 2, &master_ops, pic);
	bus_add_ports(bus, "pic-slave", 0xa0, 2, &slave_ops, pic);
	bus_add_ports(bus, "elcr", 0x4d0, 2, &elcr_ops, pic);
	pic_reset(pic);
	return pic;
}

void pic_destroy(struct pic *pic)
{
	free(pic);
}

void pic_reset(struct pic *pic)
{
	for (unsigned i = 0; i < 2; i++) {
		struct i8259 *chip = &pic->chip[i];
		uint8_t lines = chip->lines;

		/* Undefined by the data sheet; all masked, so that nothing arrives before initialization. */
		*chip = (struct i8259){.imr = 0xff, .lowest = 7, .lines = lines, .served = lines};
	}
	update(pic);
}

void pic_state(struct pic *pic, struct state *state)
{
	state_section(state, "pic");
	for (unsigned i = 0; i < 2; i++) {
		struct i8259 *chip = &pic->chip[i];

		state_var(state, chip->irr);
		state_var(state, chip->isr);
		state_var(state, chip->imr);
		state_var(state, chip->lines);
		state_var(state, chip->served);
		state_var(state, chip->elcr);
		state_var(state, chip->vector);
		state_var(state, chip->lowest);
		state_var(state, chip->expected);
		state_bool(state, &chip->icw4_follows);
		state_bool(state, &chip->auto_eoi);
		state_bool(state, &chip->rotate_on_auto_eoi);
		state_bool(state, &chip->fully_nested);
		state_bool(state, &chip->special_mask);
		state_bool(state, &chip->poll);
		state_bool(state, &chip->read_isr);
		chip->lowest &= 7;
	}
}

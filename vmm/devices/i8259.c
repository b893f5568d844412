/*
 * Two 8259A interrupt controllers: Intel 8259A data sheet, whose sections the functions name.
 *
 * Not modelled: ICW3, as the wiring does not change; the 8080 mode of ICW4; LTIM of ICW1, for which PCs have the edge/level control registers.
 */
#include "devices/i8259.h"

#include "guest/vm.h"

enum { MASTER, SLAVE, CASCADE = 2 /* the master's input */ };
enum { ICW1 = 0x10, ICW1_IC4 = 0x01, ICW1_SNGL = 0x02 };
enum { ICW4_AEOI = 0x02, ICW4_SFNM = 0x10 };
enum { OCW2_R = 0x80, OCW2_SL = 0x40, OCW2_EOI = 0x20 };
enum { OCW3 = 0x08, OCW3_ESMM = 0x40, OCW3_SMM = 0x20, OCW3_P = 0x04, OCW3_RR = 0x02, OCW3_RIS = 0x01 };
enum { NONE = -1 };

/* "Fully Nested Mode", "Special Mask Mode", "The Special Fully Nested Mode": the input that INT stands for, or NONE. */
static int request(const struct i8259 *pic)
{
	if (pic->expected || !(pic->irr & ~pic->imr)) /* asked before every VM entry: mostly it is quick */
		return NONE;
	for (unsigned i = 0; i < 8; i++) {
		unsigned input = (pic->first + i) & 7, bit = 1u << input;
		bool in_service = (pic->isr & bit) && !(pic->special_mask && (pic->imr & bit));

		if ((pic->irr & ~pic->imr & bit) && (!in_service || (pic->special_nested && input == CASCADE)))
			return (int)input;
		if (in_service)
			return NONE;
	}
	return NONE;
}

/* "Edge and Level Triggered Modes": in both, a request that is withdrawn before it is acknowledged is gone. */
static void set_input(struct i8259 *pic, unsigned input, bool high)
{
	uint8_t bit = (uint8_t)(1u << input);

	if (high && (!(pic->lines & bit) || (pic->elcr & bit)))
		pic->irr |= bit;
	else if (!high)
		pic->irr &= (uint8_t)~bit;
	pic->lines = (uint8_t)(high ? pic->lines | bit : pic->lines & ~bit);
}

/* After any change: the slave's INT is the master's input, and the master's goes to LINT0 of the local APICs. */
static void update(struct vm *vm)
{
	struct i8259 *pic = vm->devices.pic;

	set_input(&pic[MASTER], CASCADE, request(&pic[SLAVE]) != NONE);
	if (request(&pic[MASTER]) == NONE)
		return;
	for (unsigned i = 0; i < vm->vcpus_count; i++)
		if (lapic_takes_extint(vm->vcpus[i]))
			vcpu_wake(vm->vcpus[i]);
}

void i8259_reset(struct vm *vm)
{
	for (unsigned i = MASTER; i <= SLAVE; i++)
		vm->devices.pic[i] = (struct i8259){.imr = 0xff};
}

void i8259_set(struct vm *vm, unsigned line, bool high)
{
	set_input(&vm->devices.pic[line >> 3 & 1], line & 7, high);
	update(vm);
}

bool i8259_pending(const struct vm *vm)
{
	return request(&vm->devices.pic[MASTER]) != NONE;
}

static void rotate(struct i8259 *pic, unsigned lowest)
{
	pic->first = (lowest + 1) & 7;
}

/* "Interrupt Sequence", for one chip. Without a request: input 7, which does not come into service. */
static unsigned acknowledge(struct i8259 *pic)
{
	int input = request(pic);
	uint8_t bit;

	if (input == NONE)
		return 7;
	bit = (uint8_t)(1u << input);
	if (!(pic->elcr & bit))
		pic->irr &= (uint8_t)~bit;
	if (!pic->automatic_eoi)
		pic->isr |= bit;
	else if (pic->rotate_automatic)
		rotate(pic, (unsigned)input);
	return (unsigned)input;
}

/* Its INT falls with every acknowledgement: another request is another edge at the master. */
static unsigned acknowledge_slave(struct vm *vm)
{
	unsigned input = acknowledge(&vm->devices.pic[SLAVE]);

	set_input(&vm->devices.pic[MASTER], CASCADE, false);
	return input;
}

unsigned i8259_acknowledge(struct vm *vm)
{
	struct i8259 *pic = vm->devices.pic;
	bool requested = i8259_pending(vm);
	unsigned vector, input = acknowledge(&pic[MASTER]);

	if (requested && input == CASCADE)
		vector = pic[SLAVE].base | acknowledge_slave(vm);
	else
		vector = pic[MASTER].base | input;
	update(vm);
	return vector;
}

/* "Initialization Command Words". */
static void initialize(struct i8259 *pic, uint8_t icw1)
{
	*pic = (struct i8259){
		/* The inputs are looked at anew: those that are high have no edge yet, and those that are level triggered request. */
		.lines = pic->lines,
		.irr = pic->lines & pic->elcr,
		.elcr = pic->elcr,
		.expected = 2,
		.icw4 = icw1 & ICW1_IC4,
		.single = icw1 & ICW1_SNGL,
	};
}

static void next_icw(struct i8259 *pic, uint8_t value)
{
	switch (pic->expected) {
	case 2:
		pic->base = value & 0xf8;
		pic->expected = pic->single ? (pic->icw4 ? 4 : 0) : 3;
		break;
	case 3:
		pic->expected = pic->icw4 ? 4 : 0;
		break;
	default:
		pic->automatic_eoi = value & ICW4_AEOI;
		pic->special_nested = value & ICW4_SFNM;
		pic->expected = 0;
	}
}

/* The input of highest priority in service: what a non-specific EOI ends. */
static int highest_in_service(const struct i8259 *pic)
{
	unsigned ended = pic->isr & (pic->special_mask ? ~pic->imr : 0xff);

	for (unsigned i = 0; i < 8; i++)
		if (ended >> ((pic->first + i) & 7) & 1)
			return (pic->first + i) & 7;
	return NONE;
}

/* "Operation Control Words", OCW2: end of interrupt and rotation of priorities. */
static void ocw2(struct i8259 *pic, uint8_t value)
{
	int input = value & OCW2_SL ? value & 7 : highest_in_service(pic);

	if (!(value & OCW2_EOI) && !(value & OCW2_SL)) { /* "Automatic Rotation", in AEOI mode */
		pic->rotate_automatic = value & OCW2_R;
		return;
	}
	if (input == NONE)
		return;
	if (value & OCW2_EOI)
		pic->isr &= (uint8_t)~(1u << input);
	if (value & OCW2_R)
		rotate(pic, (unsigned)input);
}

static void ocw3(struct i8259 *pic, uint8_t value)
{
	if (value & OCW3_ESMM)
		pic->special_mask = value & OCW3_SMM;
	if (value & OCW3_P)
		pic->poll = true;
	else if (value & OCW3_RR)
		pic->read_isr = value & OCW3_RIS;
}

void i8259_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	struct i8259 *pic = &vm->devices.pic[port & 0x80 ? SLAVE : MASTER];

	if (port & 1) {
		if (pic->expected)
			next_icw(pic, (uint8_t)value);
		else
			pic->imr = (uint8_t)value;
	} else if (value & ICW1) {
		initialize(pic, (uint8_t)value);
	} else if (value & OCW3) {
		ocw3(pic, (uint8_t)value);
	} else {
		ocw2(pic, (uint8_t)value);
	}
	update(vm);
}

/* "Poll Command": the read acknowledges; bit 7 says that there was a request. */
static uint32_t poll(struct vm *vm, struct i8259 *pic)
{
	uint32_t requested = request(pic) != NONE ? 0x80 : 0;
	unsigned input = pic == &vm->devices.pic[SLAVE] ? acknowledge_slave(vm) : acknowledge(pic);

	pic->poll = false;
	update(vm);
	return requested | input;
}

uint32_t i8259_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	struct i8259 *pic = &vm->devices.pic[port & 0x80 ? SLAVE : MASTER];

	if (pic->poll)
		return poll(vm, pic);
	if (port & 1)
		return pic->imr;
	return pic->read_isr ? pic->isr : pic->irr;
}

/* Timer, keyboard, cascade, RTC and coprocessor have no level: those bits stay 0. */
static uint8_t elcr_bits(uint16_t port)
{
	return port & 1 ? 0xde : 0xf8;
}

uint32_t elcr_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	return vm->devices.pic[port & 1].elcr;
}

void elcr_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	struct i8259 *pic = &vm->devices.pic[port & 1];

	pic->elcr = (uint8_t)value & elcr_bits(port);
	pic->irr |= pic->lines & pic->elcr;
	update(vm);
}

/*
 * The 16550A serial port. Register names are the data sheet's; sections are named where they decide.
 */
#include "console/uart16550.h"

#include "base/bits.h"
#include <stdlib.h>

enum { RBR = 0, THR = 0, DLL = 0, IER = 1, DLM = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

enum { IER_RDA = 0x01, IER_THRE = 0x02, IER_RLS = 0x04, IER_MS = 0x08 };
enum {
	IIR_MS = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RDA = 0x04,
	IIR_RLS = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO = 0xc0
};
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04, FCR_KEEP = 0xc9 };
enum { LCR_STOP = 0x04, LCR_PARITY = 0x08, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10, MCR_MASK = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_ERRORS = 0x1e, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_DELTA = 0x0f, MSR_TERI = 0x04, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

enum { FIFO = 16, CLOCK_HZ = 1843200, TIMEOUT_CHARACTERS = 4 };

struct uart {
	struct clock *clock;
	struct irq irq;
	struct chardev *chardev;
	struct deadline arrival; /* the next character of the line is complete */
	struct deadline timeout; /* characters wait below the trigger level: "FIFO Interrupt Mode Operation" */
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint16_t divisor;
	uint8_t fifo[FIFO];
	uint8_t head, count;
	bool thre_pending, timed_out;
	struct uart_counters counters;
};

static unsigned capacity(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? FIFO : 1;
}

static unsigned trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* Start bit, data, parity and stop bits at the programmed speed; an unprogrammed divisor counts as the usual 115200
 * baud. */
static vtime_t character_time(const struct uart *u)
{
	unsigned bits = 1 + 5 + (u->lcr & 3) + 1 + !!(u->lcr & LCR_STOP) + !!(u->lcr & LCR_PARITY);
	unsigned divisor = u->divisor ? u->divisor : 1;

	return bits * (16 * divisor * NS_PER_SECOND / CLOCK_HZ);
}

/* The interrupt that IIR shows: table "Interrupt Control Functions", highest priority first. */
static uint8_t source(const struct uart *u)
{
	if ((u->ier & IER_RLS) && (u->lsr & LSR_ERRORS))
		return IIR_RLS;
	if ((u->ier & IER_RDA) && u->count >= trigger(u))
		return IIR_RDA;
	if ((u->ier & IER_RDA) && u->timed_out)
		return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MS) && (u->msr & MSR_DELTA))
		return IIR_MS;
	return IIR_NONE;
}

/* OUT2 gates the interrupt line on every PC; in loopback mode the pin is disconnected from the register bit. */
static void update(struct uart *u)
{
	irq_set(&u->irq, source(u) != IIR_NONE && (u->mcr & MCR_OUT2) && !(u->mcr & MCR_LOOP));
}

static void restart_timeout(struct uart *u)
{
	u->timed_out = false;
	if ((u->fcr & FCR_ENABLE) && u->count)
		clock_arm(u->clock, &u->timeout, clock_now(u->clock) + TIMEOUT_CHARACTERS * character_time(u));
	else
		clock_cancel(u->clock, &u->timeout);
}

static void timeout(void *uart)
{
	struct uart *u = uart;

	u->timed_out = u->count > 0;
	update(u);
}

static void receive(struct uart *u, uint8_t byte)
{
	if (u->count < capacity(u)) {
		u->fifo[(u->head + u->count++) % FIFO] = byte;
	} else {
		/* "OE": without a FIFO the new character replaces the old one, with one it is lost in the shift
		 * register. */
		u->lsr |= LSR_OE;
		if (!(u->fcr & FCR_ENABLE))
			u->fifo[u->head] = byte;
	}
	u->lsr |= LSR_DR;
	restart_timeout(u);
	update(u);
}

/* The host has input: it comes over the line one character time at a time, and waits while the FIFO is full. */
static void ready(void *uart)
{
	struct uart *u = uart;

	if (u->arrival.at == VTIME_NEVER && u->count < capacity(u) && !(u->mcr & MCR_LOOP))
		clock_arm(u->clock, &u->arrival, clock_now(u->clock) + character_time(u));
}

static void arrive(void *uart)
{
	struct uart *u = uart;
	uint8_t byte;

	if ((u->mcr & MCR_LOOP) || u->count >= capacity(u) || !chardev_read(u->chardev, CHARDEV_SERIAL, &byte, 1))
		return;
	u->counters.received++;
	receive(u, byte);
	ready(u);
}

static uint8_t read_rbr(struct uart *u)
{
	uint8_t byte = u->fifo[u->head];

	if (u->count) {
		u->head = (u->head + 1) % FIFO;
		u->count--;
	}
	if (!u->count)
		u->lsr &= (uint8_t)~LSR_DR;
	restart_timeout(u);
	update(u);
	ready(u);
	return byte;
}

static void clear_receiver(struct uart *u)
{
	u->head = u->count = 0;
	u->lsr &= (uint8_t)~LSR_DR;
	restart_timeout(u);
}

/* Modem inputs: in loopback the four outputs come back (CTS = RTS, DSR = DTR, RI = OUT1, DCD = OUT2); else a modem is
 * ready. */
static void update_modem(struct uart *u)
{
	uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (u->mcr & MCR_LOOP)
		lines = (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
				  (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
	else if (!u->chardev)
		lines = 0;
	changed = (u->msr ^ lines) & 0xf0;
	/* TERI: only the trailing edge of RI. */
	if (lines & MSR_RI)
		changed &= (uint8_t)~MSR_RI;
	u->msr = (uint8_t)(lines | (u->msr & MSR_DELTA) | changed >> 4);
}

static void write_thr(struct uart *u, uint8_t byte)
{
	u->counters.sent++;
	if (u->mcr & MCR_LOOP)
		receive(u, byte);
	else
		chardev_write(u->chardev, &byte, 1);
	/* It is gone at once, so THR is empty again: a new THRE interrupt. */
	u->thre_pending = true;
	update(u);
}

static void write_ier(struct uart *u, uint8_t value)
{
	/* Enabling the interrupt while THR is empty raises it: drivers start sending that way. */
	if ((value & ~u->ier) & IER_THRE)
		u->thre_pending = true;
	u->ier = value & 0x0f;
	update(u);
}

static void write_fcr(struct uart *u, uint8_t value)
{
	/* "Bit 0": changing it clears the FIFOs; other bits are only programmed while it is written as 1. */
	if ((value ^ u->fcr) & FCR_ENABLE)
		value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	u->fcr = value & FCR_ENABLE ? value & FCR_KEEP : 0;
	if (value & FCR_CLEAR_RX)
		clear_receiver(u);
	if (value & FCR_CLEAR_TX)
		u->thre_pending = true;
	update(u);
	ready(u);
}

static uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
	struct uart *u = device;
	uint8_t value;

	if ((u->lcr & LCR_DLAB) && offset <= DLM)
		return offset == DLL ? u->divisor & 0xff : u->divisor >> 8;
	switch (offset) {
	case RBR: return read_rbr(u);
	case IER: return u->ier;
	case IIR:
		value = source(u);
		if (value == IIR_THRE) {
			u->thre_pending = false;
			update(u);
		}
		return (uint64_t)(value | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0));
	case LCR: return u->lcr;
	case MCR: return u->mcr;
	case LSR:
		value = u->lsr;
		u->lsr &= (uint8_t)~LSR_ERRORS;
		update(u);
		return value;
	case MSR:
		value = u->msr;
		u->msr &= (uint8_t)~MSR_DELTA;
		update(u);
		return value;
	default: return u->scr;
	}
}

static void uart_write(void *device, uint64_t offset, unsigned size, uint64_t wide)
{
	struct uart *u = device;
	uint8_t value = (uint8_t)wide;

	if ((u->lcr & LCR_DLAB) && offset <= DLM) {
		u->divisor =
			(uint16_t)(offset == DLL ? (u->divisor & 0xff00) | value : (u->divisor & 0xff) | value << 8);
		return;
	}
	switch (offset) {
	case THR: write_thr(u, value); break;
	case IER: write_ier(u, value); break;
	case FCR: write_fcr(u, value); break;
	case LCR: u->lcr = value; break;
	case MCR:
		u->mcr = value & MCR_MASK;
		update_modem(u);
		update(u);
		ready(u);
		break;
	case SCR: u->scr = value; break;
	default: break; /* LSR, MSR: read only here */
	}
}

static const struct device_ops ops = {.read = uart_read, .write = uart_write, .max_size = 1};

/* "Master Reset" table. SCR and the divisor are left as they are there; zero is as good for repeatable runs. */
void uart_reset(struct uart *u)
{
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = 0;
	u->divisor = 0;
	u->lsr = LSR_THRE | LSR_TEMT;
	u->thre_pending = false;
	clear_receiver(u);
	clock_cancel(u->clock, &u->arrival);
	update_modem(u);
	u->msr &= (uint8_t)~MSR_DELTA;
	update(u);
}

struct uart *uart_create(struct bus *bus, struct clock *clock, uint16_t base, const struct irq *irq,
			 struct chardev *chardev)
{
	struct uart *u = xcalloc(1, sizeof(*u));
	struct chardev_client client = {.ready = ready, .ctx = u};

	u->clock = clock;
	u->irq = *irq;
	u->chardev = chardev;
	deadline_init(&u->arrival, arrive, u);
	deadline_init(&u->timeout, timeout, u);
	if (chardev)
		chardev_connect(chardev, CHARDEV_SERIAL, &client);
	bus_add_ports(bus, "serial", base, 8, &ops, u);
	uart_reset(u);
	return u;
}

void uart_destroy(struct uart *u)
{
	if (!u)
		return;
	clock_cancel(u->clock, &u->arrival);
	clock_cancel(u->clock, &u->timeout);
	free(u);
}

void uart_state(struct uart *u, struct state *state)
{
	state_section(state, "uart16550");
	state_var(state, u->ier);
	state_var(state, u->fcr);
	state_var(state, u->lcr);
	state_var(state, u->mcr);
	state_var(state, u->lsr);
	state_var(state, u->msr);
	state_var(state, u->scr);
	state_var(state, u->divisor);
	state_bytes(state, u->fifo, sizeof(u->fifo));
	state_var(state, u->head);
	state_var(state, u->count);
	state_var(state, u->thre_pending);
	state_var(state, u->timed_out);
	clock_deadline_state(u->clock, &u->arrival, state);
	clock_deadline_state(u->clock, &u->timeout, state);
	if (state_restoring(state) && (u->head >= FIFO || u->count > FIFO))
		state_refuse(state, "a UART FIFO longer than 16");
}

const struct uart_counters *uart_counters(const struct uart *uart)
{
	return &uart->counters;
}

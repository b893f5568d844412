/*
 * COM1: National Semiconductor PC16550D data sheet, "Registers".
 *
 * Characters take no time: one that is written has been sent at once, and the receiver's time-out is over at once. Not modelled, as the other end
 * is no line: word length, parity and break, whose bits are only kept, and the speed; DMA modes.
 */
#include "devices/uart.h"

#include "console/console.h"
#include "guest/vm.h"

enum { RBR_THR_DLL, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR };
enum { IER_ERBFI = 0x01, IER_ETBEI = 0x02, IER_ELSI = 0x04, IER_EDSSI = 0x08, IER_KEPT = 0x0f };
enum { IIR_NONE = 0x01, IIR_MODEM = 0x00, IIR_THRE = 0x02, IIR_DATA = 0x04, IIR_TIMEOUT = 0x0c, IIR_LINE = 0x06, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RECEIVER = 0x02, FCR_TRIGGER_SHIFT = 6, FCR_KEPT = 0xc1 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10, MCR_KEPT = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_DCTS = 0x01, MSR_DDSR = 0x02, MSR_TERI = 0x04, MSR_DDCD = 0x08, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };
enum { MSR_CHANGES = 0x0f, UART_LINE = 4 };

static unsigned capacity(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned trigger_level(const struct uart *uart)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* "Interrupt Identification Register": the first of those that are enabled and pending. */
static uint8_t cause(const struct uart *uart)
{
	if ((uart->ier & IER_ELSI) && uart->errors)
		return IIR_LINE;
	if ((uart->ier & IER_ERBFI) && uart->count > 0)
		return uart->count >= trigger_level(uart) ? IIR_DATA : IIR_TIMEOUT;
	if ((uart->ier & IER_ETBEI) && uart->thre)
		return IIR_THRE;
	if ((uart->ier & IER_EDSSI) && (uart->msr & MSR_CHANGES))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On PCs, OUT2 connects INTR to the interrupt line. In loop-back the pin is inactive. */
static void update(struct vm *vm)
{
	const struct uart *uart = &vm->devices.uart;

	irq_set(vm, UART_LINE, (uart->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && cause(uart) != IIR_NONE);
}

void uart_reset(struct vm *vm)
{
	vm->devices.uart = (struct uart){.msr = MSR_CTS | MSR_DSR | MSR_DCD};
}

static void clear_receiver(struct uart *uart)
{
	uart->first = uart->count = 0;
}

/* There is room. */
static void put(struct uart *uart, uint8_t byte)
{
	uart->received[(uart->first + uart->count) % UART_FIFO] = byte;
	uart->count++;
}

static uint8_t get(struct uart *uart)
{
	uint8_t byte = uart->received[uart->first];

	if (uart->count > 0) {
		uart->first = (uart->first + 1) % UART_FIFO;
		uart->count--;
	}
	return byte;
}

bool uart_receive(struct vm *vm, uint8_t byte)
{
	struct uart *uart = &vm->devices.uart;

	if (uart->count >= capacity(uart) || (uart->mcr & MCR_LOOP))
		return false;
	put(uart, byte);
	update(vm);
	return true;
}

/* "Line Status Register", OE: with FIFOs the new character is lost, without them the old one. */
static void loop_back(struct uart *uart, uint8_t byte)
{
	if (uart->count >= capacity(uart)) {
		uart->errors |= LSR_OE;
		if (uart->fcr & FCR_ENABLE)
			return;
		clear_receiver(uart);
	}
	put(uart, byte);
}

static void transmit(struct vm *vm, uint8_t byte)
{
	struct uart *uart = &vm->devices.uart;

	if (uart->mcr & MCR_LOOP)
		loop_back(uart, byte);
	else
		console_guest(vm, byte);
	uart->thre = true;
}

/* "Modem Control Register" and "Modem Status Register": the inputs, which in loop-back are the outputs, and what changed. */
static void write_mcr(struct uart *uart, uint8_t mcr)
{
	uint8_t inputs = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (mcr & MCR_LOOP)
		inputs = (uint8_t)((mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
				   (mcr & MCR_OUT2 ? MSR_DCD : 0));
	changed = (inputs ^ uart->msr) >> 4;
	if (inputs & MSR_RI) /* only its end counts */
		changed &= ~MSR_TERI;
	uart->mcr = mcr & MCR_KEPT;
	uart->msr = inputs | (uart->msr & MSR_CHANGES) | changed;
}

/* "FIFO Control Register": switching FIFOs on or off empties them; the other bits count only with the first. */
static void write_fcr(struct uart *uart, uint8_t fcr)
{
	if (((fcr ^ uart->fcr) & FCR_ENABLE) || (fcr & (FCR_ENABLE | FCR_CLEAR_RECEIVER)) == (FCR_ENABLE | FCR_CLEAR_RECEIVER))
		clear_receiver(uart);
	uart->fcr = fcr & FCR_ENABLE ? fcr & FCR_KEPT : 0;
}

void uart_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	struct uart *uart = &vm->devices.uart;
	uint8_t byte = (uint8_t)value;
	bool dlab = uart->lcr & LCR_DLAB;

	switch (port & 7) {
	case RBR_THR_DLL:
		if (dlab)
			uart->dll = byte;
		else
			transmit(vm, byte);
		break;
	case IER_DLM:
		if (dlab) {
			uart->dlm = byte;
			break;
		}
		if (byte & ~uart->ier & IER_ETBEI) /* the register is empty, always */
			uart->thre = true;
		uart->ier = byte & IER_KEPT;
		break;
	case IIR_FCR:
		write_fcr(uart, byte);
		break;
	case LCR:
		uart->lcr = byte;
		break;
	case MCR:
		write_mcr(uart, byte);
		break;
	case SCR:
		uart->scr = byte;
		break;
	}
	update(vm);
}

uint32_t uart_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	struct uart *uart = &vm->devices.uart;
	bool dlab = uart->lcr & LCR_DLAB;
	uint8_t byte = 0;

	switch (port & 7) {
	case RBR_THR_DLL:
		byte = dlab ? uart->dll : get(uart);
		break;
	case IER_DLM:
		byte = dlab ? uart->dlm : uart->ier;
		break;
	case IIR_FCR:
		byte = cause(uart);
		if (byte == IIR_THRE)
			uart->thre = false;
		if (uart->fcr & FCR_ENABLE)
			byte |= IIR_FIFOS;
		break;
	case LCR:
		byte = uart->lcr;
		break;
	case MCR:
		byte = uart->mcr;
		break;
	case LSR:
		byte = LSR_THRE | LSR_TEMT | (uart->count ? LSR_DR : 0) | uart->errors;
		uart->errors = 0;
		break;
	case MSR:
		byte = uart->msr;
		uart->msr &= ~MSR_CHANGES;
		break;
	case SCR:
		byte = uart->scr;
		break;
	}
	update(vm);
	return byte;
}

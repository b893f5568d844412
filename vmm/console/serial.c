/*
 * COM1: National Semiconductor, "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs", "Registers".
 */
#include "console/serial.h"

#include "cpu/x86.h"

enum {
	COM1 = 0x3f8,
	RBR = COM1, THR = COM1, DLL = COM1, IER = COM1 + 1, DLM = COM1 + 1, FCR = COM1 + 2, LCR = COM1 + 3, MCR = COM1 + 4,
	LSR = COM1 + 5, SCR = COM1 + 7,
	IER_RECEIVED = 1,
	FCR_ENABLE = 1, FCR_RESET = 6,
	LCR_8N1 = 3, LCR_DLAB = 0x80,
	MCR_DTR = 1, MCR_RTS = 2, MCR_OUT2 = 8, /* OUT2 connects the interrupt in a PC */
	LSR_DATA = 1, LSR_THRE = 0x20,
	SCRATCH = 0x5a
};

static bool absent; /* what is not there reads as ones: always ready, and with data */

void serial_init(void)
{
	out8(SCR, SCRATCH);
	absent = in8(SCR) != SCRATCH;
	if (absent)
		return;
	out8(IER, 0);
	out8(LCR, LCR_DLAB);
	out8(DLL, 1); /* 115200 */
	out8(DLM, 0);
	out8(LCR, LCR_8N1);
	out8(FCR, FCR_ENABLE | FCR_RESET); /* interrupts with each byte */
	out8(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
	out8(IER, IER_RECEIVED);
}

void serial_put(uint8_t byte)
{
	if (absent)
		return;
	while (!(in8(LSR) & LSR_THRE))
		cpu_relax();
	out8(THR, byte);
}

bool serial_get(uint8_t *byte)
{
	if (absent || !(in8(LSR) & LSR_DATA))
		return false;
	*byte = in8(RBR);
	return true;
}

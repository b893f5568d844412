/*
 * Intel, "8259A Programmable Interrupt Controller", "Programming the 8259A".
 */
#include "cpu/i8259.h"

#include "cpu/x86.h"

enum {
	MASTER = 0x20, SLAVE = 0xa0, /* and at the next port: initialization words 2 to 4, mask */
	ICW1_EDGE_CASCADE_ICW4 = 0x11,
	ICW4_8086 = 1,
	CASCADE_LINE = 2,
	OCW2_EOI = 0x20,
	OCW3_READ_ISR = 0x0b
};

void i8259_init(unsigned vector, unsigned lines)
{
	unsigned masked = ~lines;

	if (lines >> 8)
		masked &= ~(1u << CASCADE_LINE);
	out8(MASTER, ICW1_EDGE_CASCADE_ICW4);
	out8(SLAVE, ICW1_EDGE_CASCADE_ICW4);
	out8(MASTER + 1, (uint8_t)vector);
	out8(SLAVE + 1, (uint8_t)(vector + 8));
	out8(MASTER + 1, 1 << CASCADE_LINE);
	out8(SLAVE + 1, CASCADE_LINE);
	out8(MASTER + 1, ICW4_8086);
	out8(SLAVE + 1, ICW4_8086);
	out8(MASTER + 1, (uint8_t)masked);
	out8(SLAVE + 1, (uint8_t)(masked >> 8));
}

bool i8259_spurious(unsigned line)
{
	uint16_t command = line < 8 ? MASTER : SLAVE;

	if (line % 8 != 7)
		return false;
	out8(command, OCW3_READ_ISR);
	if (in8(command) & 0x80)
		return false;
	if (command == SLAVE) /* for the master, it was a request of the slave like others */
		out8(MASTER, OCW2_EOI);
	return true;
}

void i8259_eoi(unsigned line)
{
	if (line >= 8)
		out8(SLAVE, OCW2_EOI);
	out8(MASTER, OCW2_EOI);
}

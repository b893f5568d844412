/*
 * The I/O APIC: Intel 82093AA data sheet, "I/O APIC Registers"; which interrupt messages there are: SDM vol. 3, "Advanced Programmable Interrupt
 * Controller (APIC)".
 *
 * Interrupt input pin polarity is kept and read back, and nothing else: a device's line says that it is asserted, not with which voltage.
 */
#include "devices/ioapic.h"

#include "guest/vm.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10 };
enum { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };
enum { VERSION = 0x11, MODE_LOWEST_PRIORITY = 1 };

/* I/O redirection table registers. */
#define MODE BITS(10, 8)
#define LOGICAL BIT(11)
#define REMOTE_IRR BIT(14)
#define LEVEL BIT(15)
#define MASKED BIT(16)
#define WRITABLE (BITS(63, 56) | (BITS(16, 0) & ~BIT(12) & ~REMOTE_IRR)) /* delivery status (12) is never seen: messages arrive at once */

/* "Delivery Mode": SMI, NMI, INIT and ExtINT are edges whatever bit 15 says. */
static bool is_level(uint64_t entry)
{
	unsigned mode = (entry & MODE) >> 8;

	return (entry & LEVEL) && mode <= MODE_LOWEST_PRIORITY;
}

static void send(struct vm *vm, unsigned pin)
{
	uint64_t entry = vm->devices.ioapic.redirection[pin];
	unsigned mode = (entry & MODE) >> 8;

	if (mode != 3 && mode != 6) /* reserved */
		lapic_send(vm, NULL, &(struct apic_message){
			.vector = (uint8_t)entry,
			.mode = (uint8_t)mode,
			.logical = entry & LOGICAL,
			.level = is_level(entry),
			.asserted = true,
			.destination = (uint32_t)(entry >> 56),
		});
}

/* A level that is asserted is sent once; again only after the EOI, which clears Remote IRR. */
static void send_level(struct vm *vm, unsigned pin)
{
	struct ioapic *ioapic = &vm->devices.ioapic;
	uint64_t *entry = &ioapic->redirection[pin];

	if (!is_level(*entry) || !(ioapic->lines >> pin & 1) || (*entry & (MASKED | REMOTE_IRR)))
		return;
	*entry |= REMOTE_IRR;
	send(vm, pin);
}

void ioapic_reset(struct vm *vm)
{
	vm->devices.ioapic = (struct ioapic){0};
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		vm->devices.ioapic.redirection[pin] = MASKED;
}

/* An edge at a masked pin is lost: "Interrupt Mask". */
void ioapic_set(struct vm *vm, unsigned pin, bool asserted)
{
	struct ioapic *ioapic = &vm->devices.ioapic;
	uint32_t before = ioapic->lines;

	ioapic->lines = asserted ? before | 1u << pin : before & ~(1u << pin);
	if (is_level(ioapic->redirection[pin]))
		send_level(vm, pin);
	else if (ioapic->lines & ~before && !(ioapic->redirection[pin] & MASKED))
		send(vm, pin);
}

void ioapic_eoi(struct vm *vm, unsigned vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &vm->devices.ioapic.redirection[pin];

		if ((*entry & REMOTE_IRR) && (*entry & 0xff) == vector) {
			*entry &= ~REMOTE_IRR;
			send_level(vm, pin);
		}
	}
}

static uint32_t read_register(const struct ioapic *ioapic)
{
	unsigned pin = (ioapic->select - IOREDTBL) / 2u;

	if (ioapic->select >= IOREDTBL && pin < IOAPIC_PINS)
		return (uint32_t)(ioapic->redirection[pin] >> (ioapic->select & 1 ? 32 : 0));
	switch (ioapic->select) {
	case IOAPICID:
	case IOAPICARB:
		return ioapic->id;
	case IOAPICVER:
		return (IOAPIC_PINS - 1) << 16 | VERSION;
	}
	return 0;
}

/* Without a level there is nothing that an EOI could end: Remote IRR is cleared. Some systems make a lost EOI good that way. */
static void write_entry(struct vm *vm, unsigned pin, unsigned shift, uint32_t value)
{
	uint64_t *entry = &vm->devices.ioapic.redirection[pin];
	uint64_t writable = WRITABLE & (uint64_t)UINT32_MAX << shift;

	*entry = (*entry & ~writable) | ((uint64_t)value << shift & writable);
	if (!(*entry & LEVEL))
		*entry &= ~REMOTE_IRR;
	send_level(vm, pin);
}

static void write_register(struct vm *vm, uint32_t value)
{
	struct ioapic *ioapic = &vm->devices.ioapic;
	unsigned pin = (ioapic->select - IOREDTBL) / 2u;

	if (ioapic->select >= IOREDTBL && pin < IOAPIC_PINS)
		write_entry(vm, pin, ioapic->select & 1 ? 32 : 0, value);
	else if (ioapic->select == IOAPICID)
		ioapic->id = value & 0x0f000000;
}

uint32_t ioapic_read(struct vm *vm, unsigned offset)
{
	switch (offset) {
	case IOREGSEL:
		return vm->devices.ioapic.select;
	case IOWIN:
		return read_register(&vm->devices.ioapic);
	}
	return 0;
}

void ioapic_write(struct vm *vm, unsigned offset, uint32_t value)
{
	switch (offset) {
	case IOREGSEL:
		vm->devices.ioapic.select = (uint8_t)value;
		break;
	case IOWIN:
		write_register(vm, value);
		break;
	}
}

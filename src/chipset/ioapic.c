/*
 * I/O APIC: pins to messages.
 *
 * An entry's upper half goes into the address and its lower half into the data of a message, bit by bit the same in the
 * compatibility and the remappable format, so this part need not know which is meant. Wires carry "asserted"; the
 * polarity bit is stored and has no effect.
 */
#include "chipset/ioapic.h"
#include "base/bits.h"

#include <stdlib.h>

#define RTE_VECTOR     BITS(7, 0)
#define RTE_LOGICAL    BIT(11)
#define RTE_STATUS     BIT(12) /* idle: messages leave at once */
#define RTE_REMOTE_IRR BIT(14)
#define RTE_LEVEL      BIT(15)
#define RTE_MASKED     BIT(16)
#define RTE_SETTABLE   (BITS(63, 48) | RTE_MASKED | RTE_LEVEL | BITS(13, 13) | BITS(11, 0))

#define VERSION 0x20

struct ioapic {
	const struct msi_sink *sink;
	const struct log *log;
	uint16_t requester;
	uint8_t select;
	uint8_t id;
	bool level[IOAPIC_PINS];
	uint64_t entry[IOAPIC_PINS];
};

/* Only fixed and lowest-priority interrupts can be level-triggered; the others are edges whatever the bit says. */
static bool is_level(uint64_t entry)
{
	return (entry & RTE_LEVEL) && bits_get(entry, 10, 8) <= 1;
}

static void send(struct ioapic *ioapic, uint64_t entry)
{
	struct msi msi = {
		.address = 0xfee00000 | bits_get(entry, 63, 48) << 4 | (entry & RTE_LOGICAL ? BIT(2) : 0),
		.data = (uint32_t)(entry & (BITS(10, 0) | RTE_LEVEL)) | (is_level(entry) ? (uint32_t)BIT(14) : 0),
		.requester = ioapic->requester,
	};

	if (ioapic->sink->send)
		ioapic->sink->send(ioapic->sink->ctx, &msi);
}

/* A level-sensitive pin asks as long as it is asserted and the last one has been ended. */
static void serve_level(struct ioapic *ioapic, unsigned pin)
{
	uint64_t *entry = &ioapic->entry[pin];

	if (!is_level(*entry) || !ioapic->level[pin] || (*entry & (RTE_MASKED | RTE_REMOTE_IRR)))
		return;
	*entry |= RTE_REMOTE_IRR;
	send(ioapic, *entry);
}

void ioapic_set(void *owner, unsigned pin, bool level)
{
	struct ioapic *ioapic = owner;
	bool rising;

	if (pin >= IOAPIC_PINS)
		return;
	rising = level && !ioapic->level[pin];
	ioapic->level[pin] = level;
	/* An edge at a masked pin is lost. */
	if (rising && !is_level(ioapic->entry[pin]) && !(ioapic->entry[pin] & RTE_MASKED))
		send(ioapic, ioapic->entry[pin]);
	serve_level(ioapic, pin);
}

void ioapic_eoi(void *owner, uint8_t vector)
{
	struct ioapic *ioapic = owner;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((ioapic->entry[pin] & RTE_VECTOR) != vector || !(ioapic->entry[pin] & RTE_REMOTE_IRR))
			continue;
		ioapic->entry[pin] &= ~RTE_REMOTE_IRR;
		serve_level(ioapic, pin);
	}
}

uint64_t ioapic_entry(const struct ioapic *ioapic, unsigned pin)
{
	return pin < IOAPIC_PINS ? ioapic->entry[pin] : 0;
}

static uint32_t read_register(const struct ioapic *ioapic)
{
	unsigned select = ioapic->select;

	switch (select) {
	case 0x00: return (uint32_t)ioapic->id << 24;
	case 0x01: return (IOAPIC_PINS - 1) << 16 | VERSION;
	case 0x02: return (uint32_t)ioapic->id << 24; /* arbitration ID */
	case 0x10 ... 0x10 + 2 * IOAPIC_PINS - 1:
		return (uint32_t)(ioapic->entry[(select - 0x10) / 2] >> (select & 1 ? 32 : 0));
	default: return 0;
	}
}

static void write_entry(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	uint64_t old = ioapic->entry[pin];
	uint64_t new = high ? bits_set(old, 63, 32, value) : bits_set(old, 31, 0, value);

	new = (new &RTE_SETTABLE) | (old & RTE_REMOTE_IRR);
	if (!(new &RTE_LEVEL))
		new &= ~RTE_REMOTE_IRR; /* edge: the bit is cleared, which systems use to end an interrupt */
	ioapic->entry[pin] = new;
	serve_level(ioapic, pin);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
	unsigned select = ioapic->select;

	if (select == 0)
		ioapic->id = (uint8_t)bits_get(value, 27, 24);
	else if (select >= 0x10 && select < 0x10 + 2 * IOAPIC_PINS)
		write_entry(ioapic, (select - 0x10) / 2, select & 1, value);
}

static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = device;

	switch (offset) {
	case 0x00: return ioapic->select;
	case 0x10: return read_register(ioapic);
	default: return 0;
	}
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *ioapic = device;

	switch (offset) {
	case 0x00: ioapic->select = (uint8_t)value; break;
	case 0x10:
		if (size == 4)
			write_register(ioapic, (uint32_t)value);
		break;
	case 0x40: ioapic_eoi(ioapic, (uint8_t)value); break;
	}
}

static const struct device_ops window_ops = {window_read, window_write, 1, 4};

struct ioapic *ioapic_create(struct bus *bus, const struct msi_sink *sink, uint16_t requester, const struct log *log)
{
	struct ioapic *ioapic = xcalloc(1, sizeof(*ioapic));

	ioapic->sink = sink;
	ioapic->requester = requester;
	ioapic->log = log;
	bus_add_device(bus, "ioapic", 0xfec00000, 0x1000, &window_ops, ioapic, 10);
	ioapic_reset(ioapic);
	return ioapic;
}

void ioapic_destroy(struct ioapic *ioapic)
{
	free(ioapic);
}

void ioapic_reset(struct ioapic *ioapic)
{
	ioapic->select = 0;
	ioapic->id = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->entry[pin] = RTE_MASKED;
}

void ioapic_state(struct ioapic *ioapic, struct state *state)
{
	state_section(state, "ioapic");
	state_var(state, ioapic->select);
	state_var(state, ioapic->id);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		state_bool(state, &ioapic->level[pin]);
	state_var(state, ioapic->entry);
}

/*
 * The chipset and the BIOS data area as SeaBIOS leaves them, for kernels that start without firmware. Intel ICH9 and 3
 * Series Express Chipset data sheets name the registers; PCI Local Bus 3.0, "Base Addresses" says how BARs are sized.
 */
#include "base/bits.h"
#include "firmware/firmware.h"

enum { HOST_BRIDGE = 0x00 << 3, LPC = 0x1f << 3 };
enum {
	PCIEXBAR = 0x60,
	PAM0 = 0x90,
	PMBASE = 0x40,
	ACPI_CTRL = 0x44,
	PIRQA_ROUT = 0x60,
	PIRQE_ROUT = 0x68,
	RCBA = 0xf0
};
enum {
	COMMAND = 0x04,
	COMMAND_IO = 1,
	COMMAND_MEMORY = 2,
	HEADER_TYPE = 0x0e,
	BAR0 = 0x10,
	INTERRUPT_LINE = 0x3c,
	INTERRUPT_PIN = 0x3d
};
enum { ELCR = 0x4d0, IO_BASE = 0xc000, IO_END = 0x10000 };

static const uint8_t pirq_line[8] = {10, 10, 11, 11, 10, 10, 11, 11};

struct window {
	uint64_t next, end;
};

static uint32_t get(struct pci_root *pci, unsigned bdf, unsigned offset, unsigned size)
{
	return pci_config_access_read(pci, (uint16_t)bdf, offset, size);
}

static void put(struct pci_root *pci, unsigned bdf, unsigned offset, unsigned size, uint64_t value)
{
	pci_config_access_write(pci, (uint16_t)bdf, offset, size, (uint32_t)value);
}

static void preset_bridges(struct pci_root *pci, struct bus *bus)
{
	put(pci, HOST_BRIDGE, PCIEXBAR + 4, 4, ECAM_BASE >> 32);
	put(pci, HOST_BRIDGE, PCIEXBAR, 4, (uint32_t)ECAM_BASE | 1);
	put(pci, HOST_BRIDGE, PAM0, 1, 0x30); /* F segment, then C0000H to EFFFFH: RAM, readable and writable */
	for (unsigned i = 1; i <= 6; i++)
		put(pci, HOST_BRIDGE, PAM0 + i, 1, 0x33);
	put(pci, LPC, PMBASE, 4, PM_BASE | 1);
	put(pci, LPC, ACPI_CTRL, 1, 0x80);
	put(pci, LPC, RCBA, 4, RCBA_BASE | 1);
	for (unsigned i = 0; i < 4; i++) {
		put(pci, LPC, PIRQA_ROUT + i, 1, pirq_line[i]);
		put(pci, LPC, PIRQE_ROUT + i, 1, pirq_line[4 + i]);
	}
	bus_out(bus, ELCR, 1, 0); /* IRQ 10 and 11 are level-triggered */
	bus_out(bus, ELCR + 1, 1, 0x0c);
}

/* Place a BAR of the size that it shows when all ones are written. Returns how many registers it takes. */
static unsigned assign_bar(struct pci_root *pci, unsigned bdf, unsigned offset, struct window *io,
			   struct window *memory)
{
	uint32_t flags = get(pci, bdf, offset, 4);
	bool is_io = flags & 1, is64 = !is_io && (flags & 6) == 4;
	struct window *window = is_io ? io : memory;
	uint64_t mask, size, at;

	put(pci, bdf, offset, 4, UINT32_MAX);
	mask = get(pci, bdf, offset, 4) & (is_io ? ~UINT32_C(3) : ~UINT32_C(15));
	if (is_io)
		mask |= ~UINT64_C(0xffff);
	if (is64) {
		put(pci, bdf, offset + 4, 4, UINT32_MAX);
		mask |= (uint64_t)get(pci, bdf, offset + 4, 4) << 32;
	} else if (mask) {
		mask |= (uint64_t)UINT32_MAX << 32;
	}
	put(pci, bdf, offset, 4, 0);
	if (is64)
		put(pci, bdf, offset + 4, 4, 0);
	size = -mask;
	if (mask == 0 || (is_io && (mask & 0xffff) == 0))
		return is64 ? 2 : 1;
	at = (window->next + size - 1) & -size;
	if (at >= window->next && at < window->end && size <= window->end - at) {
		window->next = at + size;
		put(pci, bdf, offset, 4, at);
	}
	return is64 ? 2 : 1;
}

/* Which PIRQ a slot's pin (0 = INTA) drives, with the DnnIR registers as after reset. */
static unsigned pirq(unsigned slot, unsigned pin)
{
	if (slot >= 25 && slot != 30)
		return pin & 3;
	return 4 + (slot == 30 ? pin & 3 : (slot + pin) & 3);
}

static void preset_function(struct pci_root *pci, unsigned slot, unsigned number, struct window *io,
			    struct window *memory)
{
	unsigned bdf = slot << 3 | number, pin = get(pci, bdf, INTERRUPT_PIN, 1);

	for (unsigned bar = 0; bar < 6;)
		bar += assign_bar(pci, bdf, BAR0 + 4 * bar, io, memory);
	if (pin >= 1 && pin <= 4)
		put(pci, bdf, INTERRUPT_LINE, 1, pirq_line[pirq(slot, pin - 1)]);
	put(pci, bdf, COMMAND, 2, get(pci, bdf, COMMAND, 2) | COMMAND_IO | COMMAND_MEMORY);
}

void preset_chipset(struct pci_root *pci, struct bus *bus)
{
	struct window io = {IO_BASE, IO_END}, memory = {PCI32_BASE, PCI32_END};

	preset_bridges(pci, bus);
	for (unsigned slot = 0; slot < 32; slot++) {
		for (unsigned number = 0; number < 8; number++) {
			unsigned bdf = slot << 3 | number;

			/* Endpoints only: no device here is a bridge to another bus. */
			if (get(pci, bdf, 0, 2) == 0xffff || (get(pci, bdf, HEADER_TYPE, 1) & 0x7f))
				continue;
			preset_function(pci, slot, number, &io, &memory);
		}
	}
}

/*
 * What kernels ask a BIOS although the boot protocol has told it: where low memory ends and the extended data area begins
 * (Xen puts its trampoline below the lower of both), and services, of which there are none here: each returns with CF, as
 * a BIOS does for a function that it does not know.
 */
void preset_bios_data(struct bus *bus)
{
	/* push bp; mov bp, sp; or byte [bp+6], 1; pop bp; iret */
	static const uint8_t service[] = {0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xcf};
	enum { EBDA_SEGMENT = 0x40e, BASE_MEMORY = 0x413, VECTORS = 256, SERVICE = 0x10 };
	uint8_t vectors[VECTORS * 4], segment[2], kib[2], ebda_kib = 1;

	for (unsigned i = 0; i < VECTORS; i++)
		store_le(vectors + 4 * i, 4, (EBDA_BASE >> 4) << 16 | SERVICE);
	store_le(segment, 2, EBDA_BASE >> 4);
	store_le(kib, 2, EBDA_BASE >> 10);
	bus_write_bytes(bus, 0, vectors, sizeof(vectors));
	bus_write_bytes(bus, EBDA_SEGMENT, segment, sizeof(segment));
	bus_write_bytes(bus, BASE_MEMORY, kib, sizeof(kib));
	bus_write_bytes(bus, EBDA_BASE, &ebda_kib, 1);
	bus_write_bytes(bus, EBDA_BASE + SERVICE, service, sizeof(service));
}

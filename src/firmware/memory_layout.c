/*
 * Where RAM appears, and what is told to software about it: the e820 map of every boot protocol and of fw_cfg.
 */
#include "firmware/firmware.h"

#include "base/bits.h"
#include <string.h>

#define FOUR_GIB    (UINT64_C(4) << 30)
#define GIB	    (UINT64_C(1) << 30)
#define LOW_RAM_MAX UINT64_C(0x80000000) /* below 4 GiB when RAM does not fit under the ECAM */

static void add(struct memory_layout *layout, uint64_t base, uint64_t end, enum e820_type type)
{
	if (end > base)
		layout->map[layout->entries++] = (struct e820_entry){base, end - base, type};
}

void memory_layout(uint64_t ram, unsigned physical_bits, struct memory_layout *layout)
{
	uint64_t high_end, limit = UINT64_C(1) << physical_bits;

	memset(layout, 0, sizeof(*layout));
	layout->low_ram = ram < ECAM_BASE ? ram : LOW_RAM_MAX;
	layout->high_ram = ram - layout->low_ram;
	high_end = FOUR_GIB + layout->high_ram;
	/* 32 GiB for big BARs, after whole gibibytes of RAM, as far as the CPU's addresses reach. */
	layout->pci64_base = (high_end + GIB - 1) & ~(GIB - 1);
	layout->pci64_end = min_u64(layout->pci64_base + 32 * GIB, limit);
	if (layout->pci64_end <= layout->pci64_base)
		layout->pci64_base = layout->pci64_end = 0;

	add(layout, 0, EBDA_BASE, E820_RAM);
	add(layout, EBDA_BASE, 0xa0000, E820_RESERVED);
	add(layout, 0xe0000, 0x100000, E820_RESERVED);
	add(layout, 0x100000, layout->low_ram, E820_RAM);
	/* Linux uses the ECAM only when the map or a motherboard device reserves it. */
	add(layout, ECAM_BASE, ECAM_BASE + ECAM_SIZE, E820_RESERVED);
	add(layout, IOAPIC_BASE, IOAPIC_BASE + 0x1000, E820_RESERVED);
	add(layout, RCBA_BASE, RCBA_BASE + RCBA_SIZE, E820_RESERVED);
	add(layout, VTD_BASE, VTD_BASE + 0x1000, E820_RESERVED);
	add(layout, LAPIC_BASE, LAPIC_BASE + 0x1000, E820_RESERVED);
	add(layout, FOUR_GIB - 0x40000, FOUR_GIB, E820_RESERVED); /* firmware */
	add(layout, FOUR_GIB, high_end, E820_RAM);
}

/*
 * What a machine does before its first instruction: lay out memory, put tables there, load a kernel or firmware.
 *
 * With firmware (load_rom) the machine starts at its reset vector and asks fw_cfg for the rest. Without, boot_direct()
 * leaves the chipset, memory and the bootstrap processor as a boot loader would. Every file is untrusted: what does not
 * add up is refused with a sentence naming the file.
 */
#pragma once

#include "base/error.h"
#include "bus/bus.h"
#include "cpu/cpu.h"
#include "firmware/acpi.h"
#include "pci/pci.h"

/* Fixed places of the board below 4 GiB. */
#define ECAM_BASE   UINT64_C(0xb0000000)
#define ECAM_SIZE   UINT64_C(0x10000000)
#define PCI32_BASE  (ECAM_BASE + ECAM_SIZE)
#define PCI32_END   IOAPIC_BASE
#define IOAPIC_BASE UINT64_C(0xfec00000)
#define HPET_BASE   UINT64_C(0xfed00000)
#define RCBA_BASE   UINT64_C(0xfed1c000)
#define RCBA_SIZE   UINT64_C(0x4000)
#define VTD_BASE    UINT64_C(0xfed90000)
#define LAPIC_BASE  UINT64_C(0xfee00000)
#define PM_BASE	    0x600
#define EBDA_BASE   UINT64_C(0x9fc00) /* a BIOS' extended data area, up to 640 KiB */

enum e820_type { E820_RAM = 1, E820_RESERVED = 2 };

struct e820_entry {
	uint64_t base, size;
	uint32_t type;
} __attribute__((packed));

struct memory_layout {
	uint64_t low_ram;		/* bytes of RAM from 0 */
	uint64_t high_ram;		/* bytes of RAM from 4 GiB */
	uint64_t pci64_base, pci64_end; /* window for 64-bit BARs above RAM */
	struct e820_entry map[16];	/* without gaps for "nothing": what is not listed is not there */
	unsigned entries;
};

/* How `ram` bytes (a multiple of 1 MiB, at least one) appear in the address space of a CPU with that many address bits.
 */
void memory_layout(uint64_t ram, unsigned physical_bits, struct memory_layout *layout);

/* What a direct boot needs. The names are only read during the call. */
struct boot {
	struct bus *bus;
	struct pci_root *pci;
	struct cpu *cpu; /* all processors, after reset; the first is the bootstrap processor */
	const struct memory_layout *layout;
	const struct acpi_tables *acpi;
	const char *kernel; /* file: bzImage, or ELF with a Multiboot, Multiboot 2 or PVH header */
	const char *initrd; /* NULL: none. Multiboot and PVH: "file args,file args", a comma inside is doubled */
	const char *append; /* NULL: empty */
};

/*
 * Preset the chipset (preset_chipset), place the ACPI tables, load the kernel and set up boot->cpu. The caller then
 * lets the engine know that registers changed (cpu_mode_changed, mem_context_changed).
 */
MUST_CHECK bool boot_direct(const struct boot *boot, struct error *error);

/*
 * Leave the Q35 chipset as SeaBIOS leaves it: ECAM, PM block, RCBA, PAM open, PIRQs on IRQ 10 and 11, BARs in the
 * 32-bit window, interrupt lines. Goes through configuration and port accesses only.
 */
void preset_chipset(struct pci_root *pci, struct bus *bus);
void preset_bios_data(struct bus *bus);

/* Firmware image at the top of 4 GiB and, its last 128 KiB, below 1 MiB. */
struct rom;
MUST_CHECK struct rom *load_rom(struct bus *bus, const char *file, struct error *error);
void rom_free(struct rom *rom);

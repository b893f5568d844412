/*
 * Inside build.c and operate.c: the board's parts by name, and what it boots.
 */
#pragma once

#include "chipset/lpc.h"
#include "chipset/q35.h"
#include "console/debug_ports.h"
#include "console/i8042.h"
#include "console/uart16550.h"
#include "console/vga.h"
#include "firmware/firmware.h"
#include "firmware/fw_cfg.h"
#include "machine/parts.h"
#include "storage/ahci.h"
#include "storage/block.h"
#include "storage/virtio_blk.h"

struct drive {
	char *file, *id, *serial; /* owned */
	struct block *block;	  /* NULL: an empty CD drive */
	bool cdrom;
	char *where; /* owned; for the monitor; NULL until a controller takes it */
	char *path;  /* owned; for firmware's boot order */
};

struct board {
	struct memory_layout layout;
	struct acpi_tables *acpi;
	struct fw_cfg *fw_cfg;
	struct rom *rom;
	char *kernel, *initrd, *append; /* direct boot, at each reset; kernel is NULL with firmware */
	struct pic *pic;
	struct ioapic *ioapic;
	struct lpc *lpc;
	struct pm *pm;
	struct i8042 *i8042;
	struct vga *vga;
	struct ahci *ahci;
	struct drive drive[MACHINE_DRIVES];
	unsigned drives;
	const struct machine_config *config; /* while the machine is being built */
};

/* A wire to an ISA interrupt line, 0 to 15, or an I/O APIC pin, 16 to 23. */
struct irq board_irq(struct machine *m, unsigned line);
/* A drive by id. NULL: *error names the nearest. */
struct drive *board_drive(struct machine *m, const char *id, struct error *error);
/* Where a -device asks to be on PCI bus 0 (text is "5" or "5.0"), or the lowest free slot without text. -1: *error. */
int board_slot(struct machine *m, const char *text, struct error *error);
/* Give a drive to a controller. port -1: the next free one. False: *error. */
bool board_attach_sata(struct machine *m, struct drive *drive, int port, struct error *error);
bool board_attach_virtio(struct machine *m, struct drive *drive, int slot, struct error *error);
bool board_add_vga(struct machine *m, int slot, struct error *error);

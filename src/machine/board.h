/*
 * Inside build.c and operate.c: the board's parts by name, and what it boots.
 */
#pragma once

#include "chipset/chipset.h"
#include "console/debug_ports.h"
#include "console/i8042.h"
#include "console/uart16550.h"
#include "console/vga.h"
#include "firmware/firmware.h"
#include "firmware/fw_cfg.h"
#include "machine/parts.h"
#include "storage/ahci.h"
#include "storage/block.h"

struct drive {
	char *file, *id, *serial; /* owned */
	struct block *block;	  /* NULL: an empty CD drive */
	bool cdrom;
	const char *where;	  /* for the monitor; NULL until a controller takes it */
};

struct board {
	struct memory_layout layout;
	struct acpi_tables *acpi;
	struct fw_cfg *fw_cfg;
	struct rom *rom;
	char *kernel, *initrd, *append; /* direct boot, at each reset; kernel is NULL with firmware */
	struct i8042 *i8042;
	struct vga *vga;
	struct ahci *ahci;
	struct drive drive[MACHINE_DRIVES];
	unsigned drives;
};

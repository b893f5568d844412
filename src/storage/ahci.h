/*
 * The ICH9's SATA controller in AHCI mode, with disks and CD-ROM drives. "Serial ATA AHCI 1.3.1 Specification",
 * ATA8-ACS, MMC-5.
 */
#pragma once

#include "clock/clock.h"
#include "pci/pci.h"
#include "storage/block.h"

struct ahci;

enum { AHCI_PORTS = 6 };

/* At slot:number (00:1f.2 on the board). NULL: *error says why. */
struct ahci *ahci_create(struct pci_root *root, struct clock *clock, uint8_t slot, uint8_t number, struct error *error);
void ahci_destroy(struct ahci *ahci);

/* Plug in before the first instruction. block is not owned; NULL with cdrom: a drive without a disc. serial: up to 20
 * characters. */
void ahci_attach(struct ahci *ahci, unsigned port, struct block *block, bool cdrom, const char *serial);
/* Is something attached? */
bool ahci_attached(const struct ahci *ahci, unsigned port);

/* Commands and bytes since the start, for statistics. */
struct ahci_counters {
	uint64_t commands, bytes_read, bytes_written, errors;
};
const struct ahci_counters *ahci_counters(const struct ahci *ahci);

/*
 * The host bridge of the Q35, 00:00.0 (8086:29C0): where RAM appears, PAM, SMRAM and TSEG, PCIEXBAR. Intel 3 Series
 * datasheet, "Host Bridge Device 0 Configuration Registers".
 */
#pragma once

#include "pci/pci.h"

struct q35;

/*
 * Adds itself to root at 00.0 and maps the bus' RAM: below 640 KiB, from 1 MiB to the end of low RAM, the rest from 4
 * GiB; C0000H-FFFFFH by PAM (priority 20, over ROM of priority 10 or less). Low RAM ends at the RAM's size, or at 2 GiB
 * when that would reach B0000000H.
 */
struct q35 *q35_create(struct bus *bus, struct pci_root *root, const struct log *log);
void q35_destroy(struct q35 *q35);
struct pci_function *q35_function(struct q35 *q35);

/* First address above RAM below 4 GiB, and above RAM from 4 GiB (4 GiB without any there). */
uint64_t q35_low_end(const struct q35 *q35);
uint64_t q35_high_end(const struct q35 *q35);

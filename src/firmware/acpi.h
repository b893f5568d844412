/*
 * ACPI tables of the board: ACPI 3.0 "ACPI Software Programming Model". Built once, relocatable; then placed in memory
 * or offered to firmware through fw_cfg.
 */
#pragma once

#include "base/types.h"
#include "bus/bus.h"
#include "cpu/topology.h"

struct acpi_tables;
struct fw_cfg;
struct memory_layout;

struct acpi_config {
	unsigned cpus; /* that there are; the topology's others are listed as disabled */
	struct cpu_topology topology;
	const struct memory_layout *layout;
	bool serial[2]; /* COM1, COM2 */
	bool i8042, hpet;
};

struct acpi_tables *acpi_create(const struct acpi_config *config);
void acpi_destroy(struct acpi_tables *tables);
/* Add one complete table such as DMAR; its checksum is computed. Copied. At most 8; before place or fw_cfg. */
void acpi_add(struct acpi_tables *tables, const void *table, size_t size);

/* Put the tables at `base` (16-byte aligned), RSDP first, with the pointers that they need there. Returns the end. */
pa_t acpi_place(const struct acpi_tables *tables, struct bus *bus, pa_t base);
/* etc/acpi/rsdp, etc/acpi/tables and the script etc/table-loader that tells firmware how to link them. */
void acpi_offer(const struct acpi_tables *tables, struct fw_cfg *fw_cfg);

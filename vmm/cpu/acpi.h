/*
 * The machine's ACPI tables, read for two facts: which CPUs there are, and how power is switched off. ACPI
 * Specification, "ACPI Software Programming Model".
 */
#ifndef VMM_CPU_ACPI_H
#define VMM_CPU_ACPI_H

#include "lib/types.h"

void acpi_init(const void *rsdp); /* from Multiboot 2, or NULL: looked for where BIOSes put it */

/* APIC IDs of the enabled processors, this one too; returns how many, at most max. 1 (this one) without tables. */
unsigned acpi_processors(uint32_t *apic_ids, unsigned max);

/* S5 by the fixed hardware registers. Returns if the machine stays on. */
void acpi_power_off(void);

#endif

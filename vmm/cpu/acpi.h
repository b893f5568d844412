/*
 * The machine's ACPI tables, read for three facts: which CPUs there are, where power is switched off, and where to reset. ACPI
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
void acpi_reset(void); /* the reset register, else port 92H and the keyboard controller */

#endif

/*
 * Starting processors. SDM vol. 3, "Multiple-Processor (MP) Initialization".
 */
#ifndef VMM_CPU_START_H
#define VMM_CPU_START_H

/* This CPU's GDT, TSS, IDT, GS base, CR0 and CR4 as the VMM wants them, local APIC on. */
void cpu_init(unsigned index, unsigned char *stack_top);

/* Starts the CPUs that the ACPI tables name (at most CPUS_MAX in all) by INIT and SIPI, one after the other. Each initializes
   itself, calls entry and never returns. One that has not set cpu->online after 100 ms is left out, and named. */
void cpus_start(void (*entry)(void));

#endif

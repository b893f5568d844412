/*
 * Starting processors. SDM vol. 3, "Multiple-Processor (MP) Initialization".
 */
#ifndef VMM_CPU_START_H
#define VMM_CPU_START_H

/* This CPU's GDT, TSS, IDT, GS base, CR0 and CR4 as the VMM wants them, local APIC on. */
void cpu_init(unsigned index, unsigned char *stack_top);

/* Starts the CPUs that the ACPI tables name (at most CPUS_MAX in all) by INIT and SIPI. Each initializes itself, calls entry and never
   returns. Returns when all have set cpu->online or 100 ms have passed; says who did not come. */
void cpus_start(void (*entry)(void));

#endif

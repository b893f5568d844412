/*
 * Why an exception could not be delivered, in words: what is wrong with its entry of the IDT. Memory and registers are
 * looked at as they are now, without side effects.
 */
#pragma once

#include <stdio.h>

#include "vmx/report.h"

/* One of a chain's faults, as a line without its end: "#GP(0x43) when #DF was to be delivered: ...". */
void fault_words(struct cpu *cpu, const struct fault_chain *chain, unsigned index, FILE *to);

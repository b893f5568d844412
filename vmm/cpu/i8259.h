/*
 * The machine's own pair of interrupt controllers: they bring COM1's interrupt to CPU 0. Guests have others (devices/i8259.h).
 */
#ifndef VMM_CPU_I8259_H
#define VMM_CPU_I8259_H

#include "lib/types.h"

enum { I8259_LINES = 16 };

void i8259_init(unsigned vector, unsigned lines); /* of line 0; bit for each line that is unmasked */
bool i8259_spurious(unsigned line);		  /* line 7 or 15 without a request: nothing to serve */
void i8259_eoi(unsigned line);

#endif

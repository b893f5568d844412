/*
 * The machine's first serial port, COM1: a 16550 at 3F8H, line 4 of the 8259s.
 */
#ifndef VMM_CONSOLE_SERIAL_H
#define VMM_CONSOLE_SERIAL_H

#include "lib/types.h"

void serial_init(void); /* 115200 8N1, FIFOs and the receive interrupt on */
void serial_put(uint8_t byte); /* waits for room */
MUST_CHECK bool serial_get(uint8_t *byte); /* false: nothing was received */

#endif

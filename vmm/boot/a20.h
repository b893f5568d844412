/*
 * The A20 gate, which VMXON wants open: SDM vol. 3, "Introduction to VMX Operation".
 */
#ifndef VMM_BOOT_A20_H
#define VMM_BOOT_A20_H

#include "lib/types.h"

MUST_CHECK bool a20_open(void); /* opens it if it is not; false: it stays closed */

#endif

/*
 * The mode key: what of the CPU's state changes how bytes decode or which handler fits. Code is cached under (physical
 * address, mode).
 *
 * Only what must be known at decode time is here; rarer conditions (CPL, CR0.TS, CR4.OSFXSR ...) are tested by the
 * instruction when it runs.
 */
#pragma once

#include "base/bits.h"

#define MODE_CODE16  0
#define MODE_CODE32  1
#define MODE_CODE64  2
#define MODE_CODE    3	    /* mask: default operand and address size */
#define MODE_STACK32 BIT(2) /* SS.B: stack pointer is ESP; with neither bit it is SP */
#define MODE_STACK64 BIT(3)
#define MODE_FLAT                                                                                               \
	BIT(4) /* CS DS ES SS: base 0, limit 4 GiB - 1, usable, data segments writable: no segment check needed \
		  (outside 64-bit mode; in 64-bit mode always set) */
#define MODE_PROTECTED BIT(5)  /* protected mode and not V86: LOCK, ARPL, LAR, VMX ... exist */
#define MODE_DEAD      BIT(31) /* of a block that was dropped: matches no CPU */

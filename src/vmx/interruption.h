/*
 * Event identification: VM-entry and VM-exit interruption information, and the IDT-vectoring information field, are
 * alike. SDM vol. 3, "VM-Entry Controls for Event Injection", "Information for VM Exits Due to Vectored Events",
 * "Information for VM Exits That Occur During Event Delivery".
 */
#pragma once

#include "base/bits.h"

/* Bits 7:0 are the vector, bits 10:8 the type. */
#define INTERRUPTION_ERROR_CODE BIT(11)
#define INTERRUPTION_VALID	BIT(31)

enum interruption_type {
	INTERRUPTION_EXTERNAL = 0,
	INTERRUPTION_NMI = 2,
	INTERRUPTION_HARDWARE_EXCEPTION = 3,
	INTERRUPTION_SOFTWARE = 4,
	INTERRUPTION_PRIVILEGED = 5, /* privileged software exception */
	INTERRUPTION_SOFTWARE_EXCEPTION = 6,
	INTERRUPTION_OTHER = 7, /* vector 0: a pending MTF VM exit */
};

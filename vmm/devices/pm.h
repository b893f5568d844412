/*
 * Power: ACPI's fixed registers (ACPI Specification 3.0, "ACPI Register Model"), and the three ports by which a PC is reset.
 */
#ifndef VMM_DEVICES_PM_H
#define VMM_DEVICES_PM_H

#include "devices/ports.h"

/* The ports that the tables of guest/acpi.c name. */
enum { PM_EVENT = 0x600, PM_CONTROL = 0x604, PM_TIMER = 0x608, PM_END = 0x60c, PM_RESET = 0xcf9, PM_RESET_VALUE = 0x06 };
enum { PM_SLP_TYP_S5 = 5 };

struct pm {
	uint16_t enable, control; /* PM1_EN, PM1_CNT */
	uint8_t reset_control;	  /* port 0CF9H: as written */
};

port_reader pm_read; /* PM_EVENT to PM_END - 1 */
port_writer pm_write;

/* reset.c */
port_reader port92_read; /* port 92H: A20 and fast reset */
port_writer port92_write;
port_reader i8042_read; /* 60H, 64H: there is no keyboard controller but for its reset line */
port_writer i8042_write;
port_reader reset_control_read; /* 0CF9H */
port_writer reset_control_write;

#endif

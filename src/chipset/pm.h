/*
 * ACPI power management and SMI generation of the ICH9: the I/O block at PMBASE and the APM ports B2H and B3H. ICH9
 * datasheet, "Power Management I/O Registers", "APM I/O Decode"; ACPI, "ACPI Hardware Specification".
 */
#pragma once

#include "bus/bus.h"
#include "bus/irq.h"
#include "chipset/request.h"
#include "clock/clock.h"

#define PM_TIMER_HZ UINT64_C(3579545)

struct pm;

struct pm_wires {
	struct irq sci;
	void (*smi)(void *ctx); /* one SMI# to the processors */
	void *smi_ctx;
	struct request_hook hook;
};

struct pm *pm_create(struct bus *bus, struct clock *clock, const struct pm_wires *wires, const struct log *log);
void pm_destroy(struct pm *pm);
void pm_reset(struct pm *pm);
void pm_state(struct pm *pm, struct state *state);

/* From the LPC bridge: PMBASE and ACPI_EN; SMI_LOCK freezes GBL_SMI_EN; GCS.NO_REBOOT. */
void pm_set_base(struct pm *pm, bool enabled, uint16_t base);
void pm_set_smi_lock(struct pm *pm, bool locked);
void pm_set_no_reboot(struct pm *pm, bool no_reboot);
/* The user pressed the power button. */
void pm_power_button(struct pm *pm);

/*
 * ACPI's fixed registers: ACPI Specification 3.0, "ACPI Register Model". The power management event block has nothing to tell: there are no buttons,
 * and the timer's overflow is found by who reads it often enough. So no SCI is ever raised, and the status bits are 0.
 *
 * Not modelled: TMR_STS, GBL_STS.
 */
#include "devices/pm.h"

#include "devices/clock.h"
#include "guest/vm.h"

enum { PM1_STS = PM_EVENT, PM1_EN = PM_EVENT + 2, PM1_CNT = PM_CONTROL };
enum { PM1_EN_KEPT = 0x4721 /* TMR, GBL, PWRBTN, SLPBTN, RTC, PCIEXP_WAKE_DIS */ };
enum { PM1_CNT_SCI_EN = 0x0001, PM1_CNT_BM_RLD = 0x0002, PM1_CNT_SLP_TYP_SHIFT = 10, PM1_CNT_SLP_TYP = 0x1c00, PM1_CNT_SLP_EN = 0x2000 };
enum { TIMER_HZ = 3579545, TIMER_MASK = 0xffffff };

static uint32_t read16(struct vm *vm, uint16_t port, uint64_t now)
{
	uint32_t timer = (uint32_t)clock_ticks(now, TIMER_HZ) & TIMER_MASK;

	switch (port) {
	case PM1_EN:
		return vm->devices.pm.enable;
	case PM1_CNT:
		return vm->devices.pm.control | PM1_CNT_SCI_EN; /* always in ACPI mode */
	case PM_TIMER:
		return timer & 0xffff;
	case PM_TIMER + 2:
		return timer >> 16;
	}
	return 0;
}

uint32_t pm_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	uint16_t even = port & ~1u;

	return (read16(vm, even, now) | read16(vm, even + 2, now) << 16) >> (port & 1) * 8;
}

/* "Sleeping/Wake Control": S5 is the only state that the tables offer. */
static void write_control(struct vm *vm, uint16_t value)
{
	vm->devices.pm.control = value & (PM1_CNT_BM_RLD | PM1_CNT_SLP_TYP);
	if ((value & PM1_CNT_SLP_EN) && (value & PM1_CNT_SLP_TYP) >> PM1_CNT_SLP_TYP_SHIFT == PM_SLP_TYP_S5)
		vm_power_off(vm);
}

static void write16(struct vm *vm, uint16_t port, uint16_t value)
{
	if (port == PM1_EN)
		vm->devices.pm.enable = value & PM1_EN_KEPT;
	else if (port == PM1_CNT)
		write_control(vm, value);
}

void pm_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	uint16_t even = port & ~1u, old;

	switch (size) {
	case 1:
		old = (uint16_t)read16(vm, even, now);
		write16(vm, even, (uint16_t)(port & 1 ? (old & 0x00ff) | value << 8 : (old & 0xff00) | value));
		break;
	case 2:
		write16(vm, port, (uint16_t)value);
		break;
	case 4:
		write16(vm, port, (uint16_t)value);
		write16(vm, port + 2, (uint16_t)(value >> 16));
		break;
	}
}

/*
 * The ports that reset a PC: "Reset Control Register" and "Fast A20 and Init Register" of the Intel I/O hubs, and the command of the keyboard
 * controller that pulses its output 0. The A20 gate is open, always.
 *
 * There is no keyboard controller, as the ACPI tables say too. Its status says that it takes what is written, so that nobody waits.
 */
#include "devices/pm.h"

#include "guest/vm.h"

enum { PORT92_INIT_NOW = 0x01, PORT92_ALT_A20_GATE = 0x02 };
enum { RST_CNT_SYS_RST = 0x02, RST_CNT_RST_CPU = 0x04, RST_CNT_FULL_RST = 0x08 };
enum { I8042_COMMAND = 0x64 };

uint32_t port92_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	return PORT92_ALT_A20_GATE;
}

void port92_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	if (value & PORT92_INIT_NOW)
		vm_reset(vm);
}

uint32_t i8042_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	return 0;
}

/* Commands F0H to FFH pulse the outputs whose bits are 0. */
void i8042_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	if (port == I8042_COMMAND && (value & 0xf1) == 0xf0)
		vm_reset(vm);
}

uint32_t reset_control_read(struct vm *vm, uint16_t port, unsigned size, uint64_t now)
{
	return vm->devices.pm.reset_control;
}

/* RST_CPU's change from 0 to 1 resets. */
void reset_control_write(struct vm *vm, uint16_t port, unsigned size, uint32_t value, uint64_t now)
{
	bool reset = value & ~vm->devices.pm.reset_control & RST_CNT_RST_CPU;

	vm->devices.pm.reset_control = value & (RST_CNT_SYS_RST | RST_CNT_RST_CPU | RST_CNT_FULL_RST);
	if (reset)
		vm_reset(vm);
}

/*
 * The life of the VMM, from the boot loader's jump to the scheduler: docs/vmm.md goes through it.
 */
#include "boot/a20.h"
#include "boot/boot.h"
#include "boot/paging.h"
#include "console/console.h"
#include "cpu/acpi.h"
#include "cpu/cpu.h"
#include "cpu/interrupts.h"
#include "cpu/start.h"
#include "cpu/time.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/print.h"

extern unsigned char boot_stack_top[];		/* boot/start.S */
_Noreturn void main(uint32_t magic, pa_t info); /* for boot/start.S */

static void other_cpu(void)
{
	print("vmm: CPU %u, APIC ID %u\n", this_cpu()->index, this_cpu()->apic_id);
	for (;;)
		interrupts_wait();
}

void main(uint32_t magic, pa_t info)
{
	console_init();
	interrupts_init();
	cpu_init(0, boot_stack_top);
	boot_read(magic, info);
	print("vmm: SoftVT VMM, %lu MiB free, %u modules, command line \"%s\"\n", pool_left() >> 20, boot_info.modules_count, boot_info.command_line);
	acpi_init(boot_info.rsdp);
	paging_guard_null();
	time_init();
	print("vmm: TSC %lu Hz, a20 %d\n", tsc_hz, a20_open());
	cpus_start(other_cpu);
	print("vmm: %u CPUs\n", cpu_count);
	time_delay_us(1000000);
	acpi_power_off();
	cpu_stop();
}

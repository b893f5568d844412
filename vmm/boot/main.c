/*
 * The life of the VMM, from the boot loader's jump to the scheduler: docs/vmm.md goes through it.
 */
#include "boot/boot.h"
#include "boot/paging.h"
#include "console/console.h"
#include "cpu/acpi.h"
#include "cpu/interrupts.h"
#include "cpu/start.h"
#include "cpu/time.h"
#include "lib/pool.h"
#include "lib/print.h"

extern unsigned char boot_stack_top[]; /* boot/start.S */

_Noreturn void main(uint32_t magic, pa_t info); /* for boot/start.S */

_Noreturn void main(uint32_t magic, pa_t info)
{
	console_init();
	boot_read(magic, info);
	print("vmm: SoftVT VMM, %lu MiB free, %u modules, command line \"%s\"\n", pool_left() >> 20, boot_info.modules_count, boot_info.command_line);
	for (;;)
		__asm__ volatile("cli; hlt");
}

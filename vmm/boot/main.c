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
#include "demo/demo.h"
#include "guest/config.h"
#include "guest/vm.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "lib/string.h"
#include "sched/scheduler.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

enum { SLICE_US = 10000, SLICE_MOST_US = 1000000, OPTION_MAX = 256 };

extern unsigned char boot_stack_top[];		/* boot/start.S */
_Noreturn void main(uint32_t magic, pa_t info); /* for boot/start.S */

static _Noreturn void power_off(void)
{
	acpi_power_off();
	print("vmm: the machine stays on; it can be switched off\n");
	cpu_stop();
}

static _Noreturn void refuse(const char *reason)
{
	print("vmm: this machine cannot run VMs: %s\n", reason);
	power_off();
}

static void other_cpu(void)
{
	const char *reason = vmx_available(); /* IA32_FEATURE_CONTROL is each CPU's own */

	if (reason)
		panic("CPU 0 can run VMs, but here %s", reason);
	vmx_on();
	scheduler_run();
}

static uint64_t slice_us(void)
{
	char text[OPTION_MAX];
	uint64_t us;

	if (!boot_option("slice", text, sizeof(text)))
		return SLICE_US;
	if (string_number(text, false, &us) && us && us <= SLICE_MOST_US)
		return us;
	print("vmm: slice=%s is no number of microseconds from 1 to %u: it is %u\n", text, SLICE_MOST_US, SLICE_US);
	return SLICE_US;
}

/* Those of the command line. One that cannot be does not keep the others from it. */
static void create_vms(void)
{
	static struct vm_config configs[VMS_MAX + 1]; /* the last one is refused */
	const char *at = boot_info.command_line, *why;

	while (config_next(&at, &configs[vms_count])) {
		const struct vm_config *config = &configs[vms_count];
		struct vm *vm = vm_create(config, &why);

		if (!vm)
			print("vmm: vm %s is not made: %s\n", config->name, why);
		else
			vcpu_report_controls(vm->vcpus[0]);
	}
}

static void start_vms(void)
{
	for (unsigned i = 0; i < vms_count; i++) {
		for (unsigned n = 0; n < vms[i]->vcpus_count; n++)
			scheduler_add(vms[i]->vcpus[n]);
	}
}

void main(uint32_t magic, pa_t info)
{
	char text[OPTION_MAX];
	const char *reason;

	console_init();
	interrupts_init();
	cpu_init(0, boot_stack_top);
	boot_read(magic, info);
	acpi_init(boot_info.rsdp);
	paging_guard_null();
	time_init();
	print("\nSoftVT VMM: %lu MiB of memory, %u modules, TSC of %lu kHz\n", pool_left() >> 20, boot_info.modules_count,
	      tsc_hz / 1000);

	if (!a20_open())
		refuse("the A20 gate is closed and does not open");
	reason = vmx_available();
	if (reason)
		refuse(reason);
	vmx_caps_read();
	if (!boot_option("quiet", text, sizeof(text)))
		vmx_caps_report();
	vmx_on();
	cpus_start(other_cpu);
	print("vmm: %u CPU%s in VMX operation\n", cpu_count, cpu_count == 1 ? "" : "s");
	scheduler_init(slice_us());
	if (boot_option("demo", text, sizeof(text)))
		demos_run(text);
	create_vms();
	pool_seal();
	console_start(boot_option("console", text, sizeof(text)));
	start_vms();
	scheduler_run();
}

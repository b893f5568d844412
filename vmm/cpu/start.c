/*
 * Starting the other processors, one after the other: SDM vol. 3, "MP Initialization Protocol Algorithm for MP Systems",
 * "Typical AP Initialization Sequence" and "Typical BSP Initialization Sequence".
 */
#include "cpu/start.h"

#include "cpu/acpi.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/time.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "lib/string.h"

enum { INIT_US = 10000, STARTUP_US = 200, PATIENCE_US = 100000 };

extern const uint8_t trampoline[], trampoline_end[]; /* cpu/trampoline.S, which reads start_stack and calls cpu_started() */
extern unsigned char *start_stack;
_Noreturn void cpu_started(void);

/* For the one that is starting. */
unsigned char *start_stack;
static unsigned start_index;
static void (*start_entry)(void);

void cpu_started(void)
{
	cpu_init(start_index, start_stack);
	start_entry();
	cpu_stop();
}

static bool wait_online(const struct cpu *cpu, uint64_t us)
{
	uint64_t end = rdtsc() + tsc_of_ns(us * 1000);

	while (!__atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE)) {
		if (rdtsc() > end)
			return false;
		cpu_relax();
	}
	return true;
}

/* The processor has had its INIT. */
static bool start(uint32_t id, unsigned page)
{
	struct cpu *cpu = &cpus[start_index];

	apic_send_startup(id, page);
	if (wait_online(cpu, STARTUP_US))
		return true;
	apic_send_startup(id, page); /* the first may have come too early */
	if (wait_online(cpu, PATIENCE_US))
		return true;
	apic_send_init(id); /* it must not come later, onto a stack that another has by then */
	return false;
}

void cpus_start(void (*entry)(void))
{
	uint32_t ids[CPUS_MAX];
	unsigned count = acpi_processors(ids, CPUS_MAX);
	uint8_t *stack = NULL, *page;

	if (count == 1)
		return;
	page = pool_take_low(PAGE);
	if (!page) {
		print("vmm: there is no memory below 1 MiB to start other CPUs with\n");
		return;
	}
	memcpy(page, trampoline, (size_t)(trampoline_end - trampoline));
	start_entry = entry;
	for (unsigned i = 0; i < count; i++) {
		if (ids[i] != this_cpu()->apic_id)
			apic_send_init(ids[i]);
	}
	time_delay_us(INIT_US);
	for (unsigned i = 0; i < count && cpu_count < CPUS_MAX; i++) {
		if (ids[i] == this_cpu()->apic_id)
			continue;
		if (!stack)
			stack = pool_take(CPU_STACK, 16);
		if (!stack) {
			print("vmm: there is no memory for the stack of another CPU\n");
			return;
		}
		start_stack = stack + CPU_STACK;
		start_index = cpu_count;
		if (start(ids[i], (unsigned)(pa_of(page) / PAGE))) {
			cpu_count++;
			stack = NULL;
		} else {
			print("vmm: the CPU with APIC ID %u does not start\n", ids[i]);
		}
	}
}

/*
 * The VMX-preemption timer: SDM vol. 3, "VMX-Preemption Timer". It counts down each time bit VMX_TIMER_RATE of the TSC
 * changes by counting, also in the HLT and shutdown states; the exit itself is exec/event.c's.
 */
#include "cpu/msr.h"
#include "vmx/vmx.h"

#define TICKS (UINT64_C(1) << VMX_TIMER_RATE) /* of the TSC, which is of 1 ns, to a count */

static void expired(void *owner)
{
	cpu_attend(owner, ATTEND_PINS);
}

void vmx_timer_create(struct cpu *cpu)
{
	deadline_init(&cpu->vmx->timer, expired, cpu);
	cpu->vmx->timer_end = VTIME_NEVER;
}

void vmx_timer_start(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	uint64_t count = vmcs_get(&vmx->vmcs, PREEMPTION_TIMER);
	vtime_t now;

	vmx->timer_end = VTIME_NEVER;
	if (!vmx_pin(vmx, PREEMPTION_TIMER))
		return;
	now = clock_now(cpu->clock);
	vmx->timer_end = count ? now + count * TICKS - cpu_tsc(cpu) % TICKS : now;
	if (count)
		clock_arm(cpu->clock, &vmx->timer, vmx->timer_end);
}

uint32_t vmx_timer_stop(struct cpu *cpu)
{
	struct vmx *vmx = cpu->vmx;
	vtime_t now, end = vmx->timer_end;

	if (vmx->timer.at != VTIME_NEVER)
		clock_cancel(cpu->clock, &vmx->timer);
	if (end == VTIME_NEVER)
		return 0;
	vmx->timer_end = VTIME_NEVER;
	now = clock_now(cpu->clock);
	return end <= now ? 0 : (uint32_t)((end - now + TICKS - 1) / TICKS);
}

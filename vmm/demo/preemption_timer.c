/*
 * The VMX-preemption timer: SDM vol. 3, "VMX-Preemption Timer". A guest that does nothing that exits, with its
 * interrupts off, is taken back after the time that vcpu_run() set.
 */
#include "cpu/time.h"
#include "cpu/x86.h"
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { ROUNDS = 3, SLICE = 2000 /* us */ };

GUEST(preemption_timer_guest,
1:	incl 0x8000;
	jmp 1b;
);

static uint64_t us[ROUNDS];
static uint32_t count[ROUNDS];
static unsigned rounds;

static void setup(struct vm *vm)
{
	guest_load(vm, preemption_timer_guest, preemption_timer_guest_end);
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	if (reason != EXIT_PREEMPTION_TIMER)
		return false;
	us[rounds] = ns_of_tsc(rdtsc() - vcpu->entry_tsc) / 1000;
	count[rounds] = guest_log(vcpu->vm, 0);
	if (++rounds == ROUNDS)
		vcpu->vm->state = VM_OFF;
	return true;
}

static bool passed(struct vm *vm)
{
	bool good = demo_same("the number of VM exits", guest_exits(vm), ROUNDS);

	for (unsigned n = 0; n < ROUNDS; n++) {
		print("  set to %u us, taken back after %lu us; the guest's loop has counted to %u\n", SLICE, us[n], count[n]);
		good &= demo_same("taken back in time", us[n] >= SLICE * 7 / 8 && us[n] < SLICE * 2, true) &
			demo_same("the guest ran", count[n] > (n ? count[n - 1] : 0), true);
	}
	return good;
}

const struct demo demo_preemption_timer = {
	.name = "preemption-timer",
	.title = "a guest that never exits is taken back after a set time",
	.needs = {NEED(PINBASED_CTLS, PREEMPTION_TIMER)},
	.slice_us = SLICE,
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

/*
 * Which vCPU runs: each CPU takes those that were given to it in turns. A turn ends with the slice, with HLT, or when somebody
 * kicks the CPU.
 */
#ifndef VMM_SCHED_SCHEDULER_H
#define VMM_SCHED_SCHEDULER_H

#include "guest/vm.h"

void scheduler_init(uint64_t slice_us);
struct cpu *scheduler_place(void);	/* the CPU for the next vCPU: they are dealt out in turn */
void scheduler_add(struct vcpu *vcpu);	/* to its CPU's list; before scheduler_run() */
_Noreturn void scheduler_run(void);	/* what every CPU does from then on, until shutdown */

/* All VMs are off or stopped, or the prompt said so: exit statistics, VMXOFF everywhere, power off. Does not return, but in
   tests. */
void scheduler_shutdown(void);

#endif

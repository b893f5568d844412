/*
 * Demonstrations: guests of a few lines, each of which shows one thing that VMX does, and says whether it did.
 */
#ifndef VMM_DEMO_DEMO_H
#define VMM_DEMO_DEMO_H

#include "guest/vm.h"

struct demo {
	const char *name;  /* for demo= */
	const char *title; /* what it shows, a line */
	unsigned vcpus;	   /* vCPUs (and CPUs) that it needs */
	const char *(*lacks)(void); /* NULL function or NULL result: the CPU has what it needs; else the name of what is missing */
	void (*setup)(struct vm *vm); /* memory, registers and controls; the VMCS of vCPU 0 is current */
	exit_hook *hook;
	bool (*passed)(struct vm *vm); /* after the guest powered off or stopped */
};

/* Runs those that names asks for ("all", or names with commas), one after the other, and prints "demo NAME: ok", "demo NAME: FAILED" or "demo
   NAME: not possible: this CPU lacks ...". Returns how many failed. Before scheduler_run(). */
unsigned demos_run(const char *names);

#endif

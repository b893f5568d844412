/*
 * Demonstrations: guests of a few lines, each of which shows one thing that VMX does, and says whether it did.
 */
#ifndef VMM_DEMO_DEMO_H
#define VMM_DEMO_DEMO_H

#include "guest/vm.h"

/* A control, or several of one word, without which a demonstration is not possible. */
struct need {
	enum vmx_word word;
	uint64_t bits; /* 0: the end of a list */
};
#define NEED(word, name) {WORD_##word, CTL(word, name)}

struct demo {
	const char *name;  /* for demo= */
	const char *title; /* what it shows, a line */
	struct need needs[8];
	uint64_t slice_us; /* the longest time in the guest between two VM exits; 0: 10 ms */
	void (*setup)(struct vm *vm); /* the guest, and what its VMCS, which is current, has beyond the usual. With the VM's lock */
	exit_hook *hook; /* NULL, or asked at every VM exit but the last */
	void (*beside)(struct vm *vm); /* NULL, or what another CPU does while the guest runs */
	bool (*passed)(struct vm *vm); /* the guest has ended: tells the story and judges it. The VMCS is current */
};

extern const struct demo demo_pic, demo_page_fault, demo_io, demo_msr, demo_ept, demo_ve, demo_mtf, demo_preemption_timer,
	demo_posted_interrupt, demo_real_mode, demo_tpr;

/*
 * Runs those that names asks for ("all", or names with commas), one after the other, and prints "demo NAME: ok", "demo
 * NAME: FAILED" or "demo NAME: not possible: this CPU lacks ...". Returns how many failed. On CPU 0, before
 * scheduler_run() there and before pool_seal(); the other CPUs are in scheduler_run().
 */
unsigned demos_run(const char *names);

#endif

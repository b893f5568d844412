/*
 * Running demonstrations: each in a VM of its own, which is forgotten afterwards.
 *
 * The loop here is the scheduler's (sched/scheduler.c) for one vCPU that has its CPU for itself.
 */
#include "demo/demo.h"
#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/time.h"
#include "cpu/x86.h"
#include "demo/guest.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

static const struct demo *const demos[] = {&demo_pic, &demo_page_fault, &demo_io, &demo_msr, &demo_ept, &demo_ve, &demo_mtf,
					   &demo_preemption_timer, &demo_posted_interrupt, &demo_real_mode, &demo_tpr};

enum { SLICE_US = 10000, LIMIT_US = 3000000 /* no demonstration needs a tenth of it */ };

/* Does a list of names begin with this one? */
static bool begins(const char *names, const char *name)
{
	size_t length = strlen(name);

	return !strncmp(names, name, length) && (names[length] == ',' || !names[length]);
}

/* The rest of a list behind its first name, or NULL. */
static const char *behind(const char *names)
{
	const char *comma = strchr(names, ',');

	return comma ? comma + 1 : NULL;
}

static bool wanted(const char *names, const char *name)
{
	if (!strcmp(names, "all"))
		return true;
	for (; names; names = behind(names))
		if (begins(names, name))
			return true;
	return false;
}

/* Says which names are none of ours; returns how many. */
static unsigned unknown(const char *names)
{
	unsigned count = 0;

	for (; names && strcmp(names, "all"); names = behind(names)) {
		unsigned n = 0;

		while (n < ARRAY_SIZE(demos) && !begins(names, demos[n]->name))
			n++;
		if (n == ARRAY_SIZE(demos)) {
			print("demos: there is none named \"%s\"\n", names);
			count++;
		}
	}
	return count;
}

/* The title of a control that is needed and missing, or NULL. */
static const char *missing(const struct need *need)
{
	uint64_t bits = need->bits & ~vmx_caps.may[need->word];

	return bits ? vmx_control_title(need->word, (unsigned)__builtin_ctzll(bits)) : NULL;
}

/* The first thing that a demonstration needs, as any VM of ours or for its own purpose, and this machine lacks; or NULL. */
static const char *lacks(const struct demo *demo)
{
	const char *title = vmx_lacks();

	for (const struct need *need = demo->needs; need->bits && !title; need++)
		title = missing(need);
	if (title)
		return title;
	return demo->beside && cpu_count < 2 ? "a second CPU" : NULL;
}

/* vm->hook of all of them. */
static bool demo_exit(struct vcpu *vcpu, unsigned reason)
{
	const struct demo *demo = vcpu->vm->hook_data;

	if (reason == EXIT_VMCALL && (uint32_t)vcpu->registers[RAX] == 0) {
		vcpu->vm->state = VM_OFF; /* as vm_power_off() does, without saying it */
		return true;
	}
	return demo->hook && demo->hook(vcpu, reason);
}

/* The guest has halted: until something is due for it, or comes. */
static void wait(struct vcpu *vcpu, uint64_t limit)
{
	uint64_t due;

	lock_take(&vcpu->vm->lock);
	due = vcpu_serve_clocks(vcpu);
	lock_release(&vcpu->vm->lock);
	if (!vcpu->woken) {
		apic_timer(min_u64(due, limit));
		interrupts_wait();
	}
}

/* From setup to verdict, on the vCPU's CPU. */
struct run {
	const struct demo *demo;
	struct vm *vm;
	bool passed;
};

static void run_guest(void *argument)
{
	struct run *run = argument;
	struct vm *vm = run->vm;
	struct vcpu *vcpu = vm->vcpus[0];
	uint64_t slice = tsc_of_ns((run->demo->slice_us ?: SLICE_US) * UINT64_C(1000));
	uint64_t limit = rdtsc() + tsc_of_ns(LIMIT_US * UINT64_C(1000));

	vcpu_switch(vcpu);
	lock_take(&vm->lock);
	run->demo->setup(vm);
	lock_release(&vm->lock);
	while (vm->state == VM_RUNNING && rdtsc() < limit)
		if (!vcpu_run(vcpu, rdtsc() + slice) && vm->state == VM_RUNNING)
			wait(vcpu, limit);
	if (vm->state == VM_RUNNING) {
		lock_take(&vm->lock);
		vm_stop(vm, "its guest does not end");
		lock_release(&vm->lock);
	} else if (vm->state == VM_OFF) {
		run->passed = run->demo->passed(vm);
	}
	vcpu_put_away(vcpu);
}

static void run_beside(void *argument)
{
	struct run *run = argument;

	run->demo->beside(run->vm);
}

static bool run_demo(const struct demo *demo)
{
	static struct vm_config config;
	struct run run = {.demo = demo};
	const char *why;

	print("demo %s: %s\n", demo->name, demo->title);
	config = (struct vm_config){.memory = GUEST_MEMORY, .cpus = 1};
	string_copy(config.name, sizeof(config.name), demo->name);
	run.vm = vm_create(&config, &why);
	if (!run.vm) {
		print("  %s\n", why);
		return false;
	}
	run.vm->hook = demo_exit;
	run.vm->hook_data = (void *)demo;
	if (demo->beside) {
		bool here = run.vm->vcpus[0]->cpu == this_cpu();
		struct cpu_work elsewhere = {.function = here ? run_beside : run_guest, .argument = &run};

		cpu_send(here ? &cpus[1] : run.vm->vcpus[0]->cpu, &elsewhere);
		(here ? run_guest : run_beside)(&run);
		cpu_wait(&elsewhere);
	} else {
		cpu_call(run.vm->vcpus[0]->cpu, run_guest, &run);
	}
	vms[--vms_count] = NULL; /* nobody shall look for it, or wait for its end */
	return run.passed;
}

unsigned demos_run(const char *names)
{
	unsigned ok = 0, impossible = 0, failed = unknown(names);

	for (unsigned n = 0; n < ARRAY_SIZE(demos); n++) {
		const char *lacking = lacks(demos[n]), *name = demos[n]->name;

		if (!wanted(names, name))
			continue;
		if (lacking) {
			print("demo %s: not possible: this CPU lacks %s\n", name, lacking);
			impossible++;
		} else if (run_demo(demos[n])) {
			print("demo %s: ok\n", name);
			ok++;
		} else {
			print("demo %s: FAILED\n", name);
			failed++;
		}
	}
	print("demos: %u ok, %u not possible, %u failed\n", ok, impossible, failed);
	return failed;
}

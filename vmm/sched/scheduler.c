/*
 * The loop of every CPU: what other CPUs want, what is due, and a turn for one of the vCPUs.
 *
 * No kick is lost: a CPU has its interrupts off but in a guest and in HLT, and cpu_kick() sets attention before it sends.
 * Either attention is seen, or the interrupt is pending when the CPU enters the guest or halts, and ends that at once.
 */
#include "sched/scheduler.h"

#include "console/console.h"
#include "cpu/acpi.h"
#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/time.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

enum { TYPED_AGAIN_US = 1000 /* what the guest had no room for is offered again then */ };

static uint64_t slice;	/* TSC ticks */
static unsigned placed; /* vCPUs so far */
static bool shutting_down;

void scheduler_init(uint64_t slice_us)
{
	slice = tsc_of_ns(slice_us * 1000);
}

struct cpu *scheduler_place(void)
{
	return &cpus[placed++ % cpu_count];
}

void scheduler_add(struct vcpu *vcpu)
{
	struct vcpu **end = &vcpu->cpu->first;

	while (*end)
		end = &(*end)->next_here;
	__atomic_store_n(end, vcpu, __ATOMIC_RELEASE); /* its CPU may be in scheduler_run() */
	cpu_kick(vcpu->cpu);
}

/* The TSC at which something is due for a vCPU; what is due now is done. */
static uint64_t serve(struct vcpu *vcpu)
{
	uint64_t due;

	lock_take(&vcpu->vm->lock);
	due = vcpu->vm->state == VM_RUNNING ? vcpu_serve_clocks(vcpu) : NEVER;
	lock_release(&vcpu->vm->lock);
	return due;
}

/* The last vCPU of a VM that shall not run has left the guest: the lock is held. */
static void settle(struct vm *vm)
{
	vm->stopped_tsc = rdtsc();
	cpu_kick(vm->state == VM_RESETTING ? vm->vcpus[0]->cpu : &cpus[0]);
}

static void put_back(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	lock_take(&vm->lock);
	if (!--vm->running && vm->state != VM_RUNNING)
		settle(vm);
	lock_release(&vm->lock);
}

/* May vcpu run? Then it is the current one. */
static bool pick(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	bool may;

	lock_take(&vm->lock);
	may = vm->state == VM_RUNNING && (vcpu->state == VCPU_RUNNABLE || vcpu->woken);
	vm->running += may;
	lock_release(&vm->lock);
	if (!may)
		return false;
	vcpu_switch(vcpu);
	if (vcpu_ready(vcpu))
		return true;
	put_back(vcpu);
	return false;
}

/* The vCPU whose turn it is: the same one while its slice lasts, else the next one round. NULL: none may run. */
static struct vcpu *pick_next(struct cpu *cpu)
{
	bool over = __atomic_exchange_n(&cpu->turn_over, false, __ATOMIC_ACQ_REL) || rdtsc() >= cpu->turn_end;
	struct vcpu *vcpu;

	if (!cpu->turn)
		cpu->turn = cpu->first;
	vcpu = cpu->turn;
	if (!vcpu || (!over && pick(vcpu)))
		return vcpu;
	do {
		vcpu = vcpu->next_here ? vcpu->next_here : cpu->first;
		if (pick(vcpu)) {
			cpu->turn = vcpu;
			cpu->turn_end = rdtsc() + slice;
			return vcpu;
		}
	} while (vcpu != cpu->turn);
	return NULL;
}

/* A vCPU that may have programmed a device: the CPU of vCPU 0, which serves the devices, must know if something is due
   sooner now. */
static void tell_devices_cpu(struct vm *vm)
{
	lock_take(&vm->lock);
	if (devices_deadline(vm) < vm->deadline)
		cpu_kick(vm->vcpus[0]->cpu);
	lock_release(&vm->lock);
}

/* A turn: until the slice ends, something else is due on this CPU, the vCPU halts or its VM stops, or somebody kicks this
   CPU. What is due for the vCPU itself is vcpu_run()'s business. */
static void run(struct cpu *cpu, struct vcpu *vcpu, uint64_t due)
{
	uint64_t end = min_u64(due, cpu->turn_end);
	bool again;

	do {
		again = vcpu_run(vcpu, end);
		if (vcpu->index)
			tell_devices_cpu(vcpu->vm);
	} while (again && !__atomic_load_n(&cpu->attention, __ATOMIC_ACQUIRE) && rdtsc() < end);
	put_back(vcpu);
}

/* Powers a VM on again where a reset waits for that. */
static void reset_waiting(struct cpu *cpu)
{
	for (struct vcpu *vcpu = cpu->first; vcpu; vcpu = vcpu->next_here) {
		struct vm *vm = vcpu->vm;
		bool now;

		lock_take(&vm->lock);
		now = vcpu->index == 0 && vm->state == VM_RESETTING && !vm->running;
		lock_release(&vm->lock);
		if (now)
			vm_power_on(vm);
	}
}

static bool all_off(void)
{
	for (unsigned i = 0; i < vms_count; i++) {
		struct vm *vm = vms[i];
		bool off;

		lock_take(&vm->lock);
		off = (vm->state == VM_STOPPED || vm->state == VM_OFF) && !vm->running;
		lock_release(&vm->lock);
		if (!off)
			return false;
	}
	return true;
}

static void meet(unsigned *count)
{
	__atomic_fetch_add(count, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(count, __ATOMIC_ACQUIRE) < cpu_count) {
		cpu_do_work();
		cpu_relax();
	}
}

/* When no CPU wants anything of another any more: this CPU's vCPUs are put away, and it leaves VMX operation. SDM vol. 3,
   "Enabling and Entering VMX Operation". */
static void leave(struct cpu *cpu)
{
	static unsigned ending, ended;

	meet(&ending);
	for (struct vcpu *vcpu = cpu->first; vcpu; vcpu = vcpu->next_here)
		vcpu_put_away(vcpu);
	vmx_off();
	meet(&ended);
}

void scheduler_shutdown(void)
{
	__atomic_store_n(&shutting_down, true, __ATOMIC_RELEASE);
	for (unsigned i = 1; i < cpu_count; i++)
		cpu_kick(&cpus[i]);
	leave(this_cpu());
	console_end();
	for (unsigned i = 0; i < vms_count; i++)
		stats_print(vms[i]);
	print("vmm: all VMs are off; VMXOFF on %u CPUs; powering off\n", cpu_count);
	acpi_power_off();
	print("vmm: the machine stays on; it can be switched off\n");
	cpu_stop();
}

_Noreturn void scheduler_run(void)
{
	struct cpu *cpu = this_cpu();

	for (;;) {
		uint64_t due = NEVER;
		struct vcpu *vcpu;

		__atomic_store_n(&cpu->attention, false, __ATOMIC_SEQ_CST);
		cpu_do_work();
		if (cpu->index == 0) {
			if (console_serve())
				due = rdtsc() + tsc_of_ns(TYPED_AGAIN_US * 1000);
			if (all_off())
				scheduler_shutdown();
		}
		if (__atomic_load_n(&shutting_down, __ATOMIC_ACQUIRE)) {
			leave(cpu);
			cpu_stop();
		}
		reset_waiting(cpu);
		for (vcpu = cpu->first; vcpu; vcpu = vcpu->next_here)
			due = min_u64(due, serve(vcpu));
		vcpu = pick_next(cpu);
		if (vcpu) {
			run(cpu, vcpu, due);
		} else if (!__atomic_load_n(&cpu->attention, __ATOMIC_ACQUIRE)) {
			apic_timer(due);
			interrupts_wait();
		}
	}
}

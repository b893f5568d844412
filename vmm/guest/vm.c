/*
 * VMs: how one is made, and what may happen to it.
 */
#include "guest/vm.h"

#include "boot/boot.h"
#include "cpu/time.h"
#include "cpu/x86.h"
#include "guest/load.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "lib/string.h"
#include "sched/scheduler.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

enum {
	LARGE_PAGE = 2 << 20,
	SECTOR = 512,
	BITMAP = 4096,	/* SDM vol. 3, "I/O-Bitmap Addresses", "MSR-Bitmap Address" */
	/* PML4, PDPT, four of 1 GiB, those of pages at 0, at the I/O APIC and the local APIC, and some for demonstrations. */
	EPT_TABLES = 16
};
/* Where a PC has no RAM below 1 MiB: display memory. */
#define HOLE_START UINT64_C(0xa0000)
#define HOLE_END UINT64_C(0xc0000)

struct vm *vms[VMS_MAX];
unsigned vms_count;

struct vm *vm_find(const char *name)
{
	for (unsigned i = 0; i < vms_count; i++) {
		if (!strcmp(vms[i]->config->name, name))
			return vms[i];
	}
	return NULL;
}

/* Pages of 2 MiB map most of it; what maps less takes a table more for each. False: there is not so much free memory. */
static bool make_memory(struct vm *vm)
{
	uint64_t size = vm->config->memory, tables = EPT_TABLES + (HAS(EPT_VPID_CAP, PAGES_2M) ? 0 : size / LARGE_PAGE);

	vm->memory = pool_take(size, LARGE_PAGE);
	ept_create(&vm->ept, (unsigned)tables);
	return vm->memory && vm->ept.root && ept_map(&vm->ept, 0, pa_of(vm->memory), HOLE_START, EPT_ALL, MEMORY_WB) &&
	       ept_map(&vm->ept, HOLE_END, pa_of(vm->memory) + HOLE_END, size - HOLE_END, EPT_ALL, MEMORY_WB);
}

/* False: there is not so much free memory. */
static bool make_disk(struct vm *vm)
{
	const struct module *disk = vm->config->disk;

	if (!disk || !disk->size)
		return true;
	vm->disk_size = ALIGN_UP(disk->size, SECTOR);
	vm->disk = pool_take(vm->disk_size, PAGE);
	if (vm->disk)
		memcpy(vm->disk, at_pa(disk->start), disk->size);
	return vm->disk;
}

/* All ports and MSRs exit, but for what others allow. */
static bool make_bitmaps(struct vm *vm)
{
	uint8_t **const bitmaps[] = {&vm->msr_bitmap, &vm->io_bitmap_a, &vm->io_bitmap_b};

	for (unsigned i = 0; i < ARRAY_SIZE(bitmaps); i++) {
		*bitmaps[i] = pool_take(BITMAP, PAGE);
		if (!*bitmaps[i])
			return false;
		memset(*bitmaps[i], 0xff, BITMAP);
	}
	vm->apic_access_page = pool_take(PAGE, PAGE);
	return vm->apic_access_page;
}

static const char *load(struct vm *vm)
{
	if (vm->config->kernel)
		return load_linux(vm);
	if (vm->config->image)
		return load_flat(vm);
	return NULL; /* a demonstration loads itself */
}

/* A vCPU's VMCS is touched on its CPU only. */
struct loading {
	struct vm *vm;
	const char *why;
};

static void reset_here(void *vcpu) { vcpu_reset(vcpu); }

static void load_here(void *argument)
{
	struct loading *loading = argument;

	vcpu_switch(loading->vm->vcpus[0]);
	loading->why = load(loading->vm);
}

/* From zeroed memory. NULL, or why the guest cannot be loaded. */
static const char *power_on(struct vm *vm)
{
	struct loading loading = {.vm = vm};

	lock_take(&vm->lock);
	vm->tsc_offset = -rdtsc();
	vm->stopped_tsc = 0;
	vm->deadline = NEVER;
	devices_reset(vm);
	lock_release(&vm->lock);
	for (unsigned i = 0; i < vm->vcpus_count; i++)
		cpu_call(vm->vcpus[i]->cpu, reset_here, vm->vcpus[i]);
	cpu_call(vm->vcpus[0]->cpu, load_here, &loading);
	return loading.why;
}

static void kick_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus_count; i++)
		cpu_kick(vm->vcpus[i]->cpu);
}

/* Why there cannot be a VM of that kind here, or NULL. */
static const char *objection(const struct vm_config *config)
{
	if (vms_count == VMS_MAX)
		return "there are too many VMs";
	if (vm_find(config->name))
		return "there is another VM of this name";
	if (HAS(PROCBASED_CTLS2, UNRESTRICTED_GUEST) || vmx_lacks()) /* what all VMs need comes first: vcpu_create() */
		return NULL;
	if (config->cpus > 1)
		return "more than one vCPU needs unrestricted guest, which this CPU has not: others start in real mode";
	return config->image ? "image= needs unrestricted guest, which this CPU has not: it is started in real mode" : NULL;
}

/* NULL, or why not all of it could be made. */
static const char *make(struct vm *vm)
{
	static char why[128];

	if (!make_memory(vm) || !make_disk(vm) || !make_bitmaps(vm))
		return "there is not so much free memory in one piece";
	for (; vm->vcpus_count < vm->config->cpus; vm->vcpus_count++) {
		const char *missing = vcpu_create(vm, vm->vcpus_count, scheduler_place());

		if (missing) {
			format_text(why, sizeof(why), "a vCPU needs %s, which is not there", missing);
			return why;
		}
	}
	return power_on(vm);
}

struct vm *vm_create(const struct vm_config *config, const char **why)
{
	struct vm *vm;

	*why = objection(config);
	if (*why)
		return NULL;
	vm = pool_take(sizeof(*vm), 64);
	if (!vm) {
		*why = "there is no free memory";
		return NULL;
	}
	vm->config = config;
	vm->index = vms_count;
	*why = make(vm);
	if (*why)
		return NULL;
	vm->state = VM_RUNNING;
	vms[vms_count++] = vm;
	return vm;
}

void vm_power_on(struct vm *vm)
{
	const char *why;

	memset(vm->memory, 0, vm->config->memory);
	why = power_on(vm);
	lock_take(&vm->lock);
	vm->state = VM_RUNNING;
	if (why)
		vm_stop(vm, "%s", why);
	kick_all(vm);
	lock_release(&vm->lock);
}

/* A state in which no vCPU runs. The VM's time stops now, or when the scheduler gets the last vCPU back. */
static void leave_running(struct vm *vm, enum vm_state state)
{
	if (!vm->running && !vm->stopped_tsc)
		vm->stopped_tsc = rdtsc();
	vm->state = state;
	kick_all(vm);
}

/* CPU 0 looks whether there is a VM left. */
static void end(struct vm *vm, enum vm_state state)
{
	leave_running(vm, state);
	cpu_kick(&cpus[0]);
}

/* What a guest does on another CPU after its VM has ended, before it is stopped there, changes nothing. */
static bool alive(const struct vm *vm) { return vm->state == VM_RUNNING || vm->state == VM_PAUSED; }

void vm_stop(struct vm *vm, const char *format, ...)
{
	struct vcpu *vcpu = this_cpu()->current;
	va_list args;

	if (!alive(vm))
		return;
	va_start(args, format);
	vformat_text(vm->why, sizeof(vm->why), format, args);
	va_end(args);
	end(vm, VM_STOPPED);
	print("vmm: vm %s: stopped: %s\n", vm->config->name, vm->why);
	if (vcpu && vcpu->vm == vm)
		vcpu_print_registers(vcpu);
}

void vm_power_off(struct vm *vm)
{
	if (!alive(vm))
		return;
	end(vm, VM_OFF);
	print("vmm: vm %s: powered off\n", vm->config->name);
}

void vm_reset(struct vm *vm)
{
	if (!alive(vm) && vm->running)
		return;
	leave_running(vm, VM_RESETTING);
	print("vmm: vm %s: reset\n", vm->config->name);
}

void vm_pause(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return;
	leave_running(vm, VM_PAUSED);
	print("vmm: vm %s: paused\n", vm->config->name);
}

void vm_resume(struct vm *vm)
{
	if (vm->state != VM_PAUSED)
		return;
	if (vm->stopped_tsc)
		vm->tsc_offset -= rdtsc() - vm->stopped_tsc;
	vm->stopped_tsc = 0;
	vm->state = VM_RUNNING;
	kick_all(vm);
	print("vmm: vm %s: resumed\n", vm->config->name);
}

uint64_t vm_time(const struct vm *vm)
{
	return ns_of_tsc((vm->stopped_tsc ? vm->stopped_tsc : rdtsc()) + vm->tsc_offset);
}

uint64_t vm_tsc_of_time(const struct vm *vm, uint64_t ns)
{
	/* 1 more, so that at that TSC vm_time() is not a fraction before ns. What is centuries away is not computed. */
	return ns > NEVER / 16 ? NEVER : tsc_of_ns(ns) + 1 - vm->tsc_offset;
}

bool vm_is_ram(const struct vm *vm, gpa_t gpa, uint64_t size)
{
	uint64_t end_of_ram = vm->config->memory;

	return gpa < end_of_ram && size <= end_of_ram - gpa && (gpa + size <= HOLE_START || gpa >= HOLE_END);
}

bool vm_read(struct vm *vm, gpa_t gpa, void *to, size_t size)
{
	if (!vm_is_ram(vm, gpa, size))
		return false;
	memcpy(to, vm->memory + gpa, size);
	return true;
}

bool vm_write(struct vm *vm, gpa_t gpa, const void *from, size_t size)
{
	if (!vm_is_ram(vm, gpa, size))
		return false;
	memcpy(vm->memory + gpa, from, size);
	return true;
}

void vcpu_wake(struct vcpu *vcpu)
{
	if (vcpu->state != VCPU_RUNNABLE) {
		vcpu->woken = true;
		__atomic_store_n(&vcpu->cpu->turn_over, true, __ATOMIC_RELEASE);
		cpu_kick(vcpu->cpu);
	} else if (vcpu->in_guest && vcpu->cpu != this_cpu()) {
		cpu_kick(vcpu->cpu);
	}
}

bool vcpu_ready(struct vcpu *vcpu)
{
	bool ready;

	lock_take(&vcpu->vm->lock);
	if (vcpu->woken && vcpu_has_work(vcpu))
		vcpu->state = VCPU_RUNNABLE;
	vcpu->woken = false;
	ready = vcpu->state == VCPU_RUNNABLE;
	lock_release(&vcpu->vm->lock);
	return ready;
}

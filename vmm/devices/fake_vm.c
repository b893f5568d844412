/*
 * A VM without a processor, for the unit tests of devices: what devices ask of the rest of the VMM, answered and written down here.
 */
#include "devices/fake_vm.h"

#include "console/console.h"
#include <stdlib.h>
#include <string.h>

static struct fake *fake_of(const struct vm *vm) { return (struct fake *)(uintptr_t)vm; }

bool lapic_takes_extint(const struct vcpu *vcpu) { return fake_of(vcpu->vm)->takes_extint; }
void vcpu_wake(struct vcpu *vcpu) { fake_of(vcpu->vm)->wakes++; }
void vm_power_off(struct vm *vm) { fake_of(vm)->power_offs++; }
void vm_reset(struct vm *vm) { fake_of(vm)->resets++; }
uint64_t vm_time(const struct vm *vm) { return fake_of(vm)->now; }

void lapic_send(struct vm *vm, struct vcpu *from, const struct apic_message *message)
{
	fake_of(vm)->message = *message;
	fake_of(vm)->messages++;
}

void console_guest(struct vm *vm, uint8_t byte)
{
	struct fake *f = fake_of(vm);

	f->sent[f->sent_count++ % sizeof(f->sent)] = (char)byte;
}

static bool is_memory(gpa_t gpa, size_t size) { return gpa < FAKE_MEMORY && size <= FAKE_MEMORY - gpa; }

bool vm_read(struct vm *vm, gpa_t gpa, void *to, size_t size)
{
	if (!is_memory(gpa, size))
		return false;
	memcpy(to, fake_of(vm)->memory + gpa, size);
	return true;
}

bool vm_write(struct vm *vm, gpa_t gpa, const void *from, size_t size)
{
	if (!is_memory(gpa, size))
		return false;
	memcpy(fake_of(vm)->memory + gpa, from, size);
	return true;
}

static struct fake *resetting; /* machine_clock() does not say for whom it is */

void machine_clock(uint8_t bytes[RTC_BYTES])
{
	memcpy(bytes, resetting->clock, RTC_BYTES);
}

int fake_setup(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	f->vm.vcpus[0] = &f->vcpu;
	f->vm.vcpus_count = 1;
	f->vcpu.vm = &f->vm;
	f->vm.disk = f->disk;
	f->vm.disk_size = FAKE_DISK;
	f->clock[RTC_SECONDS] = 0x58;
	f->clock[RTC_MINUTES] = 0x59;
	f->clock[RTC_HOURS] = 0x23;
	f->clock[RTC_DAY_OF_WEEK] = 7;
	f->clock[RTC_DAY] = 0x28;
	f->clock[RTC_MONTH] = 0x11;
	f->clock[RTC_YEAR] = 0x26;
	f->clock[RTC_CENTURY] = 0x20;
	f->clock[RTC_B] = RTC_B_24H;
	resetting = f;
	devices_reset(&f->vm);
	*state = f;
	return 0;
}

int fake_teardown(void **state)
{
	free(*state);
	return 0;
}

void out(struct fake *f, uint16_t port, uint8_t value) { port_write(&f->vm, port, 1, value); }
uint8_t in(struct fake *f, uint16_t port) { return (uint8_t)port_read(&f->vm, port, 1); }

void run_to(struct fake *f, uint64_t ns)
{
	uint64_t deadline;

	while ((deadline = devices_deadline(&f->vm)) <= ns) {
		f->now = max_u64(deadline, f->now);
		devices_tick(&f->vm, f->now);
		assert_true(devices_deadline(&f->vm) > f->now); /* or there would be no end */
	}
	f->now = ns;
}

void run(struct fake *f, uint64_t ns) { run_to(f, f->now + ns); }

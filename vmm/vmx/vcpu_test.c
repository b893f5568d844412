/* From one VM entry to the next VM exit, and past an instruction. SDM vol. 3, "VMX-Preemption Timer", "RFLAGS and
   Interruptibility State". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

static void vmptrld(void *region) {}
static void vmclear(void *region) {}

#include "vmx/vcpu.c"

struct vmx_caps vmx_caps;
uint64_t tsc_hz = 1000000000;

static struct vm vm;
static struct vcpu vcpu;
static uint64_t lapic_due, devices_due, timer_set;
static unsigned entries, dispatched, ticks, stops;
static bool entry_fails, in_64bit_mode, halts;

bool vmx_enter(struct vcpu *of, bool launched)
{
	assert_int_equal(launched, entries != 0);
	assert_int_equal(vm.lock.next, vm.lock.serving);
	entries++;
	return !entry_fails;
}

void exit_dispatch(struct vcpu *of)
{
	dispatched++;
	if (halts)
		of->state = VCPU_HALTED;
}

void vm_stop(struct vm *of, const char *format, ...)
{
	stops++;
	of->state = VM_STOPPED;
}

uint64_t vm_time(const struct vm *of) { return rdtsc(); }
uint64_t vm_tsc_of_time(const struct vm *of, uint64_t ns) { return ns; }
uint64_t lapic_deadline(const struct vcpu *of) { return lapic_due; }
uint64_t devices_deadline(const struct vm *of) { return devices_due; }
void lapic_tick(struct vcpu *of, uint64_t now) { ticks++, lapic_due = NEVER; }
void devices_tick(struct vm *of, uint64_t now) { ticks++, devices_due = NEVER; }
void apic_timer(uint64_t tsc) { timer_set = tsc; }
void vcpu_prepare_events(struct vcpu *of) { of->in_guest = true; }
bool vcpu_has_work(struct vcpu *of) { return false; }
bool vcpu_obey_signals(struct vcpu *of) { return of->state != VCPU_WAIT_SIPI; }
bool vcpu_in_64bit_mode(void) { return in_64bit_mode; }
const char *vmx_error_title(unsigned number) { return "?"; }
const char *controls_choose(struct vcpu *of) { return NULL; }
bool apicv_map(struct vm *of) { return true; }
bool ept_map(struct ept *ept, gpa_t gpa, pa_t pa, uint64_t size, unsigned access, unsigned type) { return true; }
void *pool_take(uint64_t size, uint64_t align) { return NULL; }
bool fpu_create(struct vcpu *of) { return true; }
void fpu_save(struct vcpu *of) {}
void fpu_load(struct vcpu *of) {}
bool msr_create(struct vcpu *of) { return true; }
void msr_save(struct vcpu *of) {}
void msr_load(struct vcpu *of) {}
void msr_make_bitmap(uint8_t *bitmap) {}
void mode_make_unpaged_table(uint32_t *table) {}

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	memset(&vm, 0, sizeof(vm));
	vm.state = VM_RUNNING;
	vcpu = (struct vcpu){.vm = &vm, .state = VCPU_RUNNABLE};
	vcpu.controls[WORD_PINBASED_CTLS] = CTL(PINBASED_CTLS, PREEMPTION_TIMER);
	vmx_caps.may[WORD_MISC] = 5;
	lapic_due = devices_due = NEVER;
	entries = dispatched = ticks = stops = 0;
	timer_set = 0;
	entry_fails = in_64bit_mode = halts = false;
	return 0;
}

#define SECOND UINT64_C(0x100000000) /* about, in TSC ticks */

static void the_timer_is_set_to_what_comes_first(void **state)
{
	devices_due = rdtsc() + SECOND;
	assert_true(vcpu_run(&vcpu, rdtsc() + 16 * SECOND));
	assert_in_range(fields[VMCS_PREEMPTION_TIMER], SECOND / 32 * 9 / 10, SECOND / 32 + 1);
	assert_int_equal(vm.deadline, devices_due);
	vcpu.index = 1; /* the devices are not its business */
	assert_true(vcpu_run(&vcpu, rdtsc() + 16 * SECOND));
	assert_in_range(fields[VMCS_PREEMPTION_TIMER], SECOND / 2 * 9 / 10, SECOND / 2 + 1);
	assert_int_equal(ticks, 0);
}

static void the_timer_is_cut_to_its_32_bits_and_never_early(void **state)
{
	assert_true(vcpu_run(&vcpu, NEVER));
	assert_int_equal(fields[VMCS_PREEMPTION_TIMER], UINT32_MAX);
	set_timer(&vcpu, 1000 + 32, 1000);
	assert_int_equal(fields[VMCS_PREEMPTION_TIMER], 2);
	set_timer(&vcpu, 999, 1000);
	assert_int_equal(fields[VMCS_PREEMPTION_TIMER], 0);
}

static void without_that_timer_the_apics_is_set(void **state)
{
	vcpu.controls[WORD_PINBASED_CTLS] = 0;
	lapic_due = rdtsc() + SECOND;
	assert_true(vcpu_run(&vcpu, NEVER));
	assert_int_equal(timer_set, lapic_due);
}

static void what_is_due_is_done_before_the_entry(void **state)
{
	lapic_due = devices_due = 1;
	assert_true(vcpu_run(&vcpu, NEVER));
	assert_int_equal(ticks, 2);
	assert_int_equal(entries, 1);
	assert_false(vcpu.in_guest);
}

static void only_a_runnable_vcpu_of_a_running_vm_enters(void **state)
{
	vcpu.state = VCPU_HALTED;
	assert_false(vcpu_run(&vcpu, NEVER));
	vcpu.state = VCPU_WAIT_SIPI;
	assert_false(vcpu_run(&vcpu, NEVER));
	vcpu.state = VCPU_RUNNABLE;
	vm.state = VM_PAUSED;
	assert_false(vcpu_run(&vcpu, NEVER));
	assert_int_equal(entries, 0);
	assert_int_equal(vm.lock.next, vm.lock.serving);
}

static void one_that_halts_is_not_run_again(void **state)
{
	halts = true;
	assert_false(vcpu_run(&vcpu, NEVER));
	assert_int_equal(dispatched, 1);
	assert_int_equal(vcpu.exit_tsc, 0); /* the time that it sleeps is no VM exit's */
}

static void a_failed_entry_stops_the_vm(void **state)
{
	entry_fails = true;
	assert_false(vcpu_run(&vcpu, NEVER));
	assert_int_equal(stops, 1);
	assert_int_equal(dispatched, 0);
}

static void the_tsc_offset_follows_vm_and_tsc_adjust(void **state)
{
	vm.tsc_offset = 1000;
	vcpu.tsc_adjust = 5;
	assert_true(vcpu_run(&vcpu, NEVER));
	assert_int_equal(fields[VMCS_TSC_OFFSET], 1005);
}

static void skipping_ends_what_lasts_one_instruction(void **state)
{
	fields[VMCS_GUEST_RIP] = 0xfffffffe;
	fields[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 3;
	fields[VMCS_GUEST_INTERRUPTIBILITY] = 1 << 0 | 1 << 3;
	vcpu_skip(&vcpu);
	assert_int_equal(fields[VMCS_GUEST_RIP], 1);
	assert_int_equal(fields[VMCS_GUEST_INTERRUPTIBILITY], 1 << 3);
	assert_int_equal(fields[VMCS_GUEST_PENDING_DEBUG], 0);
	in_64bit_mode = true;
	fields[VMCS_GUEST_RIP] = 0xfffffffe;
	fields[VMCS_GUEST_RFLAGS] = RFLAGS_TF;
	vcpu_skip(&vcpu);
	assert_int_equal(fields[VMCS_GUEST_RIP], 0x100000001);
	assert_int_equal(fields[VMCS_GUEST_PENDING_DEBUG], 1 << 14);
}

/* IA32_DEBUGCTL.BTF: TF traps branches, and what is skipped is none. */
static void with_btf_no_single_step_is_pending(void **state)
{
	fields[VMCS_GUEST_RFLAGS] = RFLAGS_TF;
	fields[VMCS_GUEST_DEBUGCTL] = 1 << 1;
	vcpu_skip(&vcpu);
	assert_int_equal(fields[VMCS_GUEST_PENDING_DEBUG], 0);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_timer_is_set_to_what_comes_first),
		TEST(the_timer_is_cut_to_its_32_bits_and_never_early),
		TEST(without_that_timer_the_apics_is_set),
		TEST(what_is_due_is_done_before_the_entry),
		TEST(only_a_runnable_vcpu_of_a_running_vm_enters),
		TEST(one_that_halts_is_not_run_again),
		TEST(a_failed_entry_stops_the_vm),
		TEST(the_tsc_offset_follows_vm_and_tsc_adjust),
		TEST(skipping_ends_what_lasts_one_instruction),
		TEST(with_btf_no_single_step_is_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

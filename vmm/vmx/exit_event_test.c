/* Exceptions that exit, and HLT, PAUSE and task switches. SDM vol. 3, "Information for VM Exits Due to Vectored Events". */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

/* Ring 0's: the test has them as variables. */
#define write_dr6 real_write_dr6
#define read_dr6 real_read_dr6
#include "cpu/x86.h"
#undef write_dr6
#undef read_dr6
static uint64_t dr6;
static uint64_t read_dr6(void) { return dr6; }
static void write_dr6(uint64_t value) { dr6 = value; }

#include "vmx/exit_event.c"

static struct vm vm;
static struct cpu cpu;
static struct vcpu vcpu;
static unsigned raised, served, skipped, stops;
static bool raised_error, has_work;

void panic(const char *format, ...) { abort(); }
void vm_stop(struct vm *of, const char *format, ...) { stops++; }
void vcpu_skip(struct vcpu *of) { skipped++; }
bool vcpu_has_work(struct vcpu *of) { return has_work; }

void vcpu_raise(struct vcpu *of, unsigned vector, bool has_error, uint32_t error)
{
	raised = vector;
	raised_error = has_error;
}

void interrupt_serve(unsigned vector)
{
	assert_int_equal(vm.lock.next, vm.lock.serving); /* nobody holds it */
	served = vector;
}

static int setup(void **state)
{
	memset(fields, 0, sizeof(fields));
	memset(&vm, 0, sizeof(vm));
	vcpu = (struct vcpu){.vm = &vm, .cpu = &cpu, .state = VCPU_RUNNABLE};
	raised = served = skipped = stops = 0;
	raised_error = has_work = false;
	dr6 = DR6_FIXED;
	return 0;
}

static void exception(uint32_t info)
{
	fields[VMCS_VM_EXIT_INTERRUPTION_INFO] = BIT(31) | info;
	exit_exception_nmi(&vcpu);
}

static void an_alignment_check_is_reflected_with_its_error_code(void **state)
{
	exception(3 << 8 | INFO_ERROR_CODE | 17);
	assert_int_equal(raised, 17);
	assert_true(raised_error);
}

static void a_debug_exception_has_its_effects_on_dr6_and_dr7(void **state)
{
	dr6 = DR6_FIXED | 1;
	fields[VMCS_EXIT_QUALIFICATION] = 1 << 14 | 2;
	fields[VMCS_GUEST_DR7] = 0x400 | DR7_GD;
	fields[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_BY_STI | 1 << 3;
	exception(3 << 8 | VECTOR_DB);
	assert_int_equal(raised, VECTOR_DB);
	assert_int_equal(dr6, DR6_FIXED | 1 << 14 | 2);
	assert_int_equal(fields[VMCS_GUEST_DR7], 0x400);
	assert_int_equal(fields[VMCS_GUEST_INTERRUPTIBILITY], 1 << 3);
}

static void int1_is_delivered_as_what_it_is(void **state)
{
	fields[VMCS_VM_EXIT_INSTRUCTION_LENGTH] = 1;
	exception(INFO_TYPE_INT1 | INFO_NMI_UNBLOCKING | VECTOR_DB);
	assert_int_equal(vcpu.event.info, BIT(31) | INFO_TYPE_INT1 | VECTOR_DB);
	assert_int_equal(vcpu.event.length, 1);
	assert_int_equal(dr6, DR6_FIXED);
}

static void an_interrupt_is_served_without_the_lock(void **state)
{
	lock_take(&vm.lock);
	fields[VMCS_VM_EXIT_INTERRUPTION_INFO] = BIT(31) | 0x24;
	exit_external_interrupt(&vcpu);
	assert_int_equal(served, 0x24);
	assert_int_not_equal(vm.lock.next, vm.lock.serving);
}

static void hlt_halts_unless_something_waits(void **state)
{
	has_work = true;
	exit_hlt(&vcpu);
	assert_int_equal(vcpu.state, VCPU_RUNNABLE);
	has_work = false;
	exit_hlt(&vcpu);
	assert_int_equal(vcpu.state, VCPU_HALTED);
	assert_int_equal(skipped, 2);
}

static void who_spins_ends_its_turn(void **state)
{
	exit_pause(&vcpu);
	assert_true(cpu.turn_over && cpu.attention);
	assert_int_equal(skipped, 1);
}

static void what_cannot_go_on_stops(void **state)
{
	exit_triple_fault(&vcpu);
	exit_task_switch(&vcpu);
	assert_int_equal(stops, 2);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_alignment_check_is_reflected_with_its_error_code),
		TEST(a_debug_exception_has_its_effects_on_dr6_and_dr7),
		TEST(int1_is_delivered_as_what_it_is),
		TEST(an_interrupt_is_served_without_the_lock),
		TEST(hlt_halts_unless_something_waits),
		TEST(who_spins_ends_its_turn),
		TEST(what_cannot_go_on_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

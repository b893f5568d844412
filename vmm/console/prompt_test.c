/* The prompt: editing a line, finding the command and what it is for, and whose the console is afterwards. */
#include "vmx/fake_vmcs.h"

#include <stdio.h>
#include <string.h>

#include "console/prompt.c"

static char shown[10000], done[1000];
static bool open_now;
static struct vm *owner;

struct vm *vms[VMS_MAX];
unsigned vms_count;
struct cpu cpus[CPUS_MAX];
unsigned cpu_count = 1;
uint64_t tsc_hz = 1000000000;

static struct vm_config configs[2] = {{.name = "a"}, {.name = "b-2"}};
static struct vm made[2];
static struct vcpu vcpus[2][2];

static void did(const char *what, const struct vm *vm)
{
	snprintf(done + strlen(done), sizeof(done) - strlen(done), "%s %s;", what, vm ? vm->config->name : "-");
}

struct vm *vm_find(const char *name)
{
	for (unsigned i = 0; i < vms_count; i++) {
		if (!strcmp(name, vms[i]->config->name))
			return vms[i];
	}
	return NULL;
}

bool string_number(const char *text, bool suffix, uint64_t *value) { return sscanf(text, "%lu", value) == 1; }
void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), format, args);
	va_end(args);
}
void console_echo(const char *text) { strcat(shown, text); }
void console_prompt(void) { open_now = true; }
bool console_prompting(void) { return open_now; }
struct vm *console_owner(void) { return owner; }
void console_focus(struct vm *vm)
{
	owner = vm;
	open_now = false;
}

uint64_t vm_time(const struct vm *vm) { return 1234567890; }
void vm_pause(struct vm *vm) { did("pause", vm); vm->state = VM_PAUSED; }
void vm_resume(struct vm *vm) { did("resume", vm); }
void vm_reset(struct vm *vm) { did("reset", vm); vm->state = VM_RESETTING; }
void vm_power_off(struct vm *vm) { did("off", vm); vm->state = VM_OFF; }
void scheduler_shutdown(void) { did("shutdown", NULL); }
void stats_print(struct vm *vm) { did("stats", vm); }
void vmx_caps_report(void) { did("caps", NULL); }
void cpu_call(struct cpu *cpu, void (*function)(void *), void *argument) { function(argument); }
void vcpu_switch(struct vcpu *vcpu) { did(vcpu->index ? "switch1" : "switch0", vcpu->vm); }
void vcpu_print_registers(struct vcpu *vcpu) { did("regs", vcpu->vm); }
void vcpu_print_vmcs(struct vcpu *vcpu) { did("vmcs", vcpu->vm); }

static int begin(void **unused)
{
	for (vms_count = 0; vms_count < 2; vms_count++) {
		struct vm *vm = vms[vms_count] = &made[vms_count];

		*vm = (struct vm){.config = &configs[vms_count], .index = vms_count, .vcpus_count = 2};
		for (unsigned i = 0; i < 2; i++) {
			vcpus[vms_count][i] = (struct vcpu){.vm = vm, .index = i, .cpu = &cpus[0]};
			vm->vcpus[i] = &vcpus[vms_count][i];
		}
	}
	console_focus(vms[0]);
	prompt_key(SWITCH_KEY);
	shown[0] = done[0] = 0;
	return 0;
}

static void type(const char *text)
{
	for (; *text; text++)
		prompt_key((uint8_t)*text);
}

static void it_opens_and_closes(void **unused)
{
	assert_true(open_now);
	type("\r");
	assert_false(open_now);
	assert_ptr_equal(owner, vms[0]);
	type("\035");
	assert_true(open_now);
	type("\035");
	assert_ptr_equal(owner, vms[1]);
	assert_string_equal(shown, "\r\nvmm: the console is vm a's\nvmm> \r\nvmm: the console is vm b-2's\n");
	type("\035\035");
	assert_ptr_equal(owner, vms[0]);
}

static void both_ends_of_a_line(void **unused)
{
	type("caps\r\n");
	assert_string_equal(done, "caps -;");
	assert_true(open_now);
	type("\n");
	assert_false(open_now);
}

static void editing(void **unused)
{
	type("\b\177capx\bs\033\001\r");
	assert_string_equal(done, "caps -;");
	assert_string_equal(shown, "capx\b \bs\r\nvmm> ");
	for (unsigned i = 0; i < 200; i++)
		type("x");
	type("\r");
	assert_non_null(strstr(shown, "There is no command \"xxx"));
	assert_string_equal(done, "caps -;");
}

static void commands_and_targets(void **unused)
{
	type("exits a\rregs b-2.1\rvmcs  a\rpause a\rresume b-2\rreset a\rstop b-2\r");
	assert_string_equal(done, "stats a;switch1 b-2;regs b-2;switch0 a;vmcs a;pause a;resume b-2;reset a;off b-2;");
	assert_non_null(strstr(shown, "VM b-2 is running.\n")); /* there was nothing to resume */
	type("switch b-2\r");
	assert_ptr_equal(owner, vms[1]);
	assert_false(open_now);
}

static void quit_ends_all(void **unused)
{
	type("quit\r");
	assert_string_equal(done, "off a;off b-2;shutdown -;");
}

static void mistakes(void **unused)
{
	static const char *const lines[][2] = {
		{"nonsense\r", "There is no command \"nonsense\""},
		{"vm\r", "There is no command \"vm\""},
		{" \r", "There is no command \"\""},
		{"regs\r", "regs needs NAME[.VCPU]."}, {"stop \r", "stop needs NAME."}, {"stop c\r", "There is no VM \"c\"."},
		{"regs a.2\r", "VM a has no vCPU \"2\"."},
		{"regs a.x\r", "VM a has no vCPU \"x\"."},
		{"regs .\r", "There is no VM \"\"."},
		{"regs a.99999999999\r", "VM a has no vCPU"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		shown[0] = 0;
		type(lines[i][0]);
		if (!strstr(shown, lines[i][1]))
			fail_msg("%s: %s", lines[i][0], shown);
	}
	assert_string_equal(done, "");
}

static void lists(void **unused)
{
	cpus[0].first = vms[0]->vcpus[0];
	made[1].state = VM_STOPPED;
	strcpy(made[1].why, "it was bad");
	type("vms\rcpus\rhelp\r");
	assert_non_null(strstr(shown, "* a                running       0 MiB  2 vCPUs  1.234 s\n"));
	assert_non_null(strstr(shown, "  b-2              stopped       0 MiB  2 vCPUs  1.234 s  it was bad\n"));
	assert_non_null(strstr(shown, "CPU 0, APIC ID 0\n  a.0: waits for SIPI, 0 VM entries\n"));
	assert_non_null(strstr(shown, "quit                 switches all VMs and the machine off\n"));
	cpus[0].first = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(it_opens_and_closes, begin),
		cmocka_unit_test_setup(both_ends_of_a_line, begin),
		cmocka_unit_test_setup(editing, begin),
		cmocka_unit_test_setup(commands_and_targets, begin),
		cmocka_unit_test_setup(quit_ends_all, begin),
		cmocka_unit_test_setup(mistakes, begin),
		cmocka_unit_test_setup(lists, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The prompt: lines that ask the VMM for something. An empty line goes back to the guest, Ctrl-] to the next one.
 */
#include "console/console.h"

#include "cpu/time.h"
#include "lib/print.h"
#include "lib/string.h"
#include "sched/scheduler.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

enum { LINE = 80, BACKSPACE = 8, DELETE = 0x7f };

/* What a command is for: VM and vCPU, or nothing. */
struct target {
	struct vm *vm;
	struct vcpu *vcpu;
};

struct command {
	const char *name, *argument, *title;
	void (*run)(struct target *target);
};

static char line[LINE];
static unsigned length;
static uint8_t last_key;

static const char *state_name(const struct vm *vm)
{
	static const char *const names[] = {
		[VM_RUNNING] = "running", [VM_PAUSED] = "paused", [VM_RESETTING] = "resetting", [VM_STOPPED] = "stopped",
		[VM_OFF] = "off",
	};

	return names[vm->state];
}

static const char *vcpu_state_name(const struct vcpu *vcpu)
{
	static const char *const names[] = {
		[VCPU_WAIT_SIPI] = "waits for SIPI", [VCPU_RUNNABLE] = "runs", [VCPU_HALTED] = "halted",
	};

	return names[vcpu->state];
}

static void show_vms(struct target *unused)
{
	for (unsigned i = 0; i < vms_count; i++) {
		struct vm *vm = vms[i];
		uint64_t ms = vm_time(vm) / 1000000;

		print("%c %-16s %-9s %5lu MiB  %u vCPUs  %lu.%03lu s%s%s\n", vm == console_owner() ? '*' : ' ', vm->config->name,
		      state_name(vm), vm->config->memory >> 20, vm->vcpus_count, ms / 1000, ms % 1000,
		      vm->state == VM_STOPPED ? "  " : "", vm->state == VM_STOPPED ? vm->why : "");
	}
}

static void show_cpus(struct target *unused)
{
	for (unsigned i = 0; i < cpu_count; i++) {
		print("CPU %u, APIC ID %u\n", i, cpus[i].apic_id);
		for (struct vcpu *vcpu = cpus[i].first; vcpu; vcpu = vcpu->next_here)
			print("  %s.%u: %s, %lu VM entries\n", vcpu->vm->config->name, vcpu->index,
			      vcpu->vm->state == VM_RUNNING ? vcpu_state_name(vcpu) : state_name(vcpu->vm), vcpu->entries);
	}
}

static void show_exits(struct target *target) { stats_print(target->vm); }
static void show_caps(struct target *unused) { vmx_caps_report(); }

/* On the vCPU's CPU: its VMCS is nowhere else. */
static void registers_here(void *vcpu)
{
	vcpu_switch(vcpu);
	vcpu_print_registers(vcpu);
}

static void vmcs_here(void *vcpu)
{
	vcpu_switch(vcpu);
	vcpu_print_vmcs(vcpu);
}

static void show_registers(struct target *target) { cpu_call(target->vcpu->cpu, registers_here, target->vcpu); }
static void show_vmcs(struct target *target) { cpu_call(target->vcpu->cpu, vmcs_here, target->vcpu); }

static void give_to(struct vm *vm)
{
	print("vmm: the console is vm %s's\n", vm->config->name);
	console_focus(vm);
}

static void change(struct vm *vm, void (*how)(struct vm *vm))
{
	enum vm_state before;

	lock_take(&vm->lock);
	before = vm->state;
	how(vm);
	if (vm->state == before)
		print("VM %s is %s.\n", vm->config->name, state_name(vm));
	lock_release(&vm->lock);
}

static void pause(struct target *target) { change(target->vm, vm_pause); }
static void resume(struct target *target) { change(target->vm, vm_resume); }
static void reset(struct target *target) { change(target->vm, vm_reset); }
static void stop(struct target *target) { change(target->vm, vm_power_off); }
static void give(struct target *target) { give_to(target->vm); }

static void quit(struct target *unused)
{
	for (unsigned i = 0; i < vms_count; i++) {
		lock_take(&vms[i]->lock);
		vm_power_off(vms[i]);
		lock_release(&vms[i]->lock);
	}
	scheduler_shutdown();
}

static void help(struct target *unused);

static const struct command commands[] = {
	{"vms", "", "the VMs; * has the console", show_vms},
	{"switch", "NAME", "gives it the console; Ctrl-] does for the next one, an empty line for the one that had it", give},
	{"exits", "NAME", "VM exits by reason: count, share, mean cycles", show_exits},
	{"vmcs", "NAME[.VCPU]", "every field of a VMCS", show_vmcs},
	{"regs", "NAME[.VCPU]", "a vCPU's registers", show_registers},
	{"pause", "NAME", "its vCPUs and its time stand still", pause},
	{"resume", "NAME", "they go on", resume},
	{"reset", "NAME", "starts it again, also when it is off", reset},
	{"stop", "NAME", "switches it off", stop},
	{"cpus", "", "the CPUs and the vCPUs that each runs", show_cpus},
	{"caps", "", "what the VMX of this machine can", show_caps},
	{"quit", "", "switches all VMs and the machine off", quit},
	{"help", "", "this", help},
};

static void help(struct target *unused)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		print("%-8s%-13s%s\n", commands[i].name, commands[i].argument, commands[i].title);
}

/* "NAME" or "NAME.VCPU"; false, and a sentence, if there is none. */
static bool find(char *text, struct target *target)
{
	char *dot = strchr(text, '.');
	uint64_t number = 0;

	if (dot)
		*dot++ = 0;
	target->vm = vm_find(text);
	if (!target->vm) {
		print("There is no VM \"%s\".\n", text);
		return false;
	}
	if (dot && (!string_number(dot, false, &number) || number >= target->vm->vcpus_count)) {
		print("VM %s has no vCPU \"%s\".\n", text, dot);
		return false;
	}
	target->vcpu = target->vm->vcpus[number];
	return true;
}

static void execute(char *text)
{
	struct target target = {NULL, NULL};
	char *argument = strchr(text, ' ');

	while (argument && *argument == ' ')
		*argument++ = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(text, commands[i].name))
			continue;
		if (!*commands[i].argument)
			commands[i].run(&target);
		else if (!argument || !*argument)
			print("%s needs %s.\n", text, commands[i].argument);
		else if (find(argument, &target))
			commands[i].run(&target);
		return;
	}
	print("There is no command \"%s\"; help lists them.\n", text);
}

static void begin_line(void)
{
	length = 0;
	console_echo("vmm> ");
}

static void enter(void)
{
	console_echo("\r\n");
	line[length] = 0;
	if (length)
		execute(line);
	else if (console_owner())
		give_to(console_owner());
	if (console_prompting())
		begin_line();
}

void prompt_key(uint8_t key)
{
	bool second = key == '\n' && last_key == '\r'; /* of a terminal that sends both at the end of a line */

	last_key = key;
	if (!console_prompting()) {
		console_prompt();
		begin_line();
	} else if (key == SWITCH_KEY && vms_count) {
		console_echo("\r\n");
		give_to(vms[(console_owner()->index + 1) % vms_count]);
	} else if (key == '\r' || (key == '\n' && !second)) {
		enter();
	} else if ((key == BACKSPACE || key == DELETE) && length) {
		length--;
		console_echo("\b \b");
	} else if (key >= ' ' && key < DELETE && length < LINE - 1) {
		line[length++] = (char)key;
		console_echo((char[]){(char)key, 0});
	}
}

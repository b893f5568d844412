/*
 * Monitor trap flag: SDM vol. 3, "Monitor Trap Flag". With this control on, a VM exit follows each instruction of the
 * guest, and the guest cannot see that it is stepped through: its RFLAGS.TF stays as it is.
 */
#include "demo/guest.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/vcpu.h"

enum { BEGIN = 1 /* EAX of VMCALL */, RIPS_MAX = 32 };

GUEST(mtf_guest,
	mov $1, %eax;
	vmcall;
	mov $3, %ecx;
mtf_loop:
	add $2, %ebx;
	loop mtf_loop;
mtf_end:
	mov %ebx, 0x8000;
	pushfl;
	popl 0x8004;
	xor %eax, %eax;
	vmcall;
);
extern const uint8_t mtf_loop[], mtf_end[];

static uint64_t rips[RIPS_MAX];
static unsigned steps;

static uint64_t rip_of(const uint8_t *label)
{
	return GUEST_CODE + (uint64_t)(label - mtf_guest);
}

static void setup(struct vm *vm)
{
	guest_load(vm, mtf_guest, mtf_guest_end);
	vcpu_set_register(vm->vcpus[0], RBX, 0);
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	if (reason == EXIT_VMCALL && (uint32_t)vcpu->registers[RAX] == BEGIN) {
		vcpu_skip(vcpu);
		vcpu_control(vcpu, WORD_PROCBASED_CTLS, CTL(PROCBASED_CTLS, MONITOR_TRAP_FLAG), true);
		return true;
	}
	if (reason != EXIT_MONITOR_TRAP_FLAG)
		return false;
	if (steps < RIPS_MAX)
		rips[steps] = vmread(VMCS_GUEST_RIP);
	steps++;
	if (vmread(VMCS_GUEST_RIP) == rip_of(mtf_end))
		vcpu_control(vcpu, WORD_PROCBASED_CTLS, CTL(PROCBASED_CTLS, MONITOR_TRAP_FLAG), false);
	return true;
}

static bool passed(struct vm *vm)
{
	/* ADD is 3 bytes long, so LOOP stands 3 after it. */
	const uint64_t add = rip_of(mtf_loop), loop = add + 3, expected[] = {add, loop, add, loop, add, loop, rip_of(mtf_end)};
	bool good = demo_same("the number of steps", steps, ARRAY_SIZE(expected)) & demo_same("the loop's result", guest_log(vm, 0), 6) &
		    demo_same("the guest's RFLAGS.TF", guest_log(vm, 1) >> 8 & 1, 0);

	char line[RIPS_MAX * 8] = "";

	for (unsigned n = 0; n < steps && n < RIPS_MAX; n++) {
		size_t length = strlen(line);

		format_text(line + length, sizeof(line) - length, " %lx", rips[n]);
		good &= n < ARRAY_SIZE(expected) && rips[n] == expected[n];
	}
	print("  after each of %u instructions, RIP:%s\n", steps, line);
	return good;
}

const struct demo demo_mtf = {
	.name = "mtf",
	.title = "a loop of the guest, one instruction at a time",
	.needs = {NEED(PROCBASED_CTLS, MONITOR_TRAP_FLAG)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

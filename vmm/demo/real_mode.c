/*
 * A guest in real mode: SDM vol. 3, "Unrestricted Guests". CR0.PE and CR0.PG are 0 in VMX non-root operation; segments,
 * interrupt vector table and 16-bit code work as on an 8086, with no VM exit but for the port that it prints to.
 */
#include "demo/guest.h"
#include "guest/load.h"
#include "lib/print.h"
#include "lib/string.h"
#include "vmx/vcpu.h"

enum { CODE = 0x7c00, PORT = 0xe9, TEXT_MAX = 64, IVT_21H = 0x21 * 4 };

GUEST_BITS(16, real_mode_guest,
	mov $0x7c0, %ax;
	mov %ax, %ds;
	xor %ax, %ax;
	mov %ax, %ss;
	mov $0x7c00, %sp;
	mov $(real_mode_text - real_mode_guest), %si;
	cld;
1:	lodsb;
	test %al, %al;
	jz 2f;
	int $0x21; /* prints AL */
	jmp 1b;
2:	xor %eax, %eax;
	vmcall;
real_mode_int21:
	out %al, $0xe9;
	iret;
real_mode_text:
	.asciz "segments, INT 21H and OUT";
);
extern const uint8_t real_mode_int21[];

static char text[TEXT_MAX];
static unsigned length;

static void setup(struct vm *vm)
{
	memcpy(vm->memory + CODE, real_mode_guest, (size_t)(real_mode_guest_end - real_mode_guest));
	*guest_word(vm, IVT_21H) = CODE + (uint32_t)(real_mode_int21 - real_mode_guest); /* segment 0 */
	vcpu_start_real(vm->vcpus[0], 0, CODE);
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	if (reason != EXIT_IO_INSTRUCTION || vmread(VMCS_EXIT_QUALIFICATION) >> 16 != PORT)
		return false;
	if (length < TEXT_MAX - 1)
		text[length++] = (char)vcpu->registers[RAX];
	vcpu_skip(vcpu);
	return true;
}

static bool passed(struct vm *vm)
{
	static const char expected[] = "segments, INT 21H and OUT";

	print("  the guest printed \"%s\" with CR0 %lxH and CS %lxH\n", text, vmread(VMCS_GUEST_CR0), vmread(VMCS_GUEST_CS_SELECTOR));
	return demo_same("the text is the guest's", !strcmp(text, expected), true) &
	       demo_same("CR0.PE and CR0.PG", vmread(VMCS_GUEST_CR0) & 0x80000001, 0) &
	       demo_same("the number of VM exits", guest_exits(vm), sizeof(expected)); /* an OUT for each character, and VMCALL */
}

const struct demo demo_real_mode = {
	.name = "real-mode",
	.title = "16-bit code runs as it is",
	.needs = {NEED(PROCBASED_CTLS2, UNRESTRICTED_GUEST)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

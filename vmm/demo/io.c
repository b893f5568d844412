/*
 * The I/O bitmaps: SDM vol. 3, "I/O-Bitmap Addresses". One bit for each port says whether an access exits. A guest uses
 * COM1's scratch register, which does nothing else, first with the bit set and then with the bit clear.
 */
#include "cpu/x86.h"
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { SCRATCH = 0x3ff, BIT_CLEARED = 1 /* EAX of VMCALL */ };

GUEST(io_guest,
	mov $0x3ff, %edx;
	mov $0x5a, %al;
	out %al, %dx;
	xor %eax, %eax;
	in %dx, %al;
	mov %eax, 0x8000;
	mov $1, %eax;
	vmcall;
	mov $0xa5, %al;
	out %al, %dx;
	xor %eax, %eax;
	in %dx, %al;
	mov %eax, 0x8004;
	xor %eax, %eax;
	vmcall;
);

static uint8_t before, during, written;
static unsigned exits, exits_before_clear;

static void setup(struct vm *vm)
{
	guest_load(vm, io_guest, io_guest_end);
	before = in8(SCRATCH);
	out8(SCRATCH, 0x33);
	vm->io_bitmap_a[SCRATCH / 8] |= 1u << SCRATCH % 8;
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);

	if (reason == EXIT_VMCALL && (uint32_t)vcpu->registers[RAX] == BIT_CLEARED) {
		vcpu->vm->io_bitmap_a[SCRATCH / 8] &= ~(1u << SCRATCH % 8);
		during = in8(SCRATCH);
		exits_before_clear = exits;
		vcpu_skip(vcpu);
		return true;
	}
	if (reason != EXIT_IO_INSTRUCTION || qualification >> 16 != SCRATCH)
		return false;
	exits++;
	if (qualification & BIT(3)) /* IN: the answer is the VMM's */
		vcpu->registers[RAX] = (vcpu->registers[RAX] & ~UINT64_C(0xff)) | (uint8_t)~written;
	else
		written = (uint8_t)vcpu->registers[RAX];
	vcpu_skip(vcpu);
	return true;
}

static bool passed(struct vm *vm)
{
	uint8_t after = in8(SCRATCH);
	bool good = demo_same("the number of exits with the bit set", exits_before_clear, 2) &
		    demo_same("the byte written then", written, 0x5a) & demo_same("the byte read then", guest_log(vm, 0), 0xa5) &
		    demo_same("the machine's port then", during, 0x33) &
		    demo_same("the number of exits with the bit clear", exits - exits_before_clear, 0) &
		    demo_same("the byte read then", guest_log(vm, 1), 0xa5) & demo_same("the machine's port then", after, 0xa5);

	print("  port %xH, bit set: OUT %02xH and IN exit; the VMM answers %02xH; the machine's port still holds %02xH\n",
	      SCRATCH, written, guest_log(vm, 0), during);
	print("  port %xH, bit clear: OUT a5H and IN do not exit; the guest reads %02xH, the machine's port holds %02xH\n",
	      SCRATCH, guest_log(vm, 1), after);
	out8(SCRATCH, before);
	return good;
}

const struct demo demo_io = {
	.name = "io",
	.title = "a bit of the I/O bitmap decides whether a port is the VMM's or the machine's",
	.needs = {NEED(PROCBASED_CTLS, USE_IO_BITMAPS)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

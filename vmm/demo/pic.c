/*
 * A guest programs the 8259 pair and the 8254. Every write to their ports is intercepted ("use I/O bitmaps") and does
 * to the virtual ones what the 8259A's data sheet says, so that timer interrupts reach the guest at the vectors of its
 * choice; the machine's own 8259s see nothing of it.
 */
#include "cpu/x86.h"
#include "demo/guest.h"
#include "lib/print.h"

enum { TICKS = 3, VECTOR = 0x28 };

GUEST(pic_guest,
	mov $0x11, %al; /* ICW1: edge-triggered, cascaded, ICW4 follows */
	out %al, $0x20;
	out %al, $0xa0;
	mov $0x28, %al; /* ICW2: line 0 is vector 28H, line 8 is 30H */
	out %al, $0x21;
	mov $0x30, %al;
	out %al, $0xa1;
	mov $0x04, %al; /* ICW3: the slave is at line 2 */
	out %al, $0x21;
	mov $0x02, %al;
	out %al, $0xa1;
	mov $0x01, %al; /* ICW4: 8086 mode */
	out %al, $0x21;
	out %al, $0xa1;
	mov $0xfe, %al; /* OCW1: only line 0 is not masked */
	out %al, $0x21;
	mov $0xff, %al;
	out %al, $0xa1;
	in $0x21, %al;
	movzbl %al, %eax;
	mov %eax, 0x8004;
	mov $0x34, %al; /* counter 0: mode 2, 1193 periods of 1.193182 MHz */
	out %al, $0x43;
	mov $0xa9, %al;
	out %al, $0x40;
	mov $0x04, %al;
	out %al, $0x40;
	sti;
1:	hlt;
	cmpl $3, 0x8000;
	jb 1b;
	cli;
	xor %eax, %eax;
	vmcall;
pic_tick:
	push %eax;
	incl 0x8000;
	mov $0x20, %al; /* OCW2: EOI */
	out %al, $0x20;
	pop %eax;
	iret;
);
extern const uint8_t pic_tick[];

/* What the guest writes to the 8259s, in its order; then an EOI for each tick. */
static const struct {
	uint8_t port, value;
} expected[] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, VECTOR}, {0xa1, 0x30}, {0x21, 0x04}, {0xa1, 0x02},
		{0x21, 0x01}, {0xa1, 0x01}, {0x21, 0xfe},   {0xa1, 0xff}, {0x20, 0x20}, {0x20, 0x20}, {0x20, 0x20}};

static unsigned writes, right, others;
static uint8_t mask_before;

static void setup(struct vm *vm)
{
	guest_load(vm, pic_guest, pic_guest_end);
	guest_gate(vm, VECTOR, pic_guest, pic_tick);
	mask_before = in8(0x21);
}

/* Only looks: the ordinary handler finds the device. */
static bool hook(struct vcpu *vcpu, unsigned reason)
{
	uint64_t qualification;
	uint16_t port;

	if (reason != EXIT_IO_INSTRUCTION)
		return false;
	qualification = vmread(VMCS_EXIT_QUALIFICATION);
	port = (uint16_t)(qualification >> 16);
	if (qualification & BIT(3) /* IN */ || (port & ~0x81) != 0x20) {
		others++;
		return false;
	}
	if (writes < ARRAY_SIZE(expected) && expected[writes].port == port && expected[writes].value == (uint8_t)vcpu->registers[RAX])
		right++;
	writes++;
	return false;
}

static bool passed(struct vm *vm)
{
	bool good = demo_same("the number of writes to 8259s that exited", writes, ARRAY_SIZE(expected)) &
		    demo_same("the number of those that are the guest's, in order", right, ARRAY_SIZE(expected)) &
		    demo_same("the number of other accesses that exited", others, 4) &
		    demo_same("the mask that the guest reads back", guest_log(vm, 1), 0xfe) &
		    demo_same("the number of timer interrupts", guest_log(vm, 0), TICKS) &
		    demo_same("the mask of the machine's own 8259", in8(0x21), mask_before);

	print("  10 writes gave the virtual 8259s ICW1 to ICW4 and masks: line 0 at vector %xH, the mask reads %02xH\n", VECTOR,
	      guest_log(vm, 1));
	print("  %u interrupts of the virtual 8254 arrived there, each with its EOI\n", guest_log(vm, 0));
	print("  the machine's own 8259 keeps its mask, %02xH\n", mask_before);
	return good;
}

const struct demo demo_pic = {
	.name = "pic",
	.title = "writes to the 8259s are intercepted and virtualized",
	.needs = {NEED(PROCBASED_CTLS, USE_IO_BITMAPS)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

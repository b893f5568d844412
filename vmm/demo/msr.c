/*
 * The MSR bitmap: SDM vol. 3, "MSR-Bitmap Address". 4 KBytes: bits for reads of MSRs 0 to 1FFFH and of C0000000H to
 * C0001FFFH, then the same for writes. An MSR in neither range always exits.
 */
#include "cpu/msrs.h"
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { READ_LOW = 0, WRITE_LOW = 2048 }; /* offsets in the bitmap */
enum { GP = 13 };
#define ANSWER UINT64_C(0x1234567809abcdef)

GUEST(msr_guest,
	mov $0x8b, %ecx;
	rdmsr;
	mov %eax, 0x8000;
	mov %edx, 0x8004;
	mov $0x176, %ecx;
	mov $0x13579bdf, %eax;
	xor %edx, %edx;
	wrmsr;
	xor %eax, %eax;
	rdmsr;
	mov %eax, 0x8008;
	mov $0x40000ff0, %ecx;
	rdmsr; /* #GP */
	incl 0x8014;
msr_after:
	xor %eax, %eax;
	vmcall;
msr_gp:
	popl 0x800c; /* the error code */
	incl 0x8010;
	movl $(msr_after - msr_guest + 0x10000), (%esp);
	iret;
);
extern const uint8_t msr_gp[];

static unsigned reads, writes;
static uint32_t last;

static void setup(struct vm *vm)
{
	guest_load(vm, msr_guest, msr_guest_end);
	guest_gate(vm, GP, msr_guest, msr_gp);
	vm->msr_bitmap[READ_LOW + IA32_BIOS_SIGN_ID / 8] |= 1u << IA32_BIOS_SIGN_ID % 8;
	vm->msr_bitmap[READ_LOW + IA32_SYSENTER_EIP / 8] &= ~(1u << IA32_SYSENTER_EIP % 8);
	vm->msr_bitmap[WRITE_LOW + IA32_SYSENTER_EIP / 8] &= ~(1u << IA32_SYSENTER_EIP % 8);
}

/* Answers the first, counts the others; those are the ordinary handler's, which knows no MSR 40000FF0H. */
static bool hook(struct vcpu *vcpu, unsigned reason)
{
	writes += reason == EXIT_WRMSR;
	if (reason != EXIT_RDMSR)
		return false;
	reads++;
	last = (uint32_t)vcpu->registers[RCX];
	if (last != IA32_BIOS_SIGN_ID)
		return false;
	vcpu->registers[RAX] = (uint32_t)ANSWER;
	vcpu->registers[RDX] = ANSWER >> 32;
	vcpu_skip(vcpu);
	return true;
}

static bool passed(struct vm *vm)
{
	uint64_t answer = (uint64_t)guest_log(vm, 1) << 32 | guest_log(vm, 0);
	bool good = demo_same("IA32_BIOS_SIGN_ID", answer, ANSWER) & demo_same("IA32_SYSENTER_EIP", guest_log(vm, 2), 0x13579bdf) &
		    demo_same("the same in the VMCS", vmread(VMCS_GUEST_SYSENTER_EIP), 0x13579bdf) &
		    demo_same("the number of RDMSR exits", reads, 2) & demo_same("the number of WRMSR exits", writes, 0) &
		    demo_same("the last MSR that exited", last, 0x40000ff0) & demo_same("the number of #GP", guest_log(vm, 4), 1) &
		    demo_same("its error code", guest_log(vm, 3), 0) & demo_same("instructions done in spite of #GP", guest_log(vm, 5), 0);

	print("  IA32_BIOS_SIGN_ID, bit set: RDMSR exits, the VMM answers %lxH\n", answer);
	print("  IA32_SYSENTER_EIP, bits clear: WRMSR and RDMSR do not exit, and it is the VMCS's, %lxH\n",
	      vmread(VMCS_GUEST_SYSENTER_EIP));
	print("  MSR 40000ff0H, in no range of the bitmap: RDMSR exits and is answered with #GP(%x)\n", guest_log(vm, 3));
	return good;
}

const struct demo demo_msr = {
	.name = "msr",
	.title = "an MSR that the VMM answers, one that is the guest's own, one that is #GP",
	.needs = {NEED(PROCBASED_CTLS, USE_MSR_BITMAPS)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

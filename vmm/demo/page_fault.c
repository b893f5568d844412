/*
 * A guest's page faults: SDM vol. 3, "Exception Bitmap". With bit 14 set there, a #PF exits if its error code, masked,
 * matches; so the VMM can have those for pages that are not present and leave the others to the guest. It reflects what
 * it gets: the guest's handler mends both kinds.
 */
#include "demo/guest.h"
#include "lib/print.h"
#include "vmx/vcpu.h"

enum { PF = 14, PF_P = 1 << 0, PF_W = 1 << 1 };

/* Pages of the guest that its tables do not map, or map read-only. */
enum { ABSENT = 0x90, READ_ONLY = 0x91, ABSENT_TOO = 0x92 };

GUEST(page_fault_guest,
	PAGING_ON;
	mov $0x8010, %edi; /* where the handler writes what it sees */
	mov 0x90123, %eax;
	mov %eax, 0x8000;
	movl $0x22222222, 0x91040;
	movl $0x33333333, 0x92ffc;
	xor %eax, %eax;
	vmcall;
page_fault_handler:
	push %eax;
	push %ebx;
	mov %cr2, %ebx;
	mov %ebx, (%edi);
	mov 8(%esp), %eax; /* the error code */
	mov %eax, 4(%edi);
	add $8, %edi;
	shr $12, %ebx;
	orl $3, 0x4000(, %ebx, 4); /* present, writable */
	shl $12, %ebx;
	invlpg (%ebx);
	pop %ebx;
	pop %eax;
	add $4, %esp;
	iret;
);
extern const uint8_t page_fault_handler[];

static const struct {
	uint32_t cr2, error;
} expected[] = {{0x90123, 0}, {0x91040, PF_W | PF_P}, {0x92ffc, PF_W}};

static unsigned intercepted;

static void setup(struct vm *vm)
{
	volatile uint32_t *pages = guest_word(vm, GUEST_PAGES);

	guest_load(vm, page_fault_guest, page_fault_guest_end);
	guest_gate(vm, PF, page_fault_guest, page_fault_handler);
	guest_paging(vm);
	pages[ABSENT] &= ~1u;
	pages[READ_ONLY] &= ~2u;
	pages[ABSENT_TOO] &= ~1u;
	*guest_word(vm, 0x90123) = 0x11111111;
	vmcs_set(VMCS_EXCEPTION_BITMAP, BIT(PF));
	vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MASK, PF_P);
	vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, 0);
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	uint64_t address = vmread(VMCS_EXIT_QUALIFICATION);
	uint32_t error = (uint32_t)vmread(VMCS_VM_EXIT_ERROR_CODE);

	if (reason != EXIT_EXCEPTION_NMI || (vmread(VMCS_VM_EXIT_INTERRUPTION_INFO) & 0x7ff) != (3 << 8 | PF))
		return false;
	print("  VM exit: #PF at %lxH, error code %x: reflected\n", address, error);
	vcpu_raise_pf(vcpu, address, error);
	intercepted++;
	return true;
}

static bool passed(struct vm *vm)
{
	bool good = demo_same("the number of intercepted #PF", intercepted, 2) &
		    demo_same("what the guest reads at last", guest_log(vm, 0), 0x11111111) &
		    demo_same("what it writes on the page that was read-only", *guest_word(vm, 0x91040), 0x22222222) &
		    demo_same("what it writes on the page that was absent", *guest_word(vm, 0x92ffc), 0x33333333);

	for (unsigned n = 0; n < ARRAY_SIZE(expected); n++) {
		uint32_t cr2 = guest_log(vm, 4 + 2 * n), error = guest_log(vm, 5 + 2 * n);

		print("  the guest's handler: CR2 is %xH, error code %x\n", cr2, error);
		good &= demo_same("CR2", cr2, expected[n].cr2) & demo_same("the error code", error, expected[n].error);
	}
	return good;
}

const struct demo demo_page_fault = {
	.name = "page-fault",
	.title = "#PF for absent pages exits and is reflected; for a read-only page it does not exit",
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

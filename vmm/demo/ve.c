/*
 * #VE and EPTP switching: SDM vol. 3, "Virtualization Exceptions" and "EPTP Switching". The guest has two views of its
 * memory, that is, two EPTs in a list. The second lacks a page. When the guest touches it there it gets exception 20
 * instead of the VMM an EPT violation, and its handler goes to the view that has the page with VMFUNC: all that without
 * a VM exit.
 */
#include "demo/guest.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

enum { VE = 20, TABLES = 8, MISSING = 0x200000, INFORMATION = 0x9000 };

GUEST(ve_guest,
	PAGING_ON;
	mov $0x8010, %edi; /* where the handler writes what it sees */
	xor %eax, %eax; /* VM function 0, EPTP switching */
	mov $1, %ecx;
	vmfunc;
	mov 0x200010, %ebx; /* #VE */
	mov %ebx, 0x8000;
	mov $1, %ecx;
	vmfunc;
	movl $0x55667788, 0x200020; /* #VE */
	mov $2, %ecx; /* the list has no such view: this does exit */
	vmfunc;
	xor %eax, %eax;
	vmcall;
ve_handler:
	mov 0x9000, %edx; /* exit reason, qualification, address, index: "Virtualization-Exception Information" */
	mov %edx, (%edi);
	mov 0x9008, %edx;
	mov %edx, 4(%edi);
	mov 0x9018, %edx;
	mov %edx, 8(%edi);
	movzwl 0x9020, %edx;
	mov %edx, 12(%edi);
	add $16, %edi;
	movl $0, 0x9004; /* the next one may come */
	xor %eax, %eax;
	xor %ecx, %ecx;
	vmfunc;
	iret;
);
extern const uint8_t ve_handler[];

static struct ept view; /* the second */
static unsigned functions;

static void setup(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];
	uint64_t *list = pool_take(PAGE, PAGE);

	guest_load(vm, ve_guest, ve_guest_end);
	guest_gate(vm, VE, ve_guest, ve_handler);
	guest_paging(vm);
	*guest_word(vm, MISSING + 0x10) = 0x11223344;

	ept_create(&view, TABLES);
	if (!ept_map(&view, 0, pa_of(vm->memory), GUEST_MEMORY, EPT_ALL, MEMORY_WB) || !ept_unmap(&view, MISSING, PAGE))
		vm_stop(vm, "no EPT tables left");
	list[0] = vmread(VMCS_EPTP);
	list[1] = view.eptp;

	vcpu_control(vcpu, WORD_PROCBASED_CTLS2, CTL(PROCBASED_CTLS2, EPT_VIOLATION_VE) | CTL(PROCBASED_CTLS2, ENABLE_VM_FUNCTIONS),
		     true);
	vmwrite(VMCS_VM_FUNCTION_CTLS, CTL(FUNCTION_CTLS, EPTP_SWITCHING));
	vmwrite(VMCS_EPTP_LIST, pa_of(list));
	vmwrite(VMCS_EPTP_INDEX, 0);
	vmwrite(VMCS_VE_INFORMATION, pa_of(vm->memory + INFORMATION));
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	if (reason != EXIT_VMFUNC)
		return false;
	functions++;
	if (!demo_same("the view that is not in the list", (uint32_t)vcpu->registers[RCX], 2))
		vm_stop(vcpu->vm, "VMFUNC exits where it should not");
	vcpu_skip(vcpu);
	return true;
}

static bool passed(struct vm *vm)
{
	static const uint32_t addresses[] = {MISSING + 0x10, MISSING + 0x20};
	static const uint32_t accesses[] = {EPT_READ, EPT_WRITE};
	bool good = demo_same("what the guest reads in the page", guest_log(vm, 0), 0x11223344) &
		    demo_same("what it writes there", *guest_word(vm, MISSING + 0x20), 0x55667788) &
		    demo_same("the number of EPT violations that exited", vm->vcpus[0]->exits[EXIT_EPT_VIOLATION].count, 0) &
		    demo_same("the number of VMFUNC that exited", functions, 1) & demo_same("the view at the end", vmread(VMCS_EPTP_INDEX), 0);

	for (unsigned n = 0; n < ARRAY_SIZE(addresses); n++) {
		uint32_t reason = guest_log(vm, 4 + 4 * n), qualification = guest_log(vm, 5 + 4 * n), address = guest_log(vm, 6 + 4 * n);

		print("  the guest's handler: #VE, it %s %xH in view %u; VMFUNC to view 0\n",
		      qualification & EPT_WRITE ? "wrote" : "read", address, guest_log(vm, 7 + 4 * n));
		good &= demo_same("the reason", reason, EXIT_EPT_VIOLATION) & demo_same("the guest-physical address", address, addresses[n]) &
			demo_same("the access", qualification & EPT_ALL, accesses[n]) & demo_same("the view", guest_log(vm, 7 + 4 * n), 1);
	}
	print("  no EPT violation exited, and of five VMFUNC only that to view 2, which is not in the list\n");
	return good;
}

const struct demo demo_ve = {
	.name = "ve",
	.title = "the guest handles EPT violations itself, by #VE and VMFUNC",
	.needs = {NEED(PROCBASED_CTLS2, EPT_VIOLATION_VE), NEED(PROCBASED_CTLS2, ENABLE_VM_FUNCTIONS),
		  NEED(FUNCTION_CTLS, EPTP_SWITCHING)},
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

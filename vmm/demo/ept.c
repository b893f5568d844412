/*
 * EPT on demand: SDM vol. 3, "EPT Violations". Half of the guest's memory is not mapped at first; each page is, when
 * the guest touches it. Where the CPU offers it, what it notes in the entries is shown ("Accessed and Dirty Flags for
 * EPT"), and what it logs ("Page-Modification Logging").
 */
#include "demo/guest.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/vcpu.h"

#define HOLE 0x200000 /* up to the memory's end */
enum { LOG_ENTRIES = 512 };
enum { EPT_ACCESSED = 1 << 8, EPT_DIRTY = 1 << 9, EPTP_ACCESSED_DIRTY = 1 << 6 };

GUEST(ept_guest,
	movl $0x11, 0x200000;
	movl $0x22, 0x205008;
	mov 0x207000, %eax;
	mov %eax, 0x8000;
	movl $0x33, 0x209ffc;
	mov 0x200000, %eax; /* mapped by now: these do not exit */
	add 0x205008, %eax;
	add 0x209ffc, %eax;
	mov %eax, 0x8004;
	xor %eax, %eax;
	vmcall;
);

static const struct {
	gpa_t gpa;
	bool write;
} expected[] = {{0x200000, true}, {0x205008, true}, {0x207000, false}, {0x209ffc, true}};

static unsigned violations, right;
static uint64_t *log;

static void setup(struct vm *vm)
{
	struct vcpu *vcpu = vm->vcpus[0];

	guest_load(vm, ept_guest, ept_guest_end);
	*guest_word(vm, 0x207000) = 0x77;
	if (!ept_unmap(&vm->ept, HOLE, GUEST_MEMORY - HOLE))
		vm_stop(vm, "no EPT tables left");
	invept_single(vm->ept.eptp);
	if (HAS(EPT_VPID_CAP, ACCESSED_DIRTY))
		vmcs_set(VMCS_EPTP, EPTP_ACCESSED_DIRTY);
	if (HAS(PROCBASED_CTLS2, ENABLE_PML)) {
		log = pool_take(PAGE, PAGE);
		vmwrite(VMCS_PML_ADDRESS, pa_of(log));
		vmwrite(VMCS_PML_INDEX, LOG_ENTRIES - 1);
		vcpu_control(vcpu, WORD_PROCBASED_CTLS2, CTL(PROCBASED_CTLS2, ENABLE_PML), true);
	}
}

static bool hook(struct vcpu *vcpu, unsigned reason)
{
	struct vm *vm = vcpu->vm;
	gpa_t gpa, page;
	bool write;

	if (reason != EXIT_EPT_VIOLATION)
		return false;
	gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
	write = vmread(VMCS_EXIT_QUALIFICATION) & BIT(1);
	page = gpa & ~(PAGE - 1);
	if (gpa < HOLE || gpa >= GUEST_MEMORY)
		return false;
	print("  VM exit: the guest %s %lxH: that page is mapped\n", write ? "writes" : "reads", gpa);
	if (violations < ARRAY_SIZE(expected) && expected[violations].gpa == gpa && expected[violations].write == write)
		right++;
	violations++;
	if (!ept_map(&vm->ept, page, pa_of(vm->memory) + page, PAGE, EPT_ALL, MEMORY_WB))
		vm_stop(vm, "no EPT tables left");
	return true;
}

/* What the CPU noted in the entries of the pages: accessed all of them, dirty those that were written. */
static bool flags_right(struct vm *vm)
{
	bool good = true;

	for (unsigned n = 0; n < ARRAY_SIZE(expected); n++) {
		uint64_t size, *entry = ept_entry(&vm->ept, expected[n].gpa, &size);

		good &= entry && demo_same("the entry's page", size, PAGE) &&
			demo_same("its accessed and dirty flags", *entry & (EPT_ACCESSED | EPT_DIRTY),
				  EPT_ACCESSED | (expected[n].write ? EPT_DIRTY : 0));
	}
	print("  flags: all four pages are accessed, and three are dirty\n");
	return good;
}

/* The log is written downwards. It has other pages too, as that of the guest's own log. Bits 11:0 of its entries are 0, but not
   on Bochs 2.7. */
static bool log_right(void)
{
	unsigned first = (uint16_t)vmread(VMCS_PML_INDEX), n = 0;
	bool good = true;

	for (unsigned at = LOG_ENTRIES - 1; at > first && at < LOG_ENTRIES; at--) {
		if (log[at] < HOLE || log[at] >= GUEST_MEMORY)
			continue;
		while (n < ARRAY_SIZE(expected) && !expected[n].write)
			n++;
		good &= n < ARRAY_SIZE(expected) && demo_same("the logged page", log[at] / PAGE, expected[n].gpa / PAGE);
		n++;
	}
	good &= demo_same("the last page in the log", n, ARRAY_SIZE(expected));
	print("  page-modification log: %u entries; those of the hole are the three pages written, in order\n", LOG_ENTRIES - 1 - first);
	return good;
}

static bool passed(struct vm *vm)
{
	bool good = demo_same("the number of EPT violations", violations, ARRAY_SIZE(expected)) &
		    demo_same("the number of those that are the guest's, in order", right, ARRAY_SIZE(expected)) &
		    demo_same("what the guest reads", guest_log(vm, 0), 0x77) &
		    demo_same("the sum of what it wrote", guest_log(vm, 1), 0x11 + 0x22 + 0x33);

	if (HAS(EPT_VPID_CAP, ACCESSED_DIRTY))
		good &= flags_right(vm);
	if (log)
		good &= log_right();
	return good;
}

const struct demo demo_ept = {
	.name = "ept",
	.title = "memory that is mapped page by page when the guest touches it",
	.setup = setup,
	.hook = hook,
	.passed = passed,
};

/*
 * Entering and leaving VMX operation on this CPU: SDM vol. 3, "Enabling and Entering VMX Operation", "Restrictions on VMX
 * Operation" and "VMXON Region".
 */
#include "cpu/cpu.h"
#include "cpu/x86.h"
#include "lib/print.h"
#include "vmx/caps.h"
#include "vmx/vmcs.h"

static uint8_t regions[CPUS_MAX][PAGE] ALIGNED(4096);

void vmx_on(void)
{
	struct cpu *cpu = this_cpu();
	uint32_t *region = (uint32_t *)regions[cpu->index];
	pa_t pa = pa_of(region);
	bool failed;

	if (!vmx_caps_agree())
		panic("CPU %u has other VMX capabilities than CPU 0", cpu->index);
	/* Bits that are 1 in FIXED0 must be 1, those that are 0 in FIXED1 must be 0. CR4.VMXE is among the former. */
	write_cr0((read_cr0() | vmx_caps.cr0_must) & vmx_caps.cr0_may);
	write_cr4((read_cr4() | vmx_caps.cr4_must) & vmx_caps.cr4_may);
	*region = vmx_caps.revision;
	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(pa) : "memory");
	if (failed)
		panic("CPU %u: VMXON failed", cpu->index);
	cpu->vmxon = region;
	/* Whoever used VMX before us may have left mappings of EPTs and VPIDs of its own. */
	invept_all();
	invvpid_all();
}

void vmx_off(void)
{
	__asm__ volatile("vmxoff" : : : "memory", "cc");
	write_cr4(read_cr4() & ~(uint64_t)CR4_VMXE);
	this_cpu()->vmxon = NULL;
}

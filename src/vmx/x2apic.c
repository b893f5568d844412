/*
 * RDMSR and WRMSR of the x2APIC's registers with "virtualize x2APIC mode". SDM vol. 3, "Virtualizing MSR-Based APIC
 * Accesses".
 *
 * The mode of the local APIC does not count. An MSR that is not virtualized is the local APIC's own.
 */
#include "vmx/virtual_apic.h"

#define X2APIC_FIRST 0x800
#define X2APIC_COUNT 0x100

#define ICR_RESERVED (BITS(31, 20) | BITS(17, 16) | BIT(13))

static bool is_virtual(const struct cpu *cpu, uint32_t index)
{
	return index - X2APIC_FIRST < X2APIC_COUNT && vmx_proc2(cpu->vmx, VIRTUALIZE_X2APIC_MODE);
}

static unsigned offset_of(uint32_t index)
{
	return (index - X2APIC_FIRST) << 4;
}

/* With "APIC-register virtualization" whatever there is at the register's place, also where there is no register. */
enum vmx_x2apic vmx_x2apic_read(const struct cpu *cpu, uint32_t index, uint64_t *value)
{
	if (!is_virtual(cpu, index) ||
	    (!vmx_proc2(cpu->vmx, APIC_REGISTER_VIRTUALIZATION) && offset_of(index) != VAPIC_TPR))
		return VMX_X2APIC_NORMAL;
	*value = vmx_vapic_get(cpu, offset_of(index), 8);
	return VMX_X2APIC_DONE;
}

enum vmx_x2apic vmx_x2apic_write(struct cpu *cpu, uint32_t index, uint64_t value)
{
	bool interrupts = vmx_proc2(cpu->vmx, VIRTUAL_INTERRUPT_DELIVERY);
	uint64_t reserved;

	if (!is_virtual(cpu, index))
		return VMX_X2APIC_NORMAL;
	switch (offset_of(index)) {
	case VAPIC_TPR: reserved = ~BITS(7, 0); break;
	case VAPIC_EOI:
		if (!interrupts)
			return VMX_X2APIC_NORMAL;
		reserved = ~UINT64_C(0);
		break;
	case VAPIC_SELF_IPI:
		if (!interrupts)
			return VMX_X2APIC_NORMAL;
		reserved = ~BITS(7, 0);
		break;
	case VAPIC_ICR:
		if (!vmx_proc3(cpu->vmx, IPI_VIRTUALIZATION))
			return VMX_X2APIC_NORMAL;
		reserved = ICR_RESERVED;
		break;
	default: return VMX_X2APIC_NORMAL;
	}
	if (value & reserved)
		return VMX_X2APIC_GP;
	vmx_vapic_set(cpu, offset_of(index), 8, value);
	vmx_apic_written(cpu, offset_of(index), 8);
	return VMX_X2APIC_DONE;
}

/*
 * What a virtualized write to the APIC causes once its instruction or event delivery is done. SDM vol. 3, "APIC-Write
 * Emulation", "APIC-Write VM Exits".
 */
#include "vmx/intercept.h"
#include "vmx/virtual_apic.h"

/* Of the ICR's low half. Bit 14 (level) means nothing to IPIs. */
#define ICR_RESERVED	(BITS(31, 20) | BITS(17, 16) | BIT(13))
#define ICR_PENDING	BIT(12) /* delivery status */
#define ICR_SHORTHAND	BITS(19, 18)
#define ICR_SELF	BIT(18)
#define ICR_LEVEL	BIT(15) /* trigger mode */
#define ICR_LOGICAL	BIT(11)
#define ICR_DELIVERY	BITS(10, 8)
#define ICR_NOT_VIRTUAL (ICR_RESERVED | ICR_PENDING | ICR_LEVEL | ICR_DELIVERY)

void vmx_apic_written(struct cpu *cpu, unsigned offset, unsigned size)
{
	cpu->vapic_write = (uint16_t)offset;
	cpu->vapic_write_size = (uint8_t)size;
	cpu_attend(cpu, ATTEND_TRAP);
}

static bool apic_write_exit(struct cpu *cpu, unsigned offset)
{
	vmx_exit_plain(cpu, VMX_EXIT_APIC_WRITE);
	cpu->vmx->exit.qualification = offset;
	return true;
}

/* True: done without the VMM. In x2APIC mode the self-IPI has a register of its own, and the ICR's destination 32 bits.
 */
static bool send_ipi(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;
	uint32_t icr = (uint32_t)vmx_vapic_get(cpu, VAPIC_ICR, 4);
	uint8_t vector = (uint8_t)icr;
	bool x2apic = vmx_proc2(vmx, VIRTUALIZE_X2APIC_MODE);

	if (icr & ICR_NOT_VIRTUAL)
		return false;
	if (vmx_proc2(vmx, VIRTUAL_INTERRUPT_DELIVERY) && !x2apic && (icr & ICR_SHORTHAND) == ICR_SELF && vector >> 4) {
		vmx_virtualize_self_ipi(cpu, vector);
		return true;
	}
	if (!vmx_proc3(vmx, IPI_VIRTUALIZATION) || (icr & (ICR_SHORTHAND | ICR_LOGICAL)))
		return false;
	return vmx_virtualize_ipi(cpu, vector,
				  x2apic ? (uint32_t)vmx_vapic_get(cpu, VAPIC_ICR + 4, 4)
					 : (uint32_t)vmx_vapic_get(cpu, VAPIC_ICR_HIGH, 4) >> 24);
}

static bool self_ipi(struct cpu *cpu)
{
	uint8_t vector = (uint8_t)vmx_vapic_get(cpu, VAPIC_SELF_IPI, 1);

	if (!(vector >> 4))
		return false;
	vmx_virtualize_self_ipi(cpu, vector);
	return true;
}

bool vmx_emulate_apic_write(struct cpu *cpu)
{
	unsigned offset = cpu->vapic_write;

	cpu->vapic_write = 0;
	switch (offset) { /* not the register: "any other page offset" exits, within one that is virtualized too */
	case VAPIC_TPR:
		if (cpu->vapic_write_size) {
			vmx_vapic_set(cpu, VAPIC_TPR + 1, 1, 0);
			vmx_vapic_set(cpu, VAPIC_TPR + 2, 2, 0);
		}
		return vmx_virtualize_tpr(cpu);
	case VAPIC_EOI:
		if (!vmx_proc2(cpu->vmx, VIRTUAL_INTERRUPT_DELIVERY))
			break;
		vmx_vapic_set(cpu, VAPIC_EOI, 4, 0);
		return vmx_virtualize_eoi(cpu);
	case VAPIC_ICR:
		if (send_ipi(cpu))
			return false;
		break;
	case VAPIC_ICR_HIGH ... VAPIC_ICR_HIGH + 3:
		vmx_vapic_set(cpu, VAPIC_ICR_HIGH, 2, 0);
		vmx_vapic_set(cpu, VAPIC_ICR_HIGH + 2, 1, 0);
		return false;
	case VAPIC_SELF_IPI:
		if (self_ipi(cpu))
			return false;
		break;
	default: break;
	}
	return apic_write_exit(cpu, offset);
}

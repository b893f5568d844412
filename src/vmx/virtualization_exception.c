/*
 * EPT violations that become virtualization exceptions. SDM vol. 3, "Virtualization Exceptions": "Convertible EPT
 * Violations", "Virtualization-Exception Information".
 *
 * mem/ept.c says which violations the EPT entries let become one. That a #VE may exit in turn, and its place among
 * double faults, is exec/event.c's business, as for every exception.
 */
#include "bus/bus.h"
#include "vmx/interruption.h"
#include "vmx/vmx.h"

/* The information area. */
#define AREA_REASON	   0
#define AREA_BUSY	   4 /* all ones: the guest has not yet cleared it */
#define AREA_QUALIFICATION 8
#define AREA_LINEAR	   16
#define AREA_PHYSICAL	   24
#define AREA_EPTP_INDEX	   32

bool vmx_convert_violation(struct cpu *cpu)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	const struct fault *fault = &cpu->fault;
	uint64_t qualification = fault->qualification | (fault->nmi_unblocked ? BIT(12) : 0);
	bool nmi_unblocked = fault->nmi_unblocked;
	pa_t area = vmcs_get(v, VE_INFORMATION);

	if (!fault->convertible || (cpu->vmx->vectoring & INTERRUPTION_VALID) || !cpu_protected(cpu) ||
	    bus_read(cpu->bus, area + AREA_BUSY, 4, cpu->in_smm))
		return false;
	bus_write(cpu->bus, area + AREA_REASON, 4, fault->reason, cpu->in_smm);
	bus_write(cpu->bus, area + AREA_BUSY, 4, UINT32_MAX, cpu->in_smm);
	bus_write(cpu->bus, area + AREA_QUALIFICATION, 8, qualification, cpu->in_smm);
	bus_write(cpu->bus, area + AREA_LINEAR, 8, fault->linear, cpu->in_smm);
	bus_write(cpu->bus, area + AREA_PHYSICAL, 8, fault->physical, cpu->in_smm);
	bus_write(cpu->bus, area + AREA_EPTP_INDEX, 2, vmcs_get(v, EPTP_INDEX), cpu->in_smm);
	cpu->fault = (struct fault){.kind = FAULT_EXCEPTION, .vector = VECTOR_VE, .nmi_unblocked = nmi_unblocked};
	return true;
}

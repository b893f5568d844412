/*
 * Posted interrupts: taking those in this virtual processor's descriptor, and putting one into another's. SDM vol. 3,
 * "Posted-Interrupt Processing", "IPI Virtualization".
 *
 * The manual asks for locked accesses, because devices and other processors write descriptors too. Here no other part
 * runs between a read and the write that follows it.
 */
#include "apic/apic.h"
#include "bus/bus.h"
#include "vmx/virtual_apic.h"

/* A descriptor has 64 bytes: a bit for each vector, PIR, and then what says whom to notify. */
#define NOTIFY	    32 /* 64 bits */
#define NOTIFY_ON   BIT(0)
#define NOTIFY_SN   BIT(1)
#define NOTIFY_NV   16 /* 8 bits */
#define NOTIFY_NDST 32 /* 32 bits; the APIC ID is bits 15:8 of them in xAPIC mode */

#define PID_VALID BIT(0) /* of an entry of the PID-pointer table; bits 5:1 are reserved */

static uint64_t get(const struct cpu *cpu, pa_t at, unsigned size)
{
	return bus_read(cpu->bus, at, size, cpu->in_smm);
}

static void set(struct cpu *cpu, pa_t at, unsigned size, uint64_t value)
{
	bus_write(cpu->bus, at, size, value, cpu->in_smm);
}

bool vmx_is_notification(const struct cpu *cpu, int vector)
{
	return vmx_pin(cpu->vmx, PROCESS_POSTED_INTERRUPTS) &&
	       vector == (int)vmcs_get(&cpu->vmx->vmcs, POSTED_INTERRUPT_VECTOR);
}

void vmx_process_posted_interrupts(struct cpu *cpu)
{
	pa_t descriptor = vmcs_get(&cpu->vmx->vmcs, POSTED_INTERRUPT_DESCRIPTOR);
	uint32_t requests[8];

	set(cpu, descriptor + NOTIFY, 8, get(cpu, descriptor + NOTIFY, 8) & ~NOTIFY_ON);
	apic_eoi(cpu->apic);
	for (unsigned i = 0; i < 8; i++) {
		requests[i] = (uint32_t)get(cpu, descriptor + 4 * i, 4);
		if (requests[i])
			set(cpu, descriptor + 4 * i, 4, 0);
	}
	vmx_request_virtual_interrupts(cpu, requests);
}

static void post(struct cpu *cpu, pa_t descriptor, uint8_t vector)
{
	pa_t word = descriptor + vector / 32 * 4;
	uint64_t notify;

	set(cpu, word, 4, get(cpu, word, 4) | BIT(vector % 32));
	notify = get(cpu, descriptor + NOTIFY, 8);
	if (notify & (NOTIFY_ON | NOTIFY_SN))
		return;
	set(cpu, descriptor + NOTIFY, 8, notify | NOTIFY_ON);
	apic_notify(cpu->apic, (uint32_t)(notify >> NOTIFY_NDST), (uint8_t)(notify >> NOTIFY_NV));
}

bool vmx_virtualize_ipi(struct cpu *cpu, uint8_t vector, uint32_t apic_id)
{
	const struct vmcs *v = &cpu->vmx->vmcs;
	uint64_t entry;

	if (vector < 16 || apic_id > vmcs_get(v, LAST_PID_POINTER_INDEX))
		return false;
	entry = get(cpu, vmcs_get(v, PID_POINTER_TABLE) + 8 * (uint64_t)apic_id, 8);
	if ((entry & BITS(5, 0)) != PID_VALID || entry >> cpu->model->physical_bits)
		return false;
	post(cpu, entry & ~BITS(5, 0), vector);
	return true;
}

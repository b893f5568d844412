/*
 * The virtual-APIC page, and the virtual interrupts in it. SDM vol. 3, "Virtual APIC State", "Evaluation and Delivery
 * of Virtual Interrupts", "TPR Virtualization", "PPR Virtualization", "EOI Virtualization", "Self-IPI Virtualization".
 *
 * RVI and SVI are the two bytes of the guest interrupt status, in the VMCS all the time. Nothing but the operations
 * here evaluates pending virtual interrupts.
 */
#include "bus/bus.h"
#include "vmx/intercept.h"
#include "vmx/virtual_apic.h"

uint64_t vmx_vapic_get(const struct cpu *cpu, unsigned offset, unsigned size)
{
	return bus_read(cpu->bus, vmcs_get(&cpu->vmx->vmcs, VIRTUAL_APIC_ADDRESS) + offset, size, cpu->in_smm);
}

void vmx_vapic_set(struct cpu *cpu, unsigned offset, unsigned size, uint64_t value)
{
	bus_write(cpu->bus, vmcs_get(&cpu->vmx->vmcs, VIRTUAL_APIC_ADDRESS) + offset, size, value, cpu->in_smm);
}

static uint32_t word(const struct cpu *cpu, unsigned vectors, unsigned i)
{
	return (uint32_t)vmx_vapic_get(cpu, vectors + 16 * i, 4);
}

static void set_vector(struct cpu *cpu, unsigned vectors, uint8_t vector, bool on)
{
	unsigned i = vector / 32;

	vmx_vapic_set(cpu, vectors + 16 * i, 4, bits_set(word(cpu, vectors, i), vector % 32, vector % 32, on));
}

/* 0 when there is none. */
static uint8_t highest(const struct cpu *cpu, unsigned vectors)
{
	for (unsigned i = 8; i-- > 0;) {
		uint32_t bits = word(cpu, vectors, i);

		if (bits)
			return (uint8_t)(32 * i + 31 - (unsigned)__builtin_clz(bits));
	}
	return 0;
}

static uint8_t rvi(const struct cpu *cpu)
{
	return (uint8_t)vmcs_get(&cpu->vmx->vmcs, GUEST_INTERRUPT_STATUS);
}

static uint8_t svi(const struct cpu *cpu)
{
	return (uint8_t)(vmcs_get(&cpu->vmx->vmcs, GUEST_INTERRUPT_STATUS) >> 8);
}

static void set_status(struct cpu *cpu, uint8_t request, uint8_t service)
{
	vmcs_set(&cpu->vmx->vmcs, GUEST_INTERRUPT_STATUS, request | (uint64_t)service << 8);
}

/* "Evaluation of Pending Virtual Interrupts" */
static void evaluate(struct cpu *cpu)
{
	uint8_t ppr = (uint8_t)vmx_vapic_get(cpu, VAPIC_PPR, 1);

	cpu_set_pin(cpu, PIN_VIRTUAL, !vmx_proc(cpu->vmx, INTERRUPT_WINDOW_EXITING) && rvi(cpu) >> 4 > ppr >> 4);
}

static void virtualize_ppr(struct cpu *cpu)
{
	uint8_t tpr = (uint8_t)vmx_vapic_get(cpu, VAPIC_TPR, 1), service = svi(cpu);

	vmx_vapic_set(cpu, VAPIC_PPR, 4, tpr >> 4 >= service >> 4 ? tpr : service & 0xf0);
}

static bool tpr_below_threshold(const struct cpu *cpu)
{
	return vmx_vapic_get(cpu, VAPIC_TPR, 1) >> 4 < bits_get(vmcs_get(&cpu->vmx->vmcs, TPR_THRESHOLD), 3, 0);
}

bool vmx_virtualize_tpr(struct cpu *cpu)
{
	if (vmx_proc2(cpu->vmx, VIRTUAL_INTERRUPT_DELIVERY)) {
		virtualize_ppr(cpu);
		evaluate(cpu);
		return false;
	}
	if (!tpr_below_threshold(cpu))
		return false;
	vmx_exit_plain(cpu, VMX_EXIT_TPR_BELOW_THRESHOLD);
	return true;
}

static bool eoi_exits(const struct cpu *cpu, uint8_t vector)
{
	return cpu->vmx->vmcs.field[VMCS_EOI_EXIT_BITMAP0 + vector / 64] >> vector % 64 & 1;
}

bool vmx_virtualize_eoi(struct cpu *cpu)
{
	uint8_t vector = svi(cpu);

	set_vector(cpu, VAPIC_ISR, vector, false);
	set_status(cpu, rvi(cpu), highest(cpu, VAPIC_ISR));
	virtualize_ppr(cpu);
	if (eoi_exits(cpu, vector)) {
		vmx_exit_plain(cpu, VMX_EXIT_VIRTUALIZED_EOI);
		cpu->vmx->exit.qualification = vector;
		return true;
	}
	evaluate(cpu);
	return false;
}

void vmx_virtualize_self_ipi(struct cpu *cpu, uint8_t vector)
{
	set_vector(cpu, VAPIC_IRR, vector, true);
	set_status(cpu, rvi(cpu) > vector ? rvi(cpu) : vector, svi(cpu));
	evaluate(cpu);
}

void vmx_request_virtual_interrupts(struct cpu *cpu, const uint32_t requests[8])
{
	uint8_t request = rvi(cpu);

	for (unsigned i = 0; i < 8; i++) {
		unsigned top = requests[i] ? 32 * i + 31 - (unsigned)__builtin_clz(requests[i]) : 0;

		if (requests[i])
			vmx_vapic_set(cpu, VAPIC_IRR + 16 * i, 4, word(cpu, VAPIC_IRR, i) | requests[i]);
		if (top > request)
			request = (uint8_t)top;
	}
	set_status(cpu, request, svi(cpu));
	evaluate(cpu);
}

/* The next one is not recognized before something evaluates again: usually the EOI. */
uint8_t vmx_take_virtual_interrupt(struct cpu *cpu)
{
	uint8_t vector = rvi(cpu);

	set_vector(cpu, VAPIC_ISR, vector, true);
	vmx_vapic_set(cpu, VAPIC_PPR, 4, vector & 0xf0);
	set_vector(cpu, VAPIC_IRR, vector, false);
	set_status(cpu, highest(cpu, VAPIC_IRR), vector);
	cpu_set_pin(cpu, PIN_VIRTUAL, false);
	return vector;
}

/* A threshold above VTPR exits before the guest's first instruction, as after an instruction that lowered VTPR. Its
 * bytes 3:1, which a processor may clear at VM entry, stay as they are. Without "virtualize APIC accesses" it would have broken a rule of VM entry. */
void vmx_vapic_enter(struct cpu *cpu)
{
	const struct vmx *vmx = cpu->vmx;

	if (vmx_proc2(vmx, VIRTUAL_INTERRUPT_DELIVERY)) {
		virtualize_ppr(cpu);
		evaluate(cpu);
	} else if (vmx_proc(vmx, USE_TPR_SHADOW) && vmx_proc2(vmx, VIRTUALIZE_APIC_ACCESSES) &&
		   tpr_below_threshold(cpu)) {
		vmx_apic_written(cpu, VAPIC_TPR, 0);
	}
}

bool vmx_cr8_is_virtual(const struct cpu *cpu)
{
	return vmx_proc(cpu->vmx, USE_TPR_SHADOW);
}

uint64_t vmx_read_cr8(const struct cpu *cpu)
{
	return vmx_vapic_get(cpu, VAPIC_TPR, 1) >> 4;
}

void vmx_write_cr8(struct cpu *cpu, uint64_t value)
{
	vmx_vapic_set(cpu, VAPIC_TPR, 4, value << 4);
	vmx_apic_written(cpu, VAPIC_TPR, 4);
}

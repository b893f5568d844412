/*
 * Events for a guest: which one the next VM entry delivers, and for which ones the VMM must come back.
 *
 * SDM vol. 3, "Event Injection", "Interrupt-Window Exiting and Virtual-Interrupt Delivery", "NMI-Window Exiting", "Handling VM
 * Exits Due to Exceptions". Fixed interrupts go the shortest way that the CPU has: RVI, where it delivers virtual interrupts
 * itself, or injection.
 */
#include "cpu/x86.h"
#include "devices/i8259.h"
#include "devices/lapic.h"
#include "guest/load.h"
#include "guest/vm.h"
#include "vmx/apicv.h"
#include "vmx/exit.h"
#include "vmx/vcpu.h"

/* Interruption information: SDM vol. 3, "VM-Entry Controls for Event Injection", and the fields of the same form. */
enum { EXTERNAL_INTERRUPT, NMI = 2, HARDWARE_EXCEPTION, SOFTWARE_INTERRUPT, PRIVILEGED_SOFTWARE_EXCEPTION, SOFTWARE_EXCEPTION };
#define INFO_TYPE(info) ((info) >> 8 & 7)
#define INFO_ERROR BIT(11)
#define INFO_NMI_UNBLOCKING BIT(12)
#define INFO_VALID BIT(31)

enum { BLOCKING_BY_STI = 1 << 0, BLOCKING_BY_MOV_SS = 1 << 1, BLOCKING_BY_NMI = 1 << 3 };
enum { VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_PF = 14 };

/* "Interrupt 8—Double Fault Exception (#DF)": what a second exception while a first is delivered means. */
enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum class class_of(unsigned vector)
{
	switch (vector) {
	case 0: case 10: case 11: case 12: case 13: case 21: return CONTRIBUTORY; /* #DE #TS #NP #SS #GP #CP */
	case 14: case 20: return PAGE_FAULT; /* #PF #VE */
	case 8: return DOUBLE_FAULT;
	default: return BENIGN;
	}
}

/* Where nothing merges, the second event takes the place of the first: "handle exceptions serially". */
void vcpu_raise(struct vcpu *vcpu, unsigned vector, bool has_error, uint32_t error)
{
	enum class first = BENIGN, second = class_of(vector);

	if ((vcpu->event.info & INFO_VALID) && INFO_TYPE(vcpu->event.info) == HARDWARE_EXCEPTION)
		first = class_of(vcpu->event.info & 0xff);
	if (first == DOUBLE_FAULT && second != BENIGN) {
		vm_stop(vcpu->vm, "vCPU %u: triple fault: exception %u while a double fault was delivered", vcpu->index, vector);
		return;
	}
	if ((first == CONTRIBUTORY && second == CONTRIBUTORY) ||
	    (first == PAGE_FAULT && (second == CONTRIBUTORY || second == PAGE_FAULT))) {
		vector = VECTOR_DF;
		has_error = true;
		error = 0;
	}
	/* Real mode has no error codes, and a VM entry refuses them there. */
	has_error = has_error && (vmread(VMCS_GUEST_CR0) & CR0_PE);
	vcpu->event = (struct event){
		.info = (uint32_t)(INFO_VALID | (has_error ? INFO_ERROR : 0) | HARDWARE_EXCEPTION << 8 | vector),
		.error = error,
	};
}

void vcpu_raise_pf(struct vcpu *vcpu, gva_t address, uint32_t error)
{
	vcpu->cr2 = address;
	vcpu_raise(vcpu, VECTOR_PF, true, error);
}

/* The exit was met by an IRET that had unblocked NMIs: "Resuming Guest Software After Handling an Exception" restores the
   blocking. */
static bool iret_unblocked_nmis(void)
{
	uint64_t info;

	switch (vmread(VMCS_EXIT_REASON) & 0xffff) {
	case EXIT_EXCEPTION_NMI:
		info = vmread(VMCS_VM_EXIT_INTERRUPTION_INFO);
		return (info & INFO_NMI_UNBLOCKING) && INFO_TYPE(info) == HARDWARE_EXCEPTION && (info & 0xff) != VECTOR_DF;
	case EXIT_EPT_VIOLATION:
	case EXIT_PML_FULL: return vmread(VMCS_EXIT_QUALIFICATION) & INFO_NMI_UNBLOCKING; /* the same bit there */
	default: return false;
	}
}

/* SDM vol. 3, "Information for VM Exits That Occur During Event Delivery". */
void vcpu_keep_vectoring(struct vcpu *vcpu)
{
	uint64_t info = vmread(VMCS_IDT_VECTORING_INFO);

	if (!(info & INFO_VALID)) {
		if (iret_unblocked_nmis())
			vmcs_set(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI);
		return;
	}
	/* Bit 12 is undefined here, and reserved where it goes. */
	vcpu->event = (struct event){.info = (uint32_t)(info & ~INFO_NMI_UNBLOCKING)};
	if (info & INFO_ERROR)
		vcpu->event.error = (uint32_t)vmread(VMCS_IDT_VECTORING_ERROR_CODE);
	if (INFO_TYPE(info) >= SOFTWARE_INTERRUPT)
		vcpu->event.length = (uint32_t)vmread(VMCS_VM_EXIT_INSTRUCTION_LENGTH);
	if (INFO_TYPE(info) == NMI) /* its delivery has begun to block NMIs, and begins again */
		vmcs_clear(VMCS_GUEST_INTERRUPTIBILITY, BLOCKING_BY_NMI);
}

static void inject(const struct event *event)
{
	vmwrite(VMCS_VM_ENTRY_INTERRUPTION_INFO, event->info);
	if (event->info & INFO_ERROR)
		vmwrite(VMCS_VM_ENTRY_ERROR_CODE, event->error);
	if (INFO_TYPE(event->info) >= SOFTWARE_INTERRUPT)
		vmwrite(VMCS_VM_ENTRY_INSTRUCTION_LENGTH, event->length);
}

static void inject_interrupt(unsigned vector)
{
	inject(&(struct event){.info = (uint32_t)(INFO_VALID | EXTERNAL_INTERRUPT << 8 | vector)});
}

static bool is_interruptible(void)
{
	return (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
	       !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
}

static bool has_extint(const struct vcpu *vcpu) { return i8259_pending(vcpu->vm) && lapic_takes_extint(vcpu); }

/*
 * SDM vol. 3, "MP Initialization Protocol Algorithm for MP Systems": INIT makes an application processor wait, a start-up IPI
 * starts it. There is no firmware for a bootstrap processor to start again.
 */
bool vcpu_obey_signals(struct vcpu *vcpu)
{
	struct lapic *apic = &vcpu->apic;

	if (apic->init && (apic->base & APIC_BASE_BSP)) {
		vm_stop(vcpu->vm, "vCPU %u, the bootstrap processor, got an INIT", vcpu->index);
		return false;
	}
	if (apic->init) {
		bool startup = apic->startup;
		uint8_t vector = apic->startup_vector;
		uint64_t base = apic->base;

		vcpu_reset(vcpu);
		apic->base = base; /* INIT does not change it */
		apicv_update(vcpu);
		apic->startup = startup;
		apic->startup_vector = vector;
	}
	if (apic->startup && vcpu->state == VCPU_WAIT_SIPI) {
		vcpu_start_real(vcpu, (uint16_t)(apic->startup_vector << 8), 0);
		vcpu->state = VCPU_RUNNABLE;
	}
	apic->startup = false;
	return vcpu->state != VCPU_WAIT_SIPI;
}

/* HLT, wait-for-SIPI: SDM vol. 2, "HLT—Halt". The window of blocking by STI is over there. */
bool vcpu_has_work(struct vcpu *vcpu)
{
	bool waited = vcpu->state == VCPU_WAIT_SIPI;

	if (!vcpu_obey_signals(vcpu))
		return false;
	if (waited || (vcpu->event.info & INFO_VALID))
		return true;
	if (vcpu->nmi_pending && !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_BY_NMI))
		return true;
	return (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF) && (has_extint(vcpu) || lapic_pending(vcpu) >= 0);
}

static void set_window(struct vcpu *vcpu, uint64_t bit, bool on)
{
	if (vcpu_has(vcpu, WORD_PROCBASED_CTLS, bit) != on)
		vcpu_control(vcpu, WORD_PROCBASED_CTLS, bit, on);
}

/*
 * In the order of SDM vol. 3, "Priority Among Concurrent Events": what was begun, NMI, interrupts. With an interrupt window
 * wanted, virtual interrupts wait as well, so the 8259's go before the local APIC's.
 */
void vcpu_prepare_events(struct vcpu *vcpu)
{
	bool injected = vcpu->event.info & INFO_VALID, window = false;

	if (injected) {
		inject(&vcpu->event);
		vcpu->event.info = 0;
	}
	if (vcpu->nmi_pending && !injected &&
	    !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI))) {
		inject(&(struct event){.info = (uint32_t)(INFO_VALID | NMI << 8 | VECTOR_NMI)});
		vcpu->nmi_pending = false;
		injected = true;
	}
	if (has_extint(vcpu)) {
		if (!injected && is_interruptible()) {
			inject_interrupt(i8259_acknowledge(vcpu->vm));
			injected = true;
		}
		window = has_extint(vcpu);
	}
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, VIRTUAL_INTERRUPT_DELIVERY)) {
		apicv_set_status(vcpu);
	} else {
		int vector = lapic_pending(vcpu);

		if (vector >= 0 && !injected && is_interruptible()) {
			lapic_acknowledge(vcpu, (unsigned)vector);
			inject_interrupt((unsigned)vector);
			vector = lapic_pending(vcpu);
		}
		window = window || vector >= 0;
		if (VCPU_HAS(vcpu, PROCBASED_CTLS, USE_TPR_SHADOW))
			apicv_set_threshold(vcpu, vector);
	}
	set_window(vcpu, CTL(PROCBASED_CTLS, INTERRUPT_WINDOW_EXITING), window);
	set_window(vcpu, CTL(PROCBASED_CTLS, NMI_WINDOW_EXITING), vcpu->nmi_pending);
	/* From here on a request for this vCPU is posted or kicks: devices/lapic.c. An IPI that arrives before the entry is
	   pending, and ends it. */
	__atomic_store_n(&vcpu->in_guest, true, __ATOMIC_RELEASE);
}

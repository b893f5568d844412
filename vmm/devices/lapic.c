/*
 * A vCPU's local APIC: registers, interrupt acceptance, messages between processors. devices/lapic_timer.c has the timer.
 *
 * SDM vol. 3, "Local APIC", "Issuing Interprocessor Interrupts", "Handling Interrupts". Where the CPU virtualizes APIC writes,
 * lapic_write() is called when the page already has the new value: nothing here may depend on the old one.
 *
 * Not modelled: SMIs (ignored), delivery modes of LINT0 other than ExtINT and of LINT1 altogether (nothing is wired to it),
 * ExtINT messages, logical destinations of x2APIC mode, suppression of EOI broadcasts. APIC registers that are moved over RAM
 * stop the VM.
 */
#include "devices/lapic.h"

#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/msrs.h"
#include "cpu/x86.h"
#include "devices/lapic_timer.h"
#include "guest/vm.h"
#include "lib/string.h"
#include "vmx/apicv.h"
#include "vmx/vcpu.h"

enum access { NONE, R, W, RW };
enum delivery { FIXED, LOWEST_PRIORITY, SMI, NMI = 4, INIT, STARTUP, EXTINT };
enum shorthand { NO_SHORTHAND, SELF, ALL, OTHERS };

/* "Error Status Register (ESR)" */
enum { SEND_ILLEGAL_VECTOR = 1 << 5, RECEIVE_ILLEGAL_VECTOR = 1 << 6, ILLEGAL_REGISTER = 1 << 7 };

/* An integrated APIC with 6 LVT entries: "Local APIC Version Register". */
enum { VERSION = 0x14 | 5 << 16 };

enum { SVR_ENABLE = 1 << 8, SVR_SUPPRESS_EOI = 1 << 12 };
enum { DFR_FLAT = 0xf };

static const struct {
	uint8_t access;
	uint32_t settable;
} registers[0x40] = {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) [index] = {xapic, settable},
#include "apic_registers.def"
#undef APIC_REGISTER
};

static uint32_t get(const struct vcpu *vcpu, unsigned index) { return vcpu->apic.page[4 * index]; }
static void set(struct vcpu *vcpu, unsigned index, uint32_t value) { vcpu->apic.page[4 * index] = value; }

/* ISR, TMR and IRR: 256 bits in 8 registers. */
static bool has_vector(const struct vcpu *vcpu, enum apic_register vectors, unsigned vector)
{
	return get(vcpu, vectors + vector / 32) >> vector % 32 & 1;
}

static void set_vector(struct vcpu *vcpu, enum apic_register vectors, unsigned vector, bool on)
{
	uint32_t bit = 1u << vector % 32, old = get(vcpu, vectors + vector / 32);

	set(vcpu, vectors + vector / 32, on ? old | bit : old & ~bit);
}

int lapic_highest(const struct vcpu *vcpu, enum apic_register vectors)
{
	const uint32_t *at = &vcpu->apic.page[4 * vectors];

	for (int i = 7; i >= 0; i--)
		if (at[4 * i])
			return 32 * i + 31 - __builtin_clz(at[4 * i]);
	return -1;
}

static bool is_enabled(const struct vcpu *vcpu) { return (vcpu->apic.base & APIC_BASE_EN) && (get(vcpu, APIC_SVR) & SVR_ENABLE); }

bool lapic_is_at(const struct vcpu *vcpu, gpa_t gpa)
{
	return (vcpu->apic.base & APIC_BASE_EN) && (gpa & ~(PAGE - 1)) == (vcpu->apic.base & ~(PAGE - 1));
}

/* "Local APIC State After Power-Up or Reset" */
void lapic_reset(struct vcpu *vcpu, bool firmware)
{
	struct lapic *apic = &vcpu->apic;

	*apic = (struct lapic){.page = apic->page, .posted = apic->posted, .base = apic->base, .changed = true};
	if (firmware)
		apic->base = APIC_ADDRESS | APIC_BASE_EN | (vcpu->index == 0 ? APIC_BASE_BSP : 0);
	memset(apic->page, 0, PAGE);
	memset(apic->posted, 0, sizeof(*apic->posted));
	set(vcpu, APIC_ID, vcpu->index << 24);
	set(vcpu, APIC_VERSION, VERSION);
	set(vcpu, APIC_DFR, UINT32_MAX);
	set(vcpu, APIC_SVR, 0xff);
	for (unsigned lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt++)
		set(vcpu, lvt, LVT_MASKED);
	lapic_timer_reset(vcpu);

	/* There is no firmware in a VM, but systems count on what it does: MultiProcessor Specification, "Virtual Wire Mode". */
	if (firmware && vcpu->index == 0) {
		set(vcpu, APIC_SVR, SVR_ENABLE | 0xff);
		set(vcpu, APIC_LVT_LINT0, EXTINT << 8);
		set(vcpu, APIC_LVT_LINT1, NMI << 8);
	}
}

/* "Processor Priority Register (PPR)" */
static unsigned ppr(const struct vcpu *vcpu)
{
	unsigned tpr = get(vcpu, APIC_TPR) & 0xff;
	int in_service = lapic_highest(vcpu, APIC_ISR);

	return (int)(tpr >> 4) >= in_service >> 4 ? tpr : (unsigned)in_service & 0xf0;
}

/* "Error Handling". Each kind is reported once between two writes of ESR, so an error about the vector of LVT_ERROR ends
   there. */
static void report_error(struct vcpu *vcpu, uint32_t bit)
{
	if (vcpu->apic.errors & bit)
		return;
	vcpu->apic.errors |= bit;
	lapic_fire(vcpu, APIC_LVT_ERROR);
}

void lapic_fire(struct vcpu *vcpu, enum apic_register lvt)
{
	if (!(get(vcpu, lvt) & LVT_MASKED))
		lapic_accept(vcpu, get(vcpu, lvt) & 0xff, false);
}

/* Interrupts from other CPUs: ON first, as request() sets it last. */
void lapic_take_posted(struct vcpu *vcpu)
{
	struct posted_interrupts *posted = vcpu->apic.posted;

	if (!(__atomic_fetch_and(&posted->outstanding, ~1u, __ATOMIC_ACQUIRE) & 1))
		return;
	for (unsigned i = 0; i < 8; i++)
		set(vcpu, APIC_IRR + i, get(vcpu, APIC_IRR + i) | __atomic_exchange_n(&posted->requests[i], 0, __ATOMIC_RELAXED));
	vcpu->apic.changed = true;
}

/*
 * While a vCPU is in its guest, its CPU may own the IRR, so the request is posted: the notification makes that CPU fetch it
 * without a VM exit, or a kick makes the VM exit. in_guest is set with vm->lock held after the last look at the IRR: there is
 * no moment for a request to get lost.
 */
static void request(struct vcpu *vcpu, unsigned vector)
{
	struct posted_interrupts *posted = vcpu->apic.posted;

	if (!__atomic_load_n(&vcpu->in_guest, __ATOMIC_ACQUIRE)) {
		set_vector(vcpu, APIC_IRR, vector, true);
		vcpu->apic.changed = true;
		if (vcpu->state != VCPU_RUNNABLE)
			vcpu_wake(vcpu);
		return;
	}
	__atomic_fetch_or(&posted->requests[vector / 32], 1u << vector % 32, __ATOMIC_RELAXED);
	bool first = !(__atomic_fetch_or(&posted->outstanding, 1, __ATOMIC_ACQ_REL) & 1);

	if (!VCPU_HAS(vcpu, PINBASED_CTLS, PROCESS_POSTED_INTERRUPTS) || vcpu->apic.changed)
		vcpu_wake(vcpu); /* its EOI-exit bitmap must be right before the guest's handler ends */
	else if (first)
		apic_send(vcpu->cpu->apic_id, VECTOR_POSTED);
}

/* "Interrupt Acceptance for Fixed Interrupts"; a software-disabled APIC takes none. */
void lapic_accept(struct vcpu *vcpu, unsigned vector, bool level)
{
	if (!is_enabled(vcpu))
		return;
	if (vector < 16) {
		report_error(vcpu, RECEIVE_ILLEGAL_VECTOR);
		return;
	}
	if (has_vector(vcpu, APIC_TMR, vector) != level) {
		set_vector(vcpu, APIC_TMR, vector, level);
		vcpu->apic.changed = true;
	}
	request(vcpu, vector);
}

int lapic_pending(struct vcpu *vcpu)
{
	lapic_take_posted(vcpu);
	int vector = lapic_highest(vcpu, APIC_IRR);

	return vector >= 0 && vector >> 4 > (int)(ppr(vcpu) >> 4) ? vector : -1;
}

void lapic_acknowledge(struct vcpu *vcpu, unsigned vector)
{
	set_vector(vcpu, APIC_IRR, vector, false);
	set_vector(vcpu, APIC_ISR, vector, true);
	vcpu->apic.changed = true;
}

/* "Signaling Interrupt Servicing Completion" */
static void end_of_interrupt(struct vcpu *vcpu)
{
	int vector = lapic_highest(vcpu, APIC_ISR);

	if (vector < 0)
		return;
	set_vector(vcpu, APIC_ISR, (unsigned)vector, false);
	vcpu->apic.changed = true;
	if (has_vector(vcpu, APIC_TMR, (unsigned)vector))
		ioapic_eoi(vcpu->vm, (unsigned)vector);
}

bool lapic_takes_extint(const struct vcpu *vcpu)
{
	uint32_t lint0 = get(vcpu, APIC_LVT_LINT0);

	/* "IA32_APIC_BASE MSR": without the APIC, LINT0 is the INTR pin. The 8259s are wired to the bootstrap processor. */
	if (!(vcpu->apic.base & APIC_BASE_EN))
		return vcpu->index == 0;
	return !(lint0 & LVT_MASKED) && (lint0 >> 8 & 7) == EXTINT;
}

/* "Logical Destination Mode" */
static bool is_logical(const struct vcpu *vcpu, uint32_t destination)
{
	uint32_t logical = get(vcpu, APIC_LDR) >> 24;

	if (destination == 0xff)
		return true;
	if (get(vcpu, APIC_DFR) >> 28 == DFR_FLAT)
		return destination & logical;
	return (destination >> 4 == logical >> 4 || destination >> 4 == 15) && (destination & logical & 15);
}

static bool is_addressed(const struct vcpu *vcpu, const struct vcpu *from, const struct apic_message *message)
{
	switch (message->shorthand) {
	case SELF: return vcpu == from;
	case ALL: return true;
	case OTHERS: return vcpu != from;
	}
	if (message->logical)
		return is_logical(vcpu, message->destination);
	return message->destination == 0xff || message->destination == vcpu->index;
}

static void receive(struct vcpu *vcpu, const struct apic_message *message)
{
	switch (message->mode) {
	case FIXED:
	case LOWEST_PRIORITY: lapic_accept(vcpu, message->vector, message->level); return;
	case NMI: vcpu->nmi_pending = true; break;
	case INIT: vcpu->apic.init = true; break;
	case STARTUP:
		/* Only a CPU that waits for it, or will wait once it has obeyed its INIT, hears it. */
		if (vcpu->state != VCPU_WAIT_SIPI && !vcpu->apic.init)
			return;
		vcpu->apic.startup = true;
		vcpu->apic.startup_vector = message->vector;
		break;
	default: return;
	}
	vcpu_wake(vcpu);
}

/* "Determining IPI Destination"; lowest priority: "Lowest Priority Delivery Mode", with the lower ID winning a tie. */
void lapic_send(struct vm *vm, struct vcpu *from, const struct apic_message *message)
{
	struct vcpu *lowest = NULL;

	for (unsigned i = 0; i < vm->vcpus_count; i++) {
		struct vcpu *vcpu = vm->vcpus[i];

		if (!(vcpu->apic.base & APIC_BASE_EN) || !is_addressed(vcpu, from, message))
			continue;
		if (message->mode != LOWEST_PRIORITY)
			receive(vcpu, message);
		else if (is_enabled(vcpu) && (!lowest || ppr(vcpu) < ppr(lowest)))
			lowest = vcpu;
	}
	if (lowest)
		receive(lowest, message);
}

/* "Interrupt Command Register (ICR)" */
static void send_ipi(struct vcpu *vcpu, uint32_t icr)
{
	struct apic_message message = {
		.vector = (uint8_t)icr,
		.mode = icr >> 8 & 7,
		.shorthand = icr >> 18 & 3,
		.logical = icr & BIT(11),
		.asserted = true,
		.destination = get(vcpu, APIC_ICR_HIGH) >> 24,
	};

	if (message.mode <= LOWEST_PRIORITY && message.vector < 16) {
		report_error(vcpu, SEND_ILLEGAL_VECTOR);
		return;
	}
	/* INIT Level De-assert has no meaning since the Pentium 4, and software does not send ExtINT. The trigger mode is
	   for nothing else. */
	if ((message.mode == INIT && (icr & BIT(15)) && !(icr & BIT(14))) || message.mode == EXTINT)
		return;
	lapic_send(vcpu->vm, vcpu, &message);
}

/* "Local Vector Table", "Local APIC State After It Has Been Software Disabled": the entries are then masked and stay so. */
static void set_lvt(struct vcpu *vcpu, enum apic_register lvt, uint32_t value)
{
	set(vcpu, lvt, get(vcpu, APIC_SVR) & SVR_ENABLE ? value : value | LVT_MASKED);
	if (lvt == APIC_LVT_TIMER)
		lapic_timer_set_lvt(vcpu);
}

static void set_svr(struct vcpu *vcpu, uint32_t value)
{
	set(vcpu, APIC_SVR, value & ~(uint32_t)SVR_SUPPRESS_EOI);
	for (enum apic_register lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt++)
		set_lvt(vcpu, lvt, get(vcpu, lvt));
}

static void set_register(struct vcpu *vcpu, unsigned index, uint32_t value)
{
	set(vcpu, index, value);
	switch (index) {
	case APIC_ID: set(vcpu, index, vcpu->index << 24); break; /* the platform's tables name it: it stays */
	case APIC_EOI: end_of_interrupt(vcpu); break;
	case APIC_DFR: set(vcpu, index, value | 0x0fffffff); break;
	case APIC_SVR: set_svr(vcpu, value); break;
	case APIC_ESR:
		set(vcpu, index, vcpu->apic.errors);
		vcpu->apic.errors = 0;
		break;
	case APIC_ICR: send_ipi(vcpu, value); break;
	case APIC_LVT_TIMER ... APIC_LVT_ERROR: set_lvt(vcpu, index, value); break;
	case APIC_INITIAL_COUNT: lapic_timer_start(vcpu); break;
	case APIC_DCR: lapic_timer_divide(vcpu); break;
	}
}

static enum access access_of(unsigned index)
{
	/* APR and RRD are reserved since the Pentium 4, and no error. */
	if ((index >= APIC_ISR && index < APIC_IRR + 8) || index == 0x09 || index == 0x0c)
		return R;
	return index < ARRAY_SIZE(registers) ? registers[index].access : NONE;
}

/* Registers are the first four bytes of 16; what lies between is undefined, and zero here. */
uint32_t lapic_read(struct vcpu *vcpu, unsigned offset)
{
	unsigned index = offset / 16;

	if (offset % 16)
		return 0;
	if (access_of(index) == NONE)
		report_error(vcpu, ILLEGAL_REGISTER);
	switch (index) {
	case APIC_PPR: return ppr(vcpu);
	case APIC_CURRENT_COUNT: return lapic_timer_current(vcpu);
	default: return access_of(index) & R ? get(vcpu, index) : 0;
	}
}

void lapic_write(struct vcpu *vcpu, unsigned offset, uint32_t value)
{
	unsigned index = offset / 16;

	if (offset % 16)
		return;
	if (access_of(index) == NONE)
		report_error(vcpu, ILLEGAL_REGISTER);
	else if (access_of(index) & W)
		set_register(vcpu, index, value & registers[index].settable);
}

bool lapic_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	switch (msr) {
	case IA32_APIC_BASE: *value = vcpu->apic.base; return true;
	case IA32_TSC_DEADLINE: *value = lapic_timer_tsc_deadline(vcpu); return true;
	default: return false;
	}
}

/* "Local APIC Status and Location": bit 10, EXTD, is reserved where there is no x2APIC mode. */
static bool set_base(struct vcpu *vcpu, uint64_t value)
{
	unsigned width = cpuid(0x80000008, 0).eax & 0xff;

	if (value & ~(BITS(width - 1, 12) | APIC_BASE_EN | APIC_BASE_BSP))
		return false;
	if ((value & APIC_BASE_EN) && vm_is_ram(vcpu->vm, value & ~(PAGE - 1), PAGE)) {
		vm_stop(vcpu->vm, "vCPU %u moves its local APIC over RAM, to %lx", vcpu->index, value & ~(PAGE - 1));
		return true;
	}
	vcpu->apic.base = value;
	if (!(value & APIC_BASE_EN))
		lapic_reset(vcpu, false); /* "When [the flag] is set again, the local APIC is as after reset." */
	apicv_update(vcpu);
	return true;
}

bool lapic_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case IA32_APIC_BASE: return set_base(vcpu, value);
	case IA32_TSC_DEADLINE: lapic_timer_set_tsc_deadline(vcpu, value); return true;
	default: return false;
	}
}

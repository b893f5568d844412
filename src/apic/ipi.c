/*
 * Messages: who is meant, and what the one who is meant does. From the ICR, from I/O APICs and from devices (MSI).
 *
 * SDM vol. 3, "Issuing Interprocessor Interrupts", "Determining IPI Destination", "Lowest Priority Delivery Mode",
 * "Interrupt Delivery in x2APIC Mode", "Message Signalled Interrupts".
 */
#include "apic/local.h"

enum shorthand { NO_SHORTHAND, SELF, ALL, OTHERS };

static bool matches_logical(const struct apic *apic, uint32_t destination)
{
	uint32_t logical = apic_logical_id(apic);

	if (apic_mode(apic) == APIC_X2APIC)
		return destination == UINT32_MAX ||
		       (destination >> 16 == logical >> 16 && (destination & logical & 0xffff));
	if (destination == UINT32_MAX)
		return true;
	if (destination > 0xff)
		return false;
	logical >>= 24;
	if (apic->dfr >> 28 == 0xf) /* flat model */
		return destination & logical;
	/* Cluster model; cluster 15 is all of them. */
	return (destination >> 4 == logical >> 4 || destination >> 4 == 15) && (destination & logical & 15);
}

static bool matches(const struct apic *apic, const struct interrupt *interrupt)
{
	uint32_t destination = interrupt->destination;

	if (interrupt->logical)
		return matches_logical(apic, destination);
	if (destination == (interrupt->narrow ? 0xff : UINT32_MAX))
		return true;
	return destination == (apic_mode(apic) == APIC_X2APIC ? apic->initial_id : apic->id);
}

static bool selected(const struct apic *apic, const struct interrupt *interrupt, enum shorthand shorthand,
		     const struct apic *sender)
{
	if (apic_mode(apic) == APIC_DISABLED)
		return false;
	switch (shorthand) {
	case SELF: return apic == sender;
	case ALL: return true;
	case OTHERS: return apic != sender;
	default: return matches(apic, interrupt);
	}
}

/*
 * A software-disabled APIC answers only to INIT, NMI, SMI and SIPI: "Local APIC State After It Has Been Software
 * Disabled".
 */
static bool takes_vectors(const struct apic *apic)
{
	return apic->svr & SVR_ENABLE;
}

static bool receive(struct apic *apic, const struct interrupt *interrupt)
{
	struct cpu *cpu = apic->cpu;

	switch (interrupt->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (!takes_vectors(apic) || (interrupt->level && !interrupt->assert))
			return false;
		apic_accept(apic, interrupt->vector, interrupt->level);
		return true;
	case APIC_SMI: cpu_set_pin(cpu, PIN_SMI, true); return true;
	case APIC_NMI: cpu_set_pin(cpu, PIN_NMI, true); return true;
	case APIC_INIT: cpu_set_pin(cpu, PIN_INIT, true); return true;
	case APIC_STARTUP:
		/* Only a CPU that waits for it, or will wait once it has taken its INIT, hears a SIPI. */
		if (cpu->activity != ACTIVITY_WAIT_SIPI && !(cpu->pins & BIT(PIN_INIT)))
			return false;
		cpu->sipi_vector = interrupt->vector;
		cpu_set_pin(cpu, PIN_SIPI, true);
		return true;
	case APIC_EXTINT:
		if (!takes_vectors(apic))
			return false;
		apic->extint_message = true;
		apic_update(apic);
		return true;
	default: return false;
	}
}

static bool deliver(struct apic_bus *bus, const struct interrupt *interrupt, enum shorthand shorthand,
		    const struct apic *sender)
{
	struct apic *lowest = NULL;
	bool accepted = false;

	for (unsigned i = 0; i < bus->count; i++) {
		struct apic *apic = bus->apics[i];

		if (!selected(apic, interrupt, shorthand, sender))
			continue;
		if (interrupt->delivery != APIC_LOWEST)
			accepted |= receive(apic, interrupt);
		else if (takes_vectors(apic) && (!lowest || apic_ppr(apic) < apic_ppr(lowest)))
			lowest = apic;
	}
	return lowest ? receive(lowest, interrupt) : accepted;
}

bool apic_deliver(struct apic_bus *bus, const struct interrupt *interrupt)
{
	return deliver(bus, interrupt, NO_SHORTHAND, NULL);
}

void apic_send_ipi(struct apic *apic, uint64_t icr)
{
	bool x2apic = apic_mode(apic) == APIC_X2APIC;
	struct interrupt interrupt = {
		.destination = (uint32_t)(x2apic ? icr >> 32 : icr >> 56),
		.vector = (uint8_t)icr,
		.delivery = (enum apic_delivery)bits_get(icr, 10, 8),
		.logical = icr & BIT(11),
		.narrow = !x2apic,
		.assert = true,
	};

	switch (interrupt.delivery) {
	case APIC_FIXED:
	case APIC_LOWEST:
		if (interrupt.vector < 16) {
			apic_error(apic, ESR_SEND_ILLEGAL_VECTOR);
			return;
		}
		break;
	case APIC_INIT:
		/* INIT Level De-assert has no meaning since the Pentium 4. */
		if ((icr & BIT(15)) && !(icr & BIT(14)))
			return;
		break;
	case APIC_RESERVED:
	case APIC_EXTINT: return;
	default: break;
	}
	/* The trigger mode bit is for INIT Level De-assert only: IPIs are edge-triggered. */
	deliver(apic->bus, &interrupt, (enum shorthand)bits_get(icr, 19, 18), apic);
}

/* SDM vol. 3, "Posted-Interrupt Descriptor": NDST is an x2APIC ID, or has the xAPIC ID in bits 15:8. */
void apic_notify(struct apic *apic, uint32_t destination, uint8_t vector)
{
	bool x2apic = apic_mode(apic) == APIC_X2APIC;
	struct interrupt interrupt = {
		.destination = x2apic ? destination : destination >> 8 & 0xff,
		.vector = vector,
		.delivery = APIC_FIXED,
		.narrow = !x2apic,
		.assert = true,
	};

	apic_deliver(apic->bus, &interrupt);
}

void apic_send_msi(void *apic_bus, const struct msi *msi)
{
	struct apic_bus *bus = apic_bus;
	struct interrupt interrupt = {
		.destination = (uint32_t)bits_get(msi->address, 19, 12),
		.vector = (uint8_t)msi->data,
		.delivery = (enum apic_delivery)bits_get(msi->data, 10, 8),
		.logical = msi->address & BIT(2),
		.narrow = true,
		.level = msi->data & BIT(15),
		.assert = msi->data & BIT(14),
	};

	/* Redirection Hint: one of the destinations, as for lowest priority. */
	if ((msi->address & BIT(3)) && interrupt.delivery == APIC_FIXED)
		interrupt.delivery = APIC_LOWEST;
	if (interrupt.delivery == APIC_STARTUP) /* reserved in messages */
		return;
	if (!apic_deliver(bus, &interrupt) && log_on(bus->log, LOG_GUEST_ERRORS))
		log_line(bus->log, LOG_GUEST_ERRORS, "nobody accepted the interrupt message %llx data %x",
			 (unsigned long long)msi->address, msi->data);
}

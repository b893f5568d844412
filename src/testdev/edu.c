/*
 * edu: "EDU device" (QEMU's docs/specs/edu), a PCI device to learn with: factorials, interrupts, and DMA to a buffer of
 * its own.
 *
 * A transfer that does not lie in the buffer, which the document leaves open, is not made; the command still completes.
 */
#include "testdev/testdev.h"

#include "base/bits.h"
#include "pci/dma.h"
#include <stdlib.h>
#include <string.h>

enum {
	IDENTIFICATION = 0x00,
	LIVENESS = 0x04,
	FACTORIAL = 0x08,
	STATUS = 0x20,
	INTERRUPT_STATUS = 0x24,
	INTERRUPT_RAISE = 0x60,
	INTERRUPT_ACKNOWLEDGE = 0x64,
	DMA_SOURCE = 0x80,
	DMA_DESTINATION = 0x88,
	DMA_COUNT = 0x90,
	DMA_COMMAND = 0x98
};
enum { COMPUTING = 0x01, INTERRUPT_AFTER = 0x80, FACTORIAL_DONE = 0x001, DMA_DONE = 0x100 };
enum { DMA_START = 1, DMA_TO_RAM = 2, DMA_INTERRUPT = 4 };
enum { BUFFER = 0x40000, BUFFER_SIZE = 4096, BAR_SIZE = 1 << 20, FACTORIAL_NS = 1000, DMA_NS = 10000 };
#define VERSION	 UINT32_C(0x010000ed)
#define DMA_MASK UINT64_C(0x0fffffff)

struct edu {
	struct pci_function function;
	struct clock *clock;
	struct deadline factorial_done, dma_done;
	uint64_t dma_mask;
	uint32_t liveness, factorial, status, interrupts;
	uint64_t source, destination, count, command;
	uint8_t buffer[BUFFER_SIZE];
};

static void update_irq(struct edu *e)
{
	pci_set_intx(&e->function, e->interrupts && !pci_msi_enabled(&e->function));
}

static void raise(struct edu *e, uint32_t bits)
{
	e->interrupts |= bits;
	if (e->interrupts && pci_msi_enabled(&e->function))
		pci_send_msi(&e->function, 0);
	update_irq(e);
}

static void compute(void *owner)
{
	struct edu *e = owner;
	uint32_t result = 1;

	/* 34! and beyond is a multiple of 2^32: no need to count to 4 billion. */
	for (uint32_t i = 2; i <= e->factorial && i <= 34; i++)
		result *= i;
	e->factorial = result;
	e->status &= ~(uint32_t)COMPUTING;
	if (e->status & INTERRUPT_AFTER)
		raise(e, FACTORIAL_DONE);
}

static bool in_buffer(uint64_t address, uint64_t count)
{
	return address >= BUFFER && address - BUFFER <= BUFFER_SIZE && count <= BUFFER_SIZE - (address - BUFFER);
}

static void transfer(void *owner)
{
	struct edu *e = owner;

	if (e->command & DMA_TO_RAM) {
		if (in_buffer(e->source, e->count))
			dma_write(&e->function, e->destination & e->dma_mask, e->buffer + (e->source - BUFFER),
				  e->count);
	} else if (in_buffer(e->destination, e->count)) {
		dma_read(&e->function, e->source & e->dma_mask, e->buffer + (e->destination - BUFFER), e->count);
	}
	e->command &= ~(uint64_t)DMA_START;
	if (e->command & DMA_INTERRUPT)
		raise(e, DMA_DONE);
}

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
	struct edu *e = device;

	/* "size == 4 for addresses < 0x80", 4 or 8 from there. */
	if (size < 4 || (offset < 0x80 && size != 4))
		return UINT64_MAX;
	switch (offset) {
	case IDENTIFICATION: return VERSION;
	case LIVENESS: return e->liveness;
	case FACTORIAL: return e->factorial;
	case STATUS: return e->status;
	case INTERRUPT_STATUS: return e->interrupts;
	case DMA_SOURCE: return e->source;
	case DMA_DESTINATION: return e->destination;
	case DMA_COUNT: return e->count;
	case DMA_COMMAND: return e->command;
	default: return UINT64_MAX;
	}
}

static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct edu *e = device;

	if (size < 4 || (offset < 0x80 && size != 4))
		return;
	/* DMA registers hold still while a transfer runs. */
	if (offset >= 0x80 && (e->command & DMA_START))
		return;
	switch (offset) {
	case LIVENESS: e->liveness = ~(uint32_t)value; break;
	case FACTORIAL:
		if (e->status & COMPUTING)
			break;
		e->factorial = (uint32_t)value;
		e->status |= COMPUTING;
		clock_arm(e->clock, &e->factorial_done, clock_now(e->clock) + FACTORIAL_NS);
		break;
	case STATUS: e->status = (e->status & ~(uint32_t)INTERRUPT_AFTER) | ((uint32_t)value & INTERRUPT_AFTER); break;
	case INTERRUPT_RAISE: raise(e, (uint32_t)value); break;
	case INTERRUPT_ACKNOWLEDGE:
		e->interrupts &= ~(uint32_t)value;
		update_irq(e);
		break;
	case DMA_SOURCE: e->source = value; break;
	case DMA_DESTINATION: e->destination = value; break;
	case DMA_COUNT: e->count = value; break;
	case DMA_COMMAND:
		if (!(value & DMA_START))
			break;
		e->command = value & (DMA_START | DMA_TO_RAM | DMA_INTERRUPT);
		clock_arm(e->clock, &e->dma_done, clock_now(e->clock) + DMA_NS);
		break;
	default: break;
	}
}

static const struct device_ops bar_ops = {.read = bar_read, .write = bar_write};

static void reset(struct pci_function *function)
{
	struct edu *e = CONTAINER_OF(function, struct edu, function);

	clock_cancel(e->clock, &e->factorial_done);
	clock_cancel(e->clock, &e->dma_done);
	e->liveness = e->factorial = e->status = e->interrupts = 0;
	e->source = e->destination = e->count = e->command = 0;
	memset(e->buffer, 0, sizeof(e->buffer));
	update_irq(e);
}

static void save(struct pci_function *function, struct state *state)
{
	struct edu *e = CONTAINER_OF(function, struct edu, function);

	state_section(state, "edu");
	state_var(state, e->liveness);
	state_var(state, e->factorial);
	state_var(state, e->status);
	state_var(state, e->interrupts);
	state_var(state, e->source);
	state_var(state, e->destination);
	state_var(state, e->count);
	state_var(state, e->command);
	state_bytes(state, e->buffer, sizeof(e->buffer));
	clock_deadline_state(e->clock, &e->factorial_done, state);
	clock_deadline_state(e->clock, &e->dma_done, state);
}

static const struct pci_function_ops function_ops = {.reset = reset, .state = save};

struct edu *edu_create(struct pci_root *root, struct clock *clock, uint8_t slot, uint64_t dma_mask, struct error *error)
{
	struct edu *e = xcalloc(1, sizeof(*e));
	struct pci_function *f = &e->function;

	e->clock = clock;
	e->dma_mask = dma_mask ? dma_mask : DMA_MASK;
	deadline_init(&e->factorial_done, compute, e);
	deadline_init(&e->dma_done, transfer, e);
	f->name = "edu";
	f->ops = &function_ops;
	pci_identity(f, 0x1234, 0x11e8, 0x00ff00, 0x10, 0x1af4, 0x1100);
	pci_set_pin(f, 1);
	pci_add_bar(f, 0, PCI_BAR_MEM32, BAR_SIZE, &bar_ops, e);
	pci_add_msi(f, 0, true);
	if (!pci_add(root, f, slot, 0, error)) {
		free(e);
		return NULL;
	}
	return e;
}

void edu_destroy(struct edu *e)
{
	if (!e)
		return;
	clock_cancel(e->clock, &e->factorial_done);
	clock_cancel(e->clock, &e->dma_done);
	free(e);
}

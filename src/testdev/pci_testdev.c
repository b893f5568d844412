/*
 * pci-testdev: "pci-testdev QEMU device" (docs/specs). A memory and a port BAR with a header that offers tests; each
 * test says where to write and counts the writes that it accepts.
 */
#include "testdev/testdev.h"

#include "base/bits.h"
#include <stdlib.h>
#include <string.h>

enum { TESTS = 3, SELECT = 0, WIDTH = 1, OFFSET = 4, DATA = 8, COUNT = 12, NAME = 16, HEADER = 48 };
enum {
	MEMORY_DATA = 2048,
	MEMORY_SIZE = 4096,
	PORTS_DATA = 128,
	PORTS_SIZE = 256,
	DATA_MATCH = 0xfa,
	DATA_OTHER = 0xce
};

static const char *const names[TESTS] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};

struct bar {
	bool ports;
	int current; /* test, or -1 */
	uint32_t count[TESTS];
};

struct pci_testdev {
	struct pci_function function;
	struct bar memory, ports;
};

static uint32_t data_offset(const struct bar *bar, unsigned test)
{
	return (bar->ports ? PORTS_DATA : MEMORY_DATA) + test;
}

/* The wildcard test takes any value. */
static bool matches(unsigned test, unsigned size, uint64_t value)
{
	return test == 1 || (size == 1 && value == DATA_MATCH);
}

static uint64_t bar_read(void *device, uint64_t offset, unsigned size)
{
	struct bar *bar = device;
	uint8_t header[HEADER] = {0};
	unsigned test = (unsigned)bar->current;

	if (bar->current < 0 || offset + size > HEADER)
		return 0;
	header[SELECT] = (uint8_t)test;
	header[WIDTH] = 1;
	store_le(header + OFFSET, 4, data_offset(bar, test));
	header[DATA] = test == 1 ? DATA_OTHER : DATA_MATCH;
	store_le(header + COUNT, 4, bar->count[test]);
	strcpy((char *)header + NAME, bar->ports ? "portio-" : "mmio-");
	strcat((char *)header + NAME, names[test]);
	return load_le(header + offset, size);
}

static void bar_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct bar *bar = device;

	if (offset == SELECT) {
		bar->current = (value & 0xff) < TESTS ? (int)(value & 0xff) : -1;
		if (bar->current >= 0)
			bar->count[bar->current] = 0;
		return;
	}
	if (bar->current >= 0 && offset == data_offset(bar, (unsigned)bar->current) &&
	    matches((unsigned)bar->current, size, value))
		bar->count[bar->current]++;
}

static const struct device_ops bar_ops = {.read = bar_read, .write = bar_write};

static void reset(struct pci_function *function)
{
	struct pci_testdev *d = CONTAINER_OF(function, struct pci_testdev, function);

	d->memory = (struct bar){.current = -1};
	d->ports = (struct bar){.ports = true, .current = -1};
}

static void save(struct pci_function *function, struct state *state)
{
	struct pci_testdev *d = CONTAINER_OF(function, struct pci_testdev, function);
	struct bar *bars[2] = {&d->memory, &d->ports};

	state_section(state, "pci-testdev");
	for (unsigned i = 0; i < 2; i++) {
		state_var(state, bars[i]->current);
		state_bytes(state, bars[i]->count, sizeof(bars[i]->count));
		if (state_restoring(state) && (bars[i]->current < -1 || bars[i]->current >= TESTS))
			state_refuse(state, "a test that pci-testdev does not have");
	}
}

static const struct pci_function_ops function_ops = {.reset = reset, .state = save};

struct pci_testdev *pci_testdev_create(struct pci_root *root, uint8_t slot, struct error *error)
{
	struct pci_testdev *d = xcalloc(1, sizeof(*d));
	struct pci_function *f = &d->function;

	f->name = "pci-testdev";
	f->ops = &function_ops;
	pci_identity(f, 0x1b36, 0x0005, 0x00ff00, 0, 0x1af4, 0x1100);
	pci_add_bar(f, 0, PCI_BAR_MEM32, MEMORY_SIZE, &bar_ops, &d->memory);
	pci_add_bar(f, 1, PCI_BAR_IO, PORTS_SIZE, &bar_ops, &d->ports);
	if (!pci_add(root, f, slot, 0, error)) {
		free(d);
		return NULL;
	}
	reset(f);
	return d;
}

void pci_testdev_destroy(struct pci_testdev *d)
{
	free(d);
}

/*
 * The presets, on functions that are made up here.
 */
#include "firmware/firmware.h"

#include "base/bits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct rig {
	struct log log;
	struct bus *bus;
	struct pci_root *root;
	struct msi_sink sink;
	struct pci_function function[5];
	uint8_t elcr[2];
};

static uint64_t nothing_read(void *device, uint64_t offset, unsigned size)
{
	return 0;
}

static void nothing_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	((struct rig *)device)->elcr[offset] = (uint8_t)value;
}

static const struct pci_function_ops no_ops;
static const struct device_ops nothing = {.read = nothing_read, .write = nothing_write};
static const struct device_ops elcr_ops = {.read = nothing_read, .write = elcr_write, .max_size = 1};

static void add(struct rig *r, unsigned index, unsigned slot, unsigned number, unsigned pin)
{
	struct pci_function *f = &r->function[index];
	struct error error;

	f->name = "made up";
	f->ops = &no_ops;
	pci_identity(f, 0x1234, (uint16_t)index, 0xff0000, 0, 0, 0);
	if (pin)
		pci_set_pin(f, pin);
	/* Host bridge and LPC: their registers are plain bytes here. */
	if (index < 2)
		memset(f->writable + 0x40, 0xff, 0xc0);
	if (index == 2) {
		pci_add_bar(f, 0, PCI_BAR_IO, 32, &nothing, NULL);
		pci_add_bar(f, 1, PCI_BAR_MEM32, 4096, &nothing, NULL);
		pci_add_bar(f, 2, PCI_BAR_MEM64_PREFETCH, 1 << 20, &nothing, NULL);
		pci_add_bar(f, 5, PCI_BAR_MEM32, 64, &nothing, NULL);
	}
	if (index == 3)
		pci_add_bar(f, 0, PCI_BAR_MEM32, 1 << 28, &nothing, NULL);
	if (index == 4)
		pci_add_bar(f, 0, PCI_BAR_MEM64, UINT64_C(1) << 36, &nothing, NULL); /* too large for the window */
	assert_true(pci_add(r->root, f, (uint8_t)slot, (uint8_t)number, &error));
}

static void as_seabios_leaves_it(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	uint64_t bar[4];
	const uint8_t *lpc;

	r->bus = bus_create(&r->log);
	r->root = pci_root_create(r->bus, &r->sink, &r->log);
	bus_add_ports(r->bus, "elcr", 0x4d0, 2, &elcr_ops, r);
	add(r, 0, 0, 0, 0);
	add(r, 1, 31, 0, 0);
	add(r, 2, 3, 0, 1);
	add(r, 3, 31, 2, 3);
	add(r, 4, 4, 0, 4);
	preset_chipset(r->root, r->bus);

	assert_int_equal(load_le(r->function[0].config + 0x60, 8), 0xb0000001);
	assert_int_equal(r->function[0].config[0x90], 0x30);
	for (unsigned i = 0x91; i <= 0x96; i++)
		assert_int_equal(r->function[0].config[i], 0x33);
	lpc = r->function[1].config;
	assert_int_equal(load_le(lpc + 0x40, 4), 0x601);
	assert_int_equal(lpc[0x44], 0x80);
	assert_int_equal(load_le(lpc + 0xf0, 4), 0xfed1c001);
	assert_int_equal(load_le(lpc + 0x60, 4), 0x0b0b0a0a);
	assert_int_equal(load_le(lpc + 0x68, 4), 0x0b0b0a0a);
	assert_int_equal(r->elcr[0] | r->elcr[1] << 8, 0x0c00);

	bar[0] = load_le(r->function[2].config + 0x10, 4) & ~UINT64_C(3);
	bar[1] = load_le(r->function[2].config + 0x14, 4);
	bar[2] = load_le(r->function[2].config + 0x18, 8) & ~UINT64_C(15);
	bar[3] = load_le(r->function[3].config + 0x10, 4);
	assert_true(bar[0] >= 0xc000 && bar[0] % 32 == 0 && bar[0] < 0x10000);
	assert_true(bar[1] >= PCI32_BASE && bar[1] % 4096 == 0);
	assert_true(bar[2] >= bar[1] + 4096 && bar[2] % (1 << 20) == 0 && bar[2] < PCI32_END);
	assert_true(bar[3] >= bar[2] + (1 << 20) && bar[3] % (1 << 28) == 0 && bar[3] + (1 << 28) <= PCI32_END);
	assert_int_equal(load_le(r->function[2].config + 0x24, 4) % 64, 0);
	assert_int_equal(load_le(r->function[4].config + 0x10, 8) & ~UINT64_C(15), 0);
	assert_int_equal(load_le(r->function[2].config + 4, 2) & 7, 3);

	/* Slot 3 INTA is PIRQH: 11. Slot 31 INTC is PIRQC: 11. Slot 4 INTD is PIRQH: 11. */
	assert_int_equal(r->function[2].config[0x3c], 11);
	assert_int_equal(r->function[3].config[0x3c], 11);
	assert_int_equal(r->function[4].config[0x3c], 11);
	assert_int_equal(r->function[0].config[0x3c], 0);
	pci_root_destroy(r->root);
	bus_destroy(r->bus);
	free(r);
}

static void bios_data(void **state)
{
	struct log log = {0};
	struct bus *bus = bus_create(&log);
	struct error error;
	const uint8_t *ram;

	assert_true(bus_create_ram(bus, 1 << 20, &error));
	bus_add_ram(bus, 0, 1 << 20, 0, 0);
	preset_bios_data(bus);
	ram = bus_ram(bus);
	assert_int_equal(load_le(ram + 0x40e, 2), 0x9fc0);
	assert_int_equal(load_le(ram + 0x413, 2), 639);
	assert_int_equal(ram[0x9fc00], 1);
	/* Every vector leads to the same code, which ends with IRET. */
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(load_le(ram + 4 * i, 2), 0x10);
		assert_int_equal(load_le(ram + 4 * i + 2, 2), 0x9fc0);
	}
	assert_int_equal(ram[0x9fc10 + 8], 0xcf);
	bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(as_seabios_leaves_it), cmocka_unit_test(bios_data)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

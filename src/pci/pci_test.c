/* Configuration space, BARs, INTx, MSI, MSI-X and DMA, with values from the PCI specifications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "pci/dma.h"

static const struct log quiet;

struct fixture {
	struct bus *bus;
	struct pci_root *root;
	struct msi_sink sink;
	struct pci_function function, second;
	struct msi sent[16];
	unsigned count;
	bool wire[32][4];
	unsigned wire_changes;
	unsigned accesses, cf9;
	uint64_t offset;
};

static void sent(void *ctx, const struct msi *msi)
{
	struct fixture *f = ctx;

	f->sent[f->count++ % 16] = *msi;
}

static void wire(void *ctx, unsigned slot, unsigned pin, bool level)
{
	struct fixture *f = ctx;

	assert_true(f->wire[slot][pin] != level);
	f->wire[slot][pin] = level;
	f->wire_changes++;
}

static uint64_t device_read(void *device, uint64_t offset, unsigned size)
{
	struct fixture *f = device;

	f->accesses++;
	f->offset = offset;
	return 0x5a5a5a5a5a5a5a5a;
}

static void device_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct fixture *f = device;

	f->accesses++;
	f->offset = offset;
}

static uint64_t cf9_read(void *device, uint64_t offset, unsigned size)
{
	return 0x90 + offset;
}

static void cf9_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	if (offset == 1)
		((struct fixture *)device)->cf9++;
}

static const struct device_ops device_ops = {device_read, device_write, 0, 0};
static const struct device_ops cf9_ops = {cf9_read, cf9_write, 0, 0};

#define BDF 0x0018 /* 00:03.0 */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error error;

	f->bus = bus_create(&quiet);
	assert_true(bus_create_ram(f->bus, 0x100000, &error));
	bus_add_ram(f->bus, 0, 0x100000, 0, 0);
	f->sink = (struct msi_sink){sent, f};
	f->root = pci_root_create(f->bus, &f->sink, &quiet);
	pci_root_connect_intx(f->root, &(struct pci_intx_ops){wire, f});
	f->function.name = "thing";
	pci_identity(&f->function, 0x1234, 0x11e8, 0x00ff00, 0x10, 0x1af4, 0x1100);
	pci_add_bar(&f->function, 0, PCI_BAR_MEM32, 0x1000, &device_ops, f);
	pci_add_bar(&f->function, 1, PCI_BAR_IO, 0x20, &device_ops, f);
	pci_add_bar(&f->function, 2, PCI_BAR_MEM64_PREFETCH, 0x10000, &device_ops, f);
	pci_add_bar(&f->function, 4, PCI_BAR_MEM32, 0x1000, NULL, NULL);
	pci_set_pin(&f->function, 2);
	pci_add_msi(&f->function, 2, true);
	pci_add_msix(&f->function, 3, 4, 0, 0x800);
	assert_true(pci_add(f->root, &f->function, 3, 0, &error));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pci_root_destroy(f->root);
	bus_destroy(f->bus);
	free(f);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned offset, unsigned size)
{
	return pci_config_access_read(f->root, BDF, offset, size);
}

static void put(struct fixture *f, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_access_write(f->root, BDF, offset, size, value);
}

static void mechanism_1(void **state)
{
	struct fixture *f = *state;

	bus_out(f->bus, 0xcf8, 4, 0xff001803);
	assert_int_equal(bus_in(f->bus, 0xcf8, 4), 0x80001800);
	assert_int_equal(bus_in(f->bus, 0xcfc, 4), 0x11e81234);
	assert_int_equal(bus_in(f->bus, 0xcfe, 2), 0x11e8);
	assert_int_equal(bus_in(f->bus, 0xcfd, 1), 0x12);
	assert_int_equal(bus_in(f->bus, 0xcfd, 2), 0xe812);
	bus_out(f->bus, 0xcf8, 4, 0x80002000); /* an empty slot */
	assert_int_equal(bus_in(f->bus, 0xcfc, 4), 0xffffffff);
	bus_out(f->bus, 0xcf8, 4, 0x80011800); /* another bus */
	assert_int_equal(bus_in(f->bus, 0xcfc, 4), 0xffffffff);
	bus_out(f->bus, 0xcf8, 4, 0x00001800); /* not enabled */
	assert_int_equal(bus_in(f->bus, 0xcfc, 4), 0xffffffff);
	/* Only dwords reach CONFIG_ADDRESS. */
	bus_out(f->bus, 0xcf8, 4, 0x8000183c);
	bus_out(f->bus, 0xcf8, 1, 0);
	assert_int_equal(bus_in(f->bus, 0xcf8, 4), 0x8000183c);
	assert_int_equal(bus_in(f->bus, 0xcf9, 1), 0xff);
	pci_root_connect_cf9(f->root, &cf9_ops, f);
	bus_out(f->bus, 0xcf9, 1, 6);
	assert_int_equal(f->cf9, 1);
	assert_int_equal(bus_in(f->bus, 0xcf9, 1), 0x91);
	bus_out(f->bus, 0xcfc, 1, 11);
	assert_int_equal(get(f, 0x3c, 4), 0x020b);
}

static void ecam(void **state)
{
	struct fixture *f = *state;

	pci_root_set_ecam(f->root, true, 0xb0000000, 0x10000000);
	assert_int_equal(bus_read(f->bus, 0xb0018000, 4, false), 0x11e81234);
	assert_int_equal(bus_read(f->bus, 0xb0018000, 8, false) & 0xffffffff, 0x11e81234);
	assert_int_equal(bus_read(f->bus, 0xb0018100, 4, false), 0xffffffff); /* conventional: 256 bytes */
	bus_write(f->bus, 0xb001803c, 1, 9, false);
	assert_int_equal(get(f, 0x3c, 1), 9);
	assert_int_equal(bus_read(f->bus, 0xbfffffff, 1, false), 0xff);
	pci_root_set_ecam(f->root, true, 0xe0000000, 0x4000000);
	assert_int_equal(bus_read(f->bus, 0xb0018000, 4, false), 0xffffffff);
	assert_int_equal(bus_read(f->bus, 0xe0018000, 4, false), 0x11e81234);
	pci_root_set_ecam(f->root, false, 0, 0);
	assert_int_equal(bus_read(f->bus, 0xe0018000, 4, false), 0xffffffff);
}

static void header(void **state)
{
	struct fixture *f = *state;

	put(f, 0, 4, 0);
	assert_int_equal(get(f, 0, 4), 0x11e81234);
	assert_int_equal(get(f, 8, 4), 0x00ff0010);
	assert_int_equal(get(f, 0x2c, 4), 0x11001af4);
	put(f, 4, 2, 0xffff);
	assert_int_equal(get(f, 4, 2), 0x0547);
	/* Status: errors are cleared by writing 1, and only so. */
	f->function.config[7] = 0xf9;
	put(f, 6, 2, 0x0800);
	assert_int_equal(get(f, 6, 2), 0xf110);
	put(f, 4, 4, 0xffff0000);
	assert_int_equal(get(f, 4, 4), 0x00100000);
	assert_int_equal(get(f, 0xe, 1), 0);
}

static void bar_sizes(void **state)
{
	struct fixture *f = *state;

	for (unsigned offset = 0x10; offset < 0x28; offset += 4)
		put(f, offset, 4, 0xffffffff);
	put(f, 0x30, 4, 0xffffffff);
	assert_int_equal(get(f, 0x10, 4), 0xfffff000);
	assert_int_equal(get(f, 0x14, 4), 0xffffffe1);
	assert_int_equal(get(f, 0x18, 4), 0xffff000c);
	assert_int_equal(get(f, 0x1c, 4), 0xffffffff);
	assert_int_equal(get(f, 0x20, 4), 0xfffff000);
	assert_int_equal(get(f, 0x24, 4), 0);
	assert_int_equal(get(f, 0x30, 4), 0);
}

static void bar_decoding(void **state)
{
	struct fixture *f = *state;

	put(f, 0x10, 4, 0xfe000000);
	put(f, 0x14, 4, 0xc000);
	put(f, 0x18, 4, 0x00010000);
	put(f, 0x1c, 4, 0x8);
	bus_read(f->bus, 0xfe000010, 4, false);
	assert_int_equal(f->accesses, 0);
	put(f, 4, 2, 2);
	assert_int_equal(bus_read(f->bus, 0xfe000010, 4, false), 0x5a5a5a5a);
	assert_int_equal(f->offset, 0x10);
	bus_write(f->bus, UINT64_C(0x80001ffff), 1, 0, false);
	assert_int_equal(f->offset, 0xffff);
	assert_int_equal(bus_in(f->bus, 0xc004, 1), 0xff);
	put(f, 4, 2, 3);
	assert_int_equal(bus_in(f->bus, 0xc004, 1), 0x5a);
	assert_int_equal(f->offset, 4);
	/* Moved while decoding; over RAM it is not seen. */
	put(f, 0x10, 4, 0xfd000000);
	assert_int_equal(bus_read(f->bus, 0xfe000010, 4, false), 0xffffffff);
	assert_int_equal(bus_read(f->bus, 0xfd000010, 4, false), 0x5a5a5a5a);
	put(f, 0x10, 4, 0);
	assert_int_equal(bus_read(f->bus, 0x10, 4, false), 0);
	/* I/O above 64 KiB is nowhere. */
	put(f, 0x14, 4, 0x1c000);
	assert_int_equal(bus_in(f->bus, 0xc004, 1), 0xff);
	pci_reset(f->root);
	assert_int_equal(get(f, 0x1c, 4), 0);
	assert_int_equal(get(f, 4, 2), 0);
	assert_int_equal(bus_read(f->bus, UINT64_C(0x80001ffff), 1, false), 0xff);
}

static void capabilities(void **state)
{
	struct fixture *f = *state;
	unsigned at = get(f, 0x34, 1), seen = 0;

	assert_true(get(f, 6, 2) & 0x10);
	for (; at; at = get(f, at + 1, 1), seen++)
		assert_true(get(f, at, 1) == (seen ? 5 : 0x11));
	assert_int_equal(seen, 2);
	/* MSI: 4 vectors, 64-bit, per-vector masking. */
	assert_int_equal(get(f, f->function.msi + 2, 2), 0x0184);
	assert_int_equal(get(f, f->function.msix + 2, 2), 2);
	assert_int_equal(get(f, f->function.msix + 4, 4), 4);
	assert_int_equal(get(f, f->function.msix + 8, 4), 0x804);
}

static void intx(void **state)
{
	struct fixture *f = *state;

	pci_set_intx(&f->function, true);
	assert_true(f->wire[3][1]);
	assert_true(get(f, 6, 2) & 8);
	put(f, 4, 2, 0x400);
	assert_false(f->wire[3][1]);
	assert_true(get(f, 6, 2) & 8); /* Interrupt Status does not depend on Interrupt Disable */
	put(f, 4, 2, 0);
	assert_true(f->wire[3][1]);
	pci_set_intx(&f->function, false);
	assert_false(f->wire[3][1]);
	assert_false(get(f, 6, 2) & 8);
	assert_int_equal(f->wire_changes, 4);
}

static void two_functions_share_a_pin(void **state)
{
	struct fixture *f = *state;
	struct error error;

	f->second.name = "second";
	pci_identity(&f->second, 1, 2, 0x020000, 0, 0, 0);
	pci_set_pin(&f->second, 2);
	assert_false(pci_add(f->root, &f->second, 3, 0, &error));
	assert_non_null(strstr(error.text, "thing"));
	assert_true(pci_add(f->root, &f->second, 3, 1, &error));
	assert_int_equal(get(f, 0xe, 1), 0x80);
	assert_ptr_equal(pci_find(f->root, 0, 3, 1), &f->second);
	assert_int_equal(pci_free_slot(f->root), 1);
	pci_set_intx(&f->function, true);
	pci_set_intx(&f->second, true);
	pci_set_intx(&f->function, false);
	assert_true(f->wire[3][1]);
	pci_set_intx(&f->second, false);
	assert_false(f->wire[3][1]);
	pci_set_intx(&f->second, true);
	pci_reset(f->root);
	assert_false(f->wire[3][1]);
	assert_int_equal(get(f, 0xe, 1), 0x80);
}

static void msi(void **state)
{
	struct fixture *f = *state;
	unsigned at = f->function.msi;

	put(f, at + 4, 4, 0xfee01003);
	put(f, at + 12, 2, 0x4041);
	pci_send_msi(&f->function, 0);
	assert_int_equal(f->count, 0);
	put(f, at + 2, 2, 1); /* one vector */
	pci_send_msi(&f->function, 0);
	assert_int_equal(f->count, 0); /* not a bus master */
	put(f, 4, 2, 4);
	pci_send_msi(&f->function, 3);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].address, 0xfee01000);
	assert_int_equal(f->sent[0].data, 0x4041);
	assert_int_equal(f->sent[0].requester, BDF);
	put(f, at + 2, 2, 1 | 2 << 4); /* four */
	pci_send_msi(&f->function, 3);
	assert_int_equal(f->sent[1].data, 0x4043);
	put(f, at + 2, 2, 1 | 7 << 4); /* more than it has */
	pci_send_msi(&f->function, 31);
	assert_int_equal(f->sent[2].data, 0x4043);
	/* Masked: pending, and sent when the mask goes. */
	put(f, at + 16, 4, 0xffffffff);
	assert_int_equal(get(f, at + 16, 4), 0xf);
	pci_send_msi(&f->function, 2);
	pci_send_msi(&f->function, 2);
	assert_int_equal(f->count, 3);
	assert_int_equal(get(f, at + 20, 4), 4);
	put(f, at + 20, 4, 0);
	assert_int_equal(get(f, at + 20, 4), 4);
	put(f, at + 16, 4, 0xb);
	assert_int_equal(f->count, 4);
	assert_int_equal(f->sent[3].data, 0x4042);
	assert_int_equal(get(f, at + 20, 4), 0);
	/* An address that is not the local APICs' is memory. */
	put(f, at + 4, 4, 0x1000);
	pci_send_msi(&f->function, 2);
	assert_int_equal(f->count, 4);
	assert_int_equal(bus_read(f->bus, 0x1000, 4, false), 0x4042);
}

static void msix(void **state)
{
	struct fixture *f = *state;
	unsigned at = f->function.msix;

	put(f, 0x20, 4, 0xfe100000);
	put(f, 4, 2, 6);
	pci_send_msix(&f->function, 1); /* not enabled */
	assert_int_equal(bus_read(f->bus, 0xfe100800, 4, false), 0);
	/* Masked after reset. */
	assert_int_equal(bus_read(f->bus, 0xfe10001c, 4, false), 1);
	bus_write(f->bus, 0xfe100010, 8, 0xfee02000, false);
	bus_write(f->bus, 0xfe100018, 4, 0x51, false);
	put(f, at + 2, 2, 0xffff);
	assert_int_equal(get(f, at + 2, 2), 0xc002);
	put(f, at + 2, 2, 0x8000);
	pci_send_msix(&f->function, 1);
	pci_send_msix(&f->function, 3); /* there is none */
	assert_int_equal(f->count, 0);
	assert_int_equal(bus_read(f->bus, 0xfe100800, 8, false), 2);
	bus_write(f->bus, 0xfe100800, 8, 0, false);
	assert_int_equal(bus_read(f->bus, 0xfe100800, 4, false), 2);
	bus_write(f->bus, 0xfe10001c, 4, 0xfffffffe, false);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->sent[0].address, 0xfee02000);
	assert_int_equal(f->sent[0].data, 0x51);
	assert_int_equal(bus_read(f->bus, 0xfe100800, 4, false), 0);
	assert_int_equal(bus_read(f->bus, 0xfe10001c, 4, false), 0);
	/* Function Mask. */
	put(f, at + 2, 2, 0xc000);
	pci_send_msix(&f->function, 1);
	assert_int_equal(f->count, 1);
	put(f, at + 2, 2, 0x8000);
	assert_int_equal(f->count, 2);
	/* Beyond the table the BAR has nothing. */
	assert_int_equal(bus_read(f->bus, 0xfe100100, 4, false), 0);
	/* Bytes and words do not reach the table. */
	bus_write(f->bus, 0xfe100010, 1, 0xff, false);
	assert_int_equal(bus_read(f->bus, 0xfe100010, 1, false), 0);
}

static bool translate(void *ctx, uint16_t requester, iova_t iova, bool write, pa_t *pa, size_t *size)
{
	assert_int_equal(requester, BDF);
	assert_int_equal(write, *(bool *)ctx);
	*size = min_u64(*size, 4096 - iova % 4096);
	*pa = iova ^ 0x1000;
	return iova < 0x3000;
}

static void dma(void **state)
{
	struct fixture *f = *state;
	static uint8_t bytes[0x3000];
	bool writing = true;

	assert_false(dma_write(&f->function, 0x1ffe, "1234", 4));
	assert_false(dma_read(&f->function, 0, bytes, 4));
	assert_int_equal(bytes[0], 0xff);
	put(f, 4, 2, 4);
	assert_true(dma_write(&f->function, 0x1ffe, "1234", 4));
	assert_true(dma_read(&f->function, 0x1ffe, bytes, 4));
	assert_false(dma_read(&f->function, 0xffffe, bytes, 4)); /* over the end of RAM */
	assert_memory_equal(bus_ram(f->bus) + 0x1ffe, "1234", 4);
	assert_int_equal(dma_read_le(&f->function, 0x1fff, 2), '2' | '3' << 8);
	pci_root_connect_dma(f->root, &(struct dma_ops){translate, &writing});
	assert_true(dma_write(&f->function, 0x1ffe, "abcd", 4));
	assert_memory_equal(bus_ram(f->bus) + 0xffe, "ab", 2);
	assert_memory_equal(bus_ram(f->bus) + 0x3000, "cd", 2);
	/* The aborted part reads as ones, the rest is there. */
	writing = false;
	assert_false(dma_read(&f->function, 0x1000, bytes, sizeof(bytes)));
	assert_memory_equal(bytes + 0xffe, "ab", 2);
	assert_memory_equal(bytes + 0x1000, "cd", 2);
	assert_int_equal(bytes[0x2000], 0xff);
	assert_int_equal(bytes[0x2fff], 0xff);
	/* Messages. */
	assert_true(dma_write(&f->function, 0xfee00000, "\x30\0\0\0", 4));
	assert_int_equal(f->sent[0].data, 0x30);
	assert_false(dma_write(&f->function, 0xfee00000, "\x30\0\0\0\0\0\0\0", 8));
	assert_false(dma_write(&f->function, 0xfee00002, "\x30\0\0\0", 4));
	assert_false(dma_read(&f->function, 0xfee00000, bytes, 4));
	assert_int_equal(f->count, 1);
}

static void pcie(void **state)
{
	struct fixture *f = *state;
	struct error error;
	unsigned at;

	f->second.name = "express";
	pci_identity(&f->second, 1, 2, 0x020000, 0, 0, 0);
	pci_add_pcie(&f->second, 9);
	assert_true(pci_add(f->root, &f->second, 1, 0, &error));
	assert_int_equal(pci_config_access_read(f->root, 0x08, 0x100, 4),
			 0); /* no extended capabilities, but the space */
	at = pci_config_access_read(f->root, 0x08, 0x34, 1);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at, 1), 0x10);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 2, 2), 0x92);
	assert_int_equal(pci_config_access_read(f->root, 0x08, 0xffc, 4), 0);
}

static void pcie_endpoint(void **state)
{
	struct fixture *f = *state;
	struct error error;
	unsigned at;

	f->second.name = "endpoint";
	pci_identity(&f->second, 1, 2, 0x020000, 0, 0, 0);
	pci_add_pcie(&f->second, 0);
	assert_true(pci_add(f->root, &f->second, 1, 0, &error));
	at = pci_config_access_read(f->root, 0x08, 0x34, 1);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 2, 2), 0x02);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 4, 4), 0x8000);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 8, 2), 0x2810);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 12, 4), 0x11);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 18, 2), 0x11);
	assert_int_equal(pci_config_access_read(f->root, 0x08, at + 0x30, 2), 1);
}

static void ecam_sizes(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		pci_root_set_ecam(f->root, true, 0xc0000000, (uint64_t)256 << 20 >> i);
		assert_int_equal(bus_read(f->bus, 0xc0018000, 4, false), 0x11e81234);
	}
	pci_root_set_ecam(f->root, true, 0xd0000000, (uint64_t)128 << 20);
	assert_int_equal(bus_read(f->bus, 0xc0018000, 4, false), 0xffffffff); /* only one window at a time */
}

static void saved_and_restored(void **state)
{
	struct fixture *f = *state;
	struct state *save = state_save(), *restore;
	const void *data;
	size_t size;

	put(f, 0x10, 4, 0xfe000000);
	put(f, 0x20, 4, 0xfe100000);
	put(f, 4, 2, 6);
	bus_write(f->bus, 0xfe100018, 4, 0x77, false);
	pci_set_intx(&f->function, true);
	pci_state(f->root, save);
	data = state_data(save, &size);
	pci_reset(f->root);
	assert_false(f->wire[3][1]);
	assert_int_equal(bus_read(f->bus, 0xfe000000, 4, false), 0xffffffff);
	restore = state_restore(data, size);
	pci_state(f->root, restore);
	assert_false(state_failed(restore));
	assert_true(f->wire[3][1]);
	assert_int_equal(bus_read(f->bus, 0xfe000000, 4, false), 0x5a5a5a5a);
	assert_int_equal(bus_read(f->bus, 0xfe100018, 4, false), 0x77);
	state_free(restore);
	state_free(save);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(mechanism_1),
		TEST(ecam),
		TEST(header),
		TEST(bar_sizes),
		TEST(bar_decoding),
		TEST(capabilities),
		TEST(intx),
		TEST(two_functions_share_a_pin),
		TEST(msi),
		TEST(msix),
		TEST(dma),
		TEST(pcie),
		TEST(pcie_endpoint),
		TEST(ecam_sizes),
		TEST(saved_and_restored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

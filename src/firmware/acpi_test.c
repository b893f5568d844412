/*
 * ACPI tables as software finds them: placed in memory, and as firmware links them by the table-loader script.
 */
#include "firmware/acpi.h"

#include "base/bits.h"
#include "firmware/firmware.h"
#include "firmware/fw_cfg.h"
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE UINT64_C(0xe0000)

struct rig {
	struct log log;
	struct bus *bus;
	struct memory_layout layout;
	struct acpi_tables *acpi;
	uint8_t *ram;
};

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct acpi_config config = {.cpus = 3,
				     .topology = {2, 1, 75, 2},
				     .layout = &r->layout,
				     .serial = {true},
				     .i8042 = true,
				     .hpet = true};
	struct error error;

	r->bus = bus_create(&r->log);
	if (!bus_create_ram(r->bus, 4 << 20, &error))
		return -1;
	bus_add_ram(r->bus, 0, 4 << 20, 0, 0);
	r->ram = bus_ram(r->bus);
	memory_layout(4 << 20, 40, &r->layout);
	r->acpi = acpi_create(&config);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	acpi_destroy(r->acpi);
	bus_destroy(r->bus);
	free(r);
	return 0;
}

static uint8_t sum(const uint8_t *bytes, size_t size)
{
	uint8_t total = 0;

	while (size--)
		total = (uint8_t)(total + *bytes++);
	return total;
}

/* The table by its signature, through RSDP and RSDT or XSDT; every table on the way must sum up to zero. */
static uint8_t *find(uint8_t *ram, uint64_t rsdp, const char *signature, bool use_xsdt)
{
	uint8_t *root = ram + (use_xsdt ? load_le(ram + rsdp + 24, 8) : load_le(ram + rsdp + 16, 4)), *found = NULL;
	unsigned width = use_xsdt ? 8 : 4, entries = ((unsigned)load_le(root + 4, 4) - 36) / width;

	assert_memory_equal(ram + rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(ram + rsdp, 20), 0);
	assert_int_equal(sum(ram + rsdp, 36), 0);
	assert_memory_equal(root, use_xsdt ? "XSDT" : "RSDT", 4);
	assert_int_equal(sum(root, load_le(root + 4, 4)), 0);
	for (unsigned i = 0; i < entries; i++) {
		uint8_t *table = ram + load_le(root + 36 + width * i, width);

		assert_int_equal(sum(table, load_le(table + 4, 4)), 0);
		if (!memcmp(table, signature, 4))
			found = table;
	}
	return found;
}

static void check_all(uint8_t *ram, uint64_t rsdp)
{
	static const char *const signatures[] = {"FACP", "APIC", "SSDT", "MCFG", "HPET"};
	uint8_t *fadt, *madt, *dsdt, *mcfg;
	unsigned local = 0, x2apic = 0, enabled = 0, overrides = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++) {
		uint8_t *table = find(ram, rsdp, signatures[i], false);

		assert_non_null(table);
		assert_ptr_equal(table, find(ram, rsdp, signatures[i], true));
	}
	fadt = find(ram, rsdp, "FACP", false);
	assert_int_equal(load_le(fadt + 46, 2), 9);
	assert_int_equal(load_le(fadt + 56, 4), 0x600);
	assert_int_equal(load_le(fadt + 76, 4), 0x608);
	assert_int_equal(load_le(fadt + 116, 1), 1);
	assert_int_equal(load_le(fadt + 120, 8), 0xcf9);
	assert_memory_equal(ram + load_le(fadt + 36, 4), "FACS", 4);
	assert_int_equal(load_le(fadt + 36, 4) % 64, 0);
	dsdt = ram + load_le(fadt + 40, 4);
	assert_memory_equal(dsdt, "DSDT", 4);
	assert_int_equal(sum(dsdt, load_le(dsdt + 4, 4)), 0);
	madt = find(ram, rsdp, "APIC", false);
	for (uint8_t *e = madt + 44; e < madt + load_le(madt + 4, 4); e += e[1]) {
		assert_true(e[1] >= 6);
		if (e[0] == 9)
			assert_int_equal(load_le(e + 4, 4), 256 + x2apic++);
		else if (e[0] == 0)
			assert_int_equal(e[3], local++);
		enabled += e[0] == 0 ? e[4] : e[0] == 9 ? e[8] : 0;
		overrides += e[0] == 2;
	}
	assert_int_equal(local, 150); /* a socket's; the other's APIC IDs begin at 256 */
	assert_int_equal(x2apic, 150);
	assert_int_equal(enabled, 3);
	assert_int_equal(overrides, 5);
	mcfg = find(ram, rsdp, "MCFG", false);
	assert_int_equal(load_le(mcfg + 44, 8), 0xb0000000);
}

static void placed_in_memory(void **state)
{
	struct rig *r = *state;
	pa_t end = acpi_place(r->acpi, r->bus, BASE);

	assert_true(end > BASE && end < 0xff000);
	check_all(r->ram, BASE);
}

static void an_added_table_is_listed(void **state)
{
	struct rig *r = *state;
	uint8_t dmar[48] = "DMAR";

	acpi_add(r->acpi, dmar, sizeof(dmar));
	acpi_place(r->acpi, r->bus, BASE);
	assert_non_null(find(r->ram, BASE, "DMAR", false));
	check_all(r->ram, BASE);
}

/* The contents of a fw_cfg file by its name, through the ports. */
static uint8_t *read_file(struct bus *bus, const char *name, size_t *size)
{
	uint32_t count = 0;
	uint8_t *bytes = NULL;
	uint16_t key = 0;

	bus_out(bus, 0x510, 2, 0x19);
	for (unsigned i = 0; i < 4; i++)
		count = count << 8 | bus_in(bus, 0x511, 1);
	while (count--) {
		uint8_t entry[64];

		for (unsigned i = 0; i < 64; i++)
			entry[i] = (uint8_t)bus_in(bus, 0x511, 1);
		if (strcmp((char *)entry + 8, name))
			continue;
		*size = be32toh((uint32_t)load_le(entry, 4));
		key = be16toh((uint16_t)load_le(entry + 4, 2));
	}
	assert_true(key >= 0x20);
	bus_out(bus, 0x510, 2, key);
	bytes = malloc(*size);
	for (size_t i = 0; i < *size; i++)
		bytes[i] = (uint8_t)bus_in(bus, 0x511, 1);
	return bytes;
}

/* What SeaBIOS does with the script, in a few lines. */
static void linked_by_the_script(void **state)
{
	struct rig *r = *state;
	struct fw_cfg *fw = fw_cfg_create(r->bus);
	uint64_t at[2] = {0x200000, 0xf0000}; /* tables, rsdp */
	size_t size, script_size;
	uint8_t *bytes, *script;

	acpi_offer(r->acpi, fw);
	script = read_file(r->bus, "etc/table-loader", &script_size);
	assert_int_equal(script_size % 128, 0);
	for (size_t i = 0; i < script_size; i += 128) {
		uint8_t *c = script + i;
		uint8_t *base = r->ram + at[!strcmp((char *)c + 4, "etc/acpi/rsdp")];
		uint8_t *source = r->ram + at[!strcmp((char *)c + 60, "etc/acpi/rsdp")], *field;

		switch (load_le(c, 4)) {
		case 1:
			bytes = read_file(r->bus, (char *)c + 4, &size);
			memcpy(base, bytes, size);
			free(bytes);
			break;
		case 2:
			field = base + load_le(c + 116, 4);
			assert_true(c[120] == 4 || c[120] == 8);
			store_le(field, c[120], load_le(field, c[120]) + (uint64_t)(source - r->ram));
			break;
		case 3:
			field = base + load_le(c + 60, 4);
			*field = (uint8_t)(*field - sum(base + load_le(c + 64, 4), load_le(c + 68, 4)));
			break;
		default: fail_msg("an unknown command %u", (unsigned)load_le(c, 4));
		}
	}
	free(script);
	check_all(r->ram, at[1]);
	fw_cfg_destroy(fw);
}

static void fw_cfg_ports_and_dma(void **state)
{
	struct rig *r = *state;
	struct fw_cfg *fw = fw_cfg_create(r->bus);
	uint8_t *dma = r->ram + 0x10000;

	fw_cfg_add_number(fw, FW_CFG_CPUS, 2, 3);
	assert_true(fw_cfg_add_file(fw, "opt/test", "hello world", 11));
	assert_false(fw_cfg_add_file(fw, "a name of more than 55 characters cannot be in the directory", "x", 1));
	bus_out(r->bus, 0x510, 2, 0);
	assert_int_equal(bus_in(r->bus, 0x511, 1), 'Q');
	assert_int_equal(bus_in(r->bus, 0x511, 1), 'E');
	bus_out(r->bus, 0x510, 2, 5);
	assert_int_equal(bus_in(r->bus, 0x511, 1), 3);
	assert_int_equal(bus_in(r->bus, 0x511, 1), 0);
	assert_int_equal(bus_in(r->bus, 0x511, 1), 0); /* beyond the end */
	bus_out(r->bus, 0x510, 2, 1);
	assert_int_equal(bus_in(r->bus, 0x511, 1), 3);
	assert_int_equal(bus_in(r->bus, 0x514, 4), 0x554d4551); /* "QEMU" as bytes */

	/* Select file 20H, skip "hello ", read 8 bytes of which 5 are there. */
	store_le(dma, 4, htobe32(0x20u << 16 | 8 | 4));
	store_le(dma + 4, 4, htobe32(6));
	bus_out(r->bus, 0x518, 4, htobe32(0x10000));
	assert_int_equal(load_le(dma, 4), 0);
	memset(r->ram + 0x20000, 0xff, 9);
	store_le(dma, 4, htobe32(2));
	store_le(dma + 4, 4, htobe32(8));
	store_le(dma + 8, 8, htobe64(0x20000));
	bus_out(r->bus, 0x514, 4, 0);
	bus_out(r->bus, 0x518, 4, htobe32(0x10000));
	assert_int_equal(load_le(dma, 4), 0);
	assert_memory_equal(r->ram + 0x20000, "world\0\0\0\xff", 9);
	/* Writing is refused. */
	store_le(dma, 4, htobe32(16));
	bus_out(r->bus, 0x518, 4, htobe32(0x10000));
	assert_int_equal(load_le(dma, 4), htobe32(1));
	/* Addresses where nothing is, and absurd lengths, come to an end. */
	store_le(dma, 4, htobe32(2));
	store_le(dma + 4, 4, UINT32_MAX);
	store_le(dma + 8, 8, UINT64_MAX);
	bus_out(r->bus, 0x518, 4, htobe32(0x10000));
	bus_out(r->bus, 0x514, 4, UINT32_MAX);
	bus_out(r->bus, 0x518, 4, UINT32_MAX);
	fw_cfg_destroy(fw);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(placed_in_memory),
		TEST(an_added_table_is_listed),
		TEST(linked_by_the_script),
		TEST(fw_cfg_ports_and_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The two facts from ACPI tables: processors and power-off; and tables that are wrong or not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "lib/types.h"

/* In the place of cpu/x86.h: ports that remember. */
#define VMM_CPU_X86_H
static char said[256];
static uint16_t pm1_control;

static void say(const char *what, unsigned port, unsigned value)
{
	snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s%s %x %x", *said ? ", " : "", what, port, value);
}

static void out16(uint16_t port, uint16_t value) { say("out16", port, value); }
static uint16_t in16(uint16_t port) { return pm1_control; }

static void out8(uint16_t port, uint8_t value)
{
	say("out8", port, value);
	if (port == 0xb2)
		pm1_control |= 1; /* SCI_EN */
}

#include "cpu/acpi.c"

uint32_t apic_id(void) { return 77; }
void time_delay_us(uint64_t us) {}

static struct {
	struct rsdp rsdp;
	struct {
		struct table header;
		uint64_t tables[2];
	} PACKED xsdt;
	struct fadt fadt;
	struct {
		struct table header;
		uint8_t aml[64];
	} dsdt;
	struct {
		struct madt header;
		uint8_t entries[128];
	} madt;
} m;

static void sum(void *bytes, size_t size, uint8_t *checksum)
{
	uint8_t total = 0;

	*checksum = 0;
	for (size_t i = 0; i < size; i++)
		total += ((uint8_t *)bytes)[i];
	*checksum = (uint8_t)-total;
}

static void finish(struct table *table, const char *signature, size_t size)
{
	memcpy(table->signature, signature, 4);
	table->length = (uint32_t)size;
	sum(table, size, &table->checksum);
}

/* A machine whose DSDT and MADT end with these. */
static void machine(const void *aml, size_t aml_size, const void *entries, size_t entries_size)
{
	memset(&m, 0, sizeof(m));
	memcpy(m.rsdp.signature, "RSD PTR ", 8);
	m.rsdp.revision = 2;
	m.rsdp.xsdt = pa_of(&m.xsdt);
	m.xsdt.tables[0] = pa_of(&m.fadt);
	m.xsdt.tables[1] = pa_of(&m.madt);
	memcpy(m.dsdt.aml, aml, aml_size);
	memcpy(m.madt.entries, entries, entries_size);
	m.fadt.x_dsdt = pa_of(&m.dsdt);
	m.fadt.pm1a_control = 0x604;
	m.fadt.smi_command = 0xb2;
	m.fadt.acpi_enable = 0xa0;
	finish(&m.xsdt.header, "XSDT", sizeof(m.xsdt));
	finish(&m.fadt.header, "FACP", sizeof(m.fadt));
	finish(&m.dsdt.header, "DSDT", sizeof(m.dsdt.header) + aml_size);
	finish(&m.madt.header.header, "APIC", sizeof(m.madt.header) + entries_size);
	madt = NULL;
	fadt = NULL;
	has_s5 = false;
	pm1_control = 1;
	*said = 0;
}

static const uint8_t two_processors[] = {
	MADT_LAPIC, 8, 0, 0, 1, 0, 0, 0,
	1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* an I/O APIC */
	MADT_LAPIC, 8, 1, 9, 0, 0, 0, 0, /* disabled */
	MADT_X2APIC, 16, 0, 0, 0x34, 0x12, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
};
static const uint8_t s5[] = {0x08, '_', 'S', '5', '_', 0x12, 6, 4, 0, 1, 0, 0};

static void processors(void **unused)
{
	uint32_t ids[4];

	machine(s5, sizeof(s5), two_processors, sizeof(two_processors));
	acpi_init(&m.rsdp);
	assert_int_equal(acpi_processors(ids, 4), 2);
	assert_int_equal(ids[0], 0);
	assert_int_equal(ids[1], 0x1234);
	assert_int_equal(acpi_processors(ids, 1), 1);
}

/* Every cut of the table: what is whole is read, and no more. */
static void cut_entries(void **unused)
{
	for (size_t size = 0; size <= sizeof(two_processors); size++) {
		uint32_t ids[4];

		machine(s5, sizeof(s5), two_processors, size);
		acpi_init(&m.rsdp);
		assert_int_equal(acpi_processors(ids, 4), size < sizeof(two_processors) ? 1 : 2);
		assert_int_equal(ids[0], size < 8 ? 77 : 0);
	}
}

static void wrong_tables(void **unused)
{
	uint32_t ids[4];

	machine(s5, sizeof(s5), two_processors, sizeof(two_processors));
	m.madt.entries[3]++; /* its checksum is wrong */
	m.fadt.header.checksum++;
	acpi_init(&m.rsdp);
	assert_int_equal(acpi_processors(ids, 4), 1);
	assert_int_equal(ids[0], 77);
	acpi_power_off();
	assert_string_equal(said, "");
}

static void expect_power_off(const void *aml, size_t size, const char *expected)
{
	machine(aml, size, "", 0);
	acpi_init(&m.rsdp);
	acpi_power_off();
	assert_string_equal(said, expected);
}

static void power_off(void **unused)
{
	static const uint8_t prefixed[] = {0, 0x08, '\\', '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, 5, 0x0a, 7, 0, 0, 1, 2, 3};
	static const uint8_t long_length[] = {0x08, '_', 'S', '5', '_', 0x12, 0x47, 0, 2, 0x0a, 3, 0x0a, 3};
	static const uint8_t no_name[] = {0x10, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0};

	expect_power_off(s5, sizeof(s5), "out16 604 2001");
	expect_power_off(prefixed, sizeof(prefixed), "out16 604 3401");
	expect_power_off(long_length, sizeof(long_length), "out16 604 2c01");
	expect_power_off(no_name, sizeof(no_name), "");
	for (size_t size = 0; size < 8; size++) /* the package is cut off */
		expect_power_off(s5, size, "");

	machine(prefixed, sizeof(prefixed), "", 0);
	pm1_control = 0; /* not yet in ACPI mode */
	m.fadt.pm1b_control = 0x704;
	finish(&m.fadt.header, "FACP", sizeof(m.fadt));
	acpi_init(&m.rsdp);
	acpi_power_off();
	assert_string_equal(said, "out8 b2 a0, out16 604 3401, out16 704 3c01");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processors),
		cmocka_unit_test(cut_entries),
		cmocka_unit_test(wrong_tables),
		cmocka_unit_test(power_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

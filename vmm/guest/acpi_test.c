/* The virtual platform's ACPI tables: every pointer leads to a table of its name whose bytes add up to 0. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "guest/load.h"

enum { MEMORY = 1 << 20 };

static uint32_t get32(const uint8_t *at) { return (uint32_t)(at[0] | at[1] << 8 | at[2] << 16) | (uint32_t)at[3] << 24; }

static void adds_up(const uint8_t *at, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum += *at++;
	assert_int_equal(sum, 0);
}

static const uint8_t *table(const uint8_t *memory, uint32_t address, const char *signature)
{
	const uint8_t *at = memory + address;

	assert_in_range(address, 0xe0000, 0xfffff);
	assert_memory_equal(at, signature, 4);
	assert_in_range(get32(at + 4), 36, 0x4000);
	adds_up(at, get32(at + 4));
	return at;
}

static void tables(void **unused)
{
	uint8_t *memory = aligned_alloc(4096, MEMORY);
	struct vm vm = {.memory = memory};
	const uint8_t *rsdp = memory + 0xe0000, *rsdt, *xsdt, *fadt, *madt, *dsdt;

	for (vm.vcpus_count = 1; vm.vcpus_count <= VCPUS_MAX; vm.vcpus_count++) {
		memset(memory, 0, MEMORY);
		load_acpi(&vm);
		assert_memory_equal(rsdp, "RSD PTR ", 8);
		adds_up(rsdp, 20);
		adds_up(rsdp, 36);
		rsdt = table(memory, get32(rsdp + 16), "RSDT");
		xsdt = table(memory, get32(rsdp + 24), "XSDT");
		assert_int_equal(get32(rsdt + 4), 36 + 2 * 4);
		assert_int_equal(get32(xsdt + 4), 36 + 2 * 8);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(get32(rsdt + 36 + i * 4), get32(xsdt + 36 + i * 8));
		fadt = table(memory, get32(rsdt + 36), "FACP");
		madt = table(memory, get32(rsdt + 40), "APIC");

		assert_int_equal(get32(fadt + 4), 244);
		assert_memory_equal(memory + get32(fadt + 36), "FACS", 4);
		assert_int_equal(get32(fadt + 36) % 64, 0);
		dsdt = table(memory, get32(fadt + 40), "DSDT");
		assert_int_equal(get32(fadt + 140), get32(fadt + 40));
		assert_ptr_not_equal(dsdt, NULL);
		assert_int_equal(get32(fadt + 76), PM_TIMER);
		assert_int_equal(fadt[108], RTC_CENTURY);
		assert_int_equal(get32(fadt + 120), PM_RESET);
		assert_int_equal(fadt[128], PM_RESET_VALUE);

		/* I/O APIC, two overrides, then the processors. */
		assert_int_equal(get32(madt + 36), 0xfee00000);
		assert_int_equal(get32(madt + 4), 44 + 12 + 2 * 10 + vm.vcpus_count * 8);
		assert_int_equal(get32(madt + 44 + 4), IOAPIC_ADDRESS);
		assert_int_equal(get32(madt + 56 + 4), 2);
		for (unsigned i = 0; i < vm.vcpus_count; i++) {
			const uint8_t *cpu = madt + 76 + i * 8;

			assert_int_equal(cpu[0] | cpu[1] << 8, 0x0800);
			assert_int_equal(cpu[3], i);
			assert_int_equal(get32(cpu + 4), 1);
		}
	}
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tables)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

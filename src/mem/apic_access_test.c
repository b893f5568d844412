/*
 * Accesses to the APIC-access page, with paging off: for each offset, size and kind of access and each set of controls,
 * virtualized or a VM exit. What EPT adds is in ept_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include "bus/bus.h"
#include "decode/insn.h"
#include "mem/access.h"
#include <cmocka.h>

#define RAM	    0x100000
#define APIC_ACCESS 0x20000
#define VIRTUAL	    0x30000
#define EXIT_APIC   44

static struct cpu *cpu;
static struct cpu_model model;
static struct log quiet;
static uint8_t *ram;

static int setup(void **state)
{
	struct error error;

	cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~(size_t)63);
	memset(cpu, 0, sizeof(*cpu));
	model.physical_bits = 40;
	cpu->bus = bus_create(&quiet);
	assert_true(bus_create_ram(cpu->bus, RAM, &error));
	bus_add_ram(cpu->bus, 0, RAM, 0, 0);
	ram = bus_ram(cpu->bus);
	cpu->model = &model;
	cpu->log = &quiet;
	cpu->cr0 = CR0_PE;
	cpu->nonroot = true;
	cpu->apic_access_page = APIC_ACCESS;
	cpu->virtual_apic_page = VIRTUAL;
	cpu->vapic_controls = VAPIC_ACCESSES | VAPIC_TPR_SHADOW;
	mem_cpu_create(cpu);
	return 0;
}

static int teardown(void **state)
{
	mem_cpu_destroy(cpu);
	bus_destroy(cpu->bus);
	free(cpu);
	return 0;
}

static void set_controls(uint32_t controls)
{
	cpu->vapic_controls = controls;
	cpu->vapic_write = 0;
	cpu->attention = 0;
	mem_context_changed(cpu);
}

static void expect_exit(bool faulted, unsigned type, unsigned offset)
{
	assert_true(faulted);
	assert_int_equal(cpu->fault.kind, FAULT_VM_EXIT);
	assert_int_equal(cpu->fault.reason, EXIT_APIC);
	assert_int_equal(cpu->fault.qualification, type << 12 | offset);
	assert_int_equal(cpu->fault.length, cpu->insn ? cpu->insn->len : 0);
}

static bool read_size(unsigned offset, unsigned size, uint64_t *value)
{
	return mem_read_slow(cpu, APIC_ACCESS + offset, size, value, ACCESS_READ);
}

static bool write_size(unsigned offset, unsigned size, uint64_t value)
{
	return mem_write_slow(cpu, APIC_ACCESS + offset, size, value, ACCESS_WRITE);
}

/* The manual's lists, for "APIC-register virtualization" 1. */
static bool in_read_list(unsigned base)
{
	static const uint16_t list[] = {0x020, 0x030, 0x080, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x100, 0x110, 0x120, 0x130,
					0x140, 0x150, 0x160, 0x170, 0x180, 0x190, 0x1a0, 0x1b0, 0x1c0, 0x1d0, 0x1e0,
					0x1f0, 0x200, 0x210, 0x220, 0x230, 0x240, 0x250, 0x260, 0x270, 0x280, 0x300,
					0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i] == base)
			return true;
	return false;
}

static bool in_write_list(unsigned base)
{
	static const uint16_t list[] = {0x020, 0x080, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x280, 0x300, 0x310,
					0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0};

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i] == base)
			return true;
	return false;
}

static bool may_read(uint32_t controls, unsigned offset)
{
	unsigned base = controls & VAPIC_REGISTERS ? offset & 0xff0 : offset;

	if (!(controls & VAPIC_TPR_SHADOW))
		return false;
	if (controls & VAPIC_REGISTERS)
		return in_read_list(base);
	return base == 0x080 || ((controls & VAPIC_INTERRUPTS) && (base == 0x0b0 || base == 0x300));
}

static bool may_write(uint32_t controls, unsigned offset)
{
	unsigned base = controls & VAPIC_REGISTERS ? offset & 0xff0 : offset;

	if (!(controls & VAPIC_TPR_SHADOW))
		return false;
	if (controls & VAPIC_REGISTERS)
		return in_write_list(base);
	return base == 0x080 || ((controls & VAPIC_INTERRUPTS) && (base == 0x0b0 || base == 0x300)) ||
	       ((controls & VAPIC_IPIS) && base == 0x300);
}

static void every_offset(void **state)
{
	for (uint32_t bits = 0; bits < 32; bits += 2) {
		uint32_t controls = bits | VAPIC_ACCESSES;

		for (unsigned offset = 0; offset < 0x1000; offset++)
			for (unsigned size = 1; size <= 8 && offset + size <= 0x1000; size *= 2) {
				bool narrow = offset % 16 + size <= 4;
				uint64_t value = 0, wanted = UINT64_C(0x8877665544332211) + offset;

				set_controls(controls);
				store_le(ram + VIRTUAL + offset, size, wanted);
				store_le(ram + APIC_ACCESS + offset, size, 0);
				if (narrow && may_read(controls, offset)) {
					assert_false(read_size(offset, size, &value));
					assert_int_equal(value, wanted & bytes_mask(size));
				} else {
					expect_exit(read_size(offset, size, &value), 0, offset);
				}
				assert_int_equal(cpu->vapic_write, 0);
				assert_int_equal(cpu->attention, 0);
				if (narrow && may_write(controls, offset)) {
					assert_false(write_size(offset, size, 0x5a5a5a5a));
					assert_int_equal(load_le(ram + VIRTUAL + offset, size),
							 0x5a5a5a5a & bytes_mask(size));
					assert_int_equal(cpu->vapic_write, offset);
					assert_int_equal(cpu->vapic_write_size, size);
					assert_int_equal(cpu->attention, ATTEND_TRAP);
				} else {
					expect_exit(write_size(offset, size, 0x5a5a5a5a), 1, offset);
					assert_int_equal(load_le(ram + VIRTUAL + offset, size),
							 wanted & bytes_mask(size));
					assert_int_equal(cpu->vapic_write, 0);
				}
				assert_int_equal(load_le(ram + APIC_ACCESS + offset, size), 0);
			}
	}
}

/* After a virtualized write, until it has been dealt with. */
static void one_write_for_an_instruction(void **state)
{
	uint64_t value;

	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW | VAPIC_REGISTERS);
	assert_false(write_size(0x80, 4, 1));
	assert_false(write_size(0x80, 4, 2));
	expect_exit(write_size(0x80, 2, 3), 1, 0x80);
	expect_exit(write_size(0xd0, 4, 3), 1, 0xd0);
	expect_exit(read_size(0x80, 4, &value), 0, 0x80);
	cpu->vapic_write = 0;
	assert_false(read_size(0x80, 4, &value));
	assert_int_equal(value, 2);
}

static void read_modify_write(void **state)
{
	struct mem_rmw rmw;
	uint64_t value;

	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW | VAPIC_REGISTERS);
	store_le(ram + VIRTUAL + 0x80, 4, 0x70);
	assert_false(mem_rmw_begin(cpu, &rmw, APIC_ACCESS + 0x80, 4, &value));
	assert_int_equal(value, 0x70);
	assert_int_equal(cpu->vapic_write, 0);
	mem_rmw_end(cpu, &rmw, 0x30);
	assert_int_equal(load_le(ram + VIRTUAL + 0x80, 4), 0x30);
	assert_int_equal(cpu->vapic_write, 0x80);
	cpu->vapic_write = 0;
	/* version: may be read and not written; nothing must have happened */
	expect_exit(mem_rmw_begin(cpu, &rmw, APIC_ACCESS + 0x30, 4, &value), 1, 0x30);
	expect_exit(mem_rmw_begin(cpu, &rmw, APIC_ACCESS + 0xa0, 4, &value), 0, 0xa0);
}

static void fetches_exit(void **state)
{
	const uint8_t *code;
	bool cacheable;
	size_t left;

	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW | VAPIC_REGISTERS);
	expect_exit(mem_fetch(cpu, APIC_ACCESS + 0x80, &code, &left, &cacheable), 2, 0x80);
	assert_false(mem_fetch(cpu, APIC_ACCESS - 0x80, &code, &left, &cacheable));
}

static void accesses_over_the_edge(void **state)
{
	uint64_t value;

	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW | VAPIC_REGISTERS);
	store_le(ram + APIC_ACCESS - 2, 4, 0x11223344);
	expect_exit(mem_read_slow(cpu, APIC_ACCESS - 2, 4, &value, ACCESS_READ), 0, 0);
	expect_exit(mem_write_slow(cpu, APIC_ACCESS - 2, 4, 0, ACCESS_WRITE), 1, 0);
	assert_int_equal(load_le(ram + APIC_ACCESS - 2, 4), 0x11223344); /* the half outside was not written either */
	expect_exit(mem_read_slow(cpu, APIC_ACCESS + 0xffe, 4, &value, ACCESS_READ), 0, 0xffe);
}

static void long_accesses_exit(void **state)
{
	uint8_t buffer[64] = {0};

	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW | VAPIC_REGISTERS);
	expect_exit(mem_read_bytes(cpu, APIC_ACCESS + 0x80, buffer, 16, ACCESS_READ), 0, 0x80);
	expect_exit(mem_write_bytes(cpu, APIC_ACCESS + 0x80, buffer, 64, ACCESS_WRITE), 1, 0x80);
	assert_false(mem_write_bytes(cpu, APIC_ACCESS + 0x80, buffer, 4, ACCESS_WRITE));
	cpu->vapic_write = 0;
	assert_false(mem_probe(cpu, APIC_ACCESS + 0x80, 1, ACCESS_READ));
	expect_exit(mem_probe(cpu, APIC_ACCESS + 0x90, 1, ACCESS_READ), 0, 0x90);
}

/* The control comes and goes with VM entries and exits; translations made before must not outlive it. */
static void nothing_is_cached(void **state)
{
	uint32_t value;

	set_controls(0);
	store_le(ram + APIC_ACCESS + 0x80, 4, 0x1234);
	store_le(ram + VIRTUAL + 0x80, 4, 0x5678);
	assert_false(mem_read32(cpu, APIC_ACCESS + 0x80, &value));
	assert_int_equal(value, 0x1234);
	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW);
	for (unsigned again = 0; again < 2; again++) {
		assert_false(mem_read32(cpu, APIC_ACCESS + 0x80, &value));
		assert_int_equal(value, 0x5678);
	}
	set_controls(0);
	assert_false(mem_read32(cpu, APIC_ACCESS + 0x80, &value));
	assert_int_equal(value, 0x1234);
}

static void the_instruction_has_a_length(void **state)
{
	struct insn insn = {.len = 7};
	uint64_t value;

	set_controls(VAPIC_ACCESSES);
	cpu->insn = &insn;
	expect_exit(read_size(0x20, 4, &value), 0, 0x20);
	assert_int_equal(cpu->fault.length, 7);
	cpu->insn = NULL;
	expect_exit(read_size(0x20, 4, &value), 0, 0x20);
}

/* Whatever page software names: also one where no memory is. */
static void any_virtual_apic_page(void **state)
{
	uint64_t value;

	cpu->virtual_apic_page = UINT64_C(0xfffffff000);
	set_controls(VAPIC_ACCESSES | VAPIC_TPR_SHADOW);
	assert_false(write_size(0x80, 4, 1));
	cpu->vapic_write = 0;
	assert_false(read_size(0x80, 4, &value));
	assert_int_equal(value, UINT32_MAX);
}

#define APIC_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		APIC_TEST(every_offset),      APIC_TEST(one_write_for_an_instruction), APIC_TEST(read_modify_write),
		APIC_TEST(fetches_exit),      APIC_TEST(accesses_over_the_edge),       APIC_TEST(long_accesses_exit),
		APIC_TEST(nothing_is_cached), APIC_TEST(the_instruction_has_a_length), APIC_TEST(any_virtual_apic_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

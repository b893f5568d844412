/* The loader of Linux kernels, with an image of nothing but a setup header: what the kernel is told, where things are, and
   what is refused. */
#include "vmx/fake_vmcs.h"

#include <stdlib.h>
#include <string.h>

#include "guest/load_linux.c"

enum { MIB = 1 << 20, SETUP_SECTORS = 3, CODE_SIZE = 5000 };

static uint8_t file[(SETUP_SECTORS + 1) * SECTOR + CODE_SIZE], initrd_file[3 * MIB + 100];
static struct module kernel_module, initrd_module;
static struct vm_config config;
static struct vcpu vcpu;
static struct vm vm;
static uint32_t started_at, started_esi;

void load_acpi(struct vm *unused) { memcpy(vm.memory + RSDP_ADDRESS, "RSD PTR ", 8); }

void vcpu_start_protected(struct vcpu *unused, uint32_t eip, uint32_t esi)
{
	started_at = eip;
	started_esi = esi;
}

static int begin(void **unused)
{
	memset(file, 0xee, sizeof(file));
	memset(file, 0, (SETUP_SECTORS + 1) * SECTOR);
	file[SETUP_SECTS] = SETUP_SECTORS;
	file[JUMP_OFFSET] = 0x6a;
	memcpy(file + HEADER, "HdrS", 4);
	put(file, VERSION, 2, 0x20f);
	file[LOADFLAGS] = LOADED_HIGH;
	put(file, INITRD_ADDR_MAX, 4, 0x7fffffff);
	put(file, KERNEL_ALIGNMENT, 4, 2 * MIB);
	file[RELOCATABLE_KERNEL] = 1;
	put(file, CMDLINE_SIZE, 4, 100);
	put(file, PREF_ADDRESS, 8, 16 * MIB);
	put(file, INIT_SIZE, 4, 8 * MIB);
	memset(initrd_file, 0xdd, sizeof(initrd_file));
	kernel_module = (struct module){.start = pa_of(file), .size = sizeof(file)};
	initrd_module = (struct module){.start = pa_of(initrd_file), .size = sizeof(initrd_file)};
	config = (struct vm_config){.memory = 64 * MIB, .cpus = 1, .kernel = &kernel_module, .append = "console=ttyS0"};
	free(vm.memory);
	vm = (struct vm){.config = &config, .vcpus = {&vcpu}, .memory = calloc(1, 64 * MIB)};
	started_at = 0;
	return 0;
}

static uint64_t told(unsigned offset, unsigned size) { return get(vm.memory + ZERO_PAGE, offset, size); }

static void what_the_kernel_is_told(void **unused)
{
	static const uint64_t expected[][3] = {
		{0, 0xa0000, E820_RAM}, {0xe0000, 0x20000, E820_RESERVED}, {MIB, 63 * MIB, E820_RAM},
	};

	assert_null(load_linux(&vm));
	assert_int_equal(started_at, 16 * MIB);
	assert_int_equal(started_esi, ZERO_PAGE);
	assert_memory_equal(vm.memory + 16 * MIB, file + (SETUP_SECTORS + 1) * SECTOR, CODE_SIZE);
	assert_int_equal(told(VERSION, 2), 0x20f);
	assert_int_equal(told(TYPE_OF_LOADER, 1), 0xff);
	assert_int_equal(told(CODE32_START, 4), 16 * MIB);
	assert_string_equal(vm.memory + told(CMD_LINE_PTR, 4), "console=ttyS0");
	assert_int_equal(told(RAMDISK_SIZE, 4), 0);
	assert_memory_equal(vm.memory + told(ACPI_RSDP_ADDR, 8), "RSD PTR ", 8);
	assert_int_equal(told(E820_ENTRIES, 1), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(told(E820_TABLE + 20 * i, 8), expected[i][0]);
		assert_int_equal(told(E820_TABLE + 20 * i + 8, 8), expected[i][1]);
		assert_int_equal(told(E820_TABLE + 20 * i + 16, 4), expected[i][2]);
	}
	assert_int_equal(get(vm.memory + fields[VMCS_GUEST_GDTR_BASE], 0x10, 8), 0x00cf9b000000ffff);
	assert_int_equal(get(vm.memory + fields[VMCS_GUEST_GDTR_BASE], 0x18, 8), 0x00cf93000000ffff);
	assert_int_equal(fields[VMCS_GUEST_GDTR_LIMIT], 31);
}

static void the_initrd_is_high(void **unused)
{
	uint64_t at;

	config.initrd = &initrd_module;
	assert_null(load_linux(&vm));
	at = told(RAMDISK_IMAGE, 4);
	assert_int_equal(at, (64 * MIB - sizeof(initrd_file)) & ~(PAGE - 1));
	assert_int_equal(told(RAMDISK_SIZE, 4), sizeof(initrd_file));
	assert_memory_equal(vm.memory + at, initrd_file, sizeof(initrd_file));
	put(file, INITRD_ADDR_MAX, 4, 32 * MIB - 1);
	assert_null(load_linux(&vm));
	assert_int_equal(told(RAMDISK_IMAGE, 4), (32 * MIB - sizeof(initrd_file)) & ~(PAGE - 1));
}

static void a_small_vm_moves_it(void **unused)
{
	config.memory = 16 * MIB;
	assert_null(load_linux(&vm));
	assert_int_equal(started_at, 2 * MIB);
	config.initrd = &initrd_module;
	assert_null(load_linux(&vm));
	config.memory = 12 * MIB;
	assert_string_equal(load_linux(&vm), "mem= is too little for its kernel and initrd together");
	config.memory = 8 * MIB;
	assert_string_equal(load_linux(&vm), "mem= is too little for its kernel");
}

static void refusals(void **unused)
{
	put(file, VERSION, 2, 0x209);
	assert_string_equal(load_linux(&vm), "kernel= is older than boot protocol 2.10");
	begin(NULL);
	file[LOADFLAGS] = 0;
	assert_non_null(load_linux(&vm));
	begin(NULL);
	file[HEADER] = 'h';
	assert_string_equal(load_linux(&vm), "kernel= is no Linux kernel");
	begin(NULL);
	kernel_module.size = HEADER_MOST - 1;
	assert_string_equal(load_linux(&vm), "kernel= is no Linux kernel");
	kernel_module.size = (SETUP_SECTORS + 1) * SECTOR;
	assert_string_equal(load_linux(&vm), "kernel= is cut short");
	begin(NULL);
	file[RELOCATABLE_KERNEL] = 0;
	config.memory = 16 * MIB;
	assert_string_equal(load_linux(&vm), "mem= is too little for its kernel");
	begin(NULL);
	memset(config.append, 'x', 101);
	assert_string_equal(load_linux(&vm), "append= is longer than its kernel takes");
	assert_int_equal(started_at, 0);
}

/* Whatever a header says, nothing is written outside the VM's memory: the sanitizers see that. */
static void nonsense(void **unused)
{
	static const uint64_t values[] = {0,	    1,		3,	    4096,	MIB,	    2 * MIB,	      63 * MIB,
					  64 * MIB, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX, UINT64_MAX - 4095};
	enum { N = sizeof(values) / sizeof(values[0]) };

	config.initrd = &initrd_module;
	initrd_module.size = 5000; /* quickly copied */
	for (unsigned i = 0; i < N * N * N * N; i++) {
		put(file, PREF_ADDRESS, 8, values[i % N]);
		put(file, INIT_SIZE, 4, values[i / N % N]);
		put(file, KERNEL_ALIGNMENT, 4, values[i / N / N % N]);
		put(file, INITRD_ADDR_MAX, 4, values[i / N / N / N]);
		(void)!load_linux(&vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_the_kernel_is_told, begin),
		cmocka_unit_test_setup(the_initrd_is_high, begin),
		cmocka_unit_test_setup(a_small_vm_moves_it, begin),
		cmocka_unit_test_setup(refusals, begin),
		cmocka_unit_test_setup(nonsense, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

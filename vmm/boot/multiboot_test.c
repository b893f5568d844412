/*
 * What boot_read() makes of a boot loader's structures: everything that it says, and to the pool every free page but those
 * of image and modules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "boot/boot.h"
#include "boot/multiboot.c"

/* The image of this machine is 5 pages at 8 MiB. */
__asm__(".globl image_start, image_end; .set image_start, 0x800000; .set image_end, 0x805000");

enum { MIB = 1 << 20, PAGES = 32 * MIB / 4096 };

static uint8_t *loader;	      /* its structures, below 4 GiB */
static bool pooled[PAGES];    /* by page, up to 32 MiB */
static uint64_t pooled_above; /* bytes from 4 GiB on */
static pa_t mapped_end;

void pool_add(pa_t first, uint64_t size)
{
	assert_int_equal((first | size) % PAGE, 0);
	assert_true(size > 0);
	if (first >= BIT(32)) {
		assert_true(first + size <= mapped_end);
		pooled_above += size;
		return;
	}
	assert_true(first >= MIB || first + size <= MIB);
	for (pa_t at = first; at < first + size; at += PAGE) {
		assert_true(at / PAGE < PAGES && !pooled[at / PAGE]);
		pooled[at / PAGE] = true;
	}
}

bool paging_add(pa_t first, pa_t end)
{
	assert_true(first >= BIT(32) && end > first && end <= PAGING_END);
	mapped_end = end;
	return true;
}

void print(const char *format, ...) { }

void panic(const char *format, ...)
{
	mock_assert(0, format, __FILE__, __LINE__);
	abort();
}

static int forget(void **unused)
{
	if (!loader)
		loader = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	memset(loader, 0, MIB);
	memset(&boot_info, 0, sizeof(boot_info));
	memset(pooled, 0, sizeof(pooled));
	memory_count = 0;
	pooled_above = mapped_end = 0;
	return 0;
}

static uint32_t low(const void *at) { return (uint32_t)(uintptr_t)at; }

static void pages_are(pa_t first, pa_t end, bool in_pool)
{
	for (pa_t at = first; at < end; at += PAGE)
		assert_int_equal(pooled[at / PAGE], in_pool);
}

static void by_multiboot(void **unused)
{
	struct multiboot_info *info = (void *)loader;
	struct multiboot_module *modules = (void *)(loader + 0x1000);
	struct multiboot_memory *map = (void *)(loader + 0x2000);
	char *text = (char *)loader + 0x3000;

	*info = (struct multiboot_info){
		.flags = INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP, .cmdline = low(strcpy(text, "vmm.elf report")), .mods_count = 3,
		.mods_addr = low(modules), .mmap_length = 4 * sizeof(*map), .mmap_addr = low(map)};
	modules[0] = (struct multiboot_module){0xa00000, 0xa01001, low(strcpy(text + 100, "/a/b/kernel and more/words"))};
	modules[1] = (struct multiboot_module){0xa03000, 0xa03000, low(strcpy(text + 200, "empty"))};
	modules[2] = (struct multiboot_module){0xa04000, 0xa06000, 0};
	map[0] = (struct multiboot_memory){20, 0, 0x9fc00, MEMORY_FREE};
	map[1] = (struct multiboot_memory){20, MIB, 31 * MIB, MEMORY_FREE};
	map[2] = (struct multiboot_memory){20, BIT(31), MIB, 2};
	map[3] = (struct multiboot_memory){20, BIT(32), BIT(31), MEMORY_FREE};
	boot_read(MULTIBOOT_LOADER, pa_of(info));

	assert_string_equal(boot_info.command_line, "vmm.elf report");
	assert_int_equal(boot_info.modules_count, 3);
	assert_string_equal(boot_info.modules[0].name, "kernel");
	assert_string_equal(boot_info.modules[0].line, "/a/b/kernel and more/words");
	assert_int_equal(boot_info.modules[0].size, 0x1001);
	assert_ptr_equal(boot_module("empty"), &boot_info.modules[1]);
	assert_string_equal(boot_info.modules[2].name, "");
	assert_null(boot_module("nobody"));
	assert_null(boot_info.rsdp);
	pages_are(0, PAGE, false);
	pages_are(PAGE, 0x9f000, true);
	pages_are(0x9f000, MIB, false);
	pages_are(MIB, 0x800000, true);
	pages_are(0x800000, 0x805000, false);
	pages_are(0x805000, 0xa00000, true);
	pages_are(0xa00000, 0xa02000, false);
	pages_are(0xa02000, 0xa04000, true);
	pages_are(0xa04000, 0xa06000, false);
	pages_are(0xa06000, 32 * MIB, true);
	assert_int_equal(pooled_above, BIT(31));
}

/* Without a map: two numbers in KiB. */
static void by_two_numbers(void **unused)
{
	struct multiboot_info *info = (void *)loader;

	*info = (struct multiboot_info){.flags = INFO_MEMORY, .mem_lower = 639, .mem_upper = 9 * 1024};
	boot_read(MULTIBOOT_LOADER, pa_of(info));
	pages_are(PAGE, 0x9f000, true);
	pages_are(0x9f000, MIB, false);
	pages_are(MIB, 0x800000, true);
	pages_are(0x805000, 10 * MIB, true);
	pages_are(10 * MIB, 32 * MIB, false);
}

/* Adds a tag, and returns the place of the next. */
static uint8_t *tag(uint8_t *at, uint32_t type, const void *content, uint32_t size)
{
	memcpy(at, &(struct multiboot2_tag){type, size + 8}, 8);
	for (uint32_t i = 0; i < size; i++)
		at[8 + i] = ((const uint8_t *)content)[i];
	return at + ALIGN_UP(size + 8, 8);
}

static void by_multiboot2(void **unused)
{
	static const struct { uint32_t entry_size, version; struct multiboot2_memory entries[3]; } map = {
		sizeof(struct multiboot2_memory), 0,
		{{MIB, 31 * MIB, MEMORY_FREE, 0}, {BIT(33), BIT(30), MEMORY_ACPI, 0}, {BIT(38), BIT(39), MEMORY_FREE, 0}}};
	static const struct { uint32_t start, end; char line[24]; } module = {0x900000, 0x901000, "initrd x"};
	static const char line[] = "\"vm=a,append=\\\"b c\\\"\"";
	static const char old_rsdp[20] = "RSD PTR old", new_rsdp[36] = "RSD PTR new";
	uint8_t *at = loader + 8;

	at = tag(at, 21, "\0\0\0", 4);
	at = tag(at, TAG_COMMAND_LINE, line, sizeof(line));
	at = tag(at, TAG_MODULE, &module, sizeof(module));
	at = tag(at, TAG_OLD_RSDP, old_rsdp, sizeof(old_rsdp));
	at = tag(at, TAG_NEW_RSDP, new_rsdp, sizeof(new_rsdp));
	at = tag(at, TAG_MEMORY_MAP, &map, sizeof(map));
	tag(at, TAG_END, NULL, 0);
	boot_read(MULTIBOOT2_LOADER, pa_of(loader));

	assert_string_equal(boot_info.command_line, "vm=a,append=\"b c\"");
	assert_int_equal(boot_info.modules_count, 1);
	assert_string_equal(boot_module("initrd")->line, "initrd x");
	assert_string_equal(boot_info.rsdp, "RSD PTR new");
	pages_are(MIB, 0x800000, true);
	pages_are(0x805000, 0x900000, true);
	pages_are(0x900000, 0x901000, false);
	pages_are(0x901000, 32 * MIB, true);
	assert_int_equal(pooled_above, BIT(38)); /* cut at 512 GiB; ACPI's is mapped and not free */
}

static void too_many(void **unused)
{
	struct multiboot_info *info = (void *)loader;
	struct multiboot_module *modules = (void *)(loader + 0x1000);

	*info = (struct multiboot_info){.flags = INFO_MODULES, .mods_count = MODULES_MAX + 3, .mods_addr = low(modules)};
	boot_read(MULTIBOOT_LOADER, pa_of(info));
	assert_int_equal(boot_info.modules_count, MODULES_MAX);
}

static void unknown_loader(void **unused)
{
	expect_assert_failure(boot_read(0, 0));
}

/* Modules anywhere, also over each other and the image: the pool has just what they leave. */
static void any_modules(void **unused)
{
	srand(1);
	for (unsigned round = 0; round < 2000; round++) {
		struct multiboot_info *info = (void *)loader;
		struct multiboot_module *modules = (void *)(loader + 0x1000);
		static bool taken[PAGES];

		forget(NULL);
		memset(taken, 0, sizeof(taken));
		memset(taken + 0x800, 1, 5);
		*info = (struct multiboot_info){.flags = INFO_MODULES | INFO_MEMORY, .mem_upper = 31 * 1024,
						.mods_count = (uint32_t)rand() % 8, .mods_addr = low(modules)};
		for (unsigned i = 0; i < info->mods_count; i++) {
			uint32_t start = 0x7f8000 + (uint32_t)rand() % 0x14000, size = (uint32_t)rand() % 0x4000;

			modules[i] = (struct multiboot_module){start, start + size};
			for (pa_t at = start & ~(PAGE - 1); at < start + size; at += PAGE)
				taken[at / PAGE] = true;
		}
		boot_read(MULTIBOOT_LOADER, pa_of(info));
		for (unsigned page = MIB / PAGE; page < PAGES; page++)
			assert_int_equal(pooled[page], !taken[page]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(by_multiboot, forget),
		cmocka_unit_test_setup(by_two_numbers, forget),
		cmocka_unit_test_setup(by_multiboot2, forget),
		cmocka_unit_test_setup(too_many, forget),
		cmocka_unit_test_setup(unknown_loader, forget),
		cmocka_unit_test_setup(any_modules, forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

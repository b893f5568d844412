/*
 * A Linux kernel: "The Linux/x86 Boot Protocol" (Documentation/arch/x86/boot.rst), with its names for fields, by its 32-bit
 * entry point.
 *
 * That entry needs neither real mode nor page tables, so it works with and without "unrestricted guest". Not here: kernels
 * before protocol 2.10 (Linux 2.6.31), which do not say how much memory they need.
 */
#include "guest/load.h"

#include "boot/boot.h"
#include "lib/string.h"

/* Offsets in the image's setup header, which is at the same place in the zero page (struct boot_params). */
enum {
	SETUP_HEADER = 0x1f1,
	SETUP_SECTS = 0x1f1,
	JUMP_OFFSET = 0x201, /* the header ends so many bytes behind 202H */
	HEADER = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	CODE32_START = 0x214,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE_KERNEL = 0x234,
	CMDLINE_SIZE = 0x238,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_MOST = 0x290
};
/* And of the zero page alone. */
enum { ACPI_RSDP_ADDR = 0x70, E820_ENTRIES = 0x1e8, E820_TABLE = 0x2d0 };
enum { E820_RAM = 1, E820_RESERVED = 2 };
enum { SECTOR = 512, LOADED_HIGH = 1, LOADER_UNDEFINED = 0xff, VERSION_2_10 = 0x20a, VERSION_2_14 = 0x20e };

/* Where things are in the guest's memory. */
enum { GDT = 0x6000, ZERO_PAGE = 0x7000, COMMAND_LINE = 0x8000, LOW_END = 0xa0000, BIOS_START = 0xe0000, HIGH_START = 0x100000 };

struct kernel {
	const uint8_t *image;
	const uint8_t *code; /* the protected-mode part */
	uint64_t code_size;
	uint64_t needs; /* memory from base on, until it has read the memory map */
	uint64_t base;
	unsigned version;
};

static uint64_t get(const uint8_t *bytes, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, bytes + offset, size);
	return value;
}

static void put(uint8_t *bytes, unsigned offset, unsigned size, uint64_t value)
{
	memcpy(bytes + offset, &value, size);
}

static const char *examine(struct kernel *kernel, const struct module *module)
{
	unsigned setup_sects;

	if (module->size < HEADER_MOST || memcmp(at_pa(module->start + HEADER), "HdrS", 4))
		return "kernel= is no Linux kernel";
	kernel->image = at_pa(module->start);
	kernel->version = (unsigned)get(kernel->image, VERSION, 2);
	if (kernel->version < VERSION_2_10 || !(kernel->image[LOADFLAGS] & LOADED_HIGH))
		return "kernel= is older than boot protocol 2.10";
	setup_sects = kernel->image[SETUP_SECTS] ? kernel->image[SETUP_SECTS] : 4;
	if (module->size <= (setup_sects + 1) * SECTOR)
		return "kernel= is cut short";
	kernel->code = kernel->image + (setup_sects + 1) * SECTOR;
	kernel->code_size = module->size - (setup_sects + 1) * SECTOR;
	kernel->needs = max_u64(get(kernel->image, INIT_SIZE, 4), kernel->code_size);
	return NULL;
}

static bool fits(const struct vm *vm, uint64_t at, uint64_t size)
{
	return at >= HIGH_START && at < vm->config->memory && size <= vm->config->memory - at;
}

/* Where it likes to be, or as low as it can be moved. */
static bool place(struct kernel *kernel, const struct vm *vm)
{
	uint64_t alignment = get(kernel->image, KERNEL_ALIGNMENT, 4);

	kernel->base = get(kernel->image, PREF_ADDRESS, 8);
	if (fits(vm, kernel->base, kernel->needs))
		return true;
	if (!kernel->image[RELOCATABLE_KERNEL] || !alignment || alignment & (alignment - 1))
		return false;
	kernel->base = ALIGN_UP(HIGH_START, alignment);
	return fits(vm, kernel->base, kernel->needs);
}

/* As high as the kernel takes it. */
static const char *load_initrd(const struct kernel *kernel, struct vm *vm, uint8_t *zero_page)
{
	const struct module *initrd = vm->config->initrd;
	uint64_t end = min_u64(get(kernel->image, INITRD_ADDR_MAX, 4) + 1, vm->config->memory), at;

	if (!initrd)
		return NULL;
	at = end > initrd->size ? (end - initrd->size) & ~(PAGE - 1) : 0;
	if (at < kernel->base + kernel->needs)
		return "mem= is too little for its kernel and initrd together";
	memcpy(vm->memory + at, at_pa(initrd->start), initrd->size);
	put(zero_page, RAMDISK_IMAGE, 4, at);
	put(zero_page, RAMDISK_SIZE, 4, initrd->size);
	return NULL;
}

static void add_e820(uint8_t *zero_page, uint64_t start, uint64_t end, unsigned type)
{
	uint8_t *entry = zero_page + E820_TABLE + zero_page[E820_ENTRIES]++ * 20;

	put(entry, 0, 8, start);
	put(entry, 8, 8, end - start);
	put(entry, 16, 4, type);
}

const char *load_linux(struct vm *vm)
{
	/* Flat segments at the selectors with which vcpu_start_protected() enters: __BOOT_CS, __BOOT_DS. */
	static const uint64_t gdt[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	uint8_t *zero_page = vm->memory + ZERO_PAGE;
	size_t length = strlen(vm->config->append), header_end;
	struct kernel kernel;
	const char *why = examine(&kernel, vm->config->kernel);

	if (why)
		return why;
	if (length > get(kernel.image, CMDLINE_SIZE, 4))
		return "append= is longer than its kernel takes";
	if (!place(&kernel, vm))
		return "mem= is too little for its kernel";

	header_end = min_u64(HEADER + kernel.image[JUMP_OFFSET], HEADER_MOST);
	memcpy(zero_page + SETUP_HEADER, kernel.image + SETUP_HEADER, header_end - SETUP_HEADER);
	why = load_initrd(&kernel, vm, zero_page);
	if (why)
		return why;
	memcpy(vm->memory + kernel.base, kernel.code, kernel.code_size);
	memcpy(vm->memory + COMMAND_LINE, vm->config->append, length + 1);
	memcpy(vm->memory + GDT, gdt, sizeof(gdt));
	load_acpi(vm);

	zero_page[TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put(zero_page, CODE32_START, 4, kernel.base);
	put(zero_page, CMD_LINE_PTR, 4, COMMAND_LINE);
	if (kernel.version >= VERSION_2_14)
		put(zero_page, ACPI_RSDP_ADDR, 8, RSDP_ADDRESS);
	add_e820(zero_page, 0, LOW_END, E820_RAM);
	add_e820(zero_page, BIOS_START, HIGH_START, E820_RESERVED); /* the ACPI tables are there */
	add_e820(zero_page, HIGH_START, vm->config->memory, E820_RAM);

	vcpu_start_protected(vm->vcpus[0], (uint32_t)kernel.base, ZERO_PAGE);
	vmwrite(VMCS_GUEST_GDTR_BASE, GDT);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, sizeof(gdt) - 1);
	return NULL;
}

/*
 * Direct boot: chipset, memory types, tables, then the loader that knows the kernel's format.
 */
#include "firmware/firmware.h"

#include "firmware/image.h"

#define WRITE_BACK UINT64_C(0x0606060606060606)

/*
 * Memory types as a BIOS leaves them on all processors: SDM vol. 3, "Memory Type Range Registers (MTRRs)". RAM is
 * write-back by default; uncacheable are the display's addresses and everything from the ECAM to 4 GiB.
 */
static void preset_mtrrs(struct cpu *cpu)
{
	enum { ENABLE = 1 << 11, FIXED_ENABLE = 1 << 10, TYPE_WB = 6, VALID = 1 << 11, FIXED_A0000 = 2 };
	const struct {
		uint64_t base, size;
	} uncacheable[] = {{ECAM_BASE, ECAM_SIZE}, {PCI32_BASE, (UINT64_C(1) << 32) - PCI32_BASE}};

	for (unsigned i = 0; i < ARRAY_SIZE(cpu->mtrr_fixed); i++)
		cpu->mtrr_fixed[i] = i == FIXED_A0000 ? 0 : WRITE_BACK;
	for (unsigned i = 0; i < ARRAY_SIZE(uncacheable); i++) {
		cpu->mtrr_base[i] = uncacheable[i].base;
		cpu->mtrr_mask[i] = (BITS(cpu->model->physical_bits - 1, 0) & ~(uncacheable[i].size - 1)) | VALID;
	}
	cpu->mtrr_def_type = ENABLE | FIXED_ENABLE | TYPE_WB;
}

bool load_kernel(const struct boot *boot, const struct file *file, pa_t rsdp, struct error *error)
{
	if (is_linux(file))
		return load_linux(boot, file, rsdp, error);
	if (is_multiboot(file))
		return load_multiboot(boot, file, error);
	if (is_multiboot2(file))
		return load_multiboot2(boot, file, rsdp, error);
	if (is_pvh(file))
		return load_pvh(boot, file, rsdp, error);
	return error_set(error, "'%s' is no kernel known here: bzImage, Multiboot, Multiboot2 or ELF with a PVH entry",
			 boot->kernel);
}

bool boot_direct(const struct boot *boot, struct error *error)
{
	struct file file;
	pa_t rsdp = ACPI_BASE, end;
	bool ok;

	if (!file_read(&file, "kernel", boot->kernel, error))
		return false;
	preset_chipset(boot->pci, boot->bus);
	preset_bios_data(boot->bus);
	for (unsigned i = 0; i < boot->cpu->cpus; i++)
		preset_mtrrs(&boot->cpu[i]);
	end = acpi_place(boot->acpi, boot->bus, rsdp);
	if (end > BOOT_GDT)
		ok = error_set(error,
			       "the ACPI tables of this machine are larger than the BIOS area: fewer CPUs would fit");
	else
		ok = load_kernel(boot, &file, rsdp, error);
	file_free(&file);
	return ok;
}

/*
 * Direct boot: chipset, tables, then the loader that knows the kernel's format.
 */
#include "firmware/firmware.h"

#include "firmware/image.h"

bool boot_direct(const struct boot *boot, struct error *error)
{
	struct file file;
	pa_t rsdp = ACPI_BASE, end;
	bool ok;

	if (!file_read(&file, "kernel", boot->kernel, error))
		return false;
	preset_chipset(boot->pci, boot->bus);
	end = acpi_place(boot->acpi, boot->bus, rsdp);
	if (end > BOOT_GDT)
		ok = error_set(error, "the ACPI tables of this machine are larger than the BIOS area: fewer CPUs would fit");
	else if (is_linux(&file))
		ok = load_linux(boot, &file, rsdp, error);
	else if (is_multiboot(&file))
		ok = load_multiboot(boot, &file, error);
	else if (is_multiboot2(&file))
		ok = load_multiboot2(boot, &file, rsdp, error);
	else if (is_pvh(&file))
		ok = load_pvh(boot, &file, rsdp, error);
	else
		ok = error_set(error, "'%s' is no kernel known here: bzImage, Multiboot, Multiboot2 or ELF with a PVH entry",
			       boot->kernel);
	file_free(&file);
	return ok;
}

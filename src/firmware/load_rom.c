/*
 * Firmware images: SeaBIOS, OVMF. The image ends at 4 GiB, where the reset vector is; its last 128 KiB also show below
 * 1 MiB until the PAM registers put RAM there.
 *
 * Not modelled: flash that the guest can write (variables of UEFI last for one run only, in RAM of the firmware's own).
 */
#include "firmware/firmware.h"

#include "firmware/image.h"
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, SHADOW = 128 << 10, LARGEST = 16 << 20, PRIORITY_HIGH = 10, PRIORITY_SHADOW = 5 };

struct rom {
	uint8_t *bytes;
};

struct rom *load_rom(struct bus *bus, const char *name, struct error *error)
{
	struct file file;
	struct rom *rom;
	uint64_t shadow;

	if (!file_read(&file, "firmware", name, error))
		return NULL;
	if (file.size == 0 || file.size % PAGE || file.size > LARGEST) {
		error_set(error,
			  "the firmware image '%s' must have a multiple of 4 KiB, up to 16 MiB; it has %zu bytes", name,
			  file.size);
		file_free(&file);
		return NULL;
	}
	rom = xcalloc(1, sizeof(*rom));
	rom->bytes = file.bytes;
	shadow = min_u64(file.size, SHADOW);
	bus_add_rom(bus, (UINT64_C(1) << 32) - file.size, file.size, rom->bytes, PRIORITY_HIGH);
	bus_add_rom(bus, (1 << 20) - shadow, shadow, rom->bytes + file.size - shadow, PRIORITY_SHADOW);
	return rom;
}

void rom_free(struct rom *rom)
{
	if (!rom)
		return;
	free(rom->bytes);
	free(rom);
}

/*
 * A flat image, as a BIOS loads and starts a boot sector: at 0:7C00H in real mode, with the drive's number in DL. It may be
 * longer than a sector.
 */
#include "guest/load.h"

#include "boot/boot.h"
#include "lib/string.h"

enum { START = 0x7c00, LOW_END = 0xa0000, FIRST_HARD_DISK = 0x80 };

const char *load_flat(struct vm *vm)
{
	const struct module *image = vm->config->image;

	if (image->size > LOW_END - START)
		return "image= does not fit between 7C00H and A0000H";
	memcpy(vm->memory + START, at_pa(image->start), image->size);
	vcpu_start_real(vm->vcpus[0], 0, START);
	vm->vcpus[0]->registers[RDX] = FIRST_HARD_DISK;
	return NULL;
}

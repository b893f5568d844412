/*
 * Random bytes as code, in every mode. Input: a byte for the mode, one for what tables hold, then code; the rest of
 * memory is made of the code too, so that descriptors, gates and TSSs are random.
 */
#include "bare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bare *bare;

	if (size < 3 || size > 4096)
		return 0;
	bare = bare_machine();
	for (size_t at = 0x1000; at < 0x10000 && (data[1] & 1); at += size)
		memcpy(bare->ram + at, data, size);
	memcpy(bare->ram + 0x7ff0, data + 2, size - 2);
	bare_enter(bare, data[0] % BARE_MODES, 0x7ff0);
	if (data[1] & 2)
		cpu_set_rflags(&bare->cpu, cpu_rflags(&bare->cpu) | RFLAGS_TF);
	if (data[1] & 4) {
		bare->cpu.dr7 = 0x000f04aa;
		bare->cpu.dr[0] = 0x8000;
		mem_context_changed(&bare->cpu);
	}
	bare_run(bare, 400);
	return 0;
}

/*
 * Lists of MSRs that VM entries load and VM exits save and load: SDM vol. 3, "Loading MSRs", "Saving MSRs". An entry
 * has 16 bytes: bits 31:0 index, 63:32 reserved, 127:64 value.
 *
 * IA32_VMX_MISC[27:25] says how long a list may be at least; a longer one is "undefined", and here its first entry too
 * many fails, so that no guest holds the processor up for 2^32 of them.
 */
#include "bus/bus.h"
#include "cpu/msr.h"
#include "mem/mem.h"
#include "vmx/vmx.h"

#define ENTRY_SIZE   16
#define MOST_ENTRIES 512

uint32_t vmx_msr_list_load(struct cpu *cpu, pa_t list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t entry = bus_read(cpu->bus, list + (uint64_t)i * ENTRY_SIZE, 8, cpu->in_smm);
		uint64_t value = bus_read(cpu->bus, list + (uint64_t)i * ENTRY_SIZE + 8, 8, cpu->in_smm);

		if (i == MOST_ENTRIES || vmx_check_msr_load(entry, cpu->in_smm) != VMX_CHECK_OK ||
		    !mem_write_msr(cpu, (uint32_t)entry, value))
			return i + 1;
	}
	return 0;
}

uint32_t vmx_msr_list_save(struct cpu *cpu, pa_t list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		pa_t at = list + (uint64_t)i * ENTRY_SIZE;
		uint64_t entry = bus_read(cpu->bus, at, 8, cpu->in_smm), value;

		if (i == MOST_ENTRIES || entry >> 32 || (uint32_t)entry >> 8 == 8 || ((uint32_t)entry == MSR_SMBASE && !cpu->in_smm) ||
		    !msr_read(cpu, (uint32_t)entry, &value))
			return i + 1;
		bus_write(cpu->bus, at + 8, 8, value, cpu->in_smm);
	}
	return 0;
}

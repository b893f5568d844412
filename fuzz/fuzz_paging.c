/*
 * Random page tables under random control bits: input is {CR0, CR4, EFER, CR3 and PKRU bits, accesses, then table
 * contents}. Every access must end in a value or a fault, and a translation must not lead out of RAM.
 */
#include "bare.h"
#include "mem/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct header {
	uint32_t cr4, pkru;
	uint8_t wp, paging, nxe, lma, cpl, ac;
	uint64_t la[4];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint64_t cr4 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_LA57;
	struct header h;
	struct bare *bare;
	struct cpu *cpu;

	if (size < sizeof(h) + 8 || size > sizeof(h) + 65536)
		return 0;
	memcpy(&h, data, sizeof(h));
	data += sizeof(h);
	size -= sizeof(h);
	bare = bare_machine();
	cpu = &bare->cpu;
	bare_enter(bare, BARE_PROTECTED32, 0x100000);
	for (size_t at = 0x10000; at + size < 0x80000; at += (size + 7) & ~(size_t)7)
		memcpy(bare->ram + at, data, size);
	cpu->cr4 = h.cr4 & cr4;
	cpu->cr0 |= (h.wp & 1 ? CR0_WP : 0) | (h.paging & 7 ? CR0_PG : 0) | (h.wp & 2 ? CR0_AM : 0);
	cpu->efer = (h.nxe & 1 ? EFER_NXE : 0);
	if ((h.lma & 1) && (cpu->cr0 & CR0_PG)) {
		cpu->cr4 |= CR4_PAE;
		cpu->efer |= EFER_LME | EFER_LMA;
		cpu->seg[CS].ar = 0xa09b;
	} else {
		cpu->cr4 &= ~CR4_LA57;
	}
	cpu->cr3 = 0x10000 + (data[0] & 15) * 0x1000u;
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = load_le(data, 8) & 0x7f001;
	cpu->fpu.pkru = h.pkru;
	cpu->cpl = h.cpl & 1 ? 3 : 0;
	cpu->rflags |= h.ac & 1 ? RFLAGS_AC : 0;
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
	for (unsigned i = 0; i < 64; i++) {
		la_t la = h.la[i & 3] + 0x1ff8 * (i >> 4);
		uint8_t bytes[80];
		uint64_t value;
		const uint8_t *code;
		bool cacheable;
		size_t left;
		bool faulted = false;

		if (!cpu_long_mode(cpu))
			la = (uint32_t)la;
		switch (i >> 2 & 3) {
		case 0: faulted = mem_read64(cpu, la, &value); break;
		case 1: faulted = mem_write32(cpu, la, i); break;
		case 2: faulted = mem_fetch(cpu, la, &code, &left, &cacheable); break;
		default:
			faulted = mem_read_bytes(cpu, la, bytes, sizeof(bytes),
						 ACCESS_READ | (i & 1 ? ACCESS_SYSTEM : 0));
			break;
		}
		if (faulted && cpu->fault.vector == 0)
			__builtin_trap();
		if (i % 16 == 15)
			mem_flush_page(cpu, la);
	}
	bare_run(bare, 50);
	return 0;
}

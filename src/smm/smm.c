/*
 * System-management mode: what an SMI saves and sets, and what RSM restores.
 *
 * SDM vol. 3, "System Management Mode": "SMM Revision Identifier", "Auto HALT Restart", "SMBASE Relocation", "I/O
 * Instruction Restart", "Returning from SMM". The save map is the one with revision 20064H (AMD64 Architecture
 * Programmer's Manual vol. 2, "SMRAM State-Save Area"), which the firmware of this board knows; see docs/decisions/.
 * Not modelled: an SMI raised by INS or OUTS is told of as asynchronous and cannot be restarted.
 */
#include "smm/smm.h"
#include "bus/bus.h"
#include "cpu/control.h"
#include "cpu/flags.h"
#include "decode/insn.h"
#include "vmx/vmx.h"

/* Offsets from SMBASE + 8000H. */
enum {
	MAP_BEGIN = 0x7e00, /* the map is 7E00H to 7FFFH */
	MAP_SIZE = 0x200,
	SEGMENTS = 0x7e00, /* 16 bytes each: selector, attributes, limit, base. GDTR and IDTR have limit and base */
	GDTR = 0x7e60,
	IDTR = 0x7e80,
	IO_RIP = 0x7ea0,
	IO_DWORD = 0x7ec0,
	IO_RESTART = 0x7ec8,
	HALT_RESTART = 0x7ec9,
	NMI_MASK = 0x7eca,
	CPL = 0x7ecb,
	EFER = 0x7ed0,
	EPTP = 0x7ed8, /* AMD64's map has its own virtualization in these two; SDM vol. 3, "Default Treatment of SMI */
	EPT = 0x7ee0,  /* Delivery" gives them this use. EPT: bit 0 is "enable EPT" */
	PENDING_DEBUG = 0x7ef0, /* ours, in reserved bytes */
	SHUTDOWN = 0x7ef8,	/* ours: the SMI found the processor in shutdown */
	REVISION = 0x7efc,
	SMBASE = 0x7f00,
	CR4 = 0x7f48,
	CR3 = 0x7f50,
	CR0 = 0x7f58,
	DR7 = 0x7f60,
	DR6 = 0x7f68,
	RFLAGS = 0x7f70,
	RIP = 0x7f78,
	R15_SLOT = 0x7f80, /* R15 down to R8, RDI RSI RBP RSP RBX RDX RCX RAX: 8 bytes each */
};

#define REVISION_ID (0x64 | BIT(17)) /* SMBASE relocation; the restart of I/O instructions goes with the map */
#define ENTRY_IP    0x8000

/* IO_DWORD: SDM vol. 3, "I/O State Implementation" has the same facts in another order. */
#define IO_IN	 BIT(0)
#define IO_VALID BIT(1)

/* Where each of ES CS SS DS FS GS LDTR TR is among SEGMENTS. */
static const uint8_t segment_slot[SEG_ALL] = {0, 1, 2, 3, 4, 5, 7, 9};

static void put(uint8_t *map, unsigned offset, unsigned size, uint64_t value)
{
	store_le(map + offset - MAP_BEGIN, size, value);
}

static uint64_t get(const uint8_t *map, unsigned offset, unsigned size)
{
	return load_le(map + offset - MAP_BEGIN, size);
}

static void save(const struct cpu *cpu, uint8_t *map)
{
	put(map, CR0, 8, cpu->cr0);
	put(map, CR3, 8, cpu->cr3);
	put(map, CR4, 8, cpu->cr4 & ~CR4_VMXE);
	put(map, EFER, 8, cpu->efer);
	put(map, RFLAGS, 8, cpu_rflags(cpu));
	put(map, RIP, 8, cpu->rip);
	put(map, DR6, 8, cpu->dr6);
	put(map, DR7, 8, cpu->dr7);
	for (unsigned i = 0; i < SEG_ALL; i++) {
		unsigned at = SEGMENTS + 16 * segment_slot[i];

		put(map, at, 2, cpu->seg[i].selector);
		put(map, at + 2, 2, cpu->seg[i].ar & (cpu->seg[i].ar & AR_UNUSABLE ? ~AR_P : ~UINT64_C(0)));
		put(map, at + 4, 4, cpu->seg[i].limit);
		put(map, at + 8, 8, cpu->seg[i].base);
	}
	for (unsigned i = 0; i < 16; i++)
		put(map, R15_SLOT + 8 * i, 8, cpu->r[R15 - i]);
	put(map, GDTR + 4, 4, cpu->gdtr.limit);
	put(map, GDTR + 8, 8, cpu->gdtr.base);
	put(map, IDTR + 4, 4, cpu->idtr.limit);
	put(map, IDTR + 8, 8, cpu->idtr.base);
	put(map, PENDING_DEBUG, 8, cpu->pending_debug);
	put(map, CPL, 1, cpu->cpl);
	put(map, NMI_MASK, 1, cpu->nmi_blocked);
	put(map, IO_DWORD, 4, cpu->io_misc);
	put(map, IO_RIP, 8, cpu->io_rip);
	put(map, SMBASE, 4, cpu->smbase);
	put(map, REVISION, 4, REVISION_ID);
	if (cpu->vmx)
		put(map, EPT, 4, cpu->eptp != 0);
	if (cpu->eptp)
		put(map, EPTP, 8, cpu->eptp);
	put(map, IO_RESTART, 1, 0);
	put(map, HALT_RESTART, 1, cpu->activity == ACTIVITY_HLT);
	put(map, SHUTDOWN, 1, cpu->activity == ACTIVITY_SHUTDOWN);
}

/* The host bytes of the save map, or NULL when something else than RAM is there. */
static uint8_t *map_of(struct cpu *cpu)
{
	pa_t pa = (uint32_t)(cpu->smbase + 0x8000 + MAP_BEGIN);
	struct bus_span span;

	bus_lookup(cpu->bus, pa, true, &span);
	if (!span.host || !span.writable || pa + MAP_SIZE - 1 > span.end - 1)
		return NULL;
	return span.host + (pa - span.base);
}

bool smm_enter(struct cpu *cpu)
{
	uint8_t *map = map_of(cpu);
	struct segment data = {.limit = UINT32_MAX, .ar = AR_P | AR_S | AR_WRITABLE | AR_ACCESSED | AR_G};
	uint8_t image[MAP_SIZE];

	if (!map)
		return false;
	memcpy(image, map, MAP_SIZE); /* bytes that the manual does not name keep what they were */
	save(cpu, image);
	if (cpu->vmx)
		vmx_smi(cpu);

	/* SDM vol. 3, "SMI Handler Execution Environment". */
	cpu->in_smm = true;
	cpu->io_misc = 0;
	cpu->nmi_blocked = true;
	cpu->pending_debug = 0;
	cpu->shadow = 0;
	cpu->activity = ACTIVITY_ACTIVE;
	cpu->cpl = 0;
	cpu_set_rflags(cpu, 0);
	cpu->rip = ENTRY_IP;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		cpu->seg[i] = data;
	cpu->seg[CS].selector = (uint16_t)(cpu->smbase >> 4);
	cpu->seg[CS].base = cpu->smbase;
	cpu->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
	cpu->cr4 = 0;
	cpu->efer = 0;
	cpu->dr7 = DR7_1;
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
	/* As the CPU in SMM writes, without paging: so cached code in SMRAM is dropped, and nothing can fault. */
	return !mem_write_bytes(cpu, (uint32_t)(cpu->smbase + 0x8000 + MAP_BEGIN), image, MAP_SIZE,
				ACCESS_WRITE | ACCESS_SYSTEM);
}

void smm_io_raised(struct cpu *cpu, bool in, uint16_t port, unsigned size)
{
	const struct insn *insn = cpu->insn;

	if (cpu->in_smm || !insn)
		return;
	if (cpu->vmx)
		vmx_note_io_smi(cpu);
	if (insn->form->class == CLASS_STRING)
		return;
	cpu->io_misc = (uint32_t)(IO_VALID | (in ? IO_IN : 0) | size << 4 | (uint32_t)port << 16);
	cpu->io_rip = cpu->insn_rip;
}

static bool mode_valid(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	bool long_mode = efer & EFER_LMA;

	return long_mode == ((cr0 & CR0_PG) && (efer & EFER_LME)) && (long_mode ? cr4 & CR4_PAE : !(cr4 & CR4_PCIDE));
}

/* SDM vol. 3, "Exiting From SMM": what makes the processor shut down. */
static bool is_valid(const struct cpu *cpu, const uint8_t *map)
{
	uint64_t cr0 = get(map, CR0, 8), cr4 = get(map, CR4, 8), cr3 = get(map, CR3, 8), efer = get(map, EFER, 8);
	bool long_mode = efer & EFER_LMA;

	/* VMXE: SDM vol. 3, "Default Treatment of RSM". */
	if (!cpu_cr0_valid(cr0) || (cr4 & (~cpu_cr4_allowed(cpu->model) | CR4_VMXE)) || (efer & ~cpu_efer_allowed(cpu->model)))
		return false;
	if (!mode_valid(cr0, cr4, efer) || !cpu_cr3_valid(cpu->model, cr3, long_mode) || get(map, CPL, 1) > 3)
		return false;
	return !(long_mode && (get(map, RFLAGS, 8) & RFLAGS_VM));
}

static void restore_segments(struct cpu *cpu, const uint8_t *map)
{
	for (unsigned i = 0; i < SEG_ALL; i++) {
		unsigned at = SEGMENTS + 16 * segment_slot[i];
		uint32_t ar = (uint32_t)get(map, at + 2, 2) & (BITS(15, 12) | BITS(7, 0));

		cpu->seg[i] = (struct segment){
			.selector = (uint16_t)get(map, at, 2),
			.base = get(map, at + 8, 8),
			.limit = (uint32_t)get(map, at + 4, 4),
			.ar = ar & AR_P ? ar : ar | (uint32_t)AR_UNUSABLE,
		};
	}
	cpu->gdtr.base = get(map, GDTR + 8, 8);
	cpu->idtr.base = get(map, IDTR + 8, 8);
	cpu->gdtr.limit = (uint16_t)get(map, GDTR + 4, 2);
	cpu->idtr.limit = (uint16_t)get(map, IDTR + 4, 2);
}

static enum activity activity(const uint8_t *map)
{
	if (get(map, HALT_RESTART, 1) & 1)
		return ACTIVITY_HLT;
	return get(map, SHUTDOWN, 1) & 1 ? ACTIVITY_SHUTDOWN : ACTIVITY_ACTIVE;
}

bool smm_leave(struct cpu *cpu)
{
	uint8_t map[MAP_SIZE];
	uint64_t rflags;

	for (unsigned i = 0; i < MAP_SIZE; i += 8)
		store_le(map + i, 8, bus_read(cpu->bus, (uint32_t)(cpu->smbase + 0x8000 + MAP_BEGIN + i), 8, true));
	cpu->in_smm = false;
	if (!is_valid(cpu, map))
		return false;
	cpu->cr0 = get(map, CR0, 8) | CR0_ET;
	cpu->cr3 = get(map, CR3, 8);
	cpu->cr4 = get(map, CR4, 8);
	cpu->efer = get(map, EFER, 8);
	rflags = get(map, RFLAGS, 8) & BITS(21, 0) & ~(BIT(3) | BIT(5) | BIT(15));
	cpu_set_rflags(cpu, rflags);
	cpu->rip = (get(map, IO_DWORD, 4) & IO_VALID) && get(map, IO_RESTART, 1) == 0xff ? get(map, IO_RIP, 8)
											 : get(map, RIP, 8);
	cpu->dr6 = (get(map, DR6, 8) & (BITS(3, 0) | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED;
	cpu->dr7 = (get(map, DR7, 8) & (BITS(31, 16) | DR7_GD | BITS(9, 0))) | DR7_1;
	restore_segments(cpu, map);
	for (unsigned i = 0; i < 16; i++)
		cpu->r[R15 - i] = get(map, R15_SLOT + 8 * i, 8);
	cpu->cpl = (uint8_t)get(map, CPL, 1);
	cpu->nmi_blocked = get(map, NMI_MASK, 1) & 1;
	cpu->pending_debug = get(map, PENDING_DEBUG, 8) & (BITS(3, 0) | DR6_BS | DR6_BT);
	cpu->shadow = 0;
	cpu->smbase = (uint32_t)get(map, SMBASE, 4);
	cpu->activity = activity(map);
	if (cpu->vmx) {
		vmx_rsm(cpu);
		/* Bits that VMX operation fixes may have turned paging on. */
		if (!mode_valid(cpu->cr0, cpu->cr4, cpu->efer))
			return false;
	}
	cpu_mode_changed(cpu);
	mem_context_changed(cpu);
	if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA) && !cpu->eptp &&
	    mem_read_pdptes(cpu, cpu->cr3, cpu->pdpte))
		return false;
	if (cpu->pending_debug || cpu->dr7 & 0xff)
		cpu_attend(cpu, ATTEND_TRAP);
	cpu_attend(cpu, ATTEND_PINS);
	return true;
}

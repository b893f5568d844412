/*
 * The APIC-access page: which accesses go to the virtual-APIC page instead, and which cause APIC-access VM exits.
 *
 * SDM vol. 3, "Virtualizing Memory-Mapped APIC Accesses": "Virtualizing Reads from the APIC-Access Page", "Virtualizing
 * Writes to the APIC-Access Page", "Priority of APIC-Access VM Exits", "Guest-Physical Accesses to the APIC-Access
 * Page". What a virtualized write causes beyond its bytes ("APIC-Write Emulation") waits in cpu->vapic_write until its
 * instruction is done, and is vmx/'s.
 *
 * Where the manual leaves a choice: the page counts whatever size of page maps it; physical accesses (paging structures
 * without EPT, EPT's own, VMCSs and bitmaps) neither exit nor are virtualized.
 */
#include "mem/private.h"

/* SDM vol. 3, "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses", bits
 * 15:12. During event delivery it is another type: whoever delivers knows. */
enum access_type { LINEAR_READ = 0, LINEAR_WRITE = 1, LINEAR_FETCH = 2, GUEST_PHYSICAL = 15 };

enum apic_register {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) APIC_##name = index,
#include "apic_registers.def"
#undef APIC_REGISTER
	APIC_ISR = 0x10, /* and the next 7; then TMR and IRR */
	APIC_IRR_END = 0x28,
};

/* How xAPIC mode lets software access a register. */
enum { NONE = 0, R = 1, W = 2, RW = 3 };

static unsigned rights(unsigned index)
{
	static const uint8_t xapic[0x100] = {
#define APIC_REGISTER(index, name, xapic, x2apic, settable, tolerated) [index] = xapic,
#include "apic_registers.def"
#undef APIC_REGISTER
	};

	return index >= APIC_ISR && index < APIC_IRR_END ? R : xapic[index];
}

/*
 * With "APIC-register virtualization" all bytes of all registers, also of the one that is written only, but of those
 * that only the processor could compute. Without it page offsets decide, so an access has to begin there.
 */
static bool virtualizes_read(const struct cpu *cpu, unsigned offset)
{
	unsigned index = offset >> 4;

	if (cpu->vapic_controls & VAPIC_REGISTERS)
		return rights(index) && index != APIC_PPR && index != APIC_CURRENT_COUNT;
	if (offset == APIC_EOI << 4 || offset == APIC_ICR << 4)
		return cpu->vapic_controls & VAPIC_INTERRUPTS;
	return offset == APIC_TPR << 4;
}

static bool virtualizes_write(const struct cpu *cpu, unsigned offset)
{
	if (cpu->vapic_controls & VAPIC_REGISTERS)
		return rights(offset >> 4) & W;
	if (offset == APIC_EOI << 4)
		return cpu->vapic_controls & VAPIC_INTERRUPTS;
	if (offset == APIC_ICR << 4)
		return cpu->vapic_controls & (VAPIC_INTERRUPTS | VAPIC_IPIS);
	return offset == APIC_TPR << 4;
}

/* One write of an instruction or an event delivery may be virtualized, also when it is done more than once; and no read
 * after it. */
static bool is_first(const struct cpu *cpu, unsigned offset, unsigned size, bool write)
{
	return !cpu->vapic_write || (write && cpu->vapic_write == offset && cpu->vapic_write_size == size);
}

static bool is_virtualized(const struct cpu *cpu, unsigned offset, unsigned size, bool write)
{
	/* at most 32 bits, all of them in the low 4 bytes of a 16-byte block */
	if (!(cpu->vapic_controls & VAPIC_TPR_SHADOW) || (offset & 15) + size > 4 ||
	    !is_first(cpu, offset, size, write))
		return false;
	return write ? virtualizes_write(cpu, offset) : virtualizes_read(cpu, offset);
}

static bool apic_access(struct cpu *cpu, enum access_type type, unsigned offset)
{
	return mem_vm_exit(cpu, EXIT_APIC_ACCESS, (uint64_t)type << 12 | offset, 0, 0);
}

bool mem_apic_access(struct cpu *cpu, unsigned offset, unsigned size, unsigned access)
{
	if (access & ACCESS_EXEC)
		return apic_access(cpu, LINEAR_FETCH, offset);
	if ((access & ACCESS_READ) && !is_virtualized(cpu, offset, size, false))
		return apic_access(cpu, LINEAR_READ, offset);
	if ((access & ACCESS_WRITE) && !is_virtualized(cpu, offset, size, true))
		return apic_access(cpu, LINEAR_WRITE, offset);
	return false;
}

void mem_apic_written(struct cpu *cpu, unsigned offset, unsigned size)
{
	cpu->vapic_write = (uint16_t)offset;
	cpu->vapic_write_size = (uint8_t)size;
	cpu_attend(cpu, ATTEND_TRAP);
}

bool mem_apic_guest_physical(struct cpu *cpu)
{
	return apic_access(cpu, GUEST_PHYSICAL, 0);
}

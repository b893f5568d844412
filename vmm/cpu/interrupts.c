/*
 * The IDT and what comes through it: SDM vol. 3, "Interrupt and Exception Handling".
 */
#include "cpu/interrupts.h"

#include "console/console.h"
#include "cpu/apic.h"
#include "cpu/cpu.h"
#include "cpu/i8259.h"
#include "cpu/trap.h"
#include "cpu/x86.h"
#include "lib/print.h"

enum { VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_MC = 18, FIRST_INTERRUPT = 32, VECTORS = 256 };
enum { GATE_INTERRUPT = 0x8e00, IST_1 = 1 };
enum { LINE_COM1 = 4 };
enum { NMI_STATUS = 0x61, NMI_SERR = 0x80, NMI_IOCHK = 0x40 };

struct gate {
	uint16_t offset_low, selector, type, offset_middle;
	uint32_t offset_high, reserved;
};

/* Where cpu/safe.c would have an instruction go on that may fault. */
struct fixup {
	uint64_t fault, landing;
};

extern const struct fixup fixups_start[], fixups_end[]; /* boot/vmm.ld */
extern const char interrupt_vectors[VECTORS][16];	/* cpu/vectors.S */
void interrupt_taken(struct trap *trap);		/* for cpu/vectors.S */

static struct gate idt[VECTORS] ALIGNED(16);

void interrupts_init(void)
{
	for (unsigned i = 0; i < VECTORS; i++) {
		uint64_t entry = (uintptr_t)interrupt_vectors[i];
		/* These may come while the stack is not to be trusted, or no interrupt is expected. */
		bool ist = i == VECTOR_NMI || i == VECTOR_DF || i == VECTOR_MC;

		idt[i] = (struct gate){
			.offset_low = (uint16_t)entry, .offset_middle = (uint16_t)(entry >> 16), .offset_high = (uint32_t)(entry >> 32),
			.selector = SELECTOR_CODE, .type = GATE_INTERRUPT | (ist ? IST_1 : 0)};
	}
	i8259_init(VECTOR_8259, 1u << LINE_COM1);
}

void interrupts_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} PACKED idtr = {sizeof(idt) - 1, (uintptr_t)idt};

	__asm__ volatile("lidt %0" : : "m"(idtr));
}

/* Outside panics it is hardware that complains. IBM PC AT Technical Reference, "Non-Maskable Interrupt". */
static void nmi(void)
{
	uint8_t status;

	if (panic_here())
		cpu_stop();
	status = in8(NMI_STATUS);
	if (status & (NMI_SERR | NMI_IOCHK))
		panic("NMI: the chipset reports %s", status & NMI_SERR ? "a system error (SERR)" : "an error of an I/O device (IOCHK)");
}

static void line_serve(unsigned line)
{
	if (i8259_spurious(line))
		return;
	if (line == LINE_COM1)
		console_input();
	i8259_eoi(line);
}

void interrupt_serve(unsigned vector)
{
	if (vector == VECTOR_NMI)
		nmi();
	else if (vector >= VECTOR_8259 && vector < VECTOR_8259 + I8259_LINES)
		line_serve(vector - VECTOR_8259);
	else if (vector != VECTOR_SPURIOUS) /* the others have done their work by ending what this CPU was at */
		apic_eoi();
}

void interrupt_taken(struct trap *trap)
{
	if (trap->vector >= FIRST_INTERRUPT || trap->vector == VECTOR_NMI) {
		interrupt_serve((unsigned)trap->vector);
		return;
	}
	for (const struct fixup *fixup = fixups_start; fixup < fixups_end; fixup++) {
		if (fixup->fault == trap->rip) {
			trap->rip = fixup->landing;
			return;
		}
	}
	panic_trap(trap);
}

void interrupts_wait(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/*
 * x87 errors by FERR# and IRQ 13, with CR0.NE clear.
 *
 * SDM vol. 1, "MS-DOS* Compatibility Sub-mode"; on a PC, port 0xf0 asserts IGNNE# and takes FERR# away.
 */
#include "chips.h"

const char chapter[] = "ferr";

const u16 fcw_unmasked = 0x340;

void chapter_main(void)
{
	struct ctx c;

	virtual_wire();
	pic_mask(0xfb, 0xdf);
	write_cr0(read_cr0() & ~CR0_NE);
	c = TRY(RING0, CODE("fninit; fldcw fcw_unmasked; fldz; fld1; fdiv %st(1), %st; sti; fwait; mov $100000, %ecx; "
			    "1: loop 1b; cli"));
	check("irq-13", "int 0x2d", "int %#lx", c.vector);
	outb(0xf0, 0);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	c = TRY(RING0, CODE("fnclex; fninit; sti; fld1; nop; nop; nop; cli"));
	check("quiet-after-port-f0", "ok", "%s", outcome(c));
	pic_mask(0xff, 0xff);
	write_cr0(read_cr0() | CR0_NE);
	c = TRY(RING0, CODE("fninit; fldcw fcw_unmasked; fldz; fld1; fdiv %st(1), %st; fwait"));
	check("ne-set-is-mf", "#MF+14", "%s", outcome(c));
	asm volatile("fninit");
}

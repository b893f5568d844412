/*
 * XSAVES and XRSTORS of a guest, and the XSS-exiting bitmap.
 *
 * SDM vol. 3, "XSS-Exiting Bitmap", "Changes to Instruction Behavior in VMX Non-Root Operation" (XRSTORS, XSAVES).
 */
#include "vmx.h"

const char chapter[] = "vmx_xsaves";

void chapter_main(void)
{
	u32 r[4];

	if (!vm_begin())
		return;
	if (!HAS_XSAVES || !has_sec(ENABLE_XSAVES)) {
		absent("");
		vm_report();
		return;
	}
	ulong save = CODE("xsaves (%rbx)"), restore = CODE("xrstors (%rbx)"), save64 = CODE("xsaves64 0x40(%rbx)");
	u64 area = (u64)page_alloc(), bits, lowest;

	cpuid(0xd, 1, r);
	bits = r[2] | (u64)r[3] << 32;
	lowest = bits & -bits;
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXSAVE);
#define XSS(name, expected, mode, code, ...) \
	V(name, expected, mode, code, sec(ENABLE_XSAVES), regs.bx = area, regs.ax = 3, ##__VA_ARGS__)
	V("off/xsaves", "#UD+0", G64, save, regs.bx = area);
	V("off/xrstors", "#UD+0", G64, restore, regs.bx = area);
	XSS("on/xsaves", "ok", G64, save);
	vm_line("on/xsaves-compacted", "1", "%lx", *(u64 *)(area + 520) >> 63);
	XSS("on/xrstors", "ok", G64, restore);
	XSS("on/bitmap-without-xss", "ok", G64, save, vm_write(XSS_EXITING_BITMAP, ~0ul));
	XSS("on/ring3", "#GP(0x0)+0", G64_U, save, vm_write(XSS_EXITING_BITMAP, ~0ul));
	XSS("on/osxsave-clear", "#UD+0", G64, save, vm_and(GUEST_CR4, ~(u64)CR4_OSXSAVE));
	XSS("on/ts", "#NM+0", G64, save, vm_or(GUEST_CR0, CR0_TS));
	if (bits) {
		wrmsr(MSR_XSS, lowest);
#define MASK vm_write(XSS_EXITING_BITMAP, lowest), regs.ax = (u32)lowest, regs.dx = lowest >> 32
		XSS("exit/xsaves", "XSAVES ds:[bx] a64 len=3", G64, save, MASK);
		XSS("exit/xsaves64", "XSAVES ds:[bx+0x40] a64 len=5", G64, save64, MASK);
		XSS("exit/xrstors", "XRSTORS ds:[bx] a64 len=3", G64, restore, MASK);
		XSS("exit/xsaves-32", "XSAVES ds:[bx+si*1] a32 len=4", G32, CODE32("xsaves (%ebx,%esi)"), MASK);
		XSS("exit/no-bit-in-bitmap", "ok", G64, save, MASK, vm_write(XSS_EXITING_BITMAP, ~lowest));
		XSS("exit/no-bit-in-rfbm", "ok", G64, save, MASK, regs.ax = 3, regs.dx = 0);
		XSS("exit/before-alignment", "XSAVES ds:[bx+0x1] a64 len=4", G64, CODE("xsaves 1(%rbx)"), MASK);
		XSS("exit/ring3", "#GP(0x0)+0", G64_U, save, MASK);
		wrmsr(MSR_XSS, 0);
		XSS("exit/bit-not-in-xss", "ok", G64, save, MASK, regs.ax = 3 | (u32)lowest);
	} else {
		absent("exit");
	}
	V("other/xsavec-no-exit", "ok", G64, CODE("xsavec (%rbx)"), regs.bx = area, regs.ax = 3,
	  vm_write(XSS_EXITING_BITMAP, ~0ul));
	vm_report();
}

/*
 * VMCS shadowing: VMREAD and VMWRITE of a guest on the shadow VMCS at its VMCS link pointer.
 *
 * SDM vol. 3, "VMCS Shadowing Bitmap Addresses", "Changes to Instruction Behavior in VMX Non-Root Operation", "VMREAD",
 * "VMWRITE".
 */
#include "vmx.h"

const char chapter[] = "vmx_shadowing";

static u8 *read_map, *write_map;
static u64 *shadow;

/* A value in the shadow VMCS, which has to be current for that. */
static void poke(u32 field, u64 value)
{
	vmx_vmptrld((u64)shadow);
	vm_write(field, value);
	vmx_vmclear((u64)shadow);
	vmx_vmptrld((u64)vmcs_region);
}

static u64 peek(u32 field)
{
	u64 value;

	vmx_vmclear((u64)shadow);
	vmx_vmptrld((u64)shadow);
	value = vm_read(field);
	vmx_vmclear((u64)shadow);
	vmx_vmptrld((u64)vmcs_region);
	return value;
}

#define SHADOWED                                                                                               \
	sec(VMCS_SHADOWING), vm_write(VMREAD_BITMAP, (u64)read_map), vm_write(VMWRITE_BITMAP, (u64)write_map), \
		vm_write(VMCS_LINK_POINTER, (u64)shadow)
#define S(name, expected, mode, code, ...) V(name, expected, mode, code, SHADOWED, ##__VA_ARGS__)
#define BIT_OF(map, field, value) \
	(map[(field) / 8] = (value) ? map[(field) / 8] | 1 << ((field)&7) : map[(field) / 8] & ~(1 << ((field)&7)))

void chapter_main(void)
{
	if (!vm_begin())
		return;
	if (!has_sec(VMCS_SHADOWING)) {
		absent("");
		vm_report();
		return;
	}
	ulong read = CODE("vmread %rcx, %rax; pushf; pop %rdx"), write = CODE("vmwrite %rax, %rcx; pushf; pop %rdx");

	read_map = page_alloc();
	write_map = page_alloc();
	shadow = vmx_region();
	*shadow |= 1u << 31;
	vmx_vmclear((u64)shadow);
	vm_fresh(G64, read);
	poke(GUEST_RIP, 0x12345);
	S("read/value", "ok", G64, read, regs.cx = GUEST_RIP);
	vm_line("read/value-is-the-shadow-s", "12345 flags=0", "%lx flags=%lx", regs.ax, regs.dx & FLAG_ARITHMETIC);
	S("read/memory", "ok", G64, CODE("vmread %rcx, (%rbx)"), regs.cx = GUEST_RIP, regs.bx = 0x5000,
	  *(u64 *)0x5000 = 0);
	vm_line("read/memory-value", "12345", "%lx", *(u64 *)0x5000);
	S("read/memory-fault", "#PF(0x2)+0 cr2=0x200000000", G64, CODE("vmread %rcx, (%rbx)"), regs.cx = GUEST_RIP,
	  regs.bx = 1ul << 33);
	BIT_OF(read_map, GUEST_RIP, 1);
	S("read/bit-set", "VMREAD ax reg2=cx len=3", G64, read, regs.cx = GUEST_RIP);
	S("read/other-field", "ok", G64, read, regs.cx = GUEST_RSP);
	BIT_OF(read_map, GUEST_RIP, 0);
	S("read/beyond-bit-14", "VMREAD ax reg2=cx len=3", G64, read, regs.cx = 1 << 15 | GUEST_RIP);
	S("read/bit-63", "VMREAD ax reg2=cx len=3", G64, read, regs.cx = 1ul << 63 | GUEST_RIP);
	S("read/unsupported", "ok", G64, read, regs.cx = 0x1000, regs.ax = 0x55);
	vm_line("read/unsupported-fails", "55 flags=40", "%lx flags=%lx", regs.ax, regs.dx & FLAG_ARITHMETIC);
	/* VMfailValid(12), in which of the two is not said. */
	u64 of_current = vm_read(VM_INSTRUCTION_ERROR);

	vm_line("read/unsupported-error", "c 0|0 c", "%lx %lx", of_current, peek(VM_INSTRUCTION_ERROR));
	S("read/ring3", "#GP(0x0)+0", G64_U, read, regs.cx = GUEST_RIP);
	BIT_OF(read_map, GUEST_RIP, 1);
	S("read/ring3-bit-set", "VMREAD ax reg2=cx len=3", G64_U, read, regs.cx = GUEST_RIP);
	BIT_OF(read_map, GUEST_RIP, 0);
	S("read/compatibility", "#UD+0", GCOMPAT, CODE32("vmread %ecx, %eax"), regs.cx = GUEST_RIP);
	S("read/no-link", "ok", G64, read, regs.cx = GUEST_RIP, vm_write(VMCS_LINK_POINTER, ~0ul));
	vm_line("read/no-link-fails-invalid", "flags=1", "flags=%lx", regs.dx & FLAG_ARITHMETIC);
	S("write/value", "ok", G64, write, regs.cx = GUEST_RSP, regs.ax = 0xabcdef);
	vm_line("write/value-in-the-shadow", "flags=0 abcdef 1", "flags=%lx %lx %u", regs.dx & FLAG_ARITHMETIC,
		peek(GUEST_RSP), vm_read(GUEST_RSP) != 0xabcdef);
	BIT_OF(write_map, GUEST_RSP, 1);
	S("write/bit-set", "VMWRITE ax reg2=cx len=3", G64, write, regs.cx = GUEST_RSP);
	S("write/read-map-does-not-count", "ok", G64, read, regs.cx = GUEST_RSP);
	BIT_OF(write_map, GUEST_RSP, 0);
	S("write/beyond-bit-14", "VMWRITE ax reg2=cx len=3", G64, write, regs.cx = 1 << 16 | GUEST_RSP);
	S("write/unsupported", "ok", G64, write, regs.cx = 0x1000);
	vm_line("write/unsupported-fails", "flags=40", "flags=%lx", regs.dx & FLAG_ARITHMETIC);
	S("write/ring3", "#GP(0x0)+0", G64_U, write, regs.cx = GUEST_RSP);
	S("write/read-only-field", "ok", G64, write, regs.cx = EXIT_REASON, regs.ax = 0x1234);
	vm_line("write/read-only-field-result", has_misc(VMWRITE_ANY) ? "flags=0" : "flags=40", "flags=%lx",
		regs.dx & FLAG_ARITHMETIC);
	S("write/no-link", "ok", G64, write, regs.cx = GUEST_RSP, vm_write(VMCS_LINK_POINTER, ~0ul));
	vm_line("write/no-link-fails-invalid", "flags=1", "flags=%lx", regs.dx & FLAG_ARITHMETIC);
	S("write/high-half", "ok", G64, write, regs.cx = TSC_OFFSET + 1, regs.ax = 0x77);
	vm_line("write/high-half-in-the-shadow", "77", "%lx", peek(TSC_OFFSET) >> 32);
	S("vmptrst/exits", "VMPTRST ds:[bx] a64 len=3", G64, CODE("vmptrst (%rbx)"));
	S("vmlaunch/exits", "VMLAUNCH len=3", G64, CODE("vmlaunch"));
	V("off/read", "VMREAD ax reg2=cx len=3", G64, read, regs.cx = GUEST_RIP);
	vm_report();
}

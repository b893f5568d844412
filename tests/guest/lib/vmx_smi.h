/*
 * An SMI handler for images of VMX: what it finds, and what it is told to do.
 *
 * The save map is the one with revision 64H (AMD64), which SoftVT, QEMU and Bochs use; the places of "enable EPT" and
 * of the EPT pointer are the SDM's ("Default Treatment of SMI Delivery").
 */
#ifndef VMX_SMI_H
#define VMX_SMI_H

#include "smi.h"

/* At 6000H what the handler leaves, at 6040H what it is told. */
struct smi_log {
	u32 count, cr4, map_cr4, map_ept, map_eptp[2], revision, vector, pad[8];
	u32 order, where, value, value_high;
	u32 pad2[4];
	struct {
		u16 limit, base_low, base_high;
	} idt; /* at 6060H */
};
#define SMI_LOG ((volatile struct smi_log *)0x6000)
enum smi_order {
	SMI_NOTHING,
	SMI_POKE,      /* value into the save map, 32 bits, at this offset from SMBASE */
	SMI_WRITE_MSR, /* value, value_high */
	SMI_SET_VMXE,  /* MOV to CR4; the vector of the fault is left in vector, or -1 */
};
enum { MAP_CS = 0xfe10, MAP_CS_RIGHTS = 0xfe12, MAP_EPT = 0xfee0, MAP_SMBASE = 0xff00, MAP_CR0 = 0xff58 };

#define SMI_VECTORS 0x7000 /* the handler's interrupt table */

asm(".pushsection .snippet,\"ax\"\n"
    ".code16\n"
    "vmx_smi_handler: mov $0x5f00, %esp; incl 0x6000; mov %cr4, %eax; mov %eax, 0x6004; mov %cs, %ax; mov %ax, %fs\n"
    "mov %fs:0xff48, %eax; mov %eax, 0x6008; mov %fs:0xfee0, %eax; mov %eax, 0x600c; mov %fs:0xfed8, %eax\n"
    "mov %eax, 0x6010; mov %fs:0xfedc, %eax; mov %eax, 0x6014; mov %fs:0xfefc, %eax; mov %eax, 0x6018\n"
    "xor %eax, %eax; cpuid; lidtl 0x6060\n" /* CPUID would be a VM exit in a guest */
    "mov 0x6040, %eax; movl $0, 0x6040\n"
    "cmp $1, %eax; jne 1f; mov 0x6044, %bx; mov 0x6048, %ecx; mov %ecx, %fs:(%bx)\n"
    "1: cmp $2, %eax; jne 1f; mov 0x6044, %ecx; mov 0x6048, %eax; mov 0x604c, %edx; wrmsr; jmp vmx_smi_end\n"
    "1: cmp $3, %eax; jne vmx_smi_end; movl $-1, 0x601c; mov %cr4, %eax; or $0x2000, %eax; mov %eax, %cr4\n"
    "vmx_smi_end: rsm\n"
    "vmx_smi_gp: movl $13, 0x601c; mov $0x5f00, %esp; jmp vmx_smi_end\n"
    "vmx_smi_handler_end:\n"
#ifdef __x86_64__
    ".code64\n"
#else
    ".code32\n"
#endif
    ".popsection\n");
extern u8 vmx_smi_handler[], vmx_smi_gp[], vmx_smi_handler_end[];

static inline void smi_install(u32 smbase)
{
	memcpy((void *)(ulong)(smbase + 0x8000), vmx_smi_handler, vmx_smi_handler_end - vmx_smi_handler);
}

/* One SMI from here, and time to arrive. */
static inline void smi_now(void)
{
	u32 before = SMI_LOG->count;

	outb(0xb2, 0);
	for (u32 i = 0; i < 100000 && SMI_LOG->count == before; i++)
		asm volatile("pause");
}

static inline void smi_order(enum smi_order order, u32 where, u64 value)
{
	SMI_LOG->where = where;
	SMI_LOG->value = value;
	SMI_LOG->value_high = value >> 32;
	SMI_LOG->order = order;
	smi_now();
}

/* The handler is in SMRAM, which stays open, SMBASE is A0000H, and SMIs arrive. Returns the SMRAM register, or 0. */
static inline u32 smi_begin(void)
{
	u32 smram = smi_enable();

	if (!smram)
		return 0;
	memset((void *)SMI_LOG, 0, sizeof(*SMI_LOG));
	SMI_LOG->idt.limit = 0x3ff;
	SMI_LOG->idt.base_low = SMI_VECTORS;
	((volatile u32 *)SMI_VECTORS)[13] = 0xa0000000u | (0x8000 + (u32)(vmx_smi_gp - vmx_smi_handler));
	pci_byte_write(0, 0, smram, SMRAM_OPEN);
	smi_install(0xa0000);
	smi_install(0x30000);
	smi_order(SMI_POKE, MAP_SMBASE, 0xa0000);
	if (!SMI_LOG->count || (SMI_LOG->revision & 0xff) != 0x64)
		return 0;
	SMI_LOG->count = 0;
	return smram;
}

#endif

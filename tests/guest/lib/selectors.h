/*
 * The GDT of the guest images, for C and assembler. In a 64-bit image SEL_CODE0 is a 64-bit code segment. The order
 * from SEL_CODE0 on suits SYSCALL and SYSRET.
 */
#ifndef SELECTORS_H
#define SELECTORS_H

#define SEL_CODE0    0x08
#define SEL_DATA0    0x10
#define SEL_CODE0_32 0x18
#define SEL_CODE3    0x20 /* 32-bit */
#define SEL_DATA3    0x28
#define SEL_CODE3_64 0x30
#define SEL_TSS	     0x38 /* two slots in a 64-bit image */
#define SEL_CODE0_16 0x48 /* 16-bit code and data with base 0 and limit 0xffff */
#define SEL_DATA0_16 0x50
#define SEL_DF_TSS   0x58
#define SEL_LDT	     0x60 /* two slots */
#define SEL_TEST     0x70 /* from here on an image's own */
#define GDT_ENTRIES  64

#endif

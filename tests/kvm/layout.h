/*
 * Where things are in the guest's memory below 2 MiB, its selectors, and its port. For C and for the assembler.
 */
#ifndef KVM_TEST_LAYOUT_H
#define KVM_TEST_LAYOUT_H

#define LOW_SIZE   0x200000
#define REAL_CODE  0x1000 /* the real-mode code, with CS.base 0 */
#define SIPI_CODE  0x2000 /* where a SIPI with vector 2 starts a vCPU */
#define GDT	   0x3000
#define IDT	   0x4000
#define TSS	   0x5000
#define DATA	   0x6000
#define STACK_TOP  0x10000 /* of vCPU 0; vCPU 1 has the next 32 KiB */
#define STACK_SIZE 0x8000
#define USER_STACK 0x1c000
#define PD	   0x20000 /* 32-bit paging: 4 MiB pages, all of 4 GiB, identity but for HOLE */
#define PDPT	   0x21000 /* PAE paging: 2 MiB pages, the same */
#define PDS	   0x22000 /* ... the four page directories */
#define PML4	   0x26000 /* 4-level paging: the same page directories */
#define PDPT64	   0x27000
#define SMBASE	   0x30000    /* as after reset; the handler is at SMBASE + 0x8000 */
#define VMX_PAGES  0x40000    /* VMXON region, VMCS, bitmaps of a guest that is a hypervisor itself */
#define DIRTY_BASE 0x10000000 /* other slots of some tests */
#define SLOTS_BASE 0x20000000
#define HOLE	   0xc0000000 /* not present in any page table */
#define MMIO	   0xd0000000 /* no memory slot */
#define LAPIC	   0xfee00000
#define IOAPIC	   0xfec00000

#define CODE32	    0x08
#define DATA_SEG    0x10
#define CODE64	    0x18
#define USER_DATA   0x20
#define USER_CODE64 0x28
#define TSS_SEG	    0x30
#define CODE16	    0x40

#define PORT	 0x10	    /* everything that a guest says goes there */
#define LEAF	 0x40000010 /* a CPUID leaf that we make up, and its EAX */
#define LEAF_EAX 0x50667456

#endif

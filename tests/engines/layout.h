/*
 * Where things are, in the process that runs instructions natively and in the guest alike: the same linear addresses,
 * so that registers and memory can be compared as they are. Assembler and C both read this. Nothing else of the process
 * is below 4 GiB as long as it is position-independent.
 */
#pragma once

#define CODE	    0x50000000 /* instructions; all INT3 elsewhere */
#define CODE_SIZE   0x40000
#define LANDING64   0x50040000 /* an instruction that does not branch is followed by a jump here */
#define LANDING32   0x50040020
#define DATA	    0x50100000 /* two writable pages, unmapped before them */
#define DATA_SIZE   0x2000
#define READ_ONLY   0x50102000 /* one page; unmapped behind it */
#define KERNEL	    0x50400000 /* guest only: supervisor pages with IDT, GDT, TSS, handlers, stack */
#define KERNEL_SIZE 0x4000

/* Native only: registers in and out, and the stub. */
#define CONTEXT 0x50200000
#define STUB	0x50300000

#define IN_GPR	      (CONTEXT + 0x000)
#define IN_RFLAGS     (CONTEXT + 0x080)
#define ENTRY	      (CONTEXT + 0x088) /* near 64-bit, and at the same place far 16:32 */
#define RETURN	      (CONTEXT + 0x098)
#define HOST_RSP      (CONTEXT + 0x0a0)
#define WITH_VECTORS  (CONTEXT + 0x0a8)
#define DEFAULT_MXCSR (CONTEXT + 0x0b0)
#define OUT_GPR	      (CONTEXT + 0x100)
#define OUT_RFLAGS    (CONTEXT + 0x180)
#define IN_XSAVE      (CONTEXT + 0x1000)
#define OUT_XSAVE     (CONTEXT + 0x2000)
#define CONTEXT_SIZE  0x3000

#define USER_CS64 0x33 /* Linux' selectors */
#define USER_CS32 0x23
#define USER_DS	  0x2b

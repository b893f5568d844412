/* vmx.c for main.c and boot.S. */
#ifndef BENCH_VMX_H
#define BENCH_VMX_H

#include <stdint.h>

/* Ring 0: go on as a guest in VMX non-root operation. NULL, or what stood in the way. gdt, idt: as LGDT takes them. */
const char *kernel_become_guest(uint64_t tss, const uint16_t *gdt, const uint16_t *idt);

#endif

/*
 * What an interrupt or exception of the VMM itself leaves on the stack: cpu/vectors.S pushes it, cpu/panic.c shows it.
 */
#ifndef VMM_CPU_TRAP_H
#define VMM_CPU_TRAP_H

#include "lib/types.h"

struct trap {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

_Noreturn void panic_trap(const struct trap *trap); /* an exception that nobody expects */
bool panic_here(void);				    /* some CPU has panicked: this one must stop */
_Noreturn void cpu_stop(void);			    /* for ever */

#endif

/*
 * The IDT's entry points: SDM vol. 3, "64-Bit Mode Stack Frame". Each pushes its number, and a zero where the processor
 * pushes no error code; then struct trap (cpu/trap.h) is complete and interrupt_taken() gets it.
 */
	.text
	.macro VECTOR number
	.balign 16
	.if \number != 8 && (\number < 10 || \number > 14) && \number != 17 && \number != 21 && \number != 29 && \number != 30
	pushq $0
	.endif
	pushq $\number
	jmp taken
	.endm

	.globl interrupt_vectors /* 16 bytes each */
	.balign 16
interrupt_vectors:
	.altmacro
	.set number, 0
	.rept 256
	VECTOR %number
	.set number, number + 1
	.endr

taken:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call interrupt_taken
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

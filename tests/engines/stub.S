/*
 * Enters one instruction with all registers given and comes back with all registers saved. Copied to STUB: position-independent but for the absolute
 * addresses of layout.h. Nothing here may depend on a register, RSP included, once the instruction ran.
 */
#include "layout.h"

	.section .note.GNU-stack, "", @progbits
	.text

.macro enter far
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, HOST_RSP
	cmpl	$0, WITH_VECTORS
	je	1f
	mov	$-1, %eax
	mov	$-1, %edx
	xrstor64 IN_XSAVE
1:	pushq	IN_RFLAGS
	popfq
	mov	IN_GPR + 8, %rcx
	mov	IN_GPR + 16, %rdx
	mov	IN_GPR + 24, %rbx
	mov	IN_GPR + 40, %rbp
	mov	IN_GPR + 48, %rsi
	mov	IN_GPR + 56, %rdi
	mov	IN_GPR + 64, %r8
	mov	IN_GPR + 72, %r9
	mov	IN_GPR + 80, %r10
	mov	IN_GPR + 88, %r11
	mov	IN_GPR + 96, %r12
	mov	IN_GPR + 104, %r13
	mov	IN_GPR + 112, %r14
	mov	IN_GPR + 120, %r15
	.byte	0x48, 0x8b, 0x04, 0x25	/* mov IN_GPR, %rax: keep the 32-bit address form */
	.long	IN_GPR
	mov	IN_GPR + 32, %rsp
.if \far
	ljmpl	*ENTRY
.else
	jmp	*ENTRY
.endif
.endm

	.globl	stub_begin, stub_enter64, stub_enter32, stub_return, stub_end
stub_begin:
stub_enter64:
	enter	0
stub_enter32:
	enter	1

stub_return:
	.byte	0x48, 0x89, 0x04, 0x25	/* mov %rax, OUT_GPR */
	.long	OUT_GPR
	mov	%rcx, OUT_GPR + 8
	mov	%rdx, OUT_GPR + 16
	mov	%rbx, OUT_GPR + 24
	mov	%rsp, OUT_GPR + 32
	mov	%rbp, OUT_GPR + 40
	mov	%rsi, OUT_GPR + 48
	mov	%rdi, OUT_GPR + 56
	mov	%r8, OUT_GPR + 64
	mov	%r9, OUT_GPR + 72
	mov	%r10, OUT_GPR + 80
	mov	%r11, OUT_GPR + 88
	mov	%r12, OUT_GPR + 96
	mov	%r13, OUT_GPR + 104
	mov	%r14, OUT_GPR + 112
	mov	%r15, OUT_GPR + 120
	mov	HOST_RSP, %rsp
	pushfq
	popq	OUT_RFLAGS
	pushq	$2
	popfq
	cmpl	$0, WITH_VECTORS
	je	1f
	mov	$-1, %eax
	mov	$-1, %edx
	xsave64	OUT_XSAVE
	fninit
	ldmxcsr	DEFAULT_MXCSR
	vzeroupper
1:	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
stub_end:

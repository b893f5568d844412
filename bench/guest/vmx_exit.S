/*
 * The VM exit handler: CPUID gives zeros, and the guest goes on after it. It does what a hypervisor does at the least:
 * asks for the reason, RIP and the instruction's length, and moves RIP.
 */
	.section .text
	.globl vmx_exit
vmx_exit:
	pushq	%rbp
	movl	$0x4402, %eax		/* exit reason */
	vmread	%rax, %rbp
	cmpl	$10, %ebp
	jne	1f
	movl	$0x681e, %eax		/* guest RIP */
	movl	$0x440c, %ecx		/* VM-exit instruction length */
	vmread	%rax, %rbp
	vmread	%rcx, %rcx
	addq	%rcx, %rbp
	vmwrite	%rbp, %rax
	popq	%rbp
	xorl	%eax, %eax
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	vmresume
1:	call	kernel_unexpected
	hlt

	.section .bss
	.balign 16
	.skip	4096
	.globl vmx_exit_stack_top
vmx_exit_stack_top:

	.section .note.GNU-stack, "", @progbits

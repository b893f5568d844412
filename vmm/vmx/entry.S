/*
 * From root operation to the guest and back: SDM vol. 3, "VMLAUNCH/VMRESUME", "Loading Host State". What VM entries and VM
 * exits do not switch are the general registers but RSP, and CR2.
 *
 * bool vmx_enter(struct vcpu *vcpu, bool launched)
 */
#define HOST_RSP 0x6c14
#define CR2 (16 * 8)

	.text
	.globl vmx_enter, vmx_exit
	.type vmx_enter, @function
vmx_enter:
	push	%rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdi
	mov	$HOST_RSP, %eax
	vmwrite	%rsp, %rax
	mov	CR2(%rdi), %rax
	mov	%rax, %cr2
	test	%sil, %sil	/* MOV leaves ZF alone */
	mov	0*8(%rdi), %rax
	mov	1*8(%rdi), %rcx
	mov	2*8(%rdi), %rdx
	mov	3*8(%rdi), %rbx
	mov	5*8(%rdi), %rbp
	mov	6*8(%rdi), %rsi
	mov	8*8(%rdi), %r8
	mov	9*8(%rdi), %r9
	mov	10*8(%rdi), %r10
	mov	11*8(%rdi), %r11
	mov	12*8(%rdi), %r12
	mov	13*8(%rdi), %r13
	mov	14*8(%rdi), %r14
	mov	15*8(%rdi), %r15
	mov	7*8(%rdi), %rdi
	jz	1f
	vmresume
	jmp	2f
1:	vmlaunch
	/* Failed: we are still here, with the guest's registers. */
2:	pop	%rdi
	xor	%eax, %eax
	jmp	3f

	/* HOST_RIP: RSP is as it was written above. */
vmx_exit:
	push	%rdi
	mov	8(%rsp), %rdi
	mov	%rax, 0*8(%rdi)
	mov	%rcx, 1*8(%rdi)
	mov	%rdx, 2*8(%rdi)
	mov	%rbx, 3*8(%rdi)
	mov	%rbp, 5*8(%rdi)
	mov	%rsi, 6*8(%rdi)
	mov	%r8, 8*8(%rdi)
	mov	%r9, 9*8(%rdi)
	mov	%r10, 10*8(%rdi)
	mov	%r11, 11*8(%rdi)
	mov	%r12, 12*8(%rdi)
	mov	%r13, 13*8(%rdi)
	mov	%r14, 14*8(%rdi)
	mov	%r15, 15*8(%rdi)
	pop	7*8(%rdi)
	mov	%cr2, %rax
	mov	%rax, CR2(%rdi)
	pop	%rdi
	mov	$1, %eax
3:	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	ret
	.size vmx_enter, . - vmx_enter
	.section .note.GNU-stack, "", @progbits

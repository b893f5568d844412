/*
 * From Multiboot 1 (32-bit protected mode, no paging) to 64-bit user mode, and the two ways back into the kernel.
 *
 * SDM vol. 3, "Initializing IA-32e Mode". All of memory that the loops use is mapped one to one with 4-KiB pages, because that is
 * what programs run on. The loops run at CPL 3 with IOPL 3, so that they can write to the serial port; the kernel at
 * CPL 0 only answers SYSCALL and #PF. Not modelled: interrupts (IF stays clear), nested faults.
 */
#define MAPPED_MB 64
#define KERNEL_CS 0x08
#define KERNEL_SS 0x10
#define USER_CS 0x23		/* SYSRET takes CS and SS from STAR: this order is fixed */
#define USER_SS 0x1b
#define TSS 0x28

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 0
	.long -0x1badb002

	.section .text
	.code32
	.globl _start
_start:
	cli
	movl	$boot_stack_top, %esp
	movl	16(%ebx), %ebp		/* the command line, if flag 2 says there is one */
	testl	$4, (%ebx)
	jnz	1f
	movl	$empty, %ebp
1:
	/* Page tables: PML4 -> PDPT -> PD -> one PT for each 2 MiB. Present, writable, user. */
	movl	$pdpt + 7, pml4
	movl	$pd + 7, pdpt
	movl	$pd_fresh + 7, pdpt + 8	/* 1 GiB: the pages of bench_fresh_pages() */
	movl	$pt_fresh + 7, pd_fresh
	movl	$pt + 7, %eax
	movl	$pd, %edi
	movl	$MAPPED_MB / 2, %ecx
1:	movl	%eax, (%edi)
	addl	$4096, %eax
	addl	$8, %edi
	loop	1b
	movl	$7, %eax
	movl	$pt, %edi
	movl	$MAPPED_MB * 256, %ecx
1:	movl	%eax, (%edi)
	addl	$4096, %eax
	addl	$8, %edi
	loop	1b

	movl	$0x620, %eax		/* CR4: PAE, OSFXSR, OSXMMEXCPT */
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* IA32_EFER: LME, SCE */
	rdmsr
	orl	$0x101, %eax
	wrmsr
	movl	%cr0, %eax
	andl	$~0x0c, %eax		/* no TS, no EM */
	orl	$0x80010002, %eax	/* PG, WP, MP */
	movl	%eax, %cr0
	lgdt	gdt_pointer
	ljmp	$KERNEL_CS, $long_mode

	.code64
long_mode:
	movl	$KERNEL_SS, %eax
	movl	%eax, %ss
	movl	%eax, %ds
	movl	%eax, %es
	movl	$boot_stack_top, %esp

	/* The TSS descriptor and the #PF gate hold addresses in pieces, so they are put together here. */
	movl	$tss, %eax
	movw	%ax, gdt_tss + 2
	shrl	$16, %eax
	movb	%al, gdt_tss + 4
	movb	%ah, gdt_tss + 7
	movq	$boot_stack_top, tss + 4
	movl	$TSS, %eax
	ltr	%ax
	movl	$idt, %edi
	movl	$unexpected, %eax
	movl	$32, %ecx
1:	call	set_gate
	loop	1b
	movl	$idt + 14 * 16, %edi
	movl	$page_fault, %eax
	call	set_gate
	lidt	idt_pointer

	movl	$0xc0000081, %ecx	/* IA32_STAR */
	xorl	%eax, %eax
	movl	$(KERNEL_SS | 3) << 16 | KERNEL_CS, %edx
	wrmsr
	movl	$0xc0000082, %ecx	/* IA32_LSTAR */
	movl	$system_call, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$0xc0000084, %ecx	/* IA32_FMASK */
	xorl	%eax, %eax
	wrmsr

	movl	%ebp, %edi
	pushq	$USER_SS
	pushq	$user_stack_top - 8	/* as after a call */
	pushq	$0x3002			/* IOPL 3, IF clear */
	pushq	$USER_CS
	pushq	$guest_main
	iretq

/* Gate at rdi for the handler at eax; rdi goes on to the next gate. */
set_gate:
	movw	%ax, (%rdi)
	movw	$KERNEL_CS, 2(%rdi)
	movw	$0x8e00, 4(%rdi)
	movl	%eax, %edx
	shrl	$16, %edx
	movw	%dx, 6(%rdi)
	addl	$16, %edi
	ret

/* What a kernel does at the least: onto its own stack, registers saved, a function called by number, and back. */
system_call:
	movq	%rsp, user_rsp
	movq	$boot_stack_top, %rsp
	pushq	%rcx
	pushq	%r11
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%r8
	pushq	%r9
	pushq	%r10
	andl	$3, %eax
	call	*system_calls(, %rax, 8)
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdx
	popq	%rsi
	popq	%rdi
	popq	%r11
	popq	%rcx
	movq	user_rsp, %rsp
	sysretq

become_guest:
	movl	$tss, %edi
	movl	$gdt_pointer, %esi
	movl	$idt_pointer, %edx
	jmp	kernel_become_guest

page_fault:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rdi
	pushq	%rsi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	movq	%cr2, %rdi
	movq	72(%rsp), %rsi		/* error code */
	cld
	call	kernel_page_fault
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rsi
	popq	%rdi
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$8, %rsp
	iretq

unexpected:
	call	kernel_unexpected
1:	hlt
	jmp	1b

	.section .data
	.balign 16
gdt:	.quad	0
	.quad	0x00af9b000000ffff	/* 08: kernel code, 64-bit */
	.quad	0x00cf93000000ffff	/* 10: kernel data */
	.quad	0x00cff3000000ffff	/* 18: user data */
	.quad	0x00affb000000ffff	/* 20: user code, 64-bit */
gdt_tss:
	.quad	0x0000890000000067	/* 28: TSS, available, base set above */
	.quad	0
gdt_pointer:
	.word	. - gdt - 1
	.quad	gdt
idt_pointer:
	.word	32 * 16 - 1
	.quad	idt
system_calls:
	.quad	kernel_nothing, kernel_drop_pages, become_guest, kernel_nothing
empty:	.byte	0

	.section .bss
	.balign 4096
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	4096
pd_fresh: .skip	4096
	.globl	pt_fresh
pt_fresh: .skip	4096
pt:	.skip	MAPPED_MB / 2 * 4096
idt:	.skip	32 * 16
tss:	.skip	104
user_rsp: .skip	8
	.balign 16
	.skip	16384
boot_stack_top:
	.skip	65536
user_stack_top:

	.section .note.GNU-stack, "", @progbits

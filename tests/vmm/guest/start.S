/*
 * From 0:7C00H in real mode to long mode with the first 4 GiB mapped where they are, as SDM vol. 3, "Initializing IA-32e Mode", has it;
 * then main(). What main() returns is ignored: the machine is powered off by the ACPI port.
 *
 * Below the image: 1000H PML4 table, 2000H page-directory-pointer table, 3000H to 6FFFH page directories.
 */
	.code16
	.section .start, "ax"
	.globl start
start:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp

	movl $0x2003, 0x1000
	movl $0x3003, 0x2000
	movl $0x4003, 0x2008
	movl $0x5003, 0x2010
	movl $0x6003, 0x2018
	movw $0x3000, %di
	movl $0x83, %eax	/* 2 MiB, present, writable */
	movw $4 * 512, %cx
1:	movl %eax, (%di)
	addl $0x200000, %eax
	addw $8, %di
	loop 1b

	lgdt gdt_pointer
	movl %cr4, %eax
	orl $0x620, %eax	/* PAE, OSFXSR, OSXMMEXCPT */
	movl %eax, %cr4
	movl $0x1000, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx	/* IA32_EFER */
	rdmsr
	orl $0x101, %eax	/* SCE, LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000003, %eax	/* PG, MP, PE */
	andl $~4, %eax		/* EM */
	movl %eax, %cr0
	ljmpl $8, $long_mode

	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl $stack_top, %esp
	movl $0x28, %eax
	ltr %ax
	call main
power_off:
	movw $0x604, %dx	/* PM1a control: SLP_TYP 5, SLP_EN */
	movw $0x3400, %ax
	outw %ax, %dx
	hlt
	jmp power_off

	.globl gdt, tss
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 8: code, ring 0, 64 bits */
	.quad 0x00cf93000000ffff	/* 16: data, ring 0 */
	.quad 0x00affb000000ffff	/* 24: code, ring 3 */
	.quad 0x00cff3000000ffff	/* 32: data, ring 3 */
	.word 0x67, tss			/* 40: TSS, below 64 KiB */
	.long 0x00008900, 0, 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
	.balign 8
tss:	.long 0
	.quad trap_stack_top		/* RSP0 */
	.skip 24
	.quad trap_stack_top		/* IST1 */
	.skip 60

	.bss
	.balign 16
	.skip 16384
	.globl stack_top, trap_stack_top
stack_top:
	.skip 4096
trap_stack_top:

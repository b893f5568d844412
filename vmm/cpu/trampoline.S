/*
 * Where other processors start: real mode, CS:IP = page:0. This is copied to a page below 1 MiB, and goes to long mode in
 * one step: SDM vol. 3, "Initializing IA-32e Mode" with paging and protection switched on together. It uses the tables of
 * boot/start.S, and has no address of its own.
 */
#define CODE64 8
#define DATA 16
#define CR0_PG_WP_NE_PE 0x80010021
#define CR4_PAE 0x20
#define IA32_EFER 0xc0000080
#define EFER_LME 0x100

	.text
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_map, %eax
	movl %eax, %cr3
	movl $IA32_EFER, %ecx
	xorl %edx, %edx
	movl $EFER_LME, %eax
	wrmsr
	lgdtl gdt_pointer - trampoline
	movl $CR0_PG_WP_NE_PE, %eax
	movl %eax, %cr0
	ljmpl $CODE64, $started
	.balign 4
gdt_pointer: /* of boot/start.S */
	.short 3 * 8 - 1
	.long boot_gdt
trampoline_end:

	.code64
started:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %ebp, %ebp
	movq start_stack, %rsp
	call cpu_started

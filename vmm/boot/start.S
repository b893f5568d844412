/*
 * From the boot loader to main(): Multiboot headers, page tables, long mode.
 *
 * Multiboot Specification 0.6.96 and Multiboot2 Specification 2.0, "OS image format" and "Machine state": 32-bit protected
 * mode without paging, EAX tells the protocol and EBX points to the information. SDM vol. 3, "Initializing IA-32e Mode" is
 * the rest.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 3 /* modules on page boundaries; memory map wanted */
#define MULTIBOOT2_MAGIC 0xe85250d6
#define MULTIBOOT2_LENGTH (multiboot2_end - multiboot2)

#define CODE64 8
#define DATA 16

#define PAGE_TABLE 3	 /* present, writable */
#define PAGE_2M 0x83	 /* and a page, not a table */
#define CR0_PG_WP_NE 0x80010020
#define CR4_PAE 0x20
#define IA32_EFER 0xc0000080
#define EFER_LME 0x100
#define COM1 0x3f8
#define LSR_THRE 0x20

	.section .multiboot, "a"
	.balign 8
	.long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
	.balign 8
multiboot2:
	.long MULTIBOOT2_MAGIC, 0, MULTIBOOT2_LENGTH, -(MULTIBOOT2_MAGIC + MULTIBOOT2_LENGTH)
	.short 6, 0 /* modules on page boundaries */
	.long 8
	.short 0, 0 /* end */
	.long 8
multiboot2_end:

	.bss
	.balign 4096
	/* The first 4 GiB where they are, in pages of 2 MiB; boot/paging.c adds what RAM lies beyond. */
	.globl page_map, page_pointers, page_directories
page_map:
	.skip 4096
page_pointers:
	.skip 4096
page_directories:
	.skip 4 * 4096
	.globl boot_stack_top
	.skip 16384 /* CPU_STACK */
boot_stack_top:

	.text
	.code32
	.globl start
start:
	cli
	cld
	movl $boot_stack_top, %esp
	pushl $0 /* the upper half of each argument of main() */
	pushl %ebx
	pushl $0
	pushl %eax

	movl $0x80000000, %eax
	cpuid
	cmpl $0x80000001, %eax
	jb no_long_mode
	movl $0x80000001, %eax
	cpuid
	testl $1 << 29, %edx
	jz no_long_mode

	movl $page_pointers + PAGE_TABLE, page_map
	movl $page_directories + PAGE_TABLE, %eax
	movl $page_pointers, %edi
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	cmpl $page_pointers + 4 * 8, %edi
	jb 1b
	movl $PAGE_2M, %eax
	movl $page_directories, %edi
1:	movl %eax, (%edi)
	addl $8, %edi
	addl $0x200000, %eax
	jnc 1b /* until 4 GiB */

	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_map, %eax
	movl %eax, %cr3
	movl $IA32_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG_WP_NE, %eax
	movl %eax, %cr0
	lgdt boot_gdt_pointer
	ljmp $CODE64, $long_mode

no_long_mode:
	movl $no_long_mode_text, %esi
1:	movl $COM1 + 5, %edx
2:	inb %dx, %al
	testb $LSR_THRE, %al
	jz 2b
	lodsb
	movl $COM1, %edx
	outb %al, %dx
	cmpb $'\n', %al
	jne 1b
2:	hlt
	jmp 2b

	.code64
long_mode:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	popq %rdi
	popq %rsi
	xorl %ebp, %ebp
	call main
1:	hlt
	jmp 1b

	.section .rodata
	.balign 8
	.globl boot_gdt
boot_gdt:
	.quad 0, 0x00209b0000000000, 0x00cf93000000ffff
boot_gdt_pointer:
	.short . - boot_gdt - 1
	.long boot_gdt
no_long_mode_text:
	.ascii "vmm: this CPU has no 64-bit mode\r\n"

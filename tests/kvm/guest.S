/*
 * Guest code that has to be assembly: real and 32-bit mode, changes of mode, the stubs of the trap handlers, and code of
 * which the program outside must know each instruction's address. The rest of the guest is the GUEST functions in C.
 */
#include "layout.h"

/* An address in the real-mode code, which is linked here and runs at REAL_CODE. */
#define R(label) ((label) - real16 + REAL_CODE)
#define S(label) ((label) - sipi16 + SIPI_CODE)

	.macro object name
	.globl \name
\name:
	.endm

/* ---- real mode ---- */

	.text
	.code16
object real16
object real16_main
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw $PORT, %dx
	movb $0x55, %al
	outb %al, %dx
	inw %dx, %ax
	incw %ax
	outw %ax, %dx
	cld
	movw $R(text16), %si /* string output, and input that is sent back as a sum */
	movw $10, %cx
	rep outsb
	movw $DATA, %di
	movw $4, %cx
	rep insw
	movw $DATA, %si
	movw $4, %cx
	xorw %bx, %bx
1:	lodsw
	addw %ax, %bx
	loop 1b
	movw %bx, %ax
	outw %ax, %dx
	movw $0xa000, %ax /* no memory there */
	movw %ax, %es
	movb %es:0x10, %al
	incb %al
	movb %al, %es:0x21
	movw $5, %ax /* through the interrupt vector table, a call, and the flags on the stack */
	int $0x21
	call double16
	stc
	pushf
	popw %bx
	andw $1, %bx
	addw %bx, %ax
	outw %ax, %dx
	xorw %cx, %cx
	divw %cx /* #DE; its handler skips it and makes CX 1 */
	movw %cx, %ax
	outw %ax, %dx
	movl $LEAF, %eax
	cpuid
	movw $PORT, %dx
	outl %eax, %dx
	xorw %ax, %ax /* addresses wrap at 64 KiB: a write to FFFF:0010 would be at 1 MiB, and A20 lets it */
	decw %ax
	movw %ax, %es
	movw $0x1234, %es:0x10
	movw %es:0x10, %ax
	outw %ax, %dx
	sti
1:	hlt
	jmp 1b

double16:
	addw %ax, %ax
	ret

	/* Handlers; the program outside writes their addresses into the vector table. */
object real16_int21
	addw $16, %ax
	iret
object real16_de
	pushw %bp
	movw %sp, %bp
	addw $2, 2(%bp)
	popw %bp
	movw $1, %cx
	iret
object real16_irq
	pushw %ax
	movw $0x1133, %ax
	outw %ax, $PORT
	popw %ax
	iret

object real16_step
	nop
object real16_step1
	movw $7, %ax
object real16_step2
	cpuid
object real16_step3
	hlt

text16:
	.ascii "real mode\n"

/* ---- real mode, up to 64-bit mode and back, all by the guest itself; one character on each level ---- */

object real16_climb
	cli
	movb $'r', %al
	outb %al, $PORT
	lgdtl R(gdtr16)
	lidtl R(idtr16)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CODE32, $climb32
	.balign 4
gdtr16:
	.word 0x7f
	.long GDT
idtr16:
	.word 0xfff
	.long IDT
ivt16:
	.word 0x3ff
	.long 0
descend16:
	movw $DATA_SEG, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl %cr0, %eax
	andb $0xfe, %al
	movl %eax, %cr0
	ljmpw $0, $R(back16)
back16:
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7000, %sp
	lidtl R(ivt16)
	movb $'R', %al
	outb %al, $PORT
	movw $1, %ax
	int $0x21
	outb %al, $PORT
	hlt
object real16_end

	/* A second vCPU's first code: straight to 64-bit mode. */
object sipi16
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl S(sipi_gdtr)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CODE32, $sipi32
	.balign 4
sipi_gdtr:
	.word 0x7f
	.long GDT
object sipi16_end

	.code32
	.macro segments32
	movw $DATA_SEG, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	.endm
	.macro long_mode32
	movl %cr4, %eax
	orl $0x20, %eax /* PAE */
	movl %eax, %cr4
	movl $PML4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx /* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	.endm

climb32:
	segments32
	movl $STACK_TOP, %esp
	movb $'p', %al
	outb %al, $PORT
	movl $PD, %eax /* first 32-bit paging, and off again */
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x10, %eax /* PSE */
	movl %eax, %cr4
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	movb $'g', %al
	outb %al, $PORT
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	long_mode32
	movb $'c', %al /* compatibility mode */
	outb %al, $PORT
	ljmpl $CODE64, $climb64
descend32:
	movb $'C', %al
	outb %al, $PORT
	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	movl $0xc0000080, %ecx
	rdmsr
	andl $~0x100, %eax
	wrmsr
	movb $'P', %al
	outb %al, $PORT
	ljmpl $CODE16, $R(descend16)

sipi32:
	segments32
	long_mode32
	ljmpl $CODE64, $sipi64

/* ---- 32-bit protected mode: without paging, with 32-bit paging, with PAE ---- */

object guest32
	movl $PORT, %edx
	movl $0x12345678, %eax
	outb %al, %dx
	outw %ax, %dx
	outl %eax, %dx
	inl %dx, %eax
	notl %eax
	outl %eax, %dx
	cld
	movl $text32, %esi
	movl $12, %ecx
	rep outsb
	movl $DATA, %edi
	movl $5, %ecx
	rep insl
	xorl %ebx, %ebx
	movl $5, %ecx
1:	addl DATA-4(,%ecx,4), %ebx
	loop 1b
	movl %ebx, %eax
	outl %eax, %dx

	movl $MMIO, %ebx
	movl $0xcafe1234, (%ebx)
	movzwl 4(%ebx), %eax
	outl %eax, %dx
	movb %al, 8(%ebx)
	addl %eax, 12(%ebx) /* reads, then writes */
	leal 0x10(%ebx), %edi
	movl $0x01020304, %eax
	movl $3, %ecx
	rep stosl
	movl $DATA, %edi /* from MMIO to memory */
	leal 0x40(%ebx), %esi
	movl $2, %ecx
	rep movsl
	movl DATA, %eax
	xorl DATA+4, %eax
	outl %eax, %dx

	movl $LEAF, %eax
	cpuid
	movl $PORT, %edx
	outl %eax, %dx
	movl $0x176, %ecx /* IA32_SYSENTER_EIP, an MSR of the VMCS; it comes back with 1 added */
	rdmsr
	incl %eax
	wrmsr
	movl $0x277, %ecx /* IA32_PAT: EDX and EAX swapped */
	rdmsr
	xchgl %eax, %edx
	wrmsr
	movl %eax, %esi
	movl $PORT, %edx
	outl %eax, %dx

	/* Exceptions; the handler counts them and skips 2 bytes. */
	ud2
	xorl %ecx, %ecx
	divl %ecx
	movl $0x12345, %ecx /* no MSR */
	rdmsr
	int $0x40
	movl %cr0, %eax
	testl %eax, %eax
	jns 1f
	movl $HOLE + 0x123, %eax
	movb (%eax), %al
	movb %al, (%eax)
1:	hlt
	jmp 1b

object text32
	.ascii "thirty-two!\n"

trap32_common: /* on the stack: vector, error code, EIP, CS, EFLAGS */
	pushl %eax
	pushl %ecx
	movl 8(%esp), %eax
	incl trap_count(,%eax,4)
	movl %eax, trap_vector
	movl 12(%esp), %ecx
	movl %ecx, trap_error
	cmpl $14, %eax
	jne 1f
	movl %cr2, %ecx
	movl %ecx, trap_cr2
1:	cmpl $32, %eax
	jae 1f
	addl $2, 16(%esp)
1:	popl %ecx
	popl %eax
	addl $8, %esp
	iret

	/* 16 bytes for each vector; those that the processor gives an error code push none. */
	.macro stubs common
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	push $0
	.endif
	push $vector
	jmp \common
	.set vector, vector + 1
	.endr
	.endm

	.balign 16
object trap32_table
	stubs trap32_common

/* ---- 64-bit mode ---- */

	.code64
	.balign 16
object trap64_table
	stubs trap64_common
trap64_common:
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
	movq %rsp, %rdi
	cld
	call guest_trap
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

climb64:
	movb $'l', %al
	outb %al, $PORT
	movabsq $0x123456789abcdef0, %rax /* 64-bit registers work: the top byte */
	rolq $8, %rax
	outb %al, $PORT
	int $0x40
	ljmpl *descend_pointer
descend_pointer:
	.long descend32
	.word CODE32

sipi64:
	movl $STACK_TOP + STACK_SIZE - 8, %esp
	call guest_second
1:	hlt
	jmp 1b

	/* Single steps. Where each must stop is in step64_stops, a list that 0 ends. */
	.macro stop
	.pushsection .rodata
	.quad 1f
	.popsection
1:
	.endm
	.pushsection .rodata
	.balign 8
object step64_stops
	.popsection
object step64
	nop
	stop
	movl $1, %eax
	stop
	cpuid
	stop
	addl $1, %ecx
	stop
	pushfq
	stop
	popq %rax
	stop
	movq %cr3, %rax
	stop
	movq %rax, %cr3
	stop
	jmp 2f
	nop
2:
	stop
	hlt
	.pushsection .rodata
	.quad 0
	.popsection

object breakpoint64
	nop
	movl $5, watched(%rip)
object breakpoint64_watch
	nop
object breakpoint64_int3
	nop
	hlt

object spin64
	incq %rax
	jmp spin64

	/* Ring 3: says so, faults on a privileged instruction, calls the kernel twice. */
object user64
	movq %cs, %rax
	movq %rax, %rdi
	syscall
	hlt /* #GP; 1 byte and a nop */
	nop
	movq $HOLE + 0x456, %rax
	movb (%rax), %al
	int $0x41
	movq $0x5ca1ab1e, %rdi
	syscall
1:	jmp 1b
object syscall64
	movq %rcx, %rbx
	movq %r11, %rbp
	movq %rdi, %rax
	outl %eax, $PORT
	movq %rbx, %rcx
	movq %rbp, %r11
	sysretq

	/* Adds what the program outside left in XMM0 and ST0, after turning SSE on. */
object fpu64
	movq %cr4, %rax
	orq $0x600, %rax
	movq %rax, %cr4
	addpd %xmm1, %xmm0
	movaps %xmm0, %xmm9
	fld1
	faddp
	hlt

	/* Nowhere to deliver this. */
object fault64
	subq $16, %rsp
	movw $0, (%rsp)
	movq $0, 2(%rsp)
	lidt (%rsp)
	ud2

	/*
	 * A guest that is a hypervisor itself (nested.c). vmx_run64(resume) enters its guest; 0 when that has exited, the flags
	 * when the entry failed.
	 */
object vmx_run64
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movl $0x6c14, %eax /* HOST_RSP */
	vmwrite %rsp, %rax
	movl $0x6c16, %eax /* HOST_RIP */
	leaq 1f(%rip), %rdx
	vmwrite %rdx, %rax
	testq %rdi, %rdi
	movq l2_rax(%rip), %rax
	jnz 2f
	vmlaunch
	jmp 3f
2:	vmresume
3:	pushfq
	popq %rax
	jmp 4f
1:	movq %rax, l2_rax(%rip)
	xorl %eax, %eax
4:	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	/* The guest's guest: what nested.c expects, in this order. */
object l2_64
	movl $LEAF, %eax
	cpuid
	movl $0x1234, %eax
	vmcall
	int $0x42
	outl %eax, $PORT
	movq $HOLE + 0x789, %rcx
	movb (%rcx), %cl
	movl $0xc0000102, %ecx
	rdmsr
	movl %eax, %eax
	vmcall
	movq $DIRTY_BASE + 0x234, %rcx
	movb (%rcx), %cl
	hlt
	ud2

	.section .note.GNU-stack, "", @progbits

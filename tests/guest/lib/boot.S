/*
 * Multiboot entry, the way into an experiment's context and the way back.
 *
 * guest_enter loads the context in guest (struct ctx, by word number below) and starts it by IRET; trap_common stores the
 * interrupted state there and returns from guest_enter. Everything is popped from the interrupted stack before that stack
 * is left, because its segment may be a 16-bit or an expand-down one.
 */
#include "selectors.h"

#ifdef __x86_64__
#define W 8
#else
#define W 4
#endif
#define AX guest+0*W
#define BX guest+1*W
#define CX guest+2*W
#define DX guest+3*W
#define SI guest+4*W
#define DI guest+5*W
#define BP guest+6*W
#define SP guest+7*W
#define IP guest+8*W
#define CS guest+9*W
#define FLAGS guest+10*W
#define SS guest+11*W
#define DS guest+12*W
#define ES guest+13*W
#define FS guest+14*W
#define GS guest+15*W
#define VECTOR guest+16*W
#define ERROR guest+17*W
#define CR2 guest+18*W
#define DR6 guest+19*W
#define R8 guest+21*W

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 2 /* memory information wanted */

	.section .multiboot, "a"
	.align 4
	.long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.bss
	.align 16
	.globl ring0_stack_top, ring3_stack_top, trap_stack_top, double_fault_stack_top
	.skip 0x8000
kernel_stack_top:
	.skip 0x2000
ring0_stack_top:
	.skip 0x2000
ring3_stack_top:
	.skip 0x1000
trap_stack_top:
	.skip 0x1000
double_fault_stack_top:
	.globl in_guest, multiboot_info
kernel_sp:
	.skip W
in_guest:
	.skip W
multiboot_info:
	.skip W
	.balign 32
	.globl guest
guest:
	.skip 32*W

	.text
	.code32
	.globl entry
entry:
	cli
	cld
	movl %ebx, multiboot_info
	lgdt gdt_pointer
	ljmp $SEL_CODE0_32, $1f
1:	movl $SEL_DATA0, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl %eax, %ss
	movl $kernel_stack_top, %esp
	pushl $2
	popfl
#ifdef __x86_64__
	/* SDM vol. 3, "Initializing IA-32e Mode". */
	movl $pdpt + 7, pml4
	movl $page_dirs + 7, %eax
	movl $pdpt, %edi
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 1b
	movl $0x87, %eax
	movl $page_dirs, %edi
	movl $2048, %ecx
1:	movl %eax, (%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 1b
	movl $0x11, %eax
	movl %eax, %cr0
	movl $0x20, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	xorl %edx, %edx
	movl $0x100, %eax
	wrmsr
	movl $0x80010031, %eax
	movl %eax, %cr0
	ljmp $SEL_CODE0, $1f
	.code64
1:
#else
	movl $0x31, %eax
	movl %eax, %cr0
	xorl %eax, %eax
	movl %eax, %cr4
#endif
	call runtime_main
1:	cli
	hlt
	jmp 1b

#ifdef __x86_64__

	.globl guest_enter
guest_enter:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, kernel_sp
	movb $1, in_guest
	pushq SS
	pushq SP
	pushq FLAGS
	pushq CS
	pushq IP
	movl DS, %eax
	movl %eax, %ds
	movl ES, %eax
	movl %eax, %es
	movl FS, %eax
	movl %eax, %fs
	movl GS, %eax
	movl %eax, %gs
	movq AX, %rax
	movq BX, %rbx
	movq CX, %rcx
	movq DX, %rdx
	movq SI, %rsi
	movq DI, %rdi
	movq BP, %rbp
	movq R8+0*W, %r8
	movq R8+1*W, %r9
	movq R8+2*W, %r10
	movq R8+3*W, %r11
	movq R8+4*W, %r12
	movq R8+5*W, %r13
	movq R8+6*W, %r14
	movq R8+7*W, %r15
	iretq

trap_common:
	movq %rax, AX
	movq %rbx, BX
	movq %rcx, CX
	movq %rdx, DX
	movq %rsi, SI
	movq %rdi, DI
	movq %rbp, BP
	movq %r8, R8+0*W
	movq %r9, R8+1*W
	movq %r10, R8+2*W
	movq %r11, R8+3*W
	movq %r12, R8+4*W
	movq %r13, R8+5*W
	movq %r14, R8+6*W
	movq %r15, R8+7*W
	popq VECTOR
	popq ERROR
	popq IP
	popq CS
	popq FLAGS
	popq SP
	popq SS
	movl %ds, %eax
	movq %rax, DS
	movl %es, %eax
	movq %rax, ES
	movl %fs, %eax
	movq %rax, FS
	movl %gs, %eax
	movq %rax, GS
	movq %cr2, %rax
	movq %rax, CR2
	movq %dr6, %rax
	movq %rax, DR6
	movl $SEL_DATA0, %eax
	movl %eax, %ss
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	cld
	cmpb $0, in_guest
	movb $0, in_guest
	jne 1f
	movq $kernel_stack_top, %rsp
	call unexpected
1:	movq kernel_sp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret

#else

	.globl guest_enter
guest_enter:
	pushl %ebp
	pushl %ebx
	pushl %esi
	pushl %edi
	movl %esp, kernel_sp
	movb $1, in_guest
	testl $0x20000, FLAGS
	jnz 1f
	testb $3, CS
	jnz 2f
	movl SS, %eax
	movl %eax, %ss
	movl SP, %esp
	jmp 3f
1:	pushl GS
	pushl FS
	pushl DS
	pushl ES
2:	pushl SS
	pushl SP
3:	pushl FLAGS
	pushl CS
	pushl IP
	testl $0x20000, FLAGS
	jnz 4f
	movl ES, %eax
	movl %eax, %es
	movl FS, %eax
	movl %eax, %fs
	movl GS, %eax
	movl %eax, %gs
4:	movl BX, %ebx
	movl CX, %ecx
	movl DX, %edx
	movl SI, %esi
	movl DI, %edi
	movl BP, %ebp
	pushl AX
	pushl DS
	testl $0x20000, FLAGS
	jnz 5f
	popl %ds
	popl %eax
	iretl
5:	popl %eax
	popl %eax
	iretl

trap_common:
	pushl %ds
	pushl %eax
	movl $SEL_DATA0, %eax
	movl %eax, %ds
	popl AX
	popl DS
	popl VECTOR
	popl ERROR
	popl IP
	popl CS
	popl FLAGS
	movl %ebx, BX
	movl %ecx, CX
	movl %edx, DX
	movl %esi, SI
	movl %edi, DI
	movl %ebp, BP
	movl %es, %eax
	movl %eax, ES
	movl %fs, %eax
	movl %eax, FS
	movl %gs, %eax
	movl %eax, GS
	testl $0x20000, FLAGS
	jnz 1f
	testb $3, CS
	jnz 2f
	movl %esp, SP
	movl %ss, %eax
	movl %eax, SS
	jmp 3f
1:	popl SP
	popl SS
	popl ES
	popl DS
	popl FS
	popl GS
	jmp 3f
2:	popl SP
	popl SS
3:	movl %cr2, %eax
	movl %eax, CR2
	movl %dr6, %eax
	movl %eax, DR6
	.globl leave_guest
leave_guest:
	movl $SEL_DATA0, %eax
	movl %eax, %ss
	movl $kernel_stack_top, %esp
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	cld
	cmpb $0, in_guest
	movb $0, in_guest
	jne 1f
	call unexpected
1:	movl kernel_sp, %esp
	popl %edi
	popl %esi
	popl %ebx
	popl %ebp
	ret

	/* The double-fault task: its own stack and TSS, so it works whatever the stack is that broke. */
	.globl double_fault_entry
double_fault_entry:
	popl ERROR
	call double_fault_copy
	clts
	pushl $2
	popfl
	jmp leave_guest

#endif

	/*
	 * Where a second processor starts, copied to 0x8000: flat 32-bit protected mode, then ap_entry with CR0 and EDX as they
	 * were at the start in EBX and ESI, and a stack.
	 */
	.code16
	.globl ap_start, ap_start_end, ap_entry, ap_count
ap_start:
	cli
	movl %cr0, %ebx
	movl %edx, %esi
	lgdtl %cs:ap_gdt_pointer - ap_start
	movl $0x11, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE0_32, $ap_protected
ap_gdt_pointer:
	.word GDT_ENTRIES * 8 - 1
	.long gdt
ap_start_end:
	.code32
ap_protected:
	movl $SEL_DATA0, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $ap_stack_top, %esp
	lock incl ap_count
	jmp *ap_entry
	.bss
	.balign 16
	.skip 1024
ap_stack_top:
ap_entry:
	.skip 4
ap_count:
	.skip 4
	.text

	/* One stub of 16 bytes per vector. */
#ifdef __x86_64__
	.code64
#endif
	.globl trap_stubs
	.balign 16
trap_stubs:
	.set n, 0
	.rept 256
	.balign 16
	.if !(n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21)
	push $0
	.endif
	.byte 0x68
	.long n
	jmp trap_common
	.set n, n + 1
	.endr

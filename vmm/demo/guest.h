/*
 * What the guests of demonstrations share: their code, which is written beside the VMM's half of the demonstration, and
 * their memory.
 *
 * A guest is 32-bit code in flat segments with paging off, started at GUEST_CODE, which every CPU with EPT can run. It
 * ends with VMCALL, EAX = 0.
 */
#ifndef VMM_DEMO_GUEST_H
#define VMM_DEMO_GUEST_H

#include "demo/demo.h"

/* Guest-physical addresses; numbers in the guests' code are these. */
#define GUEST_GDT      0x1000
#define GUEST_IDT      0x2000
#define GUEST_PAGE_DIR 0x3000
#define GUEST_PAGES    0x4000 /* the page table of the first 4 MiB */
#define GUEST_LOG      0x8000 /* 32-bit words that guest and VMM share */
#define GUEST_CODE     0x10000
#define GUEST_STACK    0x80000 /* its end */
#define GUEST_MEMORY   0x400000

/* Code of a guest as bytes of the VMM's image, name to name_end. Instructions end with semicolons. Its labels are in C as arrays
   of uint8_t. */
#define GUEST_BITS(bits, name, ...) GUEST_TEXT(bits, name, #__VA_ARGS__)
#define GUEST_TEXT(bits, name, text)                                                                                   \
	extern const uint8_t name[], name##_end[];                                                                     \
	__asm__(".pushsection .rodata\n.balign 16\n.code" #bits "\n" #name ":\n" text "\n" #name "_end:\n.code64\n.popsection")
#define GUEST(name, ...) GUEST_BITS(32, name, __VA_ARGS__)

/* Turns paging on, with the tables that guest_paging() made. */
#define PAGING_ON                                                                                                      \
	mov $(GUEST_PAGE_DIR), %eax;                                                                                    \
	mov %eax, %cr3;                                                                                                \
	mov %cr0, %eax;                                                                                                \
	or $0x80010000, %eax; /* PG, WP */                                                                             \
	mov %eax, %cr0

/* Puts a guest into its VM: code, GDT, IDT, stack, and the vCPU at its first instruction. */
void guest_load(struct vm *vm, const uint8_t *code, const uint8_t *end);

/* handler: a label in code. */
void guest_gate(struct vm *vm, unsigned vector, const uint8_t *code, const uint8_t *handler);

/* 32-bit page tables that map the first 4 MiB to themselves, in pages of 4 KiB; the guest turns paging on with PAGING_ON. */
void guest_paging(struct vm *vm);

static inline volatile uint32_t *guest_word(struct vm *vm, gpa_t gpa) { return (volatile uint32_t *)(vm->memory + gpa); }
static inline uint32_t guest_log(struct vm *vm, unsigned n) { return guest_word(vm, GUEST_LOG)[n]; }

/* How often the guest has exited, without the interrupts of the machine that came meanwhile. */
static inline uint64_t guest_exits(const struct vm *vm)
{
	const struct vcpu *vcpu = vm->vcpus[0];

	return vcpu->entries - vcpu->exits[EXIT_EXTERNAL_INTERRUPT].count;
}

/* Judges: what is found is what is expected, else says so. */
MUST_CHECK bool demo_same(const char *what, uint64_t found, uint64_t expected);

#endif

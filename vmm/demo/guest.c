/*
 * Putting the guest of a demonstration into its VM: SDM vol. 3, "Segment Descriptors", "IDT Descriptors", "32-Bit
 * Paging".
 */
#include "demo/guest.h"
#include "guest/load.h"
#include "lib/print.h"
#include "lib/string.h"

/* The selectors with which vcpu_start_protected() starts a guest. */
enum { GUEST_CS = 0x10 };

enum { PTE_P = 1 << 0, PTE_W = 1 << 1 };

void guest_load(struct vm *vm, const uint8_t *code, const uint8_t *end)
{
	static const uint64_t gdt[] = {0, 0, 0x00cf9b000000ffff /* CS */, 0x00cf93000000ffff /* DS */};

	memcpy(vm->memory + GUEST_CODE, code, (size_t)(end - code));
	memcpy(vm->memory + GUEST_GDT, gdt, sizeof(gdt));
	vcpu_start_protected(vm->vcpus[0], GUEST_CODE, 0);
	vmwrite(VMCS_GUEST_RSP, GUEST_STACK);
	vmwrite(VMCS_GUEST_GDTR_BASE, GUEST_GDT);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, sizeof(gdt) - 1);
	vmwrite(VMCS_GUEST_IDTR_BASE, GUEST_IDT);
	vmwrite(VMCS_GUEST_IDTR_LIMIT, 256 * 8 - 1);
}

void guest_gate(struct vm *vm, unsigned vector, const uint8_t *code, const uint8_t *handler)
{
	uint32_t offset = GUEST_CODE + (uint32_t)(handler - code);
	volatile uint32_t *gate = guest_word(vm, GUEST_IDT + vector * 8);

	gate[0] = GUEST_CS << 16 | (offset & 0xffff);
	gate[1] = (offset & 0xffff0000) | 0x8e00; /* present, DPL 0, 32-bit interrupt gate */
}

void guest_paging(struct vm *vm)
{
	volatile uint32_t *pages = guest_word(vm, GUEST_PAGES);

	guest_word(vm, GUEST_PAGE_DIR)[0] = GUEST_PAGES | PTE_P | PTE_W;
	for (uint32_t n = 0; n < 1024; n++)
		pages[n] = n << 12 | PTE_P | PTE_W;
}

bool demo_same(const char *what, uint64_t found, uint64_t expected)
{
	if (found != expected)
		print("  wrong: %s is %lxH, expected %lxH\n", what, found, expected);
	return found == expected;
}

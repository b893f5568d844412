/*
 * Memory slots: many of them, moved, deleted, read-only; and the log of pages that the guest has written.
 */
#include <string.h>

#include "guest.h"
#include "kvm.h"

enum { PAGE = 0x1000, PAGES = 1024, SLOTS = 48, STRIDE = 0x40000 };

static const uint16_t dirty_pages[] = {0, 1, 63, 64, 100, 511, 512, 700, 1023};

static GUEST void write_page(uint32_t page)
{
	*(volatile uint32_t *)(uintptr_t)(DIRTY_BASE + page * PAGE + 8) = page;
}

static GUEST void read_all(void)
{
	for (uint32_t n = 0; n < PAGES; n++)
		(void)*(volatile uint32_t *)(uintptr_t)(DIRTY_BASE + n * PAGE);
}

static GUEST void guest_dirty(void)
{
	/* KVM may count a page as written when it maps it: so all are mapped first, below page tables whose D bits are
	 * set. */
	write_page(0);
	write_page(PAGES / 2);
	read_all();
	out(1);
	for (unsigned n = 0; n < sizeof(dirty_pages) / sizeof(dirty_pages[0]); n++)
		write_page(dirty_pages[n]);
	out(2);
	read_all();
	out(3);
	write_page(64);
	out(4);
	for (uint32_t n = 0; n < PAGES; n++)
		write_page(n);
	out(5);
}

/* Reads and clears the log; says in how many pages it differs from what the guest wrote. */
static unsigned log_differs(struct vm *vm, int slot, const unsigned char *expected)
{
	uint64_t bitmap[PAGES / 64];
	struct kvm_dirty_log log = {.slot = (uint32_t)slot, .dirty_bitmap = bitmap};
	unsigned wrong = 0;

	KVM(vm->fd, KVM_GET_DIRTY_LOG, &log);
	for (int n = 0; n < PAGES; n++)
		wrong += (bitmap[n / 64] >> n % 64 & 1) != expected[n];
	return wrong;
}

void test_dirty_log(void)
{
	struct vm *vm = vm_create(0);
	struct vcpu *vcpu = vcpu_add(vm);
	unsigned char expected[PAGES] = {0};
	unsigned char *memory = fresh_memory(PAGES * PAGE);
	int slot = vm_slot(vm, -1, DIRTY_BASE, PAGES * PAGE, memory, KVM_MEM_LOG_DIRTY_PAGES);

	vcpu_start(vcpu, LONG, (uintptr_t)guest_dirty);
	same(run_to_out(vcpu, 4), 1, "the guest runs");
	log_differs(vm, slot, expected);
	same(run_to_out(vcpu, 4), 2, "pages are written");
	for (unsigned n = 0; n < sizeof(dirty_pages) / sizeof(dirty_pages[0]); n++)
		expected[dirty_pages[n]] = 1;
	same(log_differs(vm, slot, expected), 0, "pages wrong after the guest wrote some");
	same(run_to_out(vcpu, 4), 3, "pages are read");
	memset(expected, 0, sizeof(expected));
	same(log_differs(vm, slot, expected), 0, "pages wrong after the guest only read");
	same(run_to_out(vcpu, 4), 4, "one is written again");
	expected[64] = 1;
	same(log_differs(vm, slot, expected), 0, "pages wrong after the guest wrote one again");
	same(run_to_out(vcpu, 4), 5, "all are written, more than a page-modification log holds");
	memset(expected, 1, sizeof(expected));
	same(log_differs(vm, slot, expected), 0, "pages wrong after the guest wrote all");
	same(*(const uint32_t *)(memory + 1000 * PAGE + 8), 1000, "what it wrote");
}

static inline volatile uint32_t *in_slot(uint32_t n)
{
	return (volatile uint32_t *)(uintptr_t)(SLOTS_BASE + n * STRIDE);
}

static GUEST void guest_slots(void)
{
	uint32_t sum = 0;

	for (uint32_t n = 0; n < SLOTS; n++)
		sum += *in_slot(n);
	out(sum);
	out(*(volatile uint32_t *)(uintptr_t)(SLOTS_BASE + PAGE)); /* between two */
	*in_slot(7) = 77;					   /* read-only: the program outside gets the write */
	out(*in_slot(7));
	out(*in_slot(3)); /* moved */
	out(*in_slot(SLOTS));
	out(*in_slot(5)); /* deleted */
}

void test_slots(void)
{
	struct vm *vm = vm_create(0);
	struct vcpu *vcpu = vcpu_add(vm);
	unsigned char *memory = fresh_memory(SLOTS * PAGE);
	int slot[SLOTS];

	for (int n = 0; n < SLOTS; n++) {
		*(uint32_t *)(memory + n * PAGE) = 1000u + (uint32_t)n;
		slot[n] = vm_slot(vm, -1, SLOTS_BASE + (uint64_t)n * STRIDE, PAGE, memory + n * PAGE,
				  n == 7 ? KVM_MEM_READONLY : 0);
	}
	vcpu_start(vcpu, LONG, (uintptr_t)guest_slots);
	same(run_to_out(vcpu, 4), 1000 * SLOTS + SLOTS * (SLOTS - 1) / 2, "the sum of a word in each of many slots");
	run_to_mmio_read(vcpu, SLOTS_BASE + PAGE, 4, 0xabcd);
	same(run_to_out(vcpu, 4), 0xabcd, "between two slots");
	same(run_to_mmio_write(vcpu, SLOTS_BASE + 7 * STRIDE, 4), 77, "a write to a read-only slot");
	same(run_to_out(vcpu, 4), 1007, "... leaves it as it was");
	vm_slot(vm, slot[3], SLOTS_BASE + (uint64_t)SLOTS * STRIDE, PAGE, memory + 3 * PAGE, 0);
	vm_slot(vm, slot[5], SLOTS_BASE + 5ull * STRIDE, 0, memory + 5 * PAGE, 0);
	run_to_mmio_read(vcpu, SLOTS_BASE + 3 * STRIDE, 4, 33);
	same(run_to_out(vcpu, 4), 33, "where a slot was before it moved");
	same(run_to_out(vcpu, 4), 1003, "where it is now");
	run_to_mmio_read(vcpu, SLOTS_BASE + 5 * STRIDE, 4, 55);
	same(run_to_out(vcpu, 4), 55, "where a slot was deleted");
}

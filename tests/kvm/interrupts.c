/*
 * Interrupts: injected from outside, by KVM's own 8259s, I/O APIC, local APIC and 8254, NMIs and SMIs.
 */
#include <string.h>

#include "guest.h"
#include "kvm.h"

static void inject(struct vcpu *vcpu, uint32_t vector)
{
	struct kvm_interrupt interrupt = {.irq = vector};

	KVM(vcpu->fd, KVM_INTERRUPT, &interrupt);
}

enum { MANY = 50 };

static GUEST void guest_interrupts(void)
{
	uint64_t untouched = DIRTY_BASE + 0x1800;

	out(1);
	sti(); /* opens the window */
	for (uint32_t n = 0; n < 1000000 && !trap_count[0x30]; n++)
		relax();
	cli();
	out(2);
	wait_interrupt();
	out(3);
	/* Delivery pushes onto a page that KVM has not mapped yet. */
	__asm__ volatile("movq %%rsp, %%rbx; movq %0, %%rsp; sti; hlt; cli; movq %%rbx, %%rsp"
			 :
			 : "r"(untouched)
			 : "rbx", "memory");
	out(4);
	WRITE_CR(8, 5);
	WRITE_CR(8, 3); /* lower: something may be deliverable now */
	out((uint32_t)READ_CR(8));
	for (int n = 0; n < MANY; n++)
		wait_interrupt();
	out(trap_count[0x33]);
}

void test_interrupts(void)
{
	struct vm *vm = vm_create(0);
	struct vcpu *vcpu = vcpu_add(vm);

	vm_slot(vm, -1, DIRTY_BASE, 0x4000, fresh_memory(0x4000), 0);
	vcpu_start(vcpu, LONG, (uintptr_t)guest_interrupts);
	same(run_to_out(vcpu, 4), 1, "the guest runs");
	check(!vcpu->run->if_flag && !vcpu->run->ready_for_interrupt_injection,
	      "with IF clear nothing can be injected");
	vcpu->run->request_interrupt_window = 1;
	run_to(vcpu, KVM_EXIT_IRQ_WINDOW_OPEN);
	check(vcpu->run->if_flag && vcpu->run->ready_for_interrupt_injection, "STI opens the window");
	vcpu->run->request_interrupt_window = 0;
	inject(vcpu, 0x30);
	same(run_to_out(vcpu, 4), 2, "the guest goes on");
	same(trap_count[0x30], 1, "an interrupt in the window");
	run_to(vcpu, KVM_EXIT_HLT);
	inject(vcpu, 0x31);
	same(run_to_out(vcpu, 4), 3, "an interrupt ends HLT");
	same(trap_count[0x31], 1, "its handler");
	run_to(vcpu, KVM_EXIT_HLT);
	inject(vcpu, 0x32);
	same(run_to_out(vcpu, 4), 4, "an interrupt whose delivery meets a page not mapped yet");
	same(trap_count[0x32], 1, "its handler, once");
	run_to(vcpu, KVM_EXIT_SET_TPR);
	same(vcpu->run->cr8, 3, "MOV to CR8 tells who emulates the APIC that the priority has fallen");
	same(run_to_out(vcpu, 4), 3, "MOV from CR8");
	for (int n = 0; n < MANY; n++) {
		run_to(vcpu, KVM_EXIT_HLT);
		inject(vcpu, 0x33);
	}
	same(run_to_out(vcpu, 4), MANY, "many interrupts");
}

static GUEST void guest_nmi(void)
{
	hlt();
	out(99);
	sti(); /* without virtual NMIs KVM knows the end of a handler only by a window for interrupts */
	for (uint32_t n = 0; n < 1000000 && trap_count[2] < 3; n++)
		relax();
	cli();
	out(100);
	hlt();
}

void test_nmi(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)guest_nmi);
	run_to(vcpu, KVM_EXIT_HLT);
	KVM(vcpu->fd, KVM_NMI, 0);
	same(run_to_out(vcpu, 4), 1, "an NMI ends HLT, with IF clear");
	same(run_to_out(vcpu, 4), 1, "its handler goes on");
	same(run_to_out(vcpu, 4), 99, "the guest goes on");
	KVM(vcpu->fd, KVM_NMI, 0);
	same(run_to_out(vcpu, 4), 2, "an NMI amid instructions");
	KVM(vcpu->fd, KVM_NMI, 0); /* the handler says its count twice: the next NMI waits for IRET */
	same(run_to_out(vcpu, 4), 2, "another NMI waits while it is handled");
	same(run_to_out(vcpu, 4), 3, "and comes after IRET");
	same(run_to_out(vcpu, 4), 3, "... to its own handler");
	same(run_to_out(vcpu, 4), 100, "the guest goes on");
	run_to(vcpu, KVM_EXIT_HLT);
	same(trap_count[2], 3, "NMIs in all");
}

/* The master 8259 has vectors 20H to 27H; of the lines, these are not masked. */
static GUEST void pic_setup(uint8_t open)
{
	static const uint8_t words[] = {0x20, 0x04, 0x01};

	outb(0x20, 0x11);
	for (int n = 0; n < 3; n++)
		outb(0x21, words[n]);
	outb(0x21, (uint8_t)~open);
}

static inline void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uintptr_t)IOAPIC = reg;
	*(volatile uint32_t *)(uintptr_t)(IOAPIC + 0x10) = value;
}

static GUEST void ioapic_route(uint32_t pin, uint32_t entry)
{
	ioapic_write(0x11 + 2 * pin, 0);
	ioapic_write(0x10 + 2 * pin, entry);
}

static GUEST void wait_count(uint32_t vector, uint32_t count)
{
	while (trap_count[vector] < count)
		wait_interrupt();
}

enum { LEVEL = 0x8000, PERIODIC = 0x20000, DEADLINE = 0x40000, SELF = 0x40000 };

static GUEST void guest_irqchip(void)
{
	uint32_t before;

	/* The 8259 through LINT0. */
	trap_eoi = EOI_PIC;
	lapic_write(APIC_SVR, 0x1ff);
	lapic_write(APIC_LVT0, 0x700);
	pic_setup(1 << 4);
	out(1);
	wait_count(0x24, 1);
	lapic_write(APIC_LVT0, 0x10000);
	pic_setup(0);

	/* The I/O APIC: an edge, then a level that stays until we have said so. */
	trap_eoi = EOI_LAPIC;
	ioapic_route(5, 0x55);
	out(2);
	wait_count(0x55, 1);
	ioapic_route(6, 0x66 | LEVEL);
	out(3);
	wait_count(0x66, 3);
	out(4);
	before = trap_count[0x66];
	sti();
	for (int n = 0; n < 1000; n++)
		relax();
	cli();
	out(trap_count[0x66] - before);

	/* The local APIC: to itself, held back by the task priority, the timer in its modes. */
	lapic_write(APIC_ICR, 0x70 | SELF);
	wait_count(0x70, 1);
	lapic_write(APIC_TPR, 0x80);
	lapic_write(APIC_ICR, 0x71 | SELF);
	sti();
	for (int n = 0; n < 100; n++)
		relax();
	out(trap_count[0x71]);
	out(lapic_read(APIC_IRR + 0x30) >> 17 & 1);
	out((uint32_t)READ_CR(8));
	WRITE_CR(8, 0);
	for (int n = 0; n < 1000000 && !trap_count[0x71]; n++)
		relax();
	out(trap_count[0x71]);
	cli();
	lapic_write(APIC_DIVIDE, 0xb);
	lapic_write(APIC_LVT_TIMER, 0x72);
	lapic_write(APIC_INITIAL, 1000000);
	wait_count(0x72, 1);
	lapic_write(APIC_LVT_TIMER, 0x73 | PERIODIC);
	lapic_write(APIC_INITIAL, 1000000);
	wait_count(0x73, 3);
	lapic_write(APIC_INITIAL, 0);
	lapic_write(APIC_LVT_TIMER, 0x74 | DEADLINE);
	wrmsr(0x6e0, rdtsc() + 1000000);
	wait_count(0x74, 1);
	/* While it runs: a vCPU that is in the guest when its timer expires. */
	sti();
	wrmsr(0x6e0, rdtsc() + 1000000);
	while (trap_count[0x74] < 2)
		;
	cli();
	out(lapic_read(APIC_ID) >> 24);

	/* The 8254, line 0: where KVM has it, that is pin 0 of the I/O APIC. */
	ioapic_route(0, 0x52);
	outb(0x43, 0x34);
	outb(0x40, 0x00);
	outb(0x40, 0x08);
	wait_count(0x52, 3);
	out(5);
}

static void line(struct vm *vm, uint32_t number, uint32_t level)
{
	struct kvm_irq_level irq = {.irq = number, .level = level};

	KVM(vm->fd, KVM_IRQ_LINE, &irq);
}

static void pulse(struct vm *vm, uint32_t number)
{
	line(vm, number, 1);
	line(vm, number, 0);
}

void test_irqchip(void)
{
	struct vm *vm = vm_create(IRQCHIP | PIT);
	struct vcpu *vcpu = vcpu_add(vm);

	vcpu_start(vcpu, LONG, (uintptr_t)guest_irqchip);
	same(run_to_out(vcpu, 4), 1, "the guest runs");
	pulse(vm, 4);
	same(run_to_out(vcpu, 4), 2, "an interrupt from the 8259");
	pulse(vm, 5);
	same(run_to_out(vcpu, 4), 3, "an edge at the I/O APIC");
	line(vm, 6, 1);
	same(run_to_out(vcpu, 4), 4, "a level at the I/O APIC comes again after each EOI");
	line(vm, 6, 0);
	check(run_to_out(vcpu, 4) <= 1, "until the line falls");
	same(run_to_out(vcpu, 4), 0, "the task priority holds an interrupt back");
	same(run_to_out(vcpu, 4), 1, "which waits in IRR");
	same(run_to_out(vcpu, 4), 8, "CR8 is TPR");
	same(run_to_out(vcpu, 4), 1, "MOV to CR8 lets it in");
	same(run_to_out(vcpu, 4), 0, "the timer: once, periodic, by deadline; the APIC's ID");
	same(trap_count[0x72], 1, "one-shot interrupts");
	same(trap_count[0x74], 2, "deadline interrupts");
	same(run_to_out(vcpu, 4), 5, "interrupts of the 8254");
}

static GUEST void guest_x2apic(void)
{
	wrmsr(0x1b, rdmsr(0x1b) | 0x400);
	trap_eoi = EOI_X2APIC;
	wrmsr(0x80f, 0x1ff);
	out((uint32_t)rdmsr(0x802));
	wrmsr(0x83f, 0x61); /* SELF IPI */
	wait_count(0x61, 1);
	wrmsr(0x830, 0x62 | SELF);
	wait_count(0x62, 1);
	wrmsr(0x808, 0x90);
	wrmsr(0x83f, 0x63);
	sti();
	relax();
	out(trap_count[0x63]);
	out((uint32_t)READ_CR(8));
	wrmsr(0x808, 0);
	for (int n = 0; n < 1000000 && !trap_count[0x63]; n++)
		relax();
	cli();
	out(trap_count[0x63]);
	out((uint32_t)rdmsr(0x80a));
	wrmsr(0x832, 0x64 | DEADLINE);
	wrmsr(0x6e0, rdtsc() + 1000000);
	wait_count(0x64, 1);
	__asm__ volatile("wrmsr" : : "c"(0x802), "a"(5), "d"(0)); /* the ID is read-only */
	out(trap_count[13]);
}

void test_x2apic(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(IRQCHIP));

	vcpu_start(vcpu, LONG, (uintptr_t)guest_x2apic);
	same(run_to_out(vcpu, 4), 0, "the APIC's ID");
	same(run_to_out(vcpu, 4), 0, "the task priority holds an interrupt back");
	same(run_to_out(vcpu, 4), 9, "CR8 is TPR");
	same(run_to_out(vcpu, 4), 1, "a write of TPR lets it in");
	same(run_to_out(vcpu, 4), 0, "PPR");
	same(run_to_out(vcpu, 4), 1, "#GP of a write of the ID, after the timer");
	same(trap_count[0x61] + trap_count[0x62] + trap_count[0x64], 3, "interrupts to itself, and of the timer");
}

static GUEST void guest_smi(void)
{
	out(1);
	out(2);
	hlt();
}

void test_smi(void)
{
	/* mov $0x77, %al; out %al, $PORT; rsm, in the 16-bit mode that an SMI leaves the processor in */
	static const unsigned char handler[] = {0xb0, 0x77, 0xe6, PORT, 0x0f, 0xaa};
	enum { SMM_SLOT = 1 << 16 }; /* slots of the address space that SMM sees */
	struct vm *vm = vm_create(IRQCHIP);
	struct vcpu *vcpu = vcpu_add(vm);

	if (!has_extension(vm, KVM_CAP_X86_SMM)) {
		check(true, "KVM has no SMM here");
		return;
	}
	memcpy(vm->low + SMBASE + 0x8000, handler, sizeof(handler));
	vm_slot(vm, SMM_SLOT, 0, LOW_SIZE / 2, vm->low, 0);
	vcpu_start(vcpu, LONG, (uintptr_t)guest_smi);
	same(run_to_out(vcpu, 4), 1, "the guest runs");
	KVM(vcpu->fd, KVM_SMI, 0);
	same(run_to_out(vcpu, 1), 0x77, "an SMI's handler");
	check(vcpu->run->flags & KVM_RUN_X86_SMM, "in SMM");
	same(run_to_out(vcpu, 4), 2, "RSM returns to 64-bit mode");
	check(!(vcpu->run->flags & KVM_RUN_X86_SMM), "out of SMM");
}

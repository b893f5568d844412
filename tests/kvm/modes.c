/*
 * Guests in each mode: ports, strings, MMIO, CPUID, MSRs, exceptions, HLT. What unrestricted_guest=0 makes KVM emulate
 * is mostly here: real mode, and the ways from one mode to another.
 */
#include <string.h>

#include "guest.h"
#include "kvm.h"

void test_real_mode(void)
{
	static const uint16_t words[4] = {1000, 200, 30, 4};
	uint16_t word = 0x1234;
	char text[10];
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	struct kvm_interrupt interrupt = {.irq = 0x33};

	vcpu_start(vcpu, REAL, REAL_CODE);
	same(run_to_out(vcpu, 1), 0x55, "a byte to a port");
	run_to_in(vcpu, 2, &word, 1);
	same(run_to_out(vcpu, 2), 0x1235, "a word from a port, plus 1");
	run_to_outs(vcpu, 1, text, sizeof(text));
	check(!memcmp(text, "real mode\n", 10), "a string to a port");
	run_to_in(vcpu, 2, words, 4);
	same(run_to_out(vcpu, 2), 1234, "the sum of a string from a port");
	run_to_mmio_read(vcpu, 0xa0010, 1, 0x41);
	same(run_to_mmio_write(vcpu, 0xa0021, 1), 0x42, "MMIO in segment A000");
	same(run_to_out(vcpu, 2), 43, "INT through the vector table, CALL, PUSHF");
	same(run_to_out(vcpu, 2), 1, "#DE through the vector table");
	same(run_to_out(vcpu, 4), LEAF_EAX, "CPUID");
	same(run_to_out(vcpu, 2), 0x1234, "a word at FFFF:0010");
	same(*(const uint16_t *)(vcpu->vm->low + 0x100000), 0x1234, "... which is at 1 MiB");
	run_to(vcpu, KVM_EXIT_HLT);
	KVM(vcpu->fd, KVM_INTERRUPT, &interrupt);
	same(run_to_out(vcpu, 2), 0x1133, "an interrupt through the vector table");
	run_to(vcpu, KVM_EXIT_HLT);
	check(true, "HLT");
}

void test_climb(void)
{
	static const unsigned char expected[] = {'r', 'p', 'g', 'c', 'l', 0x12, 'C', 'P', 'R', 17};
	static const char *const names[] = {"real mode",
					    "protected mode",
					    "32-bit paging",
					    "compatibility mode",
					    "64-bit mode",
					    "a 64-bit register",
					    "compatibility mode, back",
					    "protected mode, back",
					    "real mode, back",
					    "an interrupt there"};
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, REAL, (uint64_t)(real16_climb - real16) + REAL_CODE);
	for (size_t n = 0; n < sizeof(expected); n++)
		same(run_to_out(vcpu, 1), expected[n], names[n]);
	run_to(vcpu, KVM_EXIT_HLT);
	same(trap_count[0x40], 1, "interrupts in 64-bit mode");
}

static void exceptions(bool paging)
{
	same(trap_count[6], 1, "#UD of UD2");
	same(trap_count[0], 1, "#DE");
	same(trap_count[13], 1, "#GP of an MSR that is not there");
	same(trap_count[0x40], 1, "INT n");
	same(trap_count[14], paging ? 2 : 0, "#PF");
	same(trap_cr2, paging ? HOLE + 0x123 : 0, "CR2");
	same(trap_error, paging ? 2 : 0, "the last error code");
}

static void protected_mode(enum mode mode)
{
	static const uint32_t longs[5] = {1, 20, 300, 4000, 50000};
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	uint32_t value = 0x0f0f0f0f;
	char text[12];

	vcpu_start(vcpu, mode, (uintptr_t)guest32);
	vcpu_set_msr(vcpu, 0x176, 0x11223344);
	vcpu_set_msr(vcpu, 0x277, 0x0007040600070406);
	same(run_to_out(vcpu, 1), 0x78, "a byte to a port");
	same(run_to_out(vcpu, 2), 0x5678, "a word to a port");
	same(run_to_out(vcpu, 4), 0x12345678, "a doubleword to a port");
	run_to_in(vcpu, 4, &value, 1);
	same(run_to_out(vcpu, 4), 0xf0f0f0f0, "a doubleword from a port");
	run_to_outs(vcpu, 1, text, sizeof(text));
	check(!memcmp(text, text32, sizeof(text)), "a string to a port");
	run_to_in(vcpu, 4, longs, 5);
	same(run_to_out(vcpu, 4), 54321, "the sum of a string from a port");
	same(run_to_mmio_write(vcpu, MMIO, 4), 0xcafe1234, "MMIO: a doubleword written");
	run_to_mmio_read(vcpu, MMIO + 4, 2, 0x8001);
	same(run_to_out(vcpu, 4), 0x8001, "MMIO: a word read");
	same(run_to_mmio_write(vcpu, MMIO + 8, 1), 0x01, "MMIO: its low byte written");
	run_to_mmio_read(vcpu, MMIO + 12, 4, 0x70000000);
	same(run_to_mmio_write(vcpu, MMIO + 12, 4), 0x70008001, "MMIO: ADD");
	for (uint32_t n = 0; n < 3; n++)
		same(run_to_mmio_write(vcpu, MMIO + 0x10 + 4 * n, 4), 0x01020304, "MMIO: REP STOS");
	run_to_mmio_read(vcpu, MMIO + 0x40, 4, 0xaaaa5555);
	run_to_mmio_read(vcpu, MMIO + 0x44, 4, 0xffffffff);
	same(run_to_out(vcpu, 4), 0x5555aaaa, "MMIO: REP MOVS to memory");
	same(run_to_out(vcpu, 4), LEAF_EAX, "CPUID");
	same(run_to_out(vcpu, 4), 0x00070406, "an MSR as the guest sees it");
	run_to(vcpu, KVM_EXIT_HLT);
	same(vcpu_msr(vcpu, 0x176), 0x11223345, "IA32_SYSENTER_EIP as the guest left it");
	exceptions(mode != PROTECTED);
}

void test_protected(void)
{
	protected_mode(PROTECTED);
}

void test_paged(void)
{
	protected_mode(PAGED);
}

void test_pae(void)
{
	protected_mode(PAE);
}

static GUEST void guest_long(void)
{
	volatile uint64_t *mmio = (volatile uint64_t *)(uintptr_t)MMIO;

	outb(PORT, 0x11);
	outw(PORT, 0x2222);
	out(inl(PORT) + 1);
	mmio[0] = 0x1122334455667788;
	out64(mmio[1]);
	*(volatile uint8_t *)&mmio[2] |= 1;
	out((uint32_t) * (volatile int8_t *)&mmio[3]);
	out(cpuid(LEAF, 0, 0));
	wrmsr(0xc0000102, rdmsr(0xc0000102) + 1); /* IA32_KERNEL_GS_BASE */
	wrmsr(0xc0000100, 0x7fff12345678);	  /* IA32_FS_BASE */
	out64(rdmsr(0xc0000100));
	__asm__ volatile("ud2; xorl %%ecx, %%ecx; divl %%ecx; int $0x40" : : "a"(0), "d"(0) : "ecx", "memory");
	__asm__ volatile("rdmsr" : : "c"(0x12345) : "eax", "edx");
	__asm__ volatile("wrmsr" : : "c"(0xc0000100), "a"(0), "d"(0x80000000)); /* not canonical */
	__asm__ volatile("movb (%%rax), %%al" : : "a"((uint64_t)HOLE + 0x123) : "memory");
	__asm__ volatile("movb %%al, (%%rax)" : : "a"((uint64_t)HOLE + 0x123) : "memory");
	out64(READ_CR(0));
	WRITE_CR(0, READ_CR(0) ^ 0x10008); /* TS and WP */
	WRITE_CR(0, READ_CR(0) ^ 0x10008);
	WRITE_CR(4, READ_CR(4) ^ 0x80); /* PGE */
	out64(READ_CR(4));
	for (int n = 0; n < 100; n++) {
		WRITE_CR(3, READ_CR(3));
		__asm__ volatile("invlpg (%0)" : : "r"(0x1234000ul) : "memory");
		relax();
	}
	__asm__ volatile("wbinvd" : : : "memory");
	hlt();
}

void test_long(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	uint32_t value = 0xfffffffe;
	uint64_t both;

	vcpu_start(vcpu, LONG, (uintptr_t)guest_long);
	vcpu_set_msr(vcpu, 0xc0000102, 0xffff800012345678);
	same(run_to_out(vcpu, 1), 0x11, "a byte to a port");
	same(run_to_out(vcpu, 2), 0x2222, "a word to a port");
	run_to_in(vcpu, 4, &value, 1);
	same(run_to_out(vcpu, 4), 0xffffffff, "a doubleword from a port, plus 1");
	same(run_to_mmio_write(vcpu, MMIO, 8), 0x1122334455667788, "MMIO: a quadword written");
	run_to_mmio_read(vcpu, MMIO + 8, 8, 0xfedcba9876543210);
	both = run_to_out(vcpu, 4);
	same(both | (uint64_t)run_to_out(vcpu, 4) << 32, 0xfedcba9876543210, "MMIO: a quadword read");
	run_to_mmio_read(vcpu, MMIO + 16, 1, 0x80);
	same(run_to_mmio_write(vcpu, MMIO + 16, 1), 0x81, "MMIO: OR");
	run_to_mmio_read(vcpu, MMIO + 24, 1, 0x80);
	same(run_to_out(vcpu, 4), 0xffffff80, "MMIO: MOVSX");
	same(run_to_out(vcpu, 4), LEAF_EAX, "CPUID");
	both = run_to_out(vcpu, 4);
	same(both | (uint64_t)run_to_out(vcpu, 4) << 32, 0x7fff12345678, "IA32_FS_BASE");
	both = run_to_out(vcpu, 4);
	same(both | (uint64_t)run_to_out(vcpu, 4) << 32, 0x80000031, "CR0");
	both = run_to_out(vcpu, 4);
	same(both | (uint64_t)run_to_out(vcpu, 4) << 32, 0xa0, "CR4");
	run_to(vcpu, KVM_EXIT_HLT);
	same(vcpu_msr(vcpu, 0xc0000102), 0xffff800012345679, "IA32_KERNEL_GS_BASE as the guest left it");
	same(trap_count[6], 1, "#UD of UD2");
	same(trap_count[0], 1, "#DE");
	same(trap_count[0x40], 1, "INT n");
	same(trap_count[13], 2, "#GP of an MSR that is not there, and of an address that is not canonical");
	same(trap_count[14], 2, "#PF");
	same(trap_cr2, HOLE + 0x123, "CR2");
}

static GUEST void guest_user(void)
{
	*(volatile uint64_t *)(uintptr_t)(TSS + 4) = STACK_TOP - 0x1000; /* RSP0 */
	wrmsr(0xc0000081, (uint64_t)(CODE64 | 3) << 48 | (uint64_t)CODE64 << 32);
	wrmsr(0xc0000082, (uintptr_t)syscall64);
	wrmsr(0xc0000084, 0x200);
	__asm__ volatile("pushq %0; pushq %1; pushq $2; pushq %2; pushq %3; iretq"
			 :
			 : "i"(USER_DATA | 3), "i"(USER_STACK), "i"(USER_CODE64 | 3), "r"(user64)
			 : "memory");
}

void test_user(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));

	vcpu_start(vcpu, LONG, (uintptr_t)guest_user);
	same(run_to_out(vcpu, 4), USER_CODE64 | 3, "SYSCALL from ring 3: its CS");
	same(run_to_out(vcpu, 4), 0x5ca1ab1e, "SYSCALL after SYSRET");
	same(trap_count[13], 1, "#GP of HLT in ring 3");
	same(trap_count[14], 1, "#PF of ring 3");
	same(trap_cr2, HOLE + 0x456, "CR2");
	same(trap_count[0x41], 1, "INT n in ring 3");
	check(trap_vector == 0x41, "and that was the last");
}

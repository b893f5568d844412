/*
 * What each processor has of its own, and how one asks another for something.
 */
#include "cpu/cpu.h"

#include "cpu/apic.h"
#include "cpu/interrupts.h"
#include "cpu/start.h"
#include "cpu/msrs.h"
#include "cpu/x86.h"

enum { FAULT_STACK = 4096 };
enum { TSS_RSP0 = 4, TSS_IST1 = 36, TSS_IO_MAP = 102 };
/* SDM vol. 3, "Segment Descriptors": 64-bit code; data; available 64-bit TSS. */
#define DESCRIPTOR_CODE UINT64_C(0x00209b0000000000)
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)
#define DESCRIPTOR_TSS UINT64_C(0x0000890000000000)
#define CPUID1_ECX_XSAVE (1u << 26)
#define CPUID1_EDX_MCE (1u << 7)

struct cpu cpus[CPUS_MAX];
unsigned cpu_count = 1;

static uint8_t fault_stacks[CPUS_MAX][FAULT_STACK] ALIGNED(16);

static void put64(uint8_t *to, uint64_t value)
{
	__builtin_memcpy(to, &value, sizeof(value));
}

/* SDM vol. 3, "Task Management in 64-bit Mode". Without an I/O map: the VMM has no user mode. */
static void make_tables(struct cpu *cpu)
{
	uint64_t tss = pa_of(cpu->tss);

	put64(cpu->tss + TSS_RSP0, pa_of(cpu->stack_top));
	put64(cpu->tss + TSS_IST1, pa_of(cpu->fault_stack_top));
	cpu->tss[TSS_IO_MAP] = sizeof(cpu->tss);
	cpu->gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE;
	cpu->gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
	cpu->gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS | (sizeof(cpu->tss) - 1) | (tss & BITS(23, 0)) << 16 | (tss & BITS(31, 24)) << 32;
	cpu->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
}

static void load_tables(struct cpu *cpu)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} PACKED gdtr = {sizeof(cpu->gdt) - 1, (uintptr_t)cpu->gdt};

	__asm__ volatile("lgdt %0\n\t"
			 "pushq %q1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n\t"
			 "1: movl %2, %%ds\n\t"
			 "movl %2, %%es\n\t"
			 "movl %2, %%ss\n\t"
			 "movl %3, %%fs\n\t"
			 "movl %3, %%gs\n\t"
			 "ltr %w4"
			 :
			 : "m"(gdtr), "r"((uint64_t)SELECTOR_CODE), "r"(SELECTOR_DATA), "r"(0), "r"(SELECTOR_TSS)
			 : "rax", "memory");
	wrmsr(IA32_GS_BASE, (uintptr_t)cpu);
}

void cpu_init(unsigned index, unsigned char *stack_top)
{
	struct cpu *cpu = &cpus[index];
	struct cpuid features = cpuid(1, 0);
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	cpu->self = cpu;
	cpu->index = index;
	cpu->stack_top = stack_top;
	cpu->fault_stack_top = fault_stacks[index] + FAULT_STACK;
	make_tables(cpu);
	load_tables(cpu);
	interrupts_load();

	/* Caches on, FPU usable by guests' XSAVE areas; a machine check is a panic, not a shutdown. */
	write_cr0(CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE);
	if (features.edx & CPUID1_EDX_MCE)
		cr4 |= CR4_MCE;
	if (features.ecx & CPUID1_ECX_XSAVE)
		cr4 |= CR4_OSXSAVE;
	write_cr4(cr4);
	apic_init();
	cpu->apic_id = apic_id();
	__atomic_store_n(&cpu->online, true, __ATOMIC_RELEASE);
}

void cpu_kick(struct cpu *cpu)
{
	__atomic_store_n(&cpu->attention, true, __ATOMIC_RELEASE);
	if (cpu != this_cpu())
		apic_send(cpu->apic_id, VECTOR_KICK);
}

void cpu_do_work(void)
{
	struct cpu_work *work = __atomic_exchange_n(&this_cpu()->work, NULL, __ATOMIC_ACQUIRE);

	while (work) {
		struct cpu_work *next = work->next; /* it is on the caller's stack, and gone when it is done */

		work->function(work->argument);
		__atomic_store_n(&work->done, true, __ATOMIC_RELEASE);
		work = next;
	}
}

void cpu_send(struct cpu *cpu, struct cpu_work *work)
{
	work->next = __atomic_load_n(&cpu->work, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&cpu->work, &work->next, work, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	cpu_kick(cpu);
}

void cpu_wait(const struct cpu_work *work)
{
	while (!__atomic_load_n(&work->done, __ATOMIC_ACQUIRE)) {
		cpu_do_work();
		cpu_relax();
	}
}

void cpu_call(struct cpu *cpu, void (*function)(void *), void *argument)
{
	struct cpu_work work = {.function = function, .argument = argument};

	if (cpu == this_cpu()) {
		function(argument);
	} else {
		cpu_send(cpu, &work);
		cpu_wait(&work);
	}
}

/*
 * The processors of the machine: what each has of its own, and how one asks another for something.
 */
#ifndef VMM_CPU_CPU_H
#define VMM_CPU_CPU_H

#include "lib/types.h"

enum { CPUS_MAX = 8, CPU_STACK = 16384 };
enum { SELECTOR_CODE = 0x08, SELECTOR_DATA = 0x10, SELECTOR_TSS = 0x18 }; /* in each CPU's GDT; FS and GS are null */

struct vcpu;

struct cpu {
	struct cpu *self; /* first: this_cpu() reads it at GS:0 */
	unsigned index;	  /* 0: the one that the machine started with */
	uint32_t apic_id;
	bool online;	    /* set by the CPU itself when it has started */
	uint8_t *stack_top; /* the only stack it has, also for VM exits */
	void *vmxon;	    /* VMXON region; NULL outside VMX operation */
	uint64_t gdt[16];
	uint8_t tss[104] ALIGNED(16);
	uint8_t *fault_stack_top; /* IST 1: NMI, double fault, machine check */

	/* The scheduler's (sched/scheduler.c). */
	struct vcpu *first;   /* the vCPUs that always run here, a list by vcpu->next_here */
	struct vcpu *turn;    /* the one whose turn it is, or was last */
	uint64_t turn_end;    /* TSC */
	bool turn_over;	      /* another one woke up: it goes first */
	struct vcpu *current; /* its VMCS is current, its registers are loaded: vmx/vcpu.c */
	bool attention;	      /* somebody else wants the scheduler's loop to turn: set with cpu_kick() */
	struct cpu_work *work; /* what other CPUs want done here, a list */
};

extern struct cpu cpus[CPUS_MAX];
extern unsigned cpu_count; /* that have started */

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;

	__asm__("mov %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* Sets attention and makes cpu leave a guest or its idle loop soon. Nothing to send if it is this CPU. */
void cpu_kick(struct cpu *cpu);

/*
 * Runs function(argument) on cpu, between two VM entries of its, and waits for the end. On this CPU: at once. The caller holds no
 * lock. Two CPUs may call each other: waiting, a CPU does what others want of it.
 */
struct cpu_work {
	void (*function)(void *argument);
	void *argument;
	struct cpu_work *next;
	bool done;
};
void cpu_call(struct cpu *cpu, void (*function)(void *), void *argument);

/* The two halves of that, for another CPU. work stays where it is until the wait is over. */
void cpu_send(struct cpu *cpu, struct cpu_work *work);
void cpu_wait(const struct cpu_work *work);
void cpu_do_work(void); /* what others want of this CPU */

#endif

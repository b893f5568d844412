/*
 * A virtual machine and its vCPUs: what every part of the VMM works on.
 *
 * A vCPU runs always on the same CPU: so its VMCS stays there, and no VMCS ever moves. Everything of a VM, and of its vCPUs
 * where another CPU may touch it, is protected by vm->lock; exit handlers run with it held (vmx/exit.c takes it), and so do the
 * functions of devices.
 */
#ifndef VMM_GUEST_VM_H
#define VMM_GUEST_VM_H

#include "cpu/cpu.h"
#include "devices/devices.h"
#include "devices/lapic.h"
#include "guest/config.h"
#include "lib/lock.h"
#include "vmx/ept.h"
#include "vmx/spec.h"

enum { VMS_MAX = 16, VCPUS_MAX = 4 };

/* In the order of their numbers in instructions; RSP, RIP and RFLAGS are in the VMCS. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, REGISTERS };

enum vcpu_state {
	VCPU_WAIT_SIPI, /* an application processor after INIT */
	VCPU_RUNNABLE,
	VCPU_HALTED /* HLT: until an interrupt */
};

/* An event to be delivered at the next VM entry: the VM-entry interruption-information field and what goes with it. */
struct event {
	uint32_t info; /* bit 31: there is one */
	uint32_t error;
	uint32_t length; /* of the instruction, for software events */
};

struct exit_count {
	uint64_t count, cycles; /* from the exit to the next entry, in TSC ticks */
};

struct vm;

/* What a demonstration adds to a VM (demo/demo.h): asked first at every VM exit. True: it has handled the exit. */
typedef bool exit_hook(struct vcpu *vcpu, unsigned reason);

struct vcpu {
	uint64_t registers[REGISTERS]; /* vmx/entry.S loads and saves them; [RSP] is not used */
	uint64_t cr2;
	struct vm *vm;
	unsigned index;	  /* in the VM, and its local APIC's ID */
	struct cpu *cpu;  /* where it runs */
	struct vcpu *next_here;
	void *vmcs;	  /* its region */
	bool launched;
	uint64_t controls[WORDS]; /* what it got: as in the VMCS; changed with vcpu_control() only */
	enum vcpu_state state;
	bool woken;    /* something came while it was VCPU_HALTED or VCPU_WAIT_SIPI: the scheduler looks whether it ends that */
	bool in_guest; /* between the last look at what is pending and the VM exit: a notification reaches it there */

	struct lapic apic;
	struct event event;	/* cut short by a VM exit, or raised by a handler: goes before all others */
	bool nmi_pending;
	uint64_t debug_registers[4], dr6;
	uint64_t xcr0, xcr0_offered; /* offered: 0 without XSAVE */
	void *fpu;		/* XSAVE area, or FXSAVE's */
	uint64_t *msrs, follows; /* values of the MSRs that follow the vCPU (vmx/msr.c), and a bit for each that the CPU has */
	void *msr_area;		/* vmx/msr_area.c */
	uint64_t mtrr[32];	/* only kept: EPT's memory types are fixed (vmx/mtrr.c) */
	uint64_t efer, pat;	/* as the guest wrote them, EFER without LMA */
	gpa_t unpaged_cr3;	/* without "unrestricted guest": the guest's CR3 while it has no paging (vmx/mode.c) */
	uint64_t tsc_adjust;	/* IA32_TSC_ADJUST: added to vm->tsc_offset */
	uint64_t tsc_offset;	/* as it is in the VMCS */
	unsigned exit_reason;	/* whose cycles go on until the next VM entry, */
	uint64_t exit_tsc;	/* since then; 0: nobody's */
	uint64_t entry_tsc;	/* of the last VM entry */
	struct exit_count exits[EXIT_REASONS];
	uint64_t entries;
};

enum vm_state { VM_RUNNING, VM_PAUSED, VM_RESETTING, VM_STOPPED, VM_OFF /* powered off by its guest */ };

struct vm {
	struct lock lock;
	const struct vm_config *config;
	unsigned index; /* in vms[], and VPIDs are made of it */
	enum vm_state state;
	char why[128]; /* why it is VM_STOPPED */
	unsigned vcpus_count;
	struct vcpu *vcpus[VCPUS_MAX];
	unsigned running; /* vCPUs that are between scheduler's pick and put-back: a reset waits for 0 */

	uint8_t *memory; /* guest-physical 0 on, config->memory bytes */
	uint8_t *disk;	    /* a copy of config->disk, to which it writes; NULL: none. A reset leaves it alone */
	uint64_t disk_size; /* whole sectors */
	struct ept ept;
	uint8_t *msr_bitmap, *io_bitmap_a, *io_bitmap_b;
	void *apic_access_page;
	uint64_t tsc_offset; /* guest's TSC minus the machine's; 0 of the guest's TSC is its start. Paused time does not count */
	uint64_t stopped_tsc; /* the machine's TSC when its time stopped, since it is not VM_RUNNING; 0: it goes on */
	uint64_t deadline;    /* devices_deadline() as the CPU of vCPU 0, which serves the devices, last saw it */

	struct devices devices;
	exit_hook *hook;
	void *hook_data;
};

extern struct vm *vms[VMS_MAX];
extern unsigned vms_count;

struct vm *vm_find(const char *name); /* NULL: none */

/* Makes the VM of config with its vCPUs (from the pools), as vm_power_on() leaves it; scheduler_add() then lets it run. NULL
   and a sentence in *why if that cannot be, for example "needs unrestricted guest, which this CPU has not". */
struct vm *vm_create(const struct vm_config *config, const char **why);

/* As after power-on: memory zeroed, guest loaded again, devices and vCPUs reset, VM_RUNNING. Called when none of its vCPUs
   runs, without the lock. */
void vm_power_on(struct vm *vm);

/* What may happen to a VM. All take effect at once for the caller's CPU and soon for others (they are kicked); the lock is
   held by the caller. */
void vm_stop(struct vm *vm, const char *format, ...) PRINTF(2, 3); /* prints the reason, and the vCPU if one is current here */
void vm_power_off(struct vm *vm);
void vm_reset(struct vm *vm);
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

uint64_t vm_time(const struct vm *vm); /* ns since its start, without paused time: what devices count by */
uint64_t vm_tsc_of_time(const struct vm *vm, uint64_t ns); /* the machine's TSC at that time of the VM; NEVER stays NEVER */

/* Guest-physical memory. False (and nothing copied) if part of it is not RAM. */
MUST_CHECK bool vm_read(struct vm *vm, gpa_t gpa, void *to, size_t size);
MUST_CHECK bool vm_write(struct vm *vm, gpa_t gpa, const void *from, size_t size);
bool vm_is_ram(const struct vm *vm, gpa_t gpa, uint64_t size);

/* Of the current vCPU, through the guest's own paging, as no access of its: guest/walk.c. False: its tables do not map all of
   it to RAM. */
MUST_CHECK bool vcpu_read_linear(struct vcpu *vcpu, gva_t la, void *to, size_t size);

/* Something has come for vcpu (the lock is held): if it does not run, the scheduler looks whether that changes it; if it
   runs elsewhere, it leaves the guest to look at what is pending. */
void vcpu_wake(struct vcpu *vcpu);

/* Is vcpu, the current one, VCPU_RUNNABLE, or does what it was woken for make it so? Takes the lock. */
bool vcpu_ready(struct vcpu *vcpu);

#include "vmx/vmcs.h"
static inline uint64_t vcpu_register(const struct vcpu *vcpu, unsigned n)
{
	return n == RSP ? vmread(VMCS_GUEST_RSP) : vcpu->registers[n];
}

static inline void vcpu_set_register(struct vcpu *vcpu, unsigned n, uint64_t value)
{
	if (n == RSP)
		vmwrite(VMCS_GUEST_RSP, value);
	else
		vcpu->registers[n] = value;
}

#endif

/*
 * A vCPU on its CPU: made, switched to and away, and run from one VM entry to the next VM exit. SDM vol. 3, "VM Entries", "VM
 * Exits", "VMX-Preemption Timer".
 */
#include "cpu/apic.h"
#include "cpu/time.h"
#include "cpu/x86.h"
#include "lib/pool.h"
#include "lib/print.h"
#include "vmx/apicv.h"
#include "vmx/caps.h"
#include "vmx/controls.h"
#include "vmx/exit.h"
#include "vmx/fpu.h"
#include "vmx/mode.h"
#include "vmx/msr.h"

/* What entry.S knows. */
_Static_assert(offsetof(struct vcpu, registers) == 0 && offsetof(struct vcpu, cr2) == 8 * REGISTERS, "entry.S");

enum { MISC_TIMER_RATE = 0x1f };

/* What the vCPUs of a VM share. NULL, or what is missing. */
static const char *create_shared(struct vm *vm, const struct vcpu *vcpu)
{
	uint32_t *table;

	msr_make_bitmap(vm->msr_bitmap);
	if (!apicv_map(vm))
		return "EPT tables for the APIC-access page";
	if (VCPU_HAS(vcpu, PROCBASED_CTLS2, UNRESTRICTED_GUEST))
		return NULL;
	table = pool_take(PAGE, PAGE);
	if (!table || !ept_map(&vm->ept, UNPAGED_TABLE, pa_of(table), PAGE, EPT_READ | EPT_WRITE, MEMORY_WB))
		return "memory for the page table of guests without paging";
	mode_make_unpaged_table(table);
	return NULL;
}

const char *vcpu_create(struct vm *vm, unsigned index, struct cpu *cpu)
{
	struct vcpu *vcpu = pool_take(sizeof(*vcpu), 64);
	const char *missing;

	if (!vcpu)
		return "memory";
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->cpu = cpu;
	missing = controls_choose(vcpu);
	if (missing)
		return missing;
	vcpu->vmcs = pool_take(PAGE, PAGE);
	vcpu->msr_area = pool_take(PAGE, PAGE);
	vcpu->apic.page = pool_take(PAGE, PAGE);
	vcpu->apic.posted = pool_take(sizeof(*vcpu->apic.posted), 64);
	if (!vcpu->vmcs || !vcpu->msr_area || !vcpu->apic.page || !vcpu->apic.posted || !fpu_create(vcpu) || !msr_create(vcpu))
		return "memory";
	*(uint32_t *)vcpu->vmcs = vmx_caps.revision;
	vm->vcpus[index] = vcpu;
	return index ? NULL : create_shared(vm, vcpu);
}

void vcpu_load_debug_registers(struct vcpu *vcpu)
{
	write_dr0(vcpu->debug_registers[0]);
	write_dr1(vcpu->debug_registers[1]);
	write_dr2(vcpu->debug_registers[2]);
	write_dr3(vcpu->debug_registers[3]);
	write_dr6(vcpu->dr6);
}

static void save_debug_registers(struct vcpu *vcpu)
{
	vcpu->debug_registers[0] = read_dr0();
	vcpu->debug_registers[1] = read_dr1();
	vcpu->debug_registers[2] = read_dr2();
	vcpu->debug_registers[3] = read_dr3();
	vcpu->dr6 = read_dr6();
}

/* Cycles since the last VM exit belong to its reason, but not those of others that run in between. */
static void count_cycles(struct vcpu *vcpu, uint64_t now)
{
	if (vcpu->exit_tsc)
		vcpu->exits[vcpu->exit_reason].cycles += now - vcpu->exit_tsc;
	vcpu->exit_tsc = 0;
}

/* What the VMM never uses is switched only here: FPU, DR0 to DR3 and DR6, MSRs. All else is in the VMCS. */
void vcpu_switch(struct vcpu *vcpu)
{
	struct cpu *cpu = this_cpu();
	struct vcpu *before = cpu->current;

	if (before == vcpu)
		return;
	if (before) {
		count_cycles(before, rdtsc());
		fpu_save(before);
		save_debug_registers(before);
		msr_save(before);
	}
	cpu->current = vcpu;
	if (!vcpu)
		return;
	vmptrld(vcpu->vmcs);
	fpu_load(vcpu);
	vcpu_load_debug_registers(vcpu);
	msr_load(vcpu);
}

void vcpu_put_away(struct vcpu *vcpu)
{
	if (this_cpu()->current == vcpu)
		vcpu_switch(NULL);
	vmclear(vcpu->vmcs);
	vcpu->launched = false;
}

/* The vCPU is back here at that TSC, or soon after. */
static void set_timer(const struct vcpu *vcpu, uint64_t deadline, uint64_t now)
{
	uint64_t ticks = deadline > now ? deadline - now : 0;

	if (VCPU_HAS(vcpu, PINBASED_CTLS, PREEMPTION_TIMER))
		vmwrite(VMCS_PREEMPTION_TIMER,
			min_u64((ticks >> (vmx_caps.may[WORD_MISC] & MISC_TIMER_RATE)) + (ticks != 0), UINT32_MAX));
	else
		apic_timer(deadline);
}

static uint64_t due(const struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	uint64_t next = lapic_deadline(vcpu);

	if (vcpu->index == 0) {
		vm->deadline = devices_deadline(vm);
		next = min_u64(next, vm->deadline);
	}
	return vm_tsc_of_time(vm, next);
}

uint64_t vcpu_serve_clocks(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	uint64_t next = due(vcpu), now;

	if (next > rdtsc())
		return next;
	now = vm_time(vm);
	lapic_tick(vcpu, now);
	if (vcpu->index == 0)
		devices_tick(vm, now);
	return due(vcpu);
}

static void entry_failed(struct vcpu *vcpu)
{
	uint64_t error = vmread(VMCS_VM_INSTRUCTION_ERROR);

	vm_stop(vcpu->vm, "%s failed: error %u, %s", vcpu->launched ? "VMRESUME" : "VMLAUNCH", (unsigned)error,
		vmx_error_title(error));
}

bool vcpu_run(struct vcpu *vcpu, uint64_t until)
{
	struct vm *vm = vcpu->vm;
	uint64_t now, deadline;
	bool entered, again;

	lock_take(&vm->lock);
	deadline = min_u64(vcpu_serve_clocks(vcpu), until);
	if (vcpu->state == VCPU_HALTED && vcpu_has_work(vcpu))
		vcpu->state = VCPU_RUNNABLE;
	if (vm->state != VM_RUNNING || vcpu->state != VCPU_RUNNABLE || !vcpu_obey_signals(vcpu)) {
		lock_release(&vm->lock);
		return false;
	}
	vcpu_prepare_events(vcpu);
	if (vcpu->tsc_offset != vm->tsc_offset + vcpu->tsc_adjust) {
		vcpu->tsc_offset = vm->tsc_offset + vcpu->tsc_adjust;
		vmwrite(VMCS_TSC_OFFSET, vcpu->tsc_offset);
	}
	again = vm->state == VM_RUNNING; /* an event may have been a triple fault */
	lock_release(&vm->lock);
	if (!again) {
		vcpu->in_guest = false;
		return false;
	}

	now = vcpu->entry_tsc = rdtsc();
	count_cycles(vcpu, now);
	set_timer(vcpu, deadline, now);
	entered = vmx_enter(vcpu, vcpu->launched);
	vcpu->exit_tsc = rdtsc();

	lock_take(&vm->lock);
	vcpu->in_guest = false;
	if (entered) {
		vcpu->launched = true;
		vcpu->entries++;
		exit_dispatch(vcpu);
	} else {
		entry_failed(vcpu);
	}
	again = vm->state == VM_RUNNING && vcpu->state == VCPU_RUNNABLE;
	if (!again)
		count_cycles(vcpu, rdtsc());
	lock_release(&vm->lock);
	return again;
}

void vcpu_skip_bytes(struct vcpu *vcpu, unsigned length)
{
	enum { BLOCKING_BY_STI = 1 << 0, BLOCKING_BY_MOV_SS = 1 << 1, DEBUGCTL_BTF = 1 << 1, PENDING_BS = 1 << 14 };
	uint64_t rip = vmread(VMCS_GUEST_RIP) + length, interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);

	if (rip >> 32 && !vcpu_in_64bit_mode())
		rip &= BITS(31, 0);
	vmwrite(VMCS_GUEST_RIP, rip);
	if (interruptibility & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS))
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~(uint64_t)(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
	if ((vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF) && !(vmread(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_set(VMCS_GUEST_PENDING_DEBUG, PENDING_BS);
}

void vcpu_skip(struct vcpu *vcpu) { vcpu_skip_bytes(vcpu, (unsigned)vmread(VMCS_VM_EXIT_INSTRUCTION_LENGTH)); }

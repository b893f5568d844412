/*
 * A virtual machine made by hand over /dev/kvm, and the checks. See kvm.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"
#include "kvm.h"

extern const char __executable_start[], _end[];
extern const char real16_int21[], real16_de[];

enum { CR0_PE = 1, CR0_ET = 0x10, CR0_NE = 0x20, CR0_PG = 1u << 31, CR4_PSE = 0x10, CR4_PAE = 0x20 };
enum { EFER_SCE = 1, EFER_LME = 0x100, EFER_LMA = 0x400 };
enum { TSC_DEADLINE = 1 << 24 };
enum { PRESENT_RW_USER = 7, LARGE = 0x80 };

int kvm_call(int fd, unsigned long request, void *argument, const char *name)
{
	int result = ioctl(fd, request, argument);

	if (result < 0)
		give_up("%s failed: %s", name, strerror(errno));
	return result;
}

static int kvm_device(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		give_up("/dev/kvm does not open: %s", strerror(errno));
	return fd;
}

bool has_extension(struct vm *vm, int capability)
{
	return KVM(vm->fd, KVM_CHECK_EXTENSION, (intptr_t)capability) > 0;
}

void *fresh_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		give_up("no memory: %s", strerror(errno));
	return memory;
}

int vm_slot(struct vm *vm, int slot, uint64_t gpa, uint64_t size, void *memory, uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)(slot < 0 ? vm->slots++ : slot),
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)memory,
	};

	KVM(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
	return (int)region.slot;
}

static void descriptor(struct vm *vm, unsigned selector, uint64_t value)
{
	memcpy(vm->low + GDT + selector, &value, sizeof(value));
}

static void gdt(struct vm *vm)
{
	descriptor(vm, CODE32, 0x00cf9b000000ffff);
	descriptor(vm, DATA_SEG, 0x00cf93000000ffff);
	descriptor(vm, CODE64, 0x00af9b000000ffff);
	descriptor(vm, USER_DATA, 0x00cff3000000ffff);
	descriptor(vm, USER_CODE64, 0x00affb000000ffff);
	descriptor(vm, TSS_SEG, 0x00008b0000000067 | (uint64_t)TSS << 16);
	descriptor(vm, CODE16, 0x00009b000000ffff);
}

static void interrupt_tables(struct vm *vm)
{
	uint16_t *vectors = (uint16_t *)vm->low;
	const char *handlers[256] = {[0] = real16_de, [0x21] = real16_int21, [0x33] = real16_irq};

	for (int n = 0; n < 256; n++)
		if (handlers[n])
			vectors[2 * n] = (uint16_t)(handlers[n] - real16 + REAL_CODE);
}

static void idt(struct vm *vm, bool wide)
{
	for (int n = 0; n < 256; n++) {
		uint64_t to = (uintptr_t)(wide ? trap64_table : trap32_table) + 16 * (unsigned)n;
		/* An interrupt gate with DPL 3. */
		uint64_t gate = (to & 0xffff) | (uint64_t)(wide ? CODE64 : CODE32) << 16 | 0xeeull << 40 |
				(to >> 16 & 0xffff) << 48;

		memcpy(vm->low + IDT + n * (wide ? 16 : 8), &gate, 8);
		if (wide)
			memset(vm->low + IDT + n * 16 + 8, 0, 8);
	}
}

static void page_tables(struct vm *vm)
{
	uint32_t *pd = (uint32_t *)(vm->low + PD);
	uint64_t *pds = (uint64_t *)(vm->low + PDS);

	for (uint32_t n = 0; n < 1024; n++)
		pd[n] = n == HOLE >> 22 ? 0 : n << 22 | LARGE | PRESENT_RW_USER;
	for (uint64_t n = 0; n < 2048; n++)
		pds[n] = n == HOLE >> 21 ? 0 : n << 21 | LARGE | PRESENT_RW_USER;
	for (uint64_t n = 0; n < 4; n++) {
		((uint64_t *)(vm->low + PDPT))[n] = (PDS + n * 0x1000) | 1; /* the other bits are reserved here */
		((uint64_t *)(vm->low + PDPT64))[n] = (PDS + n * 0x1000) | PRESENT_RW_USER;
	}
	*(uint64_t *)(vm->low + PML4) = PDPT64 | PRESENT_RW_USER;
}

struct vm *vm_create(unsigned parts)
{
	int kvm = kvm_device();
	struct vm *vm = calloc(1, sizeof(*vm));
	uintptr_t image = (uintptr_t)__executable_start & ~0xffful;
	uint64_t identity_map = 0xfffbc000;

	if (!vm)
		give_up("no memory");
	vm->fd = KVM(kvm, KVM_CREATE_VM, 0);
	close(kvm);
	KVM(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	KVM(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	if (parts & (IRQCHIP | PIT))
		KVM(vm->fd, KVM_CREATE_IRQCHIP, 0);
	if (parts & PIT) {
		struct kvm_pit_config pit = {0};

		KVM(vm->fd, KVM_CREATE_PIT2, &pit);
	}
	vm->low = fresh_memory(LOW_SIZE);
	vm_slot(vm, -1, 0, 0xa0000, vm->low, 0); /* none at the place of the VGA's memory */
	vm_slot(vm, -1, 0x100000, LOW_SIZE - 0x100000, vm->low + 0x100000, 0);
	vm_slot(vm, -1, image, ((uintptr_t)_end - image + 0xfff) & ~0xffful, (void *)image, 0);
	memcpy(vm->low + REAL_CODE, real16, (size_t)(real16_end - real16));
	memcpy(vm->low + SIPI_CODE, sipi16, (size_t)(sipi16_end - sipi16));
	gdt(vm);
	interrupt_tables(vm);
	page_tables(vm);
	return vm;
}

static struct kvm_cpuid2 *supported(int kvm)
{
	enum { MOST = 200 };
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + (MOST + 1) * sizeof(list->entries[0]));

	if (!list)
		give_up("no memory");
	list->nent = MOST;
	KVM(kvm, KVM_GET_SUPPORTED_CPUID, list);
	return list;
}

uint32_t supported_cpuid(uint32_t leaf, int reg)
{
	int kvm = kvm_device();
	struct kvm_cpuid2 *list = supported(kvm);

	close(kvm);
	for (unsigned n = 0; n < list->nent; n++)
		if (list->entries[n].function == leaf && list->entries[n].index == 0)
			return (&list->entries[n].eax)[reg];
	return 0;
}

/* What KVM supports, with the vCPU's APIC ID and a leaf of our own. */
static void cpuid_of(struct vcpu *vcpu)
{
	int kvm = kvm_device();
	struct kvm_cpuid2 *list = supported(kvm);

	close(kvm);
	for (unsigned n = 0; n < list->nent; n++) {
		struct kvm_cpuid_entry2 *entry = &list->entries[n];

		if (entry->function == 1) {
			entry->ebx = (entry->ebx & 0x00ffffff) | (uint32_t)vcpu->id << 24;
			entry->ecx |= TSC_DEADLINE; /* KVM has it with its own APIC, and leaves it to us to say so */
		}
		if (entry->function == 0xb || entry->function == 0x1f)
			entry->edx = (uint32_t)vcpu->id;
	}
	list->entries[list->nent++] = (struct kvm_cpuid_entry2){.function = LEAF, .eax = LEAF_EAX};
	KVM(vcpu->fd, KVM_SET_CPUID2, list);
	free(list);
}

struct vcpu *vcpu_add(struct vm *vm)
{
	struct vcpu *vcpu = &vm->vcpu[vm->vcpus];
	int kvm = kvm_device(), size = KVM(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	close(kvm);
	vcpu->vm = vm;
	vcpu->id = vm->vcpus++;
	vcpu->fd = KVM(vm->fd, KVM_CREATE_VCPU, (intptr_t)vcpu->id);
	vcpu->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		give_up("a vCPU's run page does not map: %s", strerror(errno));
	cpuid_of(vcpu);
	return vcpu;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool wide, bool real)
{
	return (struct kvm_segment){.selector = real ? 0 : selector,
				    .limit = real ? 0xffff : 0xffffffff,
				    .type = type,
				    .present = 1,
				    .s = 1,
				    .db = !wide && !real,
				    .l = wide,
				    .g = !real};
}

static void control_registers(struct kvm_sregs *sregs, enum mode mode)
{
	sregs->cr0 = CR0_ET | CR0_NE | (mode == REAL ? 0 : CR0_PE) | (mode >= PAGED ? CR0_PG : 0);
	sregs->cr4 = mode == PAGED ? CR4_PSE : mode >= PAE ? CR4_PAE : 0;
	sregs->cr3 = mode == PAGED ? PD : mode == PAE ? PDPT : mode == LONG ? PML4 : 0;
	sregs->efer = mode == LONG ? EFER_LME | EFER_LMA | EFER_SCE : 0;
}

void vcpu_start(struct vcpu *vcpu, enum mode mode, uint64_t entry)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = entry, .rflags = 2};
	bool real = mode == REAL;

	idt(vcpu->vm, mode == LONG || real); /* real-mode code needs one when it has climbed to 64-bit mode */
	KVM(vcpu->fd, KVM_GET_SREGS, &sregs);
	sregs.cs = flat(mode == LONG ? CODE64 : CODE32, real ? 3 : 11, mode == LONG, real);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat(DATA_SEG, 3, false, real);
	sregs.tr = (struct kvm_segment){.selector = TSS_SEG, .base = TSS, .limit = 0x67, .type = 11, .present = 1};
	sregs.ldt = (struct kvm_segment){.type = 2, .present = 1};
	sregs.gdt = (struct kvm_dtable){.base = GDT, .limit = 0x7f};
	sregs.idt = (struct kvm_dtable){.base = real ? 0 : IDT, .limit = real ? 0x3ff : 0xfff};
	control_registers(&sregs, mode);
	KVM(vcpu->fd, KVM_SET_SREGS, &sregs);
	/* As if called: the ABI's stack alignment. Nothing is there to return to. */
	regs.rsp = (real ? 0x7000 : STACK_TOP + (unsigned)vcpu->id * STACK_SIZE) - 8;
	KVM(vcpu->fd, KVM_SET_REGS, &regs);
}

uint64_t vcpu_rip(struct vcpu *vcpu)
{
	struct kvm_regs regs;

	KVM(vcpu->fd, KVM_GET_REGS, &regs);
	return regs.rip;
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

void vcpu_set_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct one_msr msr = {.head.nmsrs = 1, .entry = {.index = index, .data = value}};

	if (KVM(vcpu->fd, KVM_SET_MSRS, &msr) != 1)
		give_up("MSR %#x does not take %#llx", index, (unsigned long long)value);
}

uint64_t vcpu_msr(struct vcpu *vcpu, uint32_t index)
{
	struct one_msr msr = {.head.nmsrs = 1, .entry = {.index = index}};

	if (KVM(vcpu->fd, KVM_GET_MSRS, &msr) != 1)
		give_up("MSR %#x cannot be read", index);
	return msr.entry.data;
}

uint32_t run(struct vcpu *vcpu)
{
	while (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
		if (errno == EINTR)
			return KVM_EXIT_INTR;
		else if (errno != EAGAIN) /* what it says when a vCPU that waited for SIPI has got it */
			give_up("KVM_RUN failed at RIP %#llx: %s", (unsigned long long)vcpu_rip(vcpu), strerror(errno));
	return vcpu->run->exit_reason;
}

static _Noreturn void surprised(struct vcpu *vcpu, const char *wanted)
{
	const struct kvm_run *kvm_run = vcpu->run;
	unsigned reason = kvm_run->exit_reason;

	if (reason == KVM_EXIT_MMIO)
		give_up("an MMIO %s of %u bytes at %#llx, RIP %#llx, not %s", kvm_run->mmio.is_write ? "write" : "read",
			kvm_run->mmio.len, (unsigned long long)kvm_run->mmio.phys_addr,
			(unsigned long long)vcpu_rip(vcpu), wanted);
	if (reason == KVM_EXIT_IO)
		give_up("port %#x %s with size %u, count %u, value %#x, RIP %#llx, not %s", kvm_run->io.port,
			kvm_run->io.direction ? "written" : "read", kvm_run->io.size, kvm_run->io.count,
			*(const uint32_t *)((const char *)kvm_run + kvm_run->io.data_offset),
			(unsigned long long)vcpu_rip(vcpu), wanted);
	give_up("exit reason %u (hardware's: %#llx; suberror %u), RIP %#llx, not %s; last trap %u, error code %#x, "
		"CR2 %#llx",
		reason, (unsigned long long)kvm_run->hw.hardware_exit_reason, kvm_run->internal.suberror,
		(unsigned long long)vcpu_rip(vcpu), wanted, trap_vector, trap_error, (unsigned long long)trap_cr2);
}

void run_to(struct vcpu *vcpu, uint32_t reason)
{
	char wanted[40];

	if (run(vcpu) == reason)
		return;
	snprintf(wanted, sizeof(wanted), "exit reason %u", reason);
	surprised(vcpu, wanted);
}

static unsigned char *io_data(struct vcpu *vcpu)
{
	return (unsigned char *)vcpu->run + vcpu->run->io.data_offset;
}

static void run_to_io(struct vcpu *vcpu, int direction, int size)
{
	if (run(vcpu) != KVM_EXIT_IO || vcpu->run->io.port != PORT || vcpu->run->io.direction != direction ||
	    vcpu->run->io.size != size)
		surprised(vcpu, direction == KVM_EXIT_IO_OUT ? "a write to our port" : "a read of our port");
}

uint32_t run_to_out(struct vcpu *vcpu, int size)
{
	uint32_t value = 0;

	run_to_io(vcpu, KVM_EXIT_IO_OUT, size);
	memcpy(&value, io_data(vcpu), (size_t)size);
	return value;
}

/* A string instruction: KVM hands out as many elements in one exit as it likes. */
void run_to_outs(struct vcpu *vcpu, int size, void *data, size_t count)
{
	for (size_t done = 0; done < count; done += vcpu->run->io.count) {
		run_to_io(vcpu, KVM_EXIT_IO_OUT, size);
		if (vcpu->run->io.count > count - done)
			give_up("%u elements of a string, %zu were left", vcpu->run->io.count, count - done);
		memcpy((char *)data + done * (size_t)size, io_data(vcpu), (size_t)size * vcpu->run->io.count);
	}
}

void run_to_in(struct vcpu *vcpu, int size, const void *data, size_t count)
{
	for (size_t done = 0; done < count; done += vcpu->run->io.count) {
		run_to_io(vcpu, KVM_EXIT_IO_IN, size);
		if (vcpu->run->io.count > count - done)
			give_up("%u elements of a string wanted, %zu were left", vcpu->run->io.count, count - done);
		memcpy(io_data(vcpu), (const char *)data + done * (size_t)size, (size_t)size * vcpu->run->io.count);
	}
}

static void run_to_mmio(struct vcpu *vcpu, uint64_t gpa, uint32_t size, bool write)
{
	char wanted[60];

	if (run(vcpu) == KVM_EXIT_MMIO && vcpu->run->mmio.phys_addr == gpa && vcpu->run->mmio.len == size &&
	    vcpu->run->mmio.is_write == write)
		return;
	snprintf(wanted, sizeof(wanted), "an MMIO %s of %u bytes at %#llx", write ? "write" : "read", size,
		 (unsigned long long)gpa);
	surprised(vcpu, wanted);
}

void run_to_mmio_read(struct vcpu *vcpu, uint64_t gpa, uint32_t size, uint64_t value)
{
	run_to_mmio(vcpu, gpa, size, false);
	memcpy(vcpu->run->mmio.data, &value, sizeof(value));
}

uint64_t run_to_mmio_write(struct vcpu *vcpu, uint64_t gpa, uint32_t size)
{
	uint64_t value = 0;

	run_to_mmio(vcpu, gpa, size, true);
	memcpy(&value, vcpu->run->mmio.data, size);
	return value;
}

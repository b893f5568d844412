/*
 * What the tests of /dev/kvm share: a virtual machine, ways to run it, and ways to say what was seen.
 *
 * The program is its own guest. Its image is a memory slot of each machine, at the same address in the guest as here,
 * so that 32-bit and 64-bit guest code is linked with the rest and both sides see the same variables. Below 2 MiB lies
 * memory of the machine's own: descriptor tables, page tables, stacks, and the real-mode code, which is copied there.
 *
 * Linux's "The Definitive KVM API Documentation" describes the calls.
 */
#ifndef KVM_TEST_H
#define KVM_TEST_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

struct vm;

struct vcpu {
	struct vm *vm;
	int fd, id;
	struct kvm_run *run;
};

struct vm {
	int fd, vcpus, slots;
	unsigned char *low; /* guest-physical 0 to LOW_SIZE */
	struct vcpu vcpu[2];
};

/* The modes that a vCPU can be put into from outside. */
enum mode { REAL, PROTECTED, PAGED, PAE, LONG };

/* What a machine has. */
enum { IRQCHIP = 1, PIT = 2 };

struct vm *vm_create(unsigned parts);
struct vcpu *vcpu_add(struct vm *vm);
/* Adds a slot of fresh memory, or replaces slot number `slot` when that is not negative; returns its number. */
int vm_slot(struct vm *vm, int slot, uint64_t gpa, uint64_t size, void *memory, uint32_t flags);
void *fresh_memory(size_t size);
void vcpu_start(struct vcpu *vcpu, enum mode mode, uint64_t entry);
uint64_t vcpu_rip(struct vcpu *vcpu);
void vcpu_set_msr(struct vcpu *vcpu, uint32_t index, uint64_t value);
uint64_t vcpu_msr(struct vcpu *vcpu, uint32_t index);
/* The register of a CPUID leaf as KVM can offer it: 0 to 3 for EAX to EDX. */
uint32_t supported_cpuid(uint32_t leaf, int reg);
bool has_extension(struct vm *vm, int capability);
int kvm_call(int fd, unsigned long request, void *argument, const char *name);
#define KVM(fd, request, argument) kvm_call(fd, request, (void *)(argument), #request)

/* Runs the vCPU to its next exit, and returns the reason. */
uint32_t run(struct vcpu *vcpu);
/* Each runs the vCPU to its next exit. When that is another than the named one, the test has failed and ends. */
uint32_t run_to_out(struct vcpu *vcpu, int size);
void run_to_outs(struct vcpu *vcpu, int size, void *data, size_t count);
void run_to_in(struct vcpu *vcpu, int size, const void *data, size_t count);
void run_to_mmio_read(struct vcpu *vcpu, uint64_t gpa, uint32_t size, uint64_t value);
uint64_t run_to_mmio_write(struct vcpu *vcpu, uint64_t gpa, uint32_t size);
void run_to(struct vcpu *vcpu, uint32_t reason);

/* One line each: "ok NAME: what" or "FAIL NAME: what". */
void check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
void same(uint64_t found, uint64_t expected, const char *what);
/* A check that failed and after which the rest of the test makes no sense. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The tests, one file for each row. */
void test_real_mode(void), test_climb(void);
void test_protected(void), test_paged(void), test_pae(void), test_long(void), test_user(void);
void test_interrupts(void), test_nmi(void), test_irqchip(void), test_x2apic(void), test_smi(void);
void test_two_vcpus(void), test_sipi(void), test_mp_state(void);
void test_dirty_log(void), test_slots(void);
void test_single_step(void), test_breakpoints(void), test_own_debug(void);
void test_shutdown(void), test_state(void), test_time(void), test_kick(void);
void test_nested(void);

/* Not a test: a guest to look at. */
void demo(void);

#endif

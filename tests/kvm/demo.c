/*
 * What `make run-kvm` shows: a guest of KVM that says hello, and how often it left for its hypervisor, as KVM counted.
 *
 * Linux's "The Definitive KVM API Documentation", "KVM_GET_STATS_FD".
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "guest.h"
#include "kvm.h"

enum { CPUIDS = 1000 };

static GUEST void say_text(const char *text)
{
	for (; *text; text++)
		outb(PORT, (uint8_t)*text);
}

static GUEST void guest_demo(void)
{
	static const char hello[] = "Hello from 64-bit mode, in a guest of KVM, in a guest of SoftVT.\n";

	say_text(hello);
	for (int n = 0; n < CPUIDS; n++)
		cpuid(LEAF, 0, 0);
	*(volatile uint32_t *)(uintptr_t)MMIO = 1;
	hlt();
}

static void print_statistics(struct vcpu *vcpu)
{
	int fd = KVM(vcpu->fd, KVM_GET_STATS_FD, 0);
	struct kvm_stats_header header;
	size_t size;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		give_up("KVM's statistics cannot be read");
	size = sizeof(struct kvm_stats_desc) + header.name_size;
	for (uint32_t n = 0; n < header.num_desc; n++) {
		struct kvm_stats_desc *description = calloc(1, size + 1);
		uint64_t value = 0;

		if (!description ||
		    pread(fd, description, size, (off_t)(header.desc_offset + n * size)) != (ssize_t)size ||
		    pread(fd, &value, sizeof(value), (off_t)(header.data_offset + description->offset)) !=
			    sizeof(value))
			give_up("KVM's statistics cannot be read");
		if (description->size == 1 && value &&
		    (description->flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_NONE)
			printf("  %-30s%llu\n", description->name, (unsigned long long)value);
		free(description);
	}
	close(fd);
}

void demo(void)
{
	struct vcpu *vcpu = vcpu_add(vm_create(0));
	uint32_t reason;

	vcpu_start(vcpu, LONG, (uintptr_t)guest_demo);
	while ((reason = run(vcpu)) == KVM_EXIT_IO || reason == KVM_EXIT_MMIO)
		if (reason == KVM_EXIT_IO)
			putchar(*((unsigned char *)vcpu->run + vcpu->run->io.data_offset));
	if (reason != KVM_EXIT_HLT)
		give_up("the guest ended with exit reason %u", reason);
	printf("KVM counted, for this guest:\n");
	print_statistics(vcpu);
}

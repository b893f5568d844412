/*
 * IN and OUT: SDM vol. 3, "Exit Qualification for I/O Instructions". The processor has checked IOPL and the I/O permission
 * bit map before.
 */
#include "devices/devices.h"
#include "vmx/exit.h"
#include "vmx/string_io.h"

void exit_io(struct vcpu *vcpu)
{
	enum { IN = 1 << 3, STRING = 1 << 4 };
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION), *rax = &vcpu->registers[RAX];
	uint16_t port = qualification >> 16;
	unsigned size = (qualification & 7) + 1;
	uint64_t mask = BITS(8 * size - 1, 0);

	if (qualification & STRING) {
		string_io(vcpu, port, size, qualification & IN);
		return;
	}
	if (qualification & IN)
		*rax = (size == 4 ? 0 : *rax & ~mask) | (port_read(vcpu->vm, port, size) & mask);
	else
		port_write(vcpu->vm, port, size, *rax & mask);
	vcpu_skip(vcpu);
}

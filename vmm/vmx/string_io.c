/*
 * INS and OUTS: SDM vol. 2, "INS/INSB/INSW/INSD - Input from Port to String", "OUTS...". They exit before their memory
 * operand is checked, so it is checked here.
 */
#include "cpu/x86.h"
#include "guest/access.h"
#include "vmx/mode.h"
#include "vmx/string_io.h"

enum { INSTRUCTION_MAX = 15, REPEAT_MAX = 64 /* elements for a VM exit */ };
enum { CS_DB = 1 << 14 };
enum { RFLAGS_DF = 1 << 10 };

struct string_insn {
	unsigned address_size; /* bytes */
	unsigned segment;
	bool repeated;
};

/* Prefixes, since not every processor reports address size and segment ("VM-Exit Instruction-Information Field as Used for
   INS and OUTS"). */
static bool decode(struct vcpu *vcpu, bool in, struct string_insn *insn)
{
	uint64_t length = vmread(VMCS_VM_EXIT_INSTRUCTION_LENGTH), rip = vmread(VMCS_GUEST_RIP);
	bool wide = vcpu_in_64bit_mode(), wide_32 = vmread(VMCS_GUEST_CS_AR) & CS_DB, address_prefix = false;
	uint8_t bytes[INSTRUCTION_MAX];

	if (length > INSTRUCTION_MAX)
		return false;
	if (!vcpu_read_linear(vcpu, wide ? rip : (uint32_t)(vmread(VMCS_GUEST_CS_BASE) + rip), bytes, length))
		return false;
	*insn = (struct string_insn){.segment = in ? ES : DS};
	for (unsigned i = 0; i < length; i++) {
		switch (bytes[i]) {
		case 0x67: address_prefix = true; break;
		case 0xf2:
		case 0xf3: insn->repeated = true; break;
		case 0x26: insn->segment = ES; break;
		case 0x2e: insn->segment = in ? ES : CS; break;
		case 0x36: insn->segment = in ? ES : SS; break;
		case 0x3e: insn->segment = in ? ES : DS; break;
		case 0x64: insn->segment = in ? ES : FS; break;
		case 0x65: insn->segment = in ? ES : GS; break;
		}
	}
	insn->address_size = wide ? (address_prefix ? 4 : 8) : wide_32 != address_prefix ? 4 : 2;
	return true;
}

/* One element. False: an exception was raised, and nothing has happened. */
static bool element(struct vcpu *vcpu, const struct string_insn *insn, uint16_t port, unsigned size, bool in, uint64_t offset)
{
	uint32_t value = UINT32_MAX;
	gpa_t gpas[4];

	if (!vcpu_access(vcpu, insn->segment, offset, size, in, gpas))
		return false;
	if (in)
		value = port_read(vcpu->vm, port, size);
	/* Bytes that are no RAM are not written, and read as ones. */
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = value >> (8 * i);

		if (in ? !vm_write(vcpu->vm, gpas[i], &byte, 1) : !vm_read(vcpu->vm, gpas[i], &byte, 1))
			byte = 0xff;
		value = (value & ~(UINT32_C(0xff) << (8 * i))) | (uint32_t)byte << (8 * i);
	}
	if (!in)
		port_write(vcpu->vm, port, size, value);
	return true;
}

/* As much of the register as an address of that size uses; a write of 32 bits clears the rest, one of 16 keeps it. */
static uint64_t get(const struct vcpu *vcpu, unsigned n, unsigned size) { return vcpu->registers[n] & BITS(8 * size - 1, 0); }

static void add(struct vcpu *vcpu, unsigned n, unsigned size, int64_t amount)
{
	uint64_t mask = BITS(8 * size - 1, 0), kept = size == 2 ? vcpu->registers[n] & ~mask : 0;

	vcpu->registers[n] = kept | ((vcpu->registers[n] + (uint64_t)amount) & mask);
}

void string_io(struct vcpu *vcpu, uint16_t port, unsigned size, bool in)
{
	int64_t step = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_DF ? -(int64_t)size : (int64_t)size;
	unsigned index = in ? RDI : RSI;
	struct string_insn insn;

	if (!decode(vcpu, in, &insn)) {
		vm_stop(vcpu->vm, "INS or OUTS at %lx cannot be read", vmread(VMCS_GUEST_RIP));
		return;
	}
	for (unsigned done = 0; done < REPEAT_MAX && vcpu->vm->state == VM_RUNNING; done++) {
		if (insn.repeated && !get(vcpu, RCX, insn.address_size))
			break;
		if (!element(vcpu, &insn, port, size, in, get(vcpu, index, insn.address_size)))
			return;
		add(vcpu, index, insn.address_size, step);
		if (!insn.repeated)
			break;
		add(vcpu, RCX, insn.address_size, -1);
	}
	if (!insn.repeated || !get(vcpu, RCX, insn.address_size))
		vcpu_skip(vcpu);
}

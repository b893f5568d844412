/*
 * An instruction that accessed a device in memory, by EPT violation or APIC-access exit, is done here instead: guest/decode.c
 * says what it is.
 *
 * The processor has checked the access with the guest's segments and paging before it exited; only the data has to be moved,
 * and the flags of arithmetic (SDM vol. 1, "Status Flags") be set. MOVS alone may not have come to its second address.
 */
#include "cpu/x86.h"
#include "guest/access.h"
#include "guest/decode.h"
#include "guest/vm.h"
#include "lib/print.h"
#include "vmx/exit.h"

enum { CF = 1 << 0, PF = 1 << 2, AF = 1 << 4, ZF = 1 << 6, SF = 1 << 7, DF = 1 << 10, OF = 1 << 11 };
enum { CS_L = 1 << 13, CS_DB = 1 << 14 };

static uint64_t low(uint64_t value, unsigned size) { return value & BITS(8 * size - 1, 0); }

static unsigned code_mode(void)
{
	uint64_t CS = vmread(VMCS_GUEST_CS_AR);

	if ((CS & CS_L) && (vmread(VMCS_VM_ENTRY_CTLS) & CTL(ENTRY_CTLS, IA32E_MODE_GUEST)))
		return 64;
	return CS & CS_DB ? 32 : 16;
}

/* How many of the bytes at RIP there are: the next page may not be mapped, and need not. */
static unsigned fetch(struct vcpu *vcpu, unsigned mode, uint8_t bytes[INSTRUCTION_MAX])
{
	uint64_t RIP = vmread(VMCS_GUEST_RIP);
	gva_t la = mode == 64 ? RIP : (uint32_t)(vmread(VMCS_GUEST_CS_BASE) + RIP);
	unsigned here = (unsigned)min_u64(INSTRUCTION_MAX, PAGE - la % PAGE);

	if (!vcpu_read_linear(vcpu, la, bytes, here))
		return 0;
	if (here < INSTRUCTION_MAX && vcpu_read_linear(vcpu, la + here, bytes + here, INSTRUCTION_MAX - here))
		return INSTRUCTION_MAX;
	return here;
}

/* APIC registers are four bytes wide: of a wider access the rest is undefined, and nothing here. */
static uint64_t read_device(struct vcpu *vcpu, gpa_t gpa, unsigned size)
{
	return low(lapic_is_at(vcpu, gpa) ? lapic_read(vcpu, gpa % PAGE) : mmio_read(vcpu->vm, gpa, size), size);
}

static void write_device(struct vcpu *vcpu, gpa_t gpa, unsigned size, uint64_t value)
{
	if (!lapic_is_at(vcpu, gpa))
		mmio_write(vcpu->vm, gpa, size, low(value, size));
	else if (size >= 4)
		lapic_write(vcpu, gpa % PAGE, (uint32_t)value);
}

static uint64_t read_operand(struct vcpu *vcpu, const struct mmio_instruction *i)
{
	if (i->has_immediate)
		return low(i->immediate, i->size);
	return low(vcpu_register(vcpu, i->reg) >> (i->high_byte ? 8 : 0), i->size);
}

/* Parts of 8 and 16 bits leave the rest as it is, 32 bits clear the upper half. */
static void write_part(struct vcpu *vcpu, unsigned reg, unsigned size, unsigned shift, uint64_t value)
{
	uint64_t part = size >= 4 ? UINT64_MAX : BITS(8 * size - 1, 0) << shift;

	vcpu_set_register(vcpu, reg, (vcpu_register(vcpu, reg) & ~part) | (low(value, size) << shift));
}

static void write_register(struct vcpu *vcpu, const struct mmio_instruction *i, uint64_t value)
{
	write_part(vcpu, i->reg, i->register_size, i->high_byte ? 8 : 0, value);
}

static uint64_t sign_extend(uint64_t value, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* The result of a op b, and its flags. TEST is AND, CMP is SUB: the caller drops the result. */
static uint64_t compute(enum mmio_operation operation, uint64_t a, uint64_t b, unsigned size)
{
	uint64_t rflags = vmread(VMCS_GUEST_RFLAGS), carry = rflags & CF, result, carries = 0, overflow = 0;
	unsigned sign = 8 * size - 1;

	switch (operation) {
	case MMIO_OR: result = a | b; break;
	case MMIO_AND: case MMIO_TEST: result = a & b; break;
	case MMIO_XOR: result = a ^ b; break;
	case MMIO_ADD: case MMIO_ADC:
		result = low(a + b + (operation == MMIO_ADC ? carry : 0), size);
		carries = (a & b) | ((a | b) & ~result); /* out of each bit */
		overflow = (a ^ result) & (b ^ result);
		break;
	default: /* SUB, SBB, CMP */
		result = low(a - b - (operation == MMIO_SBB ? carry : 0), size);
		carries = (~a & b) | ((~a | b) & result);
		overflow = (a ^ b) & (a ^ result);
		break;
	}
	rflags &= ~(uint64_t)(CF | PF | AF | ZF | SF | OF);
	rflags |= (carries >> sign & 1 ? CF : 0) | (carries >> 3 & 1 ? AF : 0) | (overflow >> sign & 1 ? OF : 0);
	rflags |= (result ? 0 : ZF) | (result >> sign & 1 ? SF : 0) | (__builtin_parity(result & 0xff) ? 0 : PF);
	vmwrite(VMCS_GUEST_RFLAGS, rflags);
	return result;
}

static void advance(struct vcpu *vcpu, unsigned reg, const struct mmio_instruction *i, uint64_t step)
{
	write_part(vcpu, reg, i->address_size, 0, vcpu_register(vcpu, reg) + step);
}

/* One iteration of STOS or MOVS is done. True: it was the last. */
static bool end_iteration(struct vcpu *vcpu, const struct mmio_instruction *i)
{
	uint64_t step = vmread(VMCS_GUEST_RFLAGS) & DF ? -(uint64_t)i->size : i->size;

	advance(vcpu, RDI, i, step);
	if (i->operation == MMIO_MOVS)
		advance(vcpu, RSI, i, step);
	if (!i->repeat)
		return true;
	advance(vcpu, RCX, i, (uint64_t)-1);
	return !low(vcpu_register(vcpu, RCX), i->address_size);
}

/* What is read or written is a device, or RAM byte by byte: it may lie in two pages. */
static uint64_t read_memory(struct vcpu *vcpu, const gpa_t *gpas, unsigned size)
{
	uint64_t value = UINT64_MAX;

	if (!vm_is_ram(vcpu->vm, gpas[0], 1))
		return read_device(vcpu, gpas[0], size);
	for (unsigned i = 0; i < size; i++)
		if (!vm_read(vcpu->vm, gpas[i], (uint8_t *)&value + i, 1))
			break;
	return value;
}

static void write_memory(struct vcpu *vcpu, const gpa_t *gpas, unsigned size, uint64_t value)
{
	if (!vm_is_ram(vcpu->vm, gpas[0], 1))
		write_device(vcpu, gpas[0], size, value);
	else
		for (unsigned i = 0; i < size && vm_write(vcpu->vm, gpas[i], (uint8_t *)&value + i, 1); i++)
			;
}

/* True: the instruction has ended. False also if it raised an exception. */
static bool move_string(struct vcpu *vcpu, const struct mmio_instruction *i)
{
	gpa_t source[8] = {0}, target[8] = {0};

	if (!vcpu_access(vcpu, i->segment, low(vcpu_register(vcpu, RSI), i->address_size), i->size, false, source) ||
	    !vcpu_access(vcpu, ES, low(vcpu_register(vcpu, RDI), i->address_size), i->size, true, target))
		return false;
	write_memory(vcpu, target, i->size, read_memory(vcpu, source, i->size));
	return end_iteration(vcpu, i);
}

/* True: the instruction has ended. */
static bool execute(struct vcpu *vcpu, gpa_t gpa, const struct mmio_instruction *i)
{
	uint64_t memory, result;

	if (i->operation == MMIO_MOVS)
		return move_string(vcpu, i);
	if (i->operation == MMIO_STOS) {
		write_device(vcpu, gpa, i->size, vcpu_register(vcpu, RAX));
		return end_iteration(vcpu, i);
	}
	if (i->operation == MMIO_STORE) {
		write_device(vcpu, gpa, i->size, read_operand(vcpu, i));
		return true;
	}
	memory = read_device(vcpu, gpa, i->size);
	switch (i->operation) {
	case MMIO_LOAD: write_register(vcpu, i, memory); break;
	case MMIO_LOAD_SIGNED: write_register(vcpu, i, sign_extend(memory, i->size)); break;
	case MMIO_EXCHANGE:
		write_device(vcpu, gpa, i->size, read_operand(vcpu, i));
		write_register(vcpu, i, memory);
		break;
	default:
		if (i->to_register)
			result = compute(i->operation, read_operand(vcpu, i), memory, i->size);
		else
			result = compute(i->operation, memory, read_operand(vcpu, i), i->size);
		if (i->operation == MMIO_CMP || i->operation == MMIO_TEST)
			break;
		if (i->to_register)
			write_register(vcpu, i, result);
		else
			write_device(vcpu, gpa, i->size, result);
	}
	return true;
}

void emulate_mmio(struct vcpu *vcpu, gpa_t gpa)
{
	uint8_t bytes[INSTRUCTION_MAX];
	unsigned mode = code_mode(), available = fetch(vcpu, mode, bytes);
	struct mmio_instruction instruction;
	char text[3 * INSTRUCTION_MAX + 1] = "";

	if (mmio_decode(bytes, available, mode, &instruction)) {
		if (execute(vcpu, gpa, &instruction))
			vcpu_skip_bytes(vcpu, instruction.length);
		return;
	}
	for (unsigned i = 0; i < available; i++)
		format_text(text + 3 * i, sizeof(text) - 3 * i, " %02x", bytes[i]);
	vm_stop(vcpu->vm, "an instruction that is not emulated accesses %lx:%s", gpa, text);
}

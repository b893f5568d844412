/*
 * Decoding of instructions that access a device in memory. SDM vol. 2, "Instruction Format", "One-byte Opcode Map", "Two-byte
 * Opcode Map".
 *
 * The processor has made the access and found it good, up to the device: so the instruction is a valid one, and its address is
 * known. What is decoded is how long it is, which way the data goes, and how wide. Not decoded, as no system accesses a device
 * so: stack and floating-point instructions, bit tests, CMPXCHG.
 */
#include "guest/decode.h"

struct reader {
	const uint8_t *bytes;
	unsigned at, available;
	bool short_of; /* bytes: what was read after them is 0 */
	unsigned mode;
	bool operand_size, address_size, lock, repeat; /* prefixes */
	uint8_t rex;
	unsigned segment;
};

enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

static uint8_t next(struct reader *r)
{
	if (r->at < r->available)
		return r->bytes[r->at++];
	r->short_of = true;
	return 0;
}

static uint64_t next_signed(struct reader *r, unsigned size)
{
	uint64_t value = 0;
	unsigned shift = 64 - 8 * size;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)next(r) << 8 * i;
	return (uint64_t)((int64_t)(value << shift) >> shift);
}

/* "Instruction Prefixes", "REX Prefixes": a REX prefix counts only directly before the opcode. Returns the opcode's first
   byte. */
static uint8_t read_prefixes(struct reader *r)
{
	for (;;) {
		uint8_t byte = next(r);

		switch (byte) {
		case 0x26: case 0x2e: case 0x36: case 0x3e: r->segment = byte >> 3 & 3; break; /* ES, CS, SS, DS */
		case 0x64: case 0x65: r->segment = byte & 7; break; /* FS, GS */
		case 0x66: r->operand_size = true; break;
		case 0x67: r->address_size = true; break;
		case 0xf0: r->lock = true; break;
		case 0xf2: case 0xf3: r->repeat = true; break;
		case 0x40 ... 0x4f:
			if (r->mode == 64) {
				r->rex = byte;
				continue;
			}
			return byte;
		default: return byte;
		}
		r->rex = 0;
	}
}

static unsigned operand_size(const struct reader *r)
{
	if (r->rex & REX_W)
		return 8;
	return (r->mode == 16) != r->operand_size ? 2 : 4;
}

static unsigned address_size(const struct reader *r)
{
	if (r->mode == 64)
		return r->address_size ? 4 : 8;
	return (r->mode == 16) != r->address_size ? 2 : 4;
}

/* "ModR/M and SIB Bytes": passes over the address. False: it is a register. */
static bool read_modrm(struct reader *r, unsigned *reg)
{
	uint8_t modrm = next(r), mod = modrm >> 6, rm = modrm & 7;
	bool small = address_size(r) == 2;
	unsigned displacement = mod == 1 ? 1 : mod == 2 ? (small ? 2 : 4) : 0;

	*reg = modrm >> 3 & 7;
	if (!small && rm == 4 && mod != 3 && (next(r) & 7) == 5 && mod == 0)
		displacement = 4;
	if (mod == 0 && rm == (small ? 6 : 5))
		displacement = small ? 2 : 4;
	if (displacement)
		next_signed(r, displacement);
	return mod != 3;
}

static bool is_locked_well(enum mmio_operation operation, bool to_register)
{
	return operation == MMIO_EXCHANGE || (operation < MMIO_CMP && !to_register);
}

/* Memory and a register, both of size bytes unless the caller changes one. */
static bool with_register(struct reader *r, enum mmio_operation operation, unsigned size, struct mmio_instruction *i)
{
	unsigned reg;

	if (!read_modrm(r, &reg))
		return false;
	i->operation = operation;
	i->size = i->register_size = size;
	i->high_byte = size == 1 && !r->rex && reg >= 4;
	i->reg = i->high_byte ? reg - 4 : reg | (r->rex & REX_R ? 8 : 0);
	return true;
}

/* Memory and an immediate of at most four bytes; group is ModRM.reg. */
static bool with_immediate(struct reader *r, unsigned size, unsigned immediate_size, unsigned *group, struct mmio_instruction *i)
{
	if (!read_modrm(r, group))
		return false;
	i->size = i->register_size = size;
	i->has_immediate = true;
	i->immediate = next_signed(r, immediate_size);
	return true;
}

/* MOVZX, MOVSX, MOVSXD. */
static bool extending(struct reader *r, enum mmio_operation operation, unsigned size, struct mmio_instruction *i)
{
	if (!with_register(r, operation, operand_size(r), i))
		return false;
	i->size = size;
	return true;
}

/* MOV with the accumulator and an address in the instruction. */
static bool with_offset(struct reader *r, enum mmio_operation operation, unsigned size, struct mmio_instruction *i)
{
	next_signed(r, address_size(r));
	i->operation = operation;
	i->size = i->register_size = size;
	return true;
}

static bool two_byte(struct reader *r, struct mmio_instruction *i)
{
	uint8_t opcode = next(r);

	switch (opcode) {
	case 0xb6: case 0xb7: return extending(r, MMIO_LOAD, opcode & 1 ? 2 : 1, i);
	case 0xbe: case 0xbf: return extending(r, MMIO_LOAD_SIGNED, opcode & 1 ? 2 : 1, i);
	default: return false;
	}
}

static bool one_byte(struct reader *r, uint8_t opcode, struct mmio_instruction *i)
{
	unsigned size = opcode & 1 ? operand_size(r) : 1, group;

	switch (opcode) {
	case 0x00 ... 0x3f:
		if ((opcode & 7) > 3)
			return false;
		i->to_register = opcode & 2;
		return with_register(r, opcode >> 3 & 7, size, i);
	case 0x63: return r->mode == 64 && extending(r, MMIO_LOAD_SIGNED, operand_size(r) == 2 ? 2 : 4, i);
	case 0x80 ... 0x83:
		if (!with_immediate(r, size, opcode == 0x81 ? (size == 2 ? 2 : 4) : 1, &group, i))
			return false;
		i->operation = group;
		return true;
	case 0x84: case 0x85: return with_register(r, MMIO_TEST, size, i);
	case 0x86: case 0x87: return with_register(r, MMIO_EXCHANGE, size, i);
	case 0x88: case 0x89: return with_register(r, MMIO_STORE, size, i);
	case 0x8a: case 0x8b: return with_register(r, MMIO_LOAD, size, i);
	case 0xa0: case 0xa1: return with_offset(r, MMIO_LOAD, size, i);
	case 0xa2: case 0xa3: return with_offset(r, MMIO_STORE, size, i);
	case 0xa4: case 0xa5: case 0xaa: case 0xab:
		i->operation = opcode < 0xa8 ? MMIO_MOVS : MMIO_STOS;
		i->segment = r->segment;
		i->size = i->register_size = size;
		i->address_size = address_size(r);
		i->repeat = r->repeat;
		return true;
	case 0xc6: case 0xc7:
		i->operation = MMIO_STORE;
		return with_immediate(r, size, size < 4 ? size : 4, &group, i) && group == 0;
	case 0xf6: case 0xf7:
		i->operation = MMIO_TEST;
		return with_immediate(r, size, size < 4 ? size : 4, &group, i) && group <= 1;
	default: return false;
	}
}

bool mmio_decode(const uint8_t *bytes, unsigned available, unsigned mode, struct mmio_instruction *instruction)
{
	struct reader r = {.bytes = bytes, .available = (unsigned)min_u64(available, INSTRUCTION_MAX), .mode = mode, .segment = 3 /* DS */};
	uint8_t opcode = read_prefixes(&r);

	*instruction = (struct mmio_instruction){0};
	if (!(opcode == 0x0f ? two_byte(&r, instruction) : one_byte(&r, opcode, instruction)) || r.short_of)
		return false;
	if (r.lock && !is_locked_well(instruction->operation, instruction->to_register))
		return false;
	instruction->length = r.at;
	return true;
}
